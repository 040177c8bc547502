"""From a table of the grid to the runs that it needs: their configurations, folders, steps and cost. Touches no data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from ssl_pdr.config import TrainConfig, make_config, uses_pool
from ssl_pdr.errors import ConfigError, unknown_name
from ssl_pdr.paper.grid import Grid, GridFigure, GridMethod, GridTable
from ssl_pdr.paper.names import NOT_OF_THE_MODEL, model_folder, run_folder, table_file
from ssl_pdr.run_folder import RunFolder, model_name

_GUESSED = ("task",)  # from the data, where it is left open
_PLACES = ("data", "eval", "split")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is wanted of a table.

    Attributes:
        model: in place of the grid's; rows of another model are then left out.
        seeds: each setting runs once for each.
        methods: rows, by name or by regularizer; empty takes all.
        columns: by key, set, task or name; empty takes all.
        search: whether settings are searched.
        settings: keys of `train` that win over everything.
        data_dir: folder of the named sets' files; files of a grid are looked for there too.
        output: folder of the runs; None derives `runs/…` from the grid's name.
    """

    model: str | None = None
    seeds: tuple[int, ...] = (0,)
    methods: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    search: bool = True
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data_dir: str | None = None
    output: str | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What makes this another table than the whole one: rows, columns, seeds, no search, settings."""
        cuts = {"methods": self.methods, "columns": self.columns, "seeds": self.seeds if self.seeds != (0,) else ()}
        search = {} if self.search else {"search": False}
        return {**{key: value for key, value in cuts.items() if value}, **search, **dict(sorted(self.settings.items()))}


@dataclass(frozen=True)
class PlannedRun:
    """One run of `train`.

    Attributes:
        task: of the grid.
        config: resolved; its output names the folder.
        steps: optimizer steps; None where the number of rows is not known.
        cost: plain steps that one step costs.
    """

    task: str
    config: TrainConfig
    steps: int | None
    cost: float

    @property
    def folder(self) -> Path:
        """Where it is or will be."""
        return Path(str(self.config.output))


@dataclass(frozen=True)
class Group:
    """All runs of a method on a task, among which one setting is chosen.

    Attributes:
        settings: what was searched → the runs of all seeds.
    """

    settings: tuple[tuple[Mapping[str, Any], tuple[PlannedRun, ...]], ...]

    @property
    def runs(self) -> list[PlannedRun]:
        """Of all settings and seeds."""
        return [run for _, runs in self.settings for run in runs]


@dataclass(frozen=True)
class Plan:
    """What a table, or a figure made from tables, needs.

    Attributes:
        target: its name.
        grid: where it is described.
        tables: the tables with the rows and columns that are wanted.
        groups: (table, method, task) → runs.
        seeds: of each setting.
        folder: of the table's files; the runs lie in it.
        left_out: rows that were left out, with the reason.
        model: what people call the model that is trained.
        asked: what differs from the whole table, by option or key of `train`.
    """

    target: str
    grid: Grid
    tables: Mapping[str, GridTable]
    groups: Mapping[tuple[str, str, str], Group]
    seeds: tuple[int, ...]
    folder: Path
    left_out: Mapping[str, str]
    model: str
    asked: Mapping[str, Any]

    @property
    def stem(self) -> Path:
        """Of the files of the table or figure, without their endings."""
        return self.folder / table_file(self.target, self.asked)

    def name_of(self, run: PlannedRun) -> str:
        """The folder of a run, seen from that of the table."""
        return run.folder.relative_to(self.folder).as_posix()

    @property
    def runs(self) -> list[PlannedRun]:
        """Every run once, those of one task together, whichever tables and rows it serves."""
        unique = {run.folder: run for group in self.groups.values() for run in group.runs}
        order = {task: place for place, task in enumerate(self.grid.tasks)}
        return sorted(unique.values(), key=lambda run: order[run.task])


def make_plan(grid: Grid, target: str, choice: Choice) -> Plan:
    """The runs that a table or figure needs.

    Raises:
        UnknownNameError: for a table, method or column that there is not.
        ConfigError: for settings that do not go together, and for a figure of which no pair of columns is left.

    Example:
        >>> from ssl_pdr.paper.grid import load_grid
        >>> plan = make_plan(load_grid(), "table5", Choice(methods=("none", "vat"), columns=("sst2",)))
        >>> len(plan.runs), plan.runs[0].steps, plan.runs[0].config.labelled_frac
        (80, 2106, 0.5)
    """
    grid.check_target(target)
    left_out: dict[str, str] = {}
    tables = {name: table for name, table in _wanted(grid, target, choice, left_out) if table.methods and table.columns}
    if target in grid.figures:
        _check_pairs(target, grid.figures[target], tables)
    model = choice.model or grid.base.get("model", TrainConfig().model)
    folder = Path(choice.output or f"runs/{grid.path.stem}") / model_folder(model)
    groups = {
        (name, method, task): _group(grid, table, method, task, choice, folder)
        for name, table in tables.items()
        for method in table.methods
        for task in dict.fromkeys(column.task for column in table.columns)
    }
    return Plan(target, grid, tables, groups, choice.seeds, folder, left_out, model_name(model), choice.asked)


def differences(found: TrainConfig, planned: TrainConfig) -> list[str]:
    """The keys in which a run trains another model than the one that is planned; what it guessed does not count.

    Args:
        found: the configuration of the run, resolved.
        planned: resolved too.
    """
    return [
        key
        for key, value in vars(planned).items()
        if key not in NOT_OF_THE_MODEL and getattr(found, key) != value and not (key in _GUESSED and value is None)
    ]


def planned_steps(config: TrainConfig, rows: int | None) -> int | None:
    """Optimizer steps of a run on a set of so many training rows; windows of long passages come on top.

    Example:
        >>> planned_steps(TrainConfig(epochs=2, batch_size=32), 67_349)
        4210
    """
    if config.max_steps is not None:
        return config.max_steps
    known = [count for count in (rows, config.limit) if count is not None]
    if not known or config.labelled_per_class is not None or config.split is not None:
        return None
    labelled = config.labelled_count or math.floor(min(known) * config.labelled_frac + 0.5)
    if not uses_pool(config.reg, config.alpha, config.ratio):
        used: float = labelled
    elif isinstance(config.ratio, str):
        used = min(known)
    else:
        used = labelled * (1 + config.ratio)
    return math.ceil(config.epochs * math.ceil(used / config.batch_size))


def plan_rows(plan: Plan) -> list[dict[str, Any]]:
    """The plan in a line for each task and method: how many runs, their steps, and the cost in plain steps.

    Args:
        plan: of a table.
    """
    rows: list[dict[str, Any]] = []
    seen: set[Path] = set()
    for (_, method, task), group in plan.groups.items():
        runs = [run for run in group.runs if run.folder not in seen]
        seen |= {run.folder for run in runs}
        if not runs:
            continue
        steps = [run.steps for run in runs]
        known = [count for count in steps if count is not None]
        whole = len(known) == len(steps)
        row = {
            "task": task,
            "method": method,
            "labelled_frac": runs[0].config.labelled_frac,
            "runs": len(runs),
            "finished": sum(RunFolder(run.folder).finished for run in runs),
            "steps_from": min(known) if whole else None,
            "steps_to": max(known) if whole else None,
            "steps": sum(known) if whole else None,
            "plain_steps": round(sum(known) * runs[0].cost) if whole else None,
        }
        rows.append(row)
    order = {task: place for place, task in enumerate(plan.grid.tasks)}
    return sorted(rows, key=lambda row: order[row["task"]])


def _wanted(grid: Grid, target: str, choice: Choice, left_out: dict[str, str]) -> Iterator[tuple[str, GridTable]]:
    """The tables of a target, cut to the rows and columns that are wanted."""
    names, columns, methods = [target], None, None
    if target in grid.figures:
        figure = grid.figures[target]
        names, methods = list(figure.tables), figure.methods
        columns = {key for pair in figure.pairs for key in pair}
    tables = {name: grid.tables[name] for name in names}
    if columns is not None and methods is not None:
        tables = {
            name: dataclasses.replace(
                table,
                columns=tuple(column for column in table.columns if column.key in columns),
                methods=tuple(method for method in methods if method in table.methods),
                gain=(),
            )
            for name, table in tables.items()
        }
    rows = _rows(grid, tables, choice, left_out)
    keys = _keys(tables, choice.columns)
    if target in grid.figures:
        keys = _in_pairs(keys, grid.figures[target].pairs)
    for name, table in tables.items():
        kept = tuple(column for column in table.columns if column.key in keys)
        whole = {column.key for column in kept} >= set(table.gain)
        yield (
            name,
            dataclasses.replace(
                table,
                methods=tuple(method for method in table.methods if method in rows),
                columns=kept,
                gain=table.gain if whole else (),  # an average over other columns would be another figure
            ),
        )


def _rows(grid: Grid, tables: Mapping[str, GridTable], choice: Choice, left_out: dict[str, str]) -> set[str]:
    known = list(dict.fromkeys(method for table in tables.values() for method in table.methods))
    regularizers = {name: str(grid.methods[name].train.get("reg")) for name in known}
    rows: set[str] = set()
    for wanted in choice.methods:
        found = [wanted] if wanted in known else [name for name in known if regularizers[name] == wanted]
        if not found:
            raise unknown_name("method", wanted, {*known, *regularizers.values()})
        rows.update(found)
    for name in known:
        if choice.model is not None and name not in choice.methods and "model" in grid.methods[name].train:
            left_out[name] = f"it is a row of another model, {grid.methods[name].train['model']}"
    return (rows or set(known)) - set(left_out)


def _keys(tables: Mapping[str, GridTable], wanted: Sequence[str]) -> set[str]:
    columns = [column for table in tables.values() for column in table.columns]
    keys: set[str] = set()
    for name in wanted:
        found = {
            column.key
            for column in columns
            if name.lower() in (column.key, column.key.partition(".")[0], column.task, column.name.lower())
        }
        if not found:
            known = {name for column in columns for name in (column.key, column.key.partition(".")[0], column.task)}
            raise unknown_name("column", name, known)
        keys |= found
    return keys or {column.key for column in columns}


def _in_pairs(keys: set[str], pairs: Sequence[tuple[str, str]]) -> set[str]:
    """Columns of a figure with those that they are compared with: one alone makes no drop."""
    kept = [pair for pair in pairs if pair[1] in keys]
    alone = keys - {key for pair in kept for key in pair}
    return {key for pair in [*kept, *(pair for pair in pairs if pair[0] in alone)] for key in pair}


def _check_pairs(target: str, figure: GridFigure, tables: Mapping[str, GridTable]) -> None:
    """Refuse a figure that would be empty; where no row is left at all, that is what is to be said."""
    cells = {(method, column.key) for table in tables.values() for method in table.methods for column in table.columns}
    drops = [{(method, inside), (method, outside)} for method, _ in cells for inside, outside in figure.pairs]
    if cells and not any(drop <= cells for drop in drops):
        raise ConfigError(
            f"{target}: none of the rows that were asked for has both columns of a pair; give other --methods "
            f"(rows of the figure: {', '.join(figure.methods)})"
        )


def _group(grid: Grid, table: GridTable, method: str, task: str, choice: Choice, folder: Path) -> Group:
    row, base = grid.methods[method], grid.tasks[task]
    searched = {**base.search, **row.search} if choice.search else {}
    fixed = {**row.tasks.get(task, {}), **choice.settings}
    searched = {key: values for key, values in searched.items() if key not in fixed}
    settings = []
    for values in product(*searched.values()):
        setting = dict(zip(searched, values, strict=True))
        layers = [_base(grid, choice), table.train, base.train, row.train, setting, fixed]
        runs = [_run(task, row, base.rows, [*layers, {"seed": seed}], choice, folder) for seed in choice.seeds]
        settings.append((setting, tuple(runs)))
    return Group(tuple(settings))


def _base(grid: Grid, choice: Choice) -> dict[str, Any]:
    given = {"model": choice.model, "data_dir": choice.data_dir}
    return {**grid.base, **{key: value for key, value in given.items() if value is not None}}


def _run(
    task: str, row: GridMethod, rows: int | None, layers: list[Mapping[str, Any]], choice: Choice, folder: Path
) -> PlannedRun:
    merged = {key: value for layer in layers for key, value in layer.items()}
    config = make_config(_located(merged)).resolved()
    config = dataclasses.replace(config, output=str(folder / task / run_folder(config)))
    return PlannedRun(task, config, planned_steps(config, rows), row.cost)


def _located(keys: dict[str, Any]) -> dict[str, Any]:
    """Files that a grid names without saying where are looked for in the data folder too; names of sets stay."""
    if (folder := keys.get("data_dir")) is None:
        return keys

    def there(value: str) -> str:
        inside = Path(folder).expanduser() / value
        return str(inside) if Path(value).suffix and not Path(value).exists() and inside.exists() else value

    several = {key: tuple(map(there, keys[key])) for key in ("eval_on", "unlabelled") if keys.get(key) is not None}
    return {**keys, **{key: there(keys[key]) for key in _PLACES if keys.get(key) is not None}, **several}
