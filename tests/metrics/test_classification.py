"""Accuracy, classes that a set does not tell apart, and HANS."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, recall_score

from ssl_pdr.errors import DataError, UnknownNameError
from ssl_pdr.metrics import accuracy_scores, collapse_logits, hans_scores
from ssl_pdr.metrics.classification import HANS_LABELS

MNLI = ("entailment", "neutral", "contradiction")
TO_HANS = {"neutral": "non-entailment", "contradiction": "non-entailment"}
NUMBERS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)


def log(*rows: list[float]) -> Any:
    return np.log(np.array(rows))


@given(rows=NUMBERS)
def test_accuracy_and_macro_f1_are_those_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    predicted, labels = np.array(rows).T
    scores = accuracy_scores(predicted, labels)
    f1 = []
    for number in set(predicted) | set(labels):
        right = np.sum((predicted == number) & (labels == number))
        f1.append(2 * right / (np.sum(predicted == number) + np.sum(labels == number)))
    assert scores == {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": pytest.approx(np.mean(f1)),
        "rows": len(rows),
    }
    assert scores["macro_f1"] == f1_score(labels, predicted, average="macro", zero_division=0)


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows to score"):
        accuracy_scores(np.array([], dtype=int), np.array([], dtype=int))


def test_argmax_takes_the_likeliest_class_and_sum_the_likeliest_group() -> None:
    logits = log([0.4, 0.3, 0.3], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.45, 0.0001, 0.5499])
    assert collapse_logits(logits, MNLI, HANS_LABELS, TO_HANS, "argmax").tolist() == [0, 1, 0, 1]
    assert collapse_logits(logits, MNLI, HANS_LABELS, TO_HANS, "sum").tolist() == [1, 1, 0, 1]


@given(
    logits=st.lists(st.lists(st.floats(-30, 30, width=32), min_size=3, max_size=3), min_size=1, max_size=5),
    shift=st.floats(-1e4, 1e4),
)
def test_sums_are_those_of_probabilities(logits: list[list[float]], shift: float) -> None:
    given_logits = np.array(logits)
    p = np.exp(given_logits) / np.exp(given_logits).sum(axis=1, keepdims=True)
    entailed, other = p[:, 0], p[:, 1] + p[:, 2]
    clear = np.abs(entailed - other) > 1e-6
    predicted = collapse_logits(given_logits + shift, MNLI, HANS_LABELS, TO_HANS, "sum")
    np.testing.assert_array_equal(predicted[clear], (other > entailed)[clear].astype(int))


@pytest.mark.parametrize("how", ["argmax", "sum"])
def test_the_order_and_the_case_of_names_do_not_matter(how: str) -> None:
    logits = log([0.8, 0.1, 0.1], [0.1, 0.1, 0.8])
    names = ("Contradiction", "ENTAILMENT", "Neutral")
    mapping = {"NEUTRAL": "Non-Entailment", "contradiction": "NON-entailment"}
    assert collapse_logits(logits, names, ("non-entailment", "Entailment"), mapping, how).tolist() == [0, 0]
    assert collapse_logits(logits[:, [1, 0, 2]], names, ("non-entailment", "Entailment"), mapping, how).tolist() == [
        1,
        0,
    ]
    assert collapse_logits(logits, MNLI, MNLI[::-1], {}, how).tolist() == [2, 0]


def test_names_that_differ_in_case_only_are_different_classes() -> None:
    assert collapse_logits(np.eye(3), ("us", "US", "Us"), ("US", "us", "Us"), {}).tolist() == [1, 0, 2]


@pytest.mark.parametrize("how", ["argmax", "sum"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_extreme_logits_stay_numbers(how: str, dtype: Any) -> None:
    logits = np.array([[6e4, -6e4, -6e4], [-np.inf, 0, -6e4], [-6e4, -np.inf, -6e4 + 64]], dtype=dtype)
    assert collapse_logits(logits, MNLI, HANS_LABELS, TO_HANS, how).tolist() == [0, 1, 1]


@pytest.mark.parametrize("how", ["argmax", "sum"])
def test_names_can_be_checked_before_there_are_logits(how: str) -> None:
    assert collapse_logits(np.empty((0, 3)), MNLI, HANS_LABELS, TO_HANS, how).shape == (0,)


@pytest.mark.parametrize(
    ("columns", "set_labels", "mapping", "message"),
    [
        (
            3,
            HANS_LABELS,
            {"neutral": "non-entailment"},
            "model's class 'contradiction' is none of the set's classes 'entail",
        ),
        (3, HANS_LABELS, TO_HANS | {"neutral": "unsure"}, "model's class 'neutral' is none of .*map it"),
        (
            3,
            (*HANS_LABELS, "unsure"),
            TO_HANS,
            "set's class 'unsure' is none of the model's classes 'entailment', 'neutral'",
        ),
        (2, HANS_LABELS, TO_HANS, r"logits have the shape \(4, 2\), expected \(rows, 3\)"),
    ],
)
def test_classes_without_a_counterpart_are_refused(
    columns: int, set_labels: tuple[str, ...], mapping: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        collapse_logits(np.zeros((4, columns)), MNLI, set_labels, mapping)
    assert "\n" not in str(caught.value)


def test_another_way_to_collapse_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown way to collapse classes 'summ'; did you mean 'sum'"):
        collapse_logits(np.zeros((1, 3)), MNLI, HANS_LABELS, TO_HANS, "summ")


def test_hans_by_hand() -> None:
    heuristics = ["lexical_overlap"] * 4 + ["subsequence"] * 2 + ["constituent"]
    labels = np.array([0, 0, 1, 1, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 0, 0, 1])
    assert hans_scores(predicted, labels, heuristics) == {
        "accuracy": pytest.approx(5 / 7),
        "macro_f1": pytest.approx((2 * 3 / (5 + 3) + 2 * 2 / (2 + 4)) / 2),
        "rows": 7,
        "lexical_overlap": 0.75,
        "lexical_overlap_entailment": 1,
        "lexical_overlap_non_entailment": 0.5,
        "subsequence": 0.5,
        "subsequence_entailment": 1,
        "subsequence_non_entailment": 0,
        "constituent": 1,
        "constituent_non_entailment": 1,
    }


def test_hans_with_its_classes_in_another_order() -> None:
    scores = hans_scores(np.array([1, 0]), np.array([1, 1]), ["subsequence"] * 2, HANS_LABELS[::-1])
    assert scores["subsequence_entailment"] == 0.5
    assert "subsequence_non_entailment" not in scores


@pytest.mark.shared_data
def test_hans_itself(shared_data: Path) -> None:
    with gzip.open(shared_data / "hans/eval.tsv.gz", "rt", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    labels = np.array([HANS_LABELS.index(row["gold_label"]) for row in rows])
    heuristics = [row["heuristic"] for row in rows]
    always = hans_scores(np.zeros_like(labels), labels, heuristics)
    assert (always["accuracy"], always["rows"], always["constituent"]) == (0.5, 30_000, 0.5)
    assert always["lexical_overlap_entailment"] == 1
    assert always["subsequence_non_entailment"] == 0
    predicted = np.random.default_rng(0).integers(0, 2, len(labels))
    scores = hans_scores(predicted, labels, heuristics)
    for heuristic in ("lexical_overlap", "subsequence", "constituent"):
        here = np.array(heuristics) == heuristic
        recalls = recall_score(labels[here], predicted[here], average=None)
        assert scores[f"{heuristic}_entailment"] == pytest.approx(recalls[0])
        assert scores[f"{heuristic}_non_entailment"] == pytest.approx(recalls[1])
        assert scores[heuristic] == pytest.approx(recalls.mean())  # 5,000 of each label
