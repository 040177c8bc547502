"""The fault campaign: `python -m benchmarks.faults`. Runs are killed, starved and cut off; what is lost, what is changed?"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults import kills, processes, scenarios
from benchmarks.faults.cost import cost
from benchmarks.faults.kills import Tally
from benchmarks.faults.scenarios import Scene
from benchmarks.faults.soak import soak
from benchmarks.faults.world import World
from benchmarks.report import merge, read, show
from ssl_pdr.cli.live import quiet

RESULTS = Path(__file__).parent / "results"
KILLS = 100


def campaign(kill_count: int) -> dict[str, Callable[[Scene], Tally]]:
    """All kinds of faults by name."""

    def killed(scene: Scene) -> Tally:
        return kills.kill(scene.world, scene.references, kill_count)

    return {"kill": killed, **scenarios.SCENARIOS, **processes.SCENARIOS}


def table(parts: dict[str, dict[str, object]]) -> list[list[str]]:
    """A row for each kind of fault."""
    keys = ("injected", "survived", "changed")
    return [[name, *(str(parts[name][key]) for key in keys)] for name in parts if "injected" in parts[name]]


def main() -> None:
    names = list(campaign(0))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=[*names, "cost", "soak"], nargs="+", default=[*names, "cost"])
    parser.add_argument("--kills", type=int, default=KILLS, help="of the part `kill`")
    parser.add_argument("--minutes", type=float, default=30, help="of the part `soak`")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    quiet()
    failures = []
    with tempfile.TemporaryDirectory(prefix="ssl_pdr_faults_") as place:
        scene = Scene(World.make(Path(place)))
        for name in sorted(
            options.only, key="cost".__eq__
        ):  # it trains in this process, from which the others are forked
            began = time.perf_counter()
            if name == "cost":
                content = cost(Path(place))
                print(name, content, flush=True)
            elif name == "soak":
                content = soak(scene.world, options.minutes, options.output / "soak.svg")
                print(name, {key: value for key, value in content.items() if key != "points"}, flush=True)
            else:
                tally = campaign(options.kills)[name](scene)
                failures += [f"{name}: {why}" for why in tally.failures]
                content = asdict(tally)
                print(
                    f"{name}: {tally.injected} faults, {tally.survived} survived, {tally.changed} changed", flush=True
                )
            merge("faults", name, {**content, "seconds": round(time.perf_counter() - began, 1)}, options.output)
    parts = read("faults", options.output)
    show("Faults", ["fault", "injected", "survived", "results changed"], table(parts))
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
