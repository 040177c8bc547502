"""How many runs, where they lie, and what they cost."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest

from ssl_pdr.config import TrainConfig
from ssl_pdr.errors import ConfigError, UnknownNameError
from ssl_pdr.paper.grid import load_grid
from ssl_pdr.paper.plan import Choice, differences, make_plan, plan_rows, planned_steps

SEARCH = 2 * 4  # learning rates × epochs
WEIGHTS = 3


@pytest.mark.parametrize(
    ("target", "rows_without_alpha", "rows_with_alpha", "tasks"),
    [("table2", 2, 8, 4), ("table3", 2, 8, 2), ("table4", 2, 8, 2), ("table5", 2, 6, 2), ("figure1", 2, 2, 4)],
)
def test_runs_of_the_papers_tables(target: str, rows_without_alpha: int, rows_with_alpha: int, tasks: int) -> None:
    grid = load_grid()
    plan = make_plan(grid, target, Choice())
    assert len(plan.runs) == SEARCH * tasks * (rows_without_alpha + WEIGHTS * rows_with_alpha)
    assert len(make_plan(grid, target, Choice(seeds=(0, 1, 2))).runs) == 3 * len(plan.runs)
    few = make_plan(grid, target, Choice(search=False))
    assert len(few.runs) == tasks * (rows_without_alpha + rows_with_alpha)
    assert len({run.folder for run in plan.runs}) == len(plan.runs)


def test_a_run_serves_every_table_that_needs_it() -> None:
    grid = load_grid()
    of = {name: {run.folder for run in make_plan(grid, name, Choice()).runs} for name in grid.tables}
    assert of["table3"] | of["table4"] == of["table2"]
    assert make_plan(grid, "figure1", Choice()).groups
    assert {run.folder for run in make_plan(grid, "figure1", Choice()).runs} < of["table2"]
    half = make_plan(grid, "table5", Choice(methods=("full",)))
    assert {run.folder for run in half.runs} < of["table2"]  # all labels: the base row of Table 2


def test_every_run_is_evaluated_on_the_sets_of_its_columns() -> None:
    plan = make_plan(load_grid(), "table4", Choice(search=False))
    for run in plan.runs:
        assert run.config.eval_on == (("addsent", "addonesent") if run.task == "squad" else ("hans",))
        assert run.config.preset == "paper"
        assert run.config.radius == 1e-3
    jr = next(run.config for run in plan.runs if run.config.reg == "jr" and run.task == "squad")
    assert (jr.projections, jr.alpha) == (1, 0.01)


def test_half_of_the_labels_and_what_the_base_row_sees() -> None:
    plan = make_plan(load_grid(), "table5", Choice(columns=("sst2",), search=False))
    steps = {run.config.reg + run.config.div * (run.config.reg != "none"): run.steps for run in plan.runs}
    one_epoch, half = math.ceil(67_349 / 32), math.ceil(33_675 / 32)
    assert steps["vatshl"] == steps["rptkl"] == 3 * one_epoch
    frac = {run.config.labelled_frac: run.steps for run in plan.runs if run.config.reg == "none"}
    assert frac == {1.0: 3 * one_epoch, 0.5: 3 * half}


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"epochs": 2.0}, 2 * 7),
        ({"epochs": 1.5}, math.ceil(1.5 * 7)),
        ({"limit": 20}, 3 * 2),
        ({"labelled_frac": 0.5}, 3 * 7),
        ({"labelled_frac": 0.5, "reg": "none"}, 3 * 4),
        ({"labelled_frac": 0.5, "alpha": 0.0}, 3 * 4),
        ({"labelled_count": 16, "reg": "at"}, 3),
        ({"labelled_count": 16, "ratio": 2.0}, 3 * 3),
        ({"labelled_count": 16, "ratio": 0.0}, 3),
        ({"max_steps": 5}, 5),
        ({"labelled_per_class": 5}, None),
    ],
)
def test_steps(options: dict[str, object], steps: int | None) -> None:
    assert planned_steps(TrainConfig(**options), 100) == steps  # type: ignore[arg-type]


def test_steps_of_data_of_unknown_size() -> None:
    assert planned_steps(TrainConfig(), None) is None
    assert planned_steps(TrainConfig(limit=32), None) == 6


def test_the_plan_counts_each_run_once() -> None:
    plan = make_plan(load_grid(), "figure1", Choice())
    rows = plan_rows(plan)
    assert sum(row["runs"] for row in rows) == len(plan.runs)
    assert sum(row["steps"] for row in rows) == sum(run.steps or 0 for run in plan.runs)
    vat = next(row for row in rows if (row["task"], row["method"]) == ("sst2", "vat-kl"))
    epochs = [2, 3, 4, 5]
    per_epoch = math.ceil(67_349 / 32)
    assert vat["steps"] == sum(epochs) * per_epoch * 2 * WEIGHTS
    assert (vat["steps_from"], vat["steps_to"]) == (2 * per_epoch, 5 * per_epoch)
    assert vat["plain_steps"] == round(2.8 * vat["steps"])


def test_rows_and_columns_can_be_chosen() -> None:
    grid = load_grid()
    plan = make_plan(grid, "table2", Choice(methods=("none", "vat"), columns=("SST-2", "mnli.accuracy")))
    table = plan.tables["table2"]
    assert table.methods == ("none", "vat-kl", "vat-shl", "vat-jsd")
    assert [column.key for column in table.columns] == ["mnli.accuracy", "sst2.accuracy"]
    assert table.gain == ()  # an average over two of four columns would not be the paper's
    assert {run.task for run in plan.runs} == {"mnli", "sst2"}
    assert make_plan(grid, "table2", Choice(methods=("vat",))).tables["table2"].gain != ()
    with pytest.raises(UnknownNameError, match="unknown method 'vatt'; did you mean 'vat'"):
        make_plan(grid, "table2", Choice(methods=("vatt",)))
    with pytest.raises(UnknownNameError, match="unknown method 'full'"):
        make_plan(grid, "table2", Choice(methods=("full",)))
    with pytest.raises(UnknownNameError, match="unknown column 'imdb'"):
        make_plan(grid, "table2", Choice(columns=("imdb",)))
    assert len(make_plan(grid, "figure1", Choice(columns=("hans", "mnli"))).tables) == 2


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        (("hans",), {"mnli.accuracy", "hans.accuracy"}),
        (("sst2.accuracy",), {"sst2.accuracy", "imdb.accuracy"}),
        (("squad.f1", "addsent"), {"squad.f1", "addsent.f1"}),
        (("addsent", "imdb"), {"squad.f1", "addsent.f1", "sst2.accuracy", "imdb.accuracy"}),
    ],
)
def test_a_figure_has_the_other_column_of_each_pair(asked: tuple[str, ...], columns: set[str]) -> None:
    plan = make_plan(load_grid(), "figure1", Choice(columns=asked, search=False))
    assert {column.key for table in plan.tables.values() for column in table.columns} == columns


def test_a_figure_that_would_be_empty_is_refused(small_grid: Path) -> None:
    text = small_grid.read_text(encoding="utf-8")
    text = text.replace(
        'tables = ["half"]\nmethods = ["none"]', 'tables = ["half", "table2"]\nmethods = ["none", "rpt"]'
    )
    text = text.replace(
        'pairs = [["reviews.accuracy", "reviews.macro_f1"]]', 'pairs = [["reviews.accuracy", "sst2.accuracy"]]'
    )
    small_grid.write_text(text, encoding="utf-8")
    assert len(make_plan(load_grid(small_grid), "drops", Choice()).tables) == 2
    with pytest.raises(ConfigError, match="drops: none of the rows that were asked for has both columns of a pair"):
        make_plan(load_grid(small_grid), "drops", Choice(methods=("rpt",)))


def test_another_model_leaves_out_rows_that_bring_their_own() -> None:
    grid = load_grid()
    plan = make_plan(grid, "table2", Choice(model="minilm-l6", search=False))
    assert set(plan.left_out) == {"large"}
    assert {run.config.model for run in plan.runs} == {"minilm-l6"}
    assert plan.folder == Path("runs/paper/minilm-l6")
    assert all(plan.folder in run.folder.parents for run in plan.runs)
    asked = make_plan(grid, "table2", Choice(model="minilm-l6", methods=("none", "large"), search=False))
    assert {run.config.model for run in asked.runs} == {"minilm-l6", "google-bert/bert-large-uncased"}


def test_settings_win_over_the_search() -> None:
    plan = make_plan(
        load_grid(), "table5", Choice(methods=("vat-shl",), columns=("sst2",), settings={"epochs": 1.0, "limit": 64})
    )
    assert len(plan.runs) == 2 * WEIGHTS  # learning rates × α
    assert {run.steps for run in plan.runs} == {2}
    with pytest.raises(ConfigError, match="expected one label budget"):
        make_plan(load_grid(), "table5", Choice(settings={"labelled_count": 100}))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"save_steps": 7}, True),
        ({"eval_on": ("hans",)}, True),
        ({"output": "elsewhere"}, True),
        ({"limit": 10}, False),
        ({"alpha": 2.0}, False),
        ({"seed": 1}, False),
        ({"eval": "other.csv"}, False),
        ({"accumulation": 2}, False),
    ],
)
def test_another_configuration_is_another_folder(change: dict[str, object], same: bool) -> None:
    run = make_plan(load_grid(), "table5", Choice(methods=("vat-shl",), columns=("sst2",), search=False)).runs[0]
    other = dataclasses.replace(run.config, **change)  # type: ignore[arg-type]
    assert differences(other, run.config) == ([] if same else list(change))
    settings = {key: value for key, value in change.items() if key not in ("output", "seed")}
    seeds = (int(change["seed"]),) if "seed" in change else (0,)  # type: ignore[call-overload]
    choice = Choice(methods=("vat-shl",), columns=("sst2",), search=False, settings=settings, seeds=seeds)
    assert (make_plan(load_grid(), "table5", choice).runs[0].folder == run.folder) is same


def test_files_of_a_grid_are_found_in_the_data_folder(tmp_path: Path, small_grid: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "train.csv").touch()
    text = small_grid.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("train = { data"))
    small_grid.write_text(
        text.replace(line, 'train = { data = "sets/train.csv", eval = "sets/none.csv", eval_on = ["imdb"] }'),
        encoding="utf-8",
    )
    config = make_plan(load_grid(small_grid), "half", Choice(data_dir=str(tmp_path))).runs[0].config
    assert config.data == str(tmp_path / "sets" / "train.csv")
    assert config.eval == "sets/none.csv"
    assert config.eval_on == ("imdb",)
    assert config.data_dir == str(tmp_path)
