"""What the page of a curve draws, as plain values: numbers in percent, and every text that a reader may ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_pdr.report.curve_style import (
    count,
    gain,
    labels_of,
    method_label,
    methods_of,
    metric_label,
    p_value,
    part_label,
    percent,
    setting_text,
    share,
    styles_of,
)


def page_data(summary: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of the page's plots.

    Args:
        summary: as `ssl_pdr.curves.summary.summarise` returns it.
        cells: of the curve, as they lie on disk.

    Returns:
        `methods` with their looks, `parts`, `budgets`, `points`, `differences` and `runs`, of JSON's types; a number that
        cannot be had is None.
    """
    styles = styles_of(methods_of(summary))
    metrics = summary["metric"]
    return {
        "methods": [
            {
                "name": method,
                "label": method_label(method),
                "colour": f"c{style.colour}",
                "marker": style.path,
                "dash": " ".join(f"{length:g}" for length in style.dash),
            }
            for method, style in styles.items()
        ],
        "parts": [
            {"name": part, "label": part_label(part), "metric": metric_label(metric)}
            for part, metric in metrics.items()
        ],
        "budgets": [
            {"value": budget, "share": share(budget), "labels": labels_of(summary, budget)}
            for budget in sorted(summary["budgets"])
        ],
        "against": list(dict.fromkeys(d["against"] for d in summary["differences"])),
        "points": [_point(point, summary) for point in summary["points"]],
        "differences": [_difference(difference, summary) for difference in summary["differences"]],
        "runs": _runs(summary, cells),
    }


def budget_text(summary: Mapping[str, Any], budget: float) -> str:
    """A budget as a share and as a number of labels."""
    return f"{share(budget)}, {labels_of(summary, budget)} labels"


def _point(point: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    values = point["values"]
    metric = metric_label(summary["metric"][point["part"]])
    seeds = ", ".join(f"{seed}: {percent(value)}" for seed, value in values.items())
    lines = [budget_text(summary, point["budget"]), f"{metric} {percent(point['mean'])}", _interval(point, percent)]
    if point["setting"]:
        lines.append(setting_text(point["setting"]))
    lines.append(f"by seed: {seeds}" if seeds else "no seed has a result")
    if absent := ", ".join(map(str, point["missing"])):
        lines.append(f"without a result: seed {absent}")
    return {
        "part": point["part"],
        "method": point["method"],
        "x": point["budget"],
        **_heights(point),
        "seeds": [100 * value for value in values.values()],
        "text": lines,
    }


def _difference(difference: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    metric = metric_label(summary["metric"][difference["part"]])
    lines = [
        budget_text(summary, difference["budget"]),
        f"{gain(difference['mean'])} points of {metric} against {method_label(difference['against'])}",
        _interval(difference, gain),
    ]
    if difference["p"] is not None:
        lines.append(f"p {p_value(difference['p'])}, exact p {p_value(difference['exact_p'])}")
    return {
        "part": difference["part"],
        "method": difference["method"],
        "against": difference["against"],
        "x": difference["budget"],
        **_heights(difference),
        "seeds": [],
        "text": lines,
    }


def _heights(entry: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        key: None if entry[name] is None else 100 * entry[name]
        for key, name in (("y", "mean"), ("low", "low"), ("high", "high"))
    }


def _interval(entry: Mapping[str, Any], text: Any) -> str:
    if entry["low"] is None or entry["high"] is None:
        return f"no interval: {seeds_text(entry['n'])}"
    return f"95\N{NO-BREAK SPACE}% interval {text(entry['low'])} to {text(entry['high'])}, {seeds_text(entry['n'])}"


def seeds_text(number: int) -> str:
    """How many seeds."""
    return f"{count(number)} seed{'s' * (number != 1)}"


def _runs(summary: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Training curves of the runs whose setting was chosen."""
    chosen = {(p["method"], p["budget"]): p["setting"] for p in summary["points"]}
    runs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for cell in cells:
        place = (cell["method"], cell["budget"])
        if cell["status"] != "finished" or chosen.get(place) != cell["setting"]:
            continue
        log = cell["log"]
        pairs = zip(log["r"], log["r_zero_noise"], strict=True)
        run = {
            "method": cell["method"],
            "x": cell["budget"],
            "seed": cell["seed"],
            "step": log["step"],
            "ce": _finite(log["ce"]),
            "r": _finite(log["r"]),
            "share": _finite([None if zero is None or not r else 100 * zero / r for r, zero in pairs]),
        }
        runs.setdefault((*place, cell["seed"]), run)
    return list(runs.values())


def _finite(values: Sequence[float | None]) -> list[float | None]:
    """Four digits of each; None where a number is none, which JSON has no word for."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.4g}") for value in values]
