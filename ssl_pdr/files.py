"""Files that are whole or not there: written under a temporary name, flushed, renamed; and read only where they are files."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ssl_pdr.errors import OutputError


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
