"""The paper's theory measured on a model: Eq. 7, the link from VAT to the Jacobian, and its norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ssl_pdr.divergences import Divergence, get_divergence
from ssl_pdr.errors import ConfigError
from ssl_pdr.outputs import model_inputs, per_row, read_logits
from ssl_pdr.perturbation import (
    NoiseKey,
    divided,
    keyed_normal,
    mean_token_norm,
    noise_radius,
    token_mask,
    token_positions,
    unit_directions,
)
from ssl_pdr.sites import Site, Transform, dropout_off, find_site, hooked, self_test

EQ7_RADII = tuple(10.0**-k for k in range(7))
PINSKER_RADII = (1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
MOST_OUTCOMES = 20  # of a posterior; each costs one backward pass, and the memory of the batch's embeddings
_VERY_LOW = -1e30  # a logit whose probability is 0, with differences that stay finite in float32


class FromSite:
    """The logits of a batch as a function of its embeddings at a site; everything else is held still, dropout off.

    A posterior of more than `MOST_OUTCOMES` outcomes (positions of an answer) is taken as its most probable ones and all
    others as one. That is a posterior too: what is measured on it holds exactly, and bounds the whole one from below.

    Args:
        model: returns `.logits` (B, C), or `.start_logits` and `.end_logits` (B, T).
        inputs: one batch, as the model takes it; `labels` are ignored.
        site: `output`, `sum` or `word`.

    Attributes:
        embeddings: at the site, (B, T, E).
        mask: tokens that are perturbed, (B, T), bool.
        clean: logits at the embeddings, (B, H, C): H posteriors a row, of C outcomes each.
        merged: largest probability, over rows and heads, of the outcomes that are taken as one; 0 where there are none.

    Raises:
        ModelError: for a model that has no such site, or neither kind of logits.

    Example:
        >>> from transformers import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> f = FromSite(BertForSequenceClassification(tiny), {"input_ids": torch.tensor([[1, 2, 3]])})
        >>> f(f.embeddings).shape, f.embeddings.shape
        (torch.Size([1, 1, 2]), torch.Size([1, 3, 8]))
    """

    def __init__(self, model: nn.Module, inputs: Mapping[str, Any], site: str = "output") -> None:
        self.model = model
        self.inputs = inputs
        self.site: Site = find_site(model, site)
        self_test(model, inputs, self.site)
        kept: list[Tensor] = []

        def keep(embeddings: Tensor) -> Tensor:
            kept.append(embeddings)
            return embeddings

        with torch.no_grad():
            logits = self._logits(keep)
        self.embeddings = kept[0]
        self.mask = token_mask(inputs, self.embeddings)
        self._likely: Tensor | None = None
        self.merged = 0.0
        if logits.shape[-1] > MOST_OUTCOMES:
            self._likely = logits.topk(MOST_OUTCOMES - 1, dim=-1).indices
            rest = logits.softmax(-1).scatter(-1, self._likely, 0.0).sum(-1)
            self.merged = float(rest.max())
        with torch.no_grad():
            self.clean = self(self.embeddings)

    def __call__(self, embeddings: Tensor) -> Tensor:
        """The logits at these embeddings, (B, H, C)."""
        logits = self._logits(lambda _: embeddings)
        if self._likely is None:
            return logits
        rest = logits.scatter(-1, self._likely, _VERY_LOW).logsumexp(dim=-1, keepdim=True)
        return torch.cat((logits.gather(-1, self._likely), rest), dim=-1)

    def _logits(self, transform: Transform) -> Tensor:
        with dropout_off(self.model), hooked(self.model, self.site, transform):
            logits = read_logits(self.model(**model_inputs(self.inputs)), self.inputs)
        heads = logits if logits.dim() == 3 else logits.unsqueeze(1)
        return heads.masked_fill(heads == -torch.inf, _VERY_LOW)

    def unit_noise(self, seed: int = 0) -> Tensor:
        """A random direction for each row, (B, T, E): every token's part has unit L2 norm."""
        rows = torch.arange(len(self.embeddings), device=self.embeddings.device)
        normal = keyed_normal(NoiseKey(seed), rows, token_positions(self.mask), self.embeddings.shape[-1])
        return unit_directions(normal.to(self.embeddings.dtype), self.mask)

    def length(self, radius: float) -> Tensor:
        """L2 norm over the whole row, (B,), of noise that has `radius` times the mean token norm on each token."""
        tokens: Tensor = self.mask.sum(dim=1)
        return mean_token_norm(self.embeddings, self.mask) * tokens.to(self.embeddings.dtype).sqrt() * radius


@dataclass(frozen=True)
class Linearisation:
    """What the first derivative of a posterior says, exactly; made by `linearise`.

    Several posteriors of a row (start and end) are averaged: their Jacobians are stacked and scaled by 1/√H.

    Attributes:
        log_f: log f of the clean posterior, (B, H, C).
        scores: ∇ log f_i with respect to the embeddings, (B, H, C, T, E); 0 on padding.
    """

    log_f: Tensor
    scores: Tensor

    def quadratic(self, noise: Tensor) -> Tensor:
        """The form of Eq. 7, εᵀJᵀ diag(1/f) J ε = (J_z ε)ᵀ (diag(f) − ffᵀ) (J_z ε), (B,), at least 0."""
        slopes = torch.einsum("bhcte,bte->bhc", self.scores, noise)
        return per_row((self.log_f.exp() * slopes.square()).sum(-1))

    def spectral_norm(self) -> Tensor:
        """‖J‖_sp of the Jacobian of the posterior, (B,)."""
        squares: Tensor = torch.linalg.eigvalsh(self._weighted(self.log_f.exp()))
        return squares[:, -1].clamp_min(0).sqrt()

    def frobenius_norm(self) -> Tensor:
        """‖J‖_F of the Jacobian of the posterior, (B,)."""
        return self._weighted(self.log_f.exp()).diagonal(dim1=1, dim2=2).sum(-1).sqrt()

    def steepest(self) -> tuple[Tensor, Tensor]:
        """The largest value of `quadratic` over ‖ε‖₂ = 1, (B,), and the ε that has it, (B, T, E).

        An eigenproblem of the size of the posterior: with A = diag(√f)·∇ log f it is the largest eigenvalue of AAᵀ.
        """
        root = (self.log_f / 2).exp()
        values, vectors = torch.linalg.eigh(self._weighted(root))
        combined = vectors[:, :, -1].reshape(root.shape) * root
        direction = torch.einsum("bhc,bhcte->bte", combined, self.scores)
        return values[:, -1].clamp_min(0), _unit_rows(direction)

    def _weighted(self, weights: Tensor) -> Tensor:
        """The Gram matrix of the scores, each times its weight (B, H, C): (B, HC, HC)."""
        w = weights.flatten(1)
        return self._gram * w[:, :, None] * w[:, None, :] / weights.shape[1]

    @cached_property
    def _gram(self) -> Tensor:
        rows = self.scores.flatten(3).flatten(1, 2)
        return rows @ rows.transpose(1, 2)


def linearise(f: FromSite) -> Linearisation:
    """The posterior's first derivative: one forward pass, and one backward pass for each of its outcomes.

    The scores are the Jacobian of the logits, centred, ∇ log f_i = ∇z_i − Σ f_j ∇z_j: no difference of probabilities is
    taken, so that saturated rows keep their digits.
    """
    x = f.embeddings.clone().requires_grad_()
    with torch.enable_grad():
        logits = f(x)
    heads, outcomes = logits.shape[1:]
    mask = f.mask.unsqueeze(-1)
    rows = [
        torch.autograd.grad(logits[:, h, c].sum(), x, retain_graph=True)[0] * mask
        for h in range(heads)
        for c in range(outcomes)
    ]
    jacobian = torch.stack(rows, dim=1).reshape(len(x), heads, outcomes, *x.shape[1:])
    log_f = logits.detach().log_softmax(-1)
    centre = torch.einsum("bhc,bhcte->bhte", log_f.exp(), jacobian).unsqueeze(2)
    return Linearisation(log_f, jacobian - centre)


@dataclass(frozen=True)
class Eq7Point:
    """A divergence beside its second-order form at one radius: medians over the rows.

    Attributes:
        divergence: its name.
        dtype: that the model ran in.
        radius: c, relative to the mean token norm of each row.
        value: D_g(f(x + cu) ‖ f(x)).
        quadratic: g″(1)/2 · c² · uᵀJᵀ diag(1/f) J u, in the dtype of the linearisation.
        ratio: value / quadratic; 1 where Eq. 7 holds.
        error: |ratio − 1|.
    """

    divergence: str
    dtype: str
    radius: float
    value: float
    quadratic: float
    ratio: float
    error: float


def second_order(
    functions: Sequence[FromSite],
    linearisation: Linearisation,
    divergences: Sequence[str | Divergence] = ("kl", "shl", "jsd"),
    radii: Sequence[float] = EQ7_RADII,
    seed: int = 0,
) -> list[Eq7Point]:
    """Eq. 7 against the true divergence, in one random direction for each row, as the radius shrinks.

    Args:
        functions: one model and batch in several dtypes.
        linearisation: of the most exact of them.
        divergences: smooth ones.
        radii: relative to the mean token norm.
        seed: of the directions.

    Raises:
        ConfigError: for a divergence that is not smooth at 1.
    """
    wanted, points = [get_divergence(name) for name in divergences], []
    for divergence in wanted:
        if divergence.curvature is None:
            raise ConfigError(f"Eq. 7 is about divergences that are smooth at 1, which {divergence.name!r} is not")
    exact = functions[0]
    unit = exact.unit_noise(seed)
    for f in functions:
        for radius in radii:
            noise = noise_radius(radius, "token_norm", exact.embeddings, exact.mask) * unit
            form = linearisation.quadratic(noise.to(linearisation.scores.dtype))
            with torch.no_grad():
                noisy = f(f.embeddings + noise.to(f.embeddings.dtype))
            for divergence in wanted:
                value = per_row(divergence.from_logits(f.clean, noisy))
                points.append(_point(divergence, f, radius, value, form))
    return points


def _point(divergence: Divergence, f: FromSite, radius: float, value: Tensor, form: Tensor) -> Eq7Point:
    assert divergence.curvature is not None  # noqa: S101
    quadratic = divergence.curvature / 2 * form
    ratio = _ratio(value, quadratic)
    return Eq7Point(
        divergence=divergence.name,
        dtype=str(f.embeddings.dtype).removeprefix("torch."),
        radius=radius,
        value=_median(value),
        quadratic=_median(quadratic),
        ratio=_median(ratio),
        error=_median((ratio - 1).abs()),
    )


@dataclass(frozen=True)
class PinskerPoint:
    """Both sides of c²‖J‖²_sp ≤ 2 sup KL over ‖ε‖₂ ≤ c: medians over the rows, and how many rows keep the inequality.

    As c → 0 the right side is at least twice the left one, since differences of posteriors sum to zero: ‖v‖₁² ≥ 2‖v‖₂².

    Attributes:
        radius: c of a whole row, relative to its mean token norm times √tokens: as long as noise of that radius per token.
        jacobian: c²‖J‖²_sp, J the Jacobian of the posterior.
        second_order: 2 sup KL, to second order, exact.
        searched: 2 sup KL, as far as a long search has found it.
        ratio: searched / jacobian.
        least_ratio: the smallest of any row.
        kept: share of the rows for which searched ≥ jacobian.
    """

    radius: float
    jacobian: float
    second_order: float
    searched: float
    ratio: float
    least_ratio: float
    kept: float


def pinsker(
    f: FromSite,
    linearisation: Linearisation,
    radii: Sequence[float] = PINSKER_RADII,
    *,
    searcher: FromSite | None = None,
    steps: int = 20,
) -> list[PinskerPoint]:
    """The inequality between the Jacobian and VAT's supremum, for each radius.

    Args:
        f: the posterior, float64 where small radii matter.
        linearisation: of `f`.
        radii: relative to the row's mean token norm times √tokens.
        searcher: the same posterior in float32, in which the search takes half of the time; its find is measured in `f`.
        steps: of the search.
    """
    largest, direction = linearisation.steepest()
    norm = linearisation.spectral_norm()
    points = []
    for radius in radii:
        length = f.length(radius)
        noise = worst_noise(searcher or f, length, direction, steps)
        with torch.no_grad():
            jacobian, searched = (length * norm).square(), 2 * _kl(f, noise)
        ratio = _ratio(searched, jacobian)
        points.append(
            PinskerPoint(
                radius=radius,
                jacobian=_median(jacobian),
                second_order=_median(length.square() * largest),
                searched=_median(searched),
                ratio=_median(ratio),
                least_ratio=float(ratio.min()) if len(ratio) else float("nan"),
                kept=float((ratio >= 1).double().mean()) if len(ratio) else float("nan"),
            )
        )
    return points


def worst_noise(f: FromSite, length: Tensor, direction: Tensor, steps: int) -> Tensor:
    """The ε, (B, T, E), of the largest KL(f(x) ‖ f(x + ε)) found within ‖ε‖₂ ≤ length: projected gradient ascent.

    Args:
        f: the posterior.
        length: (B,).
        direction: where to start, of unit norm, (B, T, E); of it and its opposite the better is taken.
        steps: each is one forward and one backward pass; they shorten as 1/k.
    """
    dtype = f.embeddings.dtype
    size, start = length.to(dtype)[:, None, None], direction.to(dtype)
    ahead, back = size * start, -size * start
    with torch.no_grad():
        forward, backward = _kl(f, ahead), _kl(f, back)
    noise, best = torch.where((forward >= backward)[:, None, None], ahead, back), torch.maximum(forward, backward)
    found = noise
    for step in range(1, steps + 1):
        trial = noise.clone().requires_grad_()
        with torch.enable_grad():
            value = _kl(f, trial)
            (gradient,) = torch.autograd.grad(value.sum(), trial)
        better = value.detach() > best
        found, best = torch.where(better[:, None, None], noise, found), torch.where(better, value.detach(), best)
        moved = noise + size / step * _unit_rows(gradient * f.mask.unsqueeze(-1))
        over = moved.flatten(1).norm(dim=1)[:, None, None] / size
        noise = moved / over.clamp_min(1)
    return found


def _kl(f: FromSite, noise: Tensor) -> Tensor:
    embeddings = f.embeddings + noise.to(f.embeddings.dtype)
    return per_row(get_divergence("kl").from_logits(f.clean, f(embeddings)))


def _unit_rows(x: Tensor) -> Tensor:
    """Each row, (B, T, E), at unit L2 norm; rows of zeros stay."""
    largest = x.abs().amax(dim=(1, 2), keepdim=True)
    scaled = divided(x, largest)
    norm = scaled.flatten(1).norm(dim=1)[:, None, None]
    unit: Tensor = scaled / norm.clamp_min(1)
    return unit


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b of the rows whose b is above zero, in float64: a saturated row has neither."""
    there = b > 0
    return a[there].double() / b[there].double()


def _median(values: Tensor) -> float:
    return float(values.double().quantile(0.5)) if len(values) else float("nan")
