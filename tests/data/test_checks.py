"""What is said of a corpus is so: counts against plain Python and pandas, on made and on real text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_pdr.data import checks
from ssl_pdr.data.checks import CorpusReport, duplicates, inspect_corpus, normalised, overlap, text_key

quick = settings(max_examples=60, deadline=None, derandomize=True)


class Rows:
    """A table that can do no more than a table has to, and remembers how much was asked for at once."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns
        self.largest = 0

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(self.columns["text"])

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        self.largest = max(self.largest, batch_size)
        for start in range(0, len(self), batch_size):
            yield {name: column[start : start + batch_size] for name, column in self.columns.items()}


def keys_of(texts: Iterable[str]) -> Any:
    return np.fromiter(map(text_key, texts), np.uint64)


def count_words(texts: Sequence[str], pairs: Sequence[str] | None) -> list[int]:
    return [len(f"{a} {b}".split()) for a, b in zip(texts, pairs or [""] * len(texts), strict=True)]


def inspect(names: Sequence[str] = ("no", "yes"), max_length: int = 8, near: bool = True, **parts: Any) -> CorpusReport:
    return inspect_corpus(
        parts, names, lengths_of=count_words, max_length=max_length, near=near, progress=lambda line: None
    )


@quick
@given(st.text(), st.text())
def test_normalising_twice_changes_nothing_and_sides_stay_apart(text: str, pair: str) -> None:
    once = normalised(text, pair)
    assert normalised(*once.split(" \t ")) == once
    assert once.count("\t") == bool(pair.split())
    for form in ("NFC", "NFD"):
        same = (unicodedata.normalize(form, side) for side in (text, pair))  # type: ignore[arg-type]
        assert text_key(*same) == text_key(text, pair)


def test_what_is_the_same_and_what_is_not() -> None:
    assert text_key(" An\u00a0Old\r\n FILM ") == text_key("an old film") == text_key("an old film", "")
    assert text_key("caf\u00e9") == text_key("CAFE\u0301")
    different = [("a b", "c"), ("a", "b c"), ("a b c", ""), ("c", "a b"), ("x\u00b2", ""), ("x2", ""), ("a b c .", "")]
    assert len({text_key(*row) for row in different}) == len(different)
    assert text_key("\ud800") != text_key("\ud801")  # what no file can hold, but a list can


@quick
@given(st.lists(st.sampled_from("abcdefg")), st.lists(st.sampled_from("efghijk")))
def test_duplicates_and_overlap_are_those_of_sets(ours: list[str], theirs: list[str]) -> None:
    keys, others = keys_of(ours), keys_of(theirs)
    assert duplicates(keys) == len(ours) - len(set(ours))
    assert overlap(keys, others).tolist() == [text in set(theirs) for text in ours]


def test_rows_are_read_in_batches_and_compared_over_all_of_them() -> None:
    texts, pairs = [f"text {i}" for i in range(1500)], [f"pair {i % 7}" for i in range(1500)]
    table = Rows(text=[*texts, texts[0]], text_pair=[*pairs, pairs[0]], label=[0] * 1500 + [1])
    report = inspect(
        near=False, train=table, in_domain=Rows(text=texts[1400:1402], text_pair=pairs[1400:1402], label=[0, 0])
    )
    assert (report.parts[0].duplicates, report.parts[0].contradictions) == (1, 1)
    assert report.leaks[0].rows == 2
    assert 1 < table.largest < 1500


@quick
@given(st.lists(st.integers(0, 300), min_size=1, max_size=80), st.integers(1, 200))
def test_lengths_are_those_of_numpy(lengths: list[int], max_length: int) -> None:
    found = inspect(train=Rows(text=["a " * n for n in lengths]), max_length=max_length, near=False).parts[0].lengths
    assert list(found.quartiles) == np.quantile(lengths, [0.25, 0.5, 0.75], method="inverted_cdf").tolist()
    assert (found.longest, found.mean) == (max(lengths), pytest.approx(np.mean(lengths)))
    assert found.truncated == np.mean([n > max_length for n in lengths])
    assert found.lost == sum(max(0, n - max_length) for n in lengths) / max(1, sum(lengths))
    bins = zip(found.edges, found.edges[1:], strict=False)
    assert list(found.counts) == [sum(low <= n < high for n in lengths) for low, high in bins]
    assert sum(found.counts) == len(lengths)


def test_bins_are_numbers_at_first_and_then_four_to_a_doubling() -> None:
    edges = inspect(train=Rows(text=["a " * 70]), near=False).parts[0].lengths.edges
    assert edges == (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80)


def test_labels_are_counted_and_contradictions_found() -> None:
    texts = ["a b c", "A  b c", "a b c", "d", "d", "e", "e"]
    report = inspect(train=Rows(text=texts, label=[1, 1, 0, 1, 1, None, 0])).parts[0]
    assert (report.rows, report.labelled, report.balance) == (7, 6, {"no": 2, "yes": 4})
    assert (report.duplicates, report.contradictions) == (4, 1)
    bare = inspect(train=Rows(text=texts)).parts[0]
    assert (bare.labelled, bare.contradictions) == (0, 0)


def test_leaks_are_looked_for_from_what_is_trained_on_into_what_is_evaluated_on() -> None:
    parts = {
        "train": Rows(text=["one", "two", "TWO", "three"], label=[0, 1, 1, None]),
        "in_domain": Rows(text=["Two", "four"], label=[1, 0]),
        "shifted": Rows(text=["four", "five", "five"], label=[0, 1, 1]),
        "unlabelled a.txt": Rows(text=["five", "one", "two", "six", "seven"]),
        "unlabelled b.txt": Rows(text=["seven"]),
    }
    leaks = {(leak.part, leak.other): leak for leak in inspect(near=False, **parts).leaks}
    trained, evaluated = ("train", "unlabelled a.txt", "unlabelled b.txt"), ("in_domain", "shifted")
    assert set(leaks) == {(a, b) for a in trained for b in evaluated} | {(a, "train") for a in trained[1:]}
    assert {pair: (leak.rows, leak.other_rows) for pair, leak in leaks.items() if leak.rows} == {
        ("train", "in_domain"): (2, 1),
        ("unlabelled a.txt", "in_domain"): (1, 1),
        ("unlabelled a.txt", "shifted"): (1, 2),
        ("unlabelled a.txt", "train"): (2, 3),
    }
    assert all(leak.into_evaluation == (leak.other != "train") for leak in leaks.values())
    assert {(leak.near, leak.other_near) for leak in leaks.values()} == {(None, None)}
    (example,) = leaks["train", "in_domain"].examples
    assert (example.kind, example.similarity, example.row, example.other_row) == ("exact", 1.0, 1, 0)
    assert (example.text, example.other_text) == ("two", "Two")


def test_near_rows_are_counted_without_the_exact_ones_and_examples_show_the_difference() -> None:
    words = [f"word{i}" for i in range(120)]
    text = " ".join(words)
    planted = text.replace("word100", "Another")
    other = " ".join(reversed(words))
    report = inspect(
        train=Rows(text=[other, text, "filler one", f"{text}!"]), in_domain=Rows(text=[planted, other, f"({text})"])
    )
    (leak,) = report.leaks
    assert (leak.rows, leak.other_rows) == (1, 1)
    assert (leak.near, leak.other_near) == (2, 2)
    assert [part.near_duplicates for part in report.parts] == [1, 1]
    exact, same_words, *_, changed = leak.examples
    assert (exact.kind, exact.row, exact.other_row) == ("exact", 0, 1)
    assert (same_words.kind, same_words.similarity, same_words.other_row) == ("near", 1.0, 2)
    assert changed.similarity == pytest.approx(115 / 121)
    assert "word100" in changed.text
    assert "Another" in changed.other_text
    assert all(len(side) < 200 for e in leak.examples for side in (e.text, e.other_text))


def test_pairs_are_compared_as_pairs() -> None:
    premise = "the committee met on tuesday to talk about the new bridge over the river near the old town"
    train = Rows(text=[premise, premise], text_pair=["nobody met that day", "a bridge is planned"], label=[0, 1])
    test = Rows(
        text=[premise.upper(), premise], text_pair=["nobody met that day", "a bridge is planned!"], label=[0, 1]
    )
    report = inspect(train=train, in_domain=test)
    assert report.parts[0].near_duplicates == 0
    (leak,) = report.leaks
    assert (leak.other_rows, leak.other_near) == (1, 1)
    assert leak.examples[0].text == f"{premise} | nobody met that day"
    assert report.parts[0].lengths.longest == 22


def test_only_so_many_texts_are_looked_at_whatever_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NEAR_TEXTS", 50)
    texts = [
        f"number {i} of many texts that are all about different things such as {i * i} and {i**3}" for i in range(700)
    ]
    texts += texts[:300]
    report = inspect(train=Rows(text=texts))
    backwards = inspect(train=Rows(text=texts[::-1]))
    assert report.parts[0].looked_at == backwards.parts[0].looked_at == 50
    assert report.notes == ("train: near duplicates were looked for among 50 of 700 different texts",)
    assert report.parts == backwards.parts
    assert inspect(train=Rows(text=texts[:40])).notes == ()


def test_classes_that_cannot_be_learned_are_noted() -> None:
    train = Rows(text=["a", "b"], label=[0, None])
    names = ["x", "y", "z"]
    report = inspect(names, train=train, in_domain=Rows(text=["c"], label=[2]), shifted=Rows(text=["d"], label=[0]))
    assert report.notes == ("train: 2 of 3 classes have no labelled row (y, z), but in_domain has rows of them",)


def test_the_report_is_plain_json_and_the_stages_are_told() -> None:
    lines: list[str] = []
    parts = {"train": Rows(text=["a b c d", "e"], label=[0, 1]), "in_domain": Rows(text=["a b c d!"], label=[0])}
    report = inspect_corpus(parts, ["no", "yes"], lengths_of=count_words, max_length=3, progress=lines.append)
    plain = report.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["parts"][0]["lengths"]["quartiles"] == [1, 1, 4]
    assert plain["leaks"][0]["examples"][0]["similarity"] == 1.0
    assert lines == [
        "reading train (2 rows)",
        "looking for near duplicates in train",
        "reading in_domain (1 rows)",
        "looking for near duplicates in in_domain",
        "comparing train with in_domain",
    ]


def test_a_part_without_rows_is_a_part() -> None:
    report = inspect(train=Rows(text=[], label=[]), in_domain=Rows(text=["a"], label=[0]))
    assert (report.parts[0].rows, report.parts[0].lengths.quartiles, report.parts[0].lengths.counts) == (
        0,
        (0, 0, 0),
        (0,),
    )
    assert report.leaks[0].other_rows == 0


def tsv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, sep="\t", quoting=3, dtype=str, keep_default_na=False)


def plain_form(texts: pd.Series[str]) -> pd.Series[str]:
    return texts.str.lower().str.split().str.join(" ")


@pytest.mark.shared_data
def test_the_duplicates_of_imdb_are_those_that_pandas_finds(shared_data: Path) -> None:
    frame = pd.read_parquet(shared_data / "imdb" / "test.parquet")[["text", "label"]]
    table = Dataset.from_pandas(frame, preserve_index=False)
    assert duplicates(keys_of(table["text"])) == int(plain_form(frame["text"]).duplicated().sum()) == 199


@pytest.mark.shared_data
def test_phrases_of_sst2_hold_the_sentences_that_they_are_parts_of(shared_data: Path) -> None:
    frames = {name: tsv(shared_data / "sst2" / name) for name in ("train_sentences.tsv.gz", "train.tsv.gz", "dev.tsv")}
    sentences, phrases, dev = (frame["sentence"].tolist() for frame in frames.values())
    parts = {"train": Rows(text=sentences), "in_domain": Rows(text=dev), "unlabelled phrases": Rows(text=phrases)}
    report = inspect(near=False, **parts)
    whole, pieces = (plain_form(frame["sentence"]) for frame in list(frames.values())[:2])
    leaks = {(leak.part, leak.other): leak for leak in report.leaks}
    found = leaks["unlabelled phrases", "train"]
    assert (found.rows, found.other_rows) == (int(pieces.isin(whole).sum()), int(whole.isin(pieces).sum()))
    assert found.other_rows > 6000
    assert leaks["train", "in_domain"].other_rows == 0
    assert [part.duplicates for part in report.parts] == [
        int(t.duplicated().sum()) for t in (whole, plain_form(frames["dev.tsv"]["sentence"]), pieces)
    ]


@pytest.mark.shared_data
def test_a_sentence_of_sst2_differs_from_one_for_training_in_punctuation_only(shared_data: Path) -> None:
    sentences, dev = (
        tsv(shared_data / "sst2" / name)["sentence"].tolist() for name in ("train_sentences.tsv.gz", "dev.tsv")
    )
    (leak,) = inspect(train=Rows(text=sentences), in_domain=Rows(text=dev)).leaks
    words = [{" ".join(re.findall(r"\w+", text.lower())) for text in texts} - {""} for texts in (sentences, dev)]
    assert leak.other_rows == 0
    assert leak.other_near == len(words[0] & words[1]) == 1
