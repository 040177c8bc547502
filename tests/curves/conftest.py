"""What the tests of curves share: a tiny encoder without a head, a small corpus, grids of both, and a pool in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizerFast

from ssl_pdr.curves.grid import Cell, Grid
from ssl_pdr.curves.local import Event
from ssl_pdr.curves.worker import Worker
from tests.cli.conftest import model_folder, reviews, run
from tests.conftest import tiny_bert

__all__ = ["model_folder", "reviews", "run"]

MakeGrid = Callable[..., Grid]


@pytest.fixture(scope="session")
def encoder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT without its head, which each run then has to draw."""
    folder = tmp_path_factory.mktemp("encoder")
    BertTokenizerFast.from_pretrained(model_folder).save_pretrained(folder)
    tiny_bert().bert.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_grid(encoder: Path, reviews: Path) -> MakeGrid:
    """A grid of short runs; keys of the base and of the grid may be given."""

    def make(*, base: dict[str, Any] | None = None, **options: Any) -> Grid:
        keys = {"data": str(reviews), "model": str(encoder), "max_length": 12, "lr": 1e-3, **(base or {})}
        small = {"budgets": (0.25, 1.0), "methods": ("none", "rdrop:kl"), "seeds": (0,), "batch": 4, "steps": 3}
        return Grid(base=keys, **{**small, **options})

    return make


class Here:
    """Runs cells in this process.

    Attributes:
        worker: that runs them.
        ran: the keys of the cells, in order.
    """

    def __init__(self) -> None:
        self.worker = Worker()
        self.ran: list[str] = []

    def run(self, cells: Sequence[Cell]) -> Iterator[Event]:
        for cell in cells:
            yield Event("started", 0, cell)
            self.ran.append(cell.key)
            yield Event("ended", 0, cell, outcome=self.worker.run(cell))
