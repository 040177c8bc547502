"""The page of a curve: whole, honest about what is missing, and safe whatever the data are called."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.curves.store import read_curve
from ssl_pdr.curves.summary import summarise
from ssl_pdr.errors import OutputError
from ssl_pdr.printing import one_line
from ssl_pdr.report.curve_data import page_data
from ssl_pdr.report.curve_page import render_page
from ssl_pdr.report.curve_report import Report, write_report
from ssl_pdr.report.curve_style import COLOURS, DASHES, MARKERS, percent, styles_of
from tests.report.curve_folder import HOSTILE, write_curve

VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """The elements of a page, and whether they are nested as they should be."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def data(self) -> Any:
        scripts = re.findall(r'<script type="application/json" id="data">(.*?)</script>', self.text, re.DOTALL)
        assert len(scripts) == 1
        return json.loads(scripts[0])


@pytest.fixture(scope="session")
def page(report: Report) -> Page:
    return Page(report.page)


def test_the_page_needs_nothing_else(page: Page) -> None:
    places = [attributes.get(name) or "" for _, attributes in page.elements for name in ("src", "href", "action")]
    assert all(place.startswith(("#", "data:")) for place in places if place)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page.text)
    assert len(page.text) < 400_000


def test_the_policy_names_the_script_and_the_style_that_are_there(page: Page) -> None:
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not any(name == "style" or name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_page_is_in_order(page: Page) -> None:
    assert page.all("html") == [{"lang": "en"}]
    assert page.texts["title"] == ["SST-2: label-budget curve"]
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in page.all("a")} <= {f"#{name}" for name in ids}
    assert all(a["aria-labelledby"] in ids for a in page.all("section"))
    assert len(page.all("table")) == len(page.all("caption")) == 6


def test_the_page_shows_what_the_summary_says(report: Report, page: Page) -> None:
    summary = summarise(*read_curve(report.page.parent)[:2])
    assert summary["sentence"] in page.texts["p"]
    for point in summary["points"]:
        assert percent(point["mean"]) in page.text
    shown = {(p["part"], p["method"], p["x"]): p["y"] for p in page.data["points"]}
    assert shown == {(p["part"], p["method"], p["budget"]): pytest.approx(100 * p["mean"]) for p in summary["points"]}
    assert [run["method"] for run in page.data["runs"]].count("vat:kl") == 15


def test_what_failed_or_is_missing_is_said(page: Page) -> None:
    items = "\n".join(page.texts["li"])
    assert "vat:shl at 50\N{NO-BREAK SPACE}%, seed 3 failed: out of memory" in items
    assert "Not run yet: rdrop:kl (1)" in items
    assert "seed 4 not run" in items
    assert "not corrected for being many" in items
    assert "failed: out of memory" in page.texts["span"]


def test_a_missing_number_is_a_dash_with_a_reason_never_zero(tmp_path: Path) -> None:
    missing = [("vat:kl", 0.1, seed) for seed in range(2)]
    folder = write_curve(tmp_path / "curve", seeds=2, methods=("none", "vat:kl"), missing=missing)
    write_report(folder)
    shown = Page(folder / "report.html")
    points = {(p["part"], p["method"], p["x"]): p["y"] for p in shown.data["points"]}
    assert points["in_domain", "vat:kl", 0.1] is None
    assert re.search(r'data-method="vat:kl">vat:kl</span></th><td>–<sup>1</sup></td>', shown.text)
    assert "seed 0, 1 not run" in shown.texts["li"]
    with (folder / "points.csv").open(encoding="utf-8") as file:
        row = next(r for r in csv.DictReader(file) if (r["method"], r["budget"]) == ("vat:kl", "0.1"))
    assert (row["n"], row["mean"], row["low"], row["seed_0"]) == ("0", "", "", "")


def test_no_text_becomes_markup(hostile: Report) -> None:
    shown = Page(hostile.page)
    assert "img" not in [tag for tag, _ in shown.elements]
    assert len(shown.all("script")) == 2
    assert shown.data["methods"][1]["name"] == one_line(HOSTILE)
    assert any(one_line(HOSTILE) in attributes.get("data-method", "") for attributes in shown.all("span"))
    for tag in ("title", "h1", "li", "dd", "span"):
        assert any(one_line(HOSTILE) in text for text in shown.texts[tag]), tag


def test_text_that_no_encoding_has_does_not_stop_the_report(tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve", seeds=1, words="half a pair: \ud800")
    assert "half a pair:  " in write_report(folder).page.read_text(encoding="utf-8")


def test_a_number_that_is_none_is_no_json_of_the_page(tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve", seeds=1, methods=("none",))
    grid, cells, _ = read_curve(folder)
    cells[0]["log"]["ce"][0] = float("nan")
    data = page_data(summarise(grid, cells), cells)
    assert [run["ce"][0] for run in data["runs"]].count(None) == 1
    json.dumps(data, allow_nan=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 1}, "One seed only"),
        ({"seeds": 3}, "3 at the fewest"),
        ({"search": {"alpha": [1.0, 4.0]}, "seeds": 2}, "Settings were searched (alpha) and chosen on in-domain"),
        ({"words": "leak: 1"}, "leak: 1"),
    ],
)
def test_the_limits_of_a_result_are_said(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    write_report(write_curve(tmp_path / "curve", **options))
    assert any(said in item for item in Page(tmp_path / "curve" / "report.html").texts["li"])


def test_runs_of_different_places_are_told(tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve", seeds=1)
    path = next((folder / "cells").iterdir())
    cell = json.loads(path.read_text(encoding="utf-8"))
    cell["versions"]["torch"], cell["machine"]["cpus"] = "another", 64
    path.write_text(json.dumps(cell), encoding="utf-8")
    items = Page(write_report(folder).page).texts["li"]
    assert "The runs are of 2 different sets of package versions." in items
    assert "The runs are of 2 different machines: their times do not compare." in items


def test_a_curve_that_has_just_begun_has_a_report(tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve")
    grid = read_curve(folder)[0]
    text = render_page(grid, [], summarise(grid, []))
    assert "No run is finished: there are no scores yet." in text
    assert "<td>0" not in text


def test_files_that_are_no_cells_are_ignored_with_a_warning(tmp_path: Path) -> None:
    folder = write_curve(tmp_path / "curve", seeds=1)
    (folder / "cells" / "half.json").write_text('{"format": 1, "key": "ha', encoding="utf-8")
    report = write_report(folder)
    assert any("half.json" in warning for warning in report.warnings)
    assert any("half.json" in item for item in Page(report.page).texts["li"])


def test_without_matplotlib_there_is_a_page_and_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    report = write_report(write_curve(tmp_path / "curve", seeds=1))
    assert report.figures == ()
    assert report.warnings == ("plots need matplotlib; run: pip install 'ssl-pdr[embedded]'",)
    assert Page(report.page).data["points"]


def test_the_page_can_go_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = write_curve(tmp_path / "curve", seeds=1)
    report = write_report(folder, tmp_path / "site" / "index.html")
    assert report.page.is_file()
    assert not (folder / "report.html").exists()
    assert sorted(path.name for path in folder.glob("*.*")) == [
        "curve.json",
        "curve.png",
        "curve.svg",
        "differences.csv",
        "points.csv",
    ]
    with pytest.raises(OutputError, match=r"is a folder; expected a file for the page"):
        write_report(folder, tmp_path)
    with pytest.raises(OutputError, match=r"holds no curve"):
        write_report(tmp_path / "nowhere")


def test_the_same_folder_makes_the_same_report(report: Report) -> None:
    paths = (report.page, *report.figures, *report.tables)
    before = [path.read_bytes() for path in paths]
    write_report(report.page.parent)
    assert [path.read_bytes() for path in paths] == before


def test_differences_are_a_table_of_fractions(report: Report) -> None:
    summary = summarise(*read_curve(report.page.parent)[:2])
    with report.tables[1].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == [d["mean"] for d in summary["differences"]]
    assert {row["against"] for row in rows} == {"none", "rdrop"}


def test_two_methods_never_look_alike() -> None:
    styles = list(styles_of(["none", *(f"vat,alpha={number}" for number in range(24)), "tfidf"]).values())
    assert len({(style.colour, style.marker, style.dash) for style in styles}) == len(styles)
    assert len({style.marker for style in styles[:8]}) == 8
    assert len(MARKERS) == len({marker for marker, _ in MARKERS})
    assert len(DASHES) == len(set(DASHES))


@pytest.mark.parametrize(("ground", "behind"), [(0, "#ffffff"), (1, "#171d24")])
def test_lines_stand_out_from_the_ground(ground: int, behind: str) -> None:
    for pair in COLOURS:
        assert contrast(pair[ground], behind) >= 3


def test_text_stands_out_from_the_ground() -> None:
    css = (Path(__file__).parents[2] / "ssl_pdr" / "report" / "curve_page.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?--accent.*?)\}", css, re.DOTALL):
        colours = {name: _long(value) for name, value in re.findall(r"--([\w-]+): (#\w+);", block)}
        pairs = [(ink, ground) for ink in ("ink", "soft", "accent", "bad") for ground in ("ground", "card")]
        for ink, ground in [*pairs, ("accent", "accent-ground"), ("tip-ink", "tip")]:
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours as WCAG 2 defines it."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _long(colour: str) -> str:
    return colour if len(colour) == 7 else "#" + "".join(2 * c for c in colour[1:])
