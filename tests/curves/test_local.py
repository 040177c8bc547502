"""Worker processes: what they find, and what happens when one is killed, never comes to life, or is not wanted any more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_pdr.curves import local
from ssl_pdr.curves.engine import make_plan
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import Event, LocalPool
from tests.curves.conftest import Here, MakeGrid


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def cells(make_grid: MakeGrid) -> list[Cell]:
    return make_plan(make_grid(seeds=(0,))).cells


def kill_workers() -> None:
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)


def found(event: Event) -> object:
    """What a cell found, its times and threads apart."""
    assert event.outcome is not None
    return {
        name: event.outcome.get(name) for name in ("key", "status", "scores", "baseline", "log", "split_hash", "data")
    }


def test_workers_find_what_this_process_finds_whoever_is_killed_in_the_middle(cells: list[Cell]) -> None:
    expected = {event.cell.key: found(event) for event in Here().run(cells) if event.kind == "ended"}
    victim, ended, started = cells[1], {}, []
    steps: dict[str, list[tuple[int, int]]] = {cell.key: [] for cell in cells}
    for event in LocalPool(2).run(cells):
        if event.kind == "started":
            started.append(event.cell.key)
        elif event.kind == "step" and event.step is not None:
            steps[event.cell.key].append(event.step)
            if event.cell == victim and started.count(victim.key) == 1 and event.step[0] == 2:
                os.kill(pid_of(event.worker), signal.SIGKILL)
        else:
            ended[event.cell.key] = found(event)
    assert ended == expected
    assert sorted(started) == sorted([*(cell.key for cell in cells), victim.key])
    assert steps[cells[0].key] == [(1, 3), (2, 3), (3, 3)]
    assert steps[victim.key][:2] == [(1, 3), (2, 3)]
    assert steps[victim.key][-3:] == [(1, 3), (2, 3), (3, 3)]


def pid_of(worker: int) -> int:
    """Processes are numbered as they start."""
    process = sorted(multiprocessing.active_children(), key=lambda one: one.pid or 0)[worker]
    assert process.pid is not None
    return process.pid


def test_a_cell_whose_worker_dies_twice_is_recorded_and_the_others_go_on(cells: list[Cell]) -> None:
    victim, ended = cells[0], {}
    for event in LocalPool(1).run(cells[:2]):
        if event.cell == victim and event.kind == "step":
            kill_workers()
        if event.outcome is not None:
            ended[event.cell.key] = event.outcome
    assert ended[victim.key]["reason"] == "its worker process was killed by signal 9; out of memory?"
    assert [outcome["status"] for outcome in ended.values()] == ["failed", "finished"]


def test_workers_that_do_not_come_to_life_end_the_run(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a library cannot be loaded."""
    code = "import os, sys\nif '--multiprocessing-fork' in sys.orig_argv: os._exit(3)\n"
    (tmp_path / "sitecustomize.py").write_text(code, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcomes = [event.outcome for event in LocalPool(2).run(cells) if event.outcome is not None]
    assert {outcome["key"] for outcome in outcomes} == {cell.key for cell in cells}
    assert {outcome["reason"] for outcome in outcomes} == {"its worker process ended with code 3"}


def test_who_listens_no_more_has_workers_that_end_by_themselves(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, they would leave temporary files and semaphores behind."""
    monkeypatch.setattr(local, "PATIENCE", 120.0)  # whatever else the machine does
    events = LocalPool(2).run(cells)
    for event in events:
        if event.kind == "step":
            break
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    events.close()  # type: ignore[attr-defined]
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_a_worker_that_does_not_end_by_itself_is_ended(cells: list[Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PATIENCE", 0.1)
    events = LocalPool(1).run(cells)
    for event in events:
        if event.kind == "step":
            break
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    threading.Timer(0.5, os.kill, (worker.pid, signal.SIGCONT)).start()  # SIGTERM waits until then
    events.close()  # type: ignore[attr-defined]
    assert worker.exitcode == -signal.SIGTERM


@pytest.mark.parametrize(("given", "threads"), [("3", 3), ("", 1), ("0", 1), ("many", 1)])
def test_workers_share_the_cores_unless_told(given: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert LocalPool(local.cores()).threads == threads


def test_nothing_to_run_starts_nothing() -> None:
    assert list(LocalPool(2).run([])) == []
