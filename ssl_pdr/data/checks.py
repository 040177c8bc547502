"""What a person wants to know of a corpus before training on it: counts, lengths, duplicates, leaks between its parts.

Texts are read in batches. All that grows with a corpus are 8 bytes a row for hashes and 4 for labels, several times that
for a moment while they are sorted. Near duplicates are looked for among a fixed number of texts of each part.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ssl_pdr.data.near import NearTexts

Keys: TypeAlias = NDArray[np.uint64]
LengthsOf: TypeAlias = Callable[[Sequence[str], Sequence[str] | None], Sequence[int]]

TRAIN, UNLABELLED = "train", "unlabelled"
NEAR_TEXTS = 20_000  # so many different texts of a part are looked at for near duplicates, at 10 kB of memory each
EXAMPLES = 3  # of each kind that a leak shows
_BATCH = 512
_EXCERPT, _BEFORE = 160, 20  # characters of an example, and of those before the first difference


class Table(Protocol):
    """What is asked of a table: `datasets.Dataset` with `text`, optional `text_pair`, optional `label` (a class or None)."""

    @property
    def column_names(self) -> list[str]:
        """Names of the columns."""

    def __len__(self) -> int: ...

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        """All rows in their order, as columns of at most `batch_size` values."""


@dataclass(frozen=True)
class Lengths:
    """How long texts are, in tokens.

    Attributes:
        edges: of the histogram: 0, 1, 2, … 8, then four bins to each doubling; always a beginning of the same sequence.
        counts: rows with edges[i] <= tokens < edges[i + 1]; one fewer than edges.
        quartiles: the shortest length that a quarter, half, three quarters of the rows do not exceed.
        longest: tokens.
        mean: tokens.
        truncated: share of rows longer than `max_length`, in [0, 1].
        lost: share of tokens beyond it, in [0, 1].
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    quartiles: tuple[int, int, int]
    longest: int
    mean: float
    truncated: float
    lost: float


@dataclass(frozen=True)
class PartReport:
    """One part of a corpus.

    Attributes:
        name: of the part.
        rows: all of them.
        labelled: rows with a label.
        balance: labelled rows of each class, by its name.
        lengths: in tokens.
        duplicates: rows that are the same as an earlier one.
        contradictions: texts that occur with more than one label.
        near_duplicates: texts, of those looked at, that are near to an earlier one that was kept; None if not asked for.
        looked_at: different texts that were looked at for near duplicates, at most `NEAR_TEXTS`.
    """

    name: str
    rows: int
    labelled: int
    balance: Mapping[str, int]
    lengths: Lengths
    duplicates: int
    contradictions: int
    near_duplicates: int | None
    looked_at: int


@dataclass(frozen=True)
class Example:
    """Two rows that are the same or near: row numbers from 0, shortened texts, Jaccard similarity (1.0 if the same)."""

    kind: str
    similarity: float
    row: int
    other_row: int
    text: str
    other_text: str


@dataclass(frozen=True)
class Leak:
    """What two parts have in common; all counts are 0 where nothing was found.

    Attributes:
        part: rows to train on.
        other: the part that they should not be in.
        into_evaluation: `other` is evaluated on, so that scores on it are too good; otherwise it is the training part.
        rows: of `part` that are also in `other`.
        other_rows: of `other` that are also in `part`.
        near: texts of `part`, of those looked at, that are near to one of `other` and not in it; None if not asked for.
        other_near: texts of `other`, of those looked at, that are near to one of `part` and not in it; or None.
        examples: at most `EXAMPLES` of each kind.
    """

    part: str
    other: str
    into_evaluation: bool
    rows: int
    other_rows: int
    near: int | None
    other_near: int | None
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class CorpusReport:
    """All that `inspect_corpus` found, and notes that a person should read beside it."""

    max_length: int
    parts: tuple[PartReport, ...]
    leaks: tuple[Leak, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The report in the types of JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain


def normalised(text: str, pair: str = "") -> str:
    r"""The form in which two texts are compared: lower case, white space collapsed, Unicode composed (NFC).

    NFC makes one of the two ways to write *é*, which nobody can see apart. NFKC is not used: it would also make x² and x2
    the same, which they are not.

    Example:
        >>> normalised("  An  Old\nFilm "), normalised("A", "B")
        ('an old film', 'a \t b')
    """
    one, other = (" ".join(unicodedata.normalize("NFC", side.lower()).split()) for side in (text, pair))
    return f"{one} \t {other}" if other else one


def text_key(text: str, pair: str = "") -> int:
    """64 bits of the hash of the normalised text; among ten million texts two share one with probability 3e-6.

    Example:
        >>> text_key("An old film") == text_key("an  OLD film"), text_key("a b", "c") == text_key("a", "b c")
        (True, False)
    """
    content = normalised(text, pair).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "little")


def duplicates(keys: Keys) -> int:
    """How many rows repeat an earlier one."""
    return len(keys) - len(np.unique(keys))


def overlap(keys: Keys, others: Keys) -> NDArray[np.bool_]:
    """Which of `keys` are also in `others`, (N,)."""
    return np.isin(keys, others, kind="sort")  # NumPy 2.0 may choose a table, whose places hashes overflow


def inspect_corpus(
    parts: Mapping[str, Table],
    label_names: Sequence[str],
    *,
    lengths_of: LengthsOf,
    max_length: int,
    near: bool = True,
    progress: Callable[[str], None],
) -> CorpusReport:
    """Look at all parts of a corpus, and for leaks between them.

    Two texts are near if the 3-word shingles of their first `NEAR_WORDS` words, without punctuation and case, have a Jaccard
    similarity of at least `NEAR`; a pair is near if both its texts are. Texts of fewer than 3 words are one shingle. Candidates
    are found by MinHash, so a few may be missed; what is reported was verified on the shingles themselves.
    Looked at are the texts with the smallest keys: a random sample, as keys are hashes, that no order of rows can change.

    Args:
        parts: tables by name. `train` and names that begin with `unlabelled` are trained on; the others are evaluated on.
        label_names: the classes.
        lengths_of: the number of tokens of each text (or pair), special tokens included, not truncated.
        max_length: tokens at which training truncates.
        near: look for near duplicates too.
        progress: called with a line at the beginning of each stage.

    Returns:
        The report. Leaks are those of every trained part into every evaluated one and of every unlabelled one into `train`.

    Example:
        >>> from datasets import Dataset
        >>> train, test = ({"text": ["A fine film.", "dull"], "label": [1, 0]}, {"text": ["a FINE film."], "label": [1]})
        >>> report = inspect_corpus(
        ...     {"train": Dataset.from_dict(train), "in_domain": Dataset.from_dict(test)}, ["bad", "good"],
        ...     lengths_of=lambda texts, pairs: [len(text.split()) for text in texts], max_length=2, progress=lambda line: None,
        ... )
        >>> report.parts[0].balance, report.parts[0].lengths.truncated, report.leaks[0].other_rows
        ({'bad': 1, 'good': 1}, 0.5, 1)
    """
    read = {}
    for name, table in parts.items():
        progress(f"reading {name} ({len(table):,} rows)")
        read[name] = _Part(name, table, lengths_of)
        if near:
            progress(f"looking for near duplicates in {name}")
            read[name].look_for_near()
    trained = [name for name in parts if name == TRAIN or name.startswith(UNLABELLED)]
    evaluated = [name for name in parts if name not in trained]
    pairs = [(part, other) for part in trained for other in evaluated]
    pairs += [(part, TRAIN) for part in trained if part != TRAIN and TRAIN in parts]
    leaks = []
    for part, other in pairs:
        progress(f"comparing {part} with {other}")
        leaks.append(_leak(read[part], read[other], into_evaluation=other in evaluated))
    reports = {name: part.report(label_names, max_length) for name, part in read.items()}
    notes = (*_notes_on_classes(reports, evaluated), *(note for part in read.values() for note in part.notes()))
    return CorpusReport(max_length, tuple(reports.values()), tuple(leaks), notes)


class _Part:
    """A part, read once: keys, labels (−1 for none) and how many rows have which length.

    Different lengths are few: D of them need D²/2 tokens, so ten billion tokens have at most 141,000.
    """

    def __init__(self, name: str, table: Table, lengths_of: LengthsOf) -> None:
        self.name, self.table = name, table
        self.keys = np.empty(len(table), dtype=np.uint64)
        self.labels = np.full(len(table), -1, dtype=np.int32)
        self.tokens: Counter[int] = Counter()
        self.near: NearTexts | None = None
        end = 0
        for batch in table.iter(batch_size=_BATCH):
            start, end = end, end + len(batch["text"])
            self.keys[start:end] = [text_key(*row) for row in _texts(batch)]
            self.labels[start:end] = [
                -1 if label is None else label for label in batch.get("label", [-1] * (end - start))
            ]
            self.tokens.update(lengths_of(batch["text"], batch.get("text_pair")))
        self.repeats = duplicates(self.keys)

    def look_for_near(self) -> None:
        _, first = np.unique(self.keys, return_index=True)
        picked = _pick(self.table, first[:NEAR_TEXTS].tolist())
        self.near = NearTexts((row, normalised(text), normalised(pair)) for row, text, pair in picked)

    def report(self, label_names: Sequence[str], max_length: int) -> PartReport:
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(label_names)).tolist()
        return PartReport(
            name=self.name,
            rows=len(self.keys),
            labelled=sum(counts),
            balance=dict(zip(label_names, counts, strict=True)),
            lengths=_lengths(self.tokens, max_length),
            duplicates=self.repeats,
            contradictions=_contradictions(self.keys, self.labels),
            near_duplicates=self.near.repeats if self.near else None,
            looked_at=len(self.near.rows) if self.near else 0,
        )

    def notes(self) -> Iterator[str]:
        different = len(self.keys) - self.repeats
        if self.near and different > NEAR_TEXTS:
            yield f"{self.name}: near duplicates were looked for among {NEAR_TEXTS:,} of {different:,} different texts"


def _texts(batch: Mapping[str, list[Any]]) -> Iterator[tuple[str, str]]:
    return zip(batch["text"], batch.get("text_pair", [""] * len(batch["text"])), strict=True)


def _pick(table: Table, rows: Iterable[int]) -> Iterator[tuple[int, str, str]]:
    """Row number, text and pair of some rows, in their order."""
    wanted = np.unique(np.fromiter(rows, np.int64))
    end = 0
    for batch in table.iter(batch_size=_BATCH):
        start, end = end, end + len(batch["text"])
        here = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, end)]
        texts = list(_texts(batch)) if len(here) else []
        yield from ((int(row), *texts[row - start]) for row in here)
        if not len(wanted) or end > wanted[-1]:
            return


def _lengths(tokens: Counter[int], max_length: int) -> Lengths:
    lengths, rows = np.array(sorted(tokens.items()) or [(0, 0)], dtype=np.int64).T
    total, all_tokens, longest = int(rows.sum()), int(lengths @ rows), int(lengths[-1])
    edges = [0]
    while edges[-1] <= longest:
        edges.append(edges[-1] + (1 << max(0, edges[-1].bit_length() - 3)))  # a quarter of the power of two before it
    quartiles = lengths[np.searchsorted(np.cumsum(rows), np.array([0.25, 0.5, 0.75]) * total)].tolist()
    return Lengths(
        edges=tuple(edges),
        counts=tuple(np.histogram(lengths, bins=edges, weights=rows)[0].astype(int).tolist()),
        quartiles=(quartiles[0], quartiles[1], quartiles[2]),
        longest=longest,
        mean=all_tokens / max(total, 1),
        truncated=int(rows[lengths > max_length].sum()) / max(total, 1),
        lost=int(np.maximum(lengths - max_length, 0) @ rows) / max(all_tokens, 1),
    )


def _contradictions(keys: Keys, labels: NDArray[np.int32]) -> int:
    keys, labels = keys[labels >= 0], labels[labels >= 0]
    order = np.lexsort((labels, keys))
    keys, labels = keys[order], labels[order]
    differ = (keys[1:] == keys[:-1]) & (labels[1:] != labels[:-1])
    return len(np.unique(keys[1:][differ]))


def _leak(part: _Part, other: _Part, *, into_evaluation: bool) -> Leak:
    shared, other_shared = overlap(part.keys, other.keys), overlap(other.keys, part.keys)
    other_rows = np.flatnonzero(other_shared)[:EXAMPLES].tolist()
    pairs = [(1.0, int(np.argmax(part.keys == other.keys[row])), row) for row in other_rows]
    asked = part.near is not None and other.near is not None
    found = part.near.near_to(other.near) if part.near is not None and other.near is not None else ()
    near = sorted((pair for pair in found if not other_shared[pair[2]]), key=lambda pair: (-pair[0], *pair[1:]))
    return Leak(
        part=part.name,
        other=other.name,
        into_evaluation=into_evaluation,
        rows=int(shared.sum()),
        other_rows=int(other_shared.sum()),
        near=len({row for _, row, _ in near if not shared[row]}) if asked else None,
        other_near=len({row for _, _, row in near}) if asked else None,
        examples=(*_examples("exact", pairs, part, other), *_examples("near", near[:EXAMPLES], part, other)),
    )


def _examples(kind: str, pairs: list[tuple[float, int, int]], part: _Part, other: _Part) -> Iterator[Example]:
    texts = {row: _shown(*sides) for row, *sides in _pick(part.table, (row for _, row, _ in pairs))}
    other_texts = {row: _shown(*sides) for row, *sides in _pick(other.table, (row for _, _, row in pairs))}
    for similarity, row, other_row in pairs:
        excerpts = _excerpts(texts[row], other_texts[other_row], differ=kind == "near")
        yield Example(kind, similarity, row, other_row, *excerpts)


def _shown(text: str, pair: str) -> str:
    return " ".join(f"{text} | {pair}".split()) if pair else " ".join(text.split())


def _excerpts(text: str, other: str, *, differ: bool) -> tuple[str, str]:
    """Both texts shortened, from the beginning or from a little before the first difference."""
    first = next((i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(map(len, (text, other))))
    start = max(0, first - _BEFORE) if differ else 0
    cut = [
        f"{'…' * (start > 0)}{t[start : start + _EXCERPT]}{'…' * (len(t) > start + _EXCERPT)}" for t in (text, other)
    ]
    return cut[0], cut[1]


def _notes_on_classes(reports: Mapping[str, PartReport], evaluated: Sequence[str]) -> Iterator[str]:
    """Classes that no labelled row of `train` has, and where they are evaluated on all the same."""
    train = reports.get(TRAIN)
    if train is None or not train.labelled:
        return
    absent = [name for name, count in train.balance.items() if not count]
    if absent:
        wanted = [part for part in evaluated if any(reports[part].balance[name] for name in absent)]
        shown = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        where = f", but {' and '.join(wanted)} {'has' if len(wanted) == 1 else 'have'} rows of them" if wanted else ""
        yield f"train: {len(absent)} of {len(train.balance)} classes have no labelled row ({shown}){where}"
