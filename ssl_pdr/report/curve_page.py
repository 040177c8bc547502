"""A label-budget curve as one HTML page that needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Any

from ssl_pdr.printing import one_line_each
from ssl_pdr.report.curve_data import page_data
from ssl_pdr.report.curve_notes import failures, matched_text, notes_of
from ssl_pdr.report.curve_style import COLOURS, count, method_label
from ssl_pdr.report.curve_tables import (
    differences_table,
    label_worth_table,
    recovery_table,
    runs_table,
    scores_table,
    values_list,
)

_ROOM = resources.files("ssl_pdr.report")
_PLOT = """<div class="controls">
<fieldset data-choice="part"><legend>Evaluated on</legend></fieldset>
<fieldset data-choice="against"><legend>Compared with</legend></fieldset>
</div>
<div class="card"><div class="legend" role="group" aria-label="Methods"></div><div class="plot" data-plot="differences"></div></div>"""


def render_page(
    grid: Mapping[str, Any],
    cells: Sequence[Mapping[str, Any]],
    summary: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> str:
    """The page of a curve: plots to explore, all numbers as tables, and where they come from.

    All text from data is on one line and escaped, and the page's own policy lets nothing run but its own script.

    Args:
        grid: content of `curve.json`.
        cells: contents of the cells.
        summary: what `ssl_pdr.curves.summary.summarise` returns for them.
        warnings: of who read the folder.

    Returns:
        The page as text.
    """
    grid, cells, summary, warnings = map(one_line_each, (grid, cells, summary, warnings))
    style = f"{_colours()}{_read('curve_page.css')}"
    script = _read("curve_page.js")
    return Template(_read("curve_page.html")).substitute(
        title=escape(f"{summary['name']}: label-budget curve"),
        name=escape(str(summary["name"])),
        sentence=escape(str(summary["sentence"] or "No statement can be made yet: too few runs are finished.")),
        facts=values_list(_facts(summary, cells)),
        notes=_list(notes_of(summary, cells, warnings), failures(cells)),
        scores=scores_table(summary) if summary["points"] else _none("No run is finished."),
        differences=_differences(summary),
        label_worth=label_worth_table(summary) if summary["label_worth"] else _none("It needs plain training (none)."),
        recovery=recovery_table(summary) if summary["recovery"] else _none("It needs plain training (none)."),
        runs=runs_table(summary, cells) if cells else _none("No run has ended."),
        origin=_origin(grid, cells),
        footer=_footer(cells),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        data=_embedded(page_data(summary, cells)),
    )


def _facts(summary: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    finished = sum(cell["status"] == "finished" for cell in cells)
    steps = sorted({cell["steps"] for cell in cells if "steps" in cell})
    facts = {
        "model": summary["model"],
        "methods": len(summary["methods"]),
        "seeds": len(summary["seeds"]),
        "runs": f"{count(finished)} finished" + (f", {len(cells) - finished} failed" if finished < len(cells) else ""),
        "matched": matched_text(summary),
    }
    if steps:
        facts["steps"] = count(steps[0]) if len(steps) == 1 else f"{count(steps[0])} to {count(steps[-1])}"
    return facts


def _differences(summary: Mapping[str, Any]) -> str:
    against = list(dict.fromkeys(difference["against"] for difference in summary["differences"]))
    if not against:
        return _none("They need plain training (none) or R-Drop, and another method.")
    tables = (f"<h3>Against {escape(method_label(name))}</h3>{differences_table(summary, name)}" for name in against)
    return _PLOT + "".join(tables)


def _origin(grid: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> str:
    of_grid = {key: value for key, value in grid.items() if key not in ("config", "format")}
    blocks = [("Grid", of_grid), ("Configuration that all runs share", grid.get("config", {}))]
    for key, title in (("data", "Data"), ("versions", "Versions"), ("machine", "Machine")):
        kinds = list({json.dumps(cell[key], sort_keys=True): cell[key] for cell in cells if key in cell}.values())
        blocks += [
            (title if len(kinds) == 1 else f"{title}, {number} of {len(kinds)}", kind)
            for number, kind in enumerate(kinds, start=1)
        ]
    return "".join(f"<h3>{escape(title)}</h3>{values_list(values)}" for title, values in blocks)


def _footer(cells: Sequence[Mapping[str, Any]]) -> str:
    versions = dict.fromkeys(
        str(cell["versions"]["ssl-pdr"]) for cell in cells if "ssl-pdr" in cell.get("versions", {})
    )
    made = f"Runs made by ssl-pdr {', '.join(versions)}. " if versions else ""
    return escape(f"{made}The same numbers are in points.csv, differences.csv and summary.json beside the runs.")


def _list(notes: Sequence[str], failed: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    shown = f"<ul>{items}</ul>" if items else _none("Nothing is missing, and no run failed.")
    if not failed:
        return shown
    lines = "".join(f"<li>{escape(line)}</li>" for line in failed)
    return f"{shown}<details open><summary>Failed runs: {len(failed)}</summary><ul>{lines}</ul></details>"


def _none(reason: str) -> str:
    return f'<p class="note">{escape(reason)}</p>'


def _embedded(content: Any) -> str:
    """JSON that cannot end the element that it stands in."""
    made = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return made.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _colours() -> str:
    """The colours of the methods as classes, on a light and on a dark ground."""
    light, dark = (
        "".join(f".c{number}{{--c:{pair[ground]}}}" for number, pair in enumerate(COLOURS)) for ground in (0, 1)
    )
    return f"{light}@media screen and (prefers-color-scheme:dark){{{dark}}}"


def _read(name: str) -> str:
    return (_ROOM / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    digest = hashlib.sha256(content.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
