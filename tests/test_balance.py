"""Who pulls the model: what is measured is the gradients' own size, and measuring changes nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_pdr import fitting
from ssl_pdr.balance import Balance
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.experiment import measure
from ssl_pdr.shelf import Shelf
from tests.cli.conftest import model_folder, reviews

__all__ = ["model_folder", "reviews"]


@pytest.fixture
def config(model_folder: Path, reviews: Path) -> TrainConfig:
    keys = {"data": str(reviews), "model": str(model_folder), "max_length": 12, "lr": 1e-3, "labelled_frac": 0.5}
    return make_config(keys, {"div": "kl", "ratio": 1.0, "max_steps": 3, "batch_size": 8, "eval_limit": 8})


def test_it_is_proportional_to_alpha_and_absent_where_there_is_nothing_to_compare(config: TrainConfig) -> None:
    shelf = Shelf()
    found = []
    for keys in ({"alpha": 1.0}, {"alpha": 50.0}, {"reg": "none"}, {"reg": "at"}):
        log = measure(make_config(vars(config), keys), shelf=shelf)["log"]
        found.append([entry["r_gradient"] for entry in log if "r_gradient" in entry])
    assert [len(ratios) for ratios in found] == [1, 1, 0, 0]  # at the first step, and then at the 50th
    assert found[0][0] > 0
    assert found[1][0] == pytest.approx(50 * found[0][0], rel=1e-4)


@pytest.mark.parametrize("keys", [{"dropout": "independent"}, {"div": "shl"}, {"align": 0.9}])
def test_measuring_changes_no_bit(config: TrainConfig, keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config, shelf = make_config(vars(config), keys), Shelf()
    results = []
    for watched in (True, False):
        if not watched:
            monkeypatch.setattr(Balance, "on_step_begin", lambda *_, **__: None)
        result = measure(config, shelf=shelf)
        results.append([[entry[name] for name in ("ce", "r", "grad_norm")] for entry in result["log"]])
    assert results[0] == results[1]


def test_it_is_the_norm_of_the_gradients(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the two parts, differentiated here by the usual backward pass, without dropout and noise of another draw."""
    from ssl_pdr.objective import Objective

    class Checked(Balance):
        def _ratio(self, batch: dict[str, Any]) -> float:
            model = self._trainer.model.eval()
            regularizer = self._trainer.objective.regularizer
            norms = []
            for loss in (
                self._trainer.objective.alpha * regularizer(model, batch, row_ids=batch["row_id"]).mean(),
                Objective(None)(model, batch).loss,
            ):
                model.zero_grad()
                loss.backward()
                squares = [w.grad.double().square().sum() for w in model.parameters() if w.grad is not None]
                norms.append(float(torch.stack(squares).sum().sqrt()))
            model.zero_grad()
            ratio = super()._ratio(batch)
            model.train()
            assert ratio == pytest.approx(norms[0] / norms[1], rel=1e-4)
            checked.append(ratio)
            return ratio

    checked: list[float] = []
    monkeypatch.setattr(fitting, "Balance", Checked)
    measure(dataclasses.replace(config, alpha=3.0))
    assert len(checked) == 1
