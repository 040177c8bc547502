"""Unlabelled corpora: several of them, weighted, on disk or read as they are trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssl_pdr.data.checks import duplicates, overlap
from ssl_pdr.data.columns import Columns, Problems
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import Source, read_table, source_name, text_rows
from ssl_pdr.data.tables import Table
from ssl_pdr.errors import DataError


class TextStream:
    """Texts of a corpus from its beginning, at each iteration anew; nothing is kept.

    Args:
        source: as `load_corpus` takes it.
        columns: which is which.
        reading: encoding, and what is done with bad rows.
        pairs: whether rows are pairs of texts.

    Example:
        >>> stream = TextStream(["a text", "another"], Columns(), Reading(), pairs=False)
        >>> list(stream) == list(stream) == [{"text": "a text"}, {"text": "another"}]
        True
    """

    def __init__(self, source: Source, columns: Columns, reading: Reading, *, pairs: bool) -> None:
        self.source = source
        self.columns = columns
        self.reading = reading
        self.pairs = pairs

    def __iter__(self) -> Iterator[dict[str, str]]:
        rows = text_rows(self.source, self.columns, self.reading, Problems(), labelled=False, streaming=True)
        for row in rows:
            if self.pairs and row.pair is None:
                raise DataError(_single(source_name(self.source)))
            yield {"text": row.text, "text_pair": str(row.pair)} if self.pairs else {"text": row.text}


@dataclass(frozen=True)
class UnlabelledCorpus:
    """One corpus without labels.

    Attributes:
        name: of the source.
        rows: a table on disk, or a stream of rows.
        weight: relative to the other unlabelled corpora; None where none was given.
        notes: counts worth showing; of a stream nobody knows any.
    """

    name: str
    rows: Table | TextStream
    weight: float | None
    notes: dict[str, int]


def parse_weight(spec: str) -> tuple[str, float | None]:
    """`NAME` or `NAME:WEIGHT`; a file whose own name ends like that is taken for itself.

    Raises:
        DataError: for a weight that is negative or not finite.

    Example:
        >>> parse_weight("more.jsonl:0.3"), parse_weight("owner/name:config")
        (('more.jsonl', 0.3), ('owner/name:config', None))
    """
    name, colon, text = spec.rpartition(":")
    if not colon or not name or Path(spec).expanduser().exists():
        return spec, None
    try:
        weight = float(text)
    except ValueError:
        return spec, None
    if not 0 <= weight < math.inf:
        raise DataError(f"{spec}: got the weight {text}, expected a finite number of at least 0")
    return name, weight


def load_unlabelled(
    sources: Sequence[Source], corpus: Corpus, columns: Columns, reading: Reading, *, stream: bool
) -> list[UnlabelledCorpus]:
    """Read corpora without labels; rows that hold no text are left out and counted.

    Args:
        sources: as `load_corpus` takes them; a string may end in `:WEIGHT`.
        corpus: the labelled data, whose texts the corpora are compared with.
        columns: of the labelled data; a corpus that has no such columns is guessed.
        reading: encoding, and what is done with bad rows.
        stream: read them as they are trained on, and keep nothing.

    Raises:
        DataError: for a corpus that is empty or holds nothing but the training texts, or weights that are all 0.
    """
    parsed = [parse_weight(str(s)) if isinstance(s, str | Path) else (s, None) for s in sources]
    weights = [weight for _, weight in parsed if weight is not None]
    if weights and len(weights) == len(parsed) and not any(weights):
        raise DataError(
            f"the weights of all {len(parsed)} unlabelled corpora are 0; expected one above 0, or no --unlabelled"
        )
    plain = Columns(columns.text, columns.pair)
    made = []
    for source, weight in parsed:
        name = source_name(source)
        if stream:
            rows = TextStream(source, plain, reading, pairs=corpus.pairs)
            if next(iter(rows), None) is None:
                raise DataError(f"{name} has no rows with a text; expected some")
            made.append(UnlabelledCorpus(name, rows, weight, {}))
        else:
            table = read_table(source, plain, reading, labelled=False)
            made.append(UnlabelledCorpus(name, table, weight, _compared(table, corpus, name)))
    return made


def _compared(table: Table, corpus: Corpus, name: str) -> dict[str, int]:
    """What is in it that is elsewhere too; refuse a corpus that adds nothing."""
    if corpus.pairs and "text_pair" not in table.rows.column_names:
        raise DataError(_single(name))
    known = overlap(table.keys, corpus.keys["train"])
    if bool(known.all()):
        raise DataError(
            f"{name}: every one of its {len(table)} texts is in the training data already; give other text, or leave it out"
        )
    counts = {
        f"{name}: texts that occur more than once": duplicates(table.keys),
        f"{name}: texts that are also training texts": int(known.sum()),
        **{f"{name}: {kind}": count for kind, count in table.problems.counts.items()},
    }
    for part, keys in corpus.keys.items():
        if part != "train":
            counts[f"{name}: texts that are also in the evaluation part {part}"] = int(overlap(table.keys, keys).sum())
    return {kind: count for kind, count in counts.items() if count}


def _single(name: str) -> str:
    return f"{name} has single texts, the labelled data are pairs; name the second column with --pair-column"
