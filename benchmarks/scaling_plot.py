"""A part of `benchmarks.step_cost`: how the price of each method moves with batch, length, classes and model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# What an axis is called, and which of a place's arguments is drawn along it.
AXES = {
    "batch": ("rows of a batch", "rows"),
    "length": ("tokens of a row", "tokens"),
    "classes": ("classes", "classes"),
    "size": ("model", "shape"),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#777777", "#e69f00")


def draw(parts: Mapping[str, Any], path: Path) -> None:
    """Medians with quartiles, one panel for each axis that has been measured; nothing without any."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssl-pdr"
    import matplotlib.pyplot as plt

    measured = [axis for axis in AXES if axis in parts]
    if not measured:
        return
    figure, panels = plt.subplots(1, len(measured), figsize=(2.8 * len(measured), 3.2), sharey=True, squeeze=False)
    for panel, axis in zip(panels[0], measured, strict=True):
        title, argument = AXES[axis]
        for (name, points), colour in zip(series(parts[axis], argument).items(), COLOURS, strict=False):
            ticks, middles, lows, highs = zip(*points, strict=True)
            errors = [
                [m - low for m, low in zip(middles, lows, strict=True)],
                [high - m for m, high in zip(middles, highs, strict=True)],
            ]
            panel.errorbar(ticks, middles, yerr=errors, marker="o", markersize=4, color=colour, label=name)
        spots = [spot["where"].get(argument, 2) for spot in parts[axis]["places"]]
        panel.set_xticks(range(len(spots)), [str(spot) for spot in spots], rotation=20 if axis == "size" else 0)
        panel.set_xlabel(title)
        panel.grid(axis="y", color="#dddddd")
    panels[0][0].set_ylabel("plain steps")
    panels[0][0].set_ylim(bottom=0.9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False, fontsize="small")
    figure.tight_layout(rect=(0, 0, 1, 0.84))
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def series(part: Mapping[str, Any], argument: str) -> dict[str, list[tuple[int, float, float, float]]]:
    """Of each method: place along the axis, median, lower and upper quartile."""
    found: dict[str, list[tuple[int, float, float, float]]] = {}
    for tick, spot in enumerate(part["places"]):
        for name, cell in spot["methods"].items():
            if name != "plain" and "plain_steps" in cell:
                found.setdefault(name, []).append((tick, cell["plain_steps"], *cell["quartiles"]))
    return found
