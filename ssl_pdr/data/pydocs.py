"""`pydocs-topics`: which area of computing does a paragraph of documentation belong to?

    topics = load_pydocs_topics()
    topics.train, topics.test, topics.shifted  # Rows(texts, labels, objects)
    topics.label_names[topics.train.labels[0]]  # "statistics"
    topics.versions, topics.fingerprint         # what was read, and a hash of what came of it
    topics.found, topics.dropped, topics.unread  # nothing is left out without being counted

The text is the first paragraph of a docstring in a library that ssl-pdr depends on anyway; the label is the area,
known from the module. `train` and `test` come from the same libraries. `shifted` asks the same question in the words
of other libraries: who has learnt statistics from scipy is tested on torch and sympy.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from ssl_pdr.data.docstrings import Docstring, first_paragraph
from ssl_pdr.data.embedded import Mask, library_versions, modules_of, rank, read_modules, words_alone
from ssl_pdr.errors import DataError

# Rows of one area in each part. The main job of the command line has minutes on two cores, not hours.
TRAIN_ROWS, TEST_ROWS, SHIFTED_ROWS = 100, 50, 50
# Shorter says nothing once the names are masked; longer costs time and adds little.
MIN_WORDS, MAX_WORDS = 6, 26


@dataclass(frozen=True)
class Area:
    """One class of the corpus.

    Attributes:
        name: the label.
        giveaways: words that name the area, as a regular expression for one whole word; masked in every text.
        home: modules (`source_files` patterns) of the training and test rows.
        away: modules of the shifted rows.
    """

    name: str
    giveaways: str
    home: tuple[str, ...]
    away: tuple[str, ...]


AREAS = (
    Area(
        "distributed computing",
        r"\w*distributed\w*|accelerat\w+",
        modules_of(torch="distributed.distributed_c10d distributed.fsdp distributed.checkpoint distributed.elastic"),
        modules_of(
            accelerate="accelerator state data_loader utils.operations utils.fsdp_utils",
            joblib="parallel _parallel_backends",
            transformers="distributed",
        ),
    ),
    Area(
        "geometry",
        r"geometr\w*|spatial\w*",
        modules_of(sympy="geometry"),
        modules_of(scipy="spatial", matplotlib="bezier path"),
    ),
    Area(
        "images",
        r"\w*image\w*",
        modules_of(PIL="Image*"),
        modules_of(transformers="image_*", scipy="ndimage", matplotlib="image", datasets="features.image"),
    ),
    Area(
        "input and output",
        r"i/?o|\w*inputs?|\w*outputs?",
        modules_of(pandas="io.[cehopsx]* io.json"),
        modules_of(
            scipy="io",
            numpy="lib._npyio_impl",
            networkx="readwrite",
            pyarrow="parquet feather orc",
            torch="serialization",
        ),
    ),
    Area(
        "linear algebra",
        r"\w*linalg\w*|linear algebra\w*",
        modules_of(scipy="linalg sparse.linalg", numpy="linalg", sympy="matrices"),
        modules_of(torch="linalg", mpmath="matrices", networkx="linalg"),
    ),
    Area(
        "neural networks",
        r"neural|nn|networks?",
        modules_of(torch="nn.modules nn.functional nn.init nn.utils"),
        modules_of(
            sklearn="neural_network",
            transformers="activations modeling_layers pytorch_utils masking_utils modeling_rope_utils loss",
        ),
    ),
    Area(
        "optimization",
        r"\w*optimi[sz]\w*|optim",
        modules_of(scipy="optimize"),
        modules_of(torch="optim", transformers="optimization", mpmath="calculus.optimization"),
    ),
    Area(
        "plotting",
        r"\w*plot\w*",
        modules_of(matplotlib="axes figure patches legend axis collections lines"),
        modules_of(
            pandas="plotting",
            sympy="plotting.plot plotting.series plotting.textplot plotting.backends",
            networkx="drawing",
            sklearn="metrics._plot inspection._plot",
        ),
    ),
    Area(
        "polynomials",
        r"\w*poly\w*",
        modules_of(
            sympy="polys.polytools polys.rings polys.orthopolys polys.factortools polys.dense* polys.rootoftools polys.numberfields"
        ),
        modules_of(numpy="polynomial lib._polynomial_impl", mpmath="calculus.polynomials"),
    ),
    Area(
        "signal processing",
        r"signals?",
        modules_of(scipy="signal"),
        modules_of(scipy="fft", numpy="fft", torch="fft", transformers="audio_utils"),
    ),
    Area(
        "special functions",
        r"special",
        modules_of(scipy="special"),
        modules_of(torch="special", mpmath="functions", sympy="functions.special"),
    ),
    Area(
        "statistics",
        r"\w*statistic\w*|stats?|distributions?",
        modules_of(
            scipy="stats._stats_py stats._multivariate stats._morestats stats._hypotests stats._qmc stats._kde stats._resampling stats._mstats_basic stats._distribution_infrastructure"
        ),
        modules_of(torch="distributions", sympy="stats"),
    ),
    Area(
        "tables",
        r"\w*tables?|\w*dataframes?",
        modules_of(
            pandas="core.frame core.generic core.series core.groupby core.reshape core.indexes.base core.indexes.multi"
        ),
        modules_of(datasets="arrow_dataset table dataset_dict iterable_dataset"),
    ),
)


class Rows(NamedTuple):
    """One part of the corpus: three tuples of the same length.

    Attributes:
        texts: the paragraphs.
        labels: indices into `label_names`.
        objects: where each text is from, `"scipy.stats._qmc:Sobol.random"`.
    """

    texts: tuple[str, ...]
    labels: tuple[int, ...]
    objects: tuple[str, ...]


@dataclass(frozen=True)
class PydocsTopics:
    """The corpus; see the module's docstring.

    Attributes:
        train: rows to learn from; how many keep their label is the label budget's business.
        test: rows of the same libraries.
        shifted: rows of the same areas in other libraries.
        label_names: names of the areas, sorted.
        versions: version of each library that was read.
        fingerprint: SHA-256 of the texts, the labels and their parts.
        found: functions, classes and methods seen; rows and `dropped` add up to it.
        dropped: how many of them became no row, by reason.
        unread: modules that this version of their library does not have, and files that are not readable.
    """

    train: Rows
    test: Rows
    shifted: Rows
    label_names: tuple[str, ...]
    versions: dict[str, str]
    fingerprint: str
    found: int
    dropped: dict[str, int]
    unread: tuple[str, ...]


class _Candidate(NamedTuple):
    area: int
    away: bool
    key: str
    text: str
    source: str


@cache
def load_pydocs_topics() -> PydocsTopics:
    """Read the corpus from the installed libraries; the same versions give the same corpus, row for row.

    Raises:
        DataError: a library is missing, or an area has become empty.

    Example:
        >>> topics = load_pydocs_topics()
        >>> topics.label_names[:3]
        ('distributed computing', 'geometry', 'images')
        >>> topics.found == sum(map(len, (topics.train.texts, topics.test.texts, topics.shifted.texts))) + sum(
        ...     topics.dropped.values()
        ... )
        True
    """
    return build_topics(AREAS)


def build_topics(areas: tuple[Area, ...]) -> PydocsTopics:
    """The corpus of the given areas; `load_pydocs_topics` does it for `AREAS` and remembers the result."""
    areas = tuple(sorted(areas, key=lambda area: area.name))
    dropped: Counter[str] = Counter()
    unread: list[str] = []
    candidates: list[_Candidate] = []
    mask = Mask(area.giveaways for area in areas)
    for index, area in enumerate(areas):
        for away, patterns in enumerate((area.home, area.away)):
            for doc in read_modules(patterns, unread):
                text = _row_text(doc, mask, dropped)
                if text:
                    key = words_alone(text)
                    candidates.append(_Candidate(index, bool(away), key, text, f"{doc.module}:{doc.name}"))
    found = len(candidates) + dropped.total()
    chosen = _choose(_distinct(candidates, dropped), areas, dropped)
    train, test, shifted = (_rows(part) for part in chosen)
    names = tuple(area.name for area in areas)
    content = json.dumps([names, *(part[:2] for part in (train, test, shifted))])
    return PydocsTopics(
        train=train,
        test=test,
        shifted=shifted,
        label_names=names,
        versions=library_versions(pattern for area in areas for pattern in (*area.home, *area.away)),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        found=found,
        dropped=dict(sorted(dropped.items())),
        unread=tuple(unread),
    )


def _row_text(doc: Docstring, mask: Mask, dropped: Counter[str]) -> str:
    """The text of a row, or nothing: then the reason is counted."""
    if not doc.public:
        dropped["private"] += 1
        return ""
    if not doc.text:
        dropped["no docstring"] += 1
        return ""
    words = mask(first_paragraph(doc.text), doc.name).split()[:MAX_WORDS]
    if sum(any(letter.isalpha() for letter in word) for word in words) < MIN_WORDS:
        dropped["too short"] += 1
        return ""
    return " ".join(words)


def _distinct(candidates: list[_Candidate], dropped: Counter[str]) -> list[_Candidate]:
    """One candidate for each text, compared by its words alone; none where two areas say the same."""
    areas: dict[str, set[int]] = defaultdict(set)
    for candidate in candidates:
        areas[candidate.key].add(candidate.area)
    distinct: dict[str, _Candidate] = {}
    for candidate in candidates:  # home comes before away: what both say is in-domain
        if len(areas[candidate.key]) > 1:
            dropped["same text in two areas"] += 1
        elif candidate.key in distinct:
            dropped["duplicate"] += 1
        else:
            distinct[candidate.key] = candidate
    return list(distinct.values())


def _choose(
    candidates: list[_Candidate], areas: tuple[Area, ...], dropped: Counter[str]
) -> tuple[list[_Candidate], list[_Candidate], list[_Candidate]]:
    """Training, test and shifted rows: the same number for every area, as far as there are as many."""
    train: list[_Candidate] = []
    test: list[_Candidate] = []
    shifted: list[_Candidate] = []
    groups: dict[tuple[int, bool], list[_Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: rank(c.key)):
        groups[candidate.area, candidate.away].append(candidate)
    for index, area in enumerate(areas):
        home, away = groups[index, False], groups[index, True]
        if len(home) <= TEST_ROWS or not away:
            raise DataError(
                f"pydocs-topics found {len(home)} texts on {area.name} in {', '.join(area.home)} and {len(away)} in "
                f"{', '.join(area.away)}, too few; are these libraries installed with their sources?"
            )
        test += home[:TEST_ROWS]
        train += home[TEST_ROWS : TEST_ROWS + TRAIN_ROWS]
        shifted += away[:SHIFTED_ROWS]
    dropped["not needed"] = len(candidates) - len(train) - len(test) - len(shifted)
    return train, test, shifted


def _rows(candidates: list[_Candidate]) -> Rows:
    ordered = sorted(candidates, key=lambda c: rank(c.key))
    return Rows(
        tuple(c.text for c in ordered),
        tuple(c.area for c in ordered),
        tuple(c.source for c in ordered),
    )
