"""From a configuration to a regularizer, with everything that a preset means."""

from __future__ import annotations

import inspect
from typing import Any

from ssl_pdr.alignment import NO_CLASSES, check_alignment
from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.config import TrainConfig
from ssl_pdr.divergences import get_divergence
from ssl_pdr.errors import ConfigError
from ssl_pdr.regularizers import (
    RPT,
    VAT,
    DivergenceRegularizer,
    JacobianRegularizer,
    Regularizer,
    get_regularizer,
)

# Options that regularizers take as arguments, and what the arguments are called where that is something else.
_OPTIONS = (
    *("div", "radius", "radius_unit", "search", "search_steps", "search_products", "search_rounds", "norm", "order"),
    *("projections", "target_grad", "site", "dropout"),
)
_ARGUMENTS = {"div": "divergence", "search_steps": "steps", "search_products": "products", "search_rounds": "rounds"}


def has_effect(option: str, reg: str) -> bool:
    """Whether an option of a configuration changes anything for a method.

    Args:
        option: field of `TrainConfig`.
        reg: name of a regularizer, or `none`.

    Example:
        >>> has_effect("radius", "vat"), has_effect("radius", "rdrop"), has_effect("lr", "none")
        (True, False, True)
    """
    if option not in (*_OPTIONS, "alpha", "ratio", "align"):
        return True
    if reg == "none" or option == "alpha":
        return reg != "none"
    cls = get_regularizer(reg)
    if option == "align":
        return issubclass(cls, DivergenceRegularizer) and not cls.labelled_only
    if option == "ratio":
        return not cls.labelled_only
    argument = "radius" if option == "radius_unit" else _ARGUMENTS.get(option, option)
    return argument in inspect.signature(cls).parameters


def build_regularizer(config: TrainConfig) -> Regularizer | None:
    """The regularizer that a resolved configuration describes; None for `none`.

    Raises:
        ConfigError: for options that mean nothing to it.
    """
    get_divergence(config.div)  # a name that does not exist is an error, whether it is used or not
    regularizer = None if config.reg == "none" else _build(config)
    check_alignment(config.align, regularizer if config.alpha > 0 else None)
    if config.align and config.task == QUESTION_ANSWERING:
        raise ConfigError(NO_CLASSES)
    return regularizer


def _build(config: TrainConfig) -> Regularizer:
    cls = get_regularizer(config.reg)
    options: dict[str, Any] = {_ARGUMENTS.get(name, name): getattr(config, name) for name in (*_OPTIONS, "seed")}
    options["target_grad"] = _target_grad(config)
    taken = inspect.signature(cls).parameters
    for name, value, without in (("order", config.order, 1), ("norm", config.norm, "token")):
        if name not in taken and value != without:
            raise ConfigError(f"--{name} {value} is for rpt and vat, got --reg {config.reg}")
    regularizer = cls(**{name: value for name, value in options.items() if name in taken})
    if config.preset == "published-code":
        _as_published(regularizer)
    if config.task == QUESTION_ANSWERING:
        _for_answers(regularizer, config)
    return regularizer


def _target_grad(config: TrainConfig) -> str | None:
    """As configured; an aligned target, which is a constant, decides what `auto` leaves open."""
    return "detach" if config.target_grad == "auto" and config.align else config.target_grad


def _for_answers(regularizer: Regularizer, config: TrainConfig) -> None:
    """What differs for start and end: a Jacobian has a row for every position, and the published code's KL carries gradient."""
    if isinstance(regularizer, JacobianRegularizer):
        regularizer.projections = regularizer.projections or 1
    if (
        isinstance(regularizer, DivergenceRegularizer)
        and config.preset == "published-code"
        and regularizer.target_grad == "auto"
    ):
        regularizer.target_grad = "both"


def _as_published(regularizer: Regularizer) -> None:
    """What the published code does beyond the options: noise on padding, one embedding pass, a logit Jacobian."""
    regularizer.pads = True
    if isinstance(regularizer, RPT):
        regularizer.base_embeddings = "reused" if isinstance(regularizer, VAT) else "reused_detached"
    if isinstance(regularizer, JacobianRegularizer) and not regularizer.weighted:
        regularizer.of, regularizer.unbiased = "logits", False
        regularizer.projections = regularizer.projections or 1
