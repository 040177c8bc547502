"""Scores on sets: which threshold counts where, rows in their order, and what is written down."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, BertTokenizerFast, Trainer, TrainingArguments

from ssl_pdr.baseline import tfidf_baseline
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.evaluation_sets import EvaluationSet, parts_of_corpus
from ssl_pdr.data.question_corpus import load_question_corpus
from ssl_pdr.errors import ConfigError, DataError, ModelError, OutputError
from ssl_pdr.evaluation import (
    evaluate,
    evaluate_model,
    load_trained,
    main_metric,
    predict_logits,
    predictions_file,
    relative_drop,
    sets_of,
)
from ssl_pdr.metrics.answers import normalise_answer
from ssl_pdr.model_card import model_card, without_places
from ssl_pdr.run_folder import RunFolder, model_name
from ssl_pdr.tasks import QuestionAnswering, SequenceClassification
from tests.cli.conftest import model_folder, question_model, squad_folder
from tests.conftest import tiny_bert

__all__ = ["model_folder", "question_model", "squad_folder"]

LENGTH = 24


def trainer_of(model: Any, tokenizer: Any, folder: Path, rows: int = 8) -> Trainer:
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_eval_batch_size=rows,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    return Trainer(model, args, data_collator=PaddingCollator.like(tokenizer))


@pytest.fixture
def answering(question_model: Path, tmp_path: Path) -> tuple[Trainer, Any]:
    tokenizer = AutoTokenizer.from_pretrained(question_model)
    model = AutoModelForQuestionAnswering.from_pretrained(question_model)
    return trainer_of(model, tokenizer, tmp_path / "trainer"), tokenizer


@pytest.fixture
def both_sets(squad_folder: Path) -> list[EvaluationSet]:
    """Two sets of v2.0: `other` first, and `in_domain` last."""
    corpus = load_question_corpus(str(squad_folder / "v2.json"), evaluation=str(squad_folder / "dev2.json"))
    (part,) = parts_of_corpus(corpus)
    (other,) = sets_of([str(squad_folder / "v2.json")], [], TrainConfig())
    return [dataclasses.replace(other, name="other"), part]


# --- metrics of sets


def test_what_sets_are_compared_by() -> None:
    assert main_metric({"exact": 0.1, "f1": 0.2, "rows": 3}) == "f1"
    assert main_metric({"macro_f1": 0.1, "accuracy": 0.2, "rows": 3}) == "accuracy"


def test_relative_drop() -> None:
    assert relative_drop({"accuracy": 0.8}, {"accuracy": 0.6}) == pytest.approx(0.25)
    assert relative_drop({"f1": 0.5, "exact": 0.1}, {"f1": 0.6, "exact": 0.0}) == pytest.approx(-0.2)
    assert relative_drop({"f1": 0.5}, {"f1": 0.0}) == 1
    assert relative_drop({"accuracy": 0.0}, {"accuracy": 0.3}) is None


# --- logits


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_logits_come_in_the_order_of_the_rows(
    answering: tuple[Trainer, Any], both_sets: list[EvaluationSet], tmp_path: Path, batch: int
) -> None:
    """Whatever the batches, they are those of each row alone."""
    model, tokenizer = answering[0].model.eval(), answering[1]
    features = QuestionAnswering(no_answer=True, stride=8).features(
        both_sets[1].rows.select(range(6)), tokenizer, LENGTH
    )
    lengths = [len(ids) for ids in features["input_ids"]]
    assert len(set(lengths)) > 1
    start, end = predict_logits(trainer_of(model, tokenizer, tmp_path, batch), features)
    assert len(start) == len(end) == len(features)
    for place, ids in enumerate(features["input_ids"]):
        types = features["token_type_ids"][place]
        with torch.no_grad():
            alone = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        np.testing.assert_allclose(start[place, : len(ids)], alone.start_logits[0], atol=1e-4)
        np.testing.assert_allclose(end[place, : len(ids)], alone.end_logits[0], atol=1e-4)


def test_logits_of_classes_too(model_folder: Path, tmp_path: Path) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(model_folder), tiny_bert(num_labels=3).eval()
    texts = ["the film was good", "bad", "the plot is dull the actor is great", "a scene"]
    features = SequenceClassification(list("abc")).features(Dataset.from_dict({"text": texts}), tokenizer, 16)
    logits = predict_logits(trainer_of(model, tokenizer, tmp_path, 2), features)
    for place, text in enumerate(texts):
        with torch.no_grad():
            alone = model(**tokenizer(text, return_tensors="pt")).logits[0]
        np.testing.assert_allclose(logits[place], alone, atol=1e-4)


# --- the threshold of no answer


def test_the_threshold_is_chosen_in_domain_and_used_everywhere(
    answering: tuple[Trainer, Any], both_sets: list[EvaluationSet]
) -> None:
    trainer, tokenizer = answering
    # Before one is chosen no question has an answer: scores of then would be seen.
    task = QuestionAnswering(no_answer=True, stride=8, null_threshold=-1e9)
    found = evaluate(trainer, task, tokenizer, both_sets, LENGTH)
    chosen = found.scores["in_domain"]["best_f1_threshold"]
    assert isinstance(found.task, QuestionAnswering)
    assert found.task.null_threshold == chosen != 0
    assert found.task.settings() == {"no_answer_slot": True, "null_threshold": chosen}
    assert found.scores["in_domain"]["f1"] == pytest.approx(found.scores["in_domain"]["best_f1"])
    assert list(found.scores) == list(found.predictions) == ["in_domain", "other"]
    fixed = dataclasses.replace(task, null_threshold=chosen)
    alone = evaluate(trainer, fixed, tokenizer, both_sets[:1], LENGTH, tune_on=None)
    assert alone.scores["other"] == found.scores["other"]
    assert alone.predictions["other"] == found.predictions["other"]
    # The predictions are those at the threshold: scored by another hand they give the same exact match.
    for one in both_sets:
        golds = dict(zip(one.rows["id"], one.rows["answers"], strict=True))
        rows = found.predictions[one.name]
        exact = [
            normalise_answer(row["prediction"]) in ([normalise_answer(t) for t in golds[row["id"]]["text"]] or [""])
            for row in rows
        ]
        assert found.scores[one.name]["exact"] == pytest.approx(np.mean(exact))


def test_nothing_is_chosen_where_nothing_is_to_be(
    answering: tuple[Trainer, Any], both_sets: list[EvaluationSet]
) -> None:
    trainer, tokenizer = answering
    given = QuestionAnswering(no_answer=True, stride=8, null_threshold=0.25)
    assert evaluate(trainer, given, tokenizer, both_sets, LENGTH, tune_on=None).task == given
    assert evaluate(trainer, given, tokenizer, both_sets[:1], LENGTH).task == given
    never = QuestionAnswering(no_answer=False, stride=8)
    found = evaluate(trainer, never, tokenizer, both_sets, LENGTH)
    assert found.task == never
    assert found.scores["in_domain"]["no_answer_exact"] == 0  # it never says that there is no answer
    assert all(row["prediction"] and "no_answer_probability" not in row for row in found.predictions["in_domain"])


# --- a model of three classes on HANS


@pytest.fixture
def inference(model_folder: Path, tmp_path: Path) -> Path:
    """A tiny model for inference whose classes are written in capitals, in an order of their own."""
    folder = tmp_path / "nli"
    model = tiny_bert(num_labels=3)
    names = ["CONTRADICTION", "ENTAILMENT", "NEUTRAL"]
    model.config.id2label, model.config.label2id = dict(enumerate(names)), {name: i for i, name in enumerate(names)}
    model.save_pretrained(folder)
    BertTokenizerFast.from_pretrained(model_folder).save_pretrained(folder)
    header = "gold_label\tsentence1\tsentence2\theuristic"
    rows = [
        f"{('entailment', 'non-entailment')[n % 2]}\tthe film was {w} {n}\tthe film was {v}\t{('subsequence', 'constituent')[n % 3 == 0]}"
        for n, (w, v) in enumerate(
            zip(["good", "bad", "dull", "great"] * 5, ["fine", "awful", "good", "poor", "bad"] * 4, strict=True)
        )
    ]
    (tmp_path / "heuristics_evaluation_set.txt").write_text("\n".join([header, *rows]), encoding="utf-8")
    return folder


@pytest.mark.parametrize("how", ["argmax", "sum"])
def test_classes_collapse_for_hans(inference: Path, tmp_path: Path, how: str) -> None:
    config = TrainConfig(model=str(inference), data_dir=str(tmp_path), max_length=20, collapse=how)
    result = evaluate_model(config, ["hans"], output=tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "hans.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == result["scores"]["hans"]["rows"] == 20
    for row in rows:
        shares = row["probabilities"]
        entails = shares["ENTAILMENT"] > (0.5 if how == "sum" else max(shares["NEUTRAL"], shares["CONTRADICTION"]))
        assert row["prediction"] == ("entailment" if entails else "non-entailment")
    assert result["scores"]["hans"]["accuracy"] == pytest.approx(np.mean([r["prediction"] == r["label"] for r in rows]))
    assert {"subsequence", "constituent", "subsequence_entailment"} <= set(result["scores"]["hans"])
    assert (result["task"], result["config"]["collapse"]) == ("classification", how)


# --- models and sets that do not go


def test_what_is_no_trained_model(model_folder: Path, inference: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a set to evaluate on; give --on"):
        evaluate_model(TrainConfig(model=str(inference)), [])
    with pytest.raises(DataError, match="hans"):
        evaluate_model(TrainConfig(model=str(model_folder), data_dir=str(tmp_path)), ["hans"])
    task, _, _ = load_trained(TrainConfig(model=str(inference)))
    assert isinstance(task, SequenceClassification)
    assert task.label_names == ["CONTRADICTION", "ENTAILMENT", "NEUTRAL"]
    config = json.loads((inference / "config.json").read_text(encoding="utf-8"))
    for kinds, shown in (
        (["BertForMaskedLM"], "BertForMaskedLM"),
        ([], "model without a head"),
        (None, "model without"),
    ):
        (inference / "config.json").write_text(json.dumps(config | {"architectures": kinds}), encoding="utf-8")
        with pytest.raises(
            ModelError, match=f"is a {shown}.*; expected one that was trained for classification or question"
        ):
            load_trained(TrainConfig(model=str(inference)))


def test_names_of_sets_are_taken_once(squad_folder: Path) -> None:
    file = str(squad_folder / "v1.json")
    with pytest.raises(
        DataError, match=r"two sets to evaluate on are called 'v1.json'; leave one out, or rename its file"
    ):
        sets_of([file, file], [], TrainConfig())
    with pytest.raises(DataError, match=r"called 'v1.json'"):
        sets_of([file], [], TrainConfig(), taken=["in_domain", "v1.json"])


def test_names_that_differ_in_case_are_one(model_folder: Path, tmp_path: Path) -> None:
    """There are disks on which their predictions would be one file."""
    for name in ("a.csv", "b/A.csv"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("text,label\ngood,pos\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"called 'A.csv'; leave one out, or rename its file"):
        sets_of([str(tmp_path / "a.csv"), str(tmp_path / "b" / "A.csv")], ["pos"], TrainConfig())


@pytest.mark.parametrize(
    "names",
    [
        ["", ".", "..", "...", " "],
        ["/", "../x", "..\\x", "a/b", "a\\b", "/etc/x", "a\0b"],
        [".hidden", "hidden", "-rf", "rf"],
        ["x*.csv", "x?.csv", "x_.csv", "\udcff.csv", "a\nb", "a\x1bb"],
        ["n" * 400, "n" * 401, "ü" * 200],
    ],
)
def test_predictions_stay_in_their_folder(tmp_path: Path, names: list[str]) -> None:
    """No name escapes or hides, none is too long for a disk, and no two share a file."""
    files = [predictions_file(name) for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert (tmp_path / file).resolve().parent == tmp_path
        assert file.endswith(".jsonl")
        assert file.isprintable()
        assert not file.startswith((".", "-"))
        assert len(file.encode()) < 200
        (tmp_path / file).touch()
    for name in ("reviews.csv", "hans", "pydocs-topics in_domain", "Übung 1.csv"):
        assert predictions_file(name) == f"{name}.jsonl"


# --- what a model has to beat


def test_the_baseline_sees_labelled_rows_only() -> None:
    """Rows without a label, and parts that are evaluated on, have no influence on what it learns."""
    words = {0: "good fine", 1: "bad dull"}
    train = Dataset.from_dict({"text": [f"{words[n % 2]} {n}" for n in range(20)], "label": [n % 2 for n in range(20)]})
    part = Dataset.from_dict({"text": ["fine", "dull", "good", "bad"], "label": [0, 1, 0, 0]})
    scores = tfidf_baseline(train, [0, 1, 2, 3], {"in_domain": part})
    assert scores["in_domain"]["accuracy"] == 0.75
    shuffled = train.map(lambda row, n: row if n < 4 else {**row, "label": 1 - row["label"]}, with_indices=True)
    assert tfidf_baseline(shuffled, [0, 1, 2, 3], {"in_domain": part}) == scores


def test_the_baseline_reads_pairs_and_signs() -> None:
    pairs = {"text": ["same"] * 8, "text_pair": ["yes indeed", "no never"] * 4, "label": [0, 1] * 4}
    table = Dataset.from_dict(pairs)
    assert tfidf_baseline(table, range(8), {"a": table})["a"]["accuracy"] == 1
    signs = Dataset.from_dict({"text": ["☺", "☹"] * 4, "label": [0, 1] * 4})
    assert tfidf_baseline(signs, range(8), {"a": signs})["a"]["accuracy"] == 1


def test_a_baseline_of_too_many_weights_is_not_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Dataset.from_dict({"text": ["good", "bad"] * 4, "label": [0, 1] * 4})
    monkeypatch.setattr("ssl_pdr.baseline._MOST", 3)
    with pytest.raises(DataError, match="tf-idf would have 4 weights for all words and classes, expected at most 3"):
        tfidf_baseline(table, range(8), {"a": table})


# --- what is written


QUESTIONS = {
    "task": "question-answering",
    "reg": "none",
    "alpha": 1.0,
    "seed": 3,
    "max_length": 20,
    "max_answer_length": 4,
}


def test_a_card_cannot_be_broken_by_names(tmp_path: Path) -> None:
    result: dict[str, Any] = {
        "config": {**QUESTIONS, "model": "a`b|*c_d"},
        "budget": {"labelled": 3, "unlabelled": 4},
        "objective": {"divergence": None},
        "data": {"name": "<b>|\n# x", "fingerprint": "f" * 64, "labels": ["answerable"]},
        "split_hash": "s" * 64,
        "versions": {"ssl-pdr": "1"},
        "scores": {
            "in_domain": {"f1": 0.5, "exact": 0.25, "rows": 4},
            "odd|[name]": {"accuracy": 1.0, "macro_f1": 1.0, "rows": 2},
        },
    }
    model_card(tmp_path, result)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| in\\_domain | 4 |  |  | 0.5000 | 0.2500 |" in card
    assert "| odd\\|\\[name\\] | 2 | 1.0000 | 1.0000 |  |  |" in card
    assert "# \\<b\\>\\| \\# x, none" in card
    assert "fine-tuned from `a'b|*c_d` with" in card
    assert "pipeline_tag: question-answering" in card
    assert "ssl-pdr evaluate path/to/this/folder --on questions.json" in card
    assert "null" not in card
    widths = {line.replace("\\|", "").count("|") for line in card.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def card_of(folder: Path, config: dict[str, Any], **more: Any) -> str:
    result = {
        "config": config,
        "budget": {"labelled": 3, "unlabelled": 4},
        "objective": {"divergence": None},
        "data": {"name": "mine", "fingerprint": "f" * 64, "labels": ["answerable"]},
        "split_hash": "s" * 64,
        "versions": {"ssl-pdr": "1"},
        "scores": {"in_domain": {"f1": 0.5, "exact": 0.25, "rows": 4}},
    }
    model_card(folder, {**result, **more})
    return (folder / "README.md").read_text(encoding="utf-8")


def run_snippet(card: str, folder: Path, **instead: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    for old, new in {"path/to/this/folder": str(folder), **instead}.items():
        assert old in code
        code = code.replace(old, new)
    printed: list[str] = []
    exec(code, {"print": printed.append})
    return "".join(printed)


@pytest.mark.parametrize("threshold", [None, -1e9, 1e9])
def test_a_card_shows_how_to_ask(question_model: Path, tmp_path: Path, threshold: float | None) -> None:
    """What it prints is what `evaluate` predicts."""
    folder = tmp_path / "model"
    shutil.copytree(question_model, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings = {"no_answer_slot": threshold is not None, "null_threshold": threshold}
    (folder / "config.json").write_text(json.dumps(config | settings), encoding="utf-8")
    card = card_of(folder, {**QUESTIONS, "model": "/home/me/bert"}, null_threshold=threshold)
    assert "/home" not in card
    assert ("(`null_threshold`)" in card) == (threshold is not None)
    question, passage = "the film is ?", "the film was good a scene was dull"
    row = {"id": "1", "question": question, "context": passage, "answers": {"text": [], "answer_start": []}}
    (tmp_path / "q.jsonl").write_text(json.dumps(row), encoding="utf-8")
    options = TrainConfig(model=str(folder), max_length=20, stride=2, max_answer_length=4)
    evaluate_model(options, [str(tmp_path / "q.jsonl")], output=tmp_path / "out")
    (line,) = (tmp_path / "out" / "q.jsonl.jsonl").read_text(encoding="utf-8").splitlines()
    asked = {"Who wrote it?": question, "It was Ada who wrote it.": passage}
    answer = json.loads(line)["candidates"][0]["text"]
    assert run_snippet(card, folder, **asked) == ("" if threshold == -1e9 else answer)


def test_a_card_shows_how_to_classify(model_folder: Path, tmp_path: Path) -> None:
    card = card_of(tmp_path, {**QUESTIONS, "task": "classification", "model": "owner/name"})
    assert "fine-tuned from `owner/name` with" in card
    assert "pipeline_tag: text-classification" in card
    run_snippet(card, model_folder)


def test_names_in_place_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    run.write_config(TrainConfig())
    monkeypatch.chdir(tmp_path)
    for given, name in {
        "owner/name": "owner/name",
        "bert-base-cased": "bert-base-cased",
        str(tmp_path / "bert"): "bert",
        "~/bert": "bert",
        "./bert/": "bert",
        ".": tmp_path.name,
        "run/model": "run/model",
        str(run.model): "run/model",
    }.items():
        assert model_name(given) == name
    places = {name: str(tmp_path / f"{name}.csv") for name in ("data", "eval", "split", "output", "data_dir")}
    lists = {name: ("imdb", str(tmp_path / "x.csv")) for name in ("eval_on", "unlabelled")}
    others: dict[str, Any] = {"label_map": ("a/b=c",), "model": str(tmp_path / "bert"), "radius": None, "task": None}
    config = TrainConfig(**places, **lists, **others)
    made = without_places(vars(config))
    assert str(tmp_path) not in json.dumps(made)
    assert set(made) == {name for name, value in vars(config).items() if value is not None}
    assert (made["data"], made["eval_on"], made["label_map"]) == ("data.csv", ["imdb", "x.csv"], ("a/b=c",))


def test_a_run_that_cannot_be_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.is_run
    with pytest.raises(OutputError, match="holds no run"):
        folder.read_finished()
    folder.create()
    folder.write_config(TrainConfig(data="a.csv"))
    assert folder.is_run
    with pytest.raises(OutputError, match="is not finished; go on with: ssl-pdr train --resume"):
        folder.read_finished()
    folder.write_result({"scores": {}})
    with pytest.raises(OutputError, match="no model"):
        folder.read_finished()
    folder.model.mkdir()
    (folder.model / "config.json").write_text("{}", encoding="utf-8")
    folder.split.write_text("x", encoding="utf-8")
    config, result = folder.read_finished()
    assert (config.data, config.split, config.output, result) == ("a.csv", None, str(folder.path), {"scores": {}})
    folder.write_config(TrainConfig(data="a.csv", split="elsewhere.json"))
    assert folder.read_finished()[0].split == str(folder.split)
    folder.evaluation.mkdir()
    folder.clear()
    assert sorted(path.name for path in folder.path.iterdir()) == ["config.toml"]
