"""From the rows of any source to `text`, `text_pair`, `label` and `group`: which column is which, and what counts as a text."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, NamedTuple

from ssl_pdr.data.labels import label_text
from ssl_pdr.errors import DataError

_TEXTS = ("text", "sentence", "premise", "sentence1", "question1", "#1 string", "review", "content", "document", "body")
_PARTNERS = {
    "premise": "hypothesis",
    "sentence1": "sentence2",
    "question1": "question2",
    "#1 string": "#2 string",
    "text": "text_pair",
    "question": "sentence",
}
_LABELS = ("label", "gold_label", "labels", "class", "target", "category", "sentiment", "is_duplicate", "quality")
_LOOKED_AT = 100  # rows that tell which columns there are: in JSON lines not every row has every key


@dataclass(frozen=True)
class Columns:
    """Names of the columns in a source.

    Attributes:
        text: None guesses from common names.
        pair: None guesses, where the text column was guessed and has a usual partner.
        label: None guesses.
        group: of rows that a label budget keeps together; None for no groups.
    """

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    group: str | None = None


class TextRow(NamedTuple):
    """One row as everything after this module knows it; None where there is no such thing."""

    text: str
    pair: str | None
    label: str | None
    group: str | None


@dataclass
class Problems:
    """What was wrong with rows of one source: how many of each kind, and where the first one is."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, row: int) -> None:
        """Count one."""
        self.counts[kind] += 1
        self.first.setdefault(kind, row)


class ColumnReader:
    """Reads `TextRow`s out of raw rows.

    Args:
        name: of the source, in messages.
        columns: which is which.
        labelled: whether a label is wanted; None takes one where there is a column for it.
        skip: whether rows without text, or with something else in its place, are left out and counted; otherwise such
            rows are an error.
        problems: where they are counted.

    Raises:
        DataError: while reading, for columns that are not there and for the rows above.
    """

    def __init__(self, name: str, columns: Columns, *, labelled: bool | None, skip: bool, problems: Problems) -> None:
        self.name = name
        self.columns = columns
        self.labelled = labelled
        self.skip = skip
        self.problems = problems

    def read(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[TextRow]:
        """The rows that have a text, in their order."""
        rows = iter(rows)
        head = list(islice(rows, _LOOKED_AT))
        there = list(dict.fromkeys(str(key) for _, row in head for key in row))
        text, pair, label = self._choose(there)
        group = self.columns.group
        for number, row in chain(head, rows):
            value, partner = row.get(text), row.get(pair) if pair else None
            if not self._is_text(value, number, text) or (pair and not self._is_text(partner, number, pair)):
                continue
            if label is None and self.labelled:  # rows of JSON may have their first label anywhere
                label = self._label_column(row)
            yield TextRow(
                str(value),
                str(partner) if pair else None,
                self._label(row.get(label), number, label) if label else None,
                self._group(row.get(group), number, group) if group else None,
            )
        self._raise_if_any_is_missing(text)
        if label is None and self.labelled:
            column, option = self.columns.label, "--label-column"
            raise self._no_guess(there, _LABELS, option) if column is None else self._unknown(there, column, option)

    def _choose(self, there: list[str]) -> tuple[str, str | None, str | None]:
        label = None if self.labelled is False else self._label_column(there)
        text = self.columns.text
        pair = self.columns.pair
        lower = {name.lower(): name for name in there}
        if text is not None and not self.labelled and text not in there:
            text = pair = None  # an unlabelled corpus need not call its columns as the labelled data do
        if text is None:
            both = next((p for p in _PARTNERS.items() if p[0] in lower and p[1] in lower), None)
            text = lower[both[0]] if both else self._text_column(there)
            pair = pair or (lower[both[1]] if both else None)
        for option, column in {
            "--text-column": text,
            "--pair-column": pair,
            "--group-column": self.columns.group,
        }.items():
            if column is not None and column not in there:
                raise self._unknown(there, column, option)
        return text, pair, label

    def _unknown(self, there: list[str], column: str, option: str) -> DataError:
        near = difflib.get_close_matches(column, there, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return DataError(f"{self.name} has no column {column!r} ({option}){hint} It has: {', '.join(there)}")

    def _label_column(self, there: Iterable[str]) -> str | None:
        if self.columns.label is not None:
            return self.columns.label if self.columns.label in there else None
        found = {name.lower(): name for name in map(str, there)}
        return next((found[name] for name in _LABELS if name in found), None)

    def _text_column(self, there: list[str]) -> str:
        found = {name.lower(): name for name in there}
        for name in _TEXTS:
            if name in found:
                return found[name]
        if len(there) == 1:
            return there[0]
        if {"question", "context"} <= set(found):
            raise DataError(
                f"{self.name} holds questions and contexts; to classify them name the columns: --text-column question "
                f"--pair-column context{' --label-column …' if self.labelled else ''}. It has: {', '.join(there)}"
            )
        raise self._no_guess(there, _TEXTS, "--text-column")

    def _no_guess(self, there: list[str], known: tuple[str, ...], option: str) -> DataError:
        unlabelled = "; a corpus without labels goes to --unlabelled" if option == "--label-column" else ""
        return DataError(
            f"{self.name}: no column is called {', '.join(known)}; name one with {option}{unlabelled}. It has: {', '.join(there)}"
        )

    def _is_text(self, value: Any, number: int, column: str) -> bool:
        if isinstance(value, str):
            if value.strip():
                return True
        elif value is not None and value == value:  # NaN is how pandas says that nothing is there
            if not self.skip:
                raise DataError(
                    f"{self.name}: row {number} has {type(value).__name__} {str(value)[:40]!r} in column {column!r}, expected "
                    "text; name another column, or count such rows with --skip-bad-rows"
                )
            self.problems.add(f"rows without text in column {column!r}", number)
            return False
        self.problems.add("rows with an empty text", number)
        return False

    def _raise_if_any_is_missing(self, column: str) -> None:
        count = self.problems.counts["rows with an empty text"]
        if count and self.labelled is not False and not self.skip:
            raise DataError(
                f"{self.name}: {count} rows have no text (null or empty) in column {column!r}, the first is row "
                f"{self.problems.first['rows with an empty text']}; fill them, or count them with --skip-bad-rows"
            )

    def _group(self, value: Any, number: int, column: str) -> str:
        group = label_text(value)
        if group is None:
            raise DataError(f"{self.name}: row {number} belongs to no group (column {column!r}); every row needs one")
        return group

    def _label(self, value: Any, number: int, column: str) -> str | None:
        if isinstance(value, list | tuple | dict):
            raise DataError(
                f"{self.name}: row {number} has {type(value).__name__} {str(value)[:40]!r} as its label (column {column!r}), "
                "expected one class a row"
            )
        return label_text(value)
