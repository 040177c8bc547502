"""What every benchmark does at its end: write JSON with its circumstances, print a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ssl_pdr.files import atomic_write
from ssl_pdr.provenance import machine, versions

RESULTS = Path(__file__).parent / "results"


def write(name: str, content: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write `content` with versions and machine to `folder/name.json`."""
    path = folder / f"{name}.json"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whole = {**content, "versions": versions(), "machine": machine(device)}
    atomic_write(path, json.dumps(whole, indent=2) + "\n")
    return path


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
