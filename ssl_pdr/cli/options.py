"""Options made from the fields of `TrainConfig`: one place says what there is, what it means and what it defaults to."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeAlias, TypeVar

import typer

from ssl_pdr.config import FIELDS, PRESETS, TrainConfig, option

Command = TypeVar("Command", bound=Callable[..., None])

AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("--verbose", help="Show what the libraries say.")]

PANELS = {
    "Data": "data task data_dir eval eval_on eval_limit eval_frac text_column pair_column label_column group_column label_map encoding skip_bad_rows limit "
    "data_fingerprint",
    "Labels": "labelled_frac labelled_count labelled_per_class split_strategy split",
    "Unlabelled text": "unlabelled ratio temperature stream split_documents long_documents",
    "Model and method": "model reg div alpha preset radius radius_unit site dropout target_grad align search search_steps search_products search_rounds norm order "
    "projections",
    "Training": "epochs max_steps lr warmup_frac weight_decay batch_size accumulation auto_batch precision max_length collapse seed deterministic",
    "Question answering": "stride max_answer_length n_best",
    "Run": "output save_steps report_to",
}


def config_options(*panels: str, without: Collection[str] = ()) -> Callable[[Command], Command]:
    """Decorator: give a command whose last parameter is `**given` the options of some panels, or of all.

    Args:
        *panels: of `PANELS`, or single fields.
        without: fields that are left out.
    """
    wanted = " ".join(PANELS.get(panel, panel) for panel in panels or PANELS).split()

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
        added = [p for p in config_parameters() if p.name in wanted and p.name not in without]
        merged = signature.replace(parameters=[*added, *own])
        command.__signature__ = merged  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in merged.parameters.values()}
        return command

    return decorate


def config_parameters() -> list[inspect.Parameter]:
    """A keyword parameter for each field of `TrainConfig`; None stands for an option that was not given."""
    panel_of = {name: panel for panel, names in PANELS.items() for name in names.split()}
    meaning = _meanings()
    types = typing.get_type_hints(TrainConfig)
    parameters = []
    for field in dataclasses.fields(TrainConfig):
        shown = "preset's" if field.name in PRESETS["default"] else field.default
        info = typer.Option(
            option(field.name),
            help=meaning.get(field.name, ""),
            show_default=False if shown is None or shown is False else str(shown),
            rich_help_panel=panel_of[field.name],
            metavar=_METAVARS.get(field.name),
        )
        annotation = Annotated[_option_type(types[field.name]), info]  # type: ignore[valid-type]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return parameters


def read_options(given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as `TrainConfig` takes them."""
    given = {name: value for name, value in given.items() if value not in (None, [], ())}
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if "ratio" in values:
        with contextlib.suppress(ValueError):  # a word: TrainConfig says which one it takes
            values["ratio"] = float(values["ratio"])
    return values


_METAVARS = {
    "data": "NAME|FILE",
    "eval": "NAME|FILE",
    "eval_on": "NAME|FILE",
    "data_dir": "DIR",
    "unlabelled": "NAME|FILE[:WEIGHT]",
    "label_map": "FROM=TO",
    "split": "FILE",
    "model": "NAME|DIR",
    "output": "DIR",
    "ratio": "proportional|NUMBER",
    "report_to": "tensorboard|mlflow|wandb",
}


def _option_type(annotation: Any) -> Any:
    kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)] or [annotation]
    if tuple[str, ...] in kinds:
        return list[str] | None
    return (str if str in kinds else kinds[0]) | None


def _meanings() -> dict[str, str]:
    """What each field means, from the `Attributes` of TrainConfig's docstring."""
    text = inspect.getdoc(TrainConfig) or ""
    entries = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", text, flags=re.MULTILINE)
    flat = {name: " ".join(meaning.split()) for name, meaning in entries}
    return {name: _as_option(meaning) for name, meaning in flat.items()}


def _as_option(meaning: str) -> str:
    """A field's meaning in the words of the command line: values stay as they are typed, fields are options."""
    for field in FIELDS:
        if "_" in field:
            meaning = meaning.replace(field, option(field))
    plain = meaning.replace("`", "")
    plain = re.sub(r"\bNone (guesses|holds|is|takes|goes|derives)\b", r"by default it \1", plain)
    return plain if meaning.startswith("`") else plain[:1].upper() + plain[1:]
