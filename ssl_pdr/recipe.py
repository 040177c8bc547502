"""Keys and values from strict TOML recipes and from `--set`, checked against `TrainConfig`."""

from __future__ import annotations

import difflib
import tomllib
import types
import typing
from pathlib import Path
from typing import Any

from ssl_pdr.config import TrainConfig
from ssl_pdr.errors import ConfigError
from ssl_pdr.files import read_text


def load_recipe(path: str | Path) -> dict[str, Any]:
    """The keys and values of a TOML recipe, checked against `TrainConfig`.

    Raises:
        ConfigError: for a missing or broken file, an unknown key (with the nearest one) or a value of the wrong type.
    """
    near = ", ".join(sorted(str(p) for p in Path("recipes").glob("*.toml")))
    values = read_toml(Path(path), "recipe", f"; recipes here: {near}" if near else "")
    return {key: check_value(key, value, where=str(path)) for key, value in values.items()}


def read_toml(path: Path, kind: str, hint: str = "") -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: of it.
        kind: what the file is meant to be, in messages.
        hint: what to say where it cannot be read.

    Raises:
        ConfigError: in one line, if it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read the {kind} {path}: {reason}{hint}") from None
    except RecursionError:
        raise ConfigError(f"{path} is not valid TOML: a value is nested too deeply") from None
    except ValueError as error:  # a number of too many digits is no TOMLDecodeError
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def parse_setting(setting: str, where: str = "--set") -> tuple[str, Any]:
    """One `key=value`, of `--set` or elsewhere: the value is read as TOML where it is that, else as a string.

    Example:
        >>> parse_setting("weight_decay=0.1"), parse_setting("data=mine.csv")
        (('weight_decay', 0.1), ('data', 'mine.csv'))
    """
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"{where} expects key=value, got {setting!r}")
    try:
        found = tomllib.loads(f"value = {text}")
        value = found["value"] if len(found) == 1 else text  # a text of several lines may hold other keys
    except (ValueError, RecursionError):
        value = text
    return key, check_value(key, value, where=where)


def check_value(key: str, value: Any, *, where: str) -> Any:
    """`value` if `key` is known and takes its type; whole numbers are taken for fractions.

    Raises:
        ConfigError: naming `where` it was found, and the nearest key if there is no such key.
    """
    known = typing.get_type_hints(TrainConfig)
    name = key.replace("-", "_")
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; keys are: {', '.join(known)}"
        raise ConfigError(f"{where}: unknown key {key!r}{hint}")
    if any("\0" in one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)):
        raise ConfigError(f"{where}: {key} holds a null character, expected none: got {value!r}")
    accepted = [t for t in _members(known[name]) if t is not type(None)]
    if type(value) in accepted:
        return value
    several = [value] if isinstance(value, str) else value
    if tuple[str, ...] in accepted and isinstance(several, list | tuple) and all(isinstance(v, str) for v in several):
        return tuple(several)
    if type(value) is int and float in accepted and abs(value) < 10**300:
        return float(value)
    expected = " or ".join(_KINDS[t] for t in accepted)
    raise ConfigError(f"{where}: {key} must be {expected}, got {value!r}")


_KINDS: dict[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}


def _members(annotation: Any) -> tuple[type, ...]:
    return typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
