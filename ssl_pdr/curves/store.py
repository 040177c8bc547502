"""A curve on disk: `curve.json`, a file for each cell, and what is made of them. Whole files or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_pdr.curves.grid import FORMAT
from ssl_pdr.curves.shapes import CELL, FAILED_CELL, FINISHED_CELL, GRID, fits
from ssl_pdr.errors import OutputError
from ssl_pdr.files import atomic_write, is_passing, read_text

FINISHED, FAILED = "finished", "failed"
_GROWS = ("budgets", "methods", "seeds", "name", "test")  # what a later grid in the same folder may add to
_STATUS = {FINISHED: FINISHED_CELL, FAILED: FAILED_CELL}


@dataclass(frozen=True)
class CurveFolder:
    """The folder of a curve.

    Args:
        path: of it.
    """

    path: Path

    @property
    def grid(self) -> Path:
        """What the curve is of."""
        return self.path / "curve.json"

    @property
    def cells(self) -> Path:
        """A file for each cell."""
        return self.path / "cells"

    @property
    def summary(self) -> Path:
        """Statistics over the cells."""
        return self.path / "summary.json"

    def create(self) -> None:
        """Make the folder.

        Raises:
            OutputError: if that cannot be done.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {self.path}: {error.strerror}; choose another place") from None

    def begin(self, grid: Mapping[str, Any]) -> dict[str, Any]:
        """Note the grid, as `join` has it.

        Returns:
            The grid as it is now.

        Raises:
            OutputError: see `join`; or for a folder that cannot be written to.
        """
        joined = self.join(grid)
        atomic_write(self.grid, json.dumps(joined, indent=2, ensure_ascii=False) + "\n")
        return joined

    def join(self, grid: Mapping[str, Any]) -> dict[str, Any]:
        """The grid with the one that is there already, which grows by budgets, methods and seeds; nothing is written.

        Raises:
            OutputError: for a folder of another curve: it must be alike in all else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; expected a folder for the curve")
        grid = json.loads(json.dumps(grid))
        if self.grid.is_file():
            grid = _joined(_read_grid(self.grid), grid, self.path)
        elif self.path.is_dir() and any(path.name != "cells" and not is_passing(path) for path in self.path.iterdir()):
            raise OutputError(f"{self.path} has files in it but is no curve; choose a new folder")
        return dict(grid)

    def write(self, cell: Mapping[str, Any]) -> None:
        """Write a cell."""
        atomic_write(self.cells / f"{cell['key']}.json", json.dumps(cell, ensure_ascii=False) + "\n")

    def read(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """The cells by their keys, and a sentence for each file that is none."""
        found, warnings = {}, []
        for path in sorted(self.cells.glob("*.json")):
            try:
                cell = read_json(path)
            except OutputError:
                cell = {}
            if is_cell(cell) and cell["key"] == path.stem:
                found[path.stem] = cell
            else:
                warnings.append(f"{path.name} is no whole run, and is ignored")
        return found, warnings


def is_cell(cell: Any) -> bool:
    """Whether a file's content is a cell from its beginning to its end."""
    if not fits(cell, CELL) or cell["format"] != FORMAT or cell["status"] not in _STATUS:
        return False
    return fits(cell, _STATUS[cell["status"]])


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file.

    Raises:
        OutputError: in one line, if it is none.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(content, dict):
        raise OutputError(f"cannot read {path}: expected an object")
    return content


def read_curve(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The grid of a folder, its cells, and what a reader should know of them.

    Raises:
        OutputError: if it holds no curve.
    """
    place = CurveFolder(Path(folder))
    if not place.grid.is_file():
        raise OutputError(f"{folder} holds no curve (no curve.json); expected the folder that ssl-pdr curve wrote")
    grid = _read_grid(place.grid)
    cells, warnings = place.read()
    return grid, list(cells.values()), warnings


def _read_grid(path: Path) -> dict[str, Any]:
    grid = read_json(path)
    if not fits(grid, GRID) or grid["format"] != FORMAT:
        raise OutputError(f"{path} is not of this version of ssl-pdr; make the curve anew in another folder")
    return grid


def _joined(before: Mapping[str, Any], now: Mapping[str, Any], path: Path) -> dict[str, Any]:
    names = {"data_fingerprint": "data", "model_fingerprint": "model"}
    for key in sorted({*before, *now} - {*_GROWS, "config"}):
        if before.get(key) != now.get(key):
            what = names.get(key, key)
            raise OutputError(
                f"{path} holds a curve of another {what} ({_differ(before, now, key)}); choose another folder"
            )
    old, new = before.get("config", {}), now.get("config", {})
    for key in sorted({*old, *new}):
        if old.get(key) != new.get(key):
            raise OutputError(
                f"{path} holds a curve with another {key} ({_differ(old, new, key)}); choose another folder"
            )
    joined = {key: list(dict.fromkeys([*before[key], *now[key]])) for key in ("budgets", "methods", "seeds")}
    return {**now, **joined, "budgets": sorted(joined["budgets"])}


def _differ(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> str:
    shown = [str(side.get(key))[:40] for side in (old, new)]
    return f"{shown[0]} there, {shown[1]} here"
