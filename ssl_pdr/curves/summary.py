"""What a label-budget curve says: points, paired differences, recovery and label worth, as plain JSON values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any, TypeVar

import numpy as np

from ssl_pdr.choices import TFIDF
from ssl_pdr.curves.statistics import (
    FEW,
    NO_RUN,
    LabelWorth,
    Recovery,
    Values,
    estimate,
    label_worth,
    paired_difference,
    recovery,
)
from ssl_pdr.evaluation import main_metric

FORMAT = 1
NONE = "none"  # plain training, whose cells bring the baseline along
NOT_ALL = "plain training was not run with all labels"
NO_PLAIN = "plain training has no finished run with as many"

Entry = dict[str, Any]
BySeed = dict[int, float]
_Name = TypeVar("_Name", bound=Hashable)


@dataclass(frozen=True)
class _Curve:
    """The cells of a grid, put in order.

    Attributes:
        grid: as `curve.json` has it.
        ignored: cells that are of other data, of no place in the grid, or the second of their place.
        metric: main metric of each part.
        labelled: by budget and seed.
        setting: by method and budget, the chosen one.
        failed: reasons by method and budget, and seed.
        scores: by part, method and budget, and seed, at the chosen settings; `tfidf` is a method.
    """

    grid: Mapping[str, Any]
    ignored: int
    metric: dict[str, str]
    labelled: dict[float, BySeed] = field(default_factory=dict)
    setting: dict[tuple[str, float], Entry] = field(default_factory=dict)
    failed: dict[tuple[str, float], dict[int, str]] = field(default_factory=dict)
    scores: dict[tuple[str, str, float], BySeed] = field(default_factory=dict)

    @property
    def budgets(self) -> list[float]:
        """Ascending."""
        return sorted(self.grid["budgets"])

    def of(self, part: str, method: str, budget: float) -> BySeed:
        """Scores by seed, in the order of the grid's seeds."""
        return self.scores.get((part, method, budget), {})

    def shared(self, *sides: tuple[str, str, float]) -> list[Values]:
        """Scores of each side over the seeds that all of them have."""
        found = [self.of(*side) for side in sides]
        seeds = [seed for seed in self.grid["seeds"] if all(seed in by_seed for by_seed in found)]
        return [np.array([by_seed[seed] for seed in seeds], np.float64) for by_seed in found]


def summarise(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The statistics of a curve over its seeds.

    A setting of a search, and the best method, are chosen by their mean score on the part that the grid selects by. On that
    part the best of several is therefore optimistic; other parts tell what it is worth.

    Args:
        grid: content of `curve.json`.
        cells: contents of `cells/`, finished and failed ones; those of other data than the grid's are counted and left out.

    Returns:
        The content of `summary.json`, of JSON's types; a number that cannot be had is None, with a reason.
    """
    curve = _collect(grid, cells)
    worths = _label_worths(curve)
    return {
        "format": FORMAT,
        **{
            name: grid[name]
            for name in (
                *("name", "model", "data_fingerprint", "match", "select"),
                *("budgets", "methods", "seeds", "search"),
            )
        },
        "metric": curve.metric,
        "labelled": {
            f"{budget:g}": {"min": min(counts.values()), "max": max(counts.values())}
            for budget, counts in curve.labelled.items()
            if counts
        },
        "ignored": curve.ignored,
        "points": _points(curve),
        "differences": _differences(curve),
        "recovery": _recoveries(curve),
        "label_worth": worths,
        "best": {f"{budget:g}": _best(curve, budget, grid["methods"]) for budget in grid["budgets"]},
        "sentence": _sentence(curve, worths),
    }


def _collect(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> _Curve:
    used = _usable(grid, cells)
    finished = [cell for cell in used if cell["status"] == "finished"]
    metric = {part: main_metric(scores) for cell in finished for part, scores in cell["scores"].items()}
    curve = _Curve(grid, len(cells) - len(used), metric)
    for budget in grid["budgets"]:
        curve.labelled[budget] = {cell["seed"]: cell["labelled"] for cell in finished if cell["budget"] == budget}
        for method in grid["methods"]:
            _place(curve, method, budget, [c for c in used if (c["method"], c["budget"]) == (method, budget)])
        plain = [cell for cell in finished if (cell["method"], cell["budget"]) == (NONE, budget)]
        for part in metric:
            curve.scores[part, TFIDF, budget] = _by_seed(grid, plain, "baseline", part, metric[part])
    return curve


def _usable(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One cell for each place of the grid, of its data; finished ones go before failed ones, the order of cells decides nothing."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for cell in sorted(cells, key=lambda cell: (cell["status"] != "finished", cell["key"])):
        in_grid = all(cell[one] in grid[many] for one, many in (("budget", "budgets"), ("seed", "seeds")))
        same_data = cell["status"] != "finished" or cell["data"].get("fingerprint") == grid["data_fingerprint"]
        if in_grid and same_data and cell["method"] in grid["methods"]:
            found.setdefault((cell["method"], cell["budget"], _text(cell["setting"]), cell["seed"]), cell)
    return list(found.values())


def _place(curve: _Curve, method: str, budget: float, cells: Sequence[Mapping[str, Any]]) -> None:
    """Choose a setting, and note scores and failures of its cells."""
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda cell: _order(curve.grid["search"], cell["setting"])):
        settings.setdefault(_text(cell["setting"]), []).append(cell)
    select = curve.grid["select"]
    by_setting = {
        text: _by_seed(curve.grid, found, "scores", select, curve.metric.get(select, ""))
        for text, found in settings.items()
    }
    finished = (text for text, found in settings.items() if any(cell["status"] == "finished" for cell in found))
    chosen = _highest(by_setting) or next(finished, None)
    of_chosen = cells if chosen is None else settings[chosen]
    curve.setting[method, budget] = {} if chosen is None else of_chosen[0]["setting"]
    reasons = {cell["seed"]: cell["reason"] for cell in of_chosen if cell["status"] == "failed"}
    curve.failed[method, budget] = {seed: reasons[seed] for seed in curve.grid["seeds"] if seed in reasons}
    for part, metric in curve.metric.items():
        curve.scores[part, method, budget] = _by_seed(curve.grid, of_chosen, "scores", part, metric)


def _by_seed(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]], kind: str, part: str, metric: str) -> BySeed:
    """Finite scores of one part by seed, in the order of the grid; of several cells of a seed the first's."""
    found: BySeed = {}
    for cell in cells:
        value = cell.get(kind, {}).get(part, {}).get(metric)
        if value is not None and math.isfinite(value):
            found.setdefault(cell["seed"], float(value))
    return {seed: found[seed] for seed in grid["seeds"] if seed in found}


def _highest(candidates: Mapping[_Name, BySeed]) -> _Name | None:
    """Whose mean is the highest, the first of equal ones; None if nobody has a score.

    Compared over the seeds that all share, where there are any. Whoever has less than half of the seeds that another has is
    not compared: one lucky run would decide over five.
    """
    most = max(map(len, candidates.values()), default=0)
    compared = {name: by_seed for name, by_seed in candidates.items() if by_seed and 2 * len(by_seed) >= most}
    shared = set.intersection(*map(set, compared.values())) if compared else set()

    def mean(name: _Name) -> float:
        by_seed = compared[name]
        return round(fmean(by_seed[seed] for seed in shared or by_seed), 12)  # so that rounding breaks no tie

    return max(compared, key=mean, default=None)


def _best(curve: _Curve, budget: float, methods: Sequence[str]) -> str | None:
    return _highest({method: curve.of(curve.grid["select"], method, budget) for method in methods})


def _points(curve: _Curve) -> list[Entry]:
    """A point for each part, method and budget; of tf-idf, where any cell has scored it."""
    seeds = curve.grid["seeds"]

    def point(part: str, method: str, budget: float) -> Entry:
        values = curve.of(part, method, budget)
        return {
            "part": part,
            "method": method,
            "budget": budget,
            "setting": curve.setting.get((method, budget), {}),
            "values": {str(seed): value for seed, value in values.items()},
            **asdict(estimate(list(values.values()))),
            "missing": [seed for seed in seeds if seed not in values],
            "failed": {str(seed): reason for seed, reason in curve.failed.get((method, budget), {}).items()},
        }

    baseline = {part for part in curve.metric if any(curve.of(part, TFIDF, budget) for budget in curve.budgets)}
    return [
        point(part, method, budget)
        for part in curve.metric
        for method in [*curve.grid["methods"], *([TFIDF] if part in baseline else [])]
        for budget in curve.grid["budgets"]
    ]


def _differences(curve: _Curve) -> list[Entry]:
    """Of every method to plain training, and to the first R-Drop, over the seeds that both have."""
    methods = curve.grid["methods"]
    references = {NONE: NONE} if NONE in methods else {}
    if rdrops := [method for method in methods if method.startswith("rdrop")]:
        references["rdrop"] = rdrops[0]
    return [
        {
            "part": part,
            "method": method,
            "against": name,
            "budget": budget,
            **asdict(paired_difference(*curve.shared((part, method, budget), (part, reference, budget)))),
        }
        for part in curve.metric
        for name, reference in references.items()
        for method in methods
        if method not in (NONE, reference)
        for budget in curve.grid["budgets"]
    ]


def _recoveries(curve: _Curve) -> list[Entry]:
    """Of every method but plain training, at every budget below all labels."""
    largest = curve.budgets[-1]

    def found(part: str, method: str, budget: float) -> Recovery:
        if largest != 1:
            return Recovery(n=0, reason=NOT_ALL)
        if not curve.of(part, method, budget):
            return Recovery(n=0, reason=NO_RUN)
        return recovery(*curve.shared((part, method, budget), (part, NONE, budget), (part, NONE, largest)))

    return _against_plain(curve, [budget for budget in curve.grid["budgets"] if budget < 1], found)


def _label_worths(curve: _Curve) -> list[Entry]:
    """Of every method but plain training, at every budget."""

    def found(part: str, method: str, budget: float) -> LabelWorth:
        if not curve.of(part, method, budget):
            return LabelWorth(n=0, reason=NO_RUN)
        budgets = [one for one in curve.budgets if curve.of(part, NONE, one)]
        scores, *plain = curve.shared((part, method, budget), *((part, NONE, one) for one in budgets))
        return label_worth(scores, np.array(plain).T, [fmean(curve.labelled[one].values()) for one in budgets])

    return _against_plain(curve, curve.grid["budgets"], found)


def _against_plain(
    curve: _Curve, budgets: Sequence[float], found: Callable[[str, str, float], Recovery | LabelWorth]
) -> list[Entry]:
    methods = curve.grid["methods"]
    return [
        {"part": part, "method": method, "budget": budget, **asdict(found(part, method, budget))}
        for part in curve.metric
        for method in methods
        if NONE in methods and method != NONE
        for budget in budgets
    ]


def _sentence(curve: _Curve, worths: Sequence[Entry]) -> str:
    """The curve in a sentence: what its smallest budget was worth with the best method, chosen by the selection part."""
    others = [method for method in curve.grid["methods"] if method != NONE]
    budget = curve.budgets[0]
    if budget == 1:
        return "All runs had all labels: nothing can be said of fewer"
    if NONE not in curve.grid["methods"] or not others:
        return f"What {_percent(budget)} of the labels are worth takes plain training (none) and another method"
    method = _best(curve, budget, others)
    part = curve.grid.get("test") or curve.grid["select"]
    places = (entry for entry in worths if (entry["part"], entry["method"], entry["budget"]) == (part, method, budget))
    worth = next(places, None)
    reason = NO_RUN if worth is None else worth["reason"]
    if reason is None and not curve.of(part, NONE, budget):
        reason = NO_PLAIN  # the curve begins above this budget, and says nothing of what is below
    if worth is None or reason is not None:
        return f"It cannot be told what {_percent(budget)} of the labels were worth: {reason}"
    known = max(one for one in curve.budgets if curve.labelled[one])
    in_all = fmean(curve.labelled[known].values()) / known
    return _worded(
        worth, _percent(budget), fmean(curve.labelled[budget].values()), float(f"{worth['labels'] / in_all:.2g}")
    )


def _worded(worth: Mapping[str, Any], budget: str, own: float, share: float) -> str:
    """The sentence of a label worth; what its interval does not exclude is not claimed.

    Args:
        worth: an entry of `label_worth`.
        budget: of its method, in percent.
        own: labels of this budget.
        share: of all labels, that plain training needs.
    """
    labels, n = worth["labels"], worth["n"]
    how = "better than" if worth["at_least"] else "worse than" if worth["at_most"] else "as good as"
    facts = f"{worth['method']}, {own:,.0f} labels: {how} plain training with {labels:,.0f}"
    if n == 1:
        return f"It cannot be told yet what {budget} of the labels were worth ({facts}; one seed only)"
    facts += f"; {n} seeds only" if n < FEW else ""
    if worth["low"] > own:
        return f"{budget} of the labels were worth {'at least ' * worth['at_least']}{_percent(share)} ({facts})"
    if worth["high"] <= own:
        return f"{budget} of the labels were worth {'at most ' * worth['at_most']}{_percent(share)} ({facts})"
    interval = f"95 % interval {worth['low']:,.0f} to {worth['high']:,.0f}"
    return f"It cannot be told whether {budget} of the labels were worth more than {budget} ({facts}; {interval})"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:g} %"


def _order(search: Mapping[str, Sequence[Any]], setting: Mapping[str, Any]) -> list[int]:
    """Places of a setting's values among those that are searched."""
    return [values.index(setting[key]) if setting.get(key) in values else len(values) for key, values in search.items()]


def _text(setting: Mapping[str, Any]) -> str:
    return json.dumps(setting, sort_keys=True)
