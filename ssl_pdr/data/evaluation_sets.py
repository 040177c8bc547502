"""Sets to evaluate on: rows with what is right, how they are scored, and what a model's classes are in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from datasets import Dataset

from ssl_pdr.choices import CLASSIFICATION, QUESTION_ANSWERING
from ssl_pdr.data.catalogue import find_named
from ssl_pdr.data.checks import Keys
from ssl_pdr.data.columns import Columns, Problems
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.labels import is_disagreement
from ssl_pdr.data.questions import UNANSWERABLE, read_questions
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import evaluation_part, raw_rows, read_table, source_name
from ssl_pdr.data.tables import Table, chosen, with_labels
from ssl_pdr.errors import DataError

# How GLUE spells the class, and others.
_SAME = dict.fromkeys(("not_entailment", "not-entailment", "non_entailment"), "non-entailment")


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Rows that a model is evaluated on.

    Attributes:
        name: of the set.
        rows: `text`, `text_pair` where there are pairs, `label`, the number of a class, and `group` where scores are also given
            by group; or questions in SQuAD's shape.
        scoring: `accuracy`, `hans`, `squad`, `squad_v2` or `adversarial`.
        keys: hashes of the texts.
        label_names: the classes; empty for questions.
        collapse: which of them the other classes of a model are.
        how: whether the likeliest class of the model counts, `argmax`, or the `sum` of those that are one here.
        digest: of the rows; empty for a part of a corpus, whose fingerprint holds it.
        notes: what was counted.
    """

    name: str
    rows: Dataset
    scoring: str
    keys: Keys
    label_names: Sequence[str] = ()
    collapse: Mapping[str, str] = field(default_factory=dict)
    how: str = "argmax"
    digest: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)

    def limited(self, rows: int | None) -> EvaluationSet:
        """The same with about so many of its rows, spread evenly over the set; variants of a question stay together."""
        if rows is None or rows >= len(self.rows):
            return self
        names = (
            [name.partition("-")[0] for name in self.rows["id"]]
            if self.scoring == "adversarial"
            else range(len(self.rows))
        )
        wholes = list(dict.fromkeys(names))
        count = max(round(rows * len(wholes) / len(self.rows)), 1)
        chosen_ones = {wholes[place] for place in np.linspace(0, len(wholes) - 1, count).round().astype(int)}
        kept = np.array([row for row, name in enumerate(names) if name in chosen_ones], np.int64)
        return replace(self, rows=chosen(self.rows, kept), keys=self.keys[kept])


def parts_of_corpus(corpus: Corpus) -> list[EvaluationSet]:
    """The parts of a corpus that are evaluated on."""
    made = []
    for part, rows in corpus.evaluation.items():
        asks = "question" in rows.column_names
        scoring = question_scoring(rows["label"]) if asks else "accuracy"
        made.append(EvaluationSet(part, rows, scoring, corpus.keys[part], () if asks else corpus.label_names))
    return made


def parts_for_model(corpus: Corpus, label_names: Sequence[str], label_map: Mapping[str, str]) -> list[EvaluationSet]:
    """The parts of a corpus for a model that need not have been trained on it, each named after both, `CORPUS PART`.

    Args:
        corpus: of the model's task, with the labels that it has itself.
        label_names: the model's classes; empty for one that answers questions.
        label_map: from labels of the corpus to those of the model.

    Raises:
        DataError: in one line, for labels that the model does not know.
    """
    made = []
    for one in parts_of_corpus(corpus):
        name = f"{corpus.name} {one.name}"
        if one.label_names:
            numbers = np.array(one.rows["label"], np.int32)
            rows = one.rows.remove_columns("label")
            table = Table(rows, numbers, list(one.label_names), one.keys, corpus.fingerprint, Problems())
            labelled, keys, _ = _labelled(table, label_names, label_map, name)
            one = replace(one, rows=labelled, keys=keys, label_names=tuple(label_names))
        made.append(replace(one, name=name, digest=corpus.fingerprint))
    return made


def for_the_other_task(name: str, *, asks: bool) -> DataError:
    """The error for a set of questions and a model that classifies, or for one of texts and a model that answers.

    Example:
        >>> print(for_the_other_task("a.csv", asks=False))
        a.csv holds texts, the model is one for question-answering; leave it out
    """
    holds, task = ("questions", CLASSIFICATION) if asks else ("texts", QUESTION_ANSWERING)
    return DataError(f"{name} holds {holds}, the model is one for {task}; leave it out")


def question_scoring(labels: Sequence[int | None]) -> str:
    """How questions are scored: as in SQuAD v2.0 where some of them have no answer."""
    return "squad_v2" if UNANSWERABLE in labels else "squad"


def read_evaluation(
    source: str,
    *,
    label_names: Sequence[str],
    columns: Columns,
    reading: Reading,
    label_map: Mapping[str, str],
    how: str,
) -> EvaluationSet:
    """A set of rows with labels, for a model with these classes, or of questions for one without classes.

    Args:
        source: a data set of the paper, a file, folder or glob, or a Hub name; of those with parts the one that is there for it.
        label_names: the model's classes; empty for one that answers questions.
        columns: which is which; of classification.
        reading: how files are read.
        label_map: from labels as the source has them to those of the model.
        how: see `EvaluationSet`.

    Raises:
        DataError: in one line, for whatever is wrong with the data, and for labels that the model does not know.
    """
    named = find_named(source)
    task = CLASSIFICATION if label_names else QUESTION_ANSWERING
    if named is not None and named.task != task:
        raise DataError(f"{source} is a set for {named.task}, the model is one for {task}; leave it out")
    part = named.evaluation if named else evaluation_part(source, reading) or "train"
    name = set_name(source)
    if named is None:
        _check_task(source, name, part, reading, asks=not label_names, told=columns.text is not None)
    if not label_names:
        questions = read_questions(source, reading=reading, part=part)
        missing = np.flatnonzero(questions.labels < 0)
        if len(missing):
            raise DataError(
                f"{name}: {len(missing)} questions have no answers to compare with, the first is row {missing[0] + 1}"
            )
        scoring = named.scoring if named else question_scoring(questions.labels.tolist())
        return EvaluationSet(
            name, questions.rows, scoring, questions.keys, digest=questions.digest, notes=questions.notes
        )
    if named is not None:
        columns = Columns(group=named.group)
    table = read_table(source, columns, reading, labelled=True, part=part)
    names, collapse = (named.labels, named.collapse) if named and named.collapse else (tuple(label_names), {})
    rows, keys, left_out = _labelled(table, names, {} if collapse else label_map, name)
    notes = {**table.problems.counts, "rows without an agreed label ('-'), left out": left_out}
    return EvaluationSet(
        name=name,
        rows=rows,
        scoring=named.scoring if named else "accuracy",
        keys=keys,
        label_names=names,
        collapse=_in_both(collapse, label_names, names, label_map, name),
        how=how,
        digest=table.digest,
        notes={kind: count for kind, count in notes.items() if count},
    )


def set_name(source: str) -> str:
    """What people call a set to evaluate on: the last part of a path or of a Hub name; of `.` and `..` what the folder is called.

    Example:
        >>> set_name("imdb"), set_name("/data/reviews.csv")
        ('imdb', 'reviews.csv')
    """
    if find_named(source) is not None:
        return source_name(source)
    name = Path(source_name(source)).name
    return name if name.strip(".") else Path(source).resolve().name or "data"


def _check_task(source: str, name: str, part: str, reading: Reading, *, asks: bool, told: bool) -> None:
    """Refuse texts for a model that answers questions, and questions for a classifier, unless it is told how to read them."""
    _, first = next(iter(raw_rows(source, reading, Counter(), part)), (0, {}))
    if asks and not {"question", "context"} & set(first) and first:
        raise for_the_other_task(name, asks=False)
    if not asks and not told and {"question", "context", "answers"} <= set(first):
        raise for_the_other_task(name, asks=True)


def _labelled(table: Table, names: Sequence[str], label_map: Mapping[str, str], name: str) -> tuple[Dataset, Keys, int]:
    """Rows with the numbers of their classes, their keys, and how many had no label that annotators agreed on."""
    folded = [label.casefold() for label in names]
    numbers = {label: number for number, label in enumerate(names)}
    # Where only their case tells two classes apart, another case says neither.
    in_any_case = {label: number for number, label in enumerate(folded) if folded.count(label) == 1}
    codes = np.full(len(table.classes) + 1, -1, np.int32)
    for code, label in enumerate(table.classes):
        wanted = label_map.get(label, label)
        number = numbers.get(wanted, in_any_case.get(wanted.casefold()))
        if number is not None:
            codes[code] = number
        elif not is_disagreement(label, table.classes, label_map):
            row = int(np.argmax(table.labels == code)) + 1
            raise DataError(
                f"{name}: row {row} has the label {label!r}, which is none of the model's: {', '.join(names[:10])}; "
                f"--label-map {label}=… says which one it is, or it is a set for another model"
            )
    missing = np.flatnonzero(table.labels < 0)
    if len(missing):
        raise DataError(
            f"{name}: {len(missing)} rows have no label, the first is row {missing[0] + 1}; rows to evaluate on need one"
        )
    labels = codes[table.labels]
    rows, kept = with_labels(table.rows, labels), np.flatnonzero(labels >= 0)
    if len(kept) == len(labels):
        return rows, table.keys, 0
    return chosen(rows, kept), table.keys[kept], len(labels) - len(kept)


def _in_both(
    collapse: Mapping[str, str],
    label_names: Sequence[str],
    names: Sequence[str],
    label_map: Mapping[str, str],
    name: str,
) -> Mapping[str, str]:
    """Which class of the set each of the model's is; of those that the set does not know the label map tells."""
    if not collapse:
        return {}
    known = {**{label.casefold(): label for label in names}, **collapse, **_SAME}
    made = {}
    for label in label_names:
        meant = label if label.casefold() in known else label_map.get(label, label)
        if meant.casefold() not in known:
            raise DataError(
                f"{name} is a set for models of {', '.join([*names, *collapse])}; this one has the class {label!r}; "
                f"--label-map {label}=… says which of them it is, or leave the set out"
            )
        made[label] = known[meant.casefold()]
    return made
