"""Text from files as people have them, and one line for what is wrong with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from ssl_pdr.data.sources import Corpus, embedded_corpora, load_corpus
from ssl_pdr.errors import ConfigError, DataError

ROWS = [(f"text {i} {'good' if i % 2 else 'bad'}", "yes" if i % 2 else "no") for i in range(20)]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def csv(folder: Path, rows: list[tuple[str, str]] = ROWS, header: str = "text,label") -> str:
    return write(folder / "data.csv", "\n".join([header, *(f"{text},{label}" for text, label in rows)]))


def formats(folder: Path) -> dict[str, str]:
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / "a.tsv", index=False, sep="\t")
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "a.parquet")
    for name in ("a.csv", "a.tsv", "a.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    return {path.name: str(path) for path in folder.glob("a.*")}


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    corpora = {name: load_corpus(path) for name, path in formats(tmp_path).items()}
    assert len(corpora) == 7
    assert len({corpus.fingerprint for corpus in corpora.values()}) == 1
    corpus = corpora["a.csv"]
    assert corpus.label_names == ["no", "yes"]
    assert corpus.train.column_names == ["text", "label"]
    assert (len(corpus.train), len(corpus.evaluation["in_domain"])) == (16, 4)


def test_held_out_rows_never_enter_the_pool_and_stay_the_same_under_limit(tmp_path: Path) -> None:
    path = csv(tmp_path)
    whole, limited = load_corpus(path, eval_frac=0.3), load_corpus(path, eval_frac=0.3, limit=6)
    assert not set(whole.train["text"]) & set(whole.evaluation["in_domain"]["text"])
    assert whole.evaluation["in_domain"].to_dict() == limited.evaluation["in_domain"].to_dict()
    assert len(limited.train) == 6
    assert sorted(limited.train["label"]) == [0, 0, 0, 1, 1, 1]
    assert load_corpus(path, seed=1).train["text"] != load_corpus(path).train["text"]


def test_words_that_look_like_missing_values_or_numbers_stay_words(tmp_path: Path) -> None:
    odd = ["null", "NA", "None", "nan", "007", "1e5", "true", "-"]
    corpus = load_corpus(csv(tmp_path, [(text, str(i % 2)) for i, text in enumerate(odd * 3)]))
    assert set(corpus.train["text"]) | set(corpus.evaluation["in_domain"]["text"]) == set(odd)


def test_tabs_separate_and_quotes_do_not(tmp_path: Path) -> None:
    rows = ['an "open quote', "it 's ' fine", 'plain "quoted" text', "other"] * 3
    path = write(tmp_path / "a.tsv", "sentence\tlabel\n" + "\n".join(f"{t}\t{i % 2}" for i, t in enumerate(rows)))
    assert set(load_corpus(path).train["text"]) <= set(rows)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"\xef\xbb\xbf" + b"\r\n".join(b"%s,%s" % (t.encode(), s.encode()) for t, s in [("text", "label"), *ROWS])
    )
    assert set(load_corpus(str(path)).label_names) == {"yes", "no"}


def test_numbers_as_labels_are_sorted_as_numbers(tmp_path: Path) -> None:
    assert load_corpus(csv(tmp_path, [(f"t {i}", str(i % 11)) for i in range(66)])).label_names == [
        str(i) for i in range(11)
    ]


def test_columns_are_guessed_mapped_and_paired(tmp_path: Path) -> None:
    lines = ["premise,hypothesis,gold_label", *(f"p {i},h {i},{'a' if i % 2 else 'b'}" for i in range(20))]
    path = write(tmp_path / "a.csv", "\n".join(lines))
    assert load_corpus(path).train.column_names == ["text", "text_pair", "label"]
    single = load_corpus(path, text_column="hypothesis")
    assert single.train.column_names == ["text", "label"]
    assert single.train[0]["text"].startswith("h ")
    swapped = load_corpus(path, text_column="hypothesis", pair_column="premise")
    assert swapped.train[0]["text_pair"].startswith("p ")


def test_rows_without_an_agreed_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [(text, {"yes": "entailment", "no": "neutral"}[label]) for text, label in ROWS]
    corpus = load_corpus(csv(tmp_path, [*rows, ("nobody agrees", "-")], header="text,gold_label"))
    assert corpus.notes["rows without an agreed label ('-')"] == 1
    assert corpus.label_names == ["entailment", "neutral"]


def test_plus_and_minus_are_labels(tmp_path: Path) -> None:
    rows = [(text, {"yes": "+", "no": "-"}[label]) for text, label in ROWS]
    assert load_corpus(csv(tmp_path, rows)).label_names == ["+", "-"]


def test_duplicates_and_leaks_are_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, [*ROWS, ROWS[0]])
    other = write(tmp_path / "eval.csv", f"text,label\n{ROWS[3][0].upper()},yes\nnew one,no\n")
    corpus = load_corpus(path, evaluation=other)
    assert corpus.notes["duplicate training texts"] == 1
    assert corpus.notes["training texts that are also in an evaluation part"] == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty; expected a header and rows"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.csv", "text,label\na,x\nb,x\n", "has one class only ('x'); expected at least 2"),
        (
            "a.csv",
            "text,label\na,x\n ,y\n,y\n",
            "2 rows have no text (null or empty) in column 'text', the first is row 2",
        ),
        (
            "a.csv",
            "text,label\na,x\nb,\n",
            "1 rows have no label (null or empty) in column 'label', the first is row 2",
        ),
        ("a.csv", "text,label\na,x\nb,y,z,w\n", "cannot read"),
        ("a.csv", "words,label\na,x\nb,y\n", "name one with --text-column. It has: words, label"),
        ("a.csv", "text,mood\na,x\nb,y\n", "name one with --label-column. It has: text, mood"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "cannot read"),
        ("a.parquet", "no parquet", "cannot read"),
        ("a.csv.gz", "not gzip", "cannot read"),
        ("a.xml", "<a/>", "has the ending '.xml'; expected one of: .csv, .tsv, .jsonl, .parquet"),
    ],
)
def test_broken_files_are_one_line_that_names_them(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as error:
        load_corpus(path)
    assert message in str(error.value)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_not_there(tmp_path: Path) -> None:
    path = csv(tmp_path)
    for data, message in (
        (str(tmp_path / "dat.csv"), "did you mean data.csv?"),
        (str(tmp_path), "is a folder; give one of the files in it"),
        ("pydocs-topic", "did you mean 'pydocs-topics'"),
        ("owner/none", "cannot load 'owner/none' (train) from the Hub"),
    ):
        with pytest.raises(DataError) as error:
            load_corpus(data)
        assert message in str(error.value)
    with pytest.raises(DataError, match="has no column 'txet' \\(--text-column\\); did you mean 'text'"):
        load_corpus(path, text_column="txet")
    with pytest.raises(ConfigError, match="eval_frac must lie between 0 and 1"):
        load_corpus(path, eval_frac=1.0)


def test_labels_of_the_evaluation_have_to_be_known(tmp_path: Path) -> None:
    other = write(tmp_path / "eval.csv", "text,label\na,yes\nb,maybe\n")
    with pytest.raises(DataError, match="row 2 has the label 'maybe', which is not in the label set: no, yes"):
        load_corpus(csv(tmp_path), evaluation=other)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", "\n".join(json.dumps({"text": "__import__('os')", "label": i % 2}) for i in range(10))
    )
    assert set(load_corpus(path).train["text"]) == {"__import__('os')"}


@pytest.mark.real
def test_embedded_corpus() -> None:
    assert embedded_corpora() == ["pydocs-topics"]
    corpus = load_corpus("pydocs-topics")
    assert isinstance(corpus, Corpus)
    assert set(corpus.evaluation) == {"in_domain", "shifted"}
    assert corpus.notes["training texts that are also in an evaluation part"] == 0
    assert "scipy" in corpus.versions


@pytest.mark.shared_data
def test_real_sets(shared_data: Path) -> None:
    sst2 = load_corpus(str(shared_data / "sst2/train_sentences.tsv.gz"), evaluation=str(shared_data / "sst2/dev.tsv"))
    assert (len(sst2.train), len(sst2.evaluation["in_domain"])) == (6920, 872)
    mnli = load_corpus(
        str(shared_data / "mnli/train_subset.tsv.gz"), evaluation=str(shared_data / "mnli/dev_matched.tsv.gz")
    )
    assert mnli.label_names == ["contradiction", "entailment", "neutral"]
    assert (len(mnli.train), len(mnli.evaluation["in_domain"])) == (9888, 9815)
    hans = load_corpus(str(shared_data / "hans/eval.tsv.gz"))
    assert hans.label_names == ["entailment", "non-entailment"]
    assert len(hans.train) + len(hans.evaluation["in_domain"]) == 30000
    assert hans.train.column_names == ["text", "text_pair", "label"]
