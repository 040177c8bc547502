"""How many passes each configuration takes: a wasted one fails here, without a clock.

Operations are those of matrix products, in plain fine-tuning steps. A forward pass of a row costs 1/3 of its plain step, a
backward pass to activations another third, one to activations and weights two thirds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.passes import count_operations, count_rows
from ssl_pdr import Objective
from ssl_pdr.regularizers import RPT, VAT, AdversarialTraining, JacobianRegularizer, RDrop, Regularizer
from tests.conftest import tiny_batch, tiny_bert
from tests.test_answers import tiny_reader

ROWS = 8


@dataclass(frozen=True)
class Case:
    """A configuration and what a step of `ROWS` rows should take.

    Attributes:
        regularizer: R.
        forward: rows through an encoder layer, in batches.
        backward: rows whose gradient comes back through it, in batches.
        plain_steps: operations, in those of the plain step.
        labelled: share of the rows that have a label.
        classes: of the posterior; 0 is for start and end.
        reuse: whether the cross-entropy may be differentiated early.
    """

    regularizer: Regularizer | None
    forward: float
    backward: float
    plain_steps: float
    labelled: float = 1.0
    classes: int = 2
    reuse: bool = False


CASES = {
    "none": Case(None, 1, 1, 1),
    "none, half unlabelled": Case(None, 0.5, 0.5, 0.5, labelled=0.5),
    "rdrop, both sides": Case(RDrop("shl"), 2, 2, 2),
    "rpt, both sides": Case(RPT("shl"), 2, 2, 2),
    "rpt, both sides, half unlabelled": Case(RPT("shl"), 2, 2, 2, labelled=0.5),
    "rpt, detached": Case(RPT("kl"), 2, 2, 2),
    "rpt, detached, half unlabelled": Case(RPT("kl"), 2, 1.5, 5 / 3, labelled=0.5),
    "rpt, detached, shared masks, half unlabelled": Case(RPT("kl", dropout="shared"), 2, 1.5, 5 / 3, labelled=0.5),
    "rpt, detached, nothing labelled": Case(RPT("kl"), 2, 1, 4 / 3, labelled=0.0),
    "vat exact, both sides": Case(VAT("shl"), 2, 3, 7 / 3),
    "vat exact, both sides, half unlabelled": Case(VAT("shl"), 2, 3, 7 / 3, labelled=0.5),
    "vat exact, detached": Case(VAT("kl"), 2, 3, 7 / 3),
    "vat exact, detached, reuse": Case(VAT("kl"), 2, 2, 2, reuse=True),
    "vat exact, detached, reuse, half unlabelled": Case(VAT("kl"), 2, 2, 11 / 6, labelled=0.5, reuse=True),
    "vat exact, detached, half unlabelled": Case(VAT("kl"), 2, 2.5, 2, labelled=0.5),
    "vat exact, detached, nothing labelled": Case(VAT("kl"), 2, 2, 5 / 3, labelled=0.0),
    "vat exact, both sides, nothing to reuse": Case(VAT("shl"), 2, 3, 7 / 3, reuse=True),
    "vat exact, three classes": Case(VAT("shl"), 2, 4, 8 / 3, classes=3),
    "vat exact, ten classes": Case(VAT("shl"), 2, 11, 15 / 3, classes=10),
    "vat exact, thirty classes": Case(VAT("shl"), 3, 4, 9 / 3, classes=30),
    "vat exact, thirty classes, detached, nothing labelled": Case(VAT("kl"), 3, 3, 7 / 3, labelled=0.0, classes=30),
    "vat exact, thirty classes, two rounds": Case(VAT("shl", rounds=2), 4, 5, 11 / 3, classes=30),
    "vat exact, thirty classes, no round": Case(VAT("shl", rounds=0), 2, 3, 7 / 3, classes=30),
    "vat exact, thirty classes, three products": Case(VAT("shl", products=3, rounds=0), 2, 5, 9 / 3, classes=30),
    "vat exact, answers": Case(VAT("shl"), 3, 5, 10 / 3, classes=0),
    "vat exact, answers, no round": Case(VAT("shl", rounds=0), 2, 4, 8 / 3, classes=0),
    "vat power, one step": Case(VAT("shl", search="power"), 3, 3, 8 / 3),
    "vat power, one step, detached": Case(VAT("kl", search="power"), 3, 3, 8 / 3),
    "vat power, three steps": Case(VAT("shl", search="power", steps=3), 5, 5, 12 / 3),
    "at": Case(AdversarialTraining(), 2, 3, 7 / 3),
    "at, half unlabelled": Case(AdversarialTraining(), 1, 1.5, 7 / 6, labelled=0.5),
    "jr, one projection": Case(JacobianRegularizer(1), 1, 2, 2),
    "wjr, one projection": Case(JacobianRegularizer(1, weighted=True), 1, 2, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_passes(name: str) -> None:
    case = CASES[name]
    model, batch = made(case)
    objective = Objective(case.regularizer)

    def step() -> None:
        objective(model, batch, backward=Tensor.backward if case.reuse else None).loss.backward()

    step()  # the self-test's own passes
    rows = count_rows(model, step)
    assert (rows["forward"] / ROWS, rows["backward"] / ROWS) == (case.forward, case.backward)
    labelled = {**batch, "labels": torch.ones_like(batch["labels"])}
    slack = 0.02 if case.classes == 2 else 0.1  # attention and algebra on several products, much at this size
    plain = count_operations(lambda: Objective(None)(model, labelled).loss.backward())
    assert count_operations(step) / plain == pytest.approx(case.plain_steps, rel=slack)


def made(case: Case) -> tuple[nn.Module, dict[str, Any]]:
    # Of short rows attention, which has no weights, is a small part; answers need more places than an exact search tells apart.
    batch = tiny_batch(ROWS, tokens=2 if case.classes else 16, pad=0)
    labels = torch.ones((ROWS,) if case.classes else (ROWS, 2), dtype=torch.int64)
    labels[round(ROWS * case.labelled) :] = -100
    model = tiny_bert(num_labels=case.classes) if case.classes else tiny_reader()
    return model, {**batch, "labels": labels, "row_id": torch.arange(ROWS)}


@pytest.mark.parametrize("regularizer", [RPT("kl"), VAT("kl"), VAT("shl"), VAT("kl", search="power")])
def test_a_distributed_wrapper_runs_once(regularizer: Regularizer) -> None:
    """Its forward pass waits for all processes, which may hold other mixes of rows."""
    for labelled in (0, 3, ROWS):
        model, batch = made(Case(regularizer, 0, 0, 0, labelled=labelled / ROWS))
        wrapper = Wrapper(model)
        parts = Objective(regularizer)(wrapper, batch, backward=Tensor.backward)
        assert wrapper.calls == 1
        parts.loss.backward()


class Wrapper(nn.parallel.DistributedDataParallel):
    """Counts its forward passes; joins no process group."""

    def __init__(self, module: nn.Module) -> None:
        nn.Module.__init__(self)
        self.module = module
        self.calls = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.module(*args, **kwargs)
