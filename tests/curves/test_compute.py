"""What a step costs in plain steps: known numbers of passes, on a real first batch, and the steps that follow from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.curves.compute import Costs, relative_cost
from ssl_pdr.curves.engine import make_plan
from ssl_pdr.errors import ConfigError
from ssl_pdr.shelf import Shelf
from tests.curves.conftest import MakeGrid

MakeConfig = Callable[..., TrainConfig]


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of one word: attention, which has no weights, is a small part of what is computed."""
    path = tmp_path_factory.mktemp("short") / "short.csv"
    words = ("good", "bad", "fine", "poor")
    path.write_text("text,label\n" + "".join(f"{words[i % 4]},{'np'[i % 2]}\n" for i in range(80)), encoding="utf-8")
    return path


@pytest.fixture
def configured(encoder: Path, short: Path) -> MakeConfig:
    def configure(*, labelled: float, **keys: Any) -> TrainConfig:
        rows = {"labelled_frac": labelled, "batch_size": 4 if labelled == 1 else 8, "ratio": 1.0}
        return make_config({"data": str(short), "model": str(encoder), **rows, **keys}).resolved()

    return configure


@pytest.mark.parametrize(
    ("labelled", "keys", "cost"),
    [
        # A forward pass costs 1/3, a backward pass to activations another, one to activations and weights 2/3.
        (1.0, {"reg": "none"}, 1),
        (0.5, {"reg": "none", "batch_size": 4}, 1),
        (1.0, {"reg": "rdrop", "div": "shl"}, 2),
        (0.5, {"reg": "rdrop", "div": "shl"}, 4),  # twice as many rows
        (0.5, {"reg": "rpt", "div": "kl"}, 2 * 5 / 3),
        (1.0, {"reg": "vat", "div": "kl"}, 2),  # the direction comes with the cross-entropy's own backward pass
        (0.5, {"reg": "vat", "div": "kl"}, 2 * 11 / 6),
        (1.0, {"reg": "vat", "div": "shl"}, 7 / 3),
        (1.0, {"reg": "vat", "div": "kl", "precision": "bf16"}, 2),
        (1.0, {"reg": "vat", "div": "kl", "precision": "bf16", "search": "power"}, 8 / 3),
        (1.0, {"reg": "rdrop", "div": "kl", "align": 0.9}, 2),  # the target comes without a pass
        (1.0, {"reg": "vat", "div": "shl", "alpha": 0.0}, 1),
        (0.5, {"reg": "at", "batch_size": 4}, 7 / 3),
    ],
)
def test_the_cost_of_a_step_is_that_of_its_passes(
    configured: MakeConfig, labelled: float, keys: dict[str, Any], cost: float
) -> None:
    assert relative_cost(configured(labelled=labelled, **keys)) == pytest.approx(cost, rel=0.03)


def test_what_costs_the_same_is_counted_once(configured: MakeConfig) -> None:
    read: list[str] = []

    class Reads(Shelf):
        def take(self, kind: str, *args: Any, **options: Any) -> Any:
            read.append(kind)
            return super().take(kind, *args, **options)

    costs = Costs(Reads())
    one = configured(labelled=0.5, reg="rdrop", div="kl")
    first = costs.of(one)
    counted = read.count("model")
    for same in ({"alpha": 4.0}, {"seed": 1}, {"labelled_frac": 0.25}, {"lr": 1e-4}, {"max_steps": 9}):
        assert costs.of(make_config(vars(one), same)) == first
    assert read.count("model") == counted == 1
    assert costs.of(make_config(vars(one), {"alpha": 0.0})) < first
    assert read.count("model") == 2


def test_methods_take_steps_for_the_same_operations(make_grid: MakeGrid, short: Path) -> None:
    methods = ("none", "rdrop:shl", "rdrop:shl,ratio=3", "vat:kl")
    grid = make_grid(base={"data": str(short)}, methods=methods, match="compute", steps=60, seeds=(0, 1))
    found = {(cell.method, cell.budget, cell.seed): cell.config.max_steps for cell in make_plan(grid).cells}
    for seed in (0, 1):
        assert [found[method, 1.0, seed] for method in methods] == [60, 30, 30, 30]
        # VAT: 4 labelled rows and 4 without, 11/6 of 8 plain ones.
        assert [found[method, 0.25, seed] for method in methods] == [60, 15, 8, round(60 / (2 * 11 / 6))]


def test_what_cannot_be_run_cannot_be_counted(configured: MakeConfig) -> None:
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        relative_cost(configured(labelled=1.0, reg="vat", precision="fp16"))
