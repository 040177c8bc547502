"""Grids: what a method's name means, which cells there are, and by what a cell is found again."""

from __future__ import annotations

import dataclasses
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.curves.grid import Cell, Facts, Grid, Method, cell_key, cells_of
from ssl_pdr.errors import ConfigError, UnknownNameError

ROWS = {0.1: 20, 0.5: 101, 1.0: 203}


def cells(grid: Grid, cost: Any = None) -> list[Cell]:
    """Its cells, of a corpus of 203 rows that is its only text."""
    facts = {(seed, budget): Facts(ROWS[budget], budget < 1) for seed in grid.seeds for budget in grid.budgets}
    return list(cells_of(grid, facts, cost, "the data"))


def one(**keys: Any) -> TrainConfig:
    return make_config({"data": "pydocs-topics", "max_steps": 100, "ratio": 1.0, **keys}).resolved()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("none", {"reg": "none"}),
        ("rdrop", {"reg": "rdrop"}),
        ("vat:kl", {"reg": "vat", "div": "kl"}),
        ("vat:kl,alpha=4,radius=0.2", {"reg": "vat", "div": "kl", "alpha": 4.0, "radius": 0.2}),
        ("rpt:power:1.5 , search-steps=2", {"reg": "rpt", "div": "power:1.5", "search_steps": 2}),
    ],
)
def test_a_method_is_what_its_name_says(name: str, keys: dict[str, Any]) -> None:
    assert Method.parse(name).keys == keys


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("vta", UnknownNameError, "did you mean 'vat'"),
        ("vat:kll", UnknownNameError, "did you mean 'kl'"),
        ("at:kl", ConfigError, "at has no divergence; write at"),
        ("vat,alfa=1", ConfigError, "^method 'vat,alfa=1': unknown key 'alfa'; did you mean 'alpha'"),
        ("vat,alpha=much", ConfigError, "alpha must be a number"),
        ("vat,seed=1", ConfigError, "seed is the same for all methods"),
        ("vat,max-length=9,data=mine.csv", ConfigError, "data is the same for all methods"),
    ],
)
def test_a_method_that_cannot_be_is_refused(name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        Grid(methods=("none", name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"budgets": ()}, "budgets: got none"),
        ({"seeds": (1, 2, 1)}, "seeds: 1 was given twice"),
        ({"budgets": (0.0, 1.0)}, "a budget is a share"),
        ({"budgets": (1.5,)}, "a budget is a share"),
        ({"match": "step"}, "did you mean 'steps'"),
        ({"steps": 0}, "steps must be at least 1 and epochs above 0, got 0 and 3"),
        ({"epochs": float("nan")}, "steps must be at least 1 and epochs above 0, got None and nan"),
        ({"search": {"alpha": ()}}, "search: alpha has no value to try"),
        ({"batch": 0}, "batch must be above 0, and ratio above 0 and below 1000, got 0 and 1.0"),
        ({"base": {"batch_size": 8}}, "batch_size is the grid's own"),
        ({"search": {"seed": (1, 2)}}, "seed is the grid's own"),
        ({"search": {"model": ("a", "b")}}, "model cannot be searched"),
        ({"batch": 3, "ratio": 0.5}, "do not make whole rows"),
        ({"methods": ("vat,ratio=0.3",)}, "do not make whole rows"),
        ({"methods": ("vat,ratio=proportional",)}, "ratio must be a number"),
        ({"methods": ("jr,order=2",)}, "--order 2 is for rpt and vat"),
        ({"methods": ("none", "vat", "vat:shl")}, "methods: vat and vat:shl are the same"),
        ({"methods": ("vat,ratio=1,radius=0.1", "vat,radius=0.1")}, "are the same"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_is_read(options: dict[str, Any], says: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=says):
        Grid(**options)


def test_what_has_no_effect_is_not_searched() -> None:
    grid = Grid(
        methods=("none", "rdrop", "vat", "vat,alpha=2"), search={"alpha": (1.0, 4.0), "radius": (0.1, 0.2, 0.3)}
    )
    assert [len(grid.settings(method)) for method in grid.parsed] == [1, 2, 6, 3]
    assert grid.settings(grid.parsed[0]) == [{}]
    for key, values, fewest in (
        ("align", (0.0, 0.9), {"vat", "rdrop"}),
        ("projections", (1, 2), {"jr"}),
        ("search_steps", (1, 2), {"vat", "at"}),
        ("order", (1, 2), {"vat"}),
        ("ratio", (1.0, 2.0), {"vat", "rdrop", "jr"}),
    ):
        grid = Grid(methods=("none", "rdrop", "jr", "at", "vat"), search={key: values})
        assert {method.name for method in grid.parsed if len(grid.settings(method)) == 2} == fewest, key
    searched = Grid(methods=("none", "rdrop"), search={"lr": (1e-4, 1e-3)})
    assert [len(searched.settings(method)) for method in searched.parsed] == [2, 2]


def test_every_cell_is_there_once_seed_after_seed() -> None:
    grid = Grid(budgets=(0.1, 0.5, 1.0), methods=("none", "vat"), seeds=(3, 1), search={"alpha": (1.0, 4.0)})
    made = cells(grid)
    assert len(made) == len({cell.key for cell in made}) == 2 * 3 * (1 + 2)
    assert [cell.seed for cell in made] == [3] * 9 + [1] * 9
    for cell in made:
        config = cell.config
        assert (config.seed, config.labelled_frac, config.reg) == (cell.seed, cell.budget, cell.method)
        assert cell.setting.get("alpha", 1.0) == config.alpha


@pytest.mark.parametrize(
    ("method", "base", "rows"),
    [
        ("none", {}, 8),
        ("at", {}, 8),
        ("vat", {}, 16),
        ("vat,ratio=3", {}, 32),
        ("vat,ratio=0.25", {}, 10),
        ("vat", {"ratio": 2.0}, 24),
        ("vat,ratio=0", {}, 8),
        ("vat,alpha=0", {}, 8),  # no unlabelled row would enter the model
    ],
)
def test_the_labelled_rows_of_a_step_are_those_of_all_methods(method: str, base: dict[str, Any], rows: int) -> None:
    grid = Grid(base=base, methods=(method,), budgets=(0.1, 1.0), seeds=(0,), batch=8)
    small, whole = (cell.config for cell in cells(grid))
    assert (small.batch_size, whole.batch_size) == (rows, 8)
    if rows > 8:
        assert small.batch_size / (1 + small.ratio) == 8


def test_steps_are_the_same_at_all_budgets_or_follow_the_labels_or_the_operations() -> None:
    def steps(cost: Any = None, **options: Any) -> list[int | None]:
        grid = Grid(budgets=(0.1, 0.5, 1.0), methods=("none", "vat"), seeds=(0,), batch=8, **options)
        return [cell.config.max_steps for cell in cells(grid, cost)]

    assert steps(steps=40) == [40] * 6
    assert steps(epochs=2.0) == [math.ceil(2 * 203 / 8)] * 6
    assert steps(epochs=2.0, match="epochs") == [5, 5, 26, 26, 51, 51]
    costs = {("none", 8): 1.0, ("vat", 16): 3.7, ("vat", 8): 2.0}
    found = steps(lambda config: costs[config.reg, config.batch_size], steps=40, match="compute")
    assert found == [40, 11, 40, 11, 40, 20]
    assert min(n for n in steps(lambda config: 1e9, steps=40, match="compute") if n) == 1


def test_a_key_is_the_same_in_all_versions() -> None:
    """An option that is added to the package, with a default as before, leaves old cells known."""
    assert cell_key(one(reg="vat", div="kl", radius=0.1, seed=1), "the data") == "bf9b518b4377bbb7"


def test_a_key_knows_no_places(tmp_path: Path, encoder: Path, reviews: Path) -> None:
    keys = set()
    for place in ("here", "there"):
        folder = tmp_path / place
        folder.mkdir()
        data, model = shutil.copy(reviews, folder), shutil.copytree(encoder, folder / "encoder")
        config = one(data=str(data), model=str(model), unlabelled=(str(data),), output=str(folder / "run"))
        keys.add(cell_key(config, "the data"))
    assert len(keys) == 1


OTHER: dict[str, Any] = {
    "data": "pydocs-pairs", "eval": "x.csv", "eval_on": ("x.csv",), "eval_limit": 9, "text_column": "x", "pair_column": "x", "label_column": "x",
    "group_column": "x", "label_map": ("a=b",), "encoding": "latin-1", "limit": 9, "model": "x/y", "labelled_count": 9, "labelled_per_class": 9,
    "split": "x.json", "unlabelled": ("x.txt",), "temperature": 2.0, "split_documents": "paragraph", "long_documents": "windows", "reg": "rdrop",
    "div": "jsd", "radius": 0.01, "radius_unit": "absolute", "site": "word", "dropout": "off", "target_grad": "both", "search": "power", "search_products": 1,
    "norm": "sequence", "projections": 3, "ratio": 2.0, "stride": 9, "collapse": "sum", "precision": "bf16", "order": 2, "accumulation": 2,
    "max_steps": 7, "split_strategy": "random", "lr": 1e-5,
}  # fmt: skip
PLACES_AND_WHAT_OTHERS_SAY = {
    "output",
    "save_steps",
    "auto_batch",
    "data_dir",
    "data_fingerprint",
    "preset",
    "task",
    "epochs",
    "report_to",
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TrainConfig)])
def test_a_key_knows_all_that_decides(name: str) -> None:
    before = one(reg="vat", div="kl")
    value = getattr(before, name)
    if name in PLACES_AND_WHAT_OTHERS_SAY:
        told: dict[str, Any] = {
            "save_steps": 9,
            "auto_batch": True,
            "epochs": 9.0,
            "preset": "paper",
            "report_to": ("wandb",),
        }
        other: Any = told.get(name, "x")
    elif name in OTHER:
        other = OTHER[name]
    else:
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else (value + 0.5) / 2
    assert other != value
    after = vars(before) | {name: other}
    changed = object.__new__(TrainConfig)  # some values need others beside them, which would change the key too
    vars(changed).update(after)
    same = cell_key(changed, "the data") == cell_key(before, "the data")
    assert same == (name in PLACES_AND_WHAT_OTHERS_SAY)


def test_a_key_knows_the_data_and_the_model() -> None:
    assert cell_key(one(), "the data") != cell_key(one(), "other data")


def test_methods_that_differ_by_what_a_budget_does_not_use_have_cells_of_their_own() -> None:
    made = cells(Grid(methods=("vat", "vat,ratio=3"), budgets=(0.1, 1.0), seeds=(0,)))
    assert len({cell.key for cell in made}) == 4
    searched = cells(Grid(methods=("vat",), budgets=(0.1, 1.0), seeds=(0,), search={"ratio": (1.0, 3.0)}))
    assert len({cell.key for cell in searched}) == 4
