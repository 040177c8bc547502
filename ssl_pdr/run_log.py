"""`log.jsonl`: what each of its lines says, in JSON that every reader takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# What each line has. Means are over the optimizer steps since the line before, and over all processes.
ALWAYS = {
    "step": "optimizer steps taken",
    "epoch": "passes over the data",
    "loss": "mean of the whole loss, CE + α · R",
    "grad_norm": "norm of its gradient at the last step, before it is clipped",
    "learning_rate": "of the next step",
    "ce": "mean cross-entropy of labelled rows",
    "r": "mean R of all rows, without α; 0 without a regularizer",
    "accuracy": "share of labelled rows that are right, in [0, 1]",
    "labelled_share": "labelled rows among all, in [0, 1]",
    "r_row_weight": "what R of one row weighs beside the CE of one labelled row",
}
# What is measured at every 50th step, where the regularizer has it.
SOMETIMES = {
    "r_zero_noise": "R without noise: the share of dropout; absent where it is 0 by definition",
    "r_gradient": "norm of α ∇R beside that of ∇CE, on one batch, at most four times in a run and 50 steps apart; null where that has no label",
    "noise_norm": "mean norm of a token's noise as the dtype realises it",
    "noise_kept": "share of the noise that the dtype keeps, in [0, 1]",
    "r_rounding": "R where nothing but rounding moves the embeddings",
    "r_above_rounding": "share of R that is more than rounding, in [0, 1]; absent with `align`",
}


def finite(entry: Mapping[str, Any]) -> dict[str, Any]:
    """An entry in which null stands for what is not finite: JSON knows neither NaN nor Infinity.

    A gradient's norm may be infinite while training goes on, in fp16 above all.

    Example:
        >>> finite({"step": 1, "grad_norm": math.inf})
        {'step': 1, 'grad_norm': None}
    """
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in entry.items()
    }
