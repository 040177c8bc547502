"""Which of the sets that a model is to be evaluated on can be read: one that cannot must not cost the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ssl_pdr.config import TrainConfig
from ssl_pdr.data.catalogue import find_named
from ssl_pdr.errors import DataError
from ssl_pdr.evaluation import sets_of
from ssl_pdr.materials import corpus_of, with_task


def unreadable_sets(config: TrainConfig) -> dict[str, str]:
    """Those of `eval_on` that cannot be read, with the reason, in one line each.

    Args:
        config: resolved.
    """
    specs = config.eval_on or ()
    config = with_task(config) if specs else config
    try:
        classes = _classes(config) if specs and config.task == "classification" else ()
    except DataError:  # of the training data, which the run itself will tell of
        return {}
    reasons = {spec: _why_unreadable(spec, classes, config) for spec in specs}
    return {spec: reason for spec, reason in reasons.items() if reason is not None}


def part_name(spec: str) -> str:
    """What a result calls a set to evaluate on.

    Example:
        >>> part_name("imdb"), part_name("/data/reviews.csv")
        ('imdb', 'reviews.csv')
    """
    return spec if find_named(spec) else Path(spec).name


def _classes(config: TrainConfig) -> Sequence[str]:
    named = find_named(config.data)
    return named.labels if named is not None else corpus_of(config, config.seed).label_names


def _why_unreadable(spec: str, classes: Sequence[str], config: TrainConfig) -> str | None:
    try:
        sets_of([spec], classes, config)
    except DataError as error:
        return str(error)
    return None
