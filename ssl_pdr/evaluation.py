"""Scores on the evaluation sets, in-domain and shifted, and the baseline that they stand beside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ssl_pdr.data.collate import MixedDataset, Mixture
from ssl_pdr.tasks.base import Scores, Task


def predict_logits(trainer: Any, features: Any) -> NDArray[np.floating[Any]]:
    """Logits of each row, (N, C), in the order of `features`; rows of similar length share a batch.

    Args:
        trainer: a `transformers.Trainer`.
        features: tokenized rows, a table of `datasets`.
    """
    lengths = MixedDataset(Mixture([features]), Mixture([]), {"input_ids"}).lengths()
    assert lengths is not None  # noqa: S101  # tokenized rows have tokens
    order = np.argsort(-lengths, kind="stable")  # longest first: memory runs out at once or not at all
    output = trainer.predict(features.select(order)).predictions
    logits = output[0] if isinstance(output, tuple) else output
    restored: NDArray[np.floating[Any]] = np.empty_like(logits)
    restored[order] = logits
    return restored


def evaluate(trainer: Any, task: Task, parts: Mapping[str, Any]) -> dict[str, Scores]:
    """The task's scores on each evaluation part, by its name."""
    return {
        name: task.scores(predict_logits(trainer, features), np.asarray(features["labels"]))
        for name, features in parts.items()
    }


def tfidf_baseline(task: Task, train: Any, labelled: Sequence[int], parts: Mapping[str, Any]) -> dict[str, Scores]:
    """Scores of tf-idf and logistic regression, trained on the same labelled rows: what a model has to beat.

    Args:
        task: gives the metrics.
        train: table with `text` (and `text_pair`) and `label`.
        labelled: the rows of `train` that have a label.
        parts: evaluation tables of the same columns, by name.
    """
    table = train.select(labelled)
    texts = _texts(table)
    words: dict[str, Any] = {}
    if not any(re.search(r"\w\w", text) for text in texts):  # emoji, single letters: scikit-learn sees no word in them
        words = {"token_pattern": r"\S+"}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **words)
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=1000))
    model.fit(texts, table["label"])
    return {
        name: task.scores(_log_proba(model, part, len(set(train["label"]))), np.asarray(part["label"]))
        for name, part in parts.items()
    }


def _log_proba(model: Any, part: Any, classes: int) -> NDArray[np.floating[Any]]:
    scores = np.full((len(part), classes), -np.inf)
    scores[:, model.classes_] = model.predict_log_proba(_texts(part))
    return scores


def _texts(table: Any) -> list[str]:
    if "text_pair" not in table.column_names:
        return list(table["text"])
    return [f"{a}\n{b}" for a, b in zip(table["text"], table["text_pair"], strict=True)]
