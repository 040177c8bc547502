"""What a step does, counted without a clock: passes through an encoder layer by row, products of matrices, memory."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from benchmarks.memory import peak_bytes
from benchmarks.pairs import Step
from ssl_pdr.curves.compute import count_operations


def counts(model: nn.Module, step: Step, rows: int, clear: Step) -> dict[str, Any]:
    """What one step of `rows` rows takes: passes in batches, operations, bytes; `clear` is called ahead of each step."""
    step()  # a regularizer tests its site the first time
    clear()
    passes = {name: count / rows for name, count in count_rows(model, step).items()}
    clear()
    operations = count_operations(step)
    clear()
    peak = peak_bytes(step, next(model.parameters()).device)
    clear()
    return {"passes": passes, "operations": operations, "peak_bytes": peak}


def in_plain_steps(cell: dict[str, Any], plain: dict[str, Any]) -> None:
    """Add what operations and memory are in those of the plain step."""
    cell["plain_operations"] = cell["operations"] / plain["operations"]
    cell["plain_peaks"] = cell["peak_bytes"] / plain["peak_bytes"]


def count_rows(model: nn.Module, step: Step) -> dict[str, int]:
    """How many rows go forward through the first encoder layer in one step, and how many gradients come back.

    A gradient that is differentiated once more comes back twice.
    """
    rows = {"forward": 0, "backward": 0}

    def back(gradient: Tensor) -> None:
        rows["backward"] += len(gradient)

    def forward(_: nn.Module, __: Any, output: Any) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]
        rows["forward"] += len(hidden)
        if hidden.requires_grad:
            hidden.register_hook(back)

    handle = encoder_layer(model).register_forward_hook(forward)
    try:
        step()
    finally:
        handle.remove()
    return rows


def encoder_layer(model: nn.Module) -> nn.Module:
    """The first layer of the first stack of layers."""
    stack = next(module for module in model.modules() if isinstance(module, nn.ModuleList))
    return stack[0]
