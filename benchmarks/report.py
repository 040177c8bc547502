"""What every benchmark does at its end: write JSON with its circumstances, print a table."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from ssl_pdr.files import atomic_write
from ssl_pdr.provenance import machine, versions

RESULTS = Path(__file__).parent / "results"


def parser(
    description: str | None, parts: Iterable[str] = (), sizes: Sequence[str] = ("quick", "tiny")
) -> argparse.ArgumentParser:
    """What benchmarks have in common: `--only` some parts, a smaller size than `full`, where results go."""
    made = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    if names := list(parts):
        made.add_argument("--only", choices=names, nargs="+", default=names, help="the others keep their results")
    meanings = {"quick": "to try it out", "tiny": "a toy model, to test it"}
    group = made.add_mutually_exclusive_group()
    for size in sizes:
        group.add_argument(
            f"--{size}", dest="size", action="store_const", const=size, default="full", help=meanings[size]
        )
    made.add_argument("--output", type=Path, default=RESULTS)
    return made


def circumstances() -> dict[str, Any]:
    """Versions and machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {"versions": versions(), "machine": machine(device)}


def real_data() -> Path:
    """The folder of real data sets; where none is named the benchmark ends, saying so."""
    if "SSL_PDR_DATA" not in os.environ:
        sys.exit("set SSL_PDR_DATA to the folder that holds sst2/train_sentences.tsv.gz and sst2/dev.tsv")
    return Path(os.environ["SSL_PDR_DATA"])


def write(name: str, content: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write `content` with versions and machine to `folder/name.json`."""
    path = folder / f"{name}.json"
    atomic_write(path, json.dumps({**content, **circumstances()}, indent=2) + "\n")
    return path


def read(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """The parts that `folder/name.json` holds; none where there is no such file, or an old one without parts."""
    path = folder / f"{name}.json"
    whole: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts: dict[str, Any] = whole.get("parts", {})
    return parts


def merge(
    name: str, part: str, content: dict[str, Any], folder: Path = RESULTS, around: dict[str, Any] | None = None
) -> Path:
    """Write one part of `folder/name.json` as soon as it is measured; the other parts stay.

    Each part has circumstances of its own, since they may be measured on different days; those of the file are of
    the part written last.
    """
    around = circumstances() if around is None else around
    whole = {"parts": {**read(name, folder), part: {**content, "load": os.getloadavg()[0], **around}}, **around}
    path = folder / f"{name}.json"
    atomic_write(path, json.dumps(whole, indent=2) + "\n")
    return path


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
