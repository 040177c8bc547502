"""Loading models and scoring answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertTokenizerFast

from ssl_pdr.data import tables
from ssl_pdr.data.evaluation_sets import EvaluationSet
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.tasks import SequenceClassification
from ssl_pdr.tasks.base import load_tokenizer, tokenizer_key
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


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"num_hidden_layers": 1001}, r"has 1,001 layers in its config\.json; expected at most 1,000"),
        (
            {"hidden_dropout_prob": 1.5},
            r"has hidden_dropout_prob = 1\.5 in its config\.json; expected a number from 0 to 1",
        ),
        ({"attention_probs_dropout_prob": float("nan")}, "has attention_probs_dropout_prob = nan in its config"),
    ],
)
def test_a_shape_that_no_model_has_is_refused_before_it_is_made(
    tmp_path: Path, says: dict[str, float], message: str
) -> None:
    tiny_bert(num_labels=2).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps(config | says), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        TASK.load_model(str(tmp_path))


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


def test_scores_and_predictions() -> None:
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    rows = Dataset.from_dict({"text": ["a", "b", "c", "d"], "label": [0, 1, 1, 0]})
    one = EvaluationSet("x", rows, "accuracy", np.zeros(4, np.uint64), TASK.label_names)
    scores, predictions = TASK.judge(logits, None, one)
    assert scores == {"accuracy": 0.75, "macro_f1": pytest.approx((0.8 + 2 / 3) / 2), "rows": 4}
    shares = {"no": pytest.approx(0.731059), "yes": pytest.approx(0.268941)}
    assert predictions[2] == {"row": 2, "prediction": "no", "label": "yes", "probabilities": shares}
    assert TASK.tuned(scores) is TASK
    assert TASK.settings() == {}


def test_hans_by_heuristic_with_classes_taken_as_one() -> None:
    task = SequenceClassification(["contradiction", "entailment", "neutral"])
    logits = np.log([[0.3, 0.4, 0.3], [0.3, 0.4, 0.3], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    groups = ["subsequence", "subsequence", "constituent", "constituent"]
    rows = Dataset.from_dict({"text": list("abcd"), "text_pair": list("abcd"), "label": [0, 1, 0, 1], "group": groups})
    collapse = {"neutral": "non-entailment", "contradiction": "non-entailment"}
    names = ("entailment", "non-entailment")
    found = {}
    for how in ("argmax", "sum"):
        one = EvaluationSet("hans", rows, "hans", np.zeros(4, np.uint64), names, collapse, how)
        scores, predictions = task.judge(logits, None, one)
        found[how] = scores["accuracy"], scores["subsequence"], scores["constituent"]
        assert set(predictions[0]["probabilities"]) == set(task.label_names)
    assert found == {"argmax": (0.75, 0.5, 1.0), "sum": (0.75, 0.5, 1.0)}
    assert task.label_text(-100, [], None) is None
    assert task.label_text(2, [], None) == "neutral"


def test_pairs_are_tokenized_together() -> None:
    seen = []

    def tokenizer(*texts: list[str], **options: object) -> dict[str, list[list[int]]]:
        seen.append((len(texts), options))
        return {"input_ids": [[1, 2]] * len(texts[0])}

    table = Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"], "label": [0, 1]})
    features = TASK.features(table, tokenizer, 12)
    assert features[1] == {"input_ids": [1, 2], "labels": 1, "cut": False}
    assert seen[0] == (2, {"truncation": True, "max_length": 12})


@pytest.fixture
def words(tmp_path: Path) -> BertTokenizerFast:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij"]))
    return BertTokenizerFast(vocab=str(vocab))


def test_texts_that_are_cut_are_marked(words: BertTokenizerFast) -> None:
    table = Dataset.from_dict({"text": ["a b c", "a b c d", "a"], "label": [0, None, 1]})
    features = TASK.features(table, words, 5)
    assert list(features["cut"]) == [False, True, False]
    assert list(features["labels"]) == [0, -100, 1]
    assert features.column_names[:1] == ["input_ids"]


def test_long_documents_become_windows_without_a_word_lost(words: BertTokenizerFast) -> None:
    table = Dataset.from_dict({"text": ["a b c d e f g", "h", "i j"]})
    features = TASK.features(table, words, 5, windows=True)
    assert [words.decode(ids, skip_special_tokens=True) for ids in features["input_ids"]] == [
        "a b c",
        "d e f",
        "g",
        "h",
        "i j",
    ]
    assert not any(features["cut"])
    assert "overflow_to_sample_mapping" not in features.column_names
    pairs = Dataset.from_dict({"text": ["a"], "text_pair": ["b"]})
    with pytest.raises(ConfigError, match="single texts and fast tokenizers only"):
        TASK.features(pairs, words, 5, windows=True)


def test_large_tables_are_tokenized_once(words: BertTokenizerFast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CACHE_FROM_ROWS", 2)
    table = Dataset.from_dict({"text": ["a b", "c"], "label": [0, 1]})
    first = TASK.features(table, words, 5, key="a key of this test")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tokenized again")

    again = TASK.features(table, refuse, 5, key="a key of this test")
    assert again.to_dict() == first.to_dict()
    assert tokenizer_key(words) != tokenizer_key(BertTokenizerFast(vocab={"[UNK]": 0, "z": 1}))
