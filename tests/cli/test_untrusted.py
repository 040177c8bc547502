"""Models, checkpoints, data and names of strangers: nothing of theirs runs, leaves its folder, or reaches the terminal raw."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssl_pdr import PDRClassifier
from ssl_pdr.checkpoints import seal
from ssl_pdr.cli import main
from ssl_pdr.errors import ModelError
from tests.cli.conftest import Run, one_line


class Bomb:
    """Unpickled without care, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A file that code of others would make."""
    path = tmp_path / "it_ran"
    yield path
    assert not path.exists()


def test_the_bomb_is_live(tmp_path: Path) -> None:
    torch.save({"state": Bomb(tmp_path / "mark")}, tmp_path / "x.pt")
    torch.load(tmp_path / "x.pt", weights_only=False)["state"].close()
    assert (tmp_path / "mark").exists()


# --- models


@pytest.fixture
def pickled(model_folder: Path, tmp_path: Path, mark: Path) -> Path:
    """A model's folder as they were before safetensors, its weights a pickle that does more than hold them."""
    folder = tmp_path / "pickled"
    shutil.copytree(model_folder, folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**weights, "more": Bomb(mark)}, folder / "pytorch_model.bin")
    return folder


def test_weights_that_are_a_pickle_are_refused(run: Run, pickled: Path, reviews: Path, tmp_path: Path) -> None:
    trained = run("train", "--data", reviews, "--model", pickled, "--output", tmp_path / "run", "--max-length", 12)
    evaluated = run("evaluate", pickled, "--on", reviews)
    for code, out, err in (trained, evaluated):
        assert (code, out) == (2, "")
        assert "its weights are a pickle (pytorch_model.bin), which can run code when it is read" in one_line(err)
        assert "write it anew with save_pretrained" in one_line(err)
    with pytest.raises(ModelError, match=r"a pickle \(pytorch_model\.bin\)"):
        PDRClassifier(model=str(pickled)).fit(["a", "b"], [0, 1])


@pytest.mark.parametrize("kind", ["evil", "bert"])
def test_code_of_a_model_never_runs(
    run: Run, model_folder: Path, reviews: Path, tmp_path: Path, mark: Path, kind: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n", encoding="utf-8")
    own = {"AutoConfig": "evil.Evil", "AutoModelForSequenceClassification": "evil.Evil"}
    _change(folder / "config.json", model_type=kind, auto_map=own)
    _change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    options = ["--max-length", 12, "--max-steps", 1]
    code, _, err = run("train", "--data", reviews, "--model", folder, "--output", tmp_path / "run", *options)
    if kind == "bert":  # transformers has an architecture of that name, and takes its own
        assert code == 0, err
    else:
        assert code == 2
        assert "it needs code of its own, which is never run here; expected an architecture" in one_line(err)
        assert "trust_remote_code" not in err


def _change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")


# --- checkpoints


@pytest.fixture(scope="module")
def broken_off(model_folder: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint, in the middle."""
    folder = tmp_path_factory.mktemp("broken") / "run"
    given = {
        "data": reviews,
        "model": model_folder,
        "output": folder,
        "max-length": 12,
        "save-steps": 2,
        "max-steps": 4,
    }
    with pytest.raises(SystemExit) as stopped:
        main(["train", *(str(word) for name, value in given.items() for word in (f"--{name}", value)), "--json"])
    assert not stopped.value.code
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "checkpoint-4")
    return folder


@pytest.mark.parametrize(
    "name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin", "training_args.bin"]
)
def test_a_pickle_in_a_checkpoint_never_runs(run: Run, broken_off: Path, tmp_path: Path, mark: Path, name: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(broken_off, folder)
    checkpoint = folder / "checkpoints" / "checkpoint-2"
    if name == "pytorch_model.bin":
        (checkpoint / "model.safetensors").unlink()
    torch.save({"state": Bomb(mark)}, checkpoint / name)
    seal(checkpoint)  # as whoever brings it can
    code, out, err = run("train", "--resume", folder, "--json")
    if name == "training_args.bin":  # written by transformers, read by nobody
        assert code == 0, err
        assert json.loads(out)["timing"]["resumed_from_step"] == 2
        return
    assert (code, out) == (2, "")
    assert f"cannot read {checkpoint}: a file in it is damaged, or holds more than numbers" in one_line(err)


# --- names

NAMES = ["../../up", "a\0b", "n" * 300, "~nobody/x", "/abs", "con", "..", "a\x1b]0;owned\x07b"]


def test_a_folder_with_a_script_is_a_folder(run: Run, reviews: Path, tmp_path: Path, mark: Path, basic: Any) -> None:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "name.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
    shutil.copy(reviews, folder / "train.csv")
    code, _, err = run(*basic, "--data", folder, "--max-steps", 1)
    assert code == 0, err


def _files(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if path.is_file()}


def _hostile(reviews: Path, place: Path, names: list[str]) -> Path:
    """The reviews, their two classes called otherwise."""
    place.mkdir(parents=True, exist_ok=True)
    path = place / "reviews.csv"
    with reviews.open(encoding="utf-8") as file, path.open("w", encoding="utf-8", newline="") as written:
        rows = list(csv.DictReader(file))
        writer = csv.DictWriter(written, ["text", "label"])
        writer.writeheader()
        called = dict(zip(sorted({row["label"] for row in rows}), names, strict=True))
        writer.writerows({"text": row["text"], "label": called[row["label"]]} for row in rows)
    return path


@pytest.mark.parametrize("names", [NAMES[i : i + 2] for i in range(0, len(NAMES), 2)], ids=lambda name: repr(name)[:20])
def test_no_label_leaves_the_output_folder(
    run: Run, reviews: Path, model_folder: Path, tmp_path: Path, names: list[str]
) -> None:
    data = _hostile(reviews, tmp_path / "data", names)
    output = tmp_path / "out" / "run"
    before = _files(tmp_path)
    options = ["--model", model_folder, "--output", output, "--max-length", 12, "--max-steps", 1]
    code, out, err = run("train", "--data", data, *options)
    if code:  # a file that cannot be read says so
        assert "reviews.csv" in one_line(err)
    assert {output} == {next(p for p in file.parents if p == output) for file in _files(tmp_path) - before} or code
    assert not _raw(out + err)
    if not code:
        code, out, err = run("evaluate", output, "--on", data)
        assert code == 0, err
        assert not _raw(out + err)
        assert all(output in file.parents for file in _files(tmp_path) - before)


@pytest.mark.parametrize("name", NAMES[:4], ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("key", ["data", "eval_on", "model", "unlabelled", "output", "text_column", "split"])
def test_any_name_in_a_recipe_is_one_line(
    run: Run, reviews: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, name: str
) -> None:
    here = tmp_path / "one" / "two"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    values = {"data": str(reviews), "model": str(model_folder), "max_length": 12, "output": "run", "max_steps": 1}
    values[key] = [name] if key in ("eval_on", "unlabelled") else name
    recipe = here / "recipe.toml"
    recipe.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items()), encoding="utf-8")
    code, out, err = run("train", "--recipe", recipe, "--dry-run")
    assert code in (0, 2)
    assert not _raw(out + err)
    assert "unexpected" not in err
    if code:
        one_line(err)
    assert _files(tmp_path) == {recipe}


# --- what a person sees

EVIL = "[red]x[/red]\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp<script>alert(1)</script>|`*:warning:"


def _raw(text: str) -> set[str]:
    """What a terminal would act on."""
    return {c for c in text if not (c.isprintable() or c in "\n\N{NO-BREAK SPACE}")}


@pytest.fixture
def evil(reviews: Path, tmp_path: Path) -> Path:
    """Texts, classes, columns, folder and file are all called as badly as they can be."""
    folder = tmp_path / EVIL.replace("/", "")
    folder.mkdir()
    path = folder / (EVIL.replace("/", "") + ".csv")
    with reviews.open(encoding="utf-8") as file, path.open("w", encoding="utf-8", newline="") as written:
        writer = csv.writer(written)
        writer.writerow([f"t{EVIL}", f"l{EVIL}"])
        writer.writerows([f"{row['text']} {EVIL}", f"{row['label']} {EVIL}"] for row in csv.DictReader(file))
    return path


def test_nothing_raw_reaches_the_terminal(run: Run, evil: Path, model_folder: Path, tmp_path: Path) -> None:
    output = evil.parent / "run"
    columns = ["--text-column", f"t{EVIL}", "--label-column", f"l{EVIL}"]
    small = ["--model", model_folder, "--max-length", 12]
    train = ["train", "--data", evil, *columns, *small, "--max-steps", 1, "--output", output]
    grid = ["curve", "--data", evil, *columns, *small, "--steps", 1, "--seeds", 1, "--budget", 1, "--method", "none"]
    curve = [*grid, "--jobs", 1, "--name", EVIL, "--output", evil.parent / "curve"]
    lines: list[list[Any]] = [
        ["data", evil, *columns, *small[:2]],
        ["split", "--data", evil, *columns, "--overwrite", "--labelled-frac", 0.5, "--output", evil.parent / "s.json"],
        [*train, "--dry-run"],
        train,
        ["evaluate", output, "--on", evil],
        curve,
        ["report", evil.parent / "curve"],
    ]
    for line in lines:
        for more in ([], ["--json"]):
            if more and line in (train, curve):
                continue
            code, out, err = run(*line, *more)
            assert code == 0, (line, err)
            assert not _raw(out + err), line
            if more:
                json.loads(out)
    _check_page(evil.parent / "curve" / "report.html")
    card = (output / "model" / "README.md").read_text(encoding="utf-8")
    assert not _raw(card)
    assert not re.search(r"(?<!\\)<script", card)
    for picture in evil.parent.rglob("*.svg"):
        assert "<script" not in picture.read_text(encoding="utf-8")


def _check_page(path: Path) -> None:
    class Page(HTMLParser):
        tags: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.tags.append(tag)

    text = path.read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert not _raw(text)
    page = Page()
    page.feed(text)
    assert page.tags.count("script") == 2


@pytest.mark.parametrize(
    "line",
    [
        ["train", f"--{EVIL}"],
        ["train", "--alpha", EVIL],
        ["train", "--data", EVIL],
        ["train", "--model", EVIL, "--data", EVIL],
        ["train", "--recipe", EVIL],
        ["train", "--set", EVIL],
        ["train", "--resume", EVIL],
        ["train", "--reg", EVIL],
        ["evaluate", EVIL, "--on", EVIL],
        ["curve", "--grid", EVIL],
        ["curve", "--method", EVIL],
        ["report", EVIL],
        ["reproduce", EVIL],
        ["inspect", EVIL],
        ["doctor", "--model", EVIL],
        [EVIL],
    ],
    ids=lambda line: " ".join(line).replace(EVIL, "EVIL"),
)
def test_errors_repeat_nothing_raw(run: Run, line: list[str]) -> None:
    code, out, err = run(*line)
    assert (code, out) == (2, "")
    assert not _raw(err)
    one_line(err)
