"""Another choice, another name; and no name that says where things lie."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ssl_pdr.config import TrainConfig
from ssl_pdr.model_card import in_markdown
from ssl_pdr.paper.names import model_folder, table_file
from ssl_pdr.paper.sharing import places, without_paths
from ssl_pdr.run_folder import model_name


def test_models_of_one_name_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for owner in ("a", "b"):
        (tmp_path / owner / "bert").mkdir(parents=True)
    models = ["org1/bert", "org2/bert", f"{tmp_path}/a/bert", f"{tmp_path}/b/bert"]
    folders = [model_folder(model) for model in models]
    assert len(set(folders)) == 4
    assert folders[:2] == ["org1--bert", "org2--bert"]
    assert all(re.fullmatch(r"bert-[0-9a-f]{6}", folder) for folder in folders[2:])
    assert model_folder("a/bert") == model_folder("./a/bert") == folders[2]
    assert [model_name(model) for model in models] == ["org1/bert", "org2/bert", "bert", "bert"]
    for odd in ("n" * 5000, "~nobody-of-that-name/x", "a\0b"):
        assert model_folder(odd)
        assert model_name(odd)
    (tmp_path / "minilm-l6").mkdir()
    assert model_folder("minilm-l6") == "minilm-l6"


def test_no_two_choices_share_a_file() -> None:
    choices: list[dict[str, Any]] = [
        {},
        {"search": False},
        {"seeds": (1,)},
        {"seeds": (0, 1)},
        {"methods": ("none", "vat-shl")},
        {"methods": ("none", "vat", "shl")},
        {"columns": ("SQuAD v1.1 F1",)},
        {"columns": ("SQuAD v1.1/F1",)},
        {"limit": 2000},
        {"eval_limit": 2000},
        {"lr": 2e-5},
        {"lr": 2e-4},
        {"data": "/home/me/a/x.csv"},
        {"data": "/home/me/b/x.csv"},
        {"unlabelled": tuple(f"{n:03}.csv" for n in range(99))},
        {"unlabelled": tuple(f"{n:03}.csv" for n in range(98))},
    ]
    names = [table_file("table5", choice) for choice in choices]
    assert len(set(names)) == len(choices)
    assert all(re.fullmatch(r"[\w.+-]{1,120}", name) for name in names)
    assert not any("home" in name for name in names)
    assert names[4] == "table5_methods-none+vat-shl"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("there is no file /tmp/a/b.csv; expected one", "there is no file b.csv; expected one"),
        ("'/tmp/a/b.csv' (in ~/x/y.csv)", "'b.csv' (in y.csv)"),
        ("--resume /tmp/runs/one/ now", "--resume one/ now"),
        ("rows / steps, F1/EM, 1/2 of owner/name", "rows / steps, F1/EM, 1/2 of owner/name"),
        ("see https://example.org/a/b and ../c/d.csv", "see https://example.org/a/b and ../c/d.csv"),
        ("no /my data/x, y/z.csv here", "no z.csv here"),
    ],
)
def test_messages_lose_the_folders_of_absolute_paths(text: str, clean: str) -> None:
    assert without_paths(text, places([TrainConfig(data="/my data/x, y/z.csv", data_dir="/")])) == clean


def test_what_does_not_print_and_markup_do_not_pass() -> None:
    assert in_markdown("a\x1b[2J\u202e|`*_<#>") == r"a \[2J \|\`\*\_\<\#\>"
