"""`ssl-pdr list`: what there is to choose from."""

from __future__ import annotations

import typer

from ssl_pdr.cli.options import AsJson
from ssl_pdr.printing import json_line


def list_command(
    as_json: AsJson = False,
) -> None:
    """List divergences, regularizers, tasks, data and models."""
    from ssl_pdr.cli.live import libraries

    with libraries(verbose=False):
        from rich.console import Console
        from rich.table import Table

        from ssl_pdr.choices import EMBEDDED_ENCODER, TASK_NAMES
        from ssl_pdr.config import PRESETS
        from ssl_pdr.data.catalogue import NAMED
        from ssl_pdr.data.sources import EMBEDDED, EMBEDDED_QUESTIONS
        from ssl_pdr.divergences import get_divergence, list_divergences
        from ssl_pdr.regularizers import get_regularizer, list_regularizers

    divergences = {name: get_divergence(name) for name in list_divergences()}
    regularizers = {name: (get_regularizer(name).__doc__ or "").partition("\n")[0] for name in list_regularizers()}
    if as_json:
        listing = {
            "divergences": list(divergences),
            "regularizers": ["none", *regularizers],
            "tasks": list(TASK_NAMES),
            "data": [*EMBEDDED, *EMBEDDED_QUESTIONS, *NAMED],
            "models": [EMBEDDED_ENCODER],
            "presets": list(PRESETS),
        }
        typer.echo(json_line(listing))
        return
    table = Table(title="divergences (--div)")
    for column in ("name", "symmetric", "bound", "g″(1)"):
        table.add_column(column)
    for name, div in divergences.items():
        curvature = "not smooth" if div.curvature is None else f"{div.curvature:g}"
        table.add_row(name, "yes" if div.symmetric else "no", f"{div.bound:.4g}", curvature)
    methods = Table(title="regularizers (--reg)", show_header=False)
    methods.add_row("none", "Plain fine-tuning on the labelled rows.")
    for name, meaning in regularizers.items():
        methods.add_row(name, meaning)
    rest = Table(title="tasks, data, models, presets", show_header=False)
    rest.add_row("tasks", ", ".join(TASK_NAMES))
    rest.add_row("embedded data (--data)", ", ".join([*EMBEDDED, *EMBEDDED_QUESTIONS]))
    rest.add_row("your data (--data)", "a file, folder or glob (csv, tsv, json, jsonl, parquet), a Hub name")
    rest.add_row("models (--model)", f"{EMBEDDED_ENCODER}, a folder, a Hub name")
    rest.add_row("presets (--preset)", ", ".join(PRESETS))
    sets = Table(title="data sets of the paper (--data, --eval-on)")
    for column in ("name", "set", "task", "role in the paper"):
        sets.add_column(column)
    for name, named in NAMED.items():
        sets.add_row(name, named.title, named.task, named.role)
    Console().print(table, methods, sets, rest)
