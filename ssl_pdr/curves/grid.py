"""The grid behind a label-budget curve: budgets × methods × settings × seeds, as configurations that are alike in all else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from ssl_pdr.config import PRESETS, TrainConfig, make_config, uses_pool
from ssl_pdr.curves.grid_file import MATCHES, check_budget
from ssl_pdr.divergences import get_divergence
from ssl_pdr.errors import ConfigError, unknown_name
from ssl_pdr.methods import build_regularizer, has_effect
from ssl_pdr.model_card import without_places
from ssl_pdr.recipe import parse_setting
from ssl_pdr.regularizers import list_regularizers

FORMAT = 1
# What the grid itself says, so that neither its base nor a method may.
_OF_THE_GRID = (
    *(
        "labelled_frac",
        "labelled_count",
        "labelled_per_class",
        "split",
        "seed",
        "output",
        "batch_size",
        "save_steps",
        "auto_batch",
    ),
    *("max_steps", "epochs", "reg", "div", "data_fingerprint", "stream", "report_to"),
)
_OF_THE_DATA = (
    "data",
    "task",
    "data_dir",
    "eval",
    "eval_on",
    "eval_limit",
    "eval_frac",
    "limit",
    "unlabelled",
    "model",
)
# What is always part of a cell's key; of all other fields only what differs from its default, so that an option that is
# added to the package does not make old cells unknown.
_ALWAYS = (
    "data",
    "model",
    "labelled_frac",
    "reg",
    "div",
    "alpha",
    "lr",
    "ratio",
    "batch_size",
    "max_steps",
    "max_length",
)
_NEVER = ("output", "save_steps", "auto_batch", "data_dir", "data_fingerprint", "preset", "task", "epochs", "report_to")


@dataclass(frozen=True)
class Method:
    """A way to train, as a grid names it.

    Attributes:
        name: `reg[:div][,key=value…]`.
        keys: of `TrainConfig`.
    """

    name: str
    keys: Mapping[str, Any]

    @classmethod
    def parse(cls, name: str) -> Method:
        """Read a method's name.

        Raises:
            UnknownNameError: for a regularizer or divergence that does not exist, with the closest.
            ConfigError: for a key that does not, or that is the grid's.

        Example:
            >>> Method.parse("vat:kl,alpha=4").keys
            {'reg': 'vat', 'div': 'kl', 'alpha': 4.0}
        """
        first, *settings = [part.strip() for part in name.split(",")]
        reg, colon, div = first.partition(":")
        if reg != "none" and reg not in list_regularizers():
            raise unknown_name("method", reg, ["none", *list_regularizers()])
        keys: dict[str, Any] = {"reg": reg}
        if colon:
            get_divergence(div)
            if not has_effect("div", reg):
                raise ConfigError(f"method {name!r}: {reg} has no divergence; write {reg}")
            keys["div"] = div
        for key, value in (parse_setting(setting, f"method {name!r}") for setting in settings):
            if (key := key.replace("-", "_")) in (*_OF_THE_GRID, *_OF_THE_DATA):
                raise ConfigError(f"method {name!r}: {key} is the same for all methods; it cannot be set for one")
            keys[key] = value
        return cls(name, keys)

    def takes(self, key: str) -> bool:
        """Whether a searched key has an effect on it."""
        return key not in self.keys and has_effect(key, self.keys["reg"])


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What a curve is made of.

    Attributes:
        base: keys of `TrainConfig` that all cells share: data, model, learning rate, lengths.
        budgets: shares of the labels, each in (0, 1].
        methods: by name, see `Method`.
        seeds: of split, batches, noise and head.
        search: key → values; every method that the key has an effect on is run with each.
        batch: labelled rows of one optimizer step.
        ratio: unlabelled rows for each of them, where there are any.
        match: what the methods have in common at a budget: `steps`, the same number of optimizer steps at all budgets;
            `epochs`, passes over the labelled rows, whose number makes the steps; `compute`, the operations of
            the steps of plain fine-tuning.
        steps: optimizer steps; None takes those of `epochs` passes over the labelled rows of the largest budget.
        epochs: see `steps`.
        select: the part by whose score settings and the best method are chosen.
        test: the part by whose score they are then told; None takes `select`, which flatters the best of several.
        name: for people; None takes that of the data.
    """

    base: Mapping[str, Any] = field(default_factory=dict)
    budgets: tuple[float, ...] = (0.1, 0.5, 1.0)
    methods: tuple[str, ...] = ("none", "rdrop", "vat")
    seeds: tuple[int, ...] = (0, 1, 2)
    search: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    batch: int = 8
    ratio: float = 1.0
    match: str = "steps"
    steps: int | None = None
    epochs: float = 3.0
    select: str = "in_domain"
    test: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for kind in ("budgets", "methods", "seeds"):
            values = getattr(self, kind)
            if not values:
                raise ConfigError(f"{kind}: got none, expected at least one")
            if len(set(values)) < len(values):
                raise ConfigError(f"{kind}: {next(v for v in values if values.count(v) > 1)} was given twice")
        for budget in self.budgets:
            check_budget(budget)
        if self.match not in MATCHES:
            raise unknown_name("match", self.match, MATCHES)
        if self.batch < 1 or not 0 < self.ratio < 1000:
            raise ConfigError(
                f"batch must be above 0, and ratio above 0 and below 1000, got {self.batch} and {self.ratio}"
            )
        if (self.steps is not None and self.steps < 1) or not 0 < self.epochs < math.inf:
            raise ConfigError(f"steps must be at least 1 and epochs above 0, got {self.steps} and {self.epochs:g}")
        self._check_keys()
        known: dict[str, str] = {}
        for method in self.parsed:  # what cannot be built is known before anything is read
            config = make_config({"ratio": self.ratio}, self.base, method.keys).resolved()
            build_regularizer(config)
            self.rows_per_step(method, pool=True)
            if (other := known.setdefault(cell_key(config, ""), method.name)) != method.name:
                raise ConfigError(f"methods: {other} and {method.name} are the same; leave one out")

    def _check_keys(self) -> None:
        if empty := [key for key, values in self.search.items() if not values]:
            raise ConfigError(f"search: {empty[0]} has no value to try")
        if taken := [key for key in (*self.base, *self.search) if key in _OF_THE_GRID]:
            raise ConfigError(f"{taken[0]} is the grid's own; it cannot be set for all cells")
        if taken := [key for key in self.search if key in _OF_THE_DATA]:
            raise ConfigError(f"{taken[0]} cannot be searched: all cells are of the same data and model")

    @property
    def parsed(self) -> tuple[Method, ...]:
        """The methods with their keys."""
        return tuple(map(Method.parse, self.methods))

    def settings(self, method: Method) -> list[dict[str, Any]]:
        """What the search tries for a method; of what has no effect on it, nothing."""
        keys = [key for key in self.search if method.takes(key)]
        return [dict(zip(keys, values, strict=True)) for values in product(*(self.search[key] for key in keys))]

    def rows_per_step(self, method: Method, *, pool: bool, setting: Mapping[str, Any] | None = None) -> int:
        """Rows of one optimizer step: the labelled ones, and where there is a pool that is used the unlabelled ones."""
        keys = {**self.base, **method.keys, **(setting or {})}
        if isinstance(ratio := keys.get("ratio", self.ratio), str):
            raise ConfigError(f"method {method.name!r}: ratio must be a number in a grid, got {ratio!r}")
        if not pool or not uses_pool(method.keys["reg"], keys.get("alpha", 1.0), ratio):
            return self.batch
        unlabelled = self.batch * float(ratio)
        if not math.isclose(unlabelled, round(unlabelled)):
            raise ConfigError(
                f"method {method.name!r}: {self.batch} labelled rows and {ratio:g} unlabelled ones for each do not make whole "
                "rows; choose another batch or ratio"
            )
        return self.batch + round(unlabelled)

    def to_json(self) -> dict[str, Any]:
        """The grid as `curve.json` has it, without places of this machine."""
        return {
            "format": FORMAT,
            "name": self.name,
            "budgets": list(self.budgets),
            "methods": list(self.methods),
            "seeds": list(self.seeds),
            "search": {key: list(values) for key, values in self.search.items()},
            "select": self.select,
            "test": self.test,
            "match": self.match,
            "batch": self.batch,
            "ratio": self.ratio,
            "steps": self.steps,
            "epochs": self.epochs,
            "config": {
                key: value
                for key, value in decisive(make_config(self.base).resolved()).items()
                if key not in _OF_THE_GRID
            },
        }


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        key: of everything that decides its result, 16 hexadecimal digits.
        budget: share of the labels.
        method: by name.
        setting: of the search.
        seed: of the run.
        config: to run.
    """

    key: str
    budget: float
    method: str
    setting: Mapping[str, Any]
    seed: int
    config: TrainConfig

    def to_json(self) -> dict[str, Any]:
        """What its file begins with."""
        return {
            "format": FORMAT,
            "key": self.key,
            "budget": self.budget,
            "method": self.method,
            "setting": dict(self.setting),
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Facts:
    """What the data say of a budget.

    Attributes:
        labelled: rows with a label.
        pool: whether there are rows without one.
    """

    labelled: int
    pool: bool


def cells_of(
    grid: Grid, facts: Mapping[tuple[int, float], Facts], cost: Callable[[TrainConfig], float], fingerprint: str
) -> Iterator[Cell]:
    """The cells of a grid, seed after seed: what stops in the middle has whole seeds to compare.

    Args:
        grid: of which.
        facts: by seed and budget.
        cost: how many plain steps a step of a configuration costs; asked for `compute` only.
        fingerprint: of the data and the model.
    """
    for seed, budget, method in product(grid.seeds, grid.budgets, grid.parsed):
        found = facts[seed, budget]
        for setting in grid.settings(method):
            keys = {**grid.base, **method.keys, **setting}
            count = _steps(grid, found.labelled, max(facts[seed, b].labelled for b in grid.budgets))
            config = make_config(
                keys,
                {
                    "labelled_frac": budget,
                    "seed": seed,
                    "ratio": float(keys.get("ratio", grid.ratio)),  # without a pool, too: it tells two methods apart
                    "batch_size": grid.rows_per_step(method, pool=found.pool, setting=setting),
                    "max_steps": count,
                },
            ).resolved()
            if grid.match == "compute":
                config = dataclasses.replace(config, max_steps=max(round(count / cost(config)), 1))
            yield Cell(cell_key(config, fingerprint), budget, method.name, setting, seed, config)


def _steps(grid: Grid, labelled: int, most: int) -> int:
    if grid.match == "epochs":
        return math.ceil(grid.epochs * labelled / grid.batch)
    return grid.steps or math.ceil(grid.epochs * most / grid.batch)


def cell_key(config: TrainConfig, fingerprint: str) -> str:
    """What a cell is found again by: everything that decides its result, places and machine apart."""
    content = json.dumps([FORMAT, fingerprint, decisive(config)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def decisive(config: TrainConfig) -> dict[str, Any]:
    """The values of a resolved configuration that decide its result, with names for places."""
    default = vars(TrainConfig())
    always = (*_ALWAYS, *PRESETS["default"], "seed")
    return {
        name: value
        for name, value in without_places(vars(config)).items()
        if name not in _NEVER and (name in always or value != default[name])
    }
