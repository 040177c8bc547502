"""Statistics over seeds: by hand, by enumerating every resample, against SciPy's and scikit-learn's other routes, and by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import optimize, stats
from sklearn.isotonic import IsotonicRegression

from ssl_pdr.curves.statistics import (
    FEW,
    NO_RUN,
    NOT_SHARED,
    ONE_BUDGET,
    ONE_SEED,
    SMALL_GAP,
    estimate,
    isotonic,
    label_worth,
    paired_difference,
    recovery,
)

RIGHT = st.integers(0, 1000)  # rows that a model gets right, of a thousand
Array = NDArray[np.float64]


def every_resample(columns: Array, statistic: Callable[[Array], float]) -> Array:
    """The statistic of the column means of all n^n resamples of rows, in ascending order."""
    n = len(columns)
    picks = itertools.product(range(n), repeat=n)
    return np.sort([statistic(columns[list(pick)].mean(axis=0)) for pick in picks])


def assert_central(low: float | None, high: float | None, exact: Array, tiny: float = 1e-9) -> None:
    """Ends that cut off 2.5 %, give or take what 9,999 random resamples may: four standard errors."""
    assert low is not None
    assert high is not None
    slack = 4 * math.sqrt(0.025 * 0.975 / 9999)
    assert (exact < low - tiny).mean() <= 0.025 + slack
    assert (exact <= low + tiny).mean() >= 0.025 - slack
    assert (exact > high + tiny).mean() <= 0.025 + slack
    assert (exact >= high - tiny).mean() >= 0.025 - slack


def test_a_mean_by_hand() -> None:
    found = estimate([0.1, 0.2, 0.6])
    assert (found.n, found.few) == (3, True)
    assert found.mean == pytest.approx(0.3)
    assert found.sd == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))


def test_of_three_seeds_the_interval_is_their_range() -> None:
    """1 of 27 resamples, more than 2.5 %, is the smallest score three times."""
    found = estimate([0.1, 0.2, 0.6])
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.6))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_the_interval_of_a_mean_is_that_of_all_resamples(n: int) -> None:
    scores = np.random.default_rng(n).normal(size=n)
    found = estimate(scores)
    assert_central(found.low, found.high, every_resample(scores[:, None], lambda means: means[0]))


@pytest.mark.parametrize(("n", "covered"), [(2, 0.46), (3, 0.75), (4, 0.80), (5, 0.84), (20, 0.93)])
def test_how_often_the_interval_holds_the_true_mean(n: int, covered: float) -> None:
    """The module says how far from 95 % few seeds are; five standard errors of 300 simulations."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        found = estimate(rng.normal(size=n))
        held += found.low <= 0 <= found.high
    assert held / 300 == pytest.approx(covered, abs=5 * math.sqrt(covered * (1 - covered) / 300))


def test_without_seeds_there_is_a_reason_and_no_number() -> None:
    found = estimate([])
    assert (found.n, found.mean, found.sd, found.low, found.high) == (0, None, None, None, None)
    assert (found.reason, found.few) == (NO_RUN, True)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    found = estimate([0.7])
    assert (found.n, found.mean, found.sd, found.low, found.high, found.reason) == (1, 0.7, None, None, None, None)
    assert found.note == "one seed only: there is no interval, and it may be chance"


@pytest.mark.parametrize("n", [2, 3, 5, 7])
def test_equal_scores_have_an_interval_of_no_width(n: int) -> None:
    found = estimate([0.1] * n)
    assert (found.low, found.high, found.sd) == (0.1, 0.1, 0.0)


def test_few_seeds_are_called_few() -> None:
    notes = {n: estimate(np.arange(n)).note for n in range(2, 7)}
    assert notes[FEW - 1] == "4 seeds only: the interval is too narrow"
    assert notes[FEW] is None
    assert [estimate(np.arange(n)).few for n in range(7)] == [True] * 5 + [False] * 2


@settings(max_examples=30, deadline=None)
@given(st.lists(RIGHT, min_size=2, max_size=6), st.floats(-5, 5), st.floats(0.01, 100), st.randoms())
def test_a_mean_moves_and_grows_with_its_scores_in_any_order(
    right: list[int], shift: float, scale: float, random: np.random.Generator
) -> None:
    scores = np.array(right) / 1000
    shuffled = list(scores)
    random.shuffle(shuffled)
    plain, moved = estimate(scores), estimate([shift + scale * score for score in shuffled])
    for name in ("mean", "low", "high"):
        assert getattr(moved, name) == pytest.approx(shift + scale * getattr(plain, name), abs=1e-9)
    assert moved.sd == pytest.approx(scale * plain.sd, abs=1e-9)
    assert plain.low <= plain.mean <= plain.high or plain.low == pytest.approx(plain.high)


def test_a_difference_is_paired() -> None:
    """Seeds that differ much, and a method that is a little better with each."""
    theirs = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    gains = np.array([0.01, 0.02, 0.01, 0.03, 0.02])
    found = paired_difference(theirs + gains, theirs)
    assert found.n == 5
    assert found.mean == pytest.approx(gains.mean())
    t = gains.mean() / (gains.std(ddof=1) / math.sqrt(5))
    assert found.p == pytest.approx(2 * stats.t(4).sf(t))
    assert found.p == pytest.approx(stats.ttest_rel(theirs + gains, theirs).pvalue)
    assert found.exact_p == 2 / 32
    assert_central(found.low, found.high, every_resample(gains[:, None], lambda means: means[0]))
    assert found.low > 0.005  # unpaired it would be about −0.15


@settings(max_examples=30, deadline=None)
@given(st.lists(RIGHT, min_size=2, max_size=6), st.lists(RIGHT, min_size=6, max_size=6))
def test_the_exact_p_is_that_of_all_sign_flips(ours: list[int], theirs: list[int]) -> None:
    gains = np.array(ours) - np.array(theirs[: len(ours)])
    sums = np.array([np.dot(signs, gains) for signs in itertools.product((-1, 1), repeat=len(gains))])
    expected = min(1.0, 2 * min((sums >= gains.sum()).mean(), (sums <= gains.sum()).mean()))
    found = paired_difference(np.array(ours) / 1000, np.array(theirs[: len(ours)]) / 1000)
    assert found.exact_p == pytest.approx(expected)
    assert found.exact_p >= 2.0 ** (1 - len(gains))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(RIGHT, RIGHT), min_size=2, max_size=6))
def test_a_difference_turned_round_has_the_other_sign(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = np.array(pairs).T / 1000
    there, back = paired_difference(ours, theirs), paired_difference(theirs[::-1], ours[::-1])
    assert back.mean == pytest.approx(-there.mean)
    assert (back.p is None) == (there.p is None)
    assert there.p is None or back.p == pytest.approx(there.p)
    assert back.exact_p == pytest.approx(there.exact_p)


@pytest.mark.parametrize(
    ("ours", "theirs", "mean"),
    [
        ([0.8, 0.8], [0.8, 0.8], 0.0),
        ([0.7, 0.6, 0.9], [0.7, 0.6, 0.9], 0.0),
        ([0.81, 0.82, 0.91], [0.79, 0.80, 0.89], 0.02),  # all 0.02, but not to the last bit
    ],
)
def test_equal_differences_have_no_t_test(ours: list[float], theirs: list[float], mean: float) -> None:
    found = paired_difference(ours, theirs)
    assert found.p is None
    assert found.low == found.high == pytest.approx(mean)
    assert found.exact_p == (1.0 if mean == 0 else 2.0 ** (1 - len(ours)))
    assert found.note is not None
    assert found.note.endswith("; all differences are equal, so that a t-test says nothing")


def test_differences_say_what_their_number_allows() -> None:
    assert paired_difference([], []).reason == NOT_SHARED
    one = paired_difference([0.8], [0.7])
    assert (one.n, one.low, one.high, one.p, one.exact_p) == (1, None, None, None, None)
    assert one.mean == pytest.approx(0.1)
    scores = np.array([0.1, 0.25, 0.3, 0.5, 0.4, 0.7])
    notes = {n: paired_difference(scores[:n] ** 2, scores[:n]).note for n in (3, 5, 6)}
    assert notes == {
        3: "3 seeds only: the interval is too narrow; no exact test of 3 seeds gives p below 0.25",
        5: "no exact test of 5 seeds gives p below 0.0625",
        6: None,
    }


def test_recovery_by_hand() -> None:
    """Plain 0.70, the method 0.76, all labels 0.80: 6 of 10 points."""
    plain = np.array([0.70, 0.69, 0.71])
    found = recovery([0.76, 0.74, 0.78], plain, [0.80, 0.78, 0.82])
    assert found.value == pytest.approx(0.6)
    assert found.reason is None


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_interval_of_recovery_resamples_both_gaps_together(n: int) -> None:
    rng = np.random.default_rng(n)
    gains, gaps = rng.normal(0.05, 0.03, n), rng.normal(0.1, 0.01, n)
    found = recovery(0.7 + gains, np.full(n, 0.7), 0.7 + gaps)
    exact = every_resample(np.stack([gains, gaps], axis=1), lambda means: means[0] / means[1])
    assert_central(found.low, found.high, exact)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(RIGHT, RIGHT), min_size=2, max_size=5))
def test_recovery_knows_no_unit_and_no_order(pairs: list[tuple[int, int]]) -> None:
    """In numbers that are exact in binary, so that the same resamples are drawn."""
    gains, gaps = np.array(pairs).T / 1024
    plain = np.arange(len(gains)) / 8
    sides = (plain + gains, plain, plain + gaps)
    found = recovery(*sides)
    moved = recovery(*((3 + 4 * side)[::-1] for side in sides))
    assert moved.reason == found.reason
    for name in ("value", "low", "high"):
        assert getattr(moved, name) == pytest.approx(getattr(found, name), abs=1e-9)


def test_no_recovery_of_a_gap_that_may_be_chance() -> None:
    """Gaps of mean g and standard error 0.01: told apart just above 0.02, not at 0.02."""
    plain = np.full(3, 0.5)
    unit = np.array([-1, 0, 1]) * 0.01 * math.sqrt(3)
    assert recovery(plain + 0.01, plain, plain + 0.0199 + unit).reason == SMALL_GAP
    assert recovery(plain + 0.01, plain, plain + 0.0201 + unit).value == pytest.approx(0.01 / 0.0201)
    assert recovery(plain, plain, plain).reason == SMALL_GAP
    assert recovery(plain, plain, plain - unit - 0.2).reason == SMALL_GAP


def test_recovery_without_enough_seeds() -> None:
    assert recovery([], [], []).reason == NOT_SHARED
    one = recovery([0.75], [0.7], [0.8])
    assert (one.n, one.value, one.low, one.high, one.reason) == (1, None, None, None, ONE_SEED)


def test_recovery_of_equal_seeds_has_an_interval_of_no_width() -> None:
    found = recovery([0.9, 0.9], [0.7, 0.7], [0.8, 0.8])
    assert found.value == pytest.approx(2.0)
    assert found.low == found.high == pytest.approx(2.0)


@pytest.mark.parametrize(("gain", "bounded", "unbounded"), [(0.5, "low", "high"), (-0.5, "high", "low")])
def test_recovery_has_no_bound_where_the_gap_may_vanish(gain: float, bounded: str, unbounded: str) -> None:
    """A gap above two standard errors that more than 2.5 % of the resamples do not have."""
    gaps = np.array([1.05, 1.05, 1.0, 0.9, -0.655])
    assert (every_resample(gaps[:, None], lambda means: means[0]) <= 0).mean() > 0.025
    found = recovery(np.full(5, gain), np.zeros(5), gaps)
    assert found.value == pytest.approx(gain / gaps.mean())
    assert getattr(found, unbounded) is None
    assert abs(getattr(found, bounded)) == pytest.approx(0.5 / 1.05, abs=0.03)
    assert found.note == "the interval is not bounded, since the gap may be zero"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=7))
def test_isotonic_regression_is_that_of_two_libraries(right: list[int]) -> None:
    scores = np.array(right) / 100
    places = np.arange(len(scores))
    np.testing.assert_allclose(isotonic(scores), optimize.isotonic_regression(scores).x, atol=1e-12)
    np.testing.assert_allclose(isotonic(scores), IsotonicRegression().fit_transform(places, scores), atol=1e-12)
    np.testing.assert_array_equal(isotonic(np.stack([scores, scores[::-1]], axis=1))[:, 0], isotonic(scores))


CURVE = [[0.6, 0.8, 0.9], [0.6, 0.8, 0.9]]
LABELS = [100, 400, 1600]


@pytest.mark.parametrize(
    ("score", "labels", "at_least", "at_most"),
    [
        (0.7, 200, False, False),  # half of the way from 100 to 400, in logarithms
        (0.85, 800, False, False),
        (0.8, 400, False, False),
        (0.6, 100, False, False),
        (0.9, 1600, False, False),
        (0.91, 1600, True, False),
        (0.59, 100, False, True),
    ],
)
def test_label_worth_by_hand(score: float, labels: float, at_least: bool, at_most: bool) -> None:
    found = label_worth([score] * 2, CURVE, LABELS)
    assert (found.labels, found.at_least, found.at_most) == (pytest.approx(labels), at_least, at_most)
    assert found.low == found.high == found.labels
    assert found.reason is None


def test_a_curve_that_falls_is_made_monotone_first() -> None:
    """0.6, 0.9, 0.7 becomes 0.6, 0.8, 0.8: 0.7 is half of the way to 400, and 0.8 is reached at 400, not at 1,600."""
    curve = [[0.6, 0.9, 0.7]] * 2
    assert label_worth([0.7] * 2, curve, LABELS).labels == pytest.approx(200)
    assert label_worth([0.79] * 2, curve, LABELS).labels == pytest.approx(100 * 4**0.95, abs=1e-3)
    above = label_worth([0.85] * 2, curve, LABELS)
    assert (above.labels, above.at_least) == (1600, True)


def test_a_flat_curve_is_reached_at_its_beginning() -> None:
    flat = [[0.7, 0.7, 0.7]] * 2
    assert label_worth([0.7] * 2, flat, LABELS).labels == 100
    assert label_worth([0.71] * 2, flat, LABELS).at_least
    assert label_worth([0.69] * 2, flat, LABELS).at_most


def by_libraries(means: Array) -> float:
    """Labels of a score on a curve that rises strictly, by SciPy and numpy.interp; the beginning and the end if outside."""
    curve = optimize.isotonic_regression(means[1:]).x
    return float(np.exp(np.interp(means[0], curve, np.log(LABELS))))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_interval_of_label_worth_resamples_the_curve_too(n: int) -> None:
    rng = np.random.default_rng(10 + n)
    columns = np.array([0.7, 0.6, 0.8, 0.9]) + rng.normal(0, 0.02, (n, 4))
    found = label_worth(columns[:, 0], columns[:, 1:], LABELS)
    assert found.labels == pytest.approx(by_libraries(columns.mean(axis=0)), abs=1e-3)
    assert_central(found.low, found.high, every_resample(columns, by_libraries), tiny=2e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(RIGHT, min_size=4, max_size=4), min_size=1, max_size=4), st.floats(0.1, 10))
def test_label_worth_knows_no_unit_of_scores(rows: list[list[int]], scale: float) -> None:
    columns = np.array(rows) / 1000
    found = label_worth(columns[:, 0], columns[:, 1:], LABELS)
    assert found.labels is not None
    assert LABELS[0] <= found.labels <= LABELS[-1]
    turned = (2 + columns * 4)[::-1]  # exact in binary, so that no tie breaks
    moved = label_worth(turned[:, 0], turned[:, 1:], LABELS)
    assert moved.labels == pytest.approx(found.labels, rel=1e-3)
    more = label_worth(columns[:, 0], columns[:, 1:], [scale * labels for labels in LABELS])
    assert more.labels == pytest.approx(scale * found.labels, abs=2e-3 * max(scale, 1))


def test_an_interval_that_leaves_the_curve_says_so() -> None:
    curve = [[0.6, 0.8, 0.9]] * 3
    inside, above = label_worth([0.7, 0.72, 0.74], curve, LABELS), label_worth([0.8, 0.88, 0.94], curve, LABELS)
    assert inside.note == "3 seeds only: the interval is too narrow"
    assert above.note == "3 seeds only: the interval is too narrow; the interval goes beyond the curve"
    assert (above.at_least, above.high) == (False, 1600)


def test_label_worth_that_cannot_be_told() -> None:
    assert label_worth([0.7, 0.7], [[0.6], [0.6]], [100]).reason == ONE_BUDGET
    assert label_worth([], np.zeros((0, 3)), LABELS).reason == NOT_SHARED
    one = label_worth([0.7], [[0.6, 0.8, 0.9]], LABELS)
    assert (one.n, one.labels, one.low, one.high) == (1, pytest.approx(200), None, None)
    assert one.note == "one seed only: there is no interval, and it may be chance"
