"""The objective: one clean pass, global counts, and nothing for rows that cannot contribute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_pdr import RPT, VAT, Counts, Objective, RDrop
from ssl_pdr.errors import ConfigError
from tests.conftest import tiny_batch, tiny_bert

LABELS = torch.tensor([2, 0, -100, -100])


def batch(**extra: Any) -> dict[str, Any]:
    return {**tiny_batch(), "labels": LABELS, "row_id": torch.arange(4), **extra}


def test_loss_is_mean_ce_over_labelled_plus_alpha_mean_r_over_all() -> None:
    model, regularizer = tiny_bert(dropout=0.0), RPT("kl", 0.5)
    parts = Objective(regularizer, alpha=3.0)(model, batch())
    logits = model(**tiny_batch()).logits
    ce = F.cross_entropy(logits[:2], LABELS[:2])
    r = regularizer(model, tiny_batch(), row_ids=torch.arange(4)).mean()
    torch.testing.assert_close(parts.loss, ce + 3.0 * r)
    torch.testing.assert_close(parts.ce, ce)
    torch.testing.assert_close(parts.regularization, r)
    assert int(parts.correct) == int((logits[:2].argmax(-1) == LABELS[:2]).sum())
    assert not parts.ce.requires_grad


def test_unlabelled_labels_never_matter() -> None:
    model, objective = tiny_bert(dropout=0.0), Objective(RPT("shl", 0.3))
    as_is = objective(model, batch()).loss
    torch.testing.assert_close(objective(model, batch(label=torch.tensor([2, 0, 1, 1]))).loss, as_is)


def test_micro_batches_add_up_to_the_step() -> None:
    """α means the same for every layout: one batch of 4, four of 1, one of them without any labelled row."""
    model, objective = tiny_bert(dropout=0.0), Objective(VAT("shl", 0.3), alpha=2.0)
    whole = objective(model, batch())
    counts = Counts.of(batch())
    assert counts == Counts(labelled=2, rows=4)
    parts = [objective(model, {k: v[i : i + 1] for k, v in batch().items()}, counts) for i in range(4)]
    torch.testing.assert_close(sum(part.loss for part in parts), whole.loss, rtol=1e-4, atol=1e-7)


def test_a_row_of_weight_zero_counts_for_nothing() -> None:
    model, objective = tiny_bert(dropout=0.0), Objective(RPT("kl", 0.5))
    padded = {k: torch.cat((v, v[:1])) for k, v in batch(row_weight=torch.ones(4)).items()}
    padded["labels"][4], padded["row_weight"][4] = -100, 0.0
    torch.testing.assert_close(objective(model, padded).loss, objective(model, batch()).loss)
    assert Counts.of(padded) == Counts(2, 4)


@pytest.mark.parametrize("objective", [Objective(None), Objective(RPT("kl", 0.5), alpha=0.0)])
def test_alpha_zero_is_plain_fine_tuning_and_leaves_unlabelled_rows_out(objective: Objective) -> None:
    model, sizes = tiny_bert(dropout=0.0), []
    handle = model.register_forward_pre_hook(
        lambda _, __, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    parts = objective(model, batch())
    handle.remove()
    assert sizes == [2]
    labelled = {k: v[:2] for k, v in tiny_batch().items()}
    torch.testing.assert_close(parts.loss, model(**labelled, labels=LABELS[:2]).loss)


def test_a_batch_without_labels_still_has_a_graph() -> None:
    for objective in (Objective(None), Objective(RPT("kl", 0.5))):
        model = tiny_bert()
        parts = objective(model, batch(labels=torch.full((4,), -100)), Counts(5, 40))
        parts.loss.backward()
        assert float(parts.ce) == 0.0
        assert model.classifier.weight.grad is not None


def test_every_regularizer_trains_from_the_same_30_line_loop() -> None:
    for regularizer in (RPT("kl", 0.5), VAT("jsd", 0.5), RDrop("jeffreys")):
        model = tiny_bert()
        objective, optimizer = Objective(regularizer), torch.optim.SGD(model.parameters(), lr=0.05)
        losses = []
        for _ in range(20):
            loss = objective(model, batch()).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
        assert sum(losses[-3:]) < sum(losses[:3])


@pytest.mark.parametrize("alpha", [-0.1, float("nan"), float("inf")])
def test_senseless_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(ConfigError, match="alpha must be a finite number of at least 0"):
        Objective(RPT(), alpha)


def test_row_weight_depends_on_the_mix() -> None:
    assert Objective(RPT(), alpha=2.0).r_row_weight(Counts(labelled=1, rows=4)) == 0.5
    assert Objective(None, alpha=2.0).r_row_weight(Counts(1, 4)) == 0.0


def test_embeddings_that_are_used_again_keep_their_graph() -> None:
    """The published code's noisy pass starts from the clean pass's embeddings: rows without a label train the table too."""
    model, batch = tiny_bert(dropout=0.0), tiny_batch()
    regularizer = VAT("kl", 0.3)
    regularizer.base_embeddings = "reused"
    Objective(regularizer)(model, {**batch, "labels": torch.full((4,), -100)}).loss.backward()
    assert model.bert.embeddings.word_embeddings.weight.grad.norm() > 0


def test_rows_of_weight_zero_are_no_part_of_r_without_noise() -> None:
    model, batch = tiny_bert(dropout=0.3), tiny_batch()
    objective = Objective(RPT("kl", 0.5))
    labelled = {**batch, "labels": torch.tensor([0, 1, 2, -100]), "row_weight": torch.tensor([1.0, 0.0, 1.0, 0.0])}
    counts = Counts.of(labelled)
    parts = objective(model, labelled, counts)
    torch.manual_seed(7)
    whole = objective.at_zero_noise(model, parts, counts)
    heavy = tuple(({**one, "row_weight": torch.ones_like(one["row_weight"])}, clean) for one, clean in parts.passes)
    torch.manual_seed(7)
    other = objective.at_zero_noise(model, replace(parts, passes=heavy), counts)
    assert whole is not None
    assert other is not None
    assert 0 < float(whole) < float(other)


def test_float16_cannot_hold_the_least_gradient_and_takes_a_product() -> None:
    model, batch = tiny_bert(num_labels=2, dropout=0.0, dtype=torch.float16), tiny_batch()
    called: list[Tensor] = []

    def early(ce: Tensor) -> None:
        called.append(ce)
        torch.autograd.backward(ce)

    Objective(VAT("kl", 2.0))(model, {**batch, "labels": torch.tensor([0, 1, 1, 0])}, backward=called.append)
    assert not called
    Objective(VAT("kl", 2.0))(model.float(), {**batch, "labels": torch.tensor([0, 1, 1, 0])}, backward=early)
    assert len(called) == 1
