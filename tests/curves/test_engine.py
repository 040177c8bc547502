"""Curves as they are made: each cell once, whatever stops them, and what was read is not read again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssl_pdr.curves.engine import Plan, Unwatched, make_curve, make_plan
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import Event, LocalPool
from ssl_pdr.curves.store import read_curve
from ssl_pdr.errors import DataError, InterruptedRunError, ModelError, OutputError, UnknownNameError
from ssl_pdr.shelf import Shelf
from tests.curves.conftest import Here, MakeGrid
from tests.test_measure import CountingShelf


class Watcher(Unwatched):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.finished: list[str] = []

    def planned(self, cells: Sequence[Cell], finished: Mapping[str, Mapping[str, Any]]) -> None:
        self.finished = sorted(finished)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in (folder / "cells").iterdir()}


@pytest.fixture
def plan(make_grid: MakeGrid) -> Plan:
    return make_plan(make_grid(seeds=(0, 1)))


def test_every_cell_is_run_once_and_written(plan: Plan, tmp_path: Path) -> None:
    pool = Here()
    summary = make_curve(plan, tmp_path, pool)
    assert pool.ran == [cell.key for cell in plan.cells]
    assert len(pool.ran) == 2 * 2 * 2
    grid, cells, warnings = read_curve(tmp_path)
    assert (grid, warnings) == (plan.grid, [])
    assert {cell["key"] for cell in cells} == set(pool.ran)
    assert {cell["status"] for cell in cells} == {"finished"}
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8")) == json.loads(json.dumps(summary))
    for cell in cells:
        assert ("baseline" in cell) == (cell["method"] == "none")
        assert cell["steps"] == 3
        assert cell["data"]["fingerprint"] == grid["data_fingerprint"]
        assert (cell["labelled"], cell["labelled"] + cell["unlabelled"]) == (16 if cell["budget"] == 0.25 else 64, 64)
    assert str(tmp_path.parent.parent) not in json.dumps([grid, cells])  # no place of this machine


def test_a_second_time_runs_nothing_and_a_larger_grid_what_is_new(make_grid: MakeGrid, tmp_path: Path) -> None:
    first = Here()
    make_curve(make_plan(make_grid()), tmp_path, first)
    before = contents(tmp_path)
    again, watcher = Here(), Watcher()
    make_curve(make_plan(make_grid()), tmp_path, again, watcher)
    assert again.ran == []
    assert watcher.finished == sorted(first.ran)
    assert contents(tmp_path) == before
    larger = Here()
    make_curve(make_plan(make_grid(budgets=(0.25, 0.5), methods=("none", "vat:kl"), seeds=(0, 1))), tmp_path, larger)
    assert len(larger.ran) == 2 * 2 * 2 - 1  # `none` of seed 0 at 0.25 is there
    assert not set(larger.ran) & set(first.ran)
    assert read_curve(tmp_path)[0]["methods"] == ["none", "rdrop:kl", "vat:kl"]


def test_a_cell_that_fails_says_why_and_is_tried_again(make_grid: MakeGrid, tmp_path: Path) -> None:
    plan = make_plan(make_grid(methods=("rdrop:kl,lr=1e30", "none"), budgets=(0.25,), steps=12))
    for _ in range(2):
        pool = Here()
        make_curve(plan, tmp_path, pool)
        failed, finished = sorted(read_curve(tmp_path)[1], key=lambda cell: str(cell["status"]))
        assert (failed["status"], finished["status"]) == ("failed", "finished")
        assert "finite" in failed["reason"] or "infinite" in failed["reason"]
        assert "\n" not in failed["reason"]
        assert pool.ran[0] == failed["key"]
    assert pool.ran == [failed["key"]]


def test_half_a_cell_is_told_and_run_again(plan: Plan, tmp_path: Path) -> None:
    make_curve(plan, tmp_path, Here())
    whole = contents(tmp_path)
    key = plan.cells[3].key
    (tmp_path / "cells" / f"{key}.json").write_text(whole[key][:100], encoding="utf-8")
    pool, watcher = Here(), Watcher()
    make_curve(plan, tmp_path, pool, watcher)
    assert pool.ran == [key]
    assert watcher.warnings == [f"{key}.json is no whole run, and is ignored"]
    for name in ("scores", "log", "config"):
        assert json.loads(contents(tmp_path)[key])[name] == json.loads(whole[key])[name]


def test_a_worker_reads_once_what_its_cells_share(plan: Plan) -> None:
    pool = Here()
    pool.worker.shelf = shelf = CountingShelf()
    assert {event.outcome["status"] for event in pool.run(plan.cells) if event.outcome} == {"finished"}
    assert shelf.made == Counter(
        # Once for each seed, which holds other rows out and draws another head.
        {"corpus": 2, "corpora": 2, "sets": 2, "evaluated": 2, "model": 2, "tokenizer": 1}
        # All training rows, and for `none` at the small budget its labelled ones alone.
        | {"features": shelf.made["features"]}
    )
    assert shelf.made["features"] <= 2 * 3


def test_a_plan_reads_the_data_of_a_seed_once_and_the_model_once(make_grid: MakeGrid) -> None:
    shelf = CountingShelf()
    make_plan(make_grid(seeds=(0, 1), budgets=(0.25, 0.5, 1.0)), shelf)
    make_plan(make_grid(seeds=(0, 1), methods=("none", "vat")), shelf)
    assert shelf.made == {"corpus": 2, "corpora": 2, "parts": 1, "weights": 1}


def test_what_cannot_be_planned_is_one_line(make_grid: MakeGrid, tmp_path: Path) -> None:
    for grid, error in (
        (make_grid(base={"data": str(tmp_path / "nothing.csv")}), DataError),
        (make_grid(base={"model": str(tmp_path)}), ModelError),
        (make_grid(budgets=(0.001, 1.0)), DataError),
        (make_grid(select="in-domain"), UnknownNameError),
        (make_grid(test="dev"), UnknownNameError),
    ):
        with pytest.raises(error) as caught:
            make_plan(grid, Shelf())
        assert "\n" not in str(caught.value)


def test_the_folder_of_another_curve_is_left_alone(plan: Plan, make_grid: MakeGrid, tmp_path: Path) -> None:
    make_curve(plan, tmp_path, Here())
    before = contents(tmp_path)
    pool = Here()
    with pytest.raises(OutputError, match="another batch"):
        make_curve(make_plan(make_grid(batch=8)), tmp_path, pool)
    assert pool.ran == []
    assert contents(tmp_path) == before


def test_ctrl_c_keeps_what_is_finished_and_leaves_no_process(ctrl_c: None, plan: Plan, tmp_path: Path) -> None:
    class Impatient(Watcher):
        def event(self, event: Event) -> None:
            if event.kind == "step" and event.cell == plan.cells[1]:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match=r"stopped, 1 of 8 runs are finished; the same command goes on"):
        make_curve(plan, tmp_path, LocalPool(1), Impatient())
    assert multiprocessing.active_children() == []
    assert list(contents(tmp_path)) == [plan.cells[0].key]
    pool = Here()
    make_curve(plan, tmp_path, pool)
    assert pool.ran == [cell.key for cell in plan.cells[1:]]


SCRIPT = """
import json, sys
from pathlib import Path
from ssl_pdr.curves.engine import make_curve, make_plan
from ssl_pdr.curves.grid import Grid
from ssl_pdr.curves.local import LocalPool
if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    grid = Grid(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
    make_curve(make_plan(grid), Path(sys.argv[2]), LocalPool(1))
"""


def test_a_curve_that_is_killed_goes_on_as_if_it_had_not_been(make_grid: MakeGrid, tmp_path: Path) -> None:
    """And its worker ends by itself."""
    grid = make_grid(budgets=(0.25,), methods=("none", "rdrop:kl", "vat:kl"))
    names = ("base", "budgets", "methods", "seeds", "batch", "steps")
    options = json.dumps({name: getattr(grid, name) for name in names})
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen([sys.executable, str(script), options, str(killed)], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: any(killed.glob("cells/*.json")))
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    psutil.wait_procs(workers, timeout=30)
    assert [worker for worker in workers if worker.is_running()] == []
    kept = contents(killed)
    assert 1 <= len(kept) < 3
    plan, pool = make_plan(grid), Here()
    make_curve(plan, killed, pool)
    assert pool.ran == [cell.key for cell in plan.cells if cell.key not in kept]
    make_curve(plan, whole, Here())
    one, other = (
        {key: {name: json.loads(text)[name] for name in ("scores", "log", "split_hash")} for key, text in found.items()}
        for found in (contents(killed), contents(whole))
    )
    assert one == other


def wait_for(there: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)
