"""Questions from the files that people have them in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from ssl_pdr.data.questions import load_questions
from ssl_pdr.data.readers import Reading
from ssl_pdr.errors import DataError

ROW: dict[str, Any] = {
    "id": "7",
    "title": "Ada",
    "question": "Who?",
    "context": "It was Ada.",
    "answers": {"text": ["Ada"], "answer_start": [7]},
}


def squad(path: Path) -> str:
    question = {"id": "7", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 7}]}
    paragraph = {"context": "It was Ada.", "qas": [question]}
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "Ada", "paragraphs": [paragraph]}]}))
    return str(path)


def mrqa(path: Path) -> str:
    found = [{"text": "Ada", "char_spans": [[7, 9]]}]
    passage = {
        "context": "It was Ada.",
        "qas": [{"qid": "7", "question": "Who?", "answers": ["Ada"], "detected_answers": found}],
    }
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, [{"header": {"dataset": "X"}}, passage])).encode()))
    return str(path)


def test_every_shape_gives_the_same_row(tmp_path: Path) -> None:
    sources: list[Any] = [[ROW], Dataset.from_list([ROW]), squad(tmp_path / "a.json")]
    for source in sources:
        table, counts = load_questions(source)
        assert table.to_list() == [ROW]
        assert counts == {}
    (row,) = load_questions(mrqa(tmp_path / "a.jsonl.gz"))[0].to_list()
    assert row == {**ROW, "title": row["title"]}


def test_frames_have_arrays_for_lists() -> None:
    table, _ = load_questions(Dataset.from_list([ROW]).to_pandas())
    assert table.to_list() == [ROW]
    with pytest.raises(DataError, match="half of a character"):
        load_questions([ROW | {"question": "Who\ud800?"}])


def test_no_answer_is_not_an_unknown_answer() -> None:
    none, unknown = (
        {**ROW, "answers": {"text": [], "answer_start": []}},
        {k: v for k, v in ROW.items() if k != "answers"},
    )
    table, _ = load_questions([none, unknown])
    assert table["answers"][:] == [{"text": [], "answer_start": []}, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "row 2 has nothing as its 'question', expected text"),
        ({"context": 5}, "row 2 has int '5' as its 'context', expected text"),
        ({"answers": ["Ada"]}, "row 2 has answers .* expected equally long lists"),
        ({"answers": {"text": ["Ada"], "answer_start": []}}, "row 2 has answers"),
        ({"answers": {"text": ["Ada"], "answer_start": [-1]}}, "row 2 has answers"),
    ],
)
def test_rows_of_another_shape_are_named_or_counted(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_questions([ROW, ROW | change])
    table, counts = load_questions([ROW, ROW | change], reading=Reading(skip_bad_rows=True))
    assert (len(table), counts) == (1, {"rows that are no question": 1})
    with pytest.raises(DataError, match="no questions that can be used"):
        load_questions([ROW | change], reading=Reading(skip_bad_rows=True))


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "rows"),
    [("squad1/train_subset.json.gz", 11877), ("squad2/dev_a.json.gz", 6078), ("addsent/AddOneSent.json.gz", 1787)],
)
def test_real_files(shared_data: Path, file: str, rows: int) -> None:
    table, counts = load_questions(str(shared_data / file))
    assert (len(table), counts) == (rows, {})
    for row in table.select(range(50)):
        for text, start in zip(*row["answers"].values(), strict=True):
            assert row["context"][start : start + len(text)] == text
