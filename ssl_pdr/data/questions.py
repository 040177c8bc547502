"""Questions, the passages that answer them and where: the base of extractive question answering."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from ssl_pdr.data.checks import Keys, text_key
from ssl_pdr.data.columns import Problems
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import Source, raw_rows, source_name
from ssl_pdr.data.tables import scratch_file
from ssl_pdr.errors import DataError

Question: TypeAlias = dict[str, Any]

ANSWERABLE, UNANSWERABLE = 0, 1
_BATCH = 256
_FAR = 2**63  # offsets are kept in 64 bits
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("question", pa.string()),
        ("context", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])),
    ]
)


@dataclass(frozen=True, eq=False)
class Questions:
    """The questions of one source.

    Attributes:
        rows: on disk, as `load_questions` describes them.
        labels: (n,) int32, `ANSWERABLE` or `UNANSWERABLE`; −1 where the answer is not known.
        keys: (n,) uint64, equal for questions that are the same, about passages that are the same.
        digest: SHA-256 over all rows in their order.
        notes: what was counted.
    """

    rows: Dataset
    labels: NDArray[np.int32]
    keys: Keys
    digest: str
    notes: dict[str, int]


def load_questions(
    source: Source, *, reading: Reading | None = None, part: str = "train"
) -> tuple[Dataset, dict[str, int]]:
    """Read questions in SQuAD's shape; they stay on disk.

    Args:
        source: SQuAD's json (v1.1 or v2.0), MRQA's json lines, a data set of the paper, a Hub name, or rows with `question` and
            `context`, and where there are any `id`, `title` (what a budget by group keeps together) and `answers`.
        reading: encoding, and what is done with bad rows.
        part: of a folder or a Hub data set.

    Returns:
        A table with `id`, `title`, `question`, `context` and `answers`, a struct of the lists `text` and `answer_start`: empty
        lists for a question that the passage does not answer, None for one whose answer is not known. And what was counted.

    Raises:
        DataError: in one line, for rows of another shape.

    Example:
        >>> rows = [{"id": "1", "question": "Who?", "context": "It was Ada.", "answers": {"text": ["Ada"], "answer_start": [7]}}]
        >>> load_questions(rows)[0][0]["answers"]
        {'text': ['Ada'], 'answer_start': [7]}
    """
    questions = read_questions(source, reading=reading, part=part)
    return questions.rows, questions.notes


def read_questions(
    source: Source, *, reading: Reading | None = None, part: str = "train", to_train: bool = False
) -> Questions:
    """As `load_questions`, with what else is worth knowing of them.

    Args:
        source: see `load_questions`.
        reading: see `load_questions`.
        part: see `load_questions`.
        to_train: leave out, and count, questions none of whose answers is where it is said to be.

    Raises:
        DataError: in one line, for rows of another shape, and for an id that occurs twice.
    """
    name = source_name(source)
    problems, misplaced = Problems(), list[str]()
    rows = _checked(source, reading or Reading(), problems, name, part)
    if to_train:
        rows = _in_place(rows, misplaced)
    file = scratch_file()
    digest = hashlib.sha256()
    labels: list[int] = []
    keys: list[int] = []
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        while batch := list(islice(rows, _BATCH)):
            try:
                writer.write_table(pa.Table.from_pylist(batch, _SCHEMA))
            except UnicodeEncodeError:
                raise DataError(f"{name}: a text holds half of a character (a lone surrogate); mend it") from None
            digest.update("".join(json.dumps(row) for row in batch).encode())
            labels += [_answerable(row["answers"]) for row in batch]
            keys += [text_key(row["question"], row["context"]) for row in batch]
    counts = dict(problems.counts)
    if misplaced:
        counts[f"questions whose answer is not at its offset, left out (the first: {misplaced[0]})"] = len(misplaced)
    if not labels:
        Path(file).unlink()
        counted = "".join(f"; {number} {kind}" for kind, number in counts.items())
        raise DataError(f"{name} has no questions that can be used{counted}; expected some")
    return Questions(
        rows=Dataset.from_file(str(file)),
        labels=np.array(labels, np.int32),
        keys=np.array(keys, np.uint64),
        digest=digest.hexdigest(),
        notes=counts,
    )


def _answerable(answers: Any) -> int:
    if answers is None:
        return -1
    return ANSWERABLE if answers["text"] else UNANSWERABLE


def _in_place(rows: Iterator[Question], misplaced: list[str]) -> Iterator[Question]:
    """The questions with those of their answers that the passage has at their offsets."""
    for row in rows:
        if row["answers"] is None or not row["answers"]["text"]:
            yield row
            continue
        spans = zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        kept = [(text, start) for text, start in spans if text and row["context"].startswith(text, start)]
        if not kept:
            misplaced.append(row["id"])
            continue
        yield {**row, "answers": {"text": [t for t, _ in kept], "answer_start": [s for _, s in kept]}}


def _checked(source: Source, reading: Reading, problems: Problems, name: str, part: str) -> Iterator[Question]:
    seen: set[str] = set()
    rows = raw_rows(source, reading, problems.counts, part)
    for place, (number, row) in enumerate(rows, 1):  # numbers begin anew in each of several files
        reason = _flaw(row, number)
        question_id = str(place if row.get("id") is None else row["id"])
        if reason is None and question_id in seen:
            reason = f"row {number} has the id {question_id!r}, which an earlier one has too"
        if reason is None:
            seen.add(question_id)
            answers = _plain(row.get("answers"))
            yield {
                "id": question_id,
                "title": None if row.get("title") is None else str(row["title"]),
                "question": row["question"],
                "context": row["context"],
                "answers": answers
                and {"text": list(answers["text"]), "answer_start": list(map(int, answers["answer_start"]))},
            }
        elif reading.skip_bad_rows:
            problems.add("rows that are no question", number)
        else:
            raise DataError(f"{name}: {reason}; mend it, or count such rows with --skip-bad-rows")


def _flaw(row: Mapping[str, Any], number: int) -> str | None:
    """Why this row is no question; None for one that is."""
    for column in ("question", "context"):
        value = row.get(column)
        if not isinstance(value, str) or not value.strip():
            got = "nothing" if value is None or value == "" else f"{type(value).__name__} {str(value)[:40]!r}"
            text = "; rows with a text are for --task classification" if "text" in row or "sentence" in row else ""
            return f"row {number} has {got} as its {column!r}, expected text{text}"
    answers = _plain(row.get("answers"))
    if answers is None or _are_answers(answers):
        return None
    return f"row {number} has answers {str(answers)[:60]!r}, expected equally long lists text and answer_start"


def _plain(answers: Any) -> Any:
    """Lists where a data frame has arrays."""
    if not isinstance(answers, dict):
        return answers
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in answers.items()}


def _are_answers(value: Any) -> bool:
    if not isinstance(value, dict) or not {"text", "answer_start"} <= set(value):
        return False
    texts, starts = value["text"], value["answer_start"]
    return (
        isinstance(texts, list)
        and isinstance(starts, list)
        and len(texts) == len(starts)
        and all(isinstance(text, str) for text in texts)
        and all(
            isinstance(start, int | np.integer) and not isinstance(start, bool) and 0 <= start < _FAR
            for start in starts
        )
    )
