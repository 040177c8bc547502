"""Adversarial training against closed forms: the direction, the loss there, and what it must leave alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_pdr import Objective
from ssl_pdr.errors import ConfigError
from ssl_pdr.regularizers.adversarial import AdversarialTraining
from ssl_pdr.regularizers.base import get_regularizer
from tests.conftest import enable_checkpointing, tiny_batch, tiny_bert
from tests.linear import LinearSoftmax


class LinearSpan(nn.Module):
    """Start and end logits that are linear in the embeddings of all tokens."""

    def __init__(self, tokens: int = 4, size: int = 5) -> None:
        super().__init__()
        self.table = nn.Embedding(20, size)
        self.weight = nn.Parameter(torch.randn(2, tokens, tokens, size))
        self.double()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        start, end = torch.einsum("hcte,bte->hbc", self.weight, self.table(input_ids))
        return SimpleNamespace(start_logits=start, end_logits=end)


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {
        "input_ids": torch.arange(12).reshape(3, 4),
        "attention_mask": torch.ones(3, 4, dtype=torch.long),
        "labels": torch.tensor([0, 2, 1]),
    }


def cross_entropy(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    logits = model(inputs["input_ids"]).logits
    return F.cross_entropy(logits, inputs["labels"], reduction="none")


def noise_of(regularizer: AdversarialTraining, model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    return regularizer.noise(model, inputs, regularizer.clean_pass(model, inputs))


def test_the_direction_is_the_gradient_of_the_cross_entropy_per_token(inputs: dict[str, Tensor]) -> None:
    model = LinearSoftmax()
    f = model(inputs["input_ids"]).logits.softmax(-1)
    gradient = torch.einsum("cte,bc->bte", model.weight, f - F.one_hot(inputs["labels"], 3)).detach()
    worst = gradient / gradient.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(noise_of(AdversarialTraining(0.1, radius_unit="absolute"), model, inputs), 0.1 * worst)


def test_no_direction_of_the_same_size_hurts_more_to_first_order(inputs: dict[str, Tensor]) -> None:
    model, radius = LinearSoftmax(), 1e-4
    regularizer = AdversarialTraining(radius, radius_unit="absolute")
    clean = cross_entropy(model, inputs)
    gain = (regularizer(model, inputs) - clean).detach()
    assert (gain > 0).all()
    for _ in range(50):
        noise = F.normalize(torch.randn(3, 4, 5, dtype=torch.float64), dim=-1) * radius
        logits = torch.einsum("cte,bte->bc", model.weight, model.table(inputs["input_ids"]) + noise)
        other = F.cross_entropy(logits, inputs["labels"], reduction="none") - clean
        assert (other <= gain * (1 + 1e-2)).all()


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("dropout", ["shared", "off"])
def test_the_loss_at_the_perturbation_is_no_less_than_without(steps: int, dropout: Any) -> None:
    model, batch = tiny_bert(dropout=0.2), {**tiny_batch(rows=16), "labels": torch.arange(16) % 3}
    regularizer = AdversarialTraining(0.02, radius_unit="token_norm", steps=steps, dropout=dropout)
    clean = regularizer.clean_pass(model, batch)
    before = F.cross_entropy(clean.logits, batch["labels"], reduction="none")
    assert (regularizer.penalty(model, batch, clean) > before).all()


@pytest.mark.parametrize("radius", [0.1, 2.0])
def test_each_step_finds_a_worse_perturbation(radius: float) -> None:
    model, batch = tiny_bert(dropout=0.0), {**tiny_batch(rows=32), "labels": torch.arange(32) % 3}
    found = [
        float(AdversarialTraining(radius, radius_unit="absolute", steps=k)(model, batch).mean().detach())
        for k in (1, 2, 4, 8)
    ]
    assert sorted(found) == found
    assert found[-1] > found[0]


def test_radius_zero_is_the_cross_entropy(inputs: dict[str, Tensor]) -> None:
    model = LinearSoftmax()
    torch.testing.assert_close(
        AdversarialTraining(0.0, radius_unit="absolute")(model, inputs), cross_entropy(model, inputs)
    )


def test_rows_without_a_label_get_nothing_and_pass_no_gradient(inputs: dict[str, Tensor]) -> None:
    model = LinearSoftmax()
    inputs["labels"] = torch.tensor([1, -100, -100])
    value = AdversarialTraining(0.1, radius_unit="absolute")(model, inputs)
    assert value.tolist()[1:] == [0.0, 0.0]
    assert value[0] > 0
    value[1:].sum().backward()
    assert float(model.weight.grad.abs().max()) == 0.0  # type: ignore[union-attr]


@pytest.mark.parametrize("of_right_label", [True, False])
def test_a_saturated_row_keeps_its_direction_and_stays_finite(of_right_label: bool) -> None:
    """At logits ±1e4 the gradient of the cross-entropy is zero; its direction is not."""
    model, ids = LinearSoftmax(classes=2).float(), torch.arange(8).reshape(2, 4)
    with torch.no_grad():
        model.weight *= 1e4 / model(ids).logits.abs().max()
        right = model(ids).logits.argmax(-1)
    inputs = {"input_ids": ids, "labels": right if of_right_label else 1 - right}
    regularizer = AdversarialTraining(0.1, radius_unit="absolute")
    sign = (1 - 2 * inputs["labels"])[:, None, None]
    worst = -sign * F.normalize((model.weight[0] - model.weight[1]).detach(), dim=-1)
    torch.testing.assert_close(noise_of(regularizer, model, inputs), 0.1 * worst)
    value = regularizer(model, inputs)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(model.weight.grad).all()  # type: ignore[arg-type]


def test_tokens_without_a_gradient_take_a_random_direction(inputs: dict[str, Tensor]) -> None:
    model = LinearSoftmax()
    with torch.no_grad():
        model.weight[:, 0] = 0.0
    noise = noise_of(AdversarialTraining(0.1, radius_unit="absolute", seed=3), model, inputs)
    torch.testing.assert_close(noise.norm(dim=-1), torch.full((3, 4), 0.1, dtype=torch.float64))
    assert not torch.equal(noise[0, 0], noise[1, 0])


def test_padding_gets_no_noise() -> None:
    batch = {**tiny_batch(), "labels": torch.tensor([0, 1, 2, 0])}
    noise = noise_of(AdversarialTraining(0.5, radius_unit="absolute"), tiny_bert(), batch)
    assert (noise.norm(dim=-1) > 0).equal(batch["attention_mask"].bool())


def test_gradient_through_the_whole_regularizer_is_right() -> None:
    """Float64 central differences on a model; ε is held still, as in training."""
    regularizer = AdversarialTraining(0.5, radius_unit="absolute", dropout="off")
    model = tiny_bert(dropout=0.0, dtype=torch.float64)
    batch = {**tiny_batch(), "labels": torch.tensor([0, 1, -100, 2])}
    noise = noise_of(regularizer, model, batch)
    regularizer.noise = lambda *args, **kwargs: noise  # type: ignore[method-assign]
    for parameter in (model.classifier.weight, model.bert.encoder.layer[0].output.dense.weight):
        (gradient,) = torch.autograd.grad(regularizer(model, batch).mean(), parameter)
        direction, step, sides = torch.randn_like(parameter), 1e-5, []
        for move in (step, -2 * step):
            with torch.no_grad():
                parameter += move * direction
            sides.append(float(regularizer(model, batch).mean().detach()))
        with torch.no_grad():
            parameter += step * direction
        slope = (sides[0] - sides[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2])
def test_accumulated_gradients_and_random_states_are_left_alone(steps: int) -> None:
    model, batch = tiny_bert(), {**tiny_batch(), "labels": torch.tensor([0, 1, 2, 0])}
    model(batch["input_ids"]).logits.sum().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    regularizer = AdversarialTraining(0.3, radius_unit="absolute", steps=steps)
    clean = regularizer.clean_pass(model, batch)
    state = torch.get_rng_state()
    regularizer.noise(model, batch, clean)
    assert torch.equal(torch.get_rng_state(), state)
    regularizer.penalty(model, batch, clean)
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(("steps", "passes"), [(1, 2), (3, 4)])
def test_the_first_step_costs_no_forward_pass(steps: int, passes: int) -> None:
    model, batch = tiny_bert(), {**tiny_batch(), "labels": torch.tensor([0, 1, 2, -100])}
    regularizer = AdversarialTraining(0.3, radius_unit="absolute", steps=steps)
    regularizer(model, batch)  # the self-test's own passes
    calls: list[int] = []
    handle = model.bert.encoder.register_forward_hook(lambda *_: calls.append(1))
    Objective(regularizer)(model, batch).loss.backward()
    handle.remove()
    assert len(calls) == passes


def test_without_a_graph_the_search_makes_its_own(inputs: dict[str, Tensor]) -> None:
    model, regularizer = LinearSoftmax(), AdversarialTraining(0.1, radius_unit="absolute")
    expected = noise_of(regularizer, model, inputs)
    with torch.no_grad():
        torch.testing.assert_close(noise_of(regularizer, model, inputs), expected)


def test_frozen_embeddings_and_checkpointing_change_nothing() -> None:
    batch, gradients = {**tiny_batch(), "labels": torch.tensor([0, 1, 2, 0])}, []
    for case in ("plain", "frozen", "checkpointing"):
        model = tiny_bert(dropout=0.0)
        if case == "frozen":
            model.bert.embeddings.requires_grad_(requires_grad=False)
        if case == "checkpointing":
            enable_checkpointing(model)
        Objective(AdversarialTraining(0.3, radius_unit="absolute"))(model, batch).loss.backward()
        gradients.append(model.bert.encoder.layer[0].output.dense.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


def test_start_and_end_are_averaged_over_the_supported_positions() -> None:
    """The oracle differentiates the mean of both cross-entropies, over the passage only, by autograd."""
    model, ids = LinearSpan(), torch.arange(12).reshape(3, 4)
    passage = torch.tensor([[1, 3, 0], [1, 2, -1], [2, 2, -1]])
    labels = torch.tensor([[1, 3], [2, 2], [-100, -100]])
    batch = {"input_ids": ids, "labels": labels, "passage": passage}
    x = model.table(ids).detach().requires_grad_()
    allowed = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0]]).bool()

    def loss(embeddings: Tensor) -> Tensor:
        logits = torch.einsum("hcte,bte->bhc", model.weight, embeddings)
        log_f = logits.masked_fill(~allowed[:, None], -1e9).log_softmax(-1)
        return -log_f[:2].gather(-1, labels[:2, :, None]).squeeze(-1).mean(-1)

    (gradient,) = torch.autograd.grad(loss(x).sum(), x)
    regularizer = AdversarialTraining(0.1, radius_unit="absolute")
    noise = noise_of(regularizer, model, batch)
    torch.testing.assert_close(noise[:2], 0.1 * F.normalize(gradient, dim=-1)[:2])
    value = regularizer(model, batch)
    torch.testing.assert_close(value[:2], loss(x + noise))
    assert float(value[2].detach()) == 0.0
    value.sum().backward()
    assert torch.isfinite(model.weight.grad).all()  # type: ignore[arg-type]


def test_the_objective_averages_over_labelled_rows(inputs: dict[str, Tensor]) -> None:
    model, regularizer = LinearSoftmax(), AdversarialTraining(0.1, radius_unit="absolute")
    inputs["labels"] = torch.tensor([0, -100, 1])
    parts = Objective(regularizer, alpha=2.0)(model, inputs)
    rows = regularizer(model, inputs)
    torch.testing.assert_close(parts.regularization, (rows[0] + rows[2]).detach() / 2)
    torch.testing.assert_close(parts.loss.detach(), parts.ce + 2 * parts.regularization)


def test_what_makes_no_sense_is_refused(inputs: dict[str, Tensor]) -> None:
    assert get_regularizer("at") is AdversarialTraining
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        AdversarialTraining(steps=0)
    del inputs["labels"]
    with pytest.raises(ConfigError, match="got inputs without 'labels'"):
        AdversarialTraining()(LinearSoftmax(), inputs)
