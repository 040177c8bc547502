"""Permutations that need no memory: each row at one place, the same from whichever side one asks, none likelier than others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from ssl_pdr.data import permutation
from ssl_pdr.data.permutation import endless, permuted

quick = settings(max_examples=100, deadline=None, derandomize=True)
seeds = st.integers(0, 2**70)


def whole(size: int, seed: int = 0, *stream: int) -> list[int]:
    return permuted(np.arange(size), size, seed, *stream).tolist()


@pytest.fixture
def rounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(permutation, "_ROUNDS", request.param)
    permutation._round_keys.cache_clear()
    yield
    permutation._round_keys.cache_clear()


# --- a permutation ---


@quick
@given(st.integers(1, 3_000), seeds, st.lists(st.integers(0, 2**31), max_size=3))
@example(1, 0, [])
@example(2, 0, [])
@example(1_024, 0, [])
@example(1_023, 2**70, [0, 0])
def test_each_row_stands_at_one_place(size: int, seed: int, stream: list[int]) -> None:
    assert sorted(whole(size, seed, *stream)) == list(range(size))


def test_no_small_size_breaks_it() -> None:
    for size in range(1, 300):
        assert sorted(whole(size)) == list(range(size))


@quick
@given(st.integers(1, 3_000), seeds, st.data())
def test_some_places_are_those_of_the_whole(size: int, seed: int, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, size - 1), max_size=40))  # in any order, and again
    order = whole(size, seed, 1)
    assert permuted(np.array(places, dtype=np.int64), size, seed, 1).tolist() == [order[place] for place in places]


@pytest.mark.parametrize("size", [2**31, 2**32 + 1, 10**10, 2**40, 2**40 - 1, 2**62])
def test_huge_sizes_give_different_rows_of_the_whole_range(size: int) -> None:
    places = np.concatenate([np.arange(5_000), np.arange(size - 5_000, size)])
    rows = permuted(places, size, 3)
    assert rows.dtype == np.int64
    assert len(set(rows.tolist())) == 10_000
    assert rows.min() >= 0
    assert rows.max() < size
    tenths = np.bincount((rows / size * 10).astype(int), minlength=10)
    assert abs(tenths - 1_000).max() < 150  # five standard deviations


def test_places_are_left_as_they_are() -> None:
    places = np.arange(100)
    permuted(places, 100, 0)
    assert places.tolist() == list(range(100))


# --- one after the other ---


@quick
@given(st.integers(1, 60), st.integers(0, 90), st.integers(0, 60), seeds)
def test_endless_goes_over_the_borders_of_passes(size: int, start: int, count: int, seed: int) -> None:
    passes = [row for number in range((start + count) // size + 1) for row in whole(size, seed, 5, number)]
    assert endless(start, count, size, seed, 5).tolist() == passes[start : start + count]


@quick
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 10**13))
def test_endless_has_all_before_any_again_however_far_it_is(size: int, passes: int, far: int) -> None:
    rows = endless(far * size, passes * size, size, 0).reshape(passes, size)
    assert (np.sort(rows, axis=1) == np.arange(size)).all()


def test_nothing_is_wanted() -> None:
    assert endless(7, 0, 3, 0).dtype == np.int64
    assert endless(7, 0, 3, 0).tolist() == []
    assert permuted(np.arange(0), 5, 0).tolist() == []


# --- chance ---


def order_excess(size: int, draws: int) -> float:
    """Chi-square of the orders of `size` rows over the streams of one seed, as a share of its bound at one in a million."""
    seen = Counter(tuple(whole(size, 7, stream)) for stream in range(draws))
    orders = math.factorial(size)
    expected = draws / orders
    squares = sum((count - expected) ** 2 for count in seen.values()) + (orders - len(seen)) * expected**2
    return squares / expected / float(chi2.isf(1e-6, orders - 1))


@pytest.mark.parametrize(("size", "draws"), [(3, 1_500), (4, 4_000), (5, 5_000)])
def test_all_orders_of_a_few_rows_are_equally_likely(size: int, draws: int) -> None:
    assert order_excess(size, draws) < 1


@pytest.mark.parametrize(
    ("rounds", "size", "draws"), [(2, 3, 1_500), (4, 4, 4_000), (4, 5, 5_000), (6, 5, 5_000)], indirect=["rounds"]
)
def test_the_test_of_chance_sees_too_few_rounds(rounds: None, size: int, draws: int) -> None:
    assert order_excess(size, draws) > 1


@pytest.mark.parametrize("size", [8, 9, 25])
def test_odd_permutations_are_as_many_as_even_ones(size: int) -> None:
    odd = sum(np.linalg.det(np.eye(size)[whole(size, seed)]) < 0 for seed in range(400))
    assert abs(odd - 200) < 5 * math.sqrt(400) / 2


@pytest.mark.parametrize("size", [13, 60])
def test_each_row_is_equally_likely_at_each_place(size: int) -> None:
    counts = np.zeros((size, size))
    for seed in range(30 * size):
        counts[np.arange(size), whole(size, seed)] += 1
    assert ((counts - 30) ** 2 / 30).sum() < chi2.isf(1e-6, (size - 1) ** 2)


def test_streams_and_seeds_have_orders_of_their_own() -> None:
    keys = [(0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    orders = np.array([whole(2_000, *key) for key in keys])
    assert len({tuple(order) for order in orders.tolist()}) == len(keys)
    correlations = np.corrcoef(orders)[np.triu_indices(len(keys), 1)]
    assert np.abs(correlations).max() < 5 / math.sqrt(2_000)
    same_row = (orders[:, None] == orders[None]).sum(axis=2)[np.triu_indices(len(keys), 1)]
    assert same_row.max() < 10  # one is expected


def test_neighbours_do_not_stay_together() -> None:
    order = np.array(whole(10_000, 2))
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    assert (np.abs(np.diff(order)) == 1).sum() < 15  # two are expected
