"""Where text comes from: embedded corpora, local files, the Hub; and how its columns become `text` and `label`."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
from datasets import Dataset

from ssl_pdr.data.splits import split_labels
from ssl_pdr.errors import ConfigError, DataError, unknown_name

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
_TEXT = ("text", "sentence", "premise", "sentence1", "question1", "review", "content")
_PARTNER = {"premise": "hypothesis", "sentence1": "sentence2", "question1": "question2", "text": "text_pair"}
_LABEL = ("label", "gold_label", "labels", "class", "target", "category", "sentiment")
_NO_AGREEMENT = "-"  # how NLI sets mark rows on which the annotators did not agree


@dataclass(frozen=True)
class Columns:
    """Names of the columns in a source; None is guessed."""

    text: str | None = None
    pair: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class Corpus:
    """Tables with the columns `text`, `text_pair` where there are pairs, and `label`, the number of a class.

    Attributes:
        name: of the data.
        train: rows to train on.
        evaluation: rows to evaluate on, by the name of the part: `in_domain`, and `shifted` where there is one.
        label_names: the classes.
        fingerprint: SHA-256 over the rows of all parts; paths and machines do not enter.
        versions: of the libraries that embedded text was read from.
        notes: counts worth showing.
    """

    name: str
    train: Dataset
    evaluation: dict[str, Dataset]
    label_names: list[str]
    fingerprint: str
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


def embedded_corpora() -> list[str]:
    """The names of the corpora that need no file and no network."""
    return list(_EMBEDDED)


def load_corpus(
    data: str,
    *,
    evaluation: str | None = None,
    eval_frac: float = 0.2,
    text_column: str | None = None,
    pair_column: str | None = None,
    label_column: str | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Corpus:
    """Read a corpus for classification.

    Args:
        data: an embedded name, a local file (csv, tsv, jsonl, parquet; csv, tsv and jsonl also with .gz), or
            a Hub name, `owner/name` or `owner/name:configuration`.
        evaluation: file or Hub name to evaluate on, with the same columns; None takes what `data` brings, or holds
            out `eval_frac` of it.
        eval_frac: held-out share, in (0, 1), stratified.
        text_column: None guesses from common names.
        pair_column: None guesses, where the text column was guessed and has a usual partner.
        label_column: None guesses.
        seed: of the held-out part and of `limit`.
        limit: keep only this many training rows, stratified; the evaluation part does not depend on it.

    Raises:
        DataError: in one line, for whatever is wrong with the data.

    Example:
        >>> corpus = load_corpus("pydocs-topics")  # doctest: +SKIP
        >>> sorted(corpus.evaluation)  # doctest: +SKIP
        ['in_domain', 'shifted']
    """
    columns = Columns(text_column, pair_column, label_column)
    if data in _EMBEDDED and evaluation is None:
        corpus = _EMBEDDED[data]()
        return _finish(corpus, seed, limit)
    train, held_out, names, notes = _read_labelled(data, columns)
    if evaluation is not None:
        frame, found, _ = _canonical(*_read(evaluation, "validation"), columns)
        held_out = _numbered(frame, _known_labels(frame, found, names, evaluation), names)
    if held_out is None:
        if not 0 < eval_frac < 1:
            raise ConfigError(f"eval_frac must lie between 0 and 1, got {eval_frac}")
        kept = split_labels(train["label"], 1 - eval_frac, seed=seed)
        train, held_out = train.select(kept.labelled), train.select(kept.unlabelled)
        if len(held_out) == 0:
            raise DataError(
                f"{data} has {len(train)} rows: too few to hold {eval_frac:g} of them out; give --eval FILE"
            )
    name = data if data in _EMBEDDED or not _is_file(data) else Path(data).name
    corpus = Corpus(name, train, {"in_domain": held_out}, names, "", notes=notes)
    return _finish(corpus, seed, limit)


def _finish(corpus: Corpus, seed: int, limit: int | None) -> Corpus:
    train = corpus.train
    if limit is not None and limit < len(train):
        train = train.select(split_labels(train["label"], limit / len(train), seed=seed).labelled)
    texts = [_normalised(row) for row in train]
    held_out = {_normalised(row) for part in corpus.evaluation.values() for row in part}
    notes = {
        **corpus.notes,
        "duplicate training texts": len(texts) - len(set(texts)),
        "training texts that are also in an evaluation part": sum(text in held_out for text in texts),
    }
    fingerprint = _fingerprint({"train": train, **corpus.evaluation})
    return Corpus(corpus.name, train, corpus.evaluation, corpus.label_names, fingerprint, corpus.versions, notes)


def _pydocs_topics() -> Corpus:
    from ssl_pdr.data.pydocs import load_pydocs_topics

    source = load_pydocs_topics()
    parts = {
        name: Dataset.from_dict({"text": part.texts, "label": part.labels})
        for name, part in {"train": source.train, "in_domain": source.test, "shifted": source.shifted}.items()
    }
    train = parts.pop("train")
    notes = {f"docstrings left out: {reason}": count for reason, count in source.dropped.items()}
    return Corpus(
        "pydocs-topics", train, parts, list(source.label_names), source.fingerprint, dict(source.versions), notes
    )


_EMBEDDED: dict[str, Callable[[], Corpus]] = {"pydocs-topics": _pydocs_topics}


def _read_labelled(data: str, columns: Columns) -> tuple[Dataset, Dataset | None, list[str], dict[str, int]]:
    frame, raw, notes = _canonical(*_read(data, "train"), columns)
    names = _label_names(raw, data)
    train = _numbered(frame, raw, names)
    if _is_file(data):
        return train, None, names, notes
    for split in ("validation", "test"):
        try:
            part, found, _ = _canonical(*_read(data, split), columns)
        except DataError:
            continue
        if set(found) <= set(names):  # public test splits often hide their labels
            return train, _numbered(part, found, names), names, notes
    return train, None, names, notes


def _read(data: str, split: str) -> tuple[str, pd.DataFrame]:
    if data in _EMBEDDED:
        raise DataError(f"{data} brings its own evaluation parts; leave --eval out, or give --data a file")
    return data, _read_file(Path(data).expanduser()) if _is_file(data) else _read_hub(data, split)


def _is_file(data: str) -> bool:
    path = Path(data).expanduser()
    return path.exists() or data.startswith((".", "/", "~")) or _format(path) in FORMATS or path.suffix == ".txt"


def _format(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _read_file(path: Path) -> pd.DataFrame:
    if path.is_dir():
        raise DataError(f"{path} is a folder; give one of the files in it")
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*")], n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; check the path"
        raise DataError(f"there is no file {path}{hint}")
    if _format(path) not in FORMATS:
        raise DataError(
            f"{path} has the ending {path.suffix!r}; expected one of: {', '.join(FORMATS)} (.gz for all but the last)"
        )
    try:
        frame = _READERS[_format(path)](path)
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty; expected a header and rows") from None
    except (ValueError, OSError, EOFError) as error:  # of pandas, pyarrow, gzip and decoding
        raise DataError(f"cannot read {path} as {_format(path)[1:]}: {str(error).splitlines()[0]}") from None
    if frame.empty:
        raise DataError(f"{path} has no rows; expected a header and rows")
    return frame


def _read_delimited(path: Path, **how: Any) -> pd.DataFrame:
    # Every cell stays the text that it is: "NA", "null" and "007" are words here.
    frame: pd.DataFrame = pd.read_csv(
        path, dtype=str, keep_default_na=False, encoding="utf-8-sig", index_col=False, **how
    )
    return frame


_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: _read_delimited(path, sep=",", on_bad_lines="error"),
    # GLUE's tsv files have quotes that open and never close: a tab is all that separates.
    ".tsv": lambda path: _read_delimited(path, sep="\t", quoting=3, on_bad_lines="error"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False),
    ".parquet": pd.read_parquet,
}


def _read_hub(data: str, split: str) -> pd.DataFrame:
    name, _, configuration = data.partition(":")
    near = difflib.get_close_matches(data, _EMBEDDED, n=1)
    if near or "/" not in name:
        raise DataError(
            f"{unknown_name('data', data, _EMBEDDED)}; a file needs its ending ({', '.join(FORMATS)}), a Hub name its owner (owner/name)"
        )
    try:
        table = datasets.load_dataset(name, configuration or None, split=split)
    except Exception as error:  # noqa: BLE001  # whatever the Hub, the network or a builder raises: one line for the user
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"cannot load {data!r} ({split}) from the Hub: {reason}; without a network use a file or: {', '.join(_EMBEDDED)}"
        ) from None
    frame: pd.DataFrame = table.to_pandas()
    for column, feature in table.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[column] = [feature.names[i] if i >= 0 else None for i in frame[column]]
    return frame


def _canonical(data: str, frame: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, list[str], dict[str, int]]:
    """The frame as `text` (and `text_pair`), its labels as strings, and what was left out."""
    label = columns.label or _guess(frame, _LABEL, data, "--label-column")
    text = columns.text or _guess(frame, _TEXT, data, "--text-column")
    pair = columns.pair or (_PARTNER.get(text) if columns.text is None else None)
    wanted = {"text": text, **({"text_pair": pair} if pair and (columns.pair or pair in frame) else {})}
    for option, column in (
        ("--text-column", text),
        ("--pair-column", wanted.get("text_pair")),
        ("--label-column", label),
    ):
        if column is not None and column not in frame:
            near = difflib.get_close_matches(column, map(str, frame.columns), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(
                f"{data} has no column {column!r} ({option}){hint} It has: {', '.join(map(str, frame.columns))}"
            )
    disagreed = frame[label].astype(str) == _NO_AGREEMENT
    if "entailment" not in set(frame[label].astype(str)):
        disagreed[:] = False  # elsewhere than in NLI "-" is a label like any other
    notes = {"rows without an agreed label ('-')": int(disagreed.sum())} if disagreed.any() else {}
    frame = frame[~disagreed]
    _refuse_missing(frame[label].isna() | (frame[label].astype(str).str.strip() == ""), data, label, "label")
    texts = pd.DataFrame(index=frame.index)
    for name, column in wanted.items():
        empty = frame[column].isna() | (frame[column].astype(str).str.strip() == "")
        _refuse_missing(empty, data, column, "text")
        texts[name] = frame[column].astype(str)
    return texts, [_label_text(value) for value in frame[label]], notes


def _refuse_missing(missing: pd.Series[bool], data: str, column: str, what: str) -> None:
    if missing.any():
        first = int(np.flatnonzero(missing.to_numpy())[0])
        row = int(missing.index[first]) + 1
        raise DataError(
            f"{data}: {int(missing.sum())} rows have no {what} (null or empty) in column {column!r}, the first is row {row}; "
            "fill them or leave them out"
        )


def _guess(frame: pd.DataFrame, known: Iterable[str], data: str, option: str) -> str:
    found = {str(column).lower(): str(column) for column in frame.columns}
    for name in known:
        if name in found:
            return found[name]
    raise DataError(
        f"{data}: no column is called {', '.join(known)}; name one with {option}. It has: {', '.join(found.values())}"
    )


def _label_text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _label_names(labels: list[str], data: str) -> list[str]:
    names = set(labels)
    if len(names) < 2:
        raise DataError(f"{data} has one class only ({labels[0]!r}); expected at least 2")
    if len(names) > 1000 and len(names) > len(labels) / 2:
        raise DataError(f"{data} has {len(names)} classes in {len(labels)} rows: is --label-column right?")
    numeric = all(name.lstrip("-").isdigit() for name in names)
    return sorted(names, key=int) if numeric else sorted(names)


def _known_labels(frame: pd.DataFrame, labels: list[str], names: list[str], data: str) -> list[str]:
    for row, label in zip(frame.index, labels, strict=True):
        if label not in names:
            shown = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
            raise DataError(
                f"{data}: row {int(row) + 1} has the label {label!r}, which is not in the label set: {shown}"
            )
    return labels


def _numbered(frame: pd.DataFrame, labels: list[str], names: list[str]) -> Dataset:
    number = {name: i for i, name in enumerate(names)}
    return Dataset.from_dict({**{c: frame[c].tolist() for c in frame}, "label": [number[label] for label in labels]})


def _normalised(row: dict[str, Any]) -> str:
    return " ".join(f"{row['text']} \t {row.get('text_pair', '')}".lower().split())


def _fingerprint(parts: dict[str, Dataset]) -> str:
    digest = hashlib.sha256()
    for name, table in parts.items():
        digest.update(name.encode())
        for row in table:
            digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()
