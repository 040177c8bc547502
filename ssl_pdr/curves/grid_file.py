"""What a curve is to be, from a strict TOML file and from options."""

from __future__ import annotations

import math
import os
import string
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_pdr.errors import ConfigError, unknown_name
from ssl_pdr.recipe import check_value, read_toml

if TYPE_CHECKING:
    from ssl_pdr.curves.grid import Grid

MATCHES = ("steps", "epochs", "compute")
_IS_A: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "a whole number from 1 to 1000000000": lambda value: type(value) is int and 0 < value <= 10**9,
    "a finite number above 0": lambda value: _is_number(value) and 0 < value < math.inf,
    "a list of numbers": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "a list of texts": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    "a table": lambda value: isinstance(value, dict),
}
# What a file and the options may say: the fields of a grid, and how it is run.
_KEYS = {
    **dict.fromkeys(("name", "match", "select", "test", "output"), "text"),
    **dict.fromkeys(("seeds", "batch", "steps", "jobs"), "a whole number from 1 to 1000000000"),
    **dict.fromkeys(("ratio", "epochs"), "a finite number above 0"),
    "budgets": "a list of numbers",
    "methods": "a list of texts",
    **dict.fromkeys(("base", "search"), "a table"),
}
# Where `$NAME` stands for the value of an environment variable.
_PLACES = ("data", "data_dir", "eval", "eval_on", "unlabelled", "model", "output")


def load_grid_file(path: Path) -> dict[str, Any]:
    """The keys and values of a grid file, as `check_keys` returns them.

    Beside the fields of `Grid`, whose `seeds` are how many here, it may say `output` and `jobs`. Paths are relative to the
    current folder, as in recipes, and may begin with an environment variable.

    Raises:
        ConfigError: in one line, for a file that cannot be read, an unknown key (with the nearest), a value of the wrong
            kind, or an environment variable that is not set.
    """
    values = check_keys(read_toml(path, "grid"), where=str(path))
    base = {key: _expanded(key, value, str(path)) for key, value in values.get("base", {}).items()}
    return {**{key: _expanded(key, value, str(path)) for key, value in values.items()}, "base": base}


def check_keys(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The values if their keys are known and take them.

    Args:
        values: what a grid and its run are to be.
        where: they were found.

    Raises:
        ConfigError: naming `where` it was found.

    Example:
        >>> check_keys({"budgets": [0.1, 1], "search": {"alpha": [1, 4]}}, where="grid.toml")
        {'budgets': [0.1, 1], 'search': {'alpha': (1.0, 4.0)}}
    """
    made = {}
    for key, value in values.items():
        if key not in _KEYS:
            raise ConfigError(f"{where}: {unknown_name('key', key, _KEYS)}")
        if not _IS_A[_KEYS[key]](value):
            raise ConfigError(f"{where}: {key} must be {_KEYS[key]}, got {value!r}")
        made[key] = value
    if made.get("match", "steps") not in MATCHES:
        raise unknown_name("match", made["match"], MATCHES)
    for budget in made.get("budgets", ()):
        check_budget(budget)
    if "base" in made:
        base = made["base"].items()
        made["base"] = {key.replace("-", "_"): check_value(key, value, where=f"{where}, base") for key, value in base}
    if "search" in made:
        made["search"] = dict(_searched(key, several, f"{where}, search") for key, several in made["search"].items())
    return made


def check_budget(budget: float) -> None:
    """Refuse a share of the labels that is none.

    Raises:
        ConfigError: for one that is not above 0 and at most 1.
    """
    if not 0 < budget <= 1:
        raise ConfigError(f"a budget is a share of the labels, above 0 and at most 1; got {budget:g}")


def parse_search(text: str) -> tuple[str, list[Any]]:
    """One `key=value,value` of `--search`: values are read as TOML where they are that, else as texts.

    Example:
        >>> parse_search("alpha=1,4"), parse_search("div=kl,shl")
        (('alpha', [1, 4]), ('div', ['kl', 'shl']))
    """
    key, equals, values = text.partition("=")
    if not equals or not key or not values.strip():
        raise ConfigError(f"--search expects key=value,value, got {text!r}")
    try:
        found = tomllib.loads(f"values = [{values}]")
        return key, found["values"] if len(found) == 1 else [values]
    except (ValueError, RecursionError):
        return key, [value.strip() for value in values.split(",")]


def make_grid(values: Mapping[str, Any]) -> Grid:
    """The grid of values that `check_keys` has let through.

    Raises:
        PDRError: for a grid that is none, see `Grid`.
    """
    from ssl_pdr.curves.grid import Grid  # which needs torch, and arguments are checked without

    made: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    if "budgets" in made:
        made["budgets"] = tuple(map(float, made["budgets"]))
    if "seeds" in made:
        made["seeds"] = tuple(range(made["seeds"]))
    return Grid(**made)


def _searched(key: str, several: Any, where: str) -> tuple[str, tuple[Any, ...]]:
    if not isinstance(several, list) or not several:
        raise ConfigError(f"{where}: {key} must be a list of values to try, got {several!r}")
    return key.replace("-", "_"), tuple(check_value(key, value, where=where) for value in several)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _expanded(key: str, value: Any, where: str) -> Any:
    """A place with the values of its environment variables."""
    if key not in _PLACES:
        return value
    if isinstance(value, tuple):
        return tuple(_expanded(key, one, where) for one in value)
    try:
        return string.Template(value).substitute(os.environ)
    except KeyError as error:
        raise ConfigError(
            f"{where}: {key} is {value!r}, but the environment variable {error.args[0]} is not set; set it, or write the path"
        ) from None
    except ValueError:
        raise ConfigError(f"{where}: {key} is {value!r}; write $$ for a $ that begins no variable") from None
