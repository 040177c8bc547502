"""`pydocs-pairs`: do two passages of documentation describe the same object?

    pairs = load_pydocs_pairs()
    pairs.train, pairs.test, pairs.adversarial      # PairRows(texts, partners, labels, objects)
    pairs.label_names[pairs.train.labels[0]]        # "same"
    pairs.versions, pairs.fingerprint               # what was read, and a hash of what came of it
    pairs.found, pairs.dropped, pairs.unread        # nothing is left out without being counted

A row's first passage is from an object's description, its second from further down in the same docstring, or in that of
another object. In `train` and `test` most of those others are from anywhere: to compare words is nearly enough.
`adversarial` punishes that: there passages of two objects of one module share many words, and passages of one object
share none or few. No object is in two parts and no passage in two rows.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from ssl_pdr.data.docstrings import Docstring
from ssl_pdr.data.embedded import Mask, library_versions, modules_of, rank, read_modules, words_alone
from ssl_pdr.data.passages import passages
from ssl_pdr.errors import DataError

# Rows of each class in each part. The main job of the command line has minutes on two cores, not hours.
TRAIN_ROWS, TEST_ROWS, ADVERSARIAL_ROWS = 650, 250, 250
# Share of the training and test rows of two objects whose objects are neighbours, of one module where possible: else
# there would be nothing to learn but the comparison of words.
NEIGHBOURS = 0.3
# A passage that says less can be of any object.
MIN_WORDS, MAX_WORDS, MIN_CONTENT = 6, 32, 4
# Passages that share more than this say the same twice.
MAX_OVERLAP = 0.6

LABEL_NAMES = ("different", "same")
MODULES = modules_of(
    matplotlib="axes axis collections colors contour figure image legend lines patches path spines text ticker transforms",
    networkx="[!u]*",
    numpy="_core fft lib linalg ma polynomial",
    pandas="core",
    scipy="[!_]*",
    sklearn="[!_eu]* ensemble",
    torch="_torch_docs distributions functional linalg nn optim",
)


class PairRows(NamedTuple):
    """One part of the corpus: four tuples of the same length.

    Attributes:
        texts: passages of descriptions.
        partners: the passages beside them.
        labels: indices into `label_names`.
        objects: where both passages of each row are from, `("scipy.stats._qmc:Sobol", "scipy.stats._qmc:Halton")`.
    """

    texts: tuple[str, ...]
    partners: tuple[str, ...]
    labels: tuple[int, ...]
    objects: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PydocsPairs:
    """The corpus; see the module's docstring.

    Attributes:
        train: rows to learn from; how many keep their label is the label budget's business.
        test: rows of the same kind.
        adversarial: rows on which to compare words gives the wrong answer.
        label_names: `different` and `same`.
        versions: version of each library that was read.
        fingerprint: SHA-256 of the texts, the labels and their parts.
        found: functions, classes and methods seen; those in rows and `dropped` add up to it.
        dropped: how many of them are in no row, by reason.
        unread: modules that this version of their library does not have, and files that are not readable.
    """

    train: PairRows
    test: PairRows
    adversarial: PairRows
    label_names: tuple[str, ...]
    versions: dict[str, str]
    fingerprint: str
    found: int
    dropped: dict[str, int]
    unread: tuple[str, ...]


class _Passage(NamedTuple):
    text: str
    key: str
    content: frozenset[str]


class _Object(NamedTuple):
    """An object with one passage of its description and others that may stand beside it."""

    module: str
    name: str
    text: _Passage
    partners: tuple[_Passage, ...]

    @property
    def rank(self) -> str:
        return rank(self.text.key)


class _Row(NamedTuple):
    first: _Object
    second: _Object
    partner: _Passage


@cache
def load_pydocs_pairs() -> PydocsPairs:
    """Read the corpus from the installed libraries; the same versions give the same corpus, row for row.

    Raises:
        DataError: a library is missing, or too little was found.

    Example:
        >>> pairs = load_pydocs_pairs()
        >>> pairs.label_names, len(pairs.train.texts)
        (('different', 'same'), 1300)
    """
    return build_pairs(MODULES)


def build_pairs(modules: Sequence[str]) -> PydocsPairs:
    """The corpus of the given modules; `load_pydocs_pairs` does it for `MODULES` and remembers the result."""
    unread: list[str] = []
    dropped: Counter[str] = Counter()
    docs = read_modules(modules, unread)
    objects = _objects(docs, dropped)
    parts = _parts(objects)
    used = {object_ for part in parts for row in part for object_ in (row.first[:2], row.second[:2])}
    dropped["not needed"] = len(objects) - len(used)
    train, test, adversarial = map(_pair_rows, parts)
    content = json.dumps([LABEL_NAMES, *(part[:3] for part in (train, test, adversarial))])
    return PydocsPairs(
        train=train,
        test=test,
        adversarial=adversarial,
        label_names=LABEL_NAMES,
        versions=library_versions(modules),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        found=len(docs),
        dropped=dict(sorted(dropped.items())),
        unread=tuple(unread),
    )


def _objects(docs: Iterable[Docstring], dropped: Counter[str]) -> list[_Object]:
    """Objects with two passages that are their own and do not give away that they belong together."""
    own = _own_passages(docs, dropped)
    counts = Counter(passage.content for found in own.values() for _, passage in found)
    objects = []
    for (module, name), found in own.items():
        left = [(section, passage) for section, passage in found if counts[passage.content] == 1]
        text = next((passage for section, passage in left if section == "description"), None)
        if len(found) < 2:
            dropped["fewer than two passages"] += 1
        elif len(left) < 2:
            dropped["passages of several objects"] += 1
        elif text is None:
            dropped["no description"] += 1
        elif partners := tuple(p for _, p in left if p != text and not _gives_away(text, p)):
            objects.append(_Object(module, name, text, partners))
        else:
            dropped["passages give it away"] += 1
    return objects


def _own_passages(
    docs: Iterable[Docstring], dropped: Counter[str]
) -> dict[tuple[str, str], list[tuple[str, _Passage]]]:
    """The passages of each object and their sections; an object that inherits all of them is none of its own."""
    mask = Mask()
    own: dict[tuple[str, str], list[tuple[str, _Passage]]] = {}
    seen: set[frozenset[str]] = set()
    for doc in docs:
        found: list[tuple[str, _Passage]] = []
        if doc.public and doc.text:
            for section, text in passages(doc.text, MIN_WORDS, MAX_WORDS):
                passage = _passage(mask(text, doc.name))
                if len(passage.content) >= MIN_CONTENT and all(passage.content != p.content for _, p in found):
                    found.append((section, passage))
        keys = frozenset(passage.key for _, passage in found)
        if not doc.public:
            dropped["private"] += 1
        elif not doc.text:
            dropped["no docstring"] += 1
        elif not found:
            dropped["fewer than two passages"] += 1
        elif keys in seen or (doc.module, doc.name) in own:
            dropped["duplicate"] += 1
        else:
            seen.add(keys)
            own[doc.module, doc.name] = found
    return own


def _passage(text: str) -> _Passage:
    return _Passage(text, words_alone(text), content_words(text))


# Function words, and those that fit the documentation of anything.
_COMMON = frozenset(
    words_alone(
        """
        a about all also an and any are as at be been before being both but by can could did do does each either for
        from given had has have how if in into is it its may more most must no not of on one only or other out over same
        should so some such than that the their them then there these they this those to two under used uses using very
        was were what when where whether which while will with within without would
        argument default false instance none note parameter result return returned returns set true value values
        """
    ).split()
)


def content_words(text: str) -> frozenset[str]:
    """The words of a passage that say what it is about.

    Example:
        >>> sorted(content_words("Returns the angles of the given x, each in radians."))
        ['angles', 'radians']
    """
    return frozenset(word for word in re.findall(r"[a-z]{2,}", text.lower()) if word not in _COMMON)


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """Words that two sets share, as a share of those in either; in [0, 1]."""
    return len(first & second) / max(1, len(first | second))


_IDENTIFIER = re.compile(r"\b(?:\w*[a-z][A-Z]\w*|\w+_\w*|\w*_\w+|\w*\d[A-Za-z]\w*|[A-Za-z]+\d\w*)\b")


def _gives_away(text: _Passage, partner: _Passage) -> bool:
    """Whether two passages say the same, or name the same variable."""
    names = set(_IDENTIFIER.findall(text.text)).intersection(_IDENTIFIER.findall(partner.text))
    return bool(names) or overlap(text.content, partner.content) > MAX_OVERLAP


def _parts(objects: list[_Object]) -> tuple[list[_Row], list[_Row], list[_Row]]:
    """Training, test and adversarial rows; an object's own hash says whether it may be in a row with another."""
    pool = sorted(objects, key=lambda o: o.rank)
    parts = []
    for size in (TEST_ROWS, TRAIN_ROWS):
        same = [o for o in pool if int(o.rank[-1], 16) % 2][:size]
        different = [o for o in pool if not int(o.rank[-1], 16) % 2]
        parts.append([_Row(o, o, o.partners[0]) for o in same] + _apart(different, size))
        used = {o for row in parts[-1] for o in (row.first, row.second)}
        pool = [o for o in pool if o not in used]
    test, train, adversarial = *parts, _adversarial(pool)
    sizes = {"test": (test, TEST_ROWS), "training": (train, TRAIN_ROWS), "adversarial": (adversarial, ADVERSARIAL_ROWS)}
    for name, (rows, size) in sizes.items():
        if len(rows) < 2 * size:
            raise DataError(
                f"pydocs-pairs found {len(objects)} objects with two passages, which give {len(rows)} {name} rows, "
                f"expected {2 * size}; are the libraries installed with their sources?"
            )
    return train, test, adversarial


def _apart(objects: list[_Object], size: int) -> list[_Row]:
    """Rows of the first objects, each with a passage of another: for some it is of the same module, else anyone's."""
    firsts = objects[:size]
    waiting = firsts[1:] + firsts[:1]
    rows: dict[_Object, _Row] = {}

    def pair(first: _Object, candidates: Iterable[_Object]) -> None:
        may = (o for o in candidates if _unrelated(first, o) and not _gives_away(first.text, o.partners[0]))
        second = next(may, None)
        if second:
            waiting.remove(second)
            rows[first] = _Row(first, second, second.partners[0])

    for first in firsts:
        if len(rows) < round(NEIGHBOURS * size):
            pair(first, [o for o in waiting if o.module == first.module])
    waiting += objects[size:]  # for the last, who may have no other choice than themselves
    for first in firsts:
        if first not in rows:
            pair(first, waiting)
    return list(rows.values())


def _unrelated(first: _Object, second: _Object) -> bool:
    """Neither the same, nor of the same name, nor a class and its method: those are described alike."""
    names = (f"{first.module}.{first.name}.", f"{second.module}.{second.name}.")
    return (
        first.name.rpartition(".")[2] != second.name.rpartition(".")[2]
        and not names[0].startswith(names[1])
        and not names[1].startswith(names[0])
    )


def _adversarial(pool: list[_Object]) -> list[_Row]:
    """Rows of two objects of one module that share the most words, and rows of one object that share the fewest."""
    modules: dict[str, list[_Object]] = defaultdict(list)
    for object_ in pool:
        modules[object_.module].append(object_)
    alike = [
        (
            -overlap(first.text.content, partner.content),
            rank(first.text.key + partner.key),
            _Row(first, second, partner),
        )
        for members in modules.values()
        for first in members
        for second in members
        if _unrelated(first, second)
        for partner in second.partners
        if not _gives_away(first.text, partner)
    ]
    rows: list[_Row] = []
    firsts: set[_Object] = set()
    seconds: set[_Object] = set()
    for _, _, row in sorted(alike, key=lambda a: a[:2]):
        if len(rows) < ADVERSARIAL_ROWS and row.first not in firsts and row.second not in seconds:
            rows.append(row)
            firsts.add(row.first)
            seconds.add(row.second)
    unlike = [
        min((overlap(o.text.content, p.content), rank(o.text.key + p.key), _Row(o, o, p)) for p in o.partners)
        for o in pool
        if o not in firsts | seconds
    ]
    return rows + [row for *_, row in sorted(unlike)[:ADVERSARIAL_ROWS]]


def _pair_rows(rows: list[_Row]) -> PairRows:
    ordered = sorted(rows, key=lambda row: rank(row.first.text.key + row.partner.key))
    return PairRows(
        tuple(row.first.text.text for row in ordered),
        tuple(row.partner.text for row in ordered),
        tuple(int(row.first == row.second) for row in ordered),
        tuple((f"{row.first.module}:{row.first.name}", f"{row.second.module}:{row.second.name}") for row in ordered),
    )
