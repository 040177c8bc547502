"""`ssl-pdr split`: choose the rows that keep their label, once, and write down which they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, config_options, read_options
from ssl_pdr.config import make_config
from ssl_pdr.errors import OutputError
from ssl_pdr.printing import json_line


@config_options("Data", "Labels", "seed", without=["data_fingerprint", "split"])
def split_command(
    *,
    output: Annotated[Path, typer.Option(help="Where the manifest goes.", metavar="FILE")] = Path("split.json"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Write the manifest of a label budget, for `ssl-pdr train --split FILE`, and draw its class balance."""
    config = make_config(read_options(given)).resolved()
    if output.exists() and not overwrite:
        raise OutputError(f"{output} is there already; add --overwrite, or choose another --output")

    from ssl_pdr.cli.live import libraries, printable

    with libraries(verbose=False):
        from ssl_pdr import materials

    config = materials.with_task(config)
    corpus = materials.corpus_of(config, config.seed)
    split = materials.split_of(config, corpus)
    split.save(output)
    rows = [(name, *split.class_counts[name]) for name in corpus.label_names]
    if as_json:
        facts = {
            "asked": split.asked,
            "labelled": split.got,
            "unlabelled": len(split.unlabelled),
            "classes": {name: {"labelled": kept, "rows": total} for name, kept, total in rows},
            "hash": split.hash,
            "output": str(output),
        }
        typer.echo(json_line(facts))
        return
    from rich.console import Console

    from ssl_pdr.cli.corpus_view import show_balance

    console = Console(emoji=False)
    show_balance(rows, console)
    short = "" if split.asked == split.got else f" (of {split.asked} asked for: groups stay whole)"
    console.print(f"{split.got} labelled{short} and {len(split.unlabelled)} unlabelled rows, seed {split.seed}")
    console.print(f"manifest: {printable(str(output))} (hash {split.hash[:16]})", soft_wrap=True)
