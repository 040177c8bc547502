"""Cells on the machines of a Ray cluster; a worker or a machine that dies takes its cell with it, not the others."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.local import TRIES, Event
from ssl_pdr.curves.worker import Worker, failed
from ssl_pdr.errors import ConfigError


class RayPool:
    """Workers on any machines of a Ray cluster, each with one cell at a time; what they find comes back to this process.

    Cells name their data by absolute paths: files and model folders must lie at the same place on all machines, or be names
    of the Hub. A worker that dies is replaced where the cluster has room, and its cell is tried once more, by whichever worker
    is free first. Of the steps of a cell nothing is heard.

    Args:
        jobs: how many workers.
        cpus: of each worker, and its threads.
        gpus: of each worker.

    Raises:
        ConfigError: if Ray is not installed.
    """

    def __init__(self, jobs: int, *, cpus: int = 1, gpus: float = 0) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to its makers
        try:
            import ray
        except ImportError:
            raise ConfigError("curves on several machines need Ray: pip install 'ssl-pdr[ray]'") from None
        self.ray = ray
        self.jobs = jobs
        self.cpus = cpus
        self.gpus = gpus

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Run all cells; what happens to them, as it happens.

        Raises:
            ConfigError: for a cluster that is not there, or has no room for a worker.
        """
        if not cells:
            return
        joined = self._join()
        actors = _Actors(self, min(self.jobs, len(cells)))
        try:
            yield from actors.run(cells)
        finally:
            actors.stop()
            if joined:
                self.ray.shutdown()

    def _join(self) -> bool:
        """Be of a cluster; whether this process was not before."""
        joins = not self.ray.is_initialized()
        if joins:
            try:
                self.ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
            except (ConnectionError, RuntimeError, ValueError) as error:
                reason = " ".join(str(error).split())
                raise ConfigError(
                    f"cannot join the Ray cluster {os.environ.get('RAY_ADDRESS', 'of this machine')}: {reason}"
                ) from None
        there = self.ray.cluster_resources()
        for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            if wanted > there.get(name, 0):
                if joins:
                    self.ray.shutdown()
                raise ConfigError(
                    f"the Ray cluster has {there.get(name, 0):g} {name}s, a worker wants {wanted:g}; ask for fewer, or add machines"
                )
        return joins


class _Actors:
    """The workers of a run by number, and what each is to return: that it is there, or a cell's content."""

    def __init__(self, pool: RayPool, count: int) -> None:
        self.ray = pool.ray
        self.threads = pool.cpus
        self.kind = pool.ray.remote(Worker).options(num_cpus=pool.cpus, num_gpus=pool.gpus)
        self.alive: dict[int, Any] = {}
        self.due: dict[Any, tuple[int, Cell | None]] = {}
        for number in range(count):
            self._start(number)

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        """Hand the cells out to whoever is free."""
        waiting, idle = list(cells), list[int]()
        deaths: Counter[int | str] = Counter()  # of workers that were not there yet, and of those that had a cell
        reason = ""
        while waiting or any(cell for _, cell in self.due.values()):
            while waiting and idle:
                yield self._begin(idle.pop(), waiting.pop(0))
            if not self.due:  # no worker comes to life
                yield from (Event("ended", 0, cell, outcome=failed(cell, reason)) for cell in waiting)
                return
            number, cell, outcome, reason = self._next()
            if not reason:
                idle.append(number)
                if cell is not None:
                    yield Event("ended", number, cell, outcome=outcome)
                continue
            died = number if cell is None else cell.key
            deaths[died] += 1
            if cell is not None or deaths[died] < TRIES:
                self._start(number)
            if cell is not None and deaths[died] < TRIES:
                waiting.insert(0, cell)
            elif cell is not None:
                yield Event("ended", number, cell, outcome=failed(cell, reason))

    def stop(self) -> None:
        """End all workers."""
        for actor in self.alive.values():
            self.ray.kill(actor)

    def _start(self, number: int) -> None:
        if number in self.alive:
            self.ray.kill(self.alive[number])
        self.alive[number] = self.kind.remote(self.threads)
        self.due[self.alive[number].__ray_ready__.remote()] = number, None

    def _begin(self, number: int, cell: Cell) -> Event:
        self.due[self.alive[number].run.remote(cell)] = number, cell
        return Event("started", number, cell)

    def _next(self) -> tuple[int, Cell | None, Any, str]:
        """What returns next: a worker, its cell if it had one, and the content, or how the worker died."""
        reference = self.ray.wait(list(self.due))[0][0]
        number, cell = self.due.pop(reference)
        try:
            return number, cell, self.ray.get(reference), ""
        except self.ray.exceptions.RayError as error:
            return number, cell, None, f"its worker died: {str(error).strip().splitlines()[-1].strip()}"
