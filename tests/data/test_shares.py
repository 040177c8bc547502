"""Whose turn it is: counts that add up, only grow, and stay in proportion, by size, weight or temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssl_pdr.data.shares import Shares, shares
from ssl_pdr.errors import ConfigError

quick = settings(max_examples=150, deadline=None, derandomize=True)
weights = st.lists(st.integers(0, 40) | st.integers(0, 10**6), min_size=1, max_size=8).filter(any)


def counts_of(turns: Shares, rows: Sequence[int]) -> Any:
    return turns.counts(np.array(rows, dtype=np.int64))


# --- counts ---


@quick
@given(weights, st.integers(0, 10**9))
@example([1] * 8, 0)
@example([1, 10**6], 499_990)
@example([1] * 7 + [10**6], 499_990)
@example([10**6, 0, 1], 999_990)
def test_counts_add_up_only_grow_and_stay_in_proportion(numbers: list[int], start: int) -> None:
    rows = np.arange(start, start + 200)
    counts = Shares(numbers).counts(rows)
    assert counts.shape == (200, len(numbers))
    assert (counts.sum(axis=1) == rows).all()
    assert np.diff(counts, axis=0).min() >= 0
    exact = np.array([[row * number / sum(numbers) for number in numbers] for row in rows.tolist()])
    assert np.abs(counts - exact).max() < 2
    assert counts[:, [number == 0 for number in numbers]].sum() == 0


@quick
@given(st.lists(st.integers(0, 60), min_size=1, max_size=6).filter(any), st.integers(0, 3))
def test_a_period_is_exact_and_all_are_alike(numbers: list[int], period: int) -> None:
    total = sum(numbers)
    counts = Shares(numbers).counts(np.arange(period * total, (period + 1) * total + 1))
    assert counts[0].tolist() == [period * number for number in numbers]
    assert counts[-1].tolist() == [(period + 1) * number for number in numbers]
    assert (counts - counts[0] == Shares(numbers).counts(np.arange(total + 1))).all()


@quick
@given(weights, st.integers(0, 2**61))
def test_late_rows_do_not_overflow(numbers: list[int], row: int) -> None:
    [counts] = counts_of(Shares(numbers), [row]).tolist()
    assert sum(counts) == row
    assert all(abs(count * sum(numbers) - row * n) < 2 * sum(numbers) for count, n in zip(counts, numbers, strict=True))


@quick
@given(st.lists(st.integers(2**31, 2**40), min_size=2, max_size=4), st.fractions(0, 3))
def test_huge_pools_do_not_overflow(sizes: list[int], share: Any) -> None:
    row = int(share * sum(sizes))
    counts = counts_of(Shares(sizes), [row, row + 1])
    assert counts.dtype == np.int64
    assert counts.sum(axis=1).tolist() == [row, row + 1]
    assert np.diff(counts, axis=0).min() >= 0
    for count, size in zip(counts[0].tolist(), sizes, strict=True):
        assert abs(count - row * size / sum(sizes)) < 2.1  # the oracle is a float


@quick
@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(0, 10**9))
def test_two_pools_are_never_more_than_half_a_row_off(one: int, other: int, start: int) -> None:
    rows = np.arange(start, start + 500)
    doubled = 2 * Shares([one, other]).counts(rows)[:, 0] * (one + other)
    assert np.abs(doubled - 2 * rows * one).max() <= one + other


def test_many_pools_stay_in_proportion_too() -> None:
    numbers = np.random.default_rng(0).integers(1, 1_000, 200)
    rows = np.arange(0, 3 * numbers.sum(), 997)
    assert np.abs(Shares(numbers.tolist()).counts(rows) - np.outer(rows, numbers) / numbers.sum()).max() < 3


def test_one_pool_and_none() -> None:
    assert counts_of(Shares([7]), [0, 1, 9]).tolist() == [[0], [1], [9]]
    assert counts_of(Shares([]), [0, 0]).shape == (2, 0)


# --- what the shares are ---


def proportions(
    sizes: Sequence[int | None], weights: Sequence[float] | None = None, temperature: float | None = None
) -> list[float]:
    numbers = shares(sizes, weights, temperature, "unlabelled").weights
    assert all(type(number) is int for number in numbers)
    return [number / sum(numbers) for number in numbers]


def test_the_default_goes_by_size_so_that_an_epoch_is_exact() -> None:
    sizes = [3, 10**8, 17]
    assert counts_of(shares(sizes, None, None, "unlabelled"), [sum(sizes)]).tolist() == [sizes]
    assert shares([], None, 2.0, "unlabelled").weights == []


def test_streams_of_unknown_size_weigh_alike() -> None:
    assert proportions([5, None, None]) == [1 / 3, 1 / 3, 1 / 3]


@pytest.mark.parametrize(
    ("given_weights", "whole"),
    [
        ([1, 0.3], [10, 3]),
        ([0.1, 0.2, 0.7], [1, 2, 7]),
        ([2, 4, 6], [1, 2, 3]),
        ([0, 5], [0, 1]),
        ([np.float32(0.5), np.int64(2)], [1, 4]),
    ],
)
def test_weights_are_read_as_the_decimal_numbers_that_they_print_as(given_weights: Any, whole: list[int]) -> None:
    assert shares([1] * len(whole), given_weights, None, "unlabelled").weights == whole


@quick
@given(st.lists(st.floats(0, 1e3, allow_subnormal=False), min_size=1, max_size=5).filter(any))
def test_any_weights_become_whole_numbers_that_fit(numbers: list[float]) -> None:
    whole = shares([None] * len(numbers), numbers, None, "unlabelled").weights
    assert sum(whole) <= 2**24 + len(numbers)
    for number, exact in zip(whole, numbers, strict=True):
        assert (number > 0) == (exact > 0)  # however small, a weight is not forgotten
        assert abs(number / sum(whole) - exact / sum(numbers)) < 1e-6


@pytest.mark.parametrize("numbers", [[1e-300, 1.0], [1e300, 1e-300], [5e-324, 1.0]])
def test_weights_of_any_magnitude_have_a_turn(numbers: list[float]) -> None:
    assert sorted(shares([1, 1], numbers, None, "unlabelled").weights) == [1, 2**24]


def test_temperature_goes_from_sizes_to_alike() -> None:
    sizes = [10, 1_000, 30]
    assert shares(sizes, None, 1, "unlabelled").weights == sizes  # exactly, so that an epoch has every row once
    assert proportions(sizes, temperature=1e9) == pytest.approx([1 / 3] * 3, rel=1e-6)
    roots = [math.sqrt(size) for size in sizes]
    assert proportions(sizes, temperature=2.0) == pytest.approx([root / sum(roots) for root in roots], rel=1e-6)
    of_the_smallest = [proportions(sizes, temperature=t)[0] for t in (0.5, 1, 1.5, 3, 10, 100)]
    assert of_the_smallest == sorted(of_the_smallest)
    assert len(set(of_the_smallest)) == 6


# --- mistakes ---


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: shares([1, 1], [1, 2], 2, "unlabelled"), "unlabelled weights and temperature: got both, .* at most one"),
    (
        lambda: shares([1, 1], [1], None, "labelled"),
        "labelled weights: got 1 of them for 2 corpora, expected one for each",
    ),
    *(
        (
            lambda w=w: shares([1, 1], [1, w], None, "unlabelled"),
            "unlabelled weights: got .* finite numbers of at least 0",
        )
        for w in (-1, -1e-9, float("nan"), float("inf"), True, "1", None)
    ),
    (lambda: shares([1, 1], [0, 0.0], None, "unlabelled"), "all 2 of them are 0; expected one above 0, or no corpus"),
    (lambda: shares([1, None], None, 2, "unlabelled"), "temperature: the size of a streamed corpus is not known"),
    *(
        (lambda t=t: shares([1, 2], None, t, "unlabelled"), "temperature: got .* expected a finite number above 0")
        for t in (0, -1, float("nan"), float("inf"), True, "2")
    ),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
