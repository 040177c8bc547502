"""From the Trainer's callbacks to a run's log, to its checkpoints' seals and to whoever is watching."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from transformers import TrainerCallback

from ssl_pdr.checkpoints import PREFIX, keep_newest, publish, unfinished
from ssl_pdr.processes import Processes
from ssl_pdr.run_folder import RunFolder
from ssl_pdr.run_log import finite


class Listener(Protocol):
    """Who wants to know how a run is getting on."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def warn(self, text: str) -> None:
        """Something to know before believing the result."""

    def step(self, step: int, steps: int) -> None:
        """So many optimizer steps of so many are done."""

    def log(self, logs: dict[str, Any]) -> None:
        """Parts of the loss since the last log."""


class Silent:
    """A listener that does nothing."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def warn(self, text: str) -> None:
        """Ignore it; the result has it too."""

    def step(self, step: int, steps: int) -> None:
        """Ignore it."""

    def log(self, logs: dict[str, Any]) -> None:
        """Ignore them."""


class Recorder(TrainerCallback):
    """Keep the parts of the loss of a run that writes nothing, and tell the listener of its steps.

    Args:
        listener: told of steps and logs.

    Attributes:
        entries: one for each logged step.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.entries: list[dict[str, Any]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on."""
        self.listener.step(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Keep an entry."""
        if logs is not None and "ce" in logs:
            self.entries.append(finite({"step": state.global_step, **logs}))
            self.listener.log(self.entries[-1])


class RunCallback(TrainerCallback):
    """Write `log.jsonl`, tell the listener, and stop with a checkpoint when asked to.

    Args:
        folder: of the run.
        listener: told of steps and logs.
        processes: of the run; the leading one writes, and all stop where one is asked to.
    """

    def __init__(self, folder: RunFolder, listener: Listener, processes: Processes) -> None:
        self.folder = folder
        self.listener = listener
        self.processes = processes
        self.interrupted = False
        self.signal: int | None = None

    def ask_to_stop(self, number: int) -> None:
        """Stop after the step under way, with a checkpoint; for a signal's handler."""
        self.interrupted, self.signal = True, number
        again = "" if number == signal.SIGTERM else " (Ctrl-C again: at once, without)"
        self.listener.stage(f"stopping after this step, with a checkpoint{again}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell where training begins: not at 0 after a resume."""
        self.listener.step(state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move on; stop here if asked to."""
        self.listener.step(state.global_step, state.max_steps)
        # A signal reaches each process at a time of its own; stopping at different steps, they would wait for ever.
        self.interrupted = self.processes.any(self.interrupted)
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """One line of `log.jsonl`."""
        if logs is None or "ce" not in logs or not self.processes.leads:
            return
        entry = finite({"step": state.global_step, "epoch": round(state.epoch, 4), **logs})
        with self.folder.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=False) + "\n")
        self.listener.log(entry)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave no empty folder behind."""
        if self.processes.leads:
            with suppress(OSError):
                unfinished(self.folder.checkpoints).rmdir()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Publish the checkpoint once all processes have written their part, and let go of the oldest."""
        self.processes.any(False)  # waits for all
        if not self.processes.leads:
            return
        if self.folder.log.is_file():  # what a checkpoint comes after has to be as safe as it is
            with self.folder.log.open("rb+") as file:
                os.fsync(file.fileno())
        publish(Path(args.output_dir) / f"{PREFIX}{state.global_step}")
        keep_newest(self.folder.checkpoints)
