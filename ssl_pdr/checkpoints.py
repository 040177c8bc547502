"""Whether a checkpoint can be read, before anything is loaded that would end with it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from safetensors import SafetensorError, safe_open

from ssl_pdr.errors import OutputError


def check_checkpoint(checkpoint: Path) -> None:
    """Refuse a folder `checkpoint-N` with a file that is damaged, or without weights.

    Raises:
        OutputError: in one line, with the file.
    """
    files = [checkpoint / "config.json", checkpoint / "model.safetensors"]
    for path in [*files, *sorted([*checkpoint.glob("*.pt"), *checkpoint.glob("*.pth")])]:
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt"):
                    pass
            elif not zipfile.is_zipfile(path):  # as torch writes them; their list of contents stands last
                raise ValueError("no archive of torch's")
        except (OSError, ValueError, RecursionError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise OutputError(
                f"{path} is damaged ({reason}); remove {checkpoint} to go on from an earlier checkpoint, or start a new run"
            ) from None
