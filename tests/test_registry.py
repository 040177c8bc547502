"""The registry that every extension goes through, and the errors that a user meets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ssl_pdr import errors, registry
from ssl_pdr.errors import ConfigError, PDRError, UnknownNameError, unknown_name
from ssl_pdr.registry import Registry


@pytest.fixture
def fruits() -> Registry[int]:
    fruits: Registry[int] = Registry("fruit")
    for number, name in enumerate(("pear", "apple", "plum")):
        fruits.register(name, number)
    return fruits


def test_a_name_finds_its_object_and_names_come_sorted(fruits: Registry[int]) -> None:
    assert fruits.get("pear") == 0
    assert list(fruits) == ["apple", "pear", "plum"]
    assert "plum" in fruits
    assert "fig" not in fruits
    assert 3 not in fruits


def test_a_taken_name_is_refused_and_keeps_its_object(fruits: Registry[int]) -> None:
    with pytest.raises(ConfigError, match="fruit 'pear' is registered already; choose another name or unregister"):
        fruits.register("pear", 7)
    assert fruits.get("pear") == 0


def test_an_unregistered_name_is_free_again(fruits: Registry[int]) -> None:
    fruits.unregister("pear")
    assert "pear" not in fruits
    fruits.register("pear", 7)
    assert fruits.get("pear") == 7


@pytest.mark.parametrize("look_up", [Registry.get, Registry.unregister])
def test_an_unknown_name_is_answered_with_close_ones(
    fruits: Registry[int], look_up: Callable[[Registry[int], str], object]
) -> None:
    with pytest.raises(UnknownNameError) as caught:
        look_up(fruits, "Aple")
    assert str(caught.value) == "unknown fruit 'Aple'; did you mean 'apple'? There are: apple, pear, plum"


def test_nothing_close_gives_the_list_alone() -> None:
    assert str(unknown_name("fruit", "xyz", ["pear"])) == "unknown fruit 'xyz'. There are: pear"


class Plugin:
    """An entry point of another package: loading it registers something."""

    def __init__(self, target: Registry[int]) -> None:
        self.target, self.loads = target, 0

    def load(self) -> None:
        self.loads += 1
        self.target.register("fig", 9)


@pytest.mark.parametrize(
    "first_use",
    [lambda r: r.get("fig"), list, lambda r: "fig" in r],
    ids=["get", "list", "in"],
)
def test_other_packages_are_loaded_once_at_the_first_lookup(
    fruits: Registry[int], monkeypatch: pytest.MonkeyPatch, first_use: Callable[[Registry[int]], object]
) -> None:
    plugin, groups = Plugin(fruits), []

    def entry_points(*, group: str) -> list[Plugin]:
        groups.append(group)
        return [plugin]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert plugin.loads == 0
    first_use(fruits)
    assert fruits.get("fig") == 9
    assert list(fruits) == ["apple", "fig", "pear", "plum"]
    assert (plugin.loads, groups) == (1, ["ssl_pdr.fruits"])


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.DataError, ValueError),
        (errors.ModelError, ValueError),
        (errors.OutputError, OSError),
        (errors.NonFiniteLossError, ArithmeticError),
        (errors.UnknownNameError, KeyError),
    ],
)
def test_every_error_is_ours_and_the_builtin_one_that_callers_expect(
    error: type[PDRError], builtin: type[Exception]
) -> None:
    assert issubclass(error, PDRError)
    assert issubclass(error, builtin)
    assert str(error("one line")) == "one line"  # a KeyError by itself would print quotes around it
