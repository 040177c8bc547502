"""What a terminal shows of a table of the paper: the plan of its runs, and our figures above the paper's."""

from __future__ import annotations

from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ssl_pdr.cli.live import printable
from ssl_pdr.paper.plan import Plan, plan_rows
from ssl_pdr.paper.tables import NOTHING, share_text, signed
from ssl_pdr.printing import json_line

_WIDE = 6  # columns of figures that a terminal has room for


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Runs, steps and cost of a plan, a line for each task and row.

    Args:
        plan: of a table or figure.
        as_json: print one JSON object instead, with every run.
    """
    rows = plan_rows(plan)
    totals = {key: _sum([row[key] for row in rows]) for key in ("runs", "finished", "steps", "plain_steps")}
    if as_json:
        runs = [{"folder": str(run.folder), "task": run.task, "steps": run.steps} for run in plan.runs]
        shown = {"target": plan.target, "groups": rows, "total": totals, "runs": runs, "left_out": dict(plan.left_out)}
        typer.echo(json_line(shown))
        return
    table = Table(
        title=printable(f"{plan.target}: runs in {plan.folder}"), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in ("data", "row", "labels"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "done", "steps each", "steps", "plain steps"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        each = "?" if row["steps"] is None else "–".join(f"{n:,}" for n in sorted({row["steps_from"], row["steps_to"]}))
        numbers = [str(row["runs"]), str(row["finished"]), each, _count(row["steps"]), _count(row["plain_steps"])]
        table.add_row(printable(row["task"]), printable(row["method"]), f"{row['labelled_frac']:.0%}", *numbers)
    table.add_section()
    runs_, done, steps, plain = (_count(totals[key]) for key in ("runs", "finished", "steps", "plain_steps"))
    table.add_row("", "all", "", runs_, done, "", steps, plain)
    console = Console(emoji=False)
    console.print(table)
    _say_left_out(plan, console)
    console.print(
        "[dim]Steps go by the number of rows; passages of several windows add to them. Plain steps: what they cost, in "
        "steps of plain fine-tuning.[/dim]"
    )


def show_content(plan: Plan, content: dict[str, Any]) -> None:
    """Our figures above the paper's, what is missing, and where it is all written.

    Args:
        plan: of a table or figure.
        content: of its JSON file.
    """
    console = Console(emoji=False)
    if plan.target in plan.grid.figures:
        console.print(_drops(content))
        console.print("[dim]Below ours: the paper's.[/dim]")
    else:
        console.print(_figures(content))
        console.print("[dim]Below ours: the paper's, and the difference.[/dim]")
    for name, reason in content["missing"].items():
        console.print(f"[yellow]{printable(name)}:[/yellow] {printable(reason)}", soft_wrap=True)
    _say_left_out(plan, console)
    console.print(f"written: {printable(str(plan.stem))}.json and .md", soft_wrap=True)


def _sum(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _say_left_out(plan: Plan, console: Console) -> None:
    for name, reason in plan.left_out.items():
        console.print(f"[dim]left out {printable(name)}: {printable(reason)}[/dim]", soft_wrap=True)


def _figures(content: dict[str, Any]) -> Table:
    """Ours, and below each figure the paper's; sets go downwards where there are more of them than a terminal is wide."""
    seeds = len(content["seeds"])
    title = f"{content['table']}: {content['title']} · {content['model']} · {seeds} seed{'s' * (seeds != 1)}"
    names = [column["name"] for column in content["columns"]]
    cells = [[_figure(row["cells"][column["key"]]) for column in content["columns"]] for row in content["rows"]]
    if content["gain"]:
        names.append("average gain")
        for row, line in zip(content["rows"], cells, strict=True):
            line.append(_gain(row["gain"]))
    return _grid(title, names, [row["label"] for row in content["rows"]], cells)


def _drops(content: dict[str, Any]) -> Table:
    """Relative drops, ours and the paper's."""
    title = f"{content['figure']}: {content['title']} · {content['model']}"
    cells = [
        [_two_lines(share_text(drop["ours"]), share_text(drop["paper"])) for drop in row["drops"].values()]
        for row in content["rows"]
    ]
    return _grid(title, list(content["rows"][0]["drops"]), [row["label"] for row in content["rows"]], cells)


def _grid(title: str, names: list[str], labels: list[str], cells: list[list[str]]) -> Table:
    if len(names) > max(_WIDE, len(labels)):
        names, labels, cells = labels, names, [list(line) for line in zip(*cells, strict=True)]
    table = Table(
        title=printable(title),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_lines=True,
        min_width=len(title),
    )
    table.add_column("")
    for name in names:
        table.add_column(printable(name), justify="right")
    for label, line in zip(labels, cells, strict=True):
        table.add_row(printable(label), *line)
    return table


def _figure(cell: dict[str, Any]) -> str:
    ours = NOTHING
    if cell["mean"] is not None:
        ours = f"{cell['mean']:.1f}" + ("" if cell["deviation"] is None else f"±{cell['deviation']:.1f}")
    if cell["paper"] is None:
        return ours
    difference = "" if cell["difference"] is None else f" {signed(cell['difference'])}"
    return _two_lines(ours, f"{cell['paper']:.1f}{difference}")


def _gain(gain: dict[str, float | None]) -> str:
    ours, paper = (None if value is None else signed(value) for value in (gain["ours"], gain["paper"]))
    return _two_lines(ours, paper)


def _two_lines(ours: str | None, paper: str | None) -> str:
    return (ours or NOTHING) + ("" if paper is None else f"\n[dim]{paper}[/dim]")
