"""The grid of runs behind the tables, read from strict TOML: `recipes/paper.toml`, or a file of the user's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_pdr.errors import ConfigError, unknown_name
from ssl_pdr.recipe import check_value, read_toml

# In a wheel the recipe lies beside this module, in a checkout among the recipes: there is one file only.
_PLACES = (Path(__file__).with_name("paper.toml"), Path(__file__).parents[2] / "recipes" / "paper.toml")
_REQUIRED = object()
_FOLDER = re.compile(r"[^\W_][\w.-]{,99}")

Keys = Mapping[str, Any]
Search = Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class GridTask:
    """What a model is trained on and how its setting is chosen.

    Attributes:
        select: `part.metric` of `result.json` by which a setting is chosen.
        train: keys of `train`.
        search: key → values that are tried.
        rows: training rows, for the plan; None where that is not known.
    """

    select: str
    train: Keys
    search: Search
    rows: int | None


@dataclass(frozen=True)
class GridMethod:
    """A row of the tables.

    Attributes:
        label: for people.
        cost: plain steps that one of its steps costs.
        train: keys of `train`.
        search: key → values that are tried.
        tasks: further keys for single tasks.
    """

    label: str
    cost: float
    train: Keys
    search: Search
    tasks: Mapping[str, Keys]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: `set.metric`, under which the paper's figure stands.
        name: for people.
        task: whose runs it is taken from.
        score: `part.metric` of their `result.json`.
    """

    key: str
    name: str
    task: str
    score: str


@dataclass(frozen=True)
class GridTable:
    """A table of methods × columns.

    Attributes:
        title: for people.
        methods: its rows, in order.
        columns: in order.
        gain: keys of the columns of the average gain; empty for none.
        train: keys of `train` that all its runs take.
        paper: tables of the paper that its figures are compared with, its own name by default.
    """

    title: str
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    gain: tuple[str, ...]
    train: Keys
    paper: tuple[str, ...]


@dataclass(frozen=True)
class GridFigure:
    """A figure of relative drops.

    Attributes:
        title: for people.
        tables: where its columns are found.
        methods: the models it compares.
        pairs: keys of an in-domain and an out-of-domain column.
    """

    title: str
    tables: tuple[str, ...]
    methods: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Grid:
    """All of a grid file.

    Attributes:
        path: where it was read from.
        base: keys of `train` that all runs take.
        tasks: by name.
        methods: by name.
        tables: by name.
        figures: by name.
    """

    path: Path
    base: Keys
    tasks: Mapping[str, GridTask]
    methods: Mapping[str, GridMethod]
    tables: Mapping[str, GridTable]
    figures: Mapping[str, GridFigure]

    def check_target(self, name: str) -> None:
        """Refuse what is neither a table nor a figure of the grid.

        Raises:
            UnknownNameError: with the closest names.
        """
        if name not in self.tables and name not in self.figures:
            raise unknown_name("table", name, [*self.tables, *self.figures])


def paper_grid() -> Path:
    """The file of the paper's own grid."""
    return next(path for path in _PLACES if path.is_file())


def load_grid(path: str | Path | None = None) -> Grid:
    """Read and check a grid.

    Args:
        path: of a TOML file in the format of `recipes/paper.toml`; None takes that.

    Raises:
        ConfigError: in one line, for a file that cannot be read, an unknown key (with the nearest), a value of the wrong
            kind, or a name that nothing in the grid has.

    Example:
        >>> grid = load_grid()
        >>> grid.tables["table5"].train, grid.methods["jr"].search
        ({'labelled_frac': 0.5}, {'alpha': (0.001, 0.01, 0.1)})
    """
    path = paper_grid() if path is None else Path(path)
    content = read_toml(path, "grid")
    reader = _Reader(path)
    top = reader.take(content, "the grid", base={}, tasks=_REQUIRED, methods=_REQUIRED, tables=_REQUIRED, figures={})
    grid = Grid(
        path=path,
        base=reader.keys(top["base"], "base"),
        tasks={name: reader.task(entry, f"tasks.{name}") for name, entry in reader.entries(top, "tasks")},
        methods={name: reader.method(entry, f"methods.{name}") for name, entry in reader.entries(top, "methods")},
        tables={name: reader.table(entry, name) for name, entry in reader.entries(top, "tables")},
        figures={
            name: reader.figure(entry, f"figures.{name}") for name, entry in reader.entries(top, "figures", empty=True)
        },
    )
    _check_names(grid)
    return grid


class _Reader:
    """Turns tables of TOML into ours; every message names the file and the place.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, place: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path}: {place}: {problem}")

    def take(self, entry: Any, place: str, **allowed: Any) -> dict[str, Any]:
        """The keys of an entry, with defaults for those that are not there."""
        if not isinstance(entry, dict):
            raise self.fail(place, f"expected a table of keys, got {entry!r}")
        for key in entry:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"keys are: {', '.join(allowed)}"
                raise self.fail(place, f"unknown key {key!r}; {hint}")
        missing = [key for key, default in allowed.items() if default is _REQUIRED and key not in entry]
        if missing:
            raise self.fail(place, f"the key {missing[0]!r} is missing")
        return {**allowed, **entry}

    def entries(self, top: dict[str, Any], key: str, *, empty: bool = False) -> list[tuple[str, Any]]:
        """The named tables under a key."""
        if not isinstance(top[key], dict):
            raise self.fail(key, f"expected tables by name, got {top[key]!r}")
        if not top[key] and not empty:
            raise self.fail(key, "expected at least one")
        return list(top[key].items())

    def keys(self, entry: Any, place: str) -> dict[str, Any]:
        """Keys of `train` with their values."""
        if not isinstance(entry, dict):
            raise self.fail(place, f"expected keys of `train`, got {entry!r}")
        where = f"{self.path}: {place}"
        checked = {key.replace("-", "_"): check_value(key, value, where=where) for key, value in entry.items()}
        for key in ("seed", "output"):
            if key in checked:
                raise self.fail(place, f"{key!r} is not for a grid; use the option of `reproduce`")
        return checked

    def search(self, entry: Any, place: str) -> dict[str, tuple[Any, ...]]:
        """Lists of values for keys of `train`."""
        if not isinstance(entry, dict) or not all(isinstance(v, list) and v for v in entry.values()):
            raise self.fail(place, "expected a list of values for each key that is searched")
        columns = {
            key: tuple(next(iter(self.keys({key: value}, place).values())) for value in values)
            for key, values in entry.items()
        }
        return {key.replace("-", "_"): values for key, values in columns.items()}

    def text(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not value:
            raise self.fail(place, f"expected text, got {value!r}")
        return value

    def texts(self, value: Any, place: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(place, f"expected a list of texts, got {value!r}")
        if len(set(value)) < len(value):
            raise self.fail(place, "a name stands there twice")
        return tuple(value)

    def score(self, value: Any, place: str) -> str:
        """`part.metric`."""
        if not all(self.text(value, place).rpartition(".")):
            raise self.fail(place, f"expected a score as 'part.metric', got {value!r}")
        return str(value)

    def task(self, entry: Any, place: str) -> GridTask:
        got = self.take(entry, place, select=_REQUIRED, train=_REQUIRED, search={}, rows=None)
        rows = got["rows"]
        if rows is not None and (type(rows) is not int or rows < 1):
            raise self.fail(f"{place}.rows", f"expected a whole number above 0, got {rows!r}")
        train = self.keys(got["train"], f"{place}.train")
        if "data" not in train:
            raise self.fail(f"{place}.train", "the key 'data' is missing")
        return GridTask(
            self.score(got["select"], f"{place}.select"),
            train,
            self.search(got["search"], f"{place}.search"),
            rows,
        )

    def method(self, entry: Any, place: str) -> GridMethod:
        got = self.take(entry, place, label=_REQUIRED, cost=1.0, train=_REQUIRED, search={}, tasks={})
        if type(got["cost"]) not in (int, float) or not 0 < got["cost"] < 1e6:
            raise self.fail(f"{place}.cost", f"expected a number above 0, got {got['cost']!r}")
        return GridMethod(
            self.text(got["label"], f"{place}.label"),
            float(got["cost"]),
            self.keys(got["train"], f"{place}.train"),
            self.search(got["search"], f"{place}.search"),
            {name: self.keys(keys, f"{place}.tasks.{name}") for name, keys in self.entries(got, "tasks", empty=True)},
        )

    def table(self, entry: Any, name: str) -> GridTable:
        place = f"tables.{name}"
        got = self.take(
            entry, place, title=_REQUIRED, methods=_REQUIRED, columns=_REQUIRED, gain=[], train={}, paper=[name]
        )
        if not isinstance(got["columns"], list) or not got["columns"]:
            raise self.fail(f"{place}.columns", "expected a list of columns")
        columns = tuple(self.column(column, f"{place}.columns") for column in got["columns"])
        if len({column.key for column in columns}) < len(columns):
            raise self.fail(f"{place}.columns", "a key stands there twice")
        return GridTable(
            self.text(got["title"], f"{place}.title"),
            self.texts(got["methods"], f"{place}.methods"),
            columns,
            self.texts(got["gain"], f"{place}.gain"),
            self.keys(got["train"], f"{place}.train"),
            self.texts(got["paper"], f"{place}.paper"),
        )

    def column(self, entry: Any, place: str) -> Column:
        got = self.take(entry, place, key=_REQUIRED, name=_REQUIRED, task=_REQUIRED, score=_REQUIRED)
        key, name, task = (self.text(got[part], f"{place}.{part}") for part in ("key", "name", "task"))
        return Column(key, name, task, self.score(got["score"], f"{place}.score"))

    def figure(self, entry: Any, place: str) -> GridFigure:
        got = self.take(entry, place, title=_REQUIRED, tables=_REQUIRED, methods=_REQUIRED, pairs=_REQUIRED)
        if not isinstance(got["pairs"], list):
            raise self.fail(f"{place}.pairs", f"expected a list of pairs, got {got['pairs']!r}")
        pairs = [self.texts(pair, f"{place}.pairs") for pair in got["pairs"]]
        if not pairs or any(len(pair) != 2 for pair in pairs):
            raise self.fail(f"{place}.pairs", "expected pairs of an in-domain and an out-of-domain column")
        return GridFigure(
            self.text(got["title"], f"{place}.title"),
            self.texts(got["tables"], f"{place}.tables"),
            self.texts(got["methods"], f"{place}.methods"),
            tuple((inside, outside) for inside, outside in pairs),
        )


def _check_names(grid: Grid) -> None:
    """Refuse a name of a task, method, table or column that is not in the grid."""
    where = f"{grid.path}: "
    for name in grid.tasks:
        if not _FOLDER.fullmatch(name):
            raise ConfigError(
                f"{where}tasks: got the name {name!r}, expected at most 100 letters, digits, '_', '-' and '.', a letter or digit "
                "first: it becomes a folder"
            )
    for name, method in grid.methods.items():
        _known(where + f"methods.{name}.tasks", "task", method.tasks, grid.tasks)
    for name, table in grid.tables.items():
        keys = [column.key for column in table.columns]
        _known(where + f"tables.{name}.methods", "method", table.methods, grid.methods)
        _known(where + f"tables.{name}.columns", "task", [column.task for column in table.columns], grid.tasks)
        _known(where + f"tables.{name}.gain", "column", table.gain, keys)
    for name, figure in grid.figures.items():
        _known(where + f"figures.{name}.tables", "table", figure.tables, grid.tables)
        keys = [column.key for table in figure.tables for column in grid.tables[table].columns]
        _known(where + f"figures.{name}.methods", "method", figure.methods, grid.methods)
        _known(where + f"figures.{name}.pairs", "column", [key for pair in figure.pairs for key in pair], keys)
        if name in grid.tables:
            raise ConfigError(f"{where}figures.{name}: a table has that name")


def _known(where: str, kind: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in (known := list(known)):
            raise ConfigError(f"{where}: {unknown_name(kind, name, known)}")
