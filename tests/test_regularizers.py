"""Regularizers against closed forms, float64 differences, and the mistakes that others have published."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pdr import (
    RPT,
    VAT,
    JacobianRegularizer,
    RDrop,
    Regularizer,
    WeightedJacobianRegularizer,
    get_divergence,
    get_regularizer,
    list_divergences,
    list_regularizers,
    register_regularizer,
)
from ssl_pdr.errors import ConfigError, ModelError, UnknownNameError
from ssl_pdr.regularizers.base import _REGISTRY
from tests.conftest import enable_checkpointing, tiny_batch, tiny_bert
from tests.linear import LinearSoftmax


@pytest.fixture
def linear() -> LinearSoftmax:
    return LinearSoftmax()


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return {"input_ids": torch.arange(12).reshape(3, 4), "attention_mask": torch.ones(3, 4, dtype=torch.long)}


def fisher(model: LinearSoftmax, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior f (B, C), J of the logits (C, T·E), and M = diag(f) − f fᵀ (B, C, C)."""
    f = model(**inputs).logits.softmax(-1).detach()
    jacobian = model.weight.detach().flatten(1)
    return f, jacobian, torch.diag_embed(f) - f[:, :, None] * f[:, None, :]


@pytest.mark.parametrize("name", [n for n in list_divergences() if n != "tv"])
def test_rpt_is_the_quadratic_form_of_eq_7_at_small_radius(
    name: str, linear: LinearSoftmax, inputs: dict[str, Tensor]
) -> None:
    regularizer = RPT(name, 1e-4, radius_unit="absolute")
    clean = regularizer.clean_pass(linear, inputs)
    rows = torch.arange(3)
    noise = regularizer.noise(linear, inputs, clean, row_ids=rows).flatten(1).double()
    _, jacobian, metric = fisher(linear, inputs)
    change = noise @ jacobian.T
    curvature = get_divergence(name).curvature
    assert curvature is not None
    expected = curvature / 2 * torch.einsum("bi,bij,bj->b", change, metric, change)
    value = regularizer.penalty(linear, inputs, clean, row_ids=rows)
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("search", ["exact", "power"])
def test_vat_finds_the_worst_direction_of_two_classes(search: str, inputs: dict[str, Tensor]) -> None:
    model = LinearSoftmax(classes=2)
    regularizer = VAT("kl", 0.1, radius_unit="absolute", search=search)
    clean = regularizer.clean_pass(model, inputs)
    noise = regularizer.noise(model, inputs, clean)
    difference = (model.weight[0] - model.weight[1]).detach()
    unit = difference / difference.norm(dim=-1, keepdim=True)
    cosine = (noise / 0.1 * unit).sum(-1).abs()
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_more_steps_of_vat_come_closer_to_the_worst_case(linear: LinearSoftmax, inputs: dict[str, Tensor]) -> None:
    def mean(regularizer: Regularizer) -> float:
        return float(regularizer(linear, inputs, row_ids=torch.arange(3)).mean().detach())

    random = mean(RPT("kl", 0.01, radius_unit="absolute"))
    one, many = (mean(VAT("kl", 0.01, radius_unit="absolute", search="power", steps=k)) for k in (1, 8))
    assert random < one <= many * (1 + 1e-6)


def test_vat_searches_the_function_of_the_clean_pass_under_dropout() -> None:
    """Under fresh masks the search climbs the difference of masks: the direction would be another one."""
    model, batch = tiny_bert(num_labels=2, dropout=0.4), tiny_batch(rows=16)
    exact, searched = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        regularizer = VAT("kl", 0.05, dropout="independent", search="power")
        clean = regularizer.clean_pass(model, batch)
        assert clean.embeddings is not None
        margin = clean.logits[:, 0] - clean.logits[:, 1]
        (gradient,) = torch.autograd.grad(margin.sum(), clean.embeddings, retain_graph=True)
        exact.append(gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-12))
        noise = regularizer.noise(model, batch, clean)
        searched.append(noise / noise.norm(dim=-1, keepdim=True).clamp_min(1e-12))
    cosine = (torch.cat(exact) * torch.cat(searched)).sum(-1).abs()
    assert cosine[tiny_batch(rows=64)["attention_mask"].bool()].median() > 0.95


def test_vat_leaves_accumulated_gradients_alone() -> None:
    model, batch = tiny_bert(), tiny_batch()
    model(**batch).logits.sum().backward()
    before = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    VAT("shl")(model, batch)
    after = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_saturated_row_gives_vat_a_random_direction_not_nan() -> None:
    model = LinearSoftmax(classes=2)
    with torch.no_grad():
        model.weight *= 1e6
    value = VAT("kl", 1e-9, radius_unit="absolute")(model, {"input_ids": torch.arange(8).reshape(2, 4)})
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert model.weight.grad is not None
    assert torch.isfinite(model.weight.grad).all()


@pytest.mark.parametrize("of", ["posterior", "logits"])
def test_jacobian_norm_is_exact(of: str, linear: LinearSoftmax, inputs: dict[str, Tensor]) -> None:
    _, jacobian, metric = fisher(linear, inputs)
    full = jacobian.expand(3, -1, -1) if of == "logits" else metric @ jacobian
    value = JacobianRegularizer(of=of)(linear, inputs)  # type: ignore[arg-type]
    torch.testing.assert_close(value, full.square().sum(dim=(1, 2)))


def test_weighted_jacobian_is_the_trace_of_eq_7(linear: LinearSoftmax, inputs: dict[str, Tensor]) -> None:
    f, jacobian, metric = fisher(linear, inputs)
    expected = ((metric @ jacobian).square().sum(-1) / f).sum(-1)
    for regularizer in (WeightedJacobianRegularizer(), JacobianRegularizer(weighted=True)):
        torch.testing.assert_close(regularizer(linear, inputs), expected)
    trace = torch.einsum("id,bij,jd->b", jacobian, metric, jacobian)
    torch.testing.assert_close(expected, trace)


@pytest.mark.parametrize("options", [{}, {"of": "logits"}, {"weighted": True}])
def test_projections_are_unbiased(options: dict[str, Any], linear: LinearSoftmax, inputs: dict[str, Tensor]) -> None:
    exact = JacobianRegularizer(**options)(linear, inputs)
    estimate = JacobianRegularizer(4000, **options)(linear, inputs)
    torch.testing.assert_close(estimate, exact, rtol=0.06, atol=0)
    biased = JacobianRegularizer(4000, unbiased=False, **options)(linear, inputs)
    torch.testing.assert_close(biased * 3, estimate, rtol=0.06, atol=0)


def regularizers() -> dict[str, Regularizer]:
    smooth = [name for name in list_divergences() if name != "tv"]
    made: dict[str, Regularizer] = {}
    for name in smooth:
        for target in ("detach", "both"):
            made[f"rpt-{name}-{target}"] = RPT(name, 0.5, target_grad=target, dropout="off")  # type: ignore[arg-type]
    made["vat-shl"] = VAT("shl", 0.5, dropout="off")
    made["vat-jsd"] = VAT("jsd", 0.5, dropout="off")
    made["jr"], made["jr-2"] = JacobianRegularizer(dropout="off"), JacobianRegularizer(2, dropout="off")
    made["wjr"], made["wjr-2"] = (
        WeightedJacobianRegularizer(dropout="off"),
        WeightedJacobianRegularizer(2, dropout="off"),
    )
    return made


@pytest.mark.parametrize("name", regularizers())
def test_gradient_through_the_whole_regularizer_is_right(name: str) -> None:
    """Float64 central differences on a model, not on a formula: a divergence without gradient fails here.

    The noise and, where it is detached, the clean side are held still, as they are in training.
    """
    regularizer = regularizers()[name]
    model, batch, rows = tiny_bert(dropout=0.0, dtype=torch.float64), tiny_batch(), torch.arange(4)
    clean = regularizer.clean_pass(model, batch)
    frozen: dict[str, Tensor] = {"target": clean.logits.detach()}
    if isinstance(regularizer, RPT):
        frozen["noise"] = regularizer.noise(model, batch, clean, row_ids=rows)
        regularizer.noise = lambda *args, **kwargs: frozen["noise"]  # type: ignore[method-assign]
        if regularizer.detaches_target:
            compare = regularizer.divergence.from_logits
            regularizer._compare = lambda _, noisy: compare(frozen["target"], noisy)  # type: ignore[method-assign]

    def value() -> Tensor:
        return regularizer(model, batch, row_ids=rows).mean()

    parameters = [model.classifier.weight, model.bert.encoder.layer[0].output.dense.weight]
    analytic = torch.autograd.grad(value(), parameters)
    assert all(float(g.norm()) > 0 for g in analytic)
    for parameter, gradient in zip(parameters, analytic, strict=True):
        direction = torch.randn_like(parameter)
        step = 1e-5
        with torch.no_grad():
            parameter += step * direction
        up = float(value().detach())
        with torch.no_grad():
            parameter -= 2 * step * direction
        down = float(value().detach())
        with torch.no_grad():
            parameter += step * direction
        assert float((gradient * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=2e-5, abs=1e-12)


def test_target_policy() -> None:
    """The clean side carries gradient for symmetric divergences under `auto`, and where it is asked for."""
    model = LinearSoftmax()
    clean = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    noisy = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    for name, target, flows in (
        ("kl", "auto", False),
        ("shl", "auto", True),
        ("jsd", "auto", True),
        ("kl", "both", True),
        ("shl", "detach", False),
    ):
        value = RPT(name, target_grad=target)._compare(clean, noisy).sum()  # type: ignore[arg-type]
        on_clean, on_noisy = torch.autograd.grad(value, (clean, noisy), allow_unused=True)
        assert (on_clean is not None) == flows, (name, target)
        assert on_noisy is not None
        assert on_noisy.norm() > 0
    assert model is not None


def test_hidden_r_drop() -> None:
    """With independent masks and c = 1e-3, R hardly knows whether there is any noise; with shared masks it does."""
    model, batch = tiny_bert(dropout=0.1), tiny_batch(rows=64)

    def mean(radius: float, dropout: str) -> float:
        torch.manual_seed(3)
        regularizer = RPT("kl", radius, radius_unit="absolute", dropout=dropout)  # type: ignore[arg-type]
        return float(regularizer(model, batch, row_ids=torch.arange(64)).mean().detach())

    assert mean(1e-3, "independent") == pytest.approx(mean(0.0, "independent"), rel=0.05)
    assert mean(1e-3, "shared") < 1e-3 * mean(1e-3, "independent")
    assert mean(0.0, "shared") == mean(0.0, "off") == 0.0


def test_what_is_left_at_zero_noise_is_measured_without_a_trace() -> None:
    model, batch = tiny_bert(dropout=0.1), tiny_batch(rows=32)
    regularizer = RPT("kl", 0.3)
    clean = regularizer.clean_pass(model, batch)
    state = torch.get_rng_state()
    zero = regularizer.at_zero_noise(model, batch, clean)
    assert torch.equal(torch.get_rng_state(), state)
    assert zero is not None
    assert not zero.requires_grad
    assert 0 < float(zero.mean()) < float(regularizer.penalty(model, batch, clean).mean().detach())
    for dropout in ("shared", "off"):
        assert RPT("kl", dropout=dropout).at_zero_noise(model, batch, clean) is None  # type: ignore[arg-type]


def test_r_drop_is_rpt_without_noise() -> None:
    model, batch = tiny_bert(dropout=0.2), tiny_batch()
    model(**batch)
    values = []
    for regularizer in (RDrop("jeffreys"), RPT("jeffreys", 0.0)):
        regularizer.clean_pass(model, batch)  # the self-test is over before the masks are drawn
        torch.manual_seed(5)
        values.append(regularizer(model, batch))
    torch.testing.assert_close(values[0], values[1])
    with pytest.raises(ConfigError, match="dropout must be 'independent', got 'shared'"):
        RDrop(dropout="shared")


def test_dropout_off_reaches_every_pass_and_goes_back_on() -> None:
    model, batch = tiny_bert(dropout=0.5), tiny_batch()
    regularizer = RPT("kl", 0.0, dropout="off")
    assert float(regularizer(model, batch).detach().abs().max()) == 0.0
    assert model.training
    torch.testing.assert_close(regularizer.clean_pass(model, batch).logits, model.eval()(**batch).logits)


def test_double_backward_runs_on_fused_attention_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_bert(attn_implementation="sdpa")
    regularizer = JacobianRegularizer()
    with caplog.at_level(logging.WARNING, logger="ssl_pdr"):
        for _ in range(2):
            regularizer(model, tiny_batch()).sum().backward()
    assert [record.message for record in caplog.records] == [
        "jr and wjr differentiate twice: attention runs in its plain (math) form"
    ]


def test_gradient_checkpointing_gives_the_same_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_bert(dropout=0.0)
        if checkpointing:
            enable_checkpointing(model)
        VAT("shl", 0.3)(model, tiny_batch(), row_ids=torch.arange(4)).mean().backward()
        gradients.append(model.bert.encoder.layer[0].output.dense.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_regularizers_can_be_exchanged_in_one_call() -> None:
    options: dict[str, Any] = {
        "site": "word",
        "dropout": "independent",
        "target_grad": "both",
        "radius_unit": "absolute",
    }
    for kind in (RPT, VAT, RDrop, JacobianRegularizer):
        assert kind(**options)(tiny_bert(), tiny_batch()).shape == (4,)


def test_the_published_code_perturbs_the_clean_embeddings_and_pads() -> None:
    """Reused embeddings share the embedding's own mask; detached ones cut the gradient to it (classification RPT)."""
    for mode, flows in (("fresh", True), ("reused", True), ("reused_detached", False)):
        model, batch = tiny_bert(dropout=0.2), tiny_batch()
        regularizer = RPT("kl", 0.1)
        regularizer.base_embeddings, regularizer.pads = mode, True  # type: ignore[assignment]
        clean = regularizer.clean_pass(model, batch)
        assert (regularizer.noise(model, batch, clean).norm(dim=-1) > 0).all()
        regularizer.penalty(model, batch, clean).sum().backward()
        gradient = model.bert.embeddings.word_embeddings.weight.grad
        assert (gradient is not None and float(gradient.norm()) > 0) == flows, mode


def test_logits_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ModelError, match=r"expected logits of shape \(batch, classes\) with 2 classes or more"):
        RPT()(tiny_bert(num_labels=1), tiny_batch())


def test_registry_lists_finds_and_extends() -> None:
    assert list_regularizers() == ["at", "jr", "rdrop", "rpt", "vat", "wjr"]
    with pytest.raises(UnknownNameError, match="unknown regularizer 'vatt'; did you mean 'vat'"):
        get_regularizer("vatt")

    @register_regularizer("ours")
    class Ours(RPT):
        pass

    try:
        assert get_regularizer("ours") is Ours
    finally:
        _REGISTRY.unregister("ours")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VAT(steps=0), "steps must be at least 1, got 0"),
        (lambda: RPT(dropout="some"), "unknown dropout 'some'; expected one of: shared, independent, off"),
        (lambda: RPT(target_grad="x"), "unknown target_grad 'x'; expected one of: auto, detach, both"),
        (lambda: JacobianRegularizer(0), "projections must be at least 1"),
        (lambda: JacobianRegularizer(of="loss"), "unknown Jacobian of 'loss'"),
        (lambda: JacobianRegularizer(of="logits", weighted=True), "needs of='posterior'"),
    ],
)
def test_senseless_options_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_classical_search_finds_its_direction_in_float16() -> None:
    """The slope of a divergence at a small step is too small for that dtype unless it is scaled."""
    model, batch, rows = tiny_bert(num_labels=2, dropout=0.0), tiny_batch(), torch.arange(4)
    with torch.no_grad():
        model.classifier.weight *= 1e-2  # a posterior that is nearly flat, as in the beginning
    regularizer = VAT("kl", 1e-2, search="power")
    found = []
    for one in (model, copy.deepcopy(model).half()):
        clean = regularizer.clean_pass(one, batch)
        found.append(regularizer.noise(one, batch, clean, row_ids=rows).float())
    cosine = torch.nn.functional.cosine_similarity(*found, dim=-1)[batch["attention_mask"].bool()]
    assert cosine.min() > 0.9
