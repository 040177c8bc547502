"""What a terminal shows while a run is under way, and when it has ended."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from ssl_pdr.choices import REGULARIZERS_WITHOUT_DIVERGENCE, TFIDF
from ssl_pdr.imports import in_one_go
from ssl_pdr.printing import one_line
from ssl_pdr.report.curve_style import method_label, metric_label, part_label


def printable(text: str) -> str:
    r"""Text from data, names and paths, that can form neither control sequences nor markup.

    Example:
        >>> print(printable("[red]a\x1b[2J"))
        \[red]a [2J
    """
    return escape(one_line(text))


@contextmanager
def libraries(*, verbose: bool) -> Iterator[None]:
    """Import the large libraries inside: it takes less time there, and they are silent (but for errors) unless `verbose`."""
    with in_one_go():
        if verbose:
            logging.basicConfig(level=logging.INFO)
        else:
            quiet()
        yield


def quiet() -> None:
    """Silence the libraries (not their errors); before they are imported, if possible."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what DistributedDataParallel has to say of every model
    warnings.filterwarnings("ignore")
    for name in ("ssl_pdr", "datasets", "accelerate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()


class LiveView:
    """A listener that draws a progress bar with time left, CE, R and accuracy on stderr; lines where it is no terminal.

    Args:
        enabled: False shows nothing.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._console = Console(stderr=True, quiet=not enabled, emoji=False)
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._told = time.monotonic()

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def stage(self, text: str) -> None:
        """A line for each stage."""
        if text == "training" and self._console.is_terminal:
            self._start()
        elif self._progress is not None and text.startswith("stopping"):
            self._progress.console.print(printable(text))
        else:
            self._stop()
            self._console.print(f"[dim]{printable(text)} …[/dim]")

    def warn(self, text: str) -> None:
        """A line that stands out."""
        self._console.print(f"[yellow]warning:[/yellow] {printable(text)}", soft_wrap=True)

    def step(self, step: int, steps: int) -> None:
        """Move the bar."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=step, total=steps)

    def log(self, logs: dict[str, Any]) -> None:
        """Show the parts of the loss; where there is no terminal, one line every ten seconds."""
        parts = f"CE {logs['ce']:.3f}  R {logs['r']:.4f}  accuracy {logs['accuracy']:.1%}"
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, parts=parts)
        elif time.monotonic() - self._told > 10:
            self._told = time.monotonic()
            self._console.print(f"step {logs['step']}  {parts}")

    def _start(self) -> None:
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[parts]}"),
        )
        self._progress = Progress(*columns, console=self._console)
        self._bar = self._progress.add_task("", total=None, parts="")
        self._progress.start()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def show_result(result: dict[str, Any]) -> None:
    """Scores beside the baseline, the budget, the time, and where the model lies."""
    config, scores, budget = result["config"], result["scores"], result["budget"]
    share = f"{budget['fraction']:.0%} of labels" if budget["fraction"] >= 0.01 else f"{budget['labelled']} labels"
    title = f"{result['data']['name']} · {_method(config)} · {share} · seed {config['seed']}"
    table = scores_table(title, scores, result["relative_drop"])
    console = Console(emoji=False)
    console.print(table)
    steps = result["timing"]["steps"]
    rows = [f"{budget['labelled']} labelled rows"]
    if budget["unlabelled"]:
        rows.append(f"{budget['unlabelled']} further rows of {result['data']['name']}")
    rows += [f"{c['name']} ({_corpus(c)})" for c in result["data"]["unlabelled"]]
    console.print(printable(" + ".join(rows)), soft_wrap=True)
    console.print(f"{steps} step{'s' * (steps != 1)}, trained in {result['timing']['train_seconds']:.0f} s")
    for note, count in result["data"]["notes"].items():
        console.print(f"[dim]{printable(note)}: {count}[/dim]", soft_wrap=True)
    console.print(f"model: {printable(config['output'])}/model", soft_wrap=True)


_METRICS = ("accuracy", "f1", "exact")
_SHOWN_APART = ("macro_f1", "rows", "originals", "best_f1_threshold", "best_exact_threshold")


def scores_table(title: str, scores: dict[str, Any], drops: Mapping[str, float | None]) -> Table:
    """Scores × 100, a row for each set; below it those of its groups.

    Args:
        title: of the table.
        scores: by the name of the set; the baseline under `baseline_tfidf`.
        drops: of each set, relative to the in-domain score.
    """
    baseline = scores.get("baseline_tfidf", {})
    sets = {name: values for name, values in scores.items() if name != "baseline_tfidf"}
    metrics = [name for name in _METRICS if any(name in values for values in sets.values())]
    table = Table(title=printable(title))
    table.add_column("set")
    table.add_column("rows", justify="right")
    for name in metrics:
        table.add_column(metric_label(name), justify="right", style="bold")
    if baseline:
        table.add_column(method_label(TFIDF), justify="right")
    if drops:
        table.add_column("relative drop", justify="right")
    for part, values in sets.items():
        cells = [
            printable(part_label(part)),
            str(values["rows"]),
            *(_percent(values.get(name)) for name in metrics),
        ]
        if baseline:
            cells.append(_percent(baseline.get(part, {}).get("accuracy")))
        if drops:
            cells.append(_percent(drops.get(part)))
        table.add_row(*cells)
        groups = [name for name in values if name not in (*_METRICS, *_SHOWN_APART) and not name.endswith("_rows")]
        for name in groups:
            table.add_row(
                f"[dim]  {printable(name.replace('_', ' '))}[/dim]", "", f"[dim]{_percent(values[name])}[/dim]"
            )
    return table


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def show_dry_run(outcome: dict[str, Any]) -> None:
    """The resolved configuration, what it is made from, and the first mixed batch."""
    console = Console(emoji=False)
    settings = Table(title="resolved configuration", show_header=False)
    for name, value in outcome["config"].items():
        settings.add_row(name, printable(", ".join(value) if isinstance(value, list | tuple) else str(value)))
    rows = Table(title="first batch", expand=True)
    for column in ("row", "label", "tokens"):
        rows.add_column(column, no_wrap=True, max_width=20, overflow="ellipsis")
    rows.add_column("text", no_wrap=True, ratio=1, overflow="ellipsis")
    for row in outcome["first_batch"]:
        label = "[dim]–[/dim]" if row["label"] is None else printable(row["label"])
        rows.add_row(str(row["row"]), label, str(row["tokens"]), printable(row["text"]))
    console.print(settings, rows)
    console.print(f"{outcome['labelled']} labelled rows, {printable(outcome['unlabelled'])}")
    for note, count in outcome["notes"].items():
        console.print(f"[dim]{printable(note)}: {count}[/dim]", soft_wrap=True)
    for warning in outcome["warnings"]:
        console.print(f"[yellow]warning:[/yellow] {printable(warning)}", soft_wrap=True)


def _corpus(corpus: dict[str, Any]) -> str:
    rows = "streamed" if corpus["rows"] is None else f"{corpus['rows']} rows"
    return rows if corpus["weight"] is None else f"{rows}, weight {corpus['weight']:g}"


def _method(config: dict[str, Any]) -> str:
    plain = config["reg"] in REGULARIZERS_WITHOUT_DIVERGENCE
    return str(config["reg"] if plain else f"{config['reg']} {config['div']}")
