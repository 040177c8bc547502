"""Tables and streams of text as features of a model, tokenized once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.splits import LabelSplit
from ssl_pdr.data.streams import Row, Stream
from ssl_pdr.data.tables import Table, chosen
from ssl_pdr.data.unlabelled import TextStream, UnlabelledCorpus
from ssl_pdr.errors import DataError
from ssl_pdr.outputs import UNLABELLED
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks.base import Task, tokenizer_key


class FeatureMaker:
    """Tokenizes parts of the data, and counts the texts that were cut.

    Args:
        config: gives length and windows.
        task: knows the columns.
        tokenizer: of the model, freshly loaded.
        data: stands for the training rows and their labels.
        shelf: where features that were made before may lie.
    """

    def __init__(self, config: TrainConfig, task: Task, tokenizer: Any, data: str, shelf: Shelf) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.max_length = config.max_length
        self.asks = config.task == QUESTION_ANSWERING
        self.windows = config.long_documents == "windows"
        self.data = data
        self.shelf = shelf
        self.tokenizer_key = tokenizer_key(tokenizer)
        self.notes: dict[str, int] = {}

    def train(self, corpus: Corpus, split: LabelSplit, *, with_rest: bool) -> tuple[Any, Any]:
        """Features of the labelled rows, and of the rest of the training rows where they are wanted and there are any."""
        if self.asks:
            return self._train_windows(corpus, split, with_rest=with_rest)
        if not with_rest or len(split.unlabelled) == 0:
            table = corpus.train if len(split.unlabelled) == 0 else corpus.train.select(split.labelled)
            return self._features(table, self.data + split.hash, "labelled"), None
        rest = corpus.train.select(split.unlabelled).remove_columns("label")
        if self.windows:
            return (
                self._features(corpus.train.select(split.labelled), self.data + split.hash, "labelled"),
                self._features(rest, self.data + split.hash + "rest", "unlabelled", windows=True),
            )
        whole = self._features(corpus.train, self.data, "training")
        return whole.select(split.labelled), whole.select(split.unlabelled).remove_columns("labels")

    def _train_windows(self, corpus: Corpus, split: LabelSplit, *, with_rest: bool) -> tuple[Any, Any]:
        """Windows of labelled questions that say where the answer is, or that it is not there; and all other windows."""
        table = corpus.train if with_rest else corpus.train.select(split.labelled)
        whole = self._features(table, self.data + ("" if with_rest else split.hash), "training")
        rows = np.asarray(whole["row"])
        said = np.array([label[0] for label in whole["labels"]]) != UNLABELLED
        of_labelled = np.isin(rows, split.labelled) if with_rest else np.ones(len(rows), np.bool_)
        labelled = said & of_labelled
        if not labelled.any():
            raise DataError(
                f"no window of {self.max_length} tokens holds the answer of a labelled question; raise --max-length, or the budget"
            )
        self.notes |= {
            "windows of labelled questions": int(labelled.sum()),
            "labelled questions whose answer fits into no window": len(np.unique(rows[of_labelled]))
            - len(np.unique(rows[labelled])),
            "training questions that are too long for a window, left out": len(table) - len(np.unique(rows)),
        }
        rest = np.flatnonzero(~labelled)
        return chosen(whole, np.flatnonzero(labelled)), chosen(whole, rest) if with_rest and len(rest) else None

    def corpus(self, corpus: UnlabelledCorpus) -> Any:
        """Features of an unlabelled corpus, or a stream of them."""
        if isinstance(corpus.rows, Table):
            return self._features(corpus.rows.rows, corpus.rows.digest, corpus.name, windows=self.windows)
        if self.windows:
            return Stream(_Windows(corpus.rows, self._encode), name=corpus.name)
        return Stream(corpus.rows, self._encode, name=corpus.name)

    def _features(self, table: Any, data: str, name: str, *, windows: bool = False) -> Any:
        key = json.dumps([data, self.tokenizer_key, self.max_length, windows])

        def make() -> tuple[Any, int | None]:
            made = self.task.features(table, self.tokenizer, self.max_length, windows=windows, key=key)
            return made, count_cut(made) if "cut" in made.column_names else None

        made, cut = self.shelf.take("features", (key, str(vars(self.task))), make)
        if cut is not None:
            self.notes[f"{name} texts cut at {self.max_length} tokens"] = cut
        return made

    def _encode(self, rows: Sequence[Row]) -> list[Row]:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        made = self.task.encode(columns, self.tokenizer, self.max_length, windows=self.windows)
        return [dict(zip(made, values, strict=True)) for values in zip(*made.values(), strict=True)]


def count_cut(features: Any) -> int:
    """How many rows of a table of features lost a part of their text."""
    return sum(sum(part["cut"]) for part in features.select_columns("cut").iter(batch_size=10_000))


class _Windows:
    """A stream of documents as a stream of the features of their windows."""

    def __init__(self, rows: TextStream, encode: Any) -> None:
        self.rows = rows
        self.encode = encode

    def __iter__(self) -> Any:
        rows = iter(self.rows)
        batches = iter(lambda: list(islice(rows, 256)), [])
        return chain.from_iterable(map(self.encode, batches))
