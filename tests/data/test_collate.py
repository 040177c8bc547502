"""Rows of several pools and streams under one numbering, with the right label, weight and order; batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset, IterableDataset
from transformers import BertTokenizer, DataCollatorWithPadding

from ssl_pdr.data.collate import FAILURE, MixedCollator, MixedDataset, Mixture, PaddingCollator, mix
from ssl_pdr.data.streams import Stream, StreamError
from ssl_pdr.errors import ConfigError, DataError, PDRError
from ssl_pdr.outputs import UNLABELLED

COLUMNS = ("input_ids", "attention_mask", "labels")


def rows(count: int, first: int = 0, *, labelled: bool = False) -> list[dict[str, Any]]:
    """Rows that carry their number in their tokens, of lengths 1, 2, 3, 1, …"""
    made = [{"input_ids": [first + n] * (1 + n % 3), "attention_mask": [1] * (1 + n % 3)} for n in range(count)]
    return [{**row, "labels": (first + n) % 7} for n, row in enumerate(made)] if labelled else made


def table(made: list[dict[str, Any]]) -> datasets.Dataset:
    return datasets.Dataset.from_list([{**row, "text": "left over"} for row in made])


class MapStyle(Dataset[Any]):
    """Not of `datasets`, not a list."""

    def __init__(self, made: list[dict[str, Any]]) -> None:
        self.made = made

    def __len__(self) -> int:
        return len(self.made)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self.made):
            raise IndexError(index)
        return self.made[index]


class Torch(IterableDataset[Any]):
    """An iterable data set that has a length, as torch allows."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from rows(40, 900)

    def __len__(self) -> int:
        return 40


def mixed(labelled: Any, unlabelled: Any = None, ratio: Any = "proportional", batch_size: int = 10) -> MixedDataset:
    return mix(labelled, unlabelled, COLUMNS, batch_size, ratio, seed=0)[0]


# --- mixtures ---


def test_one_data_set_nothing_and_a_stream_are_mixtures_too() -> None:
    pool = rows(3)
    assert Mixture.of(pool, "x").parts == [pool]
    assert Mixture.of(None, "x").parts == Mixture.of([], "x").parts == []
    assert (len(Mixture.of(None, "x")), Mixture.of(None, "x").sizes) == (0, [])
    stream = Stream(rows(3))
    assert Mixture.of(stream, "x").parts == [stream]
    assert Mixture.of(stream, "x").sizes == [None]


@pytest.mark.parametrize("data", [Torch(), datasets.Dataset.from_list(rows(4)).to_iterable_dataset()])
def test_iterable_data_sets_become_streams_whatever_length_they_say(data: Any) -> None:
    [part] = Mixture.of(data, "crawl").parts
    assert isinstance(part, Stream)
    assert part.name == "crawl"
    assert part.rows is data


def test_parts_keep_their_order_weights_and_sizes() -> None:
    mixture = Mixture.of(Mixture([rows(3), Stream(rows(9)), table(rows(5))], weights=[1, 2, 3]), "x")
    assert mixture.sizes == [3, None, 5]
    assert mixture.weights == [1, 2, 3]
    assert Mixture.of(Mixture([rows(1)], temperature=2.0), "x").temperature == 2.0
    assert len(Mixture([rows(3), rows(4)])) == 7


# --- numbering ---


POOLS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {"list": list, "table": table, "map-style": MapStyle}


@pytest.mark.parametrize("kind", POOLS)
def test_labelled_pools_come_first_then_unlabelled_ones_then_streams(kind: str) -> None:
    make = POOLS[kind]
    data = mixed(
        Mixture([make(rows(3, 0, labelled=True)), make(rows(2, 3, labelled=True))]),
        Mixture([Stream(rows(40, 100)), make(rows(4, 5)), Stream(rows(40, 200)), make(rows(1, 9, labelled=True))]),
        ratio=1,
    )
    made = data.take(range(10))
    assert [row["input_ids"][0] for row in made] == list(range(10))
    assert [row["labels"] for row in made] == [0, 1, 2, 3, 4] + [
        UNLABELLED
    ] * 5  # a label of an unlabelled row is not seen
    assert [row["row_id"] for row in made] == list(range(10))
    assert {row["row_weight"] for row in made} == {1.0}
    assert all(set(row) == {"input_ids", "attention_mask", "labels", "row_id", "row_weight"} for row in made)
    # Place k of stream s of two has the number 10 + 2k + s.
    first, second = ([row["input_ids"][0] for row in data.take(range(10 + s, 18 + s, 2))] for s in (0, 1))
    assert set(first) < set(range(100, 140))
    assert set(second) < set(range(200, 240))
    assert len(set(first)) == len(set(second)) == 4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.lists(st.integers(1, 9), max_size=3), st.data())
def test_a_batch_is_in_the_order_that_was_asked_for(labelled: list[int], sized: list[int], data: st.DataObject) -> None:
    firsts = np.cumsum([0, *labelled, *sized]).tolist()
    pools = [
        POOLS[data.draw(st.sampled_from(sorted(POOLS)))](rows(size, first, labelled=number < len(labelled)))
        for number, (size, first) in enumerate(zip([*labelled, *sized], firsts, strict=False))
    ]
    mixture = MixedDataset(
        Mixture.of(Mixture(pools[: len(labelled)]), "l"),
        Mixture.of(Mixture(pools[len(labelled) :]) if sized else None, "u"),
        COLUMNS,
    )
    assert len(mixture) == firsts[-1]
    indices = data.draw(st.lists(st.integers(-firsts[-1], firsts[-1] - 1), max_size=12))
    made = mixture.__getitems__(indices)
    for index, row in zip(indices, made, strict=True):
        row_id = index if index >= 0 else ~index
        assert row["input_ids"][0] == row["row_id"] == row_id
        assert row["row_weight"] == (1.0 if index >= 0 else 0.0)
        assert row["labels"] == (row_id % 7 if 0 <= index < sum(labelled) else UNLABELLED)
        assert row == mixture[index]


def test_a_column_label_will_do_and_other_columns_stay_behind() -> None:
    made = [{"input_ids": [n], "label": n, "text": "left over", "idx": n} for n in range(3)]
    for pool in (made, datasets.Dataset.from_list(made)):
        data = MixedDataset(Mixture.of(pool, "l"), Mixture.of(None, "u"), ["input_ids", "labels", "label"])
        assert data[2] == {"input_ids": [2], "labels": 2, "row_id": 2, "row_weight": 1.0}


def test_a_table_of_tensors_gives_the_same_rows() -> None:
    plain, tensors = (
        mixed(made) for made in (table(rows(4, labelled=True)), table(rows(4, labelled=True)).with_format("torch"))
    )
    for one, other in zip(plain.take([3, 0, 2]), tensors.take([3, 0, 2]), strict=True):
        assert {**one, "input_ids": 0, "attention_mask": 0} == {**other, "input_ids": 0, "attention_mask": 0}
        assert one["input_ids"] == other["input_ids"].tolist()
    assert (plain.lengths() == tensors.lengths()).all()  # type: ignore[union-attr]


def test_a_mix_with_a_stream_has_no_length() -> None:
    assert len(mixed(rows(3, labelled=True), rows(4))) == 7
    with pytest.raises(TypeError, match="a mix with a stream has no length"):
        len(mixed(rows(3, labelled=True), Stream(rows(4)), ratio=1))


# --- lengths ---


@pytest.mark.parametrize("kind", POOLS)
def test_lengths_are_those_of_all_numbered_rows(kind: str) -> None:
    make = POOLS[kind]
    data = mixed(
        Mixture([make(rows(4, labelled=True)), make(rows(2, labelled=True))]),
        Mixture([Stream(rows(9)), make(rows(5))]),
        ratio=1,
    )
    lengths = data.lengths()
    assert lengths is not None
    assert lengths.dtype == np.int32
    assert lengths.tolist() == [1, 2, 3, 1, 1, 2, 1, 2, 3, 1, 2]


def test_lengths_of_a_table_whose_rows_were_chosen_and_that_has_many_parts() -> None:
    parts = [datasets.Dataset.from_dict({"input_ids": [[7] * (n % 4) for n in range(size)]}) for size in (60_000, 5)]
    backwards = datasets.concatenate_datasets(parts).select(range(60_004, 4, -1))
    lengths = mixed(rows(2, labelled=True), backwards).lengths()
    assert lengths is not None
    assert lengths.tolist() == [1, 2, *(n % 4 for n in (*range(4, -1, -1), *range(59_999, 4, -1)))]


def test_without_tokens_there_are_no_lengths() -> None:
    pictures = [{"pixel_values": [1.0, 2.0], "labels": 0}] * 3
    data, batches = mix(pictures, rows(3), ["pixel_values", "input_ids"], 4, 1, seed=0)
    assert data.lengths() is None
    assert batches.lengths is None


# --- streams in a mix ---


@pytest.mark.parametrize("tokens", [True, False])
def test_streams_are_read_as_the_batches_ask(tokens: bool) -> None:
    """With lengths, a window's rows are dealt from short to long; without, as they come."""
    key = "input_ids" if tokens else "pixel_values"
    labelled = [{key: [n] * (1 + n % 9), "labels": 0} for n in range(40)]
    corpus = [{key: [n] * (1 + n * 5 % 9)} for n in range(400)]
    data, batches = mix(labelled, Mixture([Stream(corpus), Stream(corpus[:150])], weights=[3, 1]), [key], 20, 4, seed=1)
    made = [data.take(batch) for epoch in (0, 1) for batch in _epoch(batches, epoch)]
    ids = [row["row_id"] for batch in made for row in batch if row["row_id"] >= 40]
    assert len(ids) == len(set(ids)) == 320
    texts = [(row["row_id"] % 2, row[key][0]) for batch in made for row in batch if row["row_id"] >= 40]
    assert len(set(texts)) == 320  # not one row of either stream came twice
    assert [sum(side == s for side, _ in texts) for s in (0, 1)] == [240, 80]
    spread = [np.ptp([len(row[key]) for row in batch if row["row_id"] >= 40]) for batch in made]
    assert (np.mean(spread) < 4) == tokens


def _epoch(batches: Any, epoch: int) -> list[list[int]]:
    batches.set_epoch(epoch)
    return list(batches)


def test_a_stream_that_ends_is_one_row_that_says_so() -> None:
    data, batches = mix(rows(8, labelled=True), Stream(rows(5), name="crawl"), COLUMNS, 8, 1, seed=0)
    batch = next(iter(batches))
    with pytest.raises(StreamError, match="crawl ended after 5 rows"):
        data.take([*batch[:2], 8 + 7])
    [failure] = data.__getitems__([0, 8 + 7, 1])
    assert list(failure) == [FAILURE]
    assert failure[FAILURE].startswith("crawl ended after 5 rows")
    assert MixedCollator(_fails)([failure]) == failure
    assert data[8 + 7] == failure
    assert data[3]["row_id"] == 3


def _fails(features: list[dict[str, Any]]) -> dict[str, Any]:
    raise AssertionError


# --- collators ---


def test_our_columns_survive_any_collator() -> None:
    data = mixed(rows(3, labelled=True), rows(3))
    seen: list[set[str]] = []

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        seen.append(set().union(*features))
        return {"n": torch.tensor([len(row["input_ids"]) for row in features]), "row_id": "whatever"}

    batch = MixedCollator(collate)(data.take([4, 0, ~1]))
    assert seen == [{"input_ids", "attention_mask", "labels"}]
    assert batch["n"].tolist() == [2, 1, 2]
    assert batch["row_id"].tolist() == [4, 0, 1]
    assert batch["row_id"].dtype == torch.int64
    assert batch["row_weight"].tolist() == [1.0, 1.0, 0.0]
    assert batch["row_weight"].dtype == torch.float32


features = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=12), min_size=1, max_size=9)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(features, st.sampled_from(["right", "left"]), st.booleans())
def test_padding_is_that_of_transformers_to_the_bit(ids: list[list[int]], side: str, pairs: bool) -> None:
    tokenizer = BertTokenizer(vocab={"[UNK]": 0, "[SEP]": 1, "[PAD]": 2, "[CLS]": 3, "[MASK]": 4}, padding_side=side)
    tokenizer._pad_token_type_id = 5
    made = [
        {
            "input_ids": row,
            **({"token_type_ids": [n % 2 for n in row]} if pairs else {}),
            "attention_mask": [1] * len(row),
            "labels": len(row) - 3,
        }
        for row in ids
    ]
    theirs = DataCollatorWithPadding(tokenizer)([dict(row) for row in made])
    ours = PaddingCollator.like(tokenizer)(made)
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name])
        assert value.is_contiguous()


def test_padding_takes_arrays_and_tensors() -> None:
    made: list[dict[str, Any]] = [
        {"input_ids": [1, 2]},
        {"input_ids": np.array([3])},
        {"input_ids": torch.tensor([4, 5, 6])},
    ]
    assert PaddingCollator({"input_ids": 9})(made)["input_ids"].tolist() == [[1, 2, 9], [3, 9, 9], [4, 5, 6]]


def test_padding_of_rows_without_tokens() -> None:
    assert PaddingCollator({"input_ids": 9})([{"input_ids": []}, {"input_ids": [1]}])["input_ids"].tolist() == [
        [9],
        [1],
    ]
    assert PaddingCollator({"input_ids": 9})([{"input_ids": []}])["input_ids"].shape == (1, 0)


# --- mistakes ---


LABELLED = rows(4, labelled=True)
WRONG: list[tuple[Callable[[], object], type[PDRError], str]] = [
    (
        lambda: Mixture.of(Mixture([]), "labelled data"),
        ConfigError,
        "labelled data: got a mixture of nothing, expected",
    ),
    (lambda: Mixture.of(Mixture([rows(1), []]), "x"), ConfigError, "x: part 2 of 2 has no rows; leave it out"),
    (
        lambda: Mixture.of(Mixture([rows(1), None]), "x"),
        ConfigError,
        "x 2: got NoneType, expected a data set with a length",
    ),
    (lambda: Mixture.of(7, "x"), ConfigError, "x: got int, expected a data set with a length, or one to iterate over"),
    (lambda: Mixture.of(Mixture([Mixture([rows(1)])]), "x"), ConfigError, "x 1: got Mixture"),
    (lambda: Mixture.of((row for row in rows(3)), "x"), ConfigError, "x is a generator, which can be read once only"),
    (lambda: mixed(Stream(rows(3))), ConfigError, "labelled data: got a stream, expected data with a length"),
    (lambda: mixed(Mixture([LABELLED, Torch()])), ConfigError, "labelled data: got a stream"),
    (
        lambda: mixed(Mixture([LABELLED, LABELLED], temperature=2)),
        ConfigError,
        "labelled data: got temperature 2, .* weights",
    ),
    (lambda: mixed(Mixture([LABELLED], weights=[1, 2])), ConfigError, "labelled weights: got 2 of them for 1 corpora"),
    (lambda: mixed(LABELLED, Mixture([rows(2)], weights=[-1])), ConfigError, "unlabelled weights: got -1"),
    (lambda: mixed(LABELLED, Stream(rows(3))), ConfigError, "ratio: a streamed corpus has no length that an epoch"),
    (
        lambda: mixed(LABELLED, Mixture([rows(2), Stream(rows(3))], temperature=2), 1),
        ConfigError,
        "temperature: the size of",
    ),
    (lambda: mixed([]), ConfigError, "n_labelled: got 0, expected a whole number of at least 1"),
    (lambda: mixed([], rows(3)), ConfigError, "n_labelled: got 0"),
    (lambda: mixed(None), ConfigError, "n_labelled: got 0"),
    (
        lambda: mixed(rows(4)).take([2]),
        DataError,
        "labelled row 2 has the label None, expected a class number; put rows without a label into unlabelled",
    ),
    (lambda: mixed(table(rows(4)))[0], DataError, "labelled row 0 has the label None"),
    *(
        (
            lambda n=n: mixed([{**row, "labels": n} for row in rows(4)])[1],
            DataError,
            f"labelled row 1 has the label {n}",
        )
        for n in (-1, UNLABELLED)
    ),
    (
        lambda: mixed(LABELLED, [{"text": "a text"}])[4],
        DataError,
        "row 4 has nothing that the model takes, such as input_ids; tokenize",
    ),
    (lambda: mixed(LABELLED, ["a text"]), ConfigError, "got a list whose first entry is a str, expected rows"),
    (lambda: mixed(LABELLED, [LABELLED, LABELLED]), ConfigError, "several data sets go into a Mixture"),
    (
        lambda: mixed(LABELLED, "corpus.txt"),
        ConfigError,
        "got a str, expected a data set of tokenized rows",
    ),
    (lambda: mixed(LABELLED, Stream([{"text": "a"}] * 9), 1)[4], DataError, "or give its Stream an encode"),
    (
        lambda: mixed(LABELLED, datasets.Dataset.from_list([{"text": "x", "label": 1}])),
        ConfigError,
        "got a data set with the columns text, label, none of which the model takes; tokenize it first",
    ),
]


@pytest.mark.parametrize(("call", "kind", "message"), WRONG)
def test_what_makes_no_sense_is_refused_in_one_line(
    call: Callable[[], object], kind: type[PDRError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
