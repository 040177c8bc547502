"""What a terminal shows of a label-budget curve: while it is made, when it is done, and before it is begun."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ssl_pdr.cli.live import printable
from ssl_pdr.curves.engine import Plan
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import Event
from ssl_pdr.curves.pace import Left, Pace
from ssl_pdr.curves.store import FINISHED, CurveFolder
from ssl_pdr.curves.summary import NONE
from ssl_pdr.evaluation import main_metric
from ssl_pdr.printing import json_line, one_line
from ssl_pdr.report.curve_style import (
    NOTHING,
    gain,
    labels_of,
    method_label,
    methods_of,
    metric_label,
    part_label,
    percent,
    setting_text,
    share,
)

Place = tuple[str, float]  # a method and a budget


class CurveView:
    """A watcher that draws a table of running means, what each worker does, and the time left on stderr.

    Where that is no terminal, it writes a line for each run that ends.

    Args:
        grid: as `curve.json` has it.
        jobs: workers.
        enabled: False shows nothing.

    Attributes:
        failed: contents of the cells that failed.
    """

    def __init__(self, grid: Mapping[str, Any], jobs: int, *, enabled: bool) -> None:
        self.failed: list[Mapping[str, Any]] = []
        self._grid = grid
        self._jobs = jobs
        self._console = Console(stderr=True, quiet=not enabled, emoji=False)
        self._changes = threading.Lock()  # the table is drawn by a thread of its own
        self._began = time.monotonic()
        self._cells: Counter[Place] = Counter()
        self._scores: dict[Place, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._ended: dict[str, Counter[Place]] = {"finished": Counter(), "failed": Counter()}
        self._metric = ""
        self._waiting: dict[str, Cell] = {}
        self._running: dict[str, Event] = {}
        self._pace = Pace()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> CurveView:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def planned(self, cells: Sequence[Cell], finished: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin with what is finished already."""
        self._cells.update((cell.method, cell.budget) for cell in cells)
        self._waiting = {cell.key: cell for cell in cells if cell.key not in finished}
        for content in finished.values():
            self._note(content)
        if finished:
            self._console.print(f"[dim]{len(finished)} of {len(cells)} runs are finished already[/dim]")
        if self._console.is_terminal and self._waiting:
            self._live.start()

    def event(self, event: Event) -> None:
        """A run begins, makes a step, or ends."""
        with self._changes:
            again = event.kind == "started" and self._waiting.pop(event.cell.key, None) is None
            if event.outcome is None:
                self._running[event.cell.key] = event
            else:
                self._running.pop(event.cell.key, None)
                self._note(event.outcome)
        if again:
            self.warn(f"{cell_name(event.cell.to_json())}: its worker died; it is tried once more")
        if event.outcome is not None:
            self._tell(event.outcome)

    def warn(self, text: str) -> None:
        """A line that stands out."""
        self._console.print(f"[yellow]warning:[/yellow] {printable(text)}", soft_wrap=True)

    def _note(self, content: Mapping[str, Any]) -> None:
        place = content["method"], content["budget"]
        self._ended[content["status"]][place] += 1
        if content["status"] != FINISHED:
            self.failed.append(content)
            return
        self._pace.note(content)
        if (score := self._score(content)) is not None:
            self._scores[place][json.dumps(content["setting"], sort_keys=True)].append(score)

    def _score(self, content: Mapping[str, Any]) -> float | None:
        """On the part that is selected by."""
        scores = content["scores"].get(self._grid["select"])
        if scores is None:
            return None
        self._metric = main_metric(scores)
        score = scores[self._metric]
        return float(score) if score is not None and math.isfinite(score) else None

    def _tell(self, content: Mapping[str, Any]) -> None:
        """A line for a run that ended; in a terminal only for one that failed."""
        if content["status"] != FINISHED:
            said = f"[red]failed[/red] {printable(cell_name(content))}: {printable(content['reason'])}"
            self._console.print(said, soft_wrap=True)
        elif not self._live.is_started:
            score = f"{self._selected()} {percent(self._score(content))}"
            line = f"{cell_name(content)}: {score} in {_duration(sum(_seconds(content)))}; {self._status()}"
            self._console.print(printable(line), soft_wrap=True)

    def _selected(self) -> str:
        return f"{part_label(self._grid['select'])} {metric_label(self._metric)}".strip()

    def _status(self) -> str:
        """Runs and time."""
        finished, failed = (sum(counts.values()) for counts in self._ended.values())
        parts = [f"{finished} of {sum(self._cells.values())} finished"]
        parts += [f"{failed} failed"] if failed else []
        remaining = len(self._waiting) + len(self._running)
        parts += [f"{remaining} left", f"{timedelta(seconds=int(time.monotonic() - self._began))} elapsed"]
        if remaining:
            under_way = [(event.cell, _done(event)) for event in self._running.values()]
            parts.append(left_text(self._pace.left(list(self._waiting.values()), under_way, self._jobs)))
        return ", ".join(parts)

    def _table(self) -> RenderableType:
        with self._changes:
            table = _by_budget(self._grid["budgets"], f"{self._grid['name']}: {self._selected()} × 100, runs finished")
            for method in self._grid["methods"]:
                table.add_row(
                    printable(method), *(self._running_mean((method, budget)) for budget in self._grid["budgets"])
                )
            running = sorted(self._running.values(), key=lambda event: event.worker)
            lines = [f"worker {event.worker}: {cell_name(event.cell.to_json())}{_step(event)}" for event in running]
            return Group(table, *(Text(one_line(line)) for line in (*lines, self._status())))

    def _running_mean(self, place: Place) -> str:
        """Of the best setting so far, and how many runs it stands on."""
        if not (cells := self._cells[place]):
            return NOTHING
        mean = max(map(fmean, self._scores[place].values()), default=None)
        failed = self._ended["failed"][place]
        return f"{percent(mean)} [dim]{self._ended['finished'][place]}/{cells}[/dim]" + (
            f" [red]{failed} failed[/red]" if failed else ""
        )


def cell_name(content: Mapping[str, Any]) -> str:
    """A cell for people.

    Example:
        >>> print(cell_name({"method": "vat:kl", "budget": 0.1, "seed": 2, "setting": {"alpha": 4.0}}))
        vat:kl, alpha=4, 10 %, seed 2
    """
    setting = [setting_text(content["setting"])] if content["setting"] else []
    return one_line(", ".join([content["method"], *setting, share(content["budget"]), f"seed {content['seed']}"]))


def left_text(left: Left) -> str:
    """The time left, and what is not in it.

    Example:
        >>> left_text(Left(700.0)), left_text(Left(700.0, ("vat",))), left_text(Left(0.0, ("none", "vat")))
        ('about 12 min left', 'more than 12 min left', 'time left not known yet')
    """
    if not left.seconds and left.untimed:
        return "time left not known yet"
    return f"{'more than' if left.untimed else 'about'} {_duration(left.seconds)} left"


def show_curve(summary: Mapping[str, Any], failed: Sequence[Mapping[str, Any]], where: str) -> None:
    """A table for each part, what the curve says, which runs failed, and where the report lies.

    Args:
        summary: of the curve.
        failed: contents of the cells that failed.
        where: the report or the folder.
    """
    console = Console(emoji=False)
    points, differences = (
        {(entry["part"], entry["method"], entry["budget"]): entry for entry in entries}
        for entries in (summary["points"], [d for d in summary["differences"] if d["against"] == NONE])
    )
    for part, metric in summary["metric"].items():
        table = _by_budget(summary["budgets"], f"{summary['name']}: {part_label(part)}, {metric_label(metric)} × 100")
        for column, budget in zip(table.columns[1:], summary["budgets"], strict=True):
            column.header = f"{column.header}\n[dim]{labels_of(summary, budget)} labels[/dim]"
        for method in methods_of(summary):
            places = [(part, method, budget) for budget in summary["budgets"]]
            values = [_point(points.get(place), differences.get(place)) for place in places]
            if any(place in points for place in places):
                table.add_row(printable(method_label(method)), *values)
        console.print(table)
    if points:
        below = "; below it the difference to none and its 95 % interval" if differences else ""
        console.print(f"[dim]mean ± standard deviation (seeds){below}[/dim]")
    console.print(printable(summary["sentence"]), soft_wrap=True)
    for content in failed:
        console.print(
            f"[red]failed[/red] {printable(cell_name(content))}: {printable(content['reason'])}", soft_wrap=True
        )
    console.print(f"written: {printable(where)}", soft_wrap=True)


def show_plan(plan: Plan, folder: Path, jobs: int, *, as_json: bool) -> None:
    """Runs, steps and time of a plan, a line for each budget, method and setting.

    Args:
        plan: of the curve.
        folder: of the curve, with what is finished.
        jobs: workers.
        as_json: print one JSON object instead.

    Raises:
        OutputError: for a folder of another curve.
    """
    place = CurveFolder(folder)
    place.join(plan.grid)
    found, _ = place.read()
    finished = {cell.key for cell in plan.cells if found.get(cell.key, {}).get("status") == FINISHED}
    pace = Pace()
    for key in finished:
        pace.note(found[key])
    left = pace.left([cell for cell in plan.cells if cell.key not in finished], [], jobs)
    groups: dict[tuple[float, str, str], list[Cell]] = defaultdict(list)
    for cell in plan.cells:
        groups[cell.budget, cell.method, setting_text(cell.setting)].append(cell)
    rows = [_planned(cells, finished) for cells in groups.values()]
    total = {"runs": len(plan.cells), "finished": len(finished), "left": len(plan.cells) - len(finished)}
    if as_json:
        until_done = {"seconds": round(left.seconds, 1), "untimed": left.untimed, "jobs": jobs}
        typer.echo(json_line({"folder": str(folder), "groups": rows, "total": total, "time_left": until_done}))
        return
    table = Table(title=printable(f"{plan.grid['name']}: runs in {folder}"), box=SIMPLE_HEAD, pad_edge=False)
    for name in ("labels", "method", "setting"):
        table.add_column(name)
    for name in ("runs", "finished", "steps each", "rows a step"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (str(row["runs"]), str(row["finished"]), _span(row["steps"]), _span(row["rows_per_step"]))
        table.add_row(share(row["budget"]), printable(row["method"]), printable(setting_text(row["setting"])), *numbers)
    console = Console(emoji=False)
    console.print(table)
    time_left = f", {left_text(left)}" if total["left"] else ""
    console.print(f"{total['runs']} runs, {total['finished']} finished{time_left}; {jobs} at a time")


def _planned(cells: Sequence[Cell], finished: set[str]) -> dict[str, Any]:
    """The cells of a budget, method and setting: one for each seed."""
    return {
        "budget": cells[0].budget,
        "method": cells[0].method,
        "setting": dict(cells[0].setting),
        "runs": len(cells),
        "finished": sum(cell.key in finished for cell in cells),
        "steps": sorted({cell.config.max_steps for cell in cells}),
        "rows_per_step": sorted({cell.config.batch_size for cell in cells}),
    }


def _by_budget(budgets: Sequence[float], title: str) -> Table:
    """A table with a column for each budget, to which methods are added."""
    table = Table(title=printable(title), box=SIMPLE_HEAD, pad_edge=False, min_width=len(title))
    table.add_column("")
    for budget in budgets:
        table.add_column(share(budget), justify="right")
    return table


def _point(point: Mapping[str, Any] | None, difference: Mapping[str, Any] | None) -> str:
    """Mean ± deviation (seeds), the setting where one was searched, and the difference to plain training."""
    if point is None or point["mean"] is None:
        return NOTHING
    lines = [
        percent(point["mean"]) + ("" if point["sd"] is None else f" ± {percent(point['sd'])}") + f" ({point['n']})"
    ]
    if difference is not None and difference["mean"] is not None:
        low, high = difference["low"], difference["high"]
        interval = "" if low is None or high is None else f" ({gain(low)} to {gain(high)})"
        lines.append(f"[dim]{gain(difference['mean'])}{interval}[/dim]")
    if point["setting"]:
        lines.append(f"[dim]{printable(setting_text(point['setting']))}[/dim]")
    return "\n".join(lines)


def _span(numbers: Sequence[int]) -> str:
    return "–".join(f"{number:,}" for number in dict.fromkeys((numbers[0], numbers[-1])))


def _done(event: Event) -> float:
    """The share of its steps."""
    return 0.0 if event.step is None else event.step[0] / event.step[1]


def _step(event: Event) -> str:
    return "" if event.step is None else f", step {event.step[0]} of {event.step[1]}"


def _seconds(content: Mapping[str, Any]) -> list[float]:
    return [content["timing"][f"{stage}_seconds"] for stage in ("load", "train", "evaluate")]


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever says it shortly."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
