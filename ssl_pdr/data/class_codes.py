"""Labels of any column as numbers of classes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from ssl_pdr.data.permutation import IntArray
from ssl_pdr.errors import DataError

Label: TypeAlias = int | str | float

_PLAIN = {int, str, bool, type(None)}


def class_codes(values: Iterable[object], what: str = "label") -> tuple[IntArray, list[Label]]:
    """Values as numbers, and what they stand for, numbered by first appearance: no hash order enters.

    Args:
        values: n integers or strings in a list, an array or a column; None, NaN and the NA of pandas are no value.
        what: the name of a value in messages.

    Returns:
        (n,) int64, −1 where there is no value, and the different values. Fractions that are whole, which a column
        of integers with gaps is made of in pandas, become integers.

    Raises:
        DataError: for any other value, or if there is no sequence of them.

    Example:
        >>> codes, classes = class_codes(["b", "a", None, "b"])
        >>> codes.tolist(), classes
        ([0, 1, -1, 0], ['b', 'a'])
    """
    if type(values) is np.ndarray and values.dtype.kind in "iu" and values.ndim == 1:
        return _integer_codes(values)
    rows = _as_list(values, what)
    if not set(map(type, rows)) <= _PLAIN:
        rows = [_plain(row, number, what) for number, row in enumerate(rows)]
    numbers: dict[Label | None, int] = {None: -1}
    codes = np.fromiter((numbers.setdefault(row, len(numbers) - 1) for row in rows), dtype=np.int64, count=len(rows))
    return codes, [value for value in numbers if value is not None]


def codes_hash(codes: IntArray, classes: list[Label]) -> str:
    """SHA-256 of the labels that `class_codes` was given.

    Example:
        >>> codes_hash(*class_codes([3, 1])) == codes_hash(*class_codes(np.array([3, 1])))
        True
    """
    found = hashlib.sha256(json.dumps(classes).encode())
    found.update(np.ascontiguousarray(codes, dtype="<i8").data)
    return found.hexdigest()


def _integer_codes(values: np.ndarray[Any, Any]) -> tuple[IntArray, list[Label]]:
    classes, first, places = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    numbers = np.empty(len(order), dtype=np.int64)
    numbers[order] = np.arange(len(order))
    return numbers[places], classes[order].tolist()


def _as_list(values: Iterable[object], what: str) -> list[Any]:
    """Python values, whatever array, column or list they came in."""
    tolist = getattr(values, "tolist", None)  # NumPy, pandas, torch: much faster than iteration
    try:
        rows = None if isinstance(values, str | bytes) else tolist() if tolist else list(values)
    except TypeError:
        rows = None
    if not isinstance(rows, list):
        raise DataError(f"{what}s: got {type(values).__name__}, expected a sequence with one {what} a row")
    return rows


def _plain(value: Any, row: int, what: str) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    # The NA of pandas cannot be compared, not even with itself, and pandas need not be there.
    if type(value).__name__ == "NAType" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and math.isfinite(value):
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, int | str):
        return value
    shown = f"{type(value).__name__} {value!r}"[:60]
    raise DataError(f"{what} of row {row}: got {shown}, expected an integer or a string, or None for no {what}")
