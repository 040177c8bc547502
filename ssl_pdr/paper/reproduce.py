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
from ssl_pdr.data.evaluation_sets import set_name
from ssl_pdr.errors import DataError, InterruptedRunError, NonFiniteLossError, OutputError, PDRError
from ssl_pdr.evaluation import evaluate_model
from ssl_pdr.files import atomic_write
from ssl_pdr.model_card import without_places
from ssl_pdr.paper.plan import Plan, PlannedRun, differences
from ssl_pdr.paper.sets import LookedAt, has_scores, look_at_sets
from ssl_pdr.paper.sharing import places, without_paths
from ssl_pdr.paper.tables import NOT_EVALUATED, make_figure, make_table, markdown, markdown_drops, missing_cells
from ssl_pdr.progress import Listener, Silent
from ssl_pdr.provenance import versions
from ssl_pdr.run_folder import RunFolder

_EVALUATED = "evaluation_fingerprints"


def reproduce(plan: Plan, listener: Listener | None = None) -> dict[str, Any]:
    """Make the runs of a plan that are not finished, and write `table….json` and `table….md` into its folder.

    A run that is finished is read, one that was broken off goes on from its checkpoint, and one that fails leaves its
    cells empty, with the reason. The two files are to be passed on: they do not say where on this machine things lie.

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
    outcomes = _to_pass_on(plan, carry_out(plan, listener))
    figure = make_figure(plan, outcomes) if plan.target in plan.grid.figures else None
    tables = figure["tables"] if figure else [make_table(plan, plan.target, outcomes)]
    missing = {name: reason for table in tables for name, reason in missing_cells(table).items()}
    made = [(run, outcome) for run in plan.runs if not isinstance(outcome := outcomes[run.folder], str)]
    warnings = _warnings(plan, made)
    for warning in warnings:
        listener.warn(warning)
    content = {
        **(figure or tables[0]),
        "model": plan.model,
        "asked": _as_json(without_places(plan.asked)),
        "seeds": list(plan.seeds),
        "missing": missing,
        "left_out": dict(plan.left_out),
        "warnings": warnings,
        "runs": [_summary(plan, run, result) for run, result in made],
        "versions": versions(),
    }
    atomic_write(Path(f"{plan.stem}.json"), json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    texts = [markdown_drops(figure, plan.model)] if figure else []
    texts += [markdown(table, plan.model) for table in tables]
    atomic_write(Path(f"{plan.stem}.md"), "\n".join(texts))
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
    # Before anything is trained: what cannot be used is known at once.
    found = {run.folder: result for run in runs if (result := read_finished(run)) is not None}
    outcomes: dict[Path, dict[str, Any] | str] = dict(found)
    broken: dict[Sequence[str], str] = {}
    sets = _Sets(listener)
    for number, run in enumerate(runs, start=1):
        finished = found.get(run.folder)
        known = next((broken[scope] for scope in _scopes(run) if scope in broken), None)
        if finished is None and known is not None:
            outcomes[run.folder] = known
            continue
        try:
            if finished is None:
                listener.stage(f"run {number} of {len(runs)}: {run.folder}")
                outcomes[run.folder] = finished = _make(run, sets, listener)
            outcomes[run.folder] = _completed(run, finished, sets, listener)
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


class _Sets:
    """The sets to evaluate on as they are now, looked at once for each task.

    Args:
        listener: told of those that cannot be read.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.known: dict[str, LookedAt] = {}

    def of(self, run: PlannedRun) -> LookedAt:
        """Those of the task of a run."""
        if run.task not in self.known:
            self.known[run.task] = look_at_sets(run.config)
            for spec, reason in self.known[run.task].missing.items():
                self.listener.warn(f"{run.task} goes without {set_name(spec)}: {reason}")
        return self.known[run.task]


def _make(run: PlannedRun, sets: _Sets, listener: Listener) -> dict[str, Any]:
    folder = RunFolder(run.folder)
    if folder.last_checkpoint() is not None:
        _check_same(folder.read_config().resolved(), run)
        result = experiment.resume(run.folder, listener)
    else:  # what may be there was broken off before its first checkpoint
        missing = sets.of(run).missing
        there = tuple(spec for spec in run.config.eval_on or () if spec not in missing) or None
        result = experiment.train(dataclasses.replace(run.config, eval_on=there), listener, overwrite=True)
    if folder.checkpoints.is_dir():  # they only serve to go on; a grid of large models would fill the disk with them
        shutil.rmtree(folder.checkpoints)
    return result


def _completed(run: PlannedRun, result: dict[str, Any], sets: _Sets, listener: Listener) -> dict[str, Any]:
    """A finished run, with its scores on sets that were not there when it was trained."""
    lacking = [spec for spec in run.config.eval_on or () if not has_scores(spec, result["scores"])]
    if not lacking:
        return result
    now = sets.of(run)
    trained = dataclasses.replace(run.config, model=str(RunFolder(run.folder).model))
    scores, fingerprints = dict(result["scores"]), dict(result["data"].get(_EVALUATED, {}))
    reasons: dict[str, str] = {}
    for spec in lacking:
        name = set_name(spec)
        folder = RunFolder(run.folder).later / name
        later = _read_later(folder)
        if later is not None and now.digests.get(spec, later[1]) != later[1]:
            listener.warn(f"{name} has changed since {run.folder} was evaluated on it; it is evaluated anew")
            shutil.rmtree(folder)
            later = None
        if later is None and spec in now.missing:
            reasons[name] = now.missing[spec]
            continue
        if later is None:
            later = _facts(evaluate_model(trained, [spec], listener, output=folder))
        scores |= later[0]
        fingerprints |= later[1]
    return {
        **result,
        "scores": scores,
        "data": {**result["data"], _EVALUATED: fingerprints},
        NOT_EVALUATED: reasons,
    }


def _read_later(folder: Path) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Scores of an evaluation after the training, and the fingerprints of its sets; None if it is not there, or not whole."""
    try:
        return _facts(json.loads((folder / "scores.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _facts(evaluation: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    return evaluation["scores"], {name: facts["fingerprint"] for name, facts in evaluation["data"].items()}


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
    """Runs that stand side by side have to be of the same data, and to have been evaluated on the same rows."""
    warnings = []
    for task in plan.grid.tasks:
        seen: dict[str, set[str]] = {}
        for data in (result["data"] for run, result in made if run.task == task):
            for state in (("", data["fingerprint"]), *data.get(_EVALUATED, {}).items()):
                seen.setdefault(state[0], set()).add(state[1])
        for name, states in seen.items():
            of = (
                f"were evaluated on {len(states)} states of {name}"
                if name
                else f"are of {len(states)} states of the data"
            )
            if len(states) > 1:
                warnings.append(
                    f"the runs on {task} {of} (their fingerprints differ), so their scores cannot be compared; remove the "
                    "older ones to run them anew"
                )
    return warnings


def _to_pass_on(plan: Plan, outcomes: dict[Path, dict[str, Any] | str]) -> dict[Path, dict[str, Any] | str]:
    """Outcomes whose reasons can be passed on."""
    known = places(run.config for run in plan.runs)
    clean: dict[Path, dict[str, Any] | str] = {}
    for folder, outcome in outcomes.items():
        if isinstance(outcome, str):
            clean[folder] = without_paths(outcome, known)
        else:
            reasons = outcome.get(NOT_EVALUATED, {}).items()
            clean[folder] = {**outcome, NOT_EVALUATED: {name: without_paths(why, known) for name, why in reasons}}
    return clean


def _summary(plan: Plan, run: PlannedRun, result: dict[str, Any]) -> dict[str, Any]:
    """What a reader of a table wants to know of one of its runs."""
    kept = ("scores", "budget", "seeds", "timing", "versions", "machine")
    folder = plan.name_of(run)
    return {
        "folder": folder,
        "task": run.task,
        "data_fingerprint": result["data"]["fingerprint"],
        _EVALUATED: result["data"].get(_EVALUATED, {}),
        "split_hash": result["split_hash"],
        **{key: result[key] for key in kept if key in result},
        "config": {**without_places(result["config"]), "output": folder},
    }


def _as_json(keys: dict[str, Any]) -> dict[str, Any]:
    """Keys as a JSON file gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()}
