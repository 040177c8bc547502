"""Files that are whole or not there: written under a temporary name, flushed, renamed; and folders that one process writes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from ssl_pdr.errors import OutputError

LOCK = ".lock"


def is_passing(path: Path) -> bool:
    """Whether a file is one of those that come and go while a folder is written to, and that a killed process leaves.

    Example:
        >>> is_passing(Path("run/.lock")), is_passing(Path("run/config.toml"))
        (True, False)
    """
    return path.name in (LOCK, ".writable") or (path.name.startswith(".") and path.name.endswith(".tmp"))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While open, this process alone may write to a folder; a process that dies lets go of it.

    Raises:
        OutputError: if another process has it, or it cannot be written to.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{folder} is in use by another process; wait for its end, or choose another --output"
        ) from None
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot lock {folder}: {reason}; choose another --output") from None
    try:
        yield
    finally:
        lock.release()


def atomic_write(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path`; a reader sees the old file or the new one, never a part of it.

    Raises:
        OutputError: if the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path}: {reason}; choose another place") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
