"""What it costs to be able to go on: writing and sealing a checkpoint of a real model, and beginning again from one."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from ssl_pdr.checkpoints import damage, seal
from ssl_pdr.config import TrainConfig
from ssl_pdr.experiment import resume, train
from ssl_pdr.progress import Silent

RUN, EVERY = 600.0, 60.0  # seconds of the run that the share is of, and between its checkpoints


class _Clock(Silent):
    """When each step ended, and when each stage began."""

    def __init__(self) -> None:
        self.steps: dict[int, float] = {}
        self.stages: list[tuple[str, float]] = []

    def step(self, step: int, steps: int) -> None:
        """Note it."""
        self.steps[step] = time.perf_counter()

    def stage(self, text: str) -> None:
        """Note it."""
        self.stages.append((text, time.perf_counter()))


def cost(folder: Path) -> dict[str, Any]:
    """Seconds for each checkpoint and for a resume, MiniLM on the embedded corpus, and their share of a run of ten minutes.

    A checkpoint's cost is that of a step after which one is written over the median step; a resume's is the time from the
    beginning to the first step, which a run that was not stopped has spent once already.
    """
    every, steps = 6, 30
    config = TrainConfig(output=str(folder / "run"), reg="rpt", div="kl", max_steps=steps, save_steps=every, limit=400)
    first = _Clock()
    began = time.perf_counter()
    train(config, first)
    took = {step: first.steps[step] - first.steps[step - 1] for step in range(2, steps + 1)}
    usual = statistics.median(seconds for step, seconds in took.items() if (step - 1) % every)
    with_one = statistics.median(seconds for step, seconds in took.items() if (step - 1) % every == 0)
    checkpoint = next((folder / "run" / "checkpoints").glob("checkpoint-*"))
    sealing, checking = _seconds(lambda: seal(checkpoint)), _seconds(lambda: damage(checkpoint))
    (folder / "run" / "result.json").unlink()
    for path in (folder / "run" / "checkpoints").glob(f"checkpoint-{steps}"):
        path.rename(folder / "the last one")  # so that there is a step to go on with
    second = _Clock()
    again = time.perf_counter()
    resume(folder / "run", second)
    to_first = min(second.steps.values()) - again
    writing = with_one - usual
    share = (RUN / EVERY * writing + to_first) / RUN
    return {
        "checkpoint_megabytes": round(sum(path.stat().st_size for path in checkpoint.rglob("*")) / 2**20, 1),
        "seconds_for_a_checkpoint": round(writing, 3),
        "of_it_sealing": round(sealing, 3),
        "seconds_to_resume": round(to_first, 2),
        "of_it_verifying": round(checking, 3),
        "seconds_to_begin": round(min(first.steps.values()) - began, 2),
        "median_step_seconds": round(usual, 3),
        "share_of_ten_minutes": round(share, 4),
    }


def _seconds(action: Any) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
