"""Imports of large libraries at the start of a process of our own."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def in_one_go() -> Iterator[None]:
    """Import without looking for garbage: what modules make stays, and going through it takes a fifth of the time.

    The first time, all that is there is set aside for good, so that later searches need not go through it either.

    Example:
        >>> with in_one_go():
        ...     import ssl_pdr.divergences
        >>> gc.isenabled()
        True
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        _set_aside()
        if enabled:
            gc.enable()


@cache  # once: later there may be garbage among what it would keep
def _set_aside() -> None:
    gc.freeze()
