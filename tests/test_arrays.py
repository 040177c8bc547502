"""Texts and labels in every form that people hand over, and one line for each that is neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import DataConversionWarning

from ssl_pdr.arrays import as_labels, as_texts, split_classes
from ssl_pdr.errors import DataError

TEXTS = ["a joy", "a bore", "so so"]
PAIRS = [("a cat", "an animal"), ("a dog", "a plant"), ("a tree", "a plant")]


class OnlyAnArray:
    """Something that NumPy can read, and that has no length of its own."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(TEXTS, dtype=dtype)


@pytest.mark.parametrize(
    "make",
    [list, tuple, np.array, lambda t: np.array(t, dtype=object), pd.Series, pd.Index, lambda t: OnlyAnArray()],
)
def test_texts_come_in_many_forms(make: Callable[[Any], Any]) -> None:
    assert as_texts(make(TEXTS), "X").tolist() == TEXTS


@pytest.mark.parametrize("make", [list, np.array, lambda p: [list(pair) for pair in p], pd.DataFrame])
def test_pairs_come_in_many_forms(make: Callable[[Any], Any]) -> None:
    texts = as_texts(make(PAIRS), "X")
    assert texts.shape == (3, 2)
    assert [tuple(pair) for pair in texts.tolist()] == PAIRS


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a joy", "X is 'a joy', expected a sequence of texts.*; put a single text into a list"),
        (b"a joy", "X is b'a joy', expected"),
        (None, "X is None, expected"),
        (7, "X is 7, expected"),
        ({"text": TEXTS}, "X is {'text'.*}, expected"),
        (set(TEXTS), "X is {'a bore'.*}, expected"),
        ((text for text in TEXTS), "X is <generator.*>, expected"),
        ([], "X has no rows"),
        (np.empty((0, 3)), r"X has the shape \(0, 3\)"),
        ([1, 2], r"X\[0\] is 1, expected"),
        (["a joy", None], r"X\[1\] is None, expected"),
        (pd.Series(["a joy", None]), r"X\[1\] is (None|nan), expected"),
        (["a joy", " \n"], r"X\[1\] is ' \\n', expected .*, none of them empty"),
        (["a joy", "half a \ud83d"], r"X\[1\] is 'half a \\ud83d', expected"),
        ([("a", "b"), ("c", "")], r"X\[1\] is '', expected"),
        ([("a", "b"), ("c",)], r"X\[0\] is \('a', 'b'\), expected"),
        (["a", ("b", "c")], r"X\[1\] is \('b', 'c'\), expected"),
        ([("a", "b", "c")], r"X has the shape \(1, 3\), expected .*: the shape \(n,\) or \(n, 2\)"),
        (pd.DataFrame({"text": TEXTS}), r"X has the shape \(3, 1\), expected"),
        (np.array("a"), r"X has the shape \(\), expected"),
        (np.zeros((3, 2)), r"X\[0\] is 0.0, expected"),
        (sparse.csr_array(np.eye(3)), "X is a sparse matrix, expected .*; leave out the vectorizer"),
    ],
)
def test_what_is_no_text_gets_one_line(X: Any, message: str) -> None:  # noqa: N803
    with pytest.raises(DataError, match=message) as caught:
        as_texts(X, "X")
    assert "\n" not in str(caught.value)


def test_pairs_and_single_texts_do_not_mix() -> None:
    with pytest.raises(DataError, match="unlabelled holds texts, expected pairs of texts, as in the X"):
        as_texts(TEXTS, "unlabelled", pairs=True)
    with pytest.raises(DataError, match="X holds pairs of texts, expected texts"):
        as_texts(PAIRS, "X", pairs=False)


@pytest.mark.parametrize(
    ("y", "dtype", "has_label", "classes"),
    [
        ([2, 0, -1], "int64", [True, True, False], [0, 2]),
        (np.array([2, 0, -1], dtype=np.int8), "int8", [True, True, False], [0, 2]),
        (np.array([2, 0, 1], dtype=np.uint8), "uint8", [True, True, True], [0, 1, 2]),
        ([2.0, 0.0, -1.0], "float64", [True, True, False], [0.0, 2.0]),
        ([True, False, True], "bool", [True, True, True], [False, True]),
        (["b", "a", "b"], "<U1", [True, True, True], ["a", "b"]),
        (["b", "a", -1], "object", [True, True, False], ["a", "b"]),
        (("b", "a", -1.0), "object", [True, True, False], ["a", "b"]),
        (np.array(["b", np.int64(-1), "a"], dtype=object), "object", [True, False, True], ["a", "b"]),
        (pd.Series(["b", "a", -1]), "object", [True, True, False], ["a", "b"]),
        (pd.Series(["b", "a", "b"]), "object", [True, True, True], ["a", "b"]),
        (pd.Series(["b", "a", "b"], dtype="category"), "object", [True, True, True], ["a", "b"]),
        (pd.Series([1, 0, -1], dtype="Int64"), "float64", [True, True, False], [0, 1]),  # as scikit-learn has it
    ],
)
def test_labels_come_in_many_forms(y: Any, dtype: str, has_label: list[bool], classes: list[Any]) -> None:
    labels, found = as_labels(y, len(y))
    assert found.tolist() == has_label
    known, numbers = split_classes(labels[found])
    assert labels.dtype == known.dtype == np.dtype(dtype)
    assert known.tolist() == classes
    assert known[numbers].tolist() == labels[found].tolist()


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed, but the target y is None"),
        ([0, 1], "y has 2 rows and X 3; expected a label, or −1, for each row of X"),
        (np.array(["a", "b", "-1"]), r"y\[2\] is the text '-1'; .* an object array with the int −1"),
        (np.array(["a", "-1", -1], dtype=object), r"y\[1\] is the text '-1'"),
        ([0.0, 1.0, 0.5], r"y\[2\] is 0.5, a continuous value; expected classes, or −1 for none"),
        ([0.0, 1.0, np.nan], r"y\[2\] is nan, a continuous value"),
        ([0.0, 1.0, np.inf], r"y\[2\] is inf, a continuous value"),
        (["a", "b", None], r"y\[2\] is None; an object array may hold texts, and −1 for no label"),
        (pd.Series(["a", pd.NA, "b"], dtype=object), r"y\[1\] is <NA>; an object array"),
        (np.array([0, 1, -1], dtype=object), r"y\[0\] is 0; an object array"),
        ([1j, 2j, 0j], "y must hold one label for each row: Complex data"),
        (np.array([b"a", b"b", b"a"]), "y has the dtype .S1; expected whole numbers or texts"),
        ([[0, 1], [1, 0], [1, 1]], "y must hold one label for each row"),
        ([[0], [1, 2], [3]], "y must hold one label for each row"),
        (1, "y must hold one label for each row"),
    ],
)
def test_what_is_no_label_gets_one_line(y: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        as_labels(y, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([], dtype=int), "y has no label, only −1; expected at least two classes"),
        (np.array([3, 3]), "y has one class, 3; expected at least two"),
        (np.array(["a"], dtype=object), "y has one class, 'a'"),
    ],
)
def test_less_than_two_classes_get_one_line(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        split_classes(labels)


def test_a_column_is_taken_for_a_row_with_scikit_learns_warning() -> None:
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        labels, _ = as_labels(np.array([[0], [1]]), 2)
    assert labels.tolist() == [0, 1]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.just(-1), st.text(min_size=1, max_size=3).filter(lambda t: t != "-1")), min_size=1))
def test_no_label_is_lost_or_changed(y: list[Any]) -> None:
    labels, has_label = as_labels(np.array(y, dtype=object), len(y))
    assert labels.tolist() == y
    assert [label for label, has in zip(y, has_label, strict=True) if not has] == [-1] * y.count(-1)
    assert all(isinstance(label, str) for label in labels[has_label])
