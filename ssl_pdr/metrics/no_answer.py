"""Scores where some questions have no answer (SQuAD v2.0, Rajpurkar et al. 2018), and the threshold of answering ""."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.errors import DataError
from ssl_pdr.metrics.answers import Fractions, Gold, QuestionScores, normalise_answer, question_scores


def squad_v2_scores(
    predictions: Mapping[str, str],
    null_scores: Mapping[str, float],
    golds: Sequence[Gold],
    threshold: float | None = None,
) -> dict[str, float]:
    """The scores of SQuAD v2.0.

    Args:
        predictions: the best span of each question, by its id.
        null_scores: the larger, the more likely a question has no answer; by the same ids, finite or +inf.
        golds: the questions; one without answers is unanswerable. Answers without words (".") are left out, as SQuAD v2.0 does.
        threshold: a question with a null score above it is answered "", whatever its span; None leaves the predictions alone.

    Returns:
        `f1`, `exact`, `rows`; of the questions with answers `has_answer_f1`, `has_answer_exact`, `has_answer_rows`; of those
        without `no_answer_exact` (their F1 is the same) and `no_answer_rows`; and what the best threshold for these very
        questions would give, whatever `threshold` is: `best_f1` at `best_f1_threshold`, `best_exact` at
        `best_exact_threshold`, see `best_threshold`. A group without questions has no scores, its rows are 0.

    Raises:
        DataError: see `question_scores`; and for a question without a prediction or a null score.

    Example:
        >>> golds = [Gold("1", ("Ada",)), Gold("2", ())]
        >>> scores = squad_v2_scores({"1": "Ada", "2": "Bob"}, {"1": -3.0, "2": 0.5}, golds, threshold=1.0)
        >>> scores["f1"], scores["has_answer_f1"], scores["no_answer_exact"], scores["best_f1"], scores["best_f1_threshold"]
        (0.5, 1.0, 0.0, 1.0, -3.0)
    """
    spans, null, answerable = _of_spans(predictions, null_scores, golds)
    f1, exact = spans
    if threshold is not None:
        f1, exact = (np.where(null > threshold, ~answerable, values) for values in spans)
    scores: dict[str, float] = {"f1": float(f1.mean()), "exact": float(exact.mean())}
    if answerable.any():
        scores["has_answer_f1"] = float(f1[answerable].mean())
        scores["has_answer_exact"] = float(exact[answerable].mean())
    if not answerable.all():
        scores["no_answer_exact"] = float(exact[~answerable].mean())
    scores |= {"has_answer_rows": int(answerable.sum()), "no_answer_rows": int((~answerable).sum()), "rows": len(golds)}
    for metric, values in zip(spans._fields, spans, strict=True):
        scores[f"best_{metric}"], scores[f"best_{metric}_threshold"] = _best(values, null, answerable)
    return scores


def best_threshold(
    predictions: Mapping[str, str], null_scores: Mapping[str, float], golds: Sequence[Gold], metric: str = "f1"
) -> float:
    """The threshold with the highest score, to be chosen on a development set; of several the lowest, as in SQuAD's evaluation.

    It is always one that gives this score in `squad_v2_scores`. SQuAD's own search assumes that null scores are
    probabilities, all different: among equal ones it also counts a cut in their midst, which no threshold makes, and for "no
    question is answered" it names 0, which does nothing for scores below 0. Wherever it assumes rightly, both agree.

    Args:
        predictions: see `squad_v2_scores`.
        null_scores: see `squad_v2_scores`.
        golds: see `squad_v2_scores`.
        metric: `f1` or `exact`.

    Returns:
        One of the null scores; or, if it is best to answer nothing, 0, or a number just below all of them.

    Raises:
        DataError: see `squad_v2_scores`.

    Example:
        >>> golds = [Gold("1", ("Ada",)), Gold("2", ()), Gold("3", ("1843",))]
        >>> best_threshold({"1": "Ada", "2": "Bob", "3": "1843"}, {"1": -3.0, "2": 0.5, "3": -1.0}, golds)
        -1.0
    """
    spans, null, answerable = _of_spans(predictions, null_scores, golds)
    return _best(spans._asdict()[metric], null, answerable)[1]


def _of_spans(
    predictions: Mapping[str, str], null_scores: Mapping[str, float], golds: Sequence[Gold]
) -> tuple[QuestionScores, Fractions, NDArray[np.bool_]]:
    """Scores of the spans, null scores, and which questions have answers, (N,) each."""
    spans = question_scores(predictions, [Gold(gold.id, _with_words(gold.answers)) for gold in golds])
    for what, given in (("prediction", predictions), ("null score", null_scores)):
        missing = [gold.id for gold in golds if gold.id not in given]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(golds)} questions have no {what}, the first is {missing[0]!r}; expected one for each"
            )
    null = np.array([null_scores[gold.id] for gold in golds], dtype=np.float64)
    wrong = np.flatnonzero(~(null > -np.inf))
    if len(wrong):
        raise DataError(
            f"the null score of {golds[wrong[0]].id!r} is {null[wrong[0]]}; expected a finite number, or inf where "
            "there is no span"
        )
    return spans, null, np.array([bool(gold.answers) for gold in golds])


def _with_words(answers: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(answer for answer in answers if normalise_answer(answer))


def _best(values: Fractions, null: Fractions, answerable: NDArray[np.bool_]) -> tuple[float, float]:
    """The highest mean over all thresholds, and the lowest threshold that gives it.

    With the threshold at the k-th lowest null score the k lowest questions keep their spans and the others are answered "".
    """
    order = np.argsort(null, kind="stable")
    lowest = null[order]
    # What a question gains by its span: without it, it has 1 where there is no answer, and 0 where there is one.
    sums = np.cumsum(np.concatenate([[(~answerable).sum()], (values - ~answerable)[order]]))
    cuts = np.concatenate([[True], lowest[1:] > lowest[:-1], [True]])  # none between equal null scores
    thresholds = np.concatenate([[0.0 if lowest[0] > 0 else np.nextafter(lowest[0], -np.inf)], lowest])
    best = np.flatnonzero(cuts)[sums[cuts].argmax()]
    return float(sums[best]) / len(values), float(thresholds[best])
