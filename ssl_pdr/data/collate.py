"""Labelled and unlabelled rows as one table, and batches that know which row is which."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssl_pdr.errors import DataError
from ssl_pdr.objective import UNLABELLED

Features = Mapping[str, Any]


class MixedDataset(Dataset[dict[str, Any]]):
    """Labelled rows first, then unlabelled ones, under one numbering: what `MixedBatchSampler` draws from.

    Row i is a dictionary of model inputs, its `labels` (−100 without one), its `row_id` i and its `row_weight` 1. A
    negative index ~i is row i at weight 0, which fills a micro-batch that would have no row.

    Args:
        labelled: rows with `labels` or `label`.
        unlabelled: rows without; labels that are there are not looked at.
        columns: the names that the model takes; other columns are left out.
    """

    def __init__(
        self, labelled: Sequence[Features], unlabelled: Sequence[Features] | None, columns: Collection[str]
    ) -> None:
        self.labelled = labelled
        self.unlabelled: Sequence[Features] = [] if unlabelled is None else unlabelled
        self.columns = frozenset(columns) - {"labels", "label"}

    def __len__(self) -> int:
        return len(self.labelled) + len(self.unlabelled)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row_id, weight = (index, 1.0) if index >= 0 else (~index, 0.0)
        has_label = row_id < len(self.labelled)
        row = self.labelled[row_id] if has_label else self.unlabelled[row_id - len(self.labelled)]
        label = _label(row, row_id) if has_label and weight else UNLABELLED
        features = {name: row[name] for name in row if name in self.columns}
        return {**features, "labels": label, "row_id": row_id, "row_weight": weight}

    def lengths(self) -> list[int] | None:
        """Number of tokens of each row; None where rows have no `input_ids`."""
        parts = [part for part in (self.labelled, self.unlabelled) if len(part)]
        if not all("input_ids" in part[0] for part in parts):
            return None
        return [len(ids) for part in parts for ids in _column(part, "input_ids")]


class MixedCollator:
    """Wrap a collator so that `row_id` and `row_weight` come through, whatever it does with other columns.

    Args:
        collate: turns a list of features into a batch, padding included.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The rows as one batch."""
        ours: dict[str, Tensor] = {
            "row_id": torch.tensor([row["row_id"] for row in rows]),
            "row_weight": torch.tensor([row["row_weight"] for row in rows]),
        }
        features = [{k: v for k, v in row.items() if k not in ours} for row in rows]
        return {**self.collate(features), **ours}


def _label(row: Features, row_id: int) -> int:
    label = row["labels"] if "labels" in row else row.get("label")
    if label is None:
        raise DataError(f"labelled row {row_id} has no 'labels'; put rows without a label into unlabelled_dataset")
    return int(label)


def _column(part: Sequence[Features], name: str) -> Sequence[Any]:
    if hasattr(part, "column_names"):  # a table of `datasets`, whose columns can be read at once
        column: Sequence[Any] = part[name]  # type: ignore[call-overload]
        return column
    return [row[name] for row in part]
