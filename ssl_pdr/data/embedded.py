"""What the corpora made of installed documentation share: which files they read, what they mask, how they order rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from importlib import metadata

from ssl_pdr.data.docstrings import MASK, Docstring, read_docstrings, source_files
from ssl_pdr.errors import DataError

# Libraries and the short names that their documentation uses.
_LIBRARIES = (
    r"numpy|np|scipy|scikit|sklearn|pandas|pd|(?:py)?torch|transformers|hugging ?face|matplotlib|plt|mpl|datasets|"
    r"networkx|nx|sympy|mpmath|pil|pillow|joblib|pyarrow"
)
# Packages whose distribution has another name.
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}


def modules_of(**libraries: str) -> tuple[str, ...]:
    """Dotted names from the modules of each library.

    Example:
        >>> modules_of(numpy="fft linalg", scipy="io")
        ('numpy.fft', 'numpy.linalg', 'scipy.io')
    """
    return tuple(f"{library}.{module}" for library, modules in libraries.items() for module in modules.split())


def read_modules(patterns: Iterable[str], unread: list[str]) -> list[Docstring]:
    """Every function, class and method in the modules of the patterns, in their order.

    Args:
        patterns: as `source_files` takes them.
        unread: patterns without a module and modules that are not readable are added here.

    Raises:
        DataError: a library is missing.
    """
    docs: list[Docstring] = []
    for pattern in patterns:
        files = source_files(pattern)
        if not files:
            unread.append(pattern)
        for module, path in files:
            try:
                docs += read_docstrings(module, path)
            except DataError:
                unread.append(module)
    return docs


def library_versions(patterns: Iterable[str]) -> dict[str, str]:
    """The installed version of each library that the patterns begin with, sorted by name."""
    libraries = {pattern.partition(".")[0] for pattern in patterns}
    return {name: metadata.version(_DISTRIBUTIONS.get(name, name)) for name in sorted(libraries)}


class Mask:
    """Takes the names that give the answer away out of a text: libraries, the object itself, and what else is given.

    Args:
        giveaways: regular expressions for one whole word each.

    Example:
        >>> Mask(["stats?"])("Ranks the stats that numpy.sort and rank give.", "Data.rank")
        'Ranks the … that … and … give.'
    """

    def __init__(self, giveaways: Iterable[str] = ()) -> None:
        names = "|".join([rf"(?:{_LIBRARIES})(?:\.\w+)*", *giveaways])
        self._names = re.compile(rf"(?<!\w)(?:{names})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str, name: str) -> str:
        """The text of the object `name` with `MASK` in the place of names; several in a row become one."""
        own = {part.lower() for part in name.split(".")}
        text = re.sub(r"\w+", lambda word: MASK if word[0].lower() in own else word[0], text)
        text = self._names.sub(MASK, text)
        return re.sub(rf"{MASK}(?:[\s.]*{MASK})+", MASK, text)


def words_alone(text: str) -> str:
    """The words of a text in lower case; two texts are the same if these are.

    Example:
        >>> words_alone("The 2-D case, … here!")
        'the d case here'
    """
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))


def rank(key: str) -> str:
    """Place of a text in a shuffled order that depends on nothing but its `words_alone`: new versions move few rows."""
    return hashlib.sha256(key.encode()).hexdigest()
