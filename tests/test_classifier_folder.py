"""A saved folder is whole or not there, and nothing that is somebody else's is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.classifier_folder import MANIFEST, read_manifest, write_folder
from ssl_pdr.errors import ModelError, OutputError

NOTES: dict[str, Any] = {"params": {"alpha": 1.0}, "classes": ["a", "é"], "dtype": "<U1", "pairs": False}


def fill(folder: Path) -> None:
    (folder / "weights").write_text("1, 2", encoding="utf-8")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_notes_come_back(tmp_path: Path) -> None:
    write_folder(tmp_path / "deep" / "saved", NOTES, fill)
    manifest = read_manifest(tmp_path / "deep" / "saved")
    assert {name: manifest[name] for name in NOTES} == NOTES
    assert names(tmp_path / "deep" / "saved") == {"weights", MANIFEST}
    assert names(tmp_path / "deep") == {"saved"}


def test_ours_and_empty_folders_are_replaced(tmp_path: Path) -> None:
    target = tmp_path / "saved"
    target.mkdir()
    write_folder(target, NOTES, fill)
    write_folder(target, {**NOTES, "pairs": True}, lambda folder: (folder / "others").touch())
    assert read_manifest(target)["pairs"] is True
    assert names(target) == {"others", MANIFEST}
    assert names(tmp_path) == {"saved"}


def test_a_link_leads_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "saved")
    write_folder(tmp_path / "link", NOTES, fill)
    write_folder(tmp_path / "link", NOTES, fill)
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == {"link", "saved"}


def test_what_fails_on_the_way_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "saved", NOTES, fill)

    def full_disk(folder: Path) -> None:
        fill(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="cannot write .*saved: No space left on device; choose another place"):
        write_folder(tmp_path / "saved", {**NOTES, "pairs": True}, full_disk)
    assert read_manifest(tmp_path / "saved")["pairs"] is False
    assert names(tmp_path) == {"saved"}


def test_other_peoples_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is a file, expected a folder"):
        write_folder(tmp_path / "file", NOTES, fill)
    with pytest.raises(OutputError, match="cannot write"):
        write_folder(tmp_path / "file" / "under", NOTES, fill)
    write_folder(tmp_path / "saved", NOTES, fill)
    (tmp_path / "saved" / "notes.txt").touch()
    with pytest.raises(OutputError, match=r"saved holds notes.txt, which no saved classifier has"):
        write_folder(tmp_path / "saved", NOTES, fill)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / MANIFEST).write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="foreign holds"):
        write_folder(tmp_path / "foreign", NOTES, fill)
    assert names(tmp_path) == {"file", "saved", "foreign"}


def _change(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        (folder / MANIFEST).write_text(json.dumps({**manifest, **values}), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "holds no saved PDRClassifier"),
        (lambda folder: (folder / MANIFEST).write_text("{", encoding="utf-8"), "is damaged: Expecting"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff"), "is damaged: 'utf-8'"),
        (lambda folder: (folder / MANIFEST).write_text("[]", encoding="utf-8"), "is not of the format 1"),
        (_change(format=2), "is not of the format 1"),
        (_change(classes=None, pairs="no"), "is damaged: classes, pairs is not as saved"),
        (lambda folder: (folder / "weights").unlink(), "is damaged: weights is missing"),
    ],
)
def test_a_damaged_folder_gets_one_line(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    write_folder(tmp_path / "saved", NOTES, fill)
    damage(tmp_path / "saved")
    with pytest.raises(ModelError, match=message) as caught:
        read_manifest(tmp_path / "saved")
    assert "\n" not in str(caught.value)


def test_no_folder_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere holds no saved PDRClassifier \(pdr_classifier.json: No such file"):
        read_manifest(tmp_path / "nowhere")
