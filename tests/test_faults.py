"""A short form of the fault campaign: real runs in real processes, killed, stopped and damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.faults import kills, scenarios
from benchmarks.faults.kills import Tally
from benchmarks.faults.scenarios import Scene
from benchmarks.faults.world import JOBS, World

FAULTS: dict[str, Callable[[Scene], Tally]] = {
    "kill": lambda scene: kills.kill(scene.world, scene.references, 6, seed=3),
    "kill at the end": lambda scene: scenarios.killed_at_the_end(scene, ("plain", "streamed")),
    **{name: scenarios.SCENARIOS[name] for name in ("Ctrl-C twice", "out of memory", "jumping clock")},
}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(World.make(tmp_path_factory.mktemp("faults") / "world"))


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_nothing_is_changed(scene: Scene, name: str) -> None:
    tally = FAULTS[name](scene)
    assert tally.failures == []
    assert (tally.survived, tally.changed) == (tally.injected, 0)
    assert tally.injected >= 2


def test_a_job_for_each_thing_that_a_checkpoint_keeps(tmp_path: Path) -> None:
    """Regularizers, accumulation, running means and streams: a new option of the kind belongs here."""
    commands = [" ".join(World(tmp_path).train(job, tmp_path / "run")) for job in JOBS]
    for needed in ("--reg none", "--reg vat", "--reg jr", "--accumulation 2", "--align", "--stream"):
        assert any(needed in command for command in commands), needed
