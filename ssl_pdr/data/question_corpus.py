"""A corpus for question answering: questions to train on and to evaluate on, whole articles apart."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.data.catalogue import find_named
from ssl_pdr.data.checks import Keys, duplicates, overlap
from ssl_pdr.data.columns import Problems
from ssl_pdr.data.corpus import Corpus
from ssl_pdr.data.questions import UNANSWERABLE, Questions, read_questions
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import EMBEDDED, EMBEDDED_QUESTIONS, Source, evaluation_part, raw_rows, source_name
from ssl_pdr.data.splits import split_labels
from ssl_pdr.data.tables import Table, chosen, with_labels
from ssl_pdr.data.unlabelled import UnlabelledCorpus, parse_weights, unused_name
from ssl_pdr.errors import ConfigError, DataError

DUPLICATES = "questions that occur more than once"
LEAK = "questions that are also in an evaluation part"
SHARED = "questions of this evaluation part about passages that are trained on"
_NAMES = ("answerable", "unanswerable")  # in the order of `ANSWERABLE` and `UNANSWERABLE`


def holds_questions(source: Source, reading: Reading) -> bool:
    """Whether the first row of a source is a question with a passage to answer it from; embedded and named sets are known.

    Raises:
        DataError: in one line, where the source cannot be read.
    """
    if isinstance(source, str) and source in (*EMBEDDED, *EMBEDDED_QUESTIONS):
        return source in EMBEDDED_QUESTIONS
    if (named := find_named(source)) is not None:
        return named.task == QUESTION_ANSWERING
    first = next(iter(raw_rows(source, reading, Counter())), None)
    return first is not None and {"question", "context"} <= set(first[1]) and not {"label", "labels"} & set(first[1])


def load_question_corpus(
    data: Source,
    *,
    evaluation: Source | None = None,
    eval_frac: float = 0.2,
    group_column: str | None = None,
    reading: Reading | None = None,
    seed: int = 0,
    limit: int | None = None,
) -> Corpus:
    """Read a corpus for question answering.

    Args:
        data: `pydocs-qa`, or what `load_questions` reads.
        evaluation: likewise, to evaluate on; None takes the validation part of a folder, a named set or Hub name, or else its test
            part if that has answers, or else holds out `eval_frac` of `data`: whole articles, or passages where there are no titles.
        eval_frac: held-out share of the questions, in (0, 1).
        group_column: `title` or `context`: what a label budget by group keeps together; becomes the column `group`.
        reading: encoding, and what is done with bad rows.
        seed: of the held-out part and of `limit`.
        limit: keep only this many training questions, in proportion of those without answers; the evaluation part does not
            depend on it.

    Returns:
        The corpus; the classes are those of a label budget, `answerable` and `unanswerable`, if there are any of these. In
        training rows `label` is None where the answer is not known.

    Raises:
        ConfigError: for an `eval_frac` outside of (0, 1), or another `group_column`.
        DataError: in one line, for whatever is wrong with the data.

    Example:
        >>> rows = [{"id": str(i), "title": f"T{i % 4}", "question": f"Who, {i}?", "context": "It was Ada.",
        ...          "answers": {"text": ["Ada"], "answer_start": [7]}} for i in range(8)]
        >>> corpus = load_question_corpus(rows, eval_frac=0.25)
        >>> corpus.label_names, len(corpus.train), len(corpus.evaluation["in_domain"])
        (['answerable'], 6, 2)
    """
    reading = reading or Reading()
    if not 0 < eval_frac < 1:
        raise ConfigError(f"eval_frac must lie between 0 and 1, got {eval_frac}")
    if group_column not in (None, "title", "context"):
        raise ConfigError(f"--group-column must be title or context for questions, got {group_column!r}")
    name = source_name(data)
    versions: dict[str, str] = {}
    dropped: dict[str, int] = {}
    if isinstance(data, str) and data in EMBEDDED_QUESTIONS:
        if evaluation is not None:
            raise DataError(f"{data} brings its own evaluation parts; leave --eval out, or give --data a file")
        questions, parts, versions, dropped = _pydocs_qa()
    else:
        questions = read_questions(data, reading=reading, to_train=True)
        parts = _evaluation(data, evaluation, reading)
    rows, left_out = np.arange(len(questions.labels)), 0
    selected = {part: _select(held, None, group_column=None) for part, held in parts.items()}
    if not selected:
        rows, held_out = _hold_out(questions, eval_frac, seed, name)
        left_out = len(questions.labels) - len(rows) - len(held_out)
        selected = {"in_domain": _select(questions, held_out, group_column=None)}
    if limit is not None and limit < len(rows):
        rows = rows[_limited(questions.labels[rows], limit, seed)]
    train, keys = _select(questions, rows, group_column=group_column)
    evaluated = np.concatenate([held for _, held in selected.values()])
    notes = {
        **dropped,
        **questions.notes,
        **{f"{part}: {kind}": count for part, held in parts.items() for kind, count in held.notes.items()},
        "questions whose answer is not known, used as unlabelled ones": int((questions.labels[rows] < 0).sum()),
        "questions whose answer is not known, of what is held out, left out": left_out,
        DUPLICATES: duplicates(keys),
        LEAK: int(overlap(keys, evaluated).sum()),
        **{f"{part}: {SHARED}": shared_passages(train, held) for part, (held, _) in selected.items()},
    }
    return Corpus(
        name=name,
        train=train,
        evaluation={part: held for part, (held, _) in selected.items()},
        label_names=list(_NAMES if UNANSWERABLE in questions.labels else _NAMES[:1]),
        fingerprint=_fingerprint({"train": questions, **parts}),
        keys={"train": keys, **{part: held for part, (_, held) in selected.items()}},
        versions=versions,
        notes={kind: count for kind, count in notes.items() if count},
    )


def load_unlabelled_questions(specs: Sequence[str], corpus: Corpus, reading: Reading) -> list[UnlabelledCorpus]:
    """Further questions without answers; answers that are there are not looked at.

    Args:
        specs: sources as for `load_question_corpus`, each with `:WEIGHT` where wanted.
        corpus: to compare them with.
        reading: encoding, and what is done with bad rows.

    Raises:
        DataError: in one line, for whatever is wrong with the data, for questions that are all in the corpus already, and for
            weights that are all 0.
    """
    made: list[UnlabelledCorpus] = []
    for source, weight in parse_weights(specs):
        name = unused_name(source_name(source), [other.name for other in made])
        questions = read_questions(source, reading=reading)
        known = {part: overlap(questions.keys, keys) for part, keys in corpus.keys.items()}
        if bool(np.logical_or.reduce(list(known.values())).all()):
            raise DataError(
                f"{name}: every one of its {len(questions.keys)} questions is in the labelled data already; leave it out"
            )
        counts = {
            **questions.notes,
            DUPLICATES: duplicates(questions.keys),
            "questions that are also training questions": int(known.pop("train").sum()),
            **{
                f"questions that are also in the {part} evaluation part": int(found.sum())
                for part, found in known.items()
            },
        }
        notes = {f"{name}: {kind}": count for kind, count in counts.items() if count}
        table = Table(
            rows=questions.rows.remove_columns("answers"),
            labels=questions.labels,
            classes=[],
            keys=questions.keys,
            digest=questions.digest,
            problems=Problems(),
        )
        made.append(UnlabelledCorpus(name, table, weight, notes))
    return made


def shared_passages(train: Dataset, evaluated: Dataset) -> int:
    """How many questions of the second table ask about a passage that the first one has too."""
    known = set(train.unique("context"))
    return sum(
        context in known for batch in evaluated.select_columns("context").iter(1000) for context in batch["context"]
    )


def as_texts(table: Dataset) -> Dataset:
    """Questions and their passages as pairs of texts; other tables as they are."""
    if "question" not in table.column_names:
        return table
    return table.rename_columns({"question": "text", "context": "text_pair"})


def _evaluation(data: Source, evaluation: Source | None, reading: Reading) -> dict[str, Questions]:
    source = data if evaluation is None else evaluation
    part = evaluation_part(source, reading)
    if part is None and evaluation is None:
        return {}
    questions = read_questions(source, reading=reading, part=part or "train")
    missing = np.flatnonzero(questions.labels < 0)
    if evaluation is None and part == "test" and len(missing) == len(questions.labels):
        return {}  # public test parts come without answers
    if len(missing):
        raise DataError(
            f"the in_domain part: {len(missing)} questions have no answers, the first is row {missing[0] + 1}; "
            "questions to evaluate on need them"
        )
    return {"in_domain": questions}


def _select(questions: Questions, rows: NDArray[np.int64] | None, *, group_column: str | None) -> tuple[Dataset, Keys]:
    table = with_labels(questions.rows, questions.labels)
    keys = questions.keys
    if rows is not None and len(rows) < len(table):
        table, keys = chosen(table, rows), keys[rows]
    if group_column is not None:
        groups = list(table[group_column])
        if not all(groups):
            missing = next(row for row, group in enumerate(groups) if not group)
            raise DataError(
                f"question {table[missing]['id']!r} has no {group_column}; every question needs one to be split by group; "
                "--group-column context keeps those of a passage together"
            )
        table = table.add_column("group", groups)
    return table, keys


def _hold_out(
    questions: Questions, eval_frac: float, seed: int, name: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows to train on, and those that are held out of the rows whose answer is known: whole articles or passages."""
    known = np.flatnonzero(questions.labels >= 0)
    titles = questions.rows["title"]
    texts = titles if len(set(titles)) > 1 and all(titles) else questions.rows["context"]
    texts = list(texts)
    groups = [texts[row] for row in known]
    held_out = known[:0]
    if len(set(groups)) > 1:
        count = max(round(eval_frac * len(known)), 1)
        labels = np.zeros(len(known), np.int32)  # whole articles are drawn whatever their questions are
        split = split_labels(labels, count=len(known) - count, seed=seed, strategy="group", groups=groups, classes=1)
        held_out = known[split.unlabelled]
    if len(held_out) == 0 or len(held_out) == len(known):
        raise DataError(
            f"{name} has {len(known)} questions with known answers in {len(set(groups))} articles: too few to hold {eval_frac:g} "
            "of them out; give --eval"
        )
    # A passage that is evaluated on is not trained on, not even by questions whose answer is not known.
    apart = {texts[row] for row in held_out}
    return np.array([row for row, text in enumerate(texts) if text not in apart], np.int64), held_out


def _limited(labels: NDArray[np.int32], limit: int, seed: int) -> NDArray[np.int64]:
    kinds = len(np.unique(labels))
    if limit < kinds:
        raise ConfigError(f"limit: got {limit}, expected at least {kinds}, one question of each kind")
    return split_labels(labels, count=limit, seed=seed, classes=1).labelled


def _fingerprint(parts: dict[str, Questions]) -> str:
    digests: dict[str, Any] = {part: questions.digest for part, questions in parts.items()}
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _pydocs_qa() -> tuple[Questions, dict[str, Questions], dict[str, str], dict[str, int]]:
    from ssl_pdr.data.pydocs_qa import load_pydocs_qa

    source = load_pydocs_qa()
    parts = {
        name: read_questions(rows)
        for name, rows in {"train": source.train, "in_domain": source.test, "shifted": source.shifted}.items()
    }
    notes = {f"docstrings left out: {reason}": count for reason, count in source.dropped.items()}
    notes |= {f"parts of docstrings left out: {reason}": count for reason, count in source.spared.items()}
    return parts.pop("train"), parts, dict(source.versions), notes
