"""One run: configuration → data → model → training → evaluation → a result on disk."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from ssl_pdr.baseline import tfidf_baseline
from ssl_pdr.checkpoints import check_checkpoint
from ssl_pdr.config import REGULARIZERS_WITHOUT_DIVERGENCE, TrainConfig
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.splits import LabelSplit
from ssl_pdr.data.streams import StreamError
from ssl_pdr.data.tables import Table
from ssl_pdr.errors import ConfigError, DataError, InterruptedRunError, OutputError
from ssl_pdr.evaluation import Outcome, evaluate, relative_drop
from ssl_pdr.loading import Loaded, load
from ssl_pdr.methods import build_regularizer, build_targets
from ssl_pdr.model_card import model_card
from ssl_pdr.processes import Processes, join
from ssl_pdr.progress import Listener, Recorder, RunCallback, Silent, stop_on_interrupt
from ssl_pdr.provenance import machine, versions
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks import QuestionAnswering
from ssl_pdr.tasks.base import Scores
from ssl_pdr.trainer import PDRTrainer

_LOGGED = (
    "loss",
    "ce",
    "r",
    "r_zero_noise",
    "noise_norm",
    "noise_kept",
    "r_above_rounding",
    "r_row_weight",
    "labelled_share",
)


def train(config: TrainConfig, listener: Listener | None = None, *, overwrite: bool = False) -> dict[str, Any]:
    """Train and evaluate one model, and write its folder.

    A launcher such as `torchrun` may have started several processes: they share each batch, the first one alone writes and
    tells the listener, and all return or raise the same.

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
    processes = join()
    _check_batch(config, processes)
    folder = RunFolder(Path(str(config.output)))
    listener = _heard(listener, processes)
    build_regularizer(config)
    replaces = processes.lead(lambda: _make_room(config, folder, overwrite=overwrite))
    loaded = _load_alike(config, listener, processes)
    processes.lead(lambda: _begin(loaded, folder, clear=replaces))
    return _run(loaded, folder, listener, processes, checkpoint=None)


def resume(path: str | Path, listener: Listener | None = None) -> dict[str, Any]:
    """Go on with an unfinished run from its last checkpoint; from the beginning where there is none.

    It may go on in another number of processes than it began in.

    Args:
        path: the run's folder.
        listener: told of stages, steps and logs.

    Raises:
        PDRError: if there is no run, it is finished, or its data changed.
    """
    processes = join()
    folder = RunFolder(Path(path))
    config, checkpoint = processes.lead(lambda: (_config_of(folder), _last_checkpoint(folder)))
    _check_batch(config, processes)
    listener = _heard(listener, processes)
    loaded = _load_alike(config, listener, processes)
    processes.lead(lambda: _go_on(loaded, folder))
    return _run(loaded, folder, listener, processes, checkpoint=checkpoint)


def _last_checkpoint(folder: RunFolder) -> Path | None:
    checkpoint = folder.last_checkpoint()
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    return checkpoint


def measure(
    config: TrainConfig, listener: Listener | None = None, *, shelf: Shelf | None = None, baseline: bool = False
) -> dict[str, Any]:
    """Train and evaluate one model as `train` does, in this process, and keep its figures only.

    Args:
        config: what to do.
        listener: told of stages, steps and logs.
        shelf: what runs before have read, and those after may need.
        baseline: whether the simpler method is fitted too.

    Returns:
        The content of `result.json`, and `log`, the parts of the loss over the steps.

    Raises:
        PDRError: for anything that the user can mend.
    """
    config, listener, alone = config.resolved(), listener or Silent(), Processes()
    _check_batch(config, alone)
    build_regularizer(config)
    began = time.perf_counter()
    loaded = load(config, listener, shelf)
    ready = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ssl_pdr_") as place:
        trainer = _trainer(loaded, Path(place), alone, save=False)
        recorder = Recorder(listener)
        trainer.add_callback(recorder)
        listener.stage("training")
        steps = int(trainer.train().global_step)
    trained = time.perf_counter()
    found = _evaluate(loaded, trainer, listener, shelf)
    if baseline:
        found.baseline.update(_baseline(loaded, listener))
    timing = {
        "load_seconds": round(ready - began, 2),
        "train_seconds": round(trained - ready, 2),
        "evaluate_seconds": round(time.perf_counter() - trained, 2),
        "steps": steps,
    }
    return {**_result(loaded, found, trainer), "timing": timing, "log": recorder.entries}


def _heard(listener: Listener | None, processes: Processes) -> Listener:
    return listener if listener is not None and processes.leads else Silent()


def _check_batch(config: TrainConfig, processes: Processes) -> None:
    parts = config.accumulation * processes.count
    if config.batch_size % parts:
        below, above = config.batch_size // parts * parts, (config.batch_size // parts + 1) * parts
        raise ConfigError(
            f"--batch-size {config.batch_size} counts the rows of all processes: {processes.count} processes and "
            f"--accumulation {config.accumulation} cannot share them evenly; use {f'{below} or ' if below else ''}{above}"
        )


def _make_room(config: TrainConfig, folder: RunFolder, *, overwrite: bool) -> bool:
    """See that the run may have its folder; whether an older run has to leave it, once the new one is loaded."""
    folder.check_free(overwrite=overwrite)
    if overwrite and folder.path.resolve() in Path(config.model).resolve().parents:
        raise OutputError(
            f"--overwrite would delete the model {config.model} that the run begins from; choose another --output"
        )
    folder.create()
    if overwrite and folder.config.is_file():
        return True
    folder.write_config(config)
    return False


def _begin(loaded: Loaded, folder: RunFolder, *, clear: bool) -> None:
    if clear:
        folder.clear()
    folder.write_config(loaded.config)
    loaded.materials.split.save(folder.split)


def _config_of(folder: RunFolder) -> TrainConfig:
    config = folder.read_config().resolved()
    if config.split is not None and folder.split.is_file():  # the run has a copy of its own
        config = dataclasses.replace(config, split=str(folder.split))
    return config


def _go_on(loaded: Loaded, folder: RunFolder) -> None:
    if folder.split.is_file() and LabelSplit.load(folder.split) != loaded.materials.split:
        raise DataError(
            f"the data of {folder.path} changed since the run began (its label split differs); start a new run"
        )
    loaded.materials.split.save(folder.split)


def _load_alike(config: TrainConfig, listener: Listener, processes: Processes) -> Loaded:
    loaded = processes.each(lambda: load(config, listener))
    seen = (loaded.materials.fingerprint, loaded.materials.split.hash)
    processes.agree(seen, f"the processes do not read the same data from {config.data}; give all of them the same")
    return loaded


def _run(
    loaded: Loaded, folder: RunFolder, listener: Listener, processes: Processes, *, checkpoint: Path | None
) -> dict[str, Any]:
    began = time.perf_counter()
    trainer = processes.each(lambda: _trainer(loaded, folder.checkpoints, processes))
    step = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
    processes.lead(lambda: folder.cut_log(step))
    steps = _fit(trainer, RunCallback(folder, listener, processes), checkpoint)
    trained = time.perf_counter()
    processes.lead(lambda: _save(loaded, folder))
    try:
        with processes.alone():
            found = _evaluate(loaded, trainer, listener)
        found.baseline.update(processes.lead(lambda: _baseline(loaded, listener)))
    except KeyboardInterrupt:
        raise InterruptedRunError(f"stopped while evaluating, the model is trained; {_how_on(folder)}") from None
    timing = {
        "train_seconds": round(trained - began, 2),
        "evaluate_seconds": round(time.perf_counter() - trained, 2),
        "steps": steps,
        "resumed_from_step": step if checkpoint else None,
    }
    return processes.lead(lambda: _finish(loaded, found, trainer, folder, listener, timing))


def _how_on(folder: RunFolder) -> str:
    return f"go on with: ssl-pdr train --resume {folder.path}"


def _fit(trainer: PDRTrainer, callback: RunCallback, checkpoint: Path | None) -> int:
    """Train, and tell how many steps it took; what stops it says how to go on."""
    folder, processes = callback.folder, callback.processes
    go_on = _how_on(folder)
    trainer.add_callback(callback)
    callback.listener.stage("training")
    with processes.alone(InterruptedRunError, StreamError), stop_on_interrupt(callback):
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
    if processes.any(callback.interrupted):
        raise InterruptedRunError(f"stopped at step {trainer.state.global_step}, checkpoint kept; {go_on}")
    return int(outcome.global_step)


def _save(loaded: Loaded, folder: RunFolder) -> None:
    loaded.model.save_pretrained(folder.model)
    loaded.materials.tokenizer.save_pretrained(folder.model)


def _finish(
    loaded: Loaded,
    found: Outcome,
    trainer: PDRTrainer,
    folder: RunFolder,
    listener: Listener,
    timing: dict[str, Any],
) -> dict[str, Any]:
    """Write what was found; the result comes last, since it makes the run finished."""
    loaded.model.config.update(found.task.settings())
    loaded.model.config.save_pretrained(folder.model)
    for warning in loaded.materials.count_streams():
        listener.warn(warning)
    result = {**_result(loaded, found, trainer), "timing": timing}
    model_card(folder.model, result)
    folder.write_result(result)
    return result


def _evaluate(loaded: Loaded, trainer: PDRTrainer, listener: Listener, shelf: Shelf | None = None) -> Outcome:
    config, materials = loaded.config, loaded.materials
    listener.stage("evaluating")
    task = materials.task
    if isinstance(task, QuestionAnswering):  # in a set that is scored no question is left out: it counts as unanswered
        task = dataclasses.replace(task, skip=True)
    found = evaluate(trainer, task, materials.tokenizer, loaded.sets, config.max_length, shelf=shelf)
    materials.notes.update({f"{name}: {kind}": n for name, notes in found.notes.items() for kind, n in notes.items()})
    return found


def _baseline(loaded: Loaded, listener: Listener) -> dict[str, Scores]:
    if loaded.config.task != "classification":
        return {}
    listener.stage("baseline: tf-idf and logistic regression")
    corpus, labelled = loaded.materials.corpus, loaded.materials.split.labelled.tolist()
    alike = {one.name: one.rows for one in loaded.sets if list(one.label_names) == corpus.label_names}
    return tfidf_baseline(corpus.train, labelled, alike)


def _trainer(loaded: Loaded, checkpoints: Path, processes: Processes, *, save: bool = True) -> PDRTrainer:
    config, materials = loaded.config, loaded.materials
    args = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=config.batch_size // config.accumulation // processes.count,
        gradient_accumulation_steps=config.accumulation,
        per_device_eval_batch_size=64,
        num_train_epochs=config.epochs,
        max_steps=config.max_steps or -1,
        learning_rate=config.lr,
        warmup_steps=config.warmup_frac,
        weight_decay=config.weight_decay,
        logging_steps=0.02,
        save_strategy="steps" if save else "no",
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=config.seed,
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        use_cpu=processes.on_cpu or not torch.accelerator.is_available(),  # bf16 on the CPU wants it said
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
    )
    trainer = PDRTrainer(
        loaded.model,
        args,
        train_dataset=materials.labelled,
        unlabelled_dataset=materials.unlabelled,
        regularizer=loaded.regularizer,
        alpha=config.alpha,
        ratio=config.ratio,
        targets=build_targets(config),
        data_collator=PaddingCollator.like(materials.tokenizer),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _result(loaded: Loaded, found: Outcome, trainer: PDRTrainer) -> dict[str, Any]:
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
            **{name: last.get(name) for name in _LOGGED},
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
        "machine": {**machine(trainer.args.device), "processes": trainer.args.world_size},
        "config": {name: value for name, value in vars(config).items() if value is not None},
    }
