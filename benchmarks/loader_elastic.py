"""A part of `benchmarks.loader`: do the same rows meet in the same step, for any number of ranks and data workers?"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from accelerate import skip_first_batches
from datasets import Dataset, IterableDataset
from torch.utils.data import DataLoader

from ssl_pdr.data.collate import MixedCollator, Mixture, PaddingCollator, mix
from ssl_pdr.data.mixing import ShardedBatchSampler

GLOBAL, MICRO = 32, 8
RANKS, WORKERS = (1, 2, 4), (0, 1, 3)

Step = list[tuple[int, int, int]]  # row id, first token and label of each row, padding rows left out


def rows(first: int, count: int, *, labelled: bool = False) -> list[dict[str, Any]]:
    made = [{"input_ids": [first + n] * (1 + n * 7 % 13)} for n in range(count)]
    return [{**row, "labels": n % 3} for n, row in enumerate(made)] if labelled else made


def loaders(ranks: int, workers: int, steps: int) -> list[DataLoader[Any]]:
    """What each of some ranks trains on: two labelled pools, an unlabelled one, and a stream."""
    n_labelled = steps * GLOBAL // 4
    labelled = Mixture(
        [rows(0, n_labelled // 3, labelled=True), rows(n_labelled // 3, -(-2 * n_labelled // 3), labelled=True)]
    )
    table = Dataset.from_list(rows(1_000_000, n_labelled))
    stream = IterableDataset.from_generator(rows, gen_kwargs={"first": 2_000_000, "count": 3 * n_labelled + 9_000})
    made = []
    for rank in range(ranks):
        data, batches = mix(labelled, Mixture([table, stream], weights=[1, 2]), ["input_ids"], GLOBAL, 3.0, seed=1)
        made.append(
            DataLoader(
                data,
                batch_sampler=ShardedBatchSampler(batches, MICRO, rank, ranks),
                collate_fn=MixedCollator(PaddingCollator({"input_ids": 0})),
                num_workers=workers,
            )
        )
    return made


def taken(ranks: Iterable[Iterable[Any]], n_ranks: int) -> list[tuple[Step, list[int], list[int]]]:
    """For each optimizer step: its rows over all ranks, and the micro-batches and labelled rows of each rank."""
    at_once = GLOBAL // (MICRO * n_ranks)
    steps: list[tuple[Step, list[int], list[int]]] = []
    iterators = [iter(rank) for rank in ranks]
    while any(parts := [list(islice(rank, at_once)) for rank in iterators]):
        found = [[row for batch in part for row in _rows(batch)] for part in parts]
        steps.append(
            (
                sorted(row for rank in found for row in rank),
                [len(part) for part in parts],
                [sum(label >= 0 for *_, label in rank) for rank in found],
            )
        )
    return steps


def _rows(batch: dict[str, Any]) -> Step:
    columns = (batch["row_id"], batch["input_ids"][:, 0], batch["labels"], batch["row_weight"])
    return [
        (row_id, token, label)
        for row_id, token, label, weight in zip(*(column.tolist() for column in columns), strict=True)
        if weight
    ]


def measure(steps: int) -> dict[str, Any]:
    """Against one process without data workers."""
    reference = [step for step, *_ in taken(loaders(1, 0, steps), 1)]
    equal: dict[str, bool] = {}
    for ranks in RANKS:
        for workers in WORKERS:
            found = taken(loaders(ranks, workers, steps), ranks)
            even = all(len(set(parts)) == 1 and max(labels) - min(labels) <= 1 for _, parts, labels in found)
            equal[f"ranks {ranks}, data workers {workers}"] = even and [step for step, *_ in found] == reference
    done = len(reference) // 3
    for before, after in ((1, 2), (2, 4), (4, 1)):
        first = [step for step, *_ in taken(loaders(before, 0, steps), before)][:done]
        skipped = done * GLOBAL // (MICRO * after)
        rest = taken([skip_first_batches(loader, skipped) for loader in loaders(after, 1, steps)], after)
        equal[f"ranks {before}, resumed with ranks {after}"] = first + [step for step, *_ in rest] == reference
    return {"steps": len(reference), "rows": sum(map(len, reference)), "equal": equal}
