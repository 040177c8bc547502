"""Real small runs: made once, read again, gone on with, never taken for one another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr import experiment
from ssl_pdr.errors import DataError, InterruptedRunError, OutputError
from ssl_pdr.paper.grid import load_grid
from ssl_pdr.paper.plan import Choice, Plan, make_plan
from ssl_pdr.paper.reproduce import read_finished, reproduce
from ssl_pdr.progress import Silent
from ssl_pdr.run_folder import RunFolder


class Diary(Silent):
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.warnings: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    @property
    def runs(self) -> list[str]:
        return [text for text in self.stages if text.startswith("run ")]


def small_plan(grid: Path, target: str = "half", **choice: object) -> Plan:
    output = str(grid.parent / "runs")
    return make_plan(load_grid(grid), target, Choice(output=output, **choice))  # type: ignore[arg-type]


def test_a_table_from_real_runs_and_again_from_disk(small_grid: Path) -> None:
    plan, diary = small_plan(small_grid, seeds=(0, 1)), Diary()
    content = reproduce(plan, diary)
    assert len(diary.runs) == 2 + 2 * 2
    assert content["missing"] == {}
    assert json.loads((plan.folder / "half_seeds0+1.json").read_text(encoding="utf-8")) == content
    assert (plan.folder / "half_seeds0+1.md").read_text(encoding="utf-8").count("±") >= 4
    assert len(content["runs"]) == 6
    for entry in content["runs"]:
        folder = plan.folder / entry["folder"]
        made = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        assert entry["scores"] == made["scores"]
        assert len(entry["data_fingerprint"]) == 64
        assert {"versions", "machine", "config", "timing"} <= set(entry)
        assert not (folder / "checkpoints").exists()
        assert (folder / "model" / "config.json").is_file()
    steps = {entry["folder"]: entry["timing"]["steps"] for entry in content["runs"]}
    assert steps == {plan.name_of(run): run.steps for run in plan.runs}  # the plan knew

    again = Diary()
    assert reproduce(small_plan(small_grid, seeds=(0, 1)), again) == content
    assert again.runs == []
    more = Diary()
    reproduce(small_plan(small_grid, seeds=(0, 1, 2), methods=("none",)), more)
    assert len(more.runs) == 1  # only the new seed
    drops = reproduce(small_plan(small_grid, "drops", seeds=(0, 1)), figure := Diary())
    assert figure.runs == []
    cells = content["rows"][0]["cells"]
    inside, outside = cells["reviews.accuracy"]["mean"], cells["reviews.macro_f1"]["mean"]
    assert drops["rows"][0]["drops"]["Reviews → Reviews F1"]["ours"] == pytest.approx((inside - outside) / inside)


def test_own_tables_stand_beside_the_papers_where_their_names_agree(small_grid: Path) -> None:
    content = reproduce(small_plan(small_grid, "table2"))
    assert content["number"] == 2
    cell = content["rows"][0]["cells"]["sst2.accuracy"]
    assert cell["paper"] == 92.3
    assert cell["difference"] == pytest.approx(cell["mean"] - 92.3)
    assert cell["deviation"] is None


class _Impatient(Diary):
    """Interrupts while a given run trains, as Ctrl-C does in the end."""

    def __init__(self, run: int) -> None:
        super().__init__()
        self.run = run

    def step(self, step: int, steps: int) -> None:
        if len(self.runs) == self.run and step == 2:
            raise KeyboardInterrupt


def test_ctrl_c_leaves_what_is_finished_and_the_same_command_goes_on(small_grid: Path) -> None:
    choice = {"settings": {"save_steps": 1, "epochs": 2.0}}
    plan = small_plan(small_grid, **choice)
    with pytest.raises(InterruptedRunError, match="1 of 3 runs are finished; the same command goes on there"):
        reproduce(plan, _Impatient(2))
    broken = plan.runs[1].folder
    assert not (broken / "result.json").exists()
    assert (broken / "checkpoints" / "checkpoint-1").is_dir()
    diary = Diary()
    content = reproduce(small_plan(small_grid, **choice), diary)
    assert len(diary.runs) == 2
    resumed = {entry["folder"]: entry["timing"]["resumed_from_step"] for entry in content["runs"]}
    assert resumed == {plan.name_of(run): 1 if run.folder == broken else None for run in plan.runs}
    whole = reproduce(small_plan(small_grid, settings={"save_steps": 100, "epochs": 2.0}))
    assert [entry["scores"] for entry in whole["runs"]] == [entry["scores"] for entry in content["runs"]]


def test_a_run_that_stopped_before_its_first_checkpoint_begins_anew(small_grid: Path) -> None:
    plan = small_plan(small_grid, methods=("none",))
    with pytest.raises(InterruptedRunError):
        reproduce(plan, _Impatient(1))
    assert not list(plan.runs[0].folder.glob("checkpoints/checkpoint-*"))
    assert reproduce(plan)["missing"] == {}


def test_a_run_of_another_configuration_is_never_taken(small_grid: Path) -> None:
    plan = small_plan(small_grid, methods=("none",))
    run = plan.runs[0]
    other = dataclasses.replace(run.config, lr=2e-3)
    experiment.train(other)
    with pytest.raises(OutputError, match=r"holds a run of another configuration \(lr differ\)"):
        reproduce(plan)
    (run.folder / "result.json").unlink()  # nor one that is not finished
    assert (run.folder / "checkpoints").is_dir()
    content = reproduce(plan, diary := Diary())
    assert content["missing"]
    assert "another configuration" in diary.warnings[0]
    (run.folder / "result.json").write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match=r"cannot be read as a result; remove .* to run it anew"):
        read_finished(run)


def test_a_set_that_is_missing_empties_its_column_only(small_grid: Path, reviews: Path) -> None:
    text = small_grid.read_text(encoding="utf-8")
    text = text.replace("lr = 1e-3", 'lr = 1e-3, task = "classification", eval_on = ["gone.csv"]')
    text = text.replace("in_domain.macro_f1", "gone.csv.accuracy")
    task = f'[tasks.none]\nselect = "in_domain.accuracy"\ntrain = {{ data = "{reviews.parent}/none.csv" }}\n'
    column = '    { key = "none.accuracy", name = "None", task = "none", score = "in_domain.accuracy" },\n]'
    text = text.replace("[methods.none]", f"{task}\n[methods.none]").replace(
        "]\n\n[tables.table2]", f"{column}\n\n[tables.table2]"
    )
    small_grid.write_text(text, encoding="utf-8")
    content = reproduce(small_plan(small_grid, search=False), diary := Diary())
    cells = content["rows"][1]["cells"]
    assert cells["reviews.accuracy"]["mean"] is not None
    assert cells["reviews.macro_f1"]["reason"].startswith("there is no file")
    assert "none.csv" in cells["none.accuracy"]["reason"]
    assert set(content["missing"]) == {"Reviews F1", "None"}
    assert len(diary.runs) == 2 + 1  # the second run on the missing data is not even begun
    assert len([text for text in diary.warnings if "gone.csv" in text]) == 1
    with pytest.raises(DataError):
        experiment.train(next(run.config for run in small_plan(small_grid, search=False).runs if run.task == "none"))


def test_runs_on_other_data_are_not_set_side_by_side_silently(small_grid: Path) -> None:
    plan = small_plan(small_grid, search=False)
    assert reproduce(plan)["warnings"] == []
    path = plan.runs[0].folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    result["data"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(result), encoding="utf-8")
    diary = Diary()
    changed = reproduce(small_plan(small_grid, search=False), diary)
    assert "the runs on reviews are of 2 states of the data" in changed["warnings"][0]
    assert diary.warnings == changed["warnings"]
    result["data"] = json.loads((plan.runs[1].folder / "result.json").read_text(encoding="utf-8"))["data"]
    result["data"]["evaluation_fingerprints"] = {"x.csv": "0" * 64}
    path.write_text(json.dumps(result), encoding="utf-8")
    other = json.loads((plan.runs[1].folder / "result.json").read_text(encoding="utf-8"))
    other["data"]["evaluation_fingerprints"] = {"x.csv": "1" * 64}
    (plan.runs[1].folder / "result.json").write_text(json.dumps(other), encoding="utf-8")
    (warning,) = reproduce(small_plan(small_grid, search=False))["warnings"]
    assert "the runs on reviews were evaluated on 2 states of x.csv" in warning


@pytest.fixture
def later(small_grid: Path) -> Path:
    """A set that the grid evaluates on, which is not there yet."""
    path = small_grid.parent / "later.csv"
    text = small_grid.read_text(encoding="utf-8").replace("lr = 1e-3", f'lr = 1e-3, eval_on = ["{path}"]')
    small_grid.write_text(text.replace("in_domain.macro_f1", "later.csv.accuracy"), encoding="utf-8")
    return path


def cell_of(content: dict[str, Any]) -> dict[str, Any]:
    cell: dict[str, Any] = content["rows"][0]["cells"]["reviews.macro_f1"]
    return cell


def test_a_set_that_comes_later_is_evaluated_on_without_training_again(
    small_grid: Path, reviews: Path, later: Path
) -> None:
    first = reproduce(small_plan(small_grid, methods=("none",)))
    assert set(first["missing"]) == {"Reviews F1"}
    rows = reviews.read_text(encoding="utf-8").splitlines()
    later.write_text("\n".join(rows[:21]), encoding="utf-8")
    second = reproduce(small_plan(small_grid, methods=("none",)), diary := Diary())
    assert second["missing"] == {}
    assert diary.runs == []
    assert 0 <= cell_of(second)["mean"] <= 100
    assert len(second["runs"][0]["evaluation_fingerprints"]["later.csv"]) == 64
    assert reproduce(small_plan(small_grid, methods=("none",)), again := Diary()) == second
    assert again.stages == again.warnings == []  # nor evaluated again


def test_a_later_set_that_has_changed_is_evaluated_on_again(small_grid: Path, reviews: Path, later: Path) -> None:
    plan = small_plan(small_grid, methods=("none",))
    reproduce(plan)
    head, *rows = reviews.read_text(encoding="utf-8").splitlines()
    later.write_text("\n".join([head, *rows[:20]]), encoding="utf-8")
    score = cell_of(reproduce(plan))["mean"]
    turned = [row.replace(",pos", ",x").replace(",neg", ",pos").replace(",x", ",neg") for row in rows[:20]]
    later.write_text("\n".join([head, *turned]), encoding="utf-8")
    assert cell_of(reproduce(plan, diary := Diary()))["mean"] == pytest.approx(100 - score)
    assert len([text for text in diary.warnings if text.startswith("later.csv has changed since")]) == 1
    later.unlink()  # what is known of it stands
    content = reproduce(plan)
    assert cell_of(content)["mean"] == pytest.approx(100 - score)
    assert content["missing"] == {}


def test_a_run_that_is_gone_on_with_is_evaluated_on_sets_that_came_since(
    small_grid: Path, reviews: Path, later: Path
) -> None:
    plan = small_plan(small_grid, methods=("none",), settings={"save_steps": 1, "epochs": 2.0})
    with pytest.raises(InterruptedRunError):
        reproduce(plan, _Impatient(1))
    later.write_text(reviews.read_text(encoding="utf-8"), encoding="utf-8")
    content = reproduce(plan)
    assert content["runs"][0]["timing"]["resumed_from_step"] == 1
    assert content["missing"] == {}
    assert cell_of(content)["mean"] is not None


def test_a_run_that_begins_anew_keeps_no_later_scores(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (folder.later / "x.csv").mkdir(parents=True)
    folder.clear()
    assert not folder.later.exists()


def test_files_that_are_passed_on_say_nothing_of_where_things_lie(
    small_grid: Path, reviews: Path, model_folder: Path, later: Path
) -> None:
    text = small_grid.read_text(encoding="utf-8")
    task = f'[tasks.none]\nselect = "in_domain.accuracy"\ntrain = {{ data = "{reviews.parent}/a b/none.csv" }}\n'
    column = '    { key = "none.accuracy", name = "None", task = "none", score = "in_domain.accuracy" },\n]'
    text = text.replace("[methods.none]", f"{task}\n[methods.none]")
    small_grid.write_text(text.replace("]\n\n[tables.table2]", f"{column}\n\n[tables.table2]"), encoding="utf-8")
    pool = small_grid.parent / "pool.txt"
    pool.write_text("a good plot\nthe actor was dull\n", encoding="utf-8")
    plan = small_plan(small_grid, methods=("none",), settings={"unlabelled": (str(pool),)})
    content = reproduce(plan)
    assert set(content["missing"]) == {"Reviews F1", "None"}
    for ending in ("json", "md"):
        written = Path(f"{plan.stem}.{ending}").read_text(encoding="utf-8")
        for folder in (small_grid.parent, reviews.parent, model_folder.parent):
            assert str(folder) not in written
    (entry,) = content["runs"]
    assert entry["folder"] == entry["config"]["output"] == plan.name_of(plan.runs[0])
    assert content["rows"][0]["cells"]["reviews.accuracy"]["runs"][0]["folder"] == entry["folder"]
    config = {key: entry["config"][key] for key in ("data", "unlabelled", "model")}
    assert config == {"data": reviews.name, "unlabelled": ["pool.txt"], "model": model_folder.name}
    assert content["asked"]["unlabelled"] == ["pool.txt"]
    made = json.loads((plan.runs[0].folder / "result.json").read_text(encoding="utf-8"))
    assert made["config"]["data"] == str(reviews)  # the run itself can be gone on with


def test_tables_of_other_choices_stand_side_by_side(small_grid: Path) -> None:
    choices: list[dict[str, Any]] = [{}, {"settings": {"limit": 40}}, {"columns": ("reviews.accuracy",)}]
    plans = [small_plan(small_grid, methods=("none",), **choice) for choice in choices]
    contents = [reproduce(plan) for plan in plans]
    for plan, content in zip(plans, contents, strict=True):
        assert json.loads(Path(f"{plan.stem}.json").read_text(encoding="utf-8")) == content
    assert contents[1]["asked"] == {"methods": ["none"], "limit": 40}
