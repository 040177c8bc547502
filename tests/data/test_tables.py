"""Corpora on disk: what is stored comes back, is found again when it is large, and is gone when it is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ssl_pdr.data import tables
from ssl_pdr.data.checks import text_key
from ssl_pdr.data.columns import Problems, TextRow
from ssl_pdr.data.tables import cache_folder, cache_key, feature_file, store, with_labels
from ssl_pdr.errors import DataError, OutputError

ROWS = [TextRow(f"text {i}", None, ("a", "b", None)[i % 3], None) for i in range(2500)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tables.datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def untouched() -> Iterator[TextRow]:
    raise AssertionError("read again")
    yield


def test_rows_come_back_as_they_were() -> None:
    table = store(iter(ROWS), Problems(), None, "rows")
    assert len(table) == 2500
    assert table.rows.column_names == ["text"]
    assert list(table.rows["text"]) == [row.text for row in ROWS]
    assert table.classes == ["a", "b"]
    assert table.labels.tolist() == [{"a": 0, "b": 1, None: -1}[row.label] for row in ROWS]
    assert table.keys[7] == text_key("TEXT  7")
    assert with_labels(table.rows, np.asarray(table.labels))[:3]["label"] == [0, 1, None]


def test_pairs_and_groups_have_columns_of_their_own() -> None:
    table = store(iter([TextRow("a", "b", "x", "g")]), Problems(), None, "rows")
    assert table.rows[0] == {"text": "a", "text_pair": "b", "group": "g"}
    assert table.keys[0] == text_key("a", "b")


def test_the_digest_is_of_texts_and_labels_alone() -> None:
    def digest(rows: list[TextRow]) -> str:
        return store(iter(rows), Problems(), None, "rows").digest

    assert digest(ROWS) == digest(list(ROWS))
    assert (
        len(
            {
                digest(rows)
                for rows in (ROWS, ROWS[:-1], ROWS[::-1], [*ROWS[:-1], TextRow("text 2499", None, "c", None)])
            }
        )
        == 4
    )


def test_large_files_are_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x" * 1000)
    assert cache_key([file], "how") is None
    monkeypatch.setattr(tables, "CACHE_FROM_BYTES", 100)
    key = cache_key([file], "how")
    assert key is not None
    assert key != cache_key([file], "otherwise")
    problems = Problems()
    problems.add("blank lines", 3)
    first = store(iter(ROWS), problems, key, "rows")
    again = store(untouched(), Problems(), key, "rows")
    assert again.rows.to_dict() == first.rows.to_dict()
    assert (again.digest, again.classes, again.problems) == (first.digest, first.classes, problems)
    assert {path.name for path in (cache / "ssl_pdr" / "tables").iterdir()} == {key}
    file.write_text("y" * 1001)
    assert cache_key([file], "how") != key


@pytest.mark.parametrize("name", ["rows.arrow", "labels.bin", "keys.bin", "facts.json"])
def test_a_damaged_table_is_made_anew(cache: Path, name: str) -> None:
    store(iter(ROWS), Problems(), "key", "rows")
    file = cache / "ssl_pdr" / "tables" / "key" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert list(store(iter(ROWS), Problems(), "key", "rows").rows["text"]) == [row.text for row in ROWS]


def test_what_fails_leaves_nothing_behind(cache: Path) -> None:
    def broken() -> Iterator[TextRow]:
        yield from ROWS[:1500]
        raise DataError("row 1501 is bad")

    with pytest.raises(DataError, match="row 1501 is bad"):
        store(broken(), Problems(), "key", "rows")
    assert list((cache / "ssl_pdr" / "tables").iterdir()) == []
    assert len(store(iter(ROWS), Problems(), "key", "rows")) == 2500


def test_another_process_may_have_been_faster(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> Iterator[TextRow]:
        store(iter(ROWS), Problems(), "key", "the other")
        yield from ROWS

    assert len(store(rows(), Problems(), "key", "rows")) == 2500
    assert len(list((cache / "ssl_pdr" / "tables").iterdir())) == 1


def test_no_rows_and_too_many_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = Problems()
    problems.add("blank lines", 1)
    with pytest.raises(DataError, match="rows has no rows with a text; 1 blank lines; expected some"):
        store(iter([]), problems, None, "rows")
    monkeypatch.setattr(tables, "MAX_CLASSES", 500)
    with pytest.raises(
        DataError, match="more than 500 different labels, such as '0' and '1[0-9]{3}'; is --label-column right"
    ):
        store((TextRow("t", None, str(i), None) for i in range(3000)), Problems(), None, "rows")


def test_a_cache_that_cannot_be_written_is_one_line(cache: Path) -> None:
    cache.write_text("a file")
    with pytest.raises(OutputError, match="set HF_DATASETS_CACHE"):
        store(iter(ROWS), Problems(), "key", "rows")
    with pytest.raises(OutputError, match="set HF_DATASETS_CACHE"):
        feature_file("key", 10**6)


def test_features_of_large_tables_have_a_place_of_their_own() -> None:
    assert feature_file("key", 10**6) == feature_file("key", 10**6)
    assert feature_file("key", 10**6)[0].startswith(str(cache_folder()))
    assert feature_file("key", 10) != feature_file("key", 10)
    assert not feature_file("key", 10)[0].startswith(str(cache_folder()))
