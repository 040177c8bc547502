"""Corpora for question answering: what is trained on, what is held out, and what is told of it."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_pdr.data import pydocs_qa
from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.question_corpus import (
    DUPLICATES,
    LEAK,
    SHARED,
    as_texts,
    holds_questions,
    load_question_corpus,
    load_unlabelled_questions,
)
from ssl_pdr.data.questions import UNANSWERABLE
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.splits import split_labels
from ssl_pdr.data.tables import Table
from ssl_pdr.data.unlabelled import load_unlabelled
from ssl_pdr.errors import ConfigError, DataError

Row = dict[str, Any]
NO_ANSWER: Row = {"text": [], "answer_start": []}


def question(number: int, *, title: str | None = None, passage: int = 0, **changes: Any) -> Row:
    context = f"In passage {passage} it was Ada."
    answers = {"text": ["Ada"], "answer_start": [context.index("Ada")]}
    row = {"id": f"q{number}", "title": title, "question": f"Who, {number}?", "context": context, "answers": answers}
    return row | changes


def articles(count: int, questions: int, *, passages: int = 2, titles: bool = True, **changes: Any) -> list[Row]:
    """`count` articles of `passages` passages with `questions` questions each."""
    return [
        question(
            (article * passages + place) * questions + number,
            title=f"T{article}" if titles else None,
            passage=article * passages + place,
            **changes,
        )
        for article in range(count)
        for place in range(passages)
        for number in range(questions)
    ]


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def ids(table: Any) -> list[str]:
    return list(table["id"])


# --- what is held out


@pytest.mark.parametrize("eval_frac", [0.1, 0.25, 0.5])
def test_whole_articles_are_held_out(eval_frac: float) -> None:
    rows = articles(12, 5)
    corpus = load_question_corpus(rows, eval_frac=eval_frac, seed=3)
    train, held = corpus.train, corpus.evaluation["in_domain"]
    assert not set(train["title"]) & set(held["title"])
    assert sorted(ids(train) + ids(held)) == sorted(row["id"] for row in rows)
    # An article has 10 questions: no more than one too many is held out, and at least what was asked for.
    asked = round(eval_frac * len(rows))
    assert asked <= len(held) < asked + 10
    assert ids(train) == sorted(ids(train), key=[row["id"] for row in rows].index)
    assert corpus.notes == {}


@pytest.mark.parametrize("titles", ["none", "one", "missing"])
def test_whole_passages_where_titles_tell_nothing_apart(titles: str) -> None:
    rows = articles(8, 3, titles=False)
    if titles == "one":
        rows = [row | {"title": "All"} for row in rows]
    if titles == "missing":
        rows = [row | {"title": f"T{place}"} for place, row in enumerate(rows)]
        rows[-1]["title"] = None
    corpus = load_question_corpus(rows)
    train, held = corpus.train, corpus.evaluation["in_domain"]
    assert not set(train["context"]) & set(held["context"])
    assert all(count == 3 for count in Counter(held["context"]).values())
    assert 0 < len(held) < len(rows)


def test_the_seed_decides_and_unknown_answers_are_never_held_out() -> None:
    rows = articles(12, 2)
    unknown = [row | {"answers": None} if row["id"] in ("q0", "q21") else row for row in rows]
    parts = [ids(load_question_corpus(unknown, seed=seed).evaluation["in_domain"]) for seed in (0, 0, *range(1, 10))]
    assert parts[0] == parts[1]
    assert len({tuple(part) for part in parts}) > 5
    assert not {"q0", "q21"} & {name for part in parts for name in part}


def test_questions_whose_answer_is_not_known_are_unlabelled() -> None:
    unknown = [row | {"answers": None} if row["id"] in ("q0", "q21") else row for row in articles(12, 2)]
    corpus = load_question_corpus(unknown, evaluation=[question(99, passage=99)])
    assert corpus.notes == {"questions whose answer is not known, used as unlabelled ones": 2}
    assert [row["id"] for row in corpus.train if row["label"] is None] == ["q0", "q21"]
    labels = corpus.labels
    split = split_labels(labels, classes=1)
    assert [ids(corpus.train)[row] for row in split.unlabelled] == ["q0", "q21"]
    assert Counter(labels) == {"answerable": len(labels) - 2, None: 2}


def test_unknown_answers_stay_apart_from_what_is_held_out() -> None:
    """A question of a held-out article is not trained on, whether its answer is known or not."""
    rows = articles(10, 2)
    rows = [row | {"answers": None} if number % 4 == 0 else row for number, row in enumerate(rows)]
    corpus = load_question_corpus(rows)
    held = corpus.evaluation["in_domain"]
    assert not set(corpus.train["title"]) & set(held["title"])
    assert corpus.notes == {
        "questions whose answer is not known, used as unlabelled ones": 10 - len(set(held["title"])),
        "questions whose answer is not known, of what is held out, left out": len(set(held["title"])),
    }


def test_too_little_to_hold_out_is_one_line() -> None:
    for rows in (articles(1, 5, passages=1), [question(0)]):
        with pytest.raises(DataError, match=r"in 1 articles: too few to hold 0.2 of them out; give --eval"):
            load_question_corpus(rows)
    with pytest.raises(DataError, match=r"the list has 0 questions with known answers in 0 articles"):
        load_question_corpus(articles(4, 2, answers=None))
    for eval_frac in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="eval_frac must lie between 0 and 1, got"):
            load_question_corpus(articles(4, 2), eval_frac=eval_frac)


def test_a_given_part_is_taken_whole(tmp_path: Path) -> None:
    folder = tmp_path / "qa"
    folder.mkdir()
    train, dev = articles(4, 2), [question(100 + n, passage=50 + n) for n in range(6)]
    write(folder / "train.jsonl", train)
    write(folder / "dev.jsonl", dev)
    file = write(tmp_path / "other.jsonl", dev[:2])
    corpus = load_question_corpus(str(folder), eval_frac=0.9)
    assert ids(corpus.train) == [row["id"] for row in train]
    assert ids(corpus.evaluation["in_domain"]) == [row["id"] for row in dev]
    for source in (file, dev[:2]):
        given = load_question_corpus(str(folder), evaluation=source)
        assert ids(given.evaluation["in_domain"]) == ["q100", "q101"]
        assert given.fingerprint != corpus.fingerprint
    with pytest.raises(DataError, match="the in_domain part: 1 questions have no answers, the first is row 2"):
        load_question_corpus(train, evaluation=[dev[0], dev[1] | {"answers": None}])


def test_a_test_part_whose_answers_are_kept_back_is_no_development_set(tmp_path: Path) -> None:
    """As published sets have them; where some answers are there it is a mistake, and said."""
    train, held = articles(4, 2), [question(100 + n, passage=50 + n) for n in range(3)]
    write(tmp_path / "train.jsonl", train)
    without = [{name: value for name, value in row.items() if name != "answers"} for row in held]
    write(tmp_path / "test.jsonl", without)
    corpus = load_question_corpus(str(tmp_path), eval_frac=0.25)
    seen = ids(corpus.evaluation["in_domain"])
    assert seen
    assert set(seen) | set(ids(corpus.train)) == {row["id"] for row in train}
    write(tmp_path / "test.jsonl", [held[0], *without[1:]])
    with pytest.raises(DataError, match="the in_domain part: 2 questions have no answers, the first is row 2"):
        load_question_corpus(str(tmp_path), eval_frac=0.25)


def test_named_sets_have_their_parts(tmp_path: Path) -> None:
    for name, first in (("train-v2.0.json", 0), ("dev-v2.0.json", 9)):
        qas = [{"id": f"{name}{n}", "question": f"Who, {n}?", "answers": [], "is_impossible": True} for n in range(2)]
        qas.append({"id": name, "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}]})
        paragraph = {"context": f"Ada {first}", "qas": qas}
        document = {"version": "v2.0", "data": [{"title": "A", "paragraphs": [paragraph]}]}
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    corpus = load_question_corpus("squad_v2", reading=Reading(data_dir=str(tmp_path)))
    assert corpus.name == "squad_v2"
    assert corpus.label_names == ["answerable", "unanswerable"]
    assert set(corpus.train["context"]) == {"Ada 0"}
    assert set(corpus.evaluation["in_domain"]["context"]) == {"Ada 9"}
    (tmp_path / "dev-v2.0.json").unlink()
    with pytest.raises(DataError, match="too few to hold 0.2 of them out"):
        load_question_corpus("squad_v2", reading=Reading(data_dir=str(tmp_path)))


# --- what is trained on


def test_a_limit_keeps_the_share_without_answers() -> None:
    rows = articles(20, 4)
    rows = [row | {"answers": NO_ANSWER} if number < 40 else row for number, row in enumerate(rows)]
    dev = [question(999, passage=999)]
    for limit in (8, 20, 40):
        corpus = load_question_corpus(rows, evaluation=dev, limit=limit)
        assert Counter(corpus.labels) == {"answerable": limit * 3 // 4, "unanswerable": limit // 4}
    with pytest.raises(ConfigError, match="limit: got 1, expected at least 2, one question of each kind"):
        load_question_corpus(rows, limit=1)


def test_a_limit_is_of_what_is_trained_on() -> None:
    rows = articles(20, 4)
    whole = load_question_corpus(rows)
    corpus = load_question_corpus(rows, limit=30)
    assert len(corpus.train) == 30
    assert ids(corpus.evaluation["in_domain"]) == ids(whole.evaluation["in_domain"])
    assert set(ids(corpus.train)) <= set(ids(whole.train))
    assert np.array_equal(corpus.keys["train"], whole.keys["train"][np.isin(ids(whole.train), ids(corpus.train))])
    assert len(load_question_corpus(rows, limit=10**6).train) == len(whole.train)


def test_a_limit_of_one_kind() -> None:
    corpus = load_question_corpus(articles(4, 3), limit=1)
    assert (len(corpus.train), corpus.label_names) == (1, ["answerable"])


def test_misplaced_answers_are_not_trained_on_but_evaluated_on() -> None:
    wrong = {"text": ["Ada"], "answer_start": [3]}
    train = [*articles(3, 2), question(90, title="T0", answers=wrong), question(91, title="T1", answers=wrong)]
    dev = [question(95, passage=40), question(96, passage=40, answers=wrong)]
    corpus = load_question_corpus(train, evaluation=dev)
    assert not {"q90", "q91"} & set(ids(corpus.train))
    assert corpus.notes == {"questions whose answer is not at its offset, left out (the first: q90)": 2}
    assert ids(corpus.evaluation["in_domain"]) == ["q95", "q96"]


def test_skipped_rows_are_counted_by_part() -> None:
    reading = Reading(skip_bad_rows=True)
    train = [*articles(3, 2), question(90, question="")]
    dev = [question(95, passage=40), question(96, context=None), question(97, context=" ")]
    corpus = load_question_corpus(train, evaluation=dev, reading=reading)
    assert corpus.notes == {"rows that are no question": 1, "in_domain: rows that are no question": 2}
    with pytest.raises(DataError, match="row 13 has nothing as its 'question'"):
        load_question_corpus(train, evaluation=dev)


def test_duplicates_and_leaks_are_counted() -> None:
    """The same question about another passage, or another about the same passage, is neither."""
    train = articles(3, 2)
    again = [train[0] | {"id": "again"}, train[0] | {"id": "spaced", "question": " who,  0? "}]
    other = [train[0] | {"id": "o1", "context": "Elsewhere it was Ada.", "answers": None}]
    dev = [train[1] | {"id": "d1"}, train[0] | {"id": "d2"}, question(99, passage=0)]
    corpus = load_question_corpus([*train, *again, *other], evaluation=dev)
    assert corpus.notes[DUPLICATES] == 2
    assert corpus.notes[LEAK] == 4  # training questions: q0, its two copies, and q1
    clean = load_question_corpus(train, evaluation=dev[2:])
    assert clean.notes == {f"in_domain: {SHARED}": 1}  # the passage is known, though the question is not
    elsewhere = [
        question(99, passage=0) | {"context": "It was Grace, not Ada, who was there.", "answers": dev[2]["answers"]}
    ]
    assert load_question_corpus(train, evaluation=elsewhere).notes == {}


def test_the_fingerprint_is_of_all_rows_and_of_nothing_else(tmp_path: Path) -> None:
    rows = articles(6, 2)
    one = load_question_corpus(rows)
    file = write(tmp_path / "a.jsonl", rows)
    same = [load_question_corpus(rows, seed=4), load_question_corpus(rows, limit=3), load_question_corpus(file)]
    assert {corpus.fingerprint for corpus in same} == {one.fingerprint}
    changed = [rows[:-1], rows[::-1], [rows[0] | {"question": "Whom?"}, *rows[1:]]]
    changed.append([rows[0] | {"answers": NO_ANSWER}, *rows[1:]])
    assert len({one.fingerprint, *(load_question_corpus(other).fingerprint for other in changed)}) == 5
    assert load_question_corpus(rows, evaluation=rows[:2]).fingerprint != one.fingerprint
    assert load_question_corpus(rows, seed=4).train_hash != one.train_hash


def test_kinds_of_questions() -> None:
    rows = articles(4, 2)
    assert load_question_corpus(rows).label_names == ["answerable"]
    # A kind of which there is nothing to train on, but in the part that is evaluated on, is none.
    dev = [question(99, passage=99, answers=NO_ANSWER)]
    assert load_question_corpus(rows, evaluation=dev).label_names == ["answerable"]
    both = load_question_corpus([*rows, *dev], evaluation=rows)
    assert both.label_names == ["answerable", "unanswerable"]
    assert both.train["label"][-1] == UNANSWERABLE
    none = load_question_corpus([row | {"answers": NO_ANSWER} for row in rows])
    assert set(none.labels) == {"unanswerable"}


def test_groups_for_a_budget() -> None:
    rows = articles(6, 2)
    by_title = load_question_corpus(rows, group_column="title")
    assert list(by_title.train["group"]) == list(by_title.train["title"])
    assert "group" not in by_title.evaluation["in_domain"].column_names
    by_passage = load_question_corpus(rows, group_column="context", limit=5)
    assert list(by_passage.train["group"]) == list(by_passage.train["context"])
    with pytest.raises(ConfigError, match="--group-column must be title or context for questions, got 'question'"):
        load_question_corpus(rows, group_column="question")
    with pytest.raises(DataError, match="question 'q0' has no title; every question needs one to be split by group"):
        load_question_corpus(articles(6, 2, titles=False), group_column="title")


# --- what is a question


def test_what_holds_questions(tmp_path: Path) -> None:
    reading = Reading()
    rows = articles(2, 1)
    named = {"squad": True, "bioasq": True, "sst2": False, "hans": False}
    embedded = {"pydocs-qa": True, "pydocs-topics": False, "pydocs-pairs": False}
    for source, expected in (named | embedded).items():
        assert holds_questions(source, reading) == expected
    assert holds_questions(rows, reading)
    assert holds_questions(write(tmp_path / "a.jsonl", rows), reading)
    assert not holds_questions([{"text": "a", "label": "b"}], reading)
    assert not holds_questions(["a text", "another"], reading)
    assert not holds_questions([{"question": "a", "context": "b", "label": "c"}], reading)  # pairs to classify
    assert not holds_questions([], reading)
    with pytest.raises(DataError, match="there is no file"):
        holds_questions(str(tmp_path / "b.jsonl"), reading)


def test_questions_as_pairs_of_texts() -> None:
    table = as_texts(load_question_corpus(articles(4, 1)).train)
    assert {"text", "text_pair", "label"} <= set(table.column_names)
    assert as_texts(table) is table


# --- without answers


@pytest.fixture
def corpus() -> Corpus:
    rows = articles(3, 2)
    return load_question_corpus(rows, evaluation=[question(95, passage=40), question(96, passage=40)])


def test_unlabelled_questions_with_weights(corpus: Corpus, tmp_path: Path) -> None:
    rows = [question(200 + n, passage=60, answers=None if n % 2 else NO_ANSWER) for n in range(4)]
    rows.append({"question": "Who?", "context": "Ada."})
    rows += [question(0, passage=0) | {"id": "x"}, question(95, passage=40), question(96, passage=40, answers=None)]
    file, other = write(tmp_path / "more.jsonl", rows), write(tmp_path / "b.jsonl", rows[:3])
    heavy, plain = load_unlabelled_questions([f"{file}:2.5", other], corpus, Reading())
    assert (heavy.name, heavy.weight, plain.name, plain.weight) == ("more.jsonl", 2.5, "b.jsonl", None)
    assert isinstance(heavy.rows, Table)
    assert heavy.rows.rows.column_names == ["id", "title", "question", "context"]
    assert len(heavy.rows.rows) == len(heavy.rows) == 8
    assert heavy.notes == {
        "more.jsonl: questions that are also training questions": 1,
        "more.jsonl: questions that are also in the in_domain evaluation part": 2,
    }
    assert plain.notes == {}


def test_unlabelled_questions_that_add_nothing(corpus: Corpus, tmp_path: Path) -> None:
    known = [row | {"answers": None} for row in articles(3, 2)]
    held = [question(95, passage=40, answers=None)]
    for rows in (known, held, [*known, *held]):
        path = write(tmp_path / "known.jsonl", rows)
        with pytest.raises(DataError, match=rf"known.jsonl: every one of its {len(rows)} questions is in the labelled"):
            load_unlabelled_questions([path], corpus, Reading())


def test_unlabelled_questions_follow_the_rules_of_unlabelled_texts(corpus: Corpus, tmp_path: Path) -> None:
    """Two files of one name stay two, repeated questions are counted, and weights that are all 0 are refused."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "q.jsonl", [question(300 + n % 2, passage=70, id=f"u{n}") for n in range(3)])
    specs = [str(tmp_path / folder / "q.jsonl") for folder in ("a", "b")]
    made = load_unlabelled_questions(specs, corpus, Reading())
    assert [one.name for one in made] == ["q.jsonl", "q.jsonl (2)"]
    assert made[1].notes == {"q.jsonl (2): questions that occur more than once": 1}
    with pytest.raises(DataError, match="no unlabelled corpus of 2 has a weight above 0"):
        load_unlabelled_questions([f"{spec}:0" for spec in specs], corpus, Reading())
    with pytest.raises(DataError, match=r"q.jsonl: got the weight -1|got the weight -1"):
        load_unlabelled_questions([f"{specs[0]}:-1"], corpus, Reading())
    texts = tmp_path / "t.txt"
    texts.write_text("one\ntwo\n", encoding="utf-8")
    with pytest.raises(DataError, match="'question'"):
        load_unlabelled_questions([str(texts)], corpus, Reading())
    assert load_unlabelled([str(texts)], None, Columns(), Reading(), stream=False)[0].name == "t.txt"


# --- the embedded corpus, and real ones


@pytest.mark.real
def test_pydocs_qa(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydocs_qa, "load_pydocs_qa", cache(pydocs_qa.load_pydocs_qa))
    corpus = load_question_corpus("pydocs-qa", limit=400)
    assert set(corpus.evaluation) == {"in_domain", "shifted"}
    assert corpus.label_names == ["answerable", "unanswerable"]
    assert len(corpus.train) == 400
    whole = load_question_corpus("pydocs-qa", seed=5)
    assert whole.fingerprint == corpus.fingerprint
    assert len(whole.train) >= 2000
    share = np.mean(np.array(whole.train["label"]) == UNANSWERABLE)
    assert abs(np.mean(np.array(corpus.train["label"]) == UNANSWERABLE) - share) < 0.005
    assert "numpy" in corpus.versions
    assert not any("offset" in kind or kind == LEAK for kind in whole.notes)
    contexts = {part: set(table["context"]) for part, table in whole.evaluation.items()}
    assert not set(whole.train["context"]) & (contexts["in_domain"] | contexts["shifted"])
    with pytest.raises(DataError, match="pydocs-qa brings its own evaluation parts; leave --eval out"):
        load_question_corpus("pydocs-qa", evaluation=articles(2, 1))


@pytest.mark.shared_data
def test_real_articles_stay_apart(shared_data: Path) -> None:
    corpus = load_question_corpus(str(shared_data / "squad2" / "dev_a.json.gz"), eval_frac=0.25, limit=1000)
    held = corpus.evaluation["in_domain"]
    assert not set(corpus.train["title"]) & set(held["title"])
    assert 0.25 * 6078 <= len(held) < 0.45 * 6078
    assert corpus.notes == {DUPLICATES: 1}
    shares = [np.mean(np.array(table["label"]) == UNANSWERABLE) for table in (corpus.train, held)]
    assert all(0.4 < share < 0.6 for share in shares)
