"""What a reader of a curve has to know before relying on it, in sentences."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_pdr.report.curve_style import part_label, share

_MATCHED = {
    "steps": "All runs take the same number of optimizer steps",
    "epochs": "All runs of a budget take the same number of passes over the labelled rows",
    "compute": "All runs of a budget take about the same number of operations",
}


def notes_of(summary: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], warnings: Sequence[str] = ()) -> list[str]:
    """Sentences about few seeds, missing and failed runs, what was chosen where, and what does not go together.

    Args:
        summary: as `ssl_pdr.curves.summary.summarise` returns it.
        cells: of the curve.
        warnings: of who read the folder.
    """
    notes = [*_seeds(summary), *_absent(summary), *_ignored(summary), *_chosen(summary), *_mixed(cells)]
    data = dict.fromkeys(warning for cell in cells for warning in cell.get("data", {}).get("warnings", []))
    return list(dict.fromkeys([*notes, *data, *warnings]))


def matched_text(summary: Mapping[str, Any]) -> str:
    """What the methods have in common."""
    return _MATCHED.get(summary["match"], str(summary["match"]))


def failures(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The failed runs, one sentence each."""
    return [
        f"{cell['method']} at {share(cell['budget'])}, seed {cell['seed']} failed: {cell['reason']}"
        for cell in cells
        if cell["status"] == "failed"
    ]


def _seeds(summary: Mapping[str, Any]) -> list[str]:
    numbers = sorted({point["n"] for point in summary["points"] if point["mean"] is not None})
    if not numbers:
        return ["No run is finished: there are no scores yet."]
    if numbers[-1] == 1:
        return ["One seed only: there are no intervals, and differences may well be chance."]
    notes = []
    if numbers[0] == 1:
        notes.append("Some points are of one seed only: they have no interval, and may well be chance.")
    fewest = next(number for number in numbers if number > 1)
    notes.append(
        f"Intervals are percentile bootstraps over the seeds, {fewest} at the fewest, and with so few too narrow: of normal scores "
        "those of 5 seeds hold the true mean in about 84 % of cases, of 3 in 75 %, of 2 in 46 %. They are about the luck of "
        "a seed, not about other data."
    )
    return notes


def _absent(summary: Mapping[str, Any]) -> list[str]:
    points = [p for p in summary["points"] if p["part"] == summary["select"] and p["method"] in summary["methods"]]
    missing = Counter(p["method"] for p in points for seed in p["missing"] if str(seed) not in p["failed"])
    if not missing:
        return []
    names = ", ".join(f"{method} ({number})" for method, number in missing.items())
    return [f"Not run yet: {names}. A mean over fewer seeds does not compare with those beside it."]


def _ignored(summary: Mapping[str, Any]) -> list[str]:
    number = summary["ignored"]
    return [f"Left out of all statistics: {number} of other data, or of no place in the grid."] if number else []


def _chosen(summary: Mapping[str, Any]) -> list[str]:
    part, notes = part_label(summary["select"]), []
    if summary["search"]:
        notes.append(
            f"Settings were searched ({', '.join(summary['search'])}) and chosen on {part}: the scores there are optimistic, those of "
            "other parts are not."
        )
    tests = sum(difference["p"] is not None for difference in summary["differences"])
    if tests > 1:
        notes.append(f"The {tests} p-values below are not corrected for being many: some will be small by chance.")
    return notes


def _mixed(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Runs that were made under different conditions."""
    kinds = {
        key: len({json.dumps(cell[key], sort_keys=True) for cell in cells if key in cell})
        for key in ("versions", "machine")
    }
    notes = []
    if kinds["versions"] > 1:
        notes.append(f"The runs are of {kinds['versions']} different sets of package versions.")
    if kinds["machine"] > 1:
        notes.append(f"The runs are of {kinds['machine']} different machines: their times do not compare.")
    return notes
