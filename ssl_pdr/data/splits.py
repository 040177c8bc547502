"""Label budgets: which rows keep their label, and which are treated as unlabelled.

Every budget takes the first of one seeded order of the rows, so a smaller budget is part of a larger one.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ssl_pdr.choices import STRATEGIES
from ssl_pdr.data.class_codes import Label, class_codes, codes_hash
from ssl_pdr.data.manifest import digest, dump_manifest, from_runs, read_manifest, runs_of
from ssl_pdr.data.orders import group_rows, random_rows, rows_per_class, stratified_rows
from ssl_pdr.data.permutation import IntArray
from ssl_pdr.errors import ConfigError, DataError, unknown_name
from ssl_pdr.files import atomic_write


@dataclass(frozen=True)
class Budget:
    """How many labels are asked for.

    Attributes:
        unit: `fraction` of the rows that have a label, `count` of rows, or rows `per_class`.
        amount: in (0, 1] for a fraction, else a whole number of at least 1.
    """

    unit: str
    amount: float

    @classmethod
    def of(cls, fraction: object = None, count: object = None, per_class: object = None) -> Budget:
        """The budget that was given, all labels if none was; a `ConfigError` for two, or one out of range.

        Example:
            >>> Budget.of(count=100)
            Budget(unit='count', amount=100)
        """
        options = {"fraction": fraction, "count": count, "per_class": per_class}
        given = {unit: amount for unit, amount in options.items() if amount is not None} or {"fraction": 1.0}
        if len(given) > 1:
            shown = " and ".join(f"{unit} {amount!r}" for unit, amount in given.items())
            raise ConfigError(f"label budget: got {shown}, expected one of them; leave out the others")
        ((unit, amount),) = given.items()
        if unit == "fraction":
            return cls(unit, _checked_fraction(amount))
        return cls(unit, whole_number("labelled count" if unit == "count" else "labels per class", amount, 1))

    def rows(self, totals: Collection[int]) -> int:
        """How many rows that is, of classes with so many rows."""
        if self.unit == "fraction":
            return exact_share(self.amount, sum(totals))
        return int(self.amount) * (len(totals) if self.unit == "per_class" else 1)


@dataclass(frozen=True, eq=False)
class LabelSplit:
    """Which rows are labelled; two splits are equal if their `hash` is.

    Attributes:
        labelled: (n_labelled,) row numbers that keep their label, ascending.
        unlabelled: (n_unlabelled,) all other row numbers, those that never had a label among them, ascending.
        budget: what was asked for.
        seed: the seed of the order.
        strategy: `stratified`, `random` or `group`.
        labels_hash: SHA-256 of the labels in their order; see `verify`.
        data_hash: whatever else tells the data from others, such as a hash of the texts; None if it was not given.
        class_counts: for every label (labelled rows, all rows that have it), in order of first appearance.
    """

    labelled: IntArray
    unlabelled: IntArray
    budget: Budget
    seed: int
    strategy: str
    labels_hash: str
    data_hash: str | None
    class_counts: Mapping[Label, tuple[int, int]]

    @property
    def n_rows(self) -> int:
        """How many rows there are, with and without a label."""
        return len(self.labelled) + len(self.unlabelled)

    @property
    def asked(self) -> int:
        """How many labelled rows the budget amounts to."""
        return self.budget.rows([total for _, total in self.class_counts.values()])

    @property
    def got(self) -> int:
        """How many rows are labelled: as many as were `asked` for, or fewer where groups stay whole."""
        return len(self.labelled)

    @property
    def fraction(self) -> float:
        """The fraction that was asked for, or else that of the rows with a label that are labelled, in (0, 1]."""
        if self.budget.unit == "fraction":
            return self.budget.amount
        return self.got / sum(total for _, total in self.class_counts.values())

    @property
    def hash(self) -> str:
        """SHA-256 over everything that defines the split."""
        return digest(self._manifest())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSplit) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def verify(self, labels: Iterable[object], data_hash: str | None = None) -> None:
        """Check that `labels` are those that were split, and `data_hash` too where both sides have one.

        Raises:
            DataError: if they are not.
        """
        codes, classes = class_codes(labels)
        found = codes_hash(codes, classes)
        if found != self.labels_hash:
            raise _changed(f"{len(codes)} labels with hash {found[:12]}", f"{self.n_rows} with {self.labels_hash[:12]}")
        if None not in (data_hash, self.data_hash) and data_hash != self.data_hash:
            raise _changed(f"the same labels and data with hash {str(data_hash)[:12]}", str(self.data_hash)[:12])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the manifest as JSON; a reader sees the old file or the new one, never a half of it."""
        atomic_write(path, dump_manifest(self._manifest()))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> LabelSplit:
        """Read what `save` wrote; a `DataError` if it is missing, of another version or was changed."""
        manifest = read_manifest(Path(path))
        try:
            return cls._from_manifest(manifest)
        except (KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
            raise DataError(f"{path}: got a manifest without sense ({error!r}), expected one that was saved") from error

    def _manifest(self) -> dict[str, Any]:
        is_labelled = np.zeros(self.n_rows, dtype=bool)
        is_labelled[self.labelled] = True
        return {
            "budget": {self.budget.unit: self.budget.amount},
            "asked": self.asked,
            "got": self.got,
            "seed": self.seed,
            "strategy": self.strategy,
            "n_rows": self.n_rows,
            "labels_hash": self.labels_hash,
            "data_hash": self.data_hash,
            "class_counts": [[label, *counts] for label, counts in self.class_counts.items()],
            "runs": runs_of(is_labelled),
        }

    @classmethod
    def _from_manifest(cls, manifest: Mapping[str, Any]) -> LabelSplit:
        is_labelled = from_runs(manifest["runs"], whole_number("n_rows", manifest["n_rows"], 0))
        split = cls(
            labelled=np.flatnonzero(is_labelled),
            unlabelled=np.flatnonzero(~is_labelled),
            budget=Budget.of(**manifest["budget"]),
            seed=whole_number("seed", manifest["seed"], 0),
            strategy=_known_strategy(manifest["strategy"]),
            labels_hash=str(manifest["labels_hash"]),
            data_hash=None if manifest["data_hash"] is None else str(manifest["data_hash"]),
            class_counts={
                label: (whole_number("labelled rows", kept, 0), whole_number("rows", total, max(kept, 1)))
                for label, kept, total in manifest["class_counts"]
            },
        )
        if split.got != sum(kept for kept, _ in split.class_counts.values()) or split._manifest() != manifest:
            raise ValueError("it contradicts itself")
        return split


def split_labels(
    labels: Iterable[object],
    fraction: float | None = None,
    seed: int = 0,
    strategy: str = "stratified",
    *,
    count: int | None = None,
    per_class: int | None = None,
    groups: Iterable[object] | None = None,
    data_hash: str | None = None,
    classes: int = 2,
) -> LabelSplit:
    """Choose the rows that keep their label: exactly as many as asked for, at least one of every class.

    With `stratified` every class is labelled in proportion: a class that has a share p of the rows gets less
    than p·size + 1 of the labels and, once the budget is large enough to owe one row to the smallest class,
    more than p·size − 1. `random` ignores the classes, like a sample that was sent to annotators. With `group`
    all rows of a group are labelled or none is, and the budget is an upper bound: the split says what it `asked`
    for and what it `got`.

    For the same data, seed and strategy a smaller budget is a subset of a larger one: fractions and counts are
    nested in each other, numbers per class among themselves. Rows without a label have no influence.

    Args:
        labels: one label a row, integers or strings, of at least two classes unless `classes` is 1. None, NaN and the NA of pandas are
            rows without a label: no budget counts them, and they are always unlabelled.
        fraction: the budget as a share of the rows that have a label, in (0, 1]; it is read as the decimal number
            that it prints as, and rounded to whole rows. No budget at all is 1.0.
        seed: any whole number of at least 0.
        strategy: `stratified`, `random` or `group`.
        count: the budget as a number of rows.
        per_class: the budget as a number of rows of every class, which need not be in proportion; there is nothing
            to choose for a strategy then, and `group` is refused.
        groups: for `group`, one integer or string a row, such as the article that it is from.
        data_hash: kept for `LabelSplit.verify`; give one that changes with the texts.
        classes: so many there have to be at least.

    Returns:
        The split; with fraction 1.0 all rows without a label, and no others, are in `unlabelled`.

    Raises:
        ConfigError: an argument is out of range, or two do not go together.
        UnknownNameError: there is no such strategy.
        DataError: a label or a group is none, or the budget is more than there is or leaves a class without a label.

    Example:
        >>> labels = ["ham", "spam", "ham", "ham", "spam", "ham", None]
        >>> split = split_labels(labels, 0.5)
        >>> len(split.labelled), len(split.unlabelled), split.class_counts
        (3, 4, {'ham': (2, 4), 'spam': (1, 2)})
        >>> set(split.labelled) <= set(split_labels(labels, count=5).labelled)
        True
        >>> split_labels(labels, per_class=2).class_counts
        {'ham': (2, 4), 'spam': (2, 2)}
        >>> split = split_labels(labels, count=5, strategy="group", groups=[1, 1, 1, 2, 2, 2, 2])
        >>> split.asked, split.got
        (5, 3)
    """
    budget, seed = Budget.of(fraction, count, per_class), whole_number("seed", seed, 0)
    _check_groups_wanted(_known_strategy(strategy), budget, groups)
    codes, found = class_codes(labels)
    (with_label,) = np.nonzero(codes >= 0)
    _check_classes(len(codes), len(with_label), found, classes)
    group_codes = None if groups is None else _group_codes(groups, len(codes))[with_label]
    chosen = with_label[_choose(codes[with_label], found, group_codes, budget, strategy, seed)]
    unlabelled = np.ones(len(codes), dtype=bool)
    unlabelled[chosen] = False
    kept, totals = (np.bincount(codes[rows], minlength=len(found)).tolist() for rows in (chosen, with_label))
    return LabelSplit(
        labelled=np.flatnonzero(~unlabelled),
        unlabelled=np.flatnonzero(unlabelled),
        budget=budget,
        seed=seed,
        strategy=strategy,
        labels_hash=codes_hash(codes, found),
        data_hash=data_hash,
        class_counts=dict(zip(found, zip(kept, totals, strict=True), strict=True)),
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
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or fraction <= 0 or not fraction <= 1:
        raise ConfigError(f"labelled fraction: got {fraction!r}, expected a number in (0, 1], such as 0.1 for 10 %")
    return float(fraction)


def _known_strategy(strategy: str) -> str:
    if strategy not in STRATEGIES:
        raise unknown_name("split strategy", str(strategy), STRATEGIES)
    return strategy


def _check_groups_wanted(strategy: str, budget: Budget, groups: object) -> None:
    if strategy == "group" and budget.unit == "per_class":
        raise ConfigError(
            "labels per class: got the split strategy 'group', which keeps groups whole; expected 'stratified' or "
            "'random', or a fraction or a count of labels"
        )
    if strategy == "group" and groups is None:
        raise ConfigError("split strategy 'group': got no groups, expected one a row; give groups=...")
    if strategy != "group" and groups is not None:
        raise ConfigError(f"split strategy {strategy!r}: got groups, which it ignores; leave them out or take 'group'")


def _check_classes(n_rows: int, n_labels: int, classes: Collection[Label], wanted: int) -> None:
    expected = f"expected at least {wanted} class{'es' * (wanted > 1)}; check the label column"
    if n_rows and not n_labels:
        raise DataError(f"got {n_rows} rows and none with a label, {expected}")
    if len(classes) < wanted:
        raise DataError(f"got {n_labels} labels of {len(classes)} classes, {expected}")


def _group_codes(groups: Iterable[object], n_rows: int) -> IntArray:
    codes, _ = class_codes(groups, "group")
    if len(codes) != n_rows:
        raise DataError(f"groups: got {len(codes)} for {n_rows} rows, expected one a row")
    if (codes < 0).any():
        raise DataError(f"group of row {int(np.argmin(codes))}: got none, expected an integer or a string in every row")
    return codes


def _choose(
    codes: IntArray, classes: list[Label], groups: IntArray | None, budget: Budget, strategy: str, seed: int
) -> IntArray:
    """Which of the rows with a label keep it."""
    n, totals = len(codes), np.bincount(codes).tolist()
    size = budget.rows(totals)
    if budget.unit == "per_class":
        smallest = min(range(len(totals)), key=totals.__getitem__)
        if totals[smallest] < budget.amount:
            raise DataError(
                f"labels per class: got {budget.amount}, expected at most {totals[smallest]}: "
                f"the class {classes[smallest]!r} has no more rows with a label"
            )
        return rows_per_class(codes, int(budget.amount), seed)
    if size > n:
        raise DataError(f"labelled count: got {size}, expected at most {n}: so many rows have a label")
    if groups is not None:
        # Numbered anew: rows without a label, and groups of nothing else, must not have an influence.
        rows, needed = group_rows(codes, class_codes(groups)[0], size, seed)
    else:
        rows, needed = (stratified_rows if strategy == "stratified" else random_rows)(codes, size, seed)
    if size < needed:
        lacking = len(totals) - len(np.unique(codes[rows]))
        raise _too_small(budget, strategy, size, n, f"{lacking} of {len(totals)} classes", needed)
    return rows


def _too_small(budget: Budget, strategy: str, size: int, n: int, lacking: str, needed: int) -> DataError:
    if budget.unit == "fraction":
        # Rounded up to three digits, so that what the message names does work.
        smallest = f"{float(Context(prec=3, rounding=ROUND_CEILING).divide(needed, n))} ({needed} rows)"
        got = f"labelled fraction {budget.amount} of {n} rows is {size} and"
    else:
        smallest, got = f"{needed}", f"labelled count {size} of {n} rows"
    of_groups = " in whole groups" if strategy == "group" else ""
    other = " or the strategy 'stratified'" if strategy == "random" else ""
    return DataError(f"{got} leaves {lacking} without a label{of_groups}; expected at least {smallest}{other}")


def _changed(got: str, expected: str) -> DataError:
    return DataError(
        f"the data changed since it was split: got {got}, expected {expected}; restore the data or split it anew"
    )
