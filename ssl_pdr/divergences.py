"""f-divergences between two posteriors, from log-probabilities or, more exactly, from logits.

The direction is fixed once for the whole project (Cheng et al., NAACL 2021, Eq. 6). With p the clean posterior, q the
noisy one and t = q/p,

    D_g(q ‖ p) = Σ_i p_i · g(q_i / p_i),   g convex, g(1) = 0, normalised so that g'(1) = 0,

so every term is ≥ 0 and nothing cancels between classes. `kl` is KL(p ‖ q): the clean posterior is the target.

Adversarial noise is tiny, so p ≈ q is the normal case. There log q − log p, taken from two rounded log-softmaxes, is
wrong by per cents, and expm1(d) − d, taken literally, by orders of magnitude. Hence the functions below take three
views of the same pair, each exact where the others are not: log p, log q and the log ratio d = log q − log p.

    >>> z_clean, z_noisy = torch.tensor([[2.0, 0.5, -1.0]]), torch.tensor([[1.5, 0.5, -0.5]])
    >>> get_divergence("shl").from_logits(z_clean, z_noisy)
    tensor([0.0114])
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor

from ssl_pdr.errors import ConfigError
from ssl_pdr.registry import Registry

__all__ = [
    "Divergence",
    "get_divergence",
    "list_divergences",
    "register_divergence",
    "register_divergence_family",
    "unregister_divergence",
]

Form: TypeAlias = Literal["log_q", "log_ratio"]
DivergenceFunction = TypeVar("DivergenceFunction", bound=Callable[..., Tensor])
Factory = TypeVar("Factory", bound=Callable[[float], "Divergence"])


@dataclass(frozen=True)
class Divergence:
    """An f-divergence D_g(q ‖ p) = Σ_i p_i · g(q_i / p_i): a function, and what is known about it as data.

    Call it with log-probabilities, or better call `from_logits`. Nothing is detached: gradient flows to both
    arguments, and which side is the target is the regularizer's choice. Value and gradient are 0 at p = q. A class
    with p_i = q_i = 0 (−inf on both sides) is outside the support and contributes neither; p_i = 0 < q_i gives
    q_i · lim g(t)/t and q_i = 0 < p_i gives p_i · g(0), either of which may be inf. A row without support gives 0.

    Args:
        name: the name that `get_divergence` knows it by.
        function: what computes it; its arguments depend on `form`.
        symmetric: whether D(p, q) = D(q, p).
        bound: the least upper bound, `math.inf` if there is none. Values respect it up to rounding.
        curvature: g''(1). To second order D = g''(1)/2 · Σ (q_i − p_i)²/p_i (Eq. 7), so divergences are comparable at
            matched curvature · α. None if g is not smooth at 1.
        generator: the normalised g, on floats, NumPy arrays and tensors; for checks, not for training.
        form: "log_q" for `function(log_p, log_q)`, which may be a textbook formula and is evaluated in float64;
            "log_ratio" for `function(log_p, log_q, d)`, which is accurate in the dtype it is given.

    Example:
        >>> kl = get_divergence("kl")
        >>> kl.symmetric, kl.bound, kl.curvature
        (False, inf, 1.0)
        >>> kl(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log())
        tensor([0.1438])
    """

    name: str
    function: Callable[..., Tensor] = field(repr=False, compare=False)
    _: KW_ONLY
    symmetric: bool
    bound: float = math.inf
    curvature: float | None = None
    generator: Callable[[Any], Any] | None = field(default=None, repr=False, compare=False)
    form: Form = field(default="log_q", repr=False)

    def __post_init__(self) -> None:
        if self.form not in ("log_q", "log_ratio"):
            raise ConfigError(f"divergence {self.name!r}: got form {self.form!r}; write 'log_q' or 'log_ratio'")
        for trait, value in (("bound", self.bound), ("curvature", self.curvature)):
            if value is not None and not value > 0:
                raise ConfigError(f"divergence {self.name!r}: got {trait} {value}; give a number above 0")

    def __call__(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """The divergence of each row from normalised log-probabilities, clean first.

        Prefer `from_logits` in training: where p and q differ by 1e-5, rounding in a float32 log-softmax alone
        changes the result by 1 to 13 %.

        Args:
            log_p: clean log-probabilities, shape (..., C), any floating dtype; half precision is computed in float32.
            log_q: noisy log-probabilities, same shape.

        Returns:
            Shape (...), in [0, bound]; float32 for half-precision arguments, else their dtype.

        Raises:
            ConfigError: the shapes differ or a dtype is not floating.
        """
        log_p, log_q = _comparable(log_p, log_q)
        if self.form == "log_q":
            return self._in_float64(log_p, log_q)
        log_p, log_q = _fill_outside(log_p, log_q)
        return self.function(log_p, log_q, log_q - log_p)

    def from_logits(self, z_p: Tensor, z_q: Tensor) -> Tensor:
        """The divergence of each row from logits, clean first: the exact way in.

        In float32 it agrees with float64 on the same logits to better than 1e-3 at logit differences of 1e-5, and is
        finite with a finite gradient at logits of ±1e4. Only `chi2`, `neyman` and `power:a` outside [0, 1] may be
        inf where float64 is not: their value itself (q²/p) then has no float32.

        Args:
            z_p: clean logits, shape (..., C), any floating dtype; −inf or very low on both sides masks a class.
            z_q: noisy logits, same shape.

        Returns:
            Shape (...), in [0, bound]; float32 for half-precision arguments, else their dtype.

        Raises:
            ConfigError: the shapes differ or a dtype is not floating.

        Example:
            >>> z = torch.tensor([[1.0, 2.0, 3.0]])
            >>> noise = torch.tensor([[1e-4, 0.0, 0.0]])
            >>> print(f"{get_divergence('kl').from_logits(z, z + noise).item():.3g}")
            4.1e-10
        """
        z_p, z_q = _comparable(z_p, z_q)
        if self.form == "log_q":
            return self._in_float64(z_p, z_q)
        z_p, z_q = _fill_outside(z_p, z_q)
        log_p, log_q = z_p.log_softmax(-1), z_q.log_softmax(-1)
        return self.function(log_p, log_q, _log_ratio(z_p, z_q, log_p, log_q))

    def _in_float64(self, z_p: Tensor, z_q: Tensor) -> Tensor:
        """A textbook formula where it does no harm: float64 where there is any, normalised, no 0/0 and no 0·inf."""
        dtype = torch.float32 if z_p.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        low, tiny = torch.finfo(dtype).min, math.log(torch.finfo(dtype).tiny)
        log_p, log_q = (z.log_softmax(-1).clamp(min=low) for z in _fill_outside(z_p.to(dtype), z_q.to(dtype)))
        negligible = torch.maximum(log_p, log_q) < tiny
        log_p, log_q = log_p.masked_fill(negligible, tiny), log_q.masked_fill(negligible, tiny)
        return self.function(log_p, log_q).to(z_p.dtype)


# --- From two tensors to the three views ------------------------------------------------------------------------------


def _comparable(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype of at least float32. Broadcasting is refused: (B, C) against (B, 1, C) is a silent B × B."""
    if a.shape != b.shape or a.ndim == 0:
        raise ConfigError(f"got shapes {tuple(a.shape)} and {tuple(b.shape)}; give two tensors of one shape (..., C)")
    if not (a.is_floating_point() and b.is_floating_point()):
        raise ConfigError(f"got dtypes {a.dtype} and {b.dtype}; give floating-point tensors")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _fill_outside(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """−inf on both sides becomes the lowest finite number, without gradient: probability 0, and no inf − inf."""
    outside = (a == -math.inf) & (b == -math.inf)
    low = torch.finfo(a.dtype).min
    return a.masked_fill(outside, low), b.masked_fill(outside, low)


def _log_ratio(z_p: Tensor, z_q: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """D = log q − log p by way of δ = z_q − z_p, which is nearly free of rounding: d = δ − log1p(Σ p·expm1 δ).

    δ is taken relative to the likeliest clean class, which changes nothing in d and makes Σ p·expm1 δ small, and
    exact also where p is saturated. Where that sum is large a good part of the mass has moved: then d is of order 1,
    plain subtraction is accurate and, unlike the first form, cannot overflow.
    """
    delta = z_q - z_p
    finite = delta.isfinite()
    delta = delta.masked_fill(~finite, 0.0)
    delta = delta - delta.gather(-1, log_p.argmax(-1, keepdim=True)).detach()
    # The cap on the exponent makes the sum exceed 1/2 in any case, so it decides nothing but the overflow.
    moved = _gap(log_p, (log_p + delta).clamp(max=1.0), delta).sum(-1, keepdim=True)
    near = finite.all(-1, keepdim=True) & (moved.abs() < 0.5)
    return torch.where(near, delta - moved.masked_fill(~near, 0.0).log1p(), log_q - log_p)


# --- Pieces of the formulas -------------------------------------------------------------------------------------------


def _gap(log_a: Tensor, log_b: Tensor, d: Tensor) -> Tensor:
    """B − a for d = log b − log a, to full relative accuracy: the larger of the two times an expm1 of −|d|.

    Written with two branches and not with abs(), whose derivative at d = 0 would be 0 instead of a.
    """
    rise = -log_b.exp() * torch.expm1(-d.clamp(min=0.0))
    fall = log_a.exp() * torch.expm1(d.clamp(max=0.0))
    return torch.where(d > 0, rise, fall)


def _times(weight: Tensor, d: Tensor) -> Tensor:
    """Weight · d with 0 · ±inf = 0."""
    return weight * d.masked_fill((weight == 0) & d.isinf(), 0.0)


def _power_terms(log_p: Tensor, log_q: Tensor, d: Tensor, a: float) -> Tensor:
    """P · (e^d − 1 − (e^{ad} − 1)/a) / (1 − a), the terms of `power:a` for a ≤ 1/2; (e^{ad} − 1)/a is d at a = 0.

    A small d cancels twice, so it goes by the series Σ_{k≥2} (1 + a + … + a^{k−2}) d^k / k!, whose remainder after
    k = 12 is below float64 rounding for |d| and |ad| up to 1/4.
    """
    radius = 0.25 / max(1.0, abs(a))
    near = d.clamp(-radius, radius)
    series = torch.zeros_like(d)
    for k in range(12, 1, -1):
        series = series * near + sum(a**j for j in range(k - 1)) / math.factorial(k)
    if abs(a) < 1e-20:  # a·d would underflow in float32, and the difference from the limit is far below rounding
        tangent = _times(log_p.exp(), d)
    else:
        log_mixed = torch.where(log_p == -math.inf, log_p, log_p + a * d)  # p^(1−a) q^a, which is 0 where p is
        tangent = _gap(log_p, log_mixed, a * d) / a
    far = (_gap(log_p, log_q, d) - tangent) / (1.0 - a)
    return torch.where(d.abs() < radius, log_p.exp() * near.square() * series, far)


def _log_mean_ratio(d: Tensor) -> Tensor:
    """log((1 + e^d)/2), the log ratio from p to the mean of p and q, accurate for small d and for large."""
    rise = d + (0.5 * torch.expm1(-d.clamp(min=0.0))).log1p()
    fall = (0.5 * torch.expm1(d.clamp(max=0.0))).log1p()
    return torch.where(d > 0, rise, fall)


def _xp(t: Any) -> Any:
    """The module whose functions take t: a generator serves tensors, arrays and floats alike."""
    return torch if isinstance(t, Tensor) else np


# --- The registry -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Family:
    """Divergences with one real parameter, `name:value`; the bare name means `default`."""

    build: Callable[[float], Divergence]
    default: float


_DIVERGENCES: Registry[Divergence | _Family] = Registry("divergence")


def _register(name: str, item: Divergence | _Family) -> None:
    if not name or ":" in name:
        raise ConfigError(f"got the divergence name {name!r}; choose one without ':', which introduces a parameter")
    _DIVERGENCES.register(name, item)


def register_divergence(
    name: str,
    *,
    symmetric: bool,
    bound: float = math.inf,
    curvature: float | None = None,
    generator: Callable[[Any], Any] | None = None,
    form: Form = "log_q",
) -> Callable[[DivergenceFunction], DivergenceFunction]:
    """Make a function of two posteriors available by name, everywhere that a divergence can be chosen.

    The default form is `f(log_p, log_q)`, a textbook formula. It is evaluated in float64, on normalised inputs, with
    log-probabilities that are finite, and positive probabilities wherever one side has any; so it stays exact near
    p = q and need not think of masks. (Write √p as `(log_p / 2).exp()`: sqrt has no gradient at 0.)

    Args:
        name: how it will be called; no colon.
        symmetric: see `Divergence`, as for the other traits. The test battery holds them against the function.
        bound: the least upper bound.
        curvature: g''(1), or None.
        generator: the normalised g, or None.
        form: "log_q" or "log_ratio", for functions f(log_p, log_q, d) of their own accuracy.

    Returns:
        A decorator that returns the function unchanged, so that it can be tested and used by itself.

    Raises:
        ConfigError: the name is taken or contains a colon, or a trait cannot be.

    Example:
        >>> @register_divergence("triangular", symmetric=True, bound=2.0, curvature=1.0)
        ... def triangular_discrimination(log_p: Tensor, log_q: Tensor) -> Tensor:
        ...     p, q = log_p.exp(), log_q.exp()
        ...     return ((p - q).square() / (p + q)).sum(-1)
        >>> get_divergence("triangular").from_logits(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 2.0]]))
        tensor([0.0491])
        >>> unregister_divergence("triangular")
    """

    def decorate(function: DivergenceFunction) -> DivergenceFunction:
        traits: dict[str, Any] = {"symmetric": symmetric, "bound": bound, "curvature": curvature}
        _register(name, Divergence(name, function, **traits, generator=generator, form=form))
        return function

    return decorate


def register_divergence_family(name: str, *, default: float) -> Callable[[Factory], Factory]:
    """Make divergences with one real parameter available as `name:value`.

    Args:
        name: the part before the colon.
        default: the parameter that the bare name stands for, so that every listed name can be constructed.

    Returns:
        A decorator for a factory from a finite number to a `Divergence`; it returns the factory unchanged. The
        factory raises `ConfigError` for a number that it has no divergence for.

    Raises:
        ConfigError: the name is taken or contains a colon.

    Example:
        >>> get_divergence("power:2").curvature, get_divergence("power").name
        (1.0, 'power:0.5')
    """

    def decorate(factory: Factory) -> Factory:
        _register(name, _Family(factory, default))
        return factory

    return decorate


def get_divergence(name: str | Divergence) -> Divergence:
    """The divergence called `name`; a `Divergence` is returned as it is.

    Args:
        name: one of `list_divergences()`, with a parameter after a colon where the divergence has one (`power:2`).

    Returns:
        The divergence; `get_divergence(d.name)` equals `d`.

    Raises:
        UnknownNameError: there is none of that name.
        ConfigError: the parameter is missing, superfluous, not a finite number or out of range.

    Example:
        >>> get_divergence("jsd").bound == math.log(2)
        True
    """
    if isinstance(name, Divergence):
        return name
    base, colon, parameter = name.partition(":")
    item = _DIVERGENCES.get(base)
    if isinstance(item, Divergence):
        if colon:
            raise ConfigError(f"got divergence {name!r}; {base!r} takes no parameter, write {base!r}")
        return item
    return item.build(_finite(name, parameter) if colon else item.default)


def _finite(name: str, parameter: str) -> float:
    try:
        value = float(parameter)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"got divergence {name!r}; after the colon give a finite number, as in 'power:0.5'")
    return value


def list_divergences() -> list[str]:
    """The names that there are, sorted; a family is listed by its bare name.

    Example:
        >>> {"kl", "shl", "jsd"} <= set(list_divergences())
        True
    """
    return list(_DIVERGENCES)


def unregister_divergence(name: str) -> None:
    """Remove a divergence or a family, so that a notebook cell or a test can register it anew.

    Raises:
        UnknownNameError: there is none of that name.
    """
    _DIVERGENCES.unregister(name)


# --- The divergences: log_p, log_q and d of shape (..., C), to shape (...) --------------------------------------------


@register_divergence("kl", symmetric=False, curvature=1.0, generator=lambda t: t - 1 - _xp(t).log(t), form="log_ratio")
def kl(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ p (log p − log q), in [0, ∞): the clean posterior is the target (Eq. 4).

    inf where q_i = 0 < p_i. The common choice for VAT; prefer `shl` or `jsd` where confident rows must not dominate.
    """
    return _power_terms(log_p, log_q, d, 0.0).sum(-1)


@register_divergence(
    "reverse_kl", symmetric=False, curvature=1.0, generator=lambda t: t * _xp(t).log(t) - t + 1, form="log_ratio"
)
def reverse_kl(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """KL(q ‖ p) = Σ q (log q − log p), in [0, ∞), inf where p_i = 0 < q_i; `kl` with the roles exchanged.

    It lets q drop classes of p but not take up new ones; prefer `kl` for the reverse.
    """
    return kl(log_q, log_p, -d)


@register_divergence(
    "shl", symmetric=True, bound=1.0, curvature=0.25, generator=lambda t: (t**0.5 - 1) ** 2 / 2, form="log_ratio"
)
def shl(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Squared Hellinger distance ½ Σ (√p − √q)², in [0, 1]: symmetric, bounded, finite on any support.

    The paper's best on average beside `jsd`, and the cheapest of the smooth ones here.
    """
    return 0.5 * _gap(log_p / 2, log_q / 2, d / 2).square().sum(-1)


@register_divergence(
    "jsd",
    symmetric=True,
    bound=math.log(2),
    curvature=0.25,
    generator=lambda t: (t * _xp(t).log(t) - (1 + t) * _xp(t).log((1 + t) / 2)) / 2,
    form="log_ratio",
)
def jsd(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Jensen-Shannon divergence ½ KL(p ‖ m) + ½ KL(q ‖ m), m = (p + q)/2, in [0, log 2], finite on any support.

    Close to `shl` in behaviour, with the units of `kl`. (The authors' released classification JSD has no gradient.)
    """
    from_p, from_q = _log_mean_ratio(d), _log_mean_ratio(-d)
    log_m = torch.where(d > 0, log_q + from_q, log_p + from_p)
    return 0.5 * (kl(log_p, log_m, from_p) + kl(log_q, log_m, from_q))


@register_divergence(
    "jeffreys", symmetric=True, curvature=2.0, generator=lambda t: (t - 1) * _xp(t).log(t), form="log_ratio"
)
def jeffreys(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Symmetric KL, KL(p ‖ q) + KL(q ‖ p) = Σ (q − p)(log q − log p), in [0, ∞), inf where either support is larger.

    The choice of SMART (Jiang et al., ACL 2020); twice the scale of `kl`. Prefer `jsd` for a bounded one.
    """
    return _times(_gap(log_p, log_q, d), d).sum(-1)


@register_divergence("chi2", symmetric=False, curvature=2.0, generator=lambda t: (t - 1) ** 2, form="log_ratio")
def chi2(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Pearson's χ² = Σ (q − p)²/p, in [0, ∞), inf where p_i = 0 < q_i.

    Grows like e^d with the log ratio, in float32 to inf from logit differences of about 90; prefer `kl` unless
    p is far from saturated.
    """
    return _gap(log_p / 2, log_q - log_p / 2, d).square().sum(-1)


@register_divergence("neyman", symmetric=False, curvature=2.0, generator=lambda t: (t - 1) ** 2 / t, form="log_ratio")
def neyman(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Neyman's χ² = Σ (q − p)²/q, in [0, ∞), inf where q_i = 0 < p_i; `chi2` with the roles exchanged."""
    return chi2(log_q, log_p, -d)


@register_divergence("tv", symmetric=True, bound=1.0, generator=lambda t: abs(t - 1) / 2, form="log_ratio")
def tv(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Total variation ½ Σ |q − p|, in [0, 1].

    Not smooth at p = q, where its gradient is set to 0 and Eq. 7 does not hold: no exact direction, no `order=2`.
    Prefer `shl`, which bounds it from both sides.
    """
    return 0.5 * _gap(log_p, log_q, d).abs().sum(-1)


@register_divergence_family("power", default=0.5)
def power(a: float) -> Divergence:
    """The Cressie-Read family, g(t) = (t^a − 1 − a(t − 1)) / (a(a − 1)), all with g''(1) = 1.

    `power:0` is `kl` and `power:1` is `reverse_kl` (the limits), `power:0.5` is 4 · `shl` and the default, being the
    symmetric one; `power:2` and `power:-1` are half of `chi2` and `neyman`. A small a > 0 is a bounded `kl`.
    """
    if not -100.0 <= a <= 100.0:
        raise ConfigError(f"got divergence 'power:{a:g}'; give a parameter from -100 to 100, as in 'power:0.5'")
    return Divergence(
        f"power:{str(a).removesuffix('.0')}",
        partial(_power, a=a),
        symmetric=a == 0.5,
        bound=1 / (a * (1 - a)) if 0 < a < 1 else math.inf,
        curvature=1.0,
        generator=partial(_power_generator, a=a),
        form="log_ratio",
    )


def _power(log_p: Tensor, log_q: Tensor, d: Tensor, a: float) -> Tensor:
    """Exchanging p and q turns a into 1 − a; one half of the line keeps 1 − a away from 0."""
    if a > 0.5:
        return _power(log_q, log_p, -d, 1.0 - a)
    return _power_terms(log_p, log_q, d, a).sum(-1)


def _power_generator(t: Any, a: float) -> Any:
    if a > 0.5:
        return t * _power_generator(1 / t, 1.0 - a)
    log_t = _xp(t).log(t)
    tangent = _xp(t).expm1(a * log_t) / a if a else log_t
    return (t - 1 - tangent) / (1 - a)
