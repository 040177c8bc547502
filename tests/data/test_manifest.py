"""Label splits on disk: read back equal, small, and nothing that was not saved is taken for one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data.manifest import dump_manifest, read_manifest
from ssl_pdr.data.splits import LabelSplit, split_labels
from ssl_pdr.errors import DataError, OutputError

label_lists = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60).map(lambda rows: ["b", "c", "a", *rows])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    label_lists,
    st.integers(0, 2**64),
    st.sampled_from(["fraction", "count", "per_class", "group"]),
    st.none() | st.text(),
)
def test_a_saved_split_is_read_back_equal(
    tmp_path_factory: Any, labels: list[str | None], seed: int, unit: str, data_hash: str | None
) -> None:
    path = tmp_path_factory.mktemp("split") / "new folder" / "split.json"
    options: dict[str, dict[str, Any]] = {
        "fraction": {"fraction": 0.99},
        "count": {"count": 3},
        "per_class": {"per_class": 1},
        "group": {"fraction": 1.0, "strategy": "group", "groups": [row % 7 for row in range(len(labels))]},
    }
    split = split_labels(labels, seed=seed, data_hash=data_hash, **options[unit])
    split.save(path)
    loaded = LabelSplit.load(path)
    assert loaded == split
    for field in ("labelled", "unlabelled"):
        assert getattr(loaded, field).tolist() == getattr(split, field).tolist()
        assert getattr(loaded, field).dtype == np.int64
    for field in ("budget", "asked", "got", "fraction", "seed", "strategy", "n_rows", "class_counts", "data_hash"):
        assert getattr(loaded, field) == getattr(split, field)
    loaded.verify(labels, data_hash)
    assert os.listdir(path.parent) == ["split.json"]  # noqa: PTH208  # names are what is asked


def test_a_manifest_says_what_was_asked_for_and_what_was_got(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    groups = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    split = split_labels(["a", "b", None] * 3, count=5, strategy="group", groups=groups, data_hash="of the texts")
    split.save(path)
    manifest = json.loads(path.read_text())
    assert manifest.pop("runs")[::2].count(0) <= 1
    assert len(manifest.pop("labels_hash")) == len(manifest.pop("hash")) == 64
    assert manifest == {
        "format": "ssl-pdr label split",
        "version": 2,
        "budget": {"count": 5},
        "asked": 5,
        "got": 4,
        "seed": 0,
        "strategy": "group",
        "n_rows": 9,
        "data_hash": "of the texts",
        "class_counts": [["a", 2, 3], ["b", 2, 3]],
    }


def test_a_manifest_is_at_most_about_a_byte_for_each_row(tmp_path: Path) -> None:
    path, n = tmp_path / "split.json", 100_000
    for fraction, limit in ((0.01, 0.06), (0.1, 0.5), (0.5, 1.1), (0.9, 0.5), (1.0, 0.01)):
        split_labels(np.arange(n) % 2, fraction).save(path)
        assert path.stat().st_size < limit * n


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split_labels([5, -1, 5, -1, 5, 5, None], 0.5, data_hash="d").save(path)
    good = path.read_bytes()
    for place in range(0, len(good) * 8, 5):  # every byte or its neighbour, and every place in a byte
        bad = bytearray(good)
        bad[place // 8] ^= 1 << place % 8
        path.write_bytes(bad)
        with pytest.raises(DataError) as caught:
            LabelSplit.load(path)
        assert "\n" not in str(caught.value), place


def test_every_field_counts_for_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 1, 0, 1], 0.5, data_hash="d").save(path)
    manifest = json.loads(path.read_text())
    for field in set(manifest) - {"format", "version", "hash"}:
        path.write_text(json.dumps({**manifest, field: 7}))
        with pytest.raises(DataError, match="the file was changed after it was saved"):
            LabelSplit.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read the split .* No such file"),
        (b"", "got no JSON"),
        (b"\xff\xfe", "got no JSON"),
        (b"[" * 100_000, "got no JSON"),
        (b"[1, 2]", "got some other JSON"),
        (
            b'{"format": "ssl-pdr label split", "version": 1}',
            "got version 1 of a label split, expected 2; make it anew",
        ),
        (b'{"format": "ssl-pdr label split", "version": 3}', "got version 3 of a label split, expected 2"),
        (b'{"format": "ssl-pdr label split", "version": 2}', "restore or remake it"),
    ],
)
def test_a_file_that_is_no_split_is_refused_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "split.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        LabelSplit.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(
            ({"runs": runs}, "runs: got .*, expected whole numbers of at least 1 that add up to 6 rows")
            for runs in (
                [],
                [1, 2],
                [1, 2, 4],
                [1, -2, 7],
                [0, 3, 0, 3],
                [1.0, 3, 2],
                [True, 3, 2],
                ["1", 3, 2],
                [[1, 5]],
            )
        ),
        ({"runs": 7}, "manifest without sense"),
        ({"runs": [5, 1]}, "it contradicts itself"),
        ({"runs": [0, 10**18], "n_rows": 10**18}, "manifest without sense"),
        ({"runs": [0, 10**30], "n_rows": 10**30}, "manifest without sense"),
        ({"n_rows": 7}, "add up to 7 rows"),
        ({"n_rows": "6"}, "n_rows: got '6', expected a whole number"),
        ({"budget": {}}, "it contradicts itself"),
        ({"budget": {"fraction": 2}}, "labelled fraction: got 2"),
        ({"budget": {"fraction": 0.5, "count": 3}}, "expected one of them"),
        ({"budget": {"share": 0.5}}, "manifest without sense .*share"),
        ({"budget": [0.5]}, "manifest without sense"),
        ({"asked": 2}, "it contradicts itself"),
        ({"got": 2}, "it contradicts itself"),
        ({"seed": -1}, "seed: got -1"),
        ({"strategy": "best"}, "unknown split strategy 'best'"),
        ({"labels_hash": 7}, "it contradicts itself"),
        ({"data_hash": 7}, "it contradicts itself"),
        ({"class_counts": [[0, 3]]}, "manifest without sense"),
        ({"class_counts": [[0, 2, 4], [1, 2, 2]]}, "it contradicts itself"),
        ({"class_counts": [[0, 5, 4], [1, -2, 2]]}, "manifest without sense .*rows: got 4, expected .* at least 5"),
        ({"class_counts": [[[], 2, 4]]}, "manifest without sense"),
        ({"more": 1}, "it contradicts itself"),
    ],
)
def test_a_manifest_without_sense_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 0, 1, 0, 1, 0], 0.5).save(path)
    path.write_text(dump_manifest({**read_manifest(path), **changes}))
    with pytest.raises(DataError, match=message) as caught:
        LabelSplit.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["budget", "got", "seed", "strategy", "n_rows", "labels_hash", "data_hash", "runs"])
def test_a_manifest_without_a_field_is_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 1]).save(path)
    path.write_text(dump_manifest({name: value for name, value in read_manifest(path).items() if name != field}))
    with pytest.raises(DataError, match="manifest without sense"):
        LabelSplit.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "split.json"
    split_labels([0, 1], 1.0).save(path)
    old = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; choose another place"):
        split_labels([0, 1, 1], 1.0).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot write"):
        split_labels([0, 1], 1.0).save(path / "below a file.json")
