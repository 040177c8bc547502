"""How long the rest of a curve takes, told from the cells that are finished."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_pdr.curves.grid import Cell


@dataclass(frozen=True)
class Left:
    """Time that is left.

    Attributes:
        seconds: until the last cell ends.
        untimed: methods of which no cell is finished; their cells are not in `seconds`, which then is a lower bound.
    """

    seconds: float
    untimed: tuple[str, ...] = ()


class Pace:
    """What finished cells took: by method, training for each row of a step, and what is around it for each cell."""

    def __init__(self) -> None:
        self._cells: Counter[str] = Counter()
        self._rows: Counter[str] = Counter()
        self._seconds: dict[str, Counter[str]] = {"load": Counter(), "train": Counter(), "evaluate": Counter()}

    def note(self, content: Mapping[str, Any]) -> None:
        """Take a finished cell into account."""
        method = content["method"]
        self._cells[method] += 1
        self._rows[method] += content["steps"] * content["rows_per_step"]
        for stage, seconds in self._seconds.items():
            seconds[method] += content["timing"][f"{stage}_seconds"]

    def seconds(self, cell: Cell, done: float = 0.0) -> float | None:
        """What a cell still takes; None where no cell of its method is finished.

        Args:
            cell: which.
            done: share of its steps that are done, from 0 to 1.
        """
        method = cell.method
        if not self._rows[method]:
            return None
        load, train, evaluate = (seconds[method] for seconds in self._seconds.values())
        rows = (cell.config.max_steps or 0) * cell.config.batch_size
        around = (evaluate + (0 if done else load)) / self._cells[method]
        return around + (1 - done) * rows * train / self._rows[method]

    def left(self, waiting: Sequence[Cell], running: Sequence[tuple[Cell, float]], jobs: int) -> Left:
        """The time until all is done, by handing the cells out in order to whichever worker is free first.

        Args:
            waiting: cells that nobody has begun.
            running: cells that are under way, with the share of their steps that are done.
            jobs: workers.
        """
        busy = [self.seconds(cell, done) or 0.0 for cell, done in running]
        free = busy + [0.0] * (jobs - len(busy))
        heapq.heapify(free)
        for cell in waiting:
            heapq.heapreplace(free, free[0] + (self.seconds(cell) or 0.0))
        methods = dict.fromkeys(cell.method for cell in (*waiting, *(cell for cell, _ in running)))
        return Left(max(free), tuple(method for method in methods if not self._rows[method]))
