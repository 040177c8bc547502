"""Docstrings of installed libraries, read from their source files: nothing is imported, nothing is run.

for module, path in source_files("scipy.stats"):  # sorted by module name
    for doc in read_docstrings(module, path):     # Docstring(module, name, text)
        first_paragraph(doc.text)                 # one line of prose without markup, or ""
"""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ssl_pdr.errors import DataError

# Stands for what is taken out of a sentence: one token of BERT's vocabulary, and no word for a bag of words.
MASK = "…"

# Folders and modules that ship with a library, but test it or compute its tables.
_NOT_DOCUMENTATION = {"tests", "test", "testing", "_tstutils", "_precompute", "conftest"}
# How libraries document functions that are written in C: attach(what, "docstring").
_ATTACHERS = {"_add_docstr", "add_docstr", "add_newdoc"}
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Docstring:
    """A function, class or method and its docstring.

    Attributes:
        module: dotted name of the module, `"scipy.stats._qmc"`.
        name: name inside the module, `"Sobol.random"`.
        text: the docstring as written (`inspect.cleandoc` takes its indentation away); empty if there is none.
    """

    module: str
    name: str
    text: str

    @property
    def public(self) -> bool:
        """Whether no part of the name starts with an underscore; the module's name may."""
        return not any(part.startswith("_") for part in self.name.split("."))


def library_root(library: str) -> Path:
    """Folder of an installed top-level package, found without importing it.

    Raises:
        DataError: `library` is not installed, or is not a package with source files.

    Example:
        >>> library_root("numpy").name
        'numpy'
    """
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        raise DataError(
            f"the documentation corpus reads the library {library!r}, which is not installed; "
            "install it with: pip install 'ssl-pdr[embedded]'"
        )
    return Path(spec.origin).parent


def source_files(pattern: str) -> list[tuple[str, Path]]:
    """Python files of a module or package as (module name, path), sorted by name; none if there is no such module.

    Tests and generators of tables are left out. The last part of `pattern` may hold wildcards.

    Example:
        >>> [module for module, _ in source_files("ssl_pdr.data.docstr*")]
        ['ssl_pdr.data.docstrings']
    """
    library, *parts = pattern.split(".")
    root = library_root(library)
    *folders, last = parts or ["*"]
    folder = root.joinpath(*folders)
    found = set(folder.glob(f"{last}.py"))
    for package in folder.glob(last):
        found.update(package.rglob("*.py"))
    named = []
    for path in found:
        inside = path.relative_to(root).with_suffix("").parts
        if not _NOT_DOCUMENTATION.intersection(inside):
            named.append((".".join((library, *inside)).removesuffix(".__init__"), path))
    return sorted(named)


def read_docstrings(module: str, path: Path) -> list[Docstring]:
    """Every function, class and method that one file defines, in the order of the file.

    Raises:
        DataError: the file is not Python that this interpreter can read.
    """
    try:
        with warnings.catch_warnings():
            # Stray escapes in other people's files are none of our user's business.
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, as some versions of Python report them
        raise DataError(f"{path} is not readable as Python: {error}") from error
    return [Docstring(module, name, text) for name, text in _documented(tree.body, ())]


def _documented(body: list[ast.stmt], outer: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Qualified names and docstrings under `body`; functions inside functions are nobody's documentation."""
    for node in body:
        if isinstance(node, _Definition):
            yield ".".join((*outer, node.name)), ast.get_docstring(node, clean=False) or ""
            if isinstance(node, ast.ClassDef):
                yield from _documented(node.body, (*outer, node.name))
        elif isinstance(node, ast.If | ast.Try | ast.With):
            branches = [node.body, *(getattr(node, field, []) for field in ("orelse", "finalbody"))]
            for branch in branches:
                yield from _documented(branch, outer)
        elif isinstance(node, ast.Expr | ast.Assign) and isinstance(node.value, ast.Call):
            yield from _attached(node.value)


def _attached(call: ast.Call) -> Iterator[tuple[str, str]]:
    """The docstring in a call such as `add_docstr(torch.inv, "...")` or `add_newdoc("gamma", "...")`."""
    if ast.unparse(call.func).rpartition(".")[2] not in _ATTACHERS or len(call.args) < 2:
        return
    target, text = call.args[0], call.args[-1]
    if isinstance(text, ast.Call) and isinstance(text.func, ast.Attribute):
        text = text.func.value  # "...".format(...), which fills in notes further down
    while isinstance(text, ast.BinOp):
        text = text.left
    name = target.value if isinstance(target, ast.Constant) else ast.unparse(target).rpartition(".")[2]
    if isinstance(name, str) and isinstance(text, ast.Constant) and isinstance(text.value, str):
        yield name, text.value


_SIGNATURE = re.compile(r"[\w.]+\(.*\)(\s*->.*)?$", re.DOTALL)
_HEADING = re.compile(r"([^\w\s])\1{2,}$")
_SECTION = re.compile(
    r"(Args?|Arguments|Parameters?|Attributes|Returns?|Yields|Raises|Examples?|Notes?|See [Aa]lso|Usage)\s*:*$"
)


def first_paragraph(text: str) -> str:
    r"""First paragraph of prose of a docstring on one line, without markup; empty if there is none.

    Signatures, titles and directives in front of it are skipped. Formulas and addresses become `MASK`.

    Example:
        >>> first_paragraph("f(x) -> y\n\nReturn :func:`~m.g` of ``x``,\ntwice.\n\nArgs:\n    x: a number.")
        'Return g of x, twice.'
    """
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = _prose(paragraph)
        if lines is None:
            return ""
        if lines:
            return " ".join(plain(" ".join(lines)).split())
    return ""


def _prose(paragraph: str) -> list[str] | None:
    """Lines of prose of a paragraph; empty: nothing yet, go on; `None`: the description is over."""
    lines = [line.strip() for line in paragraph.splitlines()]
    if not lines or lines[0].startswith(("..", "@")) or _SIGNATURE.match(" ".join(lines)):
        return []
    prose: list[str] = []
    for line in lines:
        if _SIGNATURE.match(line):
            prose = []
        elif _HEADING.match(line):
            prose = prose[:-1]  # the line before was a title
        elif _SECTION.match(line) or line.startswith((">>>", "..", ":param", ":return", "@")):
            return prose or None
        else:
            prose.append(line)
    # A title alone is followed by the text; a section's title by its body, which is no description.
    return None if any(_SECTION.match(line) for line in lines) else prose


_MARKUP = [
    (re.compile(r":math:`[^`]*`|\$[^$]+\$|https?://\S+"), MASK),
    (re.compile(r":[\w:]+:`([^`<]+?)\s*<[^`>]*>`"), r"\1"),  # :role:`text <target>`
    (re.compile(r":[\w:]+:`~[^`]*?([^`.]+)`"), r"\1"),  # :role:`~module.name`
    (re.compile(r":[\w:]+:`([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_*"), r"\1"),  # `text <address>`_
    (re.compile(r"\[([^]]+)\]\([^)]*\)"), r"\1"),  # [text](address)
    (re.compile(r"\[[^]]{1,12}\]_|\|[^|\s]+\|_?"), ""),  # [1]_ and |substitution|
    (re.compile(r"`+([^`]*)`+_*"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*|(?<!\w)\*(\w[^*]*)\*(?!\w)"), r"\1\2"),
    (re.compile(r"::+"), ":"),
    (re.compile(r"^[-*#!]+\s+|\\"), ""),
]
# Without one of these there is no markup, and most texts have none.
_MARK = re.compile(r"[`$|*\[\\]|::|https?:|^[-#!]")


def plain(text: str) -> str:
    """A line of text without markup; formulas and addresses become `MASK`.

    Example:
        >>> plain("Multiplies :class:`~m.Matrix` by ``x``, as **documented**.")
        'Multiplies Matrix by x, as documented.'
    """
    if not _MARK.search(text):
        return text
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text


def clean(text: str) -> str:
    r"""A text on one line without markup.

    Example:
        >>> clean("The ``axis`` of\n   `~.Axes`.")
        'The axis of Axes.'
    """
    text = plain(" ".join(text.split()))
    text = re.sub(r"(?<!\S)[.~!]+(?=[A-Za-z])", "", text)  # `.Axes` and `~.Axes` of Matplotlib
    return " ".join(text.split())
