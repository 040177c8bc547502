"""SQuAD v2.0: by hand, against the published evaluation written down once more, and thresholds by brute force."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_pdr.errors import DataError
from ssl_pdr.metrics import Gold, best_threshold, squad_v2_scores
from tests.metrics import official
from tests.metrics.realistic import predicted, questions

GOLDS = [Gold("ada", ("Ada Lovelace",)), Gold("none", ()), Gold("year", ("1843", "in 1843")), Gold("void", ())]
SPANS = {"ada": "Lovelace", "none": "Babbage", "year": "1843", "void": ""}
NULL = {"ada": -2.0, "none": 0.5, "year": 1.0, "void": 3.0}

ROWS = st.lists(
    st.tuples(
        st.sampled_from([(), ("cat",), ("big cat",), (".",), (".", "cat")]),
        st.sampled_from(["cat", "big cat", "dog", "", "the"]),
        st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, math.inf]) | st.floats(-5, 5),
    ),
    min_size=1,
    max_size=7,
)


def test_scores_by_hand() -> None:
    assert squad_v2_scores(SPANS, NULL, GOLDS) == {
        "f1": pytest.approx((2 / 3 + 0 + 1 + 1) / 4),
        "exact": 0.5,
        "has_answer_f1": pytest.approx((2 / 3 + 1) / 2),
        "has_answer_exact": 0.5,
        "no_answer_exact": 0.5,
        "has_answer_rows": 2,
        "no_answer_rows": 2,
        "rows": 4,
        # From "nothing is answered", 2 of 4: Ada adds 2/3 (F1) or 0, none takes 1 away, year adds 1, void has "" anyway.
        "best_f1": pytest.approx((2 + 2 / 3) / 4),
        "best_f1_threshold": -2.0,
        "best_exact": 0.5,
        "best_exact_threshold": pytest.approx(-2.0, abs=1e-12),
    }


@pytest.mark.parametrize(
    ("threshold", "f1", "exact", "has_answer_f1", "no_answer_exact"),
    [
        (-9.0, 2 / 4, 2 / 4, 0, 1),
        (-2.0, (2 / 3 + 2) / 4, 2 / 4, 1 / 3, 1),  # equal to a null score: the span stays
        (0.4, (2 / 3 + 2) / 4, 2 / 4, 1 / 3, 1),
        (0.5, (2 / 3 + 1) / 4, 1 / 4, 1 / 3, 0.5),
        (math.inf, (2 / 3 + 2) / 4, 2 / 4, 5 / 6, 0.5),
    ],
)
def test_a_threshold_by_hand(
    threshold: float, f1: float, exact: float, has_answer_f1: float, no_answer_exact: float
) -> None:
    scores = squad_v2_scores(SPANS, NULL, GOLDS, threshold)
    assert scores["f1"] == pytest.approx(f1)
    assert scores["exact"] == pytest.approx(exact)
    assert scores["has_answer_f1"] == pytest.approx(has_answer_f1)
    assert scores["no_answer_exact"] == pytest.approx(no_answer_exact)


def test_groups_without_questions_have_no_scores() -> None:
    answered = squad_v2_scores({"ada": "Ada"}, {"ada": 0.0}, GOLDS[:1])
    assert "no_answer_exact" not in answered
    assert (answered["has_answer_rows"], answered["no_answer_rows"]) == (1, 0)
    empty = squad_v2_scores({"none": "Ada"}, {"none": 0.0}, GOLDS[1:2])
    assert not {"has_answer_f1", "has_answer_exact"} & set(empty)
    assert empty["no_answer_exact"] == empty["f1"] == 0
    assert not any(math.isnan(value) for value in (answered | empty).values())


def test_answers_without_words_do_not_count() -> None:
    """As in v2.0, unlike v1.1: the answer "." is no reason to say nothing."""
    golds = [Gold("x", (".", "cat")), Gold("y", (".",))]
    scores = squad_v2_scores({"x": "", "y": ""}, {"x": 0.0, "y": 0.0}, golds)
    assert scores["has_answer_rows"] == 2
    assert scores["f1"] == scores["exact"] == 0.5


def test_of_equally_good_thresholds_the_lowest_is_named() -> None:
    golds = [Gold("x", ("cat",)), Gold("y", ("dog",)), Gold("z", ("owl",))]
    spans, null = {"x": "cat", "y": "wrong", "z": "wrong"}, {"z": 3.0, "y": 2.0, "x": 1.0}
    assert best_threshold(spans, null, golds) == 1.0
    assert best_threshold({**spans, "z": "owl"}, null, golds, "exact") == 3.0


def test_answering_nothing_is_best_at_a_threshold_that_does_it() -> None:
    golds = [Gold("x", ()), Gold("y", ())]
    spans = {"x": "cat", "y": "dog"}
    assert best_threshold(spans, {"x": 0.1, "y": 0.2}, golds) == 0.0  # as in SQuAD's search
    below = best_threshold(spans, {"x": -7.0, "y": 2.0}, golds)
    assert below < -7
    assert squad_v2_scores(spans, {"x": -7.0, "y": 2.0}, golds, below)["f1"] == 1


def test_no_cut_goes_through_equal_null_scores() -> None:
    """SQuAD's search would report 1.0 here, which no threshold gives: both questions get their span, or neither does."""
    golds = [Gold("x", ("cat",)), Gold("y", ())]
    spans, null = {"x": "cat", "y": "dog"}, {"x": 1.0, "y": 1.0}
    scores = squad_v2_scores(spans, null, golds)
    assert (scores["best_f1"], scores["best_f1_threshold"]) == (0.5, 0.0)
    assert official.best_of_search({"x": 1, "y": 0}, spans, null, {"x": ["cat"], "y": []}) == (1.0, 1.0)


@given(rows=ROWS)
def test_no_threshold_is_better_than_the_best(rows: list[tuple[tuple[str, ...], str, float]]) -> None:
    golds = [Gold(str(i), answers) for i, (answers, _, _) in enumerate(rows)]
    spans = {str(i): span for i, (_, span, _) in enumerate(rows)}
    null = {str(i): score for i, (_, _, score) in enumerate(rows)}
    scores = squad_v2_scores(spans, null, golds)
    every = [-1e9, *null.values()]
    for metric in ("f1", "exact"):
        tried = [squad_v2_scores(spans, null, golds, threshold)[metric] for threshold in every]
        best = best_threshold(spans, null, golds, metric)
        assert scores[f"best_{metric}"] == pytest.approx(max(tried))
        assert best == scores[f"best_{metric}_threshold"]
        assert squad_v2_scores(spans, null, golds, best)[metric] == pytest.approx(max(tried))
    assert 0 <= scores["exact"] <= scores["f1"] <= scores["best_f1"] + 1e-12
    assert scores["best_f1"] <= 1
    assert scores["best_exact"] <= scores["best_f1"] + 1e-12


@pytest.mark.parametrize(
    ("spans", "null", "message"),
    [
        ({"ada": "Ada"}, NULL, "3 of 4 questions have no prediction, the first is 'none'"),
        (SPANS, {"ada": 0.0, "none": 0.0, "year": 0.0}, "1 of 4 questions have no null score, the first is 'void'"),
        (SPANS, NULL | {"year": math.nan}, "the null score of 'year' is nan; expected a finite number"),
        (SPANS, NULL | {"none": -math.inf}, "the null score of 'none' is -inf"),
        (SPANS | {"q": ""}, NULL, "1 of 5 predictions .* 'q'"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(spans: dict[str, str], null: dict[str, float], message: str) -> None:
    for scored in (squad_v2_scores, best_threshold):
        with pytest.raises(DataError, match=message) as caught:
            scored(spans, null, GOLDS)
        assert "\n" not in str(caught.value)


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["dev_a", "dev_b_rebuilt"])
def test_real_questions_score_as_the_published_evaluation_says(shared_data: Path, name: str) -> None:
    answers, contexts = questions(shared_data / f"squad2/{name}.json.gz")
    spans = predicted(answers, contexts)
    pick = random.Random(1)
    null = {key: math.exp(pick.gauss(0 if texts else 1, 1)) for key, texts in answers.items()}  # different, above 0
    golds = [Gold(key, tuple(texts)) for key, texts in answers.items()]
    answerable = [key for key, texts in answers.items() if texts]
    unanswerable = [key for key, texts in answers.items() if not texts]
    spans |= {key: "" for key in unanswerable if not official.words(spans[key])}  # the search takes "the" for an answer
    for threshold in (None, 1.5):
        scores = squad_v2_scores(spans, null, golds, threshold)
        for metric, pair in (("f1", official.f1), ("exact", official.exact)):
            raw = official.raw(pair, spans, answers)
            kept = raw if threshold is None else official.thresholded(raw, null, answers, threshold)
            assert scores[metric] == pytest.approx(sum(kept.values()) / len(kept), abs=1e-12)
            assert scores[f"has_answer_{metric}"] == pytest.approx(
                sum(kept[key] for key in answerable) / len(answerable)
            )
            assert scores["no_answer_exact"] == pytest.approx(
                sum(kept[key] for key in unanswerable) / len(unanswerable)
            )
            best, best_at = official.best_of_search(raw, spans, null, answers)
            assert scores[f"best_{metric}"] == pytest.approx(best, abs=1e-12)
            assert scores[f"best_{metric}_threshold"] == best_at
        assert (scores["rows"], scores["has_answer_rows"]) == (len(answers), len(answerable))
