"""Scores and predictions on any number of sets: of a model that was just trained, of a finished run, or of any model's folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import tempfile
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PrinterCallback, Trainer, TrainingArguments

from ssl_pdr.config import TrainConfig
from ssl_pdr.data.collate import MixedDataset, Mixture, PaddingCollator
from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import load_corpus
from ssl_pdr.data.evaluation_sets import EvaluationSet, for_the_other_task, parts_for_model, read_evaluation
from ssl_pdr.data.labels import parse_label_map
from ssl_pdr.data.question_corpus import load_question_corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import EMBEDDED, EMBEDDED_QUESTIONS
from ssl_pdr.errors import ConfigError, DataError, ModelError
from ssl_pdr.files import atomic_write
from ssl_pdr.model_card import without_places
from ssl_pdr.progress import Listener, Silent
from ssl_pdr.provenance import machine, versions
from ssl_pdr.run_folder import RunFolder, model_name
from ssl_pdr.shelf import Shelf
from ssl_pdr.tasks import QuestionAnswering, SequenceClassification
from ssl_pdr.tasks.base import (
    Prediction,
    Scores,
    Task,
    fit_together,
    load_pretrained,
    load_tokenizer,
    positions,
    tokenizer_key,
)

MAIN_METRICS = ("accuracy", "f1")  # the first of them that a set has is what it is compared by


def main_metric(scores: Scores) -> str:
    """The metric that a set is compared by: F1 of questions, accuracy of classes.

    Example:
        >>> main_metric({"f1": 0.5, "exact": 0.4, "rows": 10})
        'f1'
    """
    return next(name for name in MAIN_METRICS if name in scores)


def relative_drop(in_domain: Scores, other: Scores) -> float | None:
    """What a model loses elsewhere, as a share of its in-domain score (Cheng et al., NAACL 2021, Figure 1); None of a score of 0.

    Example:
        >>> relative_drop({"accuracy": 0.8, "rows": 10}, {"accuracy": 0.6, "rows": 5})
        0.25
    """
    before, after = in_domain[main_metric(in_domain)], other[main_metric(other)]
    return None if before == 0 else round((before - after) / before, 6)


def predict_logits(trainer: Any, features: Any) -> Any:
    """Logits of each row, (N, C), or of start and end, two of (N, T), in the order of `features`.

    Rows of similar length share a batch, and none is longer than its longest row.

    Args:
        trainer: a `transformers.Trainer`.
        features: tokenized rows, a table of `datasets`.
    """
    lengths = MixedDataset(Mixture([features]), Mixture([]), {"input_ids"}).lengths()
    assert lengths is not None  # noqa: S101  # tokenized rows have tokens
    order = np.argsort(-lengths, kind="stable")  # longest first: memory runs out at once or not at all
    output = trainer.predict(features.select(order)).predictions
    if "passage" in features.column_names:
        return tuple(_restored(part, order) for part in output[:2])
    return _restored(output[0] if isinstance(output, tuple) else output, order)


def _restored(logits: NDArray[np.floating[Any]], order: NDArray[np.intp]) -> NDArray[np.floating[Any]]:
    restored: NDArray[np.floating[Any]] = np.empty_like(logits)
    restored[order] = logits
    return restored


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an evaluation found.

    Attributes:
        scores: by the name of the set.
        predictions: of each row, by the name of the set.
        task: with what was chosen on the development set.
        notes: counts worth showing, by the name of the set.
        baseline: scores of something simpler, by the name of the set.
    """

    scores: dict[str, Scores]
    predictions: dict[str, list[Prediction]]
    task: Task
    notes: dict[str, dict[str, int]]
    baseline: dict[str, Scores] = dataclasses.field(default_factory=dict)


def evaluate(
    trainer: Any,
    task: Task,
    tokenizer: Any,
    sets: Sequence[EvaluationSet],
    max_length: int,
    *,
    tune_on: str | None = "in_domain",
    shelf: Shelf | None = None,
) -> Outcome:
    """Scores and predictions of a model on each of the sets.

    Args:
        trainer: a `transformers.Trainer` with the model.
        task: reads and scores the rows.
        tokenizer: of the model.
        sets: with different names.
        max_length: tokens of a row.
        tune_on: the set that a threshold is chosen on, before others are scored; its own scores are those at this threshold.
            None keeps the one that the task has.
        shelf: where features that were made before may lie.
    """
    shelf = shelf or Shelf(keep=0)
    found = Outcome({}, {}, task, {})
    rooms = positions(trainer.model)
    max_length = max_length if rooms is None else min(max_length, rooms)
    for evaluated in sorted(sets, key=lambda one: one.name != tune_on):
        features = _features(task, evaluated, tokenizer, max_length, shelf)
        notes = {f"texts cut at {max_length} tokens": sum(features["cut"]) if "cut" in features.column_names else 0}
        if "row" in features.column_names:
            unread = len(evaluated.rows) - len(np.unique(features["row"]))
            notes["questions that leave no room for their passage, scored as unanswered"] = unread
        found.notes[evaluated.name] = {kind: count for kind, count in {**evaluated.notes, **notes}.items() if count}
        logits = predict_logits(trainer, features)
        scores, predictions = task.judge(logits, features, evaluated)
        if evaluated.name == tune_on and (tuned := task.tuned(scores)) != task:
            task = tuned
            scores, predictions = task.judge(logits, features, evaluated)
        found.scores[evaluated.name], found.predictions[evaluated.name] = scores, predictions
    return dataclasses.replace(found, task=task)


def _features(task: Task, evaluated: EvaluationSet, tokenizer: Any, max_length: int, shelf: Shelf) -> Any:
    # By identity: the shelf keeps the set with its features, so no other can take its place.
    key = (id(evaluated), id(tokenizer), max_length, str(vars(task)))
    made = shelf.take(
        "evaluated", key, lambda: (task.features(evaluated.rows, tokenizer, max_length), evaluated, tokenizer)
    )
    return made[0]


def sets_of(
    sources: Sequence[str], label_names: Sequence[str], config: TrainConfig, taken: Sequence[str] = ()
) -> list[EvaluationSet]:
    """The sets at some sources, for a model with these classes, of which one that answers questions has none.

    Args:
        sources: as for `--eval-on`.
        label_names: the classes; empty for a model that answers questions.
        config: says how they are read.
        taken: names that other sets have.

    Raises:
        DataError: in one line, for whatever is wrong with the data, and for two sets of the same name.
    """
    made: list[EvaluationSet] = []
    names = {name.casefold() for name in taken}  # there are disks to which two cases are one
    for one in (one for source in sources for one in _sets_in(source, label_names, config)):
        if one.name.casefold() in names:
            raise DataError(f"two sets to evaluate on are called {one.name!r}; leave one out, or rename its file")
        names.add(one.name.casefold())
        made.append(one)
    return made


def reading_of(config: TrainConfig) -> Reading:
    """How the files of a configuration are read."""
    return Reading(config.encoding, config.skip_bad_rows, config.split_documents, config.data_dir)


def _sets_in(source: str, label_names: Sequence[str], config: TrainConfig) -> list[EvaluationSet]:
    label_map = parse_label_map(config.label_map or ())
    if source in (*EMBEDDED, *EMBEDDED_QUESTIONS):
        if (asks := source in EMBEDDED_QUESTIONS) == bool(label_names):
            raise for_the_other_task(source, asks=asks)
        corpus = load_question_corpus(source) if asks else load_corpus(source)
        return parts_for_model(corpus, label_names, label_map)
    one = read_evaluation(
        source,
        label_names=label_names,
        columns=Columns(config.text_column, config.pair_column, config.label_column),
        reading=reading_of(config),
        label_map=label_map,
        how=config.collapse,
    )
    return [one]


def evaluate_model(
    config: TrainConfig,
    on: Sequence[str],
    listener: Listener | None = None,
    *,
    output: Path | None = None,
    in_domain: Scores | None = None,
) -> dict[str, Any]:
    """Evaluate a model's folder, or a model of the Hub, on any number of sets.

    Args:
        config: `model` names it; columns, lengths and `data_dir` say how the sets are read.
        on: sources, as for `--eval-on`.
        listener: told of stages.
        in_domain: scores of the model in its own domain, for the relative drop.
        output: a folder for `scores.json`, beside what it has already of the same model and settings, and for the predictions of
            each set, as `predictions_file` calls them; None writes nothing.

    Returns:
        What `scores.json` has of these sets.

    Raises:
        PDRError: in one line, for anything that the user can mend.
    """
    listener = listener or Silent()
    if not on:
        raise ConfigError("expected a set to evaluate on; give --on NAME|FILE, or several")
    listener.stage("loading the model")
    task, model, tokenizer = load_trained(config)
    fingerprint = _fingerprint(model, tokenizer)
    listener.stage("reading the data")
    label_names = task.label_names if isinstance(task, SequenceClassification) else []
    sets = [one.limited(config.eval_limit) for one in sets_of(on, label_names, config)]
    if output is not None:
        RunFolder(output).create()
    of_others = isinstance(task, QuestionAnswering) and getattr(model.config, "no_answer_slot", None) is None
    with tempfile.TemporaryDirectory(prefix="ssl_pdr_") as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                per_device_eval_batch_size=64,
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=torch.cuda.is_available(),
            ),
            data_collator=PaddingCollator.like(tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        scores: dict[str, Scores] = {}
        notes: dict[str, dict[str, int]] = {}
        for one in sets:
            listener.stage(f"evaluating on {one.name}, {len(one.rows)} rows")
            if of_others and isinstance(task, QuestionAnswering):  # it does not say whether no answer is one
                task = dataclasses.replace(task, no_answer=one.scoring == "squad_v2")
            found = evaluate(trainer, task, tokenizer, [one], config.max_length, tune_on=None)
            scores |= found.scores
            notes |= found.notes
            if output is not None:  # at once: what is finished stays, whatever comes
                write_predictions(output, found)
    result = {
        "model": model_name(config.model),
        "model_fingerprint": fingerprint,
        "task": task.name,
        "scores": scores,
        "relative_drop": {}
        if in_domain is None
        else {name: relative_drop(in_domain, reached) for name, reached in scores.items()},
        "data": {
            one.name: {"fingerprint": one.digest, "rows": len(one.rows), "notes": notes[one.name]} for one in sets
        },
        "seeds": {"seed": config.seed},
        "versions": versions(),
        "machine": machine(trainer.args.device),
        "config": without_places(vars(config)),
    }
    if output is not None:
        file = output / "scores.json"
        atomic_write(file, json.dumps(_beside(result, file, listener), indent=2, ensure_ascii=False) + "\n")
    return result


def _fingerprint(model: Any, tokenizer: Any) -> str:
    """SHA-256 over weights, settings and tokenizer: paths and names do not tell two models apart."""
    settings = {name: value for name, value in model.config.to_dict().items() if not name.startswith("_")}
    digest = hashlib.sha256(f"{tokenizer_key(tokenizer)} {json.dumps(settings, sort_keys=True, default=str)}".encode())
    for name, values in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.reshape(-1).numpy())
    return digest.hexdigest()


def _beside(result: dict[str, Any], file: Path, listener: Listener) -> dict[str, Any]:
    """The result with the sets that the file has already; one that is of something else is kept under another name."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return result
    except (OSError, ValueError):  # not whole, or not ours
        before = {}
    now = json.loads(json.dumps(result))
    same = isinstance(before, dict) and all(
        before.get(name) == now[name] for name in ("model_fingerprint", "config", "versions")
    )
    if same and all(
        facts["fingerprint"] == now["data"].get(name, facts)["fingerprint"] for name, facts in before["data"].items()
    ):
        return {**result, **{kind: {**before[kind], **result[kind]} for kind in ("scores", "relative_drop", "data")}}
    kept = next(path for number in count(1) if not (path := file.with_name(f"scores.{number}.json")).exists())
    file.rename(kept)
    listener.warn(
        f"{file} was of another model, other settings or another set of the same name: it is {kept.name} now; predictions for "
        f"{', '.join(result['scores'])} are the new ones"
    )
    return result


def write_predictions(folder: Path, outcome: Outcome) -> None:
    """One file of JSON lines for each set, one line for each of its rows."""
    for name, predictions in outcome.predictions.items():
        lines = (json.dumps(prediction, ensure_ascii=False) for prediction in predictions)
        atomic_write(folder / predictions_file(name), "".join(f"{line}\n" for line in lines))


def predictions_file(name: str) -> str:
    """`NAME.jsonl`; of a name that no file can have or that would hide it, what can stay, and a hash that keeps names apart.

    Example:
        >>> predictions_file("reviews.csv"), predictions_file("../x")
        ('reviews.csv.jsonl', '_x-d6b96a97.jsonl')
    """
    plain = re.sub(r"[^\w .+=@-]", "_", name).lstrip(".- ").encode()[:150].decode(errors="ignore")
    if not plain or plain != name:
        plain = plain or "set"
        plain += f"-{hashlib.sha256(name.encode(errors='backslashreplace')).hexdigest()[:8]}"
    return f"{plain}.jsonl"


def load_trained(config: TrainConfig) -> tuple[Task, Any, Any]:
    """The task, the model and the tokenizer of a model that was trained already, as its own configuration says.

    Raises:
        ModelError: for one that is for neither task, or has no head.
    """
    from transformers import AutoConfig

    found = load_pretrained(AutoConfig, config.model)
    kind = " ".join(found.architectures or ())
    if "ForQuestionAnswering" in kind:
        task: Task = QuestionAnswering(
            no_answer=bool(getattr(found, "no_answer_slot", False)),
            stride=config.stride,
            longest=config.max_answer_length,
            n_best=config.n_best,
            null_threshold=getattr(found, "null_threshold", None),
            skip=True,
        )
        model = task.load_model(config.model)
    elif "ForSequenceClassification" in kind:
        names = [found.id2label[number] for number in range(found.num_labels)]
        task = SequenceClassification(names)
        model = task.load_model(config.model)
    else:
        raise ModelError(
            f"the model {config.model!r} is a {kind or 'model without a head'}; expected one that was trained for classification or "
            "question answering; train it first"
        )
    tokenizer = load_tokenizer(config.model)
    if isinstance(task, QuestionAnswering):
        tokenizer.padding_side = tokenizer.truncation_side = "right"  # positions are counted from the left
    fit_together(model, tokenizer)
    return task, model, tokenizer
