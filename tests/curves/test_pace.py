"""Time left: told from what finished cells took, and said to be a lower bound where it is one."""

from __future__ import annotations

from typing import Any

import pytest

from ssl_pdr.config import TrainConfig
from ssl_pdr.curves.grid import Cell
from ssl_pdr.curves.pace import Left, Pace


def cell(method: str, steps: int = 100, rows: int = 8) -> Cell:
    return Cell(f"{method} {steps} {rows}", 0.1, method, {}, 0, TrainConfig(max_steps=steps, batch_size=rows))


def finished(method: str, train: float, steps: int = 100, rows: int = 8) -> dict[str, Any]:
    timing = {"load_seconds": 2.0, "train_seconds": train, "evaluate_seconds": 4.0}
    return {"method": method, "steps": steps, "rows_per_step": rows, "timing": timing}


@pytest.fixture
def pace() -> Pace:
    made = Pace()
    for content in (finished("none", 10.0), finished("none", 30.0, steps=300), finished("vat", 60.0, rows=16)):
        made.note(content)
    return made


def test_a_cell_takes_by_its_method_its_steps_and_their_rows(pace: Pace) -> None:
    assert pace.seconds(cell("none")) == pytest.approx(2 + 10 + 4)
    assert pace.seconds(cell("none", steps=50, rows=16)) == pytest.approx(2 + 10 + 4)
    assert pace.seconds(cell("vat")) == pytest.approx(2 + 30 + 4)
    assert pace.seconds(cell("vat", rows=32), done=0.75) == pytest.approx(30 + 4)  # it is loaded already
    assert pace.seconds(cell("rdrop")) is None


def test_cells_go_to_whoever_is_free_first(pace: Pace) -> None:
    assert pace.left([cell("none"), cell("none"), cell("vat")], [], 1) == Left(pytest.approx(16 + 16 + 36))
    assert pace.left([cell("none"), cell("none"), cell("vat")], [], 2) == Left(pytest.approx(16 + 36))
    assert pace.left([cell("none")], [(cell("vat"), 0.5), (cell("none"), 0.5)], 2) == Left(pytest.approx(9 + 16))
    assert pace.left([cell("none")], [], 9) == Left(pytest.approx(16))
    assert pace.left([], [], 2) == Left(0)


def test_what_no_cell_has_told_of_is_named(pace: Pace) -> None:
    left = pace.left([cell("none"), cell("rdrop"), cell("rdrop", steps=5)], [(cell("jr"), 0.0)], 1)
    assert left == Left(pytest.approx(16), ("rdrop", "jr"))
