"""Mixing: batches of exact composition from labelled and unlabelled pools.

`MixedBatchSampler` says which rows make up an optimizer step; `ShardedBatchSampler` cuts each step into what one
process loads at a time. Neither has a state but the epoch, so every rank computes the same batches and a run
resumes at any step. Nothing is as long as a corpus: an epoch is made a window of batches at a time.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from numbers import Real
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from ssl_pdr.data.permutation import IntArray, endless
from ssl_pdr.data.shares import Shares, shares
from ssl_pdr.data.splits import exact_share, whole_number
from ssl_pdr.errors import ConfigError

Lengths: TypeAlias = NDArray[np.integer]

# Streams of random numbers; pool p of a side has the stream (side, p).
_LABELLED, _UNLABELLED, _VISITS = range(3)


def compose(n_labelled: int, n_unlabelled: int, batch_size: int) -> IntArray:
    """How many labelled and unlabelled rows each batch of an epoch holds.

    L labelled and U unlabelled rows fill K = ⌈(L + U)/B⌉ batches. All hold B rows but the last, which may be
    short. Every batch has its share of either kind by its size, to the nearest whole row: the first n rows of an epoch hold
    n·L/(L + U) labelled ones. So with r unlabelled rows for each labelled one all batches but the last have B/(1 + r) labelled
    rows, where that is a whole number, whatever r is: those that plain fine-tuning with batches of B/(1 + r) has.

    Args:
        n_labelled: L, rows with a label in one epoch.
        n_unlabelled: U, rows without one.
        batch_size: B, rows of one optimizer step.

    Returns:
        (K, 2) int64, labelled and unlabelled rows of each batch; the columns sum to L and U.

    Example:
        >>> compose(5, 10, 4).tolist()
        [[1, 3], [2, 2], [1, 3], [1, 2]]
        >>> compose(5, 5, 4).tolist(), compose(5, 0, 2).tolist()
        ([[2, 2], [2, 2], [1, 1]], [[2, 0], [2, 0], [1, 0]])
    """
    n_labelled = whole_number("n_labelled", n_labelled, 0)
    n_rows = whole_number("n_labelled + n_unlabelled", n_labelled + whole_number("n_unlabelled", n_unlabelled, 0), 1)
    batch_size = whole_number("batch_size", batch_size, 1)
    ends = np.minimum(np.arange(-(-n_rows // batch_size) + 1) * batch_size, n_rows)
    return np.diff(Shares([n_labelled, n_rows - n_labelled]).counts(ends), axis=0)


class MixedBatchSampler(Sampler[list[int]]):
    """Global batches, one optimizer step each, that mix labelled and unlabelled rows as `compose` says.

    Rows 0 … n_labelled − 1 are labelled, the n_unlabelled rows after them are not. In each batch the labelled
    ones come first. The batches are a pure function of (seed, epoch).

    Each pool is an endless stream, one seeded permutation after the other, and an epoch is the next piece of
    both: all labelled rows, and as many unlabelled ones as `ratio` says. So no row comes again before all of its
    pool were used, over epochs too (with `lengths`, to within a window, since a window is reordered).

    Each side may consist of several pools, whose turns are spread evenly: by size, so that each row is seen equally
    often, or by weights or a temperature, which leave the number of rows in an epoch as it is. A pool of unknown size (None)
    is a stream: place k of stream s of S has the number n + k·S + s, n being the rows of all other pools.

    Args:
        n_labelled: rows with a label, at least 1; a list of numbers for several pools, numbered one after the other.
        n_unlabelled: rows without; 0 is plain fine-tuning. A list for several pools, in which None is a stream.
        batch_size: rows of one optimizer step, over all ranks and accumulation steps.
        ratio: `proportional` takes every unlabelled row once an epoch; a number r takes r of them for each
            labelled row, 0 none, and needs a batch of at least r + 1 rows. Prefer a number when the unlabelled pool is so
            large that a pass over it is too long; streams need one.
        lengths: tokens of each numbered row (of streams there are none). If given, batches hold rows of similar
            length, so that less padding is computed; which rows an epoch has, and each batch's composition,
            stay the same.
        seed: any whole number of at least 0.
        bucket_batches: rows are sorted by length within windows of at most this many batches; more means less
            padding and less chance in who meets whom.
        labelled_weights: relative weights of the labelled pools; None goes by size.
        unlabelled_weights: likewise of the unlabelled pools; with a stream, None treats all alike.
        temperature: the unlabelled pools weigh size^(1/temperature); in place of weights.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> sampler = MixedBatchSampler(n_labelled=3, n_unlabelled=6, batch_size=3)
        >>> sampler.set_epoch(2)
        >>> [[row < 3 for row in batch] for batch in sampler]
        [[True, False, False], [True, False, False], [True, False, False]]
        >>> sorted(row for batch in sampler for row in batch)
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """

    def __init__(
        self,
        n_labelled: int | Sequence[int],
        n_unlabelled: int | Sequence[int | None],
        batch_size: int,
        ratio: str | float = "proportional",
        lengths: Sequence[int] | ArrayLike | None = None,
        seed: int = 0,
        bucket_batches: int = 50,
        *,
        labelled_weights: Sequence[float] | None = None,
        unlabelled_weights: Sequence[float] | None = None,
        temperature: float | None = None,
    ) -> None:
        labelled, unlabelled = _sizes("n_labelled", n_labelled), _sizes("n_unlabelled", n_unlabelled)
        if None in labelled:
            raise ConfigError("n_labelled: got None, a stream; expected the number of rows of each labelled pool")
        self.n_labelled = whole_number("n_labelled", sum(size or 0 for size in labelled), 1)
        self.n_unlabelled = sum(size or 0 for size in unlabelled)
        self.n_streams = unlabelled.count(None)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.seed = whole_number("seed", seed, 0)
        self.bucket_batches = whole_number("bucket_batches", bucket_batches, 1)
        self.ratio = ratio
        self.lengths = _checked_lengths(lengths, self.n_labelled + self.n_unlabelled)
        per_epoch = (self.n_labelled, self._unlabelled_per_epoch())
        self.composition = compose(*per_epoch, self.batch_size)
        self._sides = (
            _Side(_LABELLED, labelled, 0, shares(labelled, labelled_weights, None, "labelled")),
            _Side(
                _UNLABELLED,
                unlabelled,
                self.n_labelled,
                shares(unlabelled, unlabelled_weights, temperature, "unlabelled"),
            ),
        )
        self._per_epoch = per_epoch
        # Rows of each side before each batch.
        self._before = np.vstack([np.zeros((1, 2), dtype=np.int64), np.cumsum(self.composition, axis=0)])
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`, counted from 0."""
        self.epoch = whole_number("epoch", epoch, 0)

    def __len__(self) -> int:
        return len(self.composition)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(self.epoch)

    @property
    def repeats(self) -> bool:
        """Whether an epoch takes more rows of some pool than it has, so that a row may come several times in it."""
        return any(
            size is not None and taken > size
            for side, rows in zip(self._sides, self._per_epoch, strict=True)
            for size, taken in zip(side.sizes, side.shares.counts(np.array([rows]))[0], strict=True)
        )

    def stream_window(self, stream: int, place: int) -> tuple[int, int]:
        """The places of a stream, first and one past the last, that share a window with `place`.

        Place k of a window stands for its k-th shortest row where rows are sorted by length, and for the k-th otherwise:
        who reads the stream sorts what is between the two.
        """
        side = self._sides[1]
        pool = [i for i, size in enumerate(side.sizes) if size is None][stream]
        n_windows = self._n_windows()

        def first(number: int) -> int:
            epoch, window = divmod(number, n_windows)
            rows = epoch * self._per_epoch[1] + self._before[self._first_batch(window), 1]
            return int(side.shares.counts(np.array([rows]))[0, pool])

        ahead = 1
        while first(ahead) <= place:
            ahead *= 2
        window = bisect_right(range(ahead + 1), place, key=first) - 1
        return first(window), first(window + 1)

    def _n_windows(self) -> int:
        return -(-len(self) // self.bucket_batches)

    def _first_batch(self, window: int) -> int:
        return -(-window * len(self) // self._n_windows())

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        for window in range(self._n_windows()):
            batches = slice(self._first_batch(window), self._first_batch(window + 1))
            rows = self._window(epoch, window, batches).tolist()
            ends = np.cumsum(self.composition[batches].sum(axis=1)).tolist()
            yield from (rows[start:end] for start, end in pairwise([0, *ends]))

    def _window(self, epoch: int, window: int, batches: slice) -> IntArray:
        """All rows of some batches in a row, batch after batch."""
        n_batches = batches.stop - batches.start
        visits = _generator(self.seed, _VISITS, epoch, window).permutation(n_batches)
        rows, batch_of = [], []
        for column, side in enumerate(self._sides):
            edges = epoch * self._per_epoch[column] + self._before[batches.start : batches.stop + 1, column]
            places = side.shares.counts(edges)
            for pool, size in enumerate(side.sizes):
                start, counts = int(places[0, pool]), np.diff(places[:, pool])
                drawn = self._draw(side, pool, size, start, int(counts.sum()))
                batch = np.repeat(np.arange(n_batches), counts)
                if self.lengths is not None:
                    # Every pool is dealt to the batches in the same order of visits, from short to long: that
                    # gives a batch rows of similar length, and lets chance say when a length has its turn.
                    if size is not None:
                        drawn = drawn[np.argsort(self.lengths[drawn], kind="stable")]
                    batch = np.repeat(visits, counts[visits])
                rows.append(drawn)
                batch_of.append(batch)
        return np.concatenate(rows)[np.argsort(np.concatenate(batch_of), kind="stable")]

    def _draw(self, side: _Side, pool: int, size: int | None, start: int, count: int) -> IntArray:
        if size is None:
            stream = side.sizes[:pool].count(None)
            return self.n_labelled + self.n_unlabelled + np.arange(start, start + count) * self.n_streams + stream
        return side.first_rows[pool] + endless(start, count, size, self.seed, side.number, pool)

    def _unlabelled_per_epoch(self) -> int:
        ratio: object = self.ratio
        if ratio == "proportional":
            if self.n_streams:
                raise ConfigError(
                    "ratio: a streamed corpus has no length that an epoch could be made of; give a number, such as 1 for "
                    "as many unlabelled rows as labelled ones"
                )
            return self.n_unlabelled
        if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 <= float(ratio) < math.inf:
            raise ConfigError(
                f"ratio: got {ratio!r}, expected 'proportional' or how many unlabelled rows to take for a labelled "
                "one, a number of at least 0"
            )
        if ratio == 0 or self.n_unlabelled + self.n_streams == 0:
            return 0
        if float(ratio) > max(self.batch_size - 1, 1):
            raise ConfigError(
                f"ratio: got {ratio}, which asks for more unlabelled rows than a batch of {self.batch_size} holds beside a "
                f"labelled one; expected at most {max(self.batch_size - 1, 1)}, or a larger batch"
            )
        rows = exact_share(float(ratio), self.n_labelled)
        if rows == 0:
            raise ConfigError(
                f"ratio: got {ratio}, which takes no unlabelled row for {self.n_labelled} labelled ones; expected at least "
                f"{1 / self.n_labelled:.3g}, or 0 to take none"
            )
        return rows


class _Side:
    """The labelled or the unlabelled pools: their sizes, where their rows begin, and whose turn it is."""

    def __init__(self, number: int, sizes: list[int | None], first_row: int, turns: Shares) -> None:
        self.number = number
        self.sizes = sizes
        self.first_rows: list[int] = (first_row + np.cumsum([0, *(size or 0 for size in sizes)])).tolist()
        self.shares = turns


class ShardedBatchSampler(Sampler[list[int]]):
    """What one process loads: its micro-batches of each global batch.

    A global batch is cut by stride into the fewest parts of at most `micro_batch_size` rows that every rank can
    have equally many of. Part k goes to rank k mod `world_size`. Labelled rows stay first in each part, but
    a part may have none: losses are to be averaged by the counts of the global batch.

    A rank that is left without a row (the last batch may be tiny) is given the global batch's first row with
    weight zero, as its bitwise complement: **a negative number i means row ~i with weight 0**.

    Args:
        batches: the global batches; every rank needs an equal one.
        micro_batch_size: the most rows that one forward pass takes.
        rank: the number of this process, from 0.
        world_size: how many processes there are.

    Attributes:
        batch_sampler: `batches`, under the name by which accelerate and transformers reach `set_epoch`.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> batches = MixedBatchSampler(n_labelled=2, n_unlabelled=5, batch_size=6)
        >>> ranks = [ShardedBatchSampler(batches, micro_batch_size=2, rank=r, world_size=2) for r in range(2)]
        >>> [[len(part) for part in rank] for rank in ranks]
        [[2, 1, 1], [2, 1, 1]]
        >>> [list(rank)[-1][0] >= 0 for rank in ranks]  # the last step has one row; rank 1 only keeps up
        [True, False]
    """

    def __init__(self, batches: MixedBatchSampler, micro_batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.batch_sampler = batches
        self.micro_batch_size = whole_number("micro_batch_size", micro_batch_size, 1)
        self.rank = whole_number("rank", rank, 0)
        self.world_size = whole_number("world_size", world_size, 1)
        if self.rank >= self.world_size:
            raise ConfigError(f"rank: got {rank} of world_size {world_size}, expected 0 to {self.world_size - 1}")

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`, counted from 0."""
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        rows_at_once = self.micro_batch_size * self.world_size
        return int((-(-self.batch_sampler.composition.sum(axis=1) // rows_at_once)).sum())

    def __iter__(self) -> Iterator[list[int]]:
        return (part for rows in self.batch_sampler for part in self._parts(rows))

    def _parts(self, rows: list[int]) -> Iterator[list[int]]:
        n_parts = -(-len(rows) // (self.micro_batch_size * self.world_size)) * self.world_size
        for part in range(self.rank, n_parts, self.world_size):
            yield rows[part::n_parts] or [~rows[0]]


def _generator(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=stream))


def _sizes(name: str, sizes: int | Sequence[int | None]) -> list[int | None]:
    if isinstance(sizes, Sequence):
        return [None if size is None else whole_number(f"{name} of a pool", size, 1) for size in sizes]
    return [size] if (size := whole_number(name, sizes, 0)) else []


def _checked_lengths(lengths: Sequence[int] | ArrayLike | None, n_rows: int) -> Lengths | None:
    if lengths is None:
        return None
    try:
        array = np.asarray(lengths)
    except ValueError:  # ragged
        array = np.empty(0)
    if array.shape != (n_rows,) or array.dtype.kind not in "iu" or array.min() < 0:
        raise ConfigError(
            f"lengths: got {array.dtype} of shape {array.shape}, expected {n_rows} whole numbers of at least 0, "
            "one for each labelled row and then for each unlabelled one"
        )
    return array
