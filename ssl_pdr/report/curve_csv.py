"""The numbers of a curve as tables for other programs: fractions, and an empty field where there is no number."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

_PLACE = ("part", "metric", "method", "budget", "labelled_min", "labelled_max")
_ESTIMATE = ("n", "mean", "sd", "low", "high")
_DIFFERENCE = ("against", "n", "mean", "low", "high", "p", "exact_p")


def points_csv(summary: Mapping[str, Any]) -> str:
    """A row for each part, method and budget, with the score of each seed.

    Args:
        summary: as `ssl_pdr.curves.summary.summarise` returns it.
    """
    seeds = {f"seed_{seed}": str(seed) for seed in summary["seeds"]}
    rows = [
        {
            **_place(point, summary),
            "setting": json.dumps(point["setting"], sort_keys=True),
            **{name: point[name] for name in _ESTIMATE},
            **{column: point["values"].get(seed) for column, seed in seeds.items()},
        }
        for point in summary["points"]
    ]
    return _written([*_PLACE, "setting", *_ESTIMATE, *seeds], rows)


def differences_csv(summary: Mapping[str, Any]) -> str:
    """A row for each paired difference.

    Args:
        summary: as `ssl_pdr.curves.summary.summarise` returns it.
    """
    rows = [{**_place(one, summary), **{name: one[name] for name in _DIFFERENCE}} for one in summary["differences"]]
    return _written([*_PLACE, *_DIFFERENCE], rows)


def _place(entry: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    labelled = summary["labelled"].get(f"{entry['budget']:g}", {})
    return {
        "part": entry["part"],
        "metric": summary["metric"][entry["part"]],
        "method": entry["method"],
        "budget": entry["budget"],
        "labelled_min": labelled.get("min"),
        "labelled_max": labelled.get("max"),
    }


def _written(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
