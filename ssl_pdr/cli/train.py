"""`ssl-pdr train`: train and evaluate one model."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, Verbose, config_options, read_options
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.errors import ConfigError
from ssl_pdr.printing import json_line
from ssl_pdr.processes import part, speaks
from ssl_pdr.recipe import load_recipe, parse_setting

_RUN = "Run"


@config_options()
def train_command(
    *,
    recipe: Annotated[
        Path | None,
        typer.Option(help="TOML file of options; options given by hand win.", rich_help_panel=_RUN),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as in a recipe.", rich_help_panel=_RUN)
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the run in this folder.", metavar="RUN", rich_help_panel=_RUN),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run in the output folder.", rich_help_panel=_RUN)
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show configuration and first batch only.", rich_help_panel=_RUN)
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    **given: Any,
) -> None:
    """Train a model on labelled and unlabelled text, evaluate it, and write it to a folder.

    Without options: the embedded encoder on the documentation of your own Python packages, offline.
    In several processes: torchrun --nproc-per-node N -m ssl_pdr train …
    """
    options = read_options(given)
    if resume is not None:
        _refuse_beside_resume(options, recipe, set_, overwrite, dry_run)
        config = None
    else:
        config = _configuration(recipe, set_ or [], options)

    from ssl_pdr.cli.live import LiveView, libraries, show_dry_run, show_result

    with libraries(verbose=verbose):
        from ssl_pdr import experiment, materials
        from ssl_pdr.methods import build_regularizer

    if dry_run and not speaks():
        return
    with LiveView(enabled=speaks() and not as_json) as view:
        if config is not None and dry_run:
            resolved = config.resolved()
            build_regularizer(resolved)
            ready = materials.prepare(resolved, view)
            batch = materials.first_batch(resolved, ready)
            outcome: dict[str, Any] = {
                "config": _present(resolved),
                "labelled": len(ready.labelled),
                "unlabelled": _pool(ready.unlabelled),
                "notes": ready.notes,
                "warnings": ready.warnings,
                "first_batch": batch,
            }
        elif config is not None:
            outcome = experiment.train(config, view, overwrite=overwrite)
        else:
            outcome = experiment.resume(str(resume), view)
    atexit.register(part)
    if not speaks():
        return
    if as_json:
        typer.echo(json_line(outcome))
    elif dry_run:
        show_dry_run(outcome)
    else:
        show_result(outcome)


def _configuration(recipe: Path | None, settings: list[str], options: dict[str, Any]) -> TrainConfig:
    from_recipe = {} if recipe is None else load_recipe(recipe)
    return make_config(from_recipe, dict(parse_setting(setting) for setting in settings), options)


def _refuse_beside_resume(options: dict[str, Any], *others: object) -> None:
    if options or any(others):
        raise ConfigError("--resume takes everything from the run's config.toml; leave out the other options")


def _pool(unlabelled: Any) -> str:
    if unlabelled is None:
        return "no unlabelled ones"
    return " + ".join("a stream" if size is None else f"{size} unlabelled ones" for size in unlabelled.sizes)


def _present(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in vars(config).items() if value is not None}
