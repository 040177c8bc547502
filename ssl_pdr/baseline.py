"""What a model has to beat: tf-idf and logistic regression on the same labelled rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ssl_pdr.errors import DataError
from ssl_pdr.metrics.classification import accuracy_scores

_MOST = 10**7  # weights; their solver keeps some twenty times as many numbers


def tfidf_baseline(train: Any, labelled: Sequence[int], parts: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Scores of tf-idf and logistic regression.

    Args:
        train: table with `text` (and `text_pair`) and `label`.
        labelled: the rows of `train` that have a label.
        parts: evaluation tables of the same columns, by name.

    Raises:
        DataError: for so many classes and words that it would take more memory than the model.
    """
    table = train.select(labelled)
    texts = _texts(table)
    words: dict[str, Any] = {}
    if not any(re.search(r"\w\w", text) for text in texts):  # emoji, single letters: scikit-learn sees no word in them
        words = {"token_pattern": r"\S+"}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **words)
    features, labels = vectorizer.fit_transform(texts), np.asarray(table["label"])
    if (weights := features.shape[1] * len(np.unique(labels))) > _MOST:
        raise DataError(f"tf-idf would have {weights:,} weights for all words and classes, expected at most {_MOST:,}")
    model = LogisticRegression(C=10, max_iter=1000).fit(features, labels)
    return {
        name: accuracy_scores(model.predict(vectorizer.transform(_texts(part))), np.asarray(part["label"]))
        for name, part in parts.items()
    }


def _texts(table: Any) -> list[str]:
    if "text_pair" not in table.column_names:
        return list(table["text"])
    return [f"{a}\n{b}" for a, b in zip(table["text"], table["text_pair"], strict=True)]
