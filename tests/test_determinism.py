"""`--deterministic`: on while a run trains, off again afterwards, and the same bits."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.determinism import determinism
from ssl_pdr.errors import ConfigError
from ssl_pdr.experiment import measure, train
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf
from tests.cli.conftest import model_folder, reviews

__all__ = ["model_folder", "reviews"]


def flags() -> dict[str, Any]:
    cudnn = torch.backends.cudnn
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "warns only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (cudnn.deterministic, cudnn.benchmark),
        "cublas": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


SET = {"algorithms": True, "warns only": False, "cudnn": (True, False), "cublas": ":16:8"}


class Watcher(Silent):
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def step(self, step: int, steps: int) -> None:
        self.seen.append(flags())


@pytest.fixture
def config(model_folder: Path, reviews: Path) -> TrainConfig:
    keys = {"data": str(reviews), "model": str(model_folder), "max_length": 12, "lr": 1e-3, "labelled_frac": 0.5}
    return make_config(keys, {"div": "kl", "max_steps": 3, "eval_limit": 8, "deterministic": True})


@pytest.fixture(params=["fresh", "set by others"])
def before(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", request.param != "fresh")
    if request.param == "fresh":
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    else:
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield flags()
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("error", [None, ArithmeticError])
def test_the_process_is_left_as_it_was(before: dict[str, Any], error: type[Exception] | None) -> None:
    with contextlib.suppress(ArithmeticError), determinism(wanted=True, seed=0):
        assert flags() == SET
        if error is not None:
            raise error
    assert flags() == before
    with determinism(wanted=False, seed=0):
        assert flags() == before


def test_the_flags_are_set_while_a_run_trains_and_not_afterwards(config: TrainConfig) -> None:
    before, watcher, plain = flags(), Watcher(), Watcher()
    shelf = Shelf()
    measure(config, watcher, shelf=shelf)
    measure(make_config(vars(config), {"deterministic": False}), plain, shelf=shelf)
    assert (watcher.seen, plain.seen) == (3 * [SET], 3 * [before])


def test_two_runs_have_the_same_bits(config: TrainConfig, tmp_path: Path) -> None:
    before, weights = flags(), []
    for name in ("one", "two"):
        watcher = Watcher()
        train(make_config(vars(config), {"output": str(tmp_path / name)}), watcher)
        assert watcher.seen[1:] == 3 * [SET]
        weights.append((tmp_path / name / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert flags() == before


def test_an_operation_without_a_deterministic_form_is_one_line() -> None:
    with (
        pytest.raises(
            ConfigError, match="--deterministic: put_ does not have a deterministic .*; leave it out"
        ) as caught,
        determinism(wanted=True, seed=0),
    ):
        torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="another"), determinism(wanted=True, seed=0):
        raise RuntimeError("another")
