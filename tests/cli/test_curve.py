"""`ssl-pdr curve` as a person meets it: real runs in real workers on a tiny encoder, stopped, killed, gone on with, and extended."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from ssl_pdr.cli import app
from ssl_pdr.config import TrainConfig, option
from ssl_pdr.curves.grid import _OF_THE_GRID, Grid
from tests.cli.conftest import Run, one_line
from tests.cli.test_processes import say
from tests.conftest import tiny_bert
from tests.curves.conftest import encoder

__all__ = ["encoder"]

Command = Callable[..., list[object]]


@pytest.fixture(scope="module")
def command(encoder: Path, reviews: Path) -> Command:
    """A curve of four short runs, two at a time; options may be added, and win."""

    def make(output: object, **more: object) -> list[object]:
        options = {"data": reviews, "model": encoder, "max-length": 12, "lr": 1e-3, "budget": (0.25, 1)}
        options |= {
            "method": ("none", "vat:kl"),
            "seeds": 1,
            "batch": 4,
            "steps": 3,
            "jobs": 2,
            "output": output,
            **more,
        }
        pairs = [
            (f"--{name}", one)
            for name, value in options.items()
            for one in (value if isinstance(value, tuple) else (value,))
        ]
        return ["curve", *(word for pair in pairs for word in pair)]

    return make


@pytest.fixture(scope="module")
def made(command: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder of a finished curve, and what was said; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "curve"
    code, out, err = say(*command(folder))
    assert code == 0, err
    return folder, out, err


@pytest.fixture
def copy(made: tuple[Path, str, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "curve"))


def written(folder: Path) -> dict[str, int]:
    """When each cell was."""
    return {path.stem: path.stat().st_mtime_ns for path in (folder / "cells").glob("*.json")}


def cells(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "cells").glob("*.json")]


def test_a_curve_is_made_shown_and_reported(made: tuple[Path, str, str]) -> None:
    folder, out, err = made
    assert {path.name for path in folder.iterdir()} >= {"curve.json", "cells", "summary.json", "report.html"}
    assert [cell["status"] for cell in cells(folder)] == ["finished"] * 4
    ended = re.findall(r"^(none|vat:kl), (25|100) %, seed 0: in-domain accuracy \d+\.\d in \d+ s;", err, re.MULTILINE)
    assert sorted(ended) == [("none", "100"), ("none", "25"), ("vat:kl", "100"), ("vat:kl", "25")]
    assert "4 of 4 finished, 0 left" in err
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    shown = out.replace("\N{NO-BREAK SPACE}", " ")
    for point in summary["points"]:
        assert point["n"] == 1
        assert f"{100 * point['mean']:.1f} (1)" in shown
    assert summary["sentence"] in shown
    assert "16 labels" in shown
    assert f"written: {folder}/report.html" in shown


def test_a_second_time_runs_nothing_and_says_the_same(run: Run, command: Command, made: tuple[Path, str, str]) -> None:
    folder, out, _ = made
    before = written(folder)
    code, again, err = run(*command(folder))
    assert (code, again) == (0, out)
    assert "4 of 4 runs are finished already" in err
    assert "seed 0:" not in err
    assert multiprocessing.active_children() == []
    assert written(folder) == before
    code, text, err = run(*command(folder), "--json", "--no-report")
    assert (code, err) == (0, "")
    shown = json.loads(text)
    assert shown == {
        **json.loads((folder / "summary.json").read_text(encoding="utf-8")),
        "folder": str(folder),
        "report": None,
    }


def test_a_plan_shows_runs_steps_and_time_and_writes_nothing(
    run: Run, command: Command, made: tuple[Path, str, str], tmp_path: Path
) -> None:
    folder, _, _ = made
    methods = ("none", "vat:kl", "vat:kl,alpha=4")
    code, text, err = run(*command(folder, seeds=3, method=methods), "--dry-run", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(text)
    groups = [(group["budget"], group["method"], group["setting"], group["finished"]) for group in plan["groups"]]
    assert groups[:3] == [
        (0.25, "none", {}, 1),
        (0.25, "vat:kl", {}, 1),
        (0.25, "vat:kl,alpha=4", {}, 0),
    ]
    assert [group["rows_per_step"] for group in plan["groups"][:3]] == [[4], [8], [8]]
    assert plan["total"] == {"runs": 18, "finished": 4, "left": 14}
    assert plan["time_left"]["seconds"] > 0
    assert plan["time_left"]["untimed"] == ["vat:kl,alpha=4"]
    code, text, _ = run(*command(tmp_path / "new", search="alpha=1,4"), "--dry-run", "--json")
    settings = [(group["method"], group["setting"]) for group in json.loads(text)["groups"][:3]]
    assert settings == [("none", {}), ("vat:kl", {"alpha": 1.0}), ("vat:kl", {"alpha": 4.0})]
    code, text, _ = run(*command(tmp_path / "new"), "--dry-run")
    assert code == 0
    assert "4 runs, 0 finished, time left not known yet; 2 at a time" in text
    assert not (tmp_path / "new").exists()


def test_a_run_that_fails_is_told_and_the_others_go_on(run: Run, command: Command, copy: Path) -> None:
    before = written(copy)
    more = command(copy, budget=0.25, method=("vat:kl,lr=1e30", "rdrop:kl"))
    code, out, err = run(*more)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("error: 1 of 2 runs failed: vat:kl,lr=1e30, 25 %, seed 0: the loss is not finite")
    assert "failed vat:kl,lr=1e30, 25 %, seed 0: the loss is not finite" in out.replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"vat:kl,lr=1e30 +– +–", out)  # missing, never 0
    assert re.search(r"rdrop:kl +\d+\.\d \(1\) +–", out)
    found = {cell["method"]: cell["status"] for cell in cells(copy)}
    assert found == {"none": "finished", "vat:kl": "finished", "rdrop:kl": "finished", "vat:kl,lr=1e30": "failed"}
    assert {key: stamp for key, stamp in written(copy).items() if key in before} == before
    assert "failed" in (copy / "report.html").read_text(encoding="utf-8")


def test_a_worker_that_is_killed_costs_its_cell_a_second_try(run: Run, command: Command, copy: Path) -> None:
    def kill() -> None:
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        assert children[0].pid is not None
        os.kill(children[0].pid, signal.SIGKILL)

    content = next(cell for cell in cells(copy) if cell["method"] == "vat:kl")
    victim = copy / "cells" / f"{content['key']}.json"
    victim.unlink()
    killer = threading.Thread(target=kill)
    killer.start()
    code, _, err = run(*command(copy), "--no-report")
    killer.join()
    assert code == 0, err
    assert re.search(
        r"^warning: vat:kl, (25|100) %, seed 0: its worker died; it is tried once more$", err, re.MULTILINE
    )
    again = json.loads(victim.read_text(encoding="utf-8"))
    assert {name: again[name] for name in ("key", "scores", "log")} == {
        name: content[name] for name in ("key", "scores", "log")
    }


def test_ctrl_c_in_the_middle_and_half_a_file_run_only_what_is_missing(
    ctrl_c: None, run: Run, command: Command, copy: Path
) -> None:
    before = written(copy)
    words = [sys.executable, "-m", "ssl_pdr", *map(str, command(copy, seeds=3))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True) as process:
        end = time.monotonic() + 120
        while len(written(copy)) == 4:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)  # of the workers too, as a terminal has it
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(r"error: stopped, [5-9] of 12 runs are finished; the same command goes on from there", error)
    assert "Traceback" not in err
    assert "resource_tracker" not in err
    stopped = written(copy)
    assert {key: stopped[key] for key in before} == before
    half = copy / "cells" / f"{next(iter(before))}.json"
    half.write_text(half.read_text(encoding="utf-8")[:200], encoding="utf-8")
    code, _, err = run(*command(copy, seeds=3, jobs=1), "--no-report")
    assert code == 0, err
    assert f"warning: {half.name} is no whole run, and is ignored" in err
    assert len(re.findall(r"^(?:none|vat:kl), .* seed \d: in-domain", err, re.MULTILINE)) == 12 - len(stopped) + 1, err
    after = written(copy)
    assert len(after) == 12
    assert {key for key, stamp in stopped.items() if after[key] != stamp} == {half.stem}
    assert {cell["status"] for cell in cells(copy)} == {"finished"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"lr": 2e-3}, "holds a curve with another lr (0.001 there, 0.002 here); choose another folder"),
        ({"steps": 4}, "holds a curve of another steps (3 there, 4 here); choose another folder"),
        ({"data": "other.csv"}, "holds a curve of another data "),
        ({"model": "other"}, "holds a curve of another model "),
    ],
)
def test_the_folder_of_another_curve_is_left_alone(
    run: Run,
    command: Command,
    made: tuple[Path, str, str],
    encoder: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, object],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text(reviews.read_text(encoding="utf-8").replace("film", "plot"), encoding="utf-8")
    shutil.copytree(encoder, "other")
    tiny_bert(num_labels=2).bert.save_pretrained("other")
    folder = made[0]
    before = (folder / "curve.json").read_bytes(), written(folder)
    for dry in ([], ["--dry-run"]):
        code, _, err = run(*command(folder, **more), *dry)
        assert code == 2
        assert said in one_line(err)
    assert ((folder / "curve.json").read_bytes(), written(folder)) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"budget": 1.5}, "a budget is a share of the labels, above 0 and at most 1; got 1.5"),
        ({"budget": 0}, "a budget is a share of the labels, above 0 and at most 1; got 0"),
        ({"budget": 0.01}, "class"),
        ({"budget": (0.5, 0.5)}, "budgets: 0.5 was given twice"),
        ({"method": "vta"}, "unknown method 'vta'; did you mean 'vat'?"),
        ({"method": "vat:kll"}, "unknown divergence 'kll'; did you mean 'kl'?"),
        ({"method": "vat:kl,alhpa=4"}, "unknown key 'alhpa'; did you mean 'alpha'?"),
        ({"method": "vat:kl,seed=4"}, "seed is the same for all methods"),
        ({"search": "alhpa=1,4"}, "search: unknown key 'alhpa'; did you mean 'alpha'?"),
        ({"search": "alpha"}, "--search expects key=value,value, got 'alpha'"),
        ({"search": "lr=fast"}, "lr must be a number, got 'fast'"),
        ({"match": "step"}, "unknown match 'step'; did you mean 'steps'?"),
        ({"epochs": "nan"}, "epochs must be a finite number above 0, got nan"),
        ({"ratio": 0.3}, "do not make whole rows"),
        ({"seeds": 0}, "--seeds"),
        ({"engine": "rya"}, "unknown engine 'rya'; did you mean 'ray'?"),
        ({"data": "nothing.csv"}, "nothing.csv"),
        ({"grid": "nothing.toml"}, "cannot read the grid nothing.toml: No such file"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_runs(
    run: Run, command: Command, tmp_path: Path, more: dict[str, object], said: str
) -> None:
    code, out, err = run(*command(tmp_path / "curve", **more))
    assert (code, out) == (2, "")
    assert said in one_line(err)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_left_alone(run: Run, command: Command, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine", encoding="utf-8")
    for output, said in ((file, "is a file; expected a folder"), (tmp_path, "has files in it but is no curve")):
        code, _, err = run(*command(output))
        assert code == 2
        assert said in one_line(err)
    assert list(tmp_path.iterdir()) == [file]


def test_ray_has_to_be_installed(run: Run, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # what an import finds where it is not
    code, _, err = run(*command(tmp_path / "curve", engine="ray"))
    assert code == 2
    assert one_line(err).endswith("pip install 'ssl-pdr[ray]'")


def test_a_grid_file_says_what_options_do_not(
    run: Run,
    made: tuple[Path, str, str],
    encoder: Path,
    reviews: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out, _ = made
    monkeypatch.setenv("MY_MODELS", str(encoder.parent))
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f"""
        budgets = [0.25, 1.0]
        methods = ["none", "rdrop"]
        seeds = 1
        batch = 4
        steps = 7
        jobs = 2
        output = {json.dumps(str(folder))}
        [base]
        data = "nothing.csv"
        model = "$MY_MODELS/{encoder.name}"
        max_length = 12
        lr = 1e-3
        """,
        encoding="utf-8",
    )
    by_hand = ["--data", reviews, "--method", "none", "--method", "vat:kl", "--steps", 3]
    code, again, err = run("curve", "--grid", grid, *by_hand)
    assert (code, again) == (0, out)  # the curve that options alone had made
    assert "4 of 4 runs are finished already" in err
    monkeypatch.delenv("MY_MODELS")
    code, _, err = run("curve", "--grid", grid, *by_hand)
    assert code == 2
    assert "the environment variable MY_MODELS is not set" in one_line(err)


def test_every_option_that_a_grid_may_have_is_there_and_says_the_default(run: Run) -> None:
    group = typer.main.get_command(app)
    found = {name for parameter in group.commands["curve"].params for name in parameter.opts}  # type: ignore[attr-defined]
    own = {"--search", "--ratio", "--epochs", "--output"}  # of the grid, and of the curve
    for field in vars(TrainConfig()):
        assert (option(field) in found) == (field not in _OF_THE_GRID or option(field) in own), field
    shown = {p.opts[0]: p.show_default for p in group.commands["curve"].params}  # type: ignore[attr-defined]
    default = Grid()
    assert shown["--budget"] == ", ".join(f"{budget:g}" for budget in default.budgets)
    assert shown["--method"] == ", ".join(default.methods)
    for name in ("match", "batch", "ratio", "epochs", "select"):
        value = getattr(default, name)
        assert shown[f"--{name}"] == (value if isinstance(value, str) else f"{value:g}")
    assert shown["--seeds"] == str(len(default.seeds))
