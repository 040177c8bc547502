"""The reader of docstrings, on a library of three files made here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ssl_pdr.data.docstrings import (
    MASK,
    first_paragraph,
    library_root,
    read_docstrings,
    source_files,
)
from ssl_pdr.errors import DataError


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def minilib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "minilib"
    for name in ("__init__", "one", "two", "sub/__init__", "sub/deep", "sub/tests/test_deep", "sub/_precompute/table"):
        write(root / f"{name}.py", "raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def documented(tmp_path: Path, source: str | bytes) -> dict[str, str]:
    return {doc.name: doc.text for doc in read_docstrings("m", write(tmp_path / "m.py", source))}


def test_files_of_a_package_its_modules_and_wildcards(minilib: Path) -> None:
    def names(pattern: str) -> list[str]:
        return [module for module, _ in source_files(pattern)]

    assert names("minilib") == ["minilib", "minilib.one", "minilib.sub", "minilib.sub.deep", "minilib.two"]
    assert names("minilib.sub") == ["minilib.sub", "minilib.sub.deep"]
    assert names("minilib.sub.deep") == ["minilib.sub.deep"]
    assert names("minilib.[ot]*") == ["minilib.one", "minilib.two"]
    assert names("minilib.gone") == []


@pytest.mark.parametrize("library", ["no_such_library_anywhere", "antigravity"])
def test_a_missing_library_is_one_line_that_says_what_to_install(library: str) -> None:
    with pytest.raises(DataError, match=r"pip install 'ssl-pdr\[embedded\]'") as caught:
        library_root(library)
    assert library in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_inside_classes_and_branches_but_no_functions_inside_functions(tmp_path: Path) -> None:
    source = '''
class Outer:
    """Outer text."""
    class Inner:
        """Inner text."""
        async def method(self):
            """Method text."""
            def local(): "Local text."
    def bare(self): ...
try:
    def tried(): "Tried text."
finally:
    if True:
        pass
    else:
        def chosen(): "Chosen text."
'''
    assert documented(tmp_path, source) == {
        "Outer": "Outer text.",
        "Outer.Inner": "Inner text.",
        "Outer.Inner.method": "Method text.",
        "Outer.bare": "",
        "tried": "Tried text.",
        "chosen": "Chosen text.",
    }


def test_docstrings_that_are_attached_to_functions_written_in_c(tmp_path: Path) -> None:
    source = '''
cross = _add_docstr(torch._C.linalg_cross, "Cross text {x}.".format(x=1))
norm = torch._add_docstr(torch._C.linalg_norm, "Norm text." + notes + more)
scipy.add_newdoc("gamma", """Gamma text.""")
add_newdoc("computed", text())
other("name", "No docstring.")
'''
    assert documented(tmp_path, source) == {
        "linalg_cross": "Cross text {x}.",
        "linalg_norm": "Norm text.",
        "gamma": "Gamma text.",
    }


@pytest.mark.parametrize(
    ("name", "public"), [("f", True), ("C.f", True), ("_f", False), ("_C.f", False), ("C.__init__", False)]
)
def test_public(tmp_path: Path, name: str, public: bool) -> None:
    from ssl_pdr.data.docstrings import Docstring

    assert Docstring("m._private", name, "").public is public


@pytest.mark.parametrize(
    "source",
    [b"def f(:\n", b"x = '\xff'\n", b"# -*- coding: no-such-codec -*-\n", b"x = 1\0\n"],
    ids=["syntax", "encoding", "codec", "null byte"],
)
def test_an_unreadable_file_is_an_error_that_names_it(tmp_path: Path, source: bytes) -> None:
    path = write(tmp_path / "broken.py", source)
    with pytest.raises(DataError, match=r"broken\.py is not readable as Python"):
        read_docstrings("broken", path)


def test_a_declared_encoding_is_honoured_and_stray_escapes_are_silent(tmp_path: Path) -> None:
    source = '# -*- coding: latin-1 -*-\ndef f():\n    "Bézier \\d text."\n'.encode("latin-1")
    assert documented(tmp_path, source) == {"f": "Bézier \\d text."}


@pytest.mark.parametrize(
    ("docstring", "paragraph"),
    [
        ("", ""),
        ("   \n  ", ""),
        ("One line.", "One line."),
        ("\n    Two\n    lines.\n\n    Another paragraph.", "Two lines."),
        ("f(x, *, out=None) -> Tensor\n\nText.", "Text."),
        ("f(x,\n  y)\n\nText.", "Text."),
        ("Title\n=====\n\nText.", "Text."),
        (".. deprecated:: 1.0\n   Gone.\n\nText.", "Text."),
        ("Parameters\n----------\nx : int", ""),
        ("Args:\n    x: a number.", ""),
        ("Text.\nArgs:\n    x: a number.", "Text."),
        ("Text.\n>>> 1 + 1\n2", "Text."),
        ("See :class:`~a.b.Name`, :func:`f` and :ref:`here <there>`.", "See Name, f and here."),
        ("``code``, `name`, **bold** and *slanted*", "code, name, bold and slanted"),
        ("As in [1]_, https://x.org and [a link](x.md)", f"As in , {MASK} and a link"),
        ("Computes :math:`x^2` or $y$::", f"Computes {MASK} or {MASK}:"),
        ("- an item", "an item"),
    ],
)
def test_first_paragraph(docstring: str, paragraph: str) -> None:
    assert first_paragraph(docstring) == paragraph


def test_reading_imports_nothing_that_it_reads(minilib: Path) -> None:
    script = """
import sys
from ssl_pdr.data.docstrings import read_docstrings, source_files
assert [doc for module, path in source_files("minilib") for doc in read_docstrings(module, path)] == []
assert not any(module.startswith("minilib") for module in sys.modules), sys.modules
"""
    subprocess.run(
        [sys.executable, "-c", script], cwd=minilib.parent, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
