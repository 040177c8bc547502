"""What the tests of the command line share: a small real model, a small real corpus, and a way to run a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering, BertTokenizerFast

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


@pytest.fixture(scope="session")
def question_model(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT as one that finds answers, untrained, with the same tokenizer."""
    folder = tmp_path_factory.mktemp("question_model")
    BertTokenizerFast.from_pretrained(model_folder).save_pretrained(folder)
    torch.manual_seed(1)
    options: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = BertConfig(
        vocab_size=64, intermediate_size=32, max_position_embeddings=64, initializer_range=0.3, **options
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    return folder


def write_squad(path: Path, articles: range, *, version: str) -> Path:
    """A file as SQuAD has it: of each article two passages, with three questions each; in v2.0 with a fourth that has no answer."""
    data = []
    for article in articles:
        paragraphs = []
        for place in range(2):
            words = [WORDS[(3 * article + 5 * place + thing) % 8] for thing in range(3)]
            context = " ".join(f"the {WORDS[8 + thing]} was {word} {article} ." for thing, word in enumerate(words))
            qas: list[dict[str, Any]] = []
            for thing, word in enumerate(words):
                whole = f"was {word}"
                found = [{"text": t, "answer_start": context.index(whole) + len(whole) - len(t)} for t in (word, whole)]
                qas.append(
                    {"id": f"{article}.{place}.{thing}", "question": f"the {WORDS[8 + thing]} is ?", "answers": found}
                )
            if version == "v2.0":
                qas = [{**question, "is_impossible": False} for question in qas]
                plausible = {"plausible_answers": [{"text": words[0], "answer_start": context.index(words[0])}]}
                none = {
                    "id": f"{article}.{place}.none",
                    "question": "the actor is ?",
                    "answers": [],
                    "is_impossible": True,
                }
                qas.append({**none, **plausible})
            paragraphs.append({"context": context, "qas": qas})
        data.append({"title": f"Article {article}", "paragraphs": paragraphs})
    path.write_text(json.dumps({"version": version, "data": data}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def squad_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`v1.json` and `v2.json` of eight articles, and `dev1.json` and `dev2.json` of four other ones."""
    folder = tmp_path_factory.mktemp("squad")
    for version in ("v1.1", "v2.0"):
        write_squad(folder / f"v{version[1]}.json", range(8), version=version)
        write_squad(folder / f"dev{version[1]}.json", range(8, 12), version=version)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()  # what fixtures of the module wrote is not the command's
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
