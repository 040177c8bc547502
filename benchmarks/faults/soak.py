"""A long run on a stream: does its memory stay, and does a step take as long at the end as at the beginning?"""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults.world import WORDS, Process, World

Point = tuple[float, float, float, int]  # seconds, megabytes, seconds of the processor, steps
MILLIONS = 3  # lines of the corpus: more than are read in half an hour


def soak(world: World, minutes: float, plot: Path | None = None) -> dict[str, Any]:
    """Stream for some minutes; the run's memory, processor time and steps, once every five seconds.

    Steps are timed by the processor's clock, which other work on the machine disturbs little.
    """
    corpus = world.root / "crawl.txt"
    _generate(corpus, round(MILLIONS * 1e6))
    folder = world.root / "soak"
    more = {"unlabelled": "crawl.txt", "max-steps": 10**6, "save-steps": 500, "epochs": 10**6}
    process = Process(world.train("streamed", folder, **more), world.root / "soaking")
    points: list[Point] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and process.poll() is None:
        time.sleep(5)
        if process.poll() is not None:
            break
        points.append(
            (time.monotonic() - process.began, _resident(process.pid), _processor(process.pid), _steps(folder))
        )
    if process.poll() is None:
        process.signal(signal.SIGTERM)
    code = process.end()
    trained = [point for point in points if point[3] > 0]
    found = {**_summary(trained), "minutes": minutes, "exit_code": code, "points": [list(p) for p in trained]}
    if plot is not None:
        _draw(trained, plot)
    return found


def _generate(path: Path, lines: int) -> None:
    chance = np.random.default_rng(1)
    texts = [" ".join(chance.choice(WORDS, int(n))) for n in chance.integers(4, 16, 4000)]
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, lines, 4000):
            file.write("".join(f"{start + n} {text}\n" for n, text in enumerate(texts)))


def _resident(pid: int) -> float:
    """Megabytes of memory that a process has in use, what it shares with who forked it included."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _processor(pid: int) -> float:
    """Seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _steps(folder: Path) -> int:
    """The steps done, by the newest checkpoint."""
    numbers = [int(path.name.rpartition("-")[2]) for path in (folder / "checkpoints").glob("checkpoint-*")]
    return max(numbers, default=0)


def _summary(points: list[Point]) -> dict[str, Any]:
    """Memory and pace of the last third against the first."""
    third = len(points) // 3
    thirds = points[:third], points[-third:]
    memory = [statistics.median(megabytes for _, megabytes, _, _ in part) for part in thirds]
    pace = [1000 * (part[-1][2] - part[0][2]) / max(part[-1][3] - part[0][3], 1) for part in thirds]
    return {
        "steps": points[-1][3],
        "megabytes_first_and_last_third": [round(value, 1) for value in memory],
        "memory_growth": round(memory[1] / memory[0] - 1, 4),
        "processor_milliseconds_a_step_first_and_last_third": [round(value, 2) for value in pace],
        "step_growth": round(pace[1] / pace[0] - 1, 3),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _draw(points: list[Point], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "ssl-pdr"
    minutes = [point[0] / 60 for point in points]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 4.5), layout="constrained")
    above.plot(minutes, [point[1] for point in points], color="#0072B2")
    above.set(ylabel="memory, MB", ylim=(0, None))
    window = 36  # three minutes: steps are known by checkpoints, which are some seconds apart
    pace = [1000 * (b[2] - a[2]) / max(b[3] - a[3], 1) for a, b in zip(points, points[window:], strict=False)]
    below.plot(minutes[window:], pace, color="#D55E00")
    below.set(ylabel="processor ms a step", xlabel="minutes", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
