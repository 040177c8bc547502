"""`ssl-pdr curve`: what few labels are worth, from a grid of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, Verbose, config_options, read_options
from ssl_pdr.config import make_config
from ssl_pdr.errors import DataError, unknown_name
from ssl_pdr.printing import json_line

if TYPE_CHECKING:
    from ssl_pdr.curves.engine import Pool

_GRID, _RUN, _SHOWN = "Grid", "Run", "What is shown"
_ENGINES = ("local", "ray")
# The grid says these for each run, or under the name of one of its own options.
_OF_THE_GRID = (
    *("data_fingerprint", "stream", "reg", "div", "search", "ratio", "epochs", "max_steps", "batch_size", "seed"),
    "auto_batch",
)


@config_options(
    *("Data", "split_strategy", "Unlabelled text", "Model and method", "Training", "Question answering"),
    without=_OF_THE_GRID,
)
def curve_command(
    *,
    grid: Annotated[
        Path | None,
        typer.Option(help="TOML file of a grid; options given by hand win.", metavar="FILE", rich_help_panel=_GRID),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the labels, above 0 and at most 1; may be repeated.",
            show_default="0.1, 0.5, 1",
            rich_help_panel=_GRID,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="none, or a regularizer, its divergence, and what it alone has: vat:kl,alpha=4; may be repeated.",
            metavar="REG[:DIV][,KEY=VALUE…]",
            show_default="none, rdrop, vat",
            rich_help_panel=_GRID,
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="How many: 0, 1, 2 …", min=1, show_default="3", rich_help_panel=_GRID),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="Try each of these values with every method that they make a difference to; may be repeated. "
            "(How vat searches its direction is part of a method here: vat:kl,search=power.)",
            metavar="KEY=VALUE,VALUE…",
            rich_help_panel=_GRID,
        ),
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="What all runs have in common: steps; at a budget, epochs over the labelled rows, or compute of plain training.",
            metavar="steps|epochs|compute",
            show_default="steps",
            rich_help_panel=_GRID,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Optimizer steps; by default those of the epochs.", min=1, rich_help_panel=_GRID),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            help="Passes over the labelled rows (of the largest budget, unless epochs are matched).",
            show_default="3",
            rich_help_panel=_GRID,
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Labelled rows of an optimizer step.", min=1, show_default="8", rich_help_panel=_GRID),
    ] = None,
    ratio: Annotated[
        float | None,
        typer.Option(
            help="Unlabelled rows for each of them, where a method uses some.", show_default="1", rich_help_panel=_GRID
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Set by which a search and the best method are decided.",
            metavar="SET",
            show_default="in_domain",
            rich_help_panel=_GRID,
        ),
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            help="Set on which the best method is then told of; by default that of --select, which flatters it.",
            metavar="SET",
            show_default=False,
            rich_help_panel=_GRID,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="For people.", show_default="that of the data", rich_help_panel=_GRID)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(help="Folder of the curve.", metavar="DIR", show_default="runs/curve_DATA", rich_help_panel=_RUN),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            help="Runs at the same time; by default one for each GPU, without any one for two cores.",
            min=1,
            rich_help_panel=_RUN,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where runs take place: local, or ray: on the cluster of $RAY_ADDRESS.",
            metavar="local|ray",
            rich_help_panel=_RUN,
        ),
    ] = "local",
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write report.html, or not.", rich_help_panel=_SHOWN)
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show runs, steps and time only.", rich_help_panel=_SHOWN)
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
    **given: Any,
) -> None:
    """Train every method at every label budget, and tell what the labels were worth.

    Finished runs are kept: after Ctrl-C the same command goes on, and a larger grid runs only what is new.
    """
    asked: dict[str, Any] = {}
    asked |= {"budgets": budget, "methods": method, "seeds": seeds, "search": search, "match": match, "steps": steps}
    asked |= {"epochs": epochs, "batch": batch, "ratio": ratio, "select": select, "test": test, "name": name}
    values = _values(grid, {**asked, "output": output, "jobs": jobs}, read_options(given))
    make_config(values["base"])
    if engine not in _ENGINES:
        raise unknown_name("engine", engine, _ENGINES)

    from ssl_pdr.cli.live import LiveView, libraries

    with libraries(verbose=verbose):
        from ssl_pdr.curves.engine import make_plan
        from ssl_pdr.curves.grid_file import make_grid

    folder = Path(values.pop("output", None) or _default_output(values["base"]))
    pool, workers = _pool(engine, values.pop("jobs", None))
    wanted = make_grid(values)
    with LiveView(enabled=not as_json) as live:
        live.stage("looking at the data and the model")
        plan = make_plan(wanted)
    if dry_run:
        from ssl_pdr.cli.curve_view import show_plan

        show_plan(plan, folder, workers, as_json=as_json)
    else:
        _run(plan, folder, pool, workers, report=report, as_json=as_json)


def _run(plan: Any, folder: Path, pool: Pool, jobs: int, *, report: bool, as_json: bool) -> None:
    """Run the cells, write and show what they say; at the very end tell of those that failed."""
    from ssl_pdr.cli.curve_view import CurveView, cell_name, show_curve
    from ssl_pdr.curves.engine import make_curve

    with CurveView(plan.grid, jobs, enabled=not as_json) as view:
        summary = make_curve(plan, folder, pool, view)
        page = None
        if report:
            from ssl_pdr.report.curve_report import write_report

            written = write_report(folder)
            page = str(written.page)
            for warning in written.warnings:
                view.warn(warning)
    if as_json:
        typer.echo(json_line({**summary, "folder": str(folder), "report": page}))
    else:
        show_curve(summary, view.failed, page or str(folder))
    if failed := view.failed:
        how_many = f"{len(failed)} of {len(plan.cells)} runs failed" + (", the first" if len(failed) > 1 else "")
        raise DataError(
            f"{how_many}: {cell_name(failed[0])}: {failed[0]['reason']} (the same command tries again what failed)"
        )


def _values(path: Path | None, asked: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What the grid and its run are to be: of the file, and over it of the options."""
    from ssl_pdr.curves.grid_file import check_keys, load_grid_file, parse_search

    by_hand = {key: value for key, value in asked.items() if value not in (None, [])}
    if "search" in by_hand:
        by_hand["search"] = dict(map(parse_search, by_hand["search"]))
    values = {} if path is None else load_grid_file(path)
    return {**values, **check_keys(by_hand, where="options"), "base": {**values.get("base", {}), **base}}


def _default_output(base: Mapping[str, Any]) -> str:
    from ssl_pdr.config import TrainConfig, file_name

    return f"runs/curve_{file_name(base.get('data', TrainConfig().data))}"


def _pool(engine: str, jobs: int | None) -> tuple[Pool, int]:
    """What runs the cells, and how many at a time."""
    import torch

    from ssl_pdr.curves.local import LocalPool, cores

    devices = torch.cuda.device_count()
    jobs = jobs or devices or max(cores() // 2, 1)
    if engine == "local":
        return LocalPool(jobs, devices), jobs
    from ssl_pdr.curves.on_ray import RayPool

    return RayPool(jobs, gpus=min(devices, 1)), jobs
