"""What a run is made from: the corpus, its label budget, unlabelled text, and all of it as features of a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from ssl_pdr.choices import CLASSIFICATION, QUESTION_ANSWERING
from ssl_pdr.config import TrainConfig, option, uses_pool
from ssl_pdr.data.collate import Mixture, mix
from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import LEAK, Corpus, load_corpus
from ssl_pdr.data.labels import parse_label_map
from ssl_pdr.data.question_corpus import (
    holds_questions,
    load_question_corpus,
    load_unlabelled_questions,
)
from ssl_pdr.data.questions import UNANSWERABLE
from ssl_pdr.data.sources import EMBEDDED, EMBEDDED_QUESTIONS, source_name
from ssl_pdr.data.splits import LabelSplit, split_labels
from ssl_pdr.data.tables import Table
from ssl_pdr.data.unlabelled import TextStream, UnlabelledCorpus, load_unlabelled
from ssl_pdr.errors import ConfigError, DataError
from ssl_pdr.evaluation import reading_of
from ssl_pdr.features import FeatureMaker
from ssl_pdr.progress import Listener
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks.base import Task, load_tokenizer
from ssl_pdr.tasks.classification import SequenceClassification
from ssl_pdr.tasks.question_answering import QuestionAnswering

LEAKS = "leak: {kind}: {count}; scores may be too good"

# The fields of a configuration that decide which rows are read.
_READ = (
    *("data", "task", "data_dir", "eval", "eval_on", "eval_frac", "text_column", "pair_column", "label_column"),
    *("group_column", "label_map", "encoding", "skip_bad_rows", "limit", "unlabelled", "stream", "split_documents"),
)


@dataclass(frozen=True)
class Materials:
    """What training needs.

    Attributes:
        corpus: tables of text.
        split: which training rows keep their label.
        corpora: further text without labels.
        task: says how to read and score them.
        tokenizer: of the model.
        labelled: features of the labelled rows.
        unlabelled: features of the rows without a label, and of the unlabelled corpora; None where no regularizer would
            use them.
        fingerprint: of all data that were read.
        notes: counts worth showing.
        warnings: what a person should know before believing a score, in sentences.
    """

    corpus: Corpus
    split: LabelSplit
    corpora: list[UnlabelledCorpus]
    task: Task
    tokenizer: Any
    labelled: Any
    unlabelled: Mixture | None
    fingerprint: str
    notes: dict[str, int]
    warnings: list[str]

    def count_streams(self) -> list[str]:
        """Add what was counted in streams, as far as they were read, to the notes; the warnings that are new."""
        found: dict[str, int] = {}
        for corpus in self.corpora:
            if isinstance(corpus.rows, TextStream):
                found |= {f"{corpus.name}: {kind}": count for kind, count in corpus.rows.problems.counts.items()}
        self.notes.update(found)
        self.warnings.extend(_leaks(found))
        return _leaks(found)


def with_task(config: TrainConfig) -> TrainConfig:
    """The configuration with the task that its data are for, where it names none.

    Raises:
        ConfigError: for data that are for another task than the one that is named.
    """
    config = _named_task(config)
    if config.task == QUESTION_ANSWERING:
        given = {name: getattr(config, name) for name in ("text_column", "pair_column", "label_column", "label_map")}
        unread = [option(name) for name, value in given.items() if value is not None]
        unread += ["--long-documents windows"] if config.long_documents == "windows" else []
        if unread:
            raise ConfigError(
                f"{' and '.join(unread)} say how texts are classified; leave them out for question answering"
            )
    elif config.stride is not None:
        raise ConfigError("--stride is for question answering; leave it out for classification")
    return config


def _named_task(config: TrainConfig) -> TrainConfig:
    if config.task is None:
        asks = config.text_column is None and holds_questions(config.data, reading_of(config))
        return dataclasses.replace(config, task=QUESTION_ANSWERING if asks else CLASSIFICATION)
    given = QUESTION_ANSWERING if config.data in EMBEDDED_QUESTIONS else CLASSIFICATION
    if config.data in (*EMBEDDED, *EMBEDDED_QUESTIONS) and given != config.task:
        raise ConfigError(f"{config.data} is for --task {given}, got --task {config.task}")
    if (
        config.task == CLASSIFICATION
        and config.text_column is None
        and holds_questions(config.data, reading_of(config))
    ):
        raise ConfigError(
            f"{source_name(config.data)} holds questions with passages, which are for --task question-answering; got "
            "--task classification (to classify the questions, name --text-column question)"
        )
    return config


def read_key(config: TrainConfig, *more: object) -> tuple[object, ...]:
    """What the rows of a configuration depend on, as a key; `more` beside it."""
    return (*(getattr(config, name) for name in _READ), *more)


def corpus_of(config: TrainConfig, seed: int) -> Corpus:
    """The labelled data of a configuration that names its task; `seed` decides which rows are held out."""
    if config.task == QUESTION_ANSWERING:
        return load_question_corpus(
            config.data,
            evaluation=config.eval,
            eval_frac=config.eval_frac,
            group_column=config.group_column,
            reading=reading_of(config),
            seed=seed,
            limit=config.limit,
        )
    return load_corpus(
        config.data,
        evaluation=config.eval,
        eval_frac=config.eval_frac,
        text_column=config.text_column,
        pair_column=config.pair_column,
        label_column=config.label_column,
        group_column=config.group_column,
        label_map=parse_label_map(config.label_map or ()),
        reading=reading_of(config),
        seed=seed,
        limit=config.limit,
    )


def corpora_of(config: TrainConfig, corpus: Corpus | None) -> list[UnlabelledCorpus]:
    """The unlabelled corpora of a configuration that names its task."""
    if config.task == QUESTION_ANSWERING and corpus is not None:
        if config.stream:
            raise ConfigError("--stream reads texts, not questions; leave it out")
        return load_unlabelled_questions(config.unlabelled or (), corpus, reading_of(config))
    columns = Columns(config.text_column, config.pair_column)
    return load_unlabelled(config.unlabelled or (), corpus, columns, reading_of(config), stream=config.stream)


def split_of(config: TrainConfig, corpus: Corpus) -> LabelSplit:
    """The label budget of a configuration."""
    by_share = config.labelled_count is None and config.labelled_per_class is None
    return split_labels(
        corpus.labels,
        config.labelled_frac if by_share else None,
        seed=config.seed,
        strategy=config.split_strategy,
        count=config.labelled_count,
        per_class=config.labelled_per_class,
        groups=list(corpus.train["group"]) if config.split_strategy == "group" else None,
        data_hash=corpus.train_hash,
        classes=1 if config.task == QUESTION_ANSWERING else 2,
    )


def task_of(config: TrainConfig, corpus: Corpus) -> Task:
    """The task of a configuration that names it."""
    if config.task == CLASSIFICATION:
        return SequenceClassification(corpus.label_names)
    return QuestionAnswering(
        no_answer=len(corpus.label_names) > UNANSWERABLE,
        stride=config.stride,
        longest=config.max_answer_length,
        n_best=config.n_best,
        all_positions=config.preset == "published-code",
        skip=config.skip_bad_rows,
    )


def prepare(config: TrainConfig, listener: Listener, shelf: Shelf | None = None) -> Materials:
    """Read the data, split the labels and tokenize, as a resolved configuration says.

    Materials know their task, whether the configuration names it or not. What other runs of the process have read is taken
    from the shelf.

    Raises:
        DataError: for whatever is wrong with the data, and for data or a split that are not those that were meant.
    """
    listener.stage("reading the data")
    config = with_task(config)
    given = None if config.split is None else LabelSplit.load(config.split)
    shelf = shelf or Shelf(keep=0)
    seed = config.seed if given is None else given.seed
    corpus = shelf.take("corpus", read_key(config, seed), lambda: corpus_of(config, seed))
    split = split_of(config, corpus) if given is None else given
    if given is not None:
        _verify(given, corpus)
    pool = uses_pool(config.reg, config.alpha, config.ratio)
    corpora = shelf.take("corpora", read_key(config, seed), lambda: corpora_of(config, corpus))
    fingerprint = fingerprint_of(corpus, corpora)
    if config.data_fingerprint not in (None, fingerprint):
        raise DataError(
            f"the data changed: {config.data} and all unlabelled corpora have the fingerprint {fingerprint[:16]}…, expected "
            f"{str(config.data_fingerprint)[:16]}…; restore them, or start a new run"
        )
    task = task_of(config, corpus)
    listener.stage("tokenizing")
    tokenizer = shelf.take("tokenizer", (config.model, config.task), lambda: load_tokenizer(config.model))
    if config.task == QUESTION_ANSWERING:
        tokenizer.padding_side = tokenizer.truncation_side = "right"  # positions are counted from the left
    rows = [corpus.fingerprint, seed, config.eval_frac, config.limit]
    maker = FeatureMaker(config, task, tokenizer, json.dumps(rows), shelf)
    labelled, rest = maker.train(corpus, split, with_rest=pool)
    pools = [rest] if rest is not None else []
    pools += [maker.corpus(c) for c in corpora] if pool else []
    notes = {**corpus.notes, **{kind: count for c in corpora for kind, count in c.notes.items()}}
    notes |= maker.notes
    return Materials(
        corpus=corpus,
        split=split,
        corpora=corpora,
        task=task,
        tokenizer=tokenizer,
        labelled=labelled,
        unlabelled=Mixture(pools, _weights(corpora, rest is not None), config.temperature) if pools else None,
        fingerprint=fingerprint,
        notes={kind: count for kind, count in notes.items() if count},
        warnings=[*_leaks(notes), *_odd_labels(corpus)],
    )


def first_batch(config: TrainConfig, materials: Materials) -> list[dict[str, Any]]:
    """The rows of the first mixed batch, as `--dry-run` shows them."""
    columns = {"input_ids"}
    rows, batches = mix(materials.labelled, materials.unlabelled, columns, config.batch_size, config.ratio, config.seed)
    return [
        {
            "row": row["row_id"],
            "label": materials.task.label_text(row["labels"], row["input_ids"], materials.tokenizer),
            "tokens": len(row["input_ids"]),
            "text": materials.tokenizer.decode(row["input_ids"], skip_special_tokens=True),
        }
        for row in rows.take(next(iter(batches)))
    ]


def _verify(split: LabelSplit, corpus: Corpus) -> None:
    try:
        split.verify(corpus.labels, corpus.train_hash)
    except DataError as error:
        raise DataError(
            f"{error}; --eval, --eval-frac, --limit, --label-map and the columns have to be those that the split was made with"
        ) from None


def fingerprint_of(corpus: Corpus, corpora: list[UnlabelledCorpus]) -> str:
    """Of all that was read; a stream, which is not read yet, has none."""
    digests = [c.rows.digest for c in corpora if isinstance(c.rows, Table)]
    if not digests:
        return corpus.fingerprint
    return hashlib.sha256(json.dumps([corpus.fingerprint, *digests]).encode()).hexdigest()


def _weights(corpora: list[UnlabelledCorpus], with_rest: bool) -> list[float] | None:
    """Weights of the pools; where some are given, all others weigh 1."""
    if all(c.weight is None for c in corpora):
        return None
    return [1.0] * with_rest + [1.0 if c.weight is None else c.weight for c in corpora]


def _odd_labels(corpus: Corpus) -> list[str]:
    if "-1" not in corpus.label_names:
        return []
    return ["-1 is one of the classes; where it stands for no label, leave it empty"]


def _leaks(notes: dict[str, int]) -> list[str]:
    leaks = {kind: count for kind, count in notes.items() if count and (kind == LEAK or "evaluation part" in kind)}
    return [LEAKS.format(kind=kind, count=count) for kind, count in leaks.items()]
