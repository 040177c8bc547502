"""A Ray cluster finds what this process finds, whoever is killed in the middle."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

import psutil
import pytest

from ssl_pdr.curves.engine import make_plan
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import Event
from ssl_pdr.curves.on_ray import RayPool
from ssl_pdr.errors import ConfigError
from tests.curves.conftest import Here, MakeGrid
from tests.curves.test_engine import wait_for
from tests.curves.test_local import found


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two cores of this machine, without a dashboard."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'ssl-pdr[ray]'")
    RayPool(1)  # turns reports of usage off, which Ray reads as it starts
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    ray.init(num_cpus=2, _node_ip_address="127.0.0.1", **options)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def cells(make_grid: MakeGrid) -> list[Cell]:
    return make_plan(make_grid(seeds=(0,), steps=30)).cells


def at_work() -> list[psutil.Process]:
    """Processes that run a cell; Ray names them by what they do."""
    return [one for one in psutil.Process().children(recursive=True) if "Worker.run" in command_of(one)]


def command_of(process: psutil.Process) -> str:
    """Nothing of one that is gone, or dead and not yet buried."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def outcomes(events: Iterator[Event]) -> dict[str, object]:
    return {event.cell.key: found(event) for event in events if event.kind == "ended"}


def test_all_cells_are_found_whoever_is_killed_in_the_middle(cluster: None, cells: list[Cell]) -> None:
    expected, started = outcomes(Here().run(cells)), Counter[str]()

    def watched(events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            started[event.cell.key] += event.kind == "started"
            if event.kind == "started" and started.total() == 2:
                wait_for(lambda: len(at_work()) == 2)
                at_work()[0].kill()
            yield event

    assert outcomes(watched(RayPool(2).run(cells))) == expected
    assert sorted(started.values()) == [1, 1, 1, 2]
    wait_for(lambda: at_work() == [])


def test_a_cell_whose_worker_dies_twice_is_recorded_and_the_others_go_on(cluster: None, cells: list[Cell]) -> None:
    ended = {}
    for event in RayPool(1).run(cells[:2]):
        if event.kind == "started" and event.cell == cells[0]:
            wait_for(lambda: len(at_work()) == 1)
            at_work()[0].kill()
        if event.outcome is not None:
            ended[event.cell.key] = event.outcome
    assert [ended[cell.key]["status"] for cell in cells[:2]] == ["failed", "finished"]
    assert ended[cells[0].key]["reason"].startswith("its worker died: ")


def test_workers_that_do_not_come_to_life_end_the_run(cluster: None, cells: list[Cell]) -> None:
    pool = RayPool(1)
    pool.cpus = True  # a number of cores to Ray, and none of threads to PyTorch
    ended = [event.outcome for event in pool.run(cells) if event.outcome is not None]
    assert [outcome["key"] for outcome in ended] == [cell.key for cell in cells]
    assert all("set_num_threads expects an int" in outcome["reason"] for outcome in ended)


def test_a_cluster_without_room_is_refused(cluster: None, cells: list[Cell]) -> None:
    with pytest.raises(ConfigError, match="the Ray cluster has 2 CPUs, a worker wants 3"):
        list(RayPool(1, cpus=3).run(cells))
    with pytest.raises(ConfigError, match="the Ray cluster has 0 GPUs, a worker wants 1"):
        list(RayPool(1, gpus=1).run(cells))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^curves on several machines need Ray: pip install 'ssl-pdr\[ray\]'$"):
        RayPool(2)
