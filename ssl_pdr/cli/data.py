"""`ssl-pdr data`: what a corpus is like, and what leaks between its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, config_options, read_options
from ssl_pdr.config import make_config
from ssl_pdr.errors import ConfigError
from ssl_pdr.printing import json_line


@config_options("Data", "unlabelled", "split_documents", "model", "max_length", "seed", without=["data_fingerprint"])
def data_command(
    *,
    source: Annotated[
        str | None, typer.Argument(help="The corpus, as for --data.", metavar="[NAME|FILE]", show_default=False)
    ] = None,
    near: Annotated[bool, typer.Option("--near/--no-near", help="Look for near duplicates too.")] = True,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Show a corpus: counts, balance, lengths, duplicates, and leaks between its parts."""
    options = read_options(given)
    if source is not None and source.partition(".txt")[1]:  # texts alone
        options["unlabelled"] = (source, *options.get("unlabelled", ()))
    elif source is not None and options.setdefault("data", source) != source:
        raise ConfigError(f"expected one corpus, got {source} and --data {options['data']}")
    labelled = "data" in options or "unlabelled" not in options
    config = make_config(options).resolved()

    from ssl_pdr.cli.live import LiveView, libraries, printable

    with libraries(verbose=False):
        from ssl_pdr import materials
        from ssl_pdr.data.checks import inspect_corpus
        from ssl_pdr.data.question_corpus import as_texts
        from ssl_pdr.data.tables import Table
        from ssl_pdr.tasks.base import load_tokenizer

    with LiveView(enabled=not as_json) as view:
        view.stage("reading the data")
        config = materials.with_task(config) if labelled else config
        corpus = materials.corpus_of(config, config.seed) if labelled else None
        parts: dict[str, Any] = {} if corpus is None else {"train": corpus.train, **corpus.evaluation}
        counted = {} if corpus is None else dict(corpus.notes)
        for extra in materials.corpora_of(config, corpus):
            assert isinstance(extra.rows, Table)  # noqa: S101  # nothing is streamed here
            counted |= extra.notes
            parts[f"unlabelled {extra.name}"] = extra.rows.rows
        parts = {name: as_texts(part) for name, part in parts.items()}
        counted = {kind: number for kind, number in counted.items() if number}
        tokenizer = load_tokenizer(config.model)

        def lengths_of(texts: Sequence[str], partners: Sequence[str] | None) -> list[int]:
            columns = (list(texts),) if partners is None else (list(texts), list(partners))
            return [len(ids) for ids in tokenizer(*columns, truncation=False, verbose=False)["input_ids"]]

        report = inspect_corpus(
            parts,
            [] if corpus is None else corpus.label_names,
            lengths_of=lengths_of,
            max_length=config.max_length,
            near=near,
            progress=view.stage,
        )
    if as_json:
        fingerprint = None if corpus is None else corpus.fingerprint
        typer.echo(json_line({**report.to_dict(), "counted": counted, "fingerprint": fingerprint}))
        return
    from rich.console import Console

    from ssl_pdr.cli.corpus_view import show_report

    console = Console(emoji=False)
    show_report(report, console)
    for kind, count in counted.items():
        console.print(f"[dim]{printable(kind)}: {count}[/dim]")
