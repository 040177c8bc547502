"""What a person typed, and the files that it means: a file, a folder with its parts, or a glob."""

from __future__ import annotations

import difflib
import re
from itertools import takewhile
from pathlib import Path, PurePath

from ssl_pdr.data.readers import COMPRESSIONS, FORMATS, file_format, known_endings, unknown_ending
from ssl_pdr.data.text_lines import shown
from ssl_pdr.errors import DataError

_PARTS = {
    "train": re.compile(r"train(ing)?(?![a-z])"),
    "validation": re.compile(r"(validation|valid|val|development|dev)(?![a-z])"),
    "test": re.compile(r"test(ing)?(?![a-z])"),
}
_ALONE = {"train", "training", "validation", "valid", "val", "development", "dev", "test", "testing"}
_GLOB = re.compile(r"[*?\[]")


def is_path(spec: str) -> bool:
    """Whether this looks like a file, a folder or a glob, rather than an embedded name or one on the Hub.

    Example:
        >>> [is_path(spec) for spec in ("a.csv", "./data", "parts/*.tsv.gz", "owner/name", "owner/name:config")]
        [True, True, True, False, False]
    """
    name = spec.partition(":")[0]  # a Hub name has one slash, and a colon before its configuration
    return (
        spec.startswith((".", "/", "~"))
        or spec.endswith("/")
        or name.count("/") > 1
        or _GLOB.search(spec) is not None
        or PurePath(spec.lower()).suffix in FORMATS + COMPRESSIONS
        or (spec != "" and _exists(Path(spec)))
    )


def find_files(spec: str, part: str = "train") -> list[Path]:
    """The files that a path or a glob means, sorted.

    Args:
        spec: a file, a folder, or a glob, in which `**` stands for folders within folders; `~` is the home folder.
        part: of a folder: train, validation or test, as `parts_of` tells them apart.

    Raises:
        DataError: in one line, for what is not there, cannot be looked at, or is no data.
    """
    try:
        path = Path(spec).expanduser()
    except RuntimeError:
        raise DataError(f"{spec!r} begins with the home folder of somebody who has none here; check the path") from None
    if not _exists(path):
        if not _GLOB.search(spec):
            raise _missing(path)
        return _matches(path)
    if path.is_dir():
        parts = parts_of(path)
        if part not in parts:
            raise DataError(f"{shown(path)} has no {part} part; it has {' and '.join(parts)}; name a file")
        return [_reachable(file) for file in parts[part]]
    if not file_format(path):
        raise unknown_ending(path)
    return [_reachable(path)]


def parts_of(folder: Path) -> dict[str, list[Path]]:
    """The files of a folder as `train`, `validation` and `test`, by how their names begin, each sorted.

    Names begin with train; validation, valid, val or dev; test. Where there are none of them all files are `train`, otherwise
    files with other names are left out. Hidden files, other formats and folders in the folder never count. Of MNLI's two
    development sets the matched one is taken; beside `train.csv`, `train_old.csv` is not.

    Raises:
        DataError: it cannot be looked at, or has no file in a known format.
    """
    entries = _entries(folder)
    files = [path for path in entries if not path.name.startswith(".") and file_format(path) and not path.is_dir()]
    if not files:
        inner = [path.name for path in entries if not path.name.startswith(".") and path.is_dir()]
        hint = f"; to read the folders in it, give a glob such as {shown(folder / '**' / '*.csv')}" if inner else ""
        raise DataError(f"{shown(folder)} has no files that can be read; expected some of: {known_endings()}{hint}")
    parts = {part: [path for path in files if begins.match(path.name.lower())] for part, begins in _PARTS.items()}
    for part, found in parts.items():
        alone = [path for path in found if path.name.lower().partition(".")[0] in _ALONE]
        if alone:
            parts[part] = alone
        elif any("_matched" in path.name for path in found):
            parts[part] = [path for path in found if "_mismatched" not in path.name]
    return {part: found for part, found in parts.items() if found} or {"train": files}


def _matches(pattern: Path) -> list[Path]:
    """Files in a known format; hidden ones, and folders that are links, are not looked into."""
    fixed = list(takewhile(lambda name: not _GLOB.search(name), pattern.parts))
    base, rest = Path(*fixed), list(pattern.parts[len(fixed) :])
    if rest[-1] == "**":
        rest.append("*")
    try:
        found = sorted(path for path in set(base.glob("/".join(rest))) if path.is_file() and not _hidden(path, base))
    except (OSError, ValueError, NotImplementedError, re.error) as error:
        raise DataError(f"{shown(pattern)} is no glob that can be followed: {error}; check it") from None
    known = [path for path in found if file_format(path)]
    if known:
        return known
    if found:
        raise unknown_ending(found[0])
    raise DataError(f"no file matches {shown(pattern)}; expected some of: {known_endings()}; check the pattern")


def _hidden(path: Path, base: Path) -> bool:
    return any(name.startswith(".") for name in path.relative_to(base).parts)


def _missing(path: Path) -> DataError:
    names = [near.name for near in _entries(path.parent)] if _exists(path.parent) else []
    near = difflib.get_close_matches(path.name, names, n=3)
    hint = f"did you mean {' or '.join(shown(Path(name)) for name in near)}?" if near else "check the path"
    return DataError(f"there is no file {shown(path)}; {hint}")


def _reachable(path: Path) -> Path:
    try:
        path.stat()
    except OSError as error:  # of a link, that leads nowhere or in circles
        raise DataError(f"cannot read {shown(path)}: {error.strerror}; check where it leads") from None
    return path


def _exists(path: Path) -> bool:
    """Whether something is there, though it be a link that leads nowhere."""
    try:
        path.lstat()
    except (OSError, ValueError):  # nothing; or a name that no file can have
        return False
    return True


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot look into {shown(folder)}: {error.strerror}; check the path") from None
