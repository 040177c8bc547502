"""`log.jsonl`: what each of its lines says, in JSON that every reader takes."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback

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
    "noise_norm": "mean norm of a token's noise as the dtype realises it",
    "noise_kept": "share of the noise that the dtype keeps, in [0, 1]",
    "r_rounding": "R where nothing but rounding moves the embeddings",
    "r_above_rounding": "share of R that is more than rounding, in [0, 1]; absent with `align`",
}


class FiniteLog(TrainerCallback):
    """Make what is not finite null, for callbacks that come later: JSON knows neither NaN nor Infinity.

    A gradient's norm may be infinite while training goes on, in fp16 above all.
    """

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Look through what is about to be written."""
        for name, value in (logs or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                logs[name] = None  # type: ignore[index]
