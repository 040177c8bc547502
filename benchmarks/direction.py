"""How good the adversarial direction is: `python -m benchmarks.direction`.

Of each direction, found in float32, the second-order form (J_z ε)ᵀ M (J_z ε) in float64 over the best there is: for the norm
`sequence` an eigenvalue of all outcomes' rows, for `token` what long searches from several starts find on them. The models train,
under the same dropout masks in both precisions. `few` is what the exact search promises to be exact on, beside the classical step as
published (K = 1, a textbook KL) at absolute radii; `many` is more outcomes than are paid for: areas and modules of the embedded
documentation, and positions of answers. Each part has a freshly drawn head and one after some training, and is written as soon as it is measured.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers import logging as transformers_logging

from benchmarks.methods import Task, batch, model
from benchmarks.report import merge, parser, show
from ssl_pdr import VAT, Objective
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.data.pydocs import load_pydocs_topics
from ssl_pdr.data.pydocs_qa import load_pydocs_qa
from ssl_pdr.perturbation import directions, replayed
from ssl_pdr.regularizers.base import CleanPass
from ssl_pdr.sites import find_site, hooked
from ssl_pdr.tasks.question_answering import QuestionAnswering

NORMS = ("token", "sequence")
RADII = (1e-3, 1e-2, 1e-1)
PRODUCTS = (1, 2, 3, 4, 6, 11)
ROUNDS = (1, 2, 3)
EXACT, POWER = "exact", "power"
LIMITS = {2: 0.999, 3: 0.99, 10: 0.99}
_SPAN = 24  # of the rows of many outcomes, what long searches start in
_LONG = 80  # steps


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    shape: str
    rows: int
    tokens: int
    steps: int


SIZES = {"full": Sizes("minilm-l6", 8, 48, 30), "tiny": Sizes("toy", 3, 12, 2)}


@dataclass(frozen=True)
class Place:
    """A task, and its number of outcomes; of answers, as many as there are positions."""

    classes: int = 2
    task: Task = "classification"
    share: float = 1.0  # of the rows
    length: int = 1  # times the tokens

    def __str__(self) -> str:
        return f"{self.classes} classes" if self.task == "classification" else "answers"


FEW = tuple(Place(m) for m in LIMITS)
MANY = (Place(13), Place(100, share=0.5), Place(task="question answering", share=0.4, length=2))


# --- what is trained ---


def batches(place: Place, sizes: Sizes) -> Iterator[dict[str, Tensor]]:
    """Batches without end; the first is measured, and never trained on."""
    rows, tokens = max(2, int(sizes.rows * place.share)), sizes.tokens * place.length
    if sizes.shape == "toy":
        for seed in range(1000):
            yield batch(rows, tokens, classes=place.classes, task=place.task, seed=seed)
        return
    encoded = answers(tokens) if place.task == "question answering" else texts(place.classes, tokens)
    order = torch.randperm(len(encoded["labels"]), generator=torch.Generator().manual_seed(0))
    yield {name: value[order[:rows]] for name, value in encoded.items()}
    while True:
        for chosen in torch.split(order[rows:], 16):
            yield {name: value[chosen] for name, value in encoded.items()}


def texts(classes: int, tokens: int) -> dict[str, Tensor]:
    """The embedded documentation: paragraphs by area, or by module where there are more classes than areas."""
    corpus = load_pydocs_topics()
    of: Sequence[Any] = corpus.train.labels
    if classes > len(corpus.label_names):
        of = [name.partition(":")[0] for name in corpus.train.objects]
    common = [name for name, _ in Counter(of).most_common(classes)]
    kept = [i for i, name in enumerate(of) if name in common]
    tokenizer = AutoTokenizer.from_pretrained(embedded_encoder())
    made = tokenizer(
        [corpus.train.texts[i] for i in kept],
        truncation=True,
        max_length=tokens,
        padding="max_length",
        return_tensors="pt",
    )
    return {
        "input_ids": made["input_ids"],
        "attention_mask": made["attention_mask"],
        "labels": torch.tensor([common.index(of[i]) for i in kept]),
    }


def answers(tokens: int) -> dict[str, Tensor]:
    """Questions on the embedded documentation that are answered within a window."""
    tokenizer = AutoTokenizer.from_pretrained(embedded_encoder())
    rows = load_pydocs_qa().train[:1500]
    columns = {name: [row[name] for row in rows] for name in ("question", "context", "answers")}
    made = QuestionAnswering(skip=True).encode(columns, tokenizer, tokens)
    kept = [i for i, label in enumerate(made["labels"]) if label[0] >= 0]
    padded = tokenizer.pad(
        {name: [made[name][i] for i in kept] for name in ("input_ids", "attention_mask")},
        padding="max_length",
        max_length=tokens,
        return_tensors="pt",
    )
    rest = {name: torch.tensor([made[name][i] for i in kept]) for name in ("passage", "labels")}
    return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], **rest}


def train(of: nn.Module, stream: Iterator[dict[str, Tensor]], steps: int) -> None:
    """Plain fine-tuning."""
    optimizer = torch.optim.AdamW(of.parameters(), lr=3e-4)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(Objective(None)(of, next(stream)).loss)
        optimizer.step()


# --- the best there is ---


class Best:
    """The largest second-order form that any direction has, of each row of a batch, in float64.

    Attributes:
        rows: A with AᵀA = J_zᵀ M J_z, (B, R, T, E), R the outcomes of all posteriors together.
        value: by norm, (B,).
    """

    def __init__(self, clean: CleanPass) -> None:
        embeddings, self.mask = clean.at_site
        heads = clean.logits if clean.logits.dim() == 3 else clean.logits.unsqueeze(1)
        parts = []
        for logits in heads.unbind(dim=1):
            supported = (logits != -torch.inf).any(dim=0)
            mine = logits[:, supported].masked_fill(logits[:, supported] == -torch.inf, -1e30)
            log_f = mine.detach().log_softmax(-1)
            jacobian = torch.stack([self._row(column, embeddings) for column in mine.unbind(dim=1)], dim=1)
            centre = torch.einsum("bk,bkte->bte", log_f.exp(), jacobian).unsqueeze(1)
            parts.append((log_f / 2).exp()[..., None, None] * (jacobian - centre))
        self.rows = torch.cat(parts, dim=1)
        flat = self.rows.flatten(2)
        squares, vectors = torch.linalg.eigh(flat @ flat.transpose(1, 2))
        # Of many rows the few that nearly all of the form is in: a long search there is short of work.
        few = torch.einsum("brk,brte->bkte", vectors[..., -_SPAN:], self.rows)
        sequence = squares[:, -1] * self.mask.sum(dim=1)
        self.value: dict[str, Tensor] = {"sequence": sequence, "token": self._searched(few)}

    def form(self, direction: Tensor) -> Tensor:
        """What a direction attains, (B,)."""
        value: Tensor = torch.einsum("brte,bte->br", self.rows, direction.double()).square().sum(dim=1)
        return value

    def share(self, direction: Tensor, norm: str) -> Tensor:
        """The same, over the best, (B,)."""
        return self.form(directions(direction.double(), self.mask, norm)) / self.value[norm]

    def _row(self, column: Tensor, embeddings: Tensor) -> Tensor:
        (row,) = torch.autograd.grad(column.sum(), embeddings, retain_graph=True)
        return row * self.mask.unsqueeze(-1)

    def _searched(self, few: Tensor) -> Tensor:
        count = few.shape[1]
        generator = torch.Generator().manual_seed(0)
        likely = torch.eye(count, dtype=few.dtype)[-2:]
        starts = [*likely, *torch.randn(3, count, generator=generator, dtype=few.dtype)]
        found = []
        for start in starts:
            direction = self._climbed(few, torch.einsum("k,bkte->bte", start, few), _LONG)
            found.append(self.form(self._climbed(self.rows, direction, 4)))
        return torch.stack(found).amax(dim=0)

    def _climbed(self, rows: Tensor, direction: Tensor, steps: int) -> Tensor:
        direction = directions(direction, self.mask, "token")
        for _ in range(steps):
            slopes = torch.einsum("brte,bte->br", rows, direction)
            direction = directions(torch.einsum("br,brte->bte", slopes, rows), self.mask, "token")
        return direction


# --- the directions ---


def classical(of: nn.Module, inputs: Mapping[str, Any], clean: CleanPass, radius: float, norm: str) -> Tensor:
    """One step as it is published: the gradient of a textbook KL at a random direction times the radius."""
    embeddings, mask = clean.at_site
    start = directions(torch.randn(embeddings.shape, generator=torch.Generator().manual_seed(0)), mask, norm)
    noise = (radius * start).requires_grad_()
    shifted = hooked(of, find_site(of, "output"), lambda x: x.detach() + noise)
    with replayed(clean.state, of), shifted:
        noisy = of(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    value = F.kl_div(noisy.log_softmax(-1), clean.logits.detach().softmax(-1), reduction="sum")
    (gradient,) = torch.autograd.grad(value, noise)
    return directions(gradient, mask, norm, fallback=start)


def of_few(of: nn.Module, inputs: Mapping[str, Any], norm: str) -> Iterator[tuple[str, Tensor]]:
    """Exact and classical."""
    yield EXACT, found_by(of, inputs, norm, search="exact")
    yield POWER, found_by(of, inputs, norm, search="power")
    clean = VAT("kl").clean_pass(of, inputs)
    for radius in RADII:
        yield f"classical, {radius:g}", classical(of, inputs, clean, radius, norm)


def of_many(of: nn.Module, inputs: Mapping[str, Any], norm: str) -> Iterator[tuple[str, Tensor]]:
    """By numbers of products, and of rounds, each of which costs a forward pass and a product."""
    for products in PRODUCTS:
        yield f"likeliest {products}", found_by(of, inputs, norm, search="exact", products=products, rounds=0)
    for rounds in ROUNDS:
        yield f"likeliest 1, rounds {rounds}", found_by(of, inputs, norm, search="exact", products=1, rounds=rounds)
    yield f"{EXACT}, as it comes", found_by(of, inputs, norm, search="exact")
    yield POWER, found_by(of, inputs, norm, search="power")


def found_by(of: nn.Module, inputs: Mapping[str, Any], norm: str, **options: Any) -> Tensor:
    """What the regularizer itself adds, at a tenth of the token norm."""
    regularizer = VAT("kl", 0.1, radius_unit="token_norm", norm=norm, dropout="shared", **options)
    clean = regularizer.clean_pass(of, inputs)
    return regularizer.noise(of, inputs, clean, row_ids=torch.arange(len(clean.logits)))


Directions = Callable[[nn.Module, Mapping[str, Any], str], Iterator[tuple[str, Tensor]]]


def shares(of: Any, inputs: Mapping[str, Any], make: Directions) -> dict[str, Any]:
    """The share of the best that each direction attains, by norm."""
    seed = 5
    precise = copy.deepcopy(of).double()
    regularizer = VAT("kl", dropout="shared")
    passes = {}
    for name, one in (("float32", of), ("float64", precise)):
        regularizer.clean_pass(one, inputs)  # the self-test is over before the masks are drawn
        torch.manual_seed(seed)
        passes[name] = regularizer.clean_pass(one, inputs)
    apart = (passes["float32"].logits - passes["float64"].logits).detach().nan_to_num(0.0, 0.0, 0.0).abs().max()
    if not apart < 1e-3:
        raise RuntimeError(f"dropout masks differ between float32 and float64 here: logits are {apart:.1g} apart")
    best, found = Best(passes["float64"]), {}
    for norm in NORMS:
        found[norm] = {name: _summary(best.share(one, norm)) for name, one in _seeded(make(of, inputs, norm), seed)}
    f = passes["float32"].logits.detach().softmax(-1)
    return {"likeliest": float(f.amax(-1).mean()), "norms": found}


def _seeded(made: Iterator[tuple[str, Tensor]], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Each direction under the same masks."""
    while True:
        torch.manual_seed(seed)
        try:
            yield next(made)
        except StopIteration:
            return


def _summary(share: Tensor) -> dict[str, float]:
    return {"mean": float(share.mean()), "low": float(share.quantile(0.05)), "least": float(share.min())}


# --- the parts ---


def part(places: Sequence[Place], make: Directions) -> Callable[[Sizes], dict[str, Any]]:
    """A part that measures some places, before and after training."""

    def measure(sizes: Sizes) -> dict[str, Any]:
        found = []
        for place in places:
            of = model(sizes.shape, classes=place.classes, task=place.task).train()
            stream = batches(place, sizes)
            inputs = next(stream)
            for steps in (0, sizes.steps):
                train(of, stream, steps)
                rows, tokens = inputs["input_ids"].shape
                cell = {"place": str(place), "classes": place.classes, "steps": steps, "rows": rows, "tokens": tokens}
                if place in FEW:
                    cell["limit"] = LIMITS[place.classes]
                found.append({**cell, **shares(of, inputs, make)})
        return {"cells": found}

    return measure


def table(found: dict[str, Any]) -> None:
    for norm in NORMS:
        cells = found["cells"]
        columns = [f"{c['place']}, {'trained' if c['steps'] else 'fresh'}" for c in cells]
        names = dict.fromkeys(name for c in cells for name in c["norms"][norm])
        rows = [[name, *(_text(c["norms"][norm].get(name)) for c in cells)] for name in names]
        if any("limit" in c for c in cells):
            rows.insert(1, ["wanted of it", *(f"≥ {c['limit']}" for c in cells)])
        show(f"share of the best, mean (5 % quantile), norm {norm!r}", ["direction", *columns], rows)


def _text(summary: dict[str, float] | None) -> str:
    return "" if summary is None else f"{summary['mean']:.4f} ({summary['low']:.3f})"


PARTS = {"few": part(FEW, of_few), "many": part(MANY, of_many)}


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, PARTS, ("tiny",)).parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("ssl_pdr").setLevel(logging.ERROR)
    for name in options.only:
        start = time.perf_counter()
        found = PARTS[name](SIZES[options.size])
        took = {"size": options.size, "took": time.perf_counter() - start}
        path = merge("direction", name, {**found, **took}, options.output)
        table(found)
        print(path)


if __name__ == "__main__":
    main()
