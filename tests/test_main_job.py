"""The main job with the real encoder on the real corpus; short here, whole in `make demo`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import pipeline

from tests.cli.conftest import Run, run

__all__ = ["run"]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    line = [sys.executable, "-m", "ssl_pdr", "train", *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.real
def test_main_job_offline(tmp_path: Path) -> None:
    done = command(
        *("--labelled-frac", 0.5, "--reg", "vat", "--div", "shl", "--max-steps", 12, "--save-steps", 6, "--json"),
        *("--output", tmp_path / "run", "--eval-limit", 200),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    scores = result["scores"]
    assert set(scores) == {"in_domain", "shifted", "baseline_tfidf"}
    # Twelve steps teach little; tf-idf, which is trained to its end, is far above one in thirteen.
    assert scores["in_domain"]["accuracy"] > 1.2 / 13
    assert scores["baseline_tfidf"]["in_domain"]["accuracy"] > 0.5
    assert scores["baseline_tfidf"]["shifted"]["accuracy"] > 0.2
    assert result["budget"]["labelled"] == round(0.5 * result["data"]["train_rows"])
    assert result["versions"]["scipy"]
    classify = pipeline("text-classification", model=str(tmp_path / "run" / "model"))
    assert classify("Compute the eigenvalues of a matrix.")[0]["label"] in result["data"]["labels"]


@pytest.mark.shared_data
@pytest.mark.real
def test_sst2(run: Run, tmp_path: Path, shared_data: Path) -> None:
    code, out, err = run(
        *("train", "--data", shared_data / "sst2/train_sentences.tsv.gz", "--eval", shared_data / "sst2/dev.tsv"),
        *("--limit", 200, "--labelled-frac", 0.1, "--reg", "vat", "--max-steps", 3, "--max-length", 32, "--json"),
        *("--output", tmp_path / "run", "--eval-limit", 100),
    )
    assert code == 0, err
    assert json.loads(out)["budget"]["labelled"] == 20


@pytest.mark.real
def test_pairs_with_an_adversarial_part(run: Run, tmp_path: Path) -> None:
    code, out, err = run(
        *("train", "--data", "pydocs-pairs", "--limit", 100, "--labelled-frac", 0.5, "--max-steps", 2, "--json"),
        *("--max-length", 48, "--output", tmp_path / "run", "--eval-limit", 50),
    )
    assert code == 0, err
    result = json.loads(out)
    assert set(result["scores"]) == {"in_domain", "adversarial", "baseline_tfidf"}
    assert result["data"]["labels"] == ["different", "same"]
