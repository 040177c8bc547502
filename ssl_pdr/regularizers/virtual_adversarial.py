"""Virtual adversarial training: R at the perturbation that moves the posterior most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.choices import SEARCHES, Dropout, TargetGrad
from ssl_pdr.divergences import Divergence
from ssl_pdr.errors import ConfigError
from ssl_pdr.perturbation import NoiseKey, directions, divided, keyed_sign, noise_radius, replayed
from ssl_pdr.regularizers.base import CleanPass, frozen, register_regularizer, with_gradient
from ssl_pdr.regularizers.noise import RPT
from ssl_pdr.regularizers.search import worst_direction
from ssl_pdr.sites import undistributed, unwrap

# Of the token norm, along which a difference of logits stands for a derivative; in half precision a larger one, which rounding
# does not drown. Noise of a whole sequence gathers on few tokens, where logits soon bend.
_STEP, _COARSE_STEP = 1e-3, 3e-2


@register_regularizer("vat")
class VAT(RPT):
    """Virtual adversarial training: R = D_g at the perturbation, within the radius, that moves the posterior most.

    The search is `exact` by default: to second order the direction is known from vector-Jacobian products on the graph of
    the clean pass (see `worst_direction`), one for two classes, and no further forward pass. The sign, which the second order
    does not know, is a coin that is seeded for each row. Where the clean side is detached and the labelled rows' own loss is
    differentiated first (see `Objective`), two classes cost not even that product.

    The classical search, `power`: start from a random direction, and `steps` times replace it by the gradient of the
    divergence with respect to the noise, normalised. One forward pass and one backward pass to the noise each. It repeats the
    dropout masks of the clean pass whatever `dropout` says: under fresh masks it would climb the difference of masks, not
    the noise.

    Gradients that the model has accumulated are untouched. ε itself carries no gradient.

    Args:
        divergence: name or object.
        radius: c ≥ 0, in the unit of `radius_unit`. A token has a norm of about 9 at the site `output` of a small BERT, of 1 at `word`.
        search: `exact` or `power`.
        products: of an exact search, for each posterior; None takes m − 1 for m ≤ 12 outcomes, for more one; `rounds` come on top.
        rounds: of an exact search, where there are more outcomes than products tell apart, such as the positions of an answer: a
            forward pass and a product each. The direction is then not quite the best, but on average better than the classical one.
        steps: K ≥ 1, steps of the search `power`.
        radius_unit: `absolute`, or `token_norm`: relative to the mean norm of the row's tokens at the site.
        norm: `token`: every token's noise has norm c; `sequence`: a row of n tokens has noise of norm c√n altogether.
        order: 1 for the divergence itself, 2 for its second-order form; see `RPT`.
        site: where noise enters: `output`, `sum` or `word`.
        dropout: masks between the passes: `independent`, `shared` or `off`.
        target_grad: `auto`, `detach` or `both`; see `DivergenceRegularizer`.
        seed: of the sign, or of the start.

    Raises:
        ConfigError: for a radius that is negative or not finite, steps or products below 1 or of the other search, an unknown
            name, or `order=2` of a divergence that is not smooth at 1 or at a radius below 1e-18.

    Source: Miyato et al., TPAMI 2018; Cheng et al., NAACL 2021, Eq. 4, 6 and 7.

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
        search: str = "exact",
        products: int | None = None,
        rounds: int = 1,
        steps: int = 1,
        radius_unit: str = "token_norm",
        norm: str = "token",
        order: int = 1,
        site: str = "output",
        dropout: Dropout = "independent",
        target_grad: TargetGrad = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(
            divergence,
            radius,
            radius_unit=radius_unit,
            norm=norm,
            order=order,
            site=site,
            dropout=dropout,
            target_grad=target_grad,
            seed=seed,
        )
        if search not in SEARCHES:
            raise ConfigError(f"unknown search {search!r}; expected one of: {', '.join(SEARCHES)}")
        if steps < 1:
            raise ConfigError(f"steps must be at least 1, got {steps}; for no search use RPT")
        if products is not None and products < 1:
            raise ConfigError(f"products must be at least 1, got {products}; for no search use RPT")
        if rounds < 0:
            raise ConfigError(f"rounds must be at least 0, got {rounds}")
        if search == "exact" and steps > 1:
            raise ConfigError(f"the exact search has no steps, got {steps}; they belong to search='power'")
        if search == "power" and products is not None:
            raise ConfigError(f"the search 'power' has no products, got {products}; they belong to search='exact'")
        if search == "power" and rounds > 1:
            raise ConfigError(f"the search 'power' has no rounds, got {rounds}; they belong to search='exact'")
        self.search = search
        self.products = products
        self.rounds = rounds
        self.steps = steps

    def clean_pass(self, model: nn.Module, inputs: Mapping[str, Any], *, hold_still: bool = False) -> CleanPass:
        """As `Regularizer.clean_pass`; for an exact search with a graph at least from the embeddings on."""
        if self.search == "power":
            return super().clean_pass(model, inputs, hold_still=hold_still)
        hold_still = hold_still or not torch.is_grad_enabled()
        with torch.enable_grad():
            return super().clean_pass(model, inputs, hold_still=hold_still)

    def wants_gradient(self, clean: CleanPass) -> bool:
        """Whether the gradient of the labelled rows' loss is the direction: of two classes, if the clean side is detached."""
        if self.search == "power" or self.base_embeddings != "fresh" or not self.clean_is_constant:
            return False
        return clean.logits.dim() == 2 and clean.logits.shape[1] == 2

    def _direction(
        self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, key: NoiseKey, rows: Tensor
    ) -> Tensor:
        if self.search == "power":
            return self._climbed(model, inputs, clean, self._random_direction(clean, key, rows))
        embeddings, mask = clean.at_site
        if clean.gradient is not None:
            found = directions(clean.gradient, mask, self.norm)
        else:
            # Gradient checkpointing runs the forward pass again, and has to find everything as it was.
            with torch.enable_grad(), frozen(model) if clean.held_still else nullcontext():
                found = worst_direction(
                    clean.logits,
                    embeddings,
                    mask,
                    norm=self.norm,
                    products=self.products,
                    rounds=self.rounds,
                    move=self._mover(model, inputs, clean),
                    retain_graph=not clean.held_still,
                )
        return self._with_random_rest(found, clean, key, rows) * keyed_sign(key, rows).to(found.dtype)

    def _mover(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass) -> Callable[[Tensor], Tensor]:
        """From a direction to the logits at a small step along it, under the dropout masks of the clean pass."""
        size = noise_radius(_COARSE_STEP if clean.dtype.itemsize < 4 else _STEP, "token_norm", *clean.at_site)

        def move(direction: Tensor) -> Tensor:
            with torch.no_grad(), replayed(clean.state, unwrap(model)):
                return self._logits(undistributed(model), inputs, lambda x: x + (size * direction).to(x.dtype))

        return move

    def _with_random_rest(self, found: Tensor, clean: CleanPass, key: NoiseKey, rows: Tensor) -> Tensor:
        """Random directions where there are none: of tokens, or of a whole row, that nothing depends on."""
        mask = clean.at_site[1]
        still = (found == 0).all(dim=-1) & mask
        if self.norm == "sequence":
            still = still & (still | ~mask).all(dim=1, keepdim=True)
        if not bool(still.any()):
            return found
        return torch.where(still.unsqueeze(-1), self._random_direction(clean, key, rows).to(found.dtype), found)

    def _climbed(self, model: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, start: Tensor) -> Tensor:
        """The direction that the classical search ends in, (B, T, E)."""
        embeddings, mask = clean.at_site
        # The direction does not depend on a small step's size, but float32 does: below a hundredth of the token
        # norm, rounding in the forward pass drowns the difference that the gradient is taken of.
        size = torch.maximum(
            noise_radius(self.radius, self.radius_unit, embeddings, mask),
            noise_radius(0.01, "token_norm", embeddings, mask),
        )
        inner = undistributed(model)  # a search pass has no gradient for other processes
        target, direction = clean.logits.detach(), start
        for _ in range(self.steps):
            with torch.enable_grad(), frozen(model), replayed(clean.state, unwrap(model)):
                step = (size * direction).detach().requires_grad_()
                logits = self._logits(inner, inputs, lambda x, step=step: x.detach() + step.to(x.dtype))  # type: ignore[misc]
                value = self.divergence.from_logits(target, logits).sum()
                (slope,) = torch.autograd.grad(value, logits)
                # As small as the step squared, which float16 cannot hold; only its direction counts.
                largest = slope.abs().amax(dim=tuple(range(1, slope.dim())), keepdim=True)
                (gradient,) = torch.autograd.grad(logits, step, divided(slope, largest))
            direction = directions(gradient, mask, self.norm, fallback=start)
        return direction

    def _keep(self, embeddings: Tensor) -> Tensor:
        return embeddings if self.search == "power" else with_gradient(embeddings)

    def _held_still(self, model: nn.Module) -> AbstractContextManager[None]:
        return super()._held_still(model) if self.search == "power" else frozen(model)
