"""What a dtype leaves of noise, and of what noise does to R: both have to be more than rounding."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssl_pdr.errors import ModelError
from ssl_pdr.perturbation import NoiseKey, keyed_normal

# Of the noise of a row, and of R above rounding: with less, what is left teaches rounding.
LEAST_SHARE = 0.5
_ROWS = 16  # over so many, at least, what rounding does to R is averaged
_OCTAVES = 40  # how far from a radius another one is looked for


def check_resolution(
    embeddings: Tensor,
    noise: Tensor,
    *,
    dtype: torch.dtype | None = None,
    radius: float | None = None,
    unit: str = "absolute",
    effect: Callable[[Tensor], Tensor] | None = None,
    instead: str = "float32 without autocast",
) -> None:
    """Refuse noise that the dtype of the computation swallows (bfloat16 loses most of a radius of 1e-3).

    Two things can be lost. The noise itself, where it is rounded at the first layer: of each row half has to be left. And its
    effect, which every later layer rounds, down to the logits: R by rounding alone may be half of R at most.

    Args:
        embeddings: (B, T, E).
        noise: what is added to them, (B, T, E).
        dtype: what the layers compute in; None asks `compute_dtype`, which autocast within the model's own forward escapes.
        radius: what was asked for, in `unit`, to be named in the message; None takes the noise's largest norm.
        unit: `absolute` or `token_norm`.
        effect: from noise, (B, T, E), to R of each row, (B,); None leaves the effect alone.
        instead: what else helps, to be named in the message.

    Raises:
        ModelError: if either is lost; the message says which radius, in steps of a factor of 2, is not.
    """
    fate = Fate(embeddings, noise, compute_dtype(embeddings) if dtype is None else dtype, effect)
    size = float(noise.norm(dim=-1).max())
    if size == 0.0:
        raise ModelError(
            "no noise is left at all: the radius underflows, choose a larger one, or every token is masked"
        )
    if (lost := fate.lost()) is None:
        return
    factor = fate.smallest_factor(at_least=2.0)
    asked = size if radius is None else radius
    larger = "" if factor is None else f"a radius of at least {_rounded_up(asked * factor)}, "
    raise ModelError(
        f"at radius {asked:.3g} ({unit}) {str(fate.dtype).removeprefix('torch.')} {lost}; use {larger}{instead}"
    )


class Fate:
    """What becomes of noise, and of what it does to R, where layers compute in a dtype.

    Args:
        embeddings: (B, T, E).
        noise: what is added to them, (B, T, E).
        dtype: what the layers compute in.
        effect: from noise, (B, T, E), to R of each row, (B,); None leaves the effect alone.
    """

    def __init__(
        self, embeddings: Tensor, noise: Tensor, dtype: torch.dtype, effect: Callable[[Tensor], Tensor] | None
    ) -> None:
        self.dtype = dtype
        self._embeddings = embeddings
        self._noise = noise
        self._effect = effect
        # The logits of a narrow dtype have so few values that those of a single row often do not move at all.
        self._seeds = range(math.ceil(_ROWS / len(embeddings)))
        self._by_rounding: float | None = None

    def lost(self, factor: float = 1.0) -> str | None:
        """What rounding takes at `factor` times the noise, in words; None where half of the noise and of R is left."""
        kept = self._kept(factor)
        if kept < LEAST_SHARE:
            return f"keeps only {kept:.0%} of a row's noise"
        above = self.above(factor)
        return f"leaves only {above:.0%} of R above its rounding" if above < LEAST_SHARE else None

    def above(self, factor: float = 1.0) -> float:
        """How much of R is more than rounding alone makes of it, 1 − R(rounding) / R(noise), in [0, 1]; 1 without `effect`."""
        if self._effect is None:
            return 1.0
        rounding = [rounding_noise(self._embeddings, self.dtype, seed) for seed in self._seeds]
        if self._by_rounding is None:
            self._by_rounding = sum(float(self._effect(some).sum()) for some in rounding)
        total = sum(float(self._effect(factor * self._noise + some).sum()) for some in rounding)
        # NaN, where the logits are no numbers any more, counts as nothing.
        return max(0.0, 1.0 - self._by_rounding / total) if total > 0 else 0.0

    def smallest_factor(self, *, at_least: float = 2.0**-_OCTAVES) -> float | None:
        """The smallest power of 2, from `at_least` on, at whose multiple of the noise nothing is lost; None for none."""
        powers = [at_least * 2.0**k for k in range(2 * _OCTAVES)]
        kept = next((i for i, power in enumerate(powers) if self._kept(power) >= LEAST_SHARE), len(powers))
        return next((power for power in powers[kept : kept + _OCTAVES // 2] if self.lost(power) is None), None)

    def _kept(self, factor: float) -> float:
        return float(resolved_share(self._embeddings, factor * self._noise, self.dtype).min())


def rounding_noise(embeddings: Tensor, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Half a unit in the last place of `dtype` at each entry, with signs by a seeded coin, (B, T, E), no graph.

    As much as rounding to `dtype` moves an entry at most: it turns about half of them into their neighbour.

    Example:
        >>> rounding_noise(torch.tensor([[[1.0, 3.0]]]), torch.bfloat16).abs()
        tensor([[[0.0039, 0.0078]]])
    """
    wide = embeddings.detach().to(torch.promote_types(embeddings.dtype, torch.float32))
    limits = torch.finfo(dtype)
    unit = torch.exp2(wide.abs().clamp_min(limits.tiny).log2().floor()) * limits.eps
    batch, tokens, width = wide.shape
    places = torch.arange(tokens, device=wide.device).expand(batch, tokens)
    coin = keyed_normal(NoiseKey(seed), torch.arange(batch, device=wide.device), places, width) >= 0
    return torch.where(coin, unit, -unit) / 2


def resolved_share(embeddings: Tensor, noise: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """How much of each row's noise is left after rounding `embeddings + noise` to the dtype that the layers compute in.

    Args:
        embeddings: (B, T, E).
        noise: (B, T, E).
        dtype: None asks `compute_dtype`.

    Returns:
        1 − |realised − noise| / |noise|, at least 0 and at most 1; 1 for a row without noise; (B,).
    """
    dtype = compute_dtype(embeddings) if dtype is None else dtype
    found = realised_noise(embeddings, noise, dtype)
    wanted = noise.detach().to(found.dtype)
    # The squares of small noise would underflow.
    largest = wanted.abs().amax(dim=(1, 2), keepdim=True)
    scale = torch.where(largest > 0, largest, torch.ones_like(largest))
    lost, norm = (((found - wanted) / scale).flatten(1).norm(dim=1), (wanted / scale).flatten(1).norm(dim=1))
    return torch.where(norm > 0, 1.0 - lost / norm, torch.ones_like(norm)).clamp(0.0, 1.0)


def realised_noise(embeddings: Tensor, noise: Tensor, dtype: torch.dtype) -> Tensor:
    """What moves in `dtype` where `noise` is added to `embeddings` in theirs, (B, T, E), float32 or better."""
    clean = embeddings.detach()
    wide = torch.promote_types(clean.dtype, torch.float32)
    moved = (clean + noise.detach().to(clean.dtype)).to(dtype)
    return moved.to(wide) - clean.to(dtype).to(wide)


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype that a matrix product with `tensor` runs in: autocast's where it is on."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


def _rounded_up(x: float) -> float:
    """To two digits."""
    digits = 1 - math.floor(math.log10(x))
    return math.ceil(x * 10**digits) / 10**digits if digits > 0 else float(math.ceil(x))
