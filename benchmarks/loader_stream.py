"""A part of `benchmarks.loader`: memory while a corpus is streamed, and the rows of a run that is killed and resumed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ssl_pdr import RPT, PDRTrainer
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.readers import Reading, read_rows
from ssl_pdr.data.streams import Stream

ROOT = Path(__file__).parent.parent
BATCH, RATIO = 256, 7
WORDS = ("corpus", "of", "words", "that", "nobody", "reads", "from", "first", "to", "last")


def generate(path: Path, size: int) -> int:
    """A jsonl file of about `size` bytes, rows of 0.2 to 4 kB; how many rows it has."""
    chance = np.random.default_rng(0)
    texts = [" ".join(chance.choice(WORDS, int(n))) for n in chance.integers(40, 800, 500)]
    rows = written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            block = "".join(f'{{"n": {rows + n}, "text": "{texts[(rows + n) * 7 % 500]}"}}\n' for n in range(2_000))
            written += file.write(block)
            rows += 2_000
    return rows


class Lines:
    """The rows of a file from its beginning, at each iteration anew."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (row for _, row in read_rows(self.path, Reading(), Counter()))


def encode(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """A row's number in two tokens, and more tokens for longer texts."""
    made = [[row["n"] % 1_000, row["n"] // 1_000 % 5_000] + [5] * (len(row["text"]) // 200) for row in rows]
    return [{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in made]


class Noted(PDRTrainer):
    """Notes, step by step, which rows it trains on: their ids and the numbers that they carry."""

    notes: Any
    dies_at: int | None

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        batches, count = super().get_batch_samples(*args, **kwargs)
        rows = [
            [*row]
            for batch in batches
            for row in zip(batch["row_id"].tolist(), *batch["input_ids"][:, :2].T.tolist(), strict=True)
        ]
        self.notes.write(json.dumps([self.state.global_step, sorted(rows)]) + "\n")
        self.notes.flush()
        if self.state.global_step == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return batches, count


def train(corpus: Path, folder: Path, steps: int, every: int, *, dies_at: int | None, resume: bool) -> None:
    """A tiny model on 32 labelled rows and 224 of the stream in each step."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5_000, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    labelled = encode([{"n": n, "text": "a" * (n % 4_000)} for n in range(1_600)])
    trainer = Noted(
        BertForSequenceClassification(config),
        TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=BATCH,
            max_steps=steps,
            save_steps=every,
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=[{**row, "labels": n % 2} for n, row in enumerate(labelled)],
        unlabelled_dataset=Stream(Lines(corpus), encode),
        regularizer=RPT("shl"),
        ratio=RATIO,
        zero_noise_every=0,
        data_collator=PaddingCollator({"input_ids": 0, "attention_mask": 0}),
    )
    trainer.dies_at = dies_at
    with (folder / "rows.jsonl").open("a") as trainer.notes, (folder / "memory.jsonl").open("a") as memory:
        over = threading.Event()
        watch = threading.Thread(target=_watch, args=(memory, trainer, over))
        watch.start()
        try:
            trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if resume else None)
        finally:
            over.set()
            watch.join()


def _watch(file: Any, trainer: PDRTrainer, over: threading.Event) -> None:
    while not over.wait(0.05):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        file.write(json.dumps([trainer.state.global_step, pages * os.sysconf("SC_PAGE_SIZE") / 2**20]) + "\n")


def measure(scratch: Path, size: int, steps: int, every: int) -> dict[str, Any]:
    """One run that is left alone; one that is killed between two checkpoints, and resumed."""
    corpus = scratch / "corpus.jsonl"
    n_rows = generate(corpus, size)
    whole, killed = scratch / "whole", scratch / "killed"
    dies_at = 3 * every // 2
    with (
        _run(corpus, whole, steps, every) as alone,
        _run(corpus, killed, steps, every, f"--dies-at={dies_at}") as doomed,
    ):
        _expect(doomed, -signal.SIGKILL, killed)
        _expect(alone, 0, whole)
    before = dict(_lines(killed / "rows.jsonl"))
    (killed / "rows.jsonl").unlink()
    with _run(corpus, killed, steps, every, "--resume") as resumed:
        _expect(resumed, 0, killed)
    after, expected = dict(_lines(killed / "rows.jsonl")), dict(_lines(whole / "rows.jsonl"))
    memory = [sample for sample in _lines(whole / "memory.jsonl") if sample[0] > 0]
    thirds = [[mb for step, mb in memory if k * steps <= 3 * step < (k + 1) * steps] for k in (1, 2)]
    resident = [float(np.median(third)) for third in thirds]
    return {
        "corpus_bytes": corpus.stat().st_size,
        "corpus_rows": n_rows,
        "steps": steps,
        "streamed_rows": sum(row >= 1_600 for rows in expected.values() for row, *_ in rows),
        "resident_mb": resident,
        "growth": resident[1] / resident[0] - 1,
        "killed_in_step": max(before),
        "resumed_from_step": min(after),
        "steps_compared": len(before) + len(after),
        "rows_equal": {**before, **after} == expected and all(expected[step] == rows for step, rows in before.items()),
        "memory": memory,
    }


def _run(corpus: Path, folder: Path, steps: int, every: int, *more: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    arguments = [str(corpus), str(folder), str(steps), str(every), *more]
    with (folder / "errors.txt").open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.loader_stream", *arguments],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )


def _expect(run: subprocess.Popen[bytes], code: int, folder: Path) -> None:
    if run.wait() != code:
        sys.exit(f"a run on a stream ended with {run.returncode}:\n{(folder / 'errors.txt').read_text()}")


def _lines(path: Path) -> list[Any]:
    """The lines that are whole: a kill may cut the last one short."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def plot(memory: Sequence[Sequence[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    steps, megabytes = zip(*memory[:: 1 + len(memory) // 500], strict=True)
    with plt.rc_context({"svg.hashsalt": "loader"}):
        figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
        axes.plot(steps, megabytes, linewidth=1)
        axes.set(
            xlabel="step", ylabel="resident memory, MB", ylim=(0, 1.2 * max(megabytes)), title="training on a stream"
        )
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("every", type=int)
    parser.add_argument("--dies-at", type=int)
    parser.add_argument("--resume", action="store_true")
    options = vars(parser.parse_args())
    train(options.pop("corpus"), options.pop("folder"), options.pop("steps"), options.pop("every"), **options)
