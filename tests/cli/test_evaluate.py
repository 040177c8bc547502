"""`ssl-pdr evaluate`: finished runs and other models, on further sets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text
from transformers import AutoModel

from ssl_pdr.cli.live import printable, scores_table
from ssl_pdr.config import TrainConfig
from ssl_pdr.experiment import train
from tests.cli.conftest import WORDS, Run, one_line


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def other_reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of the classes of `reviews`, which it does not have."""
    path = tmp_path_factory.mktemp("other") / "other.csv"
    rows = [f"a {WORDS[8 + i % 4]} is {WORDS[i % 8]} other {i},{'pos' if i % 8 < 4 else 'neg'}" for i in range(40)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def classifier(
    tmp_path_factory: pytest.TempPathFactory, model_folder: Path, reviews: Path, other_reviews: Path
) -> Path:
    """A finished run on `reviews`, evaluated on `other_reviews` too."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    options: dict[str, Any] = {"data": str(reviews), "model": str(model_folder), "output": str(folder)}
    train(TrainConfig(**options, max_length=12, max_steps=3, reg="none", eval_on=(str(other_reviews),)))
    return folder


@pytest.fixture(scope="module")
def answerer(tmp_path_factory: pytest.TempPathFactory, question_model: Path, squad_folder: Path) -> Path:
    """A finished run on the questions of v2.0, evaluated on those of both development files too."""
    folder = tmp_path_factory.mktemp("runs") / "answerer"
    options: dict[str, Any] = {
        "data": str(squad_folder / "v2.json"),
        "model": str(question_model),
        "output": str(folder),
    }
    further = tuple(str(squad_folder / f"dev{version}.json") for version in (1, 2))
    train(TrainConfig(**options, max_length=24, stride=8, n_best=3, max_steps=3, reg="none", eval_on=further))
    return folder


def result_of(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


# --- finished runs


def test_a_classifier_on_several_sets(
    run: Run, classifier: Path, reviews: Path, other_reviews: Path, tmp_path: Path
) -> None:
    out_folder = tmp_path / "out"
    code, out, err = run(
        "evaluate", classifier, "--on", other_reviews, "--on", reviews, "--output", out_folder, "--json"
    )
    assert (code, err) == (0, "")
    found, trained = json.loads(out), result_of(classifier)
    assert list(found["scores"]) == ["other.csv", "reviews.csv"]
    assert found["scores"]["other.csv"] == trained["scores"]["other.csv"]
    assert found["relative_drop"]["other.csv"] == trained["relative_drop"]["other.csv"]
    assert found["task"] == "classification"
    assert found["data"]["other.csv"]["fingerprint"] == trained["data"]["evaluation_fingerprints"]["other.csv"]
    assert found["data"]["other.csv"]["rows"] == 40
    assert found["model"] == "classifier/model"
    assert (found["config"]["model"], found["config"]["data"]) == ("classifier/model", "pydocs-topics")
    assert str(classifier.parent) not in out
    assert str(reviews.parent) not in out
    assert {path.name for path in out_folder.iterdir()} == {"scores.json", "other.csv.jsonl", "reviews.csv.jsonl"}
    scores = json.loads((out_folder / "scores.json").read_text(encoding="utf-8"))
    assert scores == found
    assert not (classifier / "evaluation").exists()
    rows = lines(out_folder / "other.csv.jsonl")
    truth = [line.rpartition(",")[2] for line in other_reviews.read_text(encoding="utf-8").splitlines()[1:]]
    assert [row["row"] for row in rows] == list(range(40))
    assert [row["label"] for row in rows] == truth
    for row in rows:
        assert set(row) == {"row", "prediction", "label", "probabilities"}
        assert set(row["probabilities"]) == {"neg", "pos"}
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert row["prediction"] == max(row["probabilities"], key=row["probabilities"].__getitem__)
    right = sum(row["prediction"] == row["label"] for row in rows)
    assert right / 40 == pytest.approx(found["scores"]["other.csv"]["accuracy"])


def test_questions_are_scored_as_training_scored_them(run: Run, answerer: Path, squad_folder: Path) -> None:
    """The run's threshold, windows and lengths are taken over, and predictions go to the run's folder."""
    on = [word for version in (2, 1) for word in ("--on", squad_folder / f"dev{version}.json")]
    code, out, err = run("evaluate", answerer, *on, "--json")
    assert (code, err) == (0, "")
    found, trained = json.loads(out), result_of(answerer)
    for name in ("dev1.json", "dev2.json"):
        assert found["scores"][name] == pytest.approx(trained["scores"][name])
        assert found["relative_drop"][name] == trained["relative_drop"][name]
    assert (found["config"]["max_length"], found["config"]["stride"], found["config"]["n_best"]) == (24, 8, 3)
    assert {path.name for path in (answerer / "evaluation").iterdir()} == {
        "scores.json",
        "dev1.json.jsonl",
        "dev2.json.jsonl",
    }
    document = json.loads((squad_folder / "dev2.json").read_text(encoding="utf-8"))
    passages = {
        question["id"]: (paragraph["context"], [answer["text"] for answer in question["answers"]])
        for article in document["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }
    rows = lines(answerer / "evaluation" / "dev2.json.jsonl")
    assert [row["id"] for row in rows] == list(passages)
    for row in rows:
        context, answers = passages[row["id"]]
        assert row["answers"] == answers
        assert 0 < len(row["candidates"]) <= 3
        assert all(candidate["text"] in context for candidate in row["candidates"])
        shares = [candidate["probability"] for candidate in row["candidates"]]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) + row["no_answer_probability"] <= 1 + 1e-4
        assert row["prediction"] in ("", row["candidates"][0]["text"])
    exact = sum(row["prediction"] in (row["answers"] or [""]) for row in rows)
    assert exact / len(rows) == pytest.approx(found["scores"]["dev2.json"]["exact"])
    no_answer = [row["prediction"] == "" for row in rows if not row["answers"]]
    assert sum(no_answer) / len(no_answer) == pytest.approx(found["scores"]["dev2.json"]["no_answer_exact"])
    # In v1.1 every question has an answer: none of them is answered by nothing.
    assert all(row["prediction"] for row in lines(answerer / "evaluation" / "dev1.json.jsonl"))


def test_a_limit_and_options_of_its_own(run: Run, answerer: Path, squad_folder: Path, tmp_path: Path) -> None:
    on = ["--on", squad_folder / "dev2.json", "--output", tmp_path / "out"]
    code, out, err = run(
        "evaluate", answerer, *on, "--eval-limit", 5, "--n-best", 1, "--max-answer-length", 1, "--json"
    )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["scores"]["dev2.json"]["rows"] == found["data"]["dev2.json"]["rows"] == 5
    rows = lines(tmp_path / "out" / "dev2.json.jsonl")
    assert len(rows) == 5
    assert all(len(row["candidates"]) == 1 and " " not in row["candidates"][0]["text"] for row in rows)


def test_a_person_sees_a_table_and_a_plot(run: Run, classifier: Path, other_reviews: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = tmp_path / "drop.svg"
    code, out, err = run("evaluate", classifier, "--on", other_reviews, "--output", tmp_path / "out", "--plot", plot)
    assert code == 0, err
    for words in ("other.csv", "accuracy", "relative drop", "predictions: "):
        assert words in out
    assert "evaluating on other.csv, 40 rows" in err
    assert plot.read_text(encoding="utf-8").startswith("<?xml")


# --- several times into one folder


def test_scores_of_earlier_calls_stay(
    run: Run, classifier: Path, other_reviews: Path, reviews: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out" / "scores.json"

    def evaluated(*options: object) -> tuple[dict[str, Any], str]:
        code, _, err = run("evaluate", classifier, "--output", tmp_path / "out", *options)
        assert code == 0, err
        return json.loads(file.read_text(encoding="utf-8")), " ".join(err.split())

    first, _ = evaluated("--on", other_reviews)
    both, err = evaluated("--on", reviews)
    assert "warning" not in err
    for kind in ("scores", "relative_drop", "data"):
        assert list(both[kind]) == ["other.csv", "reviews.csv"]
        assert both[kind]["other.csv"] == first[kind]["other.csv"]
    again, err = evaluated("--on", other_reviews, "--on", reviews)
    assert again == both
    assert {path.name for path in file.parent.iterdir()} == {"scores.json", "other.csv.jsonl", "reviews.csv.jsonl"}
    # Other settings, and another set of the same name, are not of one piece with it.
    fewer, err = evaluated("--on", reviews, "--eval-limit", 10)
    assert list(fewer["scores"]) == ["reviews.csv"]
    assert "is scores.1.json now; predictions for reviews.csv are the new ones" in err
    assert json.loads((file.parent / "scores.1.json").read_text(encoding="utf-8")) == both
    other = tmp_path / "reviews.csv"
    other.write_text("text,label\ngood,pos\nbad,neg\n", encoding="utf-8")
    _, err = evaluated("--on", other, "--eval-limit", 10)
    assert "another set of the same name: it is scores.2.json now" in err
    assert json.loads((file.parent / "scores.2.json").read_text(encoding="utf-8")) == fewer


@pytest.mark.parametrize("found", ["", "[]", "{}", '{"scores": 1}'])
def test_a_file_that_is_not_ours_is_kept(run: Run, classifier: Path, reviews: Path, tmp_path: Path, found: str) -> None:
    file = tmp_path / "scores.json"
    file.write_text(found, encoding="utf-8")
    assert run("evaluate", classifier, "--on", reviews, "--output", tmp_path)[0] == 0
    assert (tmp_path / "scores.1.json").read_text(encoding="utf-8") == found
    assert list(json.loads(file.read_text(encoding="utf-8"))["scores"]) == ["reviews.csv"]


def test_another_model_begins_anew(run: Run, classifier: Path, reviews: Path, tmp_path: Path) -> None:
    """Two folders of one name are two models; one that was copied is the same."""
    for name in ("copy", "changed"):
        shutil.copytree(classifier / "model", tmp_path / name / "model")
    settings = tmp_path / "changed" / "model" / "config.json"
    config = json.loads(settings.read_text(encoding="utf-8"))
    settings.write_text(json.dumps(config | {"type_vocab_size": 2, "null_threshold": 1.0}), encoding="utf-8")
    for name, kept in (("copy", 0), ("copy", 0), ("changed", 1), ("copy", 2)):
        assert run("evaluate", tmp_path / name / "model", "--on", reviews, "--output", tmp_path / "out")[0] == 0
        assert len(list((tmp_path / "out").glob("scores.*.json"))) == kept


# --- what is embedded


def test_an_embedded_corpus_by_its_parts(run: Run, model_folder: Path, tmp_path: Path) -> None:
    folder, corpus, parts = tmp_path / "run", "pydocs-topics", ("in_domain", "shifted")
    options = {"model": str(model_folder), "output": str(folder), "data": corpus, "eval_limit": 20, "limit": 40}
    result = train(TrainConfig(**options, max_length=12, max_steps=2, reg="none"))  # type: ignore[arg-type]
    code, out, err = run("evaluate", folder, "--on", corpus, "--eval-limit", 20, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found["scores"]) == [f"{corpus} {part}" for part in parts]
    for part in parts:
        assert found["scores"][f"{corpus} {part}"] == pytest.approx(result["scores"][part])
        assert (folder / "evaluation" / f"{corpus} {part}.jsonl").is_file()


def test_embedded_questions(run: Run, answerer: Path, tmp_path: Path) -> None:
    options = ["--eval-limit", 5, "--output", tmp_path, "--json", "--max-length", 64]
    code, out, err = run("evaluate", answerer, "--on", "pydocs-qa", *options)
    assert (code, err) == (0, "")
    assert all(name.startswith("pydocs-qa ") and "f1" in scores for name, scores in json.loads(out)["scores"].items())


# --- what a terminal shows


def shown(*things: object) -> str:
    console = Console(width=200, emoji=False)
    with console.capture() as captured:
        console.print(*things)
    return captured.get()


def test_names_cannot_write_to_the_terminal() -> None:
    odd = "a\x1b[2J\x9b31m[red]b[/red]\r\u202ec\n:warning:"
    assert Text.from_markup(printable(odd), emoji=False).plain == "a [2J 31m[red]b[/red]  c :warning:"
    scores = {odd: {"accuracy": 0.5, "rows": 3, "lexical\x1b_overlap": 0.5}}
    table = shown(scores_table(odd, scores, {}))
    assert table.count("a [2J 31m[red]b[/red]  c :warning:") == 2
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(table)


def test_only_our_own_parts_are_renamed() -> None:
    one = {"accuracy": 0.5, "rows": 3}
    table = shown(scores_table("t", {"in_domain": one, "my_set": one, "pydocs-topics in_domain": one}, {}))
    for name in ("in-domain", "my_set", "pydocs-topics in_domain"):
        assert f" {name} " in table


def test_file_names_cannot_write_to_the_terminal(run: Run, classifier: Path, reviews: Path, tmp_path: Path) -> None:
    file = tmp_path / "x\x1b[2J:warning:.csv"
    shutil.copy(reviews, file)
    code, out, err = run("evaluate", classifier, "--on", file, "--output", tmp_path / "out\x1b[2J", "--eval-limit", 4)
    assert code == 0, err
    assert "x [2J:warning:.csv" in out
    assert "x [2J:warning:.csv" in err
    assert "out [2J" in out
    assert "\x1b[2J" not in out + err


def test_paths_cannot_write_to_the_terminal(
    run: Run,
    classifier: Path,
    reviews: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)  # short names stay on one line
    odd = Path("x\x1b[2J.csv")
    odd.write_text(reviews.read_text(encoding="utf-8") + "\na further film,pos", encoding="utf-8")
    for arguments in (
        ["inspect", classifier, "--rows", 2, "--plot", odd.with_suffix(".svg")],
        ["split", "--data", odd, "--labelled-frac", 0.5, "--output", odd.with_suffix(".json")],
        ["data", reviews, "--unlabelled", odd, "--model", model_folder, "--no-near"],
        ["train", "--data", odd, "--model", model_folder, "--output", "out", "--dry-run"],
    ):
        code, out, err = run(*arguments)
        assert code == 0, err
        assert "[2J" in out
        assert "\x1b[2J" not in out + err


# --- models that are no runs


def test_the_threshold_goes_with_the_model(run: Run, answerer: Path, squad_folder: Path, tmp_path: Path) -> None:
    """The folder of a model that a run left says by itself where a question has no answer."""
    trained = result_of(answerer)
    model = tmp_path / "moved"
    shutil.copytree(answerer / "model", model)
    options = ["--max-length", 24, "--stride", 8, "--json"]
    code, out, err = run("evaluate", model, "--on", squad_folder / "dev2.json", *options)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["scores"]["dev2.json"] == pytest.approx(trained["scores"]["dev2.json"])
    assert found["relative_drop"] == {}
    assert not (model / "evaluation").exists()
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for threshold, share in ((-1e9, 1.0), (1e9, 0.0)):
        (model / "config.json").write_text(json.dumps(config | {"null_threshold": threshold}), encoding="utf-8")
        scores = json.loads(run("evaluate", model, "--on", squad_folder / "dev2.json", *options)[1])["scores"]
        assert scores["dev2.json"]["no_answer_exact"] == share
        assert scores["dev2.json"]["best_f1"] == pytest.approx(trained["scores"]["dev2.json"]["best_f1"])


def test_a_model_from_elsewhere_answers_questions(
    run: Run, question_model: Path, squad_folder: Path, tmp_path: Path
) -> None:
    on = [word for version in (1, 2) for word in ("--on", squad_folder / f"dev{version}.json")]
    code, out, err = run("evaluate", question_model, *on, "--output", tmp_path / "out", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert set(found["scores"]["dev1.json"]) == {"f1", "exact", "rows"}
    assert "no_answer_exact" in found["scores"]["dev2.json"]
    assert len(lines(tmp_path / "out" / "dev1.json.jsonl")) == 24


def test_a_classifier_from_elsewhere_needs_a_map_of_its_labels(run: Run, model_folder: Path, reviews: Path) -> None:
    code, out, err = run("evaluate", model_folder, "--on", reviews, "--json")
    assert (code, out) == (2, "")
    assert "row 1 has the label 'pos', which is none of the model's: LABEL_0, LABEL_1; --label-map pos=…" in one_line(
        err
    )
    maps = ["--label-map", "pos=LABEL_1", "--label-map", "neg=LABEL_0"]
    code, out, err = run("evaluate", model_folder, "--on", reviews, *maps, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["scores"]["reviews.csv"]["rows"] == 80


# --- what can be wrong


def test_what_is_no_finished_run(run: Run, classifier: Path, reviews: Path, tmp_path: Path) -> None:
    on = ["--on", reviews]
    unfinished, gone, damaged = (tmp_path / name for name in ("unfinished", "gone", "damaged"))
    for folder in (unfinished, gone, damaged):
        shutil.copytree(classifier, folder)
    (unfinished / "result.json").unlink()
    shutil.rmtree(gone / "model")
    (damaged / "result.json").write_text("{", encoding="utf-8")
    plain = tmp_path / "plain"
    plain.mkdir()
    expected = {
        unfinished: f"is not finished; go on with: ssl-pdr train --resume {unfinished}",
        gone: "holds a result but no model (no model/config.json); train it anew",
        damaged: "result.json: ",
        plain: "cannot load a model from the folder",
        tmp_path / "nowhere": "there is no folder",
        reviews: "cannot load a model from the folder",
    }
    for source, message in expected.items():
        code, out, err = run("evaluate", source, *on)
        assert (code, out) == (2, ""), source
        assert message in one_line(err)


def test_a_model_without_a_head(run: Run, model_folder: Path, reviews: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(model_folder, base)
    AutoModel.from_pretrained(model_folder).save_pretrained(base)
    code, out, err = run("evaluate", base, "--on", reviews)
    assert (code, out) == (2, "")
    assert "is a BertModel; expected one that was trained for classification or question answering" in one_line(err)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("classifier", [], "Missing option '--on'"),
        ("classifier", ["--on", "{other}", "--on", "{other}"], "two sets to evaluate on are called 'other.csv'"),
        ("classifier", ["--on", "squad"], "squad is a set for question-answering, the model is one for classification"),
        (
            "classifier",
            ["--on", "{folder}/dev1.json"],
            "dev1.json holds questions, the model is one for classification",
        ),
        ("classifier", ["--on", "nowhere.csv"], "there is no file nowhere.csv"),
        ("classifier", ["--on", "sst-2"], "unknown data 'sst-2'; did you mean 'sst2'"),
        ("classifier", ["--on", "sst2", "--data-dir", "{home}"], "sst2: no file for its validation part"),
        ("classifier", ["--on", "{other}", "--text-column", "txt"], "no column 'txt'"),
        ("classifier", ["--on", "{other}", "--collapse", "mean"], "unknown collapse 'mean'"),
        ("classifier", ["--on", "{other}", "--plot", "drop.foo"], "cannot draw a plot as 'drop.foo'"),
        ("classifier", ["--on", "{other}", "--output", "{other}"], "cannot make the folder"),
        ("classifier", ["--on", "{other}", "--output", "/proc/nowhere"], "cannot make the folder /proc/nowhere"),
        ("answerer", ["--on", "{other}"], "other.csv holds texts, the model is one for question-answering; leave"),
        (
            "classifier",
            ["--on", "pydocs-qa"],
            "pydocs-qa holds questions, the model is one for classification; leave it",
        ),
        ("answerer", ["--on", "pydocs-topics"], "pydocs-topics holds texts, the model is one for question-answering"),
        ("answerer", ["--on", "hans"], "hans is a set for classification, the model is one for question-answering"),
        (
            "answerer",
            ["--on", "{folder}/dev1.json", "--max-length", "10"],
            "room for its passage in a window of 10 tokens",
        ),
        ("answerer", ["--on", "{folder}/dev1.json", "--stride", "20"], "room for its passage in a window of 24 tokens"),
        ("question_model", ["--on", "{folder}/dev1.json", "--plot", "drop.svg"], "is no run, leave it out"),
    ],
)
def test_bad_options_get_one_line(
    run: Run,
    request: pytest.FixtureRequest,
    other_reviews: Path,
    squad_folder: Path,
    source: str,
    options: list[str],
    message: str,
) -> None:
    given = [option.format(other=other_reviews, home=other_reviews.parent, folder=squad_folder) for option in options]
    code, out, err = run("evaluate", request.getfixturevalue(source), *given)
    assert (code, out) == (2, "")
    assert message in one_line(err)


def test_a_mistyped_folder_is_not_looked_for_on_the_hub(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    for source in ("runs/nothing", "./nothing", tmp_path / "nothing"):
        code, out, err = run("evaluate", source, "--on", "hans")
        assert (code, out) == (2, "")
        assert f"there is no folder {source}; expected that of a finished run" in one_line(err)


@pytest.mark.parametrize(
    "scores", [None, [], "x", {}, {"in_domain": None}, {"in_domain": {"accuracy": "0.5"}}, {"in_domain": {"rows": 3}}]
)
def test_a_result_without_scores_is_one_line(
    run: Run, classifier: Path, other_reviews: Path, tmp_path: Path, scores: Any
) -> None:
    shutil.copytree(classifier, damaged := tmp_path / "run")
    content = {name: value for name, value in result_of(damaged).items() if name != "scores"}
    for result in ([], {}, 7, content, {**content, "scores": scores}):
        (damaged / "result.json").write_text(json.dumps(result), encoding="utf-8")
        code, out, err = run("evaluate", damaged, "--on", other_reviews)
        assert (code, out) == (2, "")
        assert "result.json holds no scores of the run; train it anew" in one_line(err)
