"""What `make` installs: every dependency, each at the version of `constraints.txt`, each with hashes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)

if not (ROOT / "requirements.lock").is_file():
    pytest.skip("needs a checkout", allow_module_level=True)


def _pins(file: str) -> dict[str, str]:
    found = PIN.findall((ROOT / file).read_text(encoding="utf-8"))
    return {_plain(name): version for name, version in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *extras["embedded"],
        *extras["dev"],
    ]
    names = {_plain(re.match(r"[\w.-]+", line)[0]) for line in wanted}  # type: ignore[index]
    assert names - set(_pins("requirements.lock")) == {"torch"}, "run: make lock"


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    lock, wanted = _pins("requirements.lock"), _pins("constraints.txt")
    assert {name: version for name, version in lock.items() if version != wanted.get(name, version)} == {}, (
        "run: make lock"
    )
    assert set(wanted) >= {"torch", "transformers", "numpy"}


def test_everything_has_a_hash_and_comes_from_nowhere_in_particular() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=\S)", text)[1:]
    assert len(blocks) > 50
    for block in blocks:
        assert re.fullmatch(r"[^\n]+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+", block), block.splitlines()[0]
    assert "://" not in text
    assert not re.search(r"(?m)^(nvidia|cuda|triton)", text)
