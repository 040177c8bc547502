"""What runs cells, one after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.store import FAILED, FINISHED
from ssl_pdr.errors import PDRError
from ssl_pdr.imports import in_one_go
from ssl_pdr.model_card import without_places
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf

_SILENT = Silent()
_LOGGED = ("step", "loss", "ce", "r", "r_zero_noise", "accuracy")


class _Steps(Silent):
    """A listener that passes steps on."""

    def __init__(self, tell: Callable[[int, int], object]) -> None:
        self.tell = tell

    def step(self, step: int, steps: int) -> None:
        """So many of so many."""
        self.tell(step, steps)


class Worker:
    """Runs cells one after another; data, features and weights are read once.

    Args:
        threads: of PyTorch; None leaves them alone.
    """

    def __init__(self, threads: int | None = None) -> None:
        with in_one_go():
            import torch

            from ssl_pdr.experiment import measure

        if threads is not None:
            torch.set_num_threads(threads)
        self._measure = measure
        self.shelf = Shelf()

    def run(self, cell: Cell, tell: Callable[[int, int], object] = _SILENT.step) -> dict[str, Any]:
        """A cell's content; where it fails, why.

        Args:
            cell: to run.
            tell: told of every step, and of how many there are.
        """
        try:
            result = self._measure(cell.config, _Steps(tell), shelf=self.shelf, baseline=cell.config.reg == "none")
        except Exception as error:  # noqa: BLE001  # whatever it is, the other cells go on
            return failed(cell, str(error) if isinstance(error, PDRError) else f"{type(error).__name__}: {error}")
        return _finished(cell, result)


def failed(cell: Cell, reason: str) -> dict[str, Any]:
    """The content of a cell without a result."""
    return {**cell.to_json(), "status": FAILED, "reason": " ".join(reason.split())[:500]}


def _finished(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    scores = {name: values for name, values in result["scores"].items() if name != "baseline_tfidf"}
    made = {
        **cell.to_json(),
        "status": FINISHED,
        "scores": scores,
        "labelled": result["budget"]["labelled"],
        "unlabelled": result["budget"]["unlabelled"],
        "steps": result["timing"]["steps"],
        "rows_per_step": cell.config.batch_size,
        "split_hash": result["split_hash"],
        "log": {name: [_short(entry.get(name)) for entry in result["log"]] for name in _LOGGED},
        "timing": result["timing"],
        "config": without_places(result["config"]),
        "data": result["data"],
        "versions": result["versions"],
        "machine": result["machine"],
    }
    if "baseline_tfidf" in result["scores"]:
        made["baseline"] = result["scores"]["baseline_tfidf"]
    return made


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
