"""Label budgets: exact, nested, in proportion or in whole groups, and the same everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data.splits import Budget, exact_share, split_labels
from ssl_pdr.errors import ConfigError, DataError, UnknownNameError

quick = settings(max_examples=30, deadline=None, derandomize=True)

Labels = list[str | None]


def shuffled(sizes: list[int], gaps: int = 0) -> st.SearchStrategy[Labels]:
    """Labels of classes of these sizes, and rows without one."""
    labels: Labels = [f"class {c}" for c, size in enumerate(sizes) for _ in range(size)]
    return st.permutations(labels + [None] * gaps)


# Every class has a row; some are rare.
class_sizes = st.lists(st.integers(1, 40), min_size=2, max_size=8)
label_lists = class_sizes.flatmap(shuffled)
gappy_lists = st.tuples(class_sizes, st.integers(0, 20)).flatmap(lambda drawn: shuffled(*drawn))
seeds = st.integers(0, 2**64)


def budgets(labels: Labels) -> list[float]:
    """A fraction for every size that leaves no class without a label."""
    n = len(labels) - labels.count(None)
    return [size / n for size in range(len(set(labels) - {None}), n + 1)]


def as_budget(fraction: float, labels: Labels, *, counted: bool) -> dict[str, Any]:
    """The fraction, or the count that it amounts to."""
    return {"count": exact_share(fraction, len(labels) - labels.count(None))} if counted else {"fraction": fraction}


@quick
@given(gappy_lists, seeds, st.booleans(), st.data())
def test_a_split_is_a_partition_of_exact_size_with_every_class(
    labels: Labels, seed: int, counted: bool, data: Any
) -> None:
    fraction = data.draw(st.sampled_from(budgets(labels)))
    split = split_labels(labels, seed=seed, **as_budget(fraction, labels, counted=counted))
    for part in (split.labelled, split.unlabelled):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert sorted([*split.labelled, *split.unlabelled]) == list(range(split.n_rows)) == list(range(len(labels)))
    with_label = [label for label in labels if label is not None]
    assert split.asked == split.got == len(split.labelled) == round(Fraction(repr(fraction)) * len(with_label))
    assert split.fraction == (split.got / len(with_label) if counted else fraction)
    counts = Counter(labels[row] for row in split.labelled)
    assert split.class_counts == {c: (counts[c], total) for c, total in Counter(with_label).items()}
    assert min(counts[c] for c in with_label) >= 1


@quick
@given(gappy_lists, seeds, st.sampled_from(["random", "stratified"]), st.data())
def test_every_budget_contains_the_smaller_ones(labels: Labels, seed: int, strategy: str, data: Any) -> None:
    smaller: set[int] = set()
    for fraction in budgets(labels)[:: data.draw(st.integers(1, 9))]:
        budget = as_budget(fraction, labels, counted=data.draw(st.booleans()))
        try:
            labelled = set(split_labels(labels, seed=seed, strategy=strategy, **budget).labelled.tolist())
        except DataError:
            assert strategy == "random"
            assert not smaller
            continue
        assert smaller < labelled
        smaller = labelled


@quick
@given(gappy_lists, seeds, st.sampled_from(["random", "stratified", "group"]), st.data())
def test_a_fraction_and_its_count_are_the_same_rows(labels: Labels, seed: int, strategy: str, data: Any) -> None:
    groups = [row // 3 for row in range(len(labels))] if strategy == "group" else None
    fraction = data.draw(st.sampled_from(budgets(labels)))
    rows = []
    for counted in (False, True):
        budget = as_budget(fraction, labels, counted=counted)
        try:
            rows.append(split_labels(labels, seed=seed, strategy=strategy, groups=groups, **budget).labelled.tolist())
        except DataError as error:  # too few for this order, whichever way it is said
            rows.append(str(error).split(" leaves ")[1].split(";")[0])
    assert rows[0] == rows[1]


@quick
@given(gappy_lists, seeds, st.sampled_from(["random", "stratified"]))
def test_so_many_of_each_class_are_exact_and_nested(labels: Labels, seed: int, strategy: str) -> None:
    totals = Counter(label for label in labels if label is not None)
    smaller: set[int] = set()
    for k in range(1, min(totals.values()) + 1):
        split = split_labels(labels, seed=seed, strategy=strategy, per_class=k)
        assert split.class_counts == {c: (k, total) for c, total in totals.items()}
        assert split.asked == split.got == k * len(totals)
        assert split.fraction == split.got / totals.total()
        assert smaller < set(split.labelled.tolist())
        smaller = set(split.labelled.tolist())
    one_each = split_labels(labels, seed=seed, count=len(totals))
    assert one_each.labelled.tolist() == split_labels(labels, seed=seed, per_class=1).labelled.tolist()


@quick
@given(gappy_lists, seeds, st.sampled_from([{"fraction": 0.9}, {"per_class": 1}, {"groups": 0, "fraction": 0.9}]))
def test_rows_without_a_label_have_no_influence(labels: Labels, seed: int, budget: dict[str, Any]) -> None:
    rows = [row for row, label in enumerate(labels) if label is not None]

    def labelled(rows: list[int]) -> list[int] | str:
        groups = [f"group {row // 5}" for row in rows] if "groups" in budget else None
        strategy = "stratified" if groups is None else "group"
        try:
            split = split_labels(
                [labels[row] for row in rows], seed=seed, strategy=strategy, **{**budget, "groups": groups}
            )
        except DataError as error:
            return str(error)
        assert not any(labels[rows[row]] is None for row in split.labelled)
        return [rows[row] for row in split.labelled]

    assert labelled(rows) == labelled(list(range(len(labels))))


@quick
@given(gappy_lists, seeds, st.data())
def test_groups_stay_whole_and_come_one_after_the_other(labels: Labels, seed: int, data: Any) -> None:
    groups = data.draw(st.lists(st.integers(0, 9), min_size=len(labels), max_size=len(labels)))
    with_label = [row for row, label in enumerate(labels) if label is not None]
    taken: list[set[int]] = []
    for count in range(1, len(with_label) + 1):
        try:
            split = split_labels(labels, seed=seed, strategy="group", count=count, groups=groups)
        except DataError as error:
            assert not taken
            needed = int(str(error).split("at least ")[1])
            assert needed > count
            continue
        chosen = {groups[row] for row in split.labelled}
        assert split.labelled.tolist() == [row for row in with_label if groups[row] in chosen]
        assert {labels[row] for row in split.labelled} == set(labels) - {None}
        assert (split.asked, split.got) == (count, len(split.labelled))
        assert split.got <= count
        if not taken:
            assert count == split.got == (needed if count > 1 else 1)
            assert len(chosen) <= len(set(labels) - {None})  # each of the first groups brings a class
        if not taken or chosen != taken[-1]:
            taken.append(chosen)
    assert taken[-1] == {groups[row] for row in with_label}
    # No group is skipped for a later one that would still fit.
    assert all(small < large and len(large) == len(small) + 1 for small, large in pairwise(taken))


def test_the_first_groups_are_those_that_bring_a_class() -> None:
    # Class "b" is in one group of a hundred: it comes early under every seed, and with it no more than one other.
    labels, groups = ["a", "a"] * 99 + ["a", "b"], [row // 2 for row in range(200)]
    for seed in range(20):
        split = split_labels(labels, seed=seed, strategy="group", count=5, groups=groups)
        assert split.got == 4
        assert {198, 199} < set(split.labelled)


@quick
@given(label_lists, seeds)
def test_every_stratified_budget_is_in_proportion_to_one_row(labels: Labels, seed: int) -> None:
    n, totals = len(labels), Counter(labels)
    for fraction in budgets(labels):
        split = split_labels(labels, fraction, seed)
        size = len(split.labelled)
        for kept, total in split.class_counts.values():
            share = Fraction(total * size, n)
            assert kept < share + 1
            if size * min(totals.values()) >= n:  # from here on one row of each class is no more than its due
                assert kept > share - 1


def test_one_large_class_among_many_small_ones_keeps_its_share() -> None:
    # Where rows are sorted by (j + 1/2)/n_c the large class is 25 rows behind at 346 of the 1,980.
    labels = [0] * 990 + [c for c in range(1, 100) for _ in range(10)]
    for size in range(199, 1981, 21):
        kept, total = split_labels(labels, size / 1980).class_counts[0]
        assert abs(kept - total * size / 1980) < 1


def test_ten_labels_are_part_of_eleven() -> None:
    labels = ["a"] * 6 + ["b"] * 6 + ["c"] * 2
    ten, eleven = (set(split_labels(labels, count=size).labelled) for size in (10, 11))
    assert len(ten) == 10
    assert ten < eleven
    assert {labels[row] for row in split_labels(labels, count=3).labelled} == {"a", "b", "c"}


@pytest.mark.parametrize("strategy", ["stratified", "random"])
def test_random_and_stratified_are_nested_seeded_and_repeatable(strategy: str) -> None:
    labels = ["a", "b", "b"] * 100
    small, large, again, other = (
        split_labels(labels, f, seed, strategy) for f, seed in ((0.1, 1), (0.25, 1), (0.1, 1), (0.1, 2))
    )
    assert set(small.labelled) < set(large.labelled)
    assert small == again
    assert set(small.labelled) != set(other.labelled)
    assert len({small, again, other}) == 2


def test_rows_of_a_class_are_equally_likely_to_be_labelled() -> None:
    hits = np.zeros(20)
    for seed in range(600):
        hits[split_labels([0, 1] * 10, 0.3, seed).labelled] += 1
    assert abs(hits / 600 - 0.3).max() < 0.08  # four standard deviations


@pytest.mark.parametrize(
    ("fraction", "rows", "size"),
    [(0.29, 100, 29), (1.15, 50, 58), (0.145, 100, 14), (0.57, 50, 28), (0.07, 50, 4), (1e-05, 400_000, 4), (1, 7, 7)],
)
def test_the_size_is_that_of_the_decimal_number(fraction: float, rows: int, size: int) -> None:
    assert exact_share(fraction, rows) == size


def test_all_labels_is_the_same_path_with_nothing_unlabelled() -> None:
    split = split_labels([3, 1, 3])
    assert split == split_labels([3, 1, 3], 1.0)
    assert split.labelled.tolist() == [0, 1, 2]
    assert split.unlabelled.shape == (0,)
    assert split.unlabelled.dtype == np.int64


def test_labels_may_come_in_any_column() -> None:
    pd, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    columns: list[Any] = [[1, 0, 1, 1], (1, 0, 1, 1), np.array([1, 0, 1, 1], dtype=np.int8)]
    columns += [
        [np.int64(1), np.int64(0), 1, 1],
        pd.Series([1, 0, 1, 1], index=[9, 8, 7, 6]),
        torch.tensor([1, 0, 1, 1]),
    ]
    assert len({split_labels(column, 0.5).hash for column in columns}) == 1
    assert split_labels(np.array(["b", "a", "b"]), 1.0) == split_labels(["b", "a", "b"], 1.0)
    assert split_labels(np.array([3, -1, 2**63], dtype=object)) == split_labels([3, -1, 2**63])
    assert split_labels(np.array([2**63, 5], dtype=np.uint64)).class_counts == {2**63: (1, 1), 5: (1, 1)}


def test_a_row_without_a_label_may_be_said_in_many_ways() -> None:
    pd = pytest.importorskip("pandas")
    columns: list[Any] = [[1, 0, None, 1], [1, 0, float("nan"), 1], [1, 0, np.float32("nan"), 1], [1, 0, pd.NA, 1]]
    columns += [pd.Series([1, 0, None, 1]), pd.Series([1, 0, None, 1], dtype="Int64"), np.array([1, 0, np.nan, 1])]
    columns += [
        np.array([1, 0, None, 1], dtype=object),
        np.ma.MaskedArray([1, 0, 7, 1], mask=[False, False, True, False]),
    ]
    splits = [split_labels(column) for column in columns]
    assert {split.hash for split in splits} == {splits[0].hash}
    assert splits[0].labelled.tolist() == [0, 1, 3]
    assert splits[0].class_counts == {1: (2, 2), 0: (1, 1)}
    words = [pd.Series(["b", None, "a"]), pd.Series(["b", None, "a"], dtype="category"), ["b", None, "a"]]
    assert {tuple(split_labels(column).unlabelled.tolist()) for column in words} == {(1,)}


def test_minus_one_is_a_class_like_any_other() -> None:
    assert split_labels([-1, 0, -1, 0], 0.5).class_counts == {-1: (1, 2), 0: (1, 2)}


def test_the_order_does_not_change_between_processes_or_releases() -> None:
    code = """
from ssl_pdr.data.splits import split_labels
labels = ["ham", "spam", "eggs", "ham"] * 25
for budget in ({"fraction": 0.1}, {"per_class": 2}, {"count": 9, "strategy": "random"},
               {"count": 20, "strategy": "group", "groups": [f"group {row // 6}" for row in range(100)]}):
    split = split_labels(labels, seed=7, **budget)
    print(split.labelled.tolist(), split.hash[:16])
"""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed in ("1", "2")
    }
    (output,) = outputs
    assert output.splitlines() == [
        "[6, 21, 23, 24, 32, 37, 52, 90, 96, 98] f9da43613d1f1fea",
        "[6, 21, 32, 37, 96, 98] 1e9493c9bf784033",
        "[6, 23, 24, 32, 37, 52, 90, 96, 98] 986fd1bb530478be",
        "[18, 19, 20, 21, 22, 23, 36, 37, 38, 39, 40, 41, 72, 73, 74, 75, 76, 77] 6ec5c30a9aacd261",
    ]


def test_400_000_labels_are_split_in_a_moment() -> None:
    labels = np.random.default_rng(0).integers(0, 150, 400_000).tolist()
    start = time.process_time()
    split_labels(labels, 0.1)
    assert time.process_time() - start < 1.5


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    *(
        (lambda f=f: split_labels([0, 1], f), ConfigError, r"expected a number in \(0, 1\]")
        for f in (0, -0.1, 1.01, float("nan"), float("inf"), 10**400, True, "half")
    ),
    *(
        (
            lambda c=c: split_labels([0, 1], count=c),
            ConfigError,
            "labelled count: got .*, expected a whole number of at",
        )
        for c in (0, -3, 1.5, 2.0, True, "2")
    ),
    (lambda: split_labels([0, 1], per_class=0), ConfigError, "labels per class: got 0, expected a whole number"),
    (lambda: split_labels([0, 1], 0.5, count=2), ConfigError, "got fraction 0.5 and count 2, expected one of them"),
    (lambda: split_labels([0, 1], count=2, per_class=1), ConfigError, "got count 2 and per_class 1, expected one"),
    (lambda: split_labels([0, 1, None], count=3), DataError, "labelled count: got 3, expected at most 2: so many rows"),
    (
        lambda: split_labels(["a", "b", "a", None], per_class=2),
        DataError,
        "labels per class: got 2, expected at most 1: the class 'b' has no more rows with a label",
    ),
    (
        lambda: split_labels([0, 1], per_class=1, strategy="group", groups=[1, 2]),
        ConfigError,
        "labels per class: got the split strategy 'group', which keeps groups whole; expected 'stratified' or 'random'",
    ),
    (lambda: split_labels([0, 1], strategy="group"), ConfigError, "'group': got no groups, expected one a row"),
    (lambda: split_labels([0, 1], groups=[0, 1]), ConfigError, "'stratified': got groups, .* leave them out or take"),
    (
        lambda: split_labels([0, 1], strategy="group", groups=[1]),
        DataError,
        "groups: got 1 for 2 rows, expected one a row",
    ),
    (
        lambda: split_labels([0, 1, None], strategy="group", groups=["x", "y", None]),
        DataError,
        "group of row 2: got none, expected an integer or a string in every row",
    ),
    (
        lambda: split_labels([0, 1], strategy="group", groups=[(1, 2), "y"]),
        DataError,
        r"group of row 0: got tuple \(1, 2\), expected an integer or a string",
    ),
    (lambda: split_labels([0, 1], strategy="group", groups="xy"), DataError, "groups: got str, expected a sequence"),
    (
        lambda: split_labels([0, 0, 1, 1], count=1, strategy="group", groups=["x", "x", "y", "y"]),
        DataError,
        "labelled count 1 of 4 rows leaves 2 of 2 classes without a label in whole groups; expected at least 4$",
    ),
    (
        lambda: split_labels([0, 0, 1, 1], 0.75, strategy="group", groups=["x", "x", "y", "y"]),
        DataError,
        r"fraction 0.75 of 4 rows is 3 and leaves 1 of 2 classes .* in whole groups; expected at least 1.0 \(4 rows\)",
    ),
    (lambda: split_labels([0, 1], 1.0, seed=-1), ConfigError, "seed: got -1, expected a whole number of at least 0"),
    (lambda: split_labels([0, 1], 1.0, seed=1.5), ConfigError, "seed: got 1.5"),  # type: ignore[arg-type]
    (lambda: split_labels([0, 1], 1.0, strategy="stratifed"), UnknownNameError, "did you mean 'stratified'"),
    (lambda: split_labels([], 0.5), DataError, "got 0 labels of 0 classes, expected at least 2"),
    (lambda: split_labels([1, 1], 0.5), DataError, "got 2 labels of 1 classes, expected at least 2"),
    (lambda: split_labels(np.zeros((4, 2)), 0.5), DataError, "label of row 0: got list"),
    (lambda: split_labels([[0], [1]], 0.5), DataError, "label of row 0: got list"),
    (lambda: split_labels(np.array(1), 0.5), DataError, "expected a sequence"),
    (lambda: split_labels(None, 0.5), DataError, "got NoneType, expected a sequence"),  # type: ignore[arg-type]
    (lambda: split_labels("spam", 0.5), DataError, "labels: got str"),
    (lambda: split_labels([None, float("nan")]), DataError, "got 2 rows and none with a label, expected at least 2"),
    (lambda: split_labels([0, 0, None]), DataError, "got 2 labels of 1 classes, expected at least 2"),
    (lambda: split_labels([0.0, float("inf")], 0.5), DataError, "label of row 1: got float inf"),
    (lambda: split_labels([0, b"spam"], 0.5), DataError, "label of row 1: got bytes b'spam', expected an integer or a"),
    (lambda: split_labels(list(range(20)), 0.5), DataError, "leaves 10 of 20 classes .* at least 1.0 "),
    (
        lambda: split_labels(["a"] * 6 + ["b"] * 6 + ["c"] * 2, count=2),
        DataError,
        "labelled count 2 of 14 rows leaves 1 of 3 classes without a label; expected at least 3$",
    ),
    (
        lambda: split_labels([0] * 9 + [1], count=2, strategy="random"),
        DataError,
        "leaves 1 of 2 classes without a label; expected at least 10 or the strategy 'stratified'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_what_cannot_be_split_is_refused_in_one_line(
    call: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("strategy", ["stratified", "random"])
@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_fraction_that_is_named_works(strategy: str, seed: int) -> None:
    labels = [0] * 995 + [1, 2, 3] + [4, 4]
    with pytest.raises(DataError, match="without a label; expected at least") as caught:
        split_labels(labels, 0.001, seed, strategy)
    words = str(caught.value).split("at least ")[1].split()
    split = split_labels(labels, float(words[0]), seed, strategy)
    assert len(split.labelled) - int(words[1].strip("(")) <= 9  # three digits of a fraction of 1,000 rows
    with pytest.raises(DataError):
        split_labels(labels, (int(words[1].strip("(")) - 1) / 1000, seed, strategy)


def test_changed_data_is_refused() -> None:
    split = split_labels(["a", "b", "a", "b"], 0.5)
    split.verify(np.array(["a", "b", "a", "b"]), "of the texts")
    for changed in (["b", "a", "a", "b"], ["a", "b", "a"], ["a", "c", "a", "c"], ["a", "b", "a", None], ["a"] * 4, []):
        with pytest.raises(
            DataError, match=f"since it was split: got {len(changed)} labels with hash .* expected 4 with"
        ):
            split.verify(changed)


def test_changed_texts_are_refused_where_both_sides_know_them() -> None:
    split = split_labels([0, 1], data_hash="first")
    assert split != split_labels([0, 1])
    split.verify([0, 1])
    split.verify([0, 1], "first")
    with pytest.raises(
        DataError, match="the data changed since it was split: got .* hash second, expected first"
    ) as caught:
        split.verify([0, 1], "second")
    assert "\n" not in str(caught.value)


def test_a_budget_is_a_number_of_rows() -> None:
    assert Budget.of() == Budget("fraction", 1.0)
    assert [
        Budget.of(fraction=0.25).rows([5, 3]),
        Budget.of(count=3).rows([5, 3]),
        Budget.of(per_class=2).rows([5, 3]),
    ] == [
        2,
        3,
        4,
    ]
