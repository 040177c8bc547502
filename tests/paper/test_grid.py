"""The grid of the paper says what the paper says, and a broken grid is one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ssl_pdr.config import make_config
from ssl_pdr.errors import ConfigError, UnknownNameError
from ssl_pdr.paper.figures import paper_tables
from ssl_pdr.paper.grid import load_grid, paper_grid
from ssl_pdr.recipe import load_recipe


def test_rows_and_columns_are_those_of_the_paper() -> None:
    grid = load_grid()
    assert set(grid.tables) == set(paper_tables())
    for name, table in grid.tables.items():
        paper = paper_tables()[name]
        assert [method for method in table.methods if method != "at"] == list(paper.rows)
        keys = [column.key for column in table.columns if "ours" not in column.name]
        assert keys == [key for key in paper.rows["none"] if key != "gain"]
        assert table.gain == paper.gain


def test_the_search_is_the_papers() -> None:
    grid = load_grid()
    for name, task in grid.tasks.items():
        rates = (3e-5, 4e-5) if name.startswith("squad") else (2e-5, 3e-5)
        assert task.search == {"lr": rates, "epochs": (2.0, 3.0, 4.0, 5.0)}
        assert task.train["lr"] in rates
    assert grid.methods["jr"].search == {"alpha": (0.001, 0.01, 0.1)}
    for name, method in grid.methods.items():
        if name.startswith(("rpt", "vat")):
            assert method.search == {"alpha": (1.0, 4.0, 10.0)}
            assert method.train == dict(zip(("reg", "div"), name.split("-"), strict=True))
    assert grid.tables["table5"].train == {"labelled_frac": 0.5}


@pytest.mark.parametrize("name", ["sst2", "mnli", "squad", "squad_v2"])
def test_recipes_and_grid_agree(name: str) -> None:
    grid = load_grid()
    recipe = make_config(load_recipe(paper_grid().with_name(f"{name}.toml"))).resolved()
    described = make_config(grid.base, grid.tasks[name].train, grid.methods["vat-shl"].train).resolved()
    ours = {"labelled_frac", "output"}
    assert {key: value for key, value in vars(recipe).items() if key not in ours} == {
        key: value for key, value in vars(described).items() if key not in ours
    }
    assert (recipe.warmup_frac, recipe.weight_decay, recipe.batch_size, recipe.radius) == (0.1, 0.01, 32, 1e-3)
    assert (recipe.max_length, recipe.stride) == ((384, 128) if name.startswith("squad") else (128, None))


def test_recipe_headers_quote_the_paper() -> None:
    tables = paper_tables()
    for name, figures in {
        "sst2": [("table5", "sst2.accuracy"), ("table5", "imdb.accuracy"), ("table2", "sst2.accuracy")],
        "mnli": [("table5", "mnli.accuracy"), ("table5", "hans.accuracy"), ("table4", "hans.accuracy")],
        "squad": [("table2", "squad.f1"), ("table4", "addsent.f1"), ("table4", "addonesent.exact")],
        "squad_v2": [("table2", "squad_v2.f1"), ("table3", "bioasq.f1"), ("table3", "bioasq.exact")],
    }.items():
        head = paper_grid().with_name(f"{name}.toml").read_text(encoding="utf-8").split("\n\n")[0]
        for table, column in figures:
            assert f"{tables[table].rows['vat-shl'][column] / 100:.3f}" in head


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("rows = 64", "row = 64"), "tasks.reviews: unknown key 'row'; did you mean 'rows'?"),
        (("rows = 64", "rows = 0"), "tasks.reviews.rows: expected a whole number above 0, got 0"),
        (('reg = "rpt"', 'regg = "rpt"'), "methods.rpt.train: unknown key 'regg'; did you mean 'reg'?"),
        (("epochs = 1", 'epochs = "one"'), "base: epochs must be a number, got 'one'"),
        (("epochs = 1", "seed = 1"), "base: 'seed' is not for a grid"),
        (("alpha = [1, 2.0]", "alpha = 1"), "methods.rpt.search: expected a list of values"),
        (("alpha = [1, 2.0]", 'alpha = [1, "x"]'), "methods.rpt.search: alpha must be a number, got 'x'"),
        (('methods = ["none", "rpt"]', 'methods = ["none", "rtp"]'), "unknown method 'rtp'; did you mean 'rpt'?"),
        (('methods = ["none", "rpt"]', 'methods = ["none", "none"]'), "tables.half.methods: a name stands there twice"),
        (('gain = ["reviews.accuracy"]', 'gain = ["review.accuracy"]'), "unknown column 'review.accuracy'"),
        (('score = "in_domain.macro_f1"', 'score = "macro_f1"'), "expected a score as 'part.metric', got 'macro_f1'"),
        (('name = "Reviews F1", ', ""), "tables.half.columns: the key 'name' is missing"),
        (('pairs = [["reviews.accuracy", "reviews.macro_f1"]]', 'pairs = [["reviews.accuracy"]]'), "expected pairs"),
        (("[figures.drops]", "[figures.half]"), "figures.half: a table has that name"),
        (("[figures.drops]", "[figure.drops]"), "the grid: unknown key 'figure'; did you mean 'figures'?"),
        (("cost = 2", "cost = -2"), "methods.rpt.cost: expected a number above 0, got -2"),
        (("[base]", "[base"), "is not valid TOML"),
    ],
)
def test_a_broken_grid_is_one_line(small_grid: Path, change: tuple[str, str], message: str) -> None:
    text = small_grid.read_text(encoding="utf-8")
    assert text.count(change[0]) == 1, change
    small_grid.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load_grid(small_grid)
    assert "\n" not in str(caught.value)
    assert str(small_grid) in str(caught.value)


@pytest.mark.parametrize("name", ["../../x", "/abs", "..", ".x", "a/b", "a\\u0000b", "n" * 101])
def test_a_task_whose_runs_would_lie_elsewhere_is_refused(small_grid: Path, name: str) -> None:
    text = small_grid.read_text(encoding="utf-8").replace("[tasks.reviews]", f'[tasks."{name}"]')
    small_grid.write_text(text.replace('task = "reviews"', f'task = "{name}"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="expected at most 100 letters, digits"):
        load_grid(small_grid)


def test_a_grid_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the grid nowhere\.toml: No such file"):
        load_grid("nowhere.toml")


def test_an_unknown_table_lists_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="unknown table 'tabel5'; did you mean 'table5'"):
        load_grid().check_target("tabel5")


def test_the_suite_of_the_benchmarks_is_a_grid_of_the_papers_columns() -> None:
    grid = load_grid(paper_grid().parents[1] / "benchmarks" / "paper_suite" / "suite.toml")
    columns = {column.key for column in grid.tables["suite"].columns}
    papers = {key for name in ("table2", "table3", "table4") for key in paper_tables()[name].rows["none"]}
    assert papers - columns == {"bioasq.f1", "bioasq.exact", "gain"}  # BioASQ is not among the benchmarks' files
    assert {"none", "rpt-shl", "vat-shl"} == set(grid.tables["suite"].methods)
    assert set(grid.tables["half"].methods) <= set(paper_tables()["table5"].rows)
