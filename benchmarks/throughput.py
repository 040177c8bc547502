"""Real tokens a second from end to end: `python -m benchmarks.throughput`; needs $SSL_PDR_DATA.

One pass over 2,000 sentences of SST-2 by what `ssl-pdr train --reg vat` runs, which takes every sentence through the model
twice and pads to the longest of a batch of like lengths, against transformers' own Trainer, which trains plainly and pads to
128 as its examples do. Same model, batch, rate and rows; the two take turns, and pairs are compared. A real token is one
that is no padding, counted once for each sentence. Only the training is timed: not the start, not the evaluation.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from benchmarks.methods import model as build_model
from benchmarks.report import parser, real_data, show, write
from ssl_pdr import TrainConfig, train
from ssl_pdr.cli.live import quiet
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.tasks.base import load_tokenizer

SEED, LENGTH, BATCH, RATE = 0, 128, 32, 3e-4


@dataclass(frozen=True)
class Sizes:
    """How much is measured; `shape` is that of the model."""

    shape: str
    sentences: int
    repeats: int


SIZES = {"full": Sizes("minilm-l6", 2000, 3), "quick": Sizes("minilm-l6", 128, 1), "tiny": Sizes("toy", 64, 1)}


def sentences(folder: Path, count: int) -> Path:
    """The file of the first `count` sentences in `folder`, which both trainings read."""
    source = real_data() / "sst2" / "train_sentences.tsv.gz"
    path = folder / "train.tsv"
    pd.read_csv(source, sep="\t", quoting=3).head(count).to_csv(path, sep="\t", index=False, quoting=3)
    return path


def model_folder(folder: Path, shape: str) -> Path:
    """A model with its tokenizer: the embedded encoder as it is, or a random one of another shape."""
    if shape == "minilm-l6":
        return embedded_encoder()
    tokenizer = load_tokenizer(str(embedded_encoder()))
    made = build_model(shape, words=len(tokenizer))
    made.save_pretrained(folder / shape)
    tokenizer.save_pretrained(folder / shape)
    return folder / shape


def ours(data: Path, model: Path, folder: Path, *, labelled: float) -> dict[str, float]:
    """Seconds and steps of the command's training, called in this process."""
    config = TrainConfig(
        data=str(data),
        eval=str(real_data() / "sst2" / "dev.tsv"),
        eval_limit=32,
        model=str(model),
        reg="vat",
        labelled_frac=labelled,
        batch_size=BATCH,
        max_length=LENGTH,
        epochs=1,
        lr=RATE,
        seed=SEED,
        output=str(folder / "run"),
    )
    timing = train(config, overwrite=True)["timing"]
    return {"seconds": timing["train_seconds"], "steps": timing["steps"]}


def plain(data: Path, shape: str, folder: Path) -> dict[str, float]:
    """Seconds and steps of a plain Trainer on rows padded to `LENGTH`."""
    table = pd.read_csv(data, sep="\t", quoting=3)
    tokenizer = load_tokenizer(str(embedded_encoder()))
    encoded = tokenizer(table.iloc[:, 0].tolist(), truncation=True, max_length=LENGTH, padding="max_length")
    names = ("input_ids", "attention_mask")
    rows = Dataset.from_dict(
        {**{name: encoded[name] for name in names}, "labels": table.iloc[:, 1].astype(int).tolist()}
    )
    args = TrainingArguments(
        output_dir=str(folder / "plain"),
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        seed=SEED,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(build_model(shape, words=len(tokenizer)), args, train_dataset=rows)
    trainer.remove_callback(PrinterCallback)
    start = time.perf_counter()
    outcome = trainer.train()
    return {"seconds": time.perf_counter() - start, "steps": outcome.global_step}


def real_tokens(data: Path) -> tuple[int, int]:
    """Tokens of all sentences without padding, and how many sentences there are."""
    text = pd.read_csv(data, sep="\t", quoting=3).iloc[:, 0].tolist()
    found = load_tokenizer(str(embedded_encoder()))(text, truncation=True, max_length=LENGTH)["input_ids"]
    return sum(map(len, found)), len(found)


def measure(sizes: Sizes) -> dict[str, Any]:
    """Both, and ours with half of the labels, in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, model = sentences(folder, sizes.sentences), model_folder(folder, sizes.shape)
        tokens, rows = real_tokens(data)
        runs: dict[str, list[dict[str, float]]] = {"plain, padded to 128": [], "vat": [], "vat, half of the labels": []}
        for _ in range(sizes.repeats):
            runs["plain, padded to 128"].append(plain(data, sizes.shape, folder))
            runs["vat"].append(ours(data, model, folder, labelled=1.0))
            runs["vat, half of the labels"].append(ours(data, model, folder, labelled=0.5))
    base = [run["seconds"] for run in runs["plain, padded to 128"]]
    found = {}
    for name, made in runs.items():
        speeds = [tokens / run["seconds"] for run in made]
        pairs = [b / run["seconds"] for b, run in zip(base, made, strict=True)]
        found[name] = {
            "tokens_per_second": statistics.median(speeds),
            "times_plain": statistics.median(pairs),
            "range": [min(pairs), max(pairs)],
            "steps": made[0]["steps"],
            "seconds": [run["seconds"] for run in made],
        }
    return {"sentences": rows, "real_tokens": tokens, "batch": BATCH, "runs": found}


def main(arguments: list[str] | None = None) -> None:
    options = parser(__doc__).parse_args(arguments)
    real_data()  # before anything is measured
    quiet()
    found = measure(SIZES[options.size])
    rows = [
        [
            name,
            f"{run['tokens_per_second']:,.0f}",
            f"{run['times_plain']:.2f} ({run['range'][0]:.2f}–{run['range'][1]:.2f})",
        ]
        for name, run in found["runs"].items()
    ]
    show("real tokens a second, training", ["", "tokens/s", "times plain (range)"], rows)
    print(write("throughput", {**found, "size": options.size}, options.output))


if __name__ == "__main__":
    main()
