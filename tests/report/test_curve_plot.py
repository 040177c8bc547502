"""The figure of a curve: drawn from the numbers, the same each time, and nothing in it that is no score."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ssl_pdr.curves.store import read_curve
from ssl_pdr.curves.summary import summarise
from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.report.curve_plot import draw_curve
from ssl_pdr.report.curve_report import Report
from ssl_pdr.report.curve_style import COLOURS

pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="session")
def summary(report: Report) -> dict[str, Any]:
    return summarise(*read_curve(report.page.parent)[:2])


def marks(path: Path, colour: str, panels: str = r"\d+") -> list[float]:
    """Where the markers of a colour stand from left to right, in all panels or in one; the legend apart."""
    groups = ElementTree.parse(path).iter(f"{SVG}g")
    chosen = [group for group in groups if re.fullmatch(f"axes_{panels}", group.get("id", ""))]
    uses = [use for group in chosen for use in group.iter(f"{SVG}use")]
    # Only markers have a white edge; the ends of intervals are drawn the same way otherwise.
    look = f"fill: {colour}; stroke: #ffffff"
    return [float(use.get("x", "nan")) for use in uses if look in use.get("style", "")]


def test_every_score_has_a_mark(report: Report) -> None:
    svg, png = report.figures
    assert [len(marks(svg, light)) for light, _ in COLOURS[:4]] == [9, 9, 9, 9]
    assert png.read_bytes().startswith(b"\x89PNG")


def test_what_has_no_score_has_no_mark(summary: dict[str, Any], tmp_path: Path) -> None:
    points = [
        {**p, "mean": None, "low": None, "high": None} if (p["method"], p["budget"]) == ("vat:kl", 0.5) else p
        for p in summary["points"]
    ]
    draw_curve({**summary, "points": points}, tmp_path / "curve.svg")
    assert len(marks(tmp_path / "curve.svg", COLOURS[2][0])) == 6


def test_a_curve_without_a_score_has_a_figure(summary: dict[str, Any], tmp_path: Path) -> None:
    draw_curve({**summary, "points": [], "metric": {}}, tmp_path / "curve.svg")
    assert marks(tmp_path / "curve.svg", COLOURS[0][0]) == []


def test_the_title_says_how_many_seeds_there_are(summary: dict[str, Any], tmp_path: Path) -> None:
    for n, said in (((5, 5), "mean of 5 seeds"), ((1, 1), "mean of 1 seed,"), ((3, 5), "mean of 3 to 5 seeds")):
        points = [{**p, "n": n[i % 2]} for i, p in enumerate(summary["points"])]
        draw_curve({**summary, "points": points}, tmp_path / "curve.svg")
        assert said in (tmp_path / "curve.svg").read_text(encoding="utf-8")


def test_many_methods_at_one_budget_stand_beside_each_other(single: Report) -> None:
    places = [place for light, _ in COLOURS for place in marks(single.figures[0], light, "1")]
    assert len(places) == len(set(places)) == 23


def test_names_are_drawn_as_they_are(hostile: Report) -> None:
    svg = hostile.figures[0]
    ElementTree.parse(svg)
    assert len(marks(svg, COLOURS[1][0])) == 6


def test_a_dollar_sign_is_no_mathematics(summary: dict[str, Any], tmp_path: Path) -> None:
    draw_curve({**summary, "name": r"$\frac{$"}, tmp_path / "curve.svg")


def test_the_figure_has_no_date(report: Report) -> None:
    assert "<dc:date>" not in report.figures[0].read_text(encoding="utf-8")


def test_what_cannot_be_written_is_an_error_in_one_line(summary: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw a plot as 'curve.txt'"):
        draw_curve(summary, tmp_path / "curve.txt")
    with pytest.raises(OutputError, match=r"cannot write .*choose another place"):
        draw_curve(summary, tmp_path / "nowhere" / "curve.svg")
