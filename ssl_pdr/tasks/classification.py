"""Classification of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

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

    def features(self, table: Any, tokenizer: Any, max_length: int) -> Any:
        """Tokenized rows; a pair's longer text is cut first. `labels` where the table has a `label`."""
        pair = "text_pair" in table.column_names

        def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
            texts = (rows["text"], rows["text_pair"]) if pair else (rows["text"],)
            encoded = dict(tokenizer(*texts, truncation=True, max_length=max_length))
            if "label" in rows:
                encoded["labels"] = rows["label"]
            return encoded

        return table.map(encode, batched=True, remove_columns=table.column_names, load_from_cache_file=False)

    def scores(self, logits: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]]) -> Scores:
        """Accuracy and macro F1 over the classes that occur, and the number of rows."""
        predicted = logits.argmax(axis=-1)
        return {
            "accuracy": float(accuracy_score(labels, predicted)),
            "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
            "rows": len(labels),
        }


TASKS.register(SequenceClassification.name, SequenceClassification)
