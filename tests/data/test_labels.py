"""Labels as people write them."""

from __future__ import annotations

import pytest

from ssl_pdr.data.labels import LabelSet


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["10", "9", "-1", "+2"], ["-1", "+2", "9", "10"]),
        (["３", "2"], ["2", "３"]),
        (["²", "10", "9"], ["10", "9", "²"]),  # digits, but no number to int()
        (["++2", "10", "9"], ["++2", "10", "9"]),
        (["9" * 5000, "10"], ["10", "9" * 5000]),  # more digits than int() takes
    ],
)
def test_classes_are_in_the_order_of_numbers_where_all_are_some(labels: list[str], names: list[str]) -> None:
    assert LabelSet(labels, {}, "mine.csv").names == names
