"""Mixed batches: the exact composition, nothing lost or repeated, the same on every rank and after every resume."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from ssl_pdr.data.mixing import MixedBatchSampler, ShardedBatchSampler, compose
from ssl_pdr.errors import ConfigError

quick = settings(max_examples=60, deadline=None, derandomize=True)
counts = st.integers(0, 300)
batch_sizes = st.integers(1, 40)
ratios = st.just("proportional") | st.floats(0.3, 9)


@st.composite
def samplers(draw: st.DrawFn, ratio: st.SearchStrategy[Any] = ratios) -> MixedBatchSampler:
    """Any sampler, with or without lengths."""
    labelled, unlabelled = draw(st.integers(2, 150)), draw(counts)
    lengths = None
    if draw(st.booleans()):
        lengths = np.random.default_rng(0).integers(1, 60, labelled + unlabelled)
    seed, window = draw(st.integers(0, 2**40)), draw(st.integers(1, 9))
    mix, batch_size = draw(ratio), draw(batch_sizes)
    if isinstance(mix, float):
        batch_size += int(mix) + 1  # a batch has to hold a labelled row and its unlabelled ones
    return MixedBatchSampler(labelled, unlabelled, batch_size, mix, lengths, seed, window)


def rows_of(sampler: MixedBatchSampler, epoch: int = 0) -> list[int]:
    sampler.set_epoch(epoch)
    return [row for batch in sampler for row in batch]


# --- composition ---


@settings(max_examples=500, deadline=None, derandomize=True)
@given(counts, counts, batch_sizes)
def test_the_composition_is_exact_and_even(labelled: int, unlabelled: int, batch_size: int) -> None:
    if labelled + unlabelled == 0:
        return
    table = compose(labelled, unlabelled, batch_size)
    k = -(-(labelled + unlabelled) // batch_size)
    sizes = table.sum(axis=1)
    assert table.shape == (k, 2)
    assert table.min() >= 0
    assert table.sum(axis=0).tolist() == [labelled, unlabelled]
    assert (sizes[:-1] == batch_size).all()
    assert 1 <= sizes[-1] <= batch_size
    formula = [(i + 1) * labelled // k - i * labelled // k for i in range(k)]
    if formula[-1] <= sizes[-1]:
        assert table[:, 0].tolist() == formula
    else:  # the last batch is too short for its share: it is all labelled, the others share evenly
        assert table[-1].tolist() == [sizes[-1], 0]
        assert np.ptp(table[:-1, 0]) <= 1


def test_no_small_case_breaks_the_composition() -> None:
    for labelled in range(14):
        for unlabelled in range(14):
            for batch_size in range(1, 9):
                if labelled + unlabelled:
                    table = compose(labelled, unlabelled, batch_size)
                    assert table.min() >= 0
                    assert table.sum(axis=1).max() <= batch_size
                    assert table.sum(axis=0).tolist() == [labelled, unlabelled]


@quick
@given(samplers())
def test_batches_have_the_composition_labelled_first_and_the_honest_length(sampler: MixedBatchSampler) -> None:
    batches = list(sampler)
    assert len(batches) == len(sampler)
    for batch, (labelled, unlabelled) in zip(batches, sampler.composition, strict=True):
        assert all(type(row) is int for row in batch)
        assert [row < sampler.n_labelled for row in batch] == [True] * labelled + [False] * unlabelled


# --- which rows an epoch has ---


@quick
@given(samplers(st.just("proportional")), st.integers(0, 50))
def test_proportional_has_every_row_exactly_once(sampler: MixedBatchSampler, epoch: int) -> None:
    assert sorted(rows_of(sampler, epoch)) == list(range(sampler.n_labelled + sampler.n_unlabelled))


@quick
@given(st.integers(2, 60), st.integers(1, 90), st.floats(0.3, 9), batch_sizes, st.booleans(), st.integers(0, 9))
def test_a_ratio_uses_all_unlabelled_rows_before_it_repeats_one(
    n_labelled: int, n_unlabelled: int, ratio: float, batch_size: int, bucketed: bool, seed: int
) -> None:
    lengths = np.arange(n_labelled + n_unlabelled) if bucketed else None
    sampler = MixedBatchSampler(n_labelled, n_unlabelled, batch_size + int(ratio) + 1, ratio, lengths, seed)
    stream: list[int] = []
    for epoch in range(5):
        rows = rows_of(sampler, epoch)
        assert sorted(row for row in rows if row < n_labelled) == list(range(n_labelled))
        stream += (row for row in rows if row >= n_labelled)
        assert len(stream) == (epoch + 1) * round(ratio * n_labelled)
        seen = Counter(stream)
        times = [seen[row] for row in range(n_labelled, n_labelled + n_unlabelled)]
        assert max(times) - min(times) <= 1
    if not bucketed:  # without windows it holds for each pass, not only from epoch to epoch
        for start in range(0, len(stream), n_unlabelled):
            part = stream[start : start + n_unlabelled]
            assert len(set(part)) == len(part)


def test_each_pass_over_the_unlabelled_rows_has_its_own_order() -> None:
    rows = [row for row in rows_of(MixedBatchSampler(10, 50, 11, ratio=10.0)) if row >= 10]
    assert sorted(rows[:50]) == sorted(rows[50:])
    assert rows[:50] != rows[50:]


def test_a_ratio_is_read_as_the_decimal_number_that_it_prints_as() -> None:
    assert MixedBatchSampler(50, 100, 10, ratio=1.15).composition.sum(axis=0).tolist() == [50, 58]


@pytest.mark.parametrize("ratio", ["proportional", 0.001, 7])
def test_without_unlabelled_rows_it_is_plain_fine_tuning(ratio: Any) -> None:
    sampler = MixedBatchSampler(70, 0, 32, ratio)
    assert [len(batch) for batch in sampler] == [32, 32, 6]
    assert sorted(rows_of(sampler)) == list(range(70))


# --- a pure function of (seed, epoch) ---


@quick
@given(samplers(), st.integers(0, 30))
def test_batches_depend_on_seed_and_epoch_alone(sampler: MixedBatchSampler, epoch: int) -> None:
    arguments = (sampler.n_labelled, sampler.n_unlabelled, sampler.batch_size, sampler.ratio, sampler.lengths)
    fresh = MixedBatchSampler(*arguments, sampler.seed, sampler.bucket_batches)
    list(sampler)  # an epoch that the fresh one, which resumes, never saw
    assert rows_of(sampler, epoch) == rows_of(fresh, epoch) == rows_of(fresh, epoch)


@pytest.mark.parametrize("lengths", [None, [5] * 300])
def test_epochs_and_seeds_differ(lengths: list[int] | None) -> None:
    sampler, other = (MixedBatchSampler(100, 200, 30, lengths=lengths, seed=seed) for seed in (0, 1))
    epochs = [rows_of(sampler, epoch) for epoch in range(3)] + [rows_of(other, epoch) for epoch in range(3)]
    assert len({tuple(rows) for rows in epochs}) == 6


def test_the_epoch_is_that_of_the_start_of_the_iteration() -> None:
    sampler = MixedBatchSampler(20, 20, 8)
    expected, batches = list(sampler), iter(sampler)
    sampler.set_epoch(1)
    assert list(batches) == expected


# --- lengths ---


def _pools(seed: int = 0) -> tuple[int, int, np.ndarray[Any, np.dtype[np.int64]]]:
    labelled, unlabelled = 1_500, 6_000
    lengths = np.random.default_rng(seed).lognormal(3, 0.7, labelled + unlabelled).astype(np.int64) + 1
    return labelled, unlabelled, lengths


def _waste(sampler: MixedBatchSampler, lengths: Any) -> float:
    """Padding per real token."""
    return float(sum(lengths[b].max() * len(b) - lengths[b].sum() for b in sampler) / lengths.sum())


def test_lengths_save_padding_and_leave_the_mix_alone() -> None:
    labelled, unlabelled, lengths = _pools()
    plain, bucketed = (MixedBatchSampler(labelled, unlabelled, 32, lengths=x) for x in (None, lengths))
    assert _waste(bucketed, lengths) < 0.2 * _waste(plain, lengths)
    assert (plain.composition == bucketed.composition).all()
    assert sorted(rows_of(plain)) == sorted(rows_of(bucketed))
    means = np.array([[lengths[[r for r in b if (r < labelled) == side]].mean() for side in (1, 0)] for b in bucketed])
    assert np.corrcoef(means.T)[0, 1] > 0.9


def test_length_does_not_decide_when_a_row_is_seen() -> None:
    labelled, unlabelled, lengths = _pools()
    sampler = MixedBatchSampler(labelled, unlabelled, 32, lengths=lengths, bucket_batches=20)
    positions, means = [], []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for position, batch in enumerate(sampler):
            positions.append(position % 20)
            means.append(lengths[batch].mean())
    assert abs(np.corrcoef(positions, means)[0, 1]) < 0.06  # four standard deviations
    labelled_rows = sampler.composition[:, 0]
    assert abs(np.corrcoef(np.tile(labelled_rows, 20), means)[0, 1]) < 0.06


def test_rows_of_equal_length_are_mixed_anew_in_each_epoch() -> None:
    sampler = MixedBatchSampler(64, 64, 8, lengths=[1] * 64 + [2] * 64)
    partners = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        partners.append({frozenset(batch) for batch in sampler})
    assert not partners[0] & partners[1]


# --- what one process loads ---


@quick
@given(samplers(), st.integers(1, 12), st.integers(1, 5))
def test_ranks_and_micro_batches_make_up_the_global_batch(
    sampler: MixedBatchSampler, micro: int, world_size: int
) -> None:
    ranks = [ShardedBatchSampler(sampler, micro, rank, world_size) for rank in range(world_size)]
    parts = [iter(rank) for rank in ranks]
    steps = 0
    for batch in sampler:
        together: list[int] = []
        labelled_rows = []
        for _ in range(-(-len(batch) // (micro * world_size))):
            steps += 1
            for rank in parts:
                part = next(rank)
                assert 1 <= len(part) <= micro
                real = [row for row in part if row >= 0]
                assert real == part or part == [~batch[0]]
                has_label = [row < sampler.n_labelled for row in real]
                assert has_label == sorted(has_label, reverse=True)
                labelled_rows.append(sum(has_label))
                together += real
        assert sorted(together) == sorted(batch)
        assert max(labelled_rows) - min(labelled_rows) <= 1
    assert [len(rank) for rank in ranks] == [steps] * world_size
    assert not any(list(rank) for rank in parts)


def test_one_times_eight_is_eight_times_one() -> None:
    sampler = MixedBatchSampler(30, 60, 8, seed=3)
    one_by_eight = [ShardedBatchSampler(sampler, 1, rank, 8) for rank in range(8)]
    layouts = {
        "8 x 1": [sorted(part) for part in ShardedBatchSampler(sampler, 8)],
        "1 x 8 ranks": [sorted(r for p in parts for r in p if r >= 0) for parts in zip(*one_by_eight, strict=True)],
        "global": [sorted(batch) for batch in sampler],
    }
    assert layouts["8 x 1"] == layouts["1 x 8 ranks"] == layouts["global"]
    assert len(ShardedBatchSampler(sampler, 1)) == 90


def test_the_epoch_reaches_the_global_batches_by_either_name() -> None:
    sharded = ShardedBatchSampler(MixedBatchSampler(20, 20, 8), 4)
    first = list(sharded)
    sharded.set_epoch(1)
    second = list(sharded)
    sharded.batch_sampler.set_epoch(0)
    assert list(sharded) == first != second


def test_a_data_loader_takes_it() -> None:
    class Rows(Dataset[int]):
        def __getitem__(self, index: int) -> int:
            return index

    sampler = MixedBatchSampler(2, 3, 4)
    loaders = [DataLoader(Rows(), batch_sampler=ShardedBatchSampler(sampler, 2, rank, 2)) for rank in range(2)]
    rows = torch.cat([batch for loader in loaders for batch in loader]).tolist()
    assert sorted(row for row in rows if row >= 0) == [0, 1, 2, 3, 4]
    assert sum(row < 0 for row in rows) == 1


# --- size and mistakes ---


def test_an_epoch_of_a_million_rows_is_built_in_a_moment() -> None:
    lengths = np.random.default_rng(0).integers(1, 512, 1_000_000)
    sampler = MixedBatchSampler(100_000, 900_000, 32, lengths=lengths)
    start = time.process_time()
    assert sum(map(len, sampler)) == 1_000_000
    assert time.process_time() - start < 3


_BATCHES = MixedBatchSampler(4, 4, 4)
WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: MixedBatchSampler(0, 9, 4), "n_labelled: got 0, expected a whole number of at least 1"),
    (lambda: MixedBatchSampler(4, -1, 4), "n_unlabelled: got -1"),
    (lambda: MixedBatchSampler(4, 4, 0), "batch_size: got 0"),
    (lambda: MixedBatchSampler(4, 4, 2.0), "batch_size: got 2.0"),  # type: ignore[arg-type]
    (lambda: MixedBatchSampler(4, 4, True), "batch_size: got True"),
    (lambda: MixedBatchSampler(4, 4, 4, seed=-1), "seed: got -1"),
    (lambda: MixedBatchSampler(4, 4, 4, bucket_batches=0), "bucket_batches: got 0"),
    (lambda: MixedBatchSampler(4, 4, 4).set_epoch(-1), "epoch: got -1"),
    *(
        (lambda r=r: MixedBatchSampler(4, 4, 4, ratio=r), "ratio: got .* expected 'proportional' or")
        for r in (0, -2, float("nan"), float("inf"), True, None, "proportionl")
    ),
    (lambda: MixedBatchSampler(4, 4, 4, ratio=0.1), "takes no unlabelled row for 4 .* at least 0.25"),
    (lambda: MixedBatchSampler(4, 4, 4, lengths=[1] * 7), r"lengths: got int64 of shape \(7,\), expected 8 whole"),
    (lambda: MixedBatchSampler(4, 4, 4, lengths=[1.5] * 8), "lengths: got float64"),
    (lambda: MixedBatchSampler(4, 4, 4, lengths=[-1] * 8), "whole numbers of at least 0"),
    (lambda: MixedBatchSampler(4, 4, 4, lengths=[[1], [1, 2]]), "lengths: got"),
    (lambda: ShardedBatchSampler(_BATCHES, 0), "micro_batch_size: got 0"),
    (lambda: ShardedBatchSampler(_BATCHES, 1, 2, 2), "rank: got 2 of world_size 2, expected 0 to 1"),
    (lambda: ShardedBatchSampler(_BATCHES, 1, -1, 2), "rank: got -1"),
    (lambda: ShardedBatchSampler(_BATCHES, 1, 0, 0), "world_size: got 0"),
    (lambda: compose(0, 0, 4), "n_labelled . n_unlabelled: got 0"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
