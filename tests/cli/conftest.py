"""What the tests of the command line share: a small real model, a small real corpus, and a way to run a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import BertTokenizerFast

from ssl_pdr.cli import main
from tests.conftest import tiny_bert

WORDS = [
    "good",
    "fine",
    "great",
    "lovely",
    "bad",
    "poor",
    "dull",
    "awful",
    "film",
    "plot",
    "scene",
    "actor",
    "the",
    "a",
    "was",
    "is",
]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a tokenizer of its own, as a user would bring it."""
    folder = tmp_path_factory.mktemp("model")
    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocab)).save_pretrained(folder)
    tiny_bert(num_labels=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reviews.csv"
    lines = ["text,label"]
    for i in range(80):
        word = WORDS[i % 8]
        lines.append(f"the {WORDS[8 + i % 4]} was {word} {WORDS[i % 7]} {i},{'pos' if i % 8 < 4 else 'neg'}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def basic(model_folder: Path, reviews: Path, tmp_path: Path) -> list[object]:
    options = {"data": reviews, "model": model_folder, "output": tmp_path / "run", "epochs": 1, "max-length": 12}
    return ["train", *(word for name, value in options.items() for word in (f"--{name}", value))]


def one_line(err: str) -> str:
    """The only line of an error; the stages that went before, and warnings, stand above it."""
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if not line.endswith("…") and not line.startswith("warning: ")]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]
