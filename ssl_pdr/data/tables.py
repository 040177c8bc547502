"""Corpora on disk: rows become an Arrow file that is mapped into memory, with the hashes and labels that checks ask for.

A label takes 4 bytes a row and a hash 8, and they are mapped from disk too. A large file is converted once and found again by
its place, size, date and the way it was read, in the cache folder of `datasets` (`$HF_DATASETS_CACHE`); a small one is
converted anew, in a temporary folder that goes with the process.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from uuid import uuid4

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from ssl_pdr.data.checks import text_key
from ssl_pdr.data.columns import Problems, TextRow
from ssl_pdr.errors import DataError, OutputError

_FORMAT = 1  # of the files below; part of every key
_ROWS, _LABELS, _KEYS, _FACTS = "rows.arrow", "labels.bin", "keys.bin", "facts.json"
_BATCH = 1000
_LABELS_AT_ONCE = 2**16
MAX_CLASSES = 100_000
# Smaller corpora are read and tokenized in a moment.
CACHE_FROM_BYTES = 16 * 2**20
CACHE_FROM_ROWS = 50_000


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one source.

    Attributes:
        rows: `text`, `text_pair` where there are pairs, `group` where one was asked for.
        labels: (n,) int32, numbers of `classes`; −1 without a label.
        classes: the labels, by first appearance.
        keys: (n,) uint64, equal for texts that are the same but for case and white space.
        digest: SHA-256 over texts and labels in their order; places and machines do not enter.
        problems: what was counted while reading, with the first row of each kind.
    """

    rows: Dataset
    labels: NDArray[np.int32]
    classes: list[str]
    keys: NDArray[np.uint64]
    digest: str
    problems: Problems

    def __len__(self) -> int:
        return len(self.rows)


def cache_folder() -> Path:
    """Where converted corpora and their features are kept."""
    return Path(datasets.config.HF_DATASETS_CACHE) / "ssl_pdr"


def cache_key(paths: Iterable[Path], *how: object) -> str | None:
    """What a conversion of these files is found again by; None where they are too small to be worth it."""
    stats = [(str(path.resolve()), path.stat()) for path in paths]
    if sum(stat.st_size for _, stat in stats) < CACHE_FROM_BYTES:
        return None
    facts = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    return hashlib.sha256(json.dumps([_FORMAT, facts, repr(how)]).encode()).hexdigest()[:32]


def store(rows: Iterator[TextRow], problems: Problems, key: str | None, name: str) -> Table:
    """Write rows to disk as they come, and map them into memory.

    Args:
        rows: read to the end, once; not touched where `key` is found.
        problems: counted while `rows` is read.
        key: see `cache_key`.
        name: of the source, in messages.

    Raises:
        DataError: if there is no row.
        OutputError: if the cache folder cannot be written.
    """
    target = None if key is None else cache_folder() / "tables" / key
    if target is not None and target.is_dir():
        try:
            return _load(target)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):  # somebody damaged it: it is made anew
            shutil.rmtree(target, ignore_errors=True)
    try:
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=_scratch().name if target is None else target.parent))
        try:
            _write(rows, problems, folder, name)
            if target is not None:
                try:
                    folder.rename(target)
                except OSError:  # another process was faster
                    shutil.rmtree(folder)
                folder = target
            table = _load(folder)
        except UnicodeEncodeError:
            shutil.rmtree(folder, ignore_errors=True)
            raise DataError(
                f"{name}: a text holds half of a character (a lone surrogate), which no file can; mend it"
            ) from None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot keep {name} on disk: {error.strerror or error}; set HF_DATASETS_CACHE or TMPDIR"
        ) from error
    return table


@cache
def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="ssl_pdr_")


def scratch_file() -> Path:
    """A place for an Arrow file that goes with the process."""
    return Path(_scratch().name) / f"{uuid4().hex}.arrow"


def _write(rows: Iterator[TextRow], problems: Problems, folder: Path, name: str) -> None:
    digest = hashlib.sha256()
    classes: dict[str, int] = {}
    count = 0
    first = next(rows, None)
    if first is None:
        counted = "".join(f"; {number} {kind}" for kind, number in problems.counts.items())
        raise DataError(f"{name} has no rows with a text{counted}; expected some")
    columns = [
        "text",
        *(["text_pair"] if first.pair is not None else []),
        *(["group"] if first.group is not None else []),
    ]
    schema = pa.schema([(column, pa.string()) for column in columns])
    with (
        pa.OSFile(str(folder / _ROWS), "wb") as file,
        pa.ipc.new_stream(file, schema) as writer,
        (folder / _LABELS).open("wb") as label_file,
        (folder / _KEYS).open("wb") as key_file,
    ):
        batch = [first]
        while batch:
            values = {
                "text": [r.text for r in batch],
                "text_pair": [r.pair for r in batch],
                "group": [r.group for r in batch],
            }
            writer.write_batch(
                pa.record_batch([pa.array(values[column], pa.string()) for column in columns], schema=schema)
            )
            if len(classes) > MAX_CLASSES:
                raise DataError(
                    f"{name} has more than {MAX_CLASSES} different labels, such as {next(iter(classes))!r} and "
                    f"{batch[0].label!r}; is --label-column right?"
                )
            labels = [-1 if r.label is None else classes.setdefault(r.label, len(classes)) for r in batch]
            np.array(labels, dtype="<i4").tofile(label_file)
            np.array([text_key(r.text, r.pair or "") for r in batch], dtype="<u8").tofile(key_file)
            digest.update("".join(json.dumps([r.text, r.pair, r.label]) for r in batch).encode())
            count += len(batch)
            batch = list(islice(rows, _BATCH))
    facts = {
        "classes": list(classes),
        "digest": digest.hexdigest(),
        "counts": dict(problems.counts),
        "first": problems.first,
        "rows": count,
    }
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _load(folder: Path) -> Table:
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    rows = facts["rows"]
    table = Dataset.from_file(str(folder / _ROWS))
    if len(table) != rows:
        raise ValueError(f"{folder} holds {len(table)} rows, expected {rows}")
    return Table(
        rows=table,
        labels=np.memmap(folder / _LABELS, dtype="<i4", mode="r", shape=(rows,)),
        classes=facts["classes"],
        keys=np.memmap(folder / _KEYS, dtype="<u8", mode="r", shape=(rows,)),
        digest=facts["digest"],
        problems=Problems(Counter(facts["counts"]), facts["first"]),
    )


def with_labels(table: Dataset, labels: NDArray[np.int32]) -> Dataset:
    """The table with a column `label` of class numbers; −1 becomes None. Texts stay on disk."""
    schema = pa.schema([("label", pa.int64())])
    file = scratch_file()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
        for start in range(0, len(labels), _LABELS_AT_ONCE):
            part = labels[start : start + _LABELS_AT_ONCE]
            writer.write_batch(pa.record_batch([pa.array(part, pa.int64(), mask=part < 0)], schema=schema))
    return datasets.concatenate_datasets([table, Dataset.from_file(str(file))], axis=1)


def chosen(table: Dataset, rows: NDArray[np.int64]) -> Dataset:
    """Some rows of a table; which they are stays on disk too."""
    return table.select(rows, indices_cache_file_name=str(scratch_file()))


def feature_file(key: str | None, rows: int) -> tuple[str, str]:
    """Where the features of a table go, and their fingerprint: a place to find them again for large tables with a key."""
    if key is None or rows < CACHE_FROM_ROWS:
        file = scratch_file()
        return str(file), file.stem
    folder = cache_folder() / "features"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}: {error.strerror}; set HF_DATASETS_CACHE to another place") from None
    name = hashlib.sha256(f"{_FORMAT} {key}".encode()).hexdigest()[:32]
    return str(folder / f"{name}.arrow"), name
