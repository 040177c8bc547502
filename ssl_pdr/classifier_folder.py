"""A saved classifier on disk: a folder that is whole or not there, and one file that says what it holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from ssl_pdr.errors import ModelError, OutputError

MANIFEST = "pdr_classifier.json"
_FORMAT = 1
_KINDS = {"params": dict, "classes": list, "dtype": str, "pairs": bool, "files": list}


def write_folder(path: str | os.PathLike[str], notes: Mapping[str, Any], fill: Callable[[Path], None]) -> None:
    """Write a folder under a temporary name beside its place, with `notes` in its manifest, and rename it.

    Args:
        path: where it shall be; an earlier one of ours, or an empty folder, is replaced.
        notes: `params`, `classes`, `dtype` and `pairs`, as JSON takes them.
        fill: writes everything else into the folder that it is given.

    Raises:
        OutputError: if something else is there, or the place cannot be written.
    """
    target = Path(path).expanduser().resolve()
    fresh, old = (target.with_name(f".{target.name}.{uuid4().hex}.{end}") for end in ("tmp", "old"))
    try:
        _check_free(target)
        fresh.mkdir(parents=True)
        fill(fresh)
        files = sorted([*(file.name for file in fresh.iterdir()), MANIFEST])
        text = json.dumps({"format": _FORMAT, **notes, "files": files}, indent=2, ensure_ascii=False)
        (fresh / MANIFEST).write_text(text + "\n", encoding="utf-8")
        for file in fresh.iterdir():
            with file.open("rb+") as written:
                os.fsync(written.fileno())
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OutputError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {target}: {reason}; choose another place") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The notes that `write_folder` took, when all files are there that it wrote.

    Raises:
        ModelError: if they are not.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} holds no saved PDRClassifier ({MANIFEST}: {error.strerror})") from None
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}; save the classifier again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ModelError(f"{path} is not of the format {_FORMAT} that this version reads; save the classifier again")
    wrong = [name for name, kind in _KINDS.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise ModelError(f"{path} is damaged: {', '.join(wrong)} is not as saved; save the classifier again")
    missing = [str(name) for name in manifest["files"] if not (folder / str(name)).is_file()]
    if missing:
        raise ModelError(f"{folder} is damaged: {', '.join(missing)} is missing; save the classifier again")
    return manifest


def _check_free(target: Path) -> None:
    """Refuse a place where something is that would be lost."""
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file, expected a folder; choose another place")
    found = {file.name for file in target.iterdir()}
    try:
        foreign = found and found - set(map(str, read_manifest(target)["files"]))
    except ModelError:
        foreign = found
    if foreign:
        raise OutputError(f"{target} holds {min(foreign)}, which no saved classifier has; choose another folder")
