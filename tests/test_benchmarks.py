"""Benchmarks run, on something tiny; what they measure is for `benchmarks/README.md`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_step_cost_runs_and_writes_its_circumstances(tmp_path: Path) -> None:
    command = [
        "-m",
        "benchmarks.step_cost",
        "--tiny",
        "--batch",
        "2",
        "--tokens",
        "8",
        "--steps",
        "3",
        "--rounds",
        "1",
        "--output",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "step_cost.json").read_text(encoding="utf-8"))
    assert result["plain_steps"]["plain Trainer"] == 1.0
    assert {"alpha 0", "rdrop", "rpt", "vat"} <= set(result["median_seconds"])
    assert {"versions", "machine"} <= set(result)


def test_committed_results_say_where_they_come_from() -> None:
    results = sorted((ROOT / "benchmarks/results").glob("*.json"))
    assert {"step_cost.json", "pydocs.json", "sst2.json"} <= {path.name for path in results}
    for path in results:
        text = path.read_text(encoding="utf-8")
        assert {"versions", "machine"} <= set(json.loads(text))
        assert str(Path.home()) not in text
