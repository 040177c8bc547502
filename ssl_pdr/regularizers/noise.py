"""R as an f-divergence between two passes: what all have in common, random perturbation, and R-Drop."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ssl_pdr.choices import NORMS, Dropout, TargetGrad
from ssl_pdr.divergences import Divergence, get_divergence
from ssl_pdr.errors import ConfigError
from ssl_pdr.execution import forward_mode
from ssl_pdr.outputs import per_row
from ssl_pdr.perturbation import (
    NoiseKey,
    RandomState,
    check_radius,
    directions,
    keyed_normal,
    noise_radius,
    replayed,
    token_positions,
)
from ssl_pdr.regularizers.base import (
    CleanPass,
    Regularizer,
    check_target_grad,
    register_regularizer,
)
from ssl_pdr.resolution import check_resolution
from ssl_pdr.sites import Transform, undistributed, unwrap, within

# In half precision, after how many passes to look again whether the noise is resolved; odd, since a batch may take two.
_CHECK_EVERY = 17
_LEAST_RADIUS = 1e-18  # whose square float32 can hold, with a factor of a small token's norm


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
    def clean_is_constant(self) -> bool:
        """Whether no gradient of R goes through the clean pass."""
        return self.detaches_target

    @property
    def detaches_target(self) -> bool:
        """Whether the clean side is a constant."""
        return self.target_grad == "detach" or (self.target_grad == "auto" and not self.divergence.symmetric)

    def clean_pass(self, model: nn.Module, inputs: Mapping[str, Any], *, hold_still: bool = False) -> CleanPass:
        """As `Regularizer.clean_pass`; outside of a distributed wrapper, which the noisy pass alone goes through."""
        return super().clean_pass(undistributed(model), inputs, hold_still=hold_still)

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """What independent dropout masks and the distance to a target of its own alone make of R, (B,), no graph; None where there is neither."""
        if self.dropout != "independent" and clean.target is None:
            return None
        present = RandomState.capture(unwrap(model))
        with torch.no_grad():
            with self._masks(model, clean):
                logits = self._logits(undistributed(model), inputs, self._without_noise(clean))
            present.restore()
            return per_row(self.divergence.from_logits(clean.compared, logits))

    def _without_noise(self, clean: CleanPass) -> Transform | None:
        """What the second pass does at the site, noise apart."""
        return None

    def _masks(self, model: nn.Module, clean: CleanPass) -> AbstractContextManager[None]:
        return replayed(clean.state if self.dropout == "shared" else None, unwrap(model))

    def _compare(self, clean: Tensor, noisy: Tensor) -> Tensor:
        return per_row(self.divergence.from_logits(clean.detach() if self.detaches_target else clean, noisy))


@register_regularizer("rpt")
class RPT(DivergenceRegularizer):
    """Random perturbation training: R = D_g between the posteriors for clean and for randomly perturbed embeddings.

    Each token's noise is a normal vector scaled to L2 norm `radius`; padding gets none. One extra forward pass.

    With `order=2`, R is the second-order form of Eq. 7 at that noise, g''(1)/2 · (Jε)ᵀ diag(1/f) (Jε), J the Jacobian of the posterior,
    by forward-mode differentiation: the limit of D_g for small noise, with no difference of posteriors in it, so that no
    radius and no dtype drowns it in rounding. It is zero without noise whatever the dropout masks, and has one side:
    `target_grad` means nothing to it.

    Args:
        divergence: name or object.
        radius: c ≥ 0, in the unit of `radius_unit`. A token has a norm of about 9 at the site `output` of a small BERT, of 1 at `word`.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens at the site.
        norm: `token`: every token's noise has norm c; `sequence`: a row of n tokens has noise of norm c√n altogether.
        order: 1 for the divergence itself, 2 for its second-order form.
        site: where noise enters: `output`, `sum` or `word`.
        dropout: masks between the passes: `independent`, `shared` or `off`. With `independent` masks and a small
            radius, R of order 1 is dropout consistency (R-Drop) whatever the noise: look at `at_zero_noise`.
        target_grad: `auto`, `detach` or `both`; see `DivergenceRegularizer`.
        seed: of the noise.

    Raises:
        ConfigError: for a radius that is negative or not finite, an unknown name, or `order=2` of a divergence that is not
            smooth at 1 or at a radius below 1e-18.

    Prefer `VAT` where robustness to an adversary matters more than the cost of the search.

    Source: Cheng et al., NAACL 2021, section 3 (c = 1e-3 there; site `sum`) and Eq. 7.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> RPT(divergence="shl", radius=1e-3)(BertForSequenceClassification(tiny), inputs).shape
        torch.Size([1])
    """

    # The published code perturbs the clean pass's own embeddings: `reused` keeps their graph, `reused_detached` cuts it.
    base_embeddings: Literal["fresh", "reused", "reused_detached"] = "fresh"

    def __init__(
        self,
        divergence: str | Divergence = "kl",
        radius: float = 1.0,
        *,
        radius_unit: str = "token_norm",
        norm: str = "token",
        order: int = 1,
        site: str = "output",
        dropout: Dropout = "independent",
        target_grad: TargetGrad = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(divergence, target_grad=target_grad, site=site, dropout=dropout, seed=seed)
        check_radius(radius, radius_unit)
        if norm not in NORMS:
            raise ConfigError(f"unknown norm {norm!r}; expected one of: {', '.join(NORMS)}")
        if order not in (1, 2):
            raise ConfigError(f"order must be 1 (the divergence) or 2 (its second-order form), got {order}")
        if order == 2 and self.divergence.curvature is None:
            raise ConfigError(f"order=2 needs a divergence that is smooth at 1, which {self.divergence.name!r} is not")
        if order == 2 and 0 < radius < _LEAST_RADIUS:
            raise ConfigError(
                f"of order 2, R is as small as the radius squared: expected a radius of at least 1e-18, got {radius}"
            )
        self.radius = radius
        self.radius_unit = radius_unit
        self.norm = norm
        self.order = order
        self._checked: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()

    @property
    def clean_is_constant(self) -> bool:
        """Whether no gradient of R goes through the clean pass; of order 2 that gives no more than a direction and a norm."""
        return (self.detaches_target or self.order == 2) and self.base_embeddings != "reused"

    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """R of each row, (B,), given the clean pass."""
        if self.order == 2:
            return self._second_order(model, inputs, clean, row_ids)
        noise = self.noise(model, inputs, clean, row_ids=row_ids)
        self._check_resolution(model, inputs, clean, noise)
        with self._masks(model, clean):
            noisy = self._logits(model, inputs, lambda x: self._base(x, clean) + noise.to(x.dtype))
        return self._compare(clean.compared, noisy)

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """As of every divergence; None at order 2, whose value without noise is 0."""
        return None if self.order == 2 else super().at_zero_noise(model, inputs, clean)

    def at_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, noise: Tensor) -> Tensor:
        """What the divergence would be at this noise, (B, T, E), with the dropout masks of the clean pass, (B,), no graph.

        Costs one forward pass and leaves the random states as they were.
        """
        with torch.no_grad(), replayed(clean.state, unwrap(model)):
            logits = self._logits(undistributed(model), inputs, lambda x: x + noise.to(x.dtype))
            return per_row(self.divergence.from_logits(clean.logits, logits))

    def noise(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """ε, (B, T, E): what this regularizer adds to the embeddings; no graph."""
        direction, size = self._unit_noise(model, inputs, clean, row_ids)
        return size * direction

    def _unit_noise(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, row_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Of size 1, (B, T, E), and what to scale it to, (B, 1, 1)."""
        embeddings, mask = clean.at_site
        key, rows = self._key(row_ids, clean)
        size = noise_radius(self.radius, self.radius_unit, embeddings, mask)
        return self._direction(model, inputs, clean, key, rows).detach(), size

    def _direction(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, key: NoiseKey, rows: Tensor
    ) -> Tensor:
        return self._random_direction(clean, key, rows)

    def _random_direction(self, clean: CleanPass, key: NoiseKey, rows: Tensor) -> Tensor:
        embeddings, mask = clean.at_site
        normal = keyed_normal(key, rows, token_positions(mask), embeddings.shape[-1])
        return directions(normal.to(torch.promote_types(embeddings.dtype, torch.float32)), mask, self.norm)

    def _second_order(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, row_ids: Tensor | None
    ) -> Tensor:
        """g''(1)/2 · c² · (Ju)ᵀ diag(1/f) (Ju), (B,), J the posterior's Jacobian and u the noise at size 1."""
        direction, size = self._unit_noise(model, inputs, clean, row_ids)

        def forward(step: Tensor) -> Tensor:
            return self._logits(inner, inputs, lambda x: self._base(x, clean) + step.to(x.dtype))

        inner = undistributed(model)
        with forward_mode(model, "order=2 differentiates forwards and then backwards"), self._masks(model, clean):
            logits, slopes, *_ = within(
                model, inputs, lambda: torch.func.jvp(forward, (torch.zeros_like(direction),), (direction,))
            )
        assert self.divergence.curvature is not None  # noqa: S101
        return self.divergence.curvature / 2 * size[:, 0, 0].square() * per_row(_variance(logits, slopes))

    def _base(self, embeddings: Tensor, clean: CleanPass) -> Tensor:
        if self.base_embeddings == "fresh":
            return embeddings
        reused = clean.at_site[0]
        return reused.detach() if self.base_embeddings == "reused_detached" else reused

    def _without_noise(self, clean: CleanPass) -> Transform | None:
        return None if self.base_embeddings == "fresh" else lambda x: self._base(x, clean)

    def _check_resolution(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, noise: Tensor) -> None:
        """Of the first pass; in half precision now and then again, as training moves the embeddings."""
        inner, narrow = unwrap(model), clean.dtype.itemsize < 4
        passes = self._checked.get(inner, 0)
        self._checked[inner] = passes + 1
        if self.radius == 0 or passes % _CHECK_EVERY or (passes and not narrow):
            return
        check_resolution(
            clean.at_site[0],
            noise,
            dtype=clean.dtype,
            radius=self.radius,
            unit=self.radius_unit,
            effect=partial(self.at_noise, model, inputs, clean) if narrow and not passes else None,
            instead="float32" if self.labelled_only else "order=2, or float32",
        )


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
        radius_unit: str = "token_norm",
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
        return self._compare(clean.compared, self._logits(model, inputs, None))

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """None: all of R is at zero noise."""
        return None


def _variance(logits: Tensor, slopes: Tensor) -> Tensor:
    """Σ_i f_i (s_i − Σ_j f_j s_j)², (B,) or (B, H): the form sᵀ(diag(f) − ffᵀ)s without a difference of large terms."""
    logits, slopes = (x.float() if x.dtype.itemsize < 4 else x for x in (logits, slopes))
    f = logits.softmax(dim=-1)
    centred = slopes - (f * slopes).sum(dim=-1, keepdim=True)
    return (f * centred.square()).sum(dim=-1)
