"""The card of a trained model: its data, budget, method, scores, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ssl_pdr.files import atomic_write

_PIPELINES = {
    "classification": ("text-classification", '("Some text")'),
    "question-answering": ("question-answering", '(question="Who?", context="It was Ada.")'),
}


def model_card(folder: Path, result: dict[str, Any]) -> None:
    """Write the model's `README.md`.

    Args:
        folder: of the model.
        result: content of `result.json`.
    """
    config, budget = result["config"], result["budget"]
    method = config["reg"] if result["objective"]["divergence"] is None else f"{config['reg']} with {config['div']}"
    tag, call = _PIPELINES[config["task"]]
    atomic_write(
        folder / "README.md",
        f"""---
library_name: transformers
pipeline_tag: {tag}
tags: [ssl-pdr, semi-supervised]
---

# {_escape(result["data"]["name"])}, {_escape(method)}

A model for {config["task"].replace("-", " ")}, fine-tuned from `{_escape(config["model"])}` with ssl-pdr {result["versions"]["ssl-pdr"]}.

- Data: {_escape(result["data"]["name"])}, fingerprint `{result["data"]["fingerprint"][:16]}`,
  classes: {", ".join(_escape(name) for name in result["data"]["labels"])}
- Budget: {budget["labelled"]} labelled and {budget["unlabelled"]} unlabelled training rows, split `{result["split_hash"][:16]}`
- Method: cross-entropy on labelled rows, {_escape(method)}, α = {config["alpha"]}, seed {config["seed"]}

{_table(result["scores"])}

```python
from transformers import pipeline

pipeline("{tag}", model="path/to/this/folder"){call}
```
""",
    )


def _table(scores: dict[str, Any]) -> str:
    """Scores in [0, 1], one line a part."""
    parts = {part: values for part, values in scores.items() if part != "baseline_tfidf"}
    baseline = scores.get("baseline_tfidf", {})
    metrics = [
        name for name in ("accuracy", "macro_f1", "f1", "exact") if any(name in values for values in parts.values())
    ]
    columns = ["part", "rows", *metrics, *(["accuracy of tf-idf + logistic regression"] if baseline else [])]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for part, values in parts.items():
        cells = [
            _escape(part),
            str(values["rows"]),
            *(f"{values[name]:.4f}" if name in values else "" for name in metrics),
        ]
        if baseline:
            cells.append(f"{baseline[part]['accuracy']:.4f}" if part in baseline else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Text from data, on one line, that can form neither markup nor a table cell."""
    flat = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in flat)
