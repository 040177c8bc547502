"""Benchmarks run, on something tiny; what they measure is for `benchmarks/README.md`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    for task in ("classification", "question answering"):
        assert result["plain_steps"][task]["plain Trainer"] == 1.0
        assert {"alpha 0", "rdrop", "rpt", "vat"} <= set(result["median_seconds"][task])
    assert {"versions", "machine"} <= set(result)


@pytest.mark.real
def test_evaluation_runs_on_questions_from_a_file(tmp_path: Path) -> None:
    words = ["the", "cat", "sat", "on", "the", "mat"]
    answer = {"text": "cat", "answer_start": 4}
    asked = [
        {"context": " ".join(words * n), "qas": [{"id": str(n), "question": "Who sat?", "answers": [answer]}]}
        for n in range(1, 9)
    ]
    file = tmp_path / "questions.json"
    file.write_text(json.dumps({"data": [{"title": "T", "paragraphs": asked}]}), encoding="utf-8")
    options = ["--max-length", "32", "--rounds", "1", "--batch", "4", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.evaluation", "--data", str(file), *options],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert result["decoded_questions"] == 8
    assert result["windows"] > 8
    assert {"throughput_ratio", "decode_cpu_seconds", "versions", "machine"} <= set(result)


@pytest.mark.real
def test_loader_runs_and_keeps_its_promises(tmp_path: Path) -> None:
    """All but those about time, which small sizes say nothing about."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.loader", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "loader.json").read_text(encoding="utf-8"))
    assert {"overhead", "index", "padding", "streaming", "elastic", "versions", "machine"} == set(result)
    assert len(result["elastic"]["equal"]) == 12
    assert all(result["elastic"]["equal"].values())
    assert result["streaming"]["rows_equal"]
    assert result["streaming"]["steps"] == 24
    assert (result["streaming"]["killed_in_step"], result["streaming"]["resumed_from_step"]) == (9, 6)
    assert result["index"]["highest_anonymous_mb"] < 200
    assert result["index"]["rows_per_cpu_second"].keys() >= {"sampler_and_collator", "with_reading"}
    assert result["overhead"]["steps"] == 5
    if "skipped" not in result["padding"]:
        for corpus in result["padding"].values():
            if isinstance(corpus, dict):
                mixes = [corpus["all labelled"], corpus["a tenth labelled"]]
                assert all(mix["deciles_equal"] and mix["composition_equal"] for mix in mixes)
                assert all(mix["bucketed"] < mix["random"] for mix in mixes)
    assert "<svg" in (tmp_path / "loader_memory.svg").read_text(encoding="utf-8")
    assert done.stdout.count("measured") == 5


def test_committed_results_say_where_they_come_from() -> None:
    results = sorted((ROOT / "benchmarks/results").glob("*.json"))
    assert {"step_cost.json", "pydocs.json", "sst2.json", "loader.json"} <= {path.name for path in results}
    for path in results:
        text = path.read_text(encoding="utf-8")
        assert {"versions", "machine"} <= set(json.loads(text))
        assert str(Path.home()) not in text
