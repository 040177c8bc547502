"""One battery over every registered divergence: registering one buys these tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from torch import Tensor

from ssl_pdr import Divergence, get_divergence, list_divergences, register_divergence, unregister_divergence
from ssl_pdr.errors import ConfigError, UnknownNameError

PARAMETERS = ["power:0", "power:1", "power:1e-9", "power:0.999999999", "power:-1.5", "power:0.7", "power:3"]


def pairs(rows: int = 40, classes: int = 4, scale: float = 2.0, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Float64 log-probabilities of two posteriors."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * scale
    log_p, log_q = draw.log_softmax(-1)
    return log_p, log_q


def near(classes: int, scale: float, *, seed: int, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    """Float32 logits that differ by about 1e-5."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(100, classes, generator=generator) * scale + shift
    return z, z + 1e-5 * torch.randn(100, classes, generator=generator)


def never_negative_and_zero_only_at_equality(div: Divergence) -> None:
    log_p, log_q = pairs()
    assert (div(log_p, log_q) > 0).all()
    assert (div(log_p, log_p) == 0).all()
    assert (div.from_logits(log_p, log_p + 3.0).abs() < 1e-12).all()


def traits_hold(div: Divergence) -> None:
    log_p, log_q = pairs()
    forth, back = div(log_p, log_q), div(log_q, log_p)
    assert torch.allclose(forth, back, rtol=1e-9) == div.symmetric
    certain = torch.tensor([[0.0, -2e4]], dtype=torch.float64)
    extreme = div(certain, certain.flip(-1))
    if math.isfinite(div.bound):
        assert (forth <= div.bound * (1 + 1e-12)).all()
        assert (extreme <= div.bound * (1 + 1e-12)).all()
        if div.bound < 100:  # the bound of power:1e-9 is 1e9, and out of reach of logits
            torch.testing.assert_close(extreme, torch.full_like(extreme, div.bound))
    else:
        assert (extreme > 10).all()
    if div.curvature is not None:
        step = 1e-4 * torch.randn(log_p.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        value, (p, q) = div.from_logits(log_p, log_p + step), (log_p.exp(), (log_p + step).softmax(-1))
        second_order = div.curvature / 2 * ((q - p) ** 2 / p).sum(-1)
        torch.testing.assert_close(value, second_order, rtol=2e-3, atol=0)


def merging_classes_never_increases_it(div: Divergence) -> None:
    """The data processing inequality, which holds for f-divergences and for few other things."""
    for seed in range(5):
        log_p, log_q = pairs(classes=5, seed=seed)
        merged = [torch.stack((x[:, :2].logsumexp(-1), x[:, 2:].logsumexp(-1)), -1) for x in (log_p, log_q)]
        assert (div(*merged) <= div(log_p, log_q) * (1 + 1e-9)).all()


def gradient_is_right_to_second_order(div: Divergence) -> None:
    for scale, distance in ((1.0, 1e-2), (1.0, 1.0), (2.0, 4.0)):
        z = (torch.randn(3, 3, dtype=torch.float64) * scale).requires_grad_()
        w = (z.detach() + distance * torch.randn(3, 3, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(div.from_logits, (z, w))
        assert torch.autograd.gradgradcheck(div.from_logits, (z, w))


def both_sides_have_gradient(div: Divergence) -> None:
    """The published JSD has none, and a popular port of the Hellinger distance detaches both sides."""
    z = torch.randn(4, 3).requires_grad_()
    w = torch.randn(4, 3).requires_grad_()
    for gradient in torch.autograd.grad(div.from_logits(z, w).sum(), (z, w)):
        assert (gradient.norm(dim=-1) > 1e-4).all()


def agrees_with_its_generator(div: Divergence) -> None:
    if div.generator is None:
        return
    log_p, log_q = pairs(scale=1.0)
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    expected = torch.from_numpy((p * div.generator(q / p)).sum(-1))
    torch.testing.assert_close(div(log_p, log_q), expected, rtol=3e-7, atol=0)
    torch.testing.assert_close(div.from_logits(log_p + 2, log_q - 3), expected, rtol=3e-7, atol=0)
    assert abs(float(div.generator(1.0))) < 1e-12
    if div.curvature is not None:
        h = 1e-4
        slope = (float(div.generator(1 + h)) - float(div.generator(1 - h))) / (2 * h)
        assert abs(slope) < 1e-5


def exact_in_float32_near_equality(div: Divergence) -> None:
    for classes in (2, 3, 13, 384):
        for scale in (1.0, 5.0, 20.0):
            for seed in range(2):
                z, w = near(classes, scale, seed=seed)
                exact = div.from_logits(z.double(), w.double())
                value = div.from_logits(z, w)
                assert (value >= 0).all()
                usable = exact > 1e-30
                torch.testing.assert_close(value.double()[usable], exact[usable], rtol=1e-3, atol=0)
                log_p, log_q = z.log_softmax(-1), w.log_softmax(-1)
                exact = div(log_p.double(), log_q.double())
                value = div(log_p, log_q)
                assert (value >= 0).all()
                usable = exact > 1e-30
                torch.testing.assert_close(value.double()[usable], exact[usable], rtol=1e-2, atol=0)


def survives_a_common_shift(div: Divergence) -> None:
    z, w = torch.randn(2, 50, 4, dtype=torch.float64)
    torch.testing.assert_close(div.from_logits(z + 1e4, w - 1e4), div.from_logits(z, w), rtol=1e-6, atol=1e-12)


def finite_at_saturation(div: Divergence) -> None:
    """Value and gradient are finite in float32 wherever they are in float64; for the built-in ones: everywhere."""
    generator = torch.Generator().manual_seed(3)
    z = (torch.rand(60, 5, generator=generator) * 2 - 1) * 1e4
    w = (torch.rand(60, 5, generator=generator) * 2 - 1) * 1e4
    z[:20] = 1e4 * torch.sign(torch.randn(20, 5, generator=generator))
    w[:10], w[10:15] = z[:10], z[10:15] + torch.randn(5, 5, generator=generator)
    w[15:20] = -z[15:20]
    results = []
    for dtype in (torch.float32, torch.float64):
        a, b = z.to(dtype).requires_grad_(), w.to(dtype).requires_grad_()
        value = div.from_logits(a, b)
        results.append((value, *torch.autograd.grad(value.sum(), (a, b))))
    for single, double in zip(*results, strict=True):
        assert (torch.isfinite(single) | ~torch.isfinite(double)).all()
    assert (results[0][0] >= 0).all()


def classes_outside_the_support_do_not_count(div: Divergence) -> None:
    z = torch.tensor([[1.0, -math.inf, 2.0], [-math.inf] * 3], requires_grad=True)
    w = torch.tensor([[1.5, -math.inf, 2.0], [-math.inf] * 3], requires_grad=True)
    value = div.from_logits(z, w)
    inside = div.from_logits(z[:1, [0, 2]], w[:1, [0, 2]])
    torch.testing.assert_close(value[:1], inside)
    assert float(value[1].detach()) == 0.0
    for gradient in torch.autograd.grad(value.sum(), (z, w)):
        assert torch.isfinite(gradient).all()
    lowest = torch.finfo(torch.float32).min
    masked = [x.detach().masked_fill(torch.isneginf(x), lowest) for x in (z, w)]
    torch.testing.assert_close(div.from_logits(*masked), value.detach())
    assert torch.isfinite(div(z[:1].log_softmax(-1), w[:1].log_softmax(-1))).all()


def a_class_may_have_mass_on_one_side_only(div: Divergence) -> None:
    """The limit as the class's probability goes to 0 on the other side; merging it away shows that q is not lost."""
    some, more = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.5, 0.25, 0.25]])
    for dtype in (torch.float32, torch.float64):
        for lowest in (-math.inf, -1e4, -1e30):
            without, with_it = some.to(dtype).log().clamp_min(lowest), more.to(dtype).log()
            for p, q in ((without, with_it), (with_it, without)):
                for value in (div(p, q), div.from_logits(p, q)):
                    assert not value.isnan().any()
                    if math.isfinite(div.bound) and div.bound < 100:  # continuous: no jump from a tiny mass to none
                        limit = [x.double().clamp_min(-600) for x in (p, q)]
                        torch.testing.assert_close(value.double(), div(*limit), rtol=1e-6, atol=0)


def half_precision_is_computed_in_float32(div: Divergence) -> None:
    z = torch.randn(4, 3)
    for dtype in (torch.float16, torch.bfloat16):
        value = div.from_logits(z.to(dtype), (z + 1).flip(-1).to(dtype))
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, div.from_logits(z.to(dtype).float(), (z + 1).flip(-1).to(dtype).float()))


def takes_any_leading_shape(div: Divergence) -> None:
    z, w = torch.randn(2, 3, 4, 5)
    assert div.from_logits(z, w).shape == (3, 4)


BATTERY: list[Callable[[Divergence], None]] = [
    never_negative_and_zero_only_at_equality,
    traits_hold,
    merging_classes_never_increases_it,
    gradient_is_right_to_second_order,
    both_sides_have_gradient,
    agrees_with_its_generator,
    exact_in_float32_near_equality,
    survives_a_common_shift,
    finite_at_saturation,
    classes_outside_the_support_do_not_count,
    a_class_may_have_mass_on_one_side_only,
    half_precision_is_computed_in_float32,
    takes_any_leading_shape,
]


@pytest.mark.parametrize("check", BATTERY, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", [*list_divergences(), *PARAMETERS])
def test_battery(name: str, check: Callable[[Divergence], None]) -> None:
    check(get_divergence(name))


@contextmanager
def registered(name: str, formula: Callable[[Tensor, Tensor], Tensor], **traits: Any) -> Iterator[Divergence]:
    register_divergence(name, **traits)(formula)
    try:
        yield get_divergence(name)
    finally:
        unregister_divergence(name)


def triangular(log_p: Tensor, log_q: Tensor) -> Tensor:
    """As a textbook has it; nothing in it is careful."""
    p, q = log_p.exp(), log_q.exp()
    return ((p - q) ** 2 / (p + q)).sum(-1)


TRIANGULAR: dict[str, Any] = {
    "symmetric": True,
    "bound": 2.0,
    "curvature": 1.0,
    "generator": lambda t: (t - 1) ** 2 / (t + 1),
}


@pytest.mark.parametrize("check", BATTERY, ids=lambda check: check.__name__)
def test_registering_a_divergence_buys_the_battery(check: Callable[[Divergence], None]) -> None:
    with registered("triangular", triangular, **TRIANGULAR) as div:
        assert "triangular" in list_divergences()
        check(div)
    assert "triangular" not in list_divergences()


def test_a_textbook_kl_is_exact_to_float64_rounding() -> None:
    """Float32 log-probabilities sum to 1 ± 1e-7, which a formula that is not normalised takes for divergence."""
    z, w = near(3, 1.0, seed=0)
    log_p, log_q = z.log_softmax(-1), w.log_softmax(-1)
    with registered("book_kl", lambda p, q: (p.exp() * (p - q)).sum(-1), symmetric=False) as div:
        for value, exact in (
            (div.from_logits(z, w), get_divergence("kl").from_logits(z.double(), w.double())),
            (div(log_p, log_q), get_divergence("kl").from_logits(log_p.double(), log_q.double())),
        ):
            torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(
    ("formula", "traits", "check"),
    [
        (triangular, {**TRIANGULAR, "symmetric": False}, traits_hold),
        (triangular, {**TRIANGULAR, "bound": 1.0}, traits_hold),
        (triangular, {**TRIANGULAR, "curvature": 0.5}, traits_hold),
        (triangular, {**TRIANGULAR, "generator": lambda t: (t - 1) ** 2 / t}, agrees_with_its_generator),
        (lambda p, q: triangular(p, q.detach()), TRIANGULAR, both_sides_have_gradient),
        (lambda p, q: triangular(p, q) + 1e-3, TRIANGULAR, never_negative_and_zero_only_at_equality),
        (lambda p, q: ((p.exp() - q.exp()) ** 2).sum(-1), TRIANGULAR, merging_classes_never_increases_it),
        (lambda p, q: (p.exp() * (p.exp() / q.exp()).log()).sum(-1), TRIANGULAR, finite_at_saturation),
    ],
)
def test_the_battery_catches_mistakes(
    formula: Callable[[Tensor, Tensor], Tensor], traits: dict[str, Any], check: Callable[[Divergence], None]
) -> None:
    with registered("mistaken", formula, **traits) as div, pytest.raises((AssertionError, RuntimeError)):
        check(div)


def test_kl_has_the_clean_side_first_and_scipy_agrees() -> None:
    log_p, log_q = pairs()
    p, q = log_p.exp().numpy(), log_q.exp().numpy()
    for name, expected in (
        ("kl", rel_entr(p, q).sum(-1)),
        ("reverse_kl", rel_entr(q, p).sum(-1)),
        ("jsd", jensenshannon(p, q, axis=-1) ** 2),
        ("shl", 0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(-1)),
        ("tv", 0.5 * np.abs(p - q).sum(-1)),
        ("chi2", ((q - p) ** 2 / p).sum(-1)),
        ("neyman", ((q - p) ** 2 / q).sum(-1)),
        ("jeffreys", ((p - q) * np.log(p / q)).sum(-1)),
    ):
        torch.testing.assert_close(get_divergence(name)(log_p, log_q), torch.from_numpy(expected))


def test_what_a_textbook_formula_does_near_equality() -> None:
    """The trap itself: Σ p (log p − log q) in float32 is off by more than it is worth, and negative in places."""
    z, w = near(3, 1.0, seed=0)
    log_p, log_q = z.log_softmax(-1), w.log_softmax(-1)
    textbook = (log_p.exp() * (log_p - log_q)).sum(-1)
    exact = get_divergence("kl").from_logits(z.double(), w.double())
    assert (textbook < 0).any()
    assert ((textbook.double() - exact).abs() > exact).any()


def test_what_a_naive_jsd_does_at_saturation() -> None:
    z = torch.tensor([[0.0, -200.0]], requires_grad=True)
    w = torch.tensor([[-200.0, 0.0]])
    p, q = z.softmax(-1), w.softmax(-1)
    m = (p + q) / 2
    naive = 0.5 * (p * (p / m).log() + q * (q / m).log()).sum()
    assert torch.isnan(torch.autograd.grad(naive, z)[0]).any()
    ours = get_divergence("jsd").from_logits(z, w).sum()
    assert torch.isfinite(torch.autograd.grad(ours, z)[0]).all()


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.sampled_from([*list_divergences(), *PARAMETERS]),
    st.lists(st.tuples(st.floats(-60, 60), st.floats(-60, 60)), min_size=2, max_size=6),
)
def test_any_logits_give_a_value_that_makes_sense(name: str, logits: list[tuple[float, float]]) -> None:
    z, w = (torch.tensor([side], requires_grad=True) for side in zip(*logits, strict=True))
    div = get_divergence(name)
    value = div.from_logits(z, w)
    assert 0 <= float(value.detach()) <= div.bound * (1 + 1e-6)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(value.sum(), (z, w)))


def test_values_with_a_class_on_one_side_only() -> None:
    log_p, log_q = torch.tensor([[0.5, 0.5, 0.0]]).log(), torch.tensor([[0.5, 0.25, 0.25]]).log()
    mean = torch.tensor([0.5, 0.375, 0.125])
    entropies = [float((x.exp() * x.clamp_min(-99)).sum()) for x in (log_p, log_q)]
    for name, expected in (
        ("kl", 0.5 * math.log(2)),
        ("shl", 1 - 0.5 - math.sqrt(0.125)),
        ("tv", 0.25),
        ("jsd", sum(entropies) / 2 - float((mean * mean.log()).sum())),
        ("neyman", 0.5),
    ):
        for value in (get_divergence(name)(log_p, log_q), get_divergence(name).from_logits(log_p, log_q)):
            assert float(value) == pytest.approx(expected, rel=1e-5), name


def test_the_two_posteriors_have_one_shape() -> None:
    with pytest.raises(ConfigError, match="one shape"):
        get_divergence("kl").from_logits(torch.randn(2, 3), torch.randn(2, 1, 3))


def test_bounds_hold_in_float32_at_saturation() -> None:
    z, w = (torch.rand(2, 4000, 5) * 2 - 1) * 1e4
    for name in ("shl", "jsd", "tv", "power:0.3"):
        div = get_divergence(name)
        assert (div.from_logits(z, w) <= div.bound * (1 + 1e-6)).all(), name


def test_family_members_meet_their_relatives() -> None:
    log_p, log_q = pairs()
    for parameter, relative, factor in (
        (0, "kl", 1),
        (0.5, "shl", 4),
        (1, "reverse_kl", 1),
        (2, "chi2", 0.5),
        (-1, "neyman", 0.5),
    ):
        torch.testing.assert_close(
            get_divergence(f"power:{parameter}")(log_p, log_q), factor * get_divergence(relative)(log_p, log_q)
        )
    assert get_divergence("power").name == "power:0.5"
    assert get_divergence("power:2").name == "power:2"
    assert get_divergence("power:0.123456789").name == "power:0.123456789"
    assert get_divergence("power:0.25").bound == pytest.approx(16 / 3)


def test_names() -> None:
    assert list_divergences() == ["chi2", "jeffreys", "jsd", "kl", "neyman", "power", "reverse_kl", "shl", "tv"]
    kl = get_divergence("kl")
    assert get_divergence(kl) is kl
    with pytest.raises(UnknownNameError, match="unknown divergence 'kll'; did you mean 'kl'"):
        get_divergence("kll")
    for bad in ("power:abc", "power:nan", "power:inf"):
        with pytest.raises(ConfigError, match="takes a number from -100 to 100"):
            get_divergence(bad)
    for bad in ("power:", "kl:"):
        with pytest.raises(ConfigError, match=f"divergence '{bad}': expected a parameter after the colon"):
            get_divergence(bad)
    with pytest.raises(ConfigError, match="takes no parameter, got '3'"):
        get_divergence("kl:3")
    with pytest.raises(ConfigError, match="is registered already"):
        register_divergence("kl", symmetric=False)(triangular)
    with pytest.raises(ConfigError, match="has no colon"):
        register_divergence("a:b", symmetric=False)
