"""Unlabelled corpora: several of them, weighted, on disk or read as they are trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from ssl_pdr.data.catalogue import unlabelled_part
from ssl_pdr.data.checks import Keys, duplicates, overlap, text_key
from ssl_pdr.data.columns import Columns, Problems
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import Source, read_table, source_name, text_rows
from ssl_pdr.data.tables import Table
from ssl_pdr.errors import DataError
from ssl_pdr.files import is_there


class TextStream:
    """Texts of a corpus from its beginning, at each iteration anew; nothing is kept.

    Args:
        source: as `load_corpus` takes it.
        columns: which is which.
        reading: encoding, and what is done with bad rows.
        pairs: whether rows are pairs of texts.
        evaluated: hashes of the texts of each part that is evaluated on.

    Attributes:
        problems: what was counted in the latest iteration, as far as it has come; texts of `evaluated` too.

    Example:
        >>> stream = TextStream(["a text", "another"], Columns(), Reading(), pairs=False)
        >>> list(stream) == list(stream) == [{"text": "a text"}, {"text": "another"}]
        True
    """

    def __init__(
        self,
        source: Source,
        columns: Columns,
        reading: Reading,
        *,
        pairs: bool,
        evaluated: Mapping[str, Keys] | None = None,
    ) -> None:
        self.source = source
        self.columns = columns
        self.reading = reading
        self.pairs = pairs
        self.evaluated: dict[str, frozenset[int]] = {}
        for part, keys in (evaluated or {}).items():
            self.watch_for(part, keys)
        self.problems = Problems()

    def watch_for(self, part: str, keys: Keys) -> None:
        """Count texts of one more part that is evaluated on."""
        self.evaluated[part] = frozenset(keys.tolist())

    def __iter__(self) -> Iterator[dict[str, str]]:
        self.problems = Problems()
        part = unlabelled_part(self.source)
        rows = text_rows(
            self.source, self.columns, self.reading, self.problems, labelled=False, part=part, streaming=True
        )
        for number, row in enumerate(rows, 1):
            if self.pairs != (row.pair is not None):
                raise DataError(_other_shape(source_name(self.source), pairs=self.pairs))
            key = text_key(row.text, row.pair or "")
            for part, keys in self.evaluated.items():
                if key in keys:
                    self.problems.add(also_evaluated(part), number)
            yield {"text": row.text, "text_pair": row.pair} if row.pair is not None else {"text": row.text}


def also_evaluated(part: str) -> str:
    """What texts are counted as that are in a part that is evaluated on."""
    return f"texts that are also in the evaluation part {part}"


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
    if not colon or not name or is_there(spec):
        return spec, None
    try:
        weight = float(text)
    except ValueError:
        return spec, None
    if not 0 <= weight < math.inf:
        raise DataError(f"{spec}: got the weight {text}, expected a finite number of at least 0")
    return name, weight


def parse_weights(sources: Sequence[Source]) -> list[tuple[Source, float | None]]:
    """Sources with their weights, as `parse_weight` has them.

    Raises:
        DataError: for a weight that is negative or not finite, and where all of them are 0.
    """
    parsed: list[tuple[Source, float | None]] = [
        parse_weight(str(s)) if isinstance(s, str | Path) else (s, None) for s in sources
    ]
    weights = [weight for _, weight in parsed if weight is not None]
    if weights and len(weights) == len(parsed) and not any(weights):
        raise DataError(
            f"no unlabelled corpus of {len(parsed)} has a weight above 0; give one, or leave --unlabelled out"
        )
    return parsed


def load_unlabelled(
    sources: Sequence[Source], corpus: Corpus | None, columns: Columns, reading: Reading, *, stream: bool
) -> list[UnlabelledCorpus]:
    """Read corpora without labels; rows that hold no text are left out and counted.

    Args:
        sources: as `load_corpus` takes them; a string may end in `:WEIGHT`. Of IMDB the part without labels is read.
        corpus: the labelled data, whose texts the corpora are compared with; None where there are none.
        columns: of the labelled data; a corpus that has no such columns is guessed.
        reading: encoding, and what is done with bad rows.
        stream: read them as they are trained on, and keep nothing.

    Raises:
        DataError: for a corpus that is empty or holds nothing but the training texts, or weights that are all 0.
    """
    plain = Columns(columns.text, columns.pair)
    made: list[UnlabelledCorpus] = []
    for source, weight in parse_weights(sources):
        name = unused_name(source_name(source), [other.name for other in made])
        if stream:
            keys = {} if corpus is None else corpus.keys
            evaluated = {part: hashes for part, hashes in keys.items() if part != "train"}
            rows = TextStream(source, plain, reading, pairs=corpus is not None and corpus.pairs, evaluated=evaluated)
            if next(iter(rows), None) is None:
                raise DataError(f"{name} has no rows with a text; expected some")
            made.append(UnlabelledCorpus(name, rows, weight, {}))
        else:
            table = read_table(source, plain, reading, labelled=False, part=unlabelled_part(source))
            notes = _counted(table, name) if corpus is None else _compared(table, corpus, name)
            made.append(UnlabelledCorpus(name, table, weight, notes))
    return made


def _compared(table: Table, corpus: Corpus, name: str) -> dict[str, int]:
    """What is in it that is elsewhere too; refuse a corpus that adds nothing."""
    if corpus.pairs != ("text_pair" in table.rows.column_names):
        raise DataError(_other_shape(name, pairs=corpus.pairs))
    known = overlap(table.keys, corpus.keys["train"])
    evaluated = {part: overlap(table.keys, keys) for part, keys in corpus.keys.items() if part != "train"}
    if bool(np.logical_or.reduce([known, *evaluated.values()]).all()):
        raise DataError(
            f"{name}: every one of its {len(table)} texts is in the labelled data already; give other text, or leave it out"
        )
    counts = {
        **_counted(table, name),
        f"{name}: texts that are also training texts": int(known.sum()),
        **{f"{name}: {also_evaluated(part)}": int(found.sum()) for part, found in evaluated.items()},
    }
    return {kind: number for kind, number in counts.items() if number}


def _counted(table: Table, name: str) -> dict[str, int]:
    counts = {"texts that occur more than once": duplicates(table.keys), **table.problems.counts}
    return {f"{name}: {kind}": number for kind, number in counts.items() if number}


def unused_name(name: str, taken: list[str]) -> str:
    """A name that no other corpus has: the second `part.txt` is `part.txt (2)`."""
    candidates = (name if number == 1 else f"{name} ({number})" for number in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _other_shape(name: str, *, pairs: bool) -> str:
    if pairs:
        return f"{name} has single texts, the labelled data are pairs; name the second column with --pair-column"
    return f"{name} has pairs of texts, the labelled data are single texts; give a corpus with one column of text"
