"""Checkpoints that are whole or not there: written under a temporary name, sealed by checksums, renamed; verified before they are used."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from ssl_pdr.errors import ConfigError, OutputError
from ssl_pdr.files import atomic_write

SEAL = "checksums.json"
PREFIX = "checkpoint-"
KEPT = 2  # the one before stays until the next is whole


def unfinished(place: Path) -> Path:
    """The folder, beside the checkpoints, of what is being written or removed; what a killed process leaves there counts for nothing."""
    return place / ".unfinished"


def step_of(checkpoint: Path) -> int:
    """The optimizer step after which a checkpoint was written; −1 for a folder that is none.

    Example:
        >>> step_of(Path("checkpoints/checkpoint-40")), step_of(Path("checkpoints/notes"))
        (40, -1)
    """
    number = checkpoint.name.removeprefix(PREFIX)
    return int(number) if checkpoint.name.startswith(PREFIX) and number.isdecimal() else -1


def newest_first(place: Path) -> list[Path]:
    """The checkpoints in a folder, damaged or not, by step; the clock plays no part.

    Raises:
        OutputError: if it cannot be read, which does not say that there are none.
    """
    try:
        found = [path for path in place.iterdir() if step_of(path) >= 0 and path.is_dir()]
    except FileNotFoundError as error:
        if place.is_symlink():  # to a disk that is away
            raise _out_of_reach(place, error) from None
        return []
    except OSError as error:
        raise _out_of_reach(place, error) from None
    return sorted(found, key=step_of, reverse=True)


def seal(checkpoint: Path) -> None:
    """Bring all of a checkpoint to the disk, then write its checksums, whole or not at all.

    Raises:
        OutputError: if the disk refuses.
    """
    files = {}
    for path in _files(checkpoint):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            files[path.relative_to(checkpoint).as_posix()] = {
                "bytes": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
    atomic_write(checkpoint / SEAL, json.dumps({"format": 1, "files": files}, indent=2) + "\n")


def publish(checkpoint: Path) -> None:
    """Seal a checkpoint that is in `unfinished`, and give it its name: from now on it counts.

    Raises:
        OutputError: if the disk refuses the seal.
        OSError: if it refuses the name.
    """
    named = checkpoint.parent.parent / checkpoint.name
    if named.exists():  # a stream ended just after a step that was saved: there is nothing new since
        shutil.rmtree(checkpoint, ignore_errors=True)
    else:
        seal(checkpoint)
        checkpoint.rename(named)
        _flush(named.parent)
    with suppress(OSError):
        checkpoint.parent.rmdir()


def _flush(folder: Path) -> None:
    """Bring the names in a folder to the disk, before an older checkpoint is let go of."""
    with suppress(OSError):  # there are systems on which folders cannot be opened
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in a few words; None if it is as it was written.

    Raises:
        OutputError: if it cannot be read, which says nothing about what is in it.
    """
    try:
        files: dict[str, dict[str, Any]] = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(facts["bytes"]), str(facts["sha256"])) for name, facts in files.items()}
    except FileNotFoundError:
        return f"{SEAL} is missing"
    except OSError as error:
        raise _out_of_reach(checkpoint / SEAL, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"its {SEAL} is damaged"
    for name, (size, digest) in expected.items():
        path = checkpoint / name
        try:
            if not path.is_file():
                return f"{name} is missing"
            if path.stat().st_size != size:
                return f"{name} has {path.stat().st_size} bytes, expected {size}"
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return f"{name} has another checksum than when it was written"
        except OSError as error:
            raise _out_of_reach(path, error) from None
    return None


def _out_of_reach(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot read {path}: {error.strerror or error}; mend that and resume again")


def unreadable(path: Path, what: str, error: Exception) -> ConfigError:
    """The error for a file of a checkpoint that holds something else than what is to be gone on with."""
    reason = " ".join(str(error).split())[:200]
    return ConfigError(f"cannot read {path}, {what}: {reason}; resume from another checkpoint, or start anew")


def last_whole(place: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is as it was written, and what is wrong with newer ones."""
    wrong: list[str] = []
    for checkpoint in newest_first(place):
        if (reason := damage(checkpoint)) is None:
            return checkpoint, wrong
        wrong.append(f"{checkpoint.name} cannot be used: {reason}")
    return None, wrong


def keep_newest(place: Path) -> None:
    """Remove all checkpoints but the newest."""
    for checkpoint in newest_first(place)[KEPT:]:
        remove(checkpoint)


def remove_after(place: Path, step: int) -> None:
    """Remove what was written after a step, and what was not finished: a run that goes on from there writes it anew."""
    with suppress(FileNotFoundError):
        shutil.rmtree(unfinished(place))
    for checkpoint in newest_first(place):
        if step_of(checkpoint) > step:
            remove(checkpoint)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, its name first: half of one never looks damaged."""
    nameless = unfinished(checkpoint.parent) / f"{checkpoint.name}.old"
    nameless.parent.mkdir(exist_ok=True)
    shutil.rmtree(nameless, ignore_errors=True)
    checkpoint.rename(nameless)
    shutil.rmtree(nameless, ignore_errors=True)  # what stays counts for nothing, and is no reason to end a run
    with suppress(OSError):
        nameless.parent.rmdir()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)
