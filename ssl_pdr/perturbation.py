"""Noise and its surroundings: keyed random numbers, unit directions per token, the radius, replay of dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.choices import RADIUS_UNITS
from ssl_pdr.errors import ConfigError, ModelError


@dataclass(frozen=True)
class NoiseKey:
    """What a row's random numbers depend on, beside the row itself: nothing of a batch's layout.

    Attributes:
        seed: the run's seed.
        epoch: pass over the labelled data.
        draw: which of several draws within one step.
    """

    seed: int = 0
    epoch: int = 0
    draw: int = 0


def keyed_normal(key: NoiseKey, rows: Tensor, positions: Tensor, width: int) -> Tensor:
    """Standard normal numbers that are a pure function of (key, row, position, column).

    A counter-based generator (the finaliser of SplitMix64 on a counter, then Box-Muller), so that batch layout,
    padding, ranks, accumulation and resume cannot change the noise of a row; it runs on the device of `rows`.

    Args:
        key: seed, epoch and draw.
        rows: row ids, (B,), int64.
        positions: index of each token within its row, (B, T), int64.
        width: number of columns E.

    Returns:
        (B, T, E), float32.

    Example:
        >>> rows, positions = torch.tensor([7]), torch.tensor([[0, 1]])
        >>> a = keyed_normal(NoiseKey(seed=1), rows, positions, 4)
        >>> b = keyed_normal(NoiseKey(seed=1), rows, positions[:, 1:], 4)
        >>> bool((a[:, 1:] == b).all())
        True
    """
    state = torch.full_like(rows, key.seed)
    for part in (key.epoch, key.draw):
        state = _mix(state + _GOLDEN) ^ part
    state = _mix(_mix(state + _GOLDEN) ^ rows)
    pairs = torch.arange((width + 1) // 2, device=rows.device)
    counter = (positions.unsqueeze(-1) << 24) + pairs + 1
    bits = _mix(state[:, None, None] + counter * _GOLDEN)
    # 24 bits fill a float32's mantissa; the first uniform lies in (0, 1] so that its logarithm is finite.
    first = ((_shift(bits, 40) + 1) * 2.0**-24).float()
    second = ((bits & 0xFFFFFF) * 2.0**-24).float()
    length, angle = torch.sqrt(-2.0 * torch.log(first)), 2.0 * math.pi * second
    normal = torch.stack((length * torch.cos(angle), length * torch.sin(angle)), dim=-1)
    columns: Tensor = normal.flatten(-2)[..., :width]
    return columns


def unit_directions(vectors: Tensor, mask: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Scale each token's vector to unit L2 norm; padding gets zero.

    Args:
        vectors: (B, T, E).
        mask: True for tokens that take noise, (B, T).
        fallback: unit directions for tokens whose vector is zero or not finite (a saturated row has no gradient);
            without it such tokens get zero.

    Returns:
        (B, T, E), same dtype.
    """
    # Gradients of saturated rows can be as small as 1e-40: scale by the largest entry before squaring.
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    usable = (largest > 0) & torch.isfinite(largest)
    scaled = torch.where(
        usable, vectors / torch.where(usable, largest, torch.ones_like(largest)), torch.zeros_like(vectors)
    )
    unit: Tensor = scaled / scaled.norm(dim=-1, keepdim=True).clamp_min(1.0)
    if fallback is not None:
        unit = torch.where(usable, unit, fallback)
    masked: Tensor = unit * mask.unsqueeze(-1)
    return masked


def unit_sequences(vectors: Tensor, mask: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Scale each row, all of its n tokens together, to L2 norm √n: as long as unit directions per token, freely shared out.

    Args:
        vectors: (B, T, E).
        mask: True for tokens that take noise, (B, T).
        fallback: directions for rows that are zero or not finite; without it such rows get zero.

    Returns:
        (B, T, E), same dtype.
    """
    masked = vectors * mask.unsqueeze(-1)
    largest = masked.abs().amax(dim=(1, 2), keepdim=True)
    usable = (largest > 0) & torch.isfinite(largest)
    scaled = torch.where(
        usable, masked / torch.where(usable, largest, torch.ones_like(largest)), torch.zeros_like(masked)
    )
    norm = scaled.flatten(1).norm(dim=1).clamp_min(1.0)
    unit: Tensor = scaled * (mask.sum(dim=1).to(norm).sqrt() / norm)[:, None, None]
    return unit if fallback is None else torch.where(usable, unit, fallback)


def divided(values: Tensor, by: Tensor) -> Tensor:
    """`values / by` where `by`, which is at least 0, is more; `values` elsewhere: for sizes of what may be all zeros."""
    quotient: Tensor = values / torch.where(by > 0, by, torch.ones_like(by))
    return quotient


def directions(vectors: Tensor, mask: Tensor, norm: str, fallback: Tensor | None = None) -> Tensor:
    """`unit_directions` for the norm `token`, `unit_sequences` for `sequence`."""
    scale = unit_directions if norm == "token" else unit_sequences
    return scale(vectors, mask, fallback)


def keyed_sign(key: NoiseKey, rows: Tensor) -> Tensor:
    """A fair coin, 1 or −1, that is a pure function of (key, row), (B, 1, 1), float32."""
    beyond = torch.full_like(rows, 1 << 30).unsqueeze(1)  # where no token is: its noise is another number
    heads = keyed_normal(key, rows, beyond, 1) >= 0
    return torch.where(heads, 1.0, -1.0)


def noise_radius(radius: float, unit: str, embeddings: Tensor, mask: Tensor) -> Tensor:
    """The radius of each row in the units of the embeddings, (B, 1, 1).

    Args:
        radius: c, in `unit`.
        unit: `absolute`, or `token_norm`: relative to the mean L2 norm of the row's own tokens, so that the result does
            not depend on what else is in the batch.
        embeddings: (B, T, E); no gradient flows through their norm.
        mask: True for real tokens, (B, T).
    """
    if unit == "absolute":
        wide = torch.promote_types(embeddings.dtype, torch.float32)
        return embeddings.new_full((len(embeddings), 1, 1), radius, dtype=wide)
    return (radius * mean_token_norm(embeddings, mask))[:, None, None]


def mean_token_norm(embeddings: Tensor, mask: Tensor) -> Tensor:
    """Mean L2 norm of each row's tokens, (B,)."""
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    norms: Tensor = embeddings.detach().norm(dim=-1, dtype=wide) * mask
    return norms.sum(dim=1) / mask.sum(dim=1).clamp_min(1)


def token_mask(inputs: Mapping[str, Any], embeddings: Tensor, *, pads: bool = False) -> Tensor:
    """Which tokens take noise, (B, T), bool: those that the attention mask lets through, or all with `pads`.

    Raises:
        ModelError: if the embeddings are not laid out as (batch, tokens, features).
    """
    mask = inputs.get("attention_mask")
    shape = embeddings.shape[:2]
    if embeddings.dim() != 3 or (isinstance(mask, Tensor) and mask.shape != shape):
        expected = tuple(mask.shape) if isinstance(mask, Tensor) else ("batch", "tokens")
        raise ModelError(
            f"embeddings of shape {tuple(embeddings.shape)} do not fit a batch of {expected}; "
            "a model that removes padding by itself needs attn_implementation='sdpa' or 'eager'"
        )
    if pads or not isinstance(mask, Tensor):
        return torch.ones(shape, dtype=torch.bool, device=embeddings.device)
    return mask.bool()


def token_positions(mask: Tensor) -> Tensor:
    """Index of each token among the row's real tokens, (B, T): padding on either side does not change it."""
    return (mask.long().cumsum(dim=1) - 1).clamp_min(0)


@dataclass(frozen=True)
class RandomState:
    """The state of the generators that dropout draws from, on the CPU and on one device."""

    cpu: Tensor
    device: torch.device
    accelerator: Tensor | None

    @classmethod
    def capture(cls, model: nn.Module) -> RandomState:
        """The present state, for the device that `model` is on."""
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        accelerator = None if device.type == "cpu" else torch.get_device_module(device).get_rng_state(device)
        return cls(torch.get_rng_state(), device, accelerator)

    def restore(self) -> None:
        """Put the generators back into this state."""
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            torch.get_device_module(self.device).set_rng_state(self.accelerator, self.device)


@contextmanager
def replayed(state: RandomState | None, model: nn.Module) -> Iterator[None]:
    """Draw the dropout masks anew from `state`, then go on as if nothing had been drawn; None does nothing."""
    if state is None:
        yield
        return
    present = RandomState.capture(model)
    state.restore()
    try:
        yield
    finally:
        present.restore()


def check_radius(radius: float, unit: str) -> None:
    """Refuse a radius or a unit that makes no sense.

    Raises:
        ConfigError: for a radius that is negative, NaN or infinite, or for an unknown unit.
    """
    if not (math.isfinite(radius) and radius >= 0):
        raise ConfigError(f"radius must be a finite number of at least 0, got {radius}")
    if unit not in RADIUS_UNITS:
        raise ConfigError(f"unknown radius unit {unit!r}; expected one of: {', '.join(RADIUS_UNITS)}")


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: 2^64 divided by the golden ratio


def _mix(x: Tensor) -> Tensor:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, 2014); int64 products wrap around, as they should."""
    x = (x ^ _shift(x, 30)) * -4658895280553007687
    x = (x ^ _shift(x, 27)) * -7723592293110705685
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; that of int64 tensors keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
