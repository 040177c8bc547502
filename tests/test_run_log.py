"""`log.jsonl` as others read it: strict JSON, a step in each line, and the keys that are promised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.experiment import measure, train
from ssl_pdr.run_log import ALWAYS, SOMETIMES
from tests.cli.conftest import model_folder, reviews

__all__ = ["model_folder", "reviews"]

CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
# What is measured of each, at the first step at least.
MEASURED = {
    "vat": {*SOMETIMES},
    "none": set(),
    "rdrop": {"r_gradient"},
    "wjr": {"r_gradient"},
    "at": set(),
}


@pytest.fixture
def config(model_folder: Path, reviews: Path, tmp_path: Path) -> TrainConfig:
    keys = {"data": str(reviews), "model": str(model_folder), "max_length": 12, "output": str(tmp_path / "run")}
    return make_config(keys, {"labelled_frac": 0.5, "div": "kl", "max_steps": 3, "eval_limit": 8})


def lines(folder: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize("reg", MEASURED)
def test_every_line_has_the_keys_that_are_promised(config: TrainConfig, reg: str, tmp_path: Path) -> None:
    train(make_config(vars(config), {"reg": reg}))
    entries = lines(tmp_path / "run")
    assert [entry["step"] for entry in entries] == [1, 2, 3]
    for number, entry in enumerate(entries):
        assert entry.keys() == {*ALWAYS} | (MEASURED[reg] if number == 0 else set())
        assert all(type(value) in (int, float) for value in entry.values())


def test_what_is_not_finite_is_null(config: TrainConfig, tmp_path: Path) -> None:
    """A gradient that is too large for float32 to square; the step is taken with what clipping leaves of it."""
    config = make_config(vars(config), {"alpha": 1e30})
    train(config)
    entries = lines(tmp_path / "run")
    assert [entry["grad_norm"] for entry in entries] == [None, None, None]
    assert all(entry["r"] > 0 for entry in entries)
    assert [entry["grad_norm"] for entry in measure(config)["log"]] == [None, None, None]


def test_the_table_of_keys_is_that_of_the_log() -> None:
    section = CONTRIBUTING.read_text(encoding="utf-8").partition("## The log of a run")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    assert {name.strip(" `"): meaning.strip() for name, meaning in rows} == {**ALWAYS, **SOMETIMES}
