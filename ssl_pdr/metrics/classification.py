"""Scores of classes, and of sets that tell fewer classes apart than a model does (HANS, McCoy et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from ssl_pdr.choices import COLLAPSING
from ssl_pdr.errors import DataError, unknown_name

Classes: TypeAlias = NDArray[np.integer[Any]]

_Value = TypeVar("_Value")

HANS_LABELS = ("entailment", "non-entailment")


def accuracy_scores(predicted: Classes, labels: Classes) -> dict[str, float]:
    """Accuracy, and F1 averaged over the classes that occur among the labels or the predictions.

    Args:
        predicted: class numbers, (N,).
        labels: the right ones, (N,).

    Returns:
        `accuracy`, `macro_f1` and `rows`.

    Raises:
        DataError: without rows.

    Example:
        >>> scores = accuracy_scores(np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1]))
        >>> scores["accuracy"], round(scores["macro_f1"], 3), scores["rows"]
        (0.75, 0.733, 4)
    """
    if len(labels) == 0:
        raise DataError("there are no rows to score, expected at least one; check the evaluation set")
    return {
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "rows": len(labels),
    }


def collapse_logits(
    logits: NDArray[np.floating[Any]],
    model_labels: Sequence[str],
    set_labels: Sequence[str],
    mapping: Mapping[str, str],
    how: str = "argmax",
) -> NDArray[np.intp]:
    """What a model predicts in the classes of a set that does not tell all of the model's classes apart.

    Names are compared as they are first, and then without regard to case.

    Args:
        logits: of the model's classes, (N, C); their softmax is the model's posterior.
        model_labels: the names of the C classes.
        set_labels: the names of the set's S classes, in the order of their numbers.
        mapping: which class of the set a class of the model is; classes of the same name need not be in it.
        how: `argmax` takes the most likely class of the model and maps it; `sum` takes the class of the set with the highest
            sum of probabilities.

    Returns:
        Numbers of the set's classes, (N,).

    Raises:
        DataError: for logits of another shape, and for a class that has no counterpart, of the model or of the set.
        UnknownNameError: for another `how`.

    Example:
        >>> logits, names = np.log([[0.4, 0.3, 0.3]]), ("entailment", "neutral", "contradiction")
        >>> mapping = {"neutral": "non-entailment", "contradiction": "non-entailment"}
        >>> [collapse_logits(logits, names, HANS_LABELS, mapping, how).item() for how in COLLAPSING]
        [0, 1]
    """
    if how not in COLLAPSING:
        raise unknown_name("way to collapse classes", how, COLLAPSING)
    if logits.ndim != 2 or logits.shape[1] != len(model_labels):
        raise DataError(
            f"the logits have the shape {logits.shape}, expected (rows, {len(model_labels)}) for {_listed(model_labels)}"
        )
    target = _targets(model_labels, set_labels, mapping)
    predicted: NDArray[np.intp]
    if how == "argmax":
        predicted = target[logits.argmax(axis=1)]
        return predicted
    # The softmax's denominator is the same for all classes of a row, so that it decides nothing.
    odds = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    predicted = (odds @ np.eye(len(set_labels))[target]).argmax(axis=1)
    return predicted


def hans_scores(
    predicted: Classes, labels: Classes, heuristics: Sequence[str], label_names: Sequence[str] = HANS_LABELS
) -> dict[str, float]:
    """Accuracy in all, by the heuristic that a row tempts a model to follow, and by heuristic and right label.

    Args:
        predicted: class numbers, (N,).
        labels: the right ones, (N,).
        heuristics: the heuristic of each row: `lexical_overlap`, `subsequence` or `constituent`.
        label_names: of the class numbers.

    Returns:
        `accuracy`, `macro_f1`, `rows`; then the accuracy on the rows of each heuristic by its name, and on those with one right
        label by both names (`lexical_overlap_entailment`, `lexical_overlap_non_entailment`). A group without rows has no score.

    Raises:
        DataError: without rows.

    Example:
        >>> scores = hans_scores(np.array([0, 0, 1]), np.array([0, 1, 1]), ["subsequence", "subsequence", "constituent"])
        >>> [name for name in scores][3:]
        ['constituent', 'constituent_non_entailment', 'subsequence', 'subsequence_entailment', 'subsequence_non_entailment']
        >>> scores["subsequence"], scores["subsequence_entailment"], scores["subsequence_non_entailment"]
        (0.5, 1.0, 0.0)
    """
    scores = accuracy_scores(predicted, labels)
    right, groups = np.equal(predicted, labels), np.asarray(heuristics)
    for heuristic in np.unique(groups).tolist():
        of_heuristic = groups == heuristic
        scores[heuristic] = float(right[of_heuristic].mean())
        for number, label in enumerate(label_names):
            rows = of_heuristic & (labels == number)
            if rows.any():
                scores[f"{heuristic}_{label.replace('-', '_')}"] = float(right[rows].mean())
    return scores


def _targets(model_labels: Sequence[str], set_labels: Sequence[str], mapping: Mapping[str, str]) -> NDArray[np.intp]:
    """The number of the set's class for each class of the model, (C,)."""
    numbers = _any_case({label: number for number, label in enumerate(set_labels)})
    renamed = _any_case(mapping)
    targets = []
    for label in model_labels:
        name = renamed.get(label, renamed.get(label.casefold(), label))
        number = numbers.get(name, numbers.get(name.casefold()))
        if number is None:
            raise DataError(
                f"the model's class {label!r} is none of the set's classes {_listed(set_labels)}; map it to one of them"
            )
        targets.append(number)
    for number, label in enumerate(set_labels):
        if number not in targets:
            raise DataError(
                f"the set's class {label!r} is none of the model's classes {_listed(model_labels)}; map one of them to it"
            )
    return np.array(targets, dtype=np.intp)


def _any_case(named: Mapping[str, _Value]) -> dict[str, _Value]:
    """By the names as they are and, where no other name is in the way, in lower case."""
    return {**{name.casefold(): value for name, value in named.items()}, **named}


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(map(repr, labels))
