"""The scores of a real model's predictions on real questions, against oracles that share nothing with ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torchmetrics.text import SQuAD
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from ssl_pdr.config import TrainConfig
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.data.questions import read_questions
from ssl_pdr.evaluation import evaluate_model
from tests.metrics import official


@pytest.mark.real
@pytest.mark.shared_data
def test_f1_and_exact_match_of_a_real_model(tmp_path: Path, shared_data: Path) -> None:
    torch.manual_seed(0)
    folder = tmp_path / "model"
    AutoModelForQuestionAnswering.from_pretrained(embedded_encoder()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(embedded_encoder()).save_pretrained(folder)
    files = {
        "v1.json.gz": shared_data / "squad1/dev.json.gz",
        "v2.json.gz": shared_data / "squad2/dev_b_rebuilt.json.gz",
    }
    for name, file in files.items():
        (tmp_path / name).symlink_to(file)
    config = TrainConfig(model=str(folder), eval_limit=40, max_length=192)
    result = evaluate_model(config, [str(tmp_path / name) for name in files], output=tmp_path / "out")
    lines = (tmp_path / "out/v1.json.gz.jsonl").read_text(encoding="utf-8").splitlines()
    found = {one["id"]: one for one in map(json.loads, lines)}
    assert len(found) == 40
    rows = {row["id"]: row for row in read_questions(str(files["v1.json.gz"])).rows}
    oracle = SQuAD()
    oracle.update(
        [{"id": name, "prediction_text": one["prediction"]} for name, one in found.items()],
        [{"id": name, "answers": rows[name]["answers"]} for name in found],
    )
    expected = oracle.compute()
    scores = result["scores"]["v1.json.gz"]
    assert 100 * scores["f1"] == pytest.approx(float(expected["f1"]), rel=1e-5)
    assert 100 * scores["exact"] == pytest.approx(float(expected["exact_match"]), rel=1e-5)
    lines = (tmp_path / "out/v2.json.gz.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [(one["prediction"], one["answers"]) for one in map(json.loads, lines)]
    f1 = [max((official.f1(guess, gold) for gold in golds), default=float(guess == "")) for guess, golds in pairs]
    assert result["scores"]["v2.json.gz"]["f1"] == pytest.approx(sum(f1) / len(f1))
