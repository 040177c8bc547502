"""What trackers are told of a run, where they keep it, and that a run goes on there."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.choices import REPORTERS
from ssl_pdr.config import TrainConfig, make_config
from ssl_pdr.curves.grid import Grid, cell_key
from ssl_pdr.errors import ConfigError, UnknownNameError
from ssl_pdr.paper.names import run_folder
from ssl_pdr.reporting import ReportedArguments, _flat, check_reporters
from tests.cli.conftest import Run, basic, model_folder, one_line, reviews, run

__all__ = ["basic", "model_folder", "reviews", "run"]

SHORT = ("--labelled-frac", 0.5, "--max-steps", 4, "--save-steps", 2, "--eval-limit", 8, "--json")


def events(folder: Path) -> Any:
    """All that TensorBoard shows of a run."""
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard, which is an extra"
    )
    found = reading.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_tensorboard_shows_the_log_and_the_configuration(run: Run, basic: list[object], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is an extra")
    code, _, err = run(*basic, *SHORT, "--alpha", 0.25, "--report-to", "tensorboard")
    assert code == 0, err
    shown, lines = events(tmp_path / "run"), logged(tmp_path / "run")
    for name in ("ce", "r", "r_row_weight", "labelled_share", "accuracy", "r_zero_noise", "noise_kept"):
        values = {event.step: event.value for event in shown.Scalars(f"train/{name}")}
        assert values == pytest.approx({line["step"]: line[name] for line in lines if name in line}, rel=1e-6)
    scores = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["scores"]
    found = shown.Scalars("eval/in_domain/accuracy")
    assert [(event.step, event.value) for event in found] == [(4, pytest.approx(scores["in_domain"]["accuracy"]))]
    assert "eval/baseline_tfidf/in_domain/accuracy" in shown.Tags()["scalars"]
    told = json.loads(shown.Tensors("args/text_summary")[0].tensor_proto.string_val[0])
    assert (told["ssl_pdr/alpha"], told["ssl_pdr/reg"], told["learning_rate"]) == (0.25, "vat", 2e-5)
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text(encoding="utf-8"))
    assert config["report_to"] == ["tensorboard"]


def test_what_trackers_say_is_no_part_of_the_result(
    run: Run, basic: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some greet, and take leave, on stdout."""
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is an extra")
    from torch.utils.tensorboard import SummaryWriter

    for name in ("__init__", "close"):
        real = getattr(SummaryWriter, name)
        monkeypatch.setattr(
            SummaryWriter, name, lambda *args, real=real, **more: (print("hello"), real(*args, **more))[1]
        )
    code, out, err = run(*basic, *SHORT, "--report-to", "tensorboard")
    assert (code, json.loads(out)["timing"]["steps"]) == (0, 4), err
    assert err.count("hello") >= 2


def test_scores_that_cannot_be_reported_cost_a_warning_and_no_result(
    run: Run, basic: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is an extra")
    from torch.utils.tensorboard import SummaryWriter

    real = SummaryWriter.add_scalar

    def refuse(self: SummaryWriter, tag: str, *args: Any, **more: Any) -> None:
        if tag.startswith("eval/in_domain"):
            raise ConnectionError("the server\nis away")
        real(self, tag, *args, **more)

    monkeypatch.setattr(SummaryWriter, "add_scalar", refuse)
    code, _, err = run(*basic, *SHORT[:-1], "--report-to", "tensorboard")
    assert code == 0, err
    assert "the scores were not reported: --report-to tensorboard: the server is away (ConnectionError)" in " ".join(
        err.split()
    )
    assert (tmp_path / "run" / "result.json").is_file()


def full_disk_in_closing(monkeypatch: pytest.MonkeyPatch, when: Callable[[list[Any]], bool]) -> list[Any]:
    """Let TensorBoard's writers fail in closing, when the list of those that were closed, which is returned, says so."""
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is an extra")
    from torch.utils.tensorboard import SummaryWriter

    real, closed = SummaryWriter.close, []

    def full(self: SummaryWriter) -> None:
        real(self)
        closed.append(self)
        if when(closed):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "close", full)
    return closed


def test_a_tracker_that_fails_in_closing_costs_no_result(
    run: Run, basic: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    tags: list[str] = []
    closed = full_disk_in_closing(monkeypatch, lambda _: any("in_domain" in tag for tag in tags))
    from torch.utils.tensorboard import SummaryWriter

    add = SummaryWriter.add_scalar
    monkeypatch.setattr(
        SummaryWriter,
        "add_scalar",
        lambda self, tag, *more, **named: (tags.append(tag), add(self, tag, *more, **named)),
    )
    code, _, err = run(*basic, *SHORT[:-1], "--report-to", "tensorboard")
    assert code == 0, err
    assert closed
    assert (
        "the scores were not reported: --report-to tensorboard: [Errno 28] No space left on device (OSError)"
        in " ".join(err.split())
    )


def test_a_tracker_that_fails_in_closing_after_the_training_costs_no_training(
    run: Run, basic: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Trainer closes it first; a library that flushes a second time may fail then."""
    closed = full_disk_in_closing(monkeypatch, lambda closed: len(closed) == 2)
    code, _, err = run(*basic, *SHORT[:-1], "--report-to", "tensorboard")
    assert code == 0, err
    assert closed[0] is closed[1]
    assert (
        "what was reported last may be missing: --report-to tensorboard: [Errno 28] No space left on device (OSError)"
        in " ".join(err.split())
    )
    assert (tmp_path / "run" / "result.json").is_file()
    assert events(tmp_path / "run").Scalars("eval/in_domain/accuracy")


def test_names_of_scores_are_those_that_every_tracker_takes(tmp_path: Path) -> None:
    values = dict(_flat("eval", {"films [neg]": {"f1": 0.5, "n": 3, "what": "text"}, "é/x": {"em": 1}}))
    assert values == {"eval/films _neg_/f1": 0.5, "eval/films _neg_/n": 3.0, "eval/é_x/em": 1.0}


def test_a_resumed_run_goes_on_there_and_another_one_begins_anew(run: Run, basic: list[object], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard, which is an extra")
    folder = tmp_path / "run"
    assert run(*basic, *SHORT, "--report-to", "tensorboard")[0] == 0
    whole = {event.step: event.value for event in events(folder).Scalars("train/ce")}
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "checkpoint-4" / "trainer_state.json").unlink()
    assert json.loads(run("train", "--resume", folder, "--json")[1])["timing"]["resumed_from_step"] == 2
    assert len(list((folder / "tensorboard").iterdir())) == 4  # two for the steps, two for the scores
    assert {event.step for event in events(folder).Scalars("eval/in_domain/accuracy")} == {4}
    resumed = events(folder).Scalars("train/ce")
    assert [event.step for event in resumed] == sorted(whole)  # what was lost is not shown twice
    assert {event.step: event.value for event in resumed} == whole
    assert run(*basic, *SHORT, "--overwrite")[0] == 0
    assert not {"tensorboard", "mlflow.db", "wandb", "reports.json"} & {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", REPORTERS)
def test_what_is_not_installed_is_refused_before_any_data_are_read(
    run: Run, basic: list[object], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As after `pip uninstall`: nothing of the name is found but a folder, as wandb leaves one where it has been used."""
    (tmp_path / "here" / name).mkdir(parents=True)
    site = [path for path in sys.path if not (Path(path) / name).exists()]
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here"), *site])
    sys.path_importer_cache.clear()
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    code, out, err = run(*basic, "--report-to", name, "--data", "nowhere.csv")
    assert (code, out) == (2, "")
    package = "'ssl-pdr[tensorboard]'" if name == "tensorboard" else name
    assert one_line(err).endswith(f"--report-to {name}: {name} is not installed; run: pip install {package}")
    assert not (tmp_path / "run").exists()


def test_an_unknown_place_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="unknown place to report to 'tensorbord'; did you mean 'tensorboard'"):
        make_config({"report_to": ("tensorbord",)})


def test_it_is_no_part_of_what_decides_a_result() -> None:
    plain = TrainConfig().resolved()
    told = make_config(vars(plain), {"report_to": ("tensorboard",)})
    assert cell_key(plain, "") == cell_key(told, "")
    assert run_folder(plain) == run_folder(told)
    with pytest.raises(ConfigError, match="report_to is the grid's own"):
        Grid(base={"report_to": ("wandb",)})


def test_the_configuration_is_told_beside_the_arguments(tmp_path: Path) -> None:
    check_reporters(TrainConfig())
    args = ReportedArguments(output_dir=str(tmp_path)).of(make_config({"data": "a.csv", "eval_on": ("b.csv",)}))
    told = json.loads(args.to_json_string())
    assert (told["ssl_pdr/data"], told["ssl_pdr/eval_on"], "ssl_pdr/eval" in told) == ("a.csv", ["b.csv"], False)
