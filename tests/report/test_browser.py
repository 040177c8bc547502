"""The page in a real browser: drawn, quiet, usable by pointer, touch and keys, on a desk and on a phone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_pdr.report.curve_report import Report
from tests.report.browser import PROGRAM, Browser, browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs a Chromium: apt-get install chromium")

DRAWN = "Object.fromEntries([...document.querySelectorAll('[data-plot]')].map(p => [p.dataset.plot, +p.dataset.drawn]))"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
TIP = "(t => t.hidden ? '' : t.innerText)(document.querySelector('[data-plot=scores] .tip'))"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where screenshots are kept for whoever wants to look at them."""
    folder = Path(os.environ.get("SSL_PDR_ARTEFACTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def draws(tab: Browser, plot: str) -> int:
    found = tab.ask(DRAWN)[plot]
    assert isinstance(found, int)
    return found


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_every_plot_is_drawn_and_nothing_complains(
    tab: Browser, report: Report, pictures: Path, width: int, dark: bool
) -> None:
    tab.open(report.page, width=width, dark=dark)
    tab.screenshot(pictures / f"curve_{width}_{'dark' if dark else 'light'}.png")
    # Four methods at three budgets; three are compared with plain training; 50 logged steps, one in eight with a zero.
    assert tab.ask(DRAWN) == {"scores": 12, "differences": 9, "ce": 200, "r": 150, "share": 14}
    assert tab.ask("innerWidth") == width
    assert tab.ask(TOO_WIDE) <= 0
    assert tab.complaints == []
    ground = "rgb(15, 20, 25)" if dark else "rgb(246, 247, 249)"
    assert tab.ask("getComputedStyle(document.body).backgroundColor") == ground


@pytest.mark.parametrize("width", [1200, 360])
def test_no_text_of_the_data_runs(tab: Browser, hostile: Report, pictures: Path, width: int) -> None:
    tab.open(hostile.page, width=width)
    tab.screenshot(pictures / f"hostile_{width}.png")
    assert tab.ask("document.title") != "broken"
    assert tab.ask("document.images.length") == 0
    assert tab.ask(TOO_WIDE) <= 0
    assert draws(tab, "scores") == 6
    assert tab.complaints == []


@pytest.mark.parametrize("width", [1200, 360])
def test_one_budget_and_many_methods(tab: Browser, single: Report, pictures: Path, width: int) -> None:
    tab.open(single.page, width=width)
    tab.screenshot(pictures / f"single_{width}.png")
    assert draws(tab, "scores") == 23
    places = tab.ask("[...document.querySelectorAll('[data-plot=scores] .mark')].map(m => m.getBoundingClientRect().x)")
    assert len(set(places)) == 23
    assert tab.ask(TOO_WIDE) <= 0
    assert tab.complaints == []


def test_a_part_is_chosen_everywhere_at_once(tab: Browser, report: Report) -> None:
    tab.open(report.page)
    line = "document.querySelector('[data-plot=differences] .series .line').getAttribute('d')"
    before = tab.ask(line)
    tab.ask("document.querySelectorAll('#curve [data-choice=part] input')[2].click()")
    assert tab.ask(line) != before
    chosen = "[...document.querySelectorAll('[data-choice=part] input:checked')].map(i => i.value)"
    assert tab.ask(chosen) == ["imdb"] * 4
    shown = "[...document.querySelectorAll('tbody[data-part]')].filter(t => t.offsetHeight).map(t => t.dataset.part)"
    assert tab.ask(shown) == ["imdb"] * 5


def test_a_method_goes_and_comes_again_by_keyboard(tab: Browser, report: Report) -> None:
    tab.open(report.page)
    tab.ask("document.querySelector('#curve .legend [data-toggle=\"vat:kl\"]').focus()")
    tab.press(" ")
    assert (draws(tab, "scores"), draws(tab, "ce")) == (9, 150)
    tab.press(" ")  # it has kept the focus
    assert draws(tab, "scores") == 12
    tab.ask("document.querySelector('#curve .legend [data-toggle=tfidf]').click()")
    assert draws(tab, "scores") == 15


def test_arrow_keys_tell_of_each_point(tab: Browser, report: Report, pictures: Path) -> None:
    tab.open(report.page)
    tab.ask("document.querySelector('[data-plot=scores] svg').focus()")
    tab.press("ArrowRight", "ArrowDown", "ArrowDown")
    told = tab.ask(TIP).splitlines()
    assert told[:2] == ["vat:kl", "10\N{NO-BREAK SPACE}%, 200 labels"]
    assert told[3].startswith("95\N{NO-BREAK SPACE}% interval")
    assert tab.ask("document.querySelector('[data-plot=scores] .spoken').textContent").startswith("vat:kl: 10")
    tab.screenshot(pictures / "tip.png", whole=False)
    tab.press("Escape")
    assert tab.ask(TIP) == ""


def test_a_tap_tells_of_a_point(tab: Browser, report: Report, pictures: Path) -> None:
    tab.open(report.page, width=360, height=740)
    tab.tap("[data-plot=scores] .mark.c1")
    assert tab.ask(TIP).startswith("rdrop:kl")
    tab.screenshot(pictures / "tip_phone.png", whole=False)
    assert tab.ask(TOO_WIDE) <= 0


def test_intervals_and_seeds_are_shown_on_demand(tab: Browser, report: Report) -> None:
    tab.open(report.page)
    count = "['bar', 'seed'].map(c => document.querySelectorAll(`[data-plot=scores] .${c}`).length)"
    assert tab.ask(count) == [12, 0]
    for option in ("intervals", "seeds"):
        tab.ask(f"document.querySelector('[data-option={option}]').click()")
    assert tab.ask(count) == [0, 58]  # two runs of sixty are not there


def test_another_budget_and_seed_are_trained_otherwise(tab: Browser, report: Report) -> None:
    tab.open(report.page)
    line = "document.querySelector('[data-plot=ce] .line').getAttribute('d')"
    seen = {tab.ask(line)}
    for choice in ("budget", "seed"):
        select = f"document.querySelector('select[data-choice={choice}]')"
        tab.ask(f"({select}.selectedIndex = 1, {select}.dispatchEvent(new Event('change', {{bubbles: true}})))")
        seen.add(tab.ask(line))
    assert len(seen) == 3


def test_a_page_that_becomes_narrower_is_drawn_anew(tab: Browser, report: Report) -> None:
    tab.open(report.page)
    tab.resize(400, 800)
    width = "document.querySelector('[data-plot=scores] svg').viewBox.baseVal.width"
    assert tab.ask(f"new Promise(done => requestAnimationFrame(() => setTimeout(() => done({width}), 50)))") < 400
    assert tab.ask(TOO_WIDE) <= 0


def test_the_page_prints(tab: Browser, report: Report, pictures: Path) -> None:
    tab.open(report.page, dark=True)
    tab.print(pictures / "curve.pdf")
    assert (pictures / "curve.pdf").read_bytes().startswith(b"%PDF")
    tab.show_as("print")
    assert tab.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.ask("[...document.querySelectorAll('tbody[data-part]')].every(t => t.offsetHeight)")
