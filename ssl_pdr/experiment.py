"""One run: configuration → data → model → training → evaluation → a result on disk."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from accelerate.utils import release_memory

from ssl_pdr.baseline import tfidf_baseline
from ssl_pdr.checkpoints import last_whole, step_of
from ssl_pdr.choices import CLASSIFICATION
from ssl_pdr.concerns import after_training
from ssl_pdr.config import TrainConfig
from ssl_pdr.data.splits import LabelSplit
from ssl_pdr.determinism import determinism
from ssl_pdr.errors import ConfigError, DataError, OutOfMemoryError, OutputError
from ssl_pdr.evaluation import Outcome, evaluate
from ssl_pdr.files import held
from ssl_pdr.fitting import fit, how_on, make_trainer
from ssl_pdr.interrupts import stopped
from ssl_pdr.loading import Loaded, load
from ssl_pdr.methods import build_regularizer
from ssl_pdr.model_card import model_card
from ssl_pdr.processes import Processes, join
from ssl_pdr.progress import Listener, Recorder, RunCallback, Silent
from ssl_pdr.reporting import check_reporters, report_scores, reporting
from ssl_pdr.result import result_of
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks import QuestionAnswering
from ssl_pdr.tasks.base import Scores
from ssl_pdr.trainer import PDRTrainer


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
    check_reporters(config)
    with ExitStack() as stack:
        replaces = processes.lead(lambda: _make_room(config, folder, stack, overwrite=overwrite))

        def begin() -> dict[str, Any]:
            loaded = _load_alike(config, listener, processes)
            processes.lead(lambda: _begin(loaded, folder, clear=replaces))
            return _run(loaded, folder, listener, processes, checkpoint=None)

        return _within_memory(begin, folder, listener, processes)


def resume(path: str | Path, listener: Listener | None = None) -> dict[str, Any]:
    """Go on with an unfinished run from its last whole checkpoint; from the beginning where there is none.

    It ends with the weights and the log of a run that was never stopped, to the last bit on a CPU with the same versions.

    It may go on in another number of processes than it began in.

    Args:
        path: the run's folder.
        listener: told of stages, steps and logs.

    Raises:
        PDRError: if there is no run, it is finished, or its data changed.
    """
    processes = join()
    folder = RunFolder(Path(path))
    listener = _heard(listener, processes)
    with ExitStack() as stack:
        processes.lead(lambda: _take(folder, stack))
        return _within_memory(lambda: _resume(folder, listener, processes), folder, listener, processes)


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
    steady = determinism(wanted=config.deterministic, seed=config.seed)
    with steady, tempfile.TemporaryDirectory(prefix="ssl_pdr_") as place:
        trainer = make_trainer(loaded, Path(place), alone, save=False)
        recorder = Recorder(listener)
        trainer.add_callback(recorder)
        listener.stage("training")
        steps = int(trainer.train().global_step)
        trained = time.perf_counter()
        found = _evaluate(loaded, trainer, listener, shelf)
    _tell_concerns(loaded, found, trainer, listener)
    if baseline:
        found.baseline.update(_baseline(loaded, listener))
    timing = {
        "load_seconds": round(ready - began, 2),
        "train_seconds": round(trained - ready, 2),
        "evaluate_seconds": round(time.perf_counter() - trained, 2),
        "steps": steps,
    }
    return {**result_of(loaded, found, trainer), "timing": timing, "log": recorder.entries}


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


def _make_room(config: TrainConfig, folder: RunFolder, stack: ExitStack, *, overwrite: bool) -> bool:
    """See that the run has its folder for itself; whether an older run has to leave it, once the new one is loaded."""
    folder.check_free(overwrite=overwrite)
    if overwrite and folder.path.resolve() in Path(config.model).resolve().parents:
        raise OutputError(
            f"--overwrite would delete the model {config.model} that the run begins from; choose another --output"
        )
    folder.create()
    stack.enter_context(held(folder.path))
    folder.check_free(overwrite=overwrite)  # somebody else may have had it until now
    if overwrite and folder.config.is_file():
        return True
    folder.write_config(config)
    return False


def _begin(loaded: Loaded, folder: RunFolder, *, clear: bool) -> None:
    if clear:
        folder.clear()
    folder.write_config(loaded.config)
    loaded.materials.split.save(folder.split)
    folder.forget_after(0)  # a run that was killed before its first checkpoint has left its log


def _config_of(folder: RunFolder) -> TrainConfig:
    return folder.with_own_split(folder.read_config().resolved())


def _take(folder: RunFolder, stack: ExitStack) -> None:
    """See that there is a run to go on with, and have its folder for this one alone."""
    folder.read_config()
    stack.enter_context(held(folder.path))


def _resume(folder: RunFolder, listener: Listener, processes: Processes) -> dict[str, Any]:
    config, checkpoint, warnings = processes.lead(lambda: _found(folder, listener))
    _check_batch(config, processes)
    check_reporters(config)
    loaded = _load_alike(config, listener, processes)
    loaded.materials.warnings.extend(warnings)
    processes.lead(lambda: _go_on(loaded, folder, checkpoint))
    return _run(loaded, folder, listener, processes, checkpoint=checkpoint)


def _within_memory(
    run: Callable[[], dict[str, Any]], folder: RunFolder, listener: Listener, processes: Processes
) -> dict[str, Any]:
    """Run; with `auto_batch`, where a step does not fit into memory, again from the last checkpoint in parts of half the size."""
    while True:
        try:
            return run()
        except OutOfMemoryError:
            config = _config_of(folder)
            parts = 2 * config.accumulation
            if not config.auto_batch or processes.count > 1 or config.batch_size % parts:
                raise
        # Only now has the error let go of the step's tensors.
        release_memory()
        folder.write_config(dataclasses.replace(config, accumulation=parts))
        listener.warn(
            f"out of memory: each step's {config.batch_size} rows go through the model {config.batch_size // parts} at a time now"
        )
        run = partial(_resume, folder, listener, processes)


def _found(folder: RunFolder, listener: Listener) -> tuple[TrainConfig, Path | None, list[str]]:
    """What a run was and where it goes on, and what to know of checkpoints that cannot be used."""
    config = _config_of(folder)
    checkpoint, wrong = last_whole(folder.checkpoints)
    for warning in wrong:
        listener.warn(warning)
    listener.stage(f"going on from {checkpoint.name}" if checkpoint else "there is no checkpoint: beginning anew")
    return config, checkpoint, wrong


def _go_on(loaded: Loaded, folder: RunFolder, checkpoint: Path | None) -> None:
    if folder.split.is_file() and LabelSplit.load(folder.split) != loaded.materials.split:
        raise DataError(
            f"the data of {folder.path} changed since the run began (its label split differs); start a new run"
        )
    loaded.materials.split.save(folder.split)
    folder.forget_after(step_of(checkpoint) if checkpoint else 0)


def _load_alike(config: TrainConfig, listener: Listener, processes: Processes) -> Loaded:
    loaded = processes.each(lambda: load(config, listener))
    seen = (loaded.materials.fingerprint, loaded.materials.split.hash)
    processes.agree(seen, f"the processes do not read the same data from {config.data}; give all of them the same")
    return loaded


def _run(
    loaded: Loaded, folder: RunFolder, listener: Listener, processes: Processes, *, checkpoint: Path | None
) -> dict[str, Any]:
    """Train, evaluate, and write what was found."""
    with determinism(wanted=loaded.config.deterministic, seed=loaded.config.seed):
        return _trained_and_evaluated(loaded, folder, listener, processes, checkpoint)


def _trained_and_evaluated(
    loaded: Loaded, folder: RunFolder, listener: Listener, processes: Processes, checkpoint: Path | None
) -> dict[str, Any]:
    began = time.perf_counter()
    trainer = processes.each(lambda: make_trainer(loaded, folder.checkpoints, processes))
    with reporting(trainer, folder.path, step_of(checkpoint) if checkpoint else 0, processes, listener.warn):
        steps = fit(trainer, RunCallback(folder, listener, processes), checkpoint)
    trained = time.perf_counter()
    processes.lead(lambda: _save(loaded, folder))
    try:
        with processes.alone():
            found = _evaluate(loaded, trainer, listener)
        found.baseline.update(processes.lead(lambda: _baseline(loaded, listener)))
    except KeyboardInterrupt as signal:
        raise stopped(f"stopped while evaluating, the model is trained; {how_on(folder)}", signal) from None
    timing = {
        "train_seconds": round(trained - began, 2),
        "evaluate_seconds": round(time.perf_counter() - trained, 2),
        "steps": steps,
        "resumed_from_step": step_of(checkpoint) if checkpoint else None,
    }
    return processes.lead(lambda: _finish(loaded, found, trainer, folder, listener, timing))


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
    _tell_concerns(loaded, found, trainer, listener)
    result = {**result_of(loaded, found, trainer), "timing": timing}
    model_card(folder.model, result)
    folder.write_result(result)
    try:
        report_scores(trainer, folder.path, result["scores"])
    except ConfigError as error:  # the work is done, and is not lost for that
        listener.warn(f"the scores were not reported: {error}")
    return result


def _tell_concerns(loaded: Loaded, found: Outcome, trainer: PDRTrainer, listener: Listener) -> None:
    """Tell what came to light while training, and keep it for the result."""
    leaks = loaded.materials.count_streams()
    new = after_training(loaded.config, loaded.materials.split, trainer.state.log_history, found.predictions)
    loaded.concerns.extend(new)
    for warning in (*leaks, *new):
        listener.warn(warning)


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
    if loaded.config.task != CLASSIFICATION:
        return {}
    listener.stage("baseline: tf-idf and logistic regression")
    corpus, labelled = loaded.materials.corpus, loaded.materials.split.labelled.tolist()
    alike = {one.name: one.rows for one in loaded.sets if list(one.label_names) == corpus.label_names}
    try:
        return tfidf_baseline(corpus.train, labelled, alike)
    except DataError as error:  # the model is trained and evaluated; it does without
        loaded.concerns.append(f"there is no baseline: {error}; compare with --reg none instead")
        listener.warn(loaded.concerns[-1])
        return {}
