"""The command line: `ssl-pdr train`, `evaluate`, `curve`, `report`, `reproduce`, `inspect`, `data`, `split`, `list` and `doctor`."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence

import typer

from ssl_pdr.cli.curve import curve_command
from ssl_pdr.cli.data import data_command
from ssl_pdr.cli.doctor import doctor_command
from ssl_pdr.cli.evaluate import evaluate_command
from ssl_pdr.cli.inspect import inspect_command
from ssl_pdr.cli.listing import list_command
from ssl_pdr.cli.report import report_command
from ssl_pdr.cli.reproduce import reproduce_command
from ssl_pdr.cli.split import split_command
from ssl_pdr.cli.train import train_command
from ssl_pdr.errors import ConfigError, PDRError, TerminatedRunError
from ssl_pdr.interrupts import Terminated, sigterm_raises
from ssl_pdr.printing import one_line
from ssl_pdr.processes import speaks, started

app = typer.Typer(
    help="Train text models from few labels and much unlabelled text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("curve")(curve_command)
app.command("report")(report_command)
app.command("data")(data_command)
app.command("split")(split_command)
app.command("list")(list_command)
app.command("reproduce")(reproduce_command)
app.command("inspect")(inspect_command)
app.command("doctor")(doctor_command)

_LONGEST = 2000  # characters of an error: it may name columns or keys, and somebody's file may have any number of them


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Show the version and stop.")
) -> None:
    if started() > 1 and context.invoked_subcommand not in (None, "train"):
        raise ConfigError(
            f"{context.invoked_subcommand} runs in one process; only train can share its work among several"
        )
    if version:
        from ssl_pdr import __version__

        typer.echo(f"ssl-pdr {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; whatever the user can mend ends in one line on stderr and exit code 2, SIGTERM in 143."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal without UTF-8 shows what it can
        sys.stdout.reconfigure(errors="replace")
    try:
        with sigterm_raises():
            code = app(list(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
            sys.stdout.flush()
    except typer.TyperException as error:
        code = _fail(getattr(error, "format_message", error.__str__)() or "no command given; see ssl-pdr --help", 2)
    except PDRError as error:
        code = _fail(str(error), error.exit_code, speak=speaks(error))
    except Terminated:
        code = _fail("terminated; finished runs and checkpoints are kept", TerminatedRunError.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted; finished runs and checkpoints are kept", 2)
    except OSError as error:
        if _verbose(arguments):
            raise
        code = _fail(_of_the_system(error), 2)
    except Exception as error:
        if _verbose(arguments):
            raise
        code = _fail(f"{type(error).__name__}: {error} (unexpected: --verbose shows where; please report it)", 2)
    sys.exit(code or 0)


def _verbose(arguments: Sequence[str] | None) -> bool:
    return "--verbose" in sys.argv or "--verbose" in (arguments or ())


def _of_the_system(error: OSError) -> str:
    """What the operating system refused: a place that cannot be used, or an output that takes no more."""
    if error.filename is not None:
        return f"cannot use {error.filename}: {error.strerror}; check the path and its permissions"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EPIPE, errno.EIO):
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1
        )  # nobody takes what is left
        return f"cannot write the output: {error.strerror}"
    return f"{type(error).__name__}: {error} (unexpected: --verbose shows where; please report it)"


def _fail(message: str, code: int, *, speak: bool | None = None) -> int:
    if not (speaks() if speak is None else speak):
        return code
    line = one_line(" ".join(message.split()))
    print(f"error: {line[:_LONGEST]}{' (cut)' * (len(line) > _LONGEST)}", file=sys.stderr)
    return code
