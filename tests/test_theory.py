"""The paper's theory against closed forms: Eq. 7, the link from VAT to the Jacobian, norms, the share of dropout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForQuestionAnswering

from ssl_pdr import RPT, VAT, JacobianRegularizer, RDrop
from ssl_pdr.diagnostics import dropout_share
from ssl_pdr.errors import ConfigError
from ssl_pdr.theory import (
    MOST_OUTCOMES,
    FromSite,
    Linearisation,
    linearise,
    pinsker,
    second_order,
    worst_noise,
)
from tests.conftest import tiny_batch, tiny_bert

INPUTS = {"input_ids": torch.arange(12).reshape(3, 4), "attention_mask": torch.ones(3, 4, dtype=torch.long)}


class LinearSoftmax(nn.Module):
    """z = scale · Σ_t W_t x_t: its Jacobian is scale · W."""

    def __init__(self, classes: int = 3, tokens: int = 4, size: int = 5, scale: float = 1.0) -> None:
        super().__init__()
        self.table = nn.Embedding(20, size)
        self.weight = nn.Parameter(scale * torch.randn(classes, tokens, size))
        self.double()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return SimpleNamespace(logits=torch.einsum("cte,bte->bc", self.weight, self.table(input_ids)))


def dense_jacobian(f: FromSite) -> np.ndarray:
    """∂ posterior / ∂ embeddings of each row, (B, HC, TE), by autograd on the softmax itself; padding left out."""
    whole = torch.autograd.functional.jacobian(lambda x: f(x).softmax(-1).flatten(1), f.embeddings)
    rows = torch.stack([whole[b, :, b] for b in range(len(whole))]) * f.mask[:, None, :, None]
    return rows.flatten(2).numpy()


def question_answering() -> tuple[Any, dict[str, Tensor]]:
    config = BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config.initializer_range = 0.5
    model = BertForQuestionAnswering(config).double().train()
    batch = tiny_batch(rows=2, tokens=MOST_OUTCOMES + 10, pad=3)
    last = MOST_OUTCOMES + 5
    return model, {**batch, "passage": torch.tensor([[3, last, 0], [2, 6, -1]])}


def models() -> dict[str, tuple[Any, dict[str, Tensor]]]:
    return {
        "linear": (LinearSoftmax(), INPUTS),
        "bert": (tiny_bert(dtype=torch.float64), tiny_batch()),
        "span": question_answering(),
    }


@pytest.mark.parametrize("name", ["linear", "bert", "span"])
def test_the_linearisation_is_that_of_the_posterior(name: str) -> None:
    """Norms against NumPy's SVD of a dense Jacobian, and Eq. 7 as the paper writes it; dropout does not enter."""
    f = FromSite(*models()[name])
    linear, jacobian = linearise(f), dense_jacobian(f)
    heads = f.clean.shape[1]
    singular = np.linalg.svd(jacobian, compute_uv=False) / np.sqrt(heads)
    np.testing.assert_allclose(linear.spectral_norm(), singular[:, 0], rtol=1e-9)
    np.testing.assert_allclose(linear.frobenius_norm(), np.sqrt((singular**2).sum(-1)), rtol=1e-9)
    noise = f.unit_noise(seed=4)
    posterior = f.clean.softmax(-1).flatten(1).numpy()
    change = np.einsum("bcn,bn->bc", jacobian, noise.flatten(1).numpy())
    terms = np.divide(change**2, posterior, out=np.zeros_like(change), where=posterior > 0)
    np.testing.assert_allclose(linear.quadratic(noise), terms.sum(-1) / heads, rtol=1e-9)


def test_outcomes_that_are_merged_leave_a_posterior() -> None:
    model, batch = question_answering()
    f = FromSite(model, batch)
    assert f.clean.shape == (2, 2, MOST_OUTCOMES)
    torch.testing.assert_close(f.clean.softmax(-1).sum(-1), torch.ones(2, 2, dtype=torch.float64))
    assert 0 < f.merged < 0.5
    few = {**batch, "passage": torch.tensor([[3, 5, 0], [2, 6, -1]])}
    assert FromSite(model, few).merged == 0.0
    assert FromSite(LinearSoftmax(), INPUTS).merged == 0.0


@pytest.mark.parametrize("name", ["linear", "bert", "span"])
def test_the_steepest_direction_has_the_largest_quadratic_form(name: str) -> None:
    f = FromSite(*models()[name])
    linear = linearise(f)
    value, direction = linear.steepest()
    torch.testing.assert_close(direction.flatten(1).norm(dim=1), torch.ones_like(value))
    torch.testing.assert_close(linear.quadratic(direction), value)
    for seed in range(20):
        noise = f.unit_noise(seed)
        assert (linear.quadratic(noise / noise.flatten(1).norm(dim=1)[:, None, None]) <= value).all()


def test_eq_7_is_the_limit_of_every_smooth_divergence() -> None:
    model = LinearSoftmax()
    exact, single = FromSite(model, INPUTS), FromSite(LinearSoftmax().float(), INPUTS)
    points = second_order([exact], linearise(exact), ("kl", "shl", "jsd", "chi2"))
    errors = {(p.divergence, p.radius): p.error for p in points}
    for name in ("kl", "shl", "jsd", "chi2"):
        assert errors[name, 1.0] > 1e-2
        assert errors[name, 1e-6] < 1e-5
        assert errors[name, 1e-4] == pytest.approx(10 * errors[name, 1e-5], rel=0.05)  # the next order is c³
    kl, shl = (next(p for p in points if p.divergence == n and p.radius == 1e-3).quadratic for n in ("kl", "shl"))
    assert kl == pytest.approx(4 * shl)
    rounded = second_order([single], linearise(single), ("kl",), (1e-2, 1e-7))
    assert [p.dtype for p in rounded] == ["float32", "float32"]
    assert rounded[0].error < 0.05 < rounded[1].error


def test_eq_7_refuses_a_divergence_that_is_not_smooth() -> None:
    f = FromSite(LinearSoftmax(), INPUTS)
    with pytest.raises(ConfigError, match="smooth at 1, which 'tv' is not"):
        second_order([f], linearise(f), ("kl", "tv"))


def two_classes() -> tuple[FromSite, Tensor, Tensor, Tensor]:
    """A model, log-odds of class 0, p(1 − p), and the norm of the difference of both rows of its Jacobian."""
    model = LinearSoftmax(classes=2, scale=0.3)
    f = FromSite(model, INPUTS)
    odds = (f.clean[:, 0, 0] - f.clean[:, 0, 1]).detach()
    return f, odds, torch.sigmoid(odds) * torch.sigmoid(-odds), (model.weight[0] - model.weight[1]).detach().norm()


def test_pinsker_with_a_known_jacobian() -> None:
    """For two classes ‖J‖_sp = √2 p(1 − p)‖w₀ − w₁‖ and the supremum moves the log-odds by c‖w₀ − w₁‖."""
    f, odds, variance, slope = two_classes()
    linear = linearise(f)
    torch.testing.assert_close(linear.spectral_norm(), 2**0.5 * variance * slope)
    for point in pinsker(f, linear, (0.5, 1e-4)):
        length = f.length(point.radius)
        moved = torch.stack((odds + length * slope, odds - length * slope))
        p = torch.sigmoid(odds)
        kl = p * (p / torch.sigmoid(moved)).log() + (1 - p) * ((1 - p) / torch.sigmoid(-moved)).log()
        assert point.searched == pytest.approx(2 * float(kl.amax(0).median()), rel=1e-6)
        assert point.second_order == pytest.approx(float((length.square() * variance * slope**2).median()))
        assert point.jacobian == pytest.approx(float((length * 2**0.5 * variance * slope).square().median()))
    assert point.kept == 1.0
    assert point.ratio == pytest.approx(float((1 / (2 * variance)).median()), rel=1e-3)
    assert point.least_ratio >= 2 * (1 - 1e-3)


def test_the_search_finds_no_less_than_many_guesses_and_stays_within_the_ball() -> None:
    f = FromSite(tiny_bert(dtype=torch.float64), tiny_batch())
    length, (_, start) = f.length(0.5), linearise(f).steepest()
    found = worst_noise(f, length, start, steps=20)
    assert (found.flatten(1).norm(dim=1) <= length * (1 + 1e-9)).all()
    assert float(found[1, -2:].abs().max()) == 0.0  # padding

    def kl(noise: Tensor) -> Tensor:
        p, q = f.clean.log_softmax(-1), f(f.embeddings + noise).log_softmax(-1)
        return (p.exp() * (p - q)).sum((1, 2)).detach()

    best = kl(found)
    assert (best > kl(length[:, None, None] * start)).any()
    for seed in range(30):
        noise = f.unit_noise(seed)
        assert (kl(length[:, None, None] * noise / noise.flatten(1).norm(dim=1)[:, None, None]) <= best).all()


def test_saturated_rows_keep_their_digits() -> None:
    """At log-odds of 60 the probability 1 − f is not in float64 next to 1, and still everything has its value."""
    odds, jacobian = 60.0, torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    log_f = torch.tensor([[[odds, 0.0]]], dtype=torch.float64).log_softmax(-1)
    centred = jacobian - torch.einsum("c,cn->n", log_f[0, 0].exp(), jacobian)
    linear = Linearisation(log_f, centred[None, None, :, None, :])
    variance, slope = np.exp(-odds), float((jacobian[0] - jacobian[1]).norm())
    assert float(linear.spectral_norm()) == pytest.approx(2**0.5 * variance * slope, rel=1e-2)
    assert float(linear.steepest()[0]) == pytest.approx(variance * slope**2, rel=1e-6)


@pytest.mark.parametrize(
    ("regularizer", "low", "high"),
    [
        (RDrop("kl"), 1.0, 1.0),
        (RPT("kl", 0.3, dropout="shared"), 0.0, 0.0),
        (VAT("kl", 0.3, dropout="off"), 0.0, 0.0),
        (RPT("kl", 1e-4, radius_unit="token_norm"), 0.7, 1.4),
        (RPT("kl", 2.0, radius_unit="token_norm"), 0.0, 0.7),
    ],
)
def test_the_share_of_dropout(regularizer: Any, low: float, high: float) -> None:
    model = tiny_bert(dropout=0.1).eval()
    found = dropout_share(model, tiny_batch(rows=32), regularizer)
    assert found.r > 0
    assert found.share is not None
    assert low <= found.share <= high
    assert not model.training


def test_a_jacobian_norm_has_no_share_of_dropout() -> None:
    found = dropout_share(tiny_bert(), tiny_batch(), JacobianRegularizer())
    assert (found.zero, found.share) == (None, None)
