"""What a step costs, counted without a clock: operations of all products of matrices, in those of a plain step."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch.autograd import backward
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ssl_pdr.config import TrainConfig
from ssl_pdr.data.collate import MixedCollator, PaddingCollator, mix
from ssl_pdr.loading import Loaded, autocast_of, load
from ssl_pdr.objective import Objective
from ssl_pdr.progress import Silent
from ssl_pdr.shelf import Shelf

# What a step costs the same with.
_FREE = ("seed", "labelled_frac", "max_steps", "lr", "weight_decay", "warmup_frac", "radius", "output")


class Costs:
    """Relative costs of configurations, each counted once.

    Args:
        shelf: what other plans of the process have read.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._known: dict[str, float] = {}

    def of(self, config: TrainConfig) -> float:
        """What a step costs, in plain steps; see `relative_cost`.

        Args:
            config: resolved; its `batch_size` says whether there is a pool of unlabelled rows.
        """
        decides = {name: value for name, value in vars(config).items() if name not in _FREE}
        key = str({**decides, "alpha": config.alpha > 0})
        if key not in self._known:
            self._known[key] = relative_cost(config, self.shelf)
        return self._known[key]


def relative_cost(config: TrainConfig, shelf: Shelf | None = None) -> float:
    """Operations of one optimizer step of a run, in those of a plain step of the labelled rows that it holds.

    Counted on the first mixed batch of the run and on its real model, backward passes with it. Rows are as long on both
    sides: it tells what a method does with a row, not that a corpus of longer texts has more to compute.

    Args:
        config: resolved.
        shelf: what other runs of the process have read.

    Returns:
        Above 0; 1 for plain fine-tuning.

    Raises:
        PDRError: for data or a model that cannot be used.
    """
    loaded = load(config, Silent(), shelf)
    model = loaded.model.train()
    batch = _first_batch(loaded)

    def operations(objective: Objective) -> int:
        with autocast_of(config.precision):
            return count_operations(lambda: backward(objective(model, batch, backward=backward).loss))

    method = operations(Objective(loaded.regularizer, config.alpha, config.align))
    return method / operations(Objective(None))


def _first_batch(loaded: Loaded) -> dict[str, Any]:
    config, materials = loaded.config, loaded.materials
    columns = {*inspect.signature(loaded.model.forward).parameters, "passage"}
    rows, batches = mix(materials.labelled, materials.unlabelled, columns, config.batch_size, config.ratio, config.seed)
    return MixedCollator(PaddingCollator.like(materials.tokenizer))(rows.take(next(iter(batches))))


def count_operations(step: Callable[[], object]) -> int:
    """Floating-point operations of all products of matrices in one step, with attention in its plain form.

    It tells a backward pass to the embeddings alone from one to the weights too, which costs twice as much.

    Example:
        >>> import torch
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> count_operations(lambda: (x @ torch.ones(3, 4)).sum().backward())  # 2 · 2 · 3 · 4 each way
        96
    """
    with sdpa_kernel(SDPBackend.MATH), _Operations() as counter:
        step()
    return int(counter.total)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """torch's own formulas; its own counter watches modules too, which `autograd.grad` to a leaf does not bear."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total: int = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if (formula := flop_registry.get(function.overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output
