"""The folder that every case begins with: small files that are all right, a tiny model, runs and a curve."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

TRAIN = ("train", "--model", "model", "--max-steps", "1", "--max-length", "12", "--batch-size", "4", "--reg", "none")

GRID = """
name = "small"
budgets = [0.25, 1.0]
methods = ["none", "rdrop:kl"]
seeds = 1
batch = 4
steps = 2
output = "out"

[base]
data = "reviews.csv"
model = "model"
max_length = 12

[search]
alpha = [1, 2.0]
"""

PAPER = """
[base]
model = "model"
max_length = 12
epochs = 1

[tasks.reviews]
rows = 64
select = "in_domain.accuracy"
train = { data = "reviews.csv", lr = 1e-3 }

[methods.none]
label = "plain"
train = { reg = "none" }

[methods.rpt]
label = "RPT"
cost = 2
train = { reg = "rpt", div = "kl" }
search = { alpha = [1, 2.0] }

[tables.half]
title = "half of the labels"
train = { labelled_frac = 0.5 }
methods = ["none", "rpt"]
gain = ["reviews.accuracy"]
columns = [{ key = "reviews.accuracy", name = "Reviews", task = "reviews", score = "in_domain.accuracy" },
    { key = "reviews.macro_f1", name = "Reviews F1", task = "reviews", score = "in_domain.macro_f1" }]

[figures.drops]
title = "drop"
tables = ["half"]
methods = ["none"]
pairs = [["reviews.accuracy", "reviews.macro_f1"]]
"""

RECIPE = """
data = "reviews.csv"
model = "model"
max_steps = 1
max_length = 12
batch_size = 4
eval_on = ["dev.csv"]
labelled_frac = 0.5
reg = "rpt"
alpha = 2
skip_bad_rows = true
"""


def rows(number: int, first: int = 0) -> list[tuple[str, str]]:
    """Texts with two classes; no text occurs twice."""
    from tests.cli.conftest import WORDS

    return [
        (f"the {WORDS[8 + i % 4]} was {WORDS[i % 8]} {WORDS[i % 7]} {i}", "pos" if i % 8 < 4 else "neg")
        for i in range(first, first + number)
    ]


def table(number: int = 40, first: int = 0) -> str:
    """Such rows as csv."""
    return "".join(f"{text},{label}\n" for text, label in [("text", "label"), *rows(number, first)])


def make_world(folder: Path) -> None:
    """Write all of it, by the tests' own helpers and by the command line."""
    from tests.cli.conftest import write_squad
    from tests.report.curve_folder import write_curve

    (folder / "reviews.csv").write_text(table(), encoding="utf-8")
    (folder / "dev.csv").write_text(table(12, 40), encoding="utf-8")
    (folder / "more.txt").write_text("".join(f"{text}\n" for text, _ in rows(12, 60)), encoding="utf-8")
    objects = [{"text": text, "label": label} for text, label in rows(40)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in objects), encoding="utf-8")
    (folder / "rows.json").write_text(json.dumps(objects), encoding="utf-8")
    write_squad(folder / "squad.json", range(4), version="v2.0")
    for name, text in (("grid.toml", GRID), ("paper.toml", PAPER), ("recipe.toml", RECIPE)):
        (folder / name).write_text(text, encoding="utf-8")
    _models(folder)
    write_curve(folder / "curve", budgets=(0.1, 1.0), methods=("none", "vat:kl"), seeds=2, parts=("in_domain", "sst2"))
    _run("split", "--data", "reviews.csv", "--labelled-frac", "0.5", "--output", "split.json")
    _run(*TRAIN, "--data", "reviews.csv", "--eval-on", "dev.csv", "--output", "run")
    _run(*TRAIN, "--data", "reviews.csv", "--save-steps", "1", "--output", "half")
    (folder / "half" / "result.json").unlink()
    shutil.rmtree(folder / "half" / "model")


def _models(folder: Path) -> None:
    """To classify and to answer questions, both untrained."""
    import torch
    from transformers import BertForQuestionAnswering, BertTokenizerFast

    from tests.cli.conftest import WORDS
    from tests.conftest import tiny_bert, tiny_config

    vocab = folder / "vocab.txt"
    vocab.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab=str(vocab))
    vocab.unlink()
    torch.manual_seed(1)
    models = {"model": tiny_bert(num_labels=2), "answers": BertForQuestionAnswering(tiny_config(0.1))}
    for name, model in models.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def _run(*argv: str) -> None:
    from ssl_pdr.cli import main

    try:
        main(argv)
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"ssl-pdr {' '.join(argv)}: exit code {ended.code}") from None
