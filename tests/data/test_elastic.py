"""For a fixed global batch the same rows meet in the same step, for any number of ranks and data workers, after a resume too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

import datasets
import pytest
from accelerate import skip_first_batches
from torch.utils.data import DataLoader

from ssl_pdr.data import streams
from ssl_pdr.data.collate import MixedCollator, Mixture, PaddingCollator, mix
from ssl_pdr.data.mixing import ShardedBatchSampler

GLOBAL, MICRO, EPOCHS = 8, 2, 2
FIRST_OF = {"labelled": 1_000, "pool": 2_000, "crawl": 3_000}

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK_ROWS", 16)


def rows(name: str, count: int) -> list[dict[str, Any]]:
    return [
        {"input_ids": [FIRST_OF[name] + n] * (1 + n * 7 % 5), **({"labels": n % 3} if name == "labelled" else {})}
        for n in range(count)
    ]


def crawl() -> Iterator[dict[str, Any]]:
    yield from rows("crawl", 120)


def loader(rank: int, ranks: int, workers: int) -> DataLoader[Any]:
    """What one process of `ranks` trains on: 21 labelled rows, 20 of a pool and of a stream, in micro-batches of two."""
    corpora = Mixture([datasets.Dataset.from_list(rows("pool", 13)), datasets.IterableDataset.from_generator(crawl)])
    labelled = Mixture([rows("labelled", 21)[:9], rows("labelled", 21)[9:]])
    made, batches = mix(labelled, Mixture(corpora.parts, weights=[1, 1.5]), ["input_ids"], GLOBAL, 2.0, seed=4)
    return DataLoader(
        made,
        batch_sampler=ShardedBatchSampler(batches, MICRO, rank, ranks),
        collate_fn=MixedCollator(PaddingCollator({"input_ids": 0})),
        num_workers=workers,
        persistent_workers=workers > 0,
    )


Step = list[tuple[int, int, int]]  # row id, first token, label, of each row of weight 1


def steps(batches: Any, ranks: int) -> list[list[dict[str, Any]]]:
    """Micro-batches by the optimizer step that they are for."""
    at_once = GLOBAL // (MICRO * ranks)
    parts = iter(batches)
    return list(iter(lambda: list(islice(parts, at_once)), []))


def content(step: list[dict[str, Any]]) -> Step:
    return [
        (int(batch["row_id"][n]), int(batch["input_ids"][n, 0]), int(batch["labels"][n]))
        for batch in step
        for n in range(len(batch["labels"]))
        if batch["row_weight"][n] > 0
    ]


@lru_cache(maxsize=1)
def expected() -> list[list[Step]]:
    """Each step of each epoch, from one process that reads the rows itself and takes whole steps."""
    alone = loader(0, 1, 0)
    alone.batch_sampler.micro_batch_size = GLOBAL  # type: ignore[union-attr]
    return [[sorted(content([batch])) for batch in _epoch(alone, epoch)] for epoch in range(EPOCHS)]


def _epoch(source: DataLoader[Any], epoch: int) -> DataLoader[Any]:
    source.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return source


def test_the_reference_itself_is_a_mix() -> None:
    for epoch in expected():
        assert len(epoch) == 8  # 21 labelled and 42 unlabelled rows
        of = [
            {name: [r for r in step if first <= r[1] < first + 1_000] for name, first in FIRST_OF.items()}
            for step in epoch
        ]
        assert sorted(row for step in of for _, row, _ in step["labelled"]) == list(range(1_000, 1_021))
        assert all(step["pool"] and step["crawl"] for step in of)
    taken = [row for epoch in expected() for step in epoch for _, row, _ in step]
    assert len({row for row in taken if row >= 3_000}) == sum(row >= 3_000 for row in taken) == 50


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_same_rows_meet_in_the_same_step(ranks: int, workers: int) -> None:
    loaders = [loader(rank, ranks, workers) for rank in range(ranks)]
    for epoch in range(EPOCHS):
        by_rank = [steps(_epoch(one, epoch), ranks) for one in loaders]
        assert {len(one) for one in by_rank} == {len(expected()[epoch])}
        for together, reference in zip(zip(*by_rank, strict=True), expected()[epoch], strict=True):
            assert sorted(row for step in together for row in content(step)) == reference  # complete, and no overlap
            assert len({len(step) for step in together}) == 1  # of micro-batches
            labelled = [sum(label >= 0 for _, _, label in content(step)) for step in together]
            assert max(labelled) - min(labelled) <= 1


@pytest.mark.parametrize(("before", "after", "workers"), [(1, 2, 0), (2, 1, 1), (4, 2, 0), (2, 4, 1)])
def test_a_resume_with_other_ranks_goes_on_with_the_right_rows(before: int, after: int, workers: int) -> None:
    done = 3
    old = [islice(steps(_epoch(loader(rank, before, workers), 1), before), done) for rank in range(before)]
    first = [sorted(row for step in together for row in content(step)) for together in zip(*old, strict=True)]
    skipped = done * GLOBAL // (MICRO * after)
    new = [steps(skip_first_batches(_epoch(loader(rank, after, workers), 1), skipped), after) for rank in range(after)]
    rest = [sorted(row for step in together for row in content(step)) for together in zip(*new, strict=True)]
    assert first + rest == expected()[1]
