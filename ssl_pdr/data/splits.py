"""Label budgets: which rows keep their label, and which are treated as unlabelled.

Every budget is a prefix of one seeded order of the rows, so a smaller budget is part of a larger one.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.errors import ConfigError, DataError, unknown_name
from ssl_pdr.files import atomic_write

Label: TypeAlias = int | str | float
IntArray: TypeAlias = NDArray[np.int64]

STRATEGIES = ("random", "stratified")
_FORMAT = "ssl-pdr label split"
_VERSION = 1


@dataclass(frozen=True, eq=False)
class LabelSplit:
    """Which rows are labelled; two splits are equal if their `hash` is.

    Attributes:
        labelled: (n_labelled,) row numbers that keep their label, ascending.
        unlabelled: (n_unlabelled,) all other row numbers, ascending.
        fraction: the budget that was asked for, in (0, 1].
        seed: the seed of the order.
        strategy: `stratified` or `random`.
        n_rows: how many rows there were.
        labels_hash: SHA-256 of the labels in their order; see `verify`.
        class_counts: for every label (labelled rows, all rows), in order of first appearance.
    """

    labelled: IntArray
    unlabelled: IntArray
    fraction: float
    seed: int
    strategy: str
    n_rows: int
    labels_hash: str
    class_counts: Mapping[Label, tuple[int, int]]

    @property
    def hash(self) -> str:
        """SHA-256 over everything that defines the split."""
        return _digest(self._manifest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSplit) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def verify(self, labels: Iterable[object]) -> None:
        """Check that `labels` are those that were split; a `DataError` if they are not."""
        codes, classes = _encode(labels)
        found = _labels_hash(codes, classes)
        if found != self.labels_hash:
            raise DataError(
                f"the data changed since it was split: got {len(codes)} labels with hash {found[:12]}, "
                f"expected {self.n_rows} with {self.labels_hash[:12]}; restore the data or split it anew"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest as JSON; a reader sees the old file or the new one, never a half of it."""
        manifest = self._manifest()
        text = json.dumps({**manifest, "hash": _digest(manifest)}) + "\n"
        atomic_write(path, text)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelSplit:
        """Read what `save` wrote; a `DataError` if it is missing, of another version or was changed."""
        manifest = _read_manifest(Path(path))
        try:
            labelled = np.asarray(manifest["labelled"], dtype=np.int64)
            return cls(
                labelled=labelled,
                unlabelled=_complement(labelled, manifest["n_rows"]),
                fraction=manifest["fraction"],
                seed=manifest["seed"],
                strategy=manifest["strategy"],
                n_rows=manifest["n_rows"],
                labels_hash=manifest["labels_hash"],
                class_counts={label: (kept, total) for label, kept, total in manifest["class_counts"]},
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise DataError(f"{path}: got a manifest without sense ({error!r}), expected one that was saved") from error

    def _manifest(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "version": _VERSION,
            "fraction": self.fraction,
            "seed": self.seed,
            "strategy": self.strategy,
            "n_rows": self.n_rows,
            "labels_hash": self.labels_hash,
            "class_counts": [[label, *counts] for label, counts in self.class_counts.items()],
            "labelled": self.labelled.tolist(),
        }


def split_labels(labels: Iterable[object], fraction: float, seed: int = 0, strategy: str = "stratified") -> LabelSplit:
    """Choose the rows that keep their label: exactly `round(fraction * n)`, at least one of every class.

    With `stratified` every class is labelled in proportion: a class that has a share p of the rows gets less
    than p·size + 1 of the labels and, once the budget is large enough to owe one row to the smallest class,
    more than p·size − 1. `random` ignores the classes, like a sample that was sent to annotators.

    For the same labels, seed and strategy a smaller budget is a subset of a larger one. The order comes from
    raw generator output, which NumPy never changes, so it is the same under every version of it.

    Args:
        labels: one label a row, integers or strings, n of them with at least two classes.
        fraction: the budget, in (0, 1]; it is read as the decimal number that it prints as.
        seed: any whole number of at least 0.
        strategy: `stratified` or `random`.

    Returns:
        The split; with fraction 1.0 `unlabelled` is empty.

    Raises:
        ConfigError: `fraction` or `seed` is out of range.
        UnknownNameError: there is no such strategy.
        DataError: a label is missing, or the budget leaves a class without a label.

    Example:
        >>> labels = ["ham", "spam", "ham", "ham", "spam", "ham"]
        >>> split = split_labels(labels, 0.5)
        >>> len(split.labelled), len(split.unlabelled), split.class_counts
        (3, 3, {'ham': (2, 4), 'spam': (1, 2)})
        >>> set(split.labelled) <= set(split_labels(labels, 0.75).labelled)
        True
    """
    fraction, seed = _checked_fraction(fraction), whole_number("seed", seed, 0)
    if strategy not in STRATEGIES:
        raise unknown_name("split strategy", str(strategy), STRATEGIES)
    codes, classes = _encode(labels)
    n = len(codes)
    raw = np.random.PCG64(seed).random_raw(n + len(classes))
    order = (
        _stratified_order(codes, raw[:n], raw[n:]) if strategy == "stratified" else np.argsort(raw[:n], kind="stable")
    )
    size = exact_share(fraction, n)
    _check_budget(codes[order], size, fraction, strategy)
    labelled = np.sort(order[:size])
    kept, totals = (np.bincount(c, minlength=len(classes)).tolist() for c in (codes[labelled], codes))
    return LabelSplit(
        labelled=labelled,
        unlabelled=np.sort(order[size:]),
        fraction=fraction,
        seed=seed,
        strategy=strategy,
        n_rows=n,
        labels_hash=_labels_hash(codes, classes),
        class_counts=dict(zip(classes, zip(kept, totals, strict=True), strict=True)),
    )


def exact_share(fraction: float, whole: int) -> int:
    """`round(fraction * whole)` with `fraction` taken as the decimal number that it prints as.

    Example:
        >>> 1.15 * 50, round(1.15 * 50), exact_share(1.15, 50)
        (57.49999999999999, 57, 58)
    """
    return round(Fraction(repr(float(fraction))) * whole)


def whole_number(name: str, value: object, at_least: int) -> int:
    """`value` as an int; a `ConfigError` that calls it `name` if it is none or is too small.

    Example:
        >>> whole_number("seed", np.int64(3), 0)
        3
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what it refuses is what we ask
    except TypeError:
        number = at_least - 1
    if isinstance(value, bool) or number < at_least:
        raise ConfigError(f"{name}: got {value!r}, expected a whole number of at least {at_least}")
    return number


def _checked_fraction(fraction: object) -> float:
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 < float(fraction) <= 1:
        raise ConfigError(f"labelled fraction: got {fraction!r}, expected a number in (0, 1], such as 0.1 for 10 %")
    return float(fraction)


def _encode(labels: Iterable[object]) -> tuple[IntArray, list[Label]]:
    """Labels as class numbers and the classes, numbered by first appearance: no hash order enters."""
    rows = _as_list(labels)
    types = set(map(type, rows))
    if not all(issubclass(t, int | str | float) for t in types) or float in types:
        _check_labels(rows)
    numbers: dict[Label, int] = {}
    codes = np.array([numbers.setdefault(label, len(numbers)) for label in rows], dtype=np.int64)
    if len(numbers) < 2:
        raise DataError(
            f"got {len(rows)} labels of {len(numbers)} classes, expected at least 2; check the label column"
        )
    return codes, list(numbers)


def _as_list(labels: Iterable[object]) -> list[Any]:
    """Plain Python values, whatever array, column or list they came in."""
    tolist = getattr(labels, "tolist", None)  # NumPy, pandas, torch: much faster than iteration
    try:
        rows = None if isinstance(labels, str | bytes) else tolist() if tolist else list(labels)
    except TypeError:
        rows = None
    if not isinstance(rows, list):
        raise DataError(f"labels: got {type(labels).__name__}, expected a sequence with one label a row")
    return [row.item() if isinstance(row, np.generic) else row for row in rows]


def _check_labels(rows: list[Any]) -> None:
    for number, label in enumerate(rows):
        if not isinstance(label, int | str | float) or (isinstance(label, float) and not math.isfinite(label)):
            shown = f"{type(label).__name__} {label!r}"[:60]
            raise DataError(
                f"label of row {number}: got {shown}, expected an integer or a string; leave out unlabelled rows"
            )


def _labels_hash(codes: IntArray, classes: list[Label]) -> str:
    return hashlib.sha256(json.dumps(classes).encode() + codes.astype("<i8").tobytes()).hexdigest()


def _stratified_order(codes: IntArray, row_keys: NDArray[np.uint64], class_keys: NDArray[np.uint64]) -> IntArray:
    """All rows, such that every prefix has the classes in proportion, after one row of each class.

    With n_c of n rows in class c, its row j (in shuffled order, from 0) may not come before place ⌊j·n/n_c⌋,
    or c would be more than one row ahead, and is due by place ⌈(j+1)·n/n_c⌉, or c would be more than one row
    behind. Taking the most urgent row that may come keeps every due date (for unit jobs earliest deadline
    first does, if anything can). Sorting by (j + ½)/n_c is simpler, but a large class among many small ones
    then strays by half a row for each of them.
    """
    n, totals = len(codes), np.bincount(codes)
    by_class = np.lexsort((row_keys, codes))
    class_of = codes[by_class]
    j = np.arange(n) - (np.cumsum(totals) - totals)[class_of]
    earliest = j * n // totals[class_of]
    due = -(-(j + 1) * n // totals[class_of])
    # Classes that are due together come in a seeded order. From here on rows are numbered by urgency.
    urgent = np.lexsort((class_keys[class_of], due))
    by_class, j, earliest = by_class[urgent], j[urgent], earliest[urgent]
    (head,), (rest,) = np.nonzero(j == 0), np.nonzero(j > 0)
    rest = rest[np.argsort(earliest[rest], kind="stable")]
    return by_class[_most_urgent_first(head.tolist(), rest.tolist(), earliest[rest].tolist())]


def _most_urgent_first(order: list[int], rows: list[int], earliest: list[int]) -> list[int]:
    """Extend `order` by `rows`: in each place the smallest of those that may come there."""
    waiting: list[int] = []
    arrived = 0
    for place in range(len(order), len(order) + len(rows)):
        while arrived < len(rows) and earliest[arrived] <= place:
            heapq.heappush(waiting, rows[arrived])
            arrived += 1
        order.append(heapq.heappop(waiting))
    return order


def _check_budget(codes_in_order: IntArray, size: int, fraction: float, strategy: str) -> None:
    """A `DataError` if a class has no row among the first `size`."""
    n = len(codes_in_order)
    first = np.unique(codes_in_order, return_index=True)[1]
    needed = int(first.max()) + 1
    if size < needed:
        # Rounded up to three digits, so that what the message names does work.
        smallest = float(Context(prec=3, rounding=ROUND_CEILING).divide(needed, n))
        other = " or the strategy 'stratified'" if strategy == "random" else ""
        raise DataError(
            f"labelled fraction {fraction} of {n} rows is {size} and leaves {int((first >= size).sum())} "
            f"of {len(first)} classes without a label; expected at least {smallest} ({needed} rows){other}"
        )


def _complement(rows: IntArray, n: int) -> IntArray:
    left = np.ones(n, dtype=bool)
    left[rows] = False
    return np.flatnonzero(left)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in `path` without its hash, which was compared; a `DataError` if anything is wrong."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read the split {path}: {error.strerror}; give the file that `save` wrote") from error
    except ValueError as error:
        raise DataError(f"{path}: got no JSON ({error}), expected a label split; restore or remake it") from error
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise DataError(f"{path}: got some other JSON, expected {_FORMAT!r}; give the file that `save` wrote")
    if manifest.get("version") != _VERSION:
        raise DataError(
            f"{path}: got version {manifest.get('version')!r} of a label split, expected {_VERSION}; "
            "make it anew with this version of ssl-pdr"
        )
    stored, found = manifest.pop("hash", None), _digest(manifest)
    if stored != found:
        raise DataError(
            f"{path}: got content with hash {found[:12]}, expected {str(stored)[:12]}; "
            "the file was changed after it was saved, restore or remake it"
        )
    return manifest
