"""Corpora without labels: read, weighed, compared with the labelled data, or streamed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import Dataset

from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import Corpus, load_corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.tables import Table
from ssl_pdr.data.unlabelled import TextStream, UnlabelledCorpus, load_unlabelled, parse_weight
from ssl_pdr.errors import DataError

LABELLED = [(f"text {i}", "ab"[i % 2]) for i in range(20)]


@pytest.fixture
def corpus() -> Corpus:
    return load_corpus(LABELLED)


def read(corpus: Corpus, *sources: object, stream: bool = False, **reading: object) -> list[UnlabelledCorpus]:
    return load_unlabelled(sources, corpus, Columns(), Reading(**reading), stream=stream)  # type: ignore[arg-type]


def texts(corpus: UnlabelledCorpus) -> list[str]:
    return [row["text"] for row in (corpus.rows.rows if isinstance(corpus.rows, Table) else corpus.rows)]


@pytest.mark.parametrize("stream", [False, True])
def test_every_kind_of_source(tmp_path: Path, corpus: Corpus, stream: bool) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"content": "one", "label": 3}\n{"content": "two"}\n')
    (tmp_path / "c.csv").write_text("words\none\ntwo\n")
    table = Dataset.from_dict({"text": ["one", "two"]})
    sources = [str(tmp_path / name) for name in ("a.txt", "b.jsonl", "c.csv")]
    sources += [["one", "two"], table, table.to_iterable_dataset(), table.to_pandas()]
    for made in read(corpus, *sources, stream=stream):
        assert texts(made) == ["one", "two"]
        assert texts(made) == ["one", "two"]


def test_weights_follow_the_name(tmp_path: Path, corpus: Corpus) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n")
    odd = tmp_path / "b.txt:7"
    odd.write_text("not read")
    made = read(corpus, f"{path}:0.3", str(path))
    assert [(c.name, c.weight) for c in made] == [("a.txt", 0.3), ("a.txt (2)", None)]
    assert parse_weight(str(odd)) == (str(odd), None)
    assert parse_weight("owner/name:config:train:2") == ("owner/name:config:train", 2.0)
    for weight in ("-1", "nan", "inf"):
        with pytest.raises(DataError, match=f"got the weight {weight}, expected a finite number of at least 0"):
            read(corpus, f"{path}:{weight}")
    with pytest.raises(DataError, match="no unlabelled corpus of 2 has a weight above 0"):
        read(corpus, f"{path}:0", f"{path}:0.0")


def test_paragraphs_are_documents_when_asked_for(tmp_path: Path, corpus: Corpus) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    assert texts(read(corpus, str(tmp_path / "a.txt"), split_documents="paragraph")[0]) == ["one two", "three"]


def test_what_is_elsewhere_too_is_counted(tmp_path: Path, corpus: Corpus) -> None:
    held_out = list(corpus.evaluation["in_domain"]["text"])
    trained = list(corpus.train["text"])[:3]
    (made,) = read(corpus, [*held_out, *trained, "new", "NEW", " ", None])
    assert made.notes == {
        "the list: rows with an empty text": 2,
        "the list: texts that occur more than once": 1,
        "the list: texts that are also training texts": 3,
        "the list: texts that are also in the evaluation part in_domain": len(held_out),
    }
    everything = [text.upper() for text in [*corpus.train["text"], *held_out]]
    with pytest.raises(DataError, match="every one of its 20 texts is in the labelled data already"):
        read(corpus, everything)


@pytest.mark.parametrize("stream", [False, True])
def test_an_empty_corpus_is_refused(tmp_path: Path, corpus: Corpus, stream: bool) -> None:
    for content in ("", "\n\n"):
        (tmp_path / "a.txt").write_text(content)
        with pytest.raises(DataError, match=r"a\.txt"):
            read(corpus, str(tmp_path / "a.txt"), stream=stream)


def test_a_corpus_that_adds_nothing_is_refused(corpus: Corpus) -> None:
    with pytest.raises(DataError, match="every one of its 16 texts is in the labelled data already"):
        read(corpus, [text.upper() for text in corpus.train["text"]])


def test_pairs_need_pairs(tmp_path: Path) -> None:
    pairs = load_corpus([{"premise": f"p {i}", "hypothesis": "h", "label": i % 2} for i in range(10)])
    lines = [json.dumps({"premise": "a", "hypothesis": "b"}), json.dumps({"premise": "c", "hypothesis": "d"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    (made,) = read(pairs, str(tmp_path / "a.jsonl"), stream=True)
    assert list(made.rows) == [{"text": "a", "text_pair": "b"}, {"text": "c", "text_pair": "d"}]
    for stream in (False, True):
        with pytest.raises(DataError, match="has single texts, the labelled data are pairs"):
            read(pairs, ["single"], stream=stream)
        with pytest.raises(DataError, match="has pairs of texts, the labelled data are single texts"):
            read(load_corpus(LABELLED), str(tmp_path / "a.jsonl"), stream=stream)


def test_a_stream_counts_what_it_leaves_out_and_what_is_evaluated_on(corpus: Corpus) -> None:
    held_out = list(corpus.evaluation["in_domain"]["text"])
    (made,) = read(corpus, [*held_out, "new", "", None], stream=True)
    assert isinstance(made.rows, TextStream)
    for _ in range(2):  # as much in the second reading, which begins anew
        assert len(list(made.rows)) == len(held_out) + 1
        assert made.rows.problems.counts == {
            "rows with an empty text": 2,
            "texts that are also in the evaluation part in_domain": len(held_out),
        }


def test_a_stream_reports_what_breaks_it_when_it_is_read(tmp_path: Path, corpus: Corpus) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n' * 500 + "{broken\n")
    (made,) = read(corpus, str(path), stream=True)
    assert isinstance(made.rows, TextStream)
    with pytest.raises(DataError, match="line 501"):
        list(made.rows)
