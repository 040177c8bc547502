"""What a person typed, and the files that it means: a file, a folder with its parts, a glob, or a named set in a folder."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path, PurePath

from ssl_pdr.data.catalogue import NAMED, plain_name
from ssl_pdr.data.named import NamedSet, Part
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
    """Whether this looks like a file, a folder or a glob, rather than a name: of a named or embedded set, or on the Hub.

    Example:
        >>> [is_path(spec) for spec in ("a.csv", "./data", "parts/*.tsv.gz", "owner/name", "owner/name:config")]
        [True, True, True, False, False]
    """
    if spec in NAMED:  # whatever lies here; a folder that is called so is ./name
        return False
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


def named_files(named: NamedSet, part: str, data_dir: str) -> list[Path]:
    """The files of a part of a named set: one, or all documents where the set is folders of them.

    They are looked for in folders of `data_dir` that are called as the set is, and then in `data_dir` itself: first by the names
    under which they were published, then by general patterns. All may be compressed.

    Args:
        named: the set.
        part: of it.
        data_dir: a folder.

    Raises:
        DataError: in one line, for a part that the set does not have, a file that is not there, or several that may be meant.
    """
    found = _find_named_files(named, part, data_dir)
    if found:
        return found
    place = named.part(part)
    patterns = [f"{pattern} ({' '.join(named.endings)})" for pattern in place.general]
    wanted = ", ".join([*(f"{name}/*.txt" for name in place.folders), *place.published, *patterns])
    remedy = "put one there, or leave --data-dir out to read it from the Hub"
    if part == "train" and named.evaluated_only:
        remedy = f"{named.name} is only evaluated on: give it to --eval-on"
    where = " or ".join(shown(folder) for folder in [*_own_folders(named, data_dir), Path(data_dir)])
    raise DataError(
        f"{named.name}: no file for its {part} part in {where}; looked for {wanted}, compressed or not; {remedy}"
    )


def has_named_files(named: NamedSet, part: str, data_dir: str) -> bool:
    """Whether there are such files.

    Raises:
        DataError: for several files that may be meant.
    """
    return part in named.parts and bool(_find_named_files(named, part, data_dir))


def _find_named_files(named: NamedSet, part: str, data_dir: str) -> list[Path]:
    place = named.part(part)
    folder = Path(data_dir).expanduser()
    for folders, foreign in (
        (_own_folders(named, data_dir), set()),
        ([folder], _published_by_others(named)),
    ):
        documents = [path for inner in folders for path in _documents(inner, place.folders)]
        if documents:
            return documents
        files = [path for inner in folders for path in _entries(inner) if file_format(path) and not path.is_dir()]
        files = [path for path in files if not path.name.startswith(".") and _bare(path) not in foreign]
        for found in _candidates(files, named, place):
            if len(found) > 1:
                several = " and ".join(shown(path.relative_to(folder)) for path in found)
                raise DataError(
                    f"{named.name}: {shown(folder)} has several files for its {part} part, {several}; name the file that is "
                    f"meant in place of {named.name}, or leave one there"
                )
            if found:
                return found
    return []


def _own_folders(named: NamedSet, data_dir: str) -> list[Path]:
    """The folders in a folder that are called as the set is."""
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"there is no folder {shown(folder)} for the files of {named.name}; check --data-dir")
    return [path for path in _entries(folder) if plain_name(path.name) in named.aliases and path.is_dir()]


def _candidates(files: Sequence[Path], named: NamedSet, place: Part) -> Iterator[list[Path]]:
    """Files that may be meant, the best first."""
    for name in place.published:
        yield [path for path in files if _bare(path) == name.lower()]
    yield [
        path
        for path in files
        if file_format(path) in named.endings and any(fnmatchcase(_bare(path), pattern) for pattern in place.general)
    ]


def _bare(path: Path) -> str:
    """A file's name in lower case, without the ending of a compression."""
    name = PurePath(path.name.lower())
    return name.stem if name.suffix in COMPRESSIONS else name.name


def _published_by_others(named: NamedSet) -> set[str]:
    """Names that are those of other sets only, which general patterns may match where all lie in one folder."""
    own = {name.lower() for part in named.parts.values() for name in part.published}
    every = {name.lower() for other in NAMED.values() for part in other.parts.values() for name in part.published}
    return every - own


def _documents(folder: Path, inner: Sequence[str]) -> list[Path]:
    """All documents in folders of documents; none where one of the folders is missing."""
    folders = [folder / name for name in inner]
    if not all(path.is_dir() for path in folders):
        return []
    return [path for found in folders for path in _entries(found) if file_format(path) == ".txt"]


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
