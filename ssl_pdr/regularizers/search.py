"""The direction in which a posterior moves most, from the graph of the clean pass: products, no further forward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_pdr.perturbation import directions, divided

# Of up to so many outcomes the search is exact; a product for each of them but one.
EXACT_OUTCOMES = 12
_NOTHING_NEW = 1e-3  # share of a change below which it is rounding
_STEPS = 8  # of the fixed-point iteration on the rows that are kept; no pass through the model


def worst_direction(
    logits: Tensor,
    embeddings: Tensor,
    mask: Tensor,
    *,
    norm: str = "token",
    products: int | None = None,
    rounds: int = 0,
    move: Callable[[Tensor], Tensor] | None = None,
    retain_graph: bool = True,
) -> Tensor:
    """The ε of unit size that maximises the form of Eq. 7, (J_z ε)ᵀ M (J_z ε) with M = diag(f) − ffᵀ, up to its sign.

    For two classes it is J_zᵀ(1, −1), one vector-Jacobian product. For more, the rows J_zᵀ(e_i − e_t), t the likeliest
    outcome, are kept, and the rest is linear algebra on them: an eigenproblem of their number under the norm `sequence`, a few steps
    ε_t ← normalise((AᵀAε)_t), A = M^½ J_z, from its solution under `token`. With fewer products than outcomes the likeliest ones
    have their own and all others count as one, which is a posterior too: the direction is the worst one for it. Each further
    round asks how the others move among themselves along the direction found so far, A ε by a difference of logits, and adds
    the row that belongs to that change, by a product: Lanczos's iteration, whose rows are exact however coarse the difference is.
    Nothing here vanishes on saturated rows: weights are relative to the second likeliest outcome.

    Args:
        logits: (B, C), or (B, H, C) for H posteriors whose forms are averaged; −inf outside of the support; with graph, and
            gradients enabled.
        embeddings: (B, T, E), in that graph.
        mask: tokens that take noise, (B, T), bool.
        norm: of the direction: `token` (each has norm 1) or `sequence` (a row of n tokens has norm √n).
        products: at most so many for each posterior; None takes C − 1 of up to 12 outcomes, 1 of more.
        rounds: that come on top where there are more outcomes than products tell apart; where products alone are no dearer
            they tell all apart.
        move: for them, from a direction to the logits at a small step along it, (B, C) or (B, H, C), no graph.
        retain_graph: whether the graph is needed afterwards; otherwise it is freed.

    Returns:
        (B, T, E), float32 or better, no graph; zero where nothing moves the posterior.

    Source: Cheng et al., NAACL 2021, Eq. 7; Miyato et al., TPAMI 2018, for the norm of a sequence.

    Example:
        >>> x = torch.tensor([[[3.0, 4.0]]], requires_grad=True)
        >>> logits = torch.cat((x[:, :, 0] * 0.6 + x[:, :, 1] * 0.8, torch.zeros(1, 1)), dim=1)
        >>> worst_direction(logits, x, torch.tensor([[True]]))
        tensor([[[-0.6000, -0.8000]]])
    """
    heads = logits.unsqueeze(1) if logits.dim() == 2 else logits
    heads = heads.float() if heads.dtype.itemsize < 4 else heads
    posteriors, outcomes = heads.shape[1:]
    count = _count(outcomes, products)
    if move is None:
        rounds = 0
    elif posteriors * count + rounds >= posteriors * (outcomes - 1):  # to tell all apart is exact, and no dearer
        count, rounds = outcomes - 1, 0
    contrasts, log_f, likely = _contrasts(heads, count)
    columns = contrasts.flatten(1).sum(dim=0)
    found = [
        _product(column, embeddings, mask, retain_graph=retain_graph or rounds > 0 or i + 1 < len(columns))
        for i, column in enumerate(columns)
    ]
    rows = torch.stack(found, dim=1)
    scale = rows.abs().amax(dim=(1, 2, 3), keepdim=True)
    rows = divided(rows, scale)
    if rows.shape[1] == 1 and not rounds:
        return directions(rows[:, 0], mask, norm)
    rooted = _rooted(rows, log_f)
    direction = _worst_of(rooted, mask, norm)
    if move is None or not rounds:
        return direction
    merged = _Merged(heads.detach(), likely, log_f[..., 1:].amax(dim=(1, 2), keepdim=True))
    for i in range(rounds):
        column = (merged.weights_along(move(direction)) * torch.where(merged.inside, heads, 0.0)).sum()
        row = _product(column, embeddings, mask, retain_graph=retain_graph or i + 1 < rounds).unsqueeze(1)
        rooted = torch.cat((rooted, divided(row, scale)), dim=1)
        direction = _worst_of(rooted, mask, norm)
    return direction


def _worst_of(rooted: Tensor, mask: Tensor, norm: str) -> Tensor:
    """The ε of unit size with the largest ‖Aε‖, (B, T, E), for the rows of A, (B, R, T, E)."""
    direction = directions(_steepest(rooted), mask, norm)
    if norm == "sequence":
        return direction
    for _ in range(_STEPS):  # each maximises a linear lower bound of the form, which so never falls
        slopes = torch.einsum("brte,bte->br", rooted, direction)
        direction = directions(torch.einsum("br,brte->bte", slopes, rooted), mask, norm)
    return direction


def _count(outcomes: int, products: int | None) -> int:
    """How many outcomes are told apart from the likeliest, each by a product, the last of them being all others if need be."""
    if products is None:
        products = outcomes - 1 if outcomes <= EXACT_OUTCOMES else 1
    return min(products, outcomes - 1)


class _Merged:
    """The outcomes that count as one, and the vectors among them, in the space of A's own rows, that have had a product.

    Those vectors are orthogonal to each other and to √f, which makes of diag(√f)(I − √f√fᵀ) on them a mere diag(√f).

    Args:
        logits: (B, H, C), −inf outside of the support, no graph.
        likely: the outcomes that have a product of their own, (B, H, K).
        log_s: what `_rooted` takes its weights relative to, (B, 1, 1).
    """

    def __init__(self, logits: Tensor, likely: Tensor, log_s: Tensor) -> None:
        self.logits = logits
        self.inside = (logits > -torch.inf).scatter(-1, likely, value=False)
        log_f = logits.log_softmax(-1)
        self._root = torch.where(self.inside, ((log_f - log_s) / 2).exp(), 0.0)
        self._share = torch.where(self.inside, logits, -torch.inf).softmax(-1).nan_to_num(0.0)
        self._had: list[Tensor] = []

    def weights_along(self, moved: Tensor) -> Tensor:
        """What to weigh the logits with for the product of the next vector, (B, H, C): the change to `moved` itself, as far as it is new."""
        change = torch.where(self.inside, moved.reshape(self.logits.shape).to(self.logits) - self.logits, 0.0)
        whole = _unit(self._root * (change - (self._share * change).sum(dim=-1, keepdim=True)))
        vector = whole
        for had in self._had:
            vector = vector - had * (had * vector).sum(dim=(1, 2), keepdim=True)
        new = vector.flatten(1).norm(dim=1)[:, None, None] > _NOTHING_NEW
        self._had.append(torch.where(new, _unit(vector), torch.zeros_like(vector)))
        return self._root * self._had[-1]


def _unit(x: Tensor) -> Tensor:
    """Each row, (B, H, C), at unit norm; zeros stay."""
    return divided(x, x.flatten(1).norm(dim=1)[:, None, None])


def _contrasts(logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of `count` outcomes relative to the likeliest, (B, H, count), with graph; log f of all, that first; which ones.

    Where there are more outcomes, the last one is all others together.
    """
    lowest = torch.finfo(logits.dtype).min / 16
    finite = logits.masked_fill(logits == -torch.inf, lowest)
    outcomes = finite.shape[-1]
    likely = finite.detach().topk(count + (count == outcomes - 1), dim=-1).indices
    chosen = finite.gather(-1, likely)
    if count < outcomes - 1:
        rest = finite.scatter(-1, likely, lowest).logsumexp(dim=-1, keepdim=True)
        chosen = torch.cat((chosen, rest), dim=-1)
    top, others = chosen[..., :1], chosen[..., 1:]
    # Against an outcome that cannot be, not even the likeliest one can move.
    contrasts = torch.where(others > lowest / 2, others - top, torch.zeros_like(others))
    return contrasts, chosen.detach().log_softmax(-1), likely


def _product(value: Tensor, embeddings: Tensor, mask: Tensor, *, retain_graph: bool) -> Tensor:
    """The gradient of a scalar, (B, T, E), float32 or better; 0 on padding."""
    (row,) = torch.autograd.grad(value, embeddings, retain_graph=retain_graph)
    wide: Tensor = row.to(torch.promote_types(row.dtype, torch.float32)) * mask.unsqueeze(-1)
    return wide


def _rooted(rows: Tensor, log_f: Tensor) -> Tensor:
    """A with AᵀA = J_zᵀ M J_z up to a positive factor for each row of the batch, (B, H · count, T, E).

    With w_k = f_k / s, s the largest of the f_k without the likeliest outcome t, M / s = diag(w) − s wwᵀ on the contrasts, and its root is
    diag(√w)(I − β √w√wᵀ), β = s / (1 + √f_t).
    """
    others, top = log_f[..., 1:], log_f[..., :1]
    log_s = others.amax(dim=-1, keepdim=True)
    w = (others - log_s).exp()
    beta = log_s.exp() / (1 + (top / 2).exp())
    between = (
        (log_s - log_s.amax(dim=1, keepdim=True)) / 2
    ).exp()  # weights of the posteriors, relative to the largest
    shaped = rows.reshape(*w.shape, *rows.shape[2:])
    centre = torch.einsum("bhk,bhkte->bhte", w.to(rows.dtype), shaped).unsqueeze(2)
    rooted = (w.sqrt() * between)[..., None, None] * (shaped - beta[..., None, None] * centre)
    flat: Tensor = rooted.flatten(1, 2).to(rows.dtype)
    return flat


def _steepest(rooted: Tensor) -> Tensor:
    """The ε that has the largest ‖Aε‖ for its norm, (B, T, E), of any norm, and the sign that its largest weight has on the rows of A."""
    flat = rooted.flatten(2)
    gram = flat @ flat.transpose(1, 2)
    # A loss that is not finite has an error of its own, which the library's would come before.
    finite = gram.isfinite().flatten(1).all(dim=1)[:, None, None]
    _, vectors = torch.linalg.eigh(torch.where(finite, gram, torch.zeros_like(gram)))
    first = vectors[..., -1]
    # The sign of an eigenvector is whatever the routine leaves: it would differ between batch layouts and devices.
    largest = first.gather(-1, first.abs().argmax(dim=-1, keepdim=True))
    return torch.einsum("br,brte->bte", first * largest.sign(), rooted)
