"""`train` in two processes: one voice, one folder, one end, and the result of one process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertTokenizerFast

from ssl_pdr.cli import main
from tests.cli.conftest import WORDS, Run, one_line
from tests.conftest import tiny_bert
from tests.ranks import ROOT, free_port
from tests.test_processes import in_two_processes

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo to join two processes")

Said = tuple[int, str, str]


def say(*arguments: object) -> Said:
    """Exit code, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
    return code, out.getvalue(), err.getvalue()


def train(folder: Path, output: str, *further: object, data: str = "reviews.csv") -> Said:
    """A short run that has no chance in it: eight steps in which a process may be without a labelled row."""
    options = {"data": data, "model": folder / "model", "output": folder / output, "epochs": 2, "max-length": 12}
    options |= {"labelled-frac": 0.2, "batch-size": 8, "accumulation": 2, "lr": 0.01, "save-steps": 5}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return say("train", *words, *further)


def interrupt_at(step: int) -> None:
    """Ctrl-C in this process, in the middle of a step; once."""
    from ssl_pdr.progress import RunCallback

    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            del RunCallback.on_step_begin
            os.kill(os.getpid(), signal.SIGINT)

    RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]


def break_in(rank: int) -> None:
    """A loss that is not a number, in one process."""
    from ssl_pdr import RPT
    from ssl_pdr.regularizers import register_regularizer

    @register_regularizer("breaks")
    class Breaks(RPT):
        def penalty(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
            value = super().penalty(model, *args, **kwargs)
            wrapped = isinstance(model, torch.nn.parallel.DistributedDataParallel)
            return value * torch.nan if wrapped and int(os.environ["RANK"]) == rank else value


def two(folder: Path) -> None:
    """What each of two processes does and says."""
    rank = int(os.environ["RANK"])
    os.chdir(folder / f"place{rank}")
    said = {"whole": train(folder, "whole")}
    said["again"] = train(folder, "whole")
    said["json"] = train(folder, "whole", "--overwrite", "--max-steps", 2, "--json")
    said["batch"] = train(folder, "batch", "--batch-size", 6)
    said["dry run"] = train(folder, "dry", "--dry-run", "--json")
    said["only here"] = train(folder, "only_here", data="only_here.csv")
    said["other here"] = train(folder, "other_here", data="other_here.csv")
    said["stream"] = train(
        folder, "stream", "--unlabelled", folder / "crawl.txt", "--stream", "--ratio", 2, "--max-steps", 6
    )
    if rank == 1:
        interrupt_at(3)
    said["stopped"] = train(folder, "stopped")
    said["kept"] = (0, " ".join(sorted(path.name for path in (folder / "stopped" / "checkpoints").iterdir())), "")
    said["resumed"] = say("train", "--resume", folder / "stopped")
    break_in(1)
    said["broken"] = train(folder, "broken", "--reg", "breaks")
    (folder / f"said{rank}.json").write_text(json.dumps(said))
    sys.exit(said["broken"][0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, reviews: Path) -> Path:
    made = tmp_path_factory.mktemp("two")
    vocab = made / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocab)).save_pretrained(made / "model")
    tiny_bert(num_labels=2, dropout=0.0).save_pretrained(made / "model")
    (made / "crawl.txt").write_text("\n".join(f"{WORDS[n % 16]} {WORDS[n * 7 % 16]}" for n in range(300)))
    for rank in range(2):
        place = made / f"place{rank}"
        place.mkdir()
        shutil.copy(reviews, place / "reviews.csv")
        lines = reviews.read_text(encoding="utf-8").splitlines()
        (place / "other_here.csv").write_text("\n".join(lines[: len(lines) - rank]), encoding="utf-8")
    shutil.copy(reviews, made / "place0" / "only_here.csv")
    return made


@pytest.fixture(scope="module")
def both(folder: Path) -> list[dict[str, Said]]:
    in_two_processes("tests.cli.test_processes:two", folder, codes=(2, 2))
    return [json.loads((folder / f"said{rank}.json").read_text()) for rank in range(2)]


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return found


def assert_same_run(found: Path, expected: Path) -> None:
    """Two runs of the same data: budget, scores, losses and weights."""
    one, other = result(found), result(expected)
    assert [one[name] for name in ("scores", "split_hash", "budget")] == [
        other[name] for name in ("scores", "split_hash", "budget")
    ]
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (found, expected)]
    for entry in (*logs[0], *logs[1]):
        entry.pop("r_gradient", None)  # of the first process' share of a batch
    assert [entry["step"] for entry in logs[0]] == [entry["step"] for entry in logs[1]]
    for entry, as_expected in zip(*logs, strict=True):
        assert entry == pytest.approx(as_expected, rel=1e-3, abs=1e-5)
    weights, as_expected = (load_file(run / "model" / "model.safetensors") for run in (found, expected))
    for name in weights:
        if not name.endswith(
            "key.bias"
        ):  # softmax cancels it: its gradient is rounding, out of which Adam makes whole steps
            torch.testing.assert_close(weights[name], as_expected[name], rtol=1e-2, atol=1e-4)


def test_the_run_of_two_is_that_of_one(
    both: list[dict[str, Said]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "place0")
    assert train(folder, "alone")[0] == 0
    assert both[0]["resumed"][0] == 0, both[0]["resumed"]
    assert_same_run(folder / "stopped", folder / "alone")
    assert result(folder / "stopped")["machine"]["processes"] == 2
    assert result(folder / "alone")["machine"]["processes"] == 1
    assert (
        train(folder, "alone_stream", "--unlabelled", folder / "crawl.txt", "--stream", "--ratio", 2, "--max-steps", 6)[
            0
        ]
        == 0
    )
    assert_same_run(folder / "stream", folder / "alone_stream")


def test_the_first_process_speaks(both: list[dict[str, Said]]) -> None:
    code, out, err = both[0]["whole"]
    assert code == 0
    assert "in-domain" in out
    assert err.count("training …") == 1
    quiet = [name for name in both[1] if name not in ("kept", "broken")]
    assert {name: both[1][name][1:] for name in quiet} == {name: ["", ""] for name in quiet}
    assert [both[1][name][0] for name in quiet] == [both[0][name][0] for name in quiet]
    assert json.loads(both[0]["json"][1])["timing"]["steps"] == 2
    assert json.loads(both[0]["dry run"][1])["labelled"] == 13


def test_what_is_wrong_is_said_once(both: list[dict[str, Said]]) -> None:
    said = {name: one_line(err) for name, (code, _, err) in both[0].items() if code == 2}
    assert "holds a finished run" in said["again"]
    assert "--batch-size 6 counts the rows of all processes" in said["batch"]
    assert said["batch"].endswith("use 4 or 8")
    assert "only_here.csv" in said["only here"]  # which the other process does not find
    assert "do not read the same data" in said["other here"]
    assert "stopped at step 4, checkpoint kept; go on with: ssl-pdr train --resume" in said["stopped"]
    assert "checkpoint-4" in both[0]["kept"][1]


def test_an_error_of_one_process_ends_the_other(both: list[dict[str, Said]]) -> None:
    assert one_line(both[1]["broken"][2]).startswith(
        "error: process 2 of 2: the loss is not finite at step 1: R is nan"
    )
    assert one_line(both[0]["broken"][2]).startswith("error: another process of the run is gone")


def test_torchrun(squad_folder: Path, question_model: Path, tmp_path: Path, run: Run) -> None:
    options = {"data": squad_folder / "v2.json", "model": question_model, "labelled-frac": 0.5, "max-length": 40}
    options |= {"batch-size": 8, "max-steps": 2, "limit": 40, "dropout": "off"}
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    port = str(free_port())
    launcher = [sys.executable, *["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port"], port]
    line = [*launcher, "-m", "ssl_pdr", "train", *words, "--json", "--output", str(tmp_path / "two")]
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    environment = {**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    two = json.loads(done.stdout)  # one object, so from one process only
    code, out, err = run("train", *words, "--json", "--output", tmp_path / "one")
    assert code == 0, err
    one = json.loads(out)
    assert set(two["scores"]) == set(one["scores"])
    for name, scores in two["scores"].items():
        assert scores == pytest.approx(one["scores"][name], rel=1e-4)
    assert two["split_hash"] == one["split_hash"]
    for name in ("loss", "ce", "r", "labelled_share"):
        assert two["objective"][name] == pytest.approx(one["objective"][name], rel=1e-3)
    assert two["machine"]["processes"] == 2
