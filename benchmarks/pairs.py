"""Fair timing on a machine whose speed drifts: everybody takes a turn of one step in each round, and pairs are compared."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

Step = Callable[[], object]


@dataclass(frozen=True)
class Timings:
    """Seconds of each step in each round, in the order of the rounds; and of those that could not run, why."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def interleave(
    steps: Mapping[str, Callable[[], Step]],
    rounds: int,
    *,
    before: Step = lambda: None,
    seed: int = 0,
    deadline: float | None = None,
) -> Timings:
    """Time the steps in turns, in another order in each round.

    Args:
        steps: what makes each step. What fails while it is made or in the first round, which warms up and is not
            timed, takes no further part.
        rounds: how many.
        before: what to do ahead of each step, outside of the clock.
        seed: of the orders.
        deadline: on the clock of `time.monotonic`; no round begins after it, except for the first.
    """
    timings, made = Timings(), {}
    for name, make in steps.items():
        try:
            made[name] = make()
            before()
            made[name]()
        except Exception as error:  # noqa: BLE001  # whatever it is, the others go on
            made.pop(name, None)
            timings.failed[name] = reason(error)
    order, chance = list(made), random.Random(seed)
    timings.seconds.update({name: [] for name in order})
    for done in range(rounds):
        if deadline is not None and done > 0 and time.monotonic() > deadline:
            break
        chance.shuffle(order)
        for name in order:
            before()
            timings.seconds[name].append(seconds(made[name]))
    return timings


def seconds(step: Step) -> float:
    """How long one step takes, with what it leaves to an accelerator to finish."""
    _wait()
    start = time.perf_counter()
    step()
    _wait()
    return time.perf_counter() - start


def against(timings: Timings, name: str, plain: str) -> dict[str, Any]:
    """The median of a step's seconds, and of its ratio to the plain step of the same round, with quartiles."""
    if name in timings.failed:
        return {"failed": timings.failed[name]}
    own = timings.seconds[name]
    found: dict[str, Any] = {"seconds": statistics.median(own)}
    if plain in timings.seconds:
        pairs = [a / b for a, b in zip(own, timings.seconds[plain], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
        found |= {"plain_steps": middle, "quartiles": [low, high]}
    return {**found, "rounds": len(own)}


def reason(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def ratio_text(cell: Mapping[str, Any]) -> str:
    """A cell of a table: the ratio with its quartiles."""
    if "failed" in cell:
        return "failed"
    if "plain_steps" not in cell:
        return ""
    low, high = cell["quartiles"]
    return f"{cell['plain_steps']:.2f} ({low:.2f}–{high:.2f})"


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
