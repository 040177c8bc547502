"""`ssl-pdr report`: what it prints, and what it says of a folder that it cannot use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssl_pdr.cli.report import report_command
from ssl_pdr.errors import OutputError
from tests.report.curve_folder import write_curve


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_curve(tmp_path / "curve", seeds=2)


def test_it_says_what_the_curve_says_and_where_the_files_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    report_command(folder)
    sentence, *paths = capsys.readouterr().out.splitlines()
    assert "10 % of the labels were worth" in sentence
    names = ["report.html", "curve.svg", "curve.png", "points.csv", "differences.csv"]
    assert paths == [str(folder / name) for name in names]
    assert all(Path(path).stat().st_size for path in paths)


def test_json_is_one_object_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cells" / "half.json").write_text("{", encoding="utf-8")
    report_command(folder, output=folder / "index.html", as_json=True)
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert content["page"] == str(folder / "index.html")
    assert len(content["tables"]) == 2
    assert "half.json" in content["warnings"][0]
    assert captured.err == ""


def test_a_warning_stands_on_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cells" / "half.json").write_text("{", encoding="utf-8")
    report_command(folder)
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: half.json")
    assert "half" not in captured.out


def test_a_folder_without_a_curve_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no curve"):
        report_command(tmp_path)
