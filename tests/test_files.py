"""Files are whole or not there, and what is no file is left alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ssl_pdr.errors import OutputError
from ssl_pdr.files import atomic_write, is_there, read_text


def test_a_pipe_is_neither_read_nor_replaced(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with pytest.raises(OutputError, match="cannot write .*pipe: it is a pipe or a device, expected a file"):
        atomic_write(pipe, "text")
    with pytest.raises(OSError, match="it is a pipe or a device"):
        read_text(pipe)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_names_that_no_file_can_have_are_of_nothing(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    for name in ("x" * 300, "x/" * 3000, "a\0b", "~nobody-of-that-name", str(tmp_path / "nothing")):
        assert not is_there(name)
