"""What may be chosen where the choice is closed, said once: for the rooms that do it, and for those that only read the words."""

from __future__ import annotations

from typing import Literal, get_args

TASK_NAMES = CLASSIFICATION, QUESTION_ANSWERING = ("classification", "question-answering")
# The data sets of the paper; `ssl_pdr.data.catalogue` says where they are.
NAMED_SETS = ("sst2", "imdb", "mnli", "hans", "squad", "squad_v2", "addsent", "addonesent", "bioasq")
EMBEDDED_ENCODER = "minilm-l6"

# Data: how labels are dealt out, what of a text file is a row, and what is done with one that is too long.
STRATEGIES = ("stratified", "random", "group")
DOCUMENTS = ("line", "paragraph")
LONG_DOCUMENTS = ("cut", "windows")

# The perturbation.
SITES = ("sum", "output", "word")
RADIUS_UNITS = ("absolute", "token_norm")
NORMS = ("token", "sequence")
SEARCHES = ("exact", "power")

# The regularizer.
Dropout = Literal["shared", "independent", "off"]
TargetGrad = Literal["auto", "detach", "both"]
DROPOUTS: tuple[Dropout, ...] = get_args(Dropout)
TARGET_GRADS: tuple[TargetGrad, ...] = get_args(TargetGrad)
REGULARIZERS_WITHOUT_DIVERGENCE = ("none", "jr", "wjr", "at")

# The run.
PRECISIONS = ("float32", "bf16", "fp16")
REPORTERS = ("tensorboard", "mlflow", "wandb")
COLLAPSING = ("argmax", "sum")
# What the options of a configuration may be set to, presets apart.
OF_OPTIONS: dict[str, tuple[str, ...]] = {
    "radius_unit": RADIUS_UNITS,
    "site": SITES,
    "dropout": DROPOUTS,
    "target_grad": TARGET_GRADS,
    "search": SEARCHES,
    "norm": NORMS,
    "precision": PRECISIONS,
    "split_strategy": STRATEGIES,
    "split_documents": DOCUMENTS,
    "long_documents": LONG_DOCUMENTS,
    "task": TASK_NAMES,
    "collapse": COLLAPSING,
}

TFIDF = "tfidf"  # among the methods of a curve, the baseline
