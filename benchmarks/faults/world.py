"""Small real runs to do violence to: a tiny model, small data, and the command line in processes that begin at once."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

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
    "and",
    "so",
    "it",
    "again",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
COMMON = {"max-steps": 60, "save-steps": 7, "batch-size": 8, "max-length": 16, "lr": 0.001, "seed": 1}
# What is killed: every kind of step, and every kind of thing that a checkpoint has to keep.
JOBS: dict[str, dict[str, Any]] = {
    "plain": {"reg": "none"},
    "random": {"reg": "rpt", "div": "kl", "labelled-frac": 0.5},
    "adversarial": {"reg": "vat", "div": "shl", "labelled-frac": 0.5},
    "Jacobian": {"reg": "jr", "labelled-frac": 0.5},
    "accumulated": {"reg": "vat", "div": "kl", "labelled-frac": 0.5, "accumulation": 2},
    "aligned": {"reg": "rpt", "div": "kl", "labelled-frac": 0.5, "align": 0.9},
    "questions": {"data": "questions.json", "reg": "rpt", "div": "shl", "labelled-frac": 0.5, "max-length": 32},
    "streamed": {"reg": "rpt", "div": "kl", "unlabelled": "corpus.txt", "stream": True, "ratio": 3},
}
LIMIT = 300.0  # seconds after which a process hangs


@dataclass(frozen=True)
class World:
    """Folders with what the runs need.

    Args:
        root: of it; scratch.
    """

    root: Path

    @classmethod
    def make(cls, root: Path) -> World:
        """Write model and data; whoever makes the world gets ready to start processes in it."""
        root.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        chance = np.random.default_rng(0)
        vocab = root / "vocab.txt"
        vocab.write_text("\n".join([*SPECIAL, *WORDS]), encoding="utf-8")
        BertTokenizerFast(vocab=str(vocab)).save_pretrained(root / "model")
        shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = BertConfig(vocab_size=64, intermediate_size=32, max_position_embeddings=512, **shape)
        BertForSequenceClassification(config).save_pretrained(root / "model")
        texts = [
            " ".join(chance.choice(WORDS, int(n))) for n in chance.integers(4, 14, 480)
        ]  # rows of similar length meet
        rows = [f"{text},{'pos' if text.split()[0] in WORDS[:10] else 'neg'}" for text in texts[:80]]
        (root / "reviews.csv").write_text("\n".join(["text,label", *rows]), encoding="utf-8")
        (root / "corpus.txt").write_text("\n".join(texts), encoding="utf-8")
        (root / "questions.json").write_text(json.dumps({"version": "1.1", "data": _articles(texts)}), encoding="utf-8")
        _get_ready()
        return cls(root)

    def train(self, job: str, folder: Path, **more: Any) -> list[str]:
        """The command of a job."""
        options = {"data": self.root / "reviews.csv", "model": self.root / "model", "output": folder}
        options |= {**COMMON, **JOBS[job], **more}
        for name in {"data", "unlabelled"} & set(options):
            options[name] = self.root / options[name]
        words = ["train"]
        for name, value in options.items():
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return words

    def next_command(self, job: str, folder: Path) -> list[str] | None:
        """What a person would do next with a run; None if it is finished."""
        if (folder / "result.json").is_file():
            return None
        return ["train", "--resume", str(folder)] if (folder / "config.toml").is_file() else self.train(job, folder)


def _articles(texts: list[str]) -> list[dict[str, Any]]:
    """Passages with a question each, as SQuAD has them: what is the word after the first?"""
    made = []
    for number, text in enumerate(texts[:60]):
        first, word = text.split()[:2]
        answer = {"text": word, "answer_start": len(first) + 1}
        question = {"id": str(number), "question": f"what is after {first}", "answers": [answer]}
        made.append({"title": f"{number}", "paragraphs": [{"context": text, "qas": [question]}]})
    return made


def _get_ready() -> None:
    """Import all that a run needs, once: processes are forked from here."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)

    import ssl_pdr.cli
    import ssl_pdr.curves.local
    import ssl_pdr.experiment  # noqa: F401

    gc.freeze()


class Process:
    """A command in a process of its own, forked from this one.

    Args:
        command: of `ssl-pdr`.
        notes: where its output goes, in files beside this path.
        before: called in the process before the command: what does the harm.
        environment: variables that it has beside ours.
    """

    def __init__(
        self,
        command: list[str],
        notes: Path,
        before: Callable[[], object] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.out, self.err = notes.with_suffix(".out"), notes.with_suffix(".err")
        self.began = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        self.code: int | None = None
        if self.pid == 0:
            _run(command, self.out, self.err, before, environment or {})

    def poll(self) -> int | None:
        """Its exit code, minus the signal that ended it; None while it lives."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds: float = LIMIT) -> int | None:
        """Its exit code, within so many seconds."""
        end = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        return self.code

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal, to what it has started too."""
        (os.killpg if group else os.kill)(self.pid, number)

    def end(self) -> int:
        """Its exit code; a process that hangs is killed, and −9."""
        if self.wait() is None:
            self.signal(signal.SIGKILL, group=True)
            self.wait(10)
        return -9 if self.code is None else self.code

    @property
    def errors(self) -> list[str]:
        """The lines that it wrote to stderr."""
        return self.err.read_text(encoding="utf-8", errors="replace").splitlines()

    @property
    def last_line(self) -> str:
        """Of stderr."""
        return next((line for line in reversed(self.errors) if line.strip()), "")


def _run(
    command: list[str], out: Path, err: Path, before: Callable[[], object] | None, environment: dict[str, str]
) -> None:
    """The life of a forked process; it never returns."""
    code = 70
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for path, descriptor in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.stdout, sys.stderr = (open(d, "w", encoding="utf-8", closefd=False) for d in (1, 2))  # noqa: SIM115
        os.environ.update(environment)
        from ssl_pdr.cli import main

        if before is not None:
            before()
        main(command)
    except SystemExit as stopped:
        code = int(stopped.code or 0)
    except BaseException:  # noqa: BLE001  # what main lets through would be a traceback
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def outcome(folder: Path) -> dict[str, Any]:
    """What a run came to, without what the clock says and without where it was resumed."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    steps = result.pop("timing")["steps"]
    result["config"].pop("output")
    return {
        "weights": hashlib.sha256((folder / "model" / "model.safetensors").read_bytes()).hexdigest(),
        "log": (folder / "log.jsonl").read_text(encoding="utf-8").splitlines(),
        "result": result,
        "steps": steps,
    }


def at_step(step: int, action: Callable[[], object]) -> Callable[[], None]:
    """What makes a process do something once, before an optimizer step."""

    def arm() -> None:
        from ssl_pdr.progress import RunCallback

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == step:
                del RunCallback.on_step_begin
                action()

        RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]

    return arm
