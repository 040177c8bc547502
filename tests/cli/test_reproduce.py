"""`ssl-pdr reproduce` as a person meets it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tests.cli.conftest import Run, one_line
from tests.paper.conftest import small_grid

__all__ = ["small_grid"]


def test_the_plan_of_the_paper_needs_no_data(run: Run, tmp_path: Path) -> None:
    code, out, err = run("reproduce", "table5", "--dry-run", "--output", tmp_path / "runs")
    assert (code, err) == (0, "")
    assert re.search(r"all +320 +0 +7,8\d\d,\d{3} +17,\d{3},\d{3}", out)
    code, out, _ = run("reproduce", "table5", "--dry-run", "--json", "--seeds", 0, "--seeds", 1)
    shown = json.loads(out)
    assert code == 0
    assert shown["total"]["runs"] == len(shown["runs"]) == 640
    assert list(tmp_path.iterdir()) == []


def test_a_plan_for_a_small_machine(run: Run) -> None:
    options = [
        "--model",
        "minilm-l6",
        "--subset",
        500,
        "--no-search",
        "--methods",
        "none,vat-shl",
        "--columns",
        "SST-2,imdb",
    ]
    shown = json.loads(run("reproduce", "table5", "--dry-run", "--json", *options)[1])
    steps = {(row["task"], row["method"]): row["steps"] for row in shown["groups"]}
    assert steps == {("sst2", "none"): 3 * 8, ("sst2", "vat-shl"): 3 * 16}
    assert shown["total"]["plain_steps"] == 24 + round(2.8 * 48)
    code, out, _ = run("reproduce", "table2", "--dry-run", "--model", "minilm-l6")
    assert code == 0
    assert "left out large: it is a row of another model, google-bert/bert-large-uncased" in out


def test_a_table_is_made_and_shown_beside_the_papers(run: Run, small_grid: Path, tmp_path: Path) -> None:
    options = ["--grid", small_grid, "--output", tmp_path / "runs"]
    code, out, err = run("reproduce", "table2", *options)
    assert code == 0, err
    assert re.search(r"92\.3 −\d", out)
    assert "table2.json and .md" in " ".join(out.split())
    assert "run 1 of 1" in err
    code, out, err = run("reproduce", "table2", *options, "--json")
    assert (code, err) == (0, "")
    content = json.loads(out)
    (file,) = (tmp_path / "runs").glob("*/table2.json")
    assert content == json.loads(file.read_text(encoding="utf-8"))
    assert "1 " in run("reproduce", "table2", *options, "--dry-run")[1]


def test_a_figure_is_drawn(run: Run, small_grid: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = run("reproduce", "drops", "--grid", small_grid, "--output", tmp_path / "runs")
    assert code == 0, err
    assert "Reviews → Reviews F1" in " ".join(out.split())
    (plot,) = (tmp_path / "runs").glob("*/drops.svg")
    assert plot.read_text(encoding="utf-8").startswith("<?xml")


def test_a_figure_of_one_column_has_what_it_is_compared_with(run: Run, tmp_path: Path) -> None:
    options = ["--columns", "hans", "--methods", "none", "--no-search", "--dry-run", "--json"]
    code, out, _ = run("reproduce", "figure1", "--output", tmp_path, *options)
    assert code == 0
    assert [row["task"] for row in json.loads(out)["groups"]] == ["mnli"]


def test_names_in_a_grid_can_form_no_control_sequences(run: Run, small_grid: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = small_grid.read_text(encoding="utf-8")
    for name in ('"plain"', '"Reviews"', '"Reviews F1"', '"drop"', '"half of the labels"'):
        text = text.replace(f"= {name}", f'= "\\u001B[2J\\u009B1m$x^$[b]|{name[1:]}')
    small_grid.write_text(text.replace("in_domain.macro_f1", "\\u001Bx|y.accuracy"), encoding="utf-8")
    for target in ("half", "drops"):
        options = ["--grid", small_grid, "--output", tmp_path / "runs", "--methods", "none"]
        code, out, err = run("reproduce", target, *options)
        assert code == 2  # for the score that is not there
        assert "[b]|plain" in out
        assert not {"\x1b", "\x9b"} & {*out, *err}
        (file,) = (tmp_path / "runs").glob(f"*/{target}_*.md")
        written = file.read_text(encoding="utf-8")
        assert "\x1b" not in written
        assert r"\[b\]\|plain" in written
    (plot,) = (tmp_path / "runs").glob("*/drops_*.svg")
    ElementTree.parse(plot)


def test_a_missing_column_is_one_line_and_the_rest_is_there(run: Run, small_grid: Path, tmp_path: Path) -> None:
    text = small_grid.read_text(encoding="utf-8").replace("in_domain.macro_f1", "imdb.accuracy")
    small_grid.write_text(text, encoding="utf-8")
    options = ["--grid", small_grid, "--output", tmp_path / "runs", "--methods", "none"]
    code, out, err = run("reproduce", "half", *options, "--json")
    assert code == 2
    message = one_line(err)
    assert "figures are missing in 1 column: Reviews F1: " in message
    assert "was not evaluated on imdb; its parts are in_domain" in message
    cells = json.loads(out)["rows"][0]["cells"]
    assert cells["reviews.accuracy"]["mean"] is not None
    assert cells["reviews.macro_f1"]["mean"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tabel5"], "unknown table 'tabel5'; did you mean 'table5'"),
        (["table1"], "There are: figure1, table2, table3, table4, table5"),
        (["table5", "--methods", "vatt"], "unknown method 'vatt'; did you mean 'vat'"),
        (["table5", "--columns", "hanss"], "unknown column 'hanss'; did you mean 'hans"),
        (["table5", "--set", "alpa=1"], "--set: unknown key 'alpa'; did you mean 'alpha'?"),
        (["table5", "--set", "seed=1"], "--set seed=… is --seeds here"),
        (["table5", "--set", "limit=9", "--subset", "8"], "both given"),
        (["table5", "--set", "epochs=0"], "--epochs must be a finite number above 0, got 0.0"),
        (["table5", "--subset", "0"], "'--subset'"),
        (["table5", "--grid", "nowhere.toml"], "cannot read the grid nowhere.toml"),
        (["table2", "--model", "minilm-l6", "--methods", "rdrop"], "unknown method 'rdrop'"),
    ],
)
def test_bad_options_get_one_line(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("reproduce", *arguments, "--dry-run")
    assert (code, out) == (2, "")
    assert message in one_line(err)
