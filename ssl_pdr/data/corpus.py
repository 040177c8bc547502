"""A corpus for classification: rows to train on, rows to evaluate on, classes, and what is worth knowing of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ssl_pdr.data.catalogue import find_named
from ssl_pdr.data.checks import Keys, duplicates, overlap
from ssl_pdr.data.columns import Columns, Problems, TextRow
from ssl_pdr.data.labels import LabelSet
from ssl_pdr.data.named import NamedSet
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import EMBEDDED, EVALUATION_PARTS, Source, evaluation_part, has_part, read_table, source_name
from ssl_pdr.data.splits import split_labels
from ssl_pdr.data.tables import Table, chosen, store, with_labels
from ssl_pdr.errors import ConfigError, DataError

DUPLICATES = "duplicate training texts"
LEAK = "training texts that are also in an evaluation part"

_SECOND = "mismatched"  # what MNLI is evaluated on too


# Training rows, parts to evaluate on, versions of the libraries that were read, counts.
Embedded: TypeAlias = tuple[Table, dict[str, Table], dict[str, str], dict[str, int]]


@dataclass(frozen=True)
class Corpus:
    """Tables with the columns `text`, `text_pair` where there are pairs, and `label`, the number of a class.

    Attributes:
        name: of the data.
        train: rows to train on; a label of None is a row without one. `group` where a group column was named.
        evaluation: rows to evaluate on, by the name of the part: `in_domain`, and `shifted`, `adversarial` or `mismatched` where
            there is one.
        label_names: the classes.
        fingerprint: SHA-256 over all rows that were read; paths, seeds and machines do not enter.
        keys: hashes of the texts of `train` and of each evaluation part.
        versions: of the libraries that embedded text was read from.
        notes: counts worth showing.
    """

    name: str
    train: Dataset
    evaluation: dict[str, Dataset]
    label_names: list[str]
    fingerprint: str
    keys: dict[str, Keys]
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def pairs(self) -> bool:
        """Whether rows are pairs of texts."""
        return "text_pair" in self.train.column_names

    @property
    def labels(self) -> list[str | None]:
        """The class of each training row, by its name; None without one."""
        return [None if label is None else self.label_names[label] for label in self.train["label"]]

    @property
    def train_hash(self) -> str:
        """SHA-256 over the texts of the training rows in their order, as far as `keys` tells them apart."""
        return hashlib.sha256(np.ascontiguousarray(self.keys["train"]).tobytes()).hexdigest()


@dataclass(frozen=True)
class _Part:
    """A table and the classes of its rows, −1 without one."""

    table: Table
    labels: NDArray[np.int32]

    @cached_property
    def rows(self) -> Dataset:
        """All rows with their labels."""
        return with_labels(self.table.rows, self.labels)

    def select(self, rows: NDArray[np.int64] | None = None) -> tuple[Dataset, Keys]:
        """Some rows, or all, and their keys."""
        return (self.rows, self.table.keys) if rows is None else (chosen(self.rows, rows), self.table.keys[rows])


def load_corpus(
    data: Source,
    *,
    evaluation: Source | None = None,
    eval_frac: float = 0.2,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    label_map: Mapping[str, str] | None = None,
    reading: Reading | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Corpus:
    """Read a corpus for classification.

    Args:
        data: an embedded name, or one in `ssl_pdr.data.catalogue.NAMED`; a file, a folder or a glob (csv, tsv, json, jsonl,
            parquet; all but parquet also with .gz or .zst); a Hub name, `owner/name`, `owner/name:configuration` or
            `owner/name:configuration:split`; a table of `datasets`, an `IterableDataset`, a data frame; a list of dicts or of
            (text, label).
        evaluation: where to read the rows to evaluate on, with the same columns; None takes the validation part of a
            folder or Hub name, or else its test part if that has labels, or holds out `eval_frac` of `data`. A named set
            knows its part; MNLI has the mismatched one too, where its file is there.
        eval_frac: held-out share of the rows with a label, in (0, 1), stratified.
        text_column: None guesses from common names; a named set has its own columns.
        pair_column: None guesses, where the text column was guessed and has a usual partner.
        label_column: None guesses. Training rows may lack a label (None, NaN or empty), rows to evaluate on may not.
        group_column: kept for label budgets by group.
        label_map: from labels as a source has them to those that are wanted, in all parts.
        reading: encoding, what is done with bad rows, and where the files of named sets are.
        seed: of the held-out part and of `limit`.
        limit: keep only this many training rows, stratified; the evaluation part does not depend on it.

    Returns:
        The corpus; what was left out or is worth knowing is counted in its `notes`.

    Raises:
        ConfigError: for an `eval_frac` outside of (0, 1), or a `limit` that is smaller than the number of classes.
        UnknownNameError: for a label in `label_map` that no source has.
        DataError: in one line, for whatever is wrong with the data.

    Example:
        >>> rows = [("good film", "pos"), ("fine plot", "pos"), ("bad film", "neg"), ("dull plot", "neg")] * 5
        >>> corpus = load_corpus(rows, eval_frac=0.25)
        >>> corpus.label_names, len(corpus.train), len(corpus.evaluation["in_domain"])
        (['neg', 'pos'], 15, 5)
    """
    columns = Columns(text_column, pair_column, label_column, group_column)
    reading = reading or Reading()
    if not 0 < eval_frac < 1:
        raise ConfigError(f"eval_frac must lie between 0 and 1, got {eval_frac}")
    name = source_name(data)
    if isinstance(data, str) and data in EMBEDDED:
        if evaluation is not None:
            raise DataError(f"{data} brings its own evaluation parts; leave --eval out, or give --data a file")
        table, parts, versions, notes = _EMBEDDED[data]()
        labels = LabelSet(table.classes, label_map or {}, name)
    else:
        table, versions, notes = read_table(data, columns, reading, labelled=True), {}, {}
        labels = LabelSet(table.classes, label_map or {}, name)
        parts = _evaluation(data, evaluation, columns, reading)
        named = find_named(data if evaluation is None else evaluation)
        if named is not None and _SECOND in named.parts and _SECOND not in parts:
            notes[f"{_SECOND}: its file is not there, so it is not evaluated on"] = 1
    train = _Part(table, labels.numbers(table.classes, table.labels, name))
    selected = {part: _to_evaluate(held, labels, part, table) for part, held in parts.items()}
    labels.check_map()
    rows = np.arange(len(table))
    if not selected:
        rows, held_out = _hold_out(train.labels, eval_frac, seed, name)
        selected = {"in_domain": train.select(held_out)}
    if limit is not None and limit < len(rows):
        rows = rows[_limited(train.labels[rows], limit, seed)]
    kept, keys = train.select(None if len(rows) == len(table) else rows)
    evaluated = np.concatenate([held for _, held in selected.values()])
    for part, held in parts.items():
        notes |= {f"{part}: {kind}": count for kind, count in held.problems.counts.items()}
        notes[f"{part}: rows without an agreed label ('-'), left out"] = labels.disagreements(held.classes, held.labels)
    notes |= {**_notes(table, labels, rows), DUPLICATES: duplicates(keys), LEAK: int(overlap(keys, evaluated).sum())}
    return Corpus(
        name=name,
        train=kept,
        evaluation={part: held for part, (held, _) in selected.items()},
        label_names=labels.names,
        fingerprint=_fingerprint({"train": table, **parts}, labels),
        keys={"train": keys, **{part: held for part, (_, held) in selected.items()}},
        versions=versions,
        notes=notes,
    )


def _fingerprint(tables: Mapping[str, Table], labels: LabelSet) -> str:
    digests = {part: table.digest for part, table in tables.items()}
    return hashlib.sha256(json.dumps([digests, labels.names, labels.label_map]).encode()).hexdigest()


def _evaluation(data: Source, evaluation: Source | None, columns: Columns, reading: Reading) -> dict[str, Table]:
    named = find_named(data if evaluation is None else evaluation)
    if named is not None:
        return _named_evaluation(named, columns if evaluation is None else Columns(), reading)
    if evaluation is not None:
        part = evaluation_part(evaluation, reading) or "train"
        return {"in_domain": read_table(evaluation, columns, reading, labelled=True, part=part)}
    for part in EVALUATION_PARTS:  # not `evaluation_part`: a test part without labels is passed over
        if has_part(data, part):
            table = read_table(data, columns, reading, labelled=part == "validation" or None, part=part)
            if table.classes:  # public test parts often have no labels
                return {"in_domain": table}
    return {}


def _named_evaluation(named: NamedSet, columns: Columns, reading: Reading) -> dict[str, Table]:
    """The part that a set is evaluated on; of MNLI both, where both are there."""
    parts = {"in_domain": named.evaluation}
    if has_part(named.name, _SECOND, reading):
        parts[_SECOND] = _SECOND
    return {name: read_table(named.name, columns, reading, labelled=True, part=part) for name, part in parts.items()}


def _to_evaluate(table: Table, labels: LabelSet, part: str, train: Table) -> tuple[Dataset, Keys]:
    """The rows of a part and their keys; without those on which annotators did not agree."""
    shapes = ["pairs of texts" if "text_pair" in t.rows.column_names else "single texts" for t in (table, train)]
    if shapes[0] != shapes[1]:
        raise DataError(
            f"the {part} part has {shapes[0]}, the training rows are {shapes[1]}; name the columns of both alike"
        )
    numbers = labels.numbers(table.classes, table.labels, f"the {part} part")
    missing = np.flatnonzero(table.labels < 0)
    if len(missing):
        raise DataError(
            f"the {part} part: {len(missing)} rows have no label, the first is row {missing[0] + 1}; rows to evaluate on need one"
        )
    agreed = np.flatnonzero(numbers >= 0)
    return _Part(table, numbers).select(None if len(agreed) == len(numbers) else agreed)


def _hold_out(
    labels: NDArray[np.int32], eval_frac: float, seed: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on, and those that are held out of the rows that have a label."""
    labelled = np.flatnonzero(labels >= 0)
    try:
        held_out = labelled[split_labels(labels[labelled], 1 - eval_frac, seed=seed).unlabelled]
    except DataError:
        held_out = labelled[:0]
    if len(held_out) == 0:
        raise DataError(
            f"{name} has {len(labelled)} rows with a label in {len(np.unique(labels[labelled]))} classes: too few to hold "
            f"{eval_frac:g} of them out and keep one of each; give --eval, or another --eval-frac"
        )
    kept = np.ones(len(labels), dtype=np.bool_)
    kept[held_out] = False
    return np.flatnonzero(kept), held_out


def _limited(labels: NDArray[np.int32], limit: int, seed: int) -> NDArray[np.int64]:
    """Some rows, in proportion; those without a label count as one more class."""
    kinds = len(np.unique(labels))
    if limit < kinds:
        raise ConfigError(
            f"limit: got {limit}, expected at least {kinds}, one row of each class and one without a label"
        )
    return split_labels(labels, count=limit, seed=seed).labelled if kinds > 1 else np.arange(limit)


def _notes(train: Table, labels: LabelSet, rows: NDArray[np.int64]) -> dict[str, int]:
    disagreed = labels.disagreements(train.classes, train.labels[rows])
    unlabelled = int((train.labels[rows] < 0).sum())
    counted = {
        "rows without a label, used as unlabelled text": unlabelled,
        "rows without an agreed label ('-'), used as unlabelled text": disagreed,
    }
    return {**train.problems.counts, **{kind: count for kind, count in counted.items() if count}}


def _pydocs_topics() -> Embedded:
    from ssl_pdr.data.pydocs import load_pydocs_topics

    source = load_pydocs_topics()
    parts = {
        name: _table(part.texts, None, [source.label_names[label] for label in part.labels], name)
        for name, part in {"train": source.train, "in_domain": source.test, "shifted": source.shifted}.items()
    }
    notes = {f"docstrings left out: {reason}": count for reason, count in source.dropped.items()}
    return parts.pop("train"), parts, dict(source.versions), notes


def _pydocs_pairs() -> Embedded:
    from ssl_pdr.data.pydocs_pairs import load_pydocs_pairs

    source = load_pydocs_pairs()
    parts = {
        name: _table(part.texts, part.partners, [source.label_names[label] for label in part.labels], name)
        for name, part in {"train": source.train, "in_domain": source.test, "adversarial": source.adversarial}.items()
    }
    notes = {f"passages left out: {reason}": count for reason, count in source.dropped.items()}
    return parts.pop("train"), parts, dict(source.versions), notes


def _table(texts: Any, partners: Any, labels: list[str], name: str) -> Table:
    rows = (
        TextRow(text, partner, label, None)
        for text, partner, label in zip(texts, partners or [None] * len(texts), labels, strict=True)
    )
    return store(rows, Problems(), None, name)


_EMBEDDED: dict[str, Callable[[], Embedded]] = {
    "pydocs-topics": _pydocs_topics,
    "pydocs-pairs": _pydocs_pairs,
}
