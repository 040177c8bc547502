"""Streams: a place is a row, whoever reads, from wherever, in however many workers; nothing lost, little in memory."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from ssl_pdr.data import streams
from ssl_pdr.data.collate import MixedCollator, PaddingCollator, mix
from ssl_pdr.data.streams import Stream, StreamError, StreamReader
from ssl_pdr.errors import ConfigError, DataError

BLOCK = 16
quick = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "BLOCK_ROWS", BLOCK)


class Counting:
    """Rows 0, 1, 2, … of changing length; may fail, or not end."""

    def __init__(self, size: int | None, fails_at: int | None = None) -> None:
        self.size = size
        self.fails_at = fails_at
        self.beginnings = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.beginnings += 1
        number = 0
        while number != self.size:
            if number == self.fails_at:
                raise OSError(f"disk\nerror at row {number}")
            yield row(number)
            number += 1


def row(number: int) -> dict[str, Any]:
    return {"number": number, "input_ids": [number] * (1 + number * 7 % 11)}


def generated(size: int) -> Iterator[dict[str, Any]]:
    yield from Counting(size)


def windows(sizes: Sequence[int]) -> Callable[[int], tuple[int, int]]:
    """Windows of the given sizes, one after the other, again and again."""

    def window(place: int) -> tuple[int, int]:
        start = place // sum(sizes) * sum(sizes)
        for size in sizes:
            if place < start + size:
                return start, start + size
            start += size
        raise AssertionError

    return window


def numbers(reader: StreamReader, places: Sequence[int]) -> list[int]:
    return [taken["number"] for taken in reader.take(places)]


def reader(size: int | None = None, *, seed: int = 0, number: int = 0, window: Any = None) -> StreamReader:
    return StreamReader(Stream(Counting(size)), seed, number, window)


WINDOWS = [None, windows([1]), windows([10, 3, 7]), windows([40, 25])]


# --- places ---


@pytest.mark.parametrize(
    ("size", "window"),
    [(size, window) for size in (0, 1, 15, 16, 17, 160) for window in (None, windows([1]))]
    + [(size, windows([10, 3, 7])) for size in (20, 160)]
    + [(130, windows([40, 25])), (105, windows([1, 104]))],
)
def test_a_whole_stream_has_each_row_once(size: int, window: Any) -> None:
    taken = numbers(reader(size, window=window), range(size))
    assert sorted(taken) == list(range(size))
    if size > 17:
        assert taken != list(range(size))


@quick
@given(st.data(), st.sampled_from(WINDOWS), st.integers(0, 5))
def test_a_place_is_a_row_in_whatever_order_one_asks(data: st.DataObject, window: Any, seed: int) -> None:
    whole = numbers(reader(260, seed=seed, window=window), range(100))
    asking = reader(260, seed=seed, window=window)
    places = st.lists(st.integers(0, 99), max_size=12)
    for asked in data.draw(st.lists(places, max_size=6)):
        assert numbers(asking, asked) == [whole[place] for place in asked]


@pytest.mark.parametrize("window", WINDOWS)
def test_reading_may_begin_anywhere(window: Any) -> None:
    whole = numbers(reader(window=window), range(200))
    for start in range(0, 199, 13):
        assert numbers(reader(window=window), range(start, 200)) == whole[start:]


@pytest.mark.parametrize("window", [None, windows([40, 25])])
def test_rising_places_are_read_once(window: Any) -> None:
    rows = Counting(None)
    asking = StreamReader(Stream(rows), 0, window=window)
    for start in range(0, 195, 5):  # no batch has rows of two windows
        asking.take(range(start, start + 5, 2))
        asking.take(range(start + 1, start + 5, 2))  # back a little, over the border of a block too
    assert rows.beginnings == 1


def test_rows_are_shuffled_within_blocks_each_in_its_own_way() -> None:
    blocks = np.array(numbers(reader(), range(4 * BLOCK))).reshape(4, BLOCK)
    inside = blocks - BLOCK * np.arange(4)[:, None]
    assert (np.sort(inside, axis=1) == np.arange(BLOCK)).all()
    assert len({tuple(order) for order in inside.tolist()}) == 4


def test_seeds_and_streams_have_orders_of_their_own() -> None:
    orders = [numbers(reader(seed=seed, number=number), range(48)) for seed in (0, 1) for number in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders[0] == numbers(reader(), range(48))


# --- windows ---


@pytest.mark.parametrize("sizes", [[10, 3, 7], [40, 25], [BLOCK], [1, 100]])
def test_rows_are_sorted_by_length_within_windows(sizes: list[int]) -> None:
    taken = reader(window=windows(sizes)).take(range(3 * sum(sizes)))
    shuffled = numbers(reader(), range(len(taken)))
    start = 0
    for size in sizes * 3:
        part = taken[start : start + size]
        lengths = [len(found["input_ids"]) for found in part]
        assert lengths == sorted(lengths)
        assert sorted(found["number"] for found in part) == sorted(shuffled[start : start + size])
        start += size


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ([{"text": "ccc"}, {"text": ""}, {"text": "b" * 9}, {"text": "aa"}], ["", "aa", "ccc", "b" * 9]),
        ([{"text": "aaaa", "text_pair": ""}, {"text": "", "text_pair": "bb"}, {"text": "c"}], ["c", "", "aaaa"]),
        ([{"text": "short", "input_ids": [1, 2]}, {"text": "", "input_ids": [1] * 9}], ["short", ""]),
    ],
)
def test_length_is_that_of_the_tokens_or_else_of_all_texts(rows: list[dict[str, Any]], order: list[str]) -> None:
    taken = StreamReader(Stream(rows), 0, window=windows([len(rows)])).take(range(len(rows)))
    assert [found["text"] for found in taken] == order


# --- what can be streamed ---


def test_features_are_made_of_the_rows_that_are_asked_for_only() -> None:
    asked: list[list[int]] = []

    def encode(rows: Sequence[Any]) -> list[dict[str, Any]]:
        asked.append([found["number"] for found in rows])
        return [{"twice": 2 * found["number"]} for found in rows]

    plain, encoded = reader(60), StreamReader(Stream(Counting(60), encode), 0)
    for places in ([3, 1, 50], [51], []):
        expected = numbers(plain, places)
        assert [found["twice"] for found in encoded.take(places)] == [2 * number for number in expected]
        assert asked[-1] == expected


IN_DATASETS: dict[str, Callable[[int], Any]] = {
    "generator": lambda size: datasets.IterableDataset.from_generator(generated, gen_kwargs={"size": size}),
    "table": lambda size: datasets.Dataset.from_list(list(Counting(size))),
    "shards": lambda size: datasets.Dataset.from_list(list(Counting(size))).to_iterable_dataset(num_shards=3),
    "mapped": lambda size: (
        datasets.Dataset.from_list([{"n": n} for n in range(size)])
        .to_iterable_dataset(num_shards=2)
        .map(lambda found: row(found["n"]), remove_columns=["n"])
    ),
    "arrow": lambda size: datasets.Dataset.from_list(list(Counting(size))).to_iterable_dataset().with_format("numpy"),
    "list": lambda size: list(Counting(size)),
}


@pytest.mark.parametrize("kind", IN_DATASETS)
def test_data_sets_of_datasets_and_plain_iterables_give_the_same(kind: str) -> None:
    asking = StreamReader(Stream(IN_DATASETS[kind](50)), 0)
    for start in (30, 0):  # and once more from the beginning
        taken = asking.take(range(start, 50))
        assert [int(found["number"]) for found in taken] == numbers(reader(50), range(start, 50))
        assert all(list(found["input_ids"]) == row(int(found["number"]))["input_ids"] for found in taken)
    with pytest.raises(StreamError, match="the stream ended after 50 rows"):
        asking.take([50])


class ByPlace(Dataset[Any]):
    """What a data worker holds: a reader."""

    def __init__(self, rows: StreamReader) -> None:
        self.rows = rows

    def __getitems__(self, places: list[int]) -> list[Any]:
        return self.rows.take(places)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("kind", ["generator", "shards"])
def test_every_data_worker_can_reach_every_row(kind: str) -> None:
    """Iteration over a data set of `datasets` inside a worker gives this worker its share only."""
    batches = [list(range(start, start + 7)) for start in range(0, 98, 7)]
    expected = [numbers(reader(98), places) for places in batches]
    for workers in (0, 1, 3):
        rows = ByPlace(StreamReader(Stream(IN_DATASETS[kind](98)), 0))
        loader = DataLoader(rows, batch_sampler=batches, collate_fn=list, num_workers=workers)
        assert [[found["number"] for found in batch] for batch in loader] == expected


@pytest.mark.parametrize("once", [generated(5), iter([{"number": 1}]), map(row, range(5)), zip([], strict=True)])
def test_what_can_be_read_once_only_is_refused(once: Any) -> None:
    with pytest.raises(ConfigError, match="crawl is a .*, which can be read once only; expected an IterableDataset"):
        Stream(once, name="crawl")


# --- other processes ---


@pytest.mark.parametrize("window", [None, windows([10, 3, 7])])
def test_a_reader_that_is_sent_elsewhere_begins_by_itself(window: Any) -> None:
    here = reader(80, window=window and partial(_window_of_twenty))
    before = numbers(here, range(30))
    there = pickle.loads(pickle.dumps(here))
    assert numbers(here, range(30, 80)) == numbers(there, range(30, 80))
    assert before == numbers(there, range(30))


def _window_of_twenty(place: int) -> tuple[int, int]:
    return place // 20 * 20, place // 20 * 20 + 20


def test_a_spawned_worker_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the worker has blocks of the real size
    labelled = [{"input_ids": [1] * (1 + n % 5), "labels": n % 2} for n in range(8)]
    corpus = Stream([{"input_ids": [n] * (1 + n % 7)} for n in range(500)])
    found = []
    for workers in (0, 1):
        rows, batches = mix(labelled, corpus, ["input_ids"], 8, 3, seed=1)
        loader = DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=MixedCollator(PaddingCollator({"input_ids": 0})),
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
        )
        found.append([{name: value.tolist() for name, value in batch.items()} for batch in loader])
    assert found[0] == found[1]
    assert len(found[0]) == 4


# --- the end, failures, memory ---


@pytest.mark.parametrize(("window", "wanted"), [(None, [51, 52, 10_001]), (windows([20]), [60, 60, 10_020])])
def test_a_stream_that_ends_says_after_how_many_rows(window: Any, wanted: list[int]) -> None:
    asking = StreamReader(Stream(Counting(50), name="crawl.txt"), 0, window=window)
    asking.take(range(40))
    for places, rows in zip(([45, 50], [51], [10_000]), wanted, strict=True):
        message = f"crawl.txt ended after 50 rows, before training did: streams are read some 50 steps ahead, here up to row {rows}; .*--ratio"
        with pytest.raises(StreamError, match=message) as caught:
            asking.take(places)
        assert "\n" not in str(caught.value)
    assert len(asking.take(range(40))) == 40


def test_a_window_that_is_cut_short_gives_no_row_and_a_block_that_is_gives_all() -> None:
    assert len(reader(50).take(range(48, 50))) == 2
    with pytest.raises(StreamError, match="ended after 50 rows, .* up to row 60"):
        reader(50, window=windows([20])).take([40])


@pytest.mark.parametrize("window", [None, windows([20])])
def test_a_longer_stream_begins_with_the_same_whole_blocks_and_windows(window: Any) -> None:
    short, longer = (reader(size, window=window) for size in (50, 500))
    places = range(48 if window is None else 40)
    assert numbers(short, places) == numbers(longer, places)


@pytest.mark.parametrize("window", [None, windows([20])])
def test_a_stream_that_fails_goes_on_failing_and_gives_what_came_before(window: Any) -> None:
    rows = Counting(None, fails_at=50)
    asking = StreamReader(Stream(rows, name="crawl.txt"), 0, window=window)
    good = range(40)
    expected = numbers(reader(window=window), good)
    assert numbers(asking, good) == expected
    for places in ([60], [61], [500]):
        message = "crawl.txt failed in rows 49 to 64: OSError: disk error at row 50"
        with pytest.raises(StreamError, match=message) as caught:
            asking.take(places)
        assert "\n" not in str(caught.value)
    assert rows.beginnings == 1
    assert numbers(asking, good) == expected  # from the beginning


def test_our_own_errors_keep_their_words() -> None:
    class Broken:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            raise DataError("crawl.jsonl, line 3: not JSON; expected one object a line")
            yield {}

    with pytest.raises(
        StreamError, match="^the stream failed in rows 1 to 16: crawl.jsonl, line 3: not JSON; expected"
    ):
        StreamReader(Stream(Broken()), 0).take([0])


@pytest.mark.parametrize("window", [None, windows([20])])
def test_rows_that_are_no_mappings_are_refused(window: Any) -> None:
    asking = StreamReader(Stream(["a text", "another"]), 0, window=window)  # type: ignore[list-item]
    for _ in range(2):
        with pytest.raises(
            StreamError, match="the stream has rows of type str, expected model inputs such as {'input_ids'"
        ):
            asking.take([0])


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (
            lambda rows: [row["nothing"] for row in rows],
            "crawl: making features of its rows failed: KeyError: 'nothing'",
        ),
        (lambda rows: [*rows, *rows], "crawl: got 4 model inputs for 2 rows, expected as many"),
    ],
)
def test_features_that_cannot_be_made_are_a_failure_of_the_stream(encode: Any, message: str) -> None:
    with pytest.raises(StreamError, match=f"^{message}$"):
        StreamReader(Stream(Counting(9), encode, name="crawl"), 0).take([3, 1])


def test_a_failing_window_gives_no_row() -> None:
    """Or else the rows of a run that goes on after the failure would not be those of one that never failed."""
    asking = StreamReader(Stream(Counting(None, fails_at=50)), 0, window=windows([100]))
    for _ in range(2):
        with pytest.raises(StreamError, match="failed"):
            asking.take([0])


class Weighed(dict[str, Any]):
    alive = 0

    def __init__(self, number: int) -> None:
        super().__init__(row(number))
        Weighed.alive += 1

    def __del__(self) -> None:
        Weighed.alive -= 1


@pytest.mark.parametrize(("window", "size"), [(None, 0), (windows([24]), 24), (windows([100]), 100)])
def test_memory_holds_two_blocks_and_a_window(window: Any, size: int) -> None:
    most = 0

    class Rows:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            nonlocal most
            for number in range(60 * BLOCK):
                new = Weighed(number)
                most = max(most, Weighed.alive)
                yield new

    Weighed.alive = 0
    asking = StreamReader(Stream(Rows()), 0, window=window)
    for start in range(0, 20 * BLOCK, 8):
        asking.take(range(start, start + 8))
    asking.take([39 * BLOCK])  # and far ahead, as after a resume
    assert 2 * BLOCK <= most <= 2 * BLOCK + 2 * size + 1


def test_order_of_asking_is_no_matter_for_chance() -> None:
    """A stream is taken in pieces of any size by any number of readers, which share nothing."""
    places = list(range(150))
    whole = dict(zip(places, numbers(reader(), places), strict=True))
    chance = random.Random(0)
    readers = [reader() for _ in range(3)]
    while places:
        count = chance.randint(1, 9)
        asked, places = places[:count], places[count:]
        assert numbers(chance.choice(readers), asked) == [whole[place] for place in asked]
