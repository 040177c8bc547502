"""The report of a label-budget curve: a page, a figure in two kinds, and two tables, from what lies in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ssl_pdr.curves.store import read_curve
from ssl_pdr.curves.summary import summarise
from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.files import atomic_write
from ssl_pdr.report.curve_csv import differences_csv, points_csv
from ssl_pdr.report.curve_page import render_page
from ssl_pdr.report.curve_plot import draw_curve


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the page.
        figures: `curve.svg` and `curve.png`; none without matplotlib.
        tables: `points.csv` and `differences.csv`.
        sentence: what the curve says, in one sentence.
        warnings: what a reader should know of the folder.
    """

    page: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    sentence: str
    warnings: tuple[str, ...]


def write_report(folder: Path, output: Path | None = None) -> Report:
    """Sum up the cells of a curve and write its report beside them; a curve that is still being made has one too.

    Args:
        folder: of the curve.
        output: where the page goes; None is `report.html` in the folder. Figures and tables stay in the folder.

    Raises:
        OutputError: in one line, for a folder that holds no curve, or a place that cannot be written to.
    """
    page = folder / "report.html" if output is None else output
    if page.is_dir():
        raise OutputError(f"{page} is a folder; expected a file for the page, such as {page / 'report.html'}")
    grid, cells, warnings = read_curve(folder)
    summary = summarise(grid, cells)
    tables = (folder / "points.csv", folder / "differences.csv")
    for path, content in zip(tables, (points_csv(summary), differences_csv(summary)), strict=True):
        atomic_write(path, content)
    figures: tuple[Path, ...] = (folder / "curve.svg", folder / "curve.png")
    try:
        draw_curve(summary, *figures)
    except ConfigError as error:  # no matplotlib: the page draws for itself
        figures, warnings = (), [*warnings, str(error)]
    atomic_write(page, render_page(grid, cells, summary, warnings))
    return Report(page, figures, tables, summary["sentence"], tuple(warnings))
