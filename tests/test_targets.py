"""Few labels: each option's loss and gradient against NumPy, its passes, its masks by hand, and the moving average by its recursion."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor, nn

from benchmarks.passes import count_rows
from ssl_pdr import RPT, VAT, AdversarialTraining, Counts, JacobianRegularizer, Objective, RDrop
from ssl_pdr.config import make_config
from ssl_pdr.errors import ConfigError
from ssl_pdr.methods import build_regularizer, build_targets
from ssl_pdr.outputs import read_logits
from ssl_pdr.targets import NO_CLASSES, Marginals, Targets, Teacher, mean_entropy
from tests.conftest import tiny_batch, tiny_bert
from tests.test_answers import PASSAGE, tiny_reader
from tests.test_passes import Wrapper

ALPHA, PROGRESS = 1.7, 0.2
ALL = Targets(ramp_up=0.5, entropy=0.3, sharpen=0.5, confidence=0.6, ema=0.9)
EACH = {
    "ramp-up": Targets(ramp_up=0.5),
    "entropy": Targets(entropy=0.3),
    "sharpen": Targets(sharpen=0.4),
    "confidence": Targets(confidence=0.6),
    "ema": Targets(ema=0.9),
    "all": ALL,
    "align": Targets(align=0.5),
    "all, align": dataclasses.replace(ALL, align=0.5),
}


def classes(num_labels: int = 3, *, dtype: torch.dtype = torch.float64, dropout: float = 0.0) -> Any:
    return tiny_bert(num_labels=num_labels, dropout=dropout, dtype=dtype)


def mixed(labels: tuple[int, ...] = (1, -100, 0, -100, -100, 1)) -> dict[str, Any]:
    """One row for each label, −100 without."""
    return {**tiny_batch(rows=len(labels)), "labels": torch.tensor(labels), "row_id": torch.arange(len(labels))}


def questions() -> dict[str, Any]:
    """Three windows of passages, the middle one with an answer."""
    labels = torch.tensor([[-100, -100], [2, 4], [-100, -100]])
    return {**tiny_batch(rows=3), "labels": labels, "row_id": torch.arange(3), "passage": PASSAGE}


def objective_of(model: nn.Module, regularizer: Any, targets: Targets) -> Objective:
    """With a teacher whose weights are others, and with means that differ, where there are any."""
    teacher = None
    if targets.ema:
        teacher = Teacher(model, targets.ema)
        torch.manual_seed(5)
        for parameter in teacher.average.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    objective = Objective(regularizer, ALPHA, targets, teacher)
    if objective.marginals is not None:
        skewed = torch.stack([torch.linspace(low, high, model.config.num_labels) for low, high in ((1, 2), (3, 1))])
        objective.marginals.means = skewed / skewed.sum(dim=1, keepdim=True)
    return objective


# --- the whole objective against NumPy, and its gradient against finite differences of it ---


@dataclass(frozen=True)
class Oracle:
    """The loss as a function of the weights, in NumPy; what its sources hold constant is computed once, where the weights are now."""

    targets: Targets
    divergence: str
    both_sides: bool
    target: np.ndarray
    counted: np.ndarray
    noise: Tensor

    @classmethod
    def here(cls, model: Any, batch: dict[str, Any], objective: Objective, *, both_sides: bool) -> Oracle:
        regularizer: Any = objective.regularizer
        z = source(model, batch, objective)
        counted = (labels_of(batch) >= 0).any(axis=1) | (
            special.softmax(z, axis=-1).max(axis=-1).mean(axis=1) >= objective.targets.confidence
        )
        noise = regularizer.noise(model, batch, regularizer.clean_pass(model, batch), row_ids=batch["row_id"])
        target = special.softmax(z / objective.targets.sharpen, axis=-1)
        return cls(objective.targets, regularizer.divergence.name, both_sides, target, counted, noise)

    def __call__(self, model: Any, batch: dict[str, Any]) -> float:
        clean = special.softmax(logits(model, batch), axis=-1)
        with added(model, self.noise):
            noisy = special.softmax(logits(model, batch), axis=-1)
        p = clean if self.both_sides else self.target
        if self.divergence == "kl":
            r = special.rel_entr(p, noisy).sum(axis=-1)
        else:
            r = ((np.sqrt(p) - np.sqrt(noisy)) ** 2).sum(axis=-1) / 2
        labels = labels_of(batch)
        labelled = labels[:, 0] >= 0
        ce = -np.log([[clean[i, h, labels[i, h]] for h in range(labels.shape[1])] for i in labelled.nonzero()[0]])
        entropy = stats.entropy(clean[~labelled], axis=-1)
        t = min(1.0, PROGRESS / self.targets.ramp_up) if self.targets.ramp_up else 1.0
        alpha = ALPHA * (np.exp(-5 * (1 - t) ** 2))
        r_mean = (r.mean(axis=1) * self.counted).sum() / len(r)
        return float(ce.mean() + alpha * r_mean + self.targets.entropy * entropy.mean())


def labels_of(batch: dict[str, Any]) -> np.ndarray:
    """(B, H), for one posterior or for two."""
    return batch["labels"].numpy().reshape(len(batch["labels"]), -1)


def logits(model: Any, batch: dict[str, Any]) -> np.ndarray:
    """(B, H, C), of a plain pass."""
    with torch.no_grad():
        output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    z = read_logits(output, batch).numpy()
    return z if z.ndim == 3 else z[:, None]


def source(model: Any, batch: dict[str, Any], objective: Objective) -> np.ndarray:
    """(B, H, C), of the target before sharpening."""
    z = logits(objective.teacher.average.module if objective.teacher else model, batch)
    if objective.marginals is None:
        return z
    assert objective.marginals.means is not None
    labelled, given = objective.marginals.means.double().numpy()
    return z + np.log(labelled / given)


@contextmanager
def added(model: Any, noise: Tensor) -> Iterator[None]:
    """While open, noise is added to what leaves the embeddings."""
    handle = model.bert.embeddings.register_forward_hook(lambda *a: a[2] + noise)
    yield
    handle.remove()


def between(values: np.ndarray) -> float:
    """A threshold that the largest value alone reaches."""
    first, second = np.sort(values)[::-1][:2]
    return float(first + second) / 2


CASES = [
    *((name, RPT("kl", 0.4), 3) for name in EACH),
    *((name, VAT("shl", 0.4, target_grad="detach"), 2) for name in EACH),
    ("entropy", RPT("shl", 0.4), 3),  # both sides carry gradient
    ("ramp-up", RPT("shl", 0.4), 3),
    *((name, RPT("kl", 0.4), 0) for name in EACH if not EACH[name].align),  # start and end
]


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(("name", "regularizer", "outcomes"), CASES)
def test_loss_and_gradient_are_those_of_the_oracle(name: str, regularizer: Any, outcomes: int, early: bool) -> None:
    model, batch = (classes(outcomes), mixed()) if outcomes else (tiny_reader(), questions())
    objective = objective_of(model, regularizer, EACH[name])
    if objective.targets.confidence:  # one that masks all unlabelled rows but one
        surest = special.softmax(source(model, batch, objective), axis=-1).max(axis=-1).mean(axis=1)
        threshold = between(surest[labels_of(batch)[:, 0] < 0])
        objective.targets = dataclasses.replace(objective.targets, confidence=threshold)
    oracle = Oracle.here(model, batch, objective, both_sides=not regularizer.detaches_target)
    model.zero_grad()
    parts = objective(model, batch, backward=Tensor.backward if early else None, progress=PROGRESS)
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


def test_nothing_on_is_what_there_was() -> None:
    """To the last bit, with dropout, whether the targets are given or not."""
    losses = []
    for targets in (None, Targets()):
        model = classes(dtype=torch.float32, dropout=0.2)
        objective = Objective(VAT("kl", 0.3), ALPHA, targets)
        objective(model, mixed())
        torch.manual_seed(4)
        losses.append(objective(model, mixed(), progress=0.1).loss)
    assert torch.equal(*losses)


@pytest.mark.parametrize("regularizer", [VAT("shl", 0.4), JacobianRegularizer(1), RDrop("kl")])
def test_entropy_comes_on_top_of_any_regularizer_of_all_rows(regularizer: Any) -> None:
    model, batch = classes(), mixed()
    plain, more = (Objective(regularizer, ALPHA, t)(model, batch) for t in (Targets(), Targets(entropy=0.3)))
    expected = stats.entropy(special.softmax(logits(model, batch)[[1, 3, 4], 0], axis=-1), axis=-1).mean()
    assert float(more.unlabelled["entropy"]) == pytest.approx(expected)
    torch.testing.assert_close(more.loss.detach(), plain.loss.detach() + 0.3 * expected)


def test_entropy_of_certainty_and_of_no_support_is_zero_with_finite_gradient() -> None:
    z = torch.tensor([[[1e4, -1e4], [0.0, -torch.inf]], [[0.0, 0.0], [-torch.inf, -torch.inf]]], requires_grad=True)
    values = mean_entropy(z)
    torch.testing.assert_close(values.detach(), torch.tensor([0.0, np.log(2) / 2], dtype=torch.float32))
    values.sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_a_batch_of_labelled_rows_alone_has_no_figures_of_unlabelled_ones() -> None:
    model, batch = classes(), mixed((0, 1, 2))
    parts = objective_of(model, RPT("kl", 0.4), ALL)(model, batch)
    assert parts.unlabelled == {}
    parts.loss.backward()


# --- ramp-up ---


def test_the_ramp_is_laines() -> None:
    ramp = Targets(ramp_up=0.5).ramp
    assert [ramp(x) for x in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([np.exp(-5), np.exp(-1.25), 1.0, 1.0])
    assert [Targets().ramp(x) for x in (0.0, 1.0)] == [1.0, 1.0]
    assert Targets(ramp_up=1.0).ramp(0.5) == pytest.approx(np.exp(-1.25))


def test_the_weight_that_is_logged_rises_too() -> None:
    objective = Objective(RPT("kl"), 2.0, Targets(ramp_up=0.5))
    assert objective.row_weight(Counts(1, 4), progress=0.25) == pytest.approx(2.0 * np.exp(-1.25) / 4)


# --- confidence ---


def test_masked_rows_count_as_zeros_and_labelled_ones_never_are() -> None:
    model, batch = classes(), mixed()
    regularizer = RPT("kl", 0.4)
    r = regularizer(model, batch, row_ids=batch["row_id"]).detach().numpy()
    surest = special.softmax(logits(model, batch)[:, 0], axis=-1).max(axis=-1)
    threshold = between(surest[[1, 3, 4]])
    taken = [0, 2, 5, (1, 3, 4)[int(surest[[1, 3, 4]].argmax())]]
    parts = Objective(regularizer, ALPHA, Targets(confidence=threshold))(model, batch)
    assert float(parts.regularization) == pytest.approx(r[taken].sum() / 6)
    assert float(parts.unlabelled["confident"]) == pytest.approx(1 / 3)


def test_the_confidence_of_an_answer_is_the_average_of_start_and_end() -> None:
    z = torch.tensor([[0.9, 0.1], [0.6, 0.4]]).log().unsqueeze(0)
    assert [bool(Targets(confidence=c).confident(z)) for c in (0.74, 0.76)] == [True, False]


def test_it_is_asked_of_the_target_before_sharpening() -> None:
    model, batch = classes(), mixed()
    masks = []
    for sharpen in (1.0, 0.1):
        objective = Objective(RPT("kl", 0.4), ALPHA, Targets(confidence=0.6, sharpen=sharpen))
        masks.append([clean.counted.tolist() for _, clean in objective(model, batch).passes])
    assert masks[0] == masks[1]


def test_padding_rows_are_no_unlabelled_rows() -> None:
    model, batch = classes(), mixed()
    padded = {**batch, "row_weight": torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 1.0])}
    fewer = {name: value[[0, 1, 2, 3, 5]] for name, value in batch.items()}
    objective = objective_of(model, RPT("kl", 0.4), ALL)
    one, other = objective(model, padded), objective(model, fewer)
    torch.testing.assert_close(one.loss, other.loss)
    assert one.unlabelled.keys() == {"entropy", "confident"}
    torch.testing.assert_close(one.unlabelled, other.unlabelled)


def test_micro_batches_add_up_to_the_step() -> None:
    model, batch = classes(), mixed()
    objective = objective_of(model, VAT("kl", 0.3), ALL)
    pieces = [{name: value[rows] for name, value in batch.items()} for rows in ([0, 1], [2, 5], [3, 4])]
    counts = Counts.of(*pieces)
    whole, cut = objective(model, batch), [objective(model, piece, counts) for piece in pieces]
    torch.testing.assert_close(torch.stack([part.loss for part in cut]).sum(), whole.loss)
    for name, value in whole.unlabelled.items():
        torch.testing.assert_close(sum(part.unlabelled[name] for part in cut), value)


# --- R at zero noise ---


@pytest.mark.parametrize("dropout", ["shared", "off"])
@pytest.mark.parametrize("targets", [Targets(sharpen=0.5), Targets(ema=0.9, confidence=0.6), ALL, EACH["align"]])
def test_zero_noise_leaves_the_distance_to_the_same_target_on_the_same_rows(targets: Targets, dropout: Any) -> None:
    model, batch = classes(dropout=0.3), mixed()
    objective = objective_of(model, RPT("kl", 0.4, dropout=dropout), targets)
    counts = Counts.of(batch)
    parts = objective(model, batch)
    before = torch.get_rng_state()
    zero = objective.at_zero_noise(model, parts, counts)
    assert torch.equal(before, torch.get_rng_state())
    expected = 0.0
    for _, clean in parts.passes:
        source = torch.zeros(()) if clean.target is None else clean.target
        r = special.rel_entr(source.softmax(-1).numpy(), clean.logits.softmax(-1).numpy()).sum(axis=-1)
        expected += (r if clean.counted is None else r * clean.counted.numpy()).sum() / counts.rows
    assert expected > 1e-3
    assert float(zero) == pytest.approx(expected, rel=1e-9)


def test_a_mask_alone_leaves_nothing_at_zero_noise() -> None:
    model, batch = classes(), mixed()
    objective = Objective(RPT("kl", 0.4, dropout="shared"), ALPHA, Targets(confidence=0.6))
    assert objective.at_zero_noise(model, objective(model, batch), Counts.of(batch)) is None


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

    for targets in (Targets(), ALL):
        objective_of(model, Noting("kl", 0.4, search=search), targets)(model, batch)
    half = len(found) // 2
    assert half == 2
    for one, other in zip(found[:half], found[half:], strict=True):
        torch.testing.assert_close(one, other)


# --- passes ---

ROWS = 8
PASSES = {  # of the model forward, and back; of the teacher forward; in batches of which half has labels
    "vat": (VAT("kl"), Targets(), False, (2, 2.5, 0)),
    "vat, ramp-up": (VAT("kl"), Targets(ramp_up=0.5), False, (2, 2.5, 0)),
    "vat, sharpened and masked": (VAT("kl"), Targets(sharpen=0.4, confidence=0.8), False, (2, 2.5, 0)),
    "vat, sharpened, early": (VAT("shl", target_grad="detach"), Targets(sharpen=0.4), True, (2, 2, 0)),
    "vat, entropy": (VAT("kl"), Targets(entropy=0.1), False, (2, 3, 0)),
    "vat, entropy, early": (VAT("kl"), Targets(entropy=0.1), True, (2, 2.5, 0)),
    "vat, teacher": (VAT("kl"), Targets(ema=0.9), False, (2, 2.5, 1)),
    "vat, aligned": (VAT("kl"), Targets(align=0.9), False, (2, 2.5, 0)),
    "rpt, entropy": (RPT("kl"), Targets(entropy=0.1), False, (2, 2, 0)),
    "rpt, entropy, both sides": (RPT("shl"), Targets(entropy=0.1), False, (2, 2, 0)),
    "rdrop, teacher": (RDrop("kl"), Targets(ema=0.9), False, (2, 1.5, 1)),
    "all": (VAT("kl"), ALL, True, (2, 2.5, 1)),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes(name: str) -> None:
    regularizer, targets, early, (forward, backward, teachers) = PASSES[name]
    model, batch = classes(2), {**tiny_batch(ROWS, pad=0), "row_id": torch.arange(ROWS)}
    batch["labels"] = torch.tensor([1] * 4 + [-100] * 4)
    objective = objective_of(model, regularizer, targets)

    def step() -> None:
        objective(model, batch, backward=Tensor.backward if early else None).loss.backward()

    step()  # the self-test's own passes
    found = count_rows(model, step)
    assert (found["forward"] / ROWS, found["backward"] / ROWS) == (forward, backward)
    if objective.teacher is not None:
        assert count_rows(objective.teacher.average, step) == {"forward": teachers * ROWS, "backward": 0}


@pytest.mark.parametrize("name", EACH)
def test_only_entropy_wants_a_graph_of_rows_without_a_label(name: str) -> None:
    objective = objective_of(model := classes(), RPT("kl", 0.4), EACH[name])
    (_, labelled), (_, unlabelled) = objective(model, mixed()).passes
    assert not labelled.held_still
    assert unlabelled.held_still == (objective.targets.entropy == 0)


@pytest.mark.parametrize("labels", [(-100,) * 4, (0, 1, -100, -100), (0, 1, 1, 0)])
def test_a_distributed_wrapper_runs_once(labels: tuple[int, ...]) -> None:
    model = classes(2, dtype=torch.float32)
    wrapper = Wrapper(model)
    parts = objective_of(model, VAT("kl"), ALL)(wrapper, mixed(labels), backward=Tensor.backward)
    assert wrapper.calls == 1
    parts.loss.backward()


# --- the moving average ---


def test_the_average_follows_its_recursion() -> None:
    model, decay = classes(), 0.8
    teacher = Teacher(model, decay)
    expected: Any = None
    generator = torch.Generator().manual_seed(0)
    for step in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
        now = [parameter.detach().numpy().copy() for parameter in model.parameters()]
        expected = (
            now if step == 0 else [decay * old + (1 - decay) * new for old, new in zip(expected, now, strict=True)]
        )
        teacher.update(model)
    for found, wanted in zip(teacher.average.parameters(), expected, strict=True):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-13)
        assert not found.requires_grad


def test_the_teacher_has_no_dropout_and_draws_nothing() -> None:
    model, batch = classes(dropout=0.5), mixed()
    teacher = Teacher(model, 0.9)
    before = torch.get_rng_state()
    first, second = teacher.logits(batch), teacher.logits(batch)
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    np.testing.assert_allclose(first.numpy(), logits(model.eval(), batch)[:, 0])


def test_a_target_from_elsewhere_gets_no_gradient() -> None:
    model, batch = classes(), mixed()
    objective = objective_of(model, RPT("kl", 0.4), ALL)
    objective(model, batch).loss.backward()
    assert objective.teacher is not None
    assert all(parameter.grad is None for parameter in objective.teacher.average.parameters())


# --- distribution alignment ---


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
    whole = objective_of(model, RPT("kl", 0.4), EACH["align"])
    pieces = [objective_of(model, RPT("kl", 0.4), EACH["align"]) for _ in range(ranks)]
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
    unaligned = special.softmax(logits(model, batch)[[1, 3, 4, 6], 0], axis=-1).mean(axis=0)
    expected = [np.array([1, 1.5, 2]) / 4.5 * 0.5 + np.array([1, 2, 1]) / 8, np.array([3, 2, 1]) / 12 + unaligned / 2]
    for one in marginals:
        np.testing.assert_allclose(one.means, expected, rtol=1e-6)


def test_it_is_the_teachers_posterior_that_counts_where_there_is_one() -> None:
    model, batch = classes(), mixed()
    objective = objective_of(model, RPT("kl", 0.4), Targets(align=0.5, ema=0.9))
    objective(model, batch)
    assert objective.marginals is not None
    objective.marginals.update()
    assert objective.teacher is not None
    given = special.softmax(logits(objective.teacher.average.module, batch)[[1, 3, 4], 0], axis=-1).mean(axis=0)
    np.testing.assert_allclose(objective.marginals.means[1], np.array([3, 2, 1]) / 12 + given / 2, rtol=1e-6)  # type: ignore[index]


@pytest.mark.parametrize("align", [0.0, 0.5])
def test_where_all_rows_get_one_class_the_target_moves_towards_the_other(align: float) -> None:
    model, batch = classes(2), mixed((0, 1, -100, -100, -100, -100))
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([3.0, 0.0]))
    objective = Objective(RPT("kl", 0.4), ALPHA, Targets(align=align))
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ramp_up": 1.5}, "ramp_up must be from 0 (off) to 1, got 1.5"),
        ({"entropy": -0.1}, "entropy must be a finite number of at least 0, got -0.1"),
        ({"entropy": float("inf")}, "entropy must be a finite number of at least 0, got inf"),
        ({"sharpen": 0.0}, "sharpen must be above 0 and at most 1 (off), got 0.0"),
        ({"confidence": 1.0}, "confidence must be at least 0 (off) and below 1, got 1.0"),
        ({"ema": float("nan")}, "ema must be at least 0 (off) and below 1, got nan"),
        ({"align": 1.0}, "align must be at least 0 (off) and below 1, got 1.0"),
    ],
)
def test_values_outside_of_their_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Targets(**options)
    assert str(error.value) == message
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must be"):
        make_config({name: value})


REFUSED = [
    (None, Targets(ramp_up=0.5), "ramp_up: expected a regularizer and alpha above 0"),
    (None, Targets(entropy=0.1), "entropy: expected a regularizer and alpha above 0"),
    (AdversarialTraining(), Targets(entropy=0.1), "entropy is of unlabelled rows, which 'at' leaves out"),
    (AdversarialTraining(), Targets(sharpen=0.4), "sharpen: expected R to compare two posteriors"),
    (JacobianRegularizer(1), Targets(confidence=0.8), "confidence: expected R to compare two posteriors"),
    (RPT("kl", order=2), Targets(sharpen=0.4, ema=0.9), "sharpen and ema: R of order 2 has no target to replace"),
    (JacobianRegularizer(1), Targets(align=0.9), "align: expected R to compare two posteriors"),
    (RPT("kl", order=2), Targets(align=0.9), "align: R of order 2 has no target to replace"),
    (RPT("shl"), Targets(align=0.9), "align: the target is a constant; expected target_grad 'detach', got 'auto'"),
    (None, Targets(align=0.9), "align: expected a regularizer and alpha above 0"),
    (RPT("shl"), Targets(sharpen=0.4), "the target is a constant; expected target_grad 'detach', got 'auto'"),
    (VAT("kl", target_grad="both"), Targets(confidence=0.8), "expected target_grad 'detach', got 'both'"),
]


@pytest.mark.parametrize(("regularizer", "targets", "message"), REFUSED)
def test_what_means_nothing_is_refused_in_one_line(regularizer: Any, targets: Targets, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Objective(regularizer, 1.0, targets, Teacher(classes(), 0.9) if targets.ema else None)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_answers_in_a_passage_cannot_be_aligned() -> None:
    for refused in (
        lambda: Objective(RPT("kl"), 1.0, Targets(align=0.9))(tiny_reader(), questions()),
        lambda: build_regularizer(configured(reg="vat", div="kl", task="question-answering", align=0.9)),
    ):
        with pytest.raises(ConfigError) as error:
            refused()
        assert str(error.value) == NO_CLASSES


def test_alpha_zero_uses_nothing_of_it() -> None:
    with pytest.raises(ConfigError, match="alpha above 0"):
        Objective(RPT("kl"), 0.0, Targets(entropy=0.1))


def test_a_teacher_and_its_decay_belong_together() -> None:
    for targets, teacher in ((Targets(ema=0.9), None), (Targets(), Teacher(classes(), 0.9))):
        with pytest.raises(ConfigError, match="a teacher and targets.ema above 0 belong together"):
            Objective(RPT("kl"), 1.0, targets, teacher)


def test_what_is_off_is_allowed_everywhere() -> None:
    for regularizer in (None, AdversarialTraining(), JacobianRegularizer(1), RPT("shl", order=2)):
        Objective(regularizer, 1.0, Targets())
    for regularizer in (AdversarialTraining(), JacobianRegularizer(1), RPT("shl", order=2)):
        Objective(regularizer, 1.0, Targets(ramp_up=0.5))
    Objective(RPT("shl", order=2, target_grad="detach"), 1.0, Targets(confidence=0.8))


# --- from a configuration ---


def configured(**options: Any) -> Any:
    return make_config(options).resolved()


@pytest.mark.parametrize("options", [{"sharpen": 0.4}, {"confidence": 0.8}, {"ema": 0.99}, {"align": 0.9}])
@pytest.mark.parametrize("reg", ["vat", "rpt", "rdrop"])
def test_a_constant_target_decides_what_auto_leaves_open(reg: str, options: dict[str, float]) -> None:
    for preset in ("default", "paper", "published-code"):
        for task in ("classification", "question-answering")[: 1 if "align" in options else 2]:
            config = configured(reg=reg, div="shl", preset=preset, task=task, **options)
            regularizer: Any = build_regularizer(config)
            assert regularizer.target_grad == "detach"
            assert build_targets(config) == Targets(**options)
    assert build_regularizer(configured(reg=reg, div="shl")).target_grad == "auto"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reg": "none", "entropy": 0.1}, "entropy: expected a regularizer"),
        ({"alpha": 0.0, "ema": 0.9}, "ema: expected a regularizer and alpha above 0"),
        ({"reg": "wjr", "ema": 0.9}, "expected R to compare two posteriors .*, got 'wjr'"),
        ({"target_grad": "both", "sharpen": 0.4}, "expected target_grad 'detach', got 'both'"),
        ({"order": 2, "ema": 0.9}, "R of order 2 has no target"),
    ],
)
def test_combinations_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_regularizer(configured(**options))
