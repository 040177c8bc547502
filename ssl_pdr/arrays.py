"""Texts and labels as scikit-learn's users hand them over, checked: arrays, lists, Series; −1 where there is no label."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Set
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import column_or_1d

from ssl_pdr.errors import DataError

Texts = NDArray[np.object_]


def as_texts(given: Any, what: str, *, pairs: bool | None = None) -> Texts:
    """The rows as an array of objects that are texts.

    Args:
        given: a sequence of n texts or pairs of texts.
        what: its name in error messages.
        pairs: whether the rows have to be pairs; None takes both.

    Returns:
        (n,) texts, or (n, 2) pairs; none of them is empty.

    Raises:
        DataError: for anything else.

    Example:
        >>> as_texts([("a cat", "an animal")], "X").shape
        (1, 2)
    """
    expected = "expected a sequence of texts, or of pairs of texts"
    if issparse(given):
        raise DataError(f"{what} is a sparse matrix, {expected}; leave out the vectorizer, the model reads the text")
    if isinstance(given, str | bytes | Mapping | Set) or not (hasattr(given, "__len__") or hasattr(given, "__array__")):
        raise DataError(f"{what} is {_short(given)}, {expected}; put a single text into a list")
    rows = np.array(given if hasattr(given, "__array__") else list(given), dtype=object)
    if rows.ndim not in (1, 2) or (rows.ndim == 2 and rows.shape[1] != 2):
        raise DataError(f"{what} has the shape {rows.shape}, {expected}: the shape (n,) or (n, 2)")
    if len(rows) == 0:
        raise DataError(f"{what} has no rows, {expected}")
    wrong = next((place for place, value in np.ndenumerate(rows) if not _is_text(value)), None)
    if wrong is not None:
        raise DataError(f"{what}[{wrong[0]}] is {_short(rows[wrong])}, {expected}, none of them empty")
    if pairs is not None and pairs != (rows.ndim == 2):
        kinds = ("texts", "pairs of texts")
        raise DataError(f"{what} holds {kinds[not pairs]}, expected {kinds[pairs]}, as in the X that fit is given")
    return rows


def as_labels(y: Any, n_rows: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The labels, and which rows have one.

    Args:
        y: a sequence of whole numbers, texts or truth values, with −1 for a row without a label; texts and −1 stand
            together in an object array or a list.
        n_rows: how many there have to be.

    Returns:
        (n,) labels, of the dtype of `y`, and (n,) bool.

    Raises:
        DataError: for labels that are not classes, the text '-1', or another number of rows.

    Example:
        >>> as_labels(["ham", -1], 2)
        (array(['ham', -1], dtype=object), array([ True, False]))
    """
    if y is None:
        raise DataError("PDRClassifier requires y to be passed, but the target y is None; give −1 for rows without one")
    if isinstance(y, list | tuple) and len({isinstance(label, str) for label in y}) == 2:
        y = np.array(y, dtype=object)  # NumPy would turn the −1 beside texts into the text '-1'
    try:
        labels: NDArray[Any] = column_or_1d(y, warn=True)
    except (ValueError, TypeError) as error:
        raise DataError(f"y must hold one label for each row: {' '.join(str(error).split())}") from None
    if len(labels) != n_rows:
        raise DataError(f"y has {len(labels)} rows and X {n_rows}; expected a label, or −1, for each row of X")
    if labels.dtype.kind not in "biufUO":
        raise DataError(f"Unknown label type: y has the dtype {labels.dtype}; expected whole numbers or texts")
    values = labels.tolist()
    has_label = np.array([not (isinstance(value, Real) and value == -1) for value in values], dtype=bool)
    for row, value in enumerate(values):
        if has_label[row]:
            _check_label(value, row, of_objects=labels.dtype.kind == "O")
    return labels, has_label


def split_classes(labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """The classes, sorted, and each label's number among them.

    Args:
        labels: (n,) labels, without those that are −1.

    Raises:
        DataError: for fewer than two classes.

    Example:
        >>> split_classes(np.array(["spam", "ham", "spam"]))
        (array(['ham', 'spam'], dtype='<U4'), array([1, 0, 1]))
    """
    if len(labels) == 0:
        raise DataError("y has no label, only −1; expected at least two classes")
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"y has one class, {_short(classes.tolist()[0])}; expected at least two")
    return classes, numbers


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no tokenizer takes it
        return False
    return True


def _check_label(value: object, row: int, *, of_objects: bool) -> None:
    if isinstance(value, str):
        if value == "-1":
            raise DataError(
                f"y[{row}] is the text '-1'; for rows without a label use an object array with the int −1: "
                "np.array([...], dtype=object)"
            )
    elif of_objects:
        raise DataError(
            f"Unknown label type: y[{row}] is {_short(value)}; an object array may hold texts, and −1 for no label"
        )
    elif isinstance(value, float) and not value.is_integer():
        raise DataError(
            f"Unknown label type: y[{row}] is {value}, a continuous value; expected classes, or −1 for none"
        )


def _short(value: object) -> str:
    return " ".join(reprlib.repr(value).split())
