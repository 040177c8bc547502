"""f-divergences between two posteriors, accurate where they nearly agree and finite where they saturate.

With p the clean and q the noisy posterior, d = log q − log p and t = q/p = e^d,

    D_g(q ‖ p) = Σ_i p_i · g(t_i),   g convex, g(1) = 0      (Cheng et al., NAACL 2021, Eq. 6).

Each generator is written in its normalised form, g'(1) = 0: adding a multiple of t − 1 changes nothing in the sum, makes every
term ≥ 0 and keeps the sum from cancelling near p = q. What is left to lose is d itself: two float32 log-softmaxes
cost up to 13 % of it at logit differences of 1e-5, so `Divergence.from_logits` takes d from the logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_pdr.errors import ConfigError
from ssl_pdr.registry import Registry

Form = Literal["log_q", "log_ratio"]
Formula = Callable[..., Tensor]

# Up to this |d| a Taylor series replaces a formula that cancels; from there on the formula loses two digits at most.
_SERIES = 0.5
_TERMS = 16  # of the series: enough for float64
_OVERFLOW = 30.0  # e^30 times a probability is far from overflow, in float32 too


@dataclass(frozen=True)
class Divergence:
    """An f-divergence D_g(q ‖ p) = Σ p·g(q/p) and what is known of it; `get_divergence` returns them.

    Attributes:
        name: as `get_divergence` takes it.
        formula: the function that computes it; see `register_divergence`.
        symmetric: whether D(p, q) = D(q, p).
        bound: least upper bound, `math.inf` if there is none.
        curvature: g''(1), the factor of the second-order form (Eq. 7); None where g is not smooth at 1.
        generator: the normalised g, of numbers, NumPy arrays or tensors; None if not given.
        form: what the formula takes; see `register_divergence`.
    """

    name: str
    formula: Formula
    symmetric: bool
    bound: float = math.inf
    curvature: float | None = None
    generator: Callable[[Any], Any] | None = None
    form: Form = "log_q"

    def __reduce__(self) -> tuple[Callable[[str], Divergence], tuple[str]]:
        return get_divergence, (self.name,)  # formulas may be no functions that pickle knows

    def __call__(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        """The divergence of each row from log-probabilities.

        Args:
            log_p: clean, (..., C), each row normalised; −inf for classes outside the support.
            log_q: noisy, same shape.

        Returns:
            (...), in [0, bound]; 0 with zero gradient at p = q. Gradient flows to both sides. Half precision is computed
            and returned in float32. Near p = q prefer `from_logits`: rounding in log_softmax costs digits.

        Example:
            >>> p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
            >>> get_divergence("kl")(p, q)  # KL(p‖q) = ½ log 2 + ½ log ⅔
            tensor([0.1438])
        """
        log_p, log_q = _comparable(log_p, log_q)
        if self.form == "log_q":
            return self._by_the_book(log_p, log_q)
        return self.formula(log_p, log_q, log_q - log_p)

    def from_logits(self, z_p: Tensor, z_q: Tensor) -> Tensor:
        """The divergence of each row from logits: exact down to differences of one unit in the last place.

        Args:
            z_p: clean, (..., C); −inf, on both sides, for classes outside the support.
            z_q: noisy, same shape.

        Returns:
            (...), in [0, bound]; 0 with zero gradient at p = q and for rows without support. Gradient flows to both
            sides. Half precision is computed and returned in float32.

        Example:
            >>> z = torch.tensor([[1.0, 2.0, 3.0]])
            >>> float(get_divergence("kl").from_logits(z, z + torch.tensor([[0.0, 1e-5, 0.0]]))) > 0
            True
        """
        z_p, z_q = _comparable(z_p, z_q)
        if self.form == "log_q":
            return self._by_the_book(z_p, z_q)
        log_p, log_q = _floored(z_p.log_softmax(dim=-1)), _floored(z_q.log_softmax(dim=-1))
        return self.formula(log_p, log_q, _log_ratio(z_p, z_q, log_p, log_q))

    def _by_the_book(self, z_p: Tensor, z_q: Tensor) -> Tensor:
        # A formula written down from a book cancels near p = q: it gets twice the digits, where the device has them,
        # and log-probabilities normalised to all of them, since Σ p − Σ q ≠ 0 is as bad. Classes that vanish on both
        # sides get one and the same tiny probability: no share of the sum, and no 0/0.
        wide = z_p.dtype if z_p.device.type == "mps" else torch.float64
        log_p, log_q = (_floored(z.to(wide).log_softmax(dim=-1)) for z in (z_p, z_q))
        tiny = math.log(torch.finfo(wide).tiny)
        vanishing = torch.maximum(log_p, log_q) < tiny
        return self.formula(log_p.masked_fill(vanishing, tiny), log_q.masked_fill(vanishing, tiny)).to(z_p.dtype)


Factory = Callable[[str], Divergence]
_REGISTRY: Registry[Factory] = Registry("divergence")


def register_divergence(
    name: str,
    *,
    symmetric: bool,
    bound: float = math.inf,
    curvature: float | None = None,
    generator: Callable[[Any], Any] | None = None,
    form: Form = "log_q",
) -> Callable[[Formula], Formula]:
    """Decorator: make a function known as the divergence `name`, to recipes and the command line too.

    Args:
        name: without a colon.
        symmetric: whether D(p, q) = D(q, p): decides which side carries gradient under `target_grad="auto"`.
        bound: least upper bound.
        curvature: g''(1); None if g is not smooth at 1.
        generator: the normalised g; the test battery compares against it where it is given.
        form: what the function takes. `log_q`: f(log_p, log_q), as in a book; it is called in float64, so that it
            may cancel near p = q. `log_ratio`: f(log_p, log_q, d) with d = log q − log p, in the dtype of the input:
            for functions that are exact for small d by themselves. They need all three: log p + d has lost log q
            where p is 0. Either takes (..., C) and returns (...), and detaches nothing.

    Returns:
        The function, unchanged.

    Raises:
        ConfigError: if the name is taken or has a colon.

    Example:
        >>> @register_divergence("le_cam", symmetric=True, bound=2.0, curvature=1.0)
        ... def le_cam(log_p, log_q):
        ...     p, q = log_p.exp(), log_q.exp()
        ...     return ((p - q) ** 2 / (p + q)).sum(-1)
        >>> get_divergence("le_cam").symmetric
        True
        >>> unregister_divergence("le_cam")
    """
    if ":" in name:
        raise ConfigError(f"the name of a divergence has no colon (it begins a parameter), got {name!r}")

    def decorate(formula: Formula) -> Formula:
        divergence = Divergence(name, formula, symmetric, bound, curvature, generator, form)

        def without_parameter(parameter: str) -> Divergence:
            if parameter:
                raise ConfigError(f"divergence {name!r} takes no parameter, got {parameter!r}; write {name!r}")
            return divergence

        _REGISTRY.register(name, without_parameter)
        return formula

    return decorate


def unregister_divergence(name: str) -> None:
    """Forget a divergence, so that a notebook cell or a test can register it anew."""
    _REGISTRY.unregister(name)


def get_divergence(name: str | Divergence) -> Divergence:
    """The divergence called `name`; a parameter follows a colon, as in `power:0.5`.

    Args:
        name: one of `list_divergences()`, or a `Divergence`, which is returned as it is.

    Raises:
        UnknownNameError: with the closest names, if there is none.
        ConfigError: for a parameter that makes no sense.

    Example:
        >>> get_divergence("shl").bound, get_divergence("power:2").curvature
        (1.0, 1.0)
    """
    if isinstance(name, Divergence):
        return name
    base, colon, parameter = name.partition(":")
    if colon and not parameter:
        raise ConfigError(
            f"divergence {name!r}: expected a parameter after the colon, as in power:0.5; write one, or leave the colon out"
        )
    return _REGISTRY.get(base)(parameter)


def list_divergences() -> list[str]:
    """The names of all divergences, sorted; `power` stands for its family, at ½ where no parameter follows."""
    return list(_REGISTRY)


def _power_generator(t: Any, a: float) -> Any:
    """(t^a − 1 − a(t − 1)) / (a(a − 1)), in a form that has its limits at 0 and 1."""
    if a > 0.5:  # exchanging the sides turns a into 1 − a
        return t * _power_generator(1 / t, 1 - a)
    grown = _log(t) if a == 0 else _expm1(a * _log(t)) / a
    return (grown - (t - 1)) / (a - 1)


@register_divergence("kl", symmetric=False, curvature=1.0, generator=lambda t: _power_generator(t, 0), form="log_ratio")
def kl(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """KL(p‖q) = Σ p log(p/q): the clean posterior is the target (Eq. 4). The paper's choice against adversaries."""
    return _power(log_p, log_q, d, 0.0)


@register_divergence(
    "reverse_kl", symmetric=False, curvature=1.0, generator=lambda t: _power_generator(t, 1), form="log_ratio"
)
def reverse_kl(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """KL(q‖p) = Σ q log(q/p): the noisy posterior may leave modes of the clean one out, not add any."""
    return _power(log_p, log_q, d, 1.0)


@register_divergence(
    "shl",
    symmetric=True,
    bound=1.0,
    curvature=0.25,
    generator=lambda t: (t**0.5 - 1) ** 2 / 2,
    form="log_ratio",
)
def squared_hellinger(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Squared Hellinger distance ½ Σ (√p − √q)²: bounded, so that one bad row cannot rule a batch."""
    return _power(log_p, log_q, d, 0.5) / 4


@register_divergence(
    "jsd",
    symmetric=True,
    bound=math.log(2.0),
    curvature=0.25,
    generator=lambda t: (t * _log(t) - (1 + t) * _log((1 + t) / 2)) / 2,
    form="log_ratio",
)
def jensen_shannon(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Jensen-Shannon divergence ½ KL(p‖m) + ½ KL(q‖m), m = (p + q)/2, in nats.

    With s = d/2 a term is m·(s·tanh s − log cosh s): nothing in it cancels, and the gradient is finite for all s.
    """
    s = (d / 2).abs()
    small = s < _SERIES
    near = torch.where(small, d / 2, torch.zeros_like(d))
    far = torch.where(small, torch.ones_like(s), s)
    tail = torch.exp(-2 * far)
    value = torch.where(
        small,
        near * torch.tanh(near) - torch.log1p(2 * torch.sinh(near / 2).square()),
        math.log(2.0) - torch.log1p(tail) - 2 * far * tail / (1 + tail),
    )
    return ((log_p.exp() + log_q.exp()) / 2 * value).sum(dim=-1)


@register_divergence("jeffreys", symmetric=True, curvature=2.0, generator=lambda t: (t - 1) * _log(t), form="log_ratio")
def jeffreys(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Jeffreys' divergence KL(p‖q) + KL(q‖p): unbounded, harsh on confident disagreement (SMART's choice)."""
    return _power(log_p, log_q, d, 0.0) + _power(log_p, log_q, d, 1.0)


@register_divergence("chi2", symmetric=False, curvature=2.0, generator=lambda t: (t - 1) ** 2, form="log_ratio")
def chi_squared(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Pearson's Σ (q − p)²/p; grows like e^d; where the dtype would overflow it goes on linearly."""
    return 2 * _power(log_p, log_q, d, 2.0)


@register_divergence("neyman", symmetric=False, curvature=2.0, generator=lambda t: (t - 1) ** 2 / t, form="log_ratio")
def neyman(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Neyman's Σ (q − p)²/q: Pearson's with the sides exchanged."""
    return 2 * _power(log_p, log_q, d, -1.0)


@register_divergence("tv", symmetric=True, bound=1.0, generator=lambda t: abs(t - 1) / 2, form="log_ratio")
def total_variation(log_p: Tensor, log_q: Tensor, d: Tensor) -> Tensor:
    """Total variation ½ Σ |q − p|. Not smooth at p = q: Eq. 7 does not hold, and the gradient does not vanish there."""
    small = d.abs() < _SERIES
    near = torch.expm1(torch.where(small, d, torch.zeros_like(d))) * log_p.exp()
    return torch.where(small, near, log_q.exp() - log_p.exp()).abs().sum(dim=-1) / 2


def _power_family(parameter: str) -> Divergence:
    """Cressie and Read's power divergence: KL at 0, 4·squared Hellinger at ½, reverse KL at 1, Pearson's/2 at 2."""
    try:
        a = float(parameter or 0.5)
    except ValueError:
        a = math.nan
    if not math.isfinite(a) or abs(a) > 100:
        raise ConfigError(f"power:a takes a number from -100 to 100, such as power:0.5, got {parameter!r}")
    return Divergence(
        name=f"power:{str(a).removesuffix('.0')}",
        formula=lambda log_p, log_q, d: _power(log_p, log_q, d, a),
        symmetric=a == 0.5,
        bound=1 / (a * (1 - a)) if 0 < a < 1 else math.inf,
        curvature=1.0,
        generator=lambda t: _power_generator(t, a),
        form="log_ratio",
    )


_REGISTRY.register("power", _power_family)


def _power(log_p: Tensor, log_q: Tensor, d: Tensor, a: float) -> Tensor:
    """Σ p·(t^a − 1 − a(t − 1)) / (a(a − 1)), continuous in a, for t = e^d.

    Small d: Taylor series, whose k-th coefficient is (1 + a + … + a^(k−2))/k!, for any a. Else, with a ≤ ½:
    (p·expm1(a·d)/a − (q − p))/(a − 1), in which nothing blows up at a = 0.
    """
    if a > 0.5:  # exchanging the sides turns a into 1 − a
        return _power(log_q, log_p, -d, 1 - a)
    small = d.abs() < _SERIES / max(1.0, abs(a))
    near = torch.where(small, d, torch.zeros_like(d))
    p, q = log_p.exp(), log_q.exp()
    # p·expm1(a·d)/a, without e^(a·d) on its own, which can overflow where p is 0.
    x = a * d
    low = torch.where(x.abs() < 1, x, torch.zeros_like(x))
    grown = p * d if a == 0 else torch.where(x.abs() < 1, p * torch.expm1(low), _exp(log_p + x) - p) / a
    return torch.where(small, p * _series(near, a), (grown - (q - p)) / (a - 1)).sum(dim=-1)


def _exp(x: Tensor) -> Tensor:
    """e^x, continued along its tangent where the dtype would overflow: huge, finite, and never without gradient."""
    limit = math.log(torch.finfo(x.dtype).max) - 16
    return x.clamp_max(limit).exp() + (x - limit).clamp_min(0) * math.exp(limit)


def _series(d: Tensor, a: float) -> Tensor:
    coefficients, c = [], 1.0
    for k in range(2, 2 + _TERMS):
        coefficients.append(c / math.factorial(k))
        c = 1.0 + a * c
    total = torch.zeros_like(d)
    for coefficient in reversed(coefficients):
        total = total * d + coefficient
    return total * d.square()


def _log_ratio(z_p: Tensor, z_q: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """The log ratio d = log q − log p from logits: δ − log1p(Σ p·expm1 δ), δ = z_q − z_p, exact for small δ.

    δ is centred first, which changes nothing but the size of what is rounded: with Σ p·δ = 0 the sum is ≥ 0. Where
    it is large a good part of the mass has moved, and plain subtraction is the more accurate.
    """
    p = log_p.exp()
    delta = z_q - z_p
    delta = delta - (p * delta).sum(dim=-1, keepdim=True).detach()
    near = delta.abs().amax(dim=-1, keepdim=True) < _OVERFLOW
    small = torch.where(near, delta, torch.zeros_like(delta))
    moved = (p * torch.expm1(small)).sum(dim=-1, keepdim=True)
    return torch.where(near & (moved < 1), small - torch.log1p(moved), log_q - log_p)


def _comparable(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype of at least float32; broadcasting is refused, (B, C) against (B, 1, C) being a silent B × B."""
    if a.shape != b.shape:
        raise ConfigError(f"two posteriors have one shape (..., C), got {tuple(a.shape)} and {tuple(b.shape)}")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return _floored(a.to(dtype)), _floored(b.to(dtype))


def _floored(x: Tensor) -> Tensor:
    """−inf as a very low finite number: its probability is 0, and differences stay defined."""
    return x.clamp_min(-torch.finfo(x.dtype).max / 16)


def _log(t: Any) -> Any:
    return torch.log(t) if isinstance(t, Tensor) else np.log(t)


def _expm1(t: Any) -> Any:
    return torch.expm1(t) if isinstance(t, Tensor) else np.expm1(t)
