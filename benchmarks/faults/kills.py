"""SIGKILL at random times, until a run comes to its end all the same: does it end as one that was left alone?"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.world import COMMON, JOBS, Process, World, outcome


@dataclass
class Tally:
    """What came of faults of one kind.

    Attributes:
        injected: how many.
        survived: runs that came to their end all the same, or told in one line what to do and could be gone on with.
        changed: runs that ended otherwise than one that was left alone: rows lost or repeated, other weights, another log.
        notes: what else is to be known.
        failures: what went wrong.
    """

    injected: int = 0
    survived: int = 0
    changed: int = 0
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def count(self, *, survived: bool, changed: bool = False, why: str = "", faults: int = 1) -> None:
        """Take the faults of one run in."""
        self.injected += faults
        self.survived += faults if survived else 0
        self.changed += changed
        if not survived or changed:
            self.failures.append(why)


class References:
    """Runs that were left alone, by job; made when first asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._known: dict[str, tuple[dict[str, Any], float]] = {}

    def of(self, job: str) -> tuple[dict[str, Any], float]:
        """What it came to, and how many seconds it took."""
        if job not in self._known:
            folder = self.world.root / f"left_alone_{job}"
            process = Process(self.world.train(job, folder), self.world.root / "left_alone")
            if process.end() != 0:
                raise RuntimeError(f"a run that was left alone failed: {process.last_line}")
            self._known[job] = outcome(folder), time.monotonic() - process.began
        return self._known[job]


def same(folder: Path, expected: dict[str, Any]) -> str:
    """What differs from what was expected; empty if nothing does."""
    found = outcome(folder)
    return ", ".join(part for part in expected if found[part] != expected[part])


def kill(world: World, references: References, kills: int, seed: int = 0) -> Tally:
    """So many kills, spread over the jobs; each run is killed up to five times, at any moment of its life."""
    chance, tally, phases = np.random.default_rng(seed), Tally(), Counter[str]()
    names = list(JOBS)
    run = 0
    while tally.injected < kills:
        job = names[run % len(names)]
        expected, seconds = references.of(job)
        folder = world.root / f"killed_{run}"
        most = int(min(chance.integers(1, 6), kills - tally.injected))
        killed, process = _killed(world, job, folder, most, seconds, chance, phases)
        changed = same(folder, expected) if process.code == 0 else "no result"
        why = f"{job}, killed {killed} times: {changed}; {process.last_line}"
        tally.count(survived=process.code == 0, changed=bool(changed), why=why, faults=killed)
        if not changed:
            shutil.rmtree(folder)
        run += 1
    tally.notes.append("killed while " + ", ".join(f"{phase} {count}" for phase, count in phases.most_common()))
    return tally


def _killed(
    world: World, job: str, folder: Path, most: int, seconds: float, chance: np.random.Generator, phases: Counter[str]
) -> tuple[int, Process]:
    """Run, kill and go on until the end; how often it was killed, and its last process."""
    killed = 0
    while True:
        process = Process(world.next_command(job, folder) or [], world.root / "killed")
        if killed == most or process.wait(chance.uniform(0, seconds)) is not None:
            process.end()
            return killed, process
        process.signal(signal.SIGKILL, group=True)
        process.end()
        killed += 1
        phases[_phase(folder)] += 1
        if world.next_command(job, folder) is None:  # between the result and the end of the process
            process.code = 0
            return killed, process


def _phase(folder: Path) -> str:
    """What a run was doing when it was killed, as far as its folder tells."""
    if not (folder / "config.toml").is_file():
        return "starting"
    log = folder / "log.jsonl"
    if not log.is_file():
        return "loading"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines() if line.endswith("}")]
    return "evaluating and saving" if steps and steps[-1] >= COMMON["max-steps"] else "training"
