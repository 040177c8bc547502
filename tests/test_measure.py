"""`measure`: the figures of `train`, and nothing but figures."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.errors import ConfigError, NonFiniteLossError
from ssl_pdr.experiment import measure, train
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf
from tests.cli.conftest import model_folder, reviews

__all__ = ["model_folder", "reviews"]


@pytest.fixture
def config(model_folder: Path, reviews: Path) -> TrainConfig:
    keys = {"data": str(reviews), "model": str(model_folder), "max_length": 12, "lr": 1e-3, "labelled_frac": 0.5}
    return make_config(keys, {"reg": "vat", "div": "kl", "ratio": 1.0, "max_steps": 5, "batch_size": 8})


class CountingShelf(Shelf):
    """Counts what is made, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()

    def take(self, kind: str, key: Any, make: Callable[[], Any], keep: int | None = None) -> Any:
        def counted() -> Any:
            self.made[kind] += 1
            return make()

        return super().take(kind, key, counted, keep)


@pytest.mark.parametrize(
    "keys", [{}, {"reg": "none"}, {"reg": "rdrop", "eval_limit": 7}, {"reg": "rpt", "accumulation": 2}]
)
def test_its_figures_are_those_of_train(config: TrainConfig, keys: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(vars(config), keys)
    found = measure(config, baseline=True)
    result = train(dataclasses.replace(config, output=str(tmp_path / "run")))
    log, timing = found.pop("log"), found.pop("timing")
    assert timing.keys() == {"load_seconds", "train_seconds", "evaluate_seconds", "steps"}
    assert timing["steps"] == result.pop("timing")["steps"] == 5
    for one in (found, result):
        one["config"].pop("output")
    assert found == result
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    parts = ("step", "loss", "ce", "r", "accuracy")
    assert [[entry[name] for name in parts] for entry in log] == [[entry[name] for name in parts] for entry in lines]


def test_it_leaves_no_file(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    measure(dataclasses.replace(config, output=str(tmp_path / "run"), save_steps=1))
    assert list(tmp_path.iterdir()) == []


def test_runs_that_share_a_shelf_read_once_and_do_not_change_each_other(config: TrainConfig) -> None:
    shelf, alone = CountingShelf(), measure(config)
    first = measure(config, shelf=shelf)
    once = {"corpus": 1, "corpora": 1, "tokenizer": 1, "sets": 1, "model": 1, "evaluated": 1}
    assert {kind: shelf.made[kind] for kind in once} == once
    measure(dataclasses.replace(config, reg="rdrop", alpha=4.0, max_steps=3), shelf=shelf)
    measure(dataclasses.replace(config, reg="none", labelled_frac=0.25), shelf=shelf)
    again = measure(config, shelf=shelf)
    assert {kind: shelf.made[kind] for kind in once} == once
    for one in (alone, first, again):
        del one["timing"], one["log"][:]
    assert alone == first == again


def test_another_seed_has_another_held_out_part_and_another_head(config: TrainConfig) -> None:
    shelf = CountingShelf()
    results = [measure(dataclasses.replace(config, seed=seed), shelf=shelf) for seed in (0, 1)]
    assert shelf.made["corpus"] == shelf.made["model"] == 2
    assert len({result["split_hash"] for result in results}) == 2
    assert results[1]["scores"] == measure(dataclasses.replace(config, seed=1))["scores"]


def test_the_simpler_method_is_fitted_when_asked_for(config: TrainConfig) -> None:
    shelf = Shelf()
    assert "baseline_tfidf" not in measure(config, shelf=shelf)["scores"]
    assert measure(config, shelf=shelf, baseline=True)["scores"]["baseline_tfidf"]["in_domain"]["accuracy"] > 0.5


def test_every_step_is_told(config: TrainConfig) -> None:
    class Steps(Silent):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def step(self, step: int, steps: int) -> None:
            self.seen.append((step, steps))

    steps = Steps()
    measure(config, steps)
    assert steps.seen == [(step, 5) for step in range(1, 6)]


def test_what_goes_wrong_is_an_error_of_one_line(config: TrainConfig) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        measure(dataclasses.replace(config, lr=1e30, max_steps=20))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="cut into 3 equal"):
        measure(dataclasses.replace(config, accumulation=3))


@pytest.mark.parametrize("reg", ["vat", "rpt", "rdrop"])
@pytest.mark.parametrize("div", ["kl", "shl"])
def test_as_alpha_vanishes_every_method_is_plain_fine_tuning_step_by_step(
    config: TrainConfig, tmp_path: Path, reg: str, div: str
) -> None:
    """Unlabelled rows, the cut of the batch and the early cross-entropy leave no trace of their own; without dropout, whose masks
    depend on the passes that are taken."""
    folder = tmp_path / "without_dropout"
    shutil.copytree(config.model, folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    alike = {"model": str(folder), "max_steps": 12}
    plain = measure(make_config(vars(config), alike, {"reg": "none", "batch_size": 4}))
    found = measure(make_config(vars(config), alike, {"reg": reg, "div": div, "alpha": 1e-9}))
    assert [entry["ce"] for entry in found["log"]] == pytest.approx([entry["ce"] for entry in plain["log"]], rel=1e-4)
    assert found["log"][-1]["ce"] != pytest.approx(found["log"][0]["ce"], rel=1e-2)
    assert found["scores"]["in_domain"] == plain["scores"]["in_domain"]
