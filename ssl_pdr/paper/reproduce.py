"""Make a table of the paper: the runs that are not there yet, one after another, then its figures on disk."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_pdr import experiment
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.errors import DataError, InterruptedRunError, NonFiniteLossError, OutputError, PDRError
from ssl_pdr.evaluation import evaluate_model
from ssl_pdr.files import atomic_write
from ssl_pdr.paper.plan import Plan, PlannedRun, differences
from ssl_pdr.paper.sets import part_name, unreadable_sets
from ssl_pdr.paper.tables import NOT_EVALUATED, make_figure, make_table, markdown, markdown_drops, missing_cells
from ssl_pdr.progress import Listener, Silent
from ssl_pdr.provenance import versions
from ssl_pdr.run_folder import RunFolder


def reproduce(plan: Plan, listener: Listener | None = None) -> dict[str, Any]:
    """Make the runs of a plan that are not finished, and write `table….json` and `table….md` into its folder.

    A run that is finished is read, one that was broken off goes on from its checkpoint, and one that fails leaves its
    cells empty, with the reason.

    Args:
        plan: of a table or figure.
        listener: told of every run.

    Returns:
        The content of the JSON file; `missing` says which columns have empty cells, and why.

    Raises:
        InterruptedRunError: after Ctrl-C; the same plan goes on where it stopped.
        OutputError: for a folder that holds another run, or that cannot be written.
    """
    listener = listener or Silent()
    outcomes = carry_out(plan, listener)
    figure = make_figure(plan, outcomes) if plan.target in plan.grid.figures else None
    tables = figure["tables"] if figure else [make_table(plan, plan.target, outcomes)]
    missing = {name: reason for table in tables for name, reason in missing_cells(table).items()}
    made = [(run, outcome) for run in plan.runs if not isinstance(outcome := outcomes[run.folder], str)]
    warnings = _warnings(plan, made)
    for warning in warnings:
        listener.warn(warning)
    content = {
        **(figure or tables[0]),
        "model": plan.folder.name,
        "seeds": list(plan.seeds),
        "missing": missing,
        "left_out": dict(plan.left_out),
        "warnings": warnings,
        "runs": [_summary(run, result) for run, result in made],
        "versions": versions(),
    }
    atomic_write(plan.folder / f"{plan.target}.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    texts = [markdown_drops(figure, plan.folder.name)] if figure else []
    texts += [markdown(table, plan.folder.name) for table in tables]
    atomic_write(plan.folder / f"{plan.target}.md", "\n".join(texts))
    return content


def carry_out(plan: Plan, listener: Listener) -> dict[Path, dict[str, Any] | str]:
    """Make the runs of a plan that are not finished.

    Returns:
        The folder of each run → its result, or why it has none.

    Raises:
        InterruptedRunError: after Ctrl-C.
        OutputError: for a folder that holds another run.
    """
    runs = plan.runs
    outcomes: dict[Path, dict[str, Any] | str] = {}
    for run in runs:  # before anything is trained: what cannot be used is known at once
        if (result := read_finished(run)) is not None:
            outcomes[run.folder] = result
    broken: dict[Sequence[str], str] = {}
    absent = _Absent(listener)
    for number, run in enumerate(runs, start=1):
        finished = outcomes.get(run.folder)
        known = next((broken[scope] for scope in _scopes(run) if scope in broken), None)
        if finished is None and known is not None:
            outcomes[run.folder] = known
            continue
        try:
            if isinstance(finished, dict):
                outcomes[run.folder] = _completed(run, finished, absent, listener)
                continue
            listener.stage(f"run {number} of {len(runs)}: {run.folder}")
            outcomes[run.folder] = _make(run, absent, listener)
        except (InterruptedRunError, KeyboardInterrupt):
            done = sum(RunFolder(run.folder).finished for run in runs)
            raise InterruptedRunError(
                f"stopped in {run.folder}, {done} of {len(runs)} runs are finished; the same command goes on there"
            ) from None
        except PDRError as error:
            listener.warn(f"{run.folder}: {error}")
            if finished is not None:  # its other scores stand
                continue
            outcomes[run.folder] = str(error)
            if (scope := _scope(error, run)) is not None:
                broken[scope] = str(error)
    return outcomes


def read_finished(run: PlannedRun) -> dict[str, Any] | None:
    """The result of a run that is finished; None if it is not.

    Raises:
        OutputError: if the folder holds a run of another configuration, or its result cannot be read.
    """
    folder = RunFolder(run.folder)
    if not folder.finished:
        return None
    try:
        result: dict[str, Any] = json.loads(folder.result.read_text(encoding="utf-8"))
        config = make_config(_as_fields(result["config"]))
        result["scores"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(f"{folder.result} cannot be read as a result; remove {folder.path} to run it anew") from None
    _check_same(config, run)
    return result


class _Absent:
    """The sets that cannot be evaluated on, looked for once for each task.

    Args:
        listener: told of them.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.known: dict[str, dict[str, str]] = {}

    def of(self, run: PlannedRun) -> dict[str, str]:
        """Those of the task of a run, with the reasons."""
        if run.task not in self.known:
            self.known[run.task] = unreadable_sets(run.config)
            for spec, reason in self.known[run.task].items():
                self.listener.warn(f"{run.task} goes without {part_name(spec)}: {reason}")
        return self.known[run.task]


def _make(run: PlannedRun, absent: _Absent, listener: Listener) -> dict[str, Any]:
    folder = RunFolder(run.folder)
    missing = absent.of(run)
    if folder.last_checkpoint() is not None:
        _check_same(folder.read_config().resolved(), run)
        result = experiment.resume(run.folder, listener)
    else:  # what may be there was broken off before its first checkpoint
        there = tuple(spec for spec in run.config.eval_on or () if spec not in missing) or None
        result = experiment.train(dataclasses.replace(run.config, eval_on=there), listener, overwrite=True)
    result = {**result, NOT_EVALUATED: {part_name(spec): reason for spec, reason in missing.items()}}
    if folder.checkpoints.is_dir():  # they only serve to go on; a grid of large models would fill the disk with them
        shutil.rmtree(folder.checkpoints)
    return result


def _completed(run: PlannedRun, result: dict[str, Any], absent: _Absent, listener: Listener) -> dict[str, Any]:
    """A finished run, with its scores on sets that were not there when it was trained."""
    lacking = [spec for spec in run.config.eval_on or () if part_name(spec) not in result["scores"]]
    if not lacking:
        return result
    missing = absent.of(run)
    scores = dict(result["scores"])
    trained = dataclasses.replace(run.config, model=str(RunFolder(run.folder).model))
    for spec in (spec for spec in lacking if spec not in missing):
        folder = run.folder / "later" / part_name(spec)
        try:
            later = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["scores"]
        except (OSError, ValueError, KeyError, TypeError):  # not there, or not whole
            later = evaluate_model(trained, [spec], listener, output=folder)["scores"]
        scores |= later
    reasons = {part_name(spec): reason for spec, reason in missing.items() if spec in lacking}
    return {**result, "scores": scores, NOT_EVALUATED: reasons}


def _check_same(found: TrainConfig, run: PlannedRun) -> None:
    if keys := differences(found, run.config):
        raise OutputError(
            f"{run.folder} holds a run of another configuration ({', '.join(keys)} differ); choose another --output, or "
            "remove it"
        )


def _as_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Keys as JSON has them, as `TrainConfig` takes them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in config.items()}


def _scope(error: PDRError, run: PlannedRun) -> Sequence[str] | None:
    """What else fails for the same reason: a set that cannot be read, all runs on it; a loss that diverged, no other."""
    if isinstance(error, NonFiniteLossError):
        return None
    return (run.task,) if isinstance(error, DataError) else _scopes(run)[1]


def _scopes(run: PlannedRun) -> tuple[Sequence[str], Sequence[str]]:
    return (run.task,), (run.task, run.config.reg, run.config.div, run.config.model)


def _warnings(plan: Plan, made: list[tuple[PlannedRun, dict[str, Any]]]) -> list[str]:
    """Runs that stand side by side have to be of the same data."""
    warnings = []
    for task in plan.grid.tasks:
        seen = {result["data"]["fingerprint"] for run, result in made if run.task == task}
        if len(seen) > 1:
            warnings.append(
                f"the runs on {task} are of {len(seen)} states of the data (their fingerprints differ), so their scores "
                "cannot be compared; remove the older ones to run them anew"
            )
    return warnings


def _summary(run: PlannedRun, result: dict[str, Any]) -> dict[str, Any]:
    """What a reader of a table wants to know of one of its runs."""
    kept = ("scores", "budget", "seeds", "timing", "versions", "machine", "config")
    return {
        "folder": str(run.folder),
        "task": run.task,
        "data_fingerprint": result["data"]["fingerprint"],
        "split_hash": result["split_hash"],
        **{key: result[key] for key in kept if key in result},
    }
