"""Extractive question answering: which words of a passage answer a question, or none of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.data.evaluation_sets import EvaluationSet
from ssl_pdr.data.tables import feature_file
from ssl_pdr.errors import DataError, ModelError
from ssl_pdr.metrics.adversarial import adversarial_scores
from ssl_pdr.metrics.answers import Gold, squad_scores
from ssl_pdr.metrics.no_answer import squad_v2_scores
from ssl_pdr.outputs import UNLABELLED
from ssl_pdr.tasks.base import Prediction, Scores, load_weights
from ssl_pdr.tasks.spans import Spans, Windows, decode

_SURE = 1e6  # a margin of log-probabilities that no model reaches


@dataclass(frozen=True)
class QuestionAnswering:
    """Find the answer to a question in a passage, in windows that overlap.

    Attributes:
        no_answer: whether "no answer" is an answer, for which the [CLS] token stands.
        stride: tokens that neighbouring windows share; None is a third of their length.
        longest: tokens of an answer.
        n_best: answers that are kept for each question.
        all_positions: whether the posterior is over all positions, as in the published code, rather than those of the passage.
        null_threshold: a question has no answer where log P(no answer) − log P(best answer) is above it.
        skip: whether questions that are too long for a window are left out, rather than an error.

    Source: Cheng et al., NAACL 2021, Eq. 9; Devlin et al., NAACL 2019, section 4.
    """

    no_answer: bool = False
    stride: int | None = None
    longest: int = 30
    n_best: int = 5
    all_positions: bool = False
    null_threshold: float | None = None
    skip: bool = False

    name = QUESTION_ANSWERING

    def load_model(self, model: str) -> Any:
        """`AutoModelForQuestionAnswering`, in float32."""
        from transformers import AutoModelForQuestionAnswering

        return load_weights(AutoModelForQuestionAnswering, model, ignore_mismatched_sizes=True)

    def encode(
        self, rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int, *, windows: bool = True
    ) -> dict[str, list[Any]]:
        """Columns `question` and `context` as windows.

        Args:
            rows: columns of equal length; with `answers`, windows get `labels`.
            tokenizer: a fast one.
            max_length: tokens of a window, question included.
            windows: taken and ignored: passages always become windows.

        Returns:
            The model's inputs; `row`, the place of the question in `rows`; `passage`, the positions that may be an answer, as
            `read_logits` takes them; `first` and `last`, those of the passage; `char_start` and `char_end` of its tokens;
            and `labels`, positions of start and end: [CLS] for a window without the answer where no answer is an answer, −100
            elsewhere, and in all windows of a question whose answer is not known or fits into none.

        Raises:
            DataError: for a question that leaves no room for the passage.
            ModelError: for a tokenizer that does not know where its tokens are from.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"{type(tokenizer).__name__} is a slow tokenizer; question answering needs a fast one, with offsets"
            )
        stride, fitting = self._fitting(rows, tokenizer, max_length)
        if not fitting:
            ours = ("row", "passage", "first", "last", "char_start", "char_end", "labels")
            return {name: [] for name in (*tokenizer.model_input_names, *ours)}
        encoded = tokenizer(
            [rows["question"][row] for row in fitting],
            [rows["context"][row] for row in fitting],
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        of, offsets = encoded.pop("overflow_to_sample_mapping"), encoded.pop("offset_mapping")
        made: dict[str, list[Any]] = {name: list(values) for name, values in encoded.items()}
        spans = [_passage(encoded.sequence_ids(i)) for i in range(len(of))]
        made["row"] = [fitting[sample] for sample in of]
        made["first"], made["last"] = [first for first, _ in spans], [last for _, last in spans]
        null = [_null_slot(ids, tokenizer) if self.no_answer else -1 for ids in made["input_ids"]]
        made["passage"] = [
            [0, len(ids) - 1, slot] if self.all_positions else [first, last, slot]
            for ids, (first, last), slot in zip(made["input_ids"], spans, null, strict=True)
        ]
        inner = [
            [_without_space(rows["context"][row], *pair) for pair in pairs[first : last + 1]]
            for row, pairs, (first, last) in zip(made["row"], offsets, spans, strict=True)
        ]
        made["char_start"] = [[start for start, _ in pairs] for pairs in inner]
        made["char_end"] = [[end for _, end in pairs] for pairs in inner]
        kept = [i for i, (first, last) in enumerate(spans) if first <= last]
        made = {name: [values[i] for i in kept] for name, values in made.items()}
        made["labels"] = _labels(made, rows.get("answers"))
        return made

    def features(
        self, table: Any, tokenizer: Any, max_length: int, *, windows: bool = True, key: str | None = None
    ) -> Any:
        """Windows on disk, as `encode` makes them; `row` is the place of the question in the table.

        Args:
            table: of `datasets`.
            tokenizer: see `encode`.
            max_length: see `encode`.
            windows: see `encode`.
            key: stands for everything that the features depend on: those of a large table are found again by it.
        """

        def rows(columns: dict[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
            made = self.encode(columns, tokenizer, max_length)
            return {**made, "row": [indices[row] for row in made["row"]]}

        file, fingerprint = feature_file(key and f"{key} {self}", len(table))
        made = table.map(
            rows,
            batched=True,
            with_indices=True,
            remove_columns=table.column_names,
            cache_file_name=file,
            new_fingerprint=fingerprint,
        )
        if len(made) == 0:
            raise DataError(
                f"none of {len(table)} questions leaves room for its passage in a window of {max_length} tokens; raise --max-length"
            )
        return made

    def judge(self, logits: Any, features: Any, evaluated: EvaluationSet) -> tuple[Scores, list[Prediction]]:
        """Scores and predictions.

        Args:
            logits: of start and of end, each (N, T).
            features: the N windows of its questions.
            evaluated: questions with answers, and how they are scored: `squad`, `squad_v2` or `adversarial`. Only by
                `squad_v2` is no answer an answer.

        Returns:
            Scores in [0, 1], and for each question its prediction; the empty text where it has no answer.
        """
        table, scoring = evaluated.rows, evaluated.scoring
        start, end = logits
        spans = decode(start, end, _windows(features), len(table), longest=self.longest, n_best=self.n_best)
        columns = {name: list(table[name]) for name in ("id", "context", "answers")}
        golds = [Gold(i, tuple(a["text"])) for i, a in zip(columns["id"], columns["answers"], strict=True)]
        texts = _texts(spans, columns["context"])
        best = dict(zip(columns["id"], (row[0] if row else "" for row in texts), strict=True))
        margin = np.where(np.isneginf(spans.null), -_SURE, spans.null - np.maximum(spans.log_probability[:, 0], -_SURE))
        threshold = math.inf
        if scoring == "squad_v2":
            threshold = 0.0 if self.null_threshold is None else self.null_threshold
            null_scores = dict(zip(columns["id"], margin.tolist(), strict=True))
            scores = squad_v2_scores(best, null_scores, golds, threshold)
        else:
            scores = (adversarial_scores if scoring == "adversarial" else squad_scores)(best, golds)
        predictions = [
            _prediction(columns["id"][i], texts[i], spans, i, empty=bool(margin[i] > threshold), gold=golds[i])
            for i in range(len(table))
        ]
        return scores, predictions

    def tuned(self, scores: Scores) -> QuestionAnswering:
        """The task with the threshold that is best on the set that these scores are of."""
        if not self.no_answer or "best_f1_threshold" not in scores:
            return self
        return replace(self, null_threshold=scores["best_f1_threshold"])

    def settings(self) -> dict[str, Any]:
        """Whether no answer is an answer, and from where on."""
        return {"no_answer_slot": self.no_answer, "null_threshold": self.null_threshold}

    def label_text(self, label: Sequence[int], ids: Sequence[int], tokenizer: Any) -> str | None:
        """The words of the answer; of the slot for no answer, its token."""
        start, end = label
        return None if start == UNLABELLED else str(tokenizer.decode(ids[start : end + 1]))

    def _fitting(self, rows: Mapping[str, Sequence[Any]], tokenizer: Any, max_length: int) -> tuple[int, list[int]]:
        """The stride, and the rows whose questions leave room for more of the passage than the stride repeats."""
        stride = max_length // 3 if self.stride is None else self.stride
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        asked = tokenizer(list(rows["question"]), add_special_tokens=False, truncation=False, verbose=False)[
            "input_ids"
        ]
        fitting = [row for row, ids in enumerate(asked) if room - len(ids) > stride]
        if len(fitting) < len(asked) and not self.skip:
            row = next(row for row, ids in enumerate(asked) if room - len(ids) <= stride)
            name, left = rows["id"][row] if "id" in rows else row, max(room - len(asked[row]), 0)
            lower = ", lower --stride" if left > 1 else ""
            raise DataError(
                f"question {str(name)!r} has {len(asked[row])} tokens: a window of {max_length} has {left} left for the passage, which "
                f"must be more than the stride of {stride}; raise --max-length{lower}, or leave such questions out with --skip-bad-rows"
            )
        return stride, fitting


def _passage(sequence: Sequence[int | None]) -> tuple[int, int]:
    """The first and the last token of the second text; (0, −1) where it has none."""
    inside = [place for place, number in enumerate(sequence) if number == 1]
    return (inside[0], inside[-1]) if inside else (0, -1)


def _without_space(context: str, start: int, end: int) -> tuple[int, int]:
    """A token's place without white space around it; of no width where it is nothing else."""
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    return start, end


def _null_slot(ids: Sequence[int], tokenizer: Any) -> int:
    """Where [CLS] is.

    Another token will not do: the first token of a decoder has seen nothing of the question.
    """
    if tokenizer.cls_token_id not in ids:
        raise ModelError(
            f"{type(tokenizer).__name__} puts no [CLS] token before the question, which stands for no answer; take an encoder, or data "
            "in which every question has an answer"
        )
    return ids.index(tokenizer.cls_token_id)


def _labels(made: Mapping[str, list[Any]], answers: Sequence[Any] | None) -> list[list[int]]:
    """Positions of start and end in each window."""
    nothing = [UNLABELLED, UNLABELLED]
    if answers is None:
        return [nothing] * len(made["row"])
    found = [_label(made, window, answers[row]) for window, row in enumerate(made["row"])]
    answered = {row for row, label in zip(made["row"], found, strict=True) if label is not None}
    labels = []
    for window, (row, label) in enumerate(zip(made["row"], found, strict=True)):
        known = answers[row] is not None and (row in answered or not answers[row]["text"])
        slot = made["passage"][window][2]
        empty = [slot, slot] if known and slot >= 0 else nothing
        labels.append(empty if label is None else label)
    return labels


def _label(made: Mapping[str, list[Any]], window: int, answers: Any) -> list[int] | None:
    """The tokens of the first of the answers that this window holds whole."""
    if answers is None:
        return None
    starts, ends = made["char_start"][window], made["char_end"][window]
    for text, begin in zip(answers["text"], answers["answer_start"], strict=True):
        end = begin + len(text)
        if text and starts[0] <= begin and end <= ends[-1]:
            first = int(np.searchsorted(ends, begin, side="right"))  # the first token that ends behind the beginning
            last = int(np.searchsorted(starts, end, side="left")) - 1  # the last one that begins before the end
            if first <= last:
                return [made["first"][window] + first, made["first"][window] + last]
    return None


def _windows(features: Any) -> Windows:
    arrow = features.with_format("arrow")
    one = {
        name: np.asarray(arrow[column].to_numpy() if hasattr(arrow[column], "to_numpy") else arrow[column], np.int64)
        for name, column in {"question": "row", "first": "first", "last": "last"}.items()
    }
    null = np.array([passage[2] for passage in features["passage"]], np.int64).reshape(-1)
    chars = {name: _flat(arrow, name) for name in ("char_start", "char_end")}
    return Windows(**one, null=null, **chars)


def _flat(arrow: Any, name: str) -> NDArray[np.int64]:
    parts = [pc.list_flatten(part[name]).to_numpy() for part in arrow.select_columns(name).iter(batch_size=10_000)]
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _texts(spans: Spans, contexts: Sequence[str]) -> list[list[str]]:
    """The answers of each question, best first."""
    return [
        [context[start:end] for start, end in zip(starts, ends, strict=True) if start >= 0]
        for context, starts, ends in zip(contexts, spans.start.tolist(), spans.end.tolist(), strict=True)
    ]


def _prediction(name: str, texts: list[str], spans: Spans, row: int, *, empty: bool, gold: Gold) -> Prediction:
    probabilities = np.exp(spans.log_probability[row, : len(texts)]).round(6).tolist()
    made: Prediction = {
        "id": name,
        "prediction": "" if empty or not texts else texts[0],
        "answers": list(gold.answers),
        "candidates": [{"text": text, "probability": p} for text, p in zip(texts, probabilities, strict=True)],
    }
    if np.isfinite(spans.null[row]):
        made["no_answer_probability"] = round(float(np.exp(spans.null[row])), 6)
    return made
