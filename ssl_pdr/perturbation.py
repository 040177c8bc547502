"""Noise and its surroundings: keyed random numbers, unit directions per token, the radius, replay of dropout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.errors import ConfigError, ModelError

RADIUS_UNITS = ("absolute", "token_norm")
NORMS = ("token", "sequence")
# Of the noise of a row, and of R above rounding: with less, what is left teaches rounding.
LEAST_SHARE = 0.5
_ROWS = 16  # over so many, at least, what rounding does to R is averaged
_OCTAVES = 40  # how far from a radius another one is looked for


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


def unit_rows(vectors: Tensor, mask: Tensor, fallback: Tensor | None = None) -> Tensor:
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
    """`unit_directions` for the norm `token`, `unit_rows` for `sequence`."""
    scale = unit_directions if norm == "token" else unit_rows
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


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: 2^64 divided by the golden ratio


def _mix(x: Tensor) -> Tensor:
    """Finaliser of SplitMix64 (Steele, Lea and Flood, 2014); int64 products wrap around, as they should."""
    x = (x ^ _shift(x, 30)) * -4658895280553007687
    x = (x ^ _shift(x, 27)) * -7723592293110705685
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; that of int64 tensors keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
