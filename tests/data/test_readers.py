"""Files of every format as rows, and what is said or counted where they are not as they should be."""

from __future__ import annotations

import csv
import gzip
import json
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data import json_files, text_lines
from ssl_pdr.data.readers import FORMATS, Reading, file_format, read_rows
from ssl_pdr.errors import ConfigError, DataError

HINT = ", or count such rows with --skip-bad-rows"
ROWS = [{"text": f"text {i}, {'gut' if i % 2 else 'schön'}", "label": str(i % 2)} for i in range(7)]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, **how: Any) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(path, Reading(**how), Counter())]


def skipped(path: Path, **how: Any) -> tuple[list[tuple[int, dict[str, Any]]], dict[str, int]]:
    """Numbered rows, and what was counted."""
    tally: Counter[str] = Counter()
    return list(read_rows(path, Reading(skip_bad_rows=True, **how), tally)), dict(tally)


def error(path: Path, **how: Any) -> str:
    with pytest.raises(DataError) as raised:
        read(path, **how)
    message = str(raised.value)
    assert path.name in message
    assert "\n" not in message
    return message


def refused(path: Path, **how: Any) -> str:
    """The message, if there is one."""
    try:
        read(path, **how)
    except DataError as raised:
        return str(raised)
    return ""


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


def contents() -> dict[str, bytes]:
    """The same rows in every format that has columns."""
    header, *lines = ["text,label", *(f'"{row["text"]}",{row["label"]}' for row in ROWS)]
    objects = [json.dumps(row, ensure_ascii=i % 2 == 0) for i, row in enumerate(ROWS)]
    texts = {
        ".csv": "\n".join([header, *lines]),
        ".tsv": "text\tlabel\n" + "".join(f"{row['text']}\t{row['label']}\n" for row in ROWS),
        ".json": json.dumps(ROWS),
        ".jsonl": "\n".join(objects),
    }
    return {ending: text.encode() for ending, text in texts.items()}


def test_every_format_gives_the_same_rows_compressed_or_not(tmp_path: Path) -> None:
    for ending, data in contents().items():
        for name, stored in ((ending, data), (f"{ending}.gz", gzip.compress(data)), (f"{ending}.zst", zstd(data))):
            assert read(write(tmp_path / f"a{name}", stored)) == ROWS
    pd.DataFrame(ROWS).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ROWS
    assert {file_format(path) for path in tmp_path.iterdir()} == set(FORMATS) - {".txt"}


def test_formats_are_told_by_the_ending() -> None:
    known = {
        "a.csv": ".csv",
        "a.CSV.gz": ".csv",
        "A.v2.Jsonl.Zst": ".jsonl",
        "a.parquet": ".parquet",
        "b/a.txt": ".txt",
    }
    unknown = ("a", ".csv", "a.parquet.gz", "a.xml", "a.gz", "a.tar.gz", "a.csv.bz2", "a.csv.gz.gz")
    assert {name: file_format(Path(name)) for name in known} == known
    assert not any(file_format(Path(name)) for name in unknown)


def test_a_file_may_be_in_another_format_than_its_ending_says(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.gz", gzip.compress(contents()[".tsv"]))
    assert [row for _, row in read_rows(path, Reading(), Counter(), ending=".tsv")] == ROWS
    assert next(read_rows(path, Reading(), Counter())) == (1, {"text": "text\tlabel"})
    write(path, path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot read .* as tsv"):
        list(read_rows(path, Reading(), Counter(), ending=".tsv"))


def test_a_file_of_no_known_format(tmp_path: Path) -> None:
    assert "has the ending '.xml'; expected one of: .csv, .tsv" in error(write(tmp_path / "a.xml", "<a/>"))


def test_cells_stay_the_text_that_they_are(tmp_path: Path) -> None:
    odd = ["null", "NA", "nan", "007", "1e5", "true", "-", " x ", ""]
    for ending, separator in ((".csv", ","), (".tsv", "\t")):
        path = write(
            tmp_path / f"a{ending}", "".join(f"{text}{separator}{i}\n" for i, text in enumerate(["text", *odd]))
        )
        assert [row["text"] for row in read(path)] == odd


def test_tabs_separate_and_quotes_do_not(tmp_path: Path) -> None:
    texts = ['an "open quote', '"opened', "it 's ' fine", 'plain "quoted" text']
    path = write(tmp_path / "a.tsv", "text\tlabel\n" + "\n".join(f"{text}\tx" for text in texts))
    assert [row["text"] for row in read(path)] == texts


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_byte_order_mark(tmp_path: Path, end: str) -> None:
    for ending, data in contents().items():
        lines = data.decode().splitlines()
        assert read(write(tmp_path / f"a{ending}", b"\xef\xbb\xbf" + end.join(lines).encode())) == ROWS
    path = write(tmp_path / "quoted.csv", f'\ufeff"text",label{end}"two{end}lines",x{end}')
    assert read(path) == [{"text": f"two{end}lines", "label": "x"}]


@pytest.mark.parametrize(
    ("content", "line", "noticed", "kept"),
    [
        ('text,label\na,x\n"b,y\nc,z\nd,w\n', 3, 5, {1: "a", 3: "c", 4: "d"}),  # swallows the rest
        ('text,label\na,x\n"b,y\n"c",z\nd,w\n', 3, 4, {1: "a", 3: "c", 4: "d"}),  # noticed at the next quote
        ('text,label\n"two\nlines",x\n"b"c,y\nd,w\n', 4, 4, {1: "two\nlines", 3: "d"}),  # closed too early
    ],
)
def test_a_missing_quote_is_told_by_the_line_that_begins_its_row(
    tmp_path: Path, content: str, line: int, noticed: int, kept: dict[int, str]
) -> None:
    path = write(tmp_path / "a.csv", content)
    message = error(path)
    assert f"line {line} begins a row with a quote" in message
    assert f"(noticed on line {noticed})" in message
    assert message.endswith(HINT)
    rows, tally = skipped(path)
    assert {number: row["text"] for number, row in rows} == kept
    assert tally == {"rows with a missing quote": 1}


def test_a_missing_quote_that_swallows_more_than_a_row_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_ROW", 100)
    path = write(tmp_path / "a.csv", 'text,label\n"a,x\n' + "fine,y\n" * 1000)
    assert "line 2 begins a row with a quote that is not closed" in error(path)
    rows, tally = skipped(path)
    assert [number for number, _ in rows] == list(range(2, 1002))
    assert tally == {"rows with a missing quote": 1}


def test_documents_may_be_longer_than_what_the_csv_module_allows(tmp_path: Path) -> None:
    document = "word " * 100_000
    assert read(write(tmp_path / "a.csv", f'text\n"{document}"\n')) == [{"text": document}]


@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_ragged_rows_and_blank_lines(tmp_path: Path, ending: str, separator: str) -> None:
    lines = ["", "text,label", "a,x", "", "b,y,z", "   ", "c", "d,w", ""]
    path = write(tmp_path / f"a{ending}", "\n".join(lines).replace(",", separator) + "\n")
    message = error(path)
    assert "line 5 has 3 fields, expected 2 ('text', 'label')" in message
    assert message.endswith(HINT)
    rows, tally = skipped(path)
    assert rows == [(1, {"text": "a", "label": "x"}), (4, {"text": "d", "label": "w"})]
    assert tally == {"rows with a wrong number of fields": 2, "blank lines": 4}


def test_an_empty_text_alone_in_its_row_is_a_row(tmp_path: Path) -> None:
    assert [row["text"] for row in read(write(tmp_path / "a.csv", 'text\na\n""\n\nb\n'))] == ["a", "", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "the file is empty; expected a header and rows"),
        ("a.csv", "\ufeff\n\n", "the file is empty; expected a header and rows"),
        ("a.csv", "text,label\n", "the file has no rows; expected a header and rows"),
        ("a.csv", "text,label,text\na,x,b\n", "the header, has the column 'text' twice"),
        ("a.csv", "text,,label\na,0,x\n", "the header, has no name for column 2 of 3"),
        ("a.tsv", "text\tlabel\t\na\tx\t\n", "the header, has no name for column 3 of 3"),
        ("a.csv", '"text,label\na,x\n', "line 1 begins a row with a quote"),
        ("a.csv", b"t\xe9xt,label\na,x\n", "line 1 is not valid utf-8; expected a header"),
        ("a.txt", "\n \n", "the file has no rows; expected some"),
        ("a.jsonl", "\n", "the file has no rows; expected some"),
        ("a.json", "[]", "the file has no rows; expected some"),
        ("a.json", "", "the file is empty"),
        ("a.json", "\n", "the file ends on line 2 before its JSON does"),
    ],
)
def test_files_without_rows_or_with_a_broken_header(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path / name, content)
    assert message in error(path)
    assert message in error(path, skip_bad_rows=True)


def test_json_lines_that_are_bad(tmp_path: Path) -> None:
    lines = ['{"text": "a"}', '{"text": ', "", "[1]", '{"text": "\\ud800"}', '{"t\\uDC00": ""}']
    lines += [
        '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"n": ' + "9" * 5000 + "}",
        '{"text": "\\ud83d\\ude00"}',
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    message = error(path)
    assert "line 2 is not JSON: Expecting value near" in message
    assert message.endswith(HINT)
    rows, tally = skipped(path)
    assert rows == [(1, {"text": "a"}), (8, {"text": "😀"})]
    assert tally == {
        "lines that are not JSON": 2,
        "blank lines": 1,
        "values that are no objects": 1,
        "rows with half of a character": 2,
        "values that are nested too deeply": 1,
    }
    assert "line 1 holds a list, expected an object" in error(write(tmp_path / "b.jsonl", "[1]\n"))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"version": 1.5, "data": ROWS, "more": {"data": [1]}}),
        json.dumps({"data": ROWS}, indent="\t"),
        "\n".join(json.dumps(row) for row in ROWS),
        "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n",
        '{"data": [' + "\n,".join(json.dumps(row) for row in ROWS) + "]\n}",
    ],
)
@pytest.mark.parametrize("piece", [1, 3, 7, 2**16])
def test_json_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, piece: int) -> None:
    monkeypatch.setattr(json_files, "_PIECE", piece)
    assert read(write(tmp_path / "a.json", content)) == ROWS
    assert read(write(tmp_path / "b.json", content.encode("utf-16")), encoding="utf-16") == ROWS


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=6,
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=6,
    ),
    piece=st.integers(1, 40),
)
def test_any_json_is_read_as_the_standard_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], piece: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any.json", json.dumps(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_PIECE", piece)
        assert read(path) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n {"text" "b"}]', "line 2 is not JSON: Expecting ':' delimiter near"),
        ('[{"text": "a"},\n {"text": "b"}', "the file ends on line 2 before its JSON does; is it whole?"),
        ('[{"text": "a"},\n {"text": "b', "the file ends on line 2 before its JSON does"),
        ('[{"text": "a"},\n ]', "line 2 is not JSON: Expecting value near"),
        ('[{"text": "a"} {"text": "b"}]', "line 1 is not JSON: expected , near"),
        ('[{"text": "a"}] []', "line 1 goes on after the end of the JSON value"),
        ('{"data": [{"text": "a"}]', "the file ends on line 1 before its JSON does"),
        ('{"data": [{"text": "a"}],}', 'line 1 is not JSON: expected " near'),
        (
            '{"rows": [{"text": "a"}]}',
            "expected a list of objects, or an object with such a list in its field 'data'; got the fields 'rows'",
        ),
        ('{"data": {"text": "a"}}', "got the fields 'data'"),
        ("{}", "got the fields (none)"),
        ("text", "line 1 is not JSON: expected { near 'text'"),
        ('[{"text": ' + "[" * 100_000, "line 1 begins a value that is nested too deeply"),
        ('[{"n": ' + "9" * 5000 + "}]", "line 1 is not JSON: a number has too many digits"),
    ],
)
def test_json_documents_that_are_broken(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "a.json", content)
    assert message in error(path)
    assert message in error(path, skip_bad_rows=True)  # what follows cannot be told


def test_bad_values_of_json_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.json",
        b'[{"text": "a"},\n3,\n{"text": "\\udfff"},\n{"a": 1,\n"text": "\xff"}, null,\n{"text": "b"}]',
    )
    assert "line 2 holds a number, expected an object" in error(path)
    rows, tally = skipped(path)
    assert rows == [(1, {"text": "a"}), (6, {"text": "b"})]
    assert tally == {
        "values that are no objects": 2,
        "rows with half of a character": 1,
        "rows that are not valid utf-8": 1,
    }
    path = write(tmp_path / "b.json", b'[{"a": 1,\n"text": "\xff"}]')
    assert "line 2 is not valid utf-8" in error(path)


CONTEXT = "Rain fell on Köln and on Bonn."


def squad(**more: Any) -> list[dict[str, Any]]:
    answers = [{"text": "Köln", "answer_start": 13}, {"text": "Bonn", "answer_start": 25}]
    questions = [
        {"id": "1", "question": "Where?", "answers": answers} | more,
        {"id": "2", "question": "When?", "answers": []} | ({"is_impossible": True} if more else {}),
    ]
    return [
        {
            "title": "Rain",
            "paragraphs": [{"context": CONTEXT, "qas": questions[:1]}, {"context": CONTEXT, "qas": questions[1:]}],
        }
    ]


def row(number: str, question: str, answers: dict[str, list[Any]], title: str = "Rain") -> dict[str, Any]:
    return {"id": number, "title": title, "question": question, "context": CONTEXT, "answers": answers}


ANSWERS = {"text": ["Köln", "Bonn"], "answer_start": [13, 25]}
NONE: dict[str, list[Any]] = {"text": [], "answer_start": []}


def test_squad_gives_a_row_per_question(tmp_path: Path) -> None:
    data = {"version": "1.1", "data": squad()}
    expected = [row("1", "Where?", ANSWERS), row("2", "When?", NONE)]
    assert read(write(tmp_path / "a.json", json.dumps(data))) == expected
    assert read(write(tmp_path / "b.json", json.dumps(data, indent=1))) == expected
    second = read(
        write(tmp_path / "c.json.gz", gzip.compress(json.dumps({"data": squad(is_impossible=False)}).encode()))
    )
    assert [question.pop("is_impossible") for question in second] == [False, True]
    assert second == expected
    untitled = squad()
    del untitled[0]["title"]
    assert [found["title"] for found in read(write(tmp_path / "d.json", json.dumps({"data": untitled})))] == ["", ""]


def test_questions_that_are_not_as_in_squad(tmp_path: Path) -> None:
    good = squad()[0]["paragraphs"][0]
    no_start = {"id": "3", "question": "?", "answers": [{"text": "Köln"}]}
    start_as_text = {"id": "3", "question": "?", "answers": [{"text": "Köln", "answer_start": "13"}]}
    articles = [
        {"title": "a", "paragraphs": [good, {"context": CONTEXT, "qas": [no_start, {"id": "4"}, None]}]},
        {"title": "b"},
        {"title": "c", "paragraphs": [{"context": 3, "qas": good["qas"]}, {"qas": good["qas"]}, {"context": CONTEXT}]},
        {"title": "d", "paragraphs": [{"context": CONTEXT, "qas": [start_as_text]}, good]},
    ]
    path = write(tmp_path / "a.json", json.dumps({"data": articles}))
    assert "line 1 holds a question that is not as in SQuAD; expected id, question" in error(path)
    rows, tally = skipped(path)
    assert [(number, found["title"]) for number, found in rows] == [(1, "a"), (10, "d")]
    assert tally == {"questions of an unknown shape": 8}


def mrqa(spans: list[list[list[int]]], **more: Any) -> dict[str, Any]:
    answers = [{"text": "köln", "char_spans": found, "token_spans": [[3, 3]]} for found in spans]
    question = {"qid": "1", "id": "x", "question": "Where?", "answers": ["köln"], "detected_answers": answers} | more
    return {"id": "", "context": CONTEXT, "qas": [question], "context_tokens": []}


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_mrqa_gives_a_row_per_question_with_every_span(tmp_path: Path, name: str) -> None:
    header = {"header": {"dataset": "Rain", "split": "dev"}}
    lines = [header, mrqa([[[13, 16]], [[25, 28], [13, 16]]]), mrqa([[[0, 3]]], qid=2)]
    path = write(tmp_path / name, gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    assert read(path) == [
        row("1", "Where?", {"text": ["Köln", "Bonn", "Köln"], "answer_start": [13, 25, 13]}, title=""),
        row("2", "Where?", {"text": ["Rain"], "answer_start": [0]}, title=""),
    ]


def test_questions_that_are_not_as_in_mrqa(tmp_path: Path) -> None:
    outside = [mrqa([[[25, 30]]]), mrqa([[[3, 2]]]), mrqa([[[-1, 2]]]), mrqa([[[1]]]), mrqa([], detected_answers=None)]
    lines = [mrqa([[[0, 3]]]), *outside, {"context": CONTEXT}, {"context": 1, "qas": [{}]}, mrqa([[[5, 8]]])]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)))
    assert "line 2 holds a question that is not as in MRQA" in error(path)
    rows, tally = skipped(path)
    assert [(number, found["answers"]["text"]) for number, found in rows] == [(1, ["Rain"]), (9, ["fell"])]
    assert tally == {"questions of an unknown shape": 7}


def test_parquet_of_pandas(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": pd.Categorical(["x", "y", None])}, index=[5, 6, 7])
    frame[frame["text"] != "b"].to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [{"text": "a", "label": "x"}, {"text": "c", "label": None}]


def test_parquet_of_datasets_has_names_of_classes(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features).to_parquet(tmp_path / "a.parquet")
    assert [found["label"] for found in read(tmp_path / "a.parquet")] == ["pos", "neg", None]


def test_parquet_with_bad_rows(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    schema = features.arrow_schema
    texts = pa.array([b"a", b"\xff", b"c"], pa.binary()).view(pa.string())
    table = pa.table({"text": texts, "label": pa.array([0, 1, 2])}, schema=schema)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert "row 2 is not valid utf-8" in error(tmp_path / "a.parquet")
    rows, tally = skipped(tmp_path / "a.parquet")
    assert rows == [(1, {"text": "a", "label": "neg"})]
    assert tally == {"rows that are not valid utf-8": 1, "rows with a class that has no name": 1}


def test_documents_are_lines_or_paragraphs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\n\n two \nthree\n \t\n\n\nfour\x0bstill\u2028four")
    last = "four\x0bstill\u2028four"
    rows, tally = skipped(path)
    assert [found["text"] for _, found in rows] == ["one", " two ", "three", last]
    assert [number for number, _ in rows] == [1, 2, 3, 4]
    assert tally == {"blank lines": 4}
    rows, tally = skipped(path, split_documents="paragraph")
    assert [found["text"] for _, found in rows] == ["one", "two three", last]
    assert tally == {}


def test_one_bad_line_spoils_its_paragraph_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"a\nb\n\nc\n\xff\nd\n\xff\n\ne\n")
    assert "line 5 is not valid utf-8" in error(path, split_documents="paragraph")
    rows, tally = skipped(path, split_documents="paragraph")
    assert rows == [(1, {"text": "a b"}), (3, {"text": "e"})]
    assert tally == {"rows that are not valid utf-8": 1}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".jsonl"])
def test_a_wrong_encoding_is_told_by_its_line(tmp_path: Path, ending: str) -> None:
    lines = [f'{{"text": "{text}"}}' if ending == ".jsonl" else text for text in ("text", "a", "schön", "b")]
    path = write(tmp_path / f"a{ending}", "\n".join(lines).encode("latin-1"))
    message = error(path)
    assert "line 3 is not valid utf-8; name the encoding with --encoding" in message
    assert message.endswith(HINT)
    assert [found["text"] for found in read(path, encoding="latin-1")][-2:] == ["schön", "b"]
    rows, tally = skipped(path)
    assert [found["text"] for _, found in rows][-2:] == ["a", "b"]
    assert tally == {"rows that are not valid utf-8": 1}


def test_one_bad_byte_in_a_row_of_several_lines_spoils_no_other_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b'text,label\n"one\ntw\xff\nthree",x\nb,y\n')
    assert "line 3 is not valid utf-8" in error(path)
    rows, tally = skipped(path)
    assert rows == [(2, {"text": "b", "label": "y"})]
    assert tally == {"rows that are not valid utf-8": 1}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
def test_null_bytes_are_no_text(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a{ending}", "text\na\nb\0c\nd\n")
    assert "line 3 holds a null byte, expected text" in error(path)
    rows, tally = skipped(path)
    assert [found["text"] for _, found in rows][-2:] == ["a", "d"]
    assert tally == {"rows with null bytes": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_wide_encodings(tmp_path: Path, encoding: str) -> None:
    text = ("\ufeff" if encoding.endswith("le") else "") + "text,label\nschön,x\n"
    path = write(tmp_path / "a.csv", text.encode(encoding))
    assert read(path, encoding=encoding) == [{"text": "schön", "label": "x"}]
    name = encoding.removesuffix("-le")
    assert f"the file is {name} by its byte order mark, not utf-8; give --encoding {name}" in error(path)


def test_what_is_not_utf_16_by_its_beginning(tmp_path: Path) -> None:
    assert "is not utf-16: " in error(write(tmp_path / "a.csv", "text,label\na,x\n"), encoding="utf-16")


@pytest.mark.parametrize("encoding", ["utf-88", "", "rot13", "undefined", "utf\0-8"])
def test_encodings_that_there_are_not(encoding: str) -> None:
    with pytest.raises(ConfigError, match="encoding: got .*, expected one that Python knows, such as utf-8"):
        Reading(encoding=encoding)


def test_ways_to_split_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match="split_documents: got 'page', expected line or paragraph"):
        Reading(split_documents="page")


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".jsonl"])
def test_rows_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_ROW", 50)
    form = '{{"text": "{}"}}' if ending == ".jsonl" else "{}"
    room = 50 - len(form.format(""))
    texts = ["text", "a", "b" * room, "c" * (room + 1), "d", "e" * 1000]
    path = write(tmp_path / f"a{ending}", "\n".join(form.format(text) for text in texts))
    assert "line 4 begins a row of more than 50 characters" in error(path)
    rows, tally = skipped(path)
    assert [found["text"] for _, found in rows][-3:] == ["a", "b" * room, "d"]
    assert tally == {"rows that are too long": 2}


def test_paragraphs_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_ROW", 50)
    path = write(tmp_path / "a.txt", "a\n\n" + "word\n" * 100 + "\nb\n")
    assert "line 3 begins a row of more than 50 characters" in error(path, split_documents="paragraph")
    rows, tally = skipped(path, split_documents="paragraph")
    assert rows == [(1, {"text": "a"}), (3, {"text": "b"})]
    assert tally == {"rows that are too long": 1}


def test_json_values_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_ROW", 50)
    monkeypatch.setattr(json_files, "_PIECE", 40)
    path = write(tmp_path / "a.json", json.dumps([{"text": "a"}, {"text": "b" * 45}, {"text": "c"}]))
    assert "line 1 begins a row of more than 50 characters" in error(path)
    assert skipped(path) == ([(1, {"text": "a"}), (3, {"text": "c"})], {"rows that are too long": 1})
    path = write(tmp_path / "b.json", json.dumps([{"text": "a"}, {"text": "b" * 100_000}]))
    assert "line 1 begins a row of more than 50 characters" in error(path, skip_bad_rows=True)


def test_texts_in_parquet_that_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "LONGEST_ROW", 50)
    pa.parquet.write_table(
        pa.table({"text": ["a", "ä" * 50, "b" * 51], "n": [1, 2, 3]}), path := tmp_path / "a.parquet"
    )
    assert error(path).endswith(
        "row 3 has a text of more than 50 characters, expected shorter ones; cut long documents" + HINT
    )
    rows, tally = skipped(path)
    assert [number for number, _ in rows] == [1, 2]
    assert tally == {"rows that are too long": 1}


def test_values_in_parquet_that_python_has_no_room_for(tmp_path: Path) -> None:
    times = pa.array([0, 2**62, 10**6], pa.timestamp("us"))
    pa.parquet.write_table(pa.table({"text": ["a", "b", "c"], "at": times}), path := tmp_path / "a.parquet")
    assert "row 2 has a value that Python has no room for" in error(path)
    rows, tally = skipped(path)
    assert [row["text"] for _, row in rows] == ["a", "c"]
    assert tally == {"rows with values out of range": 1}


@pytest.mark.parametrize("ending", FORMATS)
def test_pipes_and_devices_are_neither_waited_for_nor_read_for_ever(tmp_path: Path, ending: str) -> None:
    os.mkfifo(pipe := tmp_path / f"pipe{ending}")
    (zeros := tmp_path / f"zeros{ending}").symlink_to("/dev/zero")
    for path in (pipe, zeros):
        assert "it is a pipe or a device, expected a file" in error(path, skip_bad_rows=True)


def test_a_header_of_many_columns_is_read_at_once(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(100_000)]
    path = write(tmp_path / "a.csv", f"{','.join(names)}\n{','.join(names)}\n")
    began = time.process_time()
    assert len(read(path)[0]) == 100_000
    assert time.process_time() - began < 5  # a minute, where each name is compared with all before it
    assert "has the column 'c7' twice" in error(write(path, f"{','.join([*names, 'c7'])}\n"))


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt", ".jsonl", ".json"])
def test_two_gigabytes_without_a_line_end_are_not_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    with path.open("wb") as file:
        file.truncate(2 * 2**30)  # takes no room on the disk
    expected = "is not JSON: expected {" if ending == ".json" else "begins a row of more than 4,194,304 characters"
    assert f"line 1 {expected}" in error(path)


def test_members_and_frames_are_read_one_after_the_other(tmp_path: Path) -> None:
    parts = (b"text\na\n", b"b\n")
    assert read(write(tmp_path / "a.csv.gz", b"".join(map(gzip.compress, parts)))) == [{"text": "a"}, {"text": "b"}]
    assert read(write(tmp_path / "a.csv.zst", b"".join(map(zstd, parts)))) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("skip", [False, True])
def test_files_that_are_not_what_their_ending_says(tmp_path: Path, skip: bool) -> None:
    lines = "".join(f"{i * i}\n" for i in range(10_000)).encode()
    broken = {
        "a.csv.gz": b"not gzip",
        "b.csv.gz": gzip.compress(lines)[:-100],
        "c.csv.gz": gzip.compress(lines)[:-8] + bytes(8),
        "a.csv.zst": b"not zstd",
        "b.csv.zst": zstd(lines)[:-100],
        "a.parquet": b"no parquet",
        "b.parquet": b"PAR1" + bytes(100) + b"PAR1",
    }
    for name, data in broken.items():
        assert f"as {name.split('.')[1]}: " in error(write(tmp_path / name, data), skip_bad_rows=skip)
    assert "give its name the ending .gz" in error(write(tmp_path / "d.csv", gzip.compress(lines)))
    assert "No such file" in error(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "Is a directory" in error(tmp_path / "folder.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    assert "cannot read" in error(tmp_path / "loop.csv")


def test_a_file_of_bad_rows_alone_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", "a\nb\n")
    assert "none of its 2 rows can be used; the first: line 1 is not JSON" in error(path, skip_bad_rows=True)


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as raised:
        read(write(tmp_path / "a\nb.csv", ""))
    assert "a\\nb.csv" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_reader_that_is_left_closes_its_file(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "a.csv", "text\n" + "a\n" * 100_000), Reading(), Counter())
    assert next(rows) == (1, {"text": "a"})
    rows.close()  # type: ignore[attr-defined]  # an iterator in its signature, a generator in truth
    assert list(rows) == []


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(texts=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.getbasetemp()
    expected = [{"text": text, "label": label} for text, label in texts]
    with (folder / "any.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("text", "label"), *texts])
    assert read(folder / "any.csv") == expected
    for ascii_only in (False, True):
        lines = [json.dumps(found, ensure_ascii=ascii_only) for found in expected]
        assert read(write(folder / "any.jsonl", "\n".join(lines))) == expected


GARBAGE = st.binary(max_size=200) | st.lists(
    st.sampled_from(
        [b'"', b",", b"\t", b"\n", b"\r", b"a", b"\\", b"[", b"{", b"}", b"]", b":", b"\0", b"\xc3", b'"data"', b"PAR1"]
    ),
    max_size=60,
).map(b"".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=GARBAGE, ending=st.sampled_from(FORMATS), packed=st.sampled_from(["", ".gz", ".zst"]), skip=st.booleans())
def test_garbage_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str, packed: str, skip: bool
) -> None:
    stored = {"": data, ".gz": gzip.compress(data), ".zst": zstd(data)}[packed]
    path = write(tmp_path_factory.getbasetemp() / f"garbage{ending}{packed}", stored)
    assert "\n" not in refused(path, skip_bad_rows=skip)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.binary(min_size=1, max_size=100), at=st.integers(0, 10**6), packed=st.sampled_from([".gz", ".zst"]))
def test_damage_in_compressed_files_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, packed: str
) -> None:
    whole = b"text\n" + b"".join(b"row %d\n" % i for i in range(200))
    stored = gzip.compress(whole) if packed == ".gz" else zstd(whole)
    at %= len(stored)
    path = write(tmp_path_factory.getbasetemp() / f"damaged.csv{packed}", stored[:at] + data + stored[at + len(data) :])
    assert "\n" not in refused(path, skip_bad_rows=True)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "count", "columns"),
    [
        ("sst2/train.tsv.gz", 67_349, "sentence label"),
        ("sst2/dev.tsv", 872, "sentence label"),
        ("sst2/train_sentences.tsv.gz", 6_920, "sentence label"),
        ("mnli/train_subset.tsv.gz", 9_888, "premise hypothesis gold_label"),
        ("mnli/dev_matched.tsv.gz", 9_815, "premise hypothesis gold_label"),
        ("hans/eval.tsv.gz", 30_000, "gold_label sentence1 sentence2 heuristic"),
        ("snli/dev.tsv.gz", 9_842, "gold_label sentence1 sentence2"),
        ("snli/test.tsv.gz", 9_824, "gold_label sentence1 sentence2"),
        *((f"blitzer/{domain}_train.tsv.gz", 1_700, "sentence label") for domain in ("books", "dvd", "electronics")),
        *((f"blitzer/{domain}_dev.tsv.gz", 300, "sentence label") for domain in ("books", "dvd", "electronics")),
        *((f"blitzer/{domain}_test.tsv.gz", 2_000, "sentence label") for domain in ("books", "dvd", "electronics")),
        ("imdb/test.parquet", 25_000, "text label"),
        ("imdb/unsup_15k.parquet", 15_000, "text"),
        ("squad1/train_subset.json.gz", 11_877, "id title question context answers"),
        ("squad1/dev.json.gz", 10_570, "id title question context answers"),
        ("squad2/dev_a.json.gz", 6_078, "id title question context answers is_impossible"),
        ("squad2/dev_b_rebuilt.json.gz", 5_795, "id title question context answers is_impossible"),
        ("addsent/AddSent.json.gz", 3_560, "id title question context answers"),
        ("addsent/AddOneSent.json.gz", 1_787, "id title question context answers"),
        ("squadshifts/amazon_reviews.json.gz", 9_885, "id title question context answers"),
    ],
)
def test_real_files_have_all_their_rows(shared_data: Path, name: str, count: int, columns: str) -> None:
    tally: Counter[str] = Counter()
    numbers = []
    for number, found in read_rows(shared_data / name, Reading(), tally):
        numbers.append(number)
        assert set(columns.split()) <= found.keys()
    assert numbers == list(range(1, count + 1))
    assert not tally


@pytest.mark.shared_data
def test_real_answers_are_where_they_are_said_to_be(shared_data: Path) -> None:
    for found in read(shared_data / "squad1/dev.json.gz"):
        for text, start in zip(found["answers"]["text"], found["answers"]["answer_start"], strict=True):
            assert found["context"][start : start + len(text)] == text


def test_the_index_of_a_data_frame_may_have_no_name(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"text": ["a", "b"]}).to_csv(path)
    rows = [row for _, row in read_rows(path, Reading(), Counter())]
    assert rows == [{"unnamed": "0", "text": "a"}, {"unnamed": "1", "text": "b"}]
