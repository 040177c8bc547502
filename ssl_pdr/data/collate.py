"""Labelled and unlabelled rows under one numbering, and batches that know which row is which."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from ssl_pdr.data.mixing import MixedBatchSampler
from ssl_pdr.data.streams import Stream, StreamError, StreamReader
from ssl_pdr.errors import ConfigError, DataError
from ssl_pdr.outputs import UNLABELLED

Features: TypeAlias = Mapping[str, Any]
Pool: TypeAlias = Sequence[Features] | Stream

_LABELS = frozenset({"labels", "label"})
FAILURE = "failure"  # the key of a batch that could not be read


@dataclass(frozen=True)
class Mixture:
    """Several data sets as one side of the mix.

    Args:
        parts: tokenized data sets; unlabelled ones may be streams.
        weights: relative weight of each; None goes by size, so that every row is seen equally often.
        temperature: weigh by size^(1/temperature) instead; for unlabelled data sets of known size.

    Raises:
        ConfigError: where it is trained on, for weights or a temperature that make no sense, or an empty part.

    Example:
        >>> reviews, letters = [{"input_ids": [1, 2]}] * 30, [{"input_ids": [3]}] * 10
        >>> len(Mixture([reviews, letters], weights=[1, 0.3]))
        40
    """

    parts: Sequence[Any]
    weights: Sequence[float] | None = None
    temperature: float | None = None

    @classmethod
    def of(cls, data: Any, name: str) -> Mixture:
        """`data` as a mixture of pools: a mixture, one data set, a stream, or nothing.

        Raises:
            ConfigError: for a mixture that is empty or has an empty part.
        """
        if not isinstance(data, Mixture):
            one = [] if data is None else [_pool(data, name)]
            return cls([pool for pool in one if isinstance(pool, Stream) or len(pool)])
        pools = [_pool(part, f"{name} {number}") for number, part in enumerate(data.parts, 1)]
        for number, pool in enumerate(pools, 1):
            if not isinstance(pool, Stream) and len(pool) == 0:
                raise ConfigError(f"{name}: part {number} of {len(pools)} has no rows; leave it out")
        if not pools:
            raise ConfigError(f"{name}: got a mixture of nothing, expected at least one data set, or None")
        return cls(pools, data.weights, data.temperature)

    def __len__(self) -> int:
        if any(isinstance(part, Stream) for part in self.parts):
            raise TypeError("a mixture with a stream has no length")
        return sum(len(part) for part in self.parts)

    @property
    def sizes(self) -> list[int | None]:
        """Rows of each part; None for a stream."""
        return [None if isinstance(part, Stream) else len(part) for part in self.parts]


class MixedDataset(Dataset[dict[str, Any]]):
    """Labelled pools first, then unlabelled ones, then streams, under the numbering of `MixedBatchSampler`.

    Row i is a dictionary of model inputs, its `labels` (−100 without one, as many as other rows have), its `row_id` i and its
    `row_weight` 1. A negative index ~i is row i at weight 0, which fills a micro-batch that would have no row.

    Args:
        labelled: rows with `labels` or `label`: the number of a class, or a list of positions.
        unlabelled: rows without; labels that are there are not looked at.
        columns: the names that the model takes; other columns are left out. None takes all.
    """

    def __init__(self, labelled: Mixture, unlabelled: Mixture, columns: Collection[str] | None) -> None:
        self.labelled = labelled
        self.unlabelled = unlabelled
        self.columns = None if columns is None else frozenset(columns) - _LABELS
        sized = [part for part in unlabelled.parts if not isinstance(part, Stream)]
        self._tables = [*(_trimmed(part, self.columns and self.columns | _LABELS) for part in labelled.parts)]
        self._tables += [_trimmed(part, self.columns) for part in sized]
        self._ends = list(accumulate(map(len, self._tables)))
        self._n_labelled = len(labelled)
        self._none = _no_label(self._tables[0]) if self._tables and len(self._tables[0]) else UNLABELLED
        self._streams: list[StreamReader] = []

    def read_streams(self, batches: MixedBatchSampler) -> None:
        """Read the streams as these batches ask for their rows."""
        streams = [part for part in self.unlabelled.parts if isinstance(part, Stream)]
        self._streams = [
            StreamReader(
                stream,
                batches.seed,
                number,
                None if batches.lengths is None else partial(batches.stream_window, number),
            )
            for number, stream in enumerate(streams)
        ]

    def __len__(self) -> int:
        if None in self.unlabelled.sizes:
            raise TypeError("a mix with a stream has no length")
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of one batch; of a stream that has ended or failed, one row that says so under `FAILURE`.

        An error raised here would reach the trainer wrapped in the traceback of a data worker, or not, and after batches
        that were loaded ahead; as a row it takes its turn.
        """
        try:
            return self.take(indices)
        except StreamError as error:
            return [{FAILURE: str(error)}]

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows of one batch; each pool is asked once.

        Raises:
            StreamError: where a stream has ended or failed.
        """
        wanted: dict[int, list[tuple[int, int]]] = defaultdict(list)  # pool: (place in the batch, row of the pool)
        for place, index in enumerate(indices):
            pool, row = self._locate(index if index >= 0 else ~index)
            wanted[pool].append((place, row))
        made: list[dict[str, Any]] = [{}] * len(indices)
        for pool, entries in wanted.items():
            rows = [row for _, row in entries]
            source = self._tables[pool] if pool < len(self._tables) else self._streams[pool - len(self._tables)]
            taken = source.take(rows) if isinstance(source, StreamReader) else _rows(source, rows)
            for (place, _), features in zip(entries, taken, strict=True):
                made[place] = self._features(features, indices[place])
        return made

    def _locate(self, row_id: int) -> tuple[int, int]:
        beyond = row_id - self._ends[-1]
        if beyond >= 0:
            place, stream = divmod(beyond, len(self._streams))
            return len(self._tables) + stream, place
        pool = bisect_right(self._ends, row_id)
        return pool, row_id - (self._ends[pool - 1] if pool else 0)

    def _features(self, row: Features, index: int) -> dict[str, Any]:
        row_id, weight = (index, 1.0) if index >= 0 else (~index, 0.0)
        label = _label(row, row_id) if row_id < self._n_labelled and weight else self._none
        features = {
            name: row[name] for name in row if name not in _LABELS and (self.columns is None or name in self.columns)
        }
        if not features:
            raise DataError(
                f"row {row_id} has nothing that the model takes, such as input_ids; tokenize it first, or give its Stream an encode"
            )
        return {**features, "labels": label, "row_id": row_id, "row_weight": weight}

    def lengths(self) -> NDArray[np.int32] | None:
        """Number of tokens of each numbered row, int32; None where rows have no `input_ids`."""
        if not self._tables or not all(map(_has_tokens, self._tables)):
            return None
        lengths, start = np.empty(self._ends[-1], np.int32), 0
        for counts in chain.from_iterable(map(_token_counts, self._tables)):
            lengths[start : start + len(counts)] = counts
            start += len(counts)
        return lengths


def mix(
    labelled: Any, unlabelled: Any, columns: Collection[str] | None, batch_size: int, ratio: str | float, seed: int
) -> tuple[MixedDataset, MixedBatchSampler]:
    """Rows under one numbering, and the global batches of them.

    Args:
        labelled: a data set or a `Mixture`.
        unlabelled: a data set, a stream, a `Mixture`, or None.
        columns: the names that the model takes; None for all columns.
        batch_size: rows of one optimizer step.
        ratio: see `MixedBatchSampler`.
        seed: of the batches and of the shuffling of streams.

    Raises:
        ConfigError: for labelled data that are a stream or have a temperature, and as `MixedBatchSampler`.
    """
    sides = Mixture.of(labelled, "labelled data"), Mixture.of(unlabelled, "unlabelled data")
    if None in sides[0].sizes:
        raise ConfigError("labelled data: got a stream, expected data with a length; read it to its end first")
    if sides[0].temperature is not None:
        raise ConfigError(
            f"labelled data: got temperature {sides[0].temperature}, which is for unlabelled data; give weights instead"
        )
    rows = MixedDataset(*sides, columns)
    batches = MixedBatchSampler(
        [size or 0 for size in sides[0].sizes] or 0,
        sides[1].sizes,
        batch_size,
        ratio=ratio,
        lengths=rows.lengths(),
        seed=seed,
        labelled_weights=sides[0].weights,
        unlabelled_weights=sides[1].weights,
        temperature=sides[1].temperature,
    )
    rows.read_streams(batches)
    return rows, batches


class MixedCollator:
    """Wrap a collator so that `row_id` and `row_weight` come through, whatever it does with other columns.

    Args:
        collate: turns a list of features into a batch, padding included.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The rows as one batch."""
        if FAILURE in rows[0]:
            return rows[0]
        ours: dict[str, Tensor] = {
            "row_id": torch.tensor([row["row_id"] for row in rows]),
            "row_weight": torch.tensor([row["row_weight"] for row in rows]),
        }
        features = [{k: v for k, v in row.items() if k not in ours} for row in rows]
        return {**self.collate(features), **ours}


class PaddingCollator:
    """Pad columns of token numbers to the longest row of the batch; the others have one number a row.

    It makes the batches of transformers' `DataCollatorWithPadding`, bit for bit, in a fraction of the time.

    Args:
        pad_values: what each column of token numbers is padded with.
        left: pad before the tokens, not after them.

    Example:
        >>> collate = PaddingCollator({"input_ids": 0})
        >>> batch = collate([{"input_ids": [5, 6], "labels": 1}, {"input_ids": [7], "labels": -100}])
        >>> batch["input_ids"].tolist(), batch["labels"].tolist()
        ([[5, 6], [7, 0]], [1, -100])
    """

    def __init__(self, pad_values: Mapping[str, int], *, left: bool = False) -> None:
        self.pad_values = dict(pad_values)
        self.left = left

    @classmethod
    def like(cls, tokenizer: Any) -> PaddingCollator:
        """Pad as a tokenizer of transformers does."""
        values = {
            "input_ids": tokenizer.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": tokenizer.pad_token_type_id,
        }
        return cls(values, left=tokenizer.padding_side == "left")

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The rows as one batch, int64 of (rows, longest) or (rows,)."""
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return {
            name: self._padded(values, self.pad_values[name]) if name in self.pad_values else torch.tensor(values)
            for name, values in columns.items()
        }

    def _padded(self, rows: list[Sequence[int]], value: int) -> Tensor:
        counts = np.fromiter(map(len, rows), np.int64, len(rows))
        places = np.arange(counts.max())
        real = places >= counts.max() - counts[:, None] if self.left else places < counts[:, None]
        padded = np.full(real.shape, value, np.int64)
        padded[real] = np.fromiter(chain.from_iterable(rows), np.int64, counts.sum())
        return torch.from_numpy(padded)


def _pool(data: Any, name: str) -> Pool:
    if isinstance(data, Stream):
        return data
    if isinstance(data, str | Mapping):
        raise ConfigError(f"{name}: got a {type(data).__name__}, expected a data set of tokenized rows")
    if isinstance(data, list | tuple) and data and not isinstance(data[0], Mapping):
        raise ConfigError(
            f"{name}: got a list whose first entry is a {type(data[0]).__name__}, expected rows; several data sets go into a "
            "Mixture([...])"
        )
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, IterableDataset):
        pool: Pool = data
        return pool
    if isinstance(data, Iterable):
        return Stream(data, name=name)
    raise ConfigError(f"{name}: got {type(data).__name__}, expected a data set with a length, or one to iterate over")


def _trimmed(table: Any, columns: Collection[str] | None) -> Any:
    """A table of `datasets` without the columns that nobody wants: reading text costs time."""
    if columns is None or not hasattr(table, "select_columns"):
        return table
    kept = [name for name in table.column_names if name in columns]
    if not set(kept) - _LABELS:
        raise ConfigError(
            f"got a data set with the columns {', '.join(table.column_names)}, none of which the model takes; tokenize it first"
        )
    return table.select_columns(kept)


def _rows(table: Any, rows: list[int]) -> list[Features]:
    if hasattr(table, "column_names"):  # a table of `datasets`, which is read much faster at once
        columns = table[rows]
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [table[row] for row in rows]


def _label(row: Features, row_id: int) -> int | list[int]:
    label = row["labels"] if "labels" in row else row.get("label")
    if any(number is None or number < 0 or number % 1 for number in (label if isinstance(label, list) else [label])):
        raise DataError(
            f"labelled row {row_id} has the label {label}, expected a class number; put rows without a label into unlabelled_dataset"
        )
    return label if isinstance(label, list) else int(label)  # type: ignore[arg-type]  # it is no None


def _no_label(table: Any) -> int | list[int]:
    """What stands for no label where this table's rows have one."""
    row = table[0]
    label = row["labels"] if "labels" in row else row.get("label")
    return [UNLABELLED] * len(label) if isinstance(label, list) else UNLABELLED


def _has_tokens(table: Any) -> bool:
    return "input_ids" in (table.column_names if hasattr(table, "with_format") else table[0])


def _token_counts(table: Any) -> Iterator[NDArray[np.integer]]:
    """Number of tokens of each row, some rows at a time: all texts at once may not fit into memory."""
    if hasattr(table, "with_format"):
        arrow = table.select_columns("input_ids").with_format("arrow")
        yield from (pc.list_value_length(part["input_ids"]).to_numpy() for part in arrow.iter(batch_size=50_000))
    else:
        yield np.fromiter((len(table[row]["input_ids"]) for row in range(len(table))), np.int32, len(table))
