"""All that a run is made of, from its configuration: data, sets to evaluate on, model, regularizer; checked against each other."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import set_seed

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.concerns import of_budget
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.checks import overlap
from ssl_pdr.data.collate import MixedDataset, Mixture, PaddingCollator
from ssl_pdr.data.evaluation_sets import EvaluationSet, parts_of_corpus
from ssl_pdr.data.question_corpus import shared_passages
from ssl_pdr.data.tables import Table
from ssl_pdr.data.unlabelled import TextStream
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.evaluation import sets_of
from ssl_pdr.materials import LEAKS, Materials, first_batch, prepare, read_key
from ssl_pdr.methods import build_regularizer
from ssl_pdr.outputs import RESERVED
from ssl_pdr.progress import Listener
from ssl_pdr.regularizers import Regularizer
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks.base import fit_together, positions


@dataclass(frozen=True)
class Loaded:
    """All that a run is made of.

    Attributes:
        config: with nothing left to guess.
        materials: data.
        sets: to evaluate on.
        model: with its head.
        regularizer: None for plain fine-tuning.
        concerns: what a person should know before believing the result, beside the warnings of the materials.
    """

    config: TrainConfig
    materials: Materials
    sets: list[EvaluationSet]
    model: Any
    regularizer: Regularizer | None
    concerns: list[str] = field(default_factory=list)


def load(config: TrainConfig, listener: Listener, shelf: Shelf | None = None) -> Loaded:
    """Read, tokenize, build and rehearse.

    Args:
        config: resolved.
        listener: told of stages and warnings.
        shelf: what other runs of the process have read.

    Raises:
        PDRError: for anything that the user can mend.
    """
    if config.precision == "fp16" and not torch.accelerator.is_available():
        raise ConfigError("--precision fp16 needs a GPU, whose loss scaling it relies on; use bf16 or float32")
    shelf = shelf or Shelf(keep=0)
    materials = prepare(config, listener, shelf)
    config = dataclasses.replace(config, task=materials.task.name, data_fingerprint=materials.fingerprint)
    sets = _sets(config, materials, shelf)
    concerns = of_budget(materials.split, config.task)
    for warning in (*materials.warnings, *concerns):
        listener.warn(warning)
    listener.stage("loading the model")
    model = _model(config, materials, shelf)
    model.config.update(materials.task.settings())
    regularizer = build_regularizer(config)
    _check_fit(model, materials, config)
    _rehearse(config, materials, model, regularizer)
    return Loaded(config, materials, sets, model, regularizer, concerns)


def _model(config: TrainConfig, materials: Materials, shelf: Shelf) -> Any:
    """The pretrained model with a head that the seed draws."""

    def make() -> Any:
        set_seed(config.seed)
        return materials.task.load_model(config.model)

    if shelf.keep == 0:
        return make()
    key = (config.model, config.seed, str(vars(materials.task)))
    return copy.deepcopy(shelf.take("model", key, make, keep=1))  # training changes it


def _sets(config: TrainConfig, materials: Materials, shelf: Shelf) -> list[EvaluationSet]:
    """The parts of the corpus and the further sets; those that hold training texts are told of."""
    sets, notes = shelf.take(
        "sets",
        read_key(config, config.seed, config.eval_limit, config.collapse),
        lambda: _look_at_sets(config, materials),
    )
    materials.notes.update(notes)
    materials.warnings.extend(LEAKS.format(kind=kind, count=count) for kind, count in notes.items())
    return sets


def _look_at_sets(config: TrainConfig, materials: Materials) -> tuple[list[EvaluationSet], dict[str, int]]:
    """The sets, and how much of them is trained on."""
    parts = parts_of_corpus(materials.corpus)
    label_names = [] if config.task == QUESTION_ANSWERING else materials.corpus.label_names
    further = sets_of(config.eval_on or (), label_names, config, [part.name for part in parts])
    notes: dict[str, int] = {}
    trained = {"training texts": materials.corpus.keys["train"]}
    trained |= {f"texts of {c.name}": c.rows.keys for c in materials.corpora if isinstance(c.rows, Table)}
    for one in further:
        leaks = {
            f"{name} that are also in {one.name}": int(overlap(keys, one.keys).sum()) for name, keys in trained.items()
        }
        if config.task == QUESTION_ANSWERING:
            shared = shared_passages(materials.corpus.train, one.rows)
            leaks[f"questions of {one.name} about passages that are trained on"] = shared
        notes |= {kind: count for kind, count in leaks.items() if count}
        for stream in (c.rows for c in materials.corpora if isinstance(c.rows, TextStream)):
            stream.watch_for(one.name, one.keys)
    return [one.limited(config.eval_limit) for one in (*parts, *further)], notes


def _check_fit(model: Any, materials: Materials, config: TrainConfig) -> None:
    """Refuse a model with too few positions or words for the rows, which would fail in the middle of a run."""
    pools = Mixture([]) if materials.unlabelled is None else materials.unlabelled
    lengths = MixedDataset(Mixture([materials.labelled]), pools, {"input_ids"}).lengths()
    assert lengths is not None  # noqa: S101
    longest = config.max_length if config.stream else int(lengths.max())
    rooms = positions(model)
    if rooms is not None and longest > rooms:
        raise ModelError(f"rows have up to {longest} tokens, the model has {rooms} positions; use --max-length {rooms}")
    fit_together(model, materials.tokenizer)


def autocast_of(precision: str) -> torch.autocast:
    """Autocast on the CPU as a precision of a configuration means it; for float32 it does nothing."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast("cpu", dtype, enabled=dtype is not None)


def _rehearse(config: TrainConfig, materials: Materials, model: Any, regularizer: Regularizer | None) -> None:
    """Two rows through the regularizer: what cannot work fails before anything of an older run is touched."""
    batch = first_batch(config, materials)
    if regularizer is None or config.alpha == 0:
        return
    rows = [materials.labelled[row["row"]] for row in batch if row["label"] is not None][:2] or [materials.labelled[0]]
    taken = {*inspect.signature(model.forward).parameters, *RESERVED}
    inputs = PaddingCollator.like(materials.tokenizer)([{k: v for k, v in row.items() if k in taken} for row in rows])
    with autocast_of(config.precision):
        regularizer(model.train(), inputs, row_ids=torch.arange(len(rows)))
    set_seed(config.seed)
