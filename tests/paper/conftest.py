"""A grid of small real runs: a tiny model folder and small files, as a user with a small machine would bring them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import model_folder, reviews, run

__all__ = ["model_folder", "reviews", "run"]


@pytest.fixture
def small_grid(model_folder: Path, reviews: Path, tmp_path: Path) -> Path:
    """Two methods and one task, with a search over two values of α for one of them."""
    path = tmp_path / "small.toml"
    path.write_text(
        f"""
[base]
model = "{model_folder}"
max_length = 12
epochs = 1

[tasks.reviews]
rows = 64
select = "in_domain.accuracy"
train = {{ data = "{reviews}", lr = 1e-3 }}

[methods.none]
label = "plain"
train = {{ reg = "none" }}

[methods.rpt]
label = "RPT"
cost = 2
train = {{ reg = "rpt", div = "kl" }}
search = {{ alpha = [1, 2.0] }}

[tables.half]
title = "half of the labels"
train = {{ labelled_frac = 0.5 }}
methods = ["none", "rpt"]
gain = ["reviews.accuracy"]
columns = [
    {{ key = "reviews.accuracy", name = "Reviews", task = "reviews", score = "in_domain.accuracy" }},
    {{ key = "reviews.macro_f1", name = "Reviews F1", task = "reviews", score = "in_domain.macro_f1" }},
]

[tables.table2]
title = "all labels"
methods = ["none"]
columns = [{{ key = "sst2.accuracy", name = "Reviews", task = "reviews", score = "in_domain.accuracy" }}]

[figures.drops]
title = "drop"
tables = ["half"]
methods = ["none"]
pairs = [["reviews.accuracy", "reviews.macro_f1"]]
""",
        encoding="utf-8",
    )
    return path
