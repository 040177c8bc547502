"""Start and end of an answer as two posteriors over a passage: losses, regularizers and their gradients against oracles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor, nn

from ssl_pdr import RPT, VAT, JacobianRegularizer, Objective, RDrop, Regularizer, WeightedJacobianRegularizer
from ssl_pdr.errors import ModelError
from ssl_pdr.objective import Counts
from ssl_pdr.outputs import read_logits, support
from ssl_pdr.regularizers import AdversarialTraining
from tests.conftest import tiny_batch, tiny_config

PASSAGE = torch.tensor([[3, 6, -1], [2, 4, 0], [1, 5, 0]])


def tiny_reader(*, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Any:
    """A BERT that answers questions."""
    from transformers import BertForQuestionAnswering

    torch.manual_seed(1)
    return BertForQuestionAnswering(tiny_config(dropout)).to(dtype).train()


@pytest.fixture
def reader() -> Any:
    return tiny_reader()


@pytest.fixture
def batch() -> dict[str, Tensor]:
    return {**tiny_batch(rows=3), "passage": PASSAGE}


def places(row: int) -> list[int]:
    """Where an answer may start or end."""
    first, last, null = PASSAGE[row].tolist()
    return [place for place in range(7) if first <= place <= last or place == null]


def test_the_posterior_is_over_the_passage_and_the_slot(reader: Any, batch: dict[str, Tensor]) -> None:
    logits = read_logits(reader(batch["input_ids"], batch["attention_mask"]), batch)
    assert logits.shape == (3, 2, 7)
    for row in range(3):
        for head in range(2):
            assert torch.isfinite(logits[row, head]).nonzero().flatten().tolist() == places(row)
    everywhere = {name: value for name, value in batch.items() if name != "passage"}
    assert torch.equal(support(everywhere, 7), batch["attention_mask"].bool())


def test_what_is_no_posterior_is_refused() -> None:
    with pytest.raises(ModelError, match=r"2 classes or more, or of start and end, got \(3, 1\)"):
        read_logits(type("Output", (), {"logits": torch.zeros(3, 1)}), {})


def test_cross_entropy_is_that_of_the_library_where_all_positions_are_answers(reader: Any) -> None:
    plain = tiny_batch(rows=3, pad=0)
    labels = torch.tensor([[3, 5], [2, 2], [1, 6]])
    expected = reader(**plain, start_positions=labels[:, 0], end_positions=labels[:, 1]).loss
    parts = Objective(None)(reader, {**plain, "labels": labels})
    torch.testing.assert_close(parts.loss, expected)


def test_cross_entropy_over_the_passage(reader: Any, batch: dict[str, Tensor]) -> None:
    labels = torch.tensor([[3, 5], [-100, -100], [0, 0]])
    parts = Objective(RPT("kl", 0.1), alpha=1.0)(reader, {**batch, "labels": labels})
    with torch.no_grad():
        output = reader(batch["input_ids"], batch["attention_mask"])
    losses = []
    for row in (0, 2):
        for head, logits in enumerate((output.start_logits, output.end_logits)):
            inside = places(row)
            log_p = special.log_softmax(logits[row, inside].numpy())
            losses.append(-log_p[inside.index(int(labels[row, head]))])
    assert float(parts.ce) == pytest.approx(np.mean(losses))
    assert Counts.of({**batch, "labels": labels}) == Counts(labelled=2, rows=3)


def test_both_ends_have_to_be_right_to_count(reader: Any, batch: dict[str, Tensor]) -> None:
    with torch.no_grad():
        best = read_logits(reader(batch["input_ids"], batch["attention_mask"]), batch).argmax(-1)
    half = best.clone()
    half[0, 0] = next(place for place in places(0) if place != best[0, 0])
    for labels, right in ((best, 3), (half, 2)):
        assert int(Objective(None)(reader, {**batch, "labels": labels}).correct) == right


def posteriors(logits: Tensor, row: int, head: int) -> np.ndarray[Any, Any]:
    return np.asarray(special.softmax(logits[row, head, places(row)].detach().numpy()))


@pytest.mark.parametrize("name", ["kl", "shl", "jsd", "tv"])
@pytest.mark.parametrize("kind", [RPT, VAT])
def test_r_is_the_average_of_two_divergences_over_the_passage(
    name: str, kind: type[RPT], reader: Any, batch: dict[str, Tensor]
) -> None:
    regularizer = kind(name, 1.0)
    clean = regularizer.clean_pass(reader, batch)
    rows = torch.arange(3)
    noise = regularizer.noise(reader, batch, clean, row_ids=rows)
    noisy = regularizer._logits(reader, batch, lambda x: x + noise.to(x))
    value = regularizer.penalty(reader, batch, clean, row_ids=rows)

    def oracle(p: Any, q: Any) -> float:
        middle = (p + q) / 2
        return {
            "kl": stats.entropy(p, q),
            "shl": ((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2,
            "jsd": (stats.entropy(p, middle) + stats.entropy(q, middle)) / 2,
            "tv": np.abs(p - q).sum() / 2,
        }[name]

    expected = [
        np.mean([oracle(posteriors(clean.logits, row, head), posteriors(noisy, row, head)) for head in range(2)])
        for row in range(3)
    ]
    np.testing.assert_allclose(value.detach(), expected, rtol=1e-6)
    assert (value > 0).all()


REGULARIZERS: list[Regularizer] = [
    RPT("kl", 0.5, target_grad="both"),
    RPT("shl", 0.5),
    RPT("jsd", 0.5),
    JacobianRegularizer(),
    JacobianRegularizer(projections=1),
    JacobianRegularizer(projections=2, of="logits"),
    WeightedJacobianRegularizer(),
    WeightedJacobianRegularizer(projections=1),
]


@pytest.mark.parametrize("regularizer", REGULARIZERS, ids=lambda r: f"{r.name}-{getattr(r, 'projections', '')}")
def test_gradients_through_the_whole_regularizer(
    regularizer: Regularizer, reader: Any, batch: dict[str, Tensor]
) -> None:
    weight = reader.qa_outputs.weight
    deeper = reader.bert.encoder.layer[0].output.dense.weight
    rows = torch.arange(3)

    def value() -> Tensor:
        return regularizer(reader, batch, row_ids=rows).sum()

    gradients = torch.autograd.grad(value(), [weight, deeper])
    for parameter, gradient in zip((weight, deeper), gradients, strict=True):
        place = divmod(int(gradient.abs().argmax()), gradient.shape[1])
        found = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[place] += step
            found.append(float(value().detach()))
            with torch.no_grad():
                parameter[place] -= step
        assert float(gradient[place]) == pytest.approx((found[0] - found[1]) / 2e-5, rel=1e-5)
        assert gradient.abs().max() > 0


class LinearEnds(nn.Module):
    """Start and end logits of each position, linear in all embeddings: the Jacobian is known."""

    def __init__(self, tokens: int = 7, size: int = 4) -> None:
        super().__init__()
        self.table = nn.Embedding(64, size)
        self.weight = nn.Parameter(torch.randn(2, tokens, tokens, size))
        self.double()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        start, end = torch.einsum("hpte,bte->hbp", self.weight, self.table(input_ids))
        return type("Output", (), {"start_logits": start, "end_logits": end})


def dense_norms(model: LinearEnds, logits: Tensor, *, weighted: bool) -> list[float]:
    """½ Σ_heads of ‖J_p‖²_F, or of Σ ‖∇f_i‖² / f_i, with plain linear algebra."""
    found = []
    for row in range(3):
        total = 0.0
        mask = tiny_batch(rows=3)["attention_mask"][row].bool()
        for head in range(2):
            inside = places(row)
            f = posteriors(logits, row, head)
            j_z = model.weight[head, inside][:, mask].detach().numpy().reshape(len(inside), -1)
            j_p = (np.diag(f) - np.outer(f, f)) @ j_z
            total += float(((j_p**2).sum(axis=1) / (f if weighted else 1)).sum())
        found.append(total / 2)
    return found


@pytest.mark.parametrize("weighted", [False, True])
def test_jacobian_norms_against_linear_algebra(weighted: bool, batch: dict[str, Tensor]) -> None:
    model = LinearEnds()
    exact = JacobianRegularizer(weighted=weighted)
    clean = exact.clean_pass(model, batch)
    expected = dense_norms(model, clean.logits, weighted=weighted)
    np.testing.assert_allclose(exact.penalty(model, batch, clean).detach(), expected, rtol=1e-10)
    many = JacobianRegularizer(projections=4000, weighted=weighted)
    with torch.no_grad():
        clean = many.clean_pass(model, batch)
    estimate = many.penalty(model, batch, many.clean_pass(model, batch), row_ids=torch.arange(3)).detach()
    np.testing.assert_allclose(estimate, expected, rtol=0.1)


@pytest.mark.parametrize(
    "regularizer",
    [RPT("shl", 0.5), VAT("jsd", 0.5), JacobianRegularizer(projections=1), WeightedJacobianRegularizer(projections=1)],
    ids=lambda r: r.name,
)
def test_more_padding_changes_nothing(regularizer: Regularizer, reader: Any, batch: dict[str, Tensor]) -> None:
    rows = torch.arange(3)
    wider = {name: nn.functional.pad(value, (0, 3)) for name, value in batch.items() if name != "passage"}
    here = regularizer(reader, batch, row_ids=rows)
    there = regularizer(reader, {**wider, "passage": PASSAGE}, row_ids=rows)
    torch.testing.assert_close(here, there, rtol=1e-7, atol=1e-12)


def test_rdrop_and_at_zero_noise_average_too(batch: dict[str, Tensor]) -> None:
    reader = tiny_reader(dropout=0.3)
    assert RDrop("kl")(reader, batch).shape == (3,)
    regularizer = RPT("kl", 0.1)
    zero = regularizer.at_zero_noise(reader, batch, regularizer.clean_pass(reader, batch))
    assert zero is not None
    assert zero.shape == (3,)
    assert (zero > 0).all()


def test_adversarial_training_takes_labelled_windows_only(reader: Any, batch: dict[str, Tensor]) -> None:
    labels = torch.tensor([[3, 5], [-100, -100], [0, 0]])
    objective = Objective(AdversarialTraining(0.1), alpha=0.5)
    parts = objective(reader, {**batch, "labels": labels})
    kept = {name: value[[0, 2]] for name, value in {**batch, "labels": labels}.items()}
    same = objective(reader, {**kept, "row_id": torch.tensor([0, 2])})
    assert len(parts.logits) == 2
    torch.testing.assert_close(parts.regularization, same.regularization)
    assert parts.regularization > parts.ce
    assert objective.r_row_weight(Counts(labelled=2, rows=3)) == 0.5


def test_saturated_posteriors_stay_finite(batch: dict[str, Tensor]) -> None:
    model = LinearEnds()
    with torch.no_grad():
        model.weight *= 1e4
    for name in ("kl", "shl", "jsd"):
        value = RPT(name, 1.0)(model, batch, row_ids=torch.arange(3))
        (gradient,) = torch.autograd.grad(value.sum(), model.weight)
        assert value.isfinite().all()
        assert gradient.isfinite().all()


SMALL: dict[str, Any] = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize("kind", ["roberta", "electra", "deberta-v2", "mpnet", "modernbert", "albert"])
def test_other_encoders_answer_too(kind: str, batch: dict[str, Tensor]) -> None:
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    torch.manual_seed(1)
    config = AutoConfig.for_model(
        kind, **SMALL, intermediate_size=32, max_position_embeddings=40, embedding_size=16, pad_token_id=0
    )
    if kind == "modernbert":
        config.attn_implementation = "sdpa"
    model = AutoModelForQuestionAnswering.from_config(config).train()
    labels = torch.tensor([[3, 5], [-100, -100], [0, 0]])
    parts = Objective(VAT("jsd", 0.5), alpha=1.0)(model, {**batch, "labels": labels})
    parts.loss.backward()
    assert parts.regularization > 0
    assert parts.logits.shape == (3, 2, 7)
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
