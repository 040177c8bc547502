"""`pydocs-pairs`: on the installed libraries, and on small ones made here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ssl_pdr.data import pydocs_pairs
from ssl_pdr.data.docstrings import MASK
from ssl_pdr.data.pydocs_pairs import PairRows, PydocsPairs, build_pairs, content_words, load_pydocs_pairs, overlap
from ssl_pdr.errors import DataError
from tests.data.library import Library

PARTS = ("train", "test", "adversarial")

# --- the installed libraries


@pytest.fixture(scope="module")
def pairs() -> PydocsPairs:
    return load_pydocs_pairs()


_SCRIPT = """
import json, sys
from ssl_pdr.data.pydocs_pairs import load_pydocs_pairs
pairs = load_pydocs_pairs()
libraries = [name for name in pairs.versions if name in sys.modules]
print(json.dumps([pairs.fingerprint, pairs.adversarial, pairs.dropped, libraries]))
"""


@pytest.mark.real
def test_other_processes_and_hash_seeds_read_the_same_rows_and_import_no_library(pairs: PydocsPairs) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    fingerprint, adversarial, dropped, imported = json.loads(output)
    assert fingerprint == pairs.fingerprint
    assert adversarial == json.loads(json.dumps(pairs.adversarial))
    assert dropped == pairs.dropped
    assert imported == []


@pytest.mark.real
@pytest.mark.parametrize(("part", "size"), [("train", 650), ("test", 250), ("adversarial", 250)])
def test_both_classes_have_their_share_of_every_part(pairs: PydocsPairs, part: str, size: int) -> None:
    rows = getattr(pairs, part)
    assert pairs.label_names == ("different", "same")
    assert Counter(rows.labels) == {0: size, 1: size}
    assert [len(column) for column in rows] == [2 * size] * 4
    labels = np.array(rows.labels)
    assert 0.35 < labels[:size].mean() < 0.65, "the rows are not shuffled"


@pytest.mark.real
def test_the_label_says_whether_both_passages_are_of_one_object(pairs: PydocsPairs) -> None:
    for part in PARTS:
        rows = getattr(pairs, part)
        assert [int(first == second) for first, second in rows.objects] == list(rows.labels)


@pytest.mark.real
def test_no_object_and_no_passage_is_in_two_parts_and_no_passage_in_two_rows(pairs: PydocsPairs) -> None:
    objects = {part: {name for names in getattr(pairs, part).objects for name in names} for part in PARTS}
    assert sum(map(len, objects.values())) == len(set.union(*objects.values()))
    passages = [words(text) for part in PARTS for column in getattr(pairs, part)[:2] for text in column]
    assert [text for text, count in Counter(passages).items() if count > 1] == []


@pytest.mark.real
def test_no_passage_names_its_object_or_its_library(pairs: PydocsPairs) -> None:
    libraries = {*pairs.versions, "pytorch", "np"}
    for part in PARTS:
        rows = getattr(pairs, part)
        for texts, side in ((rows.texts, 0), (rows.partners, 1)):
            for text, sources in zip(texts, rows.objects, strict=True):
                own = {name.lower() for name in sources[side].partition(":")[2].split(".")}
                assert not (own | libraries).intersection(re.findall(r"\w+", text.lower())), (text, sources)


@pytest.mark.real
def test_passages_are_whole_sentences_of_plain_text(pairs: PydocsPairs) -> None:
    for part in PARTS:
        for text in (*getattr(pairs, part).texts, *getattr(pairs, part).partners):
            assert text == " ".join(text.split())
            assert len(text.split()) <= pydocs_pairs.MAX_WORDS
            assert len(re.findall(r"[A-Za-z]+", text)) >= pydocs_pairs.MIN_WORDS - 1  # a name may be masked
            assert text[-1] in ".!?"
            assert not re.search(r"``|:\w+:`|>>>|\.\. \w+::|versionadded|-----|\bsee also\b|\[\d\]_", text), text
            assert MASK + MASK not in text


@pytest.mark.real
def test_adversarial_rows_of_two_objects_are_from_one_module_and_some_others_too(pairs: PydocsPairs) -> None:
    def from_one_module(rows: PairRows) -> list[bool]:
        different = [names for names, label in zip(rows.objects, rows.labels, strict=True) if label == 0]
        return [first.partition(":")[0] == second.partition(":")[0] for first, second in different]

    assert all(from_one_module(pairs.adversarial))
    for part in ("train", "test"):
        assert 0.2 < np.mean(from_one_module(getattr(pairs, part))) < 0.4


def share_of_all_words(text: str, partner: str) -> float:
    first, second = (set(re.findall(r"\w+", side.lower())) for side in (text, partner))
    return len(first & second) / len(first | second)


def share_of_content_words(text: str, partner: str) -> float:
    return overlap(content_words(text), content_words(partner))


@pytest.mark.real
@pytest.mark.parametrize(("measure", "in_domain"), [(share_of_all_words, 0.64), (share_of_content_words, 0.72)])
def test_to_compare_words_does_well_in_domain_and_fails_on_the_adversarial_part(
    pairs: PydocsPairs, measure: object, in_domain: float
) -> None:
    shares = {part: np.array([*map(measure, *getattr(pairs, part)[:2])]) for part in PARTS}  # type: ignore[call-overload]
    labels = {part: np.array(getattr(pairs, part).labels) for part in PARTS}

    def accuracy(part: str, threshold: float) -> float:
        return float(((shares[part] >= threshold) == labels[part]).mean())

    threshold = max(np.unique(shares["train"]), key=lambda t: accuracy("train", t))
    assert accuracy("test", threshold) >= in_domain
    # Chance is a half; how far below differs by the versions that are installed.
    assert accuracy("adversarial", threshold) <= 0.3
    assert max(accuracy("adversarial", t) for t in shares["adversarial"]) <= 0.51, "no threshold does better"


@pytest.mark.real
@pytest.mark.parametrize("columns", [(0,), (1,), (0, 1)], ids=["texts", "partners", "both"])
def test_words_of_the_passages_without_a_comparison_say_nothing(pairs: PydocsPairs, columns: tuple[int, ...]) -> None:
    def texts(rows: PairRows) -> list[str]:
        return ["\n".join(sides) for sides in zip(*(rows[column] for column in columns), strict=True)]

    model = make_pipeline(TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000))
    model.fit(texts(pairs.train), pairs.train.labels)
    for part in ("test", "adversarial"):
        rows = getattr(pairs, part)
        assert 0.4 < model.score(texts(rows), rows.labels) < 0.6, part


@pytest.mark.real
def test_lengths_and_masks_say_nothing(pairs: PydocsPairs) -> None:
    for part in PARTS:
        rows = getattr(pairs, part)
        labels: NDArray[np.int64] = np.array(rows.labels)
        for column in rows[:2]:
            for count in ([len(text.split()) for text in column], [text.count(MASK) for text in column]):
                values = np.array(count)
                best = max(max(hits := ((values >= t) == labels).mean(), 1 - hits) for t in np.unique(values))
                assert best < 0.62, (part, best)


@pytest.mark.real
def test_nothing_is_left_out_without_being_counted(pairs: PydocsPairs) -> None:
    used = {name for part in PARTS for names in getattr(pairs, part).objects for name in names}
    assert pairs.found == len(used) + sum(pairs.dropped.values())
    assert pairs.unread == ()
    assert all(re.match(r"\d+\.", version) for version in pairs.versions.values())


def words(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))


# --- small libraries


SPICES = words(
    """anise basil cumin dill fennel ginger hyssop juniper lovage mace nutmeg oregano paprika rosemary sage tarragon
thyme turmeric vanilla wasabi caraway chervil chives cloves coriander cress garlic mint mustard parsley saffron savory
sorrel sumac allspice borage marjoram pepper cassia annatto"""
).split()
POTS = words("kettle skillet saucepan wok griddle cauldron casserole steamer").split()


def recipe(i: int) -> str:
    spice, pot = SPICES[i], POTS[i % len(POTS)]
    return (
        f"Roast {spice} slowly inside a heavy {pot}.\n\n"
        f"Fresh {spice} loses flavour quickly, so buy whole seeds weekly.\n\n"
        f"Notes\n-----\nEvery heavy {pot} of variety {'x' * (i % 7)}{spice[::-1]} keeps warm for hours."
    )


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pydocs_pairs, "TRAIN_ROWS", 6)
    monkeypatch.setattr(pydocs_pairs, "TEST_ROWS", 4)
    monkeypatch.setattr(pydocs_pairs, "ADVERSARIAL_ROWS", 3)
    library = Library(tmp_path, "kitchen")
    for half in (0, 1):
        library.module(f"book{half}", {f"f{i}": recipe(i) for i in range(half, len(SPICES), 2)})
    return library


def cook() -> PydocsPairs:
    return build_pairs(("kitchen",))


def test_parts_of_a_small_library(kitchen: Library) -> None:
    pairs = cook()
    assert [Counter(getattr(pairs, part).labels) for part in PARTS] == [{0: n, 1: n} for n in (6, 4, 3)]
    assert pairs.versions == {"kitchen": "1.5"}
    assert pairs.found == 40
    for part in PARTS:
        for text, (first, _) in zip(getattr(pairs, part).texts, getattr(pairs, part).objects, strict=True):
            assert SPICES[int(first.partition(":f")[2])] in text


def test_adversarial_rows_share_much_or_little(kitchen: Library) -> None:
    rows = cook().adversarial
    shares = [share_of_content_words(*sides) for sides in zip(rows.texts, rows.partners, strict=True)]
    different, same = ([s for s, label in zip(shares, rows.labels, strict=True) if label == n] for n in (0, 1))
    assert min(different) > max(same)


def test_every_reason_for_leaving_something_out_is_counted(kitchen: Library) -> None:
    before = cook()
    whole = "Whisk the cream until stiff peaks appear everywhere.\n\nCold bowls help beginners more than hot kitchens."
    shared = "Polish silver spoons before important guests arrive hungry."
    kitchen.module(
        "rest",
        {
            "_hidden": whole.replace("Whisk", "Whip"),
            "bare": "",
            "one": "Clean the copper kitchen counters every evening.",
            "whole": whole,
            "inherits": whole,
            "shares": f"Wipe wooden tables using lemon oil.\n\n{shared}",
            "shares_too": f"Sweep dusty floors using willow brooms.\n\n{shared}",
            "tells": "Fill the crystal_jug using cold mountain water.\n\nWash the crystal_jug gently afterwards without soap.",
            "undescribed": "Tea.\n\nReturns\n-------\ncup : Cup\n    Strong black leaves from distant mountain gardens.\n\n"
            "Notes\n-----\nBoiling water spoils delicate green varieties completely.",
            "repeats": "Fold napkins into elegant paper swans.\n\nFolds napkins into elegant paper swans.",
        },
    )
    (kitchen.root / "torn.py").write_text("def f(:\n")
    pairs = build_pairs(("kitchen", "kitchen.gone"))
    assert pairs.dropped == {
        "private": 1,
        "no docstring": 1,
        "fewer than two passages": 1,
        "duplicate": 1,
        "passages of several objects": 2,
        "no description": 1,
        "passages give it away": 2,
        "not needed": pairs.dropped["not needed"],
    }
    used = {name for part in PARTS for names in getattr(pairs, part).objects for name in names}
    assert pairs.found == 50 == len(used) + sum(pairs.dropped.values())
    assert pairs.unread == ("kitchen.torn", "kitchen.gone")
    assert before.unread == ()


def test_names_are_masked_in_both_passages(kitchen: Library) -> None:
    text = (
        "Crisp of numpy.linalg browns {} evenly on all sides.\n\nThe crisp {} keeps its crispness for several {} days."
    )
    kitchen.module("book0", {"crisp": text.format("tofu", "tofu", "long")})
    kitchen.module(
        "book1", {f"f{i}": recipe(i).replace("Roast", f"F{i} roasts").replace("Fresh", f"F{i}") for i in range(40)}
    )
    pairs = cook()
    texts = [text for part in PARTS for column in getattr(pairs, part)[:2] for text in column]
    assert sum(text.startswith(f"{MASK} roasts") for text in texts) >= 20
    assert not any(re.search(r"\bf\d+\b|numpy|\bcrisp\b", text, re.IGNORECASE) for text in texts)


def test_a_class_and_its_method_and_methods_of_one_name_are_never_two_objects(kitchen: Library) -> None:
    (kitchen.root / "book0.py").write_text("")
    classes = "\n".join(
        f"class C{i}:\n    {recipe(i)!r}\n    def {'stir' if i % 2 else f'm{i}'}(self):\n        {recipe(i + 20)!r}"
        for i in range(20)
    )
    (kitchen.root / "book1.py").write_text(classes)
    pairs = cook()
    rows = [names for part in PARTS for names in getattr(pairs, part).objects if len(set(names)) == 2]
    assert len(rows) == 13
    for first, second in rows:
        assert not (first.endswith(".stir") and second.endswith(".stir"))
        assert first.partition(":C")[2].partition(".")[0] != second.partition(":C")[2].partition(".")[0]


def test_a_new_object_moves_few_rows(kitchen: Library) -> None:
    before = cook()
    kitchen.module(
        "rest", {"new": "Whisk cream until stiff peaks appear.\n\nCold bowls help beginners more than heat."}
    )
    after = cook()
    for part in PARTS:
        old, new = (set(zip(*getattr(pairs, part)[:2], strict=True)) for pairs in (before, after))
        assert len(old & new) >= len(old) / 2


@pytest.mark.parametrize("size", ["TRAIN_ROWS", "TEST_ROWS", "ADVERSARIAL_ROWS"])
def test_the_fingerprint_is_of_all_parts(kitchen: Library, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    first = cook().fingerprint
    assert cook().fingerprint == first
    monkeypatch.setattr(pydocs_pairs, size, getattr(pydocs_pairs, size) - 1)
    assert cook().fingerprint != first


@pytest.mark.parametrize(
    ("size", "part"), [("TRAIN_ROWS", "training"), ("TEST_ROWS", "test"), ("ADVERSARIAL_ROWS", "adversarial")]
)
def test_too_few_objects_are_one_line_that_names_the_part(
    kitchen: Library, monkeypatch: pytest.MonkeyPatch, size: str, part: str
) -> None:
    monkeypatch.setattr(pydocs_pairs, size, 30)
    with pytest.raises(DataError, match=rf"found 40 objects .* {part} rows, expected 60; .*installed"):
        cook()


def test_a_missing_library_is_an_error(kitchen: Library) -> None:
    with pytest.raises(DataError, match="no_such_library.*pip install"):
        build_pairs(("no_such_library.x",))


# --- comparing words


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.frozensets(st.sampled_from(SPICES)), st.frozensets(st.sampled_from(SPICES)))
def test_overlap_is_a_symmetric_share(first: frozenset[str], second: frozenset[str]) -> None:
    assert overlap(first, second) == overlap(second, first)
    assert 0 <= overlap(first, second) <= 1
    assert (overlap(first, second) == 1) == (first == second != frozenset())
    assert (overlap(first, second) == 0) == first.isdisjoint(second)
