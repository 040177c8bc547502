"""The ablation: `python -m benchmarks.fidelity sst2|pydocs`; finished cells are kept, `--show` only prints what is there."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.fidelity.questions import BASE, CONTROLS, QUESTIONS, methods
from benchmarks.report import real_data, show
from ssl_pdr.cli.curve_view import CurveView
from ssl_pdr.cli.live import libraries
from ssl_pdr.config import make_config
from ssl_pdr.curves.grid import Grid, Method
from ssl_pdr.curves.store import CurveFolder, read_curve
from ssl_pdr.recipe import parse_setting

RESULTS = Path(__file__).parent / "results"
STEPS = 150
BATCH = 8
BUDGET = 0.1


def base(data: str) -> dict[str, Any]:
    """What all cells of a data set share."""
    fixed = dict(parse_setting(f"{key}={value}") for key, value in BASE.items())
    if data == "pydocs":
        return {**fixed, "data": "pydocs-topics"}
    folder = str(real_data())
    return {
        **fixed,
        "data": f"{folder}/sst2/train_sentences.tsv.gz",
        "data_dir": folder,
        "limit": 2000,
        "label_map": ("0=negative", "1=positive"),
        "eval_on": ("sst2",),
        "eval_limit": 1000,
        "lr": 1e-4,
    }


def grid(
    data: str, questions: tuple[str, ...], seeds: int, steps: int = STEPS, batch: int = BATCH, lr: float | None = None
) -> Grid:
    """The ablation's grid: a tenth of the labels."""
    shared = {**base(data), **({} if lr is None else {"lr": lr})}
    usual = resolved_lr(shared)
    # The rate that all have anyway: the same cells under two names would be refused.
    wanted = tuple(name for name in methods(questions) if Method.parse(name).keys.get("lr") != usual)
    return Grid(base=shared, budgets=(BUDGET,), methods=wanted, seeds=tuple(range(seeds)), batch=batch, steps=steps)


def resolved_lr(shared: Mapping[str, Any]) -> float | None:
    """The learning rate that a base comes to."""
    return make_config(shared).resolved().lr


def place(data: str, steps: int, batch: int, lr: float | None) -> str:
    """The name of a setting's folder: whatever differs from the usual."""
    parts = [data]
    parts += [f"{steps}_steps"] if steps != STEPS else []
    parts += [f"batch_{batch}"] if batch != BATCH else []
    parts += [f"lr_{lr:g}"] if lr is not None else []
    return "_".join(parts)


def table(cells: Iterable[Mapping[str, Any]], wanted: Iterable[str], part: str = "in_domain") -> list[list[str]]:
    """A row for each method: its mean score, and its paired differences to the controls, which come first."""
    scores: dict[str, dict[str, dict[int, float]]] = {"accuracy": {}, "macro_f1": {}}
    for cell in cells:
        if cell["status"] == "finished":
            for metric, found in scores.items():
                found.setdefault(cell["method"], {})[cell["seed"]] = 100 * cell["scores"][part][metric]
    rows = []
    for method in dict.fromkeys((*CONTROLS, *wanted)):
        own = scores["accuracy"].get(method, {})
        means = [_mean(found.get(method, {})) for found in scores.values()]
        differences = [_paired(own, scores["accuracy"].get(control, {})) for control in CONTROLS]
        by_seed = " ".join(f"{own[seed]:.1f}" if seed in own else "–" for seed in range(max(own, default=-1) + 1))
        rows.append([method, by_seed, *means, *differences])
    return rows


def _mean(scores: Mapping[int, float]) -> str:
    return f"{statistics.mean(scores.values()):.1f}" if scores else "–"


def _paired(own: Mapping[int, float], other: Mapping[int, float]) -> str:
    found = [own[seed] - other[seed] for seed in own if seed in other]
    if not found:
        return "–"
    error = f" ± {statistics.stdev(found) / len(found) ** 0.5:.1f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):+.1f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", choices=("sst2", "pydocs"))
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", default=list(QUESTIONS), help="questions")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=BATCH, help="labelled rows of a step, and as many unlabelled ones")
    parser.add_argument(
        "--lr", type=float, help="learning rate; by default 1e-4 for sst2, the encoder's own for pydocs"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--part", help="set that is shown; by default the held-out rows", default="in_domain")
    parser.add_argument("--show", action="store_true", help="print what is there")
    parser.add_argument("--beside", type=Path, help="folder of a curve of the same setting, whose controls count, too")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    setting = (options.steps, options.batch, options.lr)
    folder = options.output / place(options.data, *setting)
    if not options.show:
        with libraries(verbose=False):
            from ssl_pdr.curves.engine import make_curve, make_plan
            from ssl_pdr.curves.local import LocalPool

        plan = make_plan(grid(options.data, tuple(options.only), options.seeds, *setting))
        with CurveView(plan.grid, options.jobs, enabled=True) as view:
            make_curve(plan, folder, LocalPool(options.jobs), view)
    if not CurveFolder(folder).grid.is_file():
        sys.exit(f"nothing was measured yet in {folder}; leave --show out")
    _, cells, _ = read_curve(folder)
    if options.beside is not None:
        cells += [
            cell for cell in read_curve(options.beside)[1] if cell["budget"] == BUDGET and cell["method"] in CONTROLS
        ]
    wanted = {question: QUESTIONS[question] for question in options.only}
    if len(options.only) == len(QUESTIONS):  # also what was tried, did not pay and was taken out
        wanted["no longer there"] = tuple(sorted({cell["method"] for cell in cells} - set(methods())))
    columns = ["method", "by seed", "accuracy, %", "macro F1, %", *(f"to {control}" for control in CONTROLS)]
    for question, those in wanted.items():
        show(f"{folder.name}, {options.part}, {question}", columns, table(cells, those, options.part))


if __name__ == "__main__":
    main()
