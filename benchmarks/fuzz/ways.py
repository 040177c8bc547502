"""How a file comes to be read: the commands that take one, and what puts one in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from benchmarks.fuzz.case import BAD, Case
from benchmarks.fuzz.world import TRAIN

Make: TypeAlias = Callable[[Path], object]
Content: TypeAlias = str | bytes | Make

OUT = ("--output", "out")
REVIEWS = ("--data", "reviews.csv")
REGULARIZED = (*TRAIN, "--reg", "rdrop", *REVIEWS)

LABELLED: dict[str, Callable[[str], tuple[str, ...]]] = {
    "split": lambda file: ("split", "--data", file, "--output", "out/split.json"),
    "train": lambda file: (*TRAIN, "--data", file, *OUT),
    "eval": lambda file: (*TRAIN, *REVIEWS, "--eval", file, *OUT),
    "eval-on": lambda file: (*TRAIN, *REVIEWS, "--eval-on", file, *OUT),
    "evaluate": lambda file: ("evaluate", "run", "--on", file, *OUT),
    "data": lambda file: ("data", "--data", file, "--model", "model", "--json"),
}
UNLABELLED: dict[str, Callable[[str], tuple[str, ...]]] = {
    "unlabelled": lambda file: (*REGULARIZED, "--unlabelled", file, *OUT),
    "stream": lambda file: (*REGULARIZED, "--unlabelled", file, "--stream", "--ratio", "1", *OUT),
    "data-unlabelled": lambda file: ("data", "--unlabelled", file, "--model", "model"),
}
WAYS = {**LABELLED, **UNLABELLED}


def put(name: str, content: Content) -> Make:
    """What writes a file, or makes something else in its place."""

    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    return make


def each(
    kind: str,
    file: str,
    contents: Mapping[str, Content],
    ways: Iterable[str],
    *,
    ends: tuple[int, ...] = BAD,
    more: tuple[str, ...] = (),
) -> Iterator[Case]:
    """Every content by every way."""
    for what, content in contents.items():
        for way in ways:
            yield Case(
                kind=kind, name=f"{what}, {way}", argv=(*WAYS[way](file), *more), make=put(file, content), ends=ends
            )


def in_turn(
    kind: str,
    file: str,
    contents: Mapping[str, Content],
    ways: Iterable[str],
    *,
    ends: tuple[int, ...] = BAD,
    more: tuple[str, ...] = (),
    by: int = 2,
) -> Iterator[Case]:
    """Every content by some of the ways, others for each."""
    order = list(ways)
    for number, (what, content) in enumerate(contents.items()):
        chosen = [order[(number * by + place) % len(order)] for place in range(min(by, len(order)))]
        yield from each(kind, file, {what: content}, chosen, ends=ends, more=more)
