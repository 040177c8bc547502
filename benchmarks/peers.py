"""The same job by other people's code: `python -m benchmarks.peers`.

MiniLM-L6, two classes, plain fine-tuning plus a regularizer that is virtually adversarial: by smart-pytorch 0.0.4 and vat-pytorch
0.0.9 from PyPI, each used as its own README says; by the loop that most published code has, written anew here; and by us.
`cost` is time in interleaved pairs, passes and memory; `quality` looks at the perturbation that each of them ends up with.

The packages are no dependency of ours, and no extra could be: each asks for `data-science-types`, which neither imports, and the
metadata of vat-pytorch has a requirement that pip refuses from version 24.1 on. With an older pip:

    pip install --no-deps smart-pytorch==0.0.4 vat-pytorch==0.0.9

What is not installed is left out, which the table says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import logging as transformers_logging

from benchmarks.methods import METHODS, PLAIN, Job, job
from benchmarks.pairs import Step, against, interleave, ratio_text, reason
from benchmarks.passes import counts, in_plain_steps
from benchmarks.report import merge, parser, show
from ssl_pdr.perturbation import mean_token_norm, unit_directions
from ssl_pdr.regularizers.noise import RPT

OURS = ("rdrop, shl", "rpt, shl", "vat power, shl", "vat exact, shl", "vat exact, kl", "vat exact with reuse, kl")
# Shape of the model, rows, tokens, rounds.
SIZES = {"full": ("minilm-l6", 32, 64, 20), "quick": ("minilm-l6", 8, 16, 3), "tiny": ("toy", 4, 8, 1)}
RADIUS = 0.1  # of the mean token norm, for us and for the loop; the packages know no such unit


@dataclass(frozen=True)
class Perturbation:
    """What a method adds to the embeddings of a batch in the end.

    Attributes:
        noise: (B, T, E).
        value: mean R at that noise.
        value_without: mean R at no noise, without dropout: 0, unless R compares two different functions.
    """

    noise: Tensor
    value: float
    value_without: float


Loss = Callable[[Tensor, Tensor], Tensor]


class Recorded:
    """A function of embeddings that remembers what it was asked last."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function
        self.asked = torch.empty(0)

    def __call__(self, embeddings: Tensor) -> Tensor:
        self.asked = embeddings.detach()
        return self._function(embeddings)


# --- smart-pytorch, after the BERT example of its README ---


def smart_pytorch(of: Job) -> tuple[Step, Callable[[], Perturbation]]:
    """Feeds the embedding module's output as `inputs_embeds` and passes no mask, as the README does."""
    from smart_pytorch import SMARTLoss

    model, batch = of.model, of.batch
    kinds = torch.zeros_like(batch["input_ids"])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}

    def log_posterior(embeddings: Tensor) -> Tensor:
        pooled = model.bert(inputs_embeds=embeddings)[1]
        return F.log_softmax(model.classifier(pooled), dim=1)

    def divergence(noisy: Tensor, clean: Tensor) -> Tensor:
        return F.kl_div(noisy, clean, reduction="batchmean", log_target=True)

    recorded = Recorded(log_posterior)
    regularizer = SMARTLoss(eval_fn=recorded, loss_fn=divergence)

    def parts() -> tuple[Tensor, Tensor, Tensor]:
        outputs = model(**inputs)
        return outputs.loss, model.bert.embeddings(batch["input_ids"], kinds), F.log_softmax(outputs.logits, dim=1)

    def step() -> None:
        loss, embeddings, clean = parts()
        (loss + regularizer(embeddings, clean)).backward()

    def probe() -> Perturbation:
        _, embeddings, clean = parts()
        value, without = regularizer(embeddings, clean), divergence(log_posterior(embeddings), clean)
        return Perturbation(recorded.asked - embeddings.detach(), value.item(), without.item())

    return step, probe


# --- vat-pytorch, after its README ---


def vat_pytorch(of: Job) -> tuple[Step, Callable[[], Perturbation]]:
    """Its SMART model around a BERT taken apart as its README takes RoBERTa apart.

    Its own `ExtractedRoBERTa` needs an older transformers: layers return a tensor now, of which `[0]` would be the first
    row, and `get_extended_attention_mask` is gone.
    """
    from vat_pytorch import SMARTClassificationModel, SMARTLoss, kl_loss, sym_kl_loss

    batch, extracted = of.batch, Extracted(of.model)
    whole = SMARTClassificationModel(extracted)
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}

    def step() -> None:
        whole(**inputs)[1].backward()

    def probe() -> Perturbation:
        recorded = Recorded(extracted)
        embeddings = extracted.get_embeddings(batch["input_ids"])
        extracted.set_attention_mask(batch["attention_mask"])
        clean = extracted(embeddings)
        loss = SMARTLoss(model=recorded, loss_fn=kl_loss, loss_last_fn=sym_kl_loss)
        value, without = loss(embeddings, clean), sym_kl_loss(extracted(embeddings), clean)
        return Perturbation(recorded.asked - embeddings.detach(), value.item(), without.item())

    return step, probe


class Extracted(nn.Module):
    """BERT from the embeddings on."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.bert, self.dropout, self.classifier = model.bert, model.dropout, model.classifier
        self.mask: Tensor | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits, (B, C)."""
        for layer in self.bert.encoder.layer:
            hidden = layer(hidden, attention_mask=self.mask)
        return self.classifier(self.dropout(self.bert.pooler(hidden)))  # type: ignore[no-any-return]

    def get_embeddings(self, input_ids: Tensor) -> Tensor:
        """The embedding module's output, (B, T, E)."""
        return self.bert.embeddings(input_ids)  # type: ignore[no-any-return]

    def set_attention_mask(self, attention_mask: Tensor) -> None:
        """For the forward passes to come; None where there is nothing to mask, as transformers itself does."""
        keep = attention_mask[:, None, None, :].bool()
        self.mask = None if bool(keep.all()) else keep


# --- the loop of most published code ---


def loop(of: Job, *, only_noise: bool) -> tuple[Step, Callable[[], Perturbation]]:
    """One step of search from random noise, fresh dropout masks in every pass, noise on every position, mean KL.

    Args:
        of: the model and its batch.
        only_noise: differentiate the search with respect to the noise alone; otherwise backwards through everything, and
            forget the gradients of the parameters, as is often seen.
    """
    batch, tail = of.batch, Extracted(of.model)

    def divergence(noisy: Tensor, clean: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(noisy, dim=-1), F.softmax(clean, dim=-1), reduction="batchmean")

    def forward() -> tuple[Tensor, Tensor]:
        tail.set_attention_mask(batch["attention_mask"])
        embeddings = tail.get_embeddings(batch["input_ids"])
        return embeddings, tail(embeddings)

    def search(embeddings: Tensor, clean: Tensor) -> Tensor:
        size = RADIUS * mean_token_norm(embeddings, batch["attention_mask"])[:, None, None]
        every = torch.ones_like(batch["attention_mask"])
        noise = (size * unit_directions(torch.randn_like(embeddings), every)).detach().requires_grad_()
        moved = divergence(tail((embeddings.detach() if not only_noise else embeddings) + noise), clean.detach())
        if only_noise:
            (gradient,) = torch.autograd.grad(moved, noise)
        else:
            moved.backward()
            assert noise.grad is not None
            gradient = noise.grad
            of.clear()
        return size * unit_directions(gradient, every)

    def step() -> None:
        embeddings, clean = forward()
        noise = search(embeddings, clean)
        noisy = tail(embeddings + noise)
        (F.cross_entropy(clean, batch["labels"]) + divergence(noisy, clean.detach())).backward()

    def probe() -> Perturbation:
        embeddings, clean = forward()
        noise = search(embeddings, clean)
        with torch.no_grad():
            value, without = (divergence(tail(embeddings + n), clean).item() for n in (noise, torch.zeros_like(noise)))
        return Perturbation(noise, value, without)

    return step, probe


# --- ours ---


def ours(of: Job, name: str) -> tuple[Step, Callable[[], Perturbation] | None]:
    """One of our methods."""
    method = METHODS[name]
    regularizer = method.make()

    def probe() -> Perturbation:
        assert isinstance(regularizer, RPT)
        clean = regularizer.clean_pass(of.model, of.batch)
        noise = regularizer.noise(of.model, of.batch, clean, row_ids=of.batch["row_id"])
        values = regularizer.penalty(of.model, of.batch, clean, row_ids=of.batch["row_id"])
        without = regularizer.at_noise(of.model, of.batch, clean, torch.zeros_like(noise))
        return Perturbation(noise, values.mean().item(), without.mean().item())

    return of.regularized(method), probe if isinstance(regularizer, RPT) else None


Made = tuple[Step, Callable[[], Perturbation] | None]
METHODS_BY_NAME: dict[str, Callable[[Job], Made]] = {
    "smart-pytorch 0.0.4": smart_pytorch,
    "vat-pytorch 0.0.9": vat_pytorch,
    "loop, gradient to the noise": lambda of: loop(of, only_noise=True),
    "loop, gradient to everything": lambda of: loop(of, only_noise=False),
    **{f"ours: {name}": lambda of, name=name: ours(of, name) for name in OURS},
}


def cost(size: str) -> dict[str, Any]:
    """Time, passes and memory of one step: forward and backward."""
    shape, rows, tokens, rounds = SIZES[size]
    of = job(shape, rows=rows, tokens=tokens)
    steps: dict[str, Callable[[], Step]] = {PLAIN: of.plain}
    steps |= {name: lambda make=make: make(of)[0] for name, make in METHODS_BY_NAME.items()}
    timings = interleave(steps, rounds, before=of.clear)
    cells = {name: against(timings, name, PLAIN) for name in steps}
    for name, cell in cells.items():
        if "failed" not in cell:
            cell |= counts(of.model, steps[name](), rows, of.clear)
            in_plain_steps(cell, cells[PLAIN])
    return {"batch": rows, "tokens": tokens, "methods": cells}


def cost_table(found: dict[str, Any]) -> None:
    rows = [
        [
            name,
            ratio_text(cell),
            f"{cell['passes']['forward']:g}, {cell['passes']['backward']:g}" if "passes" in cell else cell["failed"],
            f"{cell['plain_operations']:.2f}" if "passes" in cell else "",
            f"{cell['plain_peaks']:.2f}" if "passes" in cell else "",
        ]
        for name, cell in found["methods"].items()
    ]
    show("forward and backward", ["", "plain steps", "passes: there, back", "operations", "peak"], rows)


# --- the perturbation ---


def quality(size: str) -> dict[str, Any]:
    """How adversarial the perturbations are, on rows of different lengths.

    To second order every smooth divergence is a quadratic form, for two classes (g·ε)² with g the gradient of the difference of
    the logits at the embeddings. Under given norms of the tokens the best perturbation is along g in each of them: `attained` is
    the share of that best value that a perturbation with the same norms has, of the model without dropout: for what was
    found without dropout, too, and for what was found in training mode, with the masks that each method draws there.
    """
    shape, rows, tokens, _ = SIZES[size]
    of = job(shape, rows=rows, tokens=tokens)
    lengths = torch.linspace(tokens // 4, tokens, rows).long()
    of.batch["attention_mask"] = (torch.arange(tokens) < lengths[:, None]).long()
    embeddings, slopes = _slopes(of)
    found: dict[str, Any] = {}
    for name, make in METHODS_BY_NAME.items():
        try:
            probe = make(of)[1]
            if probe is not None:
                found[name] = _judge(of, probe, embeddings, slopes)
        except Exception as error:  # noqa: BLE001  # the others go on
            found[name] = {"failed": reason(error)}
    return {"batch": rows, "tokens": tokens, "methods": found}


def _judge(of: Job, probe: Callable[[], Perturbation], embeddings: Tensor, slopes: Tensor) -> dict[str, float]:
    torch.manual_seed(0)
    of.model.train()
    training = probe()
    of.model.eval()
    made = probe()
    mask, norms = of.batch["attention_mask"].bool(), made.noise.norm(dim=-1)
    return {
        "attained": _attained(made.noise, slopes, mask),
        "attained_in_training": _attained(training.noise, slopes, mask),
        "norm_of_token": float(norms[mask].mean() / embeddings.norm(dim=-1)[mask].mean()),
        "share_on_padding": float(norms[~mask].square().sum() / norms.square().sum()),
        "value": made.value,
        "value_without_noise": made.value_without,
    }


def _attained(noise: Tensor, slopes: Tensor, mask: Tensor) -> float:
    noise, slopes = noise.double(), slopes.double()
    reached = (noise * slopes).sum(dim=(1, 2)).square()
    best = (noise.norm(dim=-1) * slopes.norm(dim=-1) * mask).sum(dim=1).square()
    return float((reached / best).mean())


def _slopes(of: Job) -> tuple[Tensor, Tensor]:
    """The embeddings and the gradient of the difference of the two logits there, (B, T, E)."""
    of.model.eval()
    tail = Extracted(of.model)
    tail.set_attention_mask(of.batch["attention_mask"])
    embeddings = tail.get_embeddings(of.batch["input_ids"]).detach().requires_grad_()
    logits = tail(embeddings)
    (slopes,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), embeddings)
    return embeddings.detach(), slopes


def quality_table(found: dict[str, Any]) -> None:
    keys = ("attained", "attained_in_training", "norm_of_token", "share_on_padding", "value", "value_without_noise")
    rows = [
        [name, *([f"{cell[key]:.3g}" for key in keys] if "failed" not in cell else [cell["failed"]] + [""] * 5)]
        for name, cell in found["methods"].items()
    ]
    titles = ["attained of the best", "found in training", "norm / token's", "share on padding", "R", "R without noise"]
    show("the perturbation", ["", *titles], rows)


# --- the command ---


Part = tuple[Callable[[str], dict[str, Any]], Callable[[dict[str, Any]], None]]
PARTS: dict[str, Part] = {"cost": (cost, cost_table), "quality": (quality, quality_table)}


def packages() -> dict[str, str]:
    """Which of the packages are installed."""
    found = {}
    for name in ("smart-pytorch", "vat-pytorch"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__, PARTS).parse_args(arguments)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    for name in options.only:
        measure, table = PARTS[name]
        start = time.perf_counter()
        found = measure(options.size)
        circumstances = {"size": options.size, "peers": packages(), "took": time.perf_counter() - start}
        path = merge("peers", name, {**found, **circumstances}, options.output)
        table(found)
        print(path)


if __name__ == "__main__":
    main()
