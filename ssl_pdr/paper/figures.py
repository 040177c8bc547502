"""The figures that the paper prints, and its average gains, which follow from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

_FILE = Path(__file__).with_name("figures.json")
BASE_ROW = "none"


@dataclass(frozen=True)
class PaperTable:
    """One table as printed, in percent.

    Attributes:
        number: of the table in the paper.
        gain: columns that its average gain is taken over; empty where it prints none.
        rows: method → column (`set.metric`) → figure; the printed average gain stands under `gain`.
    """

    number: int
    gain: tuple[str, ...]
    rows: Mapping[str, Mapping[str, float]]


@cache
def paper_tables() -> dict[str, PaperTable]:
    """Tables 2 to 5 by name.

    Example:
        >>> paper_tables()["table5"].rows["vat-shl"]["sst2.accuracy"]
        92.4
    """
    content = json.loads(_FILE.read_text(encoding="utf-8"))
    return {
        name: PaperTable(table["number"], tuple(table["gain"]), table["rows"])
        for name, table in content["tables"].items()
    }


def paper_figure(tables: Sequence[str], method: str, column: str) -> float | None:
    """The figure of a row and column in the first of some tables that has it, in percent; None where none has.

    Example:
        >>> paper_figure(["table3", "table4"], "vat-kl", "hans.accuracy")
        67.7
    """
    for name in tables:
        table = paper_tables().get(name)
        if table is not None and (figure := table.rows.get(method, {}).get(column)) is not None:
            return figure
    return None


def average_gain(
    row: Mapping[str, float | None], base: Mapping[str, float | None], columns: Sequence[str]
) -> float | None:
    """The mean difference to the base row over some columns; None where a figure is missing.

    Example:
        >>> rows = paper_tables()["table3"].rows
        >>> round(average_gain(rows["jr"], rows["none"], ["bioasq.f1", "imdb.accuracy"]), 1)
        1.7
    """
    pairs = [(row.get(column), base.get(column)) for column in columns]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    return fmean(differences) if pairs and len(differences) == len(pairs) else None


def relative_drop(inside: float | None, outside: float | None) -> float | None:
    """(in − out) / in, the share of the in-domain score that is lost outside of the domain (Figure 1).

    Example:
        >>> round(relative_drop(76.5, 57.1), 3)
        0.254
    """
    return None if not inside or outside is None else (inside - outside) / inside
