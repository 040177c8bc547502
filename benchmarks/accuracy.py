"""Accuracy of the methods on real text, by the command's own code path: `python -m benchmarks.accuracy pydocs|sst2`.

`pydocs` is the main job, half of the labels, with its controls. `sst2` is 2,000 sentences of SST-2 at 10 % and 100 % of the
labels, one seed: that everything runs on real text, not a comparison of methods; it needs $SSL_PDR_DATA. Runs that are
finished are not made again, broken ones go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, real_data, show, write
from ssl_pdr import TrainConfig, resume, train
from ssl_pdr.cli.live import LiveView, quiet
from ssl_pdr.run_folder import RunFolder

LABELS = {"none": "plain fine-tuning", "rdrop": "R-Drop, SHL", "rpt": "RPT, SHL", "vat": "VAT, SHL"}
EPOCHS_ONLY = "plain, as many labelled passes"


def pydocs_cells() -> Iterator[dict[str, Any]]:
    """The main job with its controls: as many passes over the labelled rows, or as many optimizer steps."""
    for seed in (0,):
        main_job = {"data": "pydocs-topics", "labelled_frac": 0.5, "seed": seed}
        yield {**main_job, "reg": "none"}
        for method in ("none", "rdrop", "vat"):
            yield {**main_job, "reg": method, "max_steps": 243}


def sst2_cells() -> Iterator[dict[str, Any]]:
    """SST-2, whole sentences, at two budgets: 125 steps, half of each batch unlabelled where there is a pool."""
    folder = real_data() / "sst2"
    for budget in (0.1, 1.0):
        for method in ("none", "rdrop", "rpt", "vat"):
            yield {
                "data": str(folder / "train_sentences.tsv.gz"),
                "eval": str(folder / "dev.tsv"),
                "limit": 2000,
                "max_length": 64,
                "reg": method,
                "labelled_frac": budget,
                "max_steps": 125,
                "ratio": 1.0,  # in proportion, a batch would hold one or two labelled rows at 10 %
                "lr": 1e-4,
            }


SETS = {"pydocs": pydocs_cells, "sst2": sst2_cells}


def run(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """The result of one cell: read, resumed or made."""
    place = RunFolder(folder)
    if place.finished:
        result: dict[str, Any] = json.loads(place.result.read_text(encoding="utf-8"))
        return result
    with LiveView(enabled=True) as view:
        if place.last_checkpoint() is not None:
            return resume(folder, view)
        return train(TrainConfig(**options, output=str(folder)), view, overwrite=folder.exists())


def cell(result: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run: everything but the places on this machine."""
    private = ("data", "eval", "output")
    return {**result, "config": {key: value for key, value in result["config"].items() if key not in private}}


def label(c: dict[str, Any]) -> str:
    """What a cell is called."""
    return LABELS[c["config"]["reg"]] if "max_steps" in c["config"] else EPOCHS_ONLY


def draw(cells: list[dict[str, Any]], path: Path) -> None:
    """Mean and range over seeds, in-domain and shifted, one row per method."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssl-pdr"
    import matplotlib.pyplot as plt

    methods = list(dict.fromkeys(map(label, cells)))
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
    for axis, part in zip(axes, ("in_domain", "shifted"), strict=True):
        rows = {m: [c["scores"][part]["accuracy"] for c in cells if label(c) == m] for m in methods}
        rows["tf-idf + logistic regression"] = [c["scores"]["baseline_tfidf"][part]["accuracy"] for c in cells]
        for y, (name, values) in enumerate(rows.items()):
            mean = statistics.mean(values)
            axis.barh(y, mean * 100, color="#0072b2" if name.startswith("VAT") else "#bbbbbb")
            axis.plot([v * 100 for v in values], [y] * len(values), "k.", markersize=5)
            axis.text(2, y, f"{mean:.1%}", va="center", color="white" if name.startswith("VAT") else "black")
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_title(f"{part.replace('_', '-')} accuracy, %")
        axis.invert_yaxis() if axis is axes[0] else None
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    options = parser.parse_args()
    quiet()
    cells: list[dict[str, Any]] = []
    for wanted in SETS[options.set]():
        length = "" if "max_steps" in wanted else "_by_epochs"
        name = f"{options.set}_{wanted['reg']}_{wanted['labelled_frac']:g}_seed{wanted.get('seed', 0)}{length}"
        cells.append(cell(run(options.runs / name, wanted)))
        path = write(options.set, {"cells": cells})
        if options.set == "pydocs":
            draw(cells, RESULTS / "pydocs.svg")
    rows = []
    for c in cells:
        parts = [part for part in ("in_domain", "shifted") if part in c["scores"]]
        scores = [f"{c['scores'][part]['accuracy']:.1%}" for part in parts]
        baseline = [f"{c['scores']['baseline_tfidf'][part]['accuracy']:.1%}" for part in parts]
        budget = f"{c['config']['labelled_frac']:.0%}"
        rows.append([budget, label(c), str(c["seeds"]["seed"]), " / ".join(scores), " / ".join(baseline)])
    show(f"accuracy on {options.set}", ["labels", "method", "seed", "in-domain / shifted", "tf-idf"], rows)
    print(path)


if __name__ == "__main__":
    main()
