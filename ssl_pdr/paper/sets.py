"""Which of the sets that a model is to be evaluated on can be read: one that cannot must not cost the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssl_pdr.choices import CLASSIFICATION
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.catalogue import find_named
from ssl_pdr.data.evaluation_sets import set_name
from ssl_pdr.data.sources import EMBEDDED, EMBEDDED_QUESTIONS
from ssl_pdr.errors import DataError
from ssl_pdr.evaluation import sets_of
from ssl_pdr.materials import corpus_of, with_task


@dataclass(frozen=True)
class LookedAt:
    """Sets to evaluate on, as they are now.

    Attributes:
        digests: of those that can be read, by the names that a result has for their parts: most have one part only.
        missing: why the others cannot, in one line each.
    """

    digests: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]


def look_at_sets(config: TrainConfig) -> LookedAt:
    """Read those of `eval_on`; where the training data cannot be read, of which the run itself will tell, nothing is known.

    Args:
        config: resolved.
    """
    specs = config.eval_on or ()
    digests: dict[str, Mapping[str, str]] = {}
    missing: dict[str, str] = {}
    config = with_task(config) if specs else config
    try:
        classes = _classes(config) if specs and config.task == CLASSIFICATION else ()
    except DataError:
        return LookedAt({}, {})
    for spec in specs:
        try:
            digests[spec] = {one.name: one.digest for one in sets_of([spec], classes, config)}
        except DataError as error:
            missing[spec] = str(error)
    return LookedAt(digests, missing)


def has_scores(spec: str, scores: Iterable[str]) -> bool:
    """Whether a set is among the scores of a result; of the corpora that come with the package every part has its own.

    Example:
        >>> has_scores("imdb", ["in_domain"]), has_scores("pydocs-topics", ["pydocs-topics in_domain"])
        (False, True)
    """
    name = set_name(spec)
    if spec in (*EMBEDDED, *EMBEDDED_QUESTIONS):
        return any(part.startswith(f"{name} ") for part in scores)
    return name in scores


def _classes(config: TrainConfig) -> Sequence[str]:
    named = find_named(config.data)
    return named.labels if named is not None else corpus_of(config, config.seed).label_names
