"""The training objective: cross-entropy over labelled rows plus α times R over all rows, from one clean pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import UNLABELLED, is_labelled, model_inputs, read_logits
from ssl_pdr.regularizers.base import CleanPass, Regularizer


@dataclass(frozen=True)
class Counts:
    """How many rows one optimizer step holds, over all ranks and accumulation steps."""

    labelled: int
    rows: int

    @classmethod
    def of(cls, *batches: Mapping[str, Any]) -> Counts:
        """The counts of the given batches; rows of weight zero are padding and do not count."""
        labelled = sum(int(is_labelled(batch["labels"]).sum()) for batch in batches)
        rows = sum(int((_weights(batch) > 0).sum()) for batch in batches)
        return cls(labelled, rows)


@dataclass(frozen=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        loss: `ce + α · regularization`, a scalar with graph.
        ce: this batch's share of the mean cross-entropy over labelled rows, a scalar without graph.
        regularization: this batch's share of the mean R over all rows, a scalar without graph.
        correct: how many labelled rows of this batch are answered rightly, start and end both, a scalar.
        logits: of the rows that went through the model, (B', C) or (B', 2, T), without graph.
        clean: the clean pass, for those who want R at zero noise; None without a regularizer.
    """

    loss: Tensor
    ce: Tensor
    regularization: Tensor
    correct: Tensor
    logits: Tensor
    clean: CleanPass | None


class Objective:
    """mean CE over labelled rows + α · mean R over all rows (Cheng et al., NAACL 2021, Eq. 2), by global counts.

    A batch is what the model takes, plus `labels` (B,) with −100 for rows without a label and, where wanted, `row_id`
    (B,), which keys the noise. For answers in a passage the labels are (B, 2), positions of start and end, whose
    cross-entropies are averaged, and `passage` says which positions there are. The clean forward pass is shared by both terms. With α = 0 or without a regularizer
    it is plain fine-tuning, and rows without a label do not enter the model.

    Args:
        regularizer: R, or None.
        alpha: α ≥ 0.

    Raises:
        ConfigError: for an α that is negative or not finite.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> from ssl_pdr import RPT
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> model = BertForSequenceClassification(tiny)
        >>> batch = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([1, -100])}
        >>> Objective(RPT("shl"), alpha=1.0)(model, batch).loss.backward()
    """

    def __init__(self, regularizer: Regularizer | None, alpha: float = 1.0) -> None:
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ConfigError(f"alpha must be a finite number of at least 0, got {alpha}")
        self.regularizer = regularizer if alpha > 0 else None
        self.alpha = alpha

    def __call__(self, model: nn.Module, batch: Mapping[str, Any], counts: Counts | None = None) -> LossParts:
        """The loss of one (micro-)batch.

        Args:
            model: returns `.logits` (B, C), or `.start_logits` and `.end_logits` (B, T).
            batch: see the class.
            counts: of the whole optimizer step, so that the losses of its micro-batches on all ranks add up to the
                loss of the step; by default this batch is the whole step.
        """
        counts = Counts.of(batch) if counts is None else counts
        if self.regularizer is None:
            batch = _labelled_rows(batch)
            logits = read_logits(model(**model_inputs(batch)), batch)
            ce = _cross_entropy(logits, batch["labels"], counts)
            return LossParts(ce, ce.detach(), torch.zeros_like(ce), _correct(logits, batch), logits.detach(), None)
        if self.regularizer.labelled_only:
            batch = _labelled_rows(batch)
        clean = self.regularizer.clean_pass(model, batch)
        ce = _cross_entropy(clean.logits, batch["labels"], counts)
        values = self.regularizer.penalty(model, batch, clean, row_ids=batch.get("row_id"))
        rows = counts.labelled if self.regularizer.labelled_only else counts.rows
        r = (values * _weights(batch).to(values)).sum() / max(rows, 1)
        loss, correct = ce + self.alpha * r, _correct(clean.logits, batch)
        return LossParts(loss, ce.detach(), r.detach(), correct, clean.logits.detach(), clean)

    def row_weight(self, counts: Counts) -> float:
        """What R of one row weighs relative to the cross-entropy of one labelled row: α · labelled / rows."""
        if self.regularizer is None:
            return 0.0
        return self.alpha * (1.0 if self.regularizer.labelled_only else counts.labelled / max(counts.rows, 1))


def _cross_entropy(logits: Tensor, labels: Tensor, counts: Counts) -> Tensor:
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    heads = logits.shape[1] if logits.dim() == 3 else 1
    flat, targets = logits.flatten(0, -2), labels.to(logits.device).flatten()
    total: Tensor = F.cross_entropy(flat, targets, ignore_index=UNLABELLED, reduction="sum")
    return total / heads / max(counts.labelled, 1)


def _correct(logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
    hits: Tensor = logits.detach().argmax(dim=-1) == batch["labels"].to(logits.device)
    return (hits if hits.dim() == 1 else hits.all(dim=1)).sum()


def _weights(batch: Mapping[str, Any]) -> Tensor:
    weights = batch.get("row_weight")
    return torch.ones(len(batch["labels"])) if weights is None else weights


def _labelled_rows(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The labelled rows; of a batch without any, its first row, so that every rank has a graph to reduce."""
    labels = batch["labels"]
    keep = is_labelled(labels)
    if bool(keep.all()):
        return dict(batch)
    keep[0] |= not bool(keep.any())
    size = len(labels)
    return {k: v[keep] if isinstance(v, Tensor) and v.shape[:1] == (size,) else v for k, v in batch.items()}
