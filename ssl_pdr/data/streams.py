"""Streams: corpora that are read once from front to back, of which any place can be asked for in rising order.

A stream gives the same rows in the same order whenever its reading begins anew. On top of that order lies a keyed shuffle
of blocks, so which row stands at a place depends on nothing but (seed, place): not on the rank, the data worker or the step
at which somebody began to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np

from ssl_pdr.data.permutation import permuted
from ssl_pdr.errors import ConfigError, DataError, PDRError

Row: TypeAlias = Mapping[str, Any]
Encode: TypeAlias = Callable[[Sequence[Row]], Sequence[Row]]

# Rows are shuffled within blocks of this many, two of which are in memory at most, beside the window that is being read.
BLOCK_ROWS = 8192
_SHUFFLE = 3  # beside the sampler's streams of random numbers


class StreamError(DataError):
    """A stream ended or failed while it was being trained on."""


class Stream:
    """A corpus of unknown size, for one side of the mix.

    Args:
        rows: an `IterableDataset` of `datasets`, or any object whose `__iter__` begins anew at each call; its rows are
            mappings, or with `encode` whatever that takes. It is read by every data worker of every rank, each of which makes features of its own rows only.
        encode: from some rows to as many model inputs; None where the rows are those already. Prefer this to a mapped
            data set, which makes features of rows that other workers need.
        name: in messages.

    Raises:
        ConfigError: for a generator, which can be read once only.

    Example:
        >>> corpus = Stream([{"input_ids": [i]} for i in range(5)])
        >>> sorted(row["input_ids"][0] for row in StreamReader(corpus, seed=0).take([0, 1, 2, 3, 4]))
        [0, 1, 2, 3, 4]
    """

    def __init__(self, rows: Iterable[Row], encode: Encode | None = None, name: str = "the stream") -> None:
        if isinstance(rows, Iterator):
            raise ConfigError(
                f"{name} is a {type(rows).__name__}, which can be read once only; expected an IterableDataset, or an object "
                "whose __iter__ begins anew"
            )
        self.rows = rows
        self.encode = encode
        self.name = name

    def blocks(self) -> Iterator[list[Row]]:
        """The rows from the beginning, `BLOCK_ROWS` at a time."""
        # Inside a data worker, iteration over a data set of `datasets` gives this worker its share of the rows; iter(batch_size) all.
        if hasattr(self.rows, "iter"):
            for columns in self.rows.iter(batch_size=BLOCK_ROWS):
                yield [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        else:
            rows = iter(self.rows)
            while block := list(islice(rows, BLOCK_ROWS)):
                yield block


class StreamReader:
    """Rows of a stream by their place, for one data worker; places are asked for in rising order, or reading begins anew.

    Args:
        stream: what to read.
        seed: of the shuffle.
        number: of the stream among several; each has its own shuffle.
        window: from a place to the first place of its window and one past the last; the rows of a window are sorted by
            length, so that a sampler can ask for short ones together; a stream that ends within a window ends at its first
            place. None leaves them as they are shuffled.
    """

    def __init__(
        self, stream: Stream, seed: int, number: int = 0, window: Callable[[int], tuple[int, int]] | None = None
    ) -> None:
        self.stream = stream
        self.seed = seed
        self.number = number
        self.window = window
        self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """A data worker that is spawned begins to read by itself."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def take(self, places: Sequence[int]) -> list[Row]:
        """The model inputs at some places.

        Raises:
            StreamError: if the stream ends before one of them, or fails.
        """
        rows = []
        for place in places:
            row = self._shuffled(place) if self.window is None else self._sorted(place, self.window)
            if row is None:
                wanted = max(place + 1, self._places.stop)
                raise StreamError(
                    f"{self.stream.name} ended after {self._rows_read} rows, before training did: streams are read some 50 steps "
                    f"ahead, here up to row {wanted}; take fewer unlabelled rows (--ratio), keep a corpus this small on disk, "
                    "repeat it, or train for fewer steps"
                )
            rows.append(row)
        return rows if self.stream.encode is None else self._encoded(rows, self.stream.encode)

    def _encoded(self, rows: list[Row], encode: Encode) -> list[Row]:
        try:
            encoded = list(encode(rows))
        except Exception as error:
            raise StreamError(f"{self.stream.name}: making features of its rows failed: {_reason(error)}") from error
        if len(encoded) != len(rows):
            raise StreamError(
                f"{self.stream.name}: got {len(encoded)} model inputs for {len(rows)} rows, expected as many"
            )
        return encoded

    def _begin(self) -> None:
        self._blocks: Iterator[list[Row]] | None = None
        self._blocks_read = self._rows_read = 0
        self._failure: str | None = None
        self._held: dict[int, list[Row]] = {}
        self._places, self._by_length = range(0), list[Row]()

    def _sorted(self, place: int, window: Callable[[int], tuple[int, int]]) -> Row | None:
        if place not in self._places:
            places = range(*window(place))
            # This may begin anew, which forgets the window.
            rows = [row for p in places if (row := self._shuffled(p)) is not None]
            # Of a window that is not whole, no row is taken: they would not be those of a stream that goes on.
            self._places, self._by_length = places, sorted(rows, key=_length) if len(rows) == len(places) else []
        return self._by_length[place - self._places.start] if self._by_length else None

    def _shuffled(self, place: int) -> Row | None:
        number, inside = divmod(place, BLOCK_ROWS)
        block = self._block(number)
        return block[inside] if inside < len(block) else None

    def _block(self, number: int) -> list[Row]:
        if number not in self._held:
            if self._blocks is None or number < self._blocks_read:
                self._begin()
                self._blocks = self.stream.blocks()
            # The block before may be asked for again: places rise from batch to batch, not within one.
            self._held = {n: rows for n, rows in self._held.items() if n == number - 1}
            while self._blocks_read <= number:
                block = self._read(self._blocks)
            order = permuted(np.arange(len(block)), max(len(block), 1), self.seed, _SHUFFLE, self.number, number)
            self._held[number] = [block[i] for i in order]
        return self._held[number]

    def _read(self, blocks: Iterator[list[Row]]) -> list[Row]:
        if self._failure is not None:  # an iterator that has failed looks like one that has ended
            raise StreamError(self._failure)
        try:
            block = next(blocks, [])
        except Exception as error:
            first, last = self._rows_read + 1, self._rows_read + BLOCK_ROWS
            self._failure = f"{self.stream.name} failed in rows {first} to {last}: {_reason(error)}"
            raise StreamError(self._failure) from error
        first_row: object = next(iter(block), {})
        if self.stream.encode is None and not isinstance(first_row, Mapping):
            kind = type(first_row).__name__
            self._failure = f"{self.stream.name} has rows of type {kind}, expected model inputs such as {{'input_ids': …}}, or an encode that makes them"
            raise StreamError(self._failure)
        self._blocks_read += 1
        self._rows_read += len(block)
        return block


def _reason(error: Exception) -> str:
    """One line."""
    text = str(error) if isinstance(error, PDRError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def _length(row: object) -> int:
    """How long a row is, roughly: tokens where they are known, characters of all texts otherwise."""
    if not isinstance(row, Mapping):
        return len(row) if isinstance(row, str) else 0
    if "input_ids" in row:
        return len(row["input_ids"])
    return sum(len(value) for value in row.values() if isinstance(value, str))
