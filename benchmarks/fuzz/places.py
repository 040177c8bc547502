"""Paths that lead nowhere, or to what is no file; output that cannot be written; terminals that take no text."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.fuzz.case import EITHER, FINE, Case
from benchmarks.fuzz.ways import OUT, REVIEWS, WAYS, put
from benchmarks.fuzz.world import TRAIN, table

_GOOD = table()


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _special()
    yield from _names()
    yield from _outputs()
    yield from _terminals()


def _nothing(folder: Path) -> None:
    """As the world is."""


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")  # a socket's name may be no longer than 100 bytes
    os.close(folder)


def _forbidden(path: Path) -> None:
    path.write_text(_GOOD, encoding="utf-8")
    path.chmod(0)


def _link(to: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(to)


def _folder(*names: str, mode: int = 0o755) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.mkdir()
        for name in names:
            (path / name).write_text(_GOOD, encoding="utf-8")
        path.chmod(mode)

    return make


def _special() -> Iterator[Case]:
    kinds: dict[str, Callable[[Path], object]] = {
        "a folder": _folder(),
        "a fifo": _fifo,
        "a socket": _socket,
        "forbidden": _forbidden,
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nothing": _link("nothing"),
        "a link to /dev/null": _link("/dev/null"),
        "a link to /dev/zero": _link("/dev/zero"),
        "a link to /dev/urandom": _link("/dev/urandom"),
        "a link to /dev/full": _link("/dev/full"),
        "a link to /dev/stdin": _link("/dev/stdin"),
        "a link to /proc/self/mem": _link("/proc/self/mem"),
        "a link to /proc/self/environ": _link("/proc/self/environ"),
        "a link to /": _link("/"),
    }
    endings = ("csv", "jsonl", "txt", "parquet", "json", "csv.gz", "tsv", "csv.zst")
    ways = ("split", "train", "eval", "evaluate", "unlabelled", "stream", "data")
    for number, (what, make) in enumerate(kinds.items()):
        for place in range(4):
            ending = endings[(number + place * 3) % len(endings)]
            way = ways[(number * 2 + place) % len(ways)]
            if ending == "txt" and way not in ("unlabelled", "stream"):
                way = "unlabelled"
            skip = ("--skip-bad-rows",) if place % 2 else ()
            yield Case(
                kind="special files",
                name=f"{what}, {ending}, {way}",
                argv=(*WAYS[way](f"s.{ending}"), *skip),
                make=put(f"s.{ending}", make),
            )
    for what, make in kinds.items():
        yield Case(
            kind="special files",
            name=f"{what}, as a split",
            argv=(*TRAIN, *REVIEWS, "--split", "s.json", *OUT),
            make=put("s.json", make),
        )
    folders: dict[str, Callable[[Path], object]] = {
        "empty": _folder(),
        "without data": _folder("notes.md"),
        "hidden files alone": _folder(".a.csv"),
        "forbidden": _folder("train.csv", mode=0),
        "no train part": _folder("test.csv"),
        "parts of another shape": lambda path: (
            (_folder("train.csv")(path), (path / "test.csv").write_text("a,b\n1,2\n"))
        ),
        "a part that is a folder": lambda path: (_folder()(path), (path / "train.csv").mkdir()),
        "a part that is a fifo": lambda path: (_folder()(path), os.mkfifo(path / "train.csv")),
        "a part that is a link to nothing": lambda path: (
            (_folder()(path), (path / "train.csv").symlink_to("nothing"))
        ),
    }
    for what, make in folders.items():
        for way in ("split", "unlabelled"):
            yield Case(
                kind="folders",
                name=f"{what}, {way}",
                argv=WAYS[way]("./folder"),
                make=put("folder", make),
                ends=EITHER if what in ("parts of another shape", "no train part") else (2,),
            )


def _names() -> Iterator[Case]:
    """Names of files; what is absent, and what has a name that nobody would give."""
    absent = (
        "nothing.csv",
        "./nothing.csv",
        "../../../nothing.csv",
        "/nothing/at/all.csv",
        "~nobody/x.csv",
        "x" * 300 + ".csv",
        "/".join(["x"] * 3000) + ".csv",
        "a\nb.csv",
        "\udcff\udcfe.csv",
        "*.csvv",
        "[",
        "[z-a].csv",
        "**",
        "***",
        "**/**/nothing*.csv",
        "",
        " ",
        ".",
        "..",
        "/",
        "-",
        "/proc",
        "/proc/self/fd/0",
        "/dev/stdin",
        "reviews.csv/",
        "reviews.csv/x.csv",
        "~",
        "file:///x.csv",
        "http://x/y.csv",
        "C:\\x.csv",
        "owner/name",
        "owner/name:conf:split",
        "a:b:c",
        "sst2",
        "pydocs-topic",
        "reviews",
        "\x1b[2J.csv",
    )
    for number, name in enumerate(absent):
        for way in ("split", ("train", "unlabelled", "evaluate", "data")[number % 4]):
            shown = name[:20].encode("unicode_escape").decode()
            yield Case(
                kind="paths",
                name=f"{shown!r} ({len(name)}), {way}",
                argv=WAYS[way](name),
                ends=EITHER if name in (".", "..", "~", "**", "***", "*.csvv", "reviews.csv/") else (2,),
            )
    for name in (
        "with space.csv",
        "ünïcödé 映画.csv",
        "line\nend.csv",
        "\x1b[31mred.csv",
        "\udcff\udc80.csv",
        "'quotes\".csv",
        "$HOME.csv",
        "a:b.csv",
        "a:1.csv",
        "[a].csv",
        "-dash.csv",
        "#.csv",
        "%s.csv",
        "a,b.csv",
        "x" * 240 + ".csv",
        "a.tar.csv",
        "tab\t.csv",
        "\u202ertl.csv",
    ):
        for way in ("train", "evaluate"):
            shown = name[:20].encode("unicode_escape").decode()
            argv = WAYS[way](f"./{name}")
            yield Case(kind="file names", name=f"{shown!r}, {way}", argv=argv, make=put(name, _GOOD), ends=EITHER)
    for key in ("data", "model", "eval", "unlabelled", "split", "output", "data_dir", "eval_on"):
        value = '["a\\u0000b.csv"]' if key in ("unlabelled", "eval_on") else '"a\\u0000b.csv"'
        text = "".join(f'{k} = "{v}"\n' for k, v in {"data": "reviews.csv", "model": "model"}.items() if k != key)
        recipe = put("nul.toml", f"{text}max_steps = 1\nmax_length = 12\n{key} = {value}\n")
        more = () if key == "output" else OUT
        yield Case(
            kind="paths",
            name=f"a null character in {key}",
            argv=("train", "--recipe", "nul.toml", *more),
            make=recipe,
            ends=EITHER if key == "data_dir" else (2,),
        )


def _outputs() -> Iterator[Case]:
    """Where nothing can be written, or nothing ought to be. No place lies outside of the case's folder: who runs this may be root."""
    places: dict[str, tuple[str, Callable[[Path], object]]] = {
        "a file": ("place", put("place", "x")),
        "below a file": ("place/run", put("place", "x")),
        "a folder with other files": ("place", put("place/notes.txt", "x")),
        "a folder that may not be written": ("place", put("place", _folder(mode=0o555))),
        "below a folder that may not be written": ("place/run", put("place", _folder(mode=0o555))),
        "below a folder that may not be entered": ("place/run", put("place", _folder(mode=0))),
        "a link to itself": ("place", put("place", lambda path: path.symlink_to("place"))),
        "a link to nothing": ("place", put("place", _link("no/where"))),
        "a fifo": ("place", put("place", _fifo)),
        "a socket": ("place", put("place", _socket)),
        "too long a name": ("x" * 300, _nothing),
        "too long a path": ("/".join(["x" * 200] * 30), _nothing),
        "empty": ("", _nothing),
        "a finished run": ("run", _nothing),
        "an unfinished run": ("half", _nothing),
        "other people's config.toml": ("place", put("place/config.toml", "[tool]\nx = 1\n")),
    }
    commands: dict[str, Callable[[str], tuple[str, ...]]] = {
        "train": lambda place: (*TRAIN, *REVIEWS, "--output", place),
        "split": lambda place: ("split", *REVIEWS, "--output", place),
        "evaluate": lambda place: ("evaluate", "run", "--on", "dev.csv", "--output", place),
        "report": lambda place: ("report", "curve", "--output", place),
        "inspect": lambda place: ("inspect", "run", "--rows", "1", "--plot", place),
        "curve": lambda place: ("curve", "--grid", "grid.toml", "--output", place, "--dry-run"),
    }
    either = {
        "a finished run",
        "an unfinished run",
        "a link to nothing",
        "a folder with other files",
        "other people's config.toml",
        "a link to itself",
        "empty",
        "a file",
        "a folder that may not be written",
    }
    for what, (place, make) in places.items():
        for command, argv in commands.items():
            if command == "curve" and what != "a file":
                continue
            ends = (
                (2,)
                if what not in either or (command == "train" and what not in ("a link to nothing", "empty"))
                else EITHER
            )
            writes = (
                "out",
                "runs",
                "place",
                "no",
                "curve",
                "run",
                "half",
                "x" * 300,
                "x" * 200,
                "dev.csv.jsonl",
                "scores.json",
            )
            yield Case(kind="outputs", name=f"{what}, {command}", argv=argv(place), make=make, ends=ends, writes=writes)
    forbidden: dict[str, Callable[[Path], object]] = {
        "a run whose folder may not be written": lambda folder: (folder / "run").chmod(0o555),
        "a run whose model may not be read": lambda folder: (folder / "run" / "model" / "model.safetensors").chmod(0),
        "a run whose result may not be read": lambda folder: (folder / "run" / "result.json").chmod(0),
        "a run whose config may not be read": lambda folder: (folder / "run" / "config.toml").chmod(0),
        "a run that may not be entered": lambda folder: (folder / "run").chmod(0),
    }
    for what, make in forbidden.items():
        yield Case(kind="outputs", name=f"{what}, evaluate", argv=("evaluate", "run", "--on", "dev.csv"), make=make)
        yield Case(kind="outputs", name=f"{what}, inspect", argv=("inspect", "run", "--rows", "1"), make=make)
        yield Case(
            kind="outputs",
            name=f"{what}, overwrite",
            argv=(*TRAIN, *REVIEWS, "--output", "run", "--overwrite"),
            make=make,
            ends=EITHER,
            writes=("run",),
        )
    for mode, what in ((0o555, "may not be written"), (0, "may not be entered")):

        def close(folder: Path, mode: int = mode) -> None:
            (folder / "curve").chmod(mode)

        yield Case(kind="outputs", name=f"a curve that {what}, report", argv=("report", "curve"), make=close)


def _terminals() -> Iterator[Case]:
    """Standard output that is full, and terminals that know few characters."""
    commands = {
        "list": ("list",),
        "list --json": ("list", "--json"),
        "split": ("split", *REVIEWS, "--output", "out/s.json"),
        "data": ("data", "reviews.csv", "--model", "model"),
        "report": ("report", "curve"),
        "--version": ("--version",),
        "--help": ("--help",),
    }
    for what, argv in commands.items():
        yield Case(
            kind="terminals",
            name=f"/dev/full, {what}",
            argv=argv,
            stdout="/dev/full",
            ends=(1, 2, 120) if what.startswith("--") else (2,),
            writes=("out", "curve"),
        )
    commands |= {
        "train": (*TRAIN, *REVIEWS, *OUT),
        "an error": ("split", "--data", "fehlt-ü-映画.csv"),
        "evaluate": ("evaluate", "run", "--on", "dev.csv", *OUT),
        "doctor": ("reproduce", "half", "--grid", "paper.toml", "--dry-run"),
        "curve": ("curve", "--grid", "grid.toml", "--dry-run"),
    }
    for encoding in ("ascii", "latin-1", "cp1252"):
        for what, argv in commands.items():
            yield Case(
                kind="terminals",
                name=f"{encoding}, {what}",
                argv=argv,
                encoding=encoding,
                ends=(2,) if what == "an error" else FINE,
                writes=("out", "curve"),
            )
