"""What folders and files of reproduced tables are called: another choice, another name; nothing of where things lie."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssl_pdr.choices import REGULARIZERS_WITHOUT_DIVERGENCE
from ssl_pdr.config import TrainConfig, is_model_folder
from ssl_pdr.files import is_there
from ssl_pdr.paper.figures import BASE_ROW

# What may differ between a finished run and the one that is asked for: where it lies, how often it was saved, and what
# it was evaluated on beside its dev set, and who was told of it. None of that changes the model.
NOT_OF_THE_MODEL = ("output", "save_steps", "auto_batch", "eval_on", "data_fingerprint", "report_to")
_OPTIONS = {"limit": "subset", "eval_limit": "dev-subset"}
_LONGEST = 100


def model_folder(model: str) -> str:
    """The folder of the runs of a model; models of one name and different owners or places have different ones.

    Example:
        >>> model_folder("minilm-l6"), model_folder("google-bert/bert-base-uncased")
        ('minilm-l6', 'google-bert--bert-base-uncased')
    """
    if is_model_folder(model):
        place = Path(model).expanduser().resolve() if is_there(model) else Path(model)
        return f"{_slug(place.name)}-{_digest(str(place))[:6]}"
    return _slug(model.replace("/", "--"))


def run_folder(config: TrainConfig) -> str:
    """What a person wants to know of a run, and a hash of all that decides it: another configuration, another folder."""
    method = config.reg if config.reg in REGULARIZERS_WITHOUT_DIVERGENCE else f"{config.reg}-{config.div}"
    weight = "" if config.reg == BASE_ROW else f"_alpha{config.alpha:g}"
    name = f"{method}_labels{config.labelled_frac:g}_lr{config.lr:g}_epochs{config.epochs:g}{weight}_seed{config.seed}"
    return f"{_slug(name)}-{_digest(json.dumps(_identity(config), sort_keys=True))[:8]}"


def table_file(target: str, asked: Mapping[str, Any]) -> str:
    """The name, without an ending, of the files of a table or figure.

    Args:
        target: its name.
        asked: what differs from the whole table, by option or key of `train`; two choices never share a file.

    Example:
        >>> table_file("table5", {}), table_file("table5", {"seeds": (0, 1), "search": False, "limit": 2000})
        ('table5', 'table5_seeds0+1_no-search_subset2000')
    """
    whole = "_".join([target, *(_part(key, value, str) for key, value in asked.items())])
    plain = _slug("_".join([target, *(_part(key, value, _last) for key, value in asked.items())]))
    if plain == whole and len(whole) <= _LONGEST:
        return whole
    return f"{plain[:_LONGEST]}-{_digest(whole)[:8]}"  # what cannot stand in the name tells choices apart too


def _part(key: str, value: Any, shown: Callable[[Any], str]) -> str:
    if key == "search" and value is False:
        return "no-search"
    text = "+".join(map(shown, value)) if isinstance(value, tuple) else shown(value)
    return f"{_OPTIONS.get(key, key)}{'-' * (not text[:1].isdigit())}{text}"


def _last(value: Any) -> str:
    """Of a path or a Hub name the last part."""
    return str(value).rstrip("/").rpartition("/")[2]


def _identity(config: TrainConfig) -> dict[str, Any]:
    """All that decides the model; what is at its default does not count, so that later keys change no folder."""
    defaults = TrainConfig()
    return {
        key: value
        for key, value in vars(config).items()
        if key not in NOT_OF_THE_MODEL and value != getattr(defaults, key)
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _slug(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", text).strip("-") or "model"
