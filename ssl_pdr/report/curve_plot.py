"""A label-budget curve as a figure: a panel for each part, the same look as in the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from ssl_pdr.choices import TFIDF
from ssl_pdr.printing import one_line
from ssl_pdr.report.curve_style import (
    COLOURS,
    Style,
    labels_of,
    method_label,
    methods_of,
    metric_label,
    part_label,
    share,
    styles_of,
)
from ssl_pdr.report.figures import in_percent, new_figure, save_figure

_COLUMNS = 3
_APART = 0.016  # of the axis, between the methods of one budget, so that no interval hides another


def draw_curve(summary: Mapping[str, Any], *paths: Path) -> None:
    """Draw the mean score of each method over the label budget, with its 95 % interval, the same into each file.

    tf-idf is left out: it lies so far below that the others would lie on each other; the page and its tables have it.

    Args:
        summary: as `ssl_pdr.curves.summary.summarise` returns it; no score is drawn where it has none.
        paths: the suffix says the kind: svg, png, pdf. The same summary makes the same bytes.

    Raises:
        ConfigError: without matplotlib, or for a kind of file that it does not write.
        OutputError: if a file cannot be written.
    """
    new_figure()  # says what is missing
    from matplotlib import rc_context

    parts = list(summary["metric"]) or [summary["select"]]
    columns = min(len(parts), _COLUMNS)
    rows = math.ceil(len(parts) / columns)
    with rc_context({"svg.hashsalt": "ssl-pdr", "font.size": 10, "lines.scale_dashes": False}):
        figure = new_figure(figsize=(1.2 + 3.8 * columns, 0.7 + 3.1 * rows), layout="constrained")
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        drawn = {p["method"] for p in summary["points"] if p["mean"] is not None} - {TFIDF}
        styles = {name: style for name, style in styles_of(methods_of(summary)).items() if name in drawn}
        for part, axes in zip(parts, panels, strict=False):
            _panel(axes, summary, part, styles)
        for axes in panels[len(parts) :]:
            axes.set_visible(False)
        figure.suptitle(one_line(_title(summary)), parse_math=False)
        _legend(figure, panels[0])
        for path in paths:
            save_figure(figure, path, dpi=160, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _title(summary: Mapping[str, Any]) -> str:
    drawn = [point["n"] for point in summary["points"] if point["n"]] or [len(summary["seeds"])]
    least, most = min(drawn), max(drawn)
    seeds = f"{most} seed{'s' * (most != 1)}" if least == most else f"{least} to {most} seeds"
    return f"{summary['name']}, {summary['model']}: mean of {seeds}, 95 % interval"


def _panel(axes: Any, summary: Mapping[str, Any], part: str, styles: Mapping[str, Style]) -> None:
    first, last = _limits(summary)
    apart = _apart(summary, max(len(styles), 1))
    for number, (method, style) in enumerate(styles.items()):
        points = sorted(
            (p for p in summary["points"] if (p["part"], p["method"]) == (part, method)), key=lambda p: p["budget"]
        )
        shift = (last / first) ** (apart * (number - (len(styles) - 1) / 2))
        axes.errorbar(
            [p["budget"] * shift for p in points],
            [in_percent(p["mean"]) for p in points],
            yerr=[[_beyond(p, "low") for p in points], [_beyond(p, "high") for p in points]],
            color=COLOURS[style.colour][0],
            marker=style.marker,
            linestyle=(0, style.dash) if style.dash else "-",
            linewidth=1.5,
            elinewidth=1.2,
            capsize=2.5,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.7,
            label=one_line(method_label(method)),
        )
    metric = summary["metric"].get(part, "score")
    axes.set_title(one_line(part_label(part)), parse_math=False, fontsize=11)
    axes.set_ylabel(one_line(f"{metric_label(metric)}, %"), parse_math=False)
    _budgets(axes, summary)
    axes.grid(axis="y", color="#e4e7ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _budgets(axes: Any, summary: Mapping[str, Any]) -> None:
    """A logarithmic axis with a mark at each budget: its share, and below how many labels that is."""
    budgets = sorted(summary["budgets"])
    axes.set_xscale("log")
    axes.set_xlim(*_limits(summary))
    ticks = [f"{share(budget)}\n{labels_of(summary, budget)}" for budget in budgets]
    axes.set_xticks(budgets, ticks, parse_math=False)
    axes.set_xticks([], minor=True)
    axes.set_xlabel("labels: share and number, logarithmic")


def _limits(summary: Mapping[str, Any]) -> tuple[float, float]:
    return min(summary["budgets"]) / 1.5, max(summary["budgets"]) * 1.5


def _apart(summary: Mapping[str, Any], methods: int) -> float:
    """The way from method to method, as a share of the axis: a row of them takes half of the room between two budgets."""
    first, last = _limits(summary)
    budgets = sorted(summary["budgets"])
    gaps = [math.log(b / a) / math.log(last / first) for a, b in pairwise(budgets)]
    return min(_APART, 0.5 * min(gaps) / methods) if gaps else 0.9 / methods


def _legend(figure: Any, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        longest = 0.55 + 0.09 * max(map(len, labels))  # inches, about
        columns = min(max(int(figure.get_figwidth() / longest), 1), len(handles))
        figure.set_figheight(figure.get_figheight() + 0.22 * math.ceil(len(handles) / columns))
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _beyond(point: Mapping[str, Any], end: str) -> float:
    """How far an interval reaches from the mean; NaN where there is none, which draws none."""
    if point["mean"] is None or point[end] is None:
        return float("nan")
    return 100 * abs(float(point[end]) - float(point["mean"]))
