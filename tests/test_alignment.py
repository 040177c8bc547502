"""Distribution alignment: loss and gradient against NumPy, its passes, and the running means by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

from benchmarks.passes import count_rows
from ssl_pdr import RPT, VAT, AdversarialTraining, Counts, JacobianRegularizer, Objective, RDrop
from ssl_pdr.alignment import NO_CLASSES, Marginals
from ssl_pdr.config import make_config
from ssl_pdr.errors import ConfigError
from ssl_pdr.methods import build_regularizer
from tests.conftest import tiny_batch, tiny_bert
from tests.test_answers import PASSAGE, tiny_reader
from tests.test_passes import Wrapper

ALPHA = 1.7


def classes(num_labels: int = 3, *, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Any:
    return tiny_bert(num_labels=num_labels, dropout=dropout, dtype=dtype)


def mixed(labels: tuple[int, ...] = (1, -100, 0, -100, -100, 1)) -> dict[str, Any]:
    """One row for each label, −100 without."""
    return {**tiny_batch(rows=len(labels)), "labels": torch.tensor(labels), "row_id": torch.arange(len(labels))}


def questions() -> dict[str, Any]:
    """Three windows of passages, the middle one with an answer."""
    labels = torch.tensor([[-100, -100], [2, 4], [-100, -100]])
    return {**tiny_batch(rows=3), "labels": labels, "row_id": torch.arange(3), "passage": PASSAGE}


def objective_of(model: nn.Module, regularizer: Any, align: float = 0.5) -> Objective:
    """With means that differ."""
    objective = Objective(regularizer, ALPHA, align)
    if objective.marginals is not None:
        skewed = torch.stack([torch.linspace(low, high, model.config.num_labels) for low, high in ((1, 2), (3, 1))])
        objective.marginals.means = skewed / skewed.sum(dim=1, keepdim=True)
    return objective


# --- the whole objective against NumPy, and its gradient against finite differences of it ---


@dataclass(frozen=True)
class Oracle:
    """The loss as a function of the weights, in NumPy; the target is computed once, where the weights are now."""

    divergence: str
    target: np.ndarray
    noise: Tensor

    @classmethod
    def here(cls, model: Any, batch: dict[str, Any], objective: Objective) -> Oracle:
        regularizer: Any = objective.regularizer
        noise = regularizer.noise(model, batch, regularizer.clean_pass(model, batch), row_ids=batch["row_id"])
        return cls(regularizer.divergence.name, special.softmax(target(model, batch, objective), axis=-1), noise)

    def __call__(self, model: Any, batch: dict[str, Any]) -> float:
        clean = special.softmax(logits(model, batch), axis=-1)
        with added(model, self.noise):
            noisy = special.softmax(logits(model, batch), axis=-1)
        if self.divergence == "kl":
            r = special.rel_entr(self.target, noisy).sum(axis=-1)
        else:
            r = ((np.sqrt(self.target) - np.sqrt(noisy)) ** 2).sum(axis=-1) / 2
        labels = batch["labels"].numpy()
        labelled = (labels >= 0).nonzero()[0]
        ce = -np.log(clean[labelled, labels[labelled]])
        return float(ce.mean() + ALPHA * r.mean())


def logits(model: Any, batch: dict[str, Any]) -> np.ndarray:
    """(B, C), of a plain pass."""
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.numpy()  # type: ignore[no-any-return]


def target(model: Any, batch: dict[str, Any], objective: Objective) -> np.ndarray:
    """(B, C), what R compares with, in logits."""
    assert objective.marginals is not None
    assert objective.marginals.means is not None
    labelled, given = objective.marginals.means.double().numpy()
    return logits(model, batch) + np.log(labelled / given)


@contextmanager
def added(model: Any, noise: Tensor) -> Iterator[None]:
    """While open, noise is added to what leaves the embeddings."""
    handle = model.bert.embeddings.register_forward_hook(lambda *a: a[2] + noise)
    yield
    handle.remove()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("regularizer", "outcomes"), [(RPT("kl", 0.4), 3), (VAT("shl", 0.4, target_grad="detach"), 2)])
def test_loss_and_gradient_are_those_of_the_oracle(regularizer: Any, outcomes: int, early: bool) -> None:
    model, batch = classes(outcomes), mixed()
    objective = objective_of(model, regularizer)
    oracle = Oracle.here(model, batch, objective)
    model.zero_grad()
    parts = objective(model, batch, backward=Tensor.backward if early else None)
    assert float(parts.loss.detach()) == pytest.approx(oracle(model, batch), rel=1e-9)
    parts.loss.backward()
    parameters = list(model.parameters())
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        way = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        ends = []
        for step in (1e-6, -2e-6, 1e-6):  # forth, back, and to where it began
            with torch.no_grad():
                for parameter, direction in zip(parameters, way, strict=True):
                    parameter.add_(step * direction)
            ends.append(oracle(model, batch))
        slope = sum(float((g * d).sum()) for g, d in zip(found, way, strict=True))
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-7)


def test_off_is_what_there_was() -> None:
    """To the last bit, with dropout."""
    losses = []
    for align in ((), (0.0,)):
        model = classes(dtype=torch.float32, dropout=0.2)
        objective = Objective(VAT("kl", 0.3), ALPHA, *align)
        objective(model, mixed())
        torch.manual_seed(4)
        losses.append(objective(model, mixed()).loss)
    assert torch.equal(*losses)


# --- R at zero noise ---


@pytest.mark.parametrize("dropout", ["shared", "off"])
def test_zero_noise_leaves_the_distance_to_the_same_target(dropout: Any) -> None:
    model, batch = classes(dropout=0.3), mixed()
    objective = objective_of(model, RPT("kl", 0.4, dropout=dropout))
    counts = Counts.of(batch)
    parts = objective(model, batch)
    before = torch.get_rng_state()
    zero = objective.at_zero_noise(model, parts, counts)
    assert torch.equal(before, torch.get_rng_state())
    expected = 0.0
    for _, clean in parts.passes:
        assert clean.target is not None
        r = special.rel_entr(clean.target.softmax(-1).numpy(), clean.logits.softmax(-1).numpy()).sum(axis=-1)
        expected += r.sum() / counts.rows
    assert expected > 1e-3
    assert float(zero) == pytest.approx(expected, rel=1e-9)


# --- the direction of VAT ---


@pytest.mark.parametrize("search", ["exact", "power"])
def test_the_adversary_moves_the_models_own_posterior(search: str) -> None:
    """Whatever the target: it is the noise of a run without one."""
    model, batch = classes(), mixed()
    found: list[Tensor] = []

    class Noting(VAT):
        def noise(self, *args: Any, **kwargs: Any) -> Tensor:
            found.append(super().noise(*args, **kwargs))
            return found[-1]

    for align in (0.0, 0.5):
        objective_of(model, Noting("kl", 0.4, search=search), align)(model, batch)
    half = len(found) // 2
    assert half == 2
    for one, other in zip(found[:half], found[half:], strict=True):
        torch.testing.assert_close(one, other)


# --- passes ---

ROWS = 8
PASSES = {  # of the model forward, and back; in batches of which half has labels
    "vat": (VAT("kl"), False, (2, 2.5)),
    "vat, early": (VAT("shl", target_grad="detach"), True, (2, 2)),
    "rdrop": (RDrop("kl"), False, (2, 1.5)),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name: str) -> None:
    regularizer, early, passes = PASSES[name]
    model, batch = classes(2), {**tiny_batch(ROWS, pad=0), "row_id": torch.arange(ROWS)}
    batch["labels"] = torch.tensor([1] * 4 + [-100] * 4)
    objective = objective_of(model, regularizer)

    def step() -> None:
        objective(model, batch, backward=Tensor.backward if early else None).loss.backward()

    step()  # the self-test's own passes
    found = count_rows(model, step)
    assert (found["forward"] / ROWS, found["backward"] / ROWS) == passes


@pytest.mark.parametrize("labels", [(-100,) * 4, (0, 1, -100, -100), (0, 1, 1, 0)])
def test_a_distributed_wrapper_runs_once(labels: tuple[int, ...]) -> None:
    model = classes(2, dtype=torch.float32)
    wrapper = Wrapper(model)
    parts = objective_of(model, VAT("kl"))(wrapper, mixed(labels), backward=Tensor.backward)
    assert wrapper.calls == 1
    parts.loss.backward()


# --- the running means ---


def batch_of(labels: list[int], weights: list[float] | None = None) -> dict[str, Tensor]:
    return {"labels": torch.tensor(labels), "row_weight": torch.tensor(weights or [1.0] * len(labels))}


def log_p(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows).log()


def test_the_running_means_by_hand() -> None:
    marginals = Marginals(decay=0.8)
    first = log_p((0.9, 0.1), (0.5, 0.5), (0.7, 0.3), (0.2, 0.8))
    torch.testing.assert_close(marginals.aligned(first), first)  # uniform at first
    marginals.count(first, batch_of([1, -100, -100, -100], [1.0, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(marginals.aligned(first), first)  # constant within a step
    marginals.update()
    torch.testing.assert_close(marginals.means, torch.tensor([[0.4, 0.6], [0.52, 0.48]]))
    marginals.count(log_p((0.1, 0.9)), batch_of([0]))  # no unlabelled row
    marginals.update()
    torch.testing.assert_close(marginals.means, torch.tensor([[0.52, 0.48], [0.52, 0.48]]))
    marginals.count(log_p((0.1, 0.9), (0.3, 0.7)), batch_of([-100, -100]))  # no labelled one
    marginals.update()
    torch.testing.assert_close(marginals.means, torch.tensor([[0.52, 0.48], [0.456, 0.544]]))
    aligned = np.array([0.3 * 0.52 / 0.456, 0.7 * 0.48 / 0.544])
    found = marginals.aligned(log_p((0.3, 0.7))).softmax(dim=-1).numpy()[0]
    np.testing.assert_allclose(found, aligned / aligned.sum(), rtol=1e-5)
    before = marginals.means
    marginals.update()  # nothing was counted
    assert marginals.means is before


def test_a_class_never_seen_is_not_ruled_out() -> None:
    marginals = Marginals(decay=0.5)
    marginals.means = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(marginals.aligned(torch.zeros(1, 2)), torch.log(torch.tensor([[1e3, 1e-3]])))


def test_half_precision_is_aligned_in_float32() -> None:
    marginals = Marginals(decay=0.5)
    marginals.count(torch.zeros(2, 3, dtype=torch.bfloat16), batch_of([0, -100]))
    marginals.update()
    assert marginals.means is not None
    assert marginals.means.dtype == marginals.aligned(torch.zeros(2, 3, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_means_of_pieces_are_those_of_the_step(ranks: int) -> None:
    model, batch = classes(), mixed((1, -100, 0, -100, -100, 1, -100, 2))
    whole = objective_of(model, RPT("kl", 0.4))
    pieces = [objective_of(model, RPT("kl", 0.4)) for _ in range(ranks)]
    parts = whole(model, batch)
    losses = [
        pieces[i % ranks](model, {name: value[2 * i : 2 * i + 2] for name, value in batch.items()}, Counts.of(batch))
        for i in range(4)
    ]
    torch.testing.assert_close(torch.stack([part.loss for part in losses]).sum(), parts.loss)
    whole.at_zero_noise(model, parts, Counts.of(batch))  # counts nothing
    marginals: list[Any] = [one.marginals for one in (whole, *pieces)]
    total = sum(one._sums for one in marginals[1:])
    for one in marginals:
        one.update(lambda sums: total)
    unaligned = special.softmax(logits(model, batch)[[1, 3, 4, 6]], axis=-1).mean(axis=0)
    expected = [np.array([1, 1.5, 2]) / 4.5 * 0.5 + np.array([1, 2, 1]) / 8, np.array([3, 2, 1]) / 12 + unaligned / 2]
    for one in marginals:
        np.testing.assert_allclose(one.means, expected, rtol=1e-6)


@pytest.mark.parametrize("align", [0.0, 0.5])
def test_where_all_rows_get_one_class_the_target_moves_towards_the_other(align: float) -> None:
    model, batch = classes(2), mixed((0, 1, -100, -100, -100, -100))
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([3.0, 0.0]))
    objective = Objective(RPT("kl", 0.4), ALPHA, align)
    for _ in range(10):
        objective(model, batch)
        if objective.marginals is not None:
            objective.marginals.update()
    model.zero_grad()
    parts = objective(model, {name: value[2:] for name, value in batch.items()})
    ((_, clean),) = parts.passes
    rarer, before = (z.softmax(dim=-1)[:, 1] for z in (clean.compared, clean.logits))
    parts.loss.backward()
    push = model.classifier.bias.grad[1]
    if align:
        assert float(before.max()) < 0.2
        assert float(rarer.mean()) == pytest.approx(0.5, abs=0.05)
        assert float(push) < -0.1
    else:
        assert torch.equal(rarer, before)
        assert abs(float(push)) < 0.05


def test_means_of_a_checkpoint_go_on(tmp_path: Path) -> None:
    one, other = Marginals(0.5), Marginals(0.5)
    one.save(tmp_path)  # before any step
    other.load(tmp_path)
    assert other.means is None
    one.count(log_p((0.9, 0.1), (0.3, 0.7)), batch_of([1, -100]))
    one.update()
    one.save(tmp_path)
    other.count(torch.zeros(1, 2), batch_of([0]))  # of a step that was broken off
    other.load(tmp_path)
    other.update()
    assert other.means is not None
    assert torch.equal(other.means, one.means)


# --- what is refused ---


@pytest.mark.parametrize("align", [1.0, -0.1, float("nan")])
def test_a_decay_outside_of_its_range_is_refused(align: float) -> None:
    with pytest.raises(ConfigError) as error:
        Objective(RPT("kl"), 1.0, align)
    assert str(error.value) == f"align must be at least 0 (off) and below 1, got {align}"
    with pytest.raises(ConfigError, match="--align must be"):
        make_config({"align": align})


REFUSED = [
    (None, 1.0, "align: expected a regularizer and alpha above 0"),
    (RPT("kl"), 0.0, "align: expected a regularizer and alpha above 0"),
    (AdversarialTraining(), 1.0, "align: expected R to compare two posteriors"),
    (JacobianRegularizer(1), 1.0, "align: expected R to compare two posteriors"),
    (RPT("kl", order=2), 1.0, "align: R of order 2 has no target to replace"),
    (RPT("shl"), 1.0, "align: the target is a constant; expected target_grad 'detach', got 'auto'"),
    (VAT("kl", target_grad="both"), 1.0, "expected target_grad 'detach', got 'both'"),
]


@pytest.mark.parametrize(("regularizer", "alpha", "message"), REFUSED)
def test_what_means_nothing_is_refused_in_one_line(regularizer: Any, alpha: float, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Objective(regularizer, alpha, 0.9)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_answers_in_a_passage_cannot_be_aligned() -> None:
    for refused in (
        lambda: Objective(RPT("kl"), 1.0, 0.9)(tiny_reader(), questions()),
        lambda: build_regularizer(configured(reg="vat", div="kl", task="question-answering", align=0.9)),
    ):
        with pytest.raises(ConfigError) as error:
            refused()
        assert str(error.value) == NO_CLASSES


def test_off_is_allowed_everywhere() -> None:
    for regularizer in (None, AdversarialTraining(), JacobianRegularizer(1), RPT("shl", order=2)):
        Objective(regularizer, 1.0, 0.0)


# --- from a configuration ---


def configured(**options: Any) -> Any:
    return make_config(options).resolved()


@pytest.mark.parametrize("reg", ["vat", "rpt", "rdrop"])
def test_a_constant_target_decides_what_auto_leaves_open(reg: str) -> None:
    for preset in ("default", "paper", "published-code"):
        regularizer: Any = build_regularizer(configured(reg=reg, div="shl", preset=preset, align=0.9))
        assert regularizer.target_grad == "detach"
    assert build_regularizer(configured(reg=reg, div="shl")).target_grad == "auto"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg": "none"}, "align: expected a regularizer"),
        ({"alpha": 0.0}, "align: expected a regularizer and alpha above 0"),
        ({"reg": "wjr"}, "expected R to compare two posteriors .*, got 'wjr'"),
        ({"target_grad": "both"}, "expected target_grad 'detach', got 'both'"),
        ({"order": 2}, "R of order 2 has no target"),
    ],
)
def test_combinations_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_regularizer(configured(**options, align=0.9))
