"""Batches that mix labelled and unlabelled rows in exact proportion, the same in every process, on every resume."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ssl_pdr.data.splits import whole_number
from ssl_pdr.errors import ConfigError

IntArray = NDArray[np.int64]
_LABELLED, _UNLABELLED, _ORDER = range(3)  # what a generator of random numbers is for


def compose(n_labelled: int, n_unlabelled: int, batch_size: int) -> IntArray:
    """How many labelled and unlabelled rows each batch of an epoch holds.

    K batches, full but for the last; batch k holds ⌊(k+1)L/K⌋ − ⌊kL/K⌋ of the L labelled rows, as evenly as whole
    numbers can. Where the short last batch has no room for its share it holds labelled rows only, and the others
    are spread over the batches before it in the same way.

    Returns:
        (K, 2): labelled and unlabelled rows of each batch.

    Example:
        >>> compose(4, 6, 4).tolist()
        [[1, 3], [1, 3], [2, 0]]
    """
    total = n_labelled + n_unlabelled
    count = -(-total // batch_size)
    sizes = np.full(count, batch_size, dtype=np.int64)
    sizes[-1] = total - batch_size * (count - 1)
    labelled = _spread(n_labelled, count)
    if labelled[-1] > sizes[-1]:
        labelled = np.append(_spread(n_labelled - sizes[-1], count - 1), sizes[-1])
    return np.stack((labelled, sizes - labelled), axis=1)


class MixedBatchSampler(Sampler[list[int]]):
    """Global batches, one per optimizer step, of row numbers: labelled rows first, then unlabelled ones.

    Labelled rows have the numbers 0 … n_labelled − 1, unlabelled ones those that follow. The order is a pure function of
    (seed, epoch): nothing has to be saved for a resume.

    Args:
        n_labelled: at least 1.
        n_unlabelled: 0 is plain supervised training.
        batch_size: rows of a batch, labelled and unlabelled together.
        ratio: `proportional`: every row exactly once per epoch, the pools spread evenly. A number r > 0: r unlabelled
            rows for each labelled one; the labelled rows make the epoch, and the unlabelled ones go on across epochs
            without repeating before all had their turn.
        lengths: one per row number; batches then hold rows of similar length, which saves padding.
        seed: of the order.
        bucket_batches: how many batches' rows are sorted by length together: fewer is more random, more saves padding.

    Raises:
        ConfigError: for numbers that make no sense.

    Example:
        >>> sampler = MixedBatchSampler(n_labelled=2, n_unlabelled=4, batch_size=3)
        >>> [[index < 2 for index in batch] for batch in sampler]
        [[True, False, False], [True, False, False]]
    """

    def __init__(
        self,
        n_labelled: int,
        n_unlabelled: int,
        batch_size: int,
        ratio: str | float = "proportional",
        lengths: Sequence[int] | NDArray[Any] | None = None,
        seed: int = 0,
        bucket_batches: int = 50,
    ) -> None:
        self.n_labelled = whole_number("n_labelled", n_labelled, 1)
        self.n_unlabelled = whole_number("n_unlabelled", n_unlabelled, 0)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.seed = whole_number("seed", seed, 0)
        self.bucket_batches = whole_number("bucket_batches", bucket_batches, 1)
        self.ratio = _checked_ratio(ratio)
        self.lengths = None if lengths is None else _checked_lengths(lengths, self.n_labelled + self.n_unlabelled)
        self.epoch = 0
        per_epoch = self.n_unlabelled
        if self.ratio != "proportional" and self.n_unlabelled:
            per_epoch = round(float(self.ratio) * self.n_labelled)
        self._per_epoch = per_epoch
        self.composition = compose(self.n_labelled, per_epoch, self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is of."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.composition)

    def __iter__(self) -> Iterator[list[int]]:
        labelled = self._random(_LABELLED, self.epoch).permutation(self.n_labelled)
        unlabelled = self.n_labelled + self._stream(self.epoch * self._per_epoch, self._per_epoch)
        order = self._random(_ORDER, self.epoch)
        for start in range(0, len(self), self.bucket_batches):
            counts = self.composition[start : start + self.bucket_batches]
            rows, labelled, unlabelled = _take(labelled, unlabelled, counts)
            yield from self._window(*rows, counts, order)

    def _window(
        self, labelled: IntArray, unlabelled: IntArray, counts: IntArray, order: np.random.Generator
    ) -> Iterator[list[int]]:
        """Batches of the given composition; short rows with short ones, in an order that length does not decide."""
        visit = np.arange(len(counts))
        if self.lengths is not None:
            labelled, unlabelled = (
                rows[np.argsort(self.lengths[rows], kind="stable")] for rows in (labelled, unlabelled)
            )
            visit = order.permutation(len(counts))
        parts: list[list[int]] = [[]] * len(counts)
        ends = counts[visit].cumsum(axis=0)
        for position, (l_end, u_end), (l_size, u_size) in zip(visit, ends, counts[visit], strict=True):
            chosen = (labelled[l_end - l_size : l_end], unlabelled[u_end - u_size : u_end])
            parts[position] = np.concatenate(chosen).tolist()
        yield from parts

    def _stream(self, start: int, size: int) -> IntArray:
        """`size` rows of the endless stream of unlabelled rows, from position `start`: permutation after permutation."""
        if size == 0:
            return np.empty(0, dtype=np.int64)
        first, last = start // self.n_unlabelled, (start + size - 1) // self.n_unlabelled
        passes = [self._random(_UNLABELLED, number).permutation(self.n_unlabelled) for number in range(first, last + 1)]
        offset = start - first * self.n_unlabelled
        return np.concatenate(passes)[offset : offset + size]

    def _random(self, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, purpose, number))


class ShardedBatchSampler(Sampler[list[int]]):
    """The micro-batches that one process loads: each global batch cut by stride over accumulation steps and ranks.

    Every rank yields the same number of micro-batches for each global batch. Where a rank would have none (a tiny last
    batch), it gets one row of weight zero: the complement ~i of a row number i.

    Args:
        batches: the global batches.
        micro_batch_size: most rows that a process takes at a time.
        rank: of this process.
        world_size: number of processes.

    Example:
        >>> whole = MixedBatchSampler(n_labelled=2, n_unlabelled=6, batch_size=8)
        >>> [len(part) for part in ShardedBatchSampler(whole, micro_batch_size=2, rank=0, world_size=2)]
        [2, 2]
    """

    def __init__(self, batches: MixedBatchSampler, micro_batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.batch_sampler = batches  # the name by which accelerate and transformers look for `set_epoch`
        self.micro_batch_size = whole_number("micro_batch_size", micro_batch_size, 1)
        self.world_size = whole_number("world_size", world_size, 1)
        self.rank = whole_number("rank", rank, 0)
        if rank >= world_size:
            raise ConfigError(f"rank must be below world_size ({world_size}), got {rank}")

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is of."""
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        sizes = self.batch_sampler.composition.sum(axis=1)
        return int((-(-sizes // (self.micro_batch_size * self.world_size))).sum())

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self.batch_sampler:
            parts = -(-len(rows) // (self.micro_batch_size * self.world_size)) * self.world_size
            for part in range(self.rank, parts, self.world_size):
                yield rows[part::parts] or [~rows[0]]


def _spread(rows: int, batches: int) -> IntArray:
    return np.diff(np.arange(batches + 1, dtype=np.int64) * rows // max(batches, 1))


def _take(
    labelled: IntArray, unlabelled: IntArray, counts: IntArray
) -> tuple[tuple[IntArray, IntArray], IntArray, IntArray]:
    here, there = counts.sum(axis=0)
    return (labelled[:here], unlabelled[:there]), labelled[here:], unlabelled[there:]


def _checked_ratio(ratio: object) -> str | float:
    if ratio == "proportional":
        return "proportional"
    if isinstance(ratio, int | float) and not isinstance(ratio, bool) and math.isfinite(ratio) and ratio > 0:
        return float(ratio)
    raise ConfigError(f"ratio must be 'proportional' or a number above 0, got {ratio!r}")


def _checked_lengths(lengths: Any, rows: int) -> IntArray:
    array = np.asarray(lengths)
    if array.shape != (rows,) or array.dtype.kind not in "iu" or (array < 0).any():
        raise ConfigError(
            f"lengths must be {rows} whole numbers of at least 0, one per row, got {array.shape} of {array.dtype}"
        )
    return array.astype(np.int64)
