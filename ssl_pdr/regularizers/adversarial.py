"""R as the cross-entropy of the true label at an adversarial perturbation: adversarial training on labelled rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_pdr.choices import Dropout
from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import UNLABELLED, per_row
from ssl_pdr.perturbation import NoiseKey, noise_radius, replayed, unit_directions
from ssl_pdr.regularizers.base import CleanPass, frozen, register_regularizer, with_gradient
from ssl_pdr.regularizers.noise import RPT
from ssl_pdr.sites import undistributed, unwrap


@register_regularizer("at")
class AdversarialTraining(RPT):
    """Adversarial training: R = CE(f(x + ε), y) at the ε, within the radius, that hurts the true label most.

    The adversarial counterpart that the paper sets itself off from (Eq. 1: min max CE(f(x + ε), y)): it knows the label,
    so it says nothing of rows without one. The objective, mean CE(f(x), y) + α · mean CE(f(x + ε), y), is Goodfellow's
    mixture of clean and adversarial loss: up to the factor 1 + α it weighs them 1/(1 + α) and α/(1 + α), evenly at α = 1,
    and it becomes Eq. 1 as α grows.

    The direction is the gradient of the cross-entropy with respect to the embeddings, normalised per token. It is taken
    from the graph of the clean pass, so that one step costs no forward pass of its own; each further step turns it, by 1/k in
    step k, to the gradient at the perturbation found so far, under the dropout masks of the clean pass. Gradients that the model has accumulated are
    untouched. ε itself carries no gradient.

    Args:
        radius: c ≥ 0, in the unit of `radius_unit`. A token has a norm of about 9 at the site `output` of a small BERT, of 1 at `word`.
        steps: K ≥ 1, steps of the search.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens at the site.
        site: where noise enters: `output`, `sum` or `word`.
        dropout: masks between the passes: `independent`, `shared` or `off`.
        seed: of the direction of tokens that have no gradient.

    Raises:
        ConfigError: for a radius that is negative or not finite, steps below 1, an unknown name, or inputs without labels.

    Prefer `VAT` where there are unlabelled rows: it asks the same of the model's own posterior.

    Source: Goodfellow et al., ICLR 2015; Miyato et al., ICLR 2017 (text); Cheng et al., NAACL 2021, Eq. 1.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> inputs = {"input_ids": torch.tensor([[1, 2], [3, 4]]), "labels": torch.tensor([1, -100])}
        >>> r = AdversarialTraining(radius=0.1)(BertForSequenceClassification(tiny), inputs).tolist()
        >>> r[0] > 0, r[1]
        (True, 0.0)
    """

    labelled_only: ClassVar[bool] = True

    def __init__(
        self,
        radius: float = 1.0,
        *,
        steps: int = 1,
        radius_unit: str = "token_norm",
        site: str = "output",
        dropout: Dropout = "independent",
        seed: int = 0,
    ) -> None:
        # Cross-entropy is KL(y‖f) with the label in the place of the clean posterior: no other divergence enters.
        super().__init__("kl", radius, radius_unit=radius_unit, site=site, dropout=dropout, seed=seed)
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, got {steps}; for no search use RPT")
        self.steps = steps

    def penalty(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, *, row_ids: Tensor | None = None
    ) -> Tensor:
        """Cross-entropy of each row's label at x + ε, (B,), at least 0; 0 for rows with the label −100."""
        labels = _labels(inputs, clean)
        noise = self.noise(model, inputs, clean, row_ids=row_ids)
        self._check_resolution(model, inputs, clean, noise)
        with self._masks(model, clean):
            noisy = self._logits(model, inputs, lambda x: self._base(x, clean) + noise.to(x.dtype))
        return _cross_entropy(noisy, labels)

    @property
    def clean_is_constant(self) -> bool:
        """False: its graph is where the direction comes from, and all rows have a label."""
        return False

    def at_zero_noise(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Tensor | None:
        """None: without noise R is the cross-entropy, which stands beside it in the log as `ce`."""
        return None

    def _keep(self, embeddings: Tensor) -> Tensor:
        return with_gradient(embeddings)

    def _direction(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, key: NoiseKey, rows: Tensor
    ) -> Tensor:
        embeddings, mask = clean.at_site
        start = self._random_direction(clean, key, rows)
        labels = _labels(inputs, clean)
        size = noise_radius(self.radius, self.radius_unit, embeddings, mask)
        direction = torch.zeros_like(start)
        for step in range(self.steps):
            if step == 0 and clean.logits.requires_grad:
                with torch.enable_grad():
                    hardness = _hardness(clean.logits, labels).sum()
                # The loss's own backward pass still has to go through this graph.
                (gradient,) = torch.autograd.grad(hardness, embeddings, retain_graph=True)
            else:
                gradient = self._gradient_at(size * direction, model, inputs, clean, labels)
            ascent = unit_directions(gradient.to(start.dtype), mask, fallback=start)
            # Going over to each gradient whole, as VAT does, jumps to and fro here: at radius 1, eight such steps
            # end below the first one, ever shorter ones well above it.
            direction = unit_directions(direction + ascent / (step + 1), mask, fallback=start)
        return direction

    def _gradient_at(
        self, noise: Tensor, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, labels: Tensor
    ) -> Tensor:
        """The gradient of the cross-entropy, up to a positive factor per row, at a perturbation (B, T, E)."""
        inner = undistributed(model)  # a search pass has no gradient for other processes
        with torch.enable_grad(), frozen(model), replayed(clean.state, unwrap(model)):
            noise = noise.detach().requires_grad_()
            logits = self._logits(inner, inputs, lambda x: x.detach() + noise.to(x.dtype))
            (gradient,) = torch.autograd.grad(_hardness(logits, labels).sum(), noise)
        return gradient


def _labels(inputs: Mapping[str, Any], clean: CleanPass) -> Tensor:
    labels = inputs.get("labels")
    if not isinstance(labels, Tensor):
        raise ConfigError("adversarial training is against the true label; got inputs without 'labels'")
    return labels.to(clean.logits.device)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each row, (B,): for logits (B, C) and labels (B,), or (B, H, T) and (B, H), then the mean over the H heads."""
    classes_second = _finite(logits).movedim(-1, 1)
    return per_row(F.cross_entropy(classes_second, labels, ignore_index=UNLABELLED, reduction="none"))


def _hardness(logits: Tensor, labels: Tensor) -> Tensor:
    """A value of each row, (B,), whose gradient is that of the cross-entropy times a positive number; 0 without a label.

    With o the log-odds against the label, CE = log(1 + e^o) and ∇CE = (1 − p_y)·∇o. The factor vanishes on saturated
    rows, and normalising takes it away again: so o itself is differentiated, weighed over the heads as ∇CE has it.
    """
    finite = _finite(logits)
    labelled = labels != UNLABELLED
    chosen = labels.masked_fill(~labelled, 0).unsqueeze(-1)
    others = finite.scatter(-1, chosen, torch.finfo(finite.dtype).min)
    odds = others.logsumexp(dim=-1) - finite.gather(-1, chosen).squeeze(-1)
    if odds.dim() == 1:
        return odds * labelled
    log_weights = F.logsigmoid(odds.detach()).masked_fill(~labelled, -torch.inf)
    heaviest = log_weights.amax(dim=-1, keepdim=True).clamp_min(torch.finfo(odds.dtype).min)
    return ((log_weights - heaviest).exp() * odds).sum(dim=-1)


def _finite(logits: Tensor) -> Tensor:
    """In float32 or better, with a very low number for what is outside of the support."""
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    return logits.masked_fill(logits == -torch.inf, torch.finfo(logits.dtype).min / 16)
