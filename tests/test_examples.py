"""The examples run, on a tiny model, as a person would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import BertTokenizerFast

from tests.conftest import tiny_bert

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(vocab))
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    tiny_bert(num_labels=2).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example(path: Path, model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path), "--model", str(model), "--max-steps", "2"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert list(tmp_path.iterdir()) == []  # what an example writes, it takes away again


def test_what_readme_imports_is_there() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    imports = [line for block in blocks for line in block.splitlines() if line.startswith("from ssl_pdr")]
    assert len(imports) >= 3
    for line in imports:
        exec(line, {})


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"own_csv", "own_corpus_streamed", "scikit_learn"}
