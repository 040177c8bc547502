"""Checkpoints: sealed when they are whole, found out when they are not, and never let go of too early."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_pdr.checkpoints import (
    SEAL,
    damage,
    keep_newest,
    last_whole,
    newest_first,
    publish,
    remove,
    remove_after,
    unfinished,
)
from ssl_pdr.errors import OutputError
from ssl_pdr.files import held


def half(place: Path, step: int) -> Path:
    """As the Trainer leaves it: all of its files, in the folder of what is not finished."""
    folder = unfinished(place) / f"checkpoint-{step}"
    (folder / "deeper").mkdir(parents=True)
    for name in ("model.safetensors", "deeper/rng.pth", "empty"):
        (folder / name).write_bytes(b"" if name == "empty" else f"{name} of {step}".encode() * 9)
    return folder


def checkpoint(place: Path, step: int) -> Path:
    publish(half(place, step))
    return place / f"checkpoint-{step}"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a bit": (lambda c: flip(c / "deeper/rng.pth"), "deeper/rng.pth has another checksum than when it was written"),
    "cut": (lambda c: os.truncate(c / "model.safetensors", 5), "model.safetensors has 5 bytes, expected"),
    "emptied": (lambda c: os.truncate(c / "deeper/rng.pth", 0), "deeper/rng.pth has 0 bytes, expected"),
    "grown": (lambda c: (c / "empty").write_text("x"), "empty has 1 bytes, expected 0"),
    "removed": (lambda c: (c / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no seal": (lambda c: (c / SEAL).unlink(), f"{SEAL} is missing"),
    "half a seal": (lambda c: os.truncate(c / SEAL, 40), f"its {SEAL} is damaged"),
    "another seal": (lambda c: (c / SEAL).write_text('{"files": []}'), f"its {SEAL} is damaged"),
    "a seal of bits": (lambda c: (c / SEAL).write_bytes(b"\xff\xfe\x00"), f"its {SEAL} is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_the_one_before_is_taken(tmp_path: Path, name: str) -> None:
    old, new = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_whole(tmp_path) == (new, [])
    do, says = DAMAGES[name]
    do(new)
    found, wrong = last_whole(tmp_path)
    assert found == old
    assert len(wrong) == 1
    assert wrong[0].startswith(f"checkpoint-10 cannot be used: {says}")


def test_one_that_was_not_written_to_its_end_counts_for_nothing(tmp_path: Path) -> None:
    old = checkpoint(tmp_path, 9)
    half(tmp_path, 10)
    assert last_whole(tmp_path) == (old, [])
    assert newest_first(tmp_path) == [old]


def test_what_is_beside_the_sealed_files_does_no_harm(tmp_path: Path) -> None:
    made = checkpoint(tmp_path, 3)
    (made / "notes.txt").write_text("mine")
    assert damage(made) is None
    facts = json.loads((made / SEAL).read_text())
    assert set(facts["files"]) == {"model.safetensors", "deeper/rng.pth", "empty"}


def test_steps_are_compared_as_numbers_and_the_clock_is_not_asked(tmp_path: Path) -> None:
    for step in (100, 20, 3):
        os.utime(checkpoint(tmp_path, step), (step * 1000, -step * 1000 + 10**6))
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert [path.name for path in newest_first(tmp_path)] == ["checkpoint-100", "checkpoint-20", "checkpoint-3"]
    keep_newest(tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["checkpoint-100", "checkpoint-20"]


def test_the_last_whole_ones_stay_while_a_new_one_is_not(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path, step)
    new = half(tmp_path, 3)
    keep_newest(tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["checkpoint-2", "checkpoint-1"]
    publish(new)
    keep_newest(tmp_path)
    assert [path.name for path in newest_first(tmp_path)] == ["checkpoint-3", "checkpoint-2"]
    assert not unfinished(tmp_path).exists()


@pytest.mark.parametrize("call", ["flushed", "sealed", "renamed"])
def test_wherever_the_writing_is_cut_off_the_name_stands_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each thing that publishing asks of the disk is the last one."""
    old, new = checkpoint(tmp_path, 1), half(tmp_path, 2)

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            *{"flushed": (os, "fsync"), "sealed": (Path, "replace"), "renamed": (Path, "rename")}[call], die
        )
        with pytest.raises(KeyboardInterrupt):
            publish(new)
    assert last_whole(tmp_path) == (old, [])
    remove_after(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_removal_that_is_cut_off_leaves_nothing_that_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)

    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", die)
        with pytest.raises(KeyboardInterrupt):
            remove(new)
    assert last_whole(tmp_path) == (old, [])
    remove_after(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_a_step_that_is_saved_again_leaves_the_first_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moment without either would be a moment to lose both in."""
    first = checkpoint(tmp_path, 4)

    def move(*args: object) -> None:
        raise AssertionError("a name was changed")

    monkeypatch.setattr(Path, "rename", move)
    again = half(tmp_path, 4)
    publish(again)
    assert last_whole(tmp_path) == (first, [])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-4"]


def test_going_on_from_a_step_forgets_what_came_after(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path, step)
    half(tmp_path, 3)
    remove_after(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    remove_after(tmp_path / "nothing", 0)


def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is away for a moment must not cost a checkpoint."""
    made = checkpoint(tmp_path, 1)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashlib.file_digest", refuse)
    with pytest.raises(OutputError, match="cannot read .*: Permission denied; mend that and resume again"):
        last_whole(tmp_path)
    assert made.is_dir()


def test_checkpoints_on_a_disk_that_is_away_are_not_none(tmp_path: Path) -> None:
    place = tmp_path / "checkpoints"
    place.symlink_to(tmp_path / "away" / "checkpoints")
    for look in (newest_first, last_whole):
        with pytest.raises(OutputError, match="cannot read .*checkpoints: No such file or directory; mend that"):
            look(place)
    assert newest_first(tmp_path / "nowhere") == []


def test_what_cannot_be_removed_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its name it counts for nothing; the next run needs the room, and says so."""
    for step in (1, 2, 3):
        checkpoint(tmp_path, step)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", refuse)
        keep_newest(tmp_path)
        assert [path.name for path in newest_first(tmp_path)] == ["checkpoint-3", "checkpoint-2"]
        with pytest.raises(PermissionError):
            remove_after(tmp_path, 3)
    remove_after(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2", "checkpoint-3"]


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path):
        if (child := os.fork()) == 0:
            try:
                with held(tmp_path):
                    os._exit(0)
            except OutputError as error:
                os._exit(7 if "is in use by another process" in str(error) else 8)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with held(tmp_path):
        pass


def test_a_process_that_dies_lets_go_of_its_folder(tmp_path: Path) -> None:
    if (child := os.fork()) == 0:
        with held(tmp_path):
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with held(tmp_path):
        pass


def test_a_folder_that_cannot_be_held_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot lock .*; choose another --output"), held(tmp_path / "file"):
        pass
