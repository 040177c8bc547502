"""What runs cells: in this process, and as a process of its own that lives for many of them."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.store import FAILED, FINISHED
from ssl_pdr.errors import PDRError
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


class _Ended(BaseException):
    """Nobody wants the rest: no failure of the cell, so no `Exception`."""


class Worker:
    """Runs cells one after another; data, features and weights are read once.

    Args:
        threads: of PyTorch; None leaves them alone.
    """

    def __init__(self, threads: int | None = None) -> None:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        self.shelf = Shelf()

    def run(self, cell: Cell, tell: Callable[[int, int], object] = _SILENT.step) -> dict[str, Any]:
        """A cell's content; where it fails, why.

        Args:
            cell: to run.
            tell: told of every step, and of how many there are.
        """
        from ssl_pdr.experiment import measure

        try:
            result = measure(cell.config, _Steps(tell), shelf=self.shelf, baseline=cell.config.reg == "none")
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


def serve(connection: Any, threads: int, device: int | None) -> None:
    """The life of a worker's process: a cell comes, steps and its content go; None ends it, after a step at the latest.

    Args:
        connection: a pipe to who asks.
        threads: of PyTorch.
        device: number of the GPU that it uses alone; None leaves it to PyTorch.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
    warnings.filterwarnings("ignore")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    worker = Worker(threads)

    def tell(step: int, steps: int) -> None:
        connection.send(("step", (step, steps)))
        if connection.poll():  # while a cell is running there is one thing to be told
            raise _Ended

    with suppress(_Ended, EOFError, ConnectionError):  # or who asks is gone
        while (cell := connection.recv()) is not None:
            connection.send(("ended", worker.run(cell, tell)))
