"""`ssl-pdr doctor`: is everything there, and does the noise survive the dtype?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer


def doctor_command(
    model: Annotated[str, typer.Option(help="Model to look at.")] = "minilm-l6",
    preset: Annotated[str, typer.Option(help="Preset that gives radius and site.")] = "default",
    radius: Annotated[float | None, typer.Option(help="Size of the perturbation.", show_default="preset's")] = None,
    site: Annotated[str | None, typer.Option(help="Where noise enters.", show_default="preset's")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Check the environment, the embedded default, and what each dtype resolves at this radius."""
    from ssl_pdr.cli.live import quiet
    from ssl_pdr.config import make_config

    config = make_config({"model": model, "preset": preset, "radius": radius, "site": site, "reg": "rpt"}).resolved()
    quiet(verbose=False)
    import torch

    from ssl_pdr.diagnostics import resolution
    from ssl_pdr.methods import build_regularizer
    from ssl_pdr.provenance import machine, versions
    from ssl_pdr.regularizers import RPT
    from ssl_pdr.tasks.base import load_tokenizer
    from ssl_pdr.tasks.classification import SequenceClassification

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(config.model)
    loaded = SequenceClassification(["no", "yes"]).load_model(config.model)
    if getattr(loaded.config, "pad_token_id", None) is None:
        loaded.config.pad_token_id = tokenizer.pad_token_id
    inputs = tokenizer(
        ["A sentence to look at.", "And another, somewhat longer one."], padding=True, return_tensors="pt"
    )
    regularizer = build_regularizer(config)
    assert isinstance(regularizer, RPT)  # noqa: S101
    report: dict[str, Any] = {
        "versions": versions(),
        "machine": machine(device),
        "embedded": _embedded(),
        "site": config.site,
        "resolution": [asdict(row) for row in resolution(loaded.eval(), inputs, regularizer)],
    }
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _show(report)


def _embedded() -> dict[str, str]:
    from ssl_pdr.data.encoder import embedded_encoder
    from ssl_pdr.data.pydocs import load_pydocs_topics
    from ssl_pdr.errors import PDRError

    found = {}
    try:
        embedded_encoder()
        found["encoder"] = "found, checksum right"
    except PDRError as error:
        found["encoder"] = str(error)
    try:
        corpus = load_pydocs_topics()
        found["pydocs-topics"] = f"{len(corpus.train.texts)} training rows, fingerprint {corpus.fingerprint[:12]}"
    except PDRError as error:
        found["pydocs-topics"] = str(error)
    return found


def _show(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    facts = Table(title="environment", show_header=False)
    for group in ("versions", "machine", "embedded"):
        for name, value in report[group].items():
            facts.add_row(name, escape(str(value)))
    noise = Table(title=f"noise at site {report['site']!r}")
    for column in ("dtype", "token norm", "radius", "share left", "90 % left from radius"):
        noise.add_column(column, justify="right")
    for row in report["resolution"]:
        noise.add_row(
            row["dtype"],
            f"{row['token_norm']:.3g}",
            f"{row['radius']:.3g}",
            f"{row['share']:.1%}",
            f"{row['smallest_radius']:.2g}",
        )
    Console().print(facts, noise)
