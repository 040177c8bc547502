"""The data sets of the paper by their names: in the files as they were published, and as the Hub has them."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from ssl_pdr.choices import NAMED_SETS
from ssl_pdr.data import tables
from ssl_pdr.data.catalogue import NAMED, find_named, unknown_set, unlabelled_part
from ssl_pdr.data.columns import Columns
from ssl_pdr.data.corpus import load_corpus
from ssl_pdr.data.named import EVALUATED, HubPlace
from ssl_pdr.data.questions import load_questions
from ssl_pdr.data.readers import Reading
from ssl_pdr.data.sources import has_part, raw_rows, read_table, source_name
from ssl_pdr.data.unlabelled import TextStream, load_unlabelled
from ssl_pdr.errors import PDRError

NLI = ("entailment", "neutral", "contradiction")
PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
GLUE_MNLI = ("index", "promptID", "pairID", "genre", *PARSES, "sentence1", "sentence2", "label1")
HANS = ("gold_label", *PARSES, "sentence1", "sentence2", "pairID", "heuristic", "subcase", "template")
MULTINLI = (
    "gold_label",
    *PARSES,
    "sentence1",
    "sentence2",
    "promptID",
    "pairID",
    "genre",
    *(f"label{i}" for i in range(1, 6)),
)


def put(path: Path, text: str) -> Path:
    """A file, compressed where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def table(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Tab separated, with something in each column that is not given."""
    lines = ["\t".join(columns), *("\t".join(row.get(column, f"<{column}>") for column in columns) for row in rows)]
    return "\n".join(lines) + "\n"


def sst2(folder: Path, ending: str = "") -> None:
    for part, size in (("train", 12), ("dev", 4)):
        rows = [{"sentence": f"{part} sentence {i} ", "label": str(i % 2)} for i in range(size)]
        put(folder / f"{part}.tsv{ending}", table(("sentence", "label"), rows))
    put(folder / "test.tsv", "index\tsentence\n0\tof nobody knows what\n")


def nli(part: str, size: int, labels: Sequence[str] = NLI) -> list[dict[str, str]]:
    return [
        {"sentence1": f"{part} premise {i}", "sentence2": f'"hypothesis {i}', "gold_label": labels[i % len(labels)]}
        for i in range(size)
    ]


def glue_mnli(folder: Path) -> None:
    put(folder / "train.tsv", table((*GLUE_MNLI, "gold_label"), nli("train", 12)))
    several = (*GLUE_MNLI, "label2", "label3", "label4", "label5", "gold_label")
    put(folder / "dev_matched.tsv", table(several, nli("matched", 6)))
    put(folder / "dev_mismatched.tsv", table(several, nli("mismatched", 3)))
    put(folder / "test_matched.tsv", table(GLUE_MNLI[:-1], nli("test", 3)))


def hans(folder: Path, name: str = "heuristics_evaluation_set.txt") -> Path:
    rows = nli("hans", 6, ("entailment", "non-entailment"))
    kinds = ("lexical_overlap", "subsequence", "constituent")
    return put(folder / name, table(HANS, [{**row, "heuristic": kinds[i % 3]} for i, row in enumerate(rows)]))


def acl_imdb(folder: Path) -> None:
    for inner, size in (("train/pos", 3), ("train/neg", 3), ("train/unsup", 5), ("test/pos", 2), ("test/neg", 2)):
        for i in range(size):
            put(folder / inner / f"{i}_{i + 1}.txt", f"A film.<br /><br />{inner} {i}, schön")
    put(folder / "README", "about")
    put(folder / "train/urls_pos.txt", "a list of addresses")


def squad(size: int = 2, *, version: str = "1.1", ids: str = "q") -> str:
    questions = [
        {"id": f"{ids}{i}", "question": f"Who {i}?", "answers": [{"text": "Ada", "answer_start": 7}]}
        for i in range(size)
    ]
    if version == "v2.0":
        questions = [{**question, "is_impossible": False} for question in questions]
        questions.append({"id": "none", "question": "Why?", "answers": [], "is_impossible": True})
    paragraphs = [{"context": "It was Ada.", "qas": questions}]
    return json.dumps({"version": version, "data": [{"title": "Ada", "paragraphs": paragraphs}]})


def bioasq() -> str:
    found = [{"text": "Ada", "char_spans": [[7, 9]], "token_spans": [[2, 2]]}]
    questions = [{"qid": f"b{i}", "question": "Who?", "answers": ["Ada"], "detected_answers": found} for i in range(3)]
    lines = [
        {"header": {"dataset": "BioASQ", "split": "dev"}},
        {"id": "", "context": "It was Ada.", "qas": questions, "context_tokens": [["It", 0]]},
    ]
    return "\n".join(map(json.dumps, lines))


def local(folder: Path, **how: Any) -> Reading:
    return Reading(data_dir=str(folder), **how)


def rows(name: str, folder: Path, part: str, **how: Any) -> list[Mapping[str, Any]]:
    return [row for _, row in raw_rows(name, local(folder, **how), Counter(), part)]


def error(find: Callable[[], object]) -> str:
    with pytest.raises(PDRError) as raised:
        find()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_the_catalogue_says() -> None:
    assert tuple(NAMED) == NAMED_SETS
    for name, named in NAMED.items():
        assert name == named.name == source_name(name)
        assert named.evaluation in named.parts
        assert (named.task == "classification") == bool(named.labels)
        assert all("/" in part.hub.repository for part in named.parts.values())
        assert set(named.collapse.values()) <= set(named.labels)
        assert "\n" not in named.description
    scorings = ["accuracy", "accuracy", "accuracy", "hans", "squad", "squad_v2", "adversarial", "adversarial", "squad"]
    assert [named.scoring for named in NAMED.values()] == scorings
    assert [n for n in NAMED if NAMED[n].role == EVALUATED] == ["imdb", "hans", "addsent", "addonesent", "bioasq"]
    assert [n for n in NAMED if NAMED[n].evaluation != "validation"] == ["imdb"]
    assert {unlabelled_part(n) for n in (*NAMED, "a.csv", ("texts",))} == {"train", "unsupervised"}
    assert find_named(Path("sst2")) is NAMED["sst2"]
    assert find_named(["sst2"]) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SST-2", "did you mean 'sst2'?"),
        ("sst", "did you mean 'sst2'?"),
        ("multinli", "did you mean 'mnli'?"),
        ("SQuAD2", "did you mean 'squad_v2'?"),
        ("aclImdb", "did you mean 'imdb'?"),
        ("adversarial_squad", "did you mean 'addsent' or 'addonesent'?"),
        ("bioask", "did you mean 'bioasq'?"),
        ("nothing of the kind", ". There are: addonesent, addsent, bioasq"),
    ],
)
def test_unknown_names_and_what_may_be_meant(name: str, expected: str) -> None:
    assert expected in str(unknown_set("data set", name))
    assert expected in error(lambda: load_corpus(name)).replace(", pydocs-pairs, pydocs-topics", "")


def test_sst2_as_glue_has_it(tmp_path: Path) -> None:
    sst2(tmp_path / "SST-2")
    assert rows("sst2", tmp_path, "validation")[1] == {"text": "dev sentence 1 ", "label": "positive"}
    corpus = load_corpus("sst2", reading=local(tmp_path))
    assert (corpus.name, corpus.label_names, len(corpus.train)) == ("sst2", ["negative", "positive"], 12)
    assert [*corpus.evaluation] == ["in_domain"]
    assert list(corpus.evaluation["in_domain"]["label"]) == [0, 1, 0, 1]
    sst2(tmp_path / "again" / "sst2", ".gz")
    again = load_corpus("sst2", reading=local(tmp_path / "again"))
    assert again.fingerprint == corpus.fingerprint
    # The set knows its columns, whatever those of other data are called.
    assert load_corpus("sst2", reading=local(tmp_path), text_column="body").fingerprint == corpus.fingerprint


def test_the_folder_itself_may_be_that_of_the_set(tmp_path: Path) -> None:
    sst2(tmp_path)
    assert len(rows("sst2", tmp_path, "train")) == 12
    put(tmp_path / "train-v2.0.json", squad(version="v2.0"))
    put(tmp_path / "train-v1.1.json", squad(version="1.1"))
    assert [row["id"] for row in rows("squad", tmp_path, "train")] == ["q0", "q1"]
    assert [row["id"] for row in rows("squad_v2", tmp_path, "train")] == ["q0", "q1", "none"]
    (tmp_path / "train-v1.1.json").unlink()  # the file of another set is not taken for it
    assert "squad: no file for its train part" in error(lambda: rows("squad", tmp_path, "train"))


def test_mnli_as_glue_has_it(tmp_path: Path) -> None:
    glue_mnli(tmp_path / "MNLI")
    corpus = load_corpus("mnli", reading=local(tmp_path), group_column="genre")
    assert corpus.label_names == sorted(NLI)
    assert {part: len(held) for part, held in corpus.evaluation.items()} == {"in_domain": 6, "mismatched": 3}
    assert corpus.train[0] == {"text": "train premise 0", "text_pair": '"hypothesis 0', "group": "<genre>", "label": 1}
    (tmp_path / "MNLI" / "dev_mismatched.tsv").unlink()
    corpus = load_corpus("mnli", reading=local(tmp_path))
    assert [*corpus.evaluation] == ["in_domain"]
    assert corpus.notes["mismatched: its file is not there, so it is not evaluated on"] == 1


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".txt", ".txt.gz"])
def test_mnli_as_multinli_has_it(tmp_path: Path, ending: str) -> None:
    for part in ("train", "dev_matched"):
        given = [*nli(part, 6), {"sentence1": f"{part} p", "sentence2": "h", "gold_label": "-"}]
        path = tmp_path / "multinli_1.0" / f"multinli_1.0_{part}{ending}"
        put(path, table(MULTINLI, given) if ".txt" in ending else "\n".join(json.dumps(row) for row in given))
    corpus = load_corpus("mnli", reading=local(tmp_path))
    assert corpus.notes["rows without an agreed label ('-'), used as unlabelled text"] == 1
    assert corpus.notes["in_domain: rows without an agreed label ('-'), left out"] == 1
    assert (len(corpus.train), len(corpus.evaluation["in_domain"])) == (7, 6)


def test_both_forms_that_multinli_comes_in_are_no_riddle(tmp_path: Path) -> None:
    put(tmp_path / "multinli_1.0_train.jsonl", "\n".join(json.dumps(row) for row in nli("train", 6)))
    put(tmp_path / "multinli_1.0_train.txt", table(MULTINLI, nli("train", 6)))
    assert len(rows("mnli", tmp_path, "train")) == 6


@pytest.mark.parametrize("name", ["heuristics_evaluation_set.txt", "heuristics_evaluation_set.txt.gz", "eval.tsv.gz"])
def test_hans_is_evaluated_on_by_heuristic(tmp_path: Path, name: str) -> None:
    hans(tmp_path / "hans", name)
    assert {**rows("hans", tmp_path, "validation")[1], "text_pair": ""} == {
        **{column: f"<{column}>" for column in (*PARSES, "pairID", "subcase", "template")},
        "heuristic": "subsequence",
        "text": "hans premise 1",
        "text_pair": "",
        "label": "non-entailment",
    }
    for columns in (Columns(), Columns(group="heuristic"), Columns("body", "other", "class", "author")):
        held = read_table("hans", columns, local(tmp_path), labelled=True, part="validation")
        assert list(held.rows["group"]) == ["lexical_overlap", "subsequence", "constituent"] * 2
        assert held.classes == ["entailment", "non-entailment"]
    glue_mnli(tmp_path / "MNLI")
    corpus = load_corpus("mnli", evaluation="hans", label_map=NAMED["hans"].collapse, reading=local(tmp_path))
    assert corpus.label_names == ["entailment", "non-entailment"]
    assert list(corpus.evaluation["in_domain"]["label"]) == [0, 1] * 3
    assert corpus.evaluation["in_domain"].column_names == ["text", "text_pair", "group", "label"]


def test_sets_that_are_only_evaluated_on(tmp_path: Path) -> None:
    hans(tmp_path / "HANS")
    message = error(lambda: load_corpus("hans", reading=local(tmp_path)))
    assert message.endswith("; hans is only evaluated on: give it to --eval-on")
    hans(tmp_path / "HANS", "heuristics_train_set.txt")
    assert len(load_corpus("hans", reading=local(tmp_path)).train) == 6
    for name in ("addsent", "addonesent", "bioasq"):
        assert "only evaluated on: give it to --eval-on" in error(lambda name=name: rows(name, tmp_path, "train"))  # type: ignore[misc]


def test_imdb_as_folders_of_documents(tmp_path: Path) -> None:
    acl_imdb(tmp_path / "aclImdb")
    corpus = load_corpus("imdb", reading=local(tmp_path))
    assert (len(corpus.train), len(corpus.evaluation["in_domain"])) == (6, 4)
    assert set(zip(corpus.labels, (text.split()[3] for text in corpus.train["text"]), strict=True)) == {
        ("positive", "/>train/pos"),
        ("negative", "/>train/neg"),
    }
    for stream in (False, True):
        (made,) = load_unlabelled(["imdb:0.5"], corpus, Columns(), local(tmp_path), stream=stream)
        read = made.rows if isinstance(made.rows, TextStream) else made.rows.rows
        assert (made.name, made.weight) == ("imdb", 0.5)
        assert [row["text"] for row in read] == [f"A film.<br /><br />train/unsup {i}, schön" for i in range(5)]
    put(tmp_path / "aclImdb" / "test" / "neg" / "9_1.txt", "")
    assert "9_1.txt: the file is empty" in error(lambda: load_corpus("imdb", reading=local(tmp_path)))


def test_imdb_as_tables(tmp_path: Path) -> None:
    (tmp_path / "imdb").mkdir()
    named = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    texts = {"text": ["bad", "good"], "label": [0, 1]}
    Dataset.from_dict(texts, features=named).to_parquet(tmp_path / "imdb" / "train-00000-of-00001.parquet")
    Dataset.from_dict(texts).to_parquet(tmp_path / "imdb" / "test.parquet")
    unlabelled = Dataset.from_dict({"text": ["a film", "another"], "label": [-1, -1]}, features=named)
    unlabelled.to_parquet(tmp_path / "imdb" / "unsupervised.parquet")
    for part in ("train", "test"):
        assert [row["label"] for row in rows("imdb", tmp_path, part)] == ["negative", "positive"]
    assert [row["label"] for row in rows("imdb", tmp_path, "unsupervised")] == [None, None]
    held = read_table("imdb", Columns(), local(tmp_path), labelled=False, part="unsupervised")
    assert list(held.rows["text"]) == ["a film", "another"]


def test_questions_as_they_were_published(tmp_path: Path) -> None:
    files = {
        "squad/train-v1.1.json": squad(4),
        "squad/dev-v1.1.json.gz": squad(3),
        "squad2/train-v2.0.json": squad(2, version="v2.0"),
        "squad2/dev-v2.0.json": squad(1, version="v2.0"),
        "adversarial_squad/sample1k-HCVerifyAll.json": squad(5, ids="all"),
        "adversarial_squad/sample1k-HCVerifySample.json.gz": squad(2, ids="sample"),
        "mrqa/BioASQ.jsonl.gz": bioasq(),
    }
    for name, text in files.items():
        put(tmp_path / name, text)
    sizes = {
        f"{name} {part}": len(load_questions(name, reading=local(tmp_path), part=part)[0])
        for name in ("squad", "squad_v2", "addsent", "addonesent", "bioasq")
        for part in NAMED[name].parts
    }
    assert [*sizes.values()] == [4, 3, 3, 2, 5, 2, 3]
    (*_, unanswerable) = load_questions("squad_v2", reading=local(tmp_path), part="validation")[0]
    assert unanswerable["answers"] == {"text": [], "answer_start": []}
    assert rows("bioasq", tmp_path, "validation")[0]["answers"] == {"text": ["Ada"], "answer_start": [7]}
    assert rows("addonesent", tmp_path, "validation")[0]["id"] == "sample0"
    for read in (
        lambda: load_corpus("squad", reading=local(tmp_path)),
        lambda: load_corpus([("a", "x"), ("b", "y")] * 5, evaluation="bioasq", reading=local(tmp_path)),
        lambda: load_unlabelled(["squad"], None, Columns(), local(tmp_path), stream=False),
    ):
        assert "holds questions, expected rows to classify; --task question-answering takes it" in error(read)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    message = error(lambda: rows("sst2", tmp_path / "none", "train"))
    assert message == f"there is no folder {tmp_path}/none for the files of sst2; check --data-dir"
    (tmp_path / "SST2").mkdir()
    message = error(lambda: rows("sst2", tmp_path, "validation"))
    assert message.startswith(
        f"sst2: no file for its validation part in {tmp_path}/SST2 or {tmp_path}; looked for dev.tsv, dev*"
    )
    assert message.endswith("; put one there, or leave --data-dir out to read it from the Hub")
    assert "looked for test/pos/*.txt, test/neg/*.txt, test* (" in error(lambda: rows("imdb", tmp_path, "test"))
    message = error(lambda: rows("mnli", tmp_path, "test"))
    assert message == "mnli has no test part; its parts: train, validation, mismatched"
    assert not has_part("sst2", "validation", local(tmp_path))
    assert not has_part("sst2", "test", local(tmp_path))
    sst2(tmp_path / "SST2")
    assert has_part("sst2", "validation", local(tmp_path))
    (tmp_path / "SST2" / "dev.tsv").unlink()
    assert "no file for its validation part" in error(lambda: load_corpus("sst2", reading=local(tmp_path)))


def test_several_files_that_may_be_meant(tmp_path: Path) -> None:
    sst2(tmp_path / "sst2")
    put(tmp_path / "sst2" / "train_sentences.tsv", "sentence\tlabel\na\t1\n")  # is not called as it was published
    assert len(rows("sst2", tmp_path, "train")) == 12
    sst2(tmp_path / "sst2", ".gz")
    message = error(lambda: rows("sst2", tmp_path, "train"))
    assert f"{tmp_path} has several files for its train part, sst2/train.tsv and sst2/train.tsv.gz; name" in message
    for name in ("dev_a.json.gz", "dev_b.json.gz"):
        put(tmp_path / "squad2" / name, squad(version="v2.0"))
    message = error(lambda: load_questions("squad_v2", reading=local(tmp_path), part="validation"))
    assert "squad2/dev_a.json.gz and squad2/dev_b.json.gz; name the file that is meant in place of squad_v2" in message


def test_files_of_something_else(tmp_path: Path) -> None:
    put(tmp_path / "sst2" / "train.tsv", "sentence\tlabel\nfine\t1\nodd\t2\nbad\t0\n")
    message = error(lambda: rows("sst2", tmp_path, "train"))
    assert message == "sst2: row 2 has the label '2', expected negative, positive; is it a file of SST-2?"
    tally: Counter[str] = Counter()
    kept = [*raw_rows("sst2", local(tmp_path, skip_bad_rows=True), tally, "train")]
    assert ([number for number, _ in kept], tally) == ([1, 3], {"rows that are not SST-2's": 1})
    put(tmp_path / "MNLI" / "train.tsv", "sentence\tlabel\nfine\t1\n")
    message = error(lambda: rows("mnli", tmp_path, "train"))
    assert (
        "row 1 has the columns sentence, label, expected premise and hypothesis or sentence1 and sentence2" in message
    )
    put(tmp_path / "squad" / "train.json", json.dumps([{"detected_answers": [], "qid": "a"}]))
    assert "has no qid, question and context with detected_answers" in error(lambda: rows("squad", tmp_path, "train"))


def test_a_large_file_is_converted_once_for_each_way_to_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CACHE_FROM_BYTES", 1)
    monkeypatch.setattr(tables, "cache_folder", lambda: tmp_path / "cache")
    sst2(tmp_path / "sst2")
    path = str(tmp_path / "sst2" / "train.tsv")
    for source, classes in (("sst2", ["negative", "positive"]), (path, ["0", "1"]), ("sst2", ["negative", "positive"])):
        assert read_table(source, Columns(), local(tmp_path), labelled=True).classes == classes
    assert len([*(tmp_path / "cache" / "tables").iterdir()]) == 2
    read_table(path, Columns(), Reading(), labelled=True)  # where named sets lie says nothing of a file
    assert len([*(tmp_path / "cache" / "tables").iterdir()]) == 2


def test_a_name_wins_over_a_folder_that_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sst2(tmp_path / "real" / "SST-2")
    put(tmp_path / "sst2" / "train.csv", "text,label\nother,x\n")
    monkeypatch.chdir(tmp_path)
    assert len(rows("sst2", tmp_path / "real", "train")) == 12
    assert [row["text"] for _, row in raw_rows("./sst2", Reading(), Counter())] == ["other"]


def moved(monkeypatch: pytest.MonkeyPatch, name: str, part: str, folder: Path) -> HubPlace:
    """Let a part lie in a folder that is laid out as its repository is."""
    named = NAMED[name]
    place = dataclasses.replace(named.parts[part].hub, repository=str(folder))
    parts = {**named.parts, part: dataclasses.replace(named.parts[part], hub=place)}
    monkeypatch.setitem(NAMED, name, dataclasses.replace(named, parts=parts))
    return place


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hub_keeps_hans_in_folders_of_a_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    place = moved(monkeypatch, "hans", "validation", tmp_path)
    assert place.arguments()["revision"] == "refs/convert/parquet"
    columns = {"premise": Value("string"), "hypothesis": Value("string"), "heuristic": Value("string")}
    features = Features({**columns, "label": ClassLabel(names=["entailment", "non-entailment"])})
    for part, label in (("train", 0), ("validation", 1)):
        folder = tmp_path / "plain_text" / part
        folder.mkdir(parents=True)
        row = {"premise": part, "hypothesis": "h", "heuristic": "constituent", "label": label}
        Dataset.from_list([row], features=features).to_parquet(folder / "0000.parquet")
    found = [row for _, row in raw_rows("hans", Reading(), Counter(), "validation", streaming=streaming)]
    assert found == [{"text": "validation", "text_pair": "h", "label": "non-entailment", "heuristic": "constituent"}]


@pytest.mark.parametrize("streaming", [False, True])
def test_the_hub_keeps_bioasq_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    moved(monkeypatch, "bioasq", "validation", tmp_path)
    (tmp_path / "plain_text").mkdir()
    (tmp_path / "plain_text" / "train-00000-of-00001.parquet").write_bytes(b"not looked at")
    spans = {"text": ["Ada", "was"], "char_spans": [{"start": [7], "end": [9]}, {"start": [3], "end": [5]}]}
    row = {"context": "It was Ada.", "qid": "1", "question": "Who?", "detected_answers": spans, "answers": ["Ada"]}
    given = [{**row, "subset": subset} for subset in ("DROP", "BioASQ")]
    Dataset.from_list(given).to_parquet(tmp_path / "plain_text" / "test-00000-of-00001.parquet")
    found = [*raw_rows("bioasq", Reading(), Counter(), "validation", streaming=streaming)]
    answers = {"text": ["Ada", "was"], "answer_start": [7, 3]}
    assert found == [(2, {"id": "1", "title": "", "question": "Who?", "context": "It was Ada.", "answers": answers})]


def test_without_a_network_a_folder_is_asked_for() -> None:
    for name, named in NAMED.items():
        for part, place in named.parts.items():
            message = error(lambda name=name, part=part: raw_rows(name, Reading(), Counter(), part))  # type: ignore[misc]
            assert message.startswith(f"cannot load {name} ({part}) from the Hub ({place.hub.repository}): ")
            assert message.endswith(f"without a network give --data-dir a folder with the files of {named.title}")
    assert has_part("mnli", "mismatched")
    assert not has_part("mnli", "test")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "part", "size"),
    [
        ("sst2", "validation", 872),
        ("hans", "validation", 30_000),
        ("mnli", "validation", 9_815),
        ("squad", "validation", 10_570),
        ("addsent", "validation", 3_560),
        ("addonesent", "validation", 1_787),
        ("imdb", "unsupervised", 15_000),
    ],
)
def test_real_files(shared_data: Path, name: str, part: str, size: int) -> None:
    found = rows(name, shared_data, part)
    assert len(found) == size
    named = NAMED[name]
    if named.labels and part == named.evaluation:
        assert {row["label"] for row in found} == set(named.labels)
    if name == "hans":
        counts = Counter((row["heuristic"], row["label"]) for row in found)
        assert np.array([*counts.values()]).tolist() == [5_000] * 6


@pytest.mark.shared_data
def test_real_files_are_read_as_they_are_asked_for(shared_data: Path) -> None:
    for name, part in (("sst2", "train"), ("mnli", "train"), ("imdb", "test"), ("squad", "train")):
        found = [row for _, row in islice(raw_rows(name, local(shared_data), Counter(), part), 5)]
        assert len(found) == 5
    message = error(lambda: load_questions("squad_v2", reading=local(shared_data), part="validation"))
    assert "squad2/dev_a.json.gz and squad2/dev_b_rebuilt.json.gz" in message
