"""R as an f-divergence between two passes: random and adversarial perturbation, and R-Drop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

from ssl_pdr.divergences import Divergence, get_divergence
from ssl_pdr.errors import ConfigError, ModelError
from ssl_pdr.outputs import per_row
from ssl_pdr.perturbation import (
    RandomState,
    check_radius,
    check_resolution,
    keyed_normal,
    noise_radius,
    replayed,
    token_positions,
    unit_directions,
)
from ssl_pdr.regularizers.base import (
    CleanPass,
    Dropout,
    Regularizer,
    TargetGrad,
    check_target_grad,
    register_regularizer,
)
from ssl_pdr.sites import Transform, unwrap


class DivergenceRegularizer(Regularizer):
    """R = D_g(f(x̂) ‖ f(x)) between a clean and a second pass (Eq. 2, 4 and 6 of Cheng et al., NAACL 2021).

    Args:
        divergence: name or object.
        target_grad: whether the clean side carries gradient: `detach`, `both`, or `auto`: detached for asymmetric
            divergences, whose clean side is a target, both sides for symmetric ones.
        site: see `Regularizer`.
        dropout: see `Regularizer`.
        seed: see `Regularizer`.
    """

    def __init__(
        self,
        divergence: str | Divergence = "kl",
        *,
        target_grad: TargetGrad = "auto",
        site: str = "output",
        dropout: Dropout = "independent",
        seed: int = 0,
    ) -> None:
        super().__init__(site=site, dropout=dropout, seed=seed)
        self.divergence = get_divergence(divergence)
        check_target_grad(target_grad)
        self.target_grad = target_grad

    @property
    def detaches_target(self) -> bool:
        """Whether the clean side is a constant."""
        return self.target_grad == "detach" or (self.target_grad == "auto" and not self.divergence.symmetric)

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """What independent dropout masks alone make of R, (B,), no graph; None where masks are shared or off."""
        if self.dropout != "independent":
            return None
        present = RandomState.capture(unwrap(model))
        with torch.no_grad():
            logits = self._logits(model, inputs, self._without_noise(clean))
            present.restore()
            return per_row(self.divergence.from_logits(clean.logits, logits))

    def _without_noise(self, clean: CleanPass) -> Transform | None:
        """What the second pass does at the site, noise apart."""
        return None

    def _compare(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return per_row(self.divergence.from_logits(clean.detach() if self.detaches_target else clean, noisy))


@register_regularizer("rpt")
class RPT(DivergenceRegularizer):
    """Random perturbation training: R = D_g between the posteriors for clean and for randomly perturbed embeddings.

    Each token's noise is a normal vector scaled to L2 norm `radius`; padding gets none. One extra forward pass.

    Args:
        divergence: name or object.
        radius: c ≥ 0; at the site `output` a token has a norm of about 9 in a small BERT, at `word` of about 1.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens at the site.
        site: where noise enters: `output`, `sum` or `word`.
        dropout: masks between the passes: `independent`, `shared` or `off`. With `independent` masks and a small
            radius, R is dropout consistency (R-Drop) whatever the noise: look at `at_zero_noise`.
        target_grad: `auto`, `detach` or `both`; see `DivergenceRegularizer`.
        seed: of the noise.

    Raises:
        ConfigError: for a radius that is negative or not finite, or an unknown name.

    Prefer `VAT` where robustness to an adversary matters more than the cost of the search.

    Source: Cheng et al., NAACL 2021, section 3 (c = 1e-3 there; site `sum`).

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> RPT(divergence="shl", radius=1e-3)(BertForSequenceClassification(tiny), inputs).shape
        torch.Size([1])
    """

    # The published code perturbs the clean pass's own embeddings: `reused` keeps their graph, `reused_detached` cuts it.
    embeddings: Literal["fresh", "reused", "reused_detached"] = "fresh"

    def __init__(
        self,
        divergence: str | Divergence = "kl",
        radius: float = 1.0,
        *,
        radius_unit: str = "absolute",
        site: str = "output",
        dropout: Dropout = "independent",
        target_grad: TargetGrad = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(divergence, target_grad=target_grad, site=site, dropout=dropout, seed=seed)
        check_radius(radius, radius_unit)
        self.radius = radius
        self.radius_unit = radius_unit
        self._resolved: WeakSet[nn.Module] = WeakSet()

    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """R of each row, (B,), given the clean pass."""
        noise = self.noise(model, inputs, clean, row_ids=row_ids)
        self._check_resolution(model, clean, noise)
        state = clean.state if self.dropout == "shared" else None
        with replayed(state, unwrap(model)):
            noisy = self._logits(model, inputs, lambda x: self._base(x, clean) + noise.to(x.dtype))
        return self._compare(clean.logits, noisy)

    def noise(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """ε, (B, T, E): what this regularizer adds to the embeddings; no graph."""
        embeddings, mask = _site_of(clean)
        return noise_radius(self.radius, self.radius_unit, embeddings, mask) * self._direction(
            model, inputs, clean, self._random_direction(clean, row_ids)
        )

    def _direction(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, start: Tensor) -> Tensor:
        return start

    def _random_direction(self, clean: CleanPass, row_ids: Tensor | None) -> Tensor:
        embeddings, mask = _site_of(clean)
        key, rows = self._key(row_ids, clean)
        normal = keyed_normal(key, rows, token_positions(mask), embeddings.shape[-1])
        return unit_directions(normal.to(torch.promote_types(embeddings.dtype, torch.float32)), mask)

    def _base(self, embeddings: Tensor, clean: CleanPass) -> Tensor:
        if self.embeddings == "fresh":
            return embeddings
        reused = _site_of(clean)[0]
        return reused.detach() if self.embeddings == "reused_detached" else reused

    def _without_noise(self, clean: CleanPass) -> Transform | None:
        return None if self.embeddings == "fresh" else lambda x: self._base(x, clean)

    def _check_resolution(self, model: nn.Module, clean: CleanPass, noise: Tensor) -> None:
        inner = unwrap(model)
        if self.radius > 0 and inner not in self._resolved:
            check_resolution(_site_of(clean)[0], noise)
            self._resolved.add(inner)


@register_regularizer("vat")
class VAT(RPT):
    """Virtual adversarial training: R = D_g at the perturbation, within the radius, that moves the posterior most.

    The classical search: start from a random direction, and `steps` times replace it by the gradient of the divergence
    with respect to the noise, normalised per token. One forward pass and one backward pass to the noise each, then the
    noisy pass. Gradients that the model has accumulated are untouched. The search repeats the dropout masks of the
    clean pass whatever `dropout` says: under fresh masks it would climb the difference of masks, not the noise.

    Args:
        divergence: name or object.
        radius: c ≥ 0; at the site `output` a token has a norm of about 9 in a small BERT, at `word` of about 1.
        steps: K ≥ 1, steps of the search.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens at the site.
        site: where noise enters: `output`, `sum` or `word`.
        dropout: masks between the passes: `independent`, `shared` or `off`.
        target_grad: `auto`, `detach` or `both`; see `DivergenceRegularizer`.
        seed: of the search's start.

    Raises:
        ConfigError: for a radius that is negative or not finite, steps below 1, or an unknown name.

    Source: Miyato et al., TPAMI 2018; Cheng et al., NAACL 2021, Eq. 4 and 6.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> VAT(divergence="shl", radius=1e-3)(BertForSequenceClassification(tiny), inputs).shape
        torch.Size([1])
    """

    def __init__(
        self,
        divergence: str | Divergence = "kl",
        radius: float = 1.0,
        *,
        steps: int = 1,
        radius_unit: str = "absolute",
        site: str = "output",
        dropout: Dropout = "independent",
        target_grad: TargetGrad = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(
            divergence,
            radius,
            radius_unit=radius_unit,
            site=site,
            dropout=dropout,
            target_grad=target_grad,
            seed=seed,
        )
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, got {steps}; for no search use RPT")
        self.steps = steps

    def _direction(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, start: Tensor) -> Tensor:
        embeddings, mask = _site_of(clean)
        # The direction does not depend on a small step's size, but float32 does: below a hundredth of the token
        # norm, rounding in the forward pass drowns the difference that the gradient is taken of.
        size = torch.maximum(
            noise_radius(self.radius, self.radius_unit, embeddings, mask),
            noise_radius(0.01, "token_norm", embeddings, mask),
        )
        target, direction = clean.logits.detach(), start
        for _ in range(self.steps):
            with torch.enable_grad(), replayed(clean.state, unwrap(model)):
                step = (size * direction).detach().requires_grad_()
                # The bare model: a search pass has no gradient for distributed wrappers to reduce.
                logits = self._logits(unwrap(model), inputs, lambda x, step=step: x.detach() + step.to(x.dtype))  # type: ignore[misc]
                value = self.divergence.from_logits(target, logits).sum()
                (gradient,) = torch.autograd.grad(value, step)
            direction = unit_directions(gradient, mask, fallback=start)
        return direction


@register_regularizer("rdrop")
class RDrop(DivergenceRegularizer):
    """R-Drop: R = D_g between two passes that differ in nothing but their dropout masks; no noise, any architecture.

    Not in the paper; the control without which no result about RPT or VAT with independent masks can be read.

    Args:
        divergence: name or object; the original takes the symmetric KL (`jeffreys`, up to a factor of 2).
        target_grad: `auto`, `detach` or `both`; see `DivergenceRegularizer`.
        dropout: has to be `independent`.
        site: taken and ignored, so that regularizers can be exchanged; there is no noise here.
        radius_unit: taken and ignored likewise.
        seed: taken and ignored likewise: dropout draws from torch's own generator.

    Raises:
        ConfigError: for any other `dropout`, with which R would be zero.

    Source: Liang et al., NeurIPS 2021.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> RDrop("jeffreys")(BertForSequenceClassification(tiny), inputs).shape
        torch.Size([1])
    """

    uses_site = False

    def __init__(
        self,
        divergence: str | Divergence = "kl",
        *,
        target_grad: TargetGrad = "auto",
        dropout: Dropout = "independent",
        site: str = "output",
        radius_unit: str = "absolute",
        seed: int = 0,
    ) -> None:
        check_radius(0.0, radius_unit)
        super().__init__(divergence, target_grad=target_grad, site=site, dropout=dropout, seed=seed)
        if dropout != "independent":
            raise ConfigError(f"rdrop compares two dropout masks: dropout must be 'independent', got {dropout!r}")

    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """R of each row, (B,), given the clean pass."""
        return self._compare(clean.logits, self._logits(model, inputs, None))

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """None: all of R is at zero noise."""
        return None


def _site_of(clean: CleanPass) -> tuple[Tensor, Tensor]:
    if clean.embeddings is None or clean.mask is None:
        raise ModelError("this clean pass has kept no embeddings: it comes from a regularizer without a site")
    return clean.embeddings, clean.mask
