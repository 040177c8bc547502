"""The command line as a person meets it: real runs on a small real model, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, pipeline

from ssl_pdr.files import is_passing
from tests.cli.conftest import Run, one_line


@pytest.mark.parametrize("reg", ["none", "rdrop", "rpt", "vat", "jr", "wjr"])
def test_every_regularizer_trains_evaluates_and_leaves_a_model(
    run: Run, basic: list[object], tmp_path: Path, reg: str
) -> None:
    code, out, err = run(*basic, "--reg", reg, "--labelled-frac", 0.5, "--json")
    assert code == 0, err
    result = json.loads(out)
    folder = tmp_path / "run"
    assert json.loads((folder / "result.json").read_text(encoding="utf-8")) == result
    assert result["budget"] == {
        "labelled": 32,
        "unlabelled": 32,
        "fraction": 0.5,
        "labelled_per_class": {"neg": 16, "pos": 16},
    }
    assert 0 <= result["scores"]["in_domain"]["accuracy"] <= 1
    assert 0 <= result["scores"]["baseline_tfidf"]["in_domain"]["accuracy"] <= 1
    assert {path.name for path in folder.iterdir() if not is_passing(path)} == {
        "config.toml",
        "result.json",
        "split.json",
        "log.jsonl",
        "checkpoints",
        "model",
    }
    assert {path.suffix for path in (folder / "model").iterdir()} <= {".json", ".safetensors", ".md", ".txt"}
    answer = pipeline("text-classification", model=str(folder / "model"))("the film was good")
    assert answer[0]["label"] in ("pos", "neg")
    config = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    assert config["reg"] == reg
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all({"step", "ce", "r", "accuracy"} <= set(entry) for entry in log)


def test_result_says_where_it_comes_from(run: Run, basic: list[object]) -> None:
    _, out, _ = run(*basic, "--json", "--max-steps", 2)
    result = json.loads(out)
    assert len(result["data"]["fingerprint"]) == len(result["split_hash"]) == 64
    assert result["versions"]["torch"] == torch.__version__
    assert result["seeds"] == {"seed": 0}
    assert result["timing"]["steps"] == 2
    assert {"processor", "cpus", "threads", "device", "system"} <= set(result["machine"])
    assert {"ce", "r", "r_row_weight"} <= set(result["objective"])


def test_same_seed_same_result(run: Run, basic: list[object]) -> None:
    results = [json.loads(run(*basic, "--json", "--overwrite", "--labelled-frac", 0.5)[1]) for _ in range(2)]
    for result in results:
        del result["timing"]
    assert results[0] == results[1]


def test_a_person_sees_scores_beside_the_baseline(run: Run, basic: list[object], tmp_path: Path) -> None:
    code, out, err = run(*basic)
    assert code == 0
    assert "tf-idf" in out
    assert "in-domain" in out
    assert "run/model" in out
    assert "training" in err


def test_dry_run_shows_configuration_and_first_batch_and_writes_nothing(
    run: Run, basic: list[object], tmp_path: Path
) -> None:
    code, out, err = run(*basic, "--dry-run", "--labelled-frac", 0.5, "--json")
    assert code == 0, err
    shown = json.loads(out)
    assert shown["config"]["radius"] == 1.0
    labels = [row["label"] for row in shown["first_batch"]]
    assert labels[:8].count(None) == 0
    assert labels[8:] == [None] * 8
    assert not (tmp_path / "run").exists()
    assert "first batch" in run(*basic, "--dry-run")[1]


def test_recipe_set_and_options_in_that_order(run: Run, basic: list[object], tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text("alpha = 2.0\nseed = 5\nepochs = 2\n", encoding="utf-8")
    _, out, _ = run(*basic, "--recipe", recipe, "--set", "seed=6", "--alpha", 3, "--dry-run", "--json")
    config = json.loads(out)["config"]
    assert (config["alpha"], config["seed"], config["epochs"]) == (3.0, 6, 1.0)


def test_resume_ends_where_an_unbroken_run_ends(run: Run, basic: list[object], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = ["--labelled-frac", 0.5, "--save-steps", 2, "--epochs", 2, "--json"]
    arguments = [a for a in basic if a != tmp_path / "run" and a != "--output"]
    assert run(*arguments, *options, "--output", whole)[0] == 0
    assert run(*arguments, *options, "--output", broken)[0] == 0
    (broken / "result.json").unlink()
    steps = sorted((broken / "checkpoints").iterdir(), key=lambda p: int(p.name.rpartition("-")[2]))
    (steps[-1] / "trainer_state.json").unlink()  # the last one was cut short
    code, out, err = run("train", "--resume", broken, "--json")
    assert code == 0, err
    assert json.loads(out)["timing"]["resumed_from_step"] == int(steps[-2].name.rpartition("-")[2])
    a, b = (AutoModelForSequenceClassification.from_pretrained(folder / "model") for folder in (whole, broken))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    logs = [[json.loads(line)["step"] for line in (f / "log.jsonl").read_text().splitlines()] for f in (whole, broken)]
    assert logs[0] == logs[1]


def test_resume_without_a_checkpoint_begins_anew(run: Run, basic: list[object], tmp_path: Path) -> None:
    assert run(*basic, "--dry-run", "--json")[0] == 0
    folder = tmp_path / "run"
    folder.mkdir()
    config = json.loads(run(*basic, "--dry-run", "--json")[1])["config"]
    import tomli_w

    (folder / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    code, out, err = run("train", "--resume", folder, "--json")
    assert code == 0, err
    assert json.loads(out)["timing"]["resumed_from_step"] is None


def test_what_a_killed_run_left_is_no_part_of_the_next(run: Run, basic: list[object], tmp_path: Path) -> None:
    """Killed before its first checkpoint was whole, it is not in the way, and its log must not be gone on with."""
    code, out, _ = run(*basic, "--save-steps", 2, "--max-steps", 4, "--json")
    assert code == 0
    folder, scores = tmp_path / "run", json.loads(out)["scores"]
    log = (folder / "log.jsonl").read_text(encoding="utf-8")
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "checkpoints" / "checkpoint-4")
    (folder / "checkpoints" / ".unfinished").mkdir()
    (folder / "checkpoints" / "checkpoint-2").rename(folder / "checkpoints" / ".unfinished" / "checkpoint-2")
    (folder / "checkpoints" / ".unfinished" / "checkpoint-2" / "rng_state_1.pth").write_text("of a second process")
    code, out, err = run(*basic, "--save-steps", 2, "--max-steps", 4, "--json")
    assert code == 0, err
    assert json.loads(out)["scores"] == scores
    steps = [
        [json.loads(line)["step"] for line in text.splitlines()] for text in (log, (folder / "log.jsonl").read_text())
    ]
    assert steps[0] == steps[1]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["checkpoint-2", "checkpoint-4"]
    assert not list((folder / "checkpoints").glob("*/rng_state_1.pth"))


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(basic: list[object], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssl_pdr", *map(str, basic), "--epochs", "1000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SSL_PDR_DATA": ""}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        log = tmp_path / "run" / "log.jsonl"
        for _ in range(600):
            if log.is_file() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    assert f"ssl-pdr train --resume {tmp_path / 'run'}" in err.splitlines()[-1]
    assert any((tmp_path / "run" / "checkpoints").glob("checkpoint-*/trainer_state.json"))
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labelled-frac", "0"], "--labelled-frac must be above 0 and at most 1, got 0.0"),
        (["--labelled-frac", "1.2"], "--labelled-frac must be above 0 and at most 1, got 1.2"),
        (["--labelled-frac", "0.01"], "leaves"),
        (["--reg", "vatt"], "unknown regularizer 'vatt'; did you mean 'vat'"),
        (["--div", "shll"], "unknown divergence 'shll'; did you mean 'shl'"),
        (["--div", "power:x"], "power"),
        (["--site", "outputs"], "unknown site 'outputs'; did you mean 'output'"),
        (["--search", "exat"], "unknown search 'exat'; did you mean 'exact'"),
        (["--search-steps", "3"], "the exact search has no steps, got 3; they belong to search='power'"),
        (["--search", "power", "--search-products", "3"], "they belong to search='exact'"),
        (["--order", "3"], "--order must be 1 (the divergence) or 2 (its second-order form), got 3"),
        (["--order", "2", "--div", "tv"], "needs a divergence that is smooth at 1, which 'tv' is not"),
        (["--norm", "row"], "unknown norm 'row'"),
        (["--precision", "fp8"], "unknown precision 'fp8'"),
        (
            ["--precision", "bf16", "--preset", "paper"],
            "bfloat16 keeps only 0% of a row's noise; use a radius of at least 0.0",
        ),
        (["--data", "reviews_none.csv"], "there is no file"),
        (["--data", "pydocs-topic"], "did you mean 'pydocs-topics'"),
        (["--text-column", "txt"], "no column 'txt'"),
        (["--label-column", "lable"], "did you mean 'label'"),
        (["--batch-size", "0"], "--batch-size must be a whole number from 1 to 1000000000, got 0"),
        (["--radius", "-1"], "--radius must be a finite number of at least 0 (and at most 1e6), got -1.0"),
        (["--radius", "nan"], "--radius must be a finite number"),
        (["--alpha", "nan"], "--alpha must be a finite number"),
        (["--alpha", "-1"], "--alpha must be a finite number of at least 0, got -1.0"),
        (["--alpha", "many"], "Invalid value for '--alpha'"),
        (["--alpa", "1"], "No such option: --alpa"),
        (["--set", "alpa=1"], "unknown key 'alpa'; did you mean 'alpha'"),
        (["--recipe", "nowhere.toml"], "cannot read the recipe nowhere.toml"),
        (["--output", "/proc/nowhere"], "/proc/nowhere"),
        (["--resume", "nowhere"], "--resume takes everything from the run's config.toml"),
        (["--reg", "rdrop", "--dropout", "shared"], "dropout must be 'independent'"),
    ],
)
def test_bad_options_get_one_line(run: Run, basic: list[object], options: list[str], message: str) -> None:
    code, out, err = run(*basic, *options)
    assert (code, out) == (2, "")
    assert message in one_line(err)


BAD_FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "header-only": (b"text,label\n", "has no rows"),
    "one-class": (b"text,label\na,x\nb,x\nc,x\n", "one class only"),
    "null-text": (
        b"text,label\na b,x\n,y\nc,x\nd,y\n",
        "1 rows have no text (null or empty) in column 'text', the first is row 2",
    ),
    "no-labels": (
        b"text,label\na b,\nb,\nc,\nd,\n",
        "no row has a label; a corpus without labels goes to --unlabelled",
    ),
    "ragged": (b"text,label\na,x\nb,y,z,1\n", "line 3 has 4 fields, expected 2"),
    "quote": (b'text,label\na,x\n"b,y\nc,z\n', "line 3"),
    "fractions": (b"text,label\na,0.5\nb,0.25\n", "has the number 0.5 as a label, expected classes"),
    "latin-1": (
        "text,label\ncaf\xe9,x\nb,y\n".encode("latin-1"),
        "line 2 is not valid utf-8; name the encoding with --encoding",
    ),
}


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator, which takes float16")
def test_float16_wants_an_accelerator(run: Run, basic: list[object]) -> None:
    code, out, err = run(*basic, "--precision", "fp16")
    assert (code, out) == (2, "")
    assert "use bf16 or float32" in one_line(err)


def test_half_precision_says_in_the_log_what_it_leaves(run: Run, basic: list[object], tmp_path: Path) -> None:
    code, out, err = run(*basic, "--precision", "bf16", "--radius", 0.5, "--json")
    assert code == 0, err
    objective = json.loads(out)["objective"]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert 0.5 < log[0]["noise_kept"] < 1
    assert 0 < log[0]["r_rounding"] < log[0]["r"]
    assert log[0]["r_above_rounding"] == pytest.approx(1 - log[0]["r_rounding"] / log[0]["r"])
    assert log[0]["noise_norm"] > 0
    assert len(log) > 1
    assert (objective["r"], objective["noise_norm"]) == (
        log[-1]["r"],
        log[0]["noise_norm"],
    )  # measured in the first step alone


def test_a_configuration_of_too_many_digits_is_one_line(run: Run, basic: list[object], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text("alpha = " + "9" * 10_000, encoding="utf-8")
    code, out, err = run("train", "--resume", folder)
    assert (code, out) == (2, "")
    assert "config.toml is not valid TOML: Exceeds the limit" in one_line(err)
    assert "please report it" not in run(*basic)[2]


def test_the_second_order_form_trains_at_the_radius_that_half_precision_loses(run: Run, basic: list[object]) -> None:
    code, out, err = run(*basic, "--precision", "bf16", "--preset", "paper", "--order", 2, "--json")
    assert code == 0, err
    objective = json.loads(out)["objective"]
    assert objective["r"] > 0
    assert objective["r_zero_noise"] is None


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_get_one_line(run: Run, basic: list[object], tmp_path: Path, name: str) -> None:
    content, message = BAD_FILES[name]
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content)
    code, out, err = run(*basic, "--data", path)
    assert (code, out) == (2, "")
    assert message in one_line(err)
    assert name in err


def test_a_label_outside_the_label_set(run: Run, basic: list[object], tmp_path: Path) -> None:
    other = tmp_path / "eval.csv"
    other.write_text("text,label\nthe film was good,pos\nthe plot was bad,mixed\n", encoding="utf-8")
    code, _, err = run(*basic, "--eval", other)
    assert code == 2
    assert "row 2 has the label 'mixed', which is not in the label set: neg, pos" in one_line(err)


def test_models_that_cannot_be_used(run: Run, basic: list[object], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for model in (tmp_path / "empty", "no-such-model"):
        code, _, err = run(*basic, "--model", model)
        assert code == 2
        assert "cannot load a model" in one_line(err)


def test_a_finished_run_is_kept(run: Run, basic: list[object], tmp_path: Path) -> None:
    assert run(*basic, "--max-steps", 1)[0] == 0
    result = tmp_path / "run" / "result.json"
    before = result.read_bytes()
    for options, message in (
        ([], "holds a finished run; add --overwrite"),
        (["--overwrite", "--data", "none.csv"], "there is no file none.csv"),
        (["--overwrite", "--model", tmp_path], "cannot load a model"),
    ):
        code, _, err = run(*basic, *options)
        assert code == 2
        assert message in one_line(err)
        assert result.read_bytes() == before
    code, _, err = run("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "is finished" in one_line(err)
    assert run(*basic, "--max-steps", 2, "--overwrite")[0] == 0
    assert json.loads(result.read_text(encoding="utf-8"))["timing"]["steps"] == 2


def test_folders_that_are_no_runs_are_left_alone(run: Run, basic: list[object], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    for options in ([], ["--overwrite"]):
        code, _, err = run(*basic, "--output", mine, *options)
        assert code == 2
        assert "is no run" in one_line(err)
    assert (mine / "thesis.tex").read_text() == "years of work"
    code, _, err = run("train", "--resume", mine)
    assert code == 2
    assert "holds no run to resume" in one_line(err)


def test_a_folder_with_a_config_of_another_program_is_no_run(run: Run, basic: list[object], tmp_path: Path) -> None:
    mine = tmp_path / "site"
    (mine / "model").mkdir(parents=True)
    (mine / "config.toml").write_text('title = "my site"')
    (mine / "model" / "precious.txt").write_text("kept")
    for options in ([], ["--overwrite"]):
        code, _, err = run(*basic, "--output", mine, *options)
        assert code == 2
        assert "is no run" in one_line(err)
    assert (mine / "model" / "precious.txt").read_text() == "kept"


def test_what_fails_late_fails_before_a_finished_run_is_touched(run: Run, basic: list[object], tmp_path: Path) -> None:
    assert run(*basic, "--max-steps", 1)[0] == 0
    before = (tmp_path / "run" / "result.json").read_bytes()
    for options, message in (
        (["--labelled-frac", 0.5, "--ratio", 0.001], "ratio"),
        (["--radius", "1e-13", "--radius-unit", "absolute"], "keeps only"),
        (["--radius", "1e-300", "--radius-unit", "absolute"], "underflows"),
        (["--radius", "1e300"], "--radius must be"),
        (["--batch-size", 10**30], "--batch-size must be"),
        (["--reg", "jr", "--div", "nonsense"], "unknown divergence 'nonsense'"),
        (["--model", tmp_path / "run" / "model"], "would delete the model"),
        (["--text-column", "text", "--max-length", 10**30], "--max-length must be"),
    ):
        code, _, err = run(*basic, "--overwrite", *options)
        assert code == 2, options
        assert message in one_line(err), options
        assert (tmp_path / "run" / "result.json").read_bytes() == before
        assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_resume_refuses_other_data(run: Run, basic: list[object], tmp_path: Path, reviews: Path) -> None:
    data = tmp_path / "mine.csv"
    data.write_text(reviews.read_text())
    assert run(*basic, "--data", data, "--max-steps", 2, "--save-steps", 1)[0] == 0
    (tmp_path / "run" / "result.json").unlink()
    data.write_text(reviews.read_text().replace("film", "plot"))
    code, _, err = run("train", "--resume", tmp_path / "run")
    assert code == 2
    assert "the data changed" in one_line(err)


def test_rows_longer_than_the_model_are_refused(run: Run, basic: list[object], tmp_path: Path) -> None:
    data = tmp_path / "long.csv"
    data.write_text("text,label\n" + "\n".join(f"{'good film ' * 30},{i % 2}" for i in range(20)))
    code, _, err = run(*basic, "--data", data, "--max-length", 64)
    assert code == 2
    assert "the model has 32 positions; use --max-length 32" in one_line(err)


def test_texts_without_words_do_not_lose_the_run(run: Run, basic: list[object], tmp_path: Path) -> None:
    data = tmp_path / "emoji.csv"
    data.write_text(
        "text,label\n" + "\n".join(f"{'👍' if i % 2 else '👎'},{i % 2}" for i in range(20)), encoding="utf-8"
    )
    assert run(*basic, "--data", data, "--max-steps", 1)[0] == 0


def test_control_sequences_in_names_do_not_reach_the_terminal(run: Run, basic: list[object]) -> None:
    code, _, err = run(*basic, "--data", "\x1b[31mred\x1b[0m\n[bold]x.csv")
    assert code == 2
    assert "\x1b" not in err
    one_line(err)


def test_list_names_everything(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    for name in ("shl", "jsd", "vat", "rdrop", "classification", "pydocs-topics", "minilm-l6", "published-code"):
        assert name in out
    assert "kl" in json.loads(run("list", "--json")[1])["divergences"]


def test_doctor_says_what_each_dtype_resolves(run: Run, model_folder: Path) -> None:
    code, out, err = run("doctor", "--model", model_folder, "--preset", "paper", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert (report["regularizer"], report["radius"], report["radius_unit"]) == ("vat", 1e-3, "absolute")
    by_dtype = {row["dtype"]: row for row in report["resolution"]}
    assert by_dtype["float32"]["share"] > 0.99
    assert by_dtype["float32"]["above"] > 0.99
    assert by_dtype["bfloat16"]["share"] < 0.5
    assert by_dtype["bfloat16"]["smallest_radius"] > 1e-3
    code, out, err = run("doctor", "--model", model_folder, "--reg", "rpt")
    assert code == 0, err
    assert "rpt at site 'output': radius 1 (token_norm)" in out
    lines = {line.split()[1]: line.split("│")[1:-1] for line in out.splitlines() if "float" in line}
    kept = {dtype: float(cells[3].strip(" %")) for dtype, cells in lines.items()}
    assert 100 == kept["float32"] >= kept["bfloat16"] > 90
    assert max(map(len, out.splitlines())) <= 80


def test_doctor_looks_at_nothing_but_noise(run: Run, model_folder: Path) -> None:
    code, out, err = run("doctor", "--model", model_folder, "--reg", "rdrop")
    assert (code, out) == (2, "")
    assert "--reg: got 'rdrop', expected one of: rpt, vat" in one_line(err)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["list", "--help"], ["doctor", "--help"], ["--version"]]
)
def test_help_is_complete_and_needs_no_torch(arguments: list[str]) -> None:
    code = f"import sys; sys.argv = ['ssl-pdr', *{arguments!r}]\nfrom ssl_pdr.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
    )
    assert done.returncode == 0, done.stderr
    if arguments == ["train", "--help"]:
        wanted = (
            "data model labelled-frac reg div alpha radius site dropout preset ratio epochs max-steps save-steps lr "
            "batch-size max-length seed output overwrite resume recipe set dry-run json verbose eval eval-frac"
        )
        assert [option for option in wanted.split() if f"--{option}" not in done.stdout] == []


def test_typos_in_commands_are_one_line(run: Run) -> None:
    code, _, err = run("trian")
    assert code == 2
    assert "Did you mean 'train'" in one_line(err)


def test_hub_names_need_an_owner_or_a_network(run: Run, basic: list[Any]) -> None:
    code, _, err = run(*basic, "--data", "owner/none")
    assert code == 2
    assert "from the Hub" in one_line(err)


@pytest.mark.parametrize("command", [["inspect"], ["train", "--resume"], ["report"]])
def test_names_that_no_folder_can_have_are_one_line(run: Run, command: list[str]) -> None:
    code, _, err = run(*command, "x" * 300)
    assert code == 2
    assert one_line(err).endswith(": File name too long; check the path and its permissions")


def test_no_error_is_longer_than_a_screen(run: Run) -> None:
    code, _, err = run("train", "--preset", "x" * 100_000)
    assert code == 2
    assert one_line(err).startswith("error: unknown preset 'xxx")
    assert len(err) < 2100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_output_that_takes_no_more_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ssl_pdr", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert one_line(done.stderr) == "error: cannot write the output: No space left on device"


def test_terminals_that_know_few_characters_get_what_they_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ssl_pdr", "train", "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--labelled-frac" in done.stdout


@pytest.mark.parametrize(
    "options",
    ["--eval-limit=-1", "--budget=nan", "--batch=0", "--match=step", "--engine=rya", "--epochs=inf", "--search=x"],
)
def test_arguments_of_a_curve_are_refused_before_torch_is_imported(options: str) -> None:
    code = f"import sys; sys.argv = ['ssl-pdr', 'curve', {options!r}]\nfrom ssl_pdr.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    one_line(done.stderr)
