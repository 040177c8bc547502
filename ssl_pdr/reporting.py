"""What TensorBoard, MLflow and Weights & Biases are told of a run, by the Trainer's own integrations, and where they keep it.

Everything lies in the run's folder: `tensorboard/`, `mlflow.db`, `wandb/`. A server that the environment names (`MLFLOW_TRACKING_URI`)
and what else the libraries read from it (`WANDB_PROJECT`, `WANDB_MODE`, …) wins. Only the leading process reports.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.integrations import TensorBoardCallback, get_reporting_integration_callbacks

from ssl_pdr.config import TrainConfig
from ssl_pdr.errors import ConfigError
from ssl_pdr.files import atomic_write
from ssl_pdr.processes import Processes

_INSTALL = {"tensorboard": "'ssl-pdr[tensorboard]'"}
# Where a run is found again that goes on: by the numbers that trackers gave it.
_KNOWN = "reports.json"
# Of a run that goes on they may differ, and trackers keep the first value for good.
_UNTOLD = ("output", "split", "report_to")

# How a tracker that is open is told of values.
_Tell = Callable[[Mapping[str, float]], None]


def check_reporters(config: TrainConfig) -> None:
    """Refuse to report to what is not installed.

    Raises:
        ConfigError: with what to install.

    Example:
        >>> check_reporters(TrainConfig())
    """
    for name in config.report_to or ():
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder that is called like it, as wandb leaves one, is no package
            raise ConfigError(
                f"--report-to {name}: {name} is not installed; run: pip install {_INSTALL.get(name, name)}"
            )


class ReportedArguments(TrainingArguments):
    """Training arguments that show a run's configuration too, as `ssl_pdr/NAME`: integrations log them as hyperparameters."""

    def of(self, config: TrainConfig) -> ReportedArguments:
        """The same arguments, with this configuration."""
        told = {name: value for name, value in vars(config).items() if value is not None and name not in _UNTOLD}
        self._told = {f"ssl_pdr/{name}": list(v) if isinstance(v, tuple) else v for name, v in told.items()}
        return self

    def to_dict(self) -> dict[str, Any]:
        """All values, of which JSON can be made; not where the run lies, which it may leave."""
        made = {**super().to_dict(), **getattr(self, "_told", {})}
        del made["output_dir"]
        return made


@contextmanager
def reporting(
    trainer: Any, folder: Path, step: int, processes: Processes, warn: Callable[[str], object]
) -> Iterator[None]:
    """While open, the integrations of a trainer write into a run's folder, and go on there where the run goes on.

    Args:
        trainer: a `transformers.Trainer`, before it trains; its `args.report_to` says to whom.
        folder: of the run.
        step: optimizer steps that the run has taken: at 0 what an earlier run reported is removed, later on the steps that were
            lost are.
        processes: of the run.
        warn: told of one that could not be closed; the training that it was told of is done, and is not lost for that.

    Raises:
        ConfigError: where one of them cannot be reached.
    """
    with ExitStack() as stack:
        if trainer.args.report_to:  # trackers greet and take leave on stdout, which is the result's alone
            stack.enter_context(redirect_stdout(sys.stderr))
        if step == 0:
            processes.lead(lambda: _clear(folder))
        for name, place in _PLACES.items():
            if name in trainer.args.report_to:
                processes.lead(
                    lambda name=name, place=place: _open(stack, name, place(trainer, folder, step), warn)  # type: ignore[misc]
                )
        try:
            yield
        finally:  # it is told of training alone; what is predicted later would find it closed
            for integration in get_reporting_integration_callbacks(
                [name for name in _PLACES if name in trainer.args.report_to]
            ):
                trainer.remove_callback(integration)


def report_scores(trainer: Any, folder: Path, scores: Mapping[str, Any]) -> None:
    """Tell those that were told of a training how well it went, as `eval/SET/METRIC` at its last step.

    Args:
        trainer: that has trained.
        folder: of the run.
        scores: numbers, or such mappings again; what is no number is left out.

    Raises:
        ConfigError: where one of them cannot be reached.
    """
    values = dict(_flat("eval", scores))
    for name in filter(_PLACES.__contains__, trainer.args.report_to):
        try:
            with redirect_stdout(sys.stderr), _PLACES[name](trainer, folder, trainer.state.global_step) as tell:
                tell(values)
        except Exception as error:
            raise _unreachable(name, error) from error


def _flat(name: str, scores: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for key, value in scores.items():
        inner = f"{name}/" + re.sub(r"[^\w. -]", "_", key)  # MLflow takes no other characters
        if isinstance(value, Mapping):
            yield from _flat(inner, value)
        elif isinstance(value, (int, float)):
            yield inner, float(value)


def _open(stack: ExitStack, name: str, place: AbstractContextManager[_Tell], warn: Callable[[str], object]) -> None:
    try:
        place.__enter__()
    except Exception as error:
        raise _unreachable(name, error) from error

    def close(*raised: Any) -> None:
        try:
            place.__exit__(*raised)
        except Exception as error:  # noqa: BLE001  # not what ended the training: `place` lets that through
            warn(f"what was reported last may be missing: {_unreachable(name, error)}")

    stack.push(close)


def _unreachable(name: str, error: Exception) -> ConfigError:
    """A server can answer anything, a disk be full; it is one line for the user."""
    reason = " ".join(str(error).split())[:200]
    return ConfigError(f"--report-to {name}: {reason} ({type(error).__name__}); mend it, or leave it out")


def _clear(folder: Path) -> None:
    for name in ("tensorboard", "mlruns", "wandb"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("mlflow.db", _KNOWN):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _tensorboard(trainer: Any, folder: Path, step: int) -> Iterator[_Tell]:
    from torch.utils.tensorboard import SummaryWriter

    # Left to itself, the integration makes a folder of its own for each start, and shows lost steps twice.
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.tb_writer = writer

    def tell(values: Mapping[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    try:
        yield tell
    finally:
        writer.close()


@contextmanager
def _mlflow(trainer: Any, folder: Path, step: int) -> Iterator[_Tell]:
    import mlflow

    here = not mlflow.is_tracking_uri_set()
    if here:
        mlflow.set_tracking_uri(f"sqlite:///{folder.absolute() / 'mlflow.db'}")
    try:
        nested = mlflow.active_run() is not None
        with mlflow.start_run(run_id=_known(folder, "mlflow"), run_name=folder.name, nested=nested) as run:
            _remember(folder, "mlflow", run.info.run_id)
            yield lambda values: mlflow.log_metrics(dict(values), step=step)
    finally:
        if here:
            mlflow.set_tracking_uri(None)


@contextmanager
def _wandb(trainer: Any, folder: Path, step: int) -> Iterator[_Tell]:
    import wandb

    def tell(values: Mapping[str, float]) -> None:
        wandb.log({**values, "train/global_step": step})  # as the integration counts steps

    if wandb.run is not None:  # somebody else's, who will end it
        yield tell
        return
    project = os.environ.get("WANDB_PROJECT", "ssl-pdr")
    with wandb.init(
        dir=str(folder), project=project, name=folder.name, id=_known(folder, "wandb"), resume="allow"
    ) as run:
        _remember(folder, "wandb", run.id)
        yield tell


_PLACES: dict[str, Callable[[Any, Path, int], AbstractContextManager[_Tell]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}


def _known(folder: Path, name: str) -> str | None:
    try:
        return str(json.loads((folder / _KNOWN).read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(folder: Path, name: str, number: str) -> None:
    known = {other: found for other in _PLACES if (found := _known(folder, other)) is not None}
    atomic_write(folder / _KNOWN, json.dumps({**known, name: number}) + "\n")
