"""The linter refuses calls that could run what is in a file or a name, wherever our own code is."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BAD = {
    "exec(text)": "S102",
    "pickle.loads(text)": "S301",
    "marshal.loads(text)": "S302",
    "shelve.open(text)": "S301",
    "eval(text)": "S307",
    "yaml.load(text)": "S506",
    "subprocess.run(text, shell=True)": "S602",
    "os.system(text)": "S605",
}


@pytest.mark.skipif(
    importlib.util.find_spec("ruff") is None or not (ROOT / "pyproject.toml").is_file(),
    reason="needs ruff and a checkout",
)
@pytest.mark.parametrize("place", ["ssl_pdr/data/new.py", "benchmarks/new.py", "examples/new.py"])
def test_dangerous_calls_are_refused(place: str) -> None:
    snippet = "import marshal, os, pickle, shelve, subprocess\n\nimport yaml\n\ntext = input()\n" + "\n".join(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=json", "--stdin-filename", place, "-"],
        input=snippet,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    found = {(problem["location"]["row"], problem["code"]) for problem in json.loads(done.stdout)}
    wanted = {(row, rule) for row, rule in enumerate(BAD.values(), start=len(snippet.splitlines()) - len(BAD) + 1)}
    assert wanted <= found, done.stdout


@pytest.mark.parametrize("room", ["ssl_pdr", "benchmarks", "examples"])
def test_nothing_is_unpickled_by_another_name(room: str) -> None:
    """What the linter has no rule for."""
    for path in (ROOT / room).rglob("*.py"):
        for call in (
            node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        ):
            name, given = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in call.keywords}
            assert name not in ("joblib.load", "pd.read_pickle", "dill.load"), f"{path}: {name}"
            assert name != "torch.load" or given.get("weights_only") == "True", (
                f"{path}: torch.load without weights_only=True"
            )
            for word in ("trust_remote_code", "allow_pickle"):
                assert given.get(word, "False") == "False", f"{path}: {word}={given[word]}"
