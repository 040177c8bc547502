"""Sets to evaluate on: for models of their own classes, of more classes, and of none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_pdr.data.checks import text_key
from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import load_corpus
from ssl_pdr.data.evaluation_sets import (
    EvaluationSet,
    parts_for_model,
    parts_of_corpus,
    question_scoring,
    read_evaluation,
)
from ssl_pdr.data.question_corpus import load_question_corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.errors import DataError
from ssl_pdr.metrics.classification import collapse_logits

NLI = ("entailment", "neutral", "contradiction")
SENTIMENT = ("negative", "positive")


def read(source: object, names: Sequence[str] = (), **given: Any) -> EvaluationSet:
    options: dict[str, Any] = {"columns": Columns(), "reading": Reading(), "label_map": {}, "how": "argmax"} | given
    return read_evaluation(str(source), label_names=names, **options)


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def ask(name: str, *answers: str, context: str = "It was Ada.") -> dict[str, Any]:
    found = {"text": list(answers), "answer_start": [context.index(answer) for answer in answers]}
    return {"id": name, "question": f"Who, {name}?", "context": context, "answers": found}


# --- files of texts


def test_labels_get_the_numbers_of_the_model(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,pos", "two,neg", "three,pos")
    made = read(file, ["neg", "neutral", "pos"])
    assert list(made.rows["label"]) == [2, 0, 2]
    assert (made.name, made.scoring, made.label_names, made.collapse) == (
        "a.csv",
        "accuracy",
        ("neg", "neutral", "pos"),
        {},
    )
    assert made.keys.tolist() == [text_key(text) for text in ("one", "two", "three")]
    assert made.notes == {}
    assert (
        read(file, ["pos", "neg"]).digest
        == made.digest
        != read(write(tmp_path / "b.csv", "text,label", "1,pos"), ["pos"]).digest
    )


@pytest.mark.parametrize("names", [("NEGATIVE", "POSITIVE"), ("Negative", "Positive"), SENTIMENT])
def test_classes_in_capitals_are_the_same(tmp_path: Path, names: tuple[str, str]) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,positive", "two,Negative", "three,POSITIVE")
    assert list(read(file, names).rows["label"]) == [1, 0, 1]


def test_classes_that_only_their_case_tells_apart_stay_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,US", "two,us", "three,It")
    for names in (["US", "it", "us"], ["us", "it", "US"]):
        made = read(file, names)
        assert [made.label_names[number] for number in made.rows["label"]] == ["US", "us", "it"]
    assert list(read(file, ["US", "it"], label_map={"us": "it"}).rows["label"]) == [0, 1, 1]
    with pytest.raises(DataError, match="row 1 has the label 'Us', which is none of the model's: US, us"):
        read(write(tmp_path / "b.csv", "text,label", "one,Us"), ["US", "us"])


def test_a_map_says_which_labels_are_meant(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,1", "two,0", "three,good")
    made = read(file, SENTIMENT, label_map={"1": "positive", "0": "negative", "good": "POSITIVE"})
    assert list(made.rows["label"]) == [1, 0, 1]


def test_labels_of_another_model_are_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,positive", "two,mixed", "three,mixed")
    with pytest.raises(DataError) as error:
        read(file, SENTIMENT)
    message = str(error.value)
    assert message.startswith("a.csv: row 2 has the label 'mixed', which is none of the model's: negative, positive; ")
    assert "--label-map mixed=…" in message
    assert "set for another model" in message
    assert "\n" not in message


def test_rows_need_labels(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,positive", "two,", "three,")
    with pytest.raises(
        DataError, match=r"a.csv: 2 rows have no label, the first is row 2; rows to evaluate on need one"
    ):
        read(file, SENTIMENT)
    bare = write(tmp_path / "b.csv", "text", "one", "two")
    with pytest.raises(DataError, match="label"):
        read(bare, SENTIMENT)


def test_rows_that_annotators_disagree_on_are_left_out_of_nli_only(tmp_path: Path) -> None:
    rows = [("a", "b", "entailment"), ("c", "d", "-"), ("e", "f", "neutral"), ("g", "h", "-")]
    lines = ["premise\thypothesis\tgold_label", *("\t".join(row) for row in rows)]
    made = read(write(tmp_path / "nli.tsv", *lines), NLI)
    assert list(made.rows["text"]) == ["a", "e"]
    assert list(made.rows["label"]) == [0, 1]
    assert made.notes == {"rows without an agreed label ('-'), left out": 2}
    assert made.keys.tolist() == [text_key("a", "b"), text_key("e", "f")]
    plain = write(tmp_path / "p.csv", "text,label", "one,positive", "two,-")
    with pytest.raises(DataError, match="row 2 has the label '-', which is none of the model's"):
        read(plain, SENTIMENT)
    assert list(read(plain, ["-", "positive"]).rows["label"]) == [1, 0]


def test_bad_rows_are_counted_where_they_may_be_skipped(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", "one,positive", ",negative", "two,negative,3")
    made = read(file, SENTIMENT, reading=Reading(skip_bad_rows=True))
    assert len(made.rows) == 1
    assert sum(made.notes.values()) == 2


def test_of_a_folder_the_part_for_it(tmp_path: Path) -> None:
    for part in ("train", "dev", "test"):
        write(tmp_path / f"{part}.csv", "text,label", f"{part} one,positive")
    assert list(read(tmp_path, SENTIMENT).rows["text"]) == ["dev one"]
    (tmp_path / "dev.csv").unlink()
    assert list(read(tmp_path, SENTIMENT).rows["text"]) == ["test one"]
    (tmp_path / "test.csv").unlink()
    assert list(read(tmp_path, SENTIMENT).rows["text"]) == ["train one"]
    assert read(tmp_path / "train.csv", SENTIMENT).name == "train.csv"


# --- named sets


def test_hans_for_a_model_of_three_classes(tmp_path: Path) -> None:
    header = "gold_label\tsentence1\tsentence2\theuristic"
    rows = [("entailment", "lexical_overlap"), ("non-entailment", "lexical_overlap"), ("non-entailment", "constituent")]
    lines = [f"{label}\ta {n}\tb {n}\t{heuristic}" for n, (label, heuristic) in enumerate(rows)]
    write(tmp_path / "heuristics_evaluation_set.txt", header, *lines)
    reading = Reading(data_dir=str(tmp_path))
    for names in (NLI, ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"), ("contradiction", "entailment", "neutral")):
        made = read("hans", names, reading=reading, how="sum")
        assert (made.name, made.scoring, made.how) == ("hans", "hans", "sum")
        assert made.label_names == ("entailment", "non-entailment")
        assert list(made.rows["label"]) == [0, 1, 1]
        assert list(made.rows["group"]) == ["lexical_overlap", "lexical_overlap", "constituent"]
        guessed = collapse_logits(np.eye(3), names, made.label_names, made.collapse)
        assert [made.label_names[number] for number in guessed] == [
            "entailment" if name.casefold() == "entailment" else "non-entailment" for name in names
        ]
    with pytest.raises(
        DataError,
        match=r"hans is a set for models of .*neutral.*; this one has the class 'positive'; --label-map positive=…",
    ):
        read("hans", ["entailment", "positive"], reading=reading)
    # A label map is for sets with the model's labels: these have their own.
    assert list(read("hans", NLI, reading=reading, label_map={"entailment": "neutral"}).rows["label"]) == [0, 1, 1]


def test_hans_for_a_model_of_its_own_two_classes(tmp_path: Path) -> None:
    header = "gold_label\tsentence1\tsentence2\theuristic"
    write(
        tmp_path / "heuristics_evaluation_set.txt",
        header,
        "entailment\ta\tb\tsubsequence",
        "non-entailment\tc\td\tsubsequence",
    )
    made = read("hans", ["non-entailment", "entailment"], reading=Reading(data_dir=str(tmp_path)))
    guessed = collapse_logits(np.eye(2), ["non-entailment", "entailment"], made.label_names, made.collapse)
    assert [made.label_names[number] for number in guessed] == ["non-entailment", "entailment"]


NUMBERED = {"LABEL_0": "contradiction", "LABEL_1": "Entailment", "LABEL_2": "neutral"}
GLUE = ("entailment", "not_entailment")


@pytest.mark.parametrize(
    ("names", "label_map", "entails"),
    [
        (tuple(NUMBERED), NUMBERED, "LABEL_1"),
        (GLUE, {}, "entailment"),
        (("Not-Entailment", "YES"), {"YES": "entailment"}, "YES"),
    ],
)
def test_hans_for_a_model_with_other_names(
    tmp_path: Path, names: tuple[str, ...], label_map: dict[str, str], entails: str
) -> None:
    header = "gold_label\tsentence1\tsentence2\theuristic"
    rows = ["entailment\ta\tb\tsubsequence", "non-entailment\tc\td\tsubsequence"]
    write(tmp_path / "heuristics_evaluation_set.txt", header, *rows)
    reading = Reading(data_dir=str(tmp_path))
    made = read("hans", names, reading=reading, label_map=label_map)
    assert list(made.rows["label"]) == [0, 1]
    guessed = collapse_logits(np.eye(len(names)), names, made.label_names, made.collapse)
    assert [made.label_names[number] == "entailment" for number in guessed] == [name == entails for name in names]
    for wrong in ({}, {"LABEL_0": "maybe"}, {**NUMBERED, "LABEL_2": "LABEL_0"}):
        with pytest.raises(
            DataError, match=r"this one has the class 'LABEL_\d'; --label-map LABEL_\d=… says which of them"
        ):
            read("hans", tuple(NUMBERED), reading=reading, label_map=wrong)


def test_a_set_for_the_other_task_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="sst2 is a set for classification, the model is one for question-answering; leave it out"
    ):
        read("sst2")
    with pytest.raises(
        DataError, match="squad is a set for question-answering, the model is one for classification; leave it"
    ):
        read("squad", SENTIMENT)
    texts = write(tmp_path / "a.csv", "text,label", "one,positive")
    questions = write(tmp_path / "q.jsonl", ask("1", "Ada"))
    for file, classes, message in (
        (texts, (), "a.csv holds texts, the model is one for question-answering; leave it out"),
        (questions, SENTIMENT, "q.jsonl holds questions, the model is one for classification; leave it out"),
    ):
        with pytest.raises(DataError) as error:
            read(file, classes)
        assert str(error.value) == message
    # Whoever names columns knows that they are questions; and one row that is none does not make a file one of texts.
    labelled = write(tmp_path / "l.jsonl", ask("1", "Ada") | {"label": "positive"})
    columns = Columns("question", "context")
    assert list(read(labelled, SENTIMENT, columns=columns).rows["text_pair"]) == ["It was Ada."]
    with pytest.raises(DataError, match="row 1 has nothing as its 'context'"):
        read(write(tmp_path / "h.jsonl", {"question": "Who?"}))


def test_a_set_without_the_part_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", "sentence\tlabel", "one\t1")
    with pytest.raises(DataError, match=r"sst2: no file for its validation part in .*; looked for dev.tsv"):
        read("sst2", SENTIMENT, reading=Reading(data_dir=str(tmp_path)))
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        read("sst2", SENTIMENT, reading=Reading(data_dir=str(tmp_path / "nowhere")))


def test_names_of_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given as `.` or `..` is called what the folder is called."""
    inner = tmp_path / "reviews" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        write(folder / "train.csv", "text,label", "one,positive")
    monkeypatch.chdir(inner)
    names = {source: read(source, SENTIMENT).name for source in (".", "..", "./train.csv", f"{inner}/", "*.csv")}
    assert names == {".": "inner", "..": "reviews", "./train.csv": "train.csv", f"{inner}/": "inner", "*.csv": "*.csv"}


# --- questions


def test_questions_are_scored_by_their_kinds(tmp_path: Path) -> None:
    only = read(write(tmp_path / "a.jsonl", ask("1", "Ada"), ask("2", "It", "Ada")))
    both = read(write(tmp_path / "b.jsonl", ask("1", "Ada"), ask("2")))
    assert (only.scoring, both.scoring) == ("squad", "squad_v2")
    assert (only.name, only.label_names, len(only.digest)) == ("a.jsonl", (), 64)
    assert only.rows[1]["answers"] == {"text": ["It", "Ada"], "answer_start": [0, 7]}
    assert question_scoring([0, 0, None]) == "squad"
    assert question_scoring([0, 1]) == "squad_v2"
    unknown = {name: value for name, value in ask("3").items() if name != "answers"}
    with pytest.raises(DataError, match="c.jsonl: 1 questions have no answers to compare with, the first is row 2"):
        read(write(tmp_path / "c.jsonl", ask("1", "Ada"), unknown))


def test_a_misplaced_answer_is_still_an_answer(tmp_path: Path) -> None:
    row = ask("1", "Ada") | {"answers": {"text": ["Ada"], "answer_start": [0]}}
    made = read(write(tmp_path / "a.jsonl", row, ask("2", "Ada")))
    assert list(made.rows["id"]) == ["1", "2"]


def test_named_questions(tmp_path: Path) -> None:
    qas = [
        {"id": f"5a{n}{kind}", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]}
        for n in range(2)
        for kind in ("", "-turk0")
    ]
    paragraphs = [{"context": f"Ada {n}", "qas": [question]} for n, question in enumerate(qas)]
    document = {"version": "1", "data": [{"title": "A", "paragraphs": paragraphs}]}
    for name in ("sample1k-HCVerifyAll.json", "sample1k-HCVerifySample.json"):
        write(tmp_path / name, document)
    for name in ("addsent", "addonesent"):
        made = read(name, reading=Reading(data_dir=str(tmp_path)))
        assert (made.name, made.scoring, len(made.rows)) == (name, "adversarial", 4)


# --- some rows


def test_limited_is_spread_evenly(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "text,label", *(f"text {n},{SENTIMENT[n >= 50]}" for n in range(100)))
    made = read(file, SENTIMENT)
    for rows in (1, 2, 10, 99):
        some = made.limited(rows)
        assert len(some.rows) == len(some.keys) == rows
        places = [int(text.split()[1]) for text in some.rows["text"]]
        assert places == sorted(set(places))
        gaps = np.diff(places)
        assert rows < 3 or gaps.max() - gaps.min() <= 1
        assert some.keys.tolist() == [text_key(text) for text in some.rows["text"]]
        assert rows < 2 or abs(Counter(some.rows["label"])[0] - rows / 2) <= 0.5
    assert made.limited(None) is made.limited(100) is made.limited(1000) is made
    assert (made.limited(3).digest, made.limited(3).notes) == (made.digest, made.notes)


def test_limited_keeps_the_variants_of_a_question_together() -> None:
    rows = [ask(f"q{n}{variant}", "Ada") for n in range(20) for variant in ("", "-a", "-high-b", "-c")[: 1 + n % 4]]
    questions = load_question_corpus(rows, evaluation=rows).evaluation["in_domain"]
    made = EvaluationSet("addsent", questions, "adversarial", np.arange(len(rows), dtype=np.uint64))
    some = made.limited(len(rows) // 2)
    kept = list(some.rows["id"])
    names = {name.partition("-")[0] for name in kept}
    assert len(names) == 10
    assert kept == [row["id"] for row in rows if row["id"].partition("-")[0] in names]
    assert {name.partition("-")[0] for name in made.limited(1).rows["id"]} == {"q0"}
    # Of other questions a hyphen in an id says nothing.
    plain = EvaluationSet("squad", questions, "squad", made.keys)
    assert len(plain.limited(7).rows) == 7


# --- parts of a corpus


def test_parts_of_a_corpus() -> None:
    texts = load_corpus([(f"text {n}", "ab"[n % 2]) for n in range(20)])
    (part,) = parts_of_corpus(texts)
    assert (part.name, part.scoring, list(part.label_names)) == ("in_domain", "accuracy", ["a", "b"])
    assert part.keys is texts.keys["in_domain"]
    rows = [ask(str(n), "Ada", context=f"It was Ada, {n}.") for n in range(10)]
    for held, scoring in ((rows[:3], "squad"), ([*rows[:3], ask("none")], "squad_v2")):
        (part,) = parts_of_corpus(load_question_corpus(rows, evaluation=held))
        assert (part.scoring, part.label_names, len(part.rows)) == (scoring, (), len(held))


def test_parts_of_a_corpus_for_a_model_of_another() -> None:
    texts = load_corpus([(f"text {n}", "ab"[n % 2]) for n in range(20)])
    (own,) = parts_of_corpus(texts)
    (part,) = parts_for_model(texts, ["b", "c", "A"], {})
    assert (part.name, part.digest, part.label_names) == (f"{texts.name} in_domain", texts.fingerprint, ("b", "c", "A"))
    assert list(part.rows["label"]) == [{0: 2, 1: 0}[label] for label in own.rows["label"]]
    assert list(part.rows["text"]) == list(own.rows["text"])
    assert part.keys.tolist() == own.keys.tolist()
    (mapped,) = parts_for_model(texts, ["no", "yes"], {"a": "yes", "b": "no"})
    assert list(mapped.rows["label"]) == [1 - label for label in own.rows["label"]]
    with pytest.raises(DataError, match="in_domain: row .* has the label '[ab]', which is none of the model's: x, y"):
        parts_for_model(texts, ["x", "y"], {})
    rows = [ask(str(n), "Ada", context=f"It was Ada, {n}.") for n in range(10)]
    questions = load_question_corpus(rows, evaluation=[ask("none")])
    (part,) = parts_for_model(questions, [], {})
    assert (part.name, part.scoring) == ("the list in_domain", "squad_v2")


# --- real sets


REAL: dict[str, tuple[Sequence[str], int, str]] = {
    "sst2": (SENTIMENT, 872, "accuracy"),
    "imdb": (("POSITIVE", "NEGATIVE"), 25000, "accuracy"),
    "mnli": (NLI, 9815, "accuracy"),
    "hans": (NLI, 30000, "hans"),
    "addsent": ((), 3560, "adversarial"),
    "addonesent": ((), 1787, "adversarial"),
    "squad": ((), 10570, "squad"),
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_real_sets(shared_data: Path, name: str) -> None:
    classes, rows, scoring = REAL[name]
    made = read(name, classes, reading=Reading(data_dir=str(shared_data)))
    assert (made.name, made.scoring, len(made.rows), len(made.keys)) == (name, scoring, rows, rows)
    some = made.limited(200)
    if scoring == "adversarial":
        groups = Counter(one.partition("-")[0] for one in some.rows["id"])
        everywhere = Counter(one.partition("-")[0] for one in made.rows["id"])
        assert all(groups[one] == everywhere[one] for one in groups)
        assert 150 < len(some.rows) < 250
        return
    assert len(some.rows) == 200
    if name == "hans":
        assert set(Counter(some.rows["group"])) == {"lexical_overlap", "subsequence", "constituent"}
        assert Counter(made.rows["label"]) == {0: 15000, 1: 15000}
    if name == "imdb":
        assert Counter(made.rows["label"]) == {0: 12500, 1: 12500}
    if name == "sst2":
        assert Counter(made.rows["label"]) == {0: 428, 1: 444}


@pytest.mark.shared_data
def test_real_files_of_other_domains(shared_data: Path) -> None:
    shifted = read(shared_data / "squadshifts" / "amazon_reviews.json.gz")
    assert (len(shifted.rows), shifted.scoring) == (9885, "squad")
    snli = read(shared_data / "snli" / "dev.tsv.gz", NLI)
    assert (len(snli.rows), snli.name) == (9842, "dev.tsv.gz")
    with pytest.raises(DataError, match="which is none of the model's: negative, positive"):
        read(shared_data / "snli" / "dev.tsv.gz", SENTIMENT)
