"""A process that runs cells, and lives for many of them."""

from __future__ import annotations

import os
import signal
import warnings
from contextlib import suppress
from typing import Any

from ssl_pdr.imports import in_one_go


class _Ended(BaseException):
    """Nobody wants the rest: no failure of the cell, so no `Exception`."""


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
    with in_one_go():
        import datasets
        import transformers

        from ssl_pdr.curves.worker import Worker

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
