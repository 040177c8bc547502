"""What a person should know before believing a run, each in one sentence that says what to do.

Told once, by the listener's `warn` and among the `warnings` of `result.json`. Leaks are found where the data are read (`ssl_pdr.materials`,
`ssl_pdr.loading`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_pdr.choices import CLASSIFICATION, QUESTION_ANSWERING
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.splits import LabelSplit

_FEW = 8  # labelled rows of a class
_NOISE = 0.1  # share of R that is more than rounding
_DROPOUT = 0.7  # share of R that is there without noise, over two measurements at least: masks are drawn anew for each
_STUCK = 0.9  # CE after training, of what it is for class frequencies alone
_ONE_CLASS = 0.95  # share of the predictions
_BALANCED = 0.75  # share of the rows that a class may have at most
_ROWS = 20  # that say something of shares


def of_budget(split: LabelSplit, task: str | None) -> list[str]:
    """What is to be said of a label budget.

    Args:
        split: which rows are labelled.
        task: of the run; questions have no classes.

    Example:
        >>> from ssl_pdr.data.splits import split_labels
        >>> of_budget(split_labels(["a", "b"] * 50, count=40), "classification")
        []
    """
    counts = {"questions": len(split.labelled)}
    if task == CLASSIFICATION:
        counts = {str(name): labelled for name, (labelled, _) in split.class_counts.items()}
    least = min(counts, key=lambda name: counts[name])
    if len(split.labelled) >= _FEW * len(counts) and counts[least] > 1:
        return []
    kinds = f"{len(counts)} classes, {counts[least]} of {least!r}" if task == CLASSIFICATION else "questions"
    return [
        f"few labels: {len(split.labelled)} labelled rows of {kinds}; scores may differ by many points between seeds: run several "
        f"(ssl-pdr curve, or --seed), or label at least {_FEW} of each"
    ]


def after_training(
    config: TrainConfig,
    split: LabelSplit,
    entries: Sequence[Mapping[str, Any]],
    predictions: Mapping[str, Sequence[Mapping[str, Any]]],
) -> list[str]:
    """All that comes to light when a model is trained and evaluated; see the functions below for the arguments."""
    held_back = of_balance(entries, split) if config.task == CLASSIFICATION else []
    return [*of_log(entries), *held_back, *of_predictions(predictions, config)]


def of_log(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of R by what was logged of it.

    Args:
        entries: of the log.

    Example:
        >>> of_log([{"ce": 0.7, "r": 0.1, "r_above_rounding": 0.99, "r_zero_noise": 0.02}])
        []
    """
    above = _last_half([entry["r_above_rounding"] for entry in entries if "r_above_rounding" in entry])
    measured = [entry for entry in entries if "r_zero_noise" in entry]
    r, zero = (sum(entry[name] for entry in measured) for name in ("r", "r_zero_noise"))
    if above is not None and above < _NOISE:
        return [
            f"R is rounding noise: only {above:.1%} of it is more than what rounding makes by itself; raise --radius, take --order 2, or "
            "--precision float32"
        ]
    if len(measured) > 1 and zero > _DROPOUT * r:
        return [
            f"R is dropout, not noise: {min(zero / r, 1.0):.0%} of it is there at radius 0, as in --reg rdrop; raise --radius, or take --dropout shared"
        ]
    return []


def of_balance(entries: Sequence[Mapping[str, Any]], split: LabelSplit) -> list[str]:
    """What is to be said where R holds the model back from its labels.

    A large gradient of R alone is no harm: rows that are learnt have none of their own any more. So nothing is said
    where the cross-entropy has fallen below that of class frequencies.

    Args:
        entries: of the log, with |α ∇R| / |∇CE| as `r_gradient`, as `Balance` finds it.
        split: gives the frequencies.

    Example:
        >>> from ssl_pdr.data.splits import split_labels
        >>> of_balance([{"ce": 0.1, "r_gradient": 3.0}], split_labels(["a", "b"] * 50, count=40))
        []
    """
    counts = [labelled for labelled, _ in split.class_counts.values() if labelled]
    chance = -sum(n / sum(counts) * math.log(n / sum(counts)) for n in counts)
    ratios = [
        value for value in (entry.get("r_gradient") for entry in entries) if value is not None and math.isfinite(value)
    ]
    ce, ratio = _last_half([entry["ce"] for entry in entries if "ce" in entry]), _median(ratios)
    if ce is None or ratio <= 1 or ce < _STUCK * chance:
        return []
    return [
        f"R prevails over the labels: its gradient, times alpha, is {ratio:.3g} times that of the cross-entropy, which has stayed at {ce:.2f} ("
        f"{chance:.2f} for class frequencies alone); lower --alpha"
    ]


def of_predictions(predictions: Mapping[str, Sequence[Mapping[str, Any]]], config: TrainConfig) -> list[str]:
    """What is to be said where nearly all rows of the in-domain part get one class that is not that frequent.

    R on rows without labels is least where all of them get the same class, while labelled rows are learnt apart.

    Args:
        predictions: of each row, by the name of the set, with `prediction` and `label`.
        config: of the run.

    Example:
        >>> rows = [{"prediction": name, "label": name} for name in ("a", "b")] * 20
        >>> of_predictions({"in_domain": rows}, TrainConfig())
        []
    """
    rows = predictions.get("in_domain", ())
    if config.task == QUESTION_ANSWERING or config.reg == "none" or config.alpha == 0 or len(rows) < _ROWS:
        return []
    ((name, count),) = Counter(row["prediction"] for row in rows).most_common(1)
    right = sum(row["label"] == name for row in rows) / len(rows)
    if count / len(rows) <= _ONE_CLASS or right > _BALANCED:
        return []
    return [
        f"one class takes all: {count / len(rows):.0%} of the predictions on in_domain are {name!r}, which {right:.0%} of the rows are; lower --alpha, "
        "raise --radius, or take --align 0.97; after few steps, train longer"
    ]


def _last_half(values: Sequence[float]) -> float | None:
    """The mean of the second half of the values, None without any."""
    half = values[len(values) // 2 :]
    return sum(half) / len(half) if half else None


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
