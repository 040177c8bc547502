"""A figure of what `inspect_run` finds: four panels, one for each claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_pdr.printing import one_line
from ssl_pdr.report.figures import new_figure, save_figure
from ssl_pdr.report.inspection import Inspection


def plot_inspection(inspection: Inspection, path: Path) -> None:
    """Draw Eq. 7, the link from VAT to the Jacobian, the Jacobian's norms and the share of dropout into one file.

    Args:
        inspection: what was found.
        path: its suffix says the kind: svg, png, pdf.

    Raises:
        ConfigError: without matplotlib.
        OutputError: if the file cannot be written.
    """
    figure = new_figure(figsize=(11, 8.5), layout="constrained")
    panels = figure.subplots(2, 2)
    title = f"{inspection.method}, {inspection.rows} held-out rows, site {inspection.site}"
    figure.suptitle(one_line(title), parse_math=False)
    _second_order(panels[0, 0], inspection)
    _pinsker(panels[0, 1], inspection)
    _norms(panels[1, 0], inspection)
    _dropout(panels[1, 1], inspection)
    save_figure(figure, path)


def _second_order(axes: Any, inspection: Inspection) -> None:
    names = list(dict.fromkeys(p.divergence for p in inspection.second_order))
    for dtype, style in (("float64", "-"), ("float32", "--")):
        for i, name in enumerate(names):
            points = [p for p in inspection.second_order if (p.dtype, p.divergence) == (dtype, name) and p.error > 0]
            # The curves lie on each other, as they should: rings of falling size show that all of them are there.
            axes.plot(
                [p.radius for p in points],
                [p.error for p in points],
                style,
                marker="o",
                markersize=11 - 3 * min(i, 3),
                fillstyle="none",
                color=f"C{i}",
                label=f"{name}, {dtype}",
            )
    if inspection.radius is not None:
        axes.axvline(inspection.radius, color="grey", linewidth=0.8, label="this run's radius")
    _decades(axes, "radius / token norm", "median |divergence / second order − 1|")
    axes.set_title("Eq. 7: where second order holds")


def _pinsker(axes: Any, inspection: Inspection) -> None:
    radii = [p.radius for p in inspection.pinsker]
    axes.plot(radii, [p.searched for p in inspection.pinsker], "o-", label="2 sup KL, searched")
    axes.plot(radii, [p.second_order for p in inspection.pinsker], "--", label="2 sup KL, second order")
    axes.plot(radii, [p.jacobian for p in inspection.pinsker], "s-", label=r"$c^2\|J\|_{sp}^2$")
    _decades(axes, "radius of the row / (token norm · √tokens)", "median over the rows")
    axes.set_title("VAT bounds the Jacobian")


def _norms(axes: Any, inspection: Inspection) -> None:
    places = range(len(inspection.norms))
    for shift, label, colour in ((-0.1, "spectral", "C0"), (0.1, "frobenius", "C1")):
        spreads = [getattr(norms, label) for norms in inspection.norms]
        medians = [s.median for s in spreads]
        bars = [[s.median - s.low for s in spreads], [s.high - s.median for s in spreads]]
        axes.errorbar(
            [i + shift for i in places], medians, yerr=bars, fmt="o", capsize=4, color=colour, label=label.title()
        )
    axes.set_yscale("log")
    names = [one_line(norms.model) for norms in inspection.norms]
    shown = [name if len(name) < 24 else f"…{name[-22:]}" for name in names]
    axes.set_xticks(list(places), shown, parse_math=False)
    axes.set_xlim(-0.5, len(shown) - 0.5)
    axes.set_ylabel("norm of the posterior's Jacobian")
    axes.set_title("median and quartiles over the rows")
    axes.legend()


def _dropout(axes: Any, inspection: Inspection) -> None:
    found = inspection.dropout
    axes.set_title("what of R is dropout")
    if found is None or found.share is None:
        axes.axis("off")
        axes.text(0.5, 0.5, "no part of R is dropout's alone", ha="center", va="center")
        return
    axes.bar(["R", "R without noise"], [found.r, found.zero], color=["C0", "C7"])
    axes.set_ylabel(f"mean over the rows (share {found.share:.0%})")


def _decades(axes: Any, x: str, y: str) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
