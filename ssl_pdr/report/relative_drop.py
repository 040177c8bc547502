"""Figure 1 of the paper, drawn from runs: what share of the in-domain score is lost outside of the domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_pdr.printing import one_line
from ssl_pdr.report.figures import in_percent, new_figure, save_figure

_BAR = 0.8  # of the room that a group of bars has


def draw_relative_drops(content: Mapping[str, Any], path: Path) -> None:
    """Draw a group of bars for each pair of sets, a bar for each model; ours filled, the paper's as a mark on it.

    Args:
        content: `title`, and `rows` (one at least) of `label` and `drops`: name of the pair → `ours` and `paper`, fractions or None.
        path: its suffix says the kind: svg, png, pdf.

    Raises:
        ConfigError: without matplotlib, or for a kind of file that it does not write.
        OutputError: if the file cannot be written.
    """
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    pairs = list(rows[0]["drops"])
    figure = new_figure(figsize=(2.2 + 1.6 * len(pairs), 4), layout="constrained")
    axes = figure.subplots()
    width = _BAR / len(rows)
    for number, row in enumerate(rows):
        middles = [place + (number - (len(rows) - 1) / 2) * width for place in range(len(pairs))]
        ours = [in_percent(row["drops"][pair]["ours"]) for pair in pairs]
        paper = [in_percent(row["drops"][pair]["paper"]) for pair in pairs]
        axes.bar(middles, ours, width * 0.9, label=one_line(row["label"]), color=f"C{number}")
        label = "the paper's" if number == 0 else None
        axes.scatter(middles, paper, marker="_", s=160, linewidths=2, color="black", zorder=3, label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(pairs)), [one_line(pair).replace(" → ", "\n→ ") for pair in pairs], parse_math=False)
    axes.set_ylabel("relative drop, %")
    axes.set_title(one_line(str(content["title"])), parse_math=False)
    for text in axes.legend(frameon=False).get_texts():
        text.set_parse_math(False)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
