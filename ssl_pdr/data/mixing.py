"""Mixing: batches of exact composition from a labelled and an unlabelled pool.

`MixedBatchSampler` says which rows make up an optimizer step; `ShardedBatchSampler` cuts each step into what one
process loads at a time. Neither has a state but the epoch, so every rank computes the same batches and a run
resumes at any step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from numbers import Real
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from ssl_pdr.data.splits import exact_share, whole_number
from ssl_pdr.errors import ConfigError

IntArray: TypeAlias = NDArray[np.int64]

# Streams of random numbers; the two pools come first, in the order of their columns in `compose`.
_LABELLED, _UNLABELLED, _VISITS = range(3)


def compose(n_labelled: int, n_unlabelled: int, batch_size: int) -> IntArray:
    """How many labelled and unlabelled rows each batch of an epoch holds.

    L labelled and U unlabelled rows fill K = ⌈(L + U)/B⌉ batches. All hold B rows but the last, which may be
    short. Batch k has ⌊(k+1)L/K⌋ − ⌊kL/K⌋ labelled rows, that is ⌊L/K⌋ or ⌈L/K⌉, and never more than B. If that
    is more than the whole of the last batch, the last one is all labelled and the others share the remaining
    labelled rows by the same formula.

    Args:
        n_labelled: L, rows with a label in one epoch.
        n_unlabelled: U, rows without one.
        batch_size: B, rows of one optimizer step.

    Returns:
        (K, 2) int64, labelled and unlabelled rows of each batch; the columns sum to L and U.

    Example:
        >>> compose(5, 10, 4).tolist()
        [[1, 3], [1, 3], [1, 3], [2, 1]]
        >>> compose(9, 4, 4).tolist()  # a share of the last batch would be 3 labelled rows
        [[2, 2], [3, 1], [3, 1], [1, 0]]
    """
    n_labelled = whole_number("n_labelled", n_labelled, 0)
    n_rows = whole_number("n_labelled + n_unlabelled", n_labelled + whole_number("n_unlabelled", n_unlabelled, 0), 1)
    batch_size = whole_number("batch_size", batch_size, 1)
    n_batches = -(-n_rows // batch_size)
    sizes = np.full(n_batches, batch_size, dtype=np.int64)
    sizes[-1] = last = n_rows - batch_size * (n_batches - 1)
    labelled = _spread(n_labelled, n_batches)
    if labelled[-1] > last:
        labelled = np.append(_spread(n_labelled - last, n_batches - 1), last)
    return np.stack([labelled, sizes - labelled], axis=1)


class MixedBatchSampler(Sampler[list[int]]):
    """Global batches, one optimizer step each, that mix labelled and unlabelled rows as `compose` says.

    Rows 0 … n_labelled − 1 are labelled, the n_unlabelled rows after them are not. In each batch the labelled
    ones come first. The batches are a pure function of (seed, epoch).

    Each pool is an endless stream, one seeded permutation after the other, and an epoch is the next piece of
    both: all labelled rows, and as many unlabelled ones as `ratio` says. So no row comes again before all of its
    pool were used, over epochs too (with `lengths`, to within a window, since a window is reordered).

    Args:
        n_labelled: rows with a label, at least 1.
        n_unlabelled: rows without; 0 is plain fine-tuning.
        batch_size: rows of one optimizer step, over all ranks and accumulation steps.
        ratio: `proportional` takes every unlabelled row once an epoch; a number r > 0 takes r of them for each
            labelled row. Prefer a number when the unlabelled pool is so large that a pass over it is too long.
        lengths: (n_labelled + n_unlabelled,) tokens of each row. If given, batches hold rows of similar
            length, so that less padding is computed; which rows an epoch has, and each batch's composition,
            stay the same.
        seed: any whole number of at least 0.
        bucket_batches: rows are sorted by length within windows of at most this many batches; more means less
            padding and less chance in who meets whom.

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
        n_labelled: int,
        n_unlabelled: int,
        batch_size: int,
        ratio: str | float = "proportional",
        lengths: Sequence[int] | ArrayLike | None = None,
        seed: int = 0,
        bucket_batches: int = 50,
    ) -> None:
        self.n_labelled = whole_number("n_labelled", n_labelled, 1)
        self.n_unlabelled = whole_number("n_unlabelled", n_unlabelled, 0)
        self.batch_size = whole_number("batch_size", batch_size, 1)
        self.seed = whole_number("seed", seed, 0)
        self.bucket_batches = whole_number("bucket_batches", bucket_batches, 1)
        self.ratio = ratio
        self.lengths = _checked_lengths(lengths, self.n_labelled + self.n_unlabelled)
        self.composition = compose(
            self.n_labelled, _unlabelled_per_epoch(ratio, self.n_labelled, self.n_unlabelled), self.batch_size
        )
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is that of `epoch`, counted from 0."""
        self.epoch = whole_number("epoch", epoch, 0)

    def __len__(self) -> int:
        return len(self.composition)

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._rows()
        ends = np.cumsum(self.composition.sum(axis=1)).tolist()
        return (rows[start:end].tolist() for start, end in pairwise([0, *ends]))

    def _rows(self) -> IntArray:
        """All rows of this epoch, batch after batch."""
        n_batches = len(self)
        n_windows = -(-n_batches // self.bucket_batches)
        window = np.arange(n_batches) * n_windows // n_batches
        chance = _generator(self.seed, _VISITS, self.epoch).random(n_batches)
        visits = np.lexsort((chance, window))  # window after window, the batches of each in random order
        rows, batch_of = [], []
        pools = ((_LABELLED, 0, self.n_labelled), (_UNLABELLED, self.n_labelled, self.n_unlabelled))
        for (stream, first, size), counts in zip(pools, self.composition.T, strict=True):
            total = int(counts.sum())
            drawn = first + _draw(size, total, self.epoch * total, self.seed, stream)
            batch = np.repeat(np.arange(n_batches), counts)
            if self.lengths is not None:
                # Both pools are dealt to the batches in the same order of visits, from short to long: that
                # gives a batch rows of similar length, and lets chance say when a length has its turn.
                drawn = drawn[np.lexsort((self.lengths[drawn], window[batch]))]
                batch = np.repeat(visits, counts[visits])
            rows.append(drawn)
            batch_of.append(batch)
        return np.concatenate(rows)[np.argsort(np.concatenate(batch_of), kind="stable")]


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


def _spread(rows: int, batches: int) -> IntArray:
    """`rows` over `batches`, as evenly as whole numbers allow."""
    return np.diff(np.arange(batches + 1) * rows // batches)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream, number)))


def _draw(size: int, count: int, start: int, seed: int, stream: int) -> IntArray:
    """`count` numbers below `size` from place `start` of an endless stream of permutations."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    first, last = start // size, (start + count - 1) // size
    passes = [_generator(seed, stream, number).permutation(size) for number in range(first, last + 1)]
    return np.concatenate(passes)[start - first * size :][:count]


def _unlabelled_per_epoch(ratio: object, n_labelled: int, n_unlabelled: int) -> int:
    if ratio == "proportional":
        return n_unlabelled
    if isinstance(ratio, bool) or not isinstance(ratio, Real) or not 0 < float(ratio) < math.inf:
        raise ConfigError(
            f"ratio: got {ratio!r}, expected 'proportional' or how many unlabelled rows to take for a labelled "
            "one, a number above 0"
        )
    if n_unlabelled == 0:
        return 0
    rows = exact_share(float(ratio), n_labelled)
    if rows == 0:
        raise ConfigError(
            f"ratio: got {ratio}, which takes no unlabelled row for {n_labelled} labelled ones; expected at least "
            f"{1 / n_labelled:.3g}, or no unlabelled pool"
        )
    return rows


def _checked_lengths(lengths: Sequence[int] | ArrayLike | None, n_rows: int) -> IntArray | None:
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
    return array.astype(np.int64)
