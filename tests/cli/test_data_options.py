"""People's own corpora on the command line: unlabelled text, budgets, manifests, streams, checks."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.data import tables
from tests.cli.conftest import Run, one_line


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"a {('scene', 'actor')[i % 2]} is {('great', 'poor')[i % 2]} {i}\n" for i in range(60)))
    return path


@pytest.fixture
def more(tmp_path: Path) -> Path:
    path = tmp_path / "more.jsonl"
    path.write_text("".join(json.dumps({"text": f"plot {i} was lovely"}) + "\n" for i in range(30)))
    return path


def result_of(outcome: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = outcome
    assert code == 0, err
    result: dict[str, Any] = json.loads(out)
    return result


def test_unlabelled_corpora_with_weights(
    run: Run, basic: list[object], corpus: Path, more: Path, tmp_path: Path
) -> None:
    options = ["--labelled-frac", 0.25, "--unlabelled", corpus, "--unlabelled", f"{more}:0.5", "--ratio", 3, "--json"]
    result = result_of(run(*basic, *options))
    assert result["data"]["unlabelled"] == [
        {"name": "corpus.txt", "rows": 60, "weight": None},
        {"name": "more.jsonl", "rows": 30, "weight": 0.5},
    ]
    assert result["budget"]["labelled"] == 16
    assert result["objective"]["labelled_share"] == pytest.approx(0.25)
    saved = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert saved["unlabelled"] == [str(corpus), f"{more}:0.5"]
    assert saved["data_fingerprint"] == result["data"]["fingerprint"]
    batch = result_of(run(*basic, *options, "--dry-run"))["first_batch"]
    assert [row["label"] is None for row in batch] == [False] * 4 + [True] * 12
    shares = [sum(low <= row["row"] < high for row in batch) for low, high in ((16, 64), (64, 124), (124, 154))]
    assert sorted(shares) == [2, 5, 5]


def test_a_fully_labelled_set_takes_unlabelled_text_too(run: Run, basic: list[object], corpus: Path) -> None:
    result = result_of(run(*basic, "--unlabelled", corpus, "--max-steps", 7, "--json"))
    assert result["budget"]["unlabelled"] == 0
    assert result["objective"]["labelled_share"] == pytest.approx(64 / 124, abs=0.05)


def test_rows_of_the_labelled_set_may_lack_a_label(
    run: Run, basic: list[object], tmp_path: Path, reviews: Path
) -> None:
    data = tmp_path / "some.csv"
    data.write_text(reviews.read_text() + "\n" + "\n".join(f"the scene was fine {i}," for i in range(20)))
    result = result_of(run(*basic, "--data", data, "--labelled-frac", 0.5, "--json"))
    assert (result["budget"]["labelled"], result["budget"]["unlabelled"]) == (32, 52)
    assert result["data"]["notes"]["rows without a label, used as unlabelled text"] == 20


@pytest.mark.parametrize(
    ("options", "labelled"),
    [(["--labelled-count", 10], 10), (["--labelled-per-class", 3], 6), (["--labelled-frac", 0.25], 16)],
)
def test_budgets(run: Run, basic: list[object], options: list[object], labelled: int) -> None:
    result = result_of(run(*basic, *options, "--max-steps", 1, "--json"))
    assert result["budget"]["labelled"] == labelled
    assert sum(result["budget"]["labelled_per_class"].values()) == labelled


def test_a_streamed_corpus(run: Run, basic: list[object], corpus: Path, tmp_path: Path) -> None:
    options = ["--labelled-count", 8, "--unlabelled", corpus, "--stream", "--ratio", 3, "--json"]
    result = result_of(run(*basic, *options))
    assert result["data"]["unlabelled"] == [{"name": "corpus.txt", "rows": None, "weight": None}]
    assert result["timing"]["steps"] == 2


def test_a_stream_that_ends_keeps_a_checkpoint_and_goes_on_when_it_is_mended(
    run: Run, basic: list[object], corpus: Path, tmp_path: Path
) -> None:
    options = ["--labelled-per-class", 32, "--unlabelled", corpus, "--stream", "--ratio", 3, "--epochs", 2]
    code, _, err = run(*basic, *options)
    assert code == 2  # too short for the first epoch: said before anything is trained
    assert "corpus.txt ended after 60 rows, before training did" in one_line(err)
    text = corpus.read_text() + "".join(f"the plot was dull {i}\n" for i in range(150))
    corpus.write_text(text)
    code, _, err = run(*basic, *options)
    assert code == 2
    line = one_line(err)
    assert "training stopped at step 16: corpus.txt ended after 210 rows" in line
    assert f"ssl-pdr train --resume {tmp_path / 'run'}" in line
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-16" / "trainer_state.json").is_file()
    assert not (tmp_path / "run" / "result.json").exists()
    corpus.write_text(text + "".join(f"the plot was dull {i}\n" for i in range(200)))
    result = result_of(run("train", "--resume", tmp_path / "run", "--json"))
    assert result["timing"]["resumed_from_step"] == 16
    assert result["timing"]["steps"] == 32


def test_long_documents_become_windows(run: Run, basic: list[object], tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_text("the film was good " * 25 + "\nshort one\n")
    for stream in ([], ["--stream", "--max-steps", 1]):
        options = ["--labelled-count", 4, "--unlabelled", long, "--long-documents", "windows", "--ratio", 1, *stream]
        batch = result_of(run(*basic, *options, "--dry-run", "--json"))["first_batch"]
        assert all(row["tokens"] <= 12 for row in batch)
    cut = result_of(run(*basic, "--unlabelled", long, "--labelled-count", 4, "--max-steps", 1, "--json"))
    assert cut["data"]["notes"]["long.txt texts cut at 12 tokens"] == 1


def test_leaks_are_warned_of(run: Run, basic: list[object], tmp_path: Path, reviews: Path) -> None:
    lines = [line.rpartition(",")[0] for line in reviews.read_text().splitlines()[1:]]
    leaky = tmp_path / "leaky.txt"
    leaky.write_text("\n".join([*(line.upper() for line in lines), "something else"]))
    code, _, err = run(*basic, "--labelled-frac", 0.5, "--unlabelled", leaky, "--max-steps", 1)
    assert code == 0
    assert "warning: leak: leaky.txt: texts that are also in the evaluation part in_domain: 16" in err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["data"]["warnings"]) == 1


def test_streams_leak_and_lose_nothing_in_silence(run: Run, basic: list[object], tmp_path: Path, reviews: Path) -> None:
    lines = [line.rpartition(",")[0] for line in reviews.read_text().splitlines()[1:]]
    leaky = tmp_path / "leaky.jsonl"
    leaky.write_text("\n".join(json.dumps({"text": text}) for text in [*lines, "", ""]))
    code, _, err = run(
        *basic, "--labelled-count", 64, "--unlabelled", leaky, "--stream", "--ratio", 1, "--skip-bad-rows"
    )
    assert code == 0, err
    assert "warning: leak: leaky.jsonl: texts that are also in the evaluation part in_domain: 16" in err
    notes = json.loads((tmp_path / "run" / "result.json").read_text())["data"]["notes"]
    assert notes["leaky.jsonl: rows with an empty text"] == 2


@pytest.mark.parametrize("stream", [True, False])
def test_texts_of_further_sets_leak_too(run: Run, basic: list[object], tmp_path: Path, stream: bool) -> None:
    further = [f"the plot was {word} again" for word in ("good", "bad", "dull")]
    (tmp_path / "further.csv").write_text("\n".join(["text,label", *(f"{text},pos" for text in further)]))
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(further[:2] + [f"the scene was fine {i}" for i in range(38)]))
    options = ["--unlabelled", corpus, "--eval-on", tmp_path / "further.csv", "--labelled-count", 32, "--ratio", 1]
    code, out, err = run(*basic, *options, *["--stream"] * stream, "--json")
    assert code == 0, err
    warnings = json.loads(out)["warnings"]
    told = "texts that are also in the evaluation part" if stream else "that are also in"
    assert [warning for warning in warnings if f"{told} further.csv: 2; scores may be too good" in warning] == warnings
    assert len(warnings) == 1


def test_the_screen_says_what_was_trained_on(
    run: Run, basic: list[object], corpus: Path, more: Path, tmp_path: Path
) -> None:
    options = ["--labelled-per-class", 4, "--unlabelled", corpus, "--unlabelled", f"{more}:0.5", "--max-steps", 1]
    code, out, err = run(*basic, *options)
    assert code == 0, err
    assert (
        "8 labelled rows + 56 further rows of reviews.csv + corpus.txt (60 rows) + more.jsonl (30 rows, weight 0.5)"
        in out
    )
    assert "1 step, trained in" in out
    assert "of labels · seed 0" in out.replace("\n", " ")
    assert "100%" not in out.partition("accuracy on")[0]
    code, out, _ = run(*basic, *options, "--dry-run")
    assert "8 labelled rows, 56 unlabelled ones + 60 unlabelled ones + 30 unlabelled ones" in out
    assert "tokens" in out


def test_resume_needs_no_other_copy_of_the_split(run: Run, basic: list[object], tmp_path: Path, reviews: Path) -> None:
    manifest = tmp_path / "split.json"
    assert run("split", "--data", reviews, "--labelled-frac", 0.5, "--output", manifest)[0] == 0
    assert run(*basic, "--split", manifest, "--save-steps", 1)[0] == 0
    (tmp_path / "run" / "result.json").unlink()
    manifest.unlink()
    assert run("train", "--resume", tmp_path / "run")[0] == 0


def test_split_writes_a_manifest_that_train_takes_and_verifies(
    run: Run, basic: list[object], tmp_path: Path, reviews: Path
) -> None:
    manifest = tmp_path / "split.json"
    code, out, err = run("split", "--data", reviews, "--labelled-frac", 0.25, "--seed", 3, "--output", manifest)
    assert code == 0, err
    assert "16 labelled and 48 unlabelled rows, seed 3" in out
    assert "pos" in out
    assert "█" in out
    facts = result_of(
        run(
            "split",
            "--data",
            reviews,
            "--labelled-frac",
            0.25,
            "--seed",
            3,
            "--output",
            manifest,
            "--overwrite",
            "--json",
        )
    )
    result = result_of(run(*basic, "--split", manifest, "--seed", 8, "--max-steps", 1, "--json"))
    assert result["split_hash"] == facts["hash"]
    assert result["seeds"] == {"seed": 8}
    code, _, err = run("split", "--data", reviews, "--output", manifest)
    assert "is there already; add --overwrite" in one_line(err)
    other = tmp_path / "other.csv"
    other.write_text(reviews.read_text().replace("film", "movie"))
    code, _, err = run(*basic, "--data", other, "--split", manifest, "--output", tmp_path / "other")
    assert code == 2
    assert "the data changed since it was split" in one_line(err)
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(reviews.read_text().replace(",pos", ",plus"))
    code, _, err = run(*basic, "--data", renamed, "--split", manifest, "--output", tmp_path / "other")
    assert code == 2
    assert "--label-map and the columns have to be those that the split was made with" in one_line(err)


def test_groups_are_never_cut(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "grouped.csv"
    data.write_text("text,label,article\n" + "\n".join(f"text {i},{'ab'[i % 2]},{i // 5}" for i in range(100)))
    manifest = tmp_path / "split.json"
    options = ["--split-strategy", "group", "--group-column", "article", "--labelled-count", 23, "--output", manifest]
    facts = result_of(run("split", "--data", data, *options, "--json"))
    assert 0 < facts["labelled"] <= 23
    code, _, err = run("split", "--data", data, "--split-strategy", "group", "--output", tmp_path / "x.json")
    assert code == 2
    assert "--split-strategy group needs --group-column" in one_line(err)


def test_data_shows_counts_lengths_duplicates_and_leaks(
    run: Run, model_folder: Path, reviews: Path, tmp_path: Path, corpus: Path
) -> None:
    held_out = tmp_path / "eval.csv"
    held_out.write_text("text,label\nthe film was good good 0,pos\nunseen words here,neg\n")
    common = ["--eval", held_out, "--unlabelled", corpus, "--model", model_folder, "--max-length", 6]
    code, out, err = run("data", reviews, *common)
    assert code == 0, err
    for word in ("train", "in_domain", "corpus.txt", "LEAK"):
        assert word in out
    report = result_of(run("data", "--data", reviews, *common, "--json"))
    assert {part["name"]: part["rows"] for part in report["parts"]} == {
        "train": 80,
        "in_domain": 2,
        "unlabelled corpus.txt": 60,
    }
    code, out, err = run("data", corpus, "--model", model_folder)
    assert code == 0, err
    assert "unlabelled" in out
    assert "train" not in out
    code, _, err = run("data", "a.csv", "--data", reviews)
    assert "expected one corpus" in one_line(err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unlabelled", "EMPTY"], "empty.txt"),
        (["--unlabelled", "SAME"], "every one of its 80 texts is in the labelled data already"),
        (["--unlabelled", "CORPUS:-1"], "got the weight -1, expected a finite number of at least 0"),
        (["--unlabelled", "CORPUS:0"], "no unlabelled corpus of 1 has a weight above 0"),
        (["--unlabelled", "CORPUS", "--ratio", 16], "asks for more unlabelled rows than a batch of 16 holds"),
        (["--unlabelled", "CORPUS", "--stream"], "--stream needs --ratio NUMBER"),
        (["--unlabelled", "CORPUS", "--temperature", 0], "--temperature must be a finite number above 0"),
        (["--unlabelled", "CORPUS:2", "--temperature", 2], "weights and temperature: got both"),
        (["--unlabelled", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--unlabelled", "FOLDER"], "has no files that can be read"),
        (
            ["--labelled-frac", 0.5, "--labelled-count", 4],
            "expected one label budget, got --labelled-frac and --labelled-count",
        ),
        (["--labelled-count", 1], "1"),
        (["--labelled-per-class", 1000], "1000"),
        (["--label-map", "pos"], "got 'pos', expected FROM=TO"),
        (["--label-map", "poss=x"], "did you mean 'pos'"),
        (["--encoding", "utf-88"], "did you mean utf"),
        (["--split", "nowhere.json"], "cannot read the split nowhere.json"),
        (["--split-documents", "lines"], "unknown split documents 'lines'; did you mean 'line'"),
    ],
)
def test_bad_data_options_get_one_line(
    run: Run, basic: list[object], tmp_path: Path, corpus: Path, reviews: Path, options: list[object], message: str
) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "folder").mkdir()
    texts = [line.rpartition(",")[0] for line in reviews.read_text().splitlines()[1:]]
    (tmp_path / "same.txt").write_text("\n".join(texts))
    (tmp_path / "eval.csv").write_text("text,label\nnew good,pos\nnew bad,neg\n")
    places = {"EMPTY": "empty.txt", "SAME": "same.txt", "CORPUS": "corpus.txt", "FOLDER": "folder"}
    words = [str(option) for option in options]
    for name, place in places.items():
        words = [word.replace(name, str(tmp_path / place)) for word in words]
    code, out, err = run(*basic, "--eval", tmp_path / "eval.csv", *words)
    assert (code, out) == (2, "")
    assert message in one_line(err)


def test_features_that_are_kept_follow_labels_and_letters(
    run: Run, basic: list[object], tmp_path: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of large tables are found again by a key: it has to know everything that they depend on."""
    monkeypatch.setattr(tables, "CACHE_FROM_ROWS", 10)
    data = tmp_path / "mine.csv"
    text = reviews.read_text()

    def first_batch(content: str) -> list[dict[str, Any]]:
        data.write_text(content)
        rows = result_of(run(*basic, "--data", data, "--labelled-frac", 0.5, "--dry-run", "--json"))["first_batch"]
        return [row for row in rows if row["label"] is not None]

    before = first_batch(text)
    swapped = first_batch(text.replace(",pos", ",x").replace(",neg", ",pos").replace(",x", ",neg"))
    other = {"pos": "neg", "neg": "pos"}
    assert {row["text"]: row["label"] for row in swapped} != {row["text"]: row["label"] for row in before}
    for row in swapped:
        for line in data.read_text().splitlines():
            words, _, label = line.rpartition(",")
            if " ".join(words.split()[:-1]) == row["text"].removesuffix(" [UNK]"):
                assert label == row["label"]
    assert set(other) == {row["label"] for row in swapped}
    assert first_batch(text) == before
