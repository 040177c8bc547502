"""Every exception a user can meet. A message is one line: what was got, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PDRError(Exception):
    """Base of all errors that a user can mend: the command line prints one line and exits with `exit_code`."""

    exit_code = 2


class ConfigError(PDRError, ValueError):
    """An option, a recipe key or an argument is wrong."""


class DataError(PDRError, ValueError):
    """A data file, column, label or budget is wrong."""


class ModelError(PDRError, ValueError):
    """A model cannot be loaded or cannot be regularized as asked."""


class OutputError(PDRError, OSError):
    """The output folder cannot be used."""


class NonFiniteLossError(PDRError, ArithmeticError):
    """A part of the loss became NaN or infinite."""


class UnknownNameError(PDRError, KeyError):
    """A name is not registered; the message lists the closest ones there are."""

    def __str__(self) -> str:
        return str(self.args[0])


class OutOfMemoryError(PDRError, MemoryError):
    """A step does not fit into memory."""


class InterruptedRunError(PDRError):
    """The user stopped a run; it can be resumed."""


class TerminatedRunError(InterruptedRunError):
    """The system asked a run to end (SIGTERM); it can be resumed."""

    exit_code = 143  # what a shell reports of a process that SIGTERM ended


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for an unknown `name` of a `kind`, with the closest of the `known` names.

    Example:
        >>> print(unknown_name("divergence", "kll", ["kl", "shl"]))
        unknown divergence 'kll'; did you mean 'kl'? There are: kl, shl
    """
    known = sorted(known)
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    hint = f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else "."
    return UnknownNameError(f"unknown {kind} {name!r}{hint} There are: {', '.join(known)}")
