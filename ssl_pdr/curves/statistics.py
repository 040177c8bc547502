"""Statistics over the seeds of a label-budget curve: means, paired differences, recovery, and what labels are worth.

A seed decides the labelled rows, the batches, the noise and the new head, and every method has the same seeds: so all
comparisons are paired. Intervals are percentile bootstraps over seeds (Efron and Tibshirani 1993, ch. 13), the same each time.
What they cannot say, with few seeds: no resample leaves the range of what was seen, so they are too narrow. Of normal scores a
"95 %" interval holds the true mean in about 84 % of cases with 5 seeds, 80 % with 4, 75 % with 3 and 46 % with 2. And they
say how much of a result is the luck of a seed, nothing about other data or other rows to evaluate on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Values: TypeAlias = NDArray[np.float64]

FEW = 5  # fewer seeds than these are called few
RESAMPLES = 9999
NO_RUN = "no finished run"
NOT_SHARED = "no seed has all results that are compared"
ONE_SEED = "one seed only: the gap to full supervision has no standard error"
SMALL_GAP = "the gap to full supervision is within two standard errors"
ONE_BUDGET = "plain training has results at fewer than two budgets"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        n: seeds.
        mean: None without seeds.
        sd: between seeds, with n − 1; None for n < 2.
        low: of the 95 % interval of the mean; None for n < 2.
        high: likewise.
        few: fewer than `FEW` seeds.
        reason: why there is no mean.
        note: what a reader of the interval has to know.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    few: bool
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A mean difference of two methods over the seeds that both have.

    Attributes:
        n: seeds.
        mean: of the differences; None without seeds.
        low: of its 95 % interval; None for n < 2.
        high: likewise.
        p: of the paired t-test; None for n < 2, and where all differences are equal.
        exact_p: of the two-sided sign-flip test, which assumes symmetry alone; at least 2^(1 − n), so never below 0.05 with 5 seeds.
            From 14 seeds on a random part of all flips.
        few: fewer than `FEW` seeds.
        reason: why there is no mean.
        note: what a reader of interval and p has to know.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    exact_p: float | None = None
    few: bool
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """Share of the gap between few labels and all that a method closes.

    Attributes:
        n: seeds.
        value: 0 for plain training, 1 for as good as with all labels, of any size and sign; None where it cannot be told.
        low: of its 95 % interval; None where it has no bound.
        high: likewise.
        reason: why there is no value.
        note: what a reader of the interval has to know.
    """

    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class LabelWorth:
    """How many labels plain training needs for a score.

    Attributes:
        n: seeds.
        labels: within those of the curve; None where it cannot be told.
        low: of its 95 % interval, within those of the curve; None for n < 2.
        high: likewise.
        at_least: the score lies above the curve, `labels` is its end.
        at_most: the score lies below the curve, `labels` is its beginning.
        reason: why there are no labels.
        note: what a reader of the interval has to know.
    """

    n: int
    labels: float | None = None
    low: float | None = None
    high: float | None = None
    at_least: bool = False
    at_most: bool = False
    reason: str | None = None
    note: str | None = None


def estimate(values: ArrayLike) -> Estimate:
    """Mean, standard deviation and interval over seeds.

    Args:
        values: scores of the seeds, (n,).

    Example:
        >>> found = estimate([0.80, 0.82, 0.84])
        >>> round(found.mean, 3), round(found.sd, 3), round(found.low, 3), found.high, found.few
        (0.82, 0.02, 0.8, 0.84, True)
    """
    scores = np.asarray(values, np.float64)
    n = len(scores)
    if n == 0:
        return Estimate(n=0, few=True, reason=NO_RUN)
    mean = float(scores.mean())
    if n == 1:
        return Estimate(n=1, mean=mean, few=True, note=_few(1))
    low, high = _interval(scores[:, None], lambda means: means[0])
    sd = 0.0 if np.ptp(scores) == 0 else float(scores.std(ddof=1))
    return Estimate(n=n, mean=mean, sd=sd, low=low, high=high, few=n < FEW, note=_few(n))


def paired_difference(ours: ArrayLike, theirs: ArrayLike) -> Difference:
    """How much better a method is than another, seed by seed.

    Args:
        ours: scores of a method, (n,).
        theirs: scores of the other one for the same seeds, (n,).

    Example:
        >>> found = paired_difference([0.84, 0.83, 0.85, 0.86, 0.84], [0.82, 0.80, 0.84, 0.82, 0.82])
        >>> round(found.mean, 3), round(found.p, 4), found.exact_p
        (0.024, 0.0093, 0.0625)
    """
    gains = _gains(np.asarray(ours, np.float64), np.asarray(theirs, np.float64))
    n = len(gains)
    if n == 0:
        return Difference(n=0, few=True, reason=NOT_SHARED)
    if n == 1:
        return Difference(n=1, mean=float(gains[0]), few=True, note=_few(1))
    low, high = _interval(gains[:, None], lambda means: means[0])
    alike = np.ptp(gains) == 0
    flipped = stats.permutation_test(
        (gains,), np.mean, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=_generator()
    )
    floor = 2.0 ** (1 - n)
    return Difference(
        n=n,
        mean=float(gains.mean()),
        low=low,
        high=high,
        p=None if alike else float(stats.ttest_1samp(gains, 0).pvalue),
        exact_p=float(flipped.pvalue),
        few=n < FEW,
        note=_note(
            _few(n),
            f"no exact test of {n} seeds gives p below {floor:.3g}" if floor > 0.05 else None,
            "all differences are equal, so that a t-test says nothing" if alike else None,
        ),
    )


def recovery(method: ArrayLike, plain: ArrayLike, full: ArrayLike) -> Recovery:
    """The share of the gap to full supervision that a method closes: (method − plain) / (full − plain), a ratio of means.

    Only where the gap exceeds two standard errors, since a ratio to what may be zero says nothing. In resamples whose gap is
    not above zero the ratio counts as beyond every bound on the side of its numerator.

    Args:
        method: its scores at the budget, (n,).
        plain: scores of plain training at the budget for the same seeds, (n,).
        full: scores of plain training with all labels for the same seeds, (n,).

    Example:
        >>> round(recovery([0.75, 0.77, 0.76], [0.70, 0.71, 0.72], [0.80, 0.82, 0.81]).value, 2)
        0.5
    """
    low_scores = np.asarray(plain, np.float64)
    gains, gaps = (_gains(np.asarray(scores, np.float64), low_scores) for scores in (method, full))
    n = len(gaps)
    if n < 2:
        return Recovery(n=n, reason=ONE_SEED if n else NOT_SHARED)
    if gaps.mean() <= 2 * gaps.std(ddof=1) / np.sqrt(n):
        return Recovery(n=n, reason=SMALL_GAP)
    # The angle grows with the ratio, and on through infinity where the gap vanishes.
    ends = _interval(np.stack([gains, gaps], axis=1), lambda means: np.arctan2(means[0], means[1]))
    low, high = (float(np.tan(angle)) if abs(angle) < np.pi / 2 else None for angle in ends)
    unbounded = "the interval is not bounded, since the gap may be zero" if low is None or high is None else None
    value = float(gains.mean() / gaps.mean())
    return Recovery(n=n, value=value, low=low, high=high, note=_note(_few(n), unbounded))


def label_worth(scores: ArrayLike, curve: ArrayLike, labels: Sequence[float]) -> LabelWorth:
    """How many labels plain training needs for a method's mean score: the fewest at which its monotone curve reaches it.

    Between budgets the curve is linear in the logarithm of the labels; the interval resamples the seeds of method and curve
    together.

    Args:
        scores: of the method, (n,).
        curve: scores of plain training for the same seeds, (n, k).
        labels: how many labels its budgets are, ascending, (k,).

    Example:
        >>> label_worth([0.75, 0.75], [[0.7, 0.8], [0.7, 0.8]], [100, 400]).labels
        200.0
    """
    reached, plain = np.asarray(scores, np.float64), np.asarray(curve, np.float64)
    n = len(reached)
    if len(labels) < 2:
        return LabelWorth(n=n, reason=ONE_BUDGET)
    if n == 0:
        return LabelWorth(n=0, reason=NOT_SHARED)
    columns = np.column_stack([reached, plain])
    places = np.log(labels)
    place = float(_place(columns.mean(axis=0)[:, None], places)[0])
    worth, above, below = _clipped(place, labels), bool(place > places[-1]), bool(place < places[0])
    if n == 1:
        return LabelWorth(n=1, labels=worth, at_least=above, at_most=below, note=_few(1))
    low, high = _interval(columns, lambda means: _place(means, places))
    beyond = "the interval goes beyond the curve" if low < places[0] or high > places[-1] else None
    return LabelWorth(
        n=n,
        labels=worth,
        low=_clipped(low, labels),
        high=_clipped(high, labels),
        at_least=above,
        at_most=below,
        note=_note(_few(n), beyond),
    )


def isotonic(values: ArrayLike) -> Values:
    """The closest non-decreasing curve in the sense of least squares, for many curves at once.

    Args:
        values: (k, …); the first axis is the one along which the curve must not fall.

    Source:
        Robertson, Wright, Dykstra 1988, "Order Restricted Statistical Inference", the max-min formulas.

    Example:
        >>> isotonic([0.6, 0.8, 0.7]).round(3).tolist()
        [0.6, 0.75, 0.75]
    """
    rows = np.asarray(values, np.float64)
    k = len(rows)
    means = {(a, b): rows[a : b + 1].mean(axis=0) for a in range(k) for b in range(a, k)}
    return np.stack(
        [np.max([np.min([means[a, b] for b in range(i, k)], axis=0) for a in range(i + 1)], axis=0) for i in range(k)]
    )


def _place(means: Values, places: Values) -> Values:
    """Where on the curve a score lies, (r,): in logarithms of labels, 1 before its beginning and 1 past its end if outside.

    Args:
        means: the score and below it the curve, (1 + k, r).
        places: logarithms of labels, (k,).
    """
    score, curve = means[0].round(12), isotonic(means[1:]).round(12)  # so that rounding breaks no tie
    after = (curve < score).sum(axis=0)  # the first budget that reaches the score
    right = after.clip(1, len(places) - 1)
    bottom, top = (np.take_along_axis(curve, side[None], axis=0)[0] for side in (right - 1, right))
    rise = np.where(top > bottom, top - bottom, 1)
    share = ((score - bottom) / rise).clip(0, 1)
    inside = places[right - 1] + share * (places[right] - places[right - 1])
    found: Values = np.select(
        [score < curve[0], after == 0, after == len(places)], [places[0] - 1, places[0], places[-1] + 1], inside
    )
    return found


def _clipped(place: float, labels: Sequence[float]) -> float:
    """Labels, to three decimals, which is more than labels have and less than logarithms lose."""
    return min(max(round(float(np.exp(place)), 3), float(labels[0])), float(labels[-1]))


def _interval(columns: Values, statistic: Callable[[Values], Values]) -> tuple[float, float]:
    """The 95 % percentile interval of a function of the columns' means over n ≥ 2 seeds.

    Args:
        columns: a row for each seed, (n, c).
        statistic: from means, (c, r), to r values.
    """

    def of_resamples(*resampled: Values, axis: int = -1) -> Values:
        means = np.stack([np.asarray(column).mean(axis=axis) for column in resampled])
        return statistic(means.reshape(len(means), -1)).reshape(means.shape[1:])

    if (columns == columns[0]).all():  # exactly, where a mean of equal numbers need not be one of them
        value = float(statistic(columns[0][:, None])[0])
        return value, value
    ordered = columns[np.lexsort(columns.T)]  # so that the order of seeds decides nothing
    made: Any = stats.bootstrap(
        tuple(ordered.T),
        of_resamples,
        n_resamples=RESAMPLES,
        paired=True,
        vectorized=True,
        method="percentile",  # BCa corrects by a skewness that a few seeds do not tell, and fails where they are alike
        rng=_generator(),
    )
    return float(made.confidence_interval.low), float(made.confidence_interval.high)


def _gains(ours: Values, theirs: Values) -> Values:
    """Differences seed by seed, (n,); those that differ by rounding alone are made equal."""
    gains: Values = ours - theirs
    if len(gains) and np.ptp(gains) <= 1e-12 * max(np.abs(ours).max(), np.abs(theirs).max()):
        gains = np.full_like(gains, gains.mean())
    return gains


def _generator() -> np.random.Generator:
    return np.random.default_rng(0)


def _few(n: int) -> str | None:
    if n == 1:
        return "one seed only: there is no interval, and it may be chance"
    return f"{n} seeds only: the interval is too narrow" if n < FEW else None


def _note(*parts: str | None) -> str | None:
    return "; ".join(part for part in parts if part) or None
