"""Early cross-entropy, batches in two parts, parameters held still: the gradients are those of the plain way."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_pdr import RPT, VAT, Counts, LossParts, Objective, get_divergence
from ssl_pdr.regularizers.base import frozen
from ssl_pdr.regularizers.search import worst_direction
from tests.conftest import tiny_batch, tiny_bert

ALPHA = 1.5


def vat(divergence: str = "kl", **options: Any) -> VAT:
    """Of a detached clean side."""
    return VAT(divergence, 0.3, radius_unit="absolute", target_grad="detach", **{"dropout": "off", **options})


def batch_of(labels: list[int], *, first_id: int = 0) -> dict[str, Tensor]:
    """One row for each label, −100 without."""
    batch = tiny_batch(rows=len(labels))
    return {**batch, "labels": torch.tensor(labels), "row_id": torch.arange(len(labels)) + first_id}


def gradients(model: Any) -> dict[str, Tensor]:
    """By name, as copies."""
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def step(
    model: Any,
    batch: dict[str, Tensor],
    regularizer: VAT,
    *,
    reuse: bool,
    counts: Counts | None = None,
    clear: bool = True,
) -> tuple[LossParts, dict[str, Tensor]]:
    """One forward and backward, the plain way or with the cross-entropy differentiated early."""
    if clear:
        model.zero_grad()
    how: dict[str, Any] = {"backward": Tensor.backward} if reuse else {}
    parts = Objective(regularizer, ALPHA)(model, batch, counts, **how)
    parts.loss.backward()
    return parts, gradients(model)


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-4) -> None:
    """Up to rounding, relative to the largest entry of all: some, such as of a bias of keys, are zero but for rounding."""
    assert one.keys() == other.keys()
    largest = max(float(gradient.abs().max()) for gradient in other.values())
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=tolerance, atol=tolerance * largest, msg=name)


LABELS = {
    "all labelled": [0, 1, 1, 0, 1],
    "mixed": [1, -100, 0, -100, 1],
    "one labelled": [-100, -100, 1, -100, -100],
    "none labelled": [-100, -100, -100],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", ["token", "sequence"])
@pytest.mark.parametrize("labels", LABELS)
def test_early_cross_entropy_gives_the_plain_gradient(labels: str, norm: str, dtype: torch.dtype) -> None:
    model, batch = tiny_bert(num_labels=2, dropout=0.0, dtype=dtype), batch_of(LABELS[labels])
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    plain, expected = step(model, batch, vat(norm=norm), reuse=False)
    early, found = step(model, batch, vat(norm=norm), reuse=True)
    assert_same(found, expected, tolerance)
    for name in ("ce", "regularization", "correct", "logits"):
        torch.testing.assert_close(getattr(early, name), getattr(plain, name), rtol=tolerance, atol=tolerance)
    # What is in `loss` is the value of all, whatever of it has been differentiated.
    torch.testing.assert_close(early.loss, plain.loss, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("divergence", ["shl", "jsd", "reverse_kl"])
def test_it_holds_for_other_divergences_of_a_detached_target(divergence: str) -> None:
    model, batch = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64), batch_of(LABELS["mixed"])
    _, expected = step(model, batch, vat(divergence), reuse=False)
    _, found = step(model, batch, vat(divergence), reuse=True)
    assert_same(found, expected, 1e-9)


def by_hand(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients from one joint pass of all rows and one noisy pass, with nothing of `Objective` in it."""
    model.zero_grad()
    kept: list[Tensor] = []
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    mask = batch["attention_mask"].bool()
    handle = model.bert.embeddings.register_forward_hook(lambda *a: kept.append(a[2]))
    logits = model(**inputs).logits
    handle.remove()
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), kept[0], retain_graph=True)
    unit = gradient / gradient.norm(dim=-1, keepdim=True).clamp_min(1e-300) * mask.unsqueeze(-1)
    sampler = vat()
    drawn = sampler.noise(model, inputs, sampler.clean_pass(model, inputs), row_ids=batch["row_id"])
    sign = (drawn * unit).sum(dim=(1, 2), keepdim=True).sign()
    handle = model.bert.embeddings.register_forward_hook(lambda *a: a[2] + 0.3 * sign * unit)
    noisy = model(**inputs).logits
    handle.remove()
    r = get_divergence("kl").from_logits(logits.detach(), noisy)
    labelled = batch["labels"] >= 0
    ce = F.cross_entropy(logits, batch["labels"], ignore_index=-100, reduction="sum") / labelled.sum().clamp_min(1)
    loss = ce + ALPHA * r.mean()
    loss.backward()
    return loss.detach(), gradients(model)


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("labels", LABELS)
def test_two_parts_are_one_joint_pass(labels: str, reuse: bool) -> None:
    model, batch = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64), batch_of(LABELS[labels])
    loss, expected = by_hand(model, batch)
    parts, found = step(model, batch, vat(), reuse=reuse)
    torch.testing.assert_close(parts.loss.detach(), loss)
    assert_same(found, expected, 1e-8)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(parts.logits, model(**inputs).logits.detach())  # in the order of the batch


# --- rows that are sure ---


def sure_model() -> Any:
    """A float32 model whose first class has probability 1, to the last digit and beyond it."""
    model = tiny_bert(num_labels=2, dropout=0.0)
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([60.0, -60.0]))
    return model


def cosines(direction: Tensor, expected: Tensor, mask: Tensor) -> Tensor:
    """Of each token that is not padding; of vectors as short as 1e-30."""
    one, other = (x.double() / x.double().norm(dim=-1, keepdim=True).clamp_min(1e-300) for x in (direction, expected))
    return (one * other).sum(dim=-1)[mask.bool()]


def test_the_trap_that_sure_rows_set_and_the_way_around_it() -> None:
    """At p_y = 1 cross-entropy's own gradient is zero or rounding; the direction must be J_zᵀ(1, −1) all the same."""
    model, batch = sure_model(), batch_of([0, 0, 0, 0])
    objective = Objective(vat(), ALPHA)
    expected = _exact_direction(model, batch)

    # The trap: plain cross-entropy of these logits, differentiated at the embeddings.
    clean = vat().clean_pass(model, batch)
    assert clean.embeddings is not None
    ce = F.cross_entropy(clean.logits, batch["labels"])
    (trapped,) = torch.autograd.grad(ce, clean.embeddings)
    assert float(cosines(trapped, expected, batch["attention_mask"]).abs().min()) < 0.5

    parts = objective(model, batch, backward=Tensor.backward)
    ((_, seen),) = parts.passes
    assert seen.gradient is not None
    found = cosines(seen.gradient, expected, batch["attention_mask"]).abs()
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-3, atol=0)
    parts.loss.backward()
    assert all(torch.isfinite(g).all() for g in gradients(model).values())


@pytest.mark.parametrize("offset", [8.0, 17.0, 30.0, 60.0, 1e3])
def test_sure_rows_right_and_wrong_have_the_plain_direction(offset: float) -> None:
    """p_y from nearly 1 over exactly 1 to exactly 0: other tokens' gradients, and other rows', are of any size beside it."""
    model, batch = tiny_bert(num_labels=2, dropout=0.0), batch_of([0, 1, 0, 1])
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([offset, -offset]))
    ((_, seen),) = Objective(vat(), ALPHA)(model, batch, backward=Tensor.backward).passes
    assert seen.gradient is not None
    found = cosines(seen.gradient, _exact_direction(model, batch), batch["attention_mask"]).abs()
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-3, atol=0)


def _exact_direction(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """In float64."""
    model.double()
    clean = vat().clean_pass(model, batch)
    assert clean.embeddings is not None
    assert clean.mask is not None
    direction = worst_direction(clean.logits, clean.embeddings, clean.mask)
    model.float()
    return direction.float()


def test_sure_rows_barely_move_the_model() -> None:
    """What keeps the direction alive is no gradient to speak of for the parameters."""
    model, batch = sure_model(), batch_of([0, 0, 0, 0])
    parts, found = step(model, batch, vat(), reuse=True)
    assert float(parts.ce) < 1e-20
    assert max(float(g.abs().max()) for g in found.values()) < 1e-15


def test_cross_entropy_of_the_early_way_is_exact_for_rows_that_are_surely_wrong() -> None:
    model, batch = sure_model(), batch_of([1, 1, 0, 0])
    plain, expected = step(model, batch, vat(), reuse=False)
    early, found = step(model, batch, vat(), reuse=True)
    torch.testing.assert_close(early.ce, plain.ce)
    assert float(early.ce) > 50
    assert_same(found, expected)


# --- weights, accumulation, order ---


@pytest.mark.parametrize("reuse", [False, True])
def test_rows_of_weight_zero_do_not_count(reuse: bool) -> None:
    """They are padding of a step: no label and no weight."""
    model = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64)
    short = batch_of([0, 1, -100])
    padded = batch_of([0, 1, -100, -100, -100])
    for name in ("input_ids", "attention_mask"):
        padded[name][:3] = short[name]
    padded["row_weight"] = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    assert Counts.of(padded) == Counts(labelled=2, rows=3)
    plain, expected = step(model, short, vat(), reuse=reuse)
    parts, found = step(model, padded, vat(), reuse=reuse)
    torch.testing.assert_close(parts.loss, plain.loss)
    assert_same(found, expected, 1e-8)


@pytest.mark.parametrize("reuse", [False, True])
def test_micro_batches_add_up(reuse: bool) -> None:
    """Labelled rows in one, none in another; by the counts of the whole step."""
    model = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64)
    whole = batch_of([0, 1, 1, -100, -100, -100, 0, -100])
    pieces = [{name: value[rows] for name, value in whole.items()} for rows in ([0, 1, 2], [3, 4], [5, 6, 7])]
    counts = Counts.of(*pieces)
    joint, expected = step(model, whole, vat(), reuse=False)
    model.zero_grad()
    losses = [step(model, piece, vat(), reuse=reuse, counts=counts, clear=False)[0].loss.detach() for piece in pieces]
    torch.testing.assert_close(torch.stack(losses).sum(), joint.loss.detach())
    assert_same(gradients(model), expected, 1e-8)


def test_the_early_backward_is_one_call_with_the_cross_entropy() -> None:
    """So that a distributed trainer can keep it from being reduced; a batch without labels makes no call."""
    model, calls = tiny_bert(num_labels=2, dropout=0.0), []

    def backward(loss: Tensor) -> None:
        calls.append(loss.detach())
        loss.backward()

    objective = Objective(vat(), ALPHA)
    parts = objective(model, batch_of(LABELS["mixed"]), backward=backward)
    torch.testing.assert_close(torch.stack(calls), parts.ce.unsqueeze(0))
    objective(model, batch_of(LABELS["none labelled"]), backward=backward)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("regularizer", "classes"),
    [
        (VAT("shl", 0.3), 2),  # both sides carry gradient
        (vat(), 3),
        (vat(search="power"), 2),
        (RPT("kl", 0.3), 2),
    ],
)
def test_what_cannot_reuse_it_leaves_it_in_the_loss(regularizer: Any, classes: int) -> None:
    model, calls = tiny_bert(num_labels=classes, dropout=0.0), []
    Objective(regularizer, ALPHA)(model, batch_of(LABELS["mixed"]), backward=calls.append)
    assert calls == []


def test_shared_masks_are_shared_within_each_part() -> None:
    """Nothing but the noise differs between the passes of a part: without noise R is zero to the last digit."""
    for labels in LABELS.values():
        for reuse in (False, True):
            model = tiny_bert(num_labels=2, dropout=0.3)
            regularizer = VAT("kl", 0.0, target_grad="detach", dropout="shared")
            parts, _ = step(model, batch_of(labels), regularizer, reuse=reuse)
            assert float(parts.regularization) == 0.0


def test_shared_masks_and_early_backward_give_the_plain_gradient() -> None:
    """The passes draw from the generator in the same order either way."""
    found = []
    for reuse in (False, True):
        model = tiny_bert(num_labels=2, dropout=0.2, dtype=torch.float64)
        regularizer = vat(dropout="shared")
        regularizer.clean_pass(model, batch_of(LABELS["mixed"]))  # the self-test is over
        torch.manual_seed(3)
        found.append(step(model, batch_of(LABELS["mixed"]), regularizer, reuse=reuse)[1])
    assert_same(found[1], found[0], 1e-8)


# --- parameters held still ---


def test_parameters_are_as_before_even_after_an_error() -> None:
    model = tiny_bert(num_labels=2)
    model.bert.embeddings.requires_grad_(False)  # a user's own freeze
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    assert set(before.values()) == {True, False}
    with frozen(model):
        assert not any(p.requires_grad for p in model.parameters())
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}

    regularizer = vat()
    regularizer.clean_pass(model, batch_of(LABELS["none labelled"]))
    handle = model.bert.encoder.layer[1].register_forward_pre_hook(_fail)
    with pytest.raises(ZeroDivisionError):
        Objective(regularizer)(model, batch_of(LABELS["none labelled"]))
    handle.remove()
    assert before == {name: p.requires_grad for name, p in model.named_parameters()}
    parts, found = step(model, batch_of(LABELS["mixed"]), regularizer, reuse=True)
    assert torch.isfinite(parts.loss)
    assert found.keys() == {name for name, trained in before.items() if trained}


def _fail(*_: Any) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize("reuse", [False, True])
def test_frozen_embeddings_have_a_direction_and_no_gradient(reuse: bool) -> None:
    """The graph begins at the site, where a user has frozen all that is before it."""
    model, batch = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float64), batch_of(LABELS["mixed"])
    _, expected = step(model, batch, vat(), reuse=reuse)
    model.bert.embeddings.requires_grad_(False)
    _, found = step(model, batch, vat(), reuse=reuse)
    still = {name: gradient for name, gradient in expected.items() if not name.startswith("bert.embeddings")}
    assert_same(found, still, 1e-8)
