"""`ssl-pdr doctor`: is everything there, and do the noise and R survive the dtype?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.cli.options import AsJson
from ssl_pdr.printing import json_line

_REGULARIZERS = ("rpt", "vat")
_SENTENCES = [
    f"{who} {what}."
    for who in ("A child", "The old captain", "Nobody in this town", "My favourite film of that year")
    for what in ("sleeps", "tells a long story about the sea", "is better than it looks", "ends badly")
]


# From the heading of a column to the field of a `Resolution`.
_COLUMNS = {
    "noise": "radius",
    "realised": "realised",
    "kept": "share",
    "R": "r",
    "R by rounding": "r_rounding",
    "share above": "above",
    "least radius": "smallest_radius",
}


def doctor_command(
    model: Annotated[str, typer.Option(help="Model to look at.")] = EMBEDDED_ENCODER,
    preset: Annotated[str, typer.Option(help="Preset that gives radius and site.")] = "default",
    reg: Annotated[str, typer.Option(help="Whose noise to look at: rpt or vat.")] = "vat",
    radius: Annotated[float | None, typer.Option(help="Size of the perturbation.", show_default="preset's")] = None,
    site: Annotated[str | None, typer.Option(help="Where noise enters.", show_default="preset's")] = None,
    as_json: AsJson = False,
) -> None:
    """Check the environment, the embedded default, and what each dtype makes of the noise at this radius, and of R."""
    from ssl_pdr.cli.live import libraries
    from ssl_pdr.config import make_config
    from ssl_pdr.errors import ConfigError

    if reg not in _REGULARIZERS:
        raise ConfigError(
            f"--reg: got {reg!r}, expected one of: {', '.join(_REGULARIZERS)}, which add noise to any row"
        )
    config = make_config({"model": model, "preset": preset, "radius": radius, "site": site, "reg": reg}).resolved()
    with libraries(verbose=False):
        import torch

        from ssl_pdr.diagnostics import resolution
        from ssl_pdr.methods import build_regularizer
        from ssl_pdr.provenance import machine, versions
        from ssl_pdr.regularizers import RPT
        from ssl_pdr.tasks.base import fit_together, load_tokenizer
        from ssl_pdr.tasks.classification import SequenceClassification

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = load_tokenizer(config.model)
    torch.manual_seed(0)  # of a head that is not trained yet
    loaded = SequenceClassification(["no", "yes"]).load_model(config.model).to(device)
    fit_together(loaded, tokenizer)
    inputs = tokenizer(_SENTENCES, padding=True, return_tensors="pt").to(device)
    regularizer = build_regularizer(config)
    assert isinstance(regularizer, RPT)  # noqa: S101
    report: dict[str, Any] = {
        "versions": versions(),
        "machine": machine(device),
        "embedded": _embedded(),
        "regularizer": config.reg,
        "site": config.site,
        "radius": config.radius,
        "radius_unit": config.radius_unit,
        "resolution": [asdict(row) for row in resolution(loaded.eval(), inputs, regularizer)],
    }
    if as_json:
        typer.echo(json_line(report))
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
    from rich.table import Table

    from ssl_pdr.cli.live import printable

    facts = Table(title="environment", show_header=False)
    for group in ("versions", "machine", "embedded"):
        for name, value in report[group].items():
            facts.add_row(name, printable(str(value)))
    rows = report["resolution"]
    noise = Table(
        title=f"{report['regularizer']} at site {report['site']!r}: radius {report['radius']:g} ({report['radius_unit']}), "
        f"tokens of norm {rows[0]['token_norm']:.2g}"
    )
    noise.add_column("dtype", min_width=8)
    cells = {heading: [_shown(field, row[field]) for row in rows] for heading, field in _COLUMNS.items()}
    for heading, column in cells.items():
        noise.add_column(heading, justify="right", min_width=max(map(len, column)))
    for row, shown in zip(rows, zip(*cells.values(), strict=True), strict=True):
        noise.add_row(row["dtype"], *shown)
    console = Console(emoji=False)
    console.print(facts, noise)
    for row in rows:
        if row["note"]:
            console.print(printable(f"{row['dtype']}: {row['note']}"))


def _shown(field: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if field in ("share", "above") else f"{value:.2g}"
