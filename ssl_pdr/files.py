"""Files that are whole or not there: written under a temporary name, flushed, renamed; read only where they are files; folders that one process has."""

from __future__ import annotations

import errno
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


def is_there(path: str | Path) -> bool:
    """Whether there is something at a path, `~` being the home folder; False for names that no file can have, or that nobody may look at.

    Example:
        >>> is_there("."), is_there("x" * 5000), is_there("~nobody-of-that-name/x")
        (True, False, False)
    """
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError, ValueError):
        return False


def check_file(path: Path) -> None:
    """Refuse a pipe or a device, which could be waited for or read for ever; what is not there, or is a folder, says so itself.

    Raises:
        OSError: for one.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "it is a pipe or a device, expected a file")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8.

    Raises:
        OSError: it cannot be read, see `check_file`.
        UnicodeDecodeError: it is not UTF-8.
    """
    check_file(path)
    return path.read_text(encoding="utf-8")


def atomic_write(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` to `path`; a reader sees the old file or the new one, never a part of it.

    Raises:
        OutputError: if the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        check_file(path)  # a device would be gone, and a file in its place
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
