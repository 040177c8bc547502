"""`ssl-pdr inspect` on tiny runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, one_line


@pytest.fixture
def finished(run: Run, basic: list[object], tmp_path: Path) -> Path:
    assert run(*basic, "--reg", "vat", "--radius", "0.05", "--json")[0] == 0
    return tmp_path / "run"


def test_a_run_beside_another(run: Run, basic: list[object], finished: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    assert run(*basic, "--output", plain, "--reg", "none", "--json")[0] == 0
    code, out, err = run("inspect", finished, "--against", plain, "--rows", 6, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    assert (found["method"], found["rows"], found["radius"]) == ("vat shl", 6, 0.05)
    assert {p["divergence"] for p in found["second_order"]} == {"kl", "shl", "jsd"}
    limits = [p for p in found["second_order"] if p["dtype"] == "float64" and p["radius"] == 1e-6]
    assert all(abs(p["ratio"] - 1) < 1e-4 for p in limits)
    assert 0.05 in {p["radius"] for p in found["second_order"]}
    smallest = found["pinsker"][-1]
    assert smallest["kept"] == 1.0
    assert smallest["searched"] == pytest.approx(smallest["second_order"], rel=0.02)
    assert [n["model"] for n in found["norms"]] == ["before training", "after training", str(plain)]
    spectral = [n["spectral"]["median"] for n in found["norms"]]
    assert len(set(spectral)) == 3
    assert all(n["spectral"]["median"] <= n["frobenius"]["median"] * (1 + 1e-9) for n in found["norms"])
    assert 0 < found["dropout"]["share"] < 2
    assert found["plot"] == str(finished / "inspect.svg")
    assert "<svg" in (finished / "inspect.svg").read_text(encoding="utf-8")


def test_tables_and_a_run_without_r(run: Run, basic: list[object], tmp_path: Path) -> None:
    assert run(*basic, "--reg", "none", "--json")[0] == 0
    figure = tmp_path / "theory.png"
    code, out, _ = run("inspect", tmp_path / "run", "--rows", 3, "--plot", figure)
    assert code == 0
    for title in ("Eq. 7", "VAT bounds the Jacobian", "norms of the posterior's Jacobian", "this run has no R"):
        assert title in out
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_inspected_is_one_line(
    run: Run, basic: list[object], finished: Path, reviews: Path, tmp_path: Path
) -> None:
    def refused(*arguments: object) -> str:
        code, out, err = run("inspect", *arguments)
        assert (code, out) == (2, "")
        return one_line(err)

    assert "holds no run (no config.toml)" in refused(tmp_path)
    assert "expected a name that ends in .svg" in refused(finished, "--plot", tmp_path / "a.docx")
    assert "there is no folder" in refused(finished, "--plot", tmp_path / "none" / "a.svg")
    other = tmp_path / "other"
    fewer = tmp_path / "fewer.csv"
    fewer.write_text("".join(reviews.read_text(encoding="utf-8").splitlines(keepends=True)[:60]), encoding="utf-8")
    assert run(*basic, "--data", fewer, "--output", other, "--json")[0] == 0
    assert "data_fingerprint is" in refused(finished, "--against", other)
    (other / "model" / "config.json").unlink()
    assert "holds a result but no model" in refused(other)
    (other / "result.json").unlink()
    assert f"go on with: ssl-pdr train --resume {other}" in refused(other)


def test_without_matplotlib_one_line_says_what_to_install(
    run: Run, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run("inspect", finished)
    assert code == 2
    assert "plots need matplotlib; run: pip install 'ssl-pdr[embedded]'" in one_line(err)
