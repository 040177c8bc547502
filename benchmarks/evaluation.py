"""How fast questions are answered: `python -m benchmarks.evaluation --data squad --data-dir DIR`.

Windows sorted by length, none padded beyond its batch, against a loop that pads every window to the maximum, as published scripts
do: the same model, the same windows, turn by turn in one run. And decoding alone, on one core, for the whole set.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForQuestionAnswering, PrinterCallback, Trainer, TrainingArguments
from transformers import logging as transformers_logging

from benchmarks.report import RESULTS, show, write
from ssl_pdr.choices import EMBEDDED_ENCODER
from ssl_pdr.data.catalogue import find_named
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.data.evaluation_sets import EvaluationSet, question_scoring
from ssl_pdr.data.questions import read_questions
from ssl_pdr.data.readers import Reading
from ssl_pdr.evaluation import predict_logits
from ssl_pdr.tasks import QuestionAnswering
from ssl_pdr.tasks.base import load_tokenizer

LIMITS = {"forward": 1.5, "decode_seconds": 20.0}


def padded_loop(model: Any, features: Any, max_length: int, batch: int, pad: int) -> None:
    """Every window padded to `max_length`, in the order of the file."""
    kept = features.select_columns(["input_ids", "attention_mask"])
    for start in range(0, len(kept), batch):
        rows = kept[start : start + batch]
        ids, mask = (
            torch.tensor([row + [value] * (max_length - len(row)) for row in rows[name]])
            for name, value in (("input_ids", pad), ("attention_mask", 0))
        )
        with torch.no_grad():
            model(input_ids=ids, attention_mask=mask)


def measure(
    data: str, data_dir: str | None, questions: int, max_length: int, rounds: int, batch: int
) -> dict[str, Any]:
    """Windows a second of both ways on the first questions, and seconds of decoding for all of them."""
    named = find_named(data)
    read = read_questions(data, reading=Reading(data_dir=data_dir), part=named.evaluation if named else "train")
    tokenizer, task = load_tokenizer(EMBEDDED_ENCODER), QuestionAnswering()
    every = EvaluationSet(data, read.rows, question_scoring(read.labels.tolist()), read.keys)
    some = every.limited(questions)
    features = task.features(some.rows, tokenizer, max_length)
    model = AutoModelForQuestionAnswering.from_pretrained(embedded_encoder(), dtype=torch.float32).eval()
    seconds: dict[str, list[float]] = {"sorted by length": [], "padded to the maximum": []}
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(
            output_dir=folder,
            per_device_eval_batch_size=batch,
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
        trainer = Trainer(model, args, data_collator=PaddingCollator.like(tokenizer))
        trainer.remove_callback(PrinterCallback)
        for _ in range(rounds):
            for way, run in {
                "sorted by length": lambda: predict_logits(trainer, features),
                "padded to the maximum": lambda: padded_loop(
                    model, features, max_length, batch, tokenizer.pad_token_id
                ),
            }.items():
                began = time.perf_counter()
                run()
                seconds[way].append(time.perf_counter() - began)
    whole = task.features(every.rows, tokenizer, max_length)
    width = max(map(len, whole["input_ids"]))
    logits = np.random.default_rng(0).normal(size=(2, len(whole), width)).astype(np.float32)
    torch.set_num_threads(1)
    began = time.process_time()
    task.judge((logits[0], logits[1]), whole, every)
    decoding = time.process_time() - began
    medians = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "data": data,
        "questions": len(some.rows),
        "windows": len(features),
        "max_length": max_length,
        "windows_per_second": {way: len(features) / value for way, value in medians.items()},
        "throughput_ratio": medians["padded to the maximum"] / medians["sorted by length"],
        "decoded_questions": len(every.rows),
        "decode_cpu_seconds": decoding,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="squad", help="a named set or a file of questions")
    parser.add_argument("--data-dir")
    parser.add_argument("--questions", type=int, default=400, help="of the forward passes")
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = vars(parser.parse_args())
    folder = options.pop("output")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    result = measure(**options)
    speed = result["windows_per_second"]
    rows = [[way, f"{value:.1f}"] for way, value in speed.items()]
    rows.append(["ratio", f"{result['throughput_ratio']:.2f} (≥ {LIMITS['forward']})"])
    rows.append(
        [
            f"decode {result['decoded_questions']} questions",
            f"{result['decode_cpu_seconds']:.1f} s (< {LIMITS['decode_seconds']:g})",
        ]
    )
    show(f"windows a second, {result['questions']} questions", ["", ""], rows)
    print(write("evaluation", result, folder))


if __name__ == "__main__":
    main()
