"""Classification of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from ssl_pdr.data.tables import feature_file
from ssl_pdr.errors import ConfigError
from ssl_pdr.objective import UNLABELLED
from ssl_pdr.tasks.base import TASKS, Scores, load_weights


class SequenceClassification:
    """Label a text, or a pair of texts, with one of a set of classes.

    Args:
        label_names: the classes, in the order of their numbers.
    """

    name = "classification"

    def __init__(self, label_names: Sequence[str]) -> None:
        self.label_names = list(label_names)

    def load_model(self, model: str) -> Any:
        """`AutoModelForSequenceClassification` with a head for the classes, in float32."""
        from transformers import AutoModelForSequenceClassification

        return load_weights(
            AutoModelForSequenceClassification,
            model,
            num_labels=len(self.label_names),
            id2label=dict(enumerate(self.label_names)),
            label2id={name: i for i, name in enumerate(self.label_names)},
            ignore_mismatched_sizes=True,
            problem_type="single_label_classification",  # whatever the checkpoint was trained for before
        )

    def encode(
        self, rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int, *, windows: bool = False
    ) -> dict[str, list[Any]]:
        """Columns `text`, and `text_pair` where there are pairs, as columns of model inputs.

        Args:
            rows: columns of equal length.
            tokenizer: a fast one, where windows are wanted.
            max_length: tokens of a row; of a pair the longer text is cut first.
            windows: a text that is too long becomes several rows, one after the other, without overlap.

        Returns:
            The model's inputs, and `cut`: whether something of the text is lost.
        """
        pair = "text_pair" in rows
        if windows and (pair or not getattr(tokenizer, "is_fast", False)):
            raise ConfigError("long documents become windows for single texts and fast tokenizers only; use cut")
        texts = (list(rows["text"]), list(rows["text_pair"])) if pair else (list(rows["text"]),)
        options = {"return_overflowing_tokens": True} if windows else {}
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, **options)
        made = {name: list(values) for name, values in encoded.items() if name != "overflow_to_sample_mapping"}
        beyond = getattr(encoded, "encodings", None)
        made["cut"] = [
            not windows and (bool(beyond[i].overflowing) if beyond else len(ids) >= max_length)
            for i, ids in enumerate(made["input_ids"])
        ]
        return made

    def features(
        self, table: Any, tokenizer: Any, max_length: int, *, windows: bool = False, key: str | None = None
    ) -> Any:
        """Tokenized rows on disk, as `encode` makes them, with `labels` where the table has a `label`.

        Args:
            table: of `datasets`.
            tokenizer: see `encode`.
            max_length: see `encode`.
            windows: see `encode`; for tables without labels.
            key: stands for everything that the features depend on: those of a large table are found again by it.
        """

        def rows(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
            made = self.encode(columns, tokenizer, max_length, windows=windows)
            if "label" not in columns:
                return made
            return {**made, "labels": [UNLABELLED if label is None else label for label in columns["label"]]}

        file, fingerprint = feature_file(key, len(table))
        return table.map(
            rows, batched=True, remove_columns=table.column_names, cache_file_name=file, new_fingerprint=fingerprint
        )

    def scores(self, logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> Scores:
        """Accuracy and macro F1 over the classes that occur, and the number of rows."""
        predicted = logits.argmax(axis=-1)
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
            "rows": len(labels),
        }


TASKS.register(SequenceClassification.name, SequenceClassification)
