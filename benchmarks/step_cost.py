"""What a training step costs, in plain fine-tuning steps: `python -m benchmarks.step_cost`.

Every method trains the same encoder on the same rows, through its Trainer, loader and optimizer included. The methods take
turns for a few steps at a time, so that a machine whose speed drifts treats them alike; ratios are of medians in one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, BertConfig, Trainer, TrainerCallback, TrainingArguments
from transformers import logging as transformers_logging

from benchmarks.report import RESULTS, show, write
from ssl_pdr import RPT, VAT, JacobianRegularizer, PDRTrainer, RDrop
from ssl_pdr.data.encoder import embedded_encoder

# Upper bounds that we hold ourselves to.
LIMITS = {"alpha 0": 1.05, "rpt": 2.2, "vat": 2.9}


class Clock(TrainerCallback):
    """Seconds from the end of one step to the end of the next: loader, passes and optimizer."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._last = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        if self._last is not None:  # the first step of each turn warms up
            self.seconds.append(now - self._last)
        self._last = now


def trainers(model: Any, rows: list[dict[str, Any]], args: TrainingArguments) -> dict[str, tuple[Trainer, Clock]]:
    """A trainer and its clock for each method."""
    methods: dict[str, Any] = {
        "alpha 0": (RPT("shl"), 0.0),
        "rdrop": (RDrop("shl"), 1.0),
        "rpt": (RPT("shl"), 1.0),
        "vat": (VAT("shl"), 1.0),
        "vat (kl, target detached)": (VAT("kl"), 1.0),
        "jr, 1 projection": (JacobianRegularizer(1), 1.0),
    }
    made: dict[str, tuple[Trainer, Clock]] = {}
    clock = Clock()
    made["plain Trainer"] = (Trainer(model, args, train_dataset=rows, callbacks=[clock]), clock)
    for name, (regularizer, alpha) in methods.items():
        clock = Clock()
        trainer = PDRTrainer(
            model,
            args,
            train_dataset=rows,
            regularizer=regularizer,
            alpha=alpha,
            zero_noise_every=0,
            callbacks=[clock],
        )
        made[name] = (trainer, clock)
    return made


def measure(*, batch: int, tokens: int, steps: int, rounds: int, tiny: bool) -> dict[str, Any]:
    """Median seconds of a step for each method."""
    if tiny:
        config = BertConfig(vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(
            embedded_encoder(), num_labels=2, dtype=torch.float32
        )
    ids = torch.randint(3, 500, (batch * steps, tokens), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [{"input_ids": row, "attention_mask": [1] * tokens, "labels": i % 2} for i, row in enumerate(ids)]
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=batch,
            max_steps=steps,
            learning_rate=1e-6,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        made = trainers(model, rows, args)
        for _ in range(rounds):
            for trainer, _ in made.values():
                trainer.train()
    seconds = {name: clock.seconds for name, (_, clock) in made.items()}
    plain = statistics.median(seconds["plain Trainer"])
    return {
        "batch": batch,
        "tokens": tokens,
        "steps_per_method": len(seconds["plain Trainer"]),
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "plain_steps": {name: statistics.median(values) / plain for name, values in seconds.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6, help="of each method in each round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tiny", action="store_true", help="a model of a few thousand parameters, to try it out")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = vars(parser.parse_args())
    folder = options.pop("output")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    result = measure(**options)
    rows = [
        [name, f"{result['median_seconds'][name]:.3f}", f"{ratio:.2f}", f"≤ {LIMITS[name]}" if name in LIMITS else ""]
        for name, ratio in result["plain_steps"].items()
    ]
    show("cost of a training step", ["method", "seconds", "plain steps", "limit"], rows)
    print(write("step_cost", result, folder))


if __name__ == "__main__":
    main()
