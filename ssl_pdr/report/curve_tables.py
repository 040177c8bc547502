"""The tables of a curve's page, as HTML: all text from data is escaped, and what is missing says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from ssl_pdr.report.curve_style import (
    NOTHING,
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
)

Entry = Mapping[str, Any]


class Reasons:
    """Why numbers are missing: each reason once, under a number of its own."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, reason: str | None) -> str:
        """A dash, with the number of its reason."""
        return f"{NOTHING}{self.note(reason)}"

    def note(self, reason: str | None) -> str:
        """The number of a reason, raised; nothing without one."""
        if not reason:
            return ""
        return f"<sup>{self._numbers.setdefault(reason, len(self._numbers) + 1)}</sup>"

    def html(self) -> str:
        """All reasons, in the order of their numbers."""
        if not self._numbers:
            return ""
        items = "".join(f"<li>{escape(reason)}</li>" for reason in self._numbers)
        return f'<ol class="reasons">{items}</ol>'


def scores_table(summary: Entry) -> str:
    """Mean scores with their intervals, a row for each method and a column for each budget."""
    reasons = Reasons()
    best = {
        (part, budget): max(
            (p["mean"] for p in _at(summary["points"], part, budget) if p["mean"] is not None), default=0
        )
        for part in summary["metric"]
        for budget in summary["budgets"]
    }

    def cell(point: Entry) -> str:
        absent = _absent(point)
        if point["mean"] is None:
            return reasons.mark(absent or point["reason"])
        mean = percent(point["mean"])
        strong = point["mean"] == best[point["part"], point["budget"]]
        text = f"<strong>{mean}</strong>" if strong else mean
        text += reasons.note(absent)
        spread = "" if point["sd"] is None else f"sd = {percent(point['sd'])}, "
        details = [_interval(point, percent), f"{spread}n = {point['n']}"]
        if point["setting"]:
            details.append(setting_text(point["setting"]))
        return text + _small(*details)

    return _pivot("Mean score × 100 over seeds, 95 % interval", summary, summary["points"], cell) + reasons.html()


def differences_table(summary: Entry, against: str) -> str:
    """Paired differences to one method."""
    reasons = Reasons()

    def cell(difference: Entry) -> str:
        if difference["mean"] is None:
            return reasons.mark(difference["reason"])
        mean, interval, n = gain(difference["mean"]), _interval(difference, gain), f"n = {difference['n']}"
        if difference["p"] is None:  # of one seed, or of seeds that all differ alike
            return mean + reasons.note(difference["note"]) + _small(interval, n)
        exact = f"exact p {p_value(difference['exact_p'])}"
        return mean + _small(interval, f"p {p_value(difference['p'])}, {n}", exact)

    entries = [d for d in summary["differences"] if d["against"] == against]
    caption = f"Difference to {method_label(against)} in points, over the seeds that both have"
    return _pivot(caption, summary, entries, cell) + reasons.html()


def label_worth_table(summary: Entry) -> str:
    """How many labels plain training needs for the same score."""
    reasons = Reasons()

    def cell(worth: Entry) -> str:
        if worth["labels"] is None:
            return reasons.mark(worth["reason"])
        bound = "≥ " if worth["at_least"] else "≤ " if worth["at_most"] else ""
        return f"{bound}{count(worth['labels'])}{reasons.note(worth['note'])}" + _small(_interval(worth, count))

    return _pivot("Labels that plain training needs for the same mean score", summary, summary["label_worth"], cell) + (
        reasons.html()
    )


def recovery_table(summary: Entry) -> str:
    """Which share of the gap to full supervision is closed."""
    reasons = Reasons()

    def share_of_gap(value: float | None) -> str:
        return NOTHING if value is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%".replace("-", "\N{MINUS SIGN}")

    def cell(recovery: Entry) -> str:
        if recovery["value"] is None:
            return reasons.mark(recovery["reason"])
        return (
            share_of_gap(recovery["value"]) + reasons.note(recovery["note"]) + _small(_interval(recovery, share_of_gap))
        )

    caption = "Share of the gap between plain training at the budget and at the largest budget that is closed"
    return _pivot(caption, summary, summary["recovery"], cell) + reasons.html()


def runs_table(summary: Entry, cells: Sequence[Entry]) -> str:
    """Every run: what it was, and what came of it."""
    parts = list(summary["metric"])
    setting = ["setting"] if summary["search"] else []
    heads = ["run", "method", "budget", "seed", *setting, *map(part_label, parts), "seconds", "split", "status"]
    order = {name: place for place, name in enumerate(summary["methods"])}
    rows = []
    for cell in sorted(cells, key=lambda c: (c["budget"], order.get(c["method"], len(order)), c["seed"], c["key"])):
        finished = cell["status"] == "finished"
        scores = cell["scores"] if finished else {}
        values = [
            _code(cell["key"]),
            _method(cell["method"]),
            escape(share(cell["budget"])),
            str(cell["seed"]),
            *(escape(setting_text(cell["setting"])) or NOTHING for _ in setting),
            *(percent(scores.get(part, {}).get(summary["metric"][part])) for part in parts),
            count(cell["timing"]["train_seconds"]) if finished else NOTHING,
            _code(cell["split_hash"][:12]) if finished else NOTHING,
            "finished" if finished else f'<span class="failed">failed: {escape(cell["reason"])}</span>',
        ]
        rows.append("<tr>" + "".join(f"<td>{value}</td>" for value in values) + "</tr>")
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return _scrolling("Every run; scores × 100", body, "runs")


def values_list(values: Mapping[str, Any]) -> str:
    """Names and their values."""
    items = "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(text(value))}</dd></div>" for key, value in values.items()
    )
    return f'<dl class="values">{items}</dl>'


def text(value: Any) -> str:
    """A value of a configuration for people.

    Example:
        >>> text(["sst2", "imdb"]), text(1e-4), text(True), text(None)
        ('sst2, imdb', '0.0001', 'yes', '–')
    """
    if value is None or value in ([], {}):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _pivot(caption: str, summary: Entry, entries: Sequence[Entry], cell: Callable[[Entry], str]) -> str:
    """A row for each method, a column for each budget, a group of rows for each part."""
    found = {(e["part"], e["method"], e["budget"]): e for e in entries}
    budgets = sorted({e["budget"] for e in entries})
    columns = "".join(
        f'<th scope="col">{escape(share(budget))}{_small(f"{labels_of(summary, budget)} labels")}</th>'
        for budget in budgets
    )
    groups = []
    for part in dict.fromkeys(e["part"] for e in entries):
        methods = [m for m in methods_of(summary) if any((part, m, budget) in found for budget in budgets)]
        name = f"{part_label(part)}, {metric_label(summary['metric'][part])}"
        rows = [f'<tr class="part"><th scope="rowgroup" colspan="{len(budgets) + 1}">{escape(name)}</th></tr>']
        for method in methods:
            of_method = (found.get((part, method, budget)) for budget in budgets)
            values = "".join(f"<td>{NOTHING if entry is None else cell(entry)}</td>" for entry in of_method)
            rows.append(f'<tr><th scope="row">{_method(method)}</th>{values}</tr>')
        groups.append(f'<tbody data-part="{escape(part)}">{"".join(rows)}</tbody>')
    head = f'<thead><tr><th scope="col">method</th>{columns}</tr></thead>'
    return _scrolling(caption, head + "".join(groups), "pivot")


def _scrolling(caption: str, body: str, kind: str) -> str:
    """A table that scrolls within itself, by keyboard too."""
    return (
        f'<div class="scroll {kind}" role="region" tabindex="0" aria-label="{escape(caption)}">'
        f"<table><caption><span>{escape(caption)}</span></caption>{body}</table></div>"
    )


def _method(method: str) -> str:
    """A method's name; the page puts its mark before it."""
    return f'<span class="method" data-method="{escape(method)}">{escape(method_label(method))}</span>'


def _interval(entry: Entry, write: Callable[[float], str]) -> str:
    if entry["low"] is None or entry["high"] is None:
        return ""
    return f"{write(entry['low'])} to {write(entry['high'])}"


def _absent(point: Entry) -> str:
    """Which seeds have no result at a point, and why."""
    failed = [f"seed {seed} failed: {reason}" for seed, reason in point["failed"].items()]
    missing = [str(seed) for seed in point["missing"] if str(seed) not in point["failed"]]
    return "; ".join([*failed, *([f"seed {', '.join(missing)} not run"] if missing else [])])


def _at(points: Sequence[Entry], part: str, budget: float) -> list[Entry]:
    return [point for point in points if (point["part"], point["budget"]) == (part, budget)]


def _small(*lines: str) -> str:
    """Lines below a number."""
    return "".join(f"<small>{escape(line)}</small>" for line in lines if line)


def _code(value: str) -> str:
    return f"<code>{escape(value)}</code>"
