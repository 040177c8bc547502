"""Exact match and token F1: by hand, against two other implementations, and their laws."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.text import SQuAD

from ssl_pdr.errors import DataError
from ssl_pdr.metrics import Gold, exact_match, normalise_answer, question_scores, squad_scores, token_f1
from tests.metrics import official
from tests.metrics.realistic import Answers, predicted, questions

TEXTS = st.lists(
    st.sampled_from(
        ["a", "the", "The", "an", "cat", "Cat.", "dog", "U.S.", "ß", "é", "e\u0301", "1,000", "-", "“the”", "\xa0"]
    )
    | st.text(max_size=4),
    max_size=5,
).map(" ".join)


def as_golds(answers: Answers) -> list[Gold]:
    return [Gold(name, tuple(texts)) for name, texts in answers.items()]


def of_torchmetrics(predictions: dict[str, str], answers: Answers) -> dict[str, float]:
    metric = SQuAD()
    metric.update(
        [{"id": name, "prediction_text": text} for name, text in predictions.items()],
        [{"id": name, "answers": {"text": texts, "answer_start": [0] * len(texts)}} for name, texts in answers.items()],
    )
    return {name: value.item() / 100 for name, value in metric.compute().items()}


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Cat, a dog & an owl", "cat dog owl"),
        ("  tab\there\nand\u2003there ", "tab here and there"),
        ("theatre panthe an1", "theatre panthe an1"),
        ("a.b.c", "abc"),
        ("a-team", "ateam"),  # the hyphen goes first, and with it the edge of the article
        ("the-", ""),
        ("vitamin A", "vitamin"),
        ("$1,000.50", "100050"),
        ("it's O'Neill's", "its oneills"),
        ("24–10", "24–10"),  # an en dash is not ASCII
        ("“the” ’a’", "“ ” ’ ’"),  # curly quotes stay, but are an edge for articles
        ("ＴＨＥ ＣＡＴ！", "ｔｈｅ ｃａｔ！"),
        ("STRASSE Straße", "strasse straße"),
        ("Ελλάς ΣΟΦΟΣ", "ελλάς σοφος"),
        ("à la carte", "à la carte"),
        ("a\u0300 la", "\u0300 la"),  # a letter and its accent apart: the letter counts as an article
        ("", ""),
        ("the", ""),
        ("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ""),
    ],
)
def test_the_normal_form(text: str, normalised: str) -> None:
    assert normalise_answer(text) == normalised
    assert official.words(text) == normalised.split()


@pytest.mark.parametrize(
    ("prediction", "answers", "f1", "exact"),
    [
        ("Denver Broncos", ["The Denver Broncos!"], 1, True),
        ("the Broncos", ["Denver Broncos"], 2 / 3, False),
        ("Broncos Denver", ["Denver Broncos"], 1, False),  # the same words in another order
        ("cat cat cat", ["cat dog"], 2 / 5, False),
        ("cat cat", ["cat cat cat cat"], 2 / 3, False),
        ("1000 people", ["1,000"], 2 / 3, False),
        ("10 00", ["1,000"], 0, False),
        ("big red dog", ["dog", "big red", "cat"], 4 / 5, False),
        ("big red dog", ["cat", "Big, red dog."], 1, True),
        ("naive", ["naïve"], 0, False),
        ("STRAßE", ["strasse"], 0, False),
        ("“quoted”", ["quoted"], 0, False),
        ("ＢＢＣ", ["BBC"], 0, False),
        ("ΑΘΗΝΑ", ["αθηνα"], 1, True),
        ("", ["cat"], 0, False),
        ("cat", [""], 0, False),
        ("", [""], 1, True),
        ("the", ["."], 1, True),
        ("the", ["cat"], 0, False),
        ("", [], 1, True),
        ("an!", [], 1, True),
        ("cat", [], 0, False),
    ],
)
def test_scores_by_hand(prediction: str, answers: list[str], f1: float, exact: bool) -> None:
    assert token_f1(prediction, answers) == pytest.approx(f1, abs=1e-15)
    assert exact_match(prediction, answers) is exact


@given(prediction=TEXTS, answers=st.lists(TEXTS, max_size=3))
def test_f1_lies_between_exact_match_and_one(prediction: str, answers: list[str]) -> None:
    f1, exact = token_f1(prediction, answers), exact_match(prediction, answers)
    assert exact <= f1 <= 1
    assert f1 == pytest.approx(max(official.f1(prediction, answer) for answer in answers or [""]), abs=1e-12)
    assert exact == max(official.exact(prediction, answer) for answer in answers or [""])


@given(one=TEXTS, other=TEXTS)
def test_f1_does_not_care_which_is_the_answer(one: str, other: str) -> None:
    assert token_f1(one, [other]) == token_f1(other, [one])
    assert exact_match(one, [one])
    assert normalise_answer(normalise_answer(one)) == normalise_answer(one)


@given(prediction=TEXTS, answers=st.lists(TEXTS, min_size=1, max_size=3), more=TEXTS)
def test_a_further_answer_never_lowers_a_score(prediction: str, answers: list[str], more: str) -> None:
    assert token_f1(prediction, [*answers, more]) >= token_f1(prediction, answers)
    assert exact_match(prediction, [*answers, more]) >= exact_match(prediction, answers)


def test_scores_stand_in_the_order_of_the_questions() -> None:
    golds = [Gold("x", ("cat",)), Gold("y", ("big dog",)), Gold("z", ()), Gold("w", ("owl",))]
    f1, exact = question_scores({"w": "owl", "z": "", "y": "dog"}, golds)
    np.testing.assert_allclose(f1, [0, 2 / 3, 1, 1])
    np.testing.assert_array_equal(exact, [0, 0, 1, 1])
    assert squad_scores({"w": "owl", "z": "", "y": "dog"}, golds) == {
        "f1": pytest.approx(2 / 3),
        "exact": 0.5,
        "rows": 4,
    }


def test_an_unanswered_question_counts_nothing_even_if_it_has_no_answer() -> None:
    assert squad_scores({}, [Gold("x", ()), Gold("y", ("cat",))]) == {"f1": 0, "exact": 0, "rows": 2}


@pytest.mark.parametrize(
    ("predictions", "golds", "message"),
    [
        ({}, [], "no questions to score"),
        ({"x": "cat", "q": "dog"}, [Gold("x", ("cat",))], "1 of 2 predictions .* not in the set, .* 'q'"),
        ({"x": "cat"}, [Gold("x", ("cat",)), Gold("y", ()), Gold("x", ("dog",))], "2 questions have the id 'x'"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(
    predictions: dict[str, str], golds: list[Gold], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        squad_scores(predictions, golds)
    assert "\n" not in str(caught.value)


def test_questions_in_the_shape_of_mrqa(tmp_path: Path) -> None:
    """One line per passage, `qid` for ids, answers as plain texts, several questions to a passage, a header before them."""
    file = tmp_path / "set.jsonl"
    lines = [
        {"header": {"dataset": "BioASQ", "split": "dev"}},
        {"context": "…", "qas": [{"qid": "b1", "question": "Which gene?", "answers": ["BRCA1", "the BRCA-1 gene"]}]},
        {
            "context": "…",
            "qas": [
                {"qid": "b2", "question": "Which factor?", "answers": ["NF-κB", "nuclear factor kappa B"]},
                {"qid": "b3", "question": "How many?", "answers": ["1,500"]},
                {"qid": "b4", "question": "What?", "answers": ["α-synuclein"]},
            ],
        },
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][1:]
    answers = {qa["qid"]: qa["answers"] for row in rows for qa in row["qas"]}
    predictions = {"b1": "BRCA1 gene", "b2": "nuclear factor", "b3": "1500"}
    scores = squad_scores(predictions, as_golds(answers))
    # b1: "BRCA-1" and "BRCA1" are one word; b2: 2 words, both of the answer's 4.
    assert scores == {"f1": pytest.approx((1 + 2 / 3 + 1 + 0) / 4), "exact": 0.5, "rows": 4}
    assert scores["f1"] == pytest.approx(official.averaged(official.f1_of_mrqa, predictions, answers))
    assert scores["exact"] == official.averaged(official.exact, predictions, answers)


def test_the_one_value_in_which_f1_differs_from_v1_1_and_mrqa() -> None:
    assert squad_scores({"x": "the"}, [Gold("x", (".",))]) == {"f1": 1, "exact": 1, "rows": 1}
    assert official.f1_of_mrqa("the", ".") == 0
    assert official.exact("the", ".") == 1


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["squad1/dev", "addsent/AddOneSent", "squadshifts/amazon_reviews"])
def test_real_questions_score_as_two_other_implementations_say(shared_data: Path, name: str) -> None:
    answers, contexts = questions(shared_data / f"{name}.json.gz")
    answers = dict(list(answers.items())[:1500])
    predictions = predicted(answers, contexts)
    scores = squad_scores(predictions, as_golds(answers))
    assert 0.3 < scores["exact"] < scores["f1"] < 0.9
    assert scores["f1"] == pytest.approx(official.averaged(official.f1, predictions, answers), abs=1e-12)
    assert scores["exact"] == pytest.approx(official.averaged(official.exact, predictions, answers), abs=1e-12)
    theirs = of_torchmetrics(predictions, answers)  # in float32
    assert scores["f1"] == pytest.approx(theirs["f1"], abs=1e-5)
    assert scores["exact"] == pytest.approx(theirs["exact_match"], abs=1e-5)


@pytest.mark.shared_data
def test_the_whole_of_squad_is_scored_in_about_a_second(shared_data: Path) -> None:
    answers, contexts = questions(shared_data / "squad1/dev.json.gz")
    golds, predictions = as_golds(answers), predicted(answers, contexts)
    start = time.process_time()
    scores = squad_scores(predictions, golds)
    assert scores["rows"] == 10_570
    assert time.process_time() - start < 2  # 0.2 s on an idle core


@pytest.mark.shared_data
def test_the_answers_themselves_are_right(shared_data: Path) -> None:
    answers, _ = questions(shared_data / "squad1/dev.json.gz")
    last = {name: texts[-1] for name, texts in answers.items()}
    assert squad_scores(last, as_golds(answers)) == {"f1": 1, "exact": 1, "rows": len(answers)}
