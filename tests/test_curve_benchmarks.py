"""The grids of the benchmarks can be run as they are, and what was measured can be read and says what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fidelity import questions
from benchmarks.fidelity.__main__ import grid, table
from ssl_pdr.curves.grid import Method
from ssl_pdr.curves.grid_file import load_grid_file, make_grid
from ssl_pdr.curves.store import read_curve
from ssl_pdr.divergences import get_divergence

ROOT = Path(__file__).parents[1] / "benchmarks"
GRIDS = sorted((ROOT / "label_curve").glob("*.toml"))
MEASURED = sorted(path.parent for path in ROOT.glob("*/results/**/curve.json"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.name)
def test_every_grid_is_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_PDR_DATA", "/data")
    values = load_grid_file(path)
    for key in ("output", "jobs"):
        values.pop(key, None)
    grid = make_grid(values)
    assert grid.methods[0] == "none"
    assert path.read_text(encoding="utf-8").count("# Hardware") == 1
    assert {"small.toml", "sst2.toml", "pydocs.toml", "mnli.toml"} == {grid.name for grid in GRIDS}


@pytest.mark.parametrize("data", ["sst2", "pydocs"])
def test_every_method_of_the_ablation_can_be_built(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_PDR_DATA", "/data")
    made = grid(data, tuple(questions.QUESTIONS), seeds=1)
    assert len(made.methods) == len(set(made.methods)) > 70


def test_a_method_is_named_by_what_differs() -> None:
    """A setting that the base has would be the same cell under two names, which a grid refuses."""
    for name in questions.methods():
        keys = dict(Method.parse(name).keys)
        if "radius_unit" not in keys:  # a number means another radius then
            assert all(str(value) != questions.BASE.get(key) for key, value in keys.items()), name


def test_matched_weights_have_the_curvature_of_kl() -> None:
    for method in questions.QUESTIONS["divergence, matched weight"]:
        keys = Method.parse(method).keys
        curvature = get_divergence(keys["div"]).curvature
        assert curvature is not None
        assert keys["alpha"] * curvature == pytest.approx(1)


def test_the_table_of_a_question_pairs_seeds() -> None:
    def cell(method: str, seed: int, accuracy: float) -> dict[str, object]:
        scores = {"in_domain": {"accuracy": accuracy, "macro_f1": accuracy / 2, "rows": 9}}
        return {"status": "finished", "method": method, "seed": seed, "scores": scores}

    cells = [cell("none", 0, 0.5), cell("none", 1, 0.7), cell("vat:kl", 0, 0.6), cell("vat:kl", 1, 0.7)]
    cells += [cell("vat:kl", 2, 0.9), {"status": "failed", "method": "none", "seed": 2}]
    rows = {row[0]: row[1:] for row in table(cells, questions.QUESTIONS["site"])}
    assert rows["vat:kl"] == ["60.0 70.0 90.0", "73.3", "36.7", "+5.0 ± 5.0", "–"]
    assert rows["rpt:kl"] == ["", "–", "–", "–", "–"]


@pytest.mark.parametrize("folder", MEASURED, ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_what_was_measured_is_whole_and_of_one_kind(folder: Path) -> None:
    grid, cells, warnings = read_curve(folder)
    assert warnings == []
    assert cells
    for cell in cells:
        assert cell["data"]["fingerprint"] == grid["data_fingerprint"] or cell["status"] == "failed"
        assert "/" not in str(cell["config"]["data"])
    devices = {(cell["seed"], cell["machine"]["device"]) for cell in cells if cell["status"] == "finished"}
    assert len(devices) == len({seed for seed, _ in devices}), "runs that are paired are of one machine"
