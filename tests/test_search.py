"""The adversarial direction against eigenproblems in numpy, a grid of all directions, and a linearised BERT."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_pdr import VAT, Objective
from ssl_pdr.perturbation import mean_token_norm
from ssl_pdr.regularizers.search import worst_direction
from ssl_pdr.sites import find_site, hooked
from ssl_pdr.theory import FromSite, linearise
from tests.conftest import tiny_batch, tiny_bert, tiny_config
from tests.linear import LinearSoftmax

Array = NDArray[np.float64]
NORMS = ("token", "sequence")


class Case:
    """Logits that are linear in embeddings, z = W x + b, with everything that numpy needs to check a direction."""

    def __init__(
        self, classes: int, tokens: int, size: int, *, rows: int = 3, seed: int = 0, spread: float = 1.0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(classes, tokens, size, generator=generator, dtype=torch.float64)
        self.bias = spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        self.mask = torch.ones(rows, tokens, dtype=torch.bool)

    def direction(self, norm: str, dtype: torch.dtype = torch.float64, **options: Any) -> Tensor:
        """What the search finds."""
        rows, (_, tokens, size) = len(self.bias), self.weight.shape
        x = torch.zeros(rows, tokens, size, dtype=dtype, requires_grad=True)
        logits = torch.einsum("cte,bte->bc", self.weight.to(dtype), x) + self.bias.to(dtype)
        return worst_direction(logits, x, self.mask, norm=norm, **options)

    def move(self, dtype: torch.dtype = torch.float64) -> Callable[[Tensor], Tensor]:
        """From a direction to the logits at a small step along it."""
        return lambda e: torch.einsum("cte,bte->bc", self.weight.to(dtype), 0.1 * e) + self.bias.to(dtype)

    def rooted(self, row: int) -> Array:
        """M^½ J of one row, (C, T, E), by the eigenvectors of M; padding apart."""
        f = np.exp(self.bias[row].numpy() - self.bias[row].numpy().max())
        return rooted(f / f.sum(), (self.weight * self.mask[row, None, :, None]).numpy())


def rooted(f: Array, jacobian: Array) -> Array:
    """M^½ J, M = diag(f) − ffᵀ."""
    values, vectors = np.linalg.eigh(np.diag(f) - np.outer(f, f))
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    return np.einsum("kc,cte->kte", root, jacobian)


def form(a: Array, direction: Tensor) -> float:
    """‖Aε‖²."""
    return float(np.square(np.einsum("kte,te->k", a, direction.double().numpy())).sum())


def best(a: Array, norm: str, tokens: int) -> float:
    """The largest ‖Aε‖²: the largest singular value, or what an ascent from many starts finds."""
    if norm == "sequence":
        return tokens * float(np.linalg.svd(a.reshape(len(a), -1), compute_uv=False)[0] ** 2)
    starts = np.random.default_rng(0).standard_normal((40, *a.shape[1:]))
    for _ in range(500):
        lengths = np.linalg.norm(starts, axis=-1, keepdims=True)
        starts = np.einsum("sk,kte->ste", np.einsum("kte,ste->sk", a, starts / np.where(lengths, lengths, 1.0)), a)
    lengths = np.linalg.norm(starts, axis=-1, keepdims=True)
    found = np.einsum("kte,ste->sk", a, starts / np.where(lengths, lengths, 1.0))
    return float(np.square(found).sum(axis=1).max())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_is_the_worst_of_all_directions(classes: int, norm: str) -> None:
    shares = []
    for seed in range(5):
        case = Case(classes, tokens=5, size=4, seed=seed)
        direction = case.direction(norm)
        shares += [form(case.rooted(i), direction[i]) / best(case.rooted(i), norm, 5) for i in range(3)]
    exact = classes == 2 or norm == "sequence"
    assert max(shares) <= 1 + 1e-9
    assert np.mean(shares) >= (1 - 1e-9 if exact else 0.99)
    assert min(shares) >= (1 - 1e-9 if exact else 0.93)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_no_point_of_a_grid_is_worse_for_two_tokens(classes: int) -> None:
    """Per token there is no closed form beyond two classes: two circles are small enough to try all of them."""
    angles = np.linspace(0, 2 * np.pi, 361)
    circle = np.stack((np.cos(angles), np.sin(angles)), axis=1)
    shares = []
    for seed in range(4):
        case = Case(classes, tokens=2, size=2, seed=seed)
        direction = case.direction("token")
        for i in range(3):
            a = case.rooted(i)
            first, second = circle @ a[:, 0].T, circle @ a[:, 1].T
            grid = np.square(first[:, None] + second[None]).sum(axis=-1).max()
            shares.append(form(a, direction[i]) / grid)
    assert np.mean(shares) >= 0.99
    assert max(shares) <= 1.001  # the grid misses the best by so much


@pytest.mark.parametrize(("heads", "norm"), product((1, 2), NORMS))
def test_it_is_the_steepest_of_a_linearised_bert(heads: int, norm: str) -> None:
    """Of classes, and of the start and the end of an answer."""
    if heads == 1:
        model, batch = tiny_bert(dropout=0.0, dtype=torch.float64, num_labels=4), tiny_batch(rows=5)
    else:
        from transformers import BertForQuestionAnswering

        torch.manual_seed(1)
        model, batch = BertForQuestionAnswering(tiny_config(0.0)).double().eval(), tiny_batch(rows=5)
        batch["passage"] = torch.tensor([[2, 4, 0], [1, 4, -1], [0, 6, -1], [3, 5, 0], [2, 6, -1]])
    line = linearise(FromSite(model, batch))
    regularizer = VAT("kl", dropout="off", norm=norm, products=6)
    clean = regularizer.clean_pass(model, batch)
    assert clean.embeddings is not None
    assert clean.mask is not None
    found = worst_direction(clean.logits, clean.embeddings, clean.mask, norm=norm, products=6)
    largest, direction = line.steepest()
    tokens = clean.mask.sum(dim=1)
    share = line.quadratic(found) / (largest * tokens)
    if norm == "sequence":
        torch.testing.assert_close(share, torch.ones_like(share))
        cosine = (found * direction).sum(dim=(1, 2)).abs() / tokens.sqrt()
        torch.testing.assert_close(cosine, torch.ones_like(cosine))
    else:
        per_token = direction / direction.norm(dim=-1, keepdim=True).clamp_min(1e-300)
        assert (share <= 1 + 1e-9).all()
        assert (line.quadratic(found) >= line.quadratic(per_token) * (1 - 1e-9)).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("size", [60.0, 1e4])
def test_a_row_that_is_sure_has_the_direction_of_its_second_likeliest_outcome(
    size: float, classes: int, norm: str
) -> None:
    """In float32 f is 1 and 0 there, and so is every gradient of f; the limit of M, divided by the second f, is not."""
    case = Case(classes, tokens=4, size=3)
    case.bias = torch.full((3, classes), -size, dtype=torch.float64)
    for row, (top, second) in enumerate(((0, 1), (1, 0), (classes - 1, 0))):
        case.bias[row, top], case.bias[row, second] = size, size / 2
    direction = case.direction(norm, torch.float32)
    for row, (top, second) in enumerate(((0, 1), (1, 0), (classes - 1, 0))):
        expected = case.weight[second] - case.weight[top]
        expected = expected / (expected.norm(dim=-1, keepdim=True) if norm == "token" else expected.norm() / 2)
        torch.testing.assert_close(direction[row], expected.float(), rtol=1e-4, atol=1e-5)


def test_outcomes_that_are_equally_unlikely_share_the_direction() -> None:
    """At ±60 two outcomes tie for the second place: the form is that of both contrasts together."""
    case = Case(3, tokens=4, size=3, rows=1)
    case.bias = torch.tensor([[60.0, -60.0, -60.0]])
    direction = case.direction("sequence", torch.float32)
    contrasts = (case.weight[1:] - case.weight[0]).numpy()
    assert form(contrasts, direction[0]) == pytest.approx(best(contrasts, "sequence", 4), rel=1e-5)


def answers(support: list[list[int]], *, positions: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, 2, positions) of linear heads, −inf outside of the support; their embeddings; the weight."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(2, positions, 4, 3, generator=generator, dtype=torch.float64)
    x = torch.zeros(len(support), 4, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(len(support), 2, positions, generator=generator, dtype=torch.float64)
    outside = torch.ones(len(support), 1, positions, dtype=torch.bool)
    for row, places in enumerate(support):
        outside[row, :, places] = False
    logits = (torch.einsum("hcte,bte->bhc", weight, x) + bias).masked_fill(outside, -torch.inf)
    return logits, x, weight


@pytest.mark.parametrize("norm", NORMS)
def test_positions_outside_of_the_support_do_not_count(norm: str) -> None:
    support = [[1, 2, 4], [0, 5], [0, 1, 2, 3, 4, 5]]
    logits, x, weight = answers(support)
    found = worst_direction(logits, x, torch.ones(3, 4, dtype=torch.bool), norm=norm, products=5)
    for row, places in enumerate(support):
        f = logits[row, :, places].detach().softmax(-1).numpy()
        a = np.concatenate([rooted(f[h], weight[h, places].numpy()) for h in range(2)])
        assert form(a, found[row]) >= (1 - 1e-9 if norm == "sequence" else 0.99) * best(a, norm, 4)


@pytest.mark.parametrize("products", [None, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_supports_of_one_and_two_positions(products: int | None, dtype: torch.dtype) -> None:
    """One position leaves nothing to move; two are two classes."""
    logits, x, weight = answers([[3], [1, 4]])
    found = worst_direction(logits.to(dtype), x, torch.ones(2, 4, dtype=torch.bool), norm="sequence", products=products)
    assert torch.isfinite(found).all()
    assert float(found[0].abs().max()) == 0.0
    f = logits[1, :, [1, 4]].detach().softmax(-1).numpy()
    a = np.concatenate([rooted(f[h], weight[h, [1, 4]].numpy()) for h in range(2)])
    assert form(a, found[1]) == pytest.approx(best(a, "sequence", 4), rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_fewer_products_give_the_worst_direction_of_the_merged_posterior(norm: str) -> None:
    case = Case(20, tokens=4, size=3, spread=2.0)
    for products in (1, 2, 3, 7):
        found = case.direction(norm, products=products)
        for row in range(3):
            f = case.bias[row].softmax(-1).numpy()
            order = np.argsort(-f)
            own, rest = order[:products], order[products:]
            weight = case.weight.numpy()
            merged = np.append(f[own], f[rest].sum())
            centre = np.einsum("c,cte->te", f[rest], weight[rest]) / f[rest].sum()
            a = rooted(merged, np.concatenate((weight[own], centre[None])))
            assert form(a, found[row]) >= (1 - 1e-9 if norm == "sequence" else 0.98) * best(a, norm, 4)


@pytest.mark.parametrize("norm", NORMS)
def test_more_products_are_no_worse_on_average(norm: str) -> None:
    case = Case(30, tokens=6, size=8, rows=40, spread=0.3)
    means = []
    for products in (1, 2, 4, 8, 16, 29):
        found = case.direction(norm, products=products)
        means.append(np.mean([form(case.rooted(i), found[i]) for i in range(40)]))
    assert all(later >= earlier * (1 - 1e-3) for earlier, later in pairwise(means))
    assert means[-1] > 1.2 * means[0]


def test_up_to_twelve_outcomes_are_exact_without_being_asked() -> None:
    for classes, products in ((12, 11), (13, 1)):
        case = Case(classes, tokens=3, size=3)
        torch.testing.assert_close(case.direction("token"), case.direction("token", products=products))


def lanczos(case: Case, row: int, products: int, rounds: int) -> float:
    """The largest ‖QᵀAε‖² for the norm `sequence`, Q spanned by the likeliest outcomes and by Aε of each round, by numpy's own means."""
    f = case.bias[row].softmax(-1).numpy()
    a = np.sqrt(f)[:, None] * _centred(case.weight.flatten(1).numpy(), f)
    likely = np.argsort(-f)[:products]
    basis = np.eye(len(f))[:, likely] - np.outer(np.sqrt(f), np.sqrt(f[likely]))
    for _ in range(rounds):
        q = np.linalg.qr(basis)[0]
        basis = np.column_stack((basis, a @ np.linalg.svd(q.T @ a, full_matrices=False)[2][0]))
    found = np.linalg.svd(np.linalg.qr(basis)[0].T @ a, full_matrices=False)[2][0]
    return float(np.square(a @ found).sum()) * case.weight.shape[1]


def _centred(jacobian: Array, f: Array) -> Array:
    return jacobian - f @ jacobian


@pytest.mark.parametrize("spread", [0.3, 2.0])
@pytest.mark.parametrize("products", [1, 3])
def test_rounds_are_those_of_lanczos(products: int, spread: float) -> None:
    case = Case(25, tokens=4, size=5, spread=spread)
    for rounds in (0, 1, 2, 5):
        found = case.direction("sequence", products=products, rounds=rounds, move=case.move())
        for row in range(3):
            expected = lanczos(case, row, products, rounds)
            assert form(case.rooted(row), found[row]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_enough_rounds_find_the_best(dtype: torch.dtype, norm: str) -> None:
    """As many as there are outcomes, and more: what is not new adds nothing, rounding least of all."""
    case = Case(14, tokens=5, size=4, spread=1.0)
    for rounds in (12, 20):
        found = case.direction(norm, dtype, products=1, rounds=rounds, move=case.move(dtype))
        shares = [form(case.rooted(i), found[i]) / best(case.rooted(i), norm, 5) for i in range(3)]
        assert min(shares) >= (0.9999 if norm == "sequence" else 0.93)
        assert max(shares) <= 1 + 1e-6


def test_a_coarse_difference_costs_a_little_and_rounds_beat_products() -> None:
    """The rows are exact whatever `move` says; a constant one, which says nothing, is as good as no round."""
    case = Case(40, tokens=6, size=8, rows=30, spread=0.3)

    def mean(**options: Any) -> float:
        found = case.direction("sequence", **options)
        return float(np.mean([form(case.rooted(i), found[i]) for i in range(30)]))

    exact = mean(products=1, rounds=1, move=case.move())
    coarse = mean(products=1, rounds=1, move=lambda e: case.move()(e) + 0.2 * torch.randn(30, 40, dtype=torch.float64))
    assert mean(products=3) < coarse < exact * 1.01
    assert mean(products=1, rounds=2, move=lambda _: case.bias) == pytest.approx(mean(products=1), rel=1e-9)


def test_rounds_of_the_regularizer_find_the_best_of_answers() -> None:
    """Start and end in one product a round, −inf outside of their support, by differences of a real model's logits."""
    from transformers import BertForQuestionAnswering

    torch.manual_seed(1)
    model, batch = BertForQuestionAnswering(tiny_config(0.0)).double().eval(), tiny_batch(rows=4, tokens=12)
    batch["passage"] = torch.tensor([[2, 9, 0], [1, 8, -1], [0, 11, -1], [3, 3, -1]])
    line = linearise(FromSite(model, batch))
    largest = line.steepest()[0] * batch["attention_mask"].sum(dim=1)
    shares = []
    for rounds in (0, 1, 6, 25):
        regularizer = VAT("kl", 1.0, norm="sequence", products=1, rounds=rounds)
        noise = regularizer.noise(model, batch, regularizer.clean_pass(model, batch), row_ids=torch.arange(4))
        shares.append((line.quadratic(noise) / largest)[:3])  # the last row's passage is one position
    assert all((later >= earlier - 1e-2).all() for earlier, later in pairwise(shares))
    assert (shares[1].mean() - shares[0].mean()) > 0.01
    assert (shares[-1] >= 0.99).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("scale", [1e-18, 1e12])
def test_how_steep_the_model_is_does_not_matter(scale: float, classes: int, norm: str) -> None:
    """Squares of such gradients leave float32."""
    case = Case(classes, tokens=4, size=3)
    plain = case.direction(norm, torch.float32)
    case.weight = case.weight * scale
    torch.testing.assert_close(case.direction(norm, torch.float32), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_padding_takes_no_noise_and_no_share_of_the_norm(norm: str) -> None:
    case = Case(4, tokens=5, size=3)
    case.mask[0, 3:], case.mask[1, :4] = False, False
    direction = case.direction(norm)
    assert float(direction[~case.mask].abs().max()) == 0.0
    for row in range(3):
        n = int(case.mask[row].sum())
        norms = direction[row].norm(dim=-1)[case.mask[row]]
        if norm == "token":
            torch.testing.assert_close(norms, torch.ones_like(norms))
        else:
            assert float(norms.norm()) == pytest.approx(n**0.5)
        assert form(case.rooted(row), direction[row]) >= 0.99 * best(case.rooted(row), norm, n)


def test_the_order_of_the_classes_changes_nothing_not_even_the_sign() -> None:
    """An eigenvector's sign is arbitrary; ours is not, or a coin would be tossed by the linear algebra."""
    for seed in range(10):
        case = Case(6, tokens=3, size=3, seed=seed)
        plain = case.direction("token")
        order = torch.randperm(6)
        case.weight, case.bias = case.weight[order], case.bias[:, order]
        torch.testing.assert_close(case.direction("token"), plain)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", NORMS)
def test_noise_of_a_row_is_its_own(classes: int, norm: str) -> None:
    """Its size, and its sign: neither of them depends on the other rows of the batch, on their order or on padding."""
    model = tiny_bert(num_labels=classes, dropout=0.0, dtype=torch.float64)
    batch, ids = tiny_batch(rows=12), torch.arange(12) + 100
    regularizer = VAT("kl", 0.3, radius_unit="absolute", norm=norm)

    def noise(inputs: dict[str, Tensor], rows: Tensor) -> Tensor:
        clean = regularizer.clean_pass(model, inputs)
        return regularizer.noise(model, inputs, clean, row_ids=rows)

    together = noise(batch, ids)
    counted = batch["attention_mask"].sum(dim=1)
    if norm == "sequence":
        torch.testing.assert_close(together.flatten(1).norm(dim=1), 0.3 * counted.double().sqrt())
    else:
        torch.testing.assert_close(together.norm(dim=-1), 0.3 * batch["attention_mask"].double())
    order = torch.randperm(12)
    shuffled = noise({name: value[order] for name, value in batch.items()}, ids[order])
    torch.testing.assert_close(shuffled, together[order])
    padded = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in batch.items()}
    longer = noise(padded, ids)
    torch.testing.assert_close(longer[:, :7], together)
    assert float(longer[:, 7:].abs().max()) == 0.0
    for row in range(12):
        alone = noise({name: value[row : row + 1] for name, value in batch.items()}, ids[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


def test_the_sign_is_a_fair_coin_of_seed_epoch_and_row() -> None:
    model = LinearSoftmax(classes=2)
    inputs = {"input_ids": torch.zeros(4000, 4, dtype=torch.long)}
    difference = (model.weight[1] - model.weight[0]).detach()

    def signs(seed: int, epoch: int) -> Tensor:
        regularizer = VAT("kl", 0.1, seed=seed)
        regularizer.set_epoch(epoch)
        noise = regularizer.noise(model, inputs, regularizer.clean_pass(model, inputs), row_ids=torch.arange(4000))
        return (noise * difference).sum(dim=(1, 2)).sign()

    tossed = [signs(seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert torch.equal(tossed[0], signs(0, 0))
    for one in tossed:
        assert abs(float(one.mean())) < 0.06  # 3.8 standard deviations
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(float((tossed[one] * tossed[other]).mean())) < 0.06


@pytest.mark.parametrize("norm", NORMS)
def test_what_nothing_depends_on_gets_random_noise(norm: str) -> None:
    """A token per token; a row as a whole, where its other tokens have taken all of the norm otherwise."""
    model = LinearSoftmax(classes=3)
    inputs = {"input_ids": torch.arange(8).reshape(2, 4)}
    regularizer = VAT("kl", 0.1, radius_unit="absolute", norm=norm)
    regularizer.clean_pass(model, inputs)  # whose self-test wants a model that depends on something

    def noise_now() -> Tensor:
        return regularizer.noise(model, inputs, regularizer.clean_pass(model, inputs), row_ids=torch.arange(2))

    with torch.no_grad():
        model.weight[:, 2] = 0
    noise = noise_now()
    lengths = noise.norm(dim=-1)
    if norm == "token":
        torch.testing.assert_close(lengths, torch.full_like(lengths, 0.1))
        assert not torch.allclose(noise[0, 2], noise[1, 2])
    else:
        assert float(lengths[:, 2].max()) == 0.0
    with torch.no_grad():
        model.weight.zero_()
    noise = noise_now()
    torch.testing.assert_close(noise.flatten(1).norm(dim=1), torch.full((2,), 0.2, dtype=noise.dtype))
    assert not torch.allclose(noise[0], noise[1])


def test_the_graph_is_kept_or_freed_as_asked() -> None:
    for keep in (True, False):
        x = torch.randn(2, 3, 4, requires_grad=True)
        logits = (x.tanh() ** 2).sum(dim=2).exp()
        worst_direction(logits, x, torch.ones(2, 3, dtype=torch.bool), retain_graph=keep)
        if keep:
            logits.sum().backward()
            assert x.grad is not None
        else:
            with pytest.raises(RuntimeError, match="second time"):
                logits.sum().backward()


def test_its_benchmark_runs_and_finds_the_exact_search_exact(tmp_path: Path) -> None:
    from benchmarks.direction import LIMITS, main

    for part in ("many", "few"):  # each keeps what the other has written
        main(["--tiny", "--only", part, "--output", str(tmp_path)])
    parts = json.loads((tmp_path / "direction.json").read_text(encoding="utf-8"))["parts"]
    assert {cell["classes"] for cell in parts["few"]["cells"]} == set(LIMITS)
    assert len(parts["few"]["cells"]) == len(parts["many"]["cells"]) == 6
    for cell in parts["few"]["cells"]:
        for found in cell["norms"].values():
            assert cell["limit"] <= found["exact"]["mean"] <= 1 + 1e-6
            assert found["classical, 0.001"]["mean"] < found["exact"]["mean"]
    for cell in parts["many"]["cells"]:
        assert all(share["mean"] <= 1 + 1e-6 for found in cell["norms"].values() for share in found.values())


@pytest.mark.parametrize("classes", [2, 3, 14])
@pytest.mark.parametrize("norm", ["token", "sequence"])
def test_without_gradients_the_values_are_the_same(classes: int, norm: str) -> None:
    """For diagnostics: nothing is left behind, and R is what it is in training."""
    model, batch = tiny_bert(num_labels=classes, dropout=0.0), tiny_batch()
    for order in (1, 2):
        regularizer = VAT("kl", 0.3, norm=norm, order=order)
        with_graph = regularizer(model, batch, row_ids=torch.arange(4))
        objective = Objective(regularizer)
        labelled = {**batch, "labels": torch.tensor([0, 1, 1, -100]), "row_id": torch.arange(4)}
        whole = objective(model, labelled)
        with torch.no_grad():
            torch.testing.assert_close(regularizer(model, batch, row_ids=torch.arange(4)), with_graph.detach())
            torch.testing.assert_close(objective(model, labelled, backward=Tensor.backward).loss, whole.loss.detach())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("classes", [2, 4, 14])
def test_weights_that_are_no_numbers_make_r_one_not_an_error_of_linear_algebra(classes: int) -> None:
    model, batch = tiny_bert(num_labels=classes), tiny_batch()
    regularizer = VAT("shl")
    regularizer(model, batch)  # the self-test is over
    with torch.no_grad():
        model.classifier.weight.fill_(torch.nan)
    assert regularizer(model, batch).isnan().all()


@pytest.mark.parametrize("classes", [14, 40])
def test_the_rounds_look_under_the_masks_of_the_clean_pass_and_leave_random_numbers_alone(classes: int) -> None:
    model, batch = tiny_bert(num_labels=classes, dropout=0.5), tiny_batch()
    regularizer = VAT("kl", radius_unit="absolute", rounds=2)
    regularizer.clean_pass(model, batch)
    torch.manual_seed(4)
    clean = regularizer.clean_pass(model, batch)
    before = torch.get_rng_state()
    found = regularizer.noise(model, batch, clean, row_ids=torch.arange(4))
    assert torch.equal(torch.get_rng_state(), before)

    def move(direction: Tensor) -> Tensor:
        torch.manual_seed(4)
        size = 1e-3 * mean_token_norm(clean.embeddings, clean.mask)[:, None, None]
        with torch.no_grad(), hooked(model, find_site(model, "output"), lambda x: x + size * direction):
            return model(**batch).logits

    expected = worst_direction(clean.logits, clean.embeddings, clean.mask, rounds=2, move=move)
    cosine = (found * expected).sum(-1)[clean.mask].abs()
    torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-3, atol=0)


def test_the_search_frees_the_graph_that_serves_nobody_else() -> None:
    model, batch = tiny_bert(num_labels=3), tiny_batch()
    regularizer = VAT("kl")
    clean = regularizer.clean_pass(model, batch, hold_still=True)
    regularizer.noise(model, batch, clean)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(clean.logits.sum(), clean.embeddings)


def test_where_rounds_would_be_dearer_all_outcomes_are_told_apart() -> None:
    model, batch = tiny_bert(num_labels=4, dropout=0.0), tiny_batch()
    rows = torch.arange(4)
    whole, few = VAT("kl"), VAT("kl", products=2, rounds=1)
    noise = [r.noise(model, batch, r.clean_pass(model, batch), row_ids=rows) for r in (whole, few)]
    assert torch.equal(noise[0], noise[1])
