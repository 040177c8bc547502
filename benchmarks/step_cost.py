"""What a training step costs, in plain fine-tuning steps: `python -m benchmarks.step_cost`.

Every method trains the same encoder on the same token numbers, through its Trainer, loader and optimizer included, to classify and
to answer questions. All take turns for a few steps at a time, so that a machine whose speed drifts treats them alike; ratios are
of medians in one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
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


def trainers(
    model: Any, plain: list[dict[str, Any]], rows: list[dict[str, Any]], args: TrainingArguments
) -> dict[str, tuple[Trainer, Clock]]:
    """A trainer and its clock for each method; `plain` has the labels that transformers' own Trainer wants."""
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
    made["plain Trainer"] = (Trainer(model, args, train_dataset=plain, callbacks=[clock]), clock)
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


def models(*, tiny: bool) -> dict[str, Any]:
    """The same encoder with either head."""
    heads = {"classification": AutoModelForSequenceClassification, "question answering": AutoModelForQuestionAnswering}
    if tiny:
        config = BertConfig(vocab_size=500, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
        return {task: head.from_config(config) for task, head in heads.items()}
    return {
        task: head.from_pretrained(embedded_encoder(), num_labels=2, dtype=torch.float32)
        for task, head in heads.items()
    }


def measure(*, batch: int, tokens: int, steps: int, rounds: int, tiny: bool) -> dict[str, Any]:
    """Median seconds of a step for each task and method."""
    ids = torch.randint(3, 500, (batch * steps, tokens), generator=torch.Generator().manual_seed(0)).tolist()
    inputs = [{"input_ids": row, "attention_mask": [1] * tokens} for row in ids]
    classes = [{**row, "labels": i % 2} for i, row in enumerate(inputs)]
    ends = [(tokens // 2, tokens // 2 + i % 3) for i in range(len(inputs))]
    asked = [{**row, "start_positions": s, "end_positions": e} for row, (s, e) in zip(inputs, ends, strict=True)]
    answered = [
        {**row, "labels": list(span), "passage": [tokens // 4, tokens - 2, -1]}
        for row, span in zip(inputs, ends, strict=True)
    ]
    rows = {"classification": (classes, classes), "question answering": (asked, answered)}
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
        made = {task: trainers(model, *rows[task], args) for task, model in models(tiny=tiny).items()}
        turns = [
            trainer
            for methods in zip(*(found.values() for found in made.values()), strict=True)
            for trainer, _ in methods
        ]
        for _ in range(rounds):
            for trainer in turns:
                trainer.train()
    medians = {
        task: {name: statistics.median(clock.seconds) for name, (_, clock) in found.items()}
        for task, found in made.items()
    }
    return {
        "batch": batch,
        "tokens": tokens,
        "steps_per_method": (steps - 1) * rounds,
        "median_seconds": medians,
        "plain_steps": {
            task: {name: value / found["plain Trainer"] for name, value in found.items()}
            for task, found in medians.items()
        },
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
    ratios, seconds = result["plain_steps"], result["median_seconds"]
    tasks = list(ratios)
    rows = [
        [
            name,
            *(f"{ratios[task][name]:.2f} ({seconds[task][name]:.3f} s)" for task in tasks),
            f"≤ {LIMITS[name]}" if name in LIMITS else "",
        ]
        for name in ratios[tasks[0]]
    ]
    show("cost of a training step, in plain steps", ["method", *tasks, "limit"], rows)
    print(write("step_cost", result, folder))


if __name__ == "__main__":
    main()
