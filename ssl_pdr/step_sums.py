"""Parts of the loss, summed over the optimizer steps between two logs, on the device and over checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ssl_pdr.checkpoints import unreadable
from ssl_pdr.objective import Counts, LossParts

if TYPE_CHECKING:
    from ssl_pdr.trainer import PDRTrainer

SUMS_FILE = "sums.safetensors"


class StepSums:
    """Sums that wait on the device until they are logged; a checkpoint between two logs keeps them.

    So the log of a run that was stopped and resumed is that of one that was not.
    """

    def __init__(self) -> None:
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[int, Counts] = {}
        self._measured: dict[str, set[int]] = {}

    def add(self, step: int, counts: Counts, parts: LossParts, measured: dict[str, Tensor]) -> None:
        """Take a micro-batch in.

        Args:
            step: optimizer steps done before.
            counts: of the whole step.
            parts: of the micro-batch's loss.
            measured: the micro-batch's shares in what is not measured in every step.
        """
        self._counts[step] = counts
        for name in measured:
            self._measured.setdefault(name, set()).add(step)
        ours = {"loss": parts.loss.detach(), "ce": parts.ce, "r": parts.regularization, "correct": parts.correct}
        for name, value in {**ours, **measured}.items():
            self._totals[name] = self._totals.get(name, torch.zeros_like(value)) + value

    def note(self, step: int, name: str, value: float) -> None:
        """Take in what was measured beside the loss, once in a step; on every process, as sums over all are logged."""
        self._measured.setdefault(name, set()).add(step)
        self._totals[name] = self._totals.get(name, torch.zeros((), dtype=torch.float64)) + value

    def drain(self, trainer: PDRTrainer) -> dict[str, float]:
        """Means over the steps and over all processes, of which there may be none; starts anew."""
        if not self._counts:
            return {}
        self._gather(trainer)
        totals, counts, measured = self._totals, list(self._counts.values()), self._measured
        self.__init__()  # type: ignore[misc]
        step = Counts(sum(c.labelled for c in counts), sum(c.rows for c in counts))
        logs = {
            "loss": float(totals["loss"]) / len(counts),
            "ce": float(totals["ce"]) / len(counts),
            "r": float(totals["r"]) / len(counts),
            "accuracy": float(totals["correct"]) / max(step.labelled, 1),
            "labelled_share": step.labelled / max(step.rows, 1),
            "r_row_weight": trainer.objective.r_row_weight(step),
            **{name: float(totals[name]) / len(steps) for name, steps in measured.items()},
        }
        # Against a target of its own R is not small without noise, and rounding no share of it.
        if logs["r"] > 0 and "r_rounding" in logs and trainer.objective.marginals is None:
            logs["r_above_rounding"] = max(0.0, 1 - logs["r_rounding"] / logs["r"])
        return logs

    def _gather(self, trainer: PDRTrainer) -> None:
        """Every process gets the sums over all."""
        if trainer.args.world_size > 1:
            reduce, device = trainer.accelerator.reduce, trainer.args.device  # what was noted is a number of the CPU
            self._totals = {name: reduce(total.to(device), reduction="sum") for name, total in self._totals.items()}

    def save(self, folder: Path, trainer: PDRTrainer) -> None:
        """Write the sums into a checkpoint's folder; to be called on all processes.

        The first process has all of them from now on, as in a run that goes on from the checkpoint: sums of floating-point
        numbers depend on their order.
        """
        self._gather(trainer)
        if trainer.args.process_index > 0:
            self._totals = {name: torch.zeros_like(total) for name, total in self._totals.items()}
        elif trainer.args.should_save:
            steps = {
                "counts": {step: [counts.labelled, counts.rows] for step, counts in self._counts.items()},
                "measured": {name: sorted(steps) for name, steps in self._measured.items()},
            }
            totals = {name: total.contiguous() for name, total in self._totals.items()}
            save_file(totals, str(folder / SUMS_FILE), metadata={"steps": json.dumps(steps)})

    def load(self, folder: Path, trainer: PDRTrainer) -> None:
        """Go on from where a checkpoint was written; from nothing where it has no sums.

        Raises:
            ConfigError: for a file that holds something else.
        """
        self.__init__()  # type: ignore[misc]
        path = folder / SUMS_FILE
        if not path.is_file():
            return
        try:
            with safe_open(str(path), framework="pt") as file:
                totals = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
                steps: dict[str, Any] = json.loads(file.metadata()["steps"])
            self._counts = {int(step): Counts(*counts) for step, counts in steps["counts"].items()}
            self._measured = {name: set(those) for name, those in steps["measured"].items()}
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise unreadable(path, "the sums that the log goes on with", error) from None
        leads = trainer.args.process_index == 0
        self._totals = {
            name: (total if leads else torch.zeros_like(total)).to(trainer.args.device)
            for name, total in totals.items()
        }
