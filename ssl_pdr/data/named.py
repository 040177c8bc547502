"""What there is to know of a data set with a name: its parts, its classes, and how rows of all its forms become the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from ssl_pdr.choices import CLASSIFICATION
from ssl_pdr.data.labels import NO_AGREEMENT, label_text
from ssl_pdr.errors import DataError

# Numbered rows of any source.
Rows: TypeAlias = Iterable[tuple[int, Mapping[str, Any]]]

TRAINED, EVALUATED = "train and dev", "evaluated only"  # roles in the paper

_CONVERTED = "refs/convert/parquet"  # where the Hub keeps tables of sets whose own repository is a script
_TEXTS = ("sentence", "text")
_PAIRS = (("premise", "hypothesis"), ("sentence1", "sentence2"))
_LABELS = ("gold_label", "label")
_TABLES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class HubPlace:
    """A part on the Hub, in a repository without a script.

    Attributes:
        repository: owner/name.
        split: what the repository calls the part.
        configuration: of the repository; None where `folder` or `files` says which rows are meant.
        folder: of the set in a revision that was converted to tables.
        files: a glob, where only some files of a large repository are wanted.
        subset: keep only rows with this in their column `subset`.
    """

    repository: str
    split: str
    configuration: str | None = None
    folder: str | None = None
    files: str | None = None
    subset: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Arguments of `datasets.load_dataset`.

        Example:
            >>> HubPlace("owner/name", "validation", folder="plain_text").arguments()
            {'path': 'owner/name', 'data_dir': 'plain_text', 'revision': 'refs/convert/parquet', 'split': 'validation'}
        """
        revision = _CONVERTED if self.folder else None
        files = {self.split: self.files} if self.files else None
        given = {
            "path": self.repository,
            "name": self.configuration,
            "data_dir": self.folder,
            "data_files": files,
            "revision": revision,
        }
        return {**{key: value for key, value in given.items() if value is not None}, "split": self.split}


@dataclass(frozen=True)
class Part:
    """Where the rows of a part are.

    Attributes:
        hub: there.
        published: names of local files without the ending of a compression, the best first.
        general: patterns of other names, in lower case, for files in any format that the set can be in.
        folders: folders with one document a file, which is what `pos`, `neg` or `unsup` are.
    """

    hub: HubPlace
    published: tuple[str, ...] = ()
    general: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedSet:
    """A data set of the paper.

    Attributes:
        name: what `--data` calls it.
        title: what people call it.
        task: `classification` or `question-answering`.
        scoring: `accuracy`, `hans`, `squad`, `squad_v2` or `adversarial`.
        description: one line.
        role: in the paper, `TRAINED` or `EVALUATED`.
        parts: by their names.
        evaluation: the part that is evaluated on.
        unlabelled: the part that is text to train on without labels.
        aliases: what its folder or the set may be called too, without capitals and punctuation.
        labels: classes in the order of the numbers that stand for them; empty for questions.
        spelled: other spellings of them.
        collapse: classes of a model with more of them, and what they are here.
        pairs: whether rows are pairs of texts.
        group: the column that scores are also given by.
    """

    name: str
    title: str
    task: str
    scoring: str
    description: str
    role: str
    parts: Mapping[str, Part]
    evaluation: str
    unlabelled: str = "train"
    aliases: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    spelled: Mapping[str, str] = field(default_factory=dict)
    collapse: Mapping[str, str] = field(default_factory=dict)
    pairs: bool = False
    group: str | None = None

    @property
    def endings(self) -> tuple[str, ...]:
        """Of files with general names."""
        return _TABLES if self.task == CLASSIFICATION else (".json", ".jsonl", ".parquet")

    @property
    def evaluated_only(self) -> bool:
        """Whether the paper trains on no row of it."""
        return self.role == EVALUATED

    def part(self, name: str) -> Part:
        """The part of this name.

        Raises:
            DataError: there is none; in one line that lists those there are.
        """
        if name in self.parts:
            return self.parts[name]
        has = f"{self.name} has no {name} part; its parts: {', '.join(self.parts)}"
        raise DataError(f"{has}; it is only evaluated on: give it to --eval-on" if name == "train" else has)

    def rows(self, rows: Rows, tally: Counter[str], *, skip_bad_rows: bool) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Rows of any of its forms as they are everywhere here.

        Args:
            rows: numbered, as a file or the Hub has them.
            tally: counts bad rows.
            skip_bad_rows: whether they are counted, rather than an error.

        Returns:
            Rows with `text`, `text_pair` where there are pairs, `label` (a name of `labels`, `-` where annotators did not agree,
            or None) and their other columns; or questions in SQuAD's shape.

        Raises:
            DataError: while reading, in one line, for rows that are not those of this set.

        Example:
            >>> from ssl_pdr.data.catalogue import NAMED
            >>> rows = [(1, {"sentence": "a fine film", "label": "1"})]
            >>> list(NAMED["sst2"].rows(rows, Counter(), skip_bad_rows=False))
            [(1, {'text': 'a fine film', 'label': 'positive'})]
        """
        convert = self._text if self.task == CLASSIFICATION else _question
        for number, row in rows:
            try:
                converted = convert(row)
            except _StrangeRowError as error:
                if not skip_bad_rows:
                    raise DataError(f"{self.name}: row {number} {error}; is it a file of {self.title}?") from None
                tally[f"rows that are not {self.title}'s"] += 1
            else:
                yield number, converted

    def _text(self, row: Mapping[str, Any]) -> dict[str, Any]:
        known = _PAIRS if self.pairs else tuple((column,) for column in _TEXTS)
        texts = next((columns for columns in known if all(column in row for column in columns)), None)
        if texts is None:
            wanted = " or ".join(" and ".join(columns) for columns in known)
            raise _StrangeRowError(f"has the columns {', '.join(map(str, row))[:80]}, expected {wanted}")
        label = next((column for column in _LABELS if column in row), None)
        others = {column: value for column, value in row.items() if column not in (*texts, label)}
        converted = dict(zip(("text", "text_pair"), (row[column] for column in texts), strict=False))
        return {**others, **converted, "label": None if label is None else self._label(row[label])}

    def _label(self, value: Any) -> str | None:
        label = label_text(value)
        if label in (None, "-1"):  # the number is how the Hub says that there is none
            return None
        if label not in self._spellings:
            raise _StrangeRowError(f"has the label {label[:40]!r}, expected {', '.join(self.labels)}")
        return self._spellings[label]

    @cached_property
    def _spellings(self) -> dict[str, str]:
        """All ways to write a label, and what it is."""
        numbers = {str(number): name for number, name in enumerate(self.labels)}
        disagreement = {NO_AGREEMENT: NO_AGREEMENT} if self.pairs else {}
        return {**numbers, **self.spelled, **disagreement, **{name: name for name in self.labels}}


class _StrangeRowError(Exception):
    """A row that is not of the set."""


def _question(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A question in SQuAD's shape; those of MRQA on the Hub say where answers are in lists of their own."""
    if "detected_answers" not in row:
        return row
    try:
        found = row["detected_answers"]["char_spans"]
        spans = [span for answer in found for span in zip(answer["start"], answer["end"], strict=True)]
        texts = [row["context"][start : end + 1] for start, end in spans]  # the end is the last character
        answers = {"text": texts, "answer_start": [start for start, _ in spans]}
        return {
            "id": row["qid"],
            "title": "",
            "question": row["question"],
            "context": row["context"],
            "answers": answers,
        }
    except (KeyError, TypeError, ValueError):
        raise _StrangeRowError("has no qid, question and context with detected_answers inside of it") from None
