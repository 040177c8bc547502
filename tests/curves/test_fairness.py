"""What methods of a curve have in common at a budget and a seed: labels, rows, their order, weights to begin with, and steps."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from ssl_pdr.config import make_config
from ssl_pdr.curves.engine import make_plan
from ssl_pdr.curves.grid import Cell, Facts, Grid, cells_of
from ssl_pdr.data.collate import mix
from ssl_pdr.data.splits import exact_share
from ssl_pdr.experiment import train
from ssl_pdr.loading import Loaded, load
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf
from tests.curves.conftest import Here, MakeGrid

METHODS = ("none", "rdrop:kl", "rdrop:kl,ratio=3", "rdrop:kl,ratio=0", "vat:shl", "at", "jr")
BUDGETS = (0.15, 0.5, 1.0)  # of 64 rows: not all of them whole batches


@pytest.fixture(scope="module")
def loaded(make_grid: MakeGrid) -> dict[tuple[int, float], dict[str, tuple[Cell, Loaded]]]:
    """What each cell of a grid begins from, as one worker after the other cell loads it: by seed and budget, and by method."""
    found: dict[tuple[int, float], dict[str, tuple[Cell, Loaded]]] = defaultdict(dict)
    shelf = Shelf()
    for cell in make_plan(make_grid(methods=METHODS, budgets=BUDGETS, seeds=(0, 1))).cells:
        found[cell.seed, cell.budget][cell.method] = cell, load(cell.config, Silent(), shelf)
    return found


def test_labels_and_steps_are_the_same(loaded: dict[Any, dict[str, tuple[Cell, Loaded]]]) -> None:
    assert len(loaded) == 2 * 3
    for methods in loaded.values():
        assert len(methods) == len(METHODS)
        assert len({one.materials.split.hash for _, one in methods.values()}) == 1
        assert len({one.materials.fingerprint for _, one in methods.values()}) == 1
        assert {cell.config.max_steps for cell, _ in methods.values()} == {3}
    assert len({one.materials.split.hash for methods in loaded.values() for _, one in methods.values()}) == 6


def test_budgets_are_nested(loaded: dict[Any, dict[str, tuple[Cell, Loaded]]]) -> None:
    for seed in (0, 1):
        small, half, whole = (set(loaded[seed, b]["vat:shl"][1].materials.split.labelled.tolist()) for b in BUDGETS)
        assert small < half < whole
        assert len(whole) == 64


def test_weights_to_begin_with_are_those_of_a_run_alone(
    loaded: dict[Any, dict[str, tuple[Cell, Loaded]]], tmp_path: Path
) -> None:
    """A run whose steps are too small to move a weight leaves those that it began with."""
    begun = {
        (seed, budget, method): one.model.state_dict()
        for (seed, budget), methods in loaded.items()
        for method, (_, one) in methods.items()
    }
    for seed in (0, 1):
        config = make_config(vars(loaded[seed, 0.5]["vat:shl"][0].config), {"lr": 1e-30, "max_steps": 1})
        train(dataclasses.replace(config, output=str(tmp_path / str(seed))))
        alone = load_file(tmp_path / str(seed) / "model" / "model.safetensors")
        for weights in (weights for (one, _, _), weights in begun.items() if one == seed):
            torch.testing.assert_close(dict(weights), dict(alone), rtol=0, atol=1e-20)
    head = [begun[seed, 0.5, "none"]["classifier.weight"] for seed in (0, 1)]
    assert not torch.equal(*head)


def test_real_cells_see_the_same_labelled_rows_step_by_step(
    loaded: dict[Any, dict[str, tuple[Cell, Loaded]]],
) -> None:
    for methods in loaded.values():
        first, *others = ([labelled_rows(one, epoch) for epoch in range(3)] for _, one in methods.values())
        assert first[0] != first[1]
        for other in others:
            assert other == first


def labelled_rows(one: Loaded, epoch: int) -> list[list[tuple[int, ...]]]:
    """The tokens of the labelled rows of each step of an epoch, as the trainer has them."""
    config, materials = one.config, one.materials
    rows, batches = mix(
        materials.labelled, materials.unlabelled, {"input_ids"}, config.batch_size, config.ratio, config.seed
    )
    batches.set_epoch(epoch)
    return [[tuple(row["input_ids"]) for row in rows.take(batch) if row["labels"] >= 0] for batch in batches]


@st.composite
def grids(draw: st.DrawFn) -> tuple[Grid, int, int, int]:
    """A grid with a method of another ratio, and how many rows there are with a label and without."""
    batch = draw(st.integers(1, 12))
    rows = st.lists(st.integers(1, 3 * batch), min_size=2, max_size=2, unique=True)
    ratio, other = (count / batch for count in draw(rows))  # also such as 1/3
    methods = ("none", "rdrop:kl", f"rdrop:kl,ratio={other!r}")
    grid = Grid(methods=methods, budgets=(0.5,), seeds=(draw(st.integers(0, 9)),), batch=batch, ratio=ratio, steps=9)
    return grid, draw(st.integers(1, 700)), draw(st.integers(1, 300)), draw(st.integers(0, 3))


@settings(max_examples=300, deadline=None)
@given(grids())
def test_methods_see_the_same_labelled_rows_step_by_step(case: tuple[Grid, int, int, int]) -> None:
    """Whatever the number of rows, the batch and the ratio, of rows of many lengths, in every epoch."""
    grid, n_labelled, n_unlabelled, epoch = case
    lengths = np.random.default_rng(n_labelled).integers(1, 30, n_labelled + n_unlabelled).tolist()
    rows = [{"input_ids": [1] * length, "labels": 1} for length in lengths]
    seen = []
    for cell in cells_of(grid, {(grid.seeds[0], 0.5): Facts(n_labelled, pool=True)}, lambda config: 1.0, ""):
        unlabelled = None if cell.method == "none" else rows[n_labelled:]
        config = cell.config
        if (
            unlabelled and exact_share(float(config.ratio), n_labelled) == 0
        ):  # refused: there would be no unlabelled row in an epoch
            continue
        _, batches = mix(rows[:n_labelled], unlabelled, {"input_ids"}, config.batch_size, config.ratio, config.seed)
        batches.set_epoch(epoch)
        seen.append([[row for row in batch if row < n_labelled] for batch in batches])
        assert all(len(batch) <= grid.batch for batch in seen[-1])
    assert all(other == seen[0] for other in seen)


def test_a_cell_is_the_run_that_train_makes(make_grid: MakeGrid, tmp_path: Path) -> None:
    """Whatever its worker did before."""
    pool = Here()
    cells = make_plan(make_grid(methods=("none", "rdrop:kl", "vat:shl"), budgets=(0.5,), seeds=(0, 1))).cells
    made = {event.cell.key: event.outcome for event in pool.run(cells) if event.outcome is not None}
    for cell in cells[2:5]:
        result = train(dataclasses.replace(cell.config, output=str(tmp_path / cell.key)))
        found = made[cell.key]
        assert found["status"] == "finished"
        scores = dict(result["scores"])
        baseline = scores.pop("baseline_tfidf")
        assert found["scores"] == scores
        assert found.get("baseline") == (baseline if cell.method == "none" else None)
        assert found["split_hash"] == result["split_hash"]
        assert (found["labelled"], found["steps"]) == (result["budget"]["labelled"], result["timing"]["steps"])
        assert found["data"] == result["data"]
        last = {name: found["log"][name][-1] for name in ("ce", "r")}
        assert last == {name: float(f"{result['objective'][name]:.5g}") for name in last}
