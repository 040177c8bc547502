"""A part of `benchmarks.loader`, in a process of its own: start-up, speed and memory on a file of tokenized rows."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from ssl_pdr.data.collate import MixedCollator, PaddingCollator, mix
from ssl_pdr.data.mixing import ShardedBatchSampler

COLUMNS = ("input_ids", "token_type_ids", "attention_mask")
BATCH = 32


def generate(path: Path, rows: int) -> None:
    """Rows of about 25 tokens, a thousand of them in each batch of the file, as `datasets` writes it."""
    chance = np.random.default_rng(0)
    lengths = np.minimum(chance.lognormal(3, 0.5, rows).astype(np.int64) + 3, 128)
    types = (pa.int32(), pa.int8(), pa.int8())
    schema = pa.schema([(name, pa.list_(kind)) for name, kind in zip(COLUMNS, types, strict=True)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for part in np.array_split(lengths, -(-rows // 1_000)):
            ends = pa.array(np.concatenate([[0], np.cumsum(part)]), pa.int32())
            tokens = int(part.sum())
            values = (chance.integers(1_000, 30_000, tokens), np.zeros(tokens, int), np.ones(tokens, int))
            columns = [pa.ListArray.from_arrays(ends, pa.array(v, t)) for v, t in zip(values, types, strict=True)]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def anonymous_mb() -> float:
    """Memory of this process that no file stands behind."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


class Highest:
    """The most anonymous memory while it is entered."""

    def __init__(self) -> None:
        self.value = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self.value = max(self.value, anonymous_mb())


def start(table: Dataset) -> tuple[Any, Any]:
    """Rows, and their batches of one process; a thousand rows are labelled."""
    labelled = [{name: [1] * 9 for name in COLUMNS} | {"labels": row % 2} for row in range(1_000)]
    rows, batches = mix(labelled, table, COLUMNS, BATCH, "proportional", seed=0)
    return rows, ShardedBatchSampler(batches, BATCH)


def measure(path: Path, n_batches: int = 1_500) -> dict[str, Any]:
    collate = MixedCollator(PaddingCollator(dict.fromkeys(COLUMNS, 0)))
    rows, batches = start(Dataset.from_dict({name: [[1, 2]] * 99 for name in COLUMNS}))  # imports what is needed
    collate(rows.take(next(iter(batches))))

    base = anonymous_mb()
    with Highest() as highest:
        began = time.perf_counter()
        table = Dataset.from_file(str(path))
        opened = time.perf_counter() - began
        rows, batches = start(table)
        sampling = iter(batches)
        collate(rows.take(next(sampling)))
        started = time.perf_counter() - began
        seconds = np.zeros(3)
        for _ in range(n_batches // 50):
            marks = [time.thread_time()]
            chosen = [next(sampling) for _ in range(50)]
            marks.append(time.thread_time())
            made = [rows.take(batch) for batch in chosen]
            marks.append(time.thread_time())
            for batch in made:
                collate(batch)
            seconds += np.diff([*marks, time.thread_time()])
        after = anonymous_mb()
    sampler, reading, collator = seconds.tolist()
    count = n_batches * BATCH
    return {
        "startup_seconds": started,
        "open_seconds": opened,
        "anonymous_mb": after - base,
        "highest_anonymous_mb": highest.value - base,
        "rows_per_cpu_second": {
            "sampler": count / sampler,
            "collator": count / collator,
            "reading": count / reading,
            "sampler_and_collator": count / (sampler + collator),
            "with_reading": count / (sampler + collator + reading),
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
