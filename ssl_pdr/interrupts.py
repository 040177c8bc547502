"""Ctrl-C and SIGTERM: the first lets a step finish and keeps a checkpoint, a second Ctrl-C breaks off at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ssl_pdr.errors import InterruptedRunError, TerminatedRunError


class Terminated(KeyboardInterrupt):
    """SIGTERM, which batch systems, containers and `kill` send: what waits for Ctrl-C ends in the same orderly way."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """While open, SIGTERM raises `Terminated`, as Ctrl-C raises `KeyboardInterrupt`."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated


def stopped(message: str, by: BaseException | int | None) -> InterruptedRunError:
    """The error for a run that was stopped.

    Args:
        message: how far it came and how to go on.
        by: the exception or the signal that stopped it.

    Example:
        >>> stopped("stopped at step 3", signal.SIGTERM).exit_code
        143
    """
    asked = by == signal.SIGTERM or isinstance(by, Terminated)
    return (TerminatedRunError if asked else InterruptedRunError)(message)


@contextmanager
def stop_on_signal(ask: Callable[[int], None]) -> Iterator[None]:
    """While open, a first Ctrl-C or SIGTERM only calls `ask` with its number; another one breaks off at once."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread only
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask_once(number: int, frame: Any) -> None:
        restore()
        ask(number)

    for number in before:
        signal.signal(number, ask_once)
    try:
        yield
    finally:
        restore()
