"""Adversarial SQuAD: by hand, and against the authors' evaluation written down once more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_pdr.errors import DataError
from ssl_pdr.metrics import Gold, adversarial_scores, question_scores, squad_scores
from tests.metrics import official
from tests.metrics.realistic import predicted, questions

ANSWER = ("big cat",)
PREDICTIONS = st.sampled_from(["big cat", "cat big", "cat", "dog", "", "big big cat"])
NAMES = st.builds("{}{}".format, st.sampled_from("xyz"), st.sampled_from(["", "-high-conf-turk0", "-turk1", "-2"]))


def scored(predictions: dict[str, str]) -> dict[str, float]:
    return adversarial_scores(predictions, [Gold(name, ANSWER) for name in predictions])


def test_scores_by_hand() -> None:
    scores = scored(
        {
            "x": "dog",  # attacked: the original does not count, even where it is worse
            "x-high-conf-turk0": "big cat",
            "x-high-conf-turk1": "cat",
            "y": "big cat",  # not attacked: it stands for itself
            "z-high-conf-turk2": "",  # an attack without its original
            "z-high-conf-turk0": "big cat",
        }
    )
    assert scores == {
        "f1": pytest.approx((2 / 3 + 1 + 0) / 3),
        "exact": pytest.approx((0 + 1 + 0) / 3),
        "rows_f1": pytest.approx((0 + 1 + 2 / 3 + 1 + 0 + 1) / 6),
        "rows_exact": 0.5,
        "original_f1": 0.5,
        "original_exact": 0.5,
        "originals": 3,
        "rows": 6,
    }


@pytest.mark.parametrize(
    ("predictions", "exact"),
    [(["cat big", "big cat"], 0), (["big cat", "cat big"], 1), (["cat big", "big cat", "dog"], 0)],
)
def test_exact_match_is_that_of_the_attack_with_the_lowest_f1(predictions: list[str], exact: float) -> None:
    """ "cat big" has an F1 of 1 and does not match: of equal F1 the first counts."""
    rows = {f"x-{i}": text for i, text in enumerate(predictions)}
    assert scored(rows)["exact"] == exact == official.under_attack(rows, {name: [*ANSWER] for name in rows})["exact"]


def test_a_row_without_a_prediction_counts_nothing() -> None:
    golds = [Gold(name, ANSWER) for name in ("x", "x-turk0", "x-turk1")]
    scores = adversarial_scores({"x": "big cat", "x-turk0": "big cat"}, golds)
    assert (scores["f1"], scores["rows_f1"], scores["original_f1"]) == (0, pytest.approx(2 / 3), 1)


def test_without_original_rows_there_is_no_score_of_them() -> None:
    assert not {"original_f1", "original_exact"} & set(scored({"x-turk0": "cat"}))


def test_a_set_without_attacks_is_scored_as_any_other() -> None:
    rows = {"x": "cat", "y": "big cat"}
    plain = squad_scores(rows, [Gold(name, ANSWER) for name in rows])
    scores = scored(rows)
    assert (scores["f1"], scores["exact"]) == (plain["f1"], plain["exact"])
    assert scores["f1"] == scores["rows_f1"] == scores["original_f1"]


@given(predictions=st.dictionaries(NAMES, PREDICTIONS, min_size=1))
def test_the_worst_attack_is_no_better_than_the_average_one(predictions: dict[str, str]) -> None:
    scores = scored(predictions)
    f1 = dict(
        zip(predictions, question_scores(predictions, [Gold(name, ANSWER) for name in predictions]).f1, strict=True)
    )
    averages = []
    for original in {name[0] for name in predictions}:
        attacks = [f1[name] for name in predictions if name.startswith(f"{original}-")] or [f1[original]]
        averages.append(sum(attacks) / len(attacks))
    assert 0 <= scores["exact"] <= scores["f1"] <= sum(averages) / len(averages) + 1e-12
    assert scores["originals"] == len(averages)


def test_no_rows_and_foreign_predictions_are_refused() -> None:
    with pytest.raises(DataError, match="no questions to score"):
        adversarial_scores({}, [])
    with pytest.raises(DataError, match="not in the set"):
        adversarial_scores({"x-turk0": ""}, [Gold("x", ANSWER)])


@pytest.mark.shared_data
@pytest.mark.parametrize(("name", "rows"), [("AddSent", 3560), ("AddOneSent", 1787)])
def test_real_attacks_score_as_the_authors_evaluation_says(shared_data: Path, name: str, rows: int) -> None:
    answers, contexts = questions(shared_data / f"addsent/{name}.json.gz")
    predictions = predicted(answers, contexts)
    golds = [Gold(key, tuple(texts)) for key, texts in answers.items()]
    scores = adversarial_scores(predictions, golds)
    for metric, value in official.under_attack(predictions, answers).items():
        assert scores[metric] == pytest.approx(value, abs=1e-12)
    assert scores["rows_f1"] == pytest.approx(official.averaged(official.f1, predictions, answers), abs=1e-12)
    assert scores["rows_exact"] == pytest.approx(official.averaged(official.exact, predictions, answers), abs=1e-12)
    assert (scores["originals"], scores["rows"]) == (1000, rows)
