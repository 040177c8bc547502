"""Is the regularizer doing anything? What of the noise survives the dtype that a model computes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.perturbation import mean_token_norm, noise_radius, resolved_share, token_mask
from ssl_pdr.regularizers import RPT

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
RESOLVED = 0.9  # share of the noise from which on a radius counts as resolved


@dataclass(frozen=True)
class Resolution:
    """What one dtype makes of the noise at a site.

    Attributes:
        dtype: name of the dtype.
        token_norm: mean L2 norm of a token's embedding at the site.
        radius: L2 norm of a token's noise.
        share: of the noise that is left after rounding, in [0, 1].
        smallest_radius: radius, in steps of a factor of 2, from which 90 % is left.
    """

    dtype: str
    token_norm: float
    radius: float
    share: float
    smallest_radius: float


def resolution(model: nn.Module, inputs: Mapping[str, Any], regularizer: RPT) -> list[Resolution]:
    """How much of `regularizer`'s noise float32, float16 and bfloat16 resolve on this model and batch.

    Args:
        model: returns `.logits`.
        inputs: one batch.
        regularizer: gives site, radius and unit; its random noise is what is rounded.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> rows = resolution(BertForSequenceClassification(tiny), inputs, RPT("kl", 1e-3, radius_unit="absolute"))
        >>> [row.dtype for row in rows], rows[0].share > 0.9, rows[2].share < 0.9
        (['float32', 'float16', 'bfloat16'], True, True)
    """
    with torch.no_grad():
        clean = regularizer.clean_pass(model, inputs)
        noise = regularizer.noise(model, inputs, clean)
    assert clean.embeddings is not None  # noqa: S101
    mask = token_mask(inputs, clean.embeddings)
    radius = float(noise_radius(regularizer.radius, regularizer.radius_unit, clean.embeddings, mask).mean())
    norm = float(mean_token_norm(clean.embeddings, mask).mean())
    return [_resolution(dtype, clean.embeddings, noise, norm, radius) for dtype in DTYPES]


def _resolution(dtype: torch.dtype, embeddings: Tensor, noise: Tensor, norm: float, radius: float) -> Resolution:
    rounded = embeddings.to(dtype)
    unit = noise / max(radius, torch.finfo(torch.float32).tiny)
    sizes = (norm * 2.0**k for k in range(-24, 8))
    smallest = next((size for size in sizes if resolved_share(rounded, unit * size) >= RESOLVED), float("inf"))
    return Resolution(str(dtype).removeprefix("torch."), norm, radius, resolved_share(rounded, noise), smallest)
