"""Where a result comes from: versions, machine, and the card that travels with the model."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ssl_pdr.files import atomic_write

_PACKAGES = (
    "ssl-pdr",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "numpy",
    "scikit-learn",
    "scipy",
    "pandas",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def machine(device: torch.device) -> dict[str, Any]:
    """The machine, as far as results and timings depend on it; nothing that names it."""
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def model_card(folder: Path, result: dict[str, Any]) -> None:
    """Write the model's `README.md`: data, budget, method, scores, and how to use it."""
    config, budget, scores = result["config"], result["budget"], result["scores"]
    method = config["reg"] if result["objective"]["divergence"] is None else f"{config['reg']} with {config['div']}"
    rows = "\n".join(
        f"| {part} | {values['rows']} | {values['accuracy']:.4f} | {values['macro_f1']:.4f} | "
        f"{scores['baseline_tfidf'][part]['accuracy']:.4f} |"
        for part, values in scores.items()
        if part != "baseline_tfidf"
    )
    atomic_write(
        folder / "README.md",
        f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [ssl-pdr, semi-supervised]
---

# {_escape(result["data"]["name"])}, {_escape(method)}

A text classifier fine-tuned from `{_escape(config["model"])}` with ssl-pdr {result["versions"]["ssl-pdr"]}.

- Data: {_escape(result["data"]["name"])}, fingerprint `{result["data"]["fingerprint"][:16]}`,
  classes: {", ".join(_escape(name) for name in result["data"]["labels"])}
- Budget: {budget["labelled"]} labelled and {budget["unlabelled"]} unlabelled training rows, split `{result["split_hash"][:16]}`
- Method: cross-entropy on labelled rows, {_escape(method)}, α = {config["alpha"]}, seed {config["seed"]}

| part | rows | accuracy | macro F1 | accuracy of tf-idf + logistic regression |
|---|---|---|---|---|
{rows}

```python
from transformers import pipeline

pipeline("text-classification", model="path/to/this/folder")("Some text")
```
""",
    )


def _escape(text: str) -> str:
    """Text from data, on one line, that can form neither markup nor a table cell."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in flat)


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
