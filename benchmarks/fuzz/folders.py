"""What runs, splits and curves leave on disk, damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.fuzz.case import BAD, EITHER, FINE, Case
from benchmarks.fuzz.ways import OUT, REVIEWS, put
from benchmarks.fuzz.world import TRAIN

_DEEP = "[" * 100_000
JSONS: dict[str, str | bytes] = {
    "nothing": b"",
    "null": "null",
    "a list": "[]",
    "an empty object": "{}",
    "a number": "7",
    "lists in lists": _DEEP,
    "cut": '{"a": [1, 2',
    "latin-1": b'{"a": "\xe9"}',
    "null bytes": b"\x00" * 50,
    "a number of many digits": "9" * 10_000,
}
_SHALLOW = {what: content for what, content in JSONS.items() if content != _DEEP}


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _splits()
    yield from _runs()
    yield from _curves()


def change(name: str, how: Callable[[Any], Any]) -> Callable[[Path], object]:
    """Read JSON, change it, write it back."""

    def make(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8"))
        changed = how(content)
        path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")

    return make


def set_keys(**values: Any) -> Callable[[Any], Any]:
    """With other values."""
    return lambda content: {**content, **values}


def _without(key: str) -> Callable[[Any], Any]:
    return lambda content: {name: value for name, value in content.items() if name != key}


def _splits() -> Iterator[Case]:
    argv = (*TRAIN, *REVIEWS, "--split", "split.json", *OUT)

    def signed(**values: Any) -> Callable[[Path], object]:
        """Changed, with a hash that is right."""

        def how(content: Any) -> Any:
            from ssl_pdr.data.manifest import dump_manifest

            kept = {name: value for name, value in content.items() if name not in ("format", "version", "hash")}
            return json.loads(dump_manifest({**kept, **values}))

        return change("split.json", how)

    for what, content in JSONS.items():
        yield Case(kind="splits", name=what, argv=argv, make=put("split.json", content))
    keys = ("format", "version", "hash", "runs", "seed", "data_hash")
    for key in keys:
        yield Case(kind="splits", name=f"without {key}", argv=argv, make=change("split.json", _without(key)))
        yield Case(kind="splits", name=f"{key} is null", argv=argv, make=change("split.json", set_keys(**{key: None})))
    odd: dict[str, Any] = {
        "null": None,
        "a text": "x",
        "nan": float("nan"),
        "a list": [],
        "an object": {},
        "minus one": -1,
        "huge": 10**30,
        "a fraction": 0.5,
        "true": True,
        "a list of huge ones": [2**62, 2**62],
        "a list of minus ones": [-1, 2],
        "deep": [[[[1]]]],
    }
    for number, (what, value) in enumerate(odd.items()):
        for key in ("runs", "seed", "strategy", "asked", "rows", "n_rows", "class_counts", "data_hash")[
            number % 2 :: 2
        ]:
            yield Case(
                kind="splits", name=f"signed, {key} is {what}", argv=argv, make=signed(**{key: value}), ends=EITHER
            )
    yield Case(
        kind="splits", name="of other data", argv=tuple("dev.csv" if word == "reviews.csv" else word for word in argv)
    )
    yield Case(kind="splits", name="absent", argv=(*TRAIN, *REVIEWS, "--split", "nothing.json", *OUT))
    yield Case(kind="splits", name="a csv", argv=(*TRAIN, *REVIEWS, "--split", "reviews.csv", *OUT))


def _runs() -> Iterator[Case]:
    evaluate = ("evaluate", "run", "--on", "dev.csv", *OUT)
    inspect = ("inspect", "run", "--rows", "1", "--plot", "out/x.svg")
    resume = ("train", "--resume", "half")
    for what, content in _SHALLOW.items():
        yield Case(
            kind="runs", name=f"result.json: {what}, evaluate", argv=evaluate, make=put("run/result.json", content)
        )
        yield Case(
            kind="runs",
            name=f"result.json: {what}, inspect",
            argv=inspect,
            make=put("run/result.json", content),
            ends=EITHER,
        )
        state = "half/checkpoints/checkpoint-1/trainer_state.json"
        yield Case(
            kind="runs",
            name=f"trainer_state.json: {what}, resume",
            argv=resume,
            make=put(state, content),
            ends=EITHER,
            writes=("half",),
        )
        yield Case(
            kind="runs",
            name=f"split.json: {what}, resume",
            argv=resume,
            make=put("half/split.json", content),
            ends=EITHER,
            writes=("half",),
        )
    for key in ("scores", "config", "data", "task", "versions", "labels"):
        yield Case(
            kind="runs",
            name=f"result.json without {key}",
            argv=evaluate,
            make=change("run/result.json", _without(key)),
            ends=EITHER,
        )
        for what, value in {"null": None, "a list": [], "a text": "x"}.items():
            yield Case(
                kind="runs",
                name=f"result.json: {key} is {what}",
                argv=evaluate,
                make=change("run/result.json", set_keys(**{key: value})),
                ends=EITHER,
            )
    yield from _scores()
    yield from _configs()
    yield from _checkpoints()
    yield from _no_runs()


def _scores() -> Iterator[Case]:
    evaluate = ("evaluate", "run", "--on", "dev.csv", *OUT)
    for what, scores in {
        "nothing": {},
        "nan": {"in_domain": {"accuracy": float("nan")}},
        "null": {"in_domain": None},
        "a text": {"in_domain": {"accuracy": "x", "rows": 3}},
        "zero": {"in_domain": {"accuracy": 0.0, "rows": 0}},
    }.items():
        for argv in (evaluate, (*evaluate, "--plot", "out/x.svg")):
            yield Case(
                kind="runs",
                name=f"scores of {what}{', plot' if argv is not evaluate else ''}",
                argv=argv,
                make=change("run/result.json", set_keys(scores=scores)),
                ends=EITHER,
            )


def _configs() -> Iterator[Case]:
    evaluate = ("evaluate", "run", "--on", "dev.csv", *OUT)
    inspect = ("inspect", "run", "--rows", "1", "--plot", "out/x.svg")
    resume = ("train", "--resume", "half")
    tomls: dict[str, str | bytes] = {
        "nothing": "",
        "no TOML": "x",
        "an unknown key": 'data = "reviews.csv"\nmodel = "model"\nreg = "none"\nmystery = 1\n',
        "another type": 'data = 1\nmodel = "model"\nreg = "none"\n',
        "out of range": 'data = "reviews.csv"\nmodel = "model"\nreg = "none"\nepochs = -1.0\n',
        "data gone": 'data = "gone.csv"\nmodel = "model"\nreg = "none"\n',
        "latin-1": b'data = "\xe9"\n',
        "nested deeply": "data = " + "[" * 5_000 + "]" * 5_000 + "\n",
    }
    commands: dict[str, tuple[tuple[str, ...], str, tuple[int, ...]]] = {
        "evaluate": (evaluate, "run", EITHER),
        "inspect": (inspect, "run", EITHER),
        "resume": (resume, "half", EITHER),
        "over it": ((*TRAIN, *REVIEWS, "--output", "run"), "run", BAD),
    }
    for what, content in tomls.items():
        for command, (argv, folder, ends) in commands.items():
            make = put(f"{folder}/config.toml", content)
            name = f"config.toml: {what}, {command}"
            yield Case(kind="runs", name=name, argv=argv, make=make, ends=ends, writes=("out", folder))


def _checkpoints() -> Iterator[Case]:
    resume = ("train", "--resume", "half")
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "model.safetensors",
        "training_args.bin",
        "config.json",
    ):
        for what, content in {
            "nothing": b"",
            "random": b"\x93\x01junk" * 100,
            "gone": None,
            "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        }.items():

            def damage(folder: Path, name: str = name, content: bytes | None = content) -> None:
                path = folder / "half" / "checkpoints" / "checkpoint-1" / name
                path.unlink() if content is None else path.write_bytes(content)

            yield Case(
                kind="runs",
                name=f"checkpoint's {name}: {what}",
                argv=resume,
                make=damage,
                ends=EITHER,
                writes=("half",),
            )


def _no_runs() -> Iterator[Case]:
    """Places that hold no run, or another kind of one."""
    for what, argv in {
        "a finished run": ("train", "--resume", "run"),
        "nothing": ("train", "--resume", "nothing"),
        "a file": ("train", "--resume", "reviews.csv"),
        "a model": ("train", "--resume", "model"),
        "a curve": ("train", "--resume", "curve"),
        "a folder": ("train", "--resume", "."),
        "no name": ("train", "--resume", ""),
        "a long name": ("train", "--resume", "x" * 5000),
    }.items():
        yield Case(kind="runs", name=f"resume {what}", argv=argv)
    for what, run in {
        "nothing": "nothing",
        "a file": "reviews.csv",
        "a folder": ".",
        "a model": "model",
        "a half run": "half",
        "a curve": "curve",
        "a long name": "x" * 5000,
        "/dev/null": "/dev/null",
        "no name": "",
    }.items():
        yield Case(kind="runs", name=f"inspect {what}", argv=("inspect", run))
        yield Case(
            kind="runs",
            name=f"evaluate {what}",
            argv=("evaluate", run, "--on", "dev.csv", *OUT),
            ends=EITHER if what == "a model" else (2,),
        )
        yield Case(
            kind="runs",
            name=f"against {what}",
            argv=("inspect", "run", "--rows", "1", "--against", run, "--plot", "out/x.svg"),
        )
    for plot in ("x", "x.xyz", "x.pdf/y.svg", "", ".", "/dev/null", "x.svg.", "\x1b.svg"):
        yield Case(
            kind="runs",
            name=f"--plot {plot!r}",
            argv=("inspect", "run", "--rows", "1", "--plot", plot),
            ends=EITHER,
            writes=("x.pdf", "\x1b.svg", "x.svg.", "out"),
        )


def _curves() -> Iterator[Case]:
    report = ("report", "curve")
    for what, content in JSONS.items():
        yield Case(
            kind="curves",
            name=f"curve.json: {what}",
            argv=report,
            make=put("curve/curve.json", content),
            writes=("curve",),
        )
        yield Case(
            kind="curves",
            name=f"a cell: {what}",
            argv=report,
            make=put("curve/cells/0123456789abcdef.json", content),
            ends=FINE,
            writes=("curve",),
        )
    odd: dict[str, Any] = {
        "null": None,
        "a text": "x",
        "an empty list": [],
        "an object": {"a": 1},
        "nan": float("nan"),
        "a list of nulls": [None],
        "a huge number": 10**400,
        "a list of texts": ["\x1b[31m", "</script>"],
        "true": True,
        "a list of lists": [[1]],
        "minus one": -1,
    }
    for number, (what, value) in enumerate(odd.items()):
        for key in ("budgets", "methods", "seeds", "select", "name", "search", "test", "match", "config", "batch")[
            number % 2 :: 2
        ]:
            yield Case(
                kind="curves",
                name=f"curve.json: {key} is {what}",
                argv=report,
                make=change("curve/curve.json", set_keys(**{key: value})),
                ends=EITHER,
                writes=("curve",),
            )
    cell = "curve/cells/9e3779b97f4a7c15.json"
    for number, (what, value) in enumerate(odd.items()):
        for key in (
            "budget",
            "method",
            "setting",
            "seed",
            "scores",
            "log",
            "config",
            "data",
            "versions",
            "machine",
            "timing",
            "status",
            "labelled",
            "baseline",
        )[number % 3 :: 3]:
            yield Case(
                kind="curves",
                name=f"a cell: {key} is {what}",
                argv=report,
                make=change(cell, set_keys(**{key: value})),
                ends=EITHER,
                writes=("curve",),
            )
    for what, scores in {
        "no part": {},
        "another part": {"other": {"accuracy": 1}},
        "nan": {"in_domain": {"accuracy": float("nan"), "rows": 3}},
        "a text": {"in_domain": {"accuracy": "x"}},
        "null": {"in_domain": None},
        "no accuracy": {"in_domain": {"rows": 7}},
    }.items():
        yield Case(
            kind="curves",
            name=f"a cell: scores of {what}",
            argv=report,
            make=change(cell, set_keys(scores=scores)),
            ends=EITHER,
            writes=("curve",),
        )
    for what, log in {
        "lists of other lengths": {"step": [1], "ce": [1, 2], "r": [], "r_zero_noise": [1]},
        "texts": {"step": ["x"], "ce": ["x"], "r": ["x"], "r_zero_noise": [None]},
        "nothing": {},
    }.items():
        yield Case(
            kind="curves",
            name=f"a cell: a log of {what}",
            argv=report,
            make=change(cell, set_keys(log=log)),
            ends=EITHER,
            writes=("curve",),
        )

    yield from _no_curves()


def _no_curves() -> Iterator[Case]:
    report = ("report", "curve")

    def empty(folder: Path) -> None:
        shutil.rmtree(folder / "curve" / "cells")
        (folder / "curve" / "cells").mkdir()

    def none(folder: Path) -> None:
        shutil.rmtree(folder / "curve" / "cells")

    def file(folder: Path) -> None:
        shutil.rmtree(folder / "curve" / "cells")
        (folder / "curve" / "cells").write_text("x")

    for what, make in {"no cell": empty, "no folder of cells": none, "cells are a file": file}.items():
        yield Case(kind="curves", name=what, argv=report, make=make, ends=EITHER, writes=("curve",))
    for what, folder in {
        "nothing": "nothing",
        "a file": "reviews.csv",
        "a run": "run",
        "no name": "",
        "a long name": "x" * 5000,
    }.items():
        yield Case(kind="curves", name=f"report of {what}", argv=("report", folder))
    for what, content in JSONS.items():
        yield Case(
            kind="curves",
            name=f"curve over curve.json: {what}",
            argv=("curve", "--grid", "grid.toml", "--output", "out", "--dry-run"),
            make=put("out/curve.json", content),
            ends=EITHER,
        )
