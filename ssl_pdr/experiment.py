"""One run: configuration → data → model → training → evaluation → a result on disk."""

from __future__ import annotations

import dataclasses
import inspect
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments, set_seed

from ssl_pdr.baseline import tfidf_baseline
from ssl_pdr.config import REGULARIZERS_WITHOUT_DIVERGENCE, TrainConfig
from ssl_pdr.data.checks import overlap
from ssl_pdr.data.collate import MixedDataset, Mixture, PaddingCollator
from ssl_pdr.data.evaluation_sets import EvaluationSet, parts_of_corpus
from ssl_pdr.data.question_corpus import shared_passages
from ssl_pdr.data.splits import LabelSplit
from ssl_pdr.data.streams import StreamError
from ssl_pdr.data.tables import Table
from ssl_pdr.errors import ConfigError, DataError, InterruptedRunError, ModelError, OutputError
from ssl_pdr.evaluation import Outcome, evaluate, relative_drop, sets_of
from ssl_pdr.materials import LEAKS, Materials, first_batch, prepare
from ssl_pdr.methods import build_regularizer
from ssl_pdr.model_card import model_card
from ssl_pdr.outputs import RESERVED
from ssl_pdr.progress import Listener, RunCallback, Silent, stop_on_interrupt
from ssl_pdr.provenance import machine, versions
from ssl_pdr.regularizers import Regularizer
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.tasks import QuestionAnswering
from ssl_pdr.tasks.base import fit_together, positions
from ssl_pdr.trainer import PDRTrainer


def train(config: TrainConfig, listener: Listener | None = None, *, overwrite: bool = False) -> dict[str, Any]:
    """Train and evaluate one model, and write its folder.

    Args:
        config: what to do; `None`s are resolved here.
        listener: told of stages, steps and logs.
        overwrite: replace a run that is in the output folder.

    Returns:
        The content of `result.json`.

    Raises:
        PDRError: for anything that the user can mend; nothing that was finished is lost.

    Example:
        result = train(TrainConfig(labelled_frac=0.5, reg="vat", div="shl"))
        print(result["scores"]["in_domain"]["accuracy"])
    """
    config = config.resolved()
    folder = RunFolder(Path(str(config.output)))
    _one_process()
    folder.check_free(overwrite=overwrite)
    if overwrite and folder.path.resolve() in Path(config.model).resolve().parents:
        raise OutputError(
            f"--overwrite would delete the model {config.model} that the run begins from; choose another --output"
        )
    build_regularizer(config)
    folder.create()
    listener = listener or Silent()
    if overwrite and folder.config.is_file():  # the old run stays until the new one's data and model are there
        loaded = _load(config, listener)
        folder.clear()
    else:
        folder.write_config(config)
        loaded = _load(config, listener)
    folder.write_config(loaded.config)
    loaded.materials.split.save(folder.split)
    return _run(loaded, folder, listener, checkpoint=None)


def resume(path: str | Path, listener: Listener | None = None) -> dict[str, Any]:
    """Go on with an unfinished run from its last checkpoint; from the beginning where there is none.

    Args:
        path: the run's folder.
        listener: told of stages, steps and logs.

    Raises:
        PDRError: if there is no run, it is finished, or its data changed.
    """
    _one_process()
    folder = RunFolder(Path(path))
    config = folder.read_config().resolved()
    if config.split is not None and folder.split.is_file():  # the run has a copy of its own
        config = dataclasses.replace(config, split=str(folder.split))
    listener = listener or Silent()
    loaded = _load(config, listener)
    if folder.split.is_file() and LabelSplit.load(folder.split) != loaded.materials.split:
        raise DataError(
            f"the data of {folder.path} changed since the run began (its label split differs); start a new run"
        )
    loaded.materials.split.save(folder.split)
    return _run(loaded, folder, listener, checkpoint=folder.last_checkpoint())


@dataclass(frozen=True)
class _Loaded:
    """All that a run is made of.

    Attributes:
        config: with nothing left to guess.
        materials: data.
        sets: to evaluate on.
        model: with its head.
        regularizer: None for plain fine-tuning.
    """

    config: TrainConfig
    materials: Materials
    sets: list[EvaluationSet]
    model: Any
    regularizer: Regularizer | None


def _load(config: TrainConfig, listener: Listener) -> _Loaded:
    materials = prepare(config, listener)
    config = dataclasses.replace(config, task=materials.task.name, data_fingerprint=materials.fingerprint)
    sets = _sets(config, materials)
    for warning in materials.warnings:
        listener.warn(warning)
    listener.stage("loading the model")
    set_seed(config.seed)  # the head's weights are drawn
    model = materials.task.load_model(config.model)
    model.config.update(materials.task.settings())
    regularizer = build_regularizer(config)
    _check_fit(model, materials, config)
    _rehearse(config, materials, model, regularizer)
    return _Loaded(config, materials, sets, model, regularizer)


def _sets(config: TrainConfig, materials: Materials) -> list[EvaluationSet]:
    """The parts of the corpus and the further sets; those that hold training texts are told of."""
    parts = parts_of_corpus(materials.corpus)
    label_names = [] if config.task == "question-answering" else materials.corpus.label_names
    further = sets_of(config.eval_on or (), label_names, config, [part.name for part in parts])
    trained = {"training texts": materials.corpus.keys["train"]}
    trained |= {f"texts of {c.name}": c.rows.keys for c in materials.corpora if isinstance(c.rows, Table)}
    for one in further:
        leaks = {
            f"{name} that are also in {one.name}": int(overlap(keys, one.keys).sum()) for name, keys in trained.items()
        }
        if config.task == "question-answering":
            shared = shared_passages(materials.corpus.train, one.rows)
            leaks[f"questions of {one.name} about passages that are trained on"] = shared
        for kind, count in leaks.items():
            if count:
                materials.notes[kind] = count
                materials.warnings.append(LEAKS.format(kind=kind, count=count))
    return [one.limited(config.eval_limit) for one in (*parts, *further)]


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


def _rehearse(config: TrainConfig, materials: Materials, model: Any, regularizer: Regularizer | None) -> None:
    """Two rows through the regularizer: what cannot work fails before anything of an older run is touched."""
    batch = first_batch(config, materials)
    if regularizer is None or config.alpha == 0:
        return
    rows = [materials.labelled[row["row"]] for row in batch if row["label"] is not None][:2] or [materials.labelled[0]]
    taken = {*inspect.signature(model.forward).parameters, *RESERVED}
    inputs = PaddingCollator.like(materials.tokenizer)([{k: v for k, v in row.items() if k in taken} for row in rows])
    regularizer(model.train(), inputs, row_ids=torch.arange(len(rows)))
    set_seed(config.seed)


def _one_process() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "this command runs in one process; for several, write a script around PDRTrainer and launch that"
        )


def _run(loaded: _Loaded, folder: RunFolder, listener: Listener, *, checkpoint: Path | None) -> dict[str, Any]:
    began = time.perf_counter()
    materials, model = loaded.materials, loaded.model
    trainer = _trainer(loaded, folder)
    callback = RunCallback(folder, listener)
    trainer.add_callback(callback)
    folder.cut_log(int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0)
    listener.stage("training")
    go_on = f"go on with: ssl-pdr train --resume {folder.path}"
    with stop_on_interrupt(callback):
        try:
            outcome = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except KeyboardInterrupt:
            raise InterruptedRunError(f"stopped at once, without a new checkpoint; {go_on}") from None
        except StreamError as error:
            raise StreamError(f"{error}; a checkpoint is kept, mend the corpus and {go_on}") from None
        except OSError as error:
            raise OutputError(
                f"cannot write to {folder.path}: {error.strerror or error}; mend it and --resume {folder.path}"
            ) from error
    if callback.interrupted:
        raise InterruptedRunError(f"stopped at step {trainer.state.global_step}, checkpoint kept; {go_on}")
    trained = time.perf_counter()
    model.save_pretrained(folder.model)
    materials.tokenizer.save_pretrained(folder.model)
    try:
        found = _evaluate(loaded, trainer, listener)
    except KeyboardInterrupt:
        raise InterruptedRunError(f"stopped while evaluating, the model is trained; {go_on}") from None
    model.config.update(found.task.settings())
    model.config.save_pretrained(folder.model)
    for warning in materials.count_streams():
        listener.warn(warning)
    result = _result(loaded, found, trainer)
    result["timing"] = {
        "train_seconds": round(trained - began, 2),
        "evaluate_seconds": round(time.perf_counter() - trained, 2),
        "steps": outcome.global_step,
        "resumed_from_step": int(checkpoint.name.rpartition("-")[2]) if checkpoint else None,
    }
    model_card(folder.model, result)
    folder.write_result(result)
    return result


def _evaluate(loaded: _Loaded, trainer: PDRTrainer, listener: Listener) -> Outcome:
    config, materials = loaded.config, loaded.materials
    listener.stage("evaluating")
    task = materials.task
    if isinstance(task, QuestionAnswering):  # in a set that is scored no question is left out: it counts as unanswered
        task = dataclasses.replace(task, skip=True)
    found = evaluate(trainer, task, materials.tokenizer, loaded.sets, config.max_length)
    materials.notes.update({f"{name}: {kind}": n for name, notes in found.notes.items() for kind, n in notes.items()})
    if config.task == "classification":
        listener.stage("baseline: tf-idf and logistic regression")
        corpus, labelled = materials.corpus, materials.split.labelled.tolist()
        for name, scores in tfidf_baseline(corpus.train, labelled, corpus.evaluation).items():
            found.baseline[name] = scores
    return found


def _trainer(loaded: _Loaded, folder: RunFolder) -> PDRTrainer:
    config, materials = loaded.config, loaded.materials
    args = TrainingArguments(
        output_dir=str(folder.checkpoints),
        per_device_train_batch_size=config.batch_size // config.accumulation,
        gradient_accumulation_steps=config.accumulation,
        per_device_eval_batch_size=64,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.lr,
        warmup_steps=config.warmup_frac,
        weight_decay=config.weight_decay,
        logging_steps=0.02,
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
    )
    trainer = PDRTrainer(
        loaded.model,
        args,
        train_dataset=materials.labelled,
        unlabelled_dataset=materials.unlabelled,
        regularizer=loaded.regularizer,
        alpha=config.alpha,
        ratio=config.ratio,
        data_collator=PaddingCollator.like(materials.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _result(loaded: _Loaded, found: Outcome, trainer: PDRTrainer) -> dict[str, Any]:
    config, materials = loaded.config, loaded.materials
    corpus, split = materials.corpus, materials.split
    scores: dict[str, Any] = dict(found.scores)
    if found.baseline:
        scores["baseline_tfidf"] = found.baseline
    others = {name: part for name, part in found.scores.items() if name != "in_domain"}
    drops = {name: relative_drop(found.scores["in_domain"], part) for name, part in others.items()}
    last: dict[str, Any] = next((entry for entry in reversed(trainer.state.log_history) if "ce" in entry), {})
    return {
        "scores": scores,
        "relative_drop": drops,
        "null_threshold": found.task.settings().get("null_threshold"),
        "budget": {
            "labelled": len(split.labelled),
            "unlabelled": len(split.unlabelled),
            "fraction": split.fraction,
            "labelled_per_class": {name: split.class_counts[name][0] for name in corpus.label_names},
        },
        "objective": {
            "regularizer": config.reg,
            "divergence": None if config.reg in REGULARIZERS_WITHOUT_DIVERGENCE else config.div,
            "alpha": config.alpha,
            **{name: last.get(name) for name in ("loss", "ce", "r", "r_zero_noise", "r_row_weight", "labelled_share")},
        },
        "seeds": {"seed": config.seed},
        "data": {
            "name": corpus.name,
            "fingerprint": materials.fingerprint,
            "train_rows": len(corpus.train),
            "evaluation_rows": {one.name: len(one.rows) for one in loaded.sets},
            "evaluation_fingerprints": {one.name: one.digest for one in loaded.sets if one.digest},
            "labels": corpus.label_names,
            "unlabelled": [
                {"name": c.name, "rows": len(c.rows) if isinstance(c.rows, Table) else None, "weight": c.weight}
                for c in materials.corpora
            ],
            "notes": dict(materials.notes),
            "warnings": list(materials.warnings),
        },
        "split_hash": split.hash,
        "versions": {**versions(), **corpus.versions},
        "machine": machine(trainer.args.device),
        "config": {name: value for name, value in vars(config).items() if value is not None},
    }
