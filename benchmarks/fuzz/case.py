"""A case: bad input, the command that meets it, and how that may end; and the judgement of how it did."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fuzz.server import Done, Server

BAD, FINE, EITHER = (2,), (0,), (0, 2)
SECONDS, BYTES = 10.0, 2**30
# Control sequences of other people's texts must never reach a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input.

    Attributes:
        kind: of badness; counted by it.
        name: what it is, unique within its kind.
        argv: of `ssl-pdr`, in a folder as `world` makes it.
        make: puts what is bad there; by default nothing.
        ends: exit codes that it may have.
        says: what its line of error has to say.
        light: the command must fail before it imports torch.
        writes: where it may write.
        stdout: a file in place of one that is kept.
        encoding: of its terminal.
    """

    kind: str
    name: str
    argv: tuple[str, ...]
    make: Callable[[Path], object] = Path.exists
    ends: tuple[int, ...] = BAD
    says: str = ""
    light: bool = False
    writes: tuple[str, ...] = ("out", "runs")
    stdout: str = ""
    encoding: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"

    @property
    def shown(self) -> str:
        """The command, as it is typed."""
        return f"ssl-pdr {shlex.join(self.argv)}".encode(errors="backslashreplace").decode()[:300]


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        case: that was run.
        done: how it ended.
        faults: what is wrong with that, in sentences; none where all is well.
    """

    case: Case
    done: Done
    faults: tuple[str, ...]


class Bench:
    """A folder in which cases are run, and the processes that run them; a context manager.

    Args:
        folder: an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home, self.world = folder / "home", folder / "world"
        self.home.mkdir()
        self.world.mkdir()
        self._servers: dict[bool, Server] = {}
        self._number = 0

    def __enter__(self) -> Bench:
        made = self._server(light=False).run(None, self.world, self.folder / "making")
        if made.code != 0:
            raise RuntimeError(f"the world cannot be made: {made.err.decode(errors='replace')}")
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers.values():
            server.close()

    def _server(self, *, light: bool) -> Server:
        if light not in self._servers:
            self._servers[light] = Server(self.home, light=light)
        return self._servers[light]

    def run(self, case: Case) -> Verdict:
        """Run a case in a fresh copy of the world, and judge it."""
        self._number += 1
        place = self.folder / f"case{self._number}"
        work, scratch = place / "work", place / "scratch"
        shutil.copytree(self.world, work)
        case.make(work)
        before = {**_snapshot(work), **_snapshot(self.home)}
        server = self._server(light=case.light)
        done = server.run(case.argv, work, scratch, stdout=case.stdout, encoding=case.encoding)
        after = {**_snapshot(work), **_snapshot(self.home)}
        changed = [path for path in after.keys() | before.keys() if before.get(path) != after.get(path)]
        allowed = [*(work / name for name in case.writes), self.home / ".cache"]
        foreign = [path for path in changed if not any(path.is_relative_to(place) for place in allowed)]
        left = [] if done.code < 0 else [f"it left {path}" for path in _files(scratch / "tmp")]
        faults = [*faults_of(case, done), *(f"it wrote {path}" for path in sorted(map(str, foreign))[:3]), *left[:1]]
        _remove(place)
        return Verdict(case, done, tuple(faults))


def faults_of(case: Case, done: Done) -> Iterator[str]:
    """What is wrong with how a case ended."""
    out, err = (text.decode(case.encoding or "utf-8", "replace") for text in (done.out, done.err))
    if done.code not in case.ends:
        ends = " or ".join(map(str, case.ends))
        yield f"exit code {done.code}, expected {ends}{': ' + out[-200:] if done.code == 0 else ''}"
    if done.seconds > SECONDS:
        yield f"{done.seconds:.1f} s of processor time, expected at most {SECONDS:g}"
    if done.peak > BYTES:
        yield f"{done.peak / 2**20:,.0f} MiB of memory, expected at most {BYTES / 2**20:,.0f}"
    if "Traceback" in err:
        yield "a traceback"
    if "(unexpected:" in err:
        yield "an error that nobody had expected"
    lines = [line for line in err.splitlines() if not line.endswith("…") and not line.startswith("warning: ")]
    errors = [line for line in lines if line.startswith("error: ")]
    if done.code == 2 and (len(lines) != 1 or len(errors) != 1):
        yield f"{len(lines)} lines on stderr beside stages and warnings, expected one that begins with error:"
    if done.code == 2 and case.says not in err:
        yield f"its message does not say {case.says!r}"
    if done.code == 0 and errors:
        yield "an error, and exit code 0"
    if case.light and done.torch:
        yield "torch was imported before the error"
    yield from _output_faults(case, done, out, err)


def _output_faults(case: Case, done: Done, out: str, err: str) -> Iterator[str]:
    if found := _CONTROL.search(out + err):
        yield f"a control character, {found[0]!r}"
    if done.code == 0 and "--json" in case.argv and not case.stdout:
        try:
            json.loads(out)
        except ValueError:
            yield "--json gave no JSON"


def _snapshot(folder: Path) -> dict[Path, str]:
    """Every file with what is in it."""
    found = {}
    for path in _files(folder):
        if path.is_symlink() or not path.is_file():
            found[path] = "something else"
        elif path.stat().st_size < 2**24:
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[path] = f"{path.stat().st_size} {path.stat().st_mtime_ns}"
    return found


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # something there is forbidden
        for path in [folder, *folder.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder)
