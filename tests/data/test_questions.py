"""Questions from the files that people have them in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from ssl_pdr.data.questions import ANSWERABLE, UNANSWERABLE, load_questions, read_questions
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
        {k: v for k, v in ROW.items() if k != "answers"} | {"id": "8"},
    )
    table, _ = load_questions([none, unknown])
    assert table["answers"][:] == [{"text": [], "answer_start": []}, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": None}, "row 2 has nothing as its 'question', expected text"),
        ({"context": 5}, "row 2 has int '5' as its 'context', expected text"),
        ({"context": None, "text": "It was Ada."}, "rows with a text are for --task classification"),
        ({"answers": ["Ada"]}, "row 2 has answers .* expected equally long lists"),
        ({"answers": {"text": ["Ada"], "answer_start": []}}, "row 2 has answers"),
        ({"answers": {"text": ["Ada"], "answer_start": [-1]}}, "row 2 has answers"),
        ({"answers": {"text": ["Ada"], "answer_start": [2**63]}}, "row 2 has answers"),
    ],
)
def test_rows_of_another_shape_are_named_or_counted(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_questions([ROW, ROW | change])
    table, counts = load_questions([ROW, ROW | change], reading=Reading(skip_bad_rows=True))
    assert (len(table), counts) == (1, {"rows that are no question": 1})
    with pytest.raises(DataError, match="no questions that can be used"):
        load_questions([ROW | change], reading=Reading(skip_bad_rows=True))


def test_ids_are_unique() -> None:
    """Scores are looked up by them."""
    with pytest.raises(DataError, match="row 2 has the id '7', which an earlier one has too; mend it"):
        load_questions([ROW, ROW | {"id": 7, "question": "Whom?"}])
    table, counts = load_questions([ROW, ROW, ROW], reading=Reading(skip_bad_rows=True))
    assert (len(table), counts) == (1, {"rows that are no question": 2})


def test_only_training_leaves_misplaced_answers_out() -> None:
    """Of several answers those that are where they are said to be stay; the passage decides, not the text alone."""
    some = {"text": ["Ada", "It", "Ada"], "answer_start": [6, 0, 7]}
    none = {"text": ["ada", "Ada", ""], "answer_start": [7, 99, 3]}
    rows = [ROW | {"id": "a", "answers": some}, ROW | {"id": "b", "answers": none}, ROW | {"id": "c", "answers": none}]
    unanswered = [ROW | {"id": "d", "answers": None}, ROW | {"id": "e", "answers": {"text": [], "answer_start": []}}]
    trained = read_questions([*rows, *unanswered], to_train=True)
    assert trained.rows["id"][:] == ["a", "d", "e"]
    assert trained.rows[0]["answers"] == {"text": ["It", "Ada"], "answer_start": [0, 7]}
    assert trained.labels.tolist() == [ANSWERABLE, -1, UNANSWERABLE]
    assert trained.notes == {"questions whose answer is not at its offset, left out (the first: b)": 2}
    kept = read_questions(rows)
    assert (kept.rows["answers"][:], kept.notes) == ([some, none, none], {})
    with pytest.raises(
        DataError, match="no questions that can be used; 2 questions whose answer is not at its offset"
    ) as e:
        read_questions(rows[1:], to_train=True)
    assert "(the first: b)" in str(e.value)


def test_a_digest_and_keys_tell_questions_apart() -> None:
    one = read_questions([ROW])
    assert one.digest == read_questions(Dataset.from_list([ROW])).digest
    changes: list[dict[str, Any]] = [
        {"id": "8"},
        {"title": None},
        {"question": "Whom?"},
        {"context": "It is Ada."},
        {"answers": None},
        {"answers": {"text": ["Ada"], "answer_start": [6]}},
    ]
    others = [read_questions([ROW | change]) for change in changes]
    assert len({one.digest, *(other.digest for other in others)}) == 1 + len(changes)
    same = [other.keys[0] == one.keys[0] for other in others]
    assert same == [True, True, False, False, True, True]
    assert one.keys.dtype == np.uint64


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


def test_whether_there_is_an_answer_is_taken_from_what_the_file_says(tmp_path: Path) -> None:
    """A question without the key is not a question without an answer."""
    known = {"id": "a", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 7}]}
    asked = [
        known,
        {"id": "b", "question": "Who?"},
        {"id": "c", "question": "Who?", "answers": []},
        {"id": "d", "question": "Who?", "answers": [], "is_impossible": False},
        {**known, "id": "e", "is_impossible": True},
    ]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"data": [{"paragraphs": [{"context": "It was Ada.", "qas": asked}]}]}))
    assert read_questions(str(file)).labels.tolist() == [0, -1, 1, -1, 1]


def test_rows_without_ids_are_numbered_over_all_files(tmp_path: Path) -> None:
    bare = {name: value for name, value in ROW.items() if name != "id"}
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(bare) + "\n" + json.dumps({**bare, "id": None}) + "\n")
    assert load_questions(str(tmp_path / "*.jsonl"))[0]["id"][:] == ["1", "2", "3", "4"]


def test_offsets_may_be_numbers_of_numpy() -> None:
    answers = {"text": ["Ada"], "answer_start": [np.int64(7)]}
    assert load_questions([{**ROW, "answers": answers}])[0][0]["answers"] == ROW["answers"]
