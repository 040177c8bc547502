"""Grid files: what they say is checked before anything is read, and wrong in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_pdr.curves.grid_file import check_keys, load_grid_file, make_grid, parse_search
from ssl_pdr.errors import ConfigError

GRID = """
name = "reviews"
budgets = [0.1, 1]
methods = ["none", "vat:kl,alpha=4"]
seeds = 2
batch = 4
ratio = 2
match = "epochs"
test = "sst2"
epochs = 1.5
jobs = 2
output = "$PLACE/curve"

[search]
radius = [0.1, 1]

[base]
data = "${PLACE}/train.csv"
eval-on = ["$PLACE/one.csv", "sst2"]
label_map = ["$1=dollar"]
lr = 1e-4
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "grid.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_is_what_its_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/data")
    values = load_grid_file(write(tmp_path, GRID))
    assert (values.pop("jobs"), values.pop("output")) == (2, "/data/curve")
    grid = make_grid(values)
    assert (grid.name, grid.budgets, grid.seeds, grid.batch, grid.ratio) == ("reviews", (0.1, 1.0), (0, 1), 4, 2)
    assert (grid.methods, grid.search) == (("none", "vat:kl,alpha=4"), {"radius": (0.1, 1.0)})
    assert (grid.match, grid.epochs, grid.steps, grid.select, grid.test) == (
        "epochs",
        1.5,
        None,
        "in_domain",
        "sst2",
    )
    assert grid.base == {
        "data": "/data/train.csv",
        "eval_on": ("/data/one.csv", "sst2"),
        "label_map": ("$1=dollar",),
        "lr": 1e-4,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget = [1.0]", "unknown key 'budget'; did you mean 'budgets'"),
        ("budgets = 0.5", "budgets must be a list of numbers, got 0.5"),
        ("budgets = [true]", "budgets must be a list of numbers"),
        ('methods = "none"', "methods must be a list of texts, got 'none'"),
        ("seeds = [0, 1]", "seeds must be a whole number from 1 to 1000000000, got [0, 1]"),
        ("seeds = true", "seeds must be a whole number from 1 to 1000000000"),
        ("steps = 0", "steps must be a whole number from 1 to 1000000000, got 0"),
        ("epochs = nan", "epochs must be a finite number above 0, got nan"),
        ("ratio = inf", "ratio must be a finite number above 0, got inf"),
        ('base = "x.csv"', "base must be a table"),
        ("[base]\nlearning_rat = 1", "base: unknown key 'learning_rat'"),
        ('[base]\nlr = "fast"', "base: lr must be a number, got 'fast'"),
        ("[search]\nalpha = 1", "search: alpha must be a list of values to try, got 1"),
        ("[search]\nalpha = []", "search: alpha must be a list of values to try, got []"),
        ("[search]\nalhpa = [1]", "search: unknown key 'alhpa'; did you mean 'alpha'"),
        ('[search]\nalpha = ["x"]', "search: alpha must be a number, got 'x'"),
        ('output = "$NOT_THERE/curve"', "the environment variable NOT_THERE is not set"),
        ('[base]\ndata = "$NOT_THERE/a.csv"', "data is '$NOT_THERE/a.csv', but the environment variable NOT_THERE"),
        ('[base]\neval_on = ["a$/b.csv"]', "write $$ for a $ that begins no variable"),
        ("budgets = [", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(ConfigError) as caught:
        load_grid_file(write(tmp_path, text))
    assert said in str(caught.value)
    assert "grid.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the grid .*: No such file"):
        load_grid_file(tmp_path / "nothing.toml")


def test_values_of_a_search_are_toml_or_texts() -> None:
    assert parse_search("alpha=1,4.5") == ("alpha", [1, 4.5])
    assert parse_search("target-grad=detach, both") == ("target-grad", ["detach", "both"])
    searched = {"search": dict([parse_search("target-grad=detach,both")])}
    assert check_keys(searched, where="options") == {"search": {"target_grad": ("detach", "both")}}
    for text in ("alpha", "alpha=", "=1"):
        with pytest.raises(ConfigError, match="--search expects key=value,value"):
            parse_search(text)
