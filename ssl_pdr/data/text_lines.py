"""Text files line by line: decompressed, decoded and of bounded length; what is wrong with one line stops no other."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

from ssl_pdr.errors import DataError

# In characters. A longer line, record or JSON value is bad, and is never in memory as a whole.
LONGEST_ROW = 4 * 2**20

# Stands for bytes that are no text: half of a surrogate pair, which no decoder gives.
_UNDECODABLE = "\udc80"


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _UNDECODABLE, error.end


codecs.register_error("ssl_pdr.undecodable", _mark)

_GZIP_MAGIC = b"\x1f\x8b"
# UTF-32 comes first: its mark begins with that of UTF-16.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Bad:
    """A row that cannot be used.

    Attributes:
        kind: under which it is counted.
        problem: what was got and what was expected, with its place.
        remedy: what to do.
    """

    kind: str
    problem: str
    remedy: str = "mend it"


def shown(path: Path) -> str:
    r"""A path as messages show it: on one line, whatever its characters.

    Example:
        >>> shown(Path("a.csv")), shown(Path("a\n.csv"))
        ('a.csv', "'a\\n.csv'")
    """
    return str(path) if str(path).isprintable() else repr(str(path))


@contextmanager
def open_text(path: Path, encoding: str, newline: str | None = None) -> Iterator[TextIO]:
    """A text file, decompressed by its ending (.gz, .zst); bytes that are no text become a mark that `flaw` finds.

    Args:
        path: of the file.
        encoding: known to Python.
        newline: as in `open`.

    Raises:
        DataError: the file is empty, or begins as one in another encoding or a compressed one does.
        OSError: it cannot be read.
    """
    with ExitStack() as stack:
        raw: Any = stack.enter_context(path.open("rb"))
        ending = path.suffix.lower()
        if ending == ".gz":
            raw = stack.enter_context(gzip.GzipFile(fileobj=raw))
        elif ending == ".zst":
            raw = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
        buffered = io.BufferedReader(raw)
        _check_beginning(buffered.peek(4)[:4], encoding)
        yield io.TextIOWrapper(buffered, encoding, errors="ssl_pdr.undecodable", newline=newline)


def _check_beginning(beginning: bytes, encoding: str) -> None:
    if not beginning:
        raise DataError("the file is empty; expected a header and rows, or documents")
    if beginning.startswith(_GZIP_MAGIC):
        raise DataError("the file is compressed with gzip; give its name the ending .gz")
    if not codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        for mark, name in _BYTE_ORDER_MARKS.items():
            if beginning.startswith(mark):
                raise DataError(f"the file is {name} by its byte order mark, not {encoding}; give --encoding {name}")


def read_lines(file: TextIO) -> Iterator[tuple[int, str | Bad]]:
    """Numbered lines with their ends, undecodable or not; one that is too long is `Bad`, and read over in pieces."""
    number = 0
    while line := file.readline(LONGEST_ROW + 1):
        number += 1
        if number == 1:
            line = line.removeprefix("\ufeff")
        if len(line) > LONGEST_ROW and line[-1] not in "\r\n":
            yield number, too_long(number)
            while line and line[-1] not in "\r\n":
                line = file.readline(LONGEST_ROW)
        else:
            yield number, line


def clean_lines(file: TextIO, encoding: str) -> Iterator[tuple[int, str | Bad]]:
    """Numbered lines without their ends, those that are no text as `Bad`."""
    for number, line in read_lines(file):
        if isinstance(line, Bad):
            yield number, line
        else:
            yield number, flaw(line, number, encoding) or line.removesuffix("\n")


def flaw(text: str, number: int, encoding: str) -> Bad | None:
    """What keeps the characters from line `number` on from being text."""
    if _UNDECODABLE in text:
        number += text.count("\n", 0, text.index(_UNDECODABLE))
        problem = f"line {number} is not valid {encoding}"
        return Bad(f"rows that are not valid {encoding}", problem, "name the encoding with --encoding")
    if "\0" in text:
        number += text.count("\n", 0, text.index("\0"))
        problem = f"line {number} holds a null byte, expected text"
        return Bad("rows with null bytes", problem, "name the encoding with --encoding if it is text")
    return None


def too_long(number: int) -> Bad:
    """The row that begins on line `number`, and is longer than any may be."""
    return Bad(
        "rows that are too long",
        f"line {number} begins a row of more than {LONGEST_ROW:,} characters, expected shorter ones",
        "cut long documents, and give each row a line of its own",
    )
