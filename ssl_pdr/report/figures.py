"""What all figures have in common: matplotlib without a screen, and files of the kinds that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_pdr.errors import ConfigError, OutputError


def check_plot(path: Path) -> None:
    """Refuse a plot that could not be drawn, before anything is measured for it.

    Raises:
        ConfigError: without matplotlib, or for a kind of file that it does not write.
        OutputError: where the folder is not there.
    """
    check_kind(path)
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; make it, or choose another --plot")


def new_figure(**options: Any) -> Any:
    """An empty `matplotlib.figure.Figure`.

    Raises:
        ConfigError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("plots need matplotlib; run: pip install 'ssl-pdr[embedded]'") from None
    return Figure(**options)  # no pyplot: it holds a state, and may look for a screen


def check_kind(path: Path) -> None:
    """Refuse a kind of file that matplotlib does not write.

    Raises:
        ConfigError: for one, and without matplotlib.
    """
    if path.suffix.removeprefix(".").lower() not in new_figure().canvas.get_supported_filetypes():
        raise ConfigError(f"cannot draw a plot as {path.name!r}; expected a name that ends in .svg, .png or .pdf")


def save_figure(figure: Any, path: Path, **options: Any) -> None:
    """Write a figure; the suffix says the kind: svg, png, pdf.

    Raises:
        ConfigError: for a kind of file that matplotlib does not write.
        OutputError: if the file cannot be written.
    """
    check_kind(path)
    try:
        figure.savefig(path, **options)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another place") from None


def in_percent(fraction: float | None) -> float:
    """In per cent; NaN where there is none: no mark is drawn there."""
    return float("nan") if fraction is None else 100 * fraction
