"""What a person should know before believing a run: told where it is so, each once, and not told of an ordinary run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.concerns import after_training, of_budget
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.data.splits import split_labels
from ssl_pdr.experiment import measure, train
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf
from tests.cli.conftest import model_folder, reviews

__all__ = ["model_folder", "reviews"]

ORDINARY = {"lr": 0.01, "labelled_frac": 0.5, "div": "kl", "ratio": 1.0, "max_steps": 16, "batch_size": 16}


class Diary(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def config(model_folder: Path, reviews: Path) -> TrainConfig:
    return make_config({"data": str(reviews), "model": str(model_folder), "max_length": 12}, ORDINARY)


def told(config: TrainConfig, shelf: Shelf) -> list[str]:
    diary = Diary()
    result = measure(config, diary, shelf=shelf)
    assert result["warnings"] == diary.warnings
    return diary.warnings


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


TROUBLE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "ordinary": ({}, []),
    "ordinary, random noise": ({"reg": "rpt"}, []),
    "ordinary, dropout": ({"reg": "rdrop"}, []),
    "few labels": (
        {"labelled_count": 10, "labelled_frac": 1.0},
        ["few labels: 10 labelled rows of 2 classes, 5 of"],
    ),
    "rounding": (
        {"dropout": "shared", "radius": 1e-6, "radius_unit": "absolute", "reg": "rpt"},
        ["R is rounding noise: only 0.0% of it"],
    ),
    "dropout": (
        {"radius": 1e-3, "radius_unit": "absolute", "max_steps": 52, "lr": 1e-3},
        ["R is dropout, not noise: "],
    ),
    "R prevails": (
        {"alpha": 1e4, "eval_frac": 0.4},
        ["R prevails over the labels: its gradient, times alpha, is", "one class takes all: 100% of the predictions"],
    ),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_run_is_told_what_is_wrong_with_it_and_nothing_else(config: TrainConfig, shelf: Shelf, name: str) -> None:
    keys, expected = TROUBLE[name]
    warnings = told(make_config(vars(config), keys), shelf)
    assert len(warnings) == len(expected), warnings
    for warning, begin in zip(warnings, expected, strict=True):
        assert warning.startswith(begin)
        assert "\n" not in warning


def test_train_keeps_them_in_its_result(config: TrainConfig, tmp_path: Path) -> None:
    diary = Diary()
    keys = {"labelled_count": 3, "labelled_frac": 1.0, "max_steps": 1, "output": str(tmp_path / "run")}
    result = train(make_config(vars(config), keys), diary)
    assert result["warnings"] == diary.warnings
    assert "few labels: 3 labelled rows of 2 classes, 1 of " in result["warnings"][0]
    assert json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["warnings"] == result["warnings"]
    assert result["data"]["warnings"] == []  # of the data there is nothing to say


@pytest.mark.parametrize(
    ("labels", "budget", "few"),
    [
        ("ab" * 50, {"count": 16}, False),
        ("ab" * 50, {"count": 14}, True),
        ("a" * 97 + "b" * 3, {"fraction": 0.7}, False),
        ("a" * 97 + "b" * 3, {"fraction": 0.2}, True),  # one of b
    ],
)
def test_a_budget_is_small_by_its_classes(labels: str, budget: dict[str, Any], few: bool) -> None:
    assert bool(of_budget(split_labels(list(labels), **budget), "classification")) == few


def test_questions_have_no_classes() -> None:
    split = split_labels(["answerable"] * 50, count=8, classes=1)
    assert of_budget(split, "question-answering") == []
    (warning,) = of_budget(split_labels(["answerable"] * 50, count=7, classes=1), "question-answering")
    assert warning.startswith("few labels: 7 labelled rows of questions; ")


@pytest.mark.parametrize(
    ("predicted", "right", "keys", "told"),
    [
        ("a" * 40, "ab" * 20, {}, True),
        ("a" * 39 + "b", "ab" * 20, {}, True),
        ("a" * 38 + "bb", "ab" * 20, {}, False),
        ("a" * 40, "a" * 32 + "b" * 8, {}, False),  # it is that frequent
        ("a" * 19, "ab" * 9 + "a", {}, False),  # too few to say
        ("a" * 40, "ab" * 20, {"reg": "none"}, False),  # R has no part in it
        ("a" * 40, "ab" * 20, {"alpha": 0.0}, False),
    ],
)
def test_one_class_that_takes_all(predicted: str, right: str, keys: dict[str, Any], told: bool) -> None:
    rows = [{"prediction": one, "label": other} for one, other in zip(predicted, right, strict=True)]
    config = make_config({"task": "classification"}, keys)
    split = split_labels(list(right), fraction=0.5)
    found = after_training(config, split, [{"ce": 0.1, "r": 0.1, "r_gradient": 0.1}], {"in_domain": rows})
    assert [warning.startswith("one class takes all: ") for warning in found] == [True] * told
