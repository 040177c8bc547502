"""JSON files as rows: lines or one document, plain objects or the questions of SQuAD and MRQA.

Documents are read by the decoder of the standard library, piece by piece, so that a row means the same in `.json` and in
`.jsonl`, and what is wrong has a line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from ssl_pdr.data import text_lines
from ssl_pdr.data.text_lines import Bad, clean_lines, flaw, open_text, read_lines, too_long
from ssl_pdr.errors import DataError

Row: TypeAlias = dict[str, Any]
# With the line on which they begin.
_Objects: TypeAlias = Iterator[tuple[int, Row | Bad]]

_PIECE = 2**16
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
# The decoder stops this close to the end of a piece, at most, where the text may simply go on: before "-Infinity".
_CUT = 16
_KINDS = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}
_EXPECTED = "expected a list of objects, or an object with such a list in its field 'data'"


def read_json_lines(path: Path, encoding: str, tally: Counter[str]) -> Iterator[Row | Bad]:
    """One row a line; one row a question where the file is MRQA's. Blank lines are counted in `tally`."""
    with open_text(path, encoding) as file:
        yield from _rows(_line_objects(file, encoding, tally))


def read_json(path: Path, encoding: str, tally: Counter[str]) -> Iterator[Row | Bad]:
    """Rows of a list, of the list in the field `data`, or of JSON lines; one row a question where the file is SQuAD's or MRQA's.

    Raises:
        DataError: the file is no JSON from some line on.
    """
    if _holds_lines(path, encoding):
        yield from read_json_lines(path, encoding, tally)
        return
    with open_text(path, encoding) as file:
        yield from _rows(_Document(file, encoding).objects())


def _holds_lines(path: Path, encoding: str) -> bool:
    """Whether the first line is a whole object, and something follows that does not go on with it."""
    with open_text(path, encoding) as file:
        texts = (line if isinstance(line, Bad) else line.strip() for _, line in read_lines(file))
        filled = (text for text in texts if text)
        first = next(filled, "")
        if isinstance(first, Bad) or not (first.startswith("{") and first.endswith("}")):
            return False
        second = next(filled, "")
    return isinstance(second, Bad) or (second != "" and second[0] not in ",]}")


def _line_objects(file: TextIO, encoding: str, tally: Counter[str]) -> _Objects:
    for number, line in clean_lines(file, encoding):
        if isinstance(line, Bad):
            yield number, line
        elif not line.strip():
            tally["blank lines"] += 1
        else:
            yield number, _parsed(line, number)


def _parsed(line: str, number: int) -> Row | Bad:
    try:
        value = json.loads(line)
    except RecursionError:
        return _too_deep(number)
    except ValueError as error:
        return Bad("lines that are not JSON", f"line {number} is not JSON: {_reason(error)}")
    return _checked(value, line, number)


def _checked(value: Any, text: str, number: int) -> Row | Bad:
    """A value as a row; `text` is what it was read from."""
    if not isinstance(value, dict):
        return Bad("values that are no objects", f"line {number} holds {_KINDS[type(value)]}, expected an object")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return Bad(
                "rows with half of a character",
                f"line {number} holds half of a character (a lone surrogate), expected text",
            )
        except RecursionError:
            return _too_deep(number)
    return value


def _too_deep(number: int) -> Bad:
    return Bad("values that are nested too deeply", f"line {number} begins a value that is nested too deeply")


def _reason(error: ValueError) -> str:
    """What the decoder says and where; the one other error that it raises is about numbers."""
    if not isinstance(error, json.JSONDecodeError):
        return "a number has too many digits"
    near = error.doc[max(error.pos - 10, 0) : error.pos + 20]
    return f"{error.msg.removesuffix(' at').removesuffix(' starting')} near {near!r}"


class _Document:
    """A JSON text that is read piece by piece, and forgotten as far as it was understood."""

    def __init__(self, file: TextIO, encoding: str) -> None:
        self._file, self._encoding = file, encoding
        self._text = file.read(_PIECE).removeprefix("\ufeff")
        self._at, self._line = 0, 1

    def objects(self) -> _Objects:
        """The objects of the list that the text is, or has in its field `data`."""
        if self._peek() == "[":
            yield from self._list()
        else:
            yield from self._field_data()
        if self._peek():
            raise DataError(f"line {self._line} goes on after the end of the JSON value; {_EXPECTED}")

    def _field_data(self) -> _Objects:
        self._pass("{")
        names: list[str] = []
        found = False
        while self._peek() != "}":
            if names:
                self._pass(",")
            if self._peek() != '"':
                self._pass('"')
            names.append(self._value()[0])
            self._pass(":")
            if names[-1] == "data" and self._peek() == "[":
                found = True
                yield from self._list()
            else:
                self._value()
        self._pass("}")
        if not found:
            raise DataError(f"{_EXPECTED}; got the fields {', '.join(map(repr, names[:10])) or '(none)'}")

    def _list(self) -> _Objects:
        self._pass("[")
        first = True
        while self._peek() != "]":
            if not first:
                self._pass(",")
                self._peek()
            first = False
            number = self._line
            value, text = self._value()
            if len(text) > text_lines.LONGEST_ROW:
                yield number, too_long(number)
            else:
                yield number, flaw(text, number, self._encoding) or _checked(value, text, number)
        self._pass("]")

    def _go(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _more(self) -> bool:
        """Read on: at least as much as is waiting, so that a long value is not tried again for each small piece."""
        piece = self._file.read(max(_PIECE, len(self._text) - self._at))
        if piece:
            self._text, self._at = self._text[self._at :] + piece, 0
        return piece != ""

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            space = _SPACE.match(self._text, self._at)
            if space:
                self._go(space.end())
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def _pass(self, choice: str) -> None:
        """Go past this character."""
        found = self._peek()
        if not found:
            raise DataError(f"the file ends on line {self._line} before its JSON does; is it whole?")
        if found != choice:
            near = self._text[max(self._at - 10, 0) : self._at + 20]
            raise DataError(f"line {self._line} is not JSON: expected {choice} near {near!r}; mend it")
        self._go(self._at + 1)

    def _value(self) -> tuple[Any, str]:
        """The next value, and the text that it was read from."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except RecursionError:
                raise DataError(f"{_too_deep(self._line).problem}; mend it") from None
            except ValueError as error:
                self._go_on_or_raise(error)
                continue
            if end > len(self._text) - _CUT and self._more():
                continue  # a number may go on: "1.", "1e-"
            text = self._text[self._at : end]
            self._go(end)
            return value, text

    def _go_on_or_raise(self, error: ValueError) -> None:
        """Read on where the text may only end too early for the decoder."""
        if isinstance(error, json.JSONDecodeError):
            open_string = error.msg.startswith("Unterminated string")
            if open_string or error.pos > len(self._text) - _CUT:
                if len(self._text) - self._at > text_lines.LONGEST_ROW:
                    bad = too_long(self._line)
                    raise DataError(f"{bad.problem}; {bad.remedy}")
                if self._more():
                    return
                if open_string or not self._text[error.pos :].strip():
                    self._go(len(self._text))
                    self._pass("")
            self._go(error.pos)
        raise DataError(f"line {self._line} is not JSON: {_reason(error)}; mend it")


def _rows(objects: _Objects) -> Iterator[Row | Bad]:
    """Objects as they are, or as the questions in them; the first one tells."""
    expand: Callable[[int, Row], Iterable[Row | Bad]] | None = None
    for line, found in objects:
        if isinstance(found, Bad):
            yield found
        elif expand is None and found.keys() == {"header"}:
            expand = _passage
        else:
            expand = expand or _shape(found)
            yield from expand(line, found)


def _shape(row: Row) -> Callable[[int, Row], Iterable[Row | Bad]]:
    if isinstance(row.get("qas"), list) and "context" in row:
        return _passage
    paragraphs = row.get("paragraphs")
    if isinstance(paragraphs, list) and all(isinstance(p, dict) and "qas" in p for p in paragraphs):
        return _article
    return lambda _, row: (row,)


def _article(line: int, article: Row) -> Iterator[Row | Bad]:
    """The questions of an article of SQuAD."""
    for paragraph in _list_in(article, "paragraphs"):
        for question in _list_in(paragraph, "qas"):
            try:
                row = _question(question["id"], article.get("title", ""), question, paragraph, _answers(question))
                if "is_impossible" in question:
                    row["is_impossible"] = question["is_impossible"]
                yield row
            except (KeyError, TypeError, AttributeError, ValueError):
                yield _misshapen(
                    line, "SQuAD", "id, question, answers with text and answer_start, in paragraphs with context"
                )


def _answers(question: Row) -> list[tuple[str, int]] | None:
    """Answers as SQuAD v1.1 and v2.0 have them; None where nobody says whether there are any."""
    impossible, given = question.get("is_impossible"), question.get("answers")
    if impossible is True:
        return []
    if given is None or (impossible is False and not given):
        return None
    return [(answer["text"], answer["answer_start"]) for answer in given]


def _passage(line: int, passage: Row) -> Iterator[Row | Bad]:
    """The questions of a passage of MRQA, with the answers as the passage has them."""
    for question in _list_in(passage, "qas"):
        try:
            context = passage["context"]
            spans = [span for answer in question["detected_answers"] for span in answer["char_spans"]]
            if not all(0 <= start <= end < len(context) for start, end in spans):
                raise ValueError
            answers = [(context[start : end + 1], start) for start, end in spans]
            yield _question(question["qid"], "", question, passage, answers)
        except (KeyError, TypeError, AttributeError, ValueError):
            yield _misshapen(line, "MRQA", "qid, question, detected_answers with char_spans inside of context")


def _list_in(holder: Any, name: str) -> list[Any]:
    """A list of the file; one thing that is no question where there is none, for it to be counted."""
    found = holder.get(name) if isinstance(holder, dict) else None
    return found if isinstance(found, list) else [None]


def _question(name: Any, title: Any, question: Row, passage: Row, answers: list[tuple[str, int]] | None) -> Row:
    row = {"id": str(name), "title": title or "", "question": question["question"], "context": passage["context"]}
    if answers is None:
        if not all(isinstance(text, str) for text in row.values()):
            raise TypeError
        return {**row, "answers": None}
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    if not all(isinstance(text, str) for text in (*row.values(), *texts)) or not all(type(s) is int for s in starts):
        raise TypeError
    return {**row, "answers": {"text": texts, "answer_start": starts}}


def _misshapen(line: int, data_set: str, expected: str) -> Bad:
    return Bad(
        "questions of an unknown shape",
        f"line {line} holds a question that is not as in {data_set}; expected {expected}",
    )
