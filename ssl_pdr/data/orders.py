"""Seeded orders of rows, of which every label budget takes the first.

A class is a number from 0, and each number up to the largest occurs. The orders come from raw generator output,
which NumPy never changes, so they are the same under every version of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.data.permutation import IntArray


def random_rows(codes: IntArray, size: int, seed: int) -> tuple[IntArray, int]:
    """The first rows of a shuffled order that ignores the classes.

    Args:
        codes: (n,) the class of each row.
        size: how many rows to take, from 0 to n.
        seed: of the order.

    Returns:
        (size,) rows, and the smallest size that has a row of every class.

    Example:
        >>> rows, needed = random_rows(np.array([0, 0, 0, 1]), 2, seed=0)
        >>> rows.tolist(), needed
        ([3, 2], 2)
    """
    order = np.argsort(_keys(len(codes), seed), kind="stable")
    return order[:size], int(_first_places(codes[order], np.arange(len(codes))).max()) + 1


def stratified_rows(codes: IntArray, size: int, seed: int) -> tuple[IntArray, int]:
    """The first rows of an order of which every prefix has the classes in proportion, after one row of each.

    With n_c of n rows in class c, its row j (in shuffled order, from 0) may not come before place ⌊j·n/n_c⌋,
    or c would be more than one row ahead, and is due by place ⌈(j+1)·n/n_c⌉, or c would be more than one row
    behind. Taking the most urgent row that may come keeps every due date (for unit jobs earliest deadline
    first does, if anything can). Sorting by (j + ½)/n_c is simpler, but a large class among many small ones
    then strays by half a row for each of them.

    Args:
        codes: (n,) the class of each row.
        size: how many rows to take, from 0 to n.
        seed: of the order.

    Returns:
        (size,) rows, and the smallest size that has a row of every class.

    Example:
        >>> rows, needed = stratified_rows(np.array([0, 0, 0, 1]), 2, seed=0)
        >>> rows.tolist(), needed
        ([2, 3], 2)
    """
    n, totals = len(codes), np.bincount(codes)
    if size == n:  # which is no matter of order
        return np.arange(n), len(totals)
    keys = _keys(n + len(totals), seed)
    by_class, j = _first_of_each_class(codes, keys[:n], -(-size * totals // n))  # no other may come so early
    class_of = codes[by_class]
    earliest, due = j * n // totals[class_of], -(-(j + 1) * n // totals[class_of])
    # Classes that are due together come in a seeded order. From here on rows are numbered by urgency.
    urgent = np.lexsort((keys[n:][class_of], due))
    by_class, j, earliest = by_class[urgent], j[urgent], earliest[urgent]
    (head,), (rest,) = np.nonzero(j == 0), np.nonzero(j > 0)
    rest = rest[np.argsort(earliest[rest], kind="stable")]
    others = _most_urgent_first(rest, earliest[rest], range(len(head), size))
    order = np.concatenate([head[:size], np.fromiter(others, dtype=np.int64)])
    return by_class[order], len(totals)


def group_rows(codes: IntArray, groups: IntArray, size: int, seed: int) -> tuple[IntArray, int]:
    """The rows of the first groups of a shuffled order that begins with groups of every class.

    A group comes before the shuffled rest if it has a class that no group before it has. Of the order, as many
    groups are taken as have `size` rows together, or fewer: no group is taken in part.

    Args:
        codes: (n,) the class of each row.
        groups: (n,) the group of each row, numbered from 0 without a gap.
        size: how many rows to take at most, from 0 to n.
        seed: of the order.

    Returns:
        (at most size,) rows, ascending, and the smallest size that has a row of every class.

    Example:
        >>> rows, needed = group_rows(np.array([0, 0, 1, 0, 0]), np.array([0, 0, 0, 1, 1]), 4, seed=1)
        >>> rows.tolist(), needed
        ([0, 1, 2], 3)
    """
    n_groups = int(groups.max()) + 1
    shuffled = np.argsort(_keys(n_groups, seed), kind="stable")
    places = np.empty_like(shuffled)
    places[shuffled] = np.arange(n_groups)
    # A group brings a new class where it is the first that has one.
    head = np.unique(_first_places(codes, places[groups]))
    order = np.concatenate([shuffled[head], np.delete(shuffled, head)])
    ends = np.cumsum(np.bincount(groups)[order])
    taken = np.zeros(n_groups, dtype=bool)
    taken[order[: np.searchsorted(ends, size, side="right")]] = True
    return np.flatnonzero(taken[groups]), int(ends[len(head) - 1])


def rows_per_class(codes: IntArray, size: int, seed: int) -> IntArray:
    """The first `size` rows of each class, in the order in which `stratified_rows` takes the rows of a class.

    Args:
        codes: (n,) the class of each row.
        size: how many rows to take of each class, which no class has fewer of.
        seed: of the order.

    Returns:
        (size · classes,) rows.

    Example:
        >>> rows_per_class(np.array([0, 0, 0, 1]), 1, seed=0).tolist()
        [2, 3]
    """
    quotas = np.full(int(codes.max()) + 1, size)
    return _first_of_each_class(codes, _keys(len(codes), seed), quotas)[0]


def _keys(n: int, seed: int) -> NDArray[np.uint64]:
    return np.random.PCG64(seed).random_raw(n)


def _first_of_each_class(codes: IntArray, keys: NDArray[np.uint64], quotas: IntArray) -> tuple[IntArray, IntArray]:
    """So many rows of each class, class after class, the smallest keys first; and each one's number in its class."""
    totals = np.bincount(codes)
    by_class = np.lexsort((keys, codes))
    j = np.arange(quotas.sum()) - np.repeat(np.cumsum(quotas) - quotas, quotas)
    return by_class[np.repeat(np.cumsum(totals) - totals, quotas) + j], j


def _first_places(codes: IntArray, places: IntArray) -> IntArray:
    """For each class the first of its places."""
    first = np.full(int(codes.max()) + 1, len(places))
    np.minimum.at(first, codes, places)
    return first


def _most_urgent_first(rows: IntArray, earliest: IntArray, places: range) -> Iterator[int]:
    """In each place the smallest of the `rows` that may come there; `earliest` is ascending."""
    arrivals = zip(earliest.data, rows.data, strict=True)  # as plain integers, but not all of them at once
    never = (places.stop, -1)
    when, row = next(arrivals, never)
    waiting: list[int] = []
    for place in places:
        while when <= place:
            heapq.heappush(waiting, row)
            when, row = next(arrivals, never)
        yield heapq.heappop(waiting)
