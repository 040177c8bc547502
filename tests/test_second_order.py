"""`order=2` and `wjr` are the limits that they claim: float64 divergences at small radii, float64 central differences."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pdr import RPT, VAT, Regularizer, WeightedJacobianRegularizer, get_divergence, list_divergences
from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import per_row
from ssl_pdr.regularizers.base import CleanPass
from tests.conftest import tiny_batch, tiny_bert, tiny_config

SMOOTH = [name for name in list_divergences() if get_divergence(name).curvature is not None]
METHODS = {"rpt": RPT, "vat": VAT}


def job(task: str, dtype: torch.dtype = torch.float64, *, dropout: float = 0.0) -> tuple[Any, dict[str, Tensor]]:
    """A tiny model and a batch: of three classes, or of answers in passages of several lengths."""
    batch = tiny_batch()
    if task == "classes":
        return tiny_bert(dropout=dropout, dtype=dtype), batch
    from transformers import BertForQuestionAnswering

    torch.manual_seed(1)
    batch["passage"] = torch.tensor([[2, 6, 0], [1, 4, -1], [0, 6, -1], [3, 5, -1]])
    return BertForQuestionAnswering(tiny_config(dropout)).to(dtype).train(), batch


def divergence_at(regularizer: RPT, model: Any, batch: dict[str, Tensor], clean: CleanPass, noise: Tensor) -> Tensor:
    """D_g itself, as order 1 has it, (B,)."""
    with torch.no_grad():
        noisy = regularizer._logits(model, batch, lambda x: x + noise)
    return per_row(regularizer.divergence.from_logits(clean.logits.detach(), noisy))


def limit(regularizer: RPT, model: Any, batch: dict[str, Tensor], *, radius: float = 1e-5) -> Tensor:
    """D_g / c² at a small c along the noise of a regularizer of radius 1, (B,); the mean of both signs has no third order."""
    clean, rows = regularizer.clean_pass(model, batch), torch.arange(4)
    noise = regularizer.noise(model, batch, clean, row_ids=rows).double() * radius
    return (
        sum(divergence_at(regularizer, model, batch, clean, sign * noise) for sign in (1, -1)) / 2 / radius**2  # type: ignore[no-any-return]
    )


@pytest.mark.parametrize("task", ["classes", "answers"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMOOTH)
def test_order_2_is_the_limit_of_the_divergence(name: str, method: str, task: str) -> None:
    model, batch = job(task)
    first, second = (METHODS[method](name, 1.0, order=order, dropout="off") for order in (1, 2))
    expected = limit(first, model, batch)
    value = second(model, batch, row_ids=torch.arange(4))
    assert float(expected.min()) > 0
    torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("task", ["classes", "answers"])
@pytest.mark.parametrize("method", METHODS)
def test_it_holds_in_float32_at_every_radius(method: str, task: str) -> None:
    """Where D_g itself, taken in float32, has drowned in rounding."""
    model, batch = job(task)
    expected = limit(METHODS[method]("kl", 1.0, dropout="off"), model, batch)
    model, batch = job(task, torch.float32)
    for radius in (1.0, 1e-3, 1e-9, 1e-17):
        value = METHODS[method]("kl", radius, order=2, dropout="off")(model, batch, row_ids=torch.arange(4))
        torch.testing.assert_close(value.double().detach() / radius**2, expected, rtol=1e-3, atol=0)
    lost = RPT("kl", 1e-6, dropout="off")(model, batch, row_ids=torch.arange(4)) if method == "rpt" else None
    assert lost is None or ((lost.detach() / 1e-12 / expected - 1).abs() > 0.1).any()


@pytest.mark.parametrize("method", METHODS)
def test_the_gradient_is_linear_in_the_squared_radius_until_that_leaves_the_dtype(method: str) -> None:
    """c² is 1e-36 at c = 1e-18, which float32 holds; at 1e-25 it would be zero, and so would R."""

    def gradient(radius: float) -> Tensor:
        model, batch = job("classes", torch.float32)
        METHODS[method]("kl", radius, order=2, dropout="off")(model, batch, row_ids=torch.arange(4)).mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    unit = gradient(1.0)
    assert float(unit.norm()) > 0
    for radius in (1e-6, 1e-15):
        torch.testing.assert_close(gradient(radius) / radius**2, unit, rtol=1e-3, atol=1e-3 * float(unit.abs().max()))
    with pytest.raises(ConfigError, match="expected a radius of at least 1e-18, got 1e-25"):
        gradient(1e-25)


@pytest.mark.parametrize("method", METHODS)
def test_weights_in_float16_do_not_swallow_the_squared_radius(method: str) -> None:
    """The form is finite there and has a gradient; c² is taken in float32, as the rest is."""
    model, batch = job("classes", torch.float16)
    values = [
        METHODS[method]("kl", radius, order=2, dropout="off")(model, batch, row_ids=torch.arange(4)).detach()
        for radius in (1.0, 1e-4)
    ]
    torch.testing.assert_close(values[1] / 1e-8, values[0], rtol=0.02, atol=0)


@pytest.mark.parametrize("task", ["classes", "answers"])
@pytest.mark.parametrize("method", METHODS)
def test_gradient_through_the_second_order_is_right(method: str, task: str) -> None:
    """Central differences in float64, the noise held still as in training; nothing of R is detached from the parameters."""
    model, batch = job(task)
    regularizer: RPT = METHODS[method]("kl", 0.7, order=2, dropout="off")
    rows = torch.arange(4)
    clean = regularizer.clean_pass(model, batch)
    held = regularizer._unit_noise(model, batch, clean, rows)
    regularizer._unit_noise = lambda *_: held  # type: ignore[method-assign]
    head = model.classifier if task == "classes" else model.qa_outputs
    attention = model.bert.encoder.layer[0].attention.self.query.weight
    parameters = [head.weight, attention, model.bert.encoder.layer[1].output.dense.weight]
    _check_differences(lambda: regularizer(model, batch, row_ids=rows).mean(), parameters)


def _check_differences(value: Any, parameters: list[Tensor]) -> None:
    analytic = torch.autograd.grad(value(), parameters)
    for parameter, gradient in zip(parameters, analytic, strict=True):
        assert float(gradient.norm()) > 0
        direction, step, found = torch.randn_like(parameter), 1e-5, []
        for shift in (step, -2 * step):
            with torch.no_grad():
                parameter += shift * direction
            found.append(float(value().detach()))
        with torch.no_grad():
            parameter += step * direction
        numeric = (found[0] - found[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=2e-5, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dropout", ["independent", "shared", "off"])
def test_nothing_of_order_2_is_dropout(dropout: Any, method: str) -> None:
    """Order 1 with independent masks is R-Drop at radius 0; the tangent form has but one pass, and is zero."""
    model, batch = job("classes", torch.float32, dropout=0.3)
    regularizer = METHODS[method]("kl", 0.0, order=2, dropout=dropout)
    clean = regularizer.clean_pass(model, batch)
    assert regularizer.at_zero_noise(model, batch, clean) is None
    assert float(regularizer.penalty(model, batch, clean).detach().abs().max()) == 0.0


def test_shared_masks_give_the_form_of_the_clean_pass() -> None:
    """VAT's direction is that of the clean pass: under its masks no other direction has a larger form."""
    model, batch = job("classes", dropout=0.4)
    torch.manual_seed(7)
    vat = VAT("kl", 1.0, order=2, dropout="shared", norm="sequence")
    clean = vat.clean_pass(model, batch)
    largest = vat.penalty(model, batch, clean, row_ids=torch.arange(4)).detach()
    for seed in range(5):
        random = RPT("kl", 1.0, order=2, dropout="shared", norm="sequence", seed=seed)
        random.clean_pass(model, batch)
        assert (random.penalty(model, batch, clean, row_ids=torch.arange(4)).detach() < largest).all()


def test_a_divergence_that_is_not_smooth_has_no_second_order() -> None:
    for kind in (RPT, VAT):
        with pytest.raises(ConfigError, match="order=2 needs a divergence that is smooth at 1, which 'tv' is not"):
            kind("tv", order=2)


@pytest.mark.parametrize("kind", [RPT, VAT])
def test_saturated_rows_have_a_second_order(kind: Any) -> None:
    """f is 1 to float32's last digit: R is tiny and finite, its gradient too."""
    model, batch = job("classes", torch.float32)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([90.0, -90.0, 0.0]))
    value = kind("kl", 1.0, order=2, dropout="off")(model, batch, row_ids=torch.arange(4))
    value.mean().backward()
    assert (value > 0).all()
    assert (value < 1e-20).all()
    assert torch.isfinite(model.classifier.weight.grad).all()


# --- the trace ---


def sum_over_basis(model: Any, batch: dict[str, Tensor], *, radius: float = 1e-5) -> Tensor:
    """Σ 2 D / (g″(1) c²) over every entry of every token's embedding, by differences of whole posteriors, (B,)."""
    regularizer = RPT("kl", dropout="off")
    clean = regularizer.clean_pass(model, batch)
    assert clean.embeddings is not None
    assert clean.mask is not None
    assert regularizer.divergence.curvature is not None
    rows, tokens, size = clean.embeddings.shape
    entries = tokens * size
    many = {name: value.repeat(entries, 1) for name, value in batch.items()}
    basis = radius * torch.eye(entries, dtype=torch.float64).view(entries, 1, tokens, size)
    noise = (basis * clean.mask[None, :, :, None]).flatten(0, 1)
    clean = regularizer.clean_pass(model, many)
    both = sum(divergence_at(regularizer, model, many, clean, sign * noise) for sign in (1, -1))
    return both.view(entries, rows).sum(dim=0) / regularizer.divergence.curvature / radius**2  # type: ignore[union-attr,no-any-return]


@pytest.mark.parametrize("task", ["classes", "answers"])
def test_wjr_is_the_trace(task: str) -> None:
    """Exactly, and by projections in the mean; no radius and no divergence is in it."""
    model, batch = job(task)
    expected = sum_over_basis(model, batch)
    exact = WeightedJacobianRegularizer(dropout="off")(model, batch)
    torch.testing.assert_close(exact.detach(), expected, rtol=1e-4, atol=0)
    many = {name: value.repeat(200, 1) for name, value in batch.items()}
    projected = WeightedJacobianRegularizer(1, dropout="off")(model, many, row_ids=torch.arange(800)).detach()
    torch.testing.assert_close(projected.view(200, 4).mean(dim=0), expected, rtol=0.35, atol=0)


def test_the_trace_is_the_mean_of_random_second_orders() -> None:
    """For u uniform on the sphere of a row's n·E entries, n·E times the mean form is the trace."""
    model, batch = job("classes")
    exact = WeightedJacobianRegularizer(dropout="off")(model, batch).detach()
    many = {name: value.repeat(500, 1) for name, value in batch.items()}
    draws = RPT("kl", 1.0, radius_unit="absolute", order=2, dropout="off", norm="sequence")(
        model, many, row_ids=torch.arange(2000)
    ).detach()
    # Noise of a row of n tokens has norm √n, so that its n drops out.
    torch.testing.assert_close(2 * 16 * draws.view(500, 4).mean(dim=0), exact, rtol=0.25, atol=0)


@pytest.mark.parametrize("projections", [None, 3])
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_wjr_of_saturated_rows_is_finite(size: float, projections: int | None) -> None:
    model, batch = job("classes", torch.float32)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([size, -size, -size]))
    regularizer: Regularizer = WeightedJacobianRegularizer(projections, dropout="off")
    value = regularizer(model, batch, row_ids=torch.arange(4))
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert (value >= 0).all()
    assert float(value.detach().max()) < 1e-10
    assert all(math.isfinite(float(p.grad.norm())) for p in model.parameters() if p.grad is not None)
