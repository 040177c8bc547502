"""Who pulls the model, the labels or R: the gradients of both parts of the loss, measured now and then while a run trains."""

from __future__ import annotations

import copy
import math
import weakref
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from ssl_pdr.objective import Objective
from ssl_pdr.outputs import UNLABELLED, is_labelled

_TIMES = 4
_LEAST_APART = 50


class Balance(TrainerCallback):
    """Measure |α ∇R| / |∇CE| on the first batch of the epoch, four times in a run and at least 50 steps apart.

    The values of α · R and of CE do not tell: where R prevails it makes itself small. A measurement costs about one step. It changes nothing:
    generators, gradients and running means stay as they were. Streams are not read for it, and adversarial
    training has no R to compare.

    What is found is logged as `r_gradient`, so that it is there after a resume, too.

    Args:
        trainer: a `PDRTrainer`.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = weakref.proxy(trainer)  # it holds this

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure, where it is time to."""
        regularizer = self._trainer.objective.regularizer
        apart = max(math.ceil(state.max_steps / _TIMES), _LEAST_APART)
        if state.global_step % apart or regularizer is None or regularizer.labelled_only:
            return
        loader = kwargs["train_dataloader"]
        if not loader.batch_sampler.batch_sampler.n_streams:
            self._trainer.note("r_gradient", self._measured(loader, args.device) if args.process_index == 0 else 0.0)

    def _measured(self, loader: Any, device: torch.device) -> float:
        """The ratio on the first batch of the epoch; NaN where that has no label."""
        self._trainer.model.train()  # as the step does that follows; a model as it was loaded, or evaluated, has no dropout
        rows = loader.collate_fn(loader.dataset.take(next(iter(loader.batch_sampler))))
        if not bool(is_labelled(rows["labels"]).any()):
            return math.nan
        return self._ratio({name: value.to(device) for name, value in rows.items()})

    def _ratio(self, batch: dict[str, Any]) -> float:
        objective = copy.copy(self._trainer.objective)
        objective.marginals = copy.deepcopy(objective.marginals)  # a batch that is looked at is not counted
        without_labels = {**batch, "labels": torch.full_like(batch["labels"], UNLABELLED)}
        devices = [batch["labels"].device] if batch["labels"].is_cuda else []
        with torch.random.fork_rng(devices):
            r = self._norm(objective(self._trainer.model, without_labels).loss)
            ce = self._norm(Objective(None)(self._trainer.model, batch).loss)
        return r / ce if ce else math.inf

    def _norm(self, loss: Tensor) -> float:
        weights = [weight for weight in self._trainer.model.parameters() if weight.requires_grad]
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        norms = [torch.linalg.vector_norm(g.float()) for g in gradients if g is not None]
        return float(torch.stack(norms).norm())
