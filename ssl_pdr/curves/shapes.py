"""Whether the JSON of a curve, which lies open to everybody's editor, has the shape that is relied upon."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

# A test of a value; a list of one shape for lists that are not empty; for an object, shapes by key: a key with a question mark
# may be missing, `*` is for all keys that are not named.
Shape: TypeAlias = "Callable[[Any], bool] | list[Any] | Mapping[str, Any]"


def fits(value: Any, shape: Shape) -> bool:
    """Whether a value of JSON has a shape.

    Example:
        >>> fits({"seeds": [0, 1]}, {"seeds": [whole], "name?": text}), fits({"seeds": "01"}, {"seeds": [whole]})
        (True, False)
    """
    if callable(shape):
        return shape(value)
    if isinstance(shape, list):
        return isinstance(value, list) and value != [] and all(fits(one, shape[0]) for one in value)
    if not isinstance(value, dict):
        return False
    named = {key.removesuffix("?"): inner for key, inner in shape.items() if key != "*"}
    missing = {key for key in shape if key != "*" and not key.endswith("?")} - set(value)
    rest = shape.get("*", anything)
    return not missing and all(fits(inner, named.get(key, rest)) for key, inner in value.items())


def anything(value: Any) -> bool:
    """What nobody looks at, or only shows."""
    return True


def text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def number(value: Any) -> bool:
    """A number, finite or not, that fits into 64 bits."""
    return type(value) is float or (type(value) is int and abs(value) < 2**63)


def whole(value: Any) -> bool:
    """A whole number of at least 0."""
    return type(value) is int and 0 <= value < 2**63


def share(value: Any) -> bool:
    """A share, above 0 and at most 1."""
    return number(value) and 0 < value <= 1


def _or_null(shape: Shape) -> Shape:
    return lambda value: value is None or fits(value, shape)


def _scores(value: Any) -> bool:
    """Of one part: numbers, one of which it is compared by."""
    return fits(value, {"*": number}) and ("accuracy" in value or "f1" in value)


def _log(value: Any) -> bool:
    """Columns that are equally long."""
    columns = ("step", "ce", "r", "r_zero_noise")
    plain = isinstance(value, dict) and all(isinstance(value.get(name), list) for name in columns)
    return (
        plain
        and len({len(value[name]) for name in columns}) == 1
        and all(one is None or number(one) for name in columns for one in value[name])
    )


def _list(value: Any) -> bool:
    return isinstance(value, list)


_OBJECT: Shape = {}

GRID: Shape = {
    "format": whole,
    "seeds": [whole],
    "budgets": [share],
    "methods": [text],
    "select": text,
    **dict.fromkeys(("match", "model", "data_fingerprint"), text),
    "name": _or_null(text),
    "test?": _or_null(text),
    "config?": _OBJECT,
    "search": {"*": _list},
}
CELL: Shape = {
    **dict.fromkeys(("key", "method"), text),
    "format": whole,
    "status": text,
    "budget": share,
    "setting": _OBJECT,
    "seed": whole,
}
FAILED_CELL: Shape = {"reason": text}
FINISHED_CELL: Shape = {
    "scores": {"*": _scores},
    "baseline?": {"*": {"*": number}},
    "log": _log,
    "labelled": whole,
    "steps?": whole,
    "config": _OBJECT,
    "machine": _OBJECT,
    "versions": {"*": text},
    "split_hash": text,
    "data": {"warnings?": lambda value: value == [] or fits(value, [text]), "fingerprint": text},
    "timing": {"*": number, "load_seconds": number, "train_seconds": number, "evaluate_seconds": number},
}
