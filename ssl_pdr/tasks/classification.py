"""Classification of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.choices import CLASSIFICATION
from ssl_pdr.data.evaluation_sets import EvaluationSet
from ssl_pdr.data.tables import feature_file
from ssl_pdr.errors import ConfigError
from ssl_pdr.metrics.classification import accuracy_scores, collapse_logits, hans_scores
from ssl_pdr.outputs import UNLABELLED
from ssl_pdr.tasks.base import Prediction, Scores, load_weights


class SequenceClassification:
    """Label a text, or a pair of texts, with one of a set of classes.

    Args:
        label_names: the classes, in the order of their numbers.
    """

    name = CLASSIFICATION

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

    def judge(
        self, logits: NDArray[np.floating[Any]], features: Any, evaluated: EvaluationSet
    ) -> tuple[Scores, list[Prediction]]:
        """Accuracy and macro F1 over the classes that occur, of HANS by heuristic too; and the predictions.

        Args:
            logits: (N, C).
            features: not looked at.
            evaluated: N rows; where it has fewer classes than the model, its `collapse` says which is which.
        """
        names = evaluated.label_names
        labels = np.asarray(evaluated.rows["label"])
        predicted = collapse_logits(logits, self.label_names, names, evaluated.collapse, evaluated.how)
        heuristics = list(evaluated.rows["group"]) if evaluated.scoring == "hans" else []
        scores = hans_scores(predicted, labels, heuristics, names) if heuristics else accuracy_scores(predicted, labels)
        odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        probabilities = (odds / odds.sum(axis=1, keepdims=True)).round(6).tolist()
        predictions = [
            {
                "row": row,
                "prediction": names[guess],
                "label": names[label],
                "probabilities": dict(zip(self.label_names, shares, strict=True)),
            }
            for row, (guess, label, shares) in enumerate(zip(predicted, labels, probabilities, strict=True))
        ]
        return scores, predictions

    def tuned(self, scores: Scores) -> SequenceClassification:
        """The task as it is: nothing is chosen by scores."""
        return self

    def settings(self) -> dict[str, Any]:
        """Nothing: the classes are in the configuration already."""
        return {}

    def label_text(self, label: int, ids: Sequence[int], tokenizer: Any) -> str | None:
        """The name of the class."""
        return None if label == UNLABELLED else self.label_names[label]
