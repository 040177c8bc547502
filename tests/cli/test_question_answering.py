"""Question answering on the command line: from a file in SQuAD's format to a model that answers, on a tiny real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from ssl_pdr.data.splits import LabelSplit
from tests.cli.conftest import Run, one_line, write_squad

LENGTHS = ["--max-length", 24, "--stride", 8]


@pytest.fixture
def asked(question_model: Path, squad_folder: Path, tmp_path: Path) -> list[object]:
    """`ssl-pdr train` on the file of v2.0, two steps."""
    options = ["--data", squad_folder / "v2.json", "--model", question_model, "--output", tmp_path / "run"]
    return ["train", *options, *LENGTHS, "--max-steps", 2]


def on_v1(arguments: list[object], squad_folder: Path) -> list[object]:
    return [squad_folder / "v1.json" if argument == squad_folder / "v2.json" else argument for argument in arguments]


# --- training


@pytest.mark.parametrize(
    "method",
    [
        ["--reg", "none"],
        ["--reg", "vat", "--div", "jsd"],
        ["--reg", "rpt"],
        ["--reg", "rdrop"],
        ["--reg", "at"],
        ["--reg", "jr", "--projections", 1],
        ["--reg", "wjr", "--projections", 1],
        ["--reg", "vat", "--preset", "published-code"],
    ],
    ids=lambda method: "-".join(map(str, method[1::2])),
)
def test_every_method_trains_and_leaves_a_model(
    run: Run, asked: list[object], tmp_path: Path, method: list[str]
) -> None:
    code, out, err = run(*asked, *method, "--labelled-frac", 0.5, "--json")
    assert code == 0, err
    result = json.loads(out)
    folder = tmp_path / "run"
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == result
    scores = result["scores"]["in_domain"]
    assert set(result["scores"]) == {"in_domain"}
    assert {"f1", "exact", "has_answer_f1", "no_answer_exact", "best_f1"} <= set(scores)
    assert scores["f1"] == pytest.approx(scores["best_f1"])  # at the threshold that is best there
    assert result["null_threshold"] == scores["best_f1_threshold"]
    assert result["budget"]["labelled_per_class"] == {"answerable": 18, "unanswerable": 6}
    assert (result["config"]["task"], result["config"]["reg"]) == ("question-answering", method[1])
    assert (result["objective"]["r"] or 0) >= 0
    model = AutoModelForQuestionAnswering.from_pretrained(folder / "model").eval()
    assert (model.config.no_answer_slot, model.config.null_threshold) == (True, result["null_threshold"])
    inputs = AutoTokenizer.from_pretrained(folder / "model")(
        "the film is ?", "the film was good .", return_tensors="pt"
    )
    with torch.no_grad():
        logits = model(**inputs)
    assert logits.start_logits.shape == logits.end_logits.shape == inputs["input_ids"].shape
    assert torch.isfinite(logits.start_logits).all()


def test_without_unanswerable_questions_there_is_no_threshold(
    run: Run, asked: list[object], squad_folder: Path
) -> None:
    dev = squad_folder / "dev1.json"
    code, out, err = run(*on_v1(asked, squad_folder), "--eval", dev, "--reg", "vat", "--div", "jsd", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert set(result["scores"]["in_domain"]) == {"f1", "exact", "rows"}
    assert result["scores"]["in_domain"]["rows"] == 24
    assert result["null_threshold"] is None
    assert result["data"]["labels"] == ["answerable"]
    assert result["relative_drop"] == {}
    # A question of v1.1 has two windows or more, and only some hold its answer: the rest is trained on by R.
    assert result["budget"] == {
        "labelled": 48,
        "unlabelled": 0,
        "fraction": 1.0,
        "labelled_per_class": {"answerable": 48},
    }
    assert result["objective"]["labelled_share"] < 1


def test_training_learns(run: Run, asked: list[object], squad_folder: Path) -> None:
    """Of what it was trained on it finds most, word for word: with labels at wrong positions it could not."""
    options = ["--eval", squad_folder / "v1.json", "--reg", "none", "--max-length", 40, "--lr", "3e-3", "--json"]
    begin, end = (
        json.loads(run(*on_v1(asked, squad_folder), *options, "--max-steps", steps, "--overwrite")[1])
        for steps in (1, 300)
    )
    assert begin["scores"]["in_domain"]["exact"] < 0.2
    assert end["scores"]["in_domain"]["exact"] > 0.4


def test_further_sets_and_their_drop(run: Run, asked: list[object], squad_folder: Path, tmp_path: Path) -> None:
    write_squad(tmp_path / "sample1k-HCVerifyAll.json", range(12, 14), version="v1.1")
    sets = ["--eval-on", squad_folder / "dev1.json", "--eval-on", squad_folder / "dev2.json", "--eval-on", "addsent"]
    code, out, err = run(*asked, *sets, "--data-dir", tmp_path, "--reg", "none", "--json")
    assert code == 0, err
    result = json.loads(out)
    scores = result["scores"]
    assert list(scores) == ["in_domain", "dev1.json", "dev2.json", "addsent"]
    assert [scores[name]["rows"] for name in scores] == [16, 24, 32, 12]
    assert "best_f1" in scores["dev2.json"]
    assert set(scores["dev1.json"]) == {"f1", "exact", "rows"}
    assert {"rows_f1", "original_f1"} <= set(scores["addsent"])
    before = scores["in_domain"]["f1"]
    for name, drop in result["relative_drop"].items():
        assert drop == pytest.approx((before - scores[name]["f1"]) / before, abs=1e-6)
    assert set(result["relative_drop"]) == {"dev1.json", "dev2.json", "addsent"}
    assert set(result["data"]["evaluation_fingerprints"]) == {"dev1.json", "dev2.json", "addsent"}
    card = (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: question-answering" in card
    assert f"| addsent | 12 | {scores['addsent']['f1']:.4f} | {scores['addsent']['exact']:.4f} |" in card


def test_a_set_with_training_questions_is_told_of(
    run: Run, asked: list[object], squad_folder: Path, tmp_path: Path
) -> None:
    """It is training questions that are counted, however often a set has them."""
    text = (squad_folder / "v1.json").read_text(encoding="utf-8")
    again = json.loads(text.replace('"id": "', '"id": "again '))
    twice = tmp_path / "twice.json"
    twice.write_text(json.dumps({"version": "1.1", "data": json.loads(text)["data"] + again["data"]}), encoding="utf-8")
    code, out, err = run(*asked, "--eval-on", twice, "--reg", "none", "--json")
    assert code == 0, err
    result = json.loads(out)
    # The questions of v2.0 that have an answer are those of v1.1; the held-out articles are not trained on.
    assert result["scores"]["twice.json"]["rows"] == 96
    assert result["data"]["notes"]["training texts that are also in twice.json"] == 36
    assert any("leak" in warning and "36" in warning for warning in result["data"]["warnings"])
    limited = json.loads(run(*asked, "--overwrite", "--eval-limit", 7, "--reg", "none", "--json")[1])
    assert limited["scores"]["in_domain"]["rows"] == 7


def test_a_person_sees_f1_and_exact_match(run: Run, asked: list[object], squad_folder: Path) -> None:
    code, out, err = run(*asked, "--eval-on", squad_folder / "dev1.json", "--reg", "none")
    assert code == 0
    for words in ("F1", "exact match", "relative drop", "in-domain", "dev1.json", "has answer f1", "run/model"):
        assert words in out
    assert "tf-idf" not in out
    assert "baseline" not in err


def test_unlabelled_questions(run: Run, asked: list[object], squad_folder: Path, tmp_path: Path) -> None:
    more = write_squad(tmp_path / "more.json", range(20, 24), version="v1.1")
    options = ["--eval", squad_folder / "dev2.json", "--labelled-count", 8, "--reg", "vat", "--json"]
    code, out, err = run(*asked, *options, "--unlabelled", f"{more}:2")
    assert code == 0, err
    result = json.loads(out)
    assert result["data"]["unlabelled"] == [{"name": "more.json", "rows": 24, "weight": 2.0}]
    assert (result["budget"]["labelled"], result["budget"]["unlabelled"]) == (8, 56)
    assert result["objective"]["labelled_share"] < 0.5


def test_resume_ends_where_an_unbroken_run_ends(run: Run, asked: list[object], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ["--labelled-frac", 0.5, "--save-steps", 2, "--max-steps", 4, "--div", "jsd", "--json"]
    for folder in (whole, broken):
        assert run(*asked, *options, "--output", folder)[0] == 0
    (broken / "result.json").unlink()
    (broken / "checkpoints" / "checkpoint-4" / "trainer_state.json").unlink()
    code, out, err = run("train", "--resume", broken, "--json")
    assert code == 0, err
    resumed, unbroken = json.loads(out), json.loads((whole / "result.json").read_text(encoding="utf-8"))
    assert resumed["timing"]["resumed_from_step"] == 2
    assert resumed["scores"] == unbroken["scores"]
    assert resumed["null_threshold"] == unbroken["null_threshold"]
    a, b = (AutoModelForQuestionAnswering.from_pretrained(folder / "model") for folder in (whole, broken))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_dry_run_shows_the_answers_of_labelled_windows(run: Run, asked: list[object], tmp_path: Path) -> None:
    code, out, err = run(*asked, "--labelled-frac", 0.5, "--dry-run", "--json")
    assert code == 0, err
    shown = json.loads(out)
    labels = [row["label"] for row in shown["first_batch"]]
    labelled = [label for label in labels if label is not None]
    assert 0 < len(labelled) < len(labels) == 16
    for row in shown["first_batch"]:
        assert row["tokens"] <= 24
        assert row["label"] in (None, "[CLS]") or row["label"] in row["text"]
    assert shown["labelled"] == shown["notes"]["windows of labelled questions"]
    assert not (tmp_path / "run").exists()
    assert "[CLS]" in run(*asked, "--dry-run")[1]


# --- budgets and data


def test_a_budget_of_whole_articles(run: Run, squad_folder: Path, tmp_path: Path, asked: list[object]) -> None:
    file = tmp_path / "split.json"
    by_title = ["--split-strategy", "group", "--group-column", "title", "--labelled-count", 20]
    data = ["--data", squad_folder / "v2.json", "--eval", squad_folder / "dev2.json"]
    code, out, err = run("split", *data, *by_title, "--output", file, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["asked"], facts["labelled"], facts["unlabelled"]) == (20, 16, 48)  # an article has eight questions
    assert facts["classes"] == {
        "answerable": {"labelled": 12, "rows": 48},
        "unanswerable": {"labelled": 4, "rows": 16},
    }
    articles = [row // 8 for row in LabelSplit.load(file).labelled]
    assert [articles.count(article) for article in set(articles)] == [8, 8]
    options = ["--eval", squad_folder / "dev2.json", "--split", file, "--reg", "none", "--json"]
    code, out, err = run(*asked, *options, "--group-column", "title")
    assert code == 0, err
    assert json.loads(out)["split_hash"] == facts["hash"]
    code, out, _ = run("split", *data, *by_title, "--output", file, "--overwrite")
    assert "16 labelled (of 20 asked for: groups stay whole) and 48 unlabelled rows" in out


def test_data_shows_questions(run: Run, squad_folder: Path, question_model: Path) -> None:
    options = ["--model", question_model, *LENGTHS[:2], "--unlabelled", squad_folder / "dev1.json"]
    code, out, err = run("data", squad_folder / "v2.json", *options, "--json")
    assert code == 0, err
    report = json.loads(out)
    parts = {part["name"]: part for part in report["parts"]}
    assert list(parts) == ["train", "in_domain", "unlabelled dev1.json"]
    assert [part["rows"] for part in parts.values()] == [48, 16, 24]
    assert len(report["fingerprint"]) == 64
    code, out, err = run("data", squad_folder / "v2.json", *options, "--no-near")
    assert code == 0, err
    assert "unanswerable" in out


def test_list_has_the_sets_of_questions(run: Run) -> None:
    listing = json.loads(run("list", "--json")[1])
    assert {"pydocs-qa", "squad", "squad_v2", "addsent", "bioasq"} <= set(listing["data"])
    assert "question-answering" in listing["tasks"]
    out = run("list")[1]
    assert "AddOneSent" in out
    assert "pydocs-qa" in out


# --- what can be wrong


def edited(source: Path, target: Path, change: Callable[[dict[str, Any]], None], *, only: int | None = None) -> Path:
    """The file with each question changed, or only the one of this place."""
    document = json.loads(source.read_text(encoding="utf-8"))
    passages = [paragraph for article in document["data"] for paragraph in article["paragraphs"]]
    for place, (passage, question) in enumerate((p, q) for p in passages for q in p["qas"]):
        if only in (None, place):
            change({"passage": passage, "question": question})
    target.write_text(json.dumps(document), encoding="utf-8")
    return target


def misplace(row: dict[str, Any]) -> None:
    for answer in row["question"]["answers"]:
        answer["answer_start"] += 1


def lengthen(row: dict[str, Any]) -> None:
    row["question"]["question"] = "the film " * 20


def widen(row: dict[str, Any]) -> None:
    row["passage"]["context"] += " the film was good" * 20


def empty(row: dict[str, Any]) -> None:
    row["passage"]["context"] = "\x01"
    row["question"] |= {"answers": [], "is_impossible": True}


def test_misplaced_answers_are_counted(run: Run, asked: list[object], squad_folder: Path, tmp_path: Path) -> None:
    file = edited(squad_folder / "v1.json", tmp_path / "some.json", misplace, only=1)
    options = ["--reg", "none", "--eval", squad_folder / "dev1.json", "--json"]
    code, out, err = run(*asked, "--data", file, *options)
    assert code == 0, err
    result = json.loads(out)
    kind = "questions whose answer is not at its offset, left out (the first: 0.0.1)"
    assert result["data"]["notes"][kind] == 1
    assert result["budget"]["labelled"] == 47
    file = edited(squad_folder / "v1.json", tmp_path / "all.json", misplace)
    code, out, err = run(*asked, "--data", file, *options, "--overwrite")
    assert (code, out) == (2, "")
    assert "all.json has no questions that can be used; 48 questions whose answer is not at its offset" in one_line(err)


def test_a_question_too_long_for_a_window(run: Run, asked: list[object], squad_folder: Path, tmp_path: Path) -> None:
    file = edited(squad_folder / "v1.json", tmp_path / "long.json", lengthen, only=2)
    options = ["--reg", "none", "--eval", squad_folder / "dev1.json", "--json"]
    code, out, err = run(*asked, "--data", file, *options)
    assert (code, out) == (2, "")
    message = one_line(err)
    assert "question '0.0.2' has 40 tokens: a window of 24 has 0 left for the passage" in message
    assert "--skip-bad-rows" in message
    code, out, err = run(*asked, "--data", file, *options, "--skip-bad-rows", "--overwrite")
    assert code == 0, err
    assert json.loads(out)["data"]["notes"]["training questions that are too long for a window, left out"] == 1


def test_passages_without_tokens(run: Run, asked: list[object], squad_folder: Path, tmp_path: Path) -> None:
    """There is nothing to learn from; and nothing to answer with, which is a wrong answer, not a question less."""
    one = edited(squad_folder / "v2.json", tmp_path / "one.json", empty, only=0)
    code, out, err = run(*asked, "--data", one, "--eval", one, "--reg", "none", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["scores"]["in_domain"]["rows"] == 64
    assert result["scores"]["in_domain"]["no_answer_rows"] == 17
    kind = "questions whose answer is not at its offset, left out (the first: 0.0.1)"
    assert result["data"]["notes"][kind] == 2
    assert result["data"]["notes"]["training questions that are too long for a window, left out"] == 2
    every = edited(squad_folder / "v2.json", tmp_path / "every.json", empty)
    for options in (["--data", every, "--eval", one], ["--eval-on", every]):
        code, out, err = run(*asked, *options, "--reg", "none", "--overwrite")
        assert (code, out) == (2, "")
        assert "questions leaves room for its passage in a window of 24 tokens" in one_line(err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--task", "classification"],
            "v2.json holds questions with passages, which are for --task question-answering",
        ),
        (["--data", "{reviews}", "--task", "question-answering"], "rows with a text are for --task classification"),
        (["--data", "pydocs-topics", "--task", "question-answering"], "pydocs-topics is for --task classification"),
        (["--data", "pydocs-qa", "--task", "classification"], "pydocs-qa is for --task question-answering, got --task"),
        (["--task", "qa"], "unknown task 'qa'"),
        (["--stride", "20"], "which must be more than the stride of 20; raise --max-length, lower --stride"),
        (["--stride", "0"], "--stride must be a whole number from 1"),
        (["--max-length", "10"], "a window of 10 has 3 left for the passage"),
        (
            ["--max-length", "100", "--unlabelled", "{long}"],
            "the model has 64 positions; use --max-length 64",
        ),
        (
            ["--unlabelled", "{folder}/v1.json", "--stream", "--ratio", "1"],
            "--stream reads texts, not questions; leave it out",
        ),
        (["--unlabelled", "{reviews}"], "row 1 has nothing as its 'question'"),
        (
            ["--unlabelled", "{folder}/v2.json"],
            "v2.json: every one of its 64 questions is in the labelled data already",
        ),
        (["--unlabelled", "{folder}/v1.json:0"], "has a weight above 0"),
        (["--eval", "{reviews}"], "row 1 has nothing as its 'question'"),
        (["--eval", "sst2"], "sst2"),
        (
            ["--eval-on", "sst2"],
            "sst2 is a set for classification, the model is one for question-answering; leave it out",
        ),
        (["--eval-on", "{reviews}"], "reviews.csv holds texts, the model is one for question-answering; leave it out"),
        (
            ["--eval-on", "{folder}/dev2.json", "--eval-on", "{folder}/dev2.json"],
            "two sets to evaluate on are called 'dev2.json'",
        ),
        (["--eval-on", "addsent", "--data-dir", "{folder}"], "addsent: no file for its validation part"),
        (
            ["--eval-on", "squad_v2", "--data-dir", "{folder}"],
            "several files for its validation part, dev1.json and dev2.json",
        ),
        (
            ["--group-column", "question", "--split-strategy", "group"],
            "--group-column must be title or context for questions",
        ),
        (["--split-strategy", "group"], "--split-strategy group needs --group-column"),
        (["--limit", "1"], "limit: got 1, expected at least 2, one question of each kind"),
        (["--labelled-count", "1"], "leaves 1 of 2 classes without a label"),
        (["--label-map", "a=b", "--pair-column", "x"], "--pair-column and --label-map say how texts are classified"),
        (["--long-documents", "windows"], "--long-documents windows say how texts are classified"),
        (["--data", "{reviews}", "--stride", "4"], "--stride is for question answering; leave it out"),
        (["--n-best", "0"], "--n-best must be a whole number from 1"),
        (["--max-answer-length", "0"], "--max-answer-length must be a whole number from 1"),
    ],
)
def test_bad_options_get_one_line(
    run: Run, asked: list[object], reviews: Path, squad_folder: Path, options: list[str], message: str, tmp_path: Path
) -> None:
    long = edited(squad_folder / "dev1.json", tmp_path / "long.json", widen, only=0)
    given = [option.format(reviews=reviews, folder=squad_folder, long=long) for option in options]
    code, out, err = run(*asked, *given)
    assert (code, out) == (2, "")
    assert message in one_line(err)


def test_a_question_of_an_evaluation_set_that_is_too_long_counts_as_unanswered(
    run: Run, asked: list[object], squad_folder: Path, tmp_path: Path
) -> None:
    """As an error after the training it would cost a run."""
    file = edited(squad_folder / "dev1.json", tmp_path / "long.json", lengthen, only=2)
    code, out, err = run(*on_v1(asked, squad_folder), "--eval", file, "--reg", "none", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["scores"]["in_domain"]["rows"] == 24
    kind = "in_domain: questions that leave no room for their passage, scored as unanswered"
    assert result["data"]["notes"][kind] == 1


def test_rows_to_evaluate_on_are_cut_where_the_model_ends(
    run: Run, basic: list[object], reviews: Path, tmp_path: Path
) -> None:
    (tmp_path / "long.csv").write_text(f"text,label\n{'good film ' * 40},pos\nbad,neg\n", encoding="utf-8")
    code, out, err = run(*basic, "--max-length", 500, "--eval-on", tmp_path / "long.csv", "--reg", "none", "--json")
    assert code == 0, err
    assert json.loads(out)["data"]["notes"]["long.csv: texts cut at 32 tokens"] == 1


def test_an_unlabelled_corpus_that_is_evaluated_on_is_told_of(run: Run, basic: list[object], tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("text,label\na lovely scene,pos\nan awful actor,neg\n", encoding="utf-8")
    more = ["--unlabelled", tmp_path / "more.csv", "--eval-on", tmp_path / "more.csv"]
    code, out, err = run(*basic, *more, "--json")
    assert code == 0, err
    assert (
        "leak: texts of more.csv that are also in more.csv: 2; scores may be too good"
        in json.loads(out)["data"]["warnings"]
    )
