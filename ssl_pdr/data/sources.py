"""Where text comes from: embedded corpora, named sets, files, folders, the Hub, tables and lists in Python; labelled or not."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import datasets
import pandas as pd
from datasets import Dataset

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.data.catalogue import find_named, unknown_set
from ssl_pdr.data.columns import ColumnReader, Columns, Problems, TextRow
from ssl_pdr.data.locations import find_files, has_named_files, is_path, named_files, parts_of
from ssl_pdr.data.named import NamedSet
from ssl_pdr.data.readers import FORMATS, Reading, file_format, read_rows
from ssl_pdr.data.tables import Table, cache_key, store
from ssl_pdr.errors import DataError

# What people may give: a name or a path; a table, a stream or a data frame; rows; or texts alone.
Source: TypeAlias = "str | Path | Dataset | datasets.IterableDataset | pd.DataFrame | Sequence[Any] | Iterable[Any]"
RawRows: TypeAlias = Iterator[tuple[int, Mapping[str, Any]]]

EMBEDDED = ("pydocs-pairs", "pydocs-topics")
EMBEDDED_QUESTIONS = ("pydocs-qa",)
EVALUATION_PARTS = ("validation", "test")  # the first that is there is evaluated on
_ALL_EMBEDDED = (*EMBEDDED, *EMBEDDED_QUESTIONS)


def source_name(source: Source) -> str:
    """What messages and results call a source: never where it lies on this machine."""
    if not isinstance(source, str | Path):
        return f"the {type(source).__name__}"
    spec = str(source)
    return (Path(spec).name or spec) if is_path(spec) else spec


def read_table(
    source: Source, columns: Columns, reading: Reading, *, labelled: bool | None, part: str = "train"
) -> Table:
    """All rows of a source, on disk.

    Args:
        source: see `Source`; a name in `ssl_pdr.data.catalogue.NAMED`; `owner/name`, `owner/name:configuration` or
            `owner/name:configuration:split` for the Hub.
        columns: which is which; a named set has its own.
        reading: how files are read.
        labelled: whether labels are wanted, None where there are any; without, rows that have no text are left out and counted.
        part: of a folder or a Hub data set: train, validation or test; or one that a named set has.

    Raises:
        DataError: in one line, for whatever is wrong with the data.
    """
    name = source_name(source)
    problems = Problems()
    rows = text_rows(source, columns, reading, problems, labelled=labelled, part=part)
    files = _files(source, part, reading)
    # Read by name, the labels of a file are others than those that it holds.
    how = (columns, reading, labelled, *([name] if find_named(source) else []))
    return store(rows, problems, cache_key(files, *how) if files else None, name)


def text_rows(
    source: Source,
    columns: Columns,
    reading: Reading,
    problems: Problems,
    *,
    labelled: bool | None,
    part: str = "train",
    streaming: bool = False,
) -> Iterator[TextRow]:
    """The rows of a source as they are read, from the beginning at each call; `streaming` downloads no Hub data set."""
    name = source_name(source)
    skip = reading.skip_bad_rows
    named = find_named(source)
    if named is not None:
        columns = _named_columns(named, columns, labelled=labelled)
    reader = ColumnReader(name, columns, labelled=labelled, skip=skip, problems=problems)
    return reader.read(raw_rows(source, reading, problems.counts, part, streaming=streaming))


def raw_rows(
    source: Source, reading: Reading, tally: Counter[str], part: str = "train", *, streaming: bool = False
) -> RawRows:
    """Numbered rows of any source, as it holds them; those of a named set in one shape, wherever they are read from.

    Raises:
        DataError: in one line, while reading too.
    """
    named = find_named(source)
    if named is not None:
        rows = _named_rows(named, reading, tally, part, streaming=streaming)
        return named.rows(rows, tally, skip_bad_rows=reading.skip_bad_rows)
    if isinstance(source, str | Path):
        files = _files(source, part, reading)
        if files:
            return chain.from_iterable(read_rows(path, reading, tally) for path in files)
        return _of_table(_from_hub(str(source), part, streaming=streaming))
    if isinstance(source, pd.DataFrame):
        return _of_frame(source)
    if hasattr(source, "iter") and hasattr(source, "features"):
        return _of_table(source)
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        parts = f" (its parts: {', '.join(map(str, source))})" if isinstance(source, datasets.DatasetDict) else ""
        raise DataError(
            f"got a {type(source).__name__}{parts}, expected a list of texts or of rows, a data frame, or one table of `datasets`"
        )
    return _of_python(source)


def _named_columns(named: NamedSet, columns: Columns, *, labelled: bool | None) -> Columns:
    """Those of `NamedSet.rows`. The group that the set has wins: scores are given by it."""
    if named.task == QUESTION_ANSWERING:
        raise DataError(f"{named.name} holds questions, expected rows to classify; --task question-answering takes it")
    pair = "text_pair" if named.pairs else None
    return Columns("text", pair, "label", None if labelled is False else named.group or columns.group)


def _named_rows(named: NamedSet, reading: Reading, tally: Counter[str], part: str, *, streaming: bool) -> RawRows:
    place = named.part(part)
    if reading.data_dir is None:
        rows = _of_table(_from_named_hub(named, part, streaming=streaming))
        return rows if place.hub.subset is None else (r for r in rows if r[1].get("subset") == place.hub.subset)
    files = named_files(named, part, reading.data_dir)
    if files[0].parent.name in {Path(folder).name for folder in place.folders}:
        return _of_documents(files, reading, tally)
    ending = ".tsv" if file_format(files[0]) == ".txt" else None  # as HANS and MultiNLI call theirs
    return read_rows(files[0], reading, tally, ending=ending)


def _of_documents(files: Sequence[Path], reading: Reading, tally: Counter[str]) -> RawRows:
    """A row of each file; the name of its folder is the label, but for those without one."""
    for number, path in enumerate(files, 1):
        text = "\n".join(row["text"] for _, row in read_rows(path, reading, tally))
        yield number, {"text": text, "label": None if path.parent.name == "unsup" else path.parent.name}


def _of_python(rows: Iterable[Any]) -> RawRows:
    for number, row in enumerate(rows, 1):
        if isinstance(row, Mapping):
            yield number, row
        elif isinstance(row, list | tuple) and len(row) == 2:
            yield number, {"text": row[0], "label": row[1]}
        else:
            yield number, {"text": row}


def _of_frame(frame: pd.DataFrame) -> RawRows:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the DataFrame has the column {twice!r} twice; expected each name once")
    plain = frame.astype(object).where(frame.notna(), None)
    return enumerate((dict(zip(names, row, strict=True)) for row in plain.itertuples(index=False, name=None)), 1)


def _of_table(table: Any) -> RawRows:
    """Rows of a table or stream of `datasets`, with the names of its classes in place of their numbers."""
    features = table.features or {}
    names = {c: feature.names for c, feature in features.items() if isinstance(feature, datasets.ClassLabel)}
    number = 0
    for batch in table.iter(batch_size=1000):
        for values in zip(*batch.values(), strict=True):
            row = dict(zip(batch, values, strict=True))
            for column, classes in names.items():
                label = row[column]
                row[column] = classes[label] if isinstance(label, int) and 0 <= label < len(classes) else None
            number += 1
            yield number, row


def _files(source: Source, part: str, reading: Reading) -> list[Path]:
    named = find_named(source)
    if named is not None:
        return [] if reading.data_dir is None else named_files(named, part, reading.data_dir)
    return find_files(str(source), part) if isinstance(source, str | Path) and is_path(str(source)) else []


def has_part(source: Source, part: str, reading: Reading | None = None) -> bool:
    """Whether a folder, a named or a Hub data set has such a part of its own: of the Hub this is known by trying.

    Raises:
        DataError: there are several files that it may be.
    """
    if not isinstance(source, str | Path):
        return False
    named = find_named(source)
    if named is not None:
        data_dir = None if reading is None else reading.data_dir
        return part in named.parts if data_dir is None else has_named_files(named, part, data_dir)
    if is_path(str(source)):
        path = Path(source).expanduser()
        return path.is_dir() and part in parts_of(path)
    try:
        _from_hub(str(source), part, streaming=False)
    except DataError:
        return False
    return True


def evaluation_part(source: Source, reading: Reading | None = None) -> str | None:
    """The part of a source to evaluate on: of a named set its own, else the first of `EVALUATION_PARTS`; None where it has none.

    Raises:
        DataError: there are several files that it may be.
    """
    named = find_named(source)
    parts = EVALUATION_PARTS if named is None else (named.evaluation,)
    return next((part for part in parts if has_part(source, part, reading)), None)


def _from_hub(spec: str, part: str, *, streaming: bool) -> Any:
    name, _, rest = spec.partition(":")
    configuration, _, split = rest.partition(":")
    near = difflib.get_close_matches(spec, _ALL_EMBEDDED, n=1)
    if near or "/" not in name:
        raise DataError(
            f"{unknown_set('data', spec, _ALL_EMBEDDED)}; a file needs its ending ({', '.join(FORMATS)}), a Hub name its owner "
            "(owner/name)"
        )
    if split and part != "train":
        raise DataError(f"{spec} names the split {split!r}, so there is no {part} part")
    try:
        return datasets.load_dataset(name, configuration or None, split=split or part, streaming=streaming)
    except Exception as error:  # noqa: BLE001  # whatever the Hub, the network or a builder raises: one line for the user
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"cannot load {spec!r} ({split or part}) from the Hub: {reason}; without a network use a file or: "
            f"{', '.join(_ALL_EMBEDDED)}"
        ) from None


def _from_named_hub(named: NamedSet, part: str, *, streaming: bool) -> Any:
    hub = named.part(part).hub
    try:
        return datasets.load_dataset(**hub.arguments(), streaming=streaming)
    except Exception as error:  # noqa: BLE001  # as above
        reason = " ".join(str(error).split())[:160]
        raise DataError(
            f"cannot load {named.name} ({part}) from the Hub ({hub.repository}): {reason}; without a network give --data-dir a "
            f"folder with the files of {named.title}"
        ) from None
