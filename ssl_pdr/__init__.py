"""Posterior differential regularization with f-divergences for Hugging Face text models.

Public names are imported on first use, so that `import ssl_pdr` and `ssl-pdr --help` need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from ssl_pdr.classifier import PDRClassifier
    from ssl_pdr.config import TrainConfig
    from ssl_pdr.data.collate import Mixture
    from ssl_pdr.data.corpus import load_corpus
    from ssl_pdr.data.mixing import MixedBatchSampler, ShardedBatchSampler
    from ssl_pdr.data.questions import load_questions
    from ssl_pdr.data.readers import Reading
    from ssl_pdr.data.splits import LabelSplit, split_labels
    from ssl_pdr.data.streams import Stream
    from ssl_pdr.divergences import (
        Divergence,
        get_divergence,
        list_divergences,
        register_divergence,
        unregister_divergence,
    )
    from ssl_pdr.errors import PDRError
    from ssl_pdr.experiment import resume, train
    from ssl_pdr.objective import Counts, LossParts, Objective
    from ssl_pdr.regularizers import (
        RPT,
        VAT,
        AdversarialTraining,
        JacobianRegularizer,
        RDrop,
        Regularizer,
        WeightedJacobianRegularizer,
        get_regularizer,
        list_regularizers,
        register_regularizer,
    )
    from ssl_pdr.sites import available_sites
    from ssl_pdr.trainer import PDRTrainer

_HOMES = {
    "ssl_pdr.classifier": ("PDRClassifier",),
    "ssl_pdr.config": ("TrainConfig",),
    "ssl_pdr.data.collate": ("Mixture",),
    "ssl_pdr.data.corpus": ("load_corpus",),
    "ssl_pdr.data.mixing": ("MixedBatchSampler", "ShardedBatchSampler"),
    "ssl_pdr.data.questions": ("load_questions",),
    "ssl_pdr.data.readers": ("Reading",),
    "ssl_pdr.data.splits": ("LabelSplit", "split_labels"),
    "ssl_pdr.data.streams": ("Stream",),
    "ssl_pdr.divergences": (
        "Divergence",
        "get_divergence",
        "list_divergences",
        "register_divergence",
        "unregister_divergence",
    ),
    "ssl_pdr.errors": ("PDRError",),
    "ssl_pdr.experiment": ("resume", "train"),
    "ssl_pdr.objective": ("Counts", "LossParts", "Objective"),
    "ssl_pdr.regularizers": (
        "RPT",
        "VAT",
        "AdversarialTraining",
        "JacobianRegularizer",
        "RDrop",
        "Regularizer",
        "WeightedJacobianRegularizer",
        "get_regularizer",
        "list_regularizers",
        "register_regularizer",
    ),
    "ssl_pdr.sites": ("available_sites",),
    "ssl_pdr.trainer": ("PDRTrainer",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "RPT",
    "VAT",
    "AdversarialTraining",
    "Counts",
    "Divergence",
    "JacobianRegularizer",
    "LabelSplit",
    "LossParts",
    "MixedBatchSampler",
    "Mixture",
    "Objective",
    "PDRClassifier",
    "PDRError",
    "PDRTrainer",
    "RDrop",
    "Reading",
    "Regularizer",
    "ShardedBatchSampler",
    "Stream",
    "TrainConfig",
    "WeightedJacobianRegularizer",
    "available_sites",
    "get_divergence",
    "get_regularizer",
    "list_divergences",
    "list_regularizers",
    "load_corpus",
    "load_questions",
    "register_divergence",
    "register_regularizer",
    "resume",
    "split_labels",
    "train",
    "unregister_divergence",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
