"""R as the norm of the Jacobian of the outputs with respect to the embeddings, plain or weighted by confidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssl_pdr.choices import Dropout, TargetGrad
from ssl_pdr.errors import ConfigError
from ssl_pdr.execution import plain_attention
from ssl_pdr.perturbation import check_radius, keyed_normal
from ssl_pdr.regularizers.base import (
    CleanPass,
    Regularizer,
    check_target_grad,
    register_regularizer,
    with_gradient,
)
from ssl_pdr.sites import Transform


@register_regularizer("jr")
class JacobianRegularizer(Regularizer):
    """Jacobian regularization: R = ‖J‖²_F, J the Jacobian of the outputs with respect to the embeddings at the site.

    Exact (one backward pass per class), or estimated without bias from n random projections: for v uniform on the
    sphere, C·‖Jᵀv‖² has mean ‖J‖²_F. Training differentiates twice: attention runs in its plain (math) form here. Of an
    answer's start and end it is the average; there C is the number of positions, and projections are what can be paid for.

    Args:
        projections: None for the exact norm, or n ≥ 1.
        of: Jacobian of the `posterior` (the paper) or of the `logits` (the published code).
        weighted: weight class i by 1 / f_i, which gives the trace of Eq. 7, Σ ‖∇f_i‖² / f_i: the second-order form of
            every smooth f-divergence, without a radius. Of the posterior only.
        unbiased: scale projections by C; False gives the published code's value, ‖J‖²_F / C in expectation.
        site: `output`, `sum` or `word`.
        dropout: `off` differentiates the model without dropout; otherwise the clean pass's masks are used.
        target_grad: taken and ignored, so that regularizers can be exchanged; there is no target here.
        radius_unit: taken and ignored likewise; there is no radius.
        seed: of the projections.

    Raises:
        ConfigError: for projections below 1, or weights on logits.

    Source: Sokolić et al., 2017; Cheng et al., NAACL 2021, Eq. 3 and 7.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2, 3]])}
        >>> JacobianRegularizer(projections=1)(BertForSequenceClassification(tiny), inputs).shape
        torch.Size([1])
    """

    def __init__(
        self,
        projections: int | None = None,
        *,
        of: Literal["posterior", "logits"] = "posterior",
        weighted: bool = False,
        unbiased: bool = True,
        site: str = "output",
        dropout: Dropout = "independent",
        target_grad: TargetGrad = "auto",
        radius_unit: str = "token_norm",
        seed: int = 0,
    ) -> None:
        check_target_grad(target_grad)
        check_radius(0.0, radius_unit)
        super().__init__(site=site, dropout=dropout, seed=seed)
        if projections is not None and projections < 1:
            raise ConfigError(f"projections must be at least 1 (or None for the exact norm), got {projections}")
        if of not in ("posterior", "logits"):
            raise ConfigError(f"unknown Jacobian of {of!r}; expected one of: posterior, logits")
        if weighted and of == "logits":
            raise ConfigError("weighted=True weights by the posterior: it needs of='posterior', got 'logits'")
        self.projections = projections
        self.of = of
        self.weighted = weighted
        self.unbiased = unbiased

    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """R of each row, (B,), given the clean pass; differentiable once more."""
        with torch.enable_grad():
            logits = clean.logits.float() if clean.logits.dtype.itemsize < 4 else clean.logits
            heads = logits.unsqueeze(1) if logits.dim() == 2 else logits
            if self.projections is None:
                return self._exact(heads, clean)
            return self._projected(heads, clean, row_ids)

    def _exact(self, logits: Tensor, clean: CleanPass) -> Tensor:
        log_f = logits.log_softmax(-1)
        # Σ ‖∇f_i‖² / f_i is taken as Σ f_i ‖∇ log f_i‖², which has no division to blow up.
        outputs = (log_f if self.weighted else logits if self.of == "logits" else log_f.exp()).flatten(1)
        weights = (log_f.exp() if self.weighted else torch.ones_like(log_f)).flatten(1)
        rows = torch.eye(outputs.shape[1], dtype=outputs.dtype, device=outputs.device)
        norms = torch.stack([_squared_gradient(outputs, row.expand_as(outputs), clean) for row in rows], dim=-1)
        return (weights * norms).sum(dim=-1) / logits.shape[1]

    def _projected(self, logits: Tensor, clean: CleanPass, row_ids: Tensor | None) -> Tensor:
        """Estimates from one random vector over all heads at once, each of which has noise of its own."""
        count, (_, heads, classes) = self.projections or 1, logits.shape
        key, rows = self._key(row_ids, clean)
        draws = torch.arange(count * heads, device=rows.device).expand(len(rows), count * heads)
        supported = logits != -torch.inf
        normal = keyed_normal(key, rows, draws, classes).to(logits.dtype)
        sphere = normal.view(len(rows), count, heads, classes) * supported.unsqueeze(1)
        sphere = sphere / sphere.flatten(2).norm(dim=-1)[..., None, None]
        root = (logits.log_softmax(-1) / 2).exp()
        outputs = root.square() if self.of == "posterior" and not self.weighted else logits
        total = torch.zeros_like(logits[:, 0, 0])
        for v in sphere.unbind(dim=1):
            if self.weighted:  # M = LLᵀ with L = diag(√f)(I − √f√fᵀ), and the trace of Eq. 7 is ‖LᵀJ_z‖²_F
                v = root * (v - root * (root * v).sum(dim=-1, keepdim=True))
            total = total + _squared_gradient(outputs, v, clean)
        outcomes = supported.sum(dim=(1, 2)) if self.unbiased else 1
        return total / count * outcomes / heads

    def _keep(self, embeddings: Tensor) -> Tensor:
        return with_gradient(embeddings)

    def _logits(self, model: nn.Module, inputs: Mapping[str, Any], transform: Transform | None) -> Tensor:
        with torch.enable_grad(), plain_attention(model, "jr and wjr differentiate twice"):
            return super()._logits(model, inputs, transform)


@register_regularizer("wjr")
class WeightedJacobianRegularizer(JacobianRegularizer):
    """The trace of Eq. 7, Σ ‖∇f_i‖² / f_i: a `JacobianRegularizer` of the posterior with `weighted=True`.

    Args:
        projections: None for the exact trace, or n ≥ 1 for an unbiased estimate.
        site: `output`, `sum` or `word`.
        dropout: see `JacobianRegularizer`.
        seed: of the projections.
    """

    def __init__(
        self,
        projections: int | None = None,
        *,
        site: str = "output",
        dropout: Dropout = "independent",
        seed: int = 0,
    ) -> None:
        super().__init__(projections, weighted=True, site=site, dropout=dropout, seed=seed)


def _squared_gradient(outputs: Tensor, weights: Tensor, clean: CleanPass) -> Tensor:
    """‖Jᵀw‖² of each row, (B,), J the Jacobian of `outputs` (B, …) and w `weights`, of the same shape; padding does not count.

    `weights` may depend on the embeddings: they are held still for this derivative, not for the next one.
    """
    embeddings, mask = clean.at_site
    (gradient,) = torch.autograd.grad(outputs, embeddings, weights, create_graph=True)
    return (gradient * mask.unsqueeze(-1)).square().sum(dim=(1, 2))
