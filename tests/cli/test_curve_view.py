"""What a terminal shows of a curve: running means, workers and time while it is made, and missing numbers as missing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ssl_pdr.cli.curve_view import CurveView, left_text, show_curve
from ssl_pdr.config import TrainConfig
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import Event
from ssl_pdr.curves.pace import Left
from ssl_pdr.curves.summary import summarise

GRID: dict[str, Any] = {
    "name": "[red]reviews\x1b[2J",
    "model": "tiny",
    "data_fingerprint": "f",
    "match": "steps",
    "select": "in_domain",
    "budgets": [0.1, 1.0],
    "methods": ["none", "vat:kl"],
    "seeds": [0, 1],
    "search": {"alpha": [1.0, 4.0]},
}


def cell(method: str, budget: float, seed: int, setting: dict[str, Any] | None = None) -> Cell:
    setting = setting or {}
    return Cell(
        f"{method} {budget} {seed} {setting}",
        budget,
        method,
        setting,
        seed,
        TrainConfig(max_steps=10, batch_size=8),
    )


def finished(of: Cell, accuracy: float | None) -> dict[str, Any]:
    return {
        **of.to_json(),
        "status": "finished",
        "scores": {"in_domain": {"accuracy": accuracy, "rows": 100}, "dev": {"accuracy": 0.5, "rows": 10}},
        "labelled": 20,
        "steps": 10,
        "rows_per_step": 8,
        "timing": {"load_seconds": 0.0, "train_seconds": 60.0, "evaluate_seconds": 0.0},
        "data": {"fingerprint": "f"},
    }


def failed(of: Cell, reason: str) -> dict[str, Any]:
    return {**of.to_json(), "status": "failed", "reason": reason}


CELLS = [
    cell(method, budget, seed, setting)
    for seed in (0, 1)
    for budget in (0.1, 1.0)
    for method, setting in (("none", None), ("vat:kl", {"alpha": 1.0}), ("vat:kl", {"alpha": 4.0}))
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "110")
    monkeypatch.setenv("LINES", "50")


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\N{NO-BREAK SPACE}", " ").replace("\r", "")


def last_frame(text: str) -> str:
    return plain(text)[plain(text).rindex("× 100, runs finished") :]


def test_the_table_shows_means_workers_and_time(terminal: None, capsys: pytest.CaptureFixture[str]) -> None:
    none, low, high, *rest = CELLS
    with CurveView(GRID, 2, enabled=True) as view:
        view.planned(CELLS, {none.key: finished(none, 0.6)})
        view.event(Event("started", 0, low))
        view.event(Event("started", 1, high))
        view.event(Event("step", 1, high, step=(4, 10)))
        view.event(Event("ended", 0, low, outcome=finished(low, 0.7)))
        view.event(Event("started", 0, rest[0]))
        view.event(Event("ended", 0, rest[0], outcome=failed(rest[0], "[bold]boom")))
        view.event(Event("started", 0, rest[1]))
    err = capsys.readouterr().err
    assert "\x1b[2J" not in err
    frame = last_frame(err)
    assert re.search(r"none +60\.0 1/2 +– 0/2 1 failed", frame)
    assert re.search(r"vat:kl +70\.0 1/4 +– 0/4 *\n", frame)
    assert "worker 0: vat:kl, alpha=1, 100 %, seed 0\n" in frame
    assert "worker 1: vat:kl, alpha=4, 10 %, seed 0, step 4 of 10\n" in frame
    # 36 s and 60 s under way, seven cells of 60 s behind them: 36 + 4 · 60 on one, 60 + 3 · 60 on the other.
    assert re.search(r"2 of 12 finished, 1 failed, 9 left, 0:00:0\d elapsed, about 5 min left", frame)
    assert "1 of 12 runs are finished already" in plain(err)
    assert "failed none, 100 %, seed 0: [bold]boom" in plain(err)
    assert [content["key"] for content in view.failed] == [rest[0].key]


def test_the_mean_is_that_of_the_best_setting_and_never_a_made_up_one(
    terminal: None, capsys: pytest.CaptureFixture[str]
) -> None:
    none, low, high = CELLS[:3]
    with CurveView(GRID, 1, enabled=True) as view:
        view.planned(CELLS, {})
        for place, score in ((low, 0.5), (CELLS[7], 0.7), (high, 0.9), (CELLS[8], 0.1), (none, float("nan"))):
            view.event(Event("started", 0, place))
            view.event(Event("ended", 0, place, outcome=finished(place, score)))
    frame = last_frame(capsys.readouterr().err)
    assert re.search(r"vat:kl +60\.0 4/4 +– 0/4", frame)
    assert re.search(r"none +– 1/2 +– 0/2", frame)


def test_where_there_is_no_terminal_each_run_that_ends_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    none, low = CELLS[:2]
    with CurveView(GRID, 1, enabled=True) as view:
        view.planned(CELLS[:2], {})
        view.event(Event("started", 0, none))
        view.event(Event("step", 0, none, step=(1, 10)))
        view.event(Event("ended", 0, none, outcome=finished(none, 0.61)))
        view.event(Event("started", 0, low))
        view.event(Event("started", 0, low))
        view.event(Event("ended", 0, low, outcome=failed(low, "out of luck")))
    assert re.sub(r"\d:\d\d:\d\d", "TIME", plain(capsys.readouterr().err)).splitlines() == [
        "none, 10 %, seed 0: in-domain accuracy 61.0 in 60 s; 1 of 2 finished, 1 left, TIME elapsed, time left not known yet",
        "warning: vat:kl, alpha=1, 10 %, seed 0: its worker died; it is tried once more",
        "failed vat:kl, alpha=1, 10 %, seed 0: out of luck",
    ]


def test_nothing_is_shown_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with CurveView(GRID, 1, enabled=False) as view:
        view.planned(CELLS[:1], {})
        view.warn("leak")
        view.event(Event("started", 0, CELLS[0]))
        view.event(Event("ended", 0, CELLS[0], outcome=failed(CELLS[0], "boom")))
    assert capsys.readouterr() == ("", "")
    assert len(view.failed) == 1


def test_the_final_tables_show_what_is_missing_as_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    scores = {0: 0.6, 6: 0.7, 1: 0.5, 2: 0.8, 7: 0.5, 8: 0.85}
    lost = failed(CELLS[3], "the [loss]\x1b[2J is NaN")
    summary = summarise(GRID, [*(finished(CELLS[place], score) for place, score in scores.items()), lost])
    show_curve(summary, [lost], "runs/[x]/report.html")
    out = plain(capsys.readouterr().out)
    assert "[red]reviews" in out
    assert "\x1b" not in out
    assert re.search(r"none +65\.0 ± 7\.1 \(2\) +– *\n", out)
    assert re.search(r"vat:kl +82\.5 ± 3\.5 \(2\) +– *\n +\+17\.5 \(\+15\.0 to \+20\.0\) *\n +alpha=4", out)
    assert re.search(r"dev, accuracy × 100", out)
    assert "20 labels" in out
    assert "failed none, 100 %, seed 0: the [loss]" in out
    assert summary["sentence"] in out
    assert "written: runs/[x]/report.html" in out


def test_time_left_is_not_promised_where_it_is_not_known() -> None:
    assert left_text(Left(20.0)) == "about 20 s left"
    assert left_text(Left(8 * 3600.0, ("vat",))) == "more than 8.0 h left"
