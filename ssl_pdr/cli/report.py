"""`ssl-pdr report`: a label-budget curve as a page, a figure and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssl_pdr.cli.options import AsJson
from ssl_pdr.printing import json_line, one_line


def report_command(
    folder: Annotated[Path, typer.Argument(help="Folder of a curve.", metavar="DIR", show_default=False)],
    *,
    output: Annotated[
        Path | None, typer.Option(help="Where the page goes.", metavar="FILE", show_default="DIR/report.html")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a curve, finished or not: a page to explore, a figure, and tables."""
    from ssl_pdr.report.curve_report import write_report

    report = write_report(folder, output)
    if as_json:
        content = {
            "page": str(report.page),
            "figures": [str(path) for path in report.figures],
            "tables": [str(path) for path in report.tables],
            "sentence": report.sentence,
            "warnings": list(report.warnings),
        }
        typer.echo(json_line(content))
        return
    for warning in report.warnings:
        typer.echo(f"warning: {one_line(warning)}", err=True)
    typer.echo(one_line(report.sentence))
    for path in (report.page, *report.figures, *report.tables):
        typer.echo(one_line(str(path)))
