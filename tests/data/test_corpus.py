"""A corpus from whatever people have: files, folders, tables, lists; and one line for what is wrong with it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict

from ssl_pdr.data.corpus import Corpus, load_corpus
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import EMBEDDED
from ssl_pdr.errors import ConfigError, DataError, UnknownNameError

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


def test_rows_without_an_agreed_label_become_unlabelled_and_are_counted(tmp_path: Path) -> None:
    rows = [(text, {"yes": "entailment", "no": "neutral"}[label]) for text, label in ROWS]
    path = csv(tmp_path, [*rows, ("nobody agrees", "-")], header="text,gold_label")
    corpus = load_corpus(path)
    assert corpus.notes["rows without an agreed label ('-'), used as unlabelled text"] == 1
    assert corpus.label_names == ["entailment", "neutral"]
    assert [row["text"] for row in corpus.train if row["label"] is None] == ["nobody agrees"]
    assert len(load_corpus(rows, evaluation=path).evaluation["in_domain"]) == 20


def test_rows_without_a_label_are_kept_for_training_and_refused_in_evaluation(tmp_path: Path) -> None:
    path = csv(tmp_path, [*ROWS, ("no label here", ""), ("nor here", " ")])
    corpus = load_corpus(path)
    assert corpus.labels.count(None) == 2
    assert corpus.notes["rows without a label, used as unlabelled text"] == 2
    assert None not in corpus.evaluation["in_domain"]["label"]
    with pytest.raises(DataError, match="the in_domain part: 2 rows have no label, the first is row 21"):
        load_corpus(ROWS, evaluation=path)
    with pytest.raises(DataError, match="no row has a label; a corpus without labels goes to --unlabelled"):
        load_corpus([(text, None) for text, _ in ROWS])


@pytest.mark.parametrize("labels", [["0.25", "0.5"], [0.25, 1.0], ["1e-3", "2e5"]])
def test_numbers_with_a_fraction_are_no_classes(labels: list[object]) -> None:
    rows = [(f"t {i}", labels[i % 2]) for i in range(10)]
    with pytest.raises(DataError, match="has the number .* as a label, expected classes: names or whole numbers"):
        load_corpus(rows)
    mapped = load_corpus(rows, label_map={str(label): f"class {i}" for i, label in enumerate(labels)})
    assert mapped.label_names == ["class 0", "class 1"]


def test_whole_numbers_are_the_same_however_they_are_written() -> None:
    rows = [
        ("a b", 1),
        ("c d", 1.0),
        ("e f", "1"),
        ("g h", "1.0"),
        ("i j", "0"),
        ("k l", 0.0),
        ("m n", 0),
        ("o p", 2.0),
    ]
    assert load_corpus(rows[:7], eval_frac=0.3).label_names == ["0", "1"]


def test_label_maps_reach_every_part_and_name_labels_that_exist(tmp_path: Path) -> None:
    three = [(f"t {i}", ("entailment", "neutral", "contradiction")[i % 3]) for i in range(30)]
    two = [("u v", "entailment"), ("w x", "non-entailment")]
    names = {"neutral": "non-entailment", "contradiction": "non-entailment"}
    corpus = load_corpus(three, evaluation=two, label_map=names)
    assert corpus.label_names == ["entailment", "non-entailment"]
    assert list(corpus.evaluation["in_domain"]["label"]) == [0, 1]
    assert set(corpus.labels) == {"entailment", "non-entailment"}
    with pytest.raises(UnknownNameError, match="unknown label in the label map 'neutrl'; did you mean 'neutral'"):
        load_corpus(three, label_map={"neutrl": "x"})
    assert load_corpus(three, evaluation=two, label_map=names).fingerprint != load_corpus(three).fingerprint


def python_sources() -> dict[str, object]:
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    table = Dataset.from_pandas(frame, preserve_index=False)
    named = table.cast_column("label", ClassLabel(names=["no", "yes"]))
    return {
        "pairs": ROWS,
        "dicts": [{"text": text, "label": label} for text, label in ROWS],
        "frame": frame,
        "categories": frame.astype({"label": "category"}),
        "table": table,
        "classes": named,
        "stream": table.to_iterable_dataset(),
    }


@pytest.mark.parametrize("kind", python_sources())
def test_python_objects_give_the_same_rows_as_files(tmp_path: Path, kind: str) -> None:
    corpus = load_corpus(python_sources()[kind])
    assert corpus.fingerprint == load_corpus(csv(tmp_path)).fingerprint
    assert corpus.train["text"] == load_corpus(csv(tmp_path)).train["text"]


def test_folders_with_parts_and_globs(tmp_path: Path) -> None:
    glue = tmp_path / "SST-2"
    glue.mkdir()
    for part, rows in {"train": ROWS[:14], "dev": ROWS[14:]}.items():
        write(glue / f"{part}.tsv", "\n".join(["sentence\tlabel", *("\t".join(row) for row in rows)]))
    write(glue / "test.tsv", "index\tsentence\n0\thidden\n")
    corpus = load_corpus(str(glue))
    assert (len(corpus.train), len(corpus.evaluation["in_domain"])) == (14, 6)
    assert (
        load_corpus(str(tmp_path / "SST-2" / "*n.tsv")).fingerprint == load_corpus(str(glue / "train.tsv")).fingerprint
    )
    halves = tmp_path / "halves"
    halves.mkdir()
    for name, rows in (("a.csv", ROWS[:10]), ("b.jsonl", ROWS[10:])):
        if name.endswith("csv"):
            write(halves / name, "\n".join(["text,label", *(",".join(row) for row in rows)]))
        else:
            write(halves / name, "\n".join(json.dumps({"text": t, "label": y}) for t, y in rows))
    assert load_corpus(str(halves)).fingerprint == load_corpus(ROWS).fingerprint


def test_a_test_part_that_is_broken_is_no_reason_to_hold_rows_out(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "\n".join(["text,label", *(",".join(row) for row in ROWS)]))
    for content, message in (('text,label\n"a,yes\n', "line 2"), ("text,label\na,yess\n", "the label 'yess'")):
        write(tmp_path / "test.csv", content)
        with pytest.raises(DataError, match=message):
            load_corpus(str(tmp_path))


def test_a_limit_is_in_proportion_and_counts_what_it_leaves(tmp_path: Path) -> None:
    rows = [*ROWS, *((f"no label {i}", None) for i in range(16))]
    corpus = load_corpus(rows, limit=16)
    assert corpus.labels.count(None) == 8
    assert corpus.notes["rows without a label, used as unlabelled text"] == 8
    with pytest.raises(
        ConfigError, match="limit: got 2, expected at least 3, one row of each class and one without a label"
    ):
        load_corpus(rows, limit=2)


def test_a_test_part_without_labels_is_not_evaluated_on(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "\n".join(["text,label", *(",".join(row) for row in ROWS)]))
    write(tmp_path / "test.csv", "text\nhidden\n")
    corpus = load_corpus(str(tmp_path))
    assert (len(corpus.train), len(corpus.evaluation["in_domain"])) == (16, 4)


def test_bad_rows_are_counted_when_asked_to(tmp_path: Path) -> None:
    lines = [json.dumps({"text": t, "label": y}) for t, y in ROWS]
    lines[3:3] = ["{broken", json.dumps({"text": None, "label": "yes"}), json.dumps({"text": [1], "label": "no"}), ""]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match="line 4"):
        load_corpus(path)
    corpus = load_corpus(path, reading=Reading(skip_bad_rows=True))
    assert corpus.fingerprint == load_corpus(ROWS).fingerprint
    assert {kind: count for kind, count in corpus.notes.items() if "rows" in kind or "lines" in kind} == {
        "blank lines": 1,
        "lines that are not JSON": 1,
        "rows with an empty text": 1,
        "rows without text in column 'text'": 1,
    }


def test_parts_have_one_shape() -> None:
    pairs = [{"premise": f"p {i}", "hypothesis": "h", "label": i % 2} for i in range(10)]
    for data, evaluation, message in (
        (pairs, ROWS, "the in_domain part has single texts, the training rows are pairs of texts"),
        (ROWS, pairs, "the in_domain part has pairs of texts, the training rows are single texts"),
    ):
        with pytest.raises(DataError, match=message):
            load_corpus(data, evaluation=evaluation)


def test_rows_that_are_not_evaluated_on_are_counted(tmp_path: Path) -> None:
    rows = [(f"t {i}", ("entailment", "neutral", "-")[i % 3]) for i in range(30)]
    corpus = load_corpus(
        [row for row in rows if row[1] != "-"],
        evaluation=[*rows, (" ", "neutral")],
        reading=Reading(skip_bad_rows=True),
    )
    assert len(corpus.evaluation["in_domain"]) == 20
    assert corpus.notes["in_domain: rows without an agreed label ('-'), left out"] == 10
    assert corpus.notes["in_domain: rows with an empty text"] == 1


def test_the_first_label_may_come_late() -> None:
    rows = [{"text": f"early {i}"} for i in range(200)] + [{"text": f"late {i}", "label": i % 2} for i in range(80)]
    for column in (None, "label"):
        corpus = load_corpus(rows, label_column=column)
        assert corpus.labels.count(None) == 200
        assert len(corpus.evaluation["in_domain"]) == 16
    with pytest.raises(DataError, match="has no column 'lable' .--label-column.; did you mean"):
        load_corpus([{**row, "label": 0} for row in rows], label_column="lable")


def test_a_corpus_that_cannot_be_held_out_says_so() -> None:
    with pytest.raises(
        DataError, match="20 rows with a label in 20 classes: too few to hold 0.2 of them out and keep one of each"
    ):
        load_corpus([(f"t {i}", f"class {i}") for i in range(20)])


def test_frames_with_odd_columns() -> None:
    frame = pd.DataFrame(ROWS)
    assert load_corpus(frame, text_column="0", label_column="1").label_names == ["no", "yes"]
    frame.columns = ["text", "text"]
    with pytest.raises(DataError, match="has the column 'text' twice"):
        load_corpus(frame)


@pytest.mark.parametrize(
    "source", [None, 3, {"text": ["a"]}, DatasetDict({"train": Dataset.from_dict({"text": ["a"]})})]
)
def test_what_is_no_source_is_refused_in_one_line(source: object) -> None:
    with pytest.raises(
        DataError, match="expected a list of texts or of rows, a data frame, or one table of `datasets`"
    ):
        load_corpus(source)


def test_groups_are_kept_for_budgets(tmp_path: Path) -> None:
    lines = ["text,label,article", *(f"t {i},{i % 2},{i // 4}" for i in range(20))]
    corpus = load_corpus(write(tmp_path / "a.csv", "\n".join(lines)), group_column="article")
    assert set(corpus.train["group"]) <= {"0", "1", "2", "3", "4"}
    missing = [{"text": "a", "label": 0, "article": 1}, {"text": "b", "label": 1, "article": None}]
    with pytest.raises(DataError, match="row 2 belongs to no group .column 'article'.; every row needs one"):
        load_corpus(missing, group_column="article")
    with pytest.raises(DataError, match="no column 'artcle' .--group-column.; did you mean 'article'"):
        load_corpus(str(tmp_path / "a.csv"), group_column="artcle")


def test_values_that_are_no_text_or_no_label() -> None:
    for rows, message in (
        ([{"text": 5, "label": "a"}, {"text": "b", "label": "b"}], "row 1 has int '5' in column 'text', expected text"),
        ([{"text": "a", "label": ["x"]}, {"text": "b", "label": "y"}], "row 1 has list .* as its label"),
        ([{"text": "a\ud800", "label": "x"}, {"text": "b", "label": "y"}], "half of a character"),
        ({"text": ["a"]}, "got a dict, expected a list of texts"),
    ):
        with pytest.raises(DataError, match=message):
            load_corpus(rows)


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
            "text,label\na,\nb,\n",
            "no row has a label",
        ),
        ("a.csv", "text,label\na,x\nb,y,z,w\n", "line 3"),
        ("a.csv", 'text,label\na,x\n"b,y\nc,z\n', "line 3"),
        ("a.csv", "words,label\na,x\nb,y\n", "name one with --text-column. It has: words, label"),
        (
            "a.csv",
            "text,mood\na,x\nb,y\n",
            "name one with --label-column; a corpus without labels goes to --unlabelled. It has: text, mood",
        ),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "line 2"),
        ("a.parquet", "no parquet", "cannot read"),
        ("a.csv.gz", "not gzip", "cannot read"),
        ("a.xml", "<a/>", "has the ending '.xml'; expected one of: .csv, .tsv, .json, .jsonl, .parquet, .txt"),
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
    (tmp_path / "empty").mkdir()
    for data, message in (
        (str(tmp_path / "dat.csv"), "did you mean data.csv?"),
        (str(tmp_path / "empty"), "has no files that can be read"),
        (str(tmp_path / "*.tsv"), "*.tsv"),
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
    assert EMBEDDED == ("pydocs-pairs", "pydocs-topics")
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
    names = {"neutral": "non-entailment", "contradiction": "non-entailment"}
    hans = str(shared_data / "hans/eval.tsv.gz")
    across = load_corpus(str(shared_data / "mnli/train_subset.tsv.gz"), evaluation=hans, label_map=names)
    assert across.label_names == ["entailment", "non-entailment"]
    assert len(across.evaluation["in_domain"]) == 30000
    hans = load_corpus(str(shared_data / "hans/eval.tsv.gz"))
    assert hans.label_names == ["entailment", "non-entailment"]
    assert len(hans.train) + len(hans.evaluation["in_domain"]) == 30000
    assert hans.train.column_names == ["text", "text_pair", "label"]
