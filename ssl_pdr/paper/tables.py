"""From finished runs to the figures of a table: the chosen setting, mean and deviation over seeds, the paper's beside them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_pdr.model_card import in_markdown
from ssl_pdr.paper.figures import BASE_ROW, average_gain, paper_figure, paper_tables, relative_drop
from ssl_pdr.paper.grid import Column, GridTable
from ssl_pdr.paper.plan import Group, Plan, PlannedRun

# Folder of a run → the content of its result.json, or why there is none.
Outcomes = Mapping[Path, dict[str, Any] | str]
NOTHING = "–"
# Key of an outcome under which the sets stand that a run could not be evaluated on, with the reasons.
NOT_EVALUATED = "not_evaluated_on"


def score_of(result: Mapping[str, Any], score: str) -> float | None:
    """A score `part.metric` of a result, as a fraction; None where it has none.

    Example:
        >>> score_of({"scores": {"in_domain": {"f1": 0.8}}}, "in_domain.f1")
        0.8
    """
    part, _, metric = score.rpartition(".")
    value = result["scores"].get(part, {}).get(metric)
    return float(value) if isinstance(value, int | float) else None


def choose(group: Group, outcomes: Outcomes, select: str) -> tuple[Mapping[str, Any], tuple[PlannedRun, ...]] | str:
    """The setting with the best mean over its seeds of the score on the in-domain dev set; the first of equals.

    Args:
        group: of runs.
        outcomes: of those that were made.
        select: `part.metric`.

    Returns:
        What was chosen and its runs; or why nothing can be: a search is over when every setting that did not fail has
        all of its seeds, and one setting at least is whole.
    """
    best, chosen, reasons = float("-inf"), None, []
    for setting, runs in group.settings:
        found = [outcomes.get(run.folder, "not run") for run in runs]
        reasons += [outcome for outcome in found if isinstance(outcome, str)]
        scores = [score_of(outcome, select) for outcome in found if not isinstance(outcome, str)]
        whole = [score for score in scores if score is not None]
        if len(whole) == len(runs) and statistics.fmean(whole) > best:
            best, chosen = statistics.fmean(whole), (setting, runs)
    if chosen is not None:
        return chosen
    return reasons[0] if reasons else f"its runs have no score {select}"


def make_table(plan: Plan, name: str, outcomes: Outcomes) -> dict[str, Any]:
    """A table as it goes into `table….json`: every figure with its runs, the paper's, and the difference, in percent.

    Args:
        plan: of the target.
        name: of one of its tables.
        outcomes: of the runs.
    """
    table = plan.tables[name]
    rows = []
    for method in table.methods:
        cells = {column.key: _cell(plan, name, method, column, outcomes) for column in table.columns}
        rows.append({"method": method, "label": plan.grid.methods[method].label, "cells": cells})
    _add_gains(table, rows)
    return {
        "table": name,
        "number": paper_tables()[name].number if name in paper_tables() else None,
        "title": table.title,
        "columns": [{"key": column.key, "name": column.name, "score": column.score} for column in table.columns],
        "gain": list(table.gain),
        "rows": rows,
    }


def missing_cells(table: Mapping[str, Any]) -> dict[str, str]:
    """Why cells of a table are empty, one reason for each column that has such cells.

    Args:
        table: as `make_table` returns it.
    """
    reasons: dict[str, str] = {}
    for row in table["rows"]:
        for column in table["columns"]:
            if (reason := row["cells"][column["key"]]["reason"]) is not None:
                reasons.setdefault(column["name"], reason)
    return reasons


def markdown(table: Mapping[str, Any], model: str) -> str:
    """A table for a document: ours, and in brackets the paper's and the difference.

    Args:
        table: as `make_table` returns it.
        model: what ours was trained from.
    """
    names = [in_markdown(column["name"]) for column in table["columns"]] + ["average gain"] * bool(table["gain"])
    lines = [
        f"# {in_markdown(table['table'])}: {in_markdown(table['title'])}",
        "",
        f"Ours with {in_markdown(model)}, mean ± standard deviation over seeds where there are several; in brackets the paper's figure and the difference.",
        "",
        f"| | {' | '.join(names)} |",
        "|---" * (len(names) + 1) + "|",
    ]
    for row in table["rows"]:
        cells = [cell_text(row["cells"][column["key"]]) for column in table["columns"]]
        cells += [gain_text(row["gain"])] if table["gain"] else []
        lines.append(f"| {in_markdown(row['label'])} | {' | '.join(cells)} |")
    empty = missing_cells(table)
    lines += ["", *(f"- {in_markdown(name)}: {in_markdown(reason)}" for name, reason in empty.items())] if empty else []
    return "\n".join(lines) + "\n"


def markdown_drops(figure: Mapping[str, Any], model: str) -> str:
    """Relative drops for a document: ours, and in brackets the paper's.

    Args:
        figure: as `make_figure` returns it.
        model: what ours was trained from.
    """
    pairs = list(figure["rows"][0]["drops"])
    lines = [
        f"# {in_markdown(figure['figure'])}: {in_markdown(figure['title'])}",
        "",
        f"(in − out) / in. Ours with {in_markdown(model)}; in brackets the paper's.",
        "",
        f"| | {' | '.join(map(in_markdown, pairs))} |",
        "|---" * (len(pairs) + 1) + "|",
    ]
    for row in figure["rows"]:
        drops = [(share_text(drop["ours"]), share_text(drop["paper"])) for drop in row["drops"].values()]
        lines.append(f"| {in_markdown(row['label'])} | {' | '.join(f'{ours} ({paper})' for ours, paper in drops)} |")
    return "\n".join(lines) + "\n"


def share_text(share: float | None) -> str:
    """A share in percent.

    Example:
        >>> share_text(0.254), share_text(-0.254), share_text(None)
        ('25%', '−25%', '–')
    """
    return NOTHING if share is None else f"{share:.0%}".replace("-", "−")


def cell_text(cell: Mapping[str, Any]) -> str:
    """One figure beside the paper's.

    Example:
        >>> cell_text({"mean": 92.14, "deviation": 0.31, "paper": 92.4, "difference": -0.26})
        '92.1 ± 0.3 (92.4, −0.3)'
    """
    if cell["mean"] is None:
        return NOTHING if cell["paper"] is None else f"{NOTHING} ({cell['paper']:.1f})"
    ours = f"{cell['mean']:.1f}" + ("" if cell["deviation"] is None else f" ± {cell['deviation']:.1f}")
    if cell["paper"] is None:
        return ours
    return f"{ours} ({cell['paper']:.1f}, {signed(cell['difference'])})"


def gain_text(gain: Mapping[str, float | None]) -> str:
    """Our average gain, and the paper's in brackets."""
    ours, paper = gain["ours"], gain["paper"]
    shown = NOTHING if ours is None else signed(ours)
    return shown if paper is None else f"{shown} ({signed(paper)})"


def signed(value: float) -> str:
    """A difference with its sign.

    Example:
        >>> signed(0.26), signed(-0.26), signed(-0.01)
        ('+0.3', '−0.3', '0.0')
    """
    rounded = round(value, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def make_figure(plan: Plan, outcomes: Outcomes) -> dict[str, Any]:
    """Relative drops for each model and pair of columns, ours and the paper's, as fractions.

    Args:
        plan: of a figure.
        outcomes: of the runs.
    """
    figure = plan.grid.figures[plan.target]
    tables = {name: make_table(plan, name, outcomes) for name in plan.tables}
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    names: dict[str, str] = {}
    for table in tables.values():
        names |= {column["key"]: column["name"] for column in table["columns"]}
        for row in table["rows"]:
            cells |= {(row["method"], key): cell for key, cell in row["cells"].items()}
    methods = list(dict.fromkeys(method for method, _ in cells))
    pairs = [(inside, outside) for inside, outside in figure.pairs if {inside, outside} <= set(names)]
    rows = []
    for method in methods:
        drops = {
            f"{names[inside]} → {names[outside]}": _drop(cells.get((method, inside)), cells.get((method, outside)))
            for inside, outside in pairs
        }
        rows.append({"method": method, "label": plan.grid.methods[method].label, "drops": drops})
    return {"figure": plan.target, "title": figure.title, "rows": rows, "tables": list(tables.values())}


def paper_rows() -> str:
    """Every row of the paper's tables, with its figures and the command that makes it again, as a table for the README."""
    from ssl_pdr.paper.grid import load_grid

    grid = load_grid()
    tables = {name: table for name, table in grid.tables.items() if name in paper_tables()}
    methods = [name for name in grid.methods if any(name in paper_tables()[table].rows for table in tables)]
    lines = [
        "| row | "
        + " | ".join(f"`{name}`: {_columns(table, name)}" for name, table in tables.items())
        + " | command |",
        "|---" * (len(tables) + 2) + "|",
    ]
    for method in methods:
        cells = [_paper_cell(table, name, method) for name, table in tables.items()]
        command = f"`ssl-pdr reproduce TABLE --methods {method}`"
        lines.append(f"| {in_markdown(grid.methods[method].label)} | {' | '.join(cells)} | {command} |")
    return "\n".join(lines) + "\n"


def _paper_columns(table: GridTable, name: str) -> list[Column]:
    return [column for column in table.columns if column.key in paper_tables()[name].rows[BASE_ROW]]


def _columns(table: GridTable, name: str) -> str:
    return " · ".join(in_markdown(column.name) for column in _paper_columns(table, name))


def _paper_cell(table: GridTable, name: str, method: str) -> str:
    figures = paper_tables()[name].rows.get(method)
    if figures is None or method not in table.methods:
        return ""
    return " · ".join(f"{figures[column.key]:.1f}" for column in _paper_columns(table, name))


def _cell(plan: Plan, table: str, method: str, column: Column, outcomes: Outcomes) -> dict[str, Any]:
    paper = paper_figure(plan.tables[table].paper, method, column.key)
    cell: dict[str, Any] = {"mean": None, "deviation": None, "paper": paper, "difference": None, "reason": None}
    chosen = choose(plan.groups[table, method, column.task], outcomes, plan.grid.tasks[column.task].select)
    if isinstance(chosen, str):
        return {**cell, "reason": chosen, "setting": None, "runs": []}
    setting, runs = chosen
    made = [(run, result) for run in runs if not isinstance(result := outcomes[run.folder], str)]
    scores = [(run, score_of(result, column.score)) for run, result in made]
    whole = [100 * score for _, score in scores if score is not None]
    cell |= {
        "setting": dict(setting),
        "runs": [{"folder": plan.name_of(run), "seed": run.config.seed, "score": score} for run, score in scores],
    }
    if len(whole) < len(scores):
        return {**cell, "reason": _why_no_score(plan, made, column)}
    mean = statistics.fmean(whole)
    deviation = statistics.stdev(whole) if len(whole) > 1 else None
    return {**cell, "mean": mean, "deviation": deviation, "difference": None if paper is None else mean - paper}


def _why_no_score(plan: Plan, made: list[tuple[PlannedRun, dict[str, Any]]], column: Column) -> str:
    part, _, metric = column.score.rpartition(".")
    for _, result in made:
        if (reason := result.get(NOT_EVALUATED, {}).get(part)) is not None:
            return str(reason)
    folder, parts = plan.name_of(made[0][0]), made[0][1]["scores"]
    if part not in parts:
        return f"{folder} was not evaluated on {part}; its parts are {', '.join(parts)}"
    return f"{folder} has no {metric} on {part}; its metrics are {', '.join(parts[part])}"


def _add_gains(table: GridTable, rows: list[dict[str, Any]]) -> None:
    """Average gains over the base row, and the paper's where they are over the same columns; a table without gets none."""
    if not table.gain:
        return
    comparable = [name for name in table.paper if name in paper_tables() and paper_tables()[name].gain == table.gain]
    means = {row["method"]: {key: cell["mean"] for key, cell in row["cells"].items()} for row in rows}
    for row in rows:
        ours = average_gain(means[row["method"]], means.get(BASE_ROW, {}), table.gain)
        row["gain"] = {"ours": ours, "paper": paper_figure(comparable, row["method"], "gain")}


def _drop(inside: Mapping[str, Any] | None, outside: Mapping[str, Any] | None) -> dict[str, float | None]:
    if inside is None or outside is None:  # the row is not in the table of that column
        return {"ours": None, "paper": None}
    return {which: relative_drop(inside[key], outside[key]) for which, key in (("ours", "mean"), ("paper", "paper"))}
