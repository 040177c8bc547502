"""Questions, the passages that answer them and where: the base of extractive question answering."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
from datasets import Dataset

from ssl_pdr.data.columns import Problems
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import Source, raw_rows, source_name
from ssl_pdr.data.tables import scratch_file
from ssl_pdr.errors import DataError

Question: TypeAlias = dict[str, Any]

_BATCH = 256
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("title", pa.string()),
        ("question", pa.string()),
        ("context", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int64()))])),
    ]
)


def load_questions(
    source: Source, *, reading: Reading | None = None, part: str = "train"
) -> tuple[Dataset, dict[str, int]]:
    """Read questions in SQuAD's shape; they stay on disk.

    Args:
        source: SQuAD's json (v1.1 or v2.0), MRQA's json lines, a Hub name, or rows with `question` and `context`, and
            where there are any `id`, `title` (what a budget by group keeps together) and `answers`.
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
    name = source_name(source)
    problems = Problems()
    rows = _checked(source, reading or Reading(), problems, name, part)
    file = scratch_file()
    count = 0
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, _SCHEMA) as writer:
        while batch := list(islice(rows, _BATCH)):
            try:
                writer.write_table(pa.Table.from_pylist(batch, _SCHEMA))
            except UnicodeEncodeError:
                raise DataError(f"{name}: a text holds half of a character (a lone surrogate); mend it") from None
            count += len(batch)
    if count == 0:
        Path(file).unlink()
        raise DataError(f"{name} has no questions that can be used; expected some")
    return Dataset.from_file(str(file)), dict(problems.counts)


def _checked(source: Source, reading: Reading, problems: Problems, name: str, part: str) -> Iterator[Question]:
    for number, row in raw_rows(source, reading, problems.counts, part):
        for column in ("question", "context"):
            value = row.get(column)
            if not isinstance(value, str) or not value.strip():
                got = "nothing" if value is None or value == "" else f"{type(value).__name__} {str(value)[:40]!r}"
                reason = f"row {number} has {got} as its {column!r}, expected text"
                break
        else:
            answers = _plain(row.get("answers"))
            if answers is None or _are_answers(answers):
                yield {
                    "id": str(row.get("id", number)),
                    "title": None if row.get("title") is None else str(row["title"]),
                    "question": row["question"],
                    "context": row["context"],
                    "answers": None
                    if answers is None
                    else {key: list(answers[key]) for key in ("text", "answer_start")},
                }
                continue
            reason = (
                f"row {number} has answers {str(answers)[:60]!r}, expected equally long lists text and answer_start"
            )
        if not reading.skip_bad_rows:
            raise DataError(f"{name}: {reason}; mend it, or count such rows with --skip-bad-rows")
        problems.add("rows that are no question", number)


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
        and all(isinstance(start, int) and not isinstance(start, bool) and start >= 0 for start in starts)
    )
