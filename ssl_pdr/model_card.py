"""The card of a trained model: its data, budget, method, scores, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_pdr.choices import QUESTION_ANSWERING
from ssl_pdr.data.sources import source_name
from ssl_pdr.files import atomic_write
from ssl_pdr.printing import one_line
from ssl_pdr.run_folder import model_name

_PLACES = ("data", "data_dir", "eval", "eval_on", "unlabelled", "split", "output")
_CLASSIFY = """```python
from transformers import pipeline

pipeline("text-classification", model="path/to/this/folder")("Some text")
```"""
_ANSWER = """```sh
ssl-pdr evaluate path/to/this/folder --on questions.json
```

scores it on a file as SQuAD has them. One question, about a passage of one window:

```python
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

folder = "path/to/this/folder"
question, passage = "Who wrote it?", "It was Ada who wrote it."
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForQuestionAnswering.from_pretrained(folder)
options = {{"truncation": "only_second", "max_length": {max_length}}}
inputs = tokenizer(question, passage, return_offsets_mapping=True, return_tensors="pt", **options)
offsets = inputs.pop("offset_mapping")[0].tolist()
with torch.no_grad():
    start, end = (logits[0].tolist() for logits in model(**inputs).to_tuple()[:2])
places = [place for place, text in enumerate(inputs.sequence_ids()) if text == 1]
spans = [(start[i] + end[j], i, j) for i in places for j in places if i <= j < i + {longest}]
best, first, last = max(spans)
answer = passage[offsets[first][0] : offsets[last][1]]{no_answer}
print(answer)
```"""
_NO_ANSWER = """
cls = inputs["input_ids"][0].tolist().index(tokenizer.cls_token_id)
if start[cls] + end[cls] - best > {threshold}:  # the null threshold
    answer = ""  # the passage has none"""


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a configuration that are set, with names for the files and folders of this machine.

    Example:
        >>> without_places({"data": "/home/me/a.csv", "model": "bert-base-cased", "eval_on": ("imdb", "~/b.csv"), "limit": None})
        {'data': 'a.csv', 'model': 'bert-base-cased', 'eval_on': ['imdb', 'b.csv']}
    """
    made: dict[str, Any] = {}
    for name, value in config.items():
        if name == "model":
            made[name] = model_name(value)
        elif name in _PLACES and isinstance(value, list | tuple):
            made[name] = [source_name(one) for one in value]
        elif value is not None:
            made[name] = source_name(value) if name in _PLACES else value
    return made


def model_card(folder: Path, result: dict[str, Any]) -> None:
    """Write the model's `README.md`.

    Args:
        folder: of the model.
        result: content of `result.json`.
    """
    config, budget = result["config"], result["budget"]
    method = config["reg"] if result["objective"]["divergence"] is None else f"{config['reg']} with {config['div']}"
    asks = config["task"] == QUESTION_ANSWERING
    threshold = result.get("null_threshold")
    null = (
        ""
        if threshold is None
        else f"\n- No answer: from a margin of {threshold:.4g} on, in log-probability (`null_threshold`)"
    )
    atomic_write(
        folder / "README.md",
        f"""---
library_name: transformers
pipeline_tag: {"question-answering" if asks else "text-classification"}
tags: [ssl-pdr, semi-supervised]
---

# {in_markdown(result["data"]["name"])}, {in_markdown(method)}

A model for {config["task"].replace("-", " ")}, fine-tuned from {_code(model_name(config["model"]))} with ssl-pdr {result["versions"]["ssl-pdr"]}.

- Data: {in_markdown(result["data"]["name"])}, fingerprint `{result["data"]["fingerprint"][:16]}`,
  classes: {", ".join(in_markdown(name) for name in result["data"]["labels"])}
- Budget: {budget["labelled"]} labelled and {budget["unlabelled"]} unlabelled training rows, split `{result["split_hash"][:16]}`
- Method: cross-entropy on labelled rows, {in_markdown(method)}, α = {config["alpha"]}, seed {config["seed"]}{null}

{_table(result["scores"])}

{_answering(config, threshold) if asks else _CLASSIFY}
""",
    )


def _answering(config: Mapping[str, Any], threshold: float | None) -> str:
    """How to use a model that answers questions: transformers has no pipeline for it any more."""
    return _ANSWER.format(
        max_length=config["max_length"],
        longest=config["max_answer_length"],
        no_answer="" if threshold is None else _NO_ANSWER.format(threshold=threshold),
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
            in_markdown(part),
            str(values["rows"]),
            *(f"{values[name]:.4f}" if name in values else "" for name in metrics),
        ]
        if baseline:
            cells.append(f"{baseline[part]['accuracy']:.4f}" if part in baseline else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def in_markdown(text: str) -> str:
    r"""Text of others, on one line, as it can stand in a cell: no markup, nothing that does not print.

    Example:
        >>> in_markdown("a|b\n<c>"), in_markdown("VAT, SHL")
        ('a\\|b \\<c\\>', 'VAT, SHL')
    """
    flat = one_line(" ".join(text.split()))
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in flat)


def _code(text: str) -> str:
    """Text from data as code, in which nothing but its end can be written."""
    return f"`{one_line(' '.join(text.split())).replace('`', chr(39))}`"
