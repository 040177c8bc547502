"""What the loader costs and keeps: `python -m benchmarks.loader [--quick] [--only NAME]`, a table for each promise.

`overhead`: from tokenized rows to a batch, as a share of a plain MiniLM step. `index`: ten million rows. `padding`: what
sorting by length saves and leaves alone; needs $SSL_PDR_DATA. `streaming`: a corpus of 5 GB, a kill and a resume. `elastic`:
the same rows in the same step for any number of ranks and data workers. The whole takes 5 GB under the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from datasets import disable_progress_bars as datasets_disable_progress_bars
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    PrinterCallback,
    TrainerCallback,
    TrainingArguments,
)
from transformers import logging as transformers_logging

from benchmarks import loader_elastic, loader_index, loader_stream
from benchmarks.report import RESULTS, show, write
from ssl_pdr import PDRTrainer
from ssl_pdr.data.collate import PaddingCollator
from ssl_pdr.data.encoder import embedded_encoder
from ssl_pdr.data.mixing import MixedBatchSampler

ROOT = Path(__file__).parent.parent
Row = list[str]


# --- 1: the loader's share of a step ---


class Timed(PDRTrainer):
    """Seconds in the loader, and from the end of one step to the end of the next."""

    loading: list[float]

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        batches = super().get_batch_samples(*args, **kwargs)
        self.loading.append(time.perf_counter() - start)
        return batches


class StepClock(TrainerCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())


def overhead(quick: bool, scratch: Path) -> dict[str, Any]:
    """Plain fine-tuning, the cheapest step there is, on rows as long as the sentences of SST-2."""
    steps = 6 if quick else 40
    lengths = _sst2_lengths()
    chance = np.random.default_rng(0)
    rows = [{"input_ids": chance.integers(1_000, 30_000, n).tolist(), "token_type_ids": [0] * n} for n in lengths]
    table = Dataset.from_list([{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows])
    table = table.add_column("labels", [n % 2 for n in range(len(table))])
    if quick:
        config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2)
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(embedded_encoder(), num_labels=2, dtype="float32")
    clock = StepClock()
    trainer = Timed(
        model,
        TrainingArguments(
            output_dir=str(scratch),
            per_device_train_batch_size=32,
            max_steps=steps,
            learning_rate=1e-6,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=table,
        alpha=0.0,
        zero_noise_every=0,
        data_collator=PaddingCollator({"input_ids": 0, "token_type_ids": 0, "attention_mask": 0}),
        callbacks=[clock],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.loading = []
    trainer.train()
    loading, whole = trainer.loading[1:steps], np.diff(clock.ends).tolist()  # the first step warms up
    return {
        "batch": 32,
        "mean_tokens": float(np.mean(lengths)),
        "steps": len(whole),
        "median_loader_seconds": statistics.median(loading),
        "median_step_seconds": statistics.median(whole),
        "share_of_medians": statistics.median(loading) / statistics.median(whole),
        "share_of_sums": sum(loading) / sum(whole),
    }


def _sst2_lengths() -> list[int]:
    """Tokens of 6,920 sentences; of invented ones of like lengths where there is no SST-2."""
    folder = _data()
    if folder is not None:
        return [len(ids) for ids in _tokens(folder / "sst2/train_sentences.tsv.gz", 512, None)]
    return np.clip(np.random.default_rng(0).normal(25, 11, 6_920), 4, 66).astype(int).tolist()


def overhead_rows(result: dict[str, Any]) -> list[Row]:
    return [
        ["loader, milliseconds a batch", f"{1e3 * result['median_loader_seconds']:.2f}", ""],
        ["plain step, milliseconds", f"{1e3 * result['median_step_seconds']:.1f}", ""],
        ["share, of medians", f"{result['share_of_medians']:.2%}", "≤ 1 %"],
        ["share, of sums", f"{result['share_of_sums']:.2%}", ""],
    ]


# --- 2: ten million rows ---


def index(quick: bool, scratch: Path) -> dict[str, Any]:
    rows = 100_000 if quick else 10_000_000
    path = scratch / "rows.arrow"
    loader_index.generate(path, rows)
    command = [sys.executable, "-m", "benchmarks.loader_index", str(path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"rows": rows, "file_bytes": path.stat().st_size, **result}


def index_rows(result: dict[str, Any]) -> list[Row]:
    speeds = result["rows_per_cpu_second"]
    return [
        ["rows", f"{result['rows']:,}", ""],
        ["start-up, seconds", f"{result['startup_seconds']:.2f}", "< 2"],
        ["… opening the file, by datasets", f"{result['open_seconds']:.2f}", ""],
        ["sampler and collator, rows/s/core", f"{speeds['sampler_and_collator']:,.0f}", "≥ 20,000"],
        ["… with reading from Arrow", f"{speeds['with_reading']:,.0f}", ""],
        ["anonymous memory, MB", f"{result['anonymous_mb']:.0f}", "< 200"],
        ["… at its highest", f"{result['highest_anonymous_mb']:.0f}", "< 200"],
    ]


# --- 3: padding ---


def padding(quick: bool, scratch: Path) -> dict[str, Any]:
    folder = _data()
    if folder is None:
        return {"skipped": "needs real text: set SSL_PDR_DATA to its folder"}
    limit = 1_000 if quick else None
    corpora = {
        "SST-2": _tokens(folder / "sst2/train_sentences.tsv.gz", 512, limit),
        "IMDB, cut to 256": _tokens(folder / "imdb/test.parquet", 256, limit),
    }
    return {name: _padding(np.array([len(row) for row in rows])) for name, rows in corpora.items()}


def _padding(lengths: Any) -> dict[str, Any]:
    tenth = len(lengths) // 10
    made: dict[str, Any] = {"rows": len(lengths), "mean_tokens": float(lengths.mean())}
    for name, labelled, ratio in (("all labelled", len(lengths), "proportional"), ("a tenth labelled", tenth, 3.0)):
        plain, sorted_ = (
            MixedBatchSampler(labelled, len(lengths) - labelled, 32, ratio, lengths=found) for found in (None, lengths)
        )
        draws = [_decile_draws(batches, lengths) for batches in (plain, sorted_)]
        made[name] = {
            "random": _padding_share(plain, lengths),
            "bucketed": _padding_share(sorted_, lengths),
            "decile_draws_random": draws[0],
            "decile_draws_bucketed": draws[1],
            "deciles_equal": draws[0] == draws[1],
            "composition_equal": [[row < labelled for row in batch] for batch in plain]
            == [[row < labelled for row in batch] for batch in sorted_],
        }
    return made


def _padding_share(batches: Any, lengths: Any) -> float:
    sizes = [(len(batch) * lengths[batch].max(), lengths[batch].sum()) for batch in batches]
    padded, real = np.array(sizes).sum(axis=0)
    return float(1 - real / padded)


def _decile_draws(batches: Any, lengths: Any) -> list[int]:
    decile = np.empty(len(lengths), int)
    decile[np.argsort(lengths, kind="stable")] = np.arange(len(lengths)) * 10 // len(lengths)
    drawn: list[int] = np.bincount(decile[[row for batch in batches for row in batch]], minlength=10).tolist()
    return drawn


def padding_rows(result: dict[str, Any]) -> list[Row]:
    if "skipped" in result:
        return [["skipped", result["skipped"], ""]]
    return [
        line
        for name, corpus in result.items()
        for mix in ("all labelled", "a tenth labelled")
        for line in (
            [f"{name}, {mix}: padding", f"{corpus[mix]['bucketed']:.1%}", "≤ 8 %"],
            ["… in random batches", f"{corpus[mix]['random']:.1%}", ""],
            ["… length deciles drawn as often as at random", _yes(corpus[mix]["deciles_equal"]), "yes"],
            ["… composition of each batch unchanged", _yes(corpus[mix]["composition_equal"]), "yes"],
        )
    ]


# --- 4: streaming ---


def streaming(quick: bool, scratch: Path) -> dict[str, Any]:
    return loader_stream.measure(
        scratch, size=40_000_000 if quick else 5_000_000_000, steps=24 if quick else 600, every=6 if quick else 150
    )


def streaming_rows(result: dict[str, Any]) -> list[Row]:
    return [
        ["corpus, GB", f"{result['corpus_bytes'] / 1e9:.2f}", ""],
        ["rows of it trained on", f"{result['streamed_rows']:,}", ""],
        ["resident memory, MB: second third of the run", f"{result['resident_mb'][0]:.0f}", ""],
        ["… last third", f"{result['resident_mb'][1]:.0f}", "flat"],
        ["… growth between them", f"{result['growth']:+.1%}", "≤ 5 %"],
        ["killed in step", str(result["killed_in_step"]), ""],
        ["resumed from step", str(result["resumed_from_step"]), ""],
        [f"row ids of {result['steps_compared']} steps equal", _yes(result["rows_equal"]), "yes"],
    ]


# --- 5: elastic determinism ---


def elastic(quick: bool, scratch: Path) -> dict[str, Any]:
    return loader_elastic.measure(12 if quick else 200)


def elastic_rows(result: dict[str, Any]) -> list[Row]:
    return [[name, _yes(equal), "yes"] for name, equal in result["equal"].items()]


# --- the command ---


Measure = tuple[str, Callable[[bool, Path], dict[str, Any]], Callable[[dict[str, Any]], list[Row]]]
MEASURES: dict[str, Measure] = {
    "overhead": ("from tokenized rows to a batch", overhead, overhead_rows),
    "index": ("ten million rows", index, index_rows),
    "padding": ("padding tokens", padding, padding_rows),
    "streaming": ("a streamed corpus, killed and resumed", streaming, streaming_rows),
    "elastic": ("same rows in the same step", elastic, elastic_rows),
}


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


def _data() -> Path | None:
    folder = os.environ.get("SSL_PDR_DATA")
    return Path(folder) if folder else None


def _tokens(path: Path, max_length: int, limit: int | None) -> list[list[int]]:
    """The first column of a file as tokens."""
    table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, sep="\t", quoting=3)
    name = "text" if "text" in table.columns else table.columns[0]
    tokenizer = AutoTokenizer.from_pretrained(embedded_encoder())
    found: list[list[int]] = tokenizer(
        table[name].astype(str).head(limit or len(table)).tolist(), truncation=True, max_length=max_length
    )["input_ids"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it out")
    parser.add_argument("--only", choices=MEASURES, help="one measure; the others keep their results")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets_disable_progress_bars()
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    before = options.output / "loader.json"
    results: dict[str, Any] = json.loads(before.read_text(encoding="utf-8")) if options.only and before.exists() else {}
    for name, (title, measure, rows) in MEASURES.items():
        if options.only in (None, name):
            load, start = os.getloadavg()[0], time.perf_counter()
            with tempfile.TemporaryDirectory() as scratch:
                result = measure(options.quick, Path(scratch))
            seconds = time.perf_counter() - start
            if name == "streaming":
                loader_stream.plot(result.pop("memory"), options.output / "loader_memory.svg")
            results[name] = {**result, "quick": options.quick, "seconds": seconds, "load_before": load}
            show(title, ["what", "measured", "limit"], rows(result))
    print(write("loader", results, options.output))


if __name__ == "__main__":
    main()
