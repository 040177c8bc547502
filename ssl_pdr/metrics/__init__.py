"""What the published evaluations measure, as plain functions of predictions and gold: fractions in [0, 1], counts as they are."""

from ssl_pdr.metrics.adversarial import adversarial_scores
from ssl_pdr.metrics.answers import (
    Gold,
    QuestionScores,
    exact_match,
    normalise_answer,
    question_scores,
    squad_scores,
    token_f1,
)
from ssl_pdr.metrics.classification import accuracy_scores, collapse_logits, hans_scores
from ssl_pdr.metrics.no_answer import best_threshold, squad_v2_scores

__all__ = [
    "Gold",
    "QuestionScores",
    "accuracy_scores",
    "adversarial_scores",
    "best_threshold",
    "collapse_logits",
    "exact_match",
    "hans_scores",
    "normalise_answer",
    "question_scores",
    "squad_scores",
    "squad_v2_scores",
    "token_f1",
]
