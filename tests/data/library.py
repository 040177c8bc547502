"""Small libraries whose documentation corpora are made of."""

from __future__ import annotations

from pathlib import Path


class Library:
    """A library that is written function by function, and installed as far as Python can see."""

    def __init__(self, folder: Path, name: str) -> None:
        self.root = folder / name
        self.root.mkdir()
        (self.root / "__init__.py").touch()
        info = folder / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")

    def module(self, name: str, docstrings: dict[str, str]) -> None:
        source = "\n".join(f"def {function}():\n    {text!r}" for function, text in docstrings.items())
        (self.root / f"{name}.py").write_text(source)
