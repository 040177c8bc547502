"""Exact match and token F1 of extracted answers (SQuAD v1.1, Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.errors import DataError

Fractions: TypeAlias = NDArray[np.float64]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Gold:
    """The right answers to one question.

    Attributes:
        id: of the question, as in the data set.
        answers: any of them is right; none for a question that its passage does not answer.
    """

    id: str
    answers: tuple[str, ...]


class QuestionScores(NamedTuple):
    """Scores of each question, (N,) each, in the order of the gold: F1 in [0, 1], exact match 0 or 1 and never above F1."""

    f1: Fractions
    exact: Fractions


def normalise_answer(text: str) -> str:
    """The form in which answers are compared: lower case, no ASCII punctuation, no English articles, single spaces.

    Punctuation goes before the articles do and leaves no space, as in SQuAD's evaluation. Other punctuation, accents and
    the width of characters are kept.

    Example:
        >>> normalise_answer("The  U.S. (a federation)"), normalise_answer("an A-team"), normalise_answer("“the” 1,000")
        ('us federation', 'ateam', '“ ” 1000')
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> bool:
    """Whether a prediction is one of the answers, both normalised; without answers the right one is empty.

    Example:
        >>> exact_match("the Eiffel Tower", ["Eiffel tower.", "the tower"]), exact_match("Paris", []), exact_match("", [])
        (True, False, True)
    """
    return _score(prediction, answers)[1]


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """The harmonic mean of precision and recall over normalised words, counted with their repetitions; of the best answer.

    Of two texts without words it is 1, of one with and one without 0: SQuAD v2.0's rule, by which F1 is never below exact match.

    Returns:
        A number in [0, 1]; without answers the right prediction is empty.

    Example:
        >>> token_f1("in the city of Paris", ["Paris, France", "Paris"]), token_f1("Paris", []), token_f1("", ["the"])
        (0.4, 0.0, 1.0)
    """
    return _score(prediction, answers)[0]


def question_scores(predictions: Mapping[str, str], golds: Sequence[Gold]) -> QuestionScores:
    """F1 and exact match of each question; one without a prediction has 0 in both.

    Args:
        predictions: the predicted text by the question's id.
        golds: N questions with different ids.

    Returns:
        Two arrays, (N,).

    Raises:
        DataError: without questions, for an id that two of them share, and for predictions for ids that none of them has:
            those belong to another set, whose score would silently be one of missing predictions.

    Example:
        >>> question_scores({"1": "Ada Lovelace"}, [Gold("1", ("Ada",)), Gold("2", ("1843",))]).f1.round(2)
        array([0.67, 0.  ])
    """
    _check_ids(predictions, golds)
    rows = [_score(predictions[gold.id], gold.answers) if gold.id in predictions else (0.0, False) for gold in golds]
    f1, exact = np.array(rows, dtype=np.float64).T
    return QuestionScores(f1, exact)


def squad_scores(predictions: Mapping[str, str], golds: Sequence[Gold]) -> dict[str, float]:
    """The scores of SQuAD v1.1, and of MRQA (Fisch et al. 2019), whose evaluation is the same one.

    Both leave F1 at 0 where a prediction and a gold answer have no words at all, though they match exactly; here it is 1
    then, see `token_f1`. No other value differs.

    Args:
        predictions: the predicted text by the question's id; a question without one counts 0.
        golds: the questions.

    Returns:
        `f1` and `exact`, averaged over the questions, and `rows`, their number.

    Raises:
        DataError: see `question_scores`.

    Example:
        >>> squad_scores({"1": "The Ada"}, [Gold("1", ("Ada",)), Gold("2", ("1843",))])
        {'f1': 0.5, 'exact': 0.5, 'rows': 2}
    """
    scores = question_scores(predictions, golds)
    return {"f1": float(scores.f1.mean()), "exact": float(scores.exact.mean()), "rows": len(golds)}


def _score(prediction: str, answers: Sequence[str]) -> tuple[float, bool]:
    """F1 and exact match; most answers are named several times over, and each is compared once."""
    predicted = normalise_answer(prediction)
    wanted = {normalise_answer(answer) for answer in answers} or {""}
    if predicted in wanted:
        return 1.0, True
    words = predicted.split()
    counts = Counter(words)
    return max(_f1(words, counts, answer.split()) for answer in wanted), False


def _f1(words: Sequence[str], counts: Counter[str], wanted: Sequence[str]) -> float:
    """2 · common / (all words of both), which is what the harmonic mean of precision and recall comes to."""
    common = (counts & Counter(wanted)).total() if not counts.keys().isdisjoint(wanted) else 0
    return 2 * common / (len(words) + len(wanted))


def _check_ids(predictions: Mapping[str, str], golds: Sequence[Gold]) -> None:
    if not golds:
        raise DataError("there are no questions to score, expected at least one; check the evaluation set")
    asked = Counter(gold.id for gold in golds)
    if len(asked) < len(golds):
        name, times = asked.most_common(1)[0]
        raise DataError(f"{times} questions have the id {name!r}, expected one of each; give them different ids")
    unknown = [name for name in predictions if name not in asked]
    if unknown:
        raise DataError(
            f"{len(unknown)} of {len(predictions)} predictions are for questions that are not in the set, the first for "
            f"{unknown[0]!r}; expected predictions for this set only"
        )
