"""Noise: keyed by row, unit per token, none on padding, and never lost in the dtype without a word."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ssl_pdr import RPT, VAT
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.perturbation import (
    NoiseKey,
    RandomState,
    keyed_normal,
    noise_radius,
    replayed,
    token_positions,
    unit_directions,
)
from ssl_pdr.resolution import resolved_share
from tests.conftest import tiny_batch, tiny_bert


def positions(tokens: int) -> torch.Tensor:
    return torch.arange(tokens)[None]


def test_keyed_noise_is_standard_normal_and_uncorrelated() -> None:
    noise = keyed_normal(NoiseKey(3), torch.arange(50), positions(20).expand(50, 20), 64).double()
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3
    flat = noise.flatten(1)
    for a, b in ((flat[:-1], flat[1:]), (flat[:, :-1], flat[:, 1:]), (flat[:, :-64], flat[:, 64:])):
        assert abs(torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1]) < 0.02


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 100), st.integers(0, 10**9))
def test_noise_of_a_row_is_a_function_of_its_key_alone(seed: int, epoch: int, row: int) -> None:
    key = NoiseKey(seed, epoch)
    alone = keyed_normal(key, torch.tensor([row]), positions(3), 5)
    beside = keyed_normal(key, torch.tensor([1, row, 2]), positions(6).expand(3, 6), 5)
    assert torch.equal(alone[0], beside[1, :3])
    for other in (NoiseKey(seed + 1, epoch), NoiseKey(seed, epoch + 1), NoiseKey(seed, epoch, 1)):
        assert not torch.equal(keyed_normal(other, torch.tensor([row]), positions(3), 5), alone)
    assert not torch.equal(keyed_normal(key, torch.tensor([row + 1]), positions(3), 5), alone)


def test_padding_on_either_side_does_not_move_the_noise() -> None:
    right = token_positions(torch.tensor([[1, 1, 1, 0]]).bool())
    left = token_positions(torch.tensor([[0, 1, 1, 1]]).bool())
    a = keyed_normal(NoiseKey(), torch.tensor([5]), right, 4)[0, :3]
    b = keyed_normal(NoiseKey(), torch.tensor([5]), left, 4)[0, 1:]
    assert torch.equal(a, b)


def test_noise_in_training_does_not_depend_on_the_layout_of_the_batch() -> None:
    model, inputs = tiny_bert(dropout=0.0), tiny_batch()
    ids = torch.tensor([10, 11, 12, 13])
    for regularizer in (RPT("kl", 0.3), VAT("kl", 0.3)):
        whole = regularizer(model, inputs, row_ids=ids)
        parts = [
            regularizer(model, {k: v[i : i + 1] for k, v in inputs.items()}, row_ids=ids[i : i + 1]) for i in range(4)
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-8)
        regularizer.set_epoch(1)
        assert not torch.allclose(regularizer(model, inputs, row_ids=ids), whole, rtol=1e-3, atol=0)


def test_calls_without_row_ids_draw_fresh_noise() -> None:
    model, regularizer = tiny_bert(dropout=0.0), RPT("kl", 0.3)
    assert not torch.equal(regularizer(model, tiny_batch()), regularizer(model, tiny_batch()))


@pytest.mark.parametrize("unit", ["absolute", "token_norm"])
@pytest.mark.parametrize("kind", [RPT, VAT])
def test_each_token_has_the_radius_and_padding_has_none(kind: type[RPT], unit: str) -> None:
    model, inputs = tiny_bert(dropout=0.0), tiny_batch()
    regularizer = kind("kl", 0.25, radius_unit=unit)
    clean = regularizer.clean_pass(model, inputs)
    norms = regularizer.noise(model, inputs, clean).norm(dim=-1)
    mask = inputs["attention_mask"].bool()
    assert clean.embeddings is not None
    if unit == "absolute":
        expected = torch.full_like(norms, 0.25)
    else:
        token_norms = clean.embeddings.norm(dim=-1)
        means = torch.stack([row[keep].mean() for row, keep in zip(token_norms, mask, strict=True)])
        expected = 0.25 * means[:, None].expand_as(norms)
    torch.testing.assert_close(norms[mask], expected[mask])
    assert (norms[~mask] == 0).all()


def test_a_zero_gradient_takes_the_fallback_and_a_tiny_one_is_normalised() -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    mask[0, 3] = False
    vectors = torch.tensor([[[3.0, 4.0], [1e-40, 0.0], [0.0, 0.0], [5.0, 5.0]]])
    fallback = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    result = unit_directions(vectors, mask, fallback)
    torch.testing.assert_close(result, torch.tensor([[[0.6, 0.8], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]))
    assert torch.isfinite(unit_directions(torch.full((1, 4, 2), torch.nan), mask, fallback)).all()


def test_radius_of_a_row_does_not_depend_on_its_neighbours() -> None:
    x, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    both = noise_radius(0.1, "token_norm", x, mask)
    assert torch.equal(both[:1], noise_radius(0.1, "token_norm", x[:1], mask[:1]))


def test_replay_repeats_the_dropout_masks_and_goes_on_as_if_it_had_not() -> None:
    model = tiny_bert(dropout=0.5)
    state = RandomState.capture(model)
    first = model(**tiny_batch()).logits
    after = torch.get_rng_state()
    with replayed(state, model):
        second = model(**tiny_batch()).logits
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), after)


def test_bfloat16_loses_small_noise_and_says_which_radius_it_keeps() -> None:
    model = tiny_bert(dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(ModelError, match="bfloat16 keeps only .* use a radius of at least"):
            RPT("kl", 1e-3, radius_unit="absolute")(model, tiny_batch())
        assert (RPT("kl", 0.1)(model, tiny_batch()) > 0).all()
    with pytest.raises(ModelError, match="bfloat16"):
        RPT("kl", 1e-3, radius_unit="absolute")(tiny_bert(dropout=0.0, dtype=torch.bfloat16), tiny_batch())


def test_resolved_share_sees_what_rounding_takes() -> None:
    x = torch.randn(2, 3, 384)
    noise = unit_directions(torch.randn(2, 3, 384), torch.ones(2, 3, dtype=torch.bool)) * 1e-3
    assert resolved_share(x, noise).min() > 0.99
    assert resolved_share(x.bfloat16(), noise).max() < 0.2
    assert resolved_share(x.bfloat16(), noise * 1000).min() > 0.9
    assert resolved_share(x, noise * 0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf")])
def test_senseless_radius_is_refused(radius: float) -> None:
    with pytest.raises(ConfigError, match="radius must be a finite number of at least 0"):
        RPT("kl", radius)


def test_unknown_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown radius unit 'inches'"):
        RPT("kl", 0.1, radius_unit="inches")
