"""Good files with seeded damage: bytes turned, cut, doubled, and values of JSON in other places."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import EITHER, Case
from benchmarks.fuzz.ways import OUT, REVIEWS, WAYS
from benchmarks.fuzz.world import TRAIN

_EACH = 5  # of every way to damage a file
_ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    float("nan"),
    "",
    "\x00",
    "\x1b[31m[red]",
    "x" * 1000,
    [],
    {},
    [[]],
    {"a": {}},
    "１",
    " ",
)
_PIECES = (
    b"\x00",
    b"\xff\xfe",
    b'"',
    b"\n",
    b"\r",
    b",",
    b"[",
    b"{",
    b"}",
    b"]",
    b":",
    b"\\u",
    b"-",
    b"nan",
    b"1e999",
    b"\xf0\x9f",
    b"=",
    b"'",
)

# A file of the world, the command that reads it, and where that may write.
_FILES: dict[str, tuple[tuple[str, ...], str]] = {
    "reviews.csv": (WAYS["split"]("reviews.csv"), "out"),
    "dev.csv": (WAYS["evaluate"]("dev.csv"), "out"),
    "more.txt": (WAYS["unlabelled"]("more.txt"), "out"),
    "rows.jsonl": (WAYS["split"]("rows.jsonl"), "out"),
    "rows.json": (WAYS["data"]("rows.json"), "out"),
    "squad.json": (("split", "--data", "squad.json", "--output", "out/s.json"), "out"),
    "recipe.toml": (("train", "--recipe", "recipe.toml", "--dry-run", *OUT), "out"),
    "grid.toml": (("curve", "--grid", "grid.toml", "--dry-run", *OUT), "out"),
    "paper.toml": (("reproduce", "half", "--grid", "paper.toml", "--dry-run"), "out"),
    "split.json": ((*TRAIN, *REVIEWS, "--split", "split.json", "--dry-run", *OUT), "out"),
    "run/config.toml": (("evaluate", "run", "--on", "dev.csv", *OUT), "out"),
    "run/result.json": (("evaluate", "run", "--on", "dev.csv", *OUT), "out"),
    "half/config.toml": (("train", "--resume", "half"), "half"),
    "curve/curve.json": (("report", "curve"), "curve"),
    "curve/cells/9e3779b97f4a7c15.json": (("report", "curve"), "curve"),
    "model/config.json": (("evaluate", "model", "--on", "dev.csv", *OUT), "out"),
    "model/tokenizer.json": (("data", "reviews.csv", "--model", "model"), "out"),
    "model/model.safetensors": (("evaluate", "model", "--on", "dev.csv", *OUT), "out"),
}


def cases() -> Iterator[Case]:
    """All of them."""
    for name, (argv, writes) in _FILES.items():
        ways = {"bytes": _bytes, "values": _values} if name.endswith(".json") else {"bytes": _bytes}
        for way, damage in ways.items():
            for seed in range(_EACH):
                yield Case(
                    kind="mutants",
                    name=f"{name}, {way} {seed}",
                    argv=argv,
                    make=_damaged(name, damage, seed),
                    ends=EITHER,
                    writes=(writes,),
                )


def _damaged(name: str, damage: Callable[[bytes, random.Random], bytes], seed: int) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / name
        path.write_bytes(damage(path.read_bytes(), random.Random(f"{name} {seed}")))

    return make


def _bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        start = rng.randrange(len(changed) + 1)
        end = min(start + rng.choice((1, 1, 8, 100)), len(changed))
        match rng.randrange(5):
            case 0:
                del changed[start:end]
            case 1:
                changed[start:start] = changed[start:end]
            case 2:
                changed[start:end] = rng.randbytes(end - start)
            case 3:
                changed[start:start] = rng.choice(_PIECES)
            case 4 if rng.random() < 0.3:
                del changed[start:]
    return bytes(changed)


def _values(content: bytes, rng: random.Random) -> bytes:
    whole = json.loads(content)
    places = list(_places(whole))
    for _ in range(rng.choice((1, 1, 3))):
        holder, key = rng.choice(places)
        if rng.random() < 0.25 and isinstance(holder, dict):
            holder.pop(key, None)
        else:
            holder[key] = rng.choice(_ODD)
    return json.dumps(whole).encode()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a value: what holds it, and under which key or number."""
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
