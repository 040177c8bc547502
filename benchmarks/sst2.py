"""SST-2 from 10 % and 100 % of 2,000 labels, by the command's own code path: `python -m benchmarks.sst2`.

Needs the data sets under $SSL_PDR_DATA. Runs that are finished are not run again; `benchmarks/results/sst2.json` says what
came out, one seed each: a check that everything runs on real text, not a comparison of methods.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import show, write
from ssl_pdr import TrainConfig, resume, train
from ssl_pdr.cli.live import LiveView, quiet
from ssl_pdr.run_folder import RunFolder

METHODS = ("none", "rdrop", "rpt", "vat")
BUDGETS = (0.1, 1.0)


def run(folder: Path, data: Path, **options: Any) -> dict[str, Any]:
    """The result of one run: read, resumed or made."""
    place = RunFolder(folder)
    if place.finished:
        result: dict[str, Any] = json.loads(place.result.read_text(encoding="utf-8"))
        return result
    with LiveView(enabled=True) as view:
        if place.last_checkpoint() is not None:
            return resume(folder, view)
        config = TrainConfig(
            data=str(data / "train_sentences.tsv.gz"),
            eval=str(data / "dev.tsv"),
            limit=2000,
            max_length=64,
            output=str(folder),
            **options,
        )
        return train(config, view, overwrite=folder.exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/sst2"), help="folder of the runs")
    parser.add_argument("--steps", type=int, default=125, help="optimizer steps of every run")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    options = parser.parse_args()
    if "SSL_PDR_DATA" not in os.environ:
        sys.exit("set SSL_PDR_DATA to the folder that holds sst2/train_sentences.tsv.gz and sst2/dev.tsv")
    quiet(verbose=False)
    data = Path(os.environ["SSL_PDR_DATA"]) / "sst2"
    cells = []
    for budget in BUDGETS:
        for method in options.methods:
            name = f"{method}_{budget:g}"
            result = run(options.runs / name, data, reg=method, labelled_frac=budget, max_steps=options.steps, lr=1e-4)
            cells.append(
                {
                    "method": method,
                    "labelled_frac": budget,
                    "seed": result["seeds"]["seed"],
                    "accuracy": result["scores"]["in_domain"]["accuracy"],
                    "baseline_tfidf": result["scores"]["baseline_tfidf"]["in_domain"]["accuracy"],
                    "timing": result["timing"],
                    "split_hash": result["split_hash"],
                    "data_fingerprint": result["data"]["fingerprint"],
                    "config": {k: v for k, v in result["config"].items() if k not in ("data", "eval", "output")},
                }
            )
            path = write("sst2", {"cells": cells})
    rows = [
        [f"{c['labelled_frac']:.0%}", c["method"], f"{c['accuracy']:.1%}", f"{c['baseline_tfidf']:.1%}", str(c["seed"])]
        for c in cells
    ]
    show("SST-2 dev accuracy", ["labels", "method", "accuracy", "tf-idf", "seed"], rows)
    print(path)


if __name__ == "__main__":
    main()
