"""Configuration: strict, layered, and readable again."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from pathlib import Path

import pytest

from ssl_pdr.choices import REGULARIZERS_WITHOUT_DIVERGENCE
from ssl_pdr.config import FIELDS, PRESETS, TrainConfig, make_config, uses_pool
from ssl_pdr.errors import ConfigError, PDRError
from ssl_pdr.methods import has_effect
from ssl_pdr.recipe import load_recipe, parse_setting
from ssl_pdr.regularizers import list_regularizers

RECIPES = sorted((Path(__file__).parent.parent / "recipes").rglob("*.toml"))


def test_there_are_recipes() -> None:
    assert {"pydocs.toml", "sst2.toml"} <= {path.name for path in RECIPES}


@pytest.mark.parametrize("path", [p for p in RECIPES if p.name != "paper.toml"], ids=lambda path: path.name)
def test_every_recipe_is_valid_and_says_only_what_differs(path: Path) -> None:
    values = load_recipe(path)
    config = make_config(values).resolved()
    defaults = TrainConfig()
    assert [key for key, value in values.items() if value == getattr(defaults, key)] == []
    head = path.read_text(encoding="utf-8").split("\n\n")[0]
    for needed in ("ssl-pdr train --recipe", "Expected", "Hardware", "Source"):
        assert needed in head, f"{path.name} does not begin with its {needed}"
    assert config.output


def test_later_layers_win_and_none_does_not_count() -> None:
    config = make_config({"alpha": 2.0, "lr": 1e-3}, {"alpha": 4.0}, {"lr": None})
    assert (config.alpha, config.lr) == (4.0, 1e-3)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_fill_what_is_open_and_leave_what_is_given(preset: str) -> None:
    resolved = make_config({"preset": preset, "radius": 0.5}).resolved()
    assert resolved.radius == 0.5
    assert resolved.site == PRESETS[preset]["site"]
    assert None not in (resolved.site, resolved.dropout, resolved.radius_unit, resolved.target_grad, resolved.output)


def test_paper_preset_is_the_paper() -> None:
    paper = make_config({"preset": "paper"}).resolved()
    assert (paper.site, paper.radius, paper.radius_unit, paper.search_steps) == ("sum", 1e-3, "absolute", 1)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    config = make_config({"data": "mine.csv", "ratio": 3.0, "limit": 10, "labelled_frac": 0.25}).resolved()
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml(), encoding="utf-8")
    assert make_config(load_recipe(path)) == config
    assert set(tomllib.loads(config.to_toml())) <= set(FIELDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labelled_frac": 0.0}, "--labelled-frac must be above 0 and at most 1, got 0.0"),
        ({"labelled_frac": 1.5}, "--labelled-frac must be above 0 and at most 1, got 1.5"),
        ({"labelled_frac": float("nan")}, "--labelled-frac must be above 0"),
        ({"alpha": -1.0}, "--alpha must be a finite number of at least 0"),
        ({"alpha": float("nan")}, "--alpha must be a finite number"),
        ({"radius": -0.1}, "--radius must be a finite number of at least 0"),
        ({"radius": float("nan")}, "--radius must be a finite number"),
        ({"batch_size": 0}, "--batch-size must be a whole number from 1 to 1000000000, got 0"),
        ({"eval_frac": 1.0}, "--eval-frac must be between 0 and 1"),
        ({"epochs": 0.0}, "--epochs must be a finite number above 0"),
        ({"lr": float("inf")}, "--lr must be a finite number above 0"),
        ({"site": "sums"}, "unknown site 'sums'; did you mean 'sum'"),
        ({"preset": "papers"}, "unknown preset 'papers'; did you mean 'paper'"),
        ({"ratio": "half"}, "--ratio must be 'proportional' or a number of at least 0, got 'half'"),
        ({"ratio": -1.0}, "--ratio must be 'proportional' or a number of at least 0"),
        ({"batch_size": 10, "accumulation": 4}, "cannot be cut into 4 equal micro-batches"),
        ({"seed": -1}, "--seed must be a whole number from 0"),
    ],
)
def test_senseless_values_are_refused_in_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(PDRError) as error:
        make_config(options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alpa = 1.0", "unknown key 'alpa'; did you mean 'alpha'?"),
        ("epochs = 'three'", "epochs must be a number, got 'three'"),
        ("batch_size = 1.5", "batch_size must be a whole number, got 1.5"),
        ("batch_size = true", "batch_size must be a whole number, got True"),
        ("ratio = [1]", "ratio must be text or a number"),
        ("alpha = ", "is not valid TOML"),
        ("alpha = " + "[" * 100_000, "is not valid TOML: a value is nested too deeply"),
        ("alpha = " + "9" * 10_000, "is not valid TOML: Exceeds the limit"),
    ],
)
def test_recipes_are_strict(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        load_recipe(path)


def test_null_characters_are_refused_for_no_path_can_have_one() -> None:
    for setting in ('data="a\\u0000b.csv"', 'eval_on=["a\\u0000b.csv"]'):
        with pytest.raises(ConfigError, match="holds a null character, expected none"):
            parse_setting(setting)


def test_a_missing_recipe_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe .*none.toml: No such file"):
        load_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("place", ["a pipe", "/dev/zero"])
def test_what_is_no_file_is_neither_waited_for_nor_read_for_ever(tmp_path: Path, place: str) -> None:
    path = tmp_path / "r.toml"
    os.mkfifo(path) if place == "a pipe" else path.symlink_to(place)
    with pytest.raises(ConfigError, match="cannot read the recipe .*it is a pipe or a device, expected a file"):
        load_recipe(path)


def test_settings_are_toml_or_text() -> None:
    for value in ("[" * 100_000, "9" * 10_000, "1\nseed=2"):  # no TOML value either
        assert parse_setting(f"data={value}") == ("data", value)
    assert parse_setting("alpha=2") == ("alpha", 2.0)
    assert parse_setting("labelled-frac=0.5") == ("labelled-frac", 0.5)
    assert parse_setting("data=./a b.csv") == ("data", "./a b.csv")
    for bad in ("alpha", "=1"):
        with pytest.raises(ConfigError, match="--set expects key=value"):
            parse_setting(bad)


def test_every_field_is_explained() -> None:
    from ssl_pdr.cli.options import _meanings

    assert set(_meanings()) == {field.name for field in dataclasses.fields(TrainConfig)}


def test_what_is_known_of_methods_without_torch_is_what_they_are() -> None:
    """The command line names outputs and columns before anything heavy is imported."""
    names = ["none", *list_regularizers()]
    assert tuple(name for name in names if not has_effect("div", name)) == tuple(
        name for name in names if name in REGULARIZERS_WITHOUT_DIVERGENCE
    )
    assert set(REGULARIZERS_WITHOUT_DIVERGENCE) <= set(names)
    for name in names:
        assert uses_pool(name, 1.0, "proportional") == has_effect("ratio", name)
