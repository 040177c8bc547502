"""Which setting is chosen, what stands in a cell, and how it is written."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.paper.grid import load_grid
from ssl_pdr.paper.plan import Choice, Plan, make_plan
from ssl_pdr.paper.tables import (
    cell_text,
    choose,
    gain_text,
    make_figure,
    make_table,
    markdown,
    markdown_drops,
    missing_cells,
    paper_rows,
    score_of,
    signed,
)

README = Path(__file__).parents[2] / "README.md"


def result(**parts: dict[str, float]) -> dict[str, Any]:
    return {"scores": parts}


@pytest.fixture
def plan() -> Plan:
    choice = Choice(methods=("none", "rpt-kl"), columns=("sst2",), seeds=(0, 1), settings={"lr": 2e-5, "epochs": 2.0})
    return make_plan(load_grid(), "table3", choice)


def outcomes_of(plan: Plan, dev: dict[float, list[float]]) -> dict[Path, dict[str, Any] | str]:
    """Scores by α and seed; on IMDB each is a tenth lower."""
    found: dict[Path, dict[str, Any] | str] = {}
    for run in plan.runs:
        alpha = 0.0 if run.config.reg == "none" else run.config.alpha
        score = dev[alpha][run.config.seed]
        found[run.folder] = result(in_domain={"accuracy": score}, imdb={"accuracy": score - 0.1})
    return found


SCORES = {0.0: [0.80, 0.82], 1.0: [0.90, 0.70], 4.0: [0.84, 0.86], 10.0: [0.86, 0.84]}


def test_the_best_mean_over_seeds_is_chosen_and_the_first_of_equals(plan: Plan) -> None:
    group = plan.groups["table3", "rpt-kl", "sst2"]
    chosen = choose(group, outcomes_of(plan, SCORES), "in_domain.accuracy")
    assert not isinstance(chosen, str)
    assert chosen[0] == {"alpha": 4.0}
    assert [run.config.seed for run in chosen[1]] == [0, 1]


def test_selection_is_by_the_dev_set_whatever_the_other_sets_say(plan: Plan) -> None:
    outcomes = outcomes_of(plan, SCORES)
    for run in plan.runs:
        if run.config.alpha == 10.0:
            outcome = outcomes[run.folder]
            assert not isinstance(outcome, str)
            outcome["scores"]["imdb"]["accuracy"] = 1.0
    cell = make_table(plan, "table3", outcomes)["rows"][1]["cells"]["imdb.accuracy"]
    assert cell["setting"] == {"alpha": 4.0}
    assert cell["mean"] == pytest.approx(100 * statistics.fmean([0.74, 0.76]))
    assert cell["deviation"] == pytest.approx(100 * statistics.stdev([0.74, 0.76]))
    assert cell["difference"] == pytest.approx(75.0 - 88.7)
    assert [run["seed"] for run in cell["runs"]] == [0, 1]


def test_a_setting_with_a_failed_seed_is_no_candidate(plan: Plan) -> None:
    outcomes = outcomes_of(plan, SCORES)
    group = plan.groups["table3", "rpt-kl", "sst2"]
    failed = next(run for run in group.runs if (run.config.alpha, run.config.seed) == (4.0, 1))
    outcomes[failed.folder] = "the loss is not finite"
    chosen = choose(group, outcomes, "in_domain.accuracy")
    assert not isinstance(chosen, str)
    assert chosen[0] == {"alpha": 10.0}
    assert choose(group, {run.folder: "no data" for run in group.runs}, "in_domain.accuracy") == "no data"
    assert choose(group, outcomes, "in_domain.f1") == "the loss is not finite"
    whole = outcomes_of(plan, SCORES)
    assert choose(group, whole, "in_domain.f1") == "its runs have no score in_domain.f1"


def test_a_missing_part_empties_its_cell_and_says_why(plan: Plan) -> None:
    outcomes = outcomes_of(plan, SCORES)
    for outcome in outcomes.values():
        assert not isinstance(outcome, str)
        del outcome["scores"]["imdb"]
    table = make_table(plan, "table3", outcomes)
    assert table["rows"][0]["cells"]["imdb.accuracy"]["mean"] is None
    assert "was not evaluated on imdb; its parts are in_domain" in missing_cells(table)["IMDB"]
    for outcome in outcomes.values():
        assert not isinstance(outcome, str)
        outcome["not_evaluated_on"] = {"imdb": "there is no file"}
    assert missing_cells(make_table(plan, "table3", outcomes)) == {"IMDB": "there is no file"}


def test_average_gains_are_ours_beside_the_papers() -> None:
    plan = make_plan(load_grid(), "table2", Choice(methods=("none", "jr", "at"), search=False))
    base = {"squad": 0.5, "squad_v2": 0.4, "mnli": 0.3, "sst2": 0.6}
    outcomes: dict[Path, dict[str, Any] | str] = {}
    for run in plan.runs:
        score = base[run.task] + {"none": 0.0, "jr": 0.02, "at": -0.01}[run.config.reg]
        part = {"accuracy": score, "f1": score}
        outcomes[run.folder] = result(in_domain=part, mismatched=part)
    table = make_table(plan, "table2", outcomes)
    gains = {row["method"]: row["gain"] for row in table["rows"]}
    assert gains["none"]["ours"] == pytest.approx(0.0)
    assert gains["jr"] == {"ours": pytest.approx(2.0), "paper": -0.7}
    assert gains["at"] == {"ours": pytest.approx(-1.0), "paper": None}
    assert missing_cells(table) == {}
    text = markdown(table, "tiny")
    assert "| JR | 52.0 (88.5, −36.5) |" in text
    assert "+2.0 (−0.7) |" in text
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_without_the_base_row_there_is_no_gain() -> None:
    plan = make_plan(load_grid(), "table3", Choice(methods=("jr",), search=False))
    table = make_table(plan, "table3", {run.folder: "not run" for run in plan.runs})
    assert table["rows"][0]["gain"] == {"ours": None, "paper": 1.7}
    assert "- IMDB: not run" in markdown(table, "tiny")


def test_drops_are_ours_and_the_papers() -> None:
    plan = make_plan(load_grid(), "figure1", Choice(methods=("none",), search=False))
    outcomes: dict[Path, dict[str, Any] | str] = {}
    for run in plan.runs:
        inside, outside = {"f1": 0.8, "accuracy": 0.8}, {"f1": 0.6, "accuracy": 0.6}
        outcomes[run.folder] = result(
            in_domain=inside, imdb=outside, hans=outside, addsent=outside, addonesent=outside, bioasq=outside
        )
    figure = make_figure(plan, outcomes)
    assert "| BERT-base | 25% (39%) | 25% (27%) | 25% (25%) | 25% (31%) | 25% (5%) |" in markdown_drops(figure, "tiny")
    drops = figure["rows"][0]["drops"]
    assert len(drops) == 5
    assert all(drop["ours"] == pytest.approx(0.25) for drop in drops.values())
    assert drops["MNLI → HANS"]["paper"] == pytest.approx((84.5 - 58.4) / 84.5)
    assert drops["SQuAD v2.0 F1 → BioASQ F1"]["paper"] == pytest.approx((76.5 - 57.1) / 76.5)


def test_a_row_that_is_not_in_every_table_of_a_figure_has_empty_cells(small_grid: Path) -> None:
    text = small_grid.read_text(encoding="utf-8")
    text = text.replace(
        'tables = ["half"]\nmethods = ["none"]', 'tables = ["half", "table2"]\nmethods = ["none", "rpt"]'
    )
    text = text.replace(
        'pairs = [["reviews.accuracy", "reviews.macro_f1"]]', 'pairs = [["sst2.accuracy", "reviews.macro_f1"]]'
    )
    small_grid.write_text(text, encoding="utf-8")
    plan = make_plan(load_grid(small_grid), "drops", Choice(search=False))
    part = {"accuracy": 0.8, "macro_f1": 0.6}
    figure = make_figure(plan, {run.folder: result(in_domain=part) for run in plan.runs})
    whole, part_only = (next(iter(row["drops"].values())) for row in figure["rows"])
    assert whole["ours"] == pytest.approx(0.25)
    assert part_only == {"ours": None, "paper": None}
    assert "| RPT | – (–) |" in markdown_drops(figure, "tiny")


def test_text_of_others_is_no_markup_in_a_document(plan: Plan) -> None:
    table = make_table(plan, "table3", {run.folder: "no\x1b[31m `file`\n# a|b" for run in plan.runs})
    table["rows"][0]["label"] = "<b>|x"
    table["columns"][0]["name"] = "[a](b)|c"
    lines = markdown(table, "ti`ny").splitlines()
    assert "Ours with ti\\`ny," in lines[2]
    cells = [re.split(r"(?<!\\)\|", line) for line in lines if line.startswith("|")]
    assert len({len(row) for row in cells}) == 1
    assert cells[0][2].strip() == r"\[a\](b)\|c"
    assert cells[2][1].strip() == r"\<b\>\|x"
    assert lines[-1] == r"- \[a\](b)\|c: no \[31m \`file\` \# a\|b"


def test_names_of_files_have_dots() -> None:
    assert score_of(result(**{"reviews.csv": {"accuracy": 0.5}}), "reviews.csv.accuracy") == 0.5
    assert score_of(result(), "imdb.accuracy") is None


def test_figures_are_written_with_real_minus_signs() -> None:
    assert cell_text({"mean": None, "deviation": None, "paper": 92.4, "difference": None}) == "– (92.4)"
    assert cell_text({"mean": 90.0, "deviation": None, "paper": None, "difference": None}) == "90.0"
    assert gain_text({"ours": None, "paper": None}) == "–"
    assert signed(-0.04) == signed(0.04) == "0.0"


def test_the_readme_has_every_row_of_the_paper() -> None:
    rows = paper_rows().splitlines()
    assert len(rows) == 2 + 10
    assert len({row.count("|") for row in rows}) == 1
    assert "| `ssl-pdr reproduce TABLE --methods vat-shl` |" in next(
        row for row in rows if row.startswith("| VAT, SHL")
    )
    text = README.read_text(encoding="utf-8")
    begin, end = "<!-- paper-rows -->", "<!-- /paper-rows -->"
    assert text.count(begin) == text.count(end) == 1, f"README.md needs {begin} and {end} once each"
    assert text.partition(begin)[2].partition(end)[0].strip() == paper_rows().strip()
