"""A curve on disk as `ssl-pdr curve` leaves one, with scores that are made up: to be shown, not to be believed."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

METHODS = ("none", "rdrop:kl", "vat:kl", "vat:shl")
HOSTILE = "</script><img src=x onerror=document.title='broken'>\"'&\x1b[31m$x"
_SKILL = {"none": 0.0, "rdrop:kl": 0.01, "vat:kl": 0.035, "vat:shl": 0.03}
_SHIFT = {"in_domain": 0.0, "sst2": -0.012, "imdb": -0.06}


def write_curve(
    folder: Path,
    *,
    budgets: Sequence[float] = (0.1, 0.5, 1.0),
    methods: Sequence[str] = METHODS,
    seeds: int = 5,
    parts: Sequence[str] = ("in_domain", "sst2", "imdb"),
    name: str = "SST-2",
    search: Mapping[str, Sequence[float]] | None = None,
    failed: Mapping[tuple[str, float, int], str] | None = None,
    missing: Sequence[tuple[str, float, int]] = (),
    words: str = "words",
) -> Path:
    """`curve.json` and a cell for each run; `failed` and `missing` are (method, budget, seed), `words` stand wherever a run has some."""
    grid = {
        "format": 1,
        "name": name,
        "budgets": list(budgets),
        "methods": list(methods),
        "seeds": list(range(seeds)),
        "search": {key: list(values) for key, values in (search or {}).items()},
        "select": parts[0],
        "match": "steps",
        "batch": 8,
        "ratio": 1.0,
        "steps": 200,
        "config": {"data": words, "eval_on": list(parts[1:]), "lr": 1e-4, "max_length": 128},
        "data_fingerprint": "3e2bbe6b7771bd5f",
        "model": words,
    }
    (folder / "cells").mkdir(parents=True)
    (folder / "curve.json").write_text(json.dumps(grid), encoding="utf-8")
    rng = random.Random(0)
    number = 0
    for seed in range(seeds):
        for budget in budgets:
            luck = rng.gauss(0, 0.012)
            for method in methods:
                for setting in _settings(method, search or {}):
                    number += 1
                    cell = _place(number, budget, method, setting, seed)
                    if (method, budget, seed) in missing:
                        continue
                    if reason := (failed or {}).get((method, budget, seed)):
                        cell |= {"status": "failed", "reason": reason}
                    else:
                        cell |= _result(cell, parts, luck, rng, words)
                    path = folder / "cells" / f"{cell['key']}.json"
                    path.write_text(json.dumps(cell), encoding="utf-8")
    return folder


def _settings(method: str, search: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    if method == "none" or not search:
        return [{}]
    ((key, values),) = search.items()
    return [{key: value} for value in values]


def _place(number: int, budget: float, method: str, setting: dict[str, float], seed: int) -> dict[str, Any]:
    key = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}"
    return {"format": 1, "key": key, "budget": budget, "method": method, "setting": setting, "seed": seed}


def _result(cell: dict[str, Any], parts: Sequence[str], luck: float, rng: random.Random, words: str) -> dict[str, Any]:
    method, budget = cell["method"], cell["budget"]
    few = -math.log10(budget)  # decades below all labels
    skill = 0.815 - 0.09 * few + _SKILL.get(method, 0.005) * few + luck - 0.002 * sum(cell["setting"].values())
    scores = {}
    for part in parts:
        score = min(max(skill + _SHIFT.get(part, -0.1) + rng.gauss(0, 0.007), 0), 1)
        scores[part] = {"accuracy": round(score, 4), "macro_f1": round(score - 0.01, 4), "rows": 1000}
    made = {
        "status": "finished",
        "scores": scores,
        "labelled": round(2000 * budget),
        "unlabelled": 2000 - round(2000 * budget),
        "steps": 200,
        "rows_per_step": 8 if method == "none" else 16,
        "split_hash": f"{rng.getrandbits(256):064x}",
        "log": _log(method, rng),
        "timing": {"load_seconds": 0.3, "train_seconds": 42.5, "evaluate_seconds": 10.1, "steps": 200},
        "config": {"reg": method.partition(":")[0], "alpha": 1.0, "lr": 1e-4, "seed": cell["seed"]},
        "data": {
            "name": words,
            "fingerprint": "3e2bbe6b7771bd5f",
            "train_rows": 2000,
            "labels": [words],
            "warnings": [words],
        },
        "versions": {"python": "3.11.7", "ssl-pdr": "0.1.0", "torch": words},
        "machine": {"system": "Linux", "processor": words, "cpus": 2, "threads": 1, "device": "cpu"},
    }
    if method == "none":
        made["baseline"] = {
            part: {"accuracy": round(0.64 - 0.06 * few + _SHIFT.get(part, -0.1), 4), "rows": 1000} for part in parts
        }
    return made


def _log(method: str, rng: random.Random) -> dict[str, list[float | None]]:
    steps = list(range(4, 201, 4))
    ce = [round(0.69 * math.exp(-step / 110) + 0.03 + abs(rng.gauss(0, 0.02)), 4) for step in steps]
    r = [0.0 if method == "none" else round(4e-4 * math.exp(step / 55) * rng.uniform(0.8, 1.3), 6) for step in steps]
    searched = method.startswith(("vat", "rpt"))
    zero = [round(r[i] * rng.uniform(0.25, 0.6), 7) if searched and i % 8 == 0 else None for i in range(len(steps))]
    loss = [a + b for a, b in zip(ce, r, strict=True)]
    return {"step": steps, "loss": loss, "ce": ce, "r": r, "r_zero_noise": zero, "accuracy": [0.5] * len(steps)}
