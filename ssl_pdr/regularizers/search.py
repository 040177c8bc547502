"""The direction in which a posterior moves most, from the graph of the clean pass: products, no further forward pass."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_pdr.perturbation import directions

# Of up to so many outcomes the search is exact; a product for each of them but one.
EXACT_OUTCOMES = 12
# Of each posterior that has more. Shares of the best that so many attain: benchmarks/direction.py.
PRODUCTS = 3
_STEPS = 8  # of the fixed-point iteration on the rows that are kept; no pass through the model


def worst_direction(
    logits: Tensor,
    embeddings: Tensor,
    mask: Tensor,
    *,
    norm: str = "token",
    products: int | None = None,
    retain_graph: bool = True,
) -> Tensor:
    """The ε of unit size that maximises the form of Eq. 7, (J_z ε)ᵀ M (J_z ε) with M = diag(f) − ffᵀ, up to its sign.

    For two classes it is J_zᵀ(1, −1), one vector-Jacobian product. For more, the rows J_zᵀ(e_i − e_t), t the likeliest
    outcome, are kept, and the rest is linear algebra on them: an eigenproblem of their number under the norm `sequence`, a few steps
    ε_t ← normalise((AᵀAε)_t), A = M^½ J_z, from its solution under `token`. With fewer products than outcomes the likeliest ones
    have their own and all others count as one, which is a posterior too: the direction is the worst one for it.
    Nothing here vanishes on saturated rows: weights are relative to the second likeliest outcome.

    Args:
        logits: (B, C), or (B, H, C) for H posteriors whose forms are averaged; −inf outside of the support; with graph.
        embeddings: (B, T, E), in that graph.
        mask: tokens that take noise, (B, T), bool.
        norm: of the direction: `token` (each has norm 1) or `sequence` (a row of n tokens has norm √n).
        products: at most so many for each posterior; None takes C − 1 of up to 12 outcomes, 3 of more.
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
    with torch.enable_grad():
        contrasts, log_f = _contrasts(heads, _count(heads.shape[-1], products))
        rows = _products(contrasts, embeddings, mask, retain_graph=retain_graph)
    if rows.shape[1] == 1:
        return directions(rows[:, 0], mask, norm)
    rooted = _rooted(rows, log_f)
    steepest = _steepest(rooted)
    direction = directions(steepest, mask, norm)
    if norm == "sequence":
        return direction
    for _ in range(_STEPS):  # each maximises a linear lower bound of the form, which so never falls
        slopes = torch.einsum("brte,bte->br", rooted, direction)
        direction = directions(torch.einsum("br,brte->bte", slopes, rooted), mask, norm)
    return direction


def _count(outcomes: int, products: int | None) -> int:
    """How many products a posterior of so many outcomes takes."""
    if products is None:
        products = outcomes - 1 if outcomes <= EXACT_OUTCOMES else PRODUCTS
    return min(products, outcomes - 1)


def _contrasts(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Logits of `count` outcomes relative to the likeliest, (B, H, count), with graph, and log f of all, that first, (B, H, 1 + count)."""
    logits = logits.float() if logits.dtype.itemsize < 4 else logits
    finite = logits.masked_fill(logits == -torch.inf, torch.finfo(logits.dtype).min / 16)
    outcomes = finite.shape[-1]
    likely = finite.detach().topk(count + (count == outcomes - 1), dim=-1).indices
    chosen = finite.gather(-1, likely)
    if count < outcomes - 1:
        rest = finite.scatter(-1, likely, torch.finfo(logits.dtype).min / 16).logsumexp(dim=-1, keepdim=True)
        chosen = torch.cat((chosen, rest), dim=-1)
    return chosen[..., 1:] - chosen[..., :1], chosen.detach().log_softmax(-1)


def _products(contrasts: Tensor, embeddings: Tensor, mask: Tensor, *, retain_graph: bool) -> Tensor:
    """The gradient of each contrast, (B, H · count, T, E), float32 or better; 0 on padding."""
    columns = contrasts.flatten(1).sum(dim=0)
    # In float16 small gradients would be lost; only their direction counts.
    scale = 256.0 if embeddings.dtype == torch.float16 or _autocast_to_half(embeddings) else 1.0
    rows = []
    for i, column in enumerate(columns):
        kept = retain_graph or i + 1 < len(columns)
        (row,) = torch.autograd.grad(column * scale, embeddings, retain_graph=kept)
        rows.append(row.to(torch.promote_types(row.dtype, torch.float32)) * mask.unsqueeze(-1))
    stacked = torch.stack(rows, dim=1)
    largest = stacked.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled: Tensor = stacked / torch.where(largest > 0, largest, torch.ones_like(largest))
    return scaled


def _autocast_to_half(tensor: Tensor) -> bool:
    device = tensor.device.type
    return torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16


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
    """The ε that has the largest ‖Aε‖ for its norm, (B, T, E), of any norm."""
    flat = rooted.flatten(2)
    _, vectors = torch.linalg.eigh(flat @ flat.transpose(1, 2))
    return torch.einsum("br,brte->bte", vectors[..., -1], rooted)
