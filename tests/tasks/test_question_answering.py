"""Windows of passages and the way back: what features say of an answer, and what is decoded from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from transformers import BertTokenizerFast

from ssl_pdr.data.evaluation_sets import EvaluationSet
from ssl_pdr.data.questions import read_questions
from ssl_pdr.errors import DataError, ModelError
from ssl_pdr.tasks import QuestionAnswering
from ssl_pdr.tasks.base import load_tokenizer
from ssl_pdr.tasks.question_answering import _null_slot, _without_space

CONTEXT = "a b c d e f g h i j"


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizerFast:
    vocab = tmp_path_factory.mktemp("words") / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghij", "?", "-"]))
    return BertTokenizerFast(vocab=str(vocab))


def row(
    name: str, answer: str | None, *, known: bool = True, context: str = CONTEXT, question: str = "a ?"
) -> dict[str, Any]:
    found = [] if answer is None else [(answer, context.index(answer))]
    answers = {"text": [text for text, _ in found], "answer_start": [start for _, start in found]}
    return {
        "id": name,
        "title": "T",
        "question": question,
        "context": context,
        "answers": answers if known else None,
    }


def columns(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [one[name] for one in rows] for name in rows[0]}


def labelled_words(made: dict[str, Any], tokenizer: Any) -> list[str | None]:
    found = []
    for ids, (start, end) in zip(made["input_ids"], made["labels"], strict=True):
        found.append(None if start < 0 else tokenizer.decode(ids[start : end + 1]))
    return found


def test_windows_overlap_by_the_stride_and_lose_no_word(words: BertTokenizerFast) -> None:
    task = QuestionAnswering(stride=2)
    made = task.encode(columns(row("1", "e f")), words, 10)  # [CLS] a ? [SEP] 5 words [SEP]
    inner = [
        ids[first : last + 1] for ids, first, last in zip(made["input_ids"], made["first"], made["last"], strict=True)
    ]
    assert [words.decode(ids) for ids in inner] == ["a b c d e", "d e f g h", "g h i j"]
    assert made["passage"] == [[4, 8, -1], [4, 8, -1], [4, 7, -1]]
    assert made["row"] == [0, 0, 0]
    assert [
        [CONTEXT[s:e] for s, e in zip(starts, ends, strict=True)]
        for starts, ends in zip(made["char_start"], made["char_end"], strict=True)
    ] == [
        list("abcde"),
        list("defgh"),
        list("ghij"),
    ]
    # v1.1: a window that does not hold the answer whole takes R only.
    assert labelled_words(made, words) == [None, "e f", None]


def test_with_unanswerable_questions_a_window_without_the_answer_says_so(words: BertTokenizerFast) -> None:
    task = QuestionAnswering(no_answer=True, stride=2)
    rows = columns(row("1", "e f"), row("2", None), row("3", "a", known=False))
    made = task.encode(rows, words, 10)
    assert labelled_words(made, words) == ["[CLS]", "e f", "[CLS]", *["[CLS]"] * 3, *[None] * 3]
    assert {tuple(passage)[2] for passage in made["passage"]} == {0}


def test_an_answer_that_fits_into_no_window_is_no_reason_to_say_there_is_none(words: BertTokenizerFast) -> None:
    task = QuestionAnswering(no_answer=True, stride=2)
    made = task.encode(columns(row("1", "c d e f g h")), words, 10)
    assert labelled_words(made, words) == [None, None, None]


def test_the_first_of_several_answers_that_a_window_holds(words: BertTokenizerFast) -> None:
    one = row("1", "c")
    one["answers"] = {"text": ["h i", "c"], "answer_start": [14, 4]}
    made = QuestionAnswering(stride=2).encode(columns(one), words, 10)
    assert labelled_words(made, words) == ["c", None, "h i"]


def test_answers_within_a_word_take_the_whole_word(words: BertTokenizerFast) -> None:
    one = row("1", None, context="a b-c d")
    one["answers"] = {"text": ["b-c"], "answer_start": [2]}
    two = row("2", None, context="  abc d ")
    two["answers"] = {"text": ["b"], "answer_start": [3]}
    made = QuestionAnswering(stride=1).encode(columns(one, two), words, 20)
    assert labelled_words(made, words) == ["b - c", "[UNK]"]


def test_the_published_support_is_all_positions(words: BertTokenizerFast) -> None:
    made = QuestionAnswering(stride=2, all_positions=True).encode(columns(row("1", "e f")), words, 10)
    assert made["passage"][0] == [0, len(made["input_ids"][0]) - 1, -1]
    assert made["first"][0] == 4


def test_questions_that_are_too_long(words: BertTokenizerFast) -> None:
    rows = columns(row("short", "b"), row("long-one", "b", question="a b c d e f ?"))
    with pytest.raises(
        DataError,
        match=r"question 'long-one' has 7 tokens: a window of 10 has 0 left .* stride of 3; raise --max-length",
    ):
        QuestionAnswering().encode(rows, words, 10)
    made = QuestionAnswering(skip=True).encode(rows, words, 10)
    assert set(made["row"]) == {0}
    only = QuestionAnswering(skip=True).encode(columns(row("long-one", "b", question="a b c d e f ?")), words, 10)
    assert only["input_ids"] == []


def test_passages_without_tokens_have_no_window(words: BertTokenizerFast) -> None:
    made = QuestionAnswering(stride=1).encode(columns(row("1", None, context="\u200b\u200d"), row("2", "b")), words, 20)
    assert made["row"] == [1]


def test_slow_tokenizers_do_not_know_where_words_are() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow is a slow tokenizer; question answering needs a fast one"):
        QuestionAnswering().encode(columns(row("1", "b")), Slow(), 10)


def perfect(features: Any, width: int) -> tuple[Any, Any]:
    """Logits that are as sure of the labels as can be, and of nothing where there is none."""
    start, end = np.zeros((2, len(features), width), np.float32)
    for window, (first, last) in enumerate(features["labels"]):
        if first >= 0:
            start[window, first] = end[window, last] = 50
    return start, end


def evaluation(rows: Any, scoring: str) -> EvaluationSet:
    return EvaluationSet("x", rows, scoring, np.zeros(len(rows), np.uint64))


def test_the_way_there_and_back(words: BertTokenizerFast) -> None:
    rows = Dataset.from_list([row("1", "e f"), row("2", None), row("3", "j"), row("4", "a b")])
    task = QuestionAnswering(no_answer=True, stride=2)
    features = task.features(rows, words, 10)
    scores, predictions = task.judge(perfect(features, 12), features, evaluation(rows, "squad_v2"))
    assert [one["prediction"] for one in predictions] == ["e f", "", "j", "a b"]
    assert scores["exact"] == scores["f1"] == 1.0
    assert predictions[0]["candidates"][0]["text"] == "e f"
    assert predictions[1]["no_answer_probability"] > 0.99


def test_no_answer_is_one_only_where_the_set_has_such(words: BertTokenizerFast) -> None:
    rows = Dataset.from_list([row("1", "e f"), row("2", "b")])
    task = QuestionAnswering(no_answer=True, stride=2)
    features = task.features(rows, words, 20)
    start, end = np.zeros((2, 2, 20), np.float32)
    start[:, 0] = end[:, 0] = 9  # both windows say: no answer
    start[:, 5], end[:, 5] = 5, 5
    scores, predictions = task.judge((start, end), features, evaluation(rows, "squad"))
    assert [one["prediction"] for one in predictions] == ["b", "b"]
    assert scores == {"f1": 0.5, "exact": 0.5, "rows": 2}
    strict, empty = task.judge((start, end), features, evaluation(rows, "squad_v2"))
    assert [one["prediction"] for one in empty] == ["", ""]
    tuned = task.tuned(strict)
    assert tuned.null_threshold is not None
    again, _ = tuned.judge((start, end), features, evaluation(rows, "squad_v2"))
    assert again["f1"] == strict["best_f1"] == 0.5
    assert tuned.settings() == {"no_answer_slot": True, "null_threshold": tuned.null_threshold}
    assert QuestionAnswering().tuned(strict).null_threshold is None


def test_a_model_without_the_slot_always_answers(words: BertTokenizerFast) -> None:
    rows = Dataset.from_list([row("1", "e f"), row("2", None)])
    task = QuestionAnswering(stride=2)
    features = task.features(rows, words, 20)
    scores, predictions = task.judge(perfect(features, 20), features, evaluation(rows, "squad_v2"))
    assert predictions[0]["prediction"] == "e f"
    assert predictions[1]["prediction"] != ""
    assert (scores["has_answer_f1"], scores["no_answer_exact"]) == (1.0, 0.0)


def test_labels_for_people(words: BertTokenizerFast) -> None:
    task = QuestionAnswering(stride=2)
    made = task.encode(columns(row("1", "e f")), words, 10)
    shown = [task.label_text(label, ids, words) for label, ids in zip(made["labels"], made["input_ids"], strict=True)]
    assert shown == [None, "e f", None]


@pytest.mark.real
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "scoring", "floor"), [("squad1/dev", "squad", 0.97), ("squad2/dev_a", "squad_v2", 0.99)]
)
def test_real_answers_survive_the_way_there_and_back(file: str, scoring: str, floor: float, shared_data: Path) -> None:
    """What is lost are answers that begin or end within a token of the vocabulary."""
    from ssl_pdr.choices import EMBEDDED_ENCODER

    rows = read_questions(str(shared_data / f"{file}.json.gz"), to_train=True).rows.select(range(600))
    task = QuestionAnswering(no_answer=scoring == "squad_v2", stride=40, longest=60)
    features = task.features(rows, load_tokenizer(EMBEDDED_ENCODER), 128)
    assert len(features) > len(rows) * 1.3  # many passages need several windows
    scores, _ = task.judge(perfect(features, 128), features, evaluation(rows, scoring))
    assert scores["f1"] >= floor


def test_a_set_without_a_question_that_fits(words: BertTokenizerFast) -> None:
    rows = Dataset.from_list([row("long-one", "b", question="a b c d e f ?")])
    with pytest.raises(DataError, match="none of 1 questions leaves room for its passage in a window of 10 tokens"):
        QuestionAnswering(skip=True).features(rows, words, 10)


def test_tokens_of_white_space_are_no_answers_and_answers_have_none_around_them(words: BertTokenizerFast) -> None:
    """Byte-level tokenizers make tokens of white space."""
    context = "  a  b"
    rows = Dataset.from_list([{**row("1", "b"), "context": context, "answers": {"text": ["b"], "answer_start": [5]}}])
    features = Dataset.from_dict(
        {
            "input_ids": [[2, 4, 3, 9, 9, 9, 9, 3]],
            "row": [0],
            "passage": [[3, 6, -1]],
            "first": [3],
            "last": [6],
            "char_start": [[1, 2, 4, 5]],
            "char_end": [[1, 3, 4, 6]],
            "labels": [[6, 6]],
        }
    )
    logits = np.array([[0, 0, 0, 9, 0, 9, 3, 0]], np.float32)
    _, predictions = QuestionAnswering().judge((logits, logits), features, evaluation(rows, "squad"))
    assert predictions[0]["prediction"] == "b"
    assert {one["text"] for one in predictions[0]["candidates"]} == {"b", "a", "a  b"}
    assert [_without_space(context, *pair) for pair in ((0, 3), (3, 6), (3, 5))] == [(2, 3), (5, 6), (5, 5)]


def test_decoders_have_no_token_for_no_answer(words: BertTokenizerFast) -> None:
    class Decoder:
        cls_token_id = None

    assert _null_slot([5, 2, 7], words) == 1
    with pytest.raises(ModelError, match=r"Decoder puts no \[CLS\] token before the question"):
        _null_slot([5, 2, 7], Decoder())
