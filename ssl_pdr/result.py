"""What a run found, with all that it depends on: the content of `result.json`."""

from __future__ import annotations

from typing import Any

from ssl_pdr.data.tables import Table
from ssl_pdr.evaluation import Outcome, relative_drop
from ssl_pdr.loading import Loaded
from ssl_pdr.methods import has_effect
from ssl_pdr.provenance import machine, versions
from ssl_pdr.trainer import PDRTrainer

_LOGGED = (
    "loss",
    "ce",
    "r",
    "r_zero_noise",
    "noise_norm",
    "noise_kept",
    "r_above_rounding",
    "r_row_weight",
    "labelled_share",
)


def result_of(loaded: Loaded, found: Outcome, trainer: PDRTrainer) -> dict[str, Any]:
    """The content of `result.json`, timing apart.

    Args:
        loaded: the run's configuration, data and model.
        found: its scores.
        trainer: that has trained.
    """
    config, materials = loaded.config, loaded.materials
    corpus, split = materials.corpus, materials.split
    scores: dict[str, Any] = dict(found.scores)
    if found.baseline:
        scores["baseline_tfidf"] = found.baseline
    others = {name: part for name, part in found.scores.items() if name != "in_domain"}
    drops = {name: relative_drop(found.scores["in_domain"], part) for name, part in others.items()}
    newest_first = [entry for entry in reversed(trainer.state.log_history) if "ce" in entry]
    return {
        "scores": scores,
        "relative_drop": drops,
        "null_threshold": found.task.settings().get("null_threshold"),
        "budget": {
            "labelled": len(split.labelled),
            "unlabelled": len(split.unlabelled),
            "fraction": split.fraction,
            "labelled_per_class": {name: split.class_counts[name][0] for name in corpus.label_names},
        },
        "objective": {
            "regularizer": config.reg,
            "divergence": config.div if has_effect("div", config.reg) else None,
            "alpha": config.alpha,
            # Some are measured at every 50th step only: those are of an earlier one.
            **{name: next((entry[name] for entry in newest_first if name in entry), None) for name in _LOGGED},
        },
        "seeds": {"seed": config.seed},
        "warnings": [*materials.warnings, *loaded.concerns],
        "data": {
            "name": corpus.name,
            "fingerprint": materials.fingerprint,
            "train_rows": len(corpus.train),
            "evaluation_rows": {one.name: len(one.rows) for one in loaded.sets},
            "evaluation_fingerprints": {one.name: one.digest for one in loaded.sets if one.digest},
            "labels": corpus.label_names,
            "unlabelled": [
                {"name": c.name, "rows": len(c.rows) if isinstance(c.rows, Table) else None, "weight": c.weight}
                for c in materials.corpora
            ],
            "notes": dict(materials.notes),
            "warnings": list(materials.warnings),
        },
        "split_hash": split.hash,
        "versions": {**versions(), **corpus.versions},
        "machine": {**machine(trainer.args.device), "processes": trainer.args.world_size},
        "config": {name: value for name, value in vars(config).items() if value is not None},
    }
