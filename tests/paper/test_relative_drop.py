"""Figure 1 as a file: what is drawn, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.report.relative_drop import draw_relative_drops

pytest.importorskip("matplotlib")


def content() -> dict[str, Any]:
    drops = {
        "MNLI → HANS": {"ours": 0.30, "paper": 0.31},
        "SST-2 → IMDB": {"ours": None, "paper": 0.05},
        "SQuAD v2.0 F1 → reviews": {"ours": -0.02, "paper": None},
    }
    return {
        "title": "relative drop",
        "rows": [{"label": "BERT-base", "drops": drops}, {"label": "VAT", "drops": drops}],
    }


def test_bars_are_ours_and_marks_the_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    draw_relative_drops(content(), tmp_path / "f.svg")
    (axes,) = drawn[0].axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx([30, float("nan"), -2] * 2, nan_ok=True)
    marks = [y for points in axes.collections for _, y in points.get_offsets().filled(float("nan"))]
    assert marks == pytest.approx([31, 5, float("nan")] * 2, nan_ok=True)
    text = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
    labels = [entry.get_text() for entry in axes.get_legend().get_texts()]
    assert sorted(labels) == ["BERT-base", "VAT", "the paper's"]


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw a plot as 'f\.toml'"):
        draw_relative_drops(content(), tmp_path / "f.toml")
    with pytest.raises(OutputError, match="No such file or directory; choose another place"):
        draw_relative_drops(content(), tmp_path / "none" / "f.svg")
