"""JSON, JSON lines, and the questions of SQuAD and MRQA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import LABELLED, OUT, UNLABELLED, WAYS, Content, in_turn, put
from benchmarks.fuzz.world import TRAIN, rows

_ROWS = [{"text": text, "label": label} for text, label in rows(24)]
_LINES = "".join(json.dumps(row) + "\n" for row in _ROWS)
_DEEP = 200_000


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _documents()
    yield from _lines()
    yield from _values()
    yield from _questions()


def _documents() -> Iterator[Case]:
    whole = json.dumps(_ROWS)
    bad: dict[str, Content] = {
        "nothing": b"",
        "white space": " \n\t ",
        "null": "null",
        "a number": "3.14",
        "a text": '"text"',
        "an empty list": "[]",
        "an empty object": "{}",
        "a list of lists": "[[1, 2], [3, 4]]",
        "a list of numbers": "[1, 2, 3]",
        "a list of nulls": "[null, null]",
        "an object without data": '{"rows": [], "version": 1}',
        "data that is no list": '{"data": {"a": 1}}',
        "data of an object twice": '{"data": [{"text": "a", "label": 1}], "data": 3}',
        "cut in the middle": whole[: len(whole) // 2],
        "cut before the end": whole[:-1],
        "something after the end": whole + "}",
        "a comma at the end": whole[:-1] + ",]",
        "no comma": "[" + " ".join(json.dumps(row) for row in _ROWS) + "]",
        "single quotes": whole.replace('"', "'"),
        "a comment": "// rows\n" + whole,
        "lists in lists": "[" * _DEEP,
        "lists in lists, closed": "[" * _DEEP + "]" * _DEEP,
        "objects in objects": '{"data":' * _DEEP + "1" + "}" * _DEEP,
        "a value that is deep": '[{"text": "a", "label": ' + "[" * _DEEP + "]" * _DEEP + "}]",
        "a number of a million digits": '[{"text": "a", "label": ' + "9" * 10**6 + "}]",
        "an open text of 20 MB": '[{"text": "' + "x" * (20 * 2**20),
        "an object of 20 MB": '[{"text": "a", "label": "b", "more": "' + "x" * (20 * 2**20) + '"}]',
        "null bytes": b"\x00" * 100,
        "utf-16": whole.encode("utf-16"),
        "latin-1": whole.replace("film", "filmé").encode("latin-1"),
        "javascript": "var rows = " + whole,
        "yaml": "- text: a\n  label: b\n- text: c\n  label: d\n",
    }
    yield from in_turn("json", "bad.json", bad, [*LABELLED, "unlabelled"])
    yield from in_turn(
        "json rows skipped",
        "bad.json",
        {k: v for k, v in bad.items() if k != "an object of 20 MB"},
        ["stream", "train"],
        ends=(2,),
        by=1,
        more=("--skip-bad-rows",),
    )
    fine: dict[str, Content] = {
        "a byte order mark": b"\xef\xbb\xbf" + whole.encode(),
        "a key twice": whole.replace('{"text"', '{"text": "first", "text"'),
        "lines in .json": _LINES,
        "lines in .json with blank ones": _LINES.replace("\n", "\n\n"),
        "more fields than rows need": json.dumps([{**row, f"field{i}": i} for i, row in enumerate(_ROWS)]),
        "spread over lines": json.dumps(_ROWS, indent=4),
        "CRLF": json.dumps(_ROWS, indent=1).replace("\n", "\r\n"),
    }
    yield from in_turn("json", "fine.json", fine, ["split", "train", "data"], ends=FINE, by=1)


def _lines() -> Iterator[Case]:
    bad: dict[str, Content] = {
        "a line that is cut": _LINES + '{"text": "a", "la',
        "a list among them": _LINES + "[1]\n",
        "a number among them": _LINES + "3\n",
        "csv among them": _LINES + "text,label\n",
        "two on a line": _LINES + '{"text": "a", "label": "pos"} {"text": "b", "label": "pos"}\n',
        "a deep line": _LINES + "[" * _DEEP + "\n",
        "a deep line, closed": _LINES + '{"a":' * _DEEP + "1" + "}" * _DEEP + "\n",
        "half of a character": _LINES + '{"text": "a\\ud800b", "label": "pos"}\n',
        "half of a character in a label": _LINES + '{"text": "a", "label": "\\udfff"}\n',
        "half of a character in a key": _LINES + '{"text": "a", "label": "pos", "\\ud83d": 1}\n',
        "a line of 20 MB": _LINES + '{"text": "' + "x" * (20 * 2**20) + '"}\n',
        "an array": json.dumps(_ROWS, indent=1),
        "a trailing comma": _LINES.replace("}\n", "},\n"),
        "nothing": b"",
        "blank lines": b"\n\n\n",
    }
    yield from in_turn("jsonl", "bad.jsonl", bad, [*LABELLED, *UNLABELLED])
    yield from in_turn(
        "jsonl rows skipped",
        "skip.jsonl",
        {
            k: v + _LINES
            for k, v in bad.items()
            if k not in ("nothing", "blank lines", "an array", "a trailing comma") and isinstance(v, str)
        },
        ["split", "train", "stream", "data", "evaluate"],
        ends=FINE,
        more=("--skip-bad-rows",),
        by=1,
    )


def _values() -> Iterator[Case]:
    """Values of other types in place of texts and labels, in one row among good ones, or in all."""
    values: dict[str, Any] = {
        "null": None,
        "true": True,
        "a number": 7,
        "a fraction": 0.5,
        "a huge number": 10**200,
        "a list": ["a"],
        "an empty list": [],
        "an object": {"a": 1},
        "an empty text": "",
        "blanks": " \u00a0\u2003 ",
        "nan": float("nan"),
        "infinity": float("-inf"),
        "a line end": "a\nb\r\u2028c",
        "a null character": "a\x00b",
        "a minus one": -1,
    }
    for column in ("text", "label"):
        contents: dict[str, Content] = {}
        for what, value in values.items():
            contents[f"{what} as a {column}"] = _LINES + json.dumps({**_ROWS[0], column: value}) + "\n"
            contents[f"{what} as every {column}"] = "".join(json.dumps({**row, column: value}) + "\n" for row in _ROWS)
        yield from in_turn(
            "values", "v.jsonl", contents, ["train", "eval", "split", "eval-on", "data", "evaluate"], ends=EITHER, by=1
        )
    more: dict[str, Content] = {
        f"{what} as a text": json.dumps({"text": value}) + "\n" + _LINES for what, value in values.items()
    }
    yield from in_turn("values", "u.jsonl", more, UNLABELLED, ends=EITHER, by=1)


def _squad(question: Any = None, paragraph: Any = None, article: Any = None) -> str:
    """Questions of which the first one is changed."""
    context = "the film was good . the plot was bad ."
    good = [
        {"id": f"q{i}", "question": "the film is ?", "answers": [{"text": "good", "answer_start": 13}]}
        for i in range(8)
    ]
    questions = good if question is None else [question, *good]
    inner = {"context": context, "qas": questions} if paragraph is None else paragraph
    others = [
        {"title": f"t{i}", "paragraphs": [{"context": f"{context} {i}", "qas": [{**good[0], "id": f"o{i}"}]}]}
        for i in range(4)
    ]
    outer = {"title": "t", "paragraphs": [inner]} if article is None else article
    return json.dumps({"version": "1.1", "data": [*others[:1], outer, *others[1:]]})


def _questions() -> Iterator[Case]:
    base: dict[str, Any] = {"id": "x", "question": "the plot is ?", "answers": [{"text": "bad", "answer_start": 33}]}
    answer = lambda text, start: {**base, "answers": [{"text": text, "answer_start": start}]}  # noqa: E731
    odd: dict[str, Content] = {
        "no answer_start": _squad({**base, "answers": [{"text": "bad"}]}),
        "answer_start is a text": _squad(answer("bad", "33")),
        "answer_start is a fraction": _squad(answer("bad", 33.0)),
        "answer_start is true": _squad(answer("bad", True)),
        "answer_start is negative": _squad(answer("bad", -5)),
        "answer_start is beyond the end": _squad(answer("bad", 10**6)),
        "answer_start is beyond 64 bits": _squad(answer("bad", 2**63)),
        "answer_start is a number of 400 digits": _squad(answer("bad", 10**400)),
        "an answer that is not there": _squad(answer("wonderful", 3)),
        "an empty answer": _squad(answer("", 3)),
        "an answer of null": _squad(answer(None, 3)),
        "answers are an object": _squad({**base, "answers": {"text": ["bad"], "answer_start": [33]}}),
        "answers are a text": _squad({**base, "answers": "bad"}),
        "answers are null": _squad({**base, "answers": None}),
        "answers are texts": _squad({**base, "answers": ["bad"]}),
        "no answers": _squad({k: v for k, v in base.items() if k != "answers"}),
        "no id": _squad({k: v for k, v in base.items() if k != "id"}),
        "an id twice": _squad({**base, "id": "q1"}),
        "an id is a number": _squad({**base, "id": 3}),
        "an id is an object": _squad({**base, "id": {"a": 1}}),
        "a question of null": _squad({**base, "question": None}),
        "a question is empty": _squad({**base, "question": "  "}),
        "a question is a list": _squad({**base, "question": ["a"]}),
        "a question of null itself": _squad("null"),
        "is_impossible is a text": _squad({**base, "is_impossible": "yes"}),
        "a context of null": _squad(paragraph={"context": None, "qas": [base]}),
        "an empty context": _squad(paragraph={"context": "", "qas": [base]}),
        "no context": _squad(paragraph={"qas": [base]}),
        "qas are an object": _squad(paragraph={"context": "a", "qas": {}}),
        "no qas": _squad(paragraph={"context": "a b c"}),
        "a paragraph is a text": _squad(paragraph="a"),
        "paragraphs are null": _squad(article={"title": "t", "paragraphs": None}),
        "an article is null": _squad(article=[]),
        "a title is a number": _squad(article={"title": 7, "paragraphs": [{"context": "a b", "qas": [base]}]}),
        "half of a character in a context": _squad(
            paragraph={"context": "the \ud800 was bad", "qas": [answer("bad", 10)]}
        ),
        "a context of 100,000 words": _squad(
            paragraph={"context": "the film " * 5 * 10**4, "qas": [answer("film", 4)]}
        ),
        "a question of ten thousand words": _squad({**base, "question": "the film " * 10**4}),
        "a data that is empty": json.dumps({"version": "1.1", "data": []}),
        "articles without a question": json.dumps(
            {"version": "1.1", "data": [{"title": "t", "paragraphs": [{"context": "a", "qas": []}]}]}
        ),
    }
    ways = {
        "train": (
            "train",
            "--data",
            "q.json",
            "--model",
            "answers",
            "--max-steps",
            "1",
            "--max-length",
            "24",
            "--reg",
            "none",
            *OUT,
        ),
        "split": ("split", "--data", "q.json", "--task", "question-answering", "--output", "out/s.json"),
        "eval": (
            "train",
            "--data",
            "squad.json",
            "--eval",
            "q.json",
            "--model",
            "answers",
            "--max-steps",
            "1",
            "--max-length",
            "24",
            "--reg",
            "none",
            *OUT,
        ),
        "data": ("data", "--data", "q.json", "--task", "question-answering", "--model", "model", "--json"),
    }
    order = list(ways.items())
    for number, (what, content) in enumerate(odd.items()):
        for place in range(2):
            way, argv = order[(number + place * (1 + number // 4 % 3)) % len(order)]
            skip = ("--skip-bad-rows",) if place else ()
            yield Case(
                kind="questions", name=f"{what}, {way}", argv=(*argv, *skip), make=put("q.json", content), ends=EITHER
            )
    for what, argv in {
        "questions for a model that classifies": (
            *TRAIN,
            "--data",
            "squad.json",
            "--model",
            "model",
            "--task",
            "classification",
            *OUT,
        ),
        "texts to be answered": (*TRAIN, "--data", "reviews.csv", "--task", "question-answering", *OUT),
        "a column to label questions": (*TRAIN, "--data", "squad.json", "--label-column", "x", *OUT),
        "questions as unlabelled text": (
            *TRAIN,
            "--data",
            "reviews.csv",
            "--reg",
            "rdrop",
            "--unlabelled",
            "squad.json",
            *OUT,
        ),
        "texts beside questions": (
            "train",
            "--data",
            "squad.json",
            "--model",
            "answers",
            "--unlabelled",
            "more.txt",
            *OUT,
        ),
        "questions to classify": WAYS["eval"]("squad.json"),
        "more stride than there is room": (
            "train",
            "--data",
            "squad.json",
            "--model",
            "answers",
            "--max-length",
            "24",
            "--stride",
            "100",
            *OUT,
        ),
        "no room for a passage": (
            "train",
            "--data",
            "squad.json",
            "--model",
            "answers",
            "--max-length",
            "4",
            "--stride",
            "1",
            *OUT,
        ),
    }.items():
        yield Case(kind="questions", name=what, argv=argv)
    mrqa = [
        {"header": {"dataset": "x"}},
        {
            "context": "the film was good",
            "qas": [{"qid": "1", "question": "?", "detected_answers": [{"char_spans": [[13, 16]]}]}],
        },
    ]
    for what, spans in {
        "beyond the end": [[0, 99]],
        "reversed": [[9, 3]],
        "a text": "0",
        "null": None,
        "floats": [[0.5, 1.5]],
        "three": [[0, 1, 2]],
        "huge": [[2**70, 2**71]],
    }.items():
        changed = [
            mrqa[0],
            {**mrqa[1], "qas": [{"qid": "1", "question": "?", "detected_answers": [{"char_spans": spans}]}]},
        ]
        content = "".join(json.dumps(row) + "\n" for row in changed)
        yield Case(
            kind="questions",
            name=f"MRQA with spans, {what}",
            argv=("split", "--data", "m.jsonl", "--task", "question-answering", "--output", "out/s.json"),
            make=put("m.jsonl", content),
        )
    for what, content in {
        "a header alone": json.dumps(mrqa[0]) + "\n",
        "a header twice": (json.dumps(mrqa[0]) + "\n") * 2,
        "no qas": json.dumps(mrqa[0]) + '\n{"context": "a"}\n',
    }.items():
        yield Case(
            kind="questions",
            name=f"MRQA, {what}",
            argv=("split", "--data", "m.jsonl", "--output", "out/s.json"),
            make=put("m.jsonl", content),
        )
