"""The published evaluations written down once more, plainly and slowly: what the package's scores are compared with."""

from __future__ import annotations

import re
import string
from collections.abc import Callable

Metric = Callable[[str, str], float]


def words(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    return [word for word in re.sub(r"\b(an|a|the)\b", " ", kept).split() if word]


def exact(prediction: str, answer: str) -> float:
    return float(words(prediction) == words(answer))


def common_words(prediction: str, answer: str) -> int:
    left, common = words(answer), 0
    for word in words(prediction):
        if word in left:
            left.remove(word)
            common += 1
    return common


def f1_of_mrqa(prediction: str, answer: str) -> float:
    """Of SQuAD v1.1 and MRQA: two texts without words have nothing in common."""
    common = common_words(prediction, answer)
    if common == 0:
        return 0.0
    precision, recall = common / len(words(prediction)), common / len(words(answer))
    return 2 * precision * recall / (precision + recall)


def f1(prediction: str, answer: str) -> float:
    if not words(prediction) or not words(answer):
        return float(words(prediction) == words(answer))
    return f1_of_mrqa(prediction, answer)


def averaged(metric: Metric, predictions: dict[str, str], golds: dict[str, list[str]]) -> float:
    """v1.1 and MRQA: the best answer counts, a question without a prediction has 0."""
    scores = [
        max(metric(predictions[name], answer) for answer in answers)
        for name, answers in golds.items()
        if name in predictions
    ]
    return sum(scores) / len(golds)


def raw(metric: Metric, predictions: dict[str, str], golds: dict[str, list[str]]) -> dict[str, float]:
    """v2.0: answers without words do not count, and where none is left the right answer is empty."""
    return {
        name: max(metric(predictions[name], answer) for answer in [a for a in answers if words(a)] or [""])
        for name, answers in golds.items()
    }


def thresholded(
    scores: dict[str, float], null: dict[str, float], golds: dict[str, list[str]], threshold: float
) -> dict[str, float]:
    return {name: float(not golds[name]) if null[name] > threshold else score for name, score in scores.items()}


def best_of_search(
    scores: dict[str, float], predictions: dict[str, str], null: dict[str, float], golds: dict[str, list[str]]
) -> tuple[float, float]:
    """v2.0's search: one question after the other gets its span, by rising null score; only a better score moves it."""
    score = best = float(sum(not answers for answers in golds.values()))
    threshold = 0.0
    for name in sorted(null, key=null.__getitem__):
        if golds[name]:
            score += scores[name]
        elif predictions[name]:
            score -= 1
        if score > best:
            best, threshold = score, null[name]
    return best / len(golds), threshold


def under_attack(predictions: dict[str, str], golds: dict[str, list[str]]) -> dict[str, float]:
    """Adversarial SQuAD: a row after the other may become the one that stands for its original question."""
    standing: dict[str, tuple[str, float, float]] = {}
    of_originals = [0.0, 0.0]
    for name, answers in golds.items():
        original = name.split("-")[0]
        row_f1, row_exact = (max(metric(predictions[name], answer) for answer in answers) for metric in (f1, exact))
        if name == original:
            of_originals = [of_originals[0] + row_f1, of_originals[1] + row_exact]
            standing.setdefault(original, (name, row_f1, row_exact))
        elif original not in standing or standing[original][0] == original or row_f1 < standing[original][1]:
            standing[original] = (name, row_f1, row_exact)
    count = len(standing)
    return {
        "f1": sum(row[1] for row in standing.values()) / count,
        "exact": sum(row[2] for row in standing.values()) / count,
        "original_f1": of_originals[0] / count,
        "original_exact": of_originals[1] / count,
    }
