"""Benchmarks run, on something tiny; what they measure is for `benchmarks/README.md`."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import logging as transformers_logging

from benchmarks import gpu, methods, pairs, peers, step_cost, throughput

ROOT = Path(__file__).parent.parent
# Batches that go forward and gradients that come back through an encoder layer in one step.
PASSES = {
    "plain": (1, 1),
    "none": (1, 1),
    "rdrop, shl": (2, 2),
    "rpt, shl": (2, 2),
    "vat power, shl": (3, 3),
    "vat exact with reuse, kl": (2, 2),
    "vat exact with reuse, kl, half unlabelled": (2, 2),
    "jr, 1 projection": (1, 2),
}


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Commands silence libraries for the whole process."""
    names = ("ssl_pdr", "datasets", "accelerate", "huggingface_hub", "transformers")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    transformers_logging.enable_progress_bar()


def _read(path: Path) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert {"versions", "machine"} <= set(whole)
    return whole


@pytest.mark.usefixtures("_as_before")
def test_step_cost_measures_every_method_and_keeps_the_parts_of_an_earlier_run(tmp_path: Path) -> None:
    step_cost.main(["--tiny", "--only", "cost", "trainer", "--output", str(tmp_path)])
    step_cost.main(["--tiny", "--only", "classes", "size", "--output", str(tmp_path)])
    parts = _read(tmp_path / "step_cost.json")["parts"]
    assert set(parts) == {"cost", "trainer", "classes", "size"}
    assert all({"versions", "machine", "load"} <= set(part) for part in parts.values())
    for task, names in methods.OF_TASK.items():
        cells = parts["cost"]["tasks"][task]
        assert set(cells) == {"plain", *names}
        assert not [cell["failed"] for cell in cells.values() if "failed" in cell]
        assert cells["plain"]["plain_steps"] == cells["plain"]["plain_operations"] == cells["plain"]["plain_peaks"] == 1
        assert all(cell["rounds"] == 1 and cell["seconds"] > 0 for cell in cells.values())
        for name, (forward, backward) in PASSES.items():
            if name in cells:
                assert cells[name]["passes"] == {"forward": forward, "backward": backward}, name
    operations = {name: cell["plain_operations"] for name, cell in parts["cost"]["tasks"]["classification"].items()}
    # A backward pass to the embeddings alone has half of the operations of one to the weights too.
    assert operations["rpt, shl"] == pytest.approx(2.0, rel=0.02)
    assert operations["vat exact with reuse, kl"] == pytest.approx(2.0, rel=0.02)
    assert operations["vat exact with reuse, kl, half unlabelled"] < 1.9
    assert operations["vat exact, shl"] == pytest.approx(2.35, rel=0.03)
    assert operations["vat power, shl"] == pytest.approx(2.68, rel=0.03)
    assert not [cell for cell in parts["trainer"]["methods"].values() if "failed" in cell]
    exact = parts["cost"]["tasks"]["classification"]["vat exact, shl"]
    assert exact["passes"] == {"forward": 2, "backward": 3}
    two, *_, hundred = parts["classes"]["places"]
    assert "vat exact with reuse, kl" in two["methods"]
    assert "vat exact with reuse, kl" not in hundred["methods"]
    assert "<svg" in (tmp_path / "step_cost.svg").read_text(encoding="utf-8")


def test_pairs_compare_steps_of_one_round_and_a_failure_stays_alone() -> None:
    called: list[str] = []

    def broken() -> None:
        raise ValueError("no\nsuch thing")

    steps = {"plain": lambda: lambda: called.append("plain"), "other": lambda: lambda: called.append("other")}
    timings = pairs.interleave({**steps, "broken": lambda: broken}, 50, seed=1)
    assert timings.failed == {"broken": "ValueError: no such thing"}
    rounds = [called[i : i + 2] for i in range(0, len(called), 2)]
    assert len(rounds) == 51  # one warms up
    assert all(sorted(one) == ["other", "plain"] for one in rounds)
    assert 10 < sum(one[0] == "plain" for one in rounds) < 41
    given = pairs.Timings({"plain": [1.0, 10.0, 2.0], "other": [2.0, 20.0, 2.0]}, timings.failed)
    assert pairs.against(given, "other", "plain")["plain_steps"] == 2.0
    assert pairs.against(given, "broken", "plain") == {"failed": "ValueError: no such thing"}


def test_pairs_end_at_their_deadline() -> None:
    timings = pairs.interleave({"plain": lambda: lambda: None}, 1000, deadline=0.0)
    assert len(timings.seconds["plain"]) == 1


@pytest.mark.usefixtures("_as_before")
def test_peers_find_what_the_loop_does_and_leave_out_what_is_not_installed(tmp_path: Path) -> None:
    peers.main(["--tiny", "--output", str(tmp_path)])
    parts = _read(tmp_path / "peers.json")["parts"]
    cost, quality = parts["cost"]["methods"], parts["quality"]["methods"]
    for name, package in (("smart-pytorch 0.0.4", "smart-pytorch"), ("vat-pytorch 0.0.9", "vat-pytorch")):
        absent = parts["cost"]["peers"][package] == "not installed"
        assert ("failed" in cost[name], "failed" in quality[name]) == (absent, absent)
        assert not absent or cost[name]["failed"].startswith("ModuleNotFoundError")
    here = [name for name in cost if "pytorch" not in name]
    assert not [cost[name] for name in here if "failed" in cost[name]]
    assert cost["loop, gradient to everything"]["passes"] == {"forward": 3, "backward": 3}
    assert quality["ours: vat exact, kl"]["attained"] == pytest.approx(1.0, abs=1e-3)
    assert quality["loop, gradient to the noise"]["attained"] > 0.9
    assert quality["ours: rpt, shl"]["attained"] < 0.5
    assert all(0 <= quality[name]["share_on_padding"] < 1e-9 for name in here if name in quality)


@pytest.mark.shared_data
@pytest.mark.real
@pytest.mark.usefixtures("_as_before")
def test_throughput_takes_each_sentence_once(tmp_path: Path) -> None:
    throughput.main(["--tiny", "--output", str(tmp_path)])
    found = _read(tmp_path / "throughput.json")
    assert found["sentences"] == 64
    assert found["sentences"] * 3 < found["real_tokens"] < found["sentences"] * 100
    assert all(run["steps"] == 2 and run["tokens_per_second"] > 0 for run in found["runs"].values())
    assert found["runs"]["plain, padded to 128"]["times_plain"] == 1.0


def test_gpu_cannot_take_more_than_eight_minutes() -> None:
    """Each part, and the look at the machine before them, is stopped when its time is over."""
    assert sum(gpu.START + budget for _, budget in gpu.PARTS.values()) + gpu.START <= 480


def test_gpu_runs_all_of_its_parts_without_a_card_each_in_its_own_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = _read(tmp_path / "gpu.json")["parts"]
    assert set(parts) == {"cost", "memory", "precision", "compile", "attention"}
    assert not {name: part for name, part in parts.items() if {"failed", "stopped"} & set(part)}
    (tiny,) = (cells for place, cells in parts["cost"]["places"].items() if "bfloat16" in place)
    assert set(tiny) == {"plain", *methods.METHODS}
    assert not [cell for cell in tiny.values() if "failed" in cell]
    assert len(parts["memory"]["places"]) == 4
    for method in parts["precision"]["methods"].values():
        assert all(len(curve) == 3 for kind in method["curves"].values() for curve in kind.values())
        assert 0 < method["against_float32"]["bfloat16"]["r"] < 0.2
    assert "first_step_seconds" in parts["compile"]["methods"]["vat exact, shl"]
    assert "failed" in parts["attention"]["methods"]["efficient_attention: plain"]  # there is none on a CPU
    assert "seconds" in parts["attention"]["methods"]["math: vat exact, shl"]


def test_a_part_that_dies_or_hangs_keeps_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(sizes: Any, deadline: float, send: Any) -> None:
        send({"half": 1})
        os._exit(3)

    def hangs(sizes: Any, deadline: float, send: Any) -> None:
        send({"half": 2})
        time.sleep(60)

    def fails(sizes: Any, deadline: float, send: Any) -> None:
        send({"half": 3})
        raise ValueError("out of luck")

    monkeypatch.setattr(gpu, "START", 0.5)
    monkeypatch.setattr(gpu, "PARTS", {"dies": (dies, 20.0), "hangs": (hangs, 0.5), "fails": (fails, 20.0)})
    assert gpu.isolated("dies", "tiny") == {"half": 1, "failed": "its process ended with 3"}
    assert gpu.isolated("hangs", "tiny") == {"half": 2, "stopped": "it had not ended 0.5 s after its start"}
    assert gpu.isolated("fails", "tiny") == {"half": 3, "failed": "ValueError: out of luck"}


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
