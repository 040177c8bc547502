"""Where and how a run is started changes nothing in what comes out of it: language, time zone, terminal, hash seed, workers."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import WORDS, Run

HERE = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "COLUMNS": "100", "PYTHONHASHSEED": "0"}
ELSEWHERE = {
    "LC_ALL": "tr_TR.UTF-8",  # where i and I are no pair
    "TZ": "Pacific/Kiritimati",
    "COLUMNS": "30",
    "PYTHONHASHSEED": "4294967295",
    "PYTHONIOENCODING": "ascii",
    "LINES": "5",
}


def start(line: list[Any], surroundings: dict[str, str]) -> str:
    """What a command prints that is run in such surroundings."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **surroundings}
    words = [sys.executable, "-m", "ssl_pdr", *map(str, line)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Rows whose order and case depend on the language, with an unlabelled half."""
    path = tmp_path / "İI.jsonl"
    rows = [
        {"text": f"THE {WORDS[8 + i % 4]} IS {WORDS[i % 8]} ıİ {i}", "label": ("Iyi", "ıyi", "Äh")[i % 3]}
        for i in range(48)
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(rows)), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, Any]:
    """What a run leaves behind, without times, its own place, and checkpoints (archives with dates in them)."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and "checkpoints" not in p.parts):
        name = str(path.relative_to(folder))
        if name == "result.json":
            result = json.loads(path.read_text(encoding="utf-8"))
            found[name] = {key: value for key, value in result.items() if key != "timing"}
            found[name]["config"] = {k: v for k, v in found[name]["config"].items() if k != "output"}
        elif name == "config.toml":
            found[name] = [line for line in path.read_text(encoding="utf-8").splitlines() if "output" not in line]
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_a_run_is_the_same_wherever_it_is_started(mixed: Path, model_folder: Path, tmp_path: Path) -> None:
    options = [
        "--model",
        model_folder,
        "--max-length",
        12,
        "--labelled-frac",
        0.5,
        "--max-steps",
        3,
        "--eval-on",
        mixed,
    ]
    runs = []
    for name, surroundings in (("here", HERE), ("there", ELSEWHERE)):
        start(["train", "--data", mixed, *options, "--output", tmp_path / name], surroundings)
        runs.append(contents(tmp_path / name))
    assert runs[0] == runs[1]
    assert "model/model.safetensors" in runs[0]


def test_a_curve_is_the_same_for_any_number_of_jobs(
    run: Run, mixed: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ["--model", model_folder, "--max-length", 12, "--steps", 2, "--seeds", 1, "--no-report"]
    grid = ["curve", "--data", mixed, *small, "--budget", 1, "--method", "none", "--method", "vat:kl"]
    cells = []
    for jobs, surroundings in ((1, HERE), (2, ELSEWHERE)):
        for name, value in surroundings.items():  # the workers' own
            monkeypatch.setenv(name, value)
        code, _, err = run(*grid, "--jobs", jobs, "--output", tmp_path / str(jobs))
        assert code == 0, err
        read = {
            path.name: json.loads(path.read_text(encoding="utf-8"))
            for path in (tmp_path / str(jobs) / "cells").iterdir()
        }
        cells.append({name: {k: v for k, v in cell.items() if k != "timing"} for name, cell in read.items()})
    assert len(cells[0]) == 2
    assert cells[0] == cells[1]
