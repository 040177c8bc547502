"""Label budgets: exact, nested, in proportion, the same everywhere, and safe on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data.splits import LabelSplit, exact_share, split_labels
from ssl_pdr.errors import ConfigError, DataError, OutputError, UnknownNameError

quick = settings(max_examples=30, deadline=None, derandomize=True)

# Every class has a row; some are rare.
label_lists = st.lists(st.integers(1, 40), min_size=2, max_size=8).flatmap(
    lambda sizes: st.permutations([f"class {c}" for c, size in enumerate(sizes) for _ in range(size)])
)
seeds = st.integers(0, 2**64)


def budgets(labels: list[str]) -> list[float]:
    """A fraction for every size that leaves no class without a label."""
    n = len(labels)
    return [size / n for size in range(len(set(labels)), n + 1)]


@quick
@given(label_lists, seeds, st.data())
def test_a_split_is_a_partition_of_exact_size_with_every_class(labels: list[str], seed: int, data: Any) -> None:
    fraction = data.draw(st.sampled_from(budgets(labels)))
    split = split_labels(labels, fraction, seed)
    for part in (split.labelled, split.unlabelled):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
    assert sorted([*split.labelled, *split.unlabelled]) == list(range(len(labels)))
    assert len(split.labelled) == round(Fraction(repr(fraction)) * len(labels))
    counts = Counter(labels[row] for row in split.labelled)
    assert split.class_counts == {c: (counts[c], total) for c, total in Counter(labels).items()}
    assert min(counts[c] for c in set(labels)) >= 1


@quick
@given(label_lists, seeds)
def test_every_budget_contains_the_smaller_ones(labels: list[str], seed: int) -> None:
    smaller: set[int] = set()
    for fraction in budgets(labels):
        labelled = set(split_labels(labels, fraction, seed).labelled.tolist())
        assert smaller < labelled
        smaller = labelled


@quick
@given(label_lists, seeds)
def test_every_stratified_budget_is_in_proportion_to_one_row(labels: list[str], seed: int) -> None:
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
    ten, eleven = (set(split_labels(labels, size / 14).labelled) for size in (10, 11))
    assert len(ten) == 10
    assert ten < eleven


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
    split = split_labels([3, 1, 3], 1.0)
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


def test_the_order_does_not_change_between_processes_or_releases() -> None:
    code = (
        "from ssl_pdr.data.splits import split_labels as s;"
        "x = s(['ham', 'spam', 'eggs', 'ham'] * 25, 0.1, 7); print(x.labelled.tolist(), x.hash[:16])"
    )
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
    assert outputs == {"[6, 21, 23, 24, 32, 37, 52, 90, 96, 98] fde7086ab1eb8683"}


def test_400_000_labels_are_split_in_a_moment() -> None:
    labels = np.random.default_rng(0).integers(0, 150, 400_000).tolist()
    start = time.process_time()
    split_labels(labels, 0.1)
    assert time.process_time() - start < 1.5


WRONG: list[tuple[Callable[[], object], type[Exception], str]] = [
    *(
        (lambda f=f: split_labels([0, 1], f), ConfigError, r"expected a number in \(0, 1\]")
        for f in (0, -0.1, 1.01, float("nan"), float("inf"), True, None, "half")
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
    (lambda: split_labels([0, 1, None], 0.5), DataError, "label of row 2: got NoneType None"),
    (lambda: split_labels([0.0, float("nan")], 0.5), DataError, "label of row 1: got float nan"),
    (lambda: split_labels(list(range(20)), 0.5), DataError, "leaves 10 of 20 classes .* at least 1.0 "),
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


@quick
@given(label_lists, seeds)
def test_a_saved_split_is_read_back_equal(tmp_path_factory: Any, labels: list[str], seed: int) -> None:
    path = tmp_path_factory.mktemp("split") / "new folder" / "split.json"
    split = split_labels(labels, 1.0 if seed % 2 else budgets(labels)[0], seed)
    split.save(path)
    loaded = LabelSplit.load(path)
    assert loaded == split
    assert (loaded.unlabelled == split.unlabelled).all()
    assert loaded.class_counts == split.class_counts
    loaded.verify(labels)
    assert os.listdir(path.parent) == ["split.json"]  # noqa: PTH208  # names are what is asked


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split_labels([5, -1, 5, -1, 5, 5], 0.5).save(path)
    good = path.read_bytes()
    for place in range(0, len(good) * 8, 5):  # every byte or its neighbour, and every place in a byte
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(DataError) as caught:
            LabelSplit.load(path)
        assert "\n" not in str(caught.value), place


def test_every_field_counts_for_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 1, 0, 1], 0.5).save(path)
    manifest = json.loads(path.read_text())
    for field in set(manifest) - {"format", "version", "hash"}:
        path.write_text(json.dumps({**manifest, field: 7}))
        with pytest.raises(DataError, match="the file was changed after it was saved"):
            LabelSplit.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the split .* No such file"),
        (b"", "got no JSON"),
        (b"\xff\xfe", "got no JSON"),
        (b"[1, 2]", "got some other JSON"),
        (b'{"format": "ssl-pdr label split", "version": 2}', "got version 2 of a label split, expected 1"),
        (b'{"format": "ssl-pdr label split", "version": 1}', "restore or remake it"),
    ],
)
def test_a_file_that_is_no_split_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "split.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        LabelSplit.load(path)
    assert "\n" not in str(caught.value)


def test_changed_data_is_refused() -> None:
    split = split_labels(["a", "b", "a", "b"], 0.5)
    split.verify(np.array(["a", "b", "a", "b"]))
    for changed in (["b", "a", "a", "b"], ["a", "b", "a"], ["a", "c", "a", "c"]):
        with pytest.raises(DataError, match=f"got {len(changed)} labels with hash .* expected 4 with"):
            split.verify(changed)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 1], 1.0).save(path)
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; choose another place"):
        split_labels([0, 1, 1], 1.0).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        split_labels([0, 1], 1.0).save(path / "below a file.json")
