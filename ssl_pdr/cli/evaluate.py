"""`ssl-pdr evaluate`: what a finished run, or any trained model, scores on other sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ssl_pdr.cli.options import AsJson, config_options, read_options
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.files import is_there
from ssl_pdr.printing import json_line


@config_options(
    "data_dir",
    "eval_limit",
    "text_column",
    "pair_column",
    "label_column",
    "label_map",
    "encoding",
    "skip_bad_rows",
    "max_length",
    "collapse",
    "Question answering",
)
def evaluate_command(
    *,
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of a finished run, a model's folder, or a Hub model.", metavar="RUN|MODEL", show_default=False
        ),
    ],
    on: Annotated[
        list[str],
        typer.Option("--on", help="What to evaluate on, as for --eval-on; may be repeated.", metavar="NAME|FILE"),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where predictions and scores go; for a model that is no run: nowhere by default.",
            metavar="DIR",
            show_default="RUN/evaluation",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the drop relative to the run's in-domain score.", metavar="FILE")
    ] = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Evaluate a trained model on any number of sets, in one go."""
    from ssl_pdr.run_folder import RunFolder

    folder = RunFolder(Path(source))
    options = read_options(given)
    before: dict[str, Any] | None = None
    if is_there(source) and folder.is_run:
        trained, result = folder.read_finished()
        before = _in_domain(result, folder.result)
        config = make_config(_to_read(trained), options, {"model": str(folder.model.absolute())})
        output = folder.evaluation if output is None else output
    else:
        _refuse_a_missing_folder(source)
        config = make_config({"max_length": 384}, options, {"model": source})
        if plot is not None:
            raise ConfigError(f"--plot draws the drop from a run's in-domain score; {source} is no run, leave it out")

    from ssl_pdr.cli.live import LiveView, libraries, printable, scores_table

    with libraries(verbose=False):
        from ssl_pdr.evaluation import evaluate_model
        from ssl_pdr.report.figures import check_plot
        from ssl_pdr.report.relative_drop import draw_relative_drops

    if plot is not None:
        check_plot(plot)
    with LiveView(enabled=not as_json) as view:
        result = evaluate_model(config.resolved(), on, view, output=output, in_domain=before)
    if plot is not None:
        drops = {name: {"ours": drop, "paper": None} for name, drop in result["relative_drop"].items()}
        rows = [{"label": Path(source).name, "drops": drops}]
        draw_relative_drops({"title": "relative drop from the in-domain score", "rows": rows}, plot)
    if as_json:
        typer.echo(json_line(result))
        return
    from rich.console import Console

    console = Console(emoji=False)
    console.print(scores_table(str(source), result["scores"], result["relative_drop"]))
    for name, facts in result["data"].items():
        for kind, count in facts["notes"].items():
            console.print(f"[dim]{printable(f'{name}: {kind}: {count}')}[/dim]", soft_wrap=True)
    if output is not None:
        console.print(f"predictions: {printable(str(output))}", soft_wrap=True)


def _refuse_a_missing_folder(source: str) -> None:
    """A mistyped folder is no Hub name: nobody should wait for the Hub to say so."""
    path = Path(source)
    in_a_folder = path.parent.name != "" and path.parent.is_dir()
    if not is_there(path) and (source.startswith((".", "/", "~")) or in_a_folder):
        raise OutputError(
            f"there is no folder {source}; expected that of a finished run or of a model, or a name on the Hub"
        )


def _in_domain(result: Any, file: Path) -> dict[str, Any]:
    """The scores of a run's own held-out rows, which those on further sets are compared with."""
    try:
        scores = result["scores"]["in_domain"]
        plain = all(isinstance(score, int | float) for score in scores.values()) and bool(
            {"accuracy", "f1"} & {*scores}
        )
    except (KeyError, TypeError, AttributeError):
        plain = False
    if not plain:
        raise OutputError(f"{file} holds no scores of the run; train it anew")
    return dict(scores)


def _to_read(trained: TrainConfig) -> dict[str, Any]:
    """What of a run's configuration says how further sets are read and scored."""
    names = (
        "data_dir text_column pair_column label_column label_map encoding skip_bad_rows max_length stride max_answer_length "
        "n_best collapse seed"
    )
    return {name: getattr(trained, name) for name in names.split()}
