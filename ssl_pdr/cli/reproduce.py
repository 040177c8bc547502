"""`ssl-pdr reproduce`: the paper's tables, made again, beside the paper's own figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, Verbose
from ssl_pdr.config import option
from ssl_pdr.errors import ConfigError, DataError
from ssl_pdr.paper.grid import load_grid
from ssl_pdr.paper.plan import Choice, make_plan
from ssl_pdr.printing import json_line
from ssl_pdr.recipe import parse_setting

_RUNS, _SHOWN = "Runs", "What is shown"


def reproduce_command(
    target: Annotated[str, typer.Argument(help="table2, table3, table4, table5 or figure1.", metavar="TABLE")],
    *,
    model: Annotated[
        str | None, typer.Option(help="In place of the paper's BERT-base.", metavar="NAME|DIR", rich_help_panel=_RUNS)
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            help="Folder with the sets' files; by default they come from the Hub.", metavar="DIR", rich_help_panel=_RUNS
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="Rows, such as none,vat or vat-shl.", metavar="NAMES", rich_help_panel=_RUNS),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Columns, such as sst2,imdb.", metavar="NAMES", rich_help_panel=_RUNS),
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(help="May be repeated; 0 by default.", min=0, rich_help_panel=_RUNS)
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search/--no-search", help="Search learning rate, epochs and α, or not.", rich_help_panel=_RUNS),
    ] = True,
    subset: Annotated[
        int | None, typer.Option(help="Train on so many rows only.", min=1, rich_help_panel=_RUNS)
    ] = None,
    dev_subset: Annotated[
        int | None, typer.Option(help="Evaluate on so many rows of each set only.", min=1, rich_help_panel=_RUNS)
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, as in a recipe; wins.", rich_help_panel=_RUNS)
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(help="A grid of your own, as recipes/paper.toml.", metavar="FILE", rich_help_panel=_RUNS),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="Folder of the runs; runs/paper by default.", metavar="DIR", rich_help_panel=_RUNS),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show runs, steps and cost only.", rich_help_panel=_SHOWN)
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make a table of the paper again: the runs behind it, and our figures beside the paper's.

    Finished runs are kept and serve other tables too; after Ctrl-C the same command goes on.
    """
    choice = Choice(
        model=model,
        seeds=tuple(dict.fromkeys(seeds or [0])),
        methods=_names(methods),
        columns=_names(columns),
        search=search,
        settings=_settings(set_ or [], subset, dev_subset),
        data_dir=data_dir,
        output=output,
    )
    plan = make_plan(load_grid(grid), target, choice)
    from ssl_pdr.cli.paper_view import show_content, show_plan

    if dry_run:
        show_plan(plan, as_json=as_json)
        return
    if not plan.runs:
        raise ConfigError("no run is left: the rows that were asked for are of another model; leave out --model")

    from ssl_pdr.cli.live import LiveView, libraries

    with libraries(verbose=verbose):
        from ssl_pdr.paper.reproduce import reproduce

    with LiveView(enabled=not as_json) as view:
        content = reproduce(plan, view)
        if target in plan.grid.figures:
            from ssl_pdr.report.relative_drop import draw_relative_drops

            try:
                draw_relative_drops(content, Path(f"{plan.stem}.svg"))
            except ConfigError as error:  # no matplotlib: the figures are there all the same
                view.warn(str(error))
    if as_json:
        typer.echo(json_line(content))
    else:
        show_content(plan, content)
    if missing := content["missing"]:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
        raise DataError(f"figures are missing in {len(missing)} column{'s' * (len(missing) != 1)}: {reasons}")


def _names(given: list[str] | None) -> tuple[str, ...]:
    """Names from options that may be repeated and may hold several."""
    return tuple(name.strip() for several in given or [] for name in several.split(",") if name.strip())


def _settings(pairs: list[str], subset: int | None, dev_subset: int | None) -> dict[str, Any]:
    settings = dict(parse_setting(pair) for pair in pairs)
    settings = {key.replace("-", "_"): value for key, value in settings.items()}
    for key, instead in (("seed", "--seeds"), ("output", "--output"), ("model", "--model"), ("data_dir", "--data-dir")):
        if key in settings:
            raise ConfigError(f"--set {key}=… is {instead} here")
    for key, value in (("limit", subset), ("eval_limit", dev_subset)):
        if value is None:
            continue
        if key in settings:
            raise ConfigError(f"--set {key}=… and the option for it were both given; keep one of them ({option(key)})")
        settings[key] = value
    return settings
