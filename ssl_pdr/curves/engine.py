"""Make a curve: look at the data, run the cells that are not there yet, write each as it ends, and sum them up."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from transformers import set_seed

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.curves.compute import Costs
from ssl_pdr.curves.grid import Cell, Facts, Grid, cells_of
from ssl_pdr.curves.local import Event
from ssl_pdr.curves.store import FINISHED, CurveFolder
from ssl_pdr.curves.summary import summarise
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.errors import unknown_name
from ssl_pdr.evaluation import sets_of
from ssl_pdr.files import atomic_write, held
from ssl_pdr.interrupts import stopped
from ssl_pdr.materials import corpora_of, corpus_of, fingerprint_of, prepare, read_key, split_of, task_of, with_task
from ssl_pdr.progress import Silent
from ssl_pdr.run_folder import model_name
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks.base import Task, load_tokenizer


class Pool(Protocol):
    """What runs cells."""

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Run all cells; what happens to them, as it happens."""


class Watcher(Protocol):
    """Who wants to know how a curve is getting on."""

    def planned(self, cells: Sequence[Cell], finished: Mapping[str, Mapping[str, Any]]) -> None:
        """All cells, and the contents of those that are finished already, by their keys."""

    def event(self, event: Event) -> None:
        """Something happened to a cell."""

    def warn(self, text: str) -> None:
        """Something to know before believing the curve."""


class Unwatched:
    """A watcher that does nothing."""

    def planned(self, cells: Sequence[Cell], finished: Mapping[str, Mapping[str, Any]]) -> None:
        """Ignore them."""

    def event(self, event: Event) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class Plan:
    """What a curve takes.

    Attributes:
        grid: as `curve.json` has it.
        cells: all of them, seed after seed.
    """

    grid: dict[str, Any]
    cells: list[Cell]


def make_plan(grid: Grid, shelf: Shelf | None = None) -> Plan:
    """Look at the data and the model, and say what is to be run.

    Args:
        grid: of the curve.
        shelf: what other plans of the process have read.

    Raises:
        PDRError: for data or a model that cannot be used, and for a budget that leaves a class without a label.
    """
    shelf = shelf or Shelf()
    base = with_task(make_config(grid.base).resolved())
    facts: dict[tuple[int, float], Facts] = {}
    fingerprint = name = ""
    for seed in grid.seeds:
        corpus = shelf.take("corpus", read_key(base, seed), partial(corpus_of, base, seed))
        corpora = shelf.take("corpora", read_key(base, seed), partial(corpora_of, base, corpus))
        fingerprint, name, task = fingerprint_of(corpus, corpora), corpus.name, task_of(base, corpus)
        for budget in grid.budgets:
            config = dataclasses.replace(base, labelled_frac=budget, seed=seed)
            facts[seed, budget] = _facts(config, corpus, bool(corpora), shelf)
        _check_parts(grid, base, corpus, shelf)
    weights = shelf.take("weights", (base.model, task.name), partial(_model_hash, task, base.model))
    cells = cells_of(grid, facts, Costs(shelf).of, fingerprint + weights)
    noted = {
        **grid.to_json(),
        "name": grid.name or name,
        "data_fingerprint": fingerprint,
        "model": model_name(base.model),
        "model_fingerprint": weights,
    }
    return Plan(noted, list({cell.key: cell for cell in cells}.values()))


def _check_parts(grid: Grid, base: TrainConfig, corpus: Corpus, shelf: Shelf) -> None:
    """Refuse to choose by, or to tell, a part that is not evaluated on."""
    label_names = [] if base.task == QUESTION_ANSWERING else corpus.label_names
    parts = list(corpus.evaluation)
    further = shelf.take("parts", read_key(base), lambda: sets_of(base.eval_on or (), label_names, base, parts))
    names = [*parts, *(one.name for one in further)]
    for name in (grid.select, grid.test):
        if name is not None and name not in names:
            raise unknown_name("set to select by or to tell", name, names)


def _facts(config: TrainConfig, corpus: Corpus, others: bool, shelf: Shelf) -> Facts:
    """How many labelled rows a run takes from, and whether it has any without a label."""
    if config.task == QUESTION_ANSWERING:  # rows are windows, and one without the answer has no label
        made = prepare(dataclasses.replace(config, reg="rdrop"), Silent(), shelf)
        return Facts(len(made.labelled), made.unlabelled is not None)
    split = split_of(config, corpus)
    return Facts(len(split.labelled), bool(len(split.unlabelled) or others))


def _model_hash(task: Task, model: str) -> str:
    """SHA-256 over the weights, those that are drawn by a fixed seed, and the vocabulary."""
    set_seed(0)
    vocabulary = load_tokenizer(model).get_vocab()
    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode())
    for name, values in sorted(task.load_model(model).state_dict().items()):
        digest.update(name.encode())
        digest.update(values.reshape(-1).numpy())
    return digest.hexdigest()


def make_curve(plan: Plan, path: Path, pool: Pool, watcher: Watcher | None = None) -> dict[str, Any]:
    """Run the cells of a plan that are not finished, and sum all of the folder up.

    A cell is written as soon as it ends, so whatever stops this loses the cells under way and no other; a cell that failed is
    tried again.

    Args:
        plan: of the curve.
        path: its folder.
        pool: runs the cells.
        watcher: told of what happens.

    Returns:
        The content of `summary.json`.

    Raises:
        InterruptedRunError: after Ctrl-C; the same plan goes on where it stopped.
        OutputError: for a folder that holds another curve, or cannot be written to.
    """
    folder = CurveFolder(path)
    folder.join(plan.grid)  # a folder of something else is left as it is
    folder.create()
    with held(folder.path):
        return _make(plan, folder, pool, watcher or Unwatched())


def _make(plan: Plan, folder: CurveFolder, pool: Pool, watcher: Watcher) -> dict[str, Any]:
    grid = folder.begin(plan.grid)
    found, warnings = folder.read()
    for warning in warnings:
        watcher.warn(warning)
    finished = {cell.key: found[cell.key] for cell in plan.cells if found.get(cell.key, {}).get("status") == FINISHED}
    watcher.planned(plan.cells, finished)
    done = len(finished)
    try:
        for event in pool.run([cell for cell in plan.cells if cell.key not in finished]):
            if event.outcome is not None:
                folder.write(event.outcome)
                done += event.outcome["status"] == FINISHED
            watcher.event(event)
    except KeyboardInterrupt as signal:
        raise stopped(
            f"stopped, {done} of {len(plan.cells)} runs are finished; the same command goes on from there", signal
        ) from None
    summary = summarise(grid, list(folder.read()[0].values()))
    atomic_write(folder.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    return summary
