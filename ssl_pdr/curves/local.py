"""Cells in worker processes of this machine; one that dies takes its cell with it, not the others."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.serving import serve
from ssl_pdr.curves.worker import failed

TRIES = 2  # of a cell whose worker dies
PATIENCE = 10.0  # seconds that workers have to end by themselves


@dataclass(frozen=True)
class Event:
    """Something that happened to a cell.

    Attributes:
        kind: `started`, `step`, or `ended`.
        worker: which worker, from 0.
        cell: which cell.
        step: of how many, of `step`.
        outcome: content of the cell, of `ended`.
    """

    kind: str
    worker: int
    cell: Cell
    step: tuple[int, int] | None = None
    outcome: dict[str, Any] | None = None


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalPool:
    """Worker processes, which share the cores unless `OMP_NUM_THREADS` says how many threads each has.

    A worker that dies (killed, out of memory) is replaced, and its cell is tried once more.

    Args:
        jobs: how many.
        devices: GPUs to share among them; 0 without.
    """

    def __init__(self, jobs: int, devices: int = 0) -> None:
        self.jobs = jobs
        self.devices = devices
        given = os.environ.get("OMP_NUM_THREADS", "")
        self.threads = int(given) if given.isdecimal() and int(given) else max(cores() // jobs, 1)

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Run all cells; what happens to them, as it happens."""
        waiting = list(cells)
        tries: dict[str, int] = {}
        workers = [_Process(self, number) for number in range(min(self.jobs, len(waiting)))]
        try:
            for worker in workers:
                yield worker.begin(waiting.pop(0))
            while busy := {worker.connection: worker for worker in workers if worker.cell is not None}:
                for connection in wait(list(busy)):
                    worker = busy[connection]  # type: ignore[index]
                    event = worker.hear()
                    if event is None:
                        cell, reason = worker.replace()
                        tries[cell.key] = tries.get(cell.key, 0) + 1
                        if tries[cell.key] < TRIES:
                            yield worker.begin(cell)
                            continue
                        event = Event("ended", worker.number, cell, outcome=failed(cell, reason))
                    yield event
                    if event.kind == "ended" and waiting:
                        yield worker.begin(waiting.pop(0))
        finally:
            for worker in workers:
                worker.ask_to_end()
            end = time.monotonic() + PATIENCE
            for worker in workers:
                worker.end(max(end - time.monotonic(), 0))


class _Process:
    def __init__(self, pool: LocalPool, number: int) -> None:
        self.pool = pool
        self.number = number
        self.cell: Cell | None = None
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection: Connection[Any, Any]
        self.connection, theirs = context.Pipe()
        device = self.number % self.pool.devices if self.pool.devices > 1 else None
        self.process = context.Process(target=serve, args=(theirs, self.pool.threads, device), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, cell: Cell) -> Event:
        self.cell = cell
        with suppress(OSError):  # it is dead already, which `hear` says
            self.connection.send(cell)
        return Event("started", self.number, cell)

    def hear(self) -> Event | None:
        """What the process says; None if it is dead."""
        assert self.cell is not None  # noqa: S101  # only those that have one are heard
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionError):
            return None
        if kind == "step":
            return Event("step", self.number, self.cell, step=content)
        cell, self.cell = self.cell, None
        return Event("ended", self.number, cell, outcome=content)

    def replace(self) -> tuple[Cell, str]:
        """Start anew after a death; the cell that it had, and how it died."""
        assert self.cell is not None  # noqa: S101
        cell, self.cell = self.cell, None
        self.process.join()
        code = self.process.exitcode or 0
        how = f"killed by signal {-code}; out of memory?" if code < 0 else f"ended with code {code}"
        self.connection.close()
        self._start()
        return cell, f"its worker process was {how}" if code < 0 else f"its worker process {how}"

    def ask_to_end(self) -> None:
        """Let it end by itself, after the step that it is in, so that it can clear its temporary files away."""
        with suppress(OSError):  # it is dead already
            self.connection.send(None)

    def end(self, patience: float) -> None:
        """Wait for its end so many seconds, then force it: it may be in the middle of an evaluation."""
        self.process.join(patience)
        self.process.terminate()
        self.process.join()
        self.connection.close()
