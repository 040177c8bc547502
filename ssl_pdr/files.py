"""Files that are whole or not there: written under a temporary name, flushed, renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ssl_pdr.errors import OutputError


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
