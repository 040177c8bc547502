"""Is the regularizer doing anything? What a dtype leaves of its noise and of R, and what of R dropout makes by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.perturbation import NoiseKey, directions, keyed_normal, mean_token_norm, noise_radius, token_positions
from ssl_pdr.regularizers import RPT, CleanPass, RDrop, Regularizer
from ssl_pdr.resolution import Fate, realised_noise, resolved_share, rounding_noise

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Rounding:
    """What the dtype of a clean pass does to noise and to R, row by row, no graph.

    Attributes:
        noise_norm: mean L2 norm of what a token moves by after rounding, (B,); longer than the noise where rounding prevails.
        noise_kept: share of the noise that is left after rounding, in [0, 1], (B,).
        r_rounding: R where nothing but rounding moves the embeddings, (B,): 1 − r_rounding / R is the share above it.
    """

    noise_norm: Tensor
    noise_kept: Tensor
    r_rounding: Tensor


def rounding(
    model: nn.Module, inputs: Mapping[str, Any], regularizer: Regularizer | None, clean: CleanPass
) -> Rounding | None:
    """How much of a batch's noise the dtype keeps, and what R is by rounding alone; for the log.

    What is kept is asked of random noise of the regularizer's norm, so that the graph of an adversarial search is not needed
    any more. R is taken with the dropout masks of the clean pass. One forward pass; random states stay as they were.

    Args:
        model: returns `.logits`, or `.start_logits` and `.end_logits`.
        inputs: the batch of the clean pass.
        regularizer: gives site, radius and divergence.
        clean: its clean pass, with or without graph.

    Returns:
        None where no noise is added, or R is no divergence: without a regularizer, for `rdrop`, `jr`, `wjr`, `at`, and of order 2.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> model, inputs = BertForSequenceClassification(tiny).bfloat16(), {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> regularizer = RPT("kl", 1e-3)
        >>> found = rounding(model, inputs, regularizer, regularizer.clean_pass(model, inputs))
        >>> bool(found.noise_kept < 0.5)
        True
    """
    if not isinstance(regularizer, RPT) or regularizer.labelled_only or regularizer.order == 2:
        return None
    embeddings, mask = clean.at_site
    with torch.no_grad():
        rows = torch.arange(len(embeddings), device=embeddings.device)
        normal = keyed_normal(NoiseKey(regularizer.seed), rows, token_positions(mask), embeddings.shape[-1])
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        size = noise_radius(regularizer.radius, regularizer.radius_unit, embeddings, mask)
        noise = size * directions(normal.to(wide), mask, regularizer.norm)
        by_rounding = regularizer.at_noise(model, inputs, clean, rounding_noise(embeddings, clean.dtype))
        moved = realised_noise(embeddings, noise, clean.dtype)
        return Rounding(mean_token_norm(moved, mask), resolved_share(embeddings, noise, clean.dtype), by_rounding)


@dataclass(frozen=True)
class Resolution:
    """What one dtype makes of a regularizer's noise; but for its name, None where the machine cannot compute in it.

    Attributes:
        dtype: name of the dtype, of autocast where it is not float32.
        token_norm: mean L2 norm of a token's embedding at the site.
        radius: mean L2 norm of a token's noise.
        realised: mean L2 norm of what a token moves by after rounding; larger than the radius where rounding prevails.
        share: of the noise that is left after rounding, in [0, 1].
        r: mean R at this noise, dropout masks repeated.
        r_rounding: mean R where nothing but rounding moves the embeddings.
        above: share of R above rounding, in [0, 1].
        smallest_radius: in the regularizer's unit and steps of a factor of 2, that training does not refuse; None for none.
        note: why the machine cannot compute in this dtype; empty where it can.
    """

    dtype: str
    token_norm: float | None = None
    radius: float | None = None
    realised: float | None = None
    share: float | None = None
    r: float | None = None
    r_rounding: float | None = None
    above: float | None = None
    smallest_radius: float | None = None
    note: str = ""


def resolution(model: nn.Module, inputs: Mapping[str, Any], regularizer: RPT) -> list[Resolution]:
    """What float32, float16 and bfloat16 make of `regularizer`'s noise on this model and batch; each is run, not guessed.

    Args:
        model: returns `.logits`; with float32 weights, so that autocast decides.
        inputs: one batch.
        regularizer: its noise is what is looked at.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> rows = resolution(BertForSequenceClassification(tiny), inputs, RPT("kl", 1e-3, radius_unit="absolute"))
        >>> [row.dtype for row in rows], rows[0].share > 0.9, rows[2].share < 0.9
        (['float32', 'float16', 'bfloat16'], True, True)
    """
    device = next(model.parameters()).device.type
    found = []
    for dtype in DTYPES:
        try:
            with torch.autocast(device, None if dtype == torch.float32 else dtype, enabled=dtype != torch.float32):
                found.append(_resolution(model, inputs, regularizer))
        except RuntimeError as error:  # torch's way to say that a kernel is missing
            reason = " ".join(str(error).split())[:100]
            found.append(Resolution(_name(dtype), note=f"cannot run on this machine's {device}: {reason}"))
    return found


def _resolution(model: nn.Module, inputs: Mapping[str, Any], regularizer: RPT) -> Resolution:
    clean = regularizer.clean_pass(model, inputs)
    row_ids = torch.arange(len(clean.logits))
    noise = regularizer.noise(model, inputs, clean, row_ids=row_ids)
    clean = clean.without_graph()
    embeddings, mask = clean.at_site

    def effect(noise: Tensor) -> Tensor:
        return regularizer.at_noise(model, inputs, clean, noise)

    fate = Fate(embeddings, noise, clean.dtype, effect)
    factor = fate.smallest_factor()
    return Resolution(
        dtype=_name(clean.dtype),
        token_norm=float(mean_token_norm(embeddings, mask).mean()),
        radius=float(mean_token_norm(noise, mask).mean()),
        realised=float(mean_token_norm(realised_noise(embeddings, noise, clean.dtype), mask).mean()),
        share=float(resolved_share(embeddings, noise, clean.dtype).mean()),
        r=float(effect(noise).mean()),
        r_rounding=float(effect(rounding_noise(embeddings, clean.dtype)).mean()),
        above=fate.above(),
        smallest_radius=None if factor is None else factor * regularizer.radius,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass(frozen=True)
class DropoutShare:
    """How much of a run's own R different dropout masks make by themselves.

    Attributes:
        r: mean R over rows and draws.
        zero: mean R without noise; None where the question makes no sense.
        share: zero / r, which can exceed 1 by chance; None likewise.
    """

    r: float
    zero: float | None
    share: float | None


def dropout_share(
    model: nn.Module, inputs: Mapping[str, Any], regularizer: Regularizer, draws: int = 8
) -> DropoutShare:
    """The share of R that is left at zero noise, in training mode, averaged over several draws of masks and noise.

    R-Drop is dropout altogether (1); with masks that are shared or off nothing of R is (0); a Jacobian norm has no noise
    to leave out, and adversarial training is a cross-entropy then (None).
    """
    values, zeros = [], []
    was_training = model.training
    model.train()
    try:
        for _ in range(draws):
            clean = regularizer.clean_pass(model, inputs)
            zero = regularizer.at_zero_noise(model, inputs, clean)
            values.append(regularizer.penalty(model, inputs, clean).detach())
            if zero is not None:
                zeros.append(zero)
    finally:
        model.train(was_training)
    r = float(torch.stack(values).mean())
    if isinstance(regularizer, RDrop):
        zero_mean: float | None = r
    elif zeros:
        zero_mean = float(torch.stack(zeros).mean())
    else:
        zero_mean = 0.0 if hasattr(regularizer, "divergence") and not regularizer.labelled_only else None
    return DropoutShare(r, zero_mean, zero_mean / r if zero_mean is not None and r > 0 else None)
