"""From a batch to what a model takes, and from what it returns to the logits of one posterior or of two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssl_pdr.errors import ModelError

UNLABELLED = -100  # the label of a row without one, as cross_entropy's ignore_index has it
# Keys of a batch that are ours, not the model's.
RESERVED = frozenset({"labels", "label", "row_id", "row_weight", "passage"})


def model_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a batch that goes into the model: labels would make it compute a loss that nobody reads."""
    return {key: value for key, value in batch.items() if key not in RESERVED}


def read_logits(output: Any, batch: Mapping[str, Any]) -> Tensor:
    """The logits of a model's posterior: of classes, or of where an answer starts and where it ends.

    Args:
        output: has `.logits` (B, C), or `.start_logits` and `.end_logits`, each (B, T).
        batch: of T tokens a row; for answers `passage` (B, 3), the first and the last position that may be one, and that of
            the slot for no answer, −1 without. Where it is missing, all positions of `attention_mask` are.

    Returns:
        (B, C); or (B, 2, T), start before end, −inf outside of the support (Cheng et al., NAACL 2021, Eq. 9).

    Raises:
        ModelError: for an output that is neither.

    Example:
        >>> from types import SimpleNamespace
        >>> ends = SimpleNamespace(start_logits=torch.zeros(1, 4), end_logits=torch.ones(1, 4))
        >>> read_logits(ends, {"passage": torch.tensor([[2, 3, 0]])})
        tensor([[[0., -inf, 0., 0.],
                 [1., -inf, 1., 1.]]])
    """
    logits = getattr(output, "logits", None)
    if isinstance(logits, Tensor) and logits.dim() == 2 and logits.shape[1] > 1:
        return logits
    start, end = getattr(output, "start_logits", None), getattr(output, "end_logits", None)
    if isinstance(start, Tensor) and isinstance(end, Tensor):
        both = torch.stack((start, end), dim=1)
        return both.masked_fill(~support(batch, start.shape[1], start.device).unsqueeze(1), -torch.inf)
    got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    raise ModelError(
        f"expected logits of shape (batch, classes) with 2 classes or more, or of start and end, got {got}"
    )


def support(batch: Mapping[str, Any], length: int, device: torch.device | None = None) -> Tensor:
    """The positions at which an answer may start or end, (B, T), bool; see `read_logits`."""
    if (passage := batch.get("passage")) is None:
        ids: Tensor = batch["input_ids"]
        return batch.get("attention_mask", torch.ones_like(ids)).to(device=device, dtype=torch.bool)  # type: ignore[no-any-return]
    places = torch.arange(length, device=device)
    first, last, null = passage.to(device).unsqueeze(-1).unbind(dim=1)
    supported: Tensor = ((places >= first) & (places <= last)) | (places == null)
    return supported


def per_row(values: Tensor) -> Tensor:
    """One number a row, (B,): of start and end, (B, 2), the average (Cheng et al., NAACL 2021, Eq. 9)."""
    return values if values.dim() == 1 else values.mean(dim=1)


def row_weights(batch: Mapping[str, Any]) -> Tensor:
    """What each row counts, (B,): zero for padding rows."""
    weights = batch.get("row_weight")
    return torch.ones(len(batch["labels"])) if weights is None else weights


def is_labelled(labels: Tensor) -> Tensor:
    """Which rows have a label, (B,), bool; the labels are (B,), or (B, 2) for start and end, −100 without."""
    return (labels if labels.dim() == 1 else labels[:, 0]) != UNLABELLED
