"""`pydocs-topics`: on the installed libraries, and on small ones made here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ssl_pdr.data import pydocs
from ssl_pdr.data.docstrings import MASK
from ssl_pdr.data.pydocs import AREAS, Area, PydocsTopics, build_topics, load_pydocs_topics
from ssl_pdr.errors import DataError
from tests.data.library import Library

PARTS = ("train", "test", "shifted")

# --- the installed libraries


@pytest.fixture(scope="module")
def topics() -> PydocsTopics:
    return load_pydocs_topics()


_SCRIPT = """
import json, sys
from ssl_pdr.data.pydocs import load_pydocs_topics
topics = load_pydocs_topics()
libraries = [name for name in topics.versions if name in sys.modules]
print(json.dumps([topics.fingerprint, topics.train, topics.dropped, libraries]))
"""


@pytest.mark.real
def test_other_processes_and_hash_seeds_read_the_same_rows_and_import_no_library(topics: PydocsTopics) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", _SCRIPT], env=environment, check=True, capture_output=True, text=True
    ).stdout
    fingerprint, train, dropped, imported = json.loads(output)
    assert fingerprint == topics.fingerprint
    assert train == [list(column) for column in topics.train]
    assert dropped == topics.dropped
    assert imported == []


@pytest.mark.real
def test_no_text_is_in_two_rows(topics: PydocsTopics) -> None:
    texts = [words(text) for part in PARTS for text in getattr(topics, part).texts]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


@pytest.mark.real
@pytest.mark.parametrize("part", PARTS)
def test_every_area_has_its_share_of_every_part(topics: PydocsTopics, part: str) -> None:
    rows = getattr(topics, part)
    counts = Counter(rows.labels)
    assert len(rows.texts) == len(rows.labels) == len(rows.objects)
    assert sorted(counts) == list(range(len(AREAS)))
    fair = len(rows.labels) / len(AREAS)
    assert all(0.6 * fair <= count <= 1.4 * fair for count in counts.values()), counts


@pytest.mark.real
def test_shifted_rows_are_of_other_modules_of_the_same_area(topics: PydocsTopics) -> None:
    for part, side in (("train", "home"), ("test", "home"), ("shifted", "away")):
        for label, source in zip(getattr(topics, part).labels, getattr(topics, part).objects, strict=True):
            area = next(area for area in AREAS if area.name == topics.label_names[label])
            assert any(matches(source.partition(":")[0], pattern) for pattern in getattr(area, side)), source
    for area in AREAS:
        libraries = [{pattern.partition(".")[0] for pattern in side} for side in (area.home, area.away)]
        assert len(libraries[1] - libraries[0]) >= 1, f"{area.name} is not shifted to another library"


@pytest.mark.real
def test_no_text_names_its_area_its_library_or_itself(topics: PydocsTopics) -> None:
    giveaway = re.compile("|".join(area.giveaways for area in AREAS), re.IGNORECASE)
    libraries = {*topics.versions, "pytorch", "numpy", "np"}
    for part in PARTS:
        rows = getattr(topics, part)
        for text, source in zip(rows.texts, rows.objects, strict=True):
            own = {name.lower() for name in source.partition(":")[2].split(".")}
            for word in re.findall(r"\w+", text.lower()):
                assert word not in own, (text, source)
                assert word not in {library.lower() for library in libraries} - {"accelerate"}, (text, source)
                assert not giveaway.fullmatch(word), (text, source)


@pytest.mark.real
def test_texts_are_plain_lines_of_bounded_length(topics: PydocsTopics) -> None:
    for part in PARTS:
        for text in getattr(topics, part).texts:
            assert text == " ".join(text.split())
            assert len(text.split()) <= pydocs.MAX_WORDS
            assert len(re.findall(r"[^\W_]", text)) > pydocs.MIN_WORDS
            assert not re.search(r"``|:\w+:`|>>>|\.\. \w+::", text), text
            assert MASK + MASK not in text


@pytest.mark.real
def test_nothing_is_left_out_without_being_counted(topics: PydocsTopics) -> None:
    kept = sum(len(getattr(topics, part).texts) for part in PARTS)
    assert topics.found == kept + sum(topics.dropped.values())
    assert set(topics.unread) <= {
        "scipy.stats._distribution_infrastructure"
    }  # of SciPy 1.14: told of, not left out in silence
    assert list(topics.label_names) == sorted(area.name for area in AREAS)
    assert all(re.match(r"\d+\.", version) for version in topics.versions.values())


def words(text: str) -> str:
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))


def matches(module: str, pattern: str) -> bool:
    return fnmatchcase(module, pattern) or fnmatchcase(module, f"{pattern}.*")


# --- small libraries


SPICES = ("basil", "cumin", "dill", "fennel", "mint", "sage", "thyme", "anise", "mace", "sumac")


def recipes(verb: str) -> dict[str, str]:
    return {f"f{i}": f"{verb} the {spice} before it meets any water" for i, spice in enumerate(SPICES)}


@pytest.fixture
def kitchens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Library, Library]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(pydocs, "TRAIN_ROWS", 5)
    monkeypatch.setattr(pydocs, "TEST_ROWS", 3)
    monkeypatch.setattr(pydocs, "SHIFTED_ROWS", 4)
    home, away = Library(tmp_path, "homekitchen"), Library(tmp_path, "awaykitchen")
    home.module("frying", recipes("Sear"))
    away.module("frying", recipes("Brown"))
    home.module("boiling", recipes("Simmer"))
    away.module("boiling", recipes("Poach"))
    return home, away


def cook() -> PydocsTopics:
    return build_topics(
        tuple(
            Area(name, rf"\w*{name}\w*", (f"homekitchen.{name}",), (f"awaykitchen.{name}",))
            for name in ("frying", "boiling")
        )
    )


def test_parts_have_the_same_number_of_rows_for_each_area(kitchens: tuple[Library, Library]) -> None:
    topics = cook()
    assert topics.label_names == ("boiling", "frying")
    assert [Counter(getattr(topics, part).labels) for part in PARTS] == [{0: n, 1: n} for n in (5, 3, 4)]
    assert (topics.found, topics.dropped) == (40, {"not needed": 16})
    assert topics.versions == {"awaykitchen": "1.5", "homekitchen": "1.5"}


def test_every_reason_for_leaving_something_out_is_counted(kitchens: tuple[Library, Library]) -> None:
    home, away = kitchens
    text = "Sear the saffron before it meets any water"
    extra = {
        "_hidden": "Sear the cloves before they meet any water",
        "bare": "",
        "short": "Sear it well",
        "first": text,
        "again": text + "!",
        "shared": "Turn the stove off and clean the place",
    }
    home.module("frying", recipes("Sear") | extra)
    away.module("frying", recipes("Brown") | {"same": text})
    home.module("boiling", recipes("Simmer") | {"shared_too": extra["shared"]})
    (home.root / "boiling2.py").write_text("def f(:\n")
    areas = (
        Area("frying", "frying", ("homekitchen.frying",), ("awaykitchen.frying",)),
        Area("boiling", "boiling", ("homekitchen.boiling*", "homekitchen.gone"), ("awaykitchen.boiling",)),
    )
    topics = build_topics(areas)
    assert topics.dropped == {
        "private": 1,
        "no docstring": 1,
        "too short": 1,
        "duplicate": 2,
        "same text in two areas": 2,
        "not needed": 17,
    }
    assert topics.unread == ("homekitchen.boiling2", "homekitchen.gone")
    assert topics.found == 48 == 24 + sum(topics.dropped.values())


def test_names_are_masked_in_the_texts_of_every_area(kitchens: tuple[Library, Library]) -> None:
    home, _ = kitchens
    text = "Crisp: numpy.linalg.svd of deepfrying, Boiling or PyTorch needs Crisp pans and crispness of heat"
    home.module("frying", {"crisp": text} | {f"f{i}": f"{text} {spice}" for i, spice in enumerate(SPICES)})
    texts = {text for part in PARTS for text in getattr(cook(), part).texts if "pans" in text}
    masked = {re.sub(r"\bCrisp\b", MASK, text) for text in texts}
    assert len(texts) == 8
    assert all(text.startswith(f"{MASK}: {MASK} of {MASK}, {MASK} or {MASK} needs {MASK} pans") for text in masked)
    assert all("crispness" in text for text in texts)


def test_new_texts_move_no_row_of_other_areas(kitchens: tuple[Library, Library]) -> None:
    home, _ = kitchens
    before = cook()
    home.module("frying", recipes("Sear") | {"g": "A new way to prepare the same old dish"})
    after = cook()
    for part in PARTS:
        old, new = (
            [t for t, label in zip(r.texts, r.labels, strict=True) if label == 0]
            for r in (getattr(before, part), getattr(after, part))
        )
        assert old == new


@pytest.mark.parametrize("size", ["TRAIN_ROWS", "TEST_ROWS", "SHIFTED_ROWS"])
def test_the_fingerprint_is_of_all_parts(
    kitchens: tuple[Library, Library], monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    first = cook().fingerprint
    assert cook().fingerprint == first
    monkeypatch.setattr(pydocs, size, getattr(pydocs, size) - 1)
    assert cook().fingerprint != first


def test_an_area_with_too_few_texts_is_one_line_that_names_it(kitchens: tuple[Library, Library]) -> None:
    home, away = kitchens
    away.module("boiling", {})
    with pytest.raises(DataError, match=r"on boiling in homekitchen\.boiling and 0 in awaykitchen\.boiling"):
        cook()
    home.module("boiling", {})
    with pytest.raises(DataError, match="found 0 texts on boiling"):
        cook()


def test_a_missing_library_is_an_error(kitchens: tuple[Library, Library]) -> None:
    with pytest.raises(DataError, match="no_such_library.*pip install"):
        build_topics((Area("x", "x", ("no_such_library.x",), ("homekitchen.frying",)),))
