"""`pydocs-qa`: on the installed libraries, and on small ones made here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ssl_pdr.data import pydocs_qa
from ssl_pdr.data.near import NearTexts
from ssl_pdr.data.pydocs_qa import PydocsQA, Row, build_qa, load_pydocs_qa
from ssl_pdr.data.pydocs_questions import TEMPLATES
from ssl_pdr.data.questions import load_questions
from ssl_pdr.errors import DataError
from tests.data.library import Library

PARTS = ("train", "test", "shifted")


def rows(qa: PydocsQA) -> Iterator[Row]:
    for part in PARTS:
        yield from getattr(qa, part)


def asked(row: Row) -> tuple[str, str]:
    """Kind and name that a question is about; for some there is no name."""
    name = re.search(r"`(.+)`", row["question"])
    template = re.sub(r"(the returned )?`.+`", "{}", row["question"])
    return next(kind for kind, templates in TEMPLATES.items() if template in templates), name[1] if name else ""


def answered(row: Row) -> bool:
    return bool(row["answers"]["text"])


def documented(context: str) -> set[str]:
    """Names at the start of a line in front of a colon, a bracket or the end: an oracle that knows no sections."""
    heads = re.findall(r"^(\*{0,2}[A-Za-z_]\w*(?:, \w+)*)(?= : |:| \(|$)", context, re.MULTILINE)
    return {name for head in heads for name in head.split(", ")}


# --- the installed libraries


@pytest.fixture(scope="module")
def qa() -> PydocsQA:
    return load_pydocs_qa()


@pytest.mark.real
def test_every_answer_is_where_it_says_and_is_whole(qa: PydocsQA) -> None:
    for row in rows(qa):
        context, (texts, starts) = row["context"], (row["answers"]["text"], row["answers"]["answer_start"])
        assert len(texts) == len(starts) == len(set(zip(starts, texts, strict=True)))
        for text, start in zip(texts, starts, strict=True):
            end = start + len(text)
            assert context[start:end] == text == text.strip()
            assert "\n" not in text
            assert not re.match(r"\w", context[end : end + 1]) or not re.match(r"\w", text[-1]), "cut in a word"
            assert not re.match(r"\w", context[max(0, start - 1) : start]) or not re.match(r"\w", text[0])
            assert text.count("(") == text.count(")")


@pytest.mark.real
def test_no_answer_is_empty_to_the_official_metrics(qa: PydocsQA) -> None:
    for row in rows(qa):
        for text in row["answers"]["text"]:
            assert re.sub(r"\b(a|an|the)\b|[^\w\s]|_", " ", text.lower()).strip(), row


@pytest.mark.real
def test_contexts_are_moderate_plain_text(qa: PydocsQA) -> None:
    lengths = [len(row["context"].split()) for row in rows(qa)]
    assert min(lengths) >= pydocs_qa.FEW_WORDS
    assert max(lengths) <= pydocs_qa.MANY_WORDS + 60  # the title comes on top
    assert sum(length > pydocs_qa.WORDS + 60 for length in lengths) > 50, "windows are never needed"
    for row in rows(qa):
        assert not re.search(r"``|:\w+:`|>>>|\.\. \w+::|%\(\w+\)s|\{input\}|-----", row["context"]), row["context"]


@pytest.mark.real
def test_a_third_of_every_kind_of_every_part_has_no_answer(qa: PydocsQA) -> None:
    sizes = (pydocs_qa.TRAIN_ROWS, pydocs_qa.TEST_ROWS, pydocs_qa.SHIFTED_ROWS)
    assert [len(getattr(qa, part)) for part in PARTS] == list(sizes)
    for part in PARTS:
        counts = Counter((asked(row)[0], answered(row)) for row in getattr(qa, part))
        for kind in {kind for kind, _ in counts}:
            total = counts[kind, True] + counts[kind, False]
            assert abs(counts[kind, False] - total / 3) <= 1.5, (part, kind, counts)
        assert counts["default", True] >= 50
    halves = [sum(answered(row) for row in half) / len(half) for half in (qa.train[:1000], qa.train[1000:])]
    assert all(0.6 < share < 0.73 for share in halves), "the rows are not shuffled"


@pytest.mark.real
def test_the_wording_does_not_tell_whether_there_is_an_answer(qa: PydocsQA) -> None:
    for kind, templates in TEMPLATES.items():
        if kind in ("raised", "choices", "shape"):  # few rows
            continue
        for template in templates:
            told = [
                answered(row)
                for row in qa.train
                if asked(row)[0] == kind and re.sub(r"(the returned )?`.+`", "{}", row["question"]) == template
            ]
            assert 0.5 < sum(told) / len(told) < 0.8, template


@pytest.mark.real
def test_what_has_no_answer_is_not_documented_or_has_no_default(qa: PydocsQA) -> None:
    undocumented = 0
    for row in rows(qa):
        kind, name = asked(row)
        if answered(row):
            assert not name or name in documented(row["context"]), row
        elif kind == "default" and name in documented(row["context"]):
            start = re.search(rf"^(\*|\w+, )*{name}\b", row["context"], re.MULTILINE)
            assert start
            own = re.split(r"\n(?=\S)|\n\n", row["context"][start.start() :])[0]
            assert not re.search(r"default(?!\w)", own[len(name) :]), own
        else:
            undocumented += 1
            assert name not in documented(row["context"]) or kind == "raised", row
            assert kind != "returned" or "\nReturns\n" not in row["context"]
    assert 0 < undocumented < sum(not answered(row) for row in rows(qa))


@pytest.mark.real
def test_no_module_passage_or_question_is_in_two_parts(qa: PydocsQA) -> None:
    for column in ("title", "context", "id"):
        values = [{row[column] for row in getattr(qa, part)} for part in PARTS]
        assert sum(map(len, values)) == len(set.union(*values)), column
    ids = [row["id"] for row in rows(qa)]
    assert len(ids) == len(set(ids)) == len({(row["context"], row["question"]) for row in rows(qa)})
    libraries = [{row["title"].partition(".")[0] for row in getattr(qa, part)} for part in PARTS]
    assert libraries[0] == libraries[1]
    assert libraries[0].isdisjoint(libraries[2])


@pytest.mark.real
def test_few_passages_of_the_test_parts_are_near_to_one_of_training(qa: PydocsQA) -> None:
    contexts = {part: sorted({row["context"] for row in getattr(qa, part)}) for part in PARTS}
    near = {part: NearTexts((i, text, "") for i, text in enumerate(texts)) for part, texts in contexts.items()}
    for part in ("test", "shifted"):
        rows_near = {row for _, _, row in near["train"].near_to(near[part])}
        assert len(rows_near) <= 0.02 * len(contexts[part])


@pytest.mark.real
def test_rows_are_what_other_sources_of_questions_give(qa: PydocsQA) -> None:
    table, counts = load_questions(list(qa.test))
    assert table.to_list() == list(qa.test)
    assert counts == {}


def share_right(part: tuple[Row, ...], answer: Callable[[Row], str]) -> float:
    hits = [answer(row) in (row["answers"]["text"] or [""]) for row in part]
    return sum(hits) / len(hits)


def first_default(row: Row) -> str:
    match = re.search(r"default\W*(?:is|to)?\W*(\w+)", row["context"])
    return match[1] if match else ""


def whole_head(row: Row) -> str:
    match = re.search(rf"^{re.escape(asked(row)[1])} : (.*)", row["context"], re.MULTILINE)
    return match[1] if match else ""


@pytest.mark.real
def test_trivial_rules_do_badly(qa: PydocsQA) -> None:
    for part in (qa.test, qa.shifted):
        assert share_right(part, lambda row: "") == pytest.approx(1 / 3, abs=0.01)
        assert share_right(part, first_default) < 0.3
        assert share_right(part, whole_head) < 0.5


@pytest.mark.real
def test_nothing_is_left_out_without_being_counted(qa: PydocsQA) -> None:
    assert qa.unread == ()
    assert all(count > 0 for count in qa.dropped.values())
    assert qa.found > sum(qa.dropped.values()) > 0
    assert all(re.match(r"\d+\.", version) for version in qa.versions.values())


# --- small libraries


def numbered(i: int) -> str:
    """Letters alone: digits do not count where texts are compared."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(i)) + "ish"


def docstring(i: int) -> str:
    word = numbered(i)
    returns = f"\n\nReturns\n-------\n{word}_meal : {word.title()}Meal\n    What is eaten after {word} work."
    return (
        f"Cook {word} things.\n\nParameters\n----------\n"
        f"{word}_heat : float, default={i}.5\n    How hot the {word} oven has to be before anything goes in.\n"
        f"{word}_pan : {word.title()}Pan\n    The pan for {word} food, which should be made of iron or steel."
    ) + (returns if i % 3 else "")


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Library]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pydocs_qa, "TRAIN_ROWS", 24)
    monkeypatch.setattr(pydocs_qa, "TEST_ROWS", 6)
    monkeypatch.setattr(pydocs_qa, "SHIFTED_ROWS", 12)
    made = {name: Library(tmp_path, name) for name in ("kitchen", "bakery")}
    for part in range(10):
        made["kitchen"].module(f"book{numbered(part)}", {f"f{i}": docstring(i) for i in range(4 * part, 4 * part + 4)})
    made["bakery"].module("bread", {f"f{i}": docstring(i) for i in range(100, 112)})
    return made


def cook() -> PydocsQA:
    return build_qa(("kitchen",), ("bakery",))


def test_parts_of_small_libraries(libraries: dict[str, Library]) -> None:
    qa = cook()
    assert [len(getattr(qa, part)) for part in PARTS] == [24, 6, 12]
    assert [sum(not answered(row) for row in getattr(qa, part)) for part in PARTS] == [8, 2, 4]
    assert qa.versions == {"bakery": "1.5", "kitchen": "1.5"}
    assert {row["title"] for row in qa.shifted} == {"bakery.bread"}
    assert {row["title"] for row in qa.train}.isdisjoint(row["title"] for row in qa.test)
    for row in rows(qa):
        kind, name = asked(row)
        word = re.search(r"Cook (\w+)", row["context"])[1]  # type: ignore[index]
        expected = {
            "default": r"\d+\.5" if name == f"{word}_heat" else "",
            "type": {f"{word}_heat": "float", f"{word}_pan": f"{word.title()}Pan", f"{word}_meal": f"{word.title()}Meal"}.get(name, ""),
            "meaning": {f"{word}_heat": "How hot.*", f"{word}_pan": "The pan.*", f"{word}_meal": "What is.*"}.get(name, ""),
            "returned": f"{word.title()}Meal",
        }[kind]  # fmt: skip
        assert re.fullmatch(expected, (row["answers"]["text"] or [""])[0]), row


_SCRIPT = """
import json
from ssl_pdr.data import pydocs_qa
pydocs_qa.TRAIN_ROWS, pydocs_qa.TEST_ROWS, pydocs_qa.SHIFTED_ROWS = 24, 6, 12
qa = pydocs_qa.build_qa(("kitchen",), ("bakery",))
print(json.dumps([qa.train, qa.fingerprint, qa.dropped, qa.spared]))
"""


def test_other_processes_and_hash_seeds_read_the_same_rows_and_import_nothing(libraries: dict[str, Library]) -> None:
    for library in libraries.values():
        (library.root / "__init__.py").write_text("raise RuntimeError('imported')")
    qa = cook()
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert json.loads(output) == json.loads(json.dumps([qa.train, qa.fingerprint, qa.dropped, qa.spared]))


def test_what_is_left_out_is_counted(libraries: dict[str, Library]) -> None:
    before = cook()
    long = "word " * (pydocs_qa.WORDS + 1)
    libraries["kitchen"].module(
        "rest",
        {
            "_hidden": docstring(200),
            "bare": "",
            "prose": "Nothing but a sentence about spoons.",
            "template": docstring(201) + "\n%(notes)s",
            "copy": docstring(3),
            "short": "Do.\n\nParameters\n----------\nx : int\n    Much.",
            "long": f"Do.\n\nParameters\n----------\nx : int\n    {long}",
        },
    )
    (libraries["kitchen"].root / "torn.py").write_text("def f(:\n")
    qa = build_qa(("kitchen", "kitchen.gone"), ("bakery",))
    assert {reason: count - before.dropped.get(reason, 0) for reason, count in qa.dropped.items()} == {
        "private": 1,
        "no docstring": 1,
        "no entries": 1,
        "has placeholders": 1,
        "duplicate": 1,
        "no passage of fitting length": 2,
        "not needed": 0,
    }
    assert qa.unread == ("kitchen.torn", "kitchen.gone")
    assert qa.found == before.found + 7
    assert qa.spared["long entries"] == 1
    assert {row["context"] for row in rows(qa)} == {row["context"] for row in rows(before)}


def test_objects_in_rows_and_those_left_out_are_all_that_were_found(libraries: dict[str, Library]) -> None:
    qa = cook()
    assert qa.found == 52 == len({row["context"] for row in rows(qa)}) + sum(qa.dropped.values())


def test_a_long_docstring_becomes_several_passages(libraries: dict[str, Library]) -> None:
    entries = [f"p{numbered(i)} : Kind{i}\n    {f'Sense of {numbered(i)} ' * 12}." for i in range(300, 312)]
    libraries["bakery"].module("bread", {"f": "Bake.\n\nParameters\n----------\n" + "\n".join(entries)})
    libraries["bakery"].module("rolls", {f"f{i}": docstring(i) for i in range(100, 112)})
    contexts = {row["context"] for row in cook().shifted if row["title"] == "bakery.bread"}
    assert all(context.startswith(("Bake.\n\nParameters\np", "Parameters\np")) for context in contexts)
    assert len(contexts) <= pydocs_qa.PASSAGES


def test_a_new_object_moves_few_rows(libraries: dict[str, Library]) -> None:
    before = cook()
    libraries["kitchen"].module("rest", {"new": docstring(400)})
    after = cook()
    for part in PARTS:
        old, new = ({row["id"] for row in getattr(qa, part)} for qa in (before, after))
        assert len(old & new) >= 0.8 * len(old)


@pytest.mark.parametrize("size", ["TRAIN_ROWS", "TEST_ROWS", "SHIFTED_ROWS"])
def test_the_fingerprint_is_of_all_parts(
    libraries: dict[str, Library], monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    first = cook().fingerprint
    assert cook().fingerprint == first
    monkeypatch.setattr(pydocs_qa, size, getattr(pydocs_qa, size) - 1)
    assert cook().fingerprint != first


@pytest.mark.parametrize(
    ("size", "part"), [("TRAIN_ROWS", "training"), ("TEST_ROWS", "test"), ("SHIFTED_ROWS", "shifted")]
)
def test_too_few_questions_are_one_line_that_names_the_part(
    libraries: dict[str, Library], monkeypatch: pytest.MonkeyPatch, size: str, part: str
) -> None:
    monkeypatch.setattr(pydocs_qa, size, 999)
    with pytest.raises(DataError, match=rf"found \d+ {part} questions, .* expected 999; .*installed"):
        cook()


def test_a_missing_library_is_an_error(libraries: dict[str, Library]) -> None:
    with pytest.raises(DataError, match="no_such_library.*pip install"):
        build_qa(("kitchen",), ("no_such_library.x",))
