"""Mixed batches: the exact composition, nothing lost or repeated, the same on every rank and after every resume."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from ssl_pdr.data.mixing import MixedBatchSampler, ShardedBatchSampler, compose
from ssl_pdr.data.shares import Shares, shares
from ssl_pdr.data.splits import exact_share
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
    rows = np.cumsum(table, axis=0)
    shares = rows.sum(axis=1) * labelled / (labelled + unlabelled)
    assert np.abs(rows[:, 0] - shares).max() <= 0.5


@quick
@given(counts, batch_sizes, st.integers(1, 200))
def test_a_number_of_unlabelled_rows_for_each_labelled_one_does_not_move_the_labelled_ones(
    labelled: int, batch: int, unlabelled_of_a_batch: int
) -> None:
    """Where it makes whole rows of a batch."""
    unlabelled = exact_share(unlabelled_of_a_batch / batch, labelled)
    if labelled and unlabelled:
        mixed = compose(labelled, unlabelled, batch + unlabelled_of_a_batch)
        assert mixed[:, 0].tolist() == compose(labelled, 0, batch)[:, 0].tolist()


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


@pytest.mark.parametrize("ratio", ["proportional", 0, 0.001, 7])
def test_without_unlabelled_rows_it_is_plain_fine_tuning(ratio: Any) -> None:
    sampler = MixedBatchSampler(70, 50 if ratio == 0 else 0, 32, ratio)
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


# --- several pools, weights, temperature, streams ---


@dataclass(frozen=True)
class Mix:
    """The arguments of a sampler of several pools, and what they promise."""

    labelled: list[int]
    unlabelled: list[int | None]
    batch_size: int
    options: dict[str, Any]

    def sampler(self, **changed: Any) -> MixedBatchSampler:
        return MixedBatchSampler(self.labelled, self.unlabelled, self.batch_size, **{**self.options, **changed})

    def turns(self) -> list[Shares]:
        weights, temperature = self.options["unlabelled_weights"], self.options["temperature"]
        return [
            shares(self.labelled, self.options["labelled_weights"], None, "labelled"),
            shares(self.unlabelled, weights, temperature, "unlabelled"),
        ]

    def pool(self, row: int) -> tuple[int, int, int]:
        """The side, the pool and the row or place in it of a row's number."""
        for side, sizes in enumerate((self.labelled, self.unlabelled)):
            for pool, size in enumerate(sizes):
                if size is not None:
                    if row < size:
                        return side, pool, row
                    row -= size
        streams = [pool for pool, size in enumerate(self.unlabelled) if size is None]
        return 1, streams[row % len(streams)], row // len(streams)


@st.composite
def mixes(draw: st.DrawFn, streams: bool = True, ratio: st.SearchStrategy[Any] = ratios, least: int = 2) -> Mix:
    def weights(pools: int) -> st.SearchStrategy[list[float] | None]:
        some = st.lists(st.integers(0, 9) | st.floats(0.01, 9), min_size=pools, max_size=pools).filter(any)
        return st.none() | some

    labelled = draw(st.lists(st.integers(least, 60), min_size=1, max_size=3))
    size = st.integers(1, 80)
    unlabelled = draw(st.lists(size | st.none() if streams else size, max_size=3))
    mix = draw(st.floats(0.5, 9) if None in unlabelled else ratio)
    options = {
        "ratio": mix,
        "lengths": None,
        "seed": draw(st.integers(0, 2**40)),
        "bucket_batches": draw(st.integers(1, 9)),
        "labelled_weights": draw(weights(len(labelled))),
        "unlabelled_weights": draw(weights(len(unlabelled))) if unlabelled else None,
        "temperature": None,
    }
    if unlabelled and None not in unlabelled and options["unlabelled_weights"] is None:
        options["temperature"] = draw(st.none() | st.floats(0.5, 20))
    if draw(st.booleans()):
        numbered = sum(labelled) + sum(size or 0 for size in unlabelled)
        options["lengths"] = np.random.default_rng(0).integers(1, 60, numbered)
    batch_size = draw(batch_sizes) + (int(mix) + 1 if isinstance(mix, float) else 0)
    return Mix(labelled, unlabelled, batch_size, options)


def by_pool(mix: Mix, rows: list[int]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in rows:
        side, pool, place = mix.pool(row)
        found[side, pool].append(place)
    return found


@quick
@given(mixes())
def test_each_batch_has_the_pools_that_are_due(mix: Mix) -> None:
    sampler = mix.sampler()
    per_epoch = sampler.composition.sum(axis=0)
    assert (sampler.composition == compose(*per_epoch.tolist(), mix.batch_size)).all()
    assert per_epoch[0] == sum(mix.labelled)
    edges = np.vstack([[0, 0], sampler.composition.cumsum(axis=0)])
    for epoch in range(3):
        due = [turns.counts(epoch * per_epoch[side] + edges[:, side]) for side, turns in enumerate(mix.turns())]
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        for number, batch in enumerate(batches):
            sides = [mix.pool(row)[0] for row in batch]
            assert sides == [0] * sampler.composition[number, 0] + [1] * sampler.composition[number, 1]
            found = by_pool(mix, batch)
            for side, counts in enumerate(due):
                expected = np.diff(counts, axis=0)[number].tolist()
                assert [len(found[side, pool]) for pool in range(len(expected))] == expected


@quick
@given(mixes())
def test_no_row_of_any_pool_comes_again_before_all_have_come(mix: Mix) -> None:
    sampler = mix.sampler()
    seen: dict[tuple[int, int], list[int]] = defaultdict(list)
    for epoch in range(4):
        for (side, pool), places in by_pool(mix, rows_of(sampler, epoch)).items():
            seen[side, pool] += places
            size = (mix.labelled, mix.unlabelled)[side][pool]
            if size is None:  # a stream goes on and on, and leaves no place out
                assert sorted(seen[side, pool]) == list(range(len(seen[side, pool])))
                continue
            times = np.bincount(seen[side, pool], minlength=size)
            assert len(times) == size
            assert np.ptp(times) <= 1
            if mix.options["lengths"] is None:  # without windows it holds in the middle of an epoch too
                for start in range(0, len(seen[side, pool]), size):
                    part = seen[side, pool][start : start + size]
                    assert len(set(part)) == len(part)


@quick
@given(mixes(streams=False, ratio=st.just("proportional")))
def test_by_size_and_proportional_each_row_of_each_pool_comes_once(mix: Mix) -> None:
    sampler = mix.sampler(labelled_weights=None, unlabelled_weights=None, temperature=None)
    numbered = sum(mix.labelled) + sum(size or 0 for size in mix.unlabelled)
    for epoch in (0, 7):
        assert sorted(rows_of(sampler, epoch)) == list(range(numbered))


@quick
@given(mixes(streams=False), st.integers(0, 5))
def test_lengths_change_no_epochs_rows(mix: Mix, epoch: int) -> None:
    """So each decile of lengths is drawn exactly as often as without them."""
    numbered = sum(mix.labelled) + sum(size or 0 for size in mix.unlabelled)
    lengths = np.random.default_rng(1).integers(1, 400, numbered)
    plain, bucketed = mix.sampler(lengths=None), mix.sampler(lengths=lengths)
    assert sorted(rows_of(plain, epoch)) == sorted(rows_of(bucketed, epoch))
    assert (plain.composition == bucketed.composition).all()


@quick
@given(mixes(least=10), st.integers(0, 20))
def test_a_mix_depends_on_seed_and_epoch_alone(mix: Mix, epoch: int) -> None:
    sampler = mix.sampler()
    list(sampler)
    assert rows_of(sampler, epoch) == rows_of(mix.sampler(), epoch)
    # Of ten rows by length two batches are all there is, and their order is one of two: over many epochs.
    other, first = mix.sampler(seed=mix.options["seed"] + 1), rows_of(sampler, epoch)
    epochs = range(epoch, epoch + 20)
    assert any(rows_of(sampler, at) != rows_of(other, at) for at in epochs)
    assert any(rows_of(sampler, at) != first for at in epochs)


@quick
@given(mixes(), st.integers(0, 3))
def test_windows_of_a_stream_are_those_of_the_batches(mix: Mix, epoch: int) -> None:
    sampler = mix.sampler()
    sampler.set_epoch(epoch)
    batches = list(sampler)
    streams = [pool for pool, size in enumerate(mix.unlabelled) if size is None]
    n_windows = -(-len(batches) // mix.options["bucket_batches"])
    for window in range(n_windows):
        first, last = (-(-number * len(batches) // n_windows) for number in (window, window + 1))
        found = by_pool(mix, [row for batch in batches[first:last] for row in batch])
        for stream, pool in enumerate(streams):
            places = found[1, pool]
            assert all(sampler.stream_window(stream, place) == (min(places), max(places) + 1) for place in places)
            assert len(places) in (0, max(places, default=0) + 1 - min(places, default=0))


def test_a_stream_is_dealt_like_a_pool_of_known_lengths() -> None:
    """Place k of a window is its k-th shortest row, so batches must ask for neighbours in a window."""
    lengths = np.sort(np.random.default_rng(0).integers(1, 99, 500))
    sampler = MixedBatchSampler(500, [None], 10, ratio=1.0, lengths=lengths, bucket_batches=10)
    for batch in sampler:
        places = sorted(row - 500 for row in batch if row >= 500)
        assert places == list(range(places[0], places[0] + 5))


def test_numbers_of_streams_follow_all_others() -> None:
    sampler = MixedBatchSampler([2, 2], [None, 4, None], 12, ratio=3, unlabelled_weights=[1, 1, 2])
    assert (sampler.n_labelled, sampler.n_unlabelled, sampler.n_streams) == (4, 4, 2)
    rows = sorted(rows_of(sampler))
    assert rows[:4] == [0, 1, 2, 3]
    assert len(set(rows[4:7]) & {4, 5, 6, 7}) == 3
    assert [row for row in rows[7:] if row % 2 == 0] == [8, 10, 12]  # place k of stream s of two is row 8 + 2k + s
    assert [row for row in rows[7:] if row % 2 == 1] == [9, 11, 13, 15, 17, 19]


def test_every_pool_has_an_order_of_its_own() -> None:
    rows = rows_of(MixedBatchSampler([40, 40], [40, 40], 16))
    orders = {tuple(row % 40 for row in rows if row // 40 == pool) for pool in range(4)}
    assert len(orders) == 4


def test_a_pool_of_weight_zero_has_no_turn() -> None:
    rows = rows_of(
        MixedBatchSampler([5, 5], [7, None, 9], 10, ratio=4, labelled_weights=[0, 1], unlabelled_weights=[0, 0, 1])
    )
    assert {row for row in rows if row < 10} == set(range(5, 10))
    assert {row for row in rows if row >= 10} == set(range(17, 26))


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
        for r in (-2, float("nan"), float("inf"), True, None, "proportionl")
    ),
    (lambda: MixedBatchSampler(4, 4, 4, ratio=0.1), "takes no unlabelled row for 4 .* at least 0.25"),
    (
        lambda: MixedBatchSampler(4, 4, 4, ratio=3.1),
        "ratio: got 3.1, .* more unlabelled rows than a batch of 4 .* at most 3",
    ),
    (
        lambda: MixedBatchSampler(4, [None], 8, ratio=8),
        "ratio: got 8, .* beside a labelled one; expected at most 7, or a larger",
    ),
    (lambda: MixedBatchSampler(4, [4, None], 4), "ratio: a streamed corpus has no length .* give a number, such as 1"),
    (lambda: MixedBatchSampler([4, None], 4, 4), "n_labelled: got None, a stream"),  # type: ignore[list-item]
    (lambda: MixedBatchSampler([], 4, 4), "n_labelled: got 0"),
    (lambda: MixedBatchSampler([4, 0], 4, 4), "n_labelled of a pool: got 0, expected a whole number of at least 1"),
    (lambda: MixedBatchSampler(4, [4, -1], 4), "n_unlabelled of a pool: got -1"),
    (lambda: MixedBatchSampler([4, 4], 4, 4, labelled_weights=[1]), "labelled weights: got 1 of them for 2"),
    (lambda: MixedBatchSampler(4, [4, 4], 4, unlabelled_weights=[0, 0]), "unlabelled weights: all 2 of them are 0"),
    (lambda: MixedBatchSampler(4, [4, 4], 4, unlabelled_weights=[1, 1], temperature=2), "got both"),
    (lambda: MixedBatchSampler(4, [4, None], 4, 1, temperature=2), "temperature: the size of a streamed"),
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
