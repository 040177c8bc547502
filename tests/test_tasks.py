"""Loading models and scoring answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from ssl_pdr.errors import ModelError
from ssl_pdr.tasks import SequenceClassification, list_tasks
from ssl_pdr.tasks.base import load_tokenizer
from tests.conftest import tiny_bert

TASK = SequenceClassification(["no", "yes"])


def test_models_load_in_float32_whatever_they_were_saved_in(tmp_path: Path) -> None:
    """Trap 17: transformers would take the checkpoint's bfloat16, in which the noise vanishes."""
    tiny_bert(num_labels=2, dtype=torch.bfloat16).save_pretrained(tmp_path)
    model = TASK.load_model(str(tmp_path))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config.id2label == {0: "no", 1: "yes"}


def test_a_head_for_other_classes_is_replaced(tmp_path: Path) -> None:
    tiny_bert(num_labels=5).save_pretrained(tmp_path)
    assert TASK.load_model(str(tmp_path)).classifier.out_features == 2


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path) -> None:
    model = tiny_bert(num_labels=2)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot load a model from the folder"):
        TASK.load_model(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot load a model from the folder") as error:
        load_tokenizer(str(tmp_path))
    assert "\n" not in str(error.value)


def test_scores() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    scores = TASK.scores(logits, np.array([0, 1, 1, 0]))
    assert scores == {"accuracy": 0.75, "macro_f1": pytest.approx((0.8 + 2 / 3) / 2), "rows": 4}


def test_pairs_are_tokenized_together() -> None:
    seen = []

    def tokenizer(*texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        seen.append((len(texts), options))
        return {"input_ids": [[1, 2]] * len(texts[0])}

    table = Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"], "label": [0, 1]})
    features = TASK.features(table, tokenizer, 12)
    assert features[1] == {"input_ids": [1, 2], "labels": 1}
    assert seen[0] == (2, {"truncation": True, "max_length": 12})


def test_there_is_a_list_of_tasks() -> None:
    assert list_tasks() == ["classification"]
