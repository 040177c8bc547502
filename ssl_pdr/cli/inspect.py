"""`ssl-pdr inspect`: does the paper's theory hold on this run, and what has training done to the Jacobian?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssl_pdr.cli.options import AsJson
from ssl_pdr.printing import json_line

if TYPE_CHECKING:
    from rich.table import Table

    from ssl_pdr.report.inspection import Inspection


def inspect_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", metavar="RUN", show_default=False)],
    *,
    against: Annotated[
        Path | None, typer.Option(help="Another run, whose Jacobian is measured beside.", metavar="RUN")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many held-out rows.", min=1, max=10_000)] = 16,
    plot: Annotated[
        Path | None, typer.Option(help="Where the figure goes.", metavar="FILE", show_default="RUN/inspect.svg")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a run against the theory: Eq. 7, VAT's bound on the Jacobian, its norms, the share of dropout."""
    from ssl_pdr.cli.live import LiveView, libraries

    with libraries(verbose=False):
        from ssl_pdr.report.figures import check_plot
        from ssl_pdr.report.inspection import inspect_run
        from ssl_pdr.report.theory_plot import plot_inspection
        from ssl_pdr.run_folder import RunFolder

    RunFolder(run).read_finished()
    figure = run / "inspect.svg" if plot is None else plot
    check_plot(figure)
    with LiveView(enabled=not as_json) as view:
        found = inspect_run(run, rows=rows, against=against, listener=view)
    plot_inspection(found, figure)
    if as_json:
        typer.echo(json_line({**found.to_dict(), "plot": str(figure)}))
    else:
        _show(found, figure)


def _show(found: Inspection, figure: Path) -> None:
    from rich.console import Console

    from ssl_pdr.cli.live import printable

    console = Console(emoji=False)
    console.print(
        f"{printable(found.method)}: {found.rows} held-out rows of up to {found.tokens} tokens, site "
        f"{printable(repr(found.site))}; radii are relative to the mean token norm, figures are medians over the rows",
        soft_wrap=True,
    )
    if found.merged:
        console.print(f"improbable outcomes are taken as one (up to {found.merged:.1%} of the probability)")
    console.print(_second_order(found), _pinsker(found), _norms(found))
    console.print(_dropout(found), soft_wrap=True)
    console.print(f"figure: {printable(str(figure))}", soft_wrap=True)


def _second_order(found: Inspection) -> Table:
    from rich.table import Table

    caption = None if found.radius is None else "* the run's own radius"
    table = Table(title="Eq. 7: divergence ÷ its second-order form", caption=caption)
    table.add_column("radius", justify="right")
    ratios = {(p.radius, p.dtype, p.divergence): p.ratio for p in found.second_order}
    columns = list(dict.fromkeys((p.dtype, p.divergence) for p in found.second_order))
    for dtype, divergence in columns:
        table.add_column(f"{divergence}\n{dtype}", justify="right")
    for radius in dict.fromkeys(p.radius for p in found.second_order):
        own = " *" if radius == found.radius else ""
        table.add_row(f"{radius:.3g}{own}", *(f"{ratios[radius, *column]:.6f}" for column in columns))
    return table


def _pinsker(found: Inspection) -> Table:
    from rich.table import Table

    table = Table(title="VAT bounds the Jacobian: c²‖J‖²_sp ≤ 2 sup KL over ‖ε‖₂ ≤ c")
    for column in ("radius", "c²‖J‖²_sp", "2 sup KL, second order", "searched", "ratio", "least", "rows that keep it"):
        table.add_column(column, justify="right")
    for p in found.pinsker:
        values = (p.jacobian, p.second_order, p.searched, p.ratio, p.least_ratio)
        table.add_row(f"{p.radius:g}", *(f"{value:.3g}" for value in values), f"{p.kept:.0%}")
    return table


def _norms(found: Inspection) -> Table:
    from rich.table import Table

    from ssl_pdr.cli.live import printable

    table = Table(title="norms of the posterior's Jacobian: median (quartiles)")
    for column in ("model", "spectral", "Frobenius"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for norms in found.norms:
        cells = (f"{s.median:.3g} ({s.low:.3g} to {s.high:.3g})" for s in (norms.spectral, norms.frobenius))
        table.add_row(printable(norms.model), *cells)
    return table


def _dropout(found: Inspection) -> str:
    if found.dropout is None:
        return "dropout: this run has no R"
    if found.dropout.zero is None or found.dropout.share is None:
        return f"dropout: R is {found.dropout.r:.3g}, of which no part is dropout's alone"
    share, zero, r = found.dropout.share, found.dropout.zero, found.dropout.r
    return f"dropout: {share:.0%} of R is left without noise ({zero:.3g} of {r:.3g})"
