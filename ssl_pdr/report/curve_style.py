"""How methods and numbers of a curve look, alike in the page, in the figure, and for eyes that tell few colours apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssl_pdr.choices import TFIDF

NOTHING = "–"  # where there is no number; never 0
# On white and on black: plain training, six hues after Okabe and Ito, darkened or lightened until they stand out, tf-idf.
COLOURS = (
    ("#2f3a45", "#d3dae1"),
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f58f4c"),
    ("#008a63", "#2cc295"),
    ("#b04f8a", "#e39ac4"),
    ("#a06f00", "#f0c44c"),
    ("#5f50c8", "#a99cf7"),
    ("#77818b", "#8d97a1"),
)
_HUES = range(1, len(COLOURS) - 1)
# Of matplotlib, and as a path in a box of two by two.
MARKERS = (
    ("o", "M-1 0A1 1 0 1 0 1 0A1 1 0 1 0 -1 0Z"),
    ("s", "M-.9 -.9H.9V.9H-.9Z"),
    ("^", "M0 -1.15L1.1 .85H-1.1Z"),
    ("D", "M0 -1.25L1.25 0L0 1.25L-1.25 0Z"),
    ("v", "M0 1.15L1.1 -.85H-1.1Z"),
    ("P", "M-.4 -1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z"),
    ("p", "M0 -1.1L1.05 -.34L.65 .89H-.65L-1.05 -.34Z"),
    ("h", "M0 -1.1L.95 -.55V.55L0 1.1L-.95 .55V-.55Z"),
)
_CROSS = ("X", "M-1.06 -.5L-.5 -1.06L0 -.57L.5 -1.06L1.06 -.5L.57 0L1.06 .5L.5 1.06L0 .57L-.5 1.06L-1.06 .5L-.57 0Z")
DASHES: tuple[tuple[float, ...], ...] = ((), (7, 3), (2, 2.5), (8, 2.5, 2, 2.5))
_DOTS = (1, 3)

_PARTS = {"in_domain": "in-domain"}
_METRICS = {"f1": "F1", "exact": "exact match", "macro_f1": "macro F1"}
_METHODS = {TFIDF: "tf-idf + logistic regression"}


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Attributes:
        colour: its number in `COLOURS`.
        marker: of matplotlib.
        path: of the same marker, as SVG has it.
        dash: lengths of strokes and gaps; empty for an unbroken line.
    """

    colour: int
    marker: str
    path: str
    dash: tuple[float, ...]


def styles_of(methods: Sequence[str]) -> dict[str, Style]:
    """A style for each method: by its place, so that it stays when others are left out at the end.

    Example:
        >>> [(style.colour, style.marker) for style in styles_of(["none", "rdrop", "tfidf"]).values()]
        [(0, 'o'), (1, 's'), (7, 'X')]
    """
    made, others = {}, 0
    for method in methods:
        if method == "none":
            made[method] = Style(0, *MARKERS[0], DASHES[0])
        elif method == TFIDF:
            made[method] = Style(len(COLOURS) - 1, *_CROSS, _DOTS)
        else:
            marker = MARKERS[1 + others % (len(MARKERS) - 1)]
            made[method] = Style(_HUES[others % len(_HUES)], *marker, DASHES[(others + 1) % len(DASHES)])
            others += 1
    return made


def methods_of(summary: Mapping[str, Any]) -> list[str]:
    """The methods that have points, in the order of the grid; those that it has not come last."""
    drawn = {point["method"] for point in summary["points"]}
    return [name for name in dict.fromkeys([*summary["methods"], *sorted(drawn)]) if name in drawn]


def labels_of(summary: Mapping[str, Any], budget: float) -> str:
    """How many labels a budget is; two numbers where seeds differ, nothing where no run has told.

    Example:
        >>> labels_of({"labelled": {"0.1": {"min": 1999, "max": 2000}}}, 0.1)
        '1,999–2,000'
    """
    known = summary["labelled"].get(f"{budget:g}")
    if known is None:
        return NOTHING
    return "–".join(count(number) for number in dict.fromkeys((known["min"], known["max"])))


def part_label(part: str) -> str:
    """A part for people."""
    return _PARTS.get(part, part)


def metric_label(metric: str) -> str:
    """A metric for people."""
    return _METRICS.get(metric, metric)


def method_label(method: str) -> str:
    """A method for people."""
    return _METHODS.get(method, method)


def setting_text(setting: Mapping[str, Any]) -> str:
    """A setting as an option would be written.

    Example:
        >>> setting_text({"alpha": 4.0, "site": "word"})
        'alpha=4, site=word'
    """
    return ", ".join(
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in setting.items()
    )


def share(fraction: float) -> str:
    """A fraction in percent, as few digits as it has.

    Example:
        >>> share(0.1).split(), share(0.00125).split()
        (['10', '%'], ['0.125', '%'])
    """
    return f"{100 * fraction:.4g}\N{NO-BREAK SPACE}%"


def percent(fraction: float | None) -> str:
    """A score × 100."""
    return NOTHING if fraction is None else f"{100 * fraction:.1f}".replace("-", "\N{MINUS SIGN}")


def gain(fraction: float | None) -> str:
    """A difference of scores × 100, with its sign.

    Example:
        >>> gain(0.0123), gain(-0.2), gain(-0.0001), gain(None)
        ('+1.2', '−20.0', '0.0', '–')
    """
    if fraction is None:
        return NOTHING
    text = f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if text[1:] == "0.0" else text


def count(number: float) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,.0f}"


def p_value(p: float) -> str:
    """A p-value with two digits, and how it stands to them.

    Example:
        >>> p_value(0.034), p_value(0.25), p_value(1e-5)
        ('= 0.034', '= 0.25', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"= {p:.2f}" if p >= 0.1 else f"= {p:.3f}"
