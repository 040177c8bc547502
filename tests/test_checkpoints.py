"""Checkpoints that were damaged are refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssl_pdr.checkpoints import check_checkpoint
from ssl_pdr.errors import OutputError


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    save_file({"weight": torch.zeros(100)}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({"a": torch.zeros(100)}, folder / name)
    return folder


def test_a_whole_one_is_let_through(checkpoint: Path) -> None:
    check_checkpoint(checkpoint)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("damage", ["empty", "cut", "random"])
def test_one_that_is_damaged_is_refused(checkpoint: Path, name: str, damage: str) -> None:
    whole = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(
        {"empty": b"", "cut": whole[: len(whole) // 2], "random": b"\x93\x01" * 500}[damage]
    )
    with pytest.raises(
        OutputError, match=f"{name} is damaged .*; remove .*checkpoint-3 to go on from an earlier"
    ) as caught:
        check_checkpoint(checkpoint)
    assert "\n" not in str(caught.value)


def test_one_without_weights_is_refused(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(OutputError, match=r"model.safetensors is damaged \(.*No such file"):
        check_checkpoint(checkpoint)
