"""Where text comes from: embedded corpora, local files, the Hub; and how its columns become `text` and `label`."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import io
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

import datasets
import pyarrow.parquet
from datasets import Dataset

from ssl_pdr.data.splits import exact_share, split_labels, whole_number
from ssl_pdr.errors import ConfigError, DataError, unknown_name

FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
# What nobody would call a Hub data set: these get the errors of files.
_FILE_ENDINGS = (*FORMATS, ".gz", ".json", ".txt", ".zip", ".zst", ".xlsx")
_EVALUATION_SPLITS = ("validation", "validation_matched", "dev", "test", "test_matched")
# Usual names, the first that is there wins; each text column with the column that makes it a pair.
_TEXTS = {
    "text": "text_pair",
    "premise": "hypothesis",
    "sentence1": "sentence2",
    "question1": "question2",
    "question": "sentence",
    "sentence": None,
    "review": None,
    "content": None,
}
_LABELS = ("label", "gold_label", "labels", "class", "target", "category", "sentiment")

# Columns by their canonical name: `text`, `text_pair` where there are pairs, and `label` as a number.
_Part: TypeAlias = dict[str, list[Any]]


@dataclass(frozen=True)
class Corpus:
    """Tables with the columns `text`, `text_pair` where there are pairs, and `label`, an index into `label_names`.

    Attributes:
        name: of the data.
        train: rows to train on.
        evaluation: rows to evaluate on, by the name of the part: `in_domain`, and `shifted` where there is one.
        label_names: the classes.
        fingerprint: SHA-256 over the classes and the rows of all parts; paths and machines do not enter.
        versions: of the libraries that embedded text was read from.
        notes: counts worth showing, such as rows that were left out.
    """

    name: str
    train: Dataset
    evaluation: dict[str, Dataset]
    label_names: list[str]
    fingerprint: str
    versions: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)


class _Asked(NamedTuple):
    """Names of columns as the user gave them; None is guessed."""

    text: str | None
    pair: str | None
    label: str | None


@dataclass(frozen=True)
class _Table:
    """A source as it was found.

    Attributes:
        source: its name in messages.
        columns: for each column a function that reads its values; most columns are never asked for.
        classes: names of the classes where a column holds their numbers.
    """

    source: str
    columns: dict[str, Callable[[], list[Any]]]
    classes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Rows:
    """A source in canonical columns, its labels still by name.

    Attributes:
        source: its name in messages.
        texts: `text`, and `text_pair` where there are pairs.
        labels: name of each row's class.
        names: all classes, in order.
        numbers: where each row was in the source, from 1.
        dropped: how many rows were left out because their annotators did not agree.
    """

    source: str
    texts: _Part
    labels: list[str]
    names: list[str]
    numbers: list[int]
    dropped: int


class _Parts(NamedTuple):
    """A corpus before `limit`, and before it is counted and hashed."""

    train: _Part
    evaluation: dict[str, _Part]
    names: list[str]
    notes: dict[str, int]
    versions: dict[str, str]


def embedded_corpora() -> list[str]:
    """The names of the corpora that need no file and no network.

    Example:
        >>> embedded_corpora()
        ['pydocs-topics']
    """
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
        data: an embedded name, a local file (csv, tsv, jsonl, parquet; all but the last also with .gz), or a Hub
            name, `owner/name` or `owner/name:configuration`.
        evaluation: file or Hub name to evaluate on; None takes what `data` brings, or holds out `eval_frac` of it.
        eval_frac: held-out share, in (0, 1), stratified.
        text_column: None guesses from common names.
        pair_column: None guesses, where the text column was guessed and has a usual partner.
        label_column: None guesses.
        seed: of the held-out part and of `limit`.
        limit: keep only this many training rows, stratified; the evaluation parts do not depend on it.

    Returns:
        The corpus; rows are in the order of the source.

    Raises:
        ConfigError: `eval_frac`, `seed` or `limit` is out of range.
        DataError: in one line, for whatever is wrong with the data.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "reviews.csv"
        ...     _ = path.write_text("text,label\\n" + "a fine film,good\\na dull film,bad\\n" * 5)
        ...     corpus = load_corpus(str(path))
        >>> corpus.label_names, corpus.train[0]
        (['bad', 'good'], {'text': 'a fine film', 'label': 1})
        >>> len(corpus.train), len(corpus.evaluation["in_domain"]), corpus.notes["duplicate texts"]
        (8, 2, 6)
    """
    if not 0 < eval_frac < 1:
        raise ConfigError(f"eval_frac: got {eval_frac}, expected a number between 0 and 1, such as 0.2 for 20 %")
    seed = whole_number("seed", seed, 0)
    asked = _Asked(text_column, pair_column, label_column)
    if data in _EMBEDDED:
        if evaluation is not None or any(asked):
            raise DataError(
                f"{data} brings its own columns and evaluation parts; leave --eval and the --…-column options out"
            )
        parts = _EMBEDDED[data]()
    else:
        parts = _read_parts(data, evaluation, eval_frac, asked, seed)
    train = parts.train if limit is None else _limited(parts.train, limit, seed)
    return Corpus(
        name=Path(data).name if _is_file(data) and data not in _EMBEDDED else data,
        train=Dataset.from_dict(train),
        evaluation={name: Dataset.from_dict(part) for name, part in parts.evaluation.items()},
        label_names=parts.names,
        fingerprint=_fingerprint(parts.names, {"train": train, **parts.evaluation}),
        versions=parts.versions,
        notes={**parts.notes, **_repetitions(train, parts.evaluation.values())},
    )


def _pydocs_topics() -> _Parts:
    from ssl_pdr.data.pydocs import load_pydocs_topics

    source = load_pydocs_topics()
    train, test, shifted = (
        {"text": list(rows.texts), "label": list(rows.labels)} for rows in (source.train, source.test, source.shifted)
    )
    notes = {f"docstrings left out: {reason}": count for reason, count in source.dropped.items()}
    evaluation = {"in_domain": test, "shifted": shifted}
    return _Parts(train, evaluation, list(source.label_names), notes, dict(source.versions))


_EMBEDDED: dict[str, Callable[[], _Parts]] = {"pydocs-topics": _pydocs_topics}


def _read_parts(data: str, evaluation: str | None, eval_frac: float, asked: _Asked, seed: int) -> _Parts:
    tables = _read(data)
    if "train" not in tables:
        raise DataError(f"{data} has no split 'train', only: {_listed(tables)}; choose another data set")
    rows = _canonical(tables["train"], asked)
    counts = Counter(rows.labels)
    if len(counts) < 2:
        raise DataError(f"{data} has one class only ({rows.labels[0]!r}), expected at least 2; check --label-column")
    if len(counts) > 100 and len(counts) > len(rows.labels) / 2:
        raise DataError(f"{data} has {len(counts)} classes in {len(rows.labels)} rows; check --label-column")
    notes = {"rows without an agreed label": rows.dropped} if rows.dropped else {}
    train = _numbered(rows, rows.names)
    table = _evaluation_table(
        tables if evaluation is None else _read(evaluation), asked, any_split=evaluation is not None
    )
    if table is None:
        train, held_out = _hold_out(train, rows, eval_frac, seed)
    else:
        other = _canonical(table, asked)
        if other.texts.keys() != rows.texts.keys():
            raise DataError(
                f"{table.source} has {_listed(other.texts)} and {data} has {_listed(rows.texts)}, expected pairs in both or "
                "in none; name the columns with --text-column and --pair-column"
            )
        held_out = _numbered(other, rows.names)
        if other.dropped:
            notes["evaluation rows without an agreed label"] = other.dropped
    return _Parts(train, {"in_domain": held_out}, rows.names, notes, {})


def _evaluation_table(tables: dict[str, _Table], asked: _Asked, *, any_split: bool) -> _Table | None:
    """The first usual split that carries labels: public test splits often hide theirs. With `any_split` else the only one."""
    for split in _EVALUATION_SPLITS:
        if split in tables:
            column = asked.label or _guess(tables[split], _LABELS)
            if column in tables[split].columns and not all(map(_is_missing, _values(tables[split], column))):
                return tables[split]
    return tables.get("train", next(iter(tables.values()))) if any_split else None


def _hold_out(part: _Part, rows: _Rows, eval_frac: float, seed: int) -> tuple[_Part, _Part]:
    """The rows to train on and the rows to evaluate on, every class in both."""
    counts = Counter(rows.labels)
    total, size = len(rows.labels), exact_share(eval_frac, len(rows.labels))
    if size < len(counts):
        raise DataError(
            f"{rows.source}: {eval_frac:g} of its {total} rows is {size}, too few to hold out one of each of its "
            f"{len(counts)} classes; raise --eval-frac or give --eval FILE"
        )
    held_out = set(_sample(part["label"], size, f"held-out part {seed}"))
    rest = [row for row in range(total) if row not in held_out]
    lost = set(counts) - {rows.labels[row] for row in rest}
    if lost:
        name = min(lost)
        raise DataError(
            f"{rows.source}: class {name!r} has {counts[name]} rows, and holding out {eval_frac:g} of the data leaves "
            "none to train on; add rows, lower --eval-frac or give --eval FILE"
        )
    return _take(part, rest), _take(part, sorted(held_out))


def _limited(part: _Part, limit: int, seed: int) -> _Part:
    limit, classes = whole_number("limit", limit, 1), len(set(part["label"]))
    if limit >= len(part["label"]):
        return part
    if limit < classes:
        raise DataError(
            f"limit: got {limit} rows for {classes} classes, expected at least one row of each; raise --limit"
        )
    return _take(part, _sample(part["label"], limit, f"limit {seed}"))


def _sample(labels: list[int], size: int, purpose: str) -> list[int]:
    # A stream for each purpose: who is labelled later on, with the same seed, must not follow from who is held out.
    seed = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    return [int(row) for row in split_labels(labels, size / len(labels), seed=seed).labelled]


def _take(part: _Part, rows: list[int]) -> _Part:
    return {name: [values[row] for row in rows] for name, values in part.items()}


def _repetitions(train: _Part, evaluation: Iterable[_Part]) -> dict[str, int]:
    texts = _normalised(train)
    held_out = {text for part in evaluation for text in _normalised(part)}
    return {
        "duplicate texts": len(texts) - len(set(texts)),
        "train texts also in evaluation": sum(text in held_out for text in texts),
    }


def _normalised(part: _Part) -> list[tuple[str, ...]]:
    """Texts as they are compared: without case, spacing and ways of writing the same character."""
    columns = [part[name] for name in ("text", "text_pair") if name in part]
    return [
        tuple(" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in row)
        for row in zip(*columns, strict=True)
    ]


def _fingerprint(names: list[str], parts: dict[str, _Part]) -> str:
    digest = hashlib.sha256(json.dumps(names).encode())
    for name, part in parts.items():
        digest.update(json.dumps([name, list(part)]).encode())
        for row in zip(*part.values(), strict=True):
            digest.update(json.dumps(row).encode())
    return digest.hexdigest()


# ---- columns and labels


def _canonical(table: _Table, asked: _Asked) -> _Rows:
    text, pair, label = _find_columns(table, asked)
    values = _values(table, label)
    if not values:
        raise DataError(f"{table.source} has no rows, expected a header and rows; check the data")
    everywhere = range(1, len(values) + 1)
    _check(table, label, values, everywhere, _is_missing, "no label (null or empty)", "label them or leave them out")
    _check(
        table, label, values, everywhere, _is_no_label, "no integer or string as label", "choose another --label-column"
    )
    labels = [str(int(value) if isinstance(value, float) else value).strip() for value in values]
    # NLI sets write "-" where the annotators did not agree; elsewhere it is a class like any other.
    disagreed = "-" if "entailment" in labels else None
    numbers = [number for number, name in zip(everywhere, labels, strict=True) if name != disagreed]
    labels = [name for name in labels if name != disagreed]
    texts = {}
    for name, column in (("text", text), ("text_pair", pair)):
        if column is not None:
            found = _values(table, column)
            texts[name] = [found[number - 1] for number in numbers]
            _check(
                table,
                column,
                texts[name],
                numbers,
                _is_missing,
                "no text (null or empty)",
                "fill them or leave them out",
            )
            _check(
                table, column, texts[name], numbers, _is_no_text, "something else than text", "choose another column"
            )
    names = table.classes.get(label) or _in_order(set(labels))
    return _Rows(table.source, texts, labels, names, numbers, len(values) - len(labels))


def _find_columns(table: _Table, asked: _Asked) -> tuple[str, str | None, str]:
    """The columns of the text, of the second text if there is one, and of the label."""
    given = [name for name in asked if name is not None]
    label = asked.label or _guess(table, _LABELS, given)
    text = asked.text or _guess(table, _TEXTS, given)
    pair = asked.pair
    if pair is None and asked.text is None and text is not None:
        pair = _guess(table, [_TEXTS[text.strip().lower()] or ""], [*given, str(label)])
    for option, column in (("--text-column", text), ("--pair-column", pair), ("--label-column", label)):
        if column is None and option != "--pair-column":
            usual = ", ".join(_TEXTS if option == "--text-column" else _LABELS)
            raise DataError(
                f"{table.source}: no column is called {usual}; name one with {option}. It has: {_listed(table.columns)}"
            )
        if column is not None and column not in table.columns:
            near = difflib.get_close_matches(column, table.columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DataError(
                f"{table.source} has no column {column!r} ({option}){hint} It has: {_listed(table.columns)}"
            )
    if len({text, pair, label}) < 3:
        raise DataError(
            f"{table.source}: text, pair and label are {text!r}, {pair!r}, {label!r}, expected different columns"
        )
    return str(text), pair, str(label)


def _guess(table: _Table, usual: Iterable[str], taken: Iterable[str] = ()) -> str | None:
    found = {name.strip().lower(): name for name in table.columns if name not in taken}
    return next((found[name] for name in usual if name in found), None)


def _values(table: _Table, column: str) -> list[Any]:
    values, names = table.columns[column](), table.classes.get(column)
    if names is None:
        return values
    return [None if value is None or value < 0 else names[value] for value in values]


def _check(
    table: _Table,
    column: str,
    values: list[Any],
    numbers: Iterable[int],
    wrong: Callable[[Any], bool],
    problem: str,
    remedy: str,
) -> None:
    rows = [number for number, value in zip(numbers, values, strict=True) if wrong(value)]
    if rows:
        raise DataError(
            f"{table.source}: {len(rows)} rows have {problem} in column {column!r}, the first is row {rows[0]}; {remedy}"
        )


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_no_label(value: Any) -> bool:
    return not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())) and _is_no_text(value)


def _is_no_text(value: Any) -> bool:
    # Half of a surrogate pair, which JSON can spell, is no character and has no UTF-8.
    return not isinstance(value, str) or re.search("[\ud800-\udfff]", value) is not None


def _in_order(names: set[str]) -> list[str]:
    numeric = all(re.fullmatch(r"-?[0-9]{1,18}", name) for name in names)
    return sorted(sorted(names), key=int) if numeric else sorted(names)


def _numbered(rows: _Rows, names: list[str]) -> _Part:
    index = {name: i for i, name in enumerate(names)}
    for number, label in zip(rows.numbers, rows.labels, strict=True):
        if label not in index:
            raise DataError(
                f"{rows.source}: row {number} has the label {label!r}, which is not in the label set: {_listed(names)}"
            )
    return {**rows.texts, "label": [index[label] for label in rows.labels]}


def _listed(names: Iterable[str]) -> str:
    """Names in one line of bearable length, whatever is in them."""
    shown = [" ".join(name.split())[:40] for name in names]
    return ", ".join(shown[:20]) + (f", … ({len(shown)} in all)" if len(shown) > 20 else "")


# ---- files and the Hub


def _read(data: str) -> dict[str, _Table]:
    """The tables of a file or a Hub data set, by split."""
    if data in _EMBEDDED:
        raise DataError(f"{data} cannot be evaluated on from other data; give --eval a file or a Hub name")
    if _is_file(data):
        return {"train": _read_file(data)}
    if re.fullmatch(r"[\w.-]+/[\w.-]+(:.+)?", data):
        return _read_hub(data)
    if "/" in data:
        _no_file(Path(data))
    raise DataError(
        f"{unknown_name('data', data, _EMBEDDED)}; a file needs its ending ({', '.join(FORMATS)}), a Hub name its "
        "owner (owner/name)"
    )


def _is_file(data: str) -> bool:
    if data.startswith((".", "/", "~")) or Path(data).suffix.lower() in _FILE_ENDINGS:
        return True
    try:
        return Path(data).exists()
    except OSError:  # a name too long for any file
        return False


def _read_file(data: str) -> _Table:
    path = Path(data)
    try:
        path = path.expanduser()
        if path.is_dir():
            raise DataError(f"{path} is a folder, expected a file; give one of the files in it")
        if not path.exists():
            _no_file(path)
        ending = path.suffix.lower()
        packed = ending == ".gz"
        kind = Path(path.stem).suffix.lower() if packed else ending
        if kind not in FORMATS or (packed and kind == ".parquet"):
            raise DataError(
                f"{path} has the ending {''.join(path.suffixes[-2:])!r}, expected one of: {', '.join(FORMATS)} (.gz for all "
                "but the last); convert it"
            )
        if kind == ".parquet":  # as a file of its own: the reader of data sets takes columns from the folder's name too
            return _table_of(str(path), Dataset(pyarrow.parquet.ParquetFile(path).read()))
        return _TEXT_READERS[kind](path, _text_of(path, packed=packed))
    except DataError:
        raise
    except Exception as error:  # whatever the system, gzip or pyarrow say of a file that is not whole
        reason = " ".join(str(error).split())[:160]
        raise DataError(f"cannot read {path}: {reason}; check that it is a whole file of its kind") from error


def _no_file(path: Path) -> NoReturn:
    there = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))} there?" if near else "check the path"
    raise DataError(f"there is no file {path}; {hint}")


def _text_of(path: Path, *, packed: bool) -> io.StringIO:
    content = path.read_bytes()
    if packed and content:
        content = gzip.decompress(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"cannot read {path}: line {line} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    if not text.strip():
        raise DataError(f"{path} is empty, expected a header and rows; check the file")
    return io.StringIO(text, newline="")


def _read_delimited(path: Path, file: io.StringIO, **dialect: Any) -> _Table:
    """Every cell stays the text that it is: "NA", "null" and "007" are words here.

    The standard library is stricter than the others: pandas fills short rows up, pyarrow takes a quote that never
    closes, and neither says in which row.
    """
    csv.field_size_limit(2**31 - 1)  # the default refuses texts above 128 KiB
    rows: list[list[str]] = []
    try:
        for row in filter(None, csv.reader(file, strict=True, **dialect)):
            if rows and len(row) != len(rows[0]):
                raise DataError(
                    f"cannot read {path}: row {len(rows)} has {len(row)} cells, expected {len(rows[0])} as in the header; "
                    "mend the row"
                )
            rows.append(row)
    except csv.Error as error:
        raise DataError(f"cannot read {path}: row {len(rows)}: {error}; mend its quotes") from error
    header = rows.pop(0)
    twice = [name for name, count in Counter(header).items() if count > 1 and name]
    if twice:
        raise DataError(f"cannot read {path}: two columns are called {twice[0]!r}; rename one")
    return _Table(str(path), {name: lambda i=i: [row[i] for row in rows] for i, name in enumerate(header)})


def _read_json_lines(path: Path, file: io.StringIO) -> _Table:
    rows = []
    for number, line in enumerate(filter(str.strip, file), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"cannot read {path}: row {number} is no JSON ({error}); mend the row") from error
        if not isinstance(row, dict):
            raise DataError(
                f"cannot read {path}: row {number} is a JSON {type(row).__name__}, expected an object; mend the row"
            )
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return _Table(str(path), {name: lambda name=name: [row.get(name) for row in rows] for name in names})


_TEXT_READERS: dict[str, Callable[[Path, io.StringIO], _Table]] = {
    ".csv": _read_delimited,
    # GLUE's tsv files have quotes that open and never close: a tab is all that separates.
    ".tsv": partial(_read_delimited, delimiter="\t", quoting=csv.QUOTE_NONE),
    ".jsonl": _read_json_lines,
}


def _table_of(source: str, data: Dataset) -> _Table:
    table = data.with_format("arrow")[:]
    classes = {name: f.names for name, f in data.features.items() if isinstance(f, datasets.ClassLabel)}
    return _Table(source, {name: table[name].to_pylist for name in table.column_names}, classes)


def _read_hub(data: str) -> dict[str, _Table]:
    name, _, configuration = data.partition(":")
    try:
        splits = datasets.load_dataset(name, configuration or None)
        return {split: _table_of(f"{data} ({split})", table) for split, table in splits.items()}
    except Exception as error:  # whatever the Hub, the network or a builder raises
        near = difflib.get_close_matches(data, _EMBEDDED, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(
            f"cannot load {data!r} from the Hub: {' '.join(str(error).split())[:160]}; {hint}Without a network use a file or "
            f"an embedded corpus: {', '.join(_EMBEDDED)}"
        ) from error
