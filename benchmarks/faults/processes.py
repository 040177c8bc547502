"""Faults of commands that are several processes: curves with their workers, runs in two processes, a grid of runs."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.kills import Tally
from benchmarks.faults.scenarios import Scene
from benchmarks.faults.world import Process, World, at_step, outcome

CURVE = {"max-length": 16, "steps": 30, "batch": 8, "seeds": 2, "lr": 0.001}


def curve_command(world: World, folder: Path) -> list[str]:
    """A curve of eight short runs in two workers."""
    words = ["curve", "--data", str(world.root / "reviews.csv"), "--model", str(world.root / "model"), "--jobs", "2"]
    words += ["--budget", "0.5", "--budget", "1", "--method", "none", "--method", "rpt:kl", "--output", str(folder)]
    return words + [word for name, value in CURVE.items() for word in (f"--{name}", str(value))]


def curve_outcome(folder: Path) -> dict[str, Any]:
    """Scores and logs of all cells."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / "cells").glob("*.json"))]
    return {cell["key"]: [cell["status"], cell.get("scores"), cell.get("log")] for cell in cells}


def curve_killed(scene: Scene, kills: int = 12) -> Tally:
    """A curve is killed with all its workers, only its main process, or asked to end; the same command goes on."""
    world, tally, chance = scene.world, Tally(), np.random.default_rng(0)
    alone = scene.folder()
    process = Process(curve_command(world, alone), world.root / "curve")
    if process.end() != 0:
        raise RuntimeError(f"a curve that was left alone failed: {process.last_line}")
    expected, seconds = curve_outcome(alone), time.monotonic() - process.began
    while tally.injected < kills:
        folder = scene.folder()
        faults = 0
        for how in ("everything", "main", "SIGTERM"):
            process = Process(curve_command(world, folder), world.root / "curve")
            if process.wait(chance.uniform(0.2, 0.8) * seconds) is not None:
                break
            process.signal(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL, group=how == "everything")
            code = process.end()
            faults += 1
            if how == "SIGTERM" and code not in (143, 0):
                tally.failures.append(f"SIGTERM: code {code}, {process.last_line}")
        process = Process(curve_command(world, folder), world.root / "curve")
        code = process.end()
        changed = curve_outcome(folder) != expected
        tally.count(survived=code == 0, changed=changed, why=f"curve: code {code}, {process.last_line}", faults=faults)
    return tally


def worker_killed(scene: Scene) -> Tally:
    """A worker of a curve is killed: its run is begun again by another one, in the same command."""
    world, tally = scene.world, Tally()
    alone = scene.folder()
    Process(curve_command(world, alone), world.root / "curve").end()
    for delay in (2.0, 4.0):
        folder = scene.folder()
        process = Process(curve_command(world, folder), world.root / "curve")
        while not _workers(process.pid) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(delay)
        for pid in _workers(process.pid)[:1]:
            os.kill(pid, signal.SIGKILL)
        code = process.end()
        changed = curve_outcome(folder) != curve_outcome(alone)
        tally.count(survived=code == 0, changed=changed, why=f"code {code}, {process.last_line}")
    return tally


def _workers(parent: int) -> list[int]:
    """The worker processes of a curve; beside them it has one that watches over shared resources."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state = (path / "stat").read_text().rpartition(")")[2].split()
            words = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if int(state[1]) == parent and b"spawn_main" in words:
            found.append(int(path.name))
    return sorted(found)


def two(scene: Scene, command: list[str], before: dict[int, Callable[[], object]] | None = None) -> list[Process]:
    """A command in two processes that share each step's rows, as a launcher starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    return [
        Process(
            command,
            scene.world.root / f"rank_{rank}",
            (before or {}).get(rank),
            {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]


def rank_killed(scene: Scene) -> Tally:
    """One of two processes is killed in the middle: the other ends within a minute, and both go on from the checkpoint."""
    tally, job, world = Tally(), "accumulated", scene.world
    alone = scene.folder()
    if [process.end() for process in two(scene, world.train(job, alone))] != [0, 0]:
        raise RuntimeError("a run in two processes that was left alone failed")
    expected = outcome(alone)
    for rank, step in ((1, 12), (0, 26), (1, 40)):
        folder = scene.folder()
        harm = at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
        processes = two(scene, world.train(job, folder), {rank: harm})
        processes[rank].end()
        began = time.monotonic()
        other = processes[1 - rank]
        code = other.wait(60)
        waited = time.monotonic() - began
        clear = code == 2 and "another process of the run is gone" in other.last_line
        other.end()
        after = two(scene, ["train", "--resume", str(folder)])
        done = [process.end() for process in after] == [0, 0]
        changed = not done or outcome(folder) != expected
        why = (
            f"rank {rank}: the other ended with {code} after {waited:.0f} s, {other.last_line!r}; {after[0].last_line}"
        )
        tally.count(survived=clear and done, changed=changed, why=why)
        tally.notes.append(f"the other one ended after {waited:.1f} s")
    return tally


GRID = """
[base]
model = "{root}/model"
max_length = 16
epochs = 8

[tasks.reviews]
rows = 64
select = "in_domain.accuracy"
train = {{ data = "{root}/reviews.csv", lr = 1e-3 }}

[methods.none]
label = "plain"
train = {{ reg = "none" }}

[methods.rpt]
label = "RPT"
train = {{ reg = "rpt", div = "kl" }}
search = {{ alpha = [1, 2.0] }}

[tables.half]
title = "half of the labels"
train = {{ labelled_frac = 0.5 }}
methods = ["none", "rpt"]
columns = [{{ key = "reviews.accuracy", name = "Reviews", task = "reviews", score = "in_domain.accuracy" }}]
"""


def grid_killed(scene: Scene, kills: int = 8) -> Tally:
    """A table's runs are killed, in a run and between two; the same command goes on with the run that it was in."""
    world, tally, chance = scene.world, Tally(), np.random.default_rng(0)
    grid = world.root / "grid.toml"
    grid.write_text(GRID.format(root=world.root), encoding="utf-8")

    def start(folder: Path) -> Process:
        words = ["reproduce", "half", "--grid", str(grid), "--output", str(folder), "--set", "save_steps=3"]
        return Process(words, world.root / "table")

    def runs(folder: Path) -> dict[str, Any]:
        return {path.parent.name: outcome(path.parent) for path in folder.rglob("result.json")}

    alone = scene.folder()
    process = start(alone)
    if process.end() != 0:
        raise RuntimeError(f"a table that was left alone failed: {process.last_line}")
    expected, seconds = runs(alone), time.monotonic() - process.began
    while tally.injected < kills:
        folder, faults = scene.folder(), 0
        while (process := start(folder)).wait(chance.uniform(0.1, 0.7) * seconds) is None and faults < 4:
            process.signal(signal.SIGKILL, group=True)
            process.end()
            faults += 1
        code = process.end()
        changed = code != 0 or runs(folder) != expected
        tally.count(survived=code == 0, changed=changed, why=f"code {code}, {process.last_line}", faults=faults)
    return tally


SCENARIOS: dict[str, Callable[[Scene], Tally]] = {
    "curve killed": curve_killed,
    "curve's worker killed": worker_killed,
    "table's runs killed": grid_killed,
    "one of two processes killed": rank_killed,
}
