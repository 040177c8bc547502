"""Files as numbered rows, one at a time: csv, tsv, json, jsonl, parquet, txt, and what is done with rows that are bad."""

from __future__ import annotations

import csv
import difflib
import encodings.aliases
import json
import re
import zlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from ssl_pdr.choices import DOCUMENTS
from ssl_pdr.data import text_lines
from ssl_pdr.data.json_files import read_json, read_json_lines
from ssl_pdr.data.text_lines import Bad, clean_lines, flaw, open_text, read_lines, shown, too_long
from ssl_pdr.errors import ConfigError, DataError
from ssl_pdr.files import check_file

FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".txt")
COMPRESSIONS = (".gz", ".zst")  # of all formats but parquet, which has its own

_WITH_HEADER = (".csv", ".tsv")
_PARQUET_ROWS = 256  # at once
_SKIP = "or count such rows with --skip-bad-rows"

Row: TypeAlias = dict[str, Any]
# With the line on which they begin; a blank line is a record without a cell.
_Records: TypeAlias = Iterator[tuple[int, list[str] | Bad]]


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        encoding: of text files, as Python calls it; a byte order mark is taken off.
        skip_bad_rows: whether rows that cannot be used are counted, rather than an error.
        split_documents: what is a document in a .txt file: a `line`, or a `paragraph`, which blank lines end.
        data_dir: a folder with the files of named data sets, as `ssl_pdr.data.catalogue` knows them; None reads those from the
            Hub.

    Raises:
        ConfigError: for an encoding that Python does not know, or another way to split.

    Example:
        >>> Reading(encoding="latin1").skip_bad_rows
        False
    """

    encoding: str = "utf-8"
    skip_bad_rows: bool = False
    split_documents: str = "line"
    data_dir: str | None = field(default=None, repr=False)  # where files lie is no part of how a table was converted

    def __post_init__(self) -> None:
        try:
            "\n".encode(self.encoding)
        except (LookupError, ValueError):
            near = difflib.get_close_matches(self.encoding.lower(), encodings.aliases.aliases, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(
                f"encoding: got {self.encoding!r}, expected one that Python knows, such as utf-8, utf-16, latin-1 or cp1252{hint}"
            ) from None
        if self.split_documents not in DOCUMENTS:
            raise ConfigError(f"split_documents: got {self.split_documents!r}, expected {' or '.join(DOCUMENTS)}")


def file_format(path: Path) -> str:
    """The ending that says how a file is read; empty where no reader knows it.

    Example:
        >>> file_format(Path("a.CSV.gz")), file_format(Path("a.parquet.gz")), file_format(Path("a"))
        ('.csv', '', '')
    """
    name = PurePath(path.name.lower())
    if name.suffix in COMPRESSIONS:
        inner = PurePath(name.stem).suffix
        return inner if inner in FORMATS and inner != ".parquet" else ""
    return name.suffix if name.suffix in FORMATS else ""


def unknown_ending(path: Path) -> DataError:
    """The error for a file of a format that is not known."""
    return DataError(f"{shown(path)} has the ending {path.suffix!r}; expected one of: {known_endings()}")


def known_endings() -> str:
    """The endings that are known, for messages."""
    return f"{', '.join(FORMATS)} (all but .parquet also with {' or '.join(COMPRESSIONS)})"


def read_rows(path: Path, how: Reading, tally: Counter[str], *, ending: str | None = None) -> Iterator[tuple[int, Row]]:
    r"""The rows of a file as it holds them, read one by one.

    Cells of csv and tsv stay the text that they are; txt gives `text`; SQuAD's json and MRQA's jsonl give one row per question,
    `id`, `title`, `question`, `context`, `answers`, in SQuAD's shape.

    Args:
        path: of a file in one of `FORMATS`.
        how: encoding, and what is done with bad rows.
        tally: counts what is left out, by its kind.
        ending: of the format that it is in, where its name says another one.

    Returns:
        (number, row); rows are numbered from 1, with the bad ones.

    Raises:
        DataError: while reading, in one line; a bad row raises unless `how.skip_bad_rows`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (path := Path(folder, "a.csv")).write_text("text,label\ngood,1\nbad\nfine,1\n")
        ...     tally = Counter()
        ...     list(read_rows(path, Reading(skip_bad_rows=True), tally)), dict(tally)
        ([(1, {'text': 'good', 'label': '1'}), (3, {'text': 'fine', 'label': '1'})],
         {'rows with a wrong number of fields': 1})
    """
    number, first_bad, usable = 0, None, False
    ending = ending or file_format(path)
    try:
        check_file(path)
        for number, row in enumerate(_rows(path, ending, how, tally), 1):
            if not isinstance(row, Bad):
                usable = True
                yield number, row
                continue
            if not how.skip_bad_rows:
                raise DataError(f"{row.problem}; {row.remedy}, {_SKIP}")
            tally[row.kind] += 1
            first_bad = first_bad or row
        if first_bad and not usable:
            raise DataError(f"none of its {number} rows can be used; the first: {first_bad.problem}")
        if number == 0:
            raise DataError(
                f"the file has no rows; expected {'a header and rows' if ending in _WITH_HEADER else 'some'}"
            )
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from None
    except UnicodeError as error:
        raise DataError(f"{shown(path)} is not {how.encoding}: {error}; name its encoding with --encoding") from None
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read {shown(path)} as {ending[1:]}: {reason}; is it whole?") from None


def _rows(path: Path, ending: str, how: Reading, tally: Counter[str]) -> Iterator[Row | Bad]:
    match ending:
        case ".csv":
            return _read_csv(path, how.encoding, tally)
        case ".tsv":
            return _read_tsv(path, how.encoding, tally)
        case ".json":
            return read_json(path, how.encoding, tally)
        case ".jsonl":
            return read_json_lines(path, how.encoding, tally)
        case ".parquet":
            return _read_parquet(path)
        case ".txt" if how.split_documents == "paragraph":
            return _read_paragraphs(path, how.encoding)
        case ".txt":
            return _read_documents(path, how.encoding, tally)
    raise unknown_ending(path)


def _read_documents(path: Path, encoding: str, tally: Counter[str]) -> Iterator[Row | Bad]:
    with open_text(path, encoding) as file:
        for _, line in clean_lines(file, encoding):
            if isinstance(line, Bad):
                yield line
            elif line.strip():
                yield {"text": line}
            else:
                tally["blank lines"] += 1


def _read_paragraphs(path: Path, encoding: str) -> Iterator[Row | Bad]:
    with open_text(path, encoding) as file:
        kept: list[str] = []
        first = size = 0
        skipping = False  # to the end of a paragraph that is bad
        for number, line in clean_lines(file, encoding):
            if not isinstance(line, Bad) and not line.strip():
                if kept:
                    yield {"text": " ".join(kept)}
                kept, size, skipping = [], 0, False
            elif not skipping:
                first = first if size else number
                size += 1 if isinstance(line, Bad) else len(line) + 1
                if isinstance(line, Bad) or size > text_lines.LONGEST_ROW:
                    yield line if isinstance(line, Bad) else too_long(first)
                    kept, skipping = [], True
                else:
                    kept.append(line.strip())
        if kept:
            yield {"text": " ".join(kept)}


def _read_tsv(path: Path, encoding: str, tally: Counter[str]) -> Iterator[Row | Bad]:
    with open_text(path, encoding) as file:
        records = (
            (number, line if isinstance(line, Bad) else line.split("\t") if line else [])
            for number, line in clean_lines(file, encoding)
        )
        yield from _table(records, tally, "a tab")


def _read_csv(path: Path, encoding: str, tally: Counter[str]) -> Iterator[Row | Bad]:
    with open_text(path, encoding, newline="") as file:
        # Of the whole process; the limit that counts is that of _Feed.
        csv.field_size_limit(max(csv.field_size_limit(), 2 * text_lines.LONGEST_ROW))
        yield from _table(_Feed(read_lines(file), encoding).records(), tally, "a comma")


def _table(records: _Records, tally: Counter[str], separator: str) -> Iterator[Row | Bad]:
    header = _header(records, tally)
    width = len(header)
    for number, cells in records:
        if isinstance(cells, Bad):
            yield cells
        elif len(cells) == width:
            yield dict(zip(header, cells, strict=True))
        elif _blank(cells):
            tally["blank lines"] += 1
        else:
            yield Bad(
                "rows with a wrong number of fields",
                f"line {number} has {len(cells)} fields, expected {width} ({', '.join(map(repr, header[:10]))})",
                f"mend it, where {separator} separates fields",
            )


def _header(records: _Records, tally: Counter[str]) -> list[str]:
    for number, cells in records:
        if isinstance(cells, Bad):
            raise DataError(f"{cells.problem}; expected a header with the names of the columns")
        if _blank(cells):
            tally["blank lines"] += 1
            continue
        if len(cells) > 1 and not cells[0].strip():
            cells = ["unnamed", *cells[1:]]  # data frames write their index so
        seen: set[str] = set()
        for i, name in enumerate(cells, 1):
            if not name.strip():
                raise DataError(
                    f"line {number}, the header, has no name for column {i} of {len(cells)}; name it, or write the file without it"
                )
            if name in seen:
                raise DataError(f"line {number}, the header, has the column {name!r} twice; expected each name once")
            seen.add(name)
        return cells
    raise DataError("the file is empty; expected a header and rows")


def _blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


class _Feed:
    """Lines for the csv module that remember the record at hand, so that one that never ends is noticed and read again."""

    def __init__(self, numbered: Iterator[tuple[int, str | Bad]], encoding: str) -> None:
        self._numbered, self._encoding = numbered, encoding
        self._again: deque[tuple[int, str | Bad]] = deque()
        self._record: list[tuple[int, str | Bad]] = []
        self._size = 0
        self._flaw: Bad | None = None

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        number, line = self._again.popleft() if self._again else next(self._numbered)
        self._record.append((number, line))
        if isinstance(line, Bad):
            raise csv.Error
        self._size += len(line)
        if self._size > text_lines.LONGEST_ROW + 2:  # the line end does not count
            raise csv.Error
        self._flaw = self._flaw or flaw(line, number, self._encoding)
        return line

    def records(self) -> _Records:
        """Records of cells; one that cannot be is `Bad`, and what follows its first line is read anew."""
        reader = csv.reader(self, strict=True)
        while True:
            self._record, self._size, self._flaw = [], 0, None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield self._record[0][0], self._broken()
                reader = csv.reader(self, strict=True)
            else:
                yield self._record[0][0], self._flaw or cells

    def _broken(self) -> Bad:
        number, line = self._record[0]
        if isinstance(line, Bad):
            return line
        self._again.extendleft(reversed(self._record[1:]))
        return Bad(
            "rows with a missing quote",
            f"line {number} begins a row with a quote that is not closed, or closed too early (noticed on line {self._record[-1][0]})",
            "close it, and write two quotes for one inside a field",
        )


def _read_parquet(path: Path) -> Iterator[Row | Bad]:
    with path.open("rb") as raw, pa.parquet.ParquetFile(raw) as file:
        schema = file.schema_arrow
        # pandas keeps the numbers of its rows in such columns
        kept = [name for name in schema.names if not re.fullmatch(r"__index_level_\d+__", name)]
        repeated = [name for name, count in Counter(kept).items() if count > 1]
        if repeated:
            raise DataError(f"it has the column {repeated[0]!r} twice; expected each name once")
        classes = {name: found for name, found in _class_names(schema.metadata or {}).items() if name in kept}
        number = 0
        for batch in file.iter_batches(_PARQUET_ROWS):
            for row in _batch_rows(batch.select(kept), number):
                number += 1
                yield row if isinstance(row, Bad) else _named(row, classes, number)


def _batch_rows(batch: Any, before: int) -> Iterator[Row | Bad]:
    try:
        rows = None if _holds_long(batch) else batch.to_pylist()
    except (UnicodeDecodeError, OverflowError):
        rows = None
    yield from rows or (_only_row(batch.slice(i, 1), before + i + 1) for i in range(len(batch)))


def _only_row(batch: Any, number: int) -> Row | Bad:
    """The row of a batch that has one."""
    if _holds_long(batch):
        return Bad(
            "rows that are too long",
            f"row {number} has a text of more than {text_lines.LONGEST_ROW:,} characters, expected shorter ones",
            "cut long documents",
        )
    try:
        row: Row = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return Bad("rows that are not valid utf-8", f"row {number} is not valid utf-8, as parquet has to be")
    except OverflowError as error:
        return Bad("rows with values out of range", f"row {number} has a value that Python has no room for ({error})")
    return row


def _holds_long(batch: Any) -> bool:
    """Whether a text is too long to be a row's; asked before it is copied."""
    texts = [c for c in batch.columns if pa.types.is_string(c.type) or pa.types.is_large_string(c.type)]
    return any((pa.compute.max(pa.compute.utf8_length(c)).as_py() or 0) > text_lines.LONGEST_ROW for c in texts)


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """The names of classes by column, as `datasets` keeps them in the schema."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {name: f["names"] for name, f in features.items() if f.get("_type") == "ClassLabel" and f["names"]}
    except (KeyError, TypeError, AttributeError, ValueError):  # none, or none that we know
        return {}


def _named(row: Row, classes: dict[str, list[str]], number: int) -> Row | Bad:
    for column, names in classes.items():
        label = row[column]
        if label is None or label == -1:
            row[column] = None
        elif isinstance(label, int) and 0 <= label < len(names):
            row[column] = names[label]
        else:
            return Bad(
                "rows with a class that has no name",
                f"row {number} has the class {label!r} in {column!r}, expected 0 to {len(names) - 1}, or -1 for none",
            )
    return row
