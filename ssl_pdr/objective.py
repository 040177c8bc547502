"""The training objective: cross-entropy over labelled rows plus α times R over all rows, from one clean pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_pdr.alignment import Marginals, check_alignment
from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import UNLABELLED, is_labelled, model_inputs, read_logits, row_weights
from ssl_pdr.regularizers.base import CleanPass, Regularizer
from ssl_pdr.sites import undistributed

# Gradient with respect to the log-odds that a saturated row gets at least: too small to move a parameter, large enough to point
# somewhere; float16 cannot hold it, and has its direction from a product.
_LEAST = 1e-20


@dataclass(frozen=True)
class Counts:
    """How many rows one optimizer step holds, over all ranks and accumulation steps."""

    labelled: int
    rows: int

    @classmethod
    def of(cls, *batches: Mapping[str, Any]) -> Counts:
        """The counts of the given batches; rows of weight zero are padding and do not count."""
        labelled = sum(int(is_labelled(batch["labels"]).sum()) for batch in batches)
        rows = sum(int((row_weights(batch) > 0).sum()) for batch in batches)
        return cls(labelled, rows)


@dataclass(frozen=True)
class LossParts:
    """A batch's loss and what it is made of.

    Attributes:
        loss: `ce + α · regularization`, a scalar; with graph, except for what has been differentiated already.
        ce: this batch's share of the mean cross-entropy over labelled rows, a scalar without graph.
        regularization: this batch's share of the mean R over all rows, a scalar without graph.
        correct: how many labelled rows of this batch are answered rightly, start and end both, a scalar.
        logits: of the rows that went through the model, (B', C) or (B', 2, T), without graph.
        passes: the parts that the batch was cut into, and the clean pass of each, without graph; none without a regularizer.
    """

    loss: Tensor
    ce: Tensor
    regularization: Tensor
    correct: Tensor
    logits: Tensor
    passes: tuple[tuple[Mapping[str, Any], CleanPass], ...] = ()


class Objective:
    """mean CE over labelled rows + α · mean R over all rows (Cheng et al., NAACL 2021, Eq. 2), by global counts.

    A batch is what the model takes, plus `labels` (B,) with −100 for rows without a label and, where wanted, `row_id`
    (B,), which keys the noise. For answers in a passage the labels are (B, 2), positions of start and end, whose
    cross-entropies are averaged, and `passage` says which positions there are. The clean forward pass is shared by both terms. With α = 0 or without a regularizer
    it is plain fine-tuning, and rows without a label do not enter the model.

    Args:
        regularizer: R, or None.
        alpha: α ≥ 0.
        align: decay in [0, 1) of the running means by which the classes of R's target become as frequent as those of labelled rows
            (see `Marginals`); 0 is off. The target is a constant then, so R has to detach its clean side.

    Attributes:
        marginals: the running means where `align` is on, else None; after each optimizer step call `objective.marginals.update()`,
            as `PDRTrainer` does.

    Raises:
        ConfigError: for an α that is negative or not finite, or an alignment that means nothing to the regularizer.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> from ssl_pdr import RPT
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> model = BertForSequenceClassification(tiny)
        >>> batch = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([1, -100])}
        >>> Objective(RPT("shl"), alpha=1.0)(model, batch).loss.backward()
    """

    def __init__(self, regularizer: Regularizer | None, alpha: float = 1.0, align: float = 0.0) -> None:
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ConfigError(f"alpha must be a finite number of at least 0, got {alpha}")
        self.regularizer = regularizer if alpha > 0 else None
        self.alpha = alpha
        check_alignment(align, self.regularizer)
        self.marginals = Marginals(align) if align else None

    def __call__(
        self,
        model: nn.Module,
        batch: Mapping[str, Any],
        counts: Counts | None = None,
        *,
        backward: Callable[[Tensor], Any] | None = None,
    ) -> LossParts:
        """The loss of one (micro-)batch.

        Where the clean side of R is a constant, labelled and unlabelled rows go through the model apart: for the latter
        no graph to the parameters is built in the clean pass. A distributed wrapper runs exactly once, in the last pass.

        Args:
            model: returns `.logits` (B, C), or `.start_logits` and `.end_logits` (B, T).
            batch: see the class.
            counts: of the whole optimizer step, so that the losses of its micro-batches on all ranks add up to the
                loss of the step; by default this batch is the whole step.
            backward: what takes a scalar backwards, such as `Tensor.backward` or `accelerator.backward`. Where it helps, the
                cross-entropy is differentiated early, and its gradient at the embeddings is the adversarial direction, which
                saves a backward pass (two classes, clean side detached, exact search). What is left to differentiate is
                in `loss`; do so before the optimizer step, as always.
        """
        counts = Counts.of(batch) if counts is None else counts
        if self.regularizer is None:
            batch = _labelled_rows(batch)
            logits = read_logits(model(**model_inputs(batch)), batch)
            ce = _cross_entropy(logits, batch["labels"], counts)
            return LossParts(ce, ce.detach(), torch.zeros_like(ce), _correct(logits, batch), logits.detach())
        if self.regularizer.labelled_only:
            batch = _labelled_rows(batch)
        places = _parts(batch) if self.regularizer.clean_is_constant else [torch.arange(len(batch["labels"]))]
        parts = []
        for i, rows in enumerate(places):
            part = batch if len(places) == 1 else _select(batch, rows)
            within = model if i == len(places) - 1 else undistributed(model)
            parts.append(self._part(self.regularizer, within, part, counts, backward))
        order = torch.cat(places).argsort().to(parts[0].logits.device)
        return LossParts(
            loss=_sum(part.loss for part in parts),
            ce=_sum(part.ce for part in parts),
            regularization=_sum(part.regularization for part in parts),
            correct=_sum(part.correct for part in parts),
            logits=torch.cat([part.logits for part in parts])[order],
            passes=tuple(one for part in parts for one in part.passes),
        )

    def _part(
        self,
        regularizer: Regularizer,
        model: nn.Module,
        batch: Mapping[str, Any],
        counts: Counts,
        backward: Callable[[Tensor], Any] | None,
    ) -> LossParts:
        """The share of some rows in the loss."""
        apart = regularizer.clean_is_constant and not bool(is_labelled(batch["labels"]).any())
        clean = self._aligned(regularizer.clean_pass(model, batch, hold_still=apart), batch)
        if apart:
            ce = clean.logits.new_zeros((), dtype=torch.promote_types(clean.logits.dtype, torch.float32))
        else:
            early = regularizer.wants_gradient(clean) and torch.finfo(clean.dtype).tiny < _LEAST
            if backward is not None and torch.is_grad_enabled() and early:
                clean, ce = _differentiated(clean, batch["labels"], counts, backward)
            else:
                ce = _cross_entropy(clean.logits, batch["labels"], counts)
        values = regularizer.penalty(model, batch, clean, row_ids=batch.get("row_id"))
        r = _share(values, batch, counts.labelled if regularizer.labelled_only else counts.rows)
        clean = clean.without_graph()
        return LossParts(
            ce + self.alpha * r,
            ce.detach(),
            r.detach(),
            _correct(clean.logits, batch),
            clean.logits,
            ((batch, clean),),
        )

    def _aligned(self, clean: CleanPass, batch: Mapping[str, Any]) -> CleanPass:
        """The clean pass with the target of R, where that is another posterior."""
        if self.marginals is None:
            return clean
        logits = clean.logits.detach()
        target = self.marginals.aligned(logits)
        self.marginals.count(logits, batch)
        return replace(clean, target=target)

    def at_zero_noise(self, model: nn.Module, parts: LossParts, counts: Counts) -> Tensor | None:
        """The share of a batch in the mean R without noise, a scalar; None where that is zero by definition."""
        if self.regularizer is None:
            return None
        shares = []
        for batch, clean in parts.passes:
            values = self.regularizer.at_zero_noise(model, batch, clean)
            if values is not None:
                shares.append(_share(values, batch, counts.rows))
        return _sum(shares) if shares else None

    def r_row_weight(self, counts: Counts) -> float:
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


def _share(values: Tensor, batch: Mapping[str, Any], count: int) -> Tensor:
    """The share of these rows in the mean R over `count` rows, a scalar."""
    return (values * row_weights(batch).to(values)).sum() / max(count, 1)


def _labelled_rows(batch: Mapping[str, Any]) -> Mapping[str, Any]:
    """The labelled rows; of a batch without any, its first row, so that every rank has a graph to reduce."""
    keep = is_labelled(batch["labels"])
    if bool(keep.all()):
        return batch
    keep[0] |= not bool(keep.any())
    return _select(batch, keep.nonzero().squeeze(1))


def _parts(batch: Mapping[str, Any]) -> list[Tensor]:
    """The places of the labelled and of the unlabelled rows, as far as there are any."""
    labelled = is_labelled(batch["labels"]).cpu()
    return [rows for kind in (labelled, ~labelled) if len(rows := kind.nonzero().squeeze(1))]


def _select(batch: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    size = len(batch["labels"])
    return {
        key: value[rows.to(value.device)] if isinstance(value, Tensor) and value.shape[:1] == (size,) else value
        for key, value in batch.items()
    }


def _sum(values: Iterable[Tensor]) -> Tensor:
    """The sum of scalars, of one at least."""
    return torch.stack(list(values)).sum(dim=0)


def _differentiated(
    clean: CleanPass, labels: Tensor, counts: Counts, backward: Callable[[Tensor], Any]
) -> tuple[CleanPass, Tensor]:
    """The clean pass with the gradient of the cross-entropy of two classes, and that cross-entropy, without graph."""
    embeddings, _ = clean.at_site
    logits = clean.logits.float() if clean.logits.dtype.itemsize < 4 else clean.logits
    targets = labels.to(logits.device).unsqueeze(1)
    odds = logits.gather(1, 1 - targets) - logits.gather(1, targets)
    ce: Tensor = _Softplus.apply(odds).sum() / max(counts.labelled, 1)  # type: ignore[no-untyped-call]
    found: list[Tensor] = []
    handle = embeddings.register_hook(found.append)  # type: ignore[no-untyped-call]
    backward(ce)
    handle.remove()
    # Towards the unlikelier class, as the search has it, whatever the label: the coin tosses for the same side.
    wrong = (odds.detach() > 0).unsqueeze(2)
    return replace(clean.without_graph(), gradient=torch.where(wrong, -found[0], found[0])), ce.detach()


class _Softplus(torch.autograd.Function):
    """log(1 + e^x), the cross-entropy of two classes by the log-odds against the label; its gradient never vanishes.

    Through it both logits get the same gradient but for the sign, to the last digit; that of `log_softmax` loses it for rows
    that are sure, and with it the direction.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.softplus(x, threshold=60.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slopes: Tensor = x.sigmoid().clamp_min(_LEAST)
        return gradient * slopes
