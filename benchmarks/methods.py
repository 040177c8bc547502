"""What the benchmarks of steps share: models of several sizes, batches, and the methods with the price that we hold them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, BertConfig

from benchmarks.pairs import Step
from ssl_pdr import RPT, VAT, JacobianRegularizer, RDrop, get_regularizer
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.errors import ModelError
from ssl_pdr.objective import Objective
from ssl_pdr.outputs import UNLABELLED
from ssl_pdr.regularizers import Regularizer

Task = Literal["classification", "question answering"]
HEADS = {"classification": AutoModelForSequenceClassification, "question answering": AutoModelForQuestionAnswering}
SHAPES: dict[str, dict[str, int]] = {
    "toy": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    "bert-tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
}
PLAIN = "plain"


@dataclass(frozen=True)
class Method:
    """One way to train.

    Attributes:
        make: its regularizer.
        alpha: weight of R.
        reuse: whether the objective may back-propagate the cross-entropy early, and find the direction on the way.
        half_unlabelled: whether the second half of the batch has no labels.
        limit: how many plain steps we allow it.
    """

    make: Callable[[], Regularizer]
    alpha: float = 1.0
    reuse: bool = False
    half_unlabelled: bool = False
    limit: float | None = None


_SIZE: dict[str, Any] = {"radius": 0.1, "radius_unit": "token_norm"}

METHODS: dict[str, Method] = {
    "none": Method(lambda: RPT("shl"), alpha=0.0, limit=1.05),
    "rdrop, shl": Method(lambda: RDrop("shl")),
    "rpt, shl": Method(lambda: RPT("shl", **_SIZE), limit=2.05),
    "rpt, kl": Method(lambda: RPT("kl", **_SIZE), limit=2.05),
    "vat power, shl": Method(lambda: VAT("shl", search="power", **_SIZE), limit=2.75),
    "vat exact, shl": Method(lambda: VAT("shl", search="exact", **_SIZE), limit=2.42),
    "vat exact, kl": Method(lambda: VAT("kl", search="exact", **_SIZE)),
    "vat exact with reuse, kl": Method(lambda: VAT("kl", search="exact", **_SIZE), reuse=True, limit=2.05),
    "vat exact with reuse, kl, half unlabelled": Method(
        lambda: VAT("kl", search="exact", **_SIZE), reuse=True, half_unlabelled=True, limit=2.0
    ),
    "jr, 1 projection": Method(lambda: JacobianRegularizer(1), limit=2.1),
    "wjr, 1 projection": Method(lambda: get_regularizer("wjr")(projections=1)),  # type: ignore[call-arg]
    "rpt order 2, shl": Method(lambda: RPT("shl", order=2, **_SIZE)),
    "vat order 2, shl": Method(lambda: VAT("shl", order=2, **_SIZE)),
}
# Answers have no early backward pass to reuse: their posterior has as many classes as the passage has tokens.
OF_TASK: dict[Task, tuple[str, ...]] = {
    "classification": tuple(METHODS),
    "question answering": (
        "none",
        "rdrop, shl",
        "rpt, shl",
        "vat power, shl",
        "vat exact, shl",
        "vat exact, kl",
        "jr, 1 projection",
    ),
}


@dataclass(frozen=True)
class Job:
    """A model and a batch to train it on.

    Attributes:
        model: in training mode.
        batch: labelled throughout, of full rows.
        task: which labels it has.
        autocast: dtype of the forward passes; None leaves it alone.
    """

    model: nn.Module
    batch: dict[str, Tensor]
    task: Task = "classification"
    autocast: torch.dtype | None = None

    def plain(self) -> Step:
        """Forward and backward of plain fine-tuning, as a Trainer does it: the model computes its own loss."""
        inputs = {name: self.batch[name] for name in ("input_ids", "attention_mask")}
        labels = self.batch["labels"]
        if self.task == "classification":
            inputs["labels"] = labels
        else:
            inputs["start_positions"], inputs["end_positions"] = labels.unbind(dim=1)

        def step() -> None:
            with self.precision():
                loss = self.model(**inputs).loss
            loss.backward()

        return step

    def regularized(self, method: Method) -> Step:
        """Forward and backward of our objective."""
        objective = Objective(method.make(), method.alpha)
        batch = half_unlabelled(self.batch) if method.half_unlabelled else self.batch
        how: dict[str, Any] = {"backward": Tensor.backward} if method.reuse else {}

        def step() -> None:
            with self.precision():
                loss = objective(self.model, batch, **how).loss
            loss.backward()

        return step

    def steps(self, methods: Mapping[str, Method]) -> dict[str, Callable[[], Step]]:
        """What makes each step, the plain one first."""
        made: dict[str, Callable[[], Step]] = {PLAIN: self.plain}
        return made | {name: lambda method=method: self.regularized(method) for name, method in methods.items()}

    def clear(self) -> None:
        """Forget the gradients."""
        self.model.zero_grad(set_to_none=True)

    def precision(self) -> Any:
        """What the forward pass runs under."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.batch["input_ids"].device.type, self.autocast)


def job(
    shape: str,
    *,
    rows: int,
    tokens: int,
    classes: int = 2,
    task: Task = "classification",
    device: str = "cpu",
    autocast: torch.dtype | None = None,
) -> Job:
    """A model of one of `SHAPES`, ready to train on random tokens."""
    made = model(shape, classes=classes, task=task).to(device).train()
    return Job(made, batch(rows, tokens, classes=classes, task=task, device=device), task, autocast)


def model(shape: str, *, classes: int = 2, task: Task = "classification", words: int | None = None) -> Any:
    """The embedded encoder, where it is asked for and installed, or random weights of that shape, for so many words."""
    torch.manual_seed(0)
    if shape == "minilm-l6":
        try:
            return HEADS[task].from_pretrained(embedded_encoder(), num_labels=classes, dtype=torch.float32)
        except ModelError:  # what a step costs does not depend on the weights
            pass
    words = words or (500 if shape == "toy" else 30522)
    return HEADS[task].from_config(BertConfig(**SHAPES[shape], vocab_size=words, num_labels=classes))


def batch(
    rows: int, tokens: int, *, classes: int = 2, task: Task = "classification", device: str = "cpu", seed: int = 0
) -> dict[str, Tensor]:
    """Random tokens with labels, without padding."""
    ids = torch.randint(3, 500, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    order = torch.arange(rows)
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "row_id": order}
    if task == "classification":
        made["labels"] = order % classes
    else:
        start = tokens // 2 + order % 3
        made["labels"] = torch.stack((start, (start + 1).clamp_max(tokens - 2)), dim=1)
        made["passage"] = torch.tensor([tokens // 4, tokens - 2, -1]).expand(rows, 3).contiguous()
    return {name: value.to(device) for name, value in made.items()}


def half_unlabelled(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with its labelled rows first, as the samplers lay it out, and no labels in its second half."""
    labels = batch["labels"].clone()
    labels[len(labels) // 2 :] = UNLABELLED
    return {**batch, "labels": labels}
