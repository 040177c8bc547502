"""A curve's folder: it grows, it refuses what is of another curve, and a file that is no whole cell does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.curves.store import CurveFolder, read_curve
from ssl_pdr.curves.summary import summarise
from ssl_pdr.errors import OutputError
from tests.report.curve_folder import write_curve

GRID = {
    "format": 1, "name": "mine", "budgets": [0.5, 1.0], "methods": ["none"], "seeds": [0], "search": {}, "select": "in_domain", "match": "steps",
    "batch": 8, "ratio": 1.0, "config": {"lr": 1e-3, "data": "mine.csv"}, "data_fingerprint": "abc", "model_fingerprint": "def", "model": "tiny",
}  # fmt: skip


def cell(key: str, **more: Any) -> dict[str, Any]:
    return {
        "format": 1, "key": key, "status": "failed", "reason": "why", "budget": 0.5, "method": "none", "setting": {}, "seed": 0, **more
    }  # fmt: skip


def test_a_new_folder_is_made_and_read_again(tmp_path: Path) -> None:
    folder = CurveFolder(tmp_path / "deep" / "curve")
    assert folder.begin(GRID) == GRID
    folder.write(cell("aa"))
    folder.write(cell("bb", reason="größer"))
    assert read_curve(folder.path) == (GRID, [cell("aa"), cell("bb", reason="größer")], [])
    folder.write(cell("aa", reason="another"))
    assert folder.read()[0]["aa"]["reason"] == "another"
    assert sorted(path.name for path in folder.path.rglob("*") if path.is_file()) == [
        "aa.json",
        "bb.json",
        "curve.json",
    ]


def test_a_grid_grows(tmp_path: Path) -> None:
    folder = CurveFolder(tmp_path)
    folder.begin(GRID)
    folder.begin({**GRID, "budgets": [0.1, 1.0], "seeds": [2], "methods": ["none", "vat"], "name": "renamed"})
    joined = {"budgets": [0.1, 0.5, 1.0], "seeds": [0, 2], "methods": ["none", "vat"], "name": "renamed"}
    assert read_curve(tmp_path)[0] == {**GRID, **joined}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data_fingerprint": "xyz"}, r"another data \(abc there, xyz here\)"),
        ({"model_fingerprint": "xyz"}, "another model"),
        ({"match": "epochs"}, r"another match \(steps there, epochs here\)"),
        ({"batch": 4}, "another batch"),
        ({"search": {"alpha": [1.0]}}, "another search"),
        ({"config": {"lr": 1e-4, "data": "mine.csv"}}, r"another lr \(0.001 there, 0.0001 here\)"),
        ({"config": {"lr": 1e-3, "data": "mine.csv", "align": 0.5}}, r"another align \(None there, 0.5 here\)"),
    ],
)
def test_another_curve_is_refused_and_left_as_it_is(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    folder = CurveFolder(tmp_path)
    folder.begin(GRID)
    with pytest.raises(OutputError, match=says):
        folder.begin({**GRID, **change})
    assert read_curve(tmp_path)[0] == GRID


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear", encoding="utf-8")
    with pytest.raises(OutputError, match="has files in it but is no curve"):
        CurveFolder(tmp_path).begin(GRID)
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        CurveFolder(tmp_path / "letter.txt").begin(GRID)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"format": 1, "key": "aa", "sta',
        "[1]",
        json.dumps(cell("bb")),  # of another name
        json.dumps(cell("aa", format=2)),
        json.dumps(cell("aa", status="running")),
        json.dumps({name: value for name, value in cell("aa").items() if name != "seed"}),
        json.dumps(cell("aa", status="finished", scores={})),  # and nothing else
        json.dumps(cell("aa", budget="half")),
        json.dumps(cell("aa", seed=True)),
        json.dumps(cell("aa", setting=[])),
        json.dumps(cell("aa", reason=None)),
        "[" * 100_000,
    ],
)
def test_what_is_no_whole_cell_is_said_and_does_not_count(tmp_path: Path, content: str) -> None:
    folder = CurveFolder(tmp_path)
    folder.begin(GRID)
    folder.write(cell("cc"))
    (folder.cells / "aa.json").write_text(content, encoding="utf-8")
    (folder.cells / ".dd.json.0123.tmp").write_text(
        json.dumps(cell("dd")), encoding="utf-8"
    )  # of a process that was killed
    cells, warnings = folder.read()
    assert list(cells) == ["cc"]
    assert warnings == ["aa.json is no whole run, and is ignored"]


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"in_domain": {"rows": 7}}},
        {"scores": {"in_domain": {"accuracy": "0.5"}}},
        {"scores": {"in_domain": {"accuracy": 10**400}}},
        {"log": {"step": [1], "ce": [1.0, 2.0], "r": [0.0], "r_zero_noise": [None]}},
        {"log": {"step": ["1"], "ce": [1.0], "r": [0.0], "r_zero_noise": [None]}},
        {"data": {"fingerprint": "a", "warnings": [None]}},
        {"timing": {"train_seconds": None}},
        {"baseline": {"in_domain": 0.5}},
        {"labelled": -1},
        {"versions": "1"},
    ],
)
def test_a_finished_cell_of_another_shape_does_not_count(tmp_path: Path, change: dict[str, Any]) -> None:
    whole = write_curve(tmp_path / "curve", budgets=(1.0,), methods=("none",), seeds=1)
    (file,) = (whole / "cells").iterdir()
    grid, (good,), warnings = read_curve(whole)
    assert warnings == []
    assert summarise(grid, [good])["ignored"] == 0
    file.write_text(json.dumps({**good, **change}), encoding="utf-8")
    assert read_curve(whole)[1:] == ([], [f"{file.name} is no whole run, and is ignored"])


def test_a_cell_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    folder = CurveFolder(tmp_path)
    folder.begin(GRID)
    folder.write(cell("aa"))
    with pytest.raises(TypeError):
        folder.write(cell("aa", scores=object()))
    with pytest.raises(OutputError, match="cannot write"):
        folder.write(cell("aa", reason="\ud800"))  # no UTF-8 has it
    assert folder.read() == ({"aa": cell("aa")}, [])
    assert [path.name for path in folder.cells.iterdir()] == ["aa.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "holds no curve"),
        ("{", "cannot read"),
        ("[]", "expected an object"),
        (json.dumps({**GRID, "format": 0}), "not of this version"),
        (json.dumps({"format": 1}), "not of this version"),
        (json.dumps({**GRID, "seeds": []}), "not of this version"),
        (json.dumps({**GRID, "budgets": [0.5, "1"]}), "not of this version"),
        (json.dumps({**GRID, "budgets": [10**400]}), "not of this version"),
        (json.dumps({**GRID, "search": {"alpha": 1}}), "not of this version"),
        ("[" * 100_000, "cannot read"),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / "curve.json").write_text(content, encoding="utf-8")
    with pytest.raises(OutputError, match=says) as caught:
        read_curve(tmp_path)
    assert "\n" not in str(caught.value)
