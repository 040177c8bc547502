"""A process that has imported the command line once, and forks for each command that it is asked to run.

A command so runs in a process of its own, with its own folder, output, exit code and limits, without the ten seconds that importing torch takes. `light` has
imported what `ssl-pdr --help` imports, and tells whether a command went on to import torch.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_pdr.imports import in_one_go

ROOM = (
    3 * 2**30
)  # of addresses beyond those of the imports: a guard for the machine; what is judged is the memory in use
FILES = 3 * 2**30
WALL = 300
_READ_ANYTHING = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: its exit code; that of a signal is negative.
        seconds: of processor time.
        peak: bytes in use at most, beyond the imports.
        torch: whether torch was imported; None where that is not known.
        out: what it wrote to standard output.
        err: what it wrote to standard error.
    """

    code: int
    seconds: float
    peak: int
    torch: bool | None
    out: bytes
    err: bytes


class Server:
    """Runs commands in forks of one process.

    Args:
        home: an empty folder, in place of the user's home.
        light: import no torch.
    """

    def __init__(self, home: Path, *, light: bool) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SSL_PDR", "HF_", "XDG_", "RANK"))}
        environment |= {"HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
        root = str(Path(__file__).parents[2])
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, environment.get("PYTHONPATH"))))
        command = [sys.executable, "-m", "benchmarks.fuzz.server", *(["light"] if light else [])]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=home
        )

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def run(
        self,
        argv: Sequence[str] | None,
        folder: Path,
        scratch: Path,
        *,
        stdout: str = "",
        encoding: str = "",
        seconds: int = 60,
    ) -> Done:
        """Run `ssl-pdr ARGV`, or `benchmarks.fuzz.world` where there is no ARGV.

        Args:
            argv: of the command.
            folder: that it is started in.
            scratch: for its output; `scratch/tmp` is its TMPDIR.
            stdout: a file in place of one there.
            encoding: of the terminal that it believes to have.
            seconds: of processor time, after which it is killed.
        """
        assert self._process.stdin
        assert self._process.stdout
        (scratch / "tmp").mkdir(parents=True, exist_ok=True)
        asked = {
            "argv": None if argv is None else list(argv),
            "folder": str(folder),
            "scratch": str(scratch),
            "seconds": seconds,
        }
        self._process.stdin.write(json.dumps({**asked, "stdout": stdout, "encoding": encoding}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the server died of: ssl-pdr {' '.join(argv or ())}")
        done = json.loads(answer)
        try:
            facts = json.loads((scratch / "facts").read_text(encoding="utf-8"))
        except FileNotFoundError:  # it was killed
            facts = {"torch": None}
        out = b"" if stdout else (scratch / "out").read_bytes()
        return Done(**done, torch=facts["torch"], out=out, err=(scratch / "err").read_bytes())


def serve() -> Callable[[], None] | None:
    """Answer requests; in a fork, what it has to do."""
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _enter(asked)
            return make_it if asked["argv"] is None else run_it
        began = Path(asked["scratch"], "began")
        _, status, used = os.wait4(pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # whatever it may have started and left
        before = int(began.read_text()) if began.exists() else 0
        answer = {
            "code": os.waitstatus_to_exitcode(status),
            "seconds": used.ru_utime + used.ru_stime,
            "peak": max(used.ru_maxrss * 1024 - before, 0),
        }
        print(json.dumps(answer), file=sys.__stdout__, flush=True)
    return None


def _enter(asked: dict[str, Any]) -> None:
    """From here on the process is the command's."""
    scratch = Path(asked["scratch"])
    (scratch / "began").write_text(str(_pages(1) * resource.getpagesize()))
    os.setsid()
    outputs = (asked["stdout"] or str(scratch / "out"), str(scratch / "err"))
    for number, path in enumerate(("/dev/null", *outputs)):
        opened = os.open(path, os.O_RDWR if number == 0 else os.O_WRONLY | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    if asked["encoding"]:
        sys.stdout.reconfigure(encoding=asked["encoding"], errors="strict")  # type: ignore[union-attr]
        sys.stderr.reconfigure(encoding=asked["encoding"], errors="backslashreplace")  # type: ignore[union-attr]
    os.chdir(asked["folder"])
    os.environ["TMPDIR"], tempfile.tempdir = str(scratch / "tmp"), None
    _obey_permissions()
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"] + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILES, FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    addresses = _pages(0) * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(WALL)
    sys.argv = ["ssl-pdr", *(asked["argv"] or ())]


def _pages(place: int) -> int:
    """Of this process: 0 for its addresses, 1 for what is in memory."""
    return int(Path("/proc/self/statm").read_text().split()[place])


def _obey_permissions() -> None:
    """What is forbidden is forbidden to root too."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; the same of the higher capabilities
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for place in (0, 1, 2):
        sets[place] &= ~_READ_ANYTHING
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def run_it() -> None:
    """What `python -m ssl_pdr` does."""
    from ssl_pdr.cli import main

    main()


def make_it() -> None:
    """The world."""
    from benchmarks.fuzz.world import make_world

    make_world(Path.cwd())


def _obey(work: Callable[[], None]) -> int:
    """Do it, and note what was imported; the exit code."""
    code = 0
    try:
        work()
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001  # as the interpreter would
        traceback.print_exc()
        code = 1
    facts = json.dumps({"torch": "torch" in sys.modules})
    Path(os.environ["TMPDIR"]).with_name("facts").write_text(facts, encoding="utf-8")
    return code


def _leave(code: int) -> None:
    """End as the interpreter does, without the seconds in which it takes torch apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120  # as Python has it
    os._exit(code)


def import_all() -> None:
    """What commands import as they go."""
    import importlib

    from ssl_pdr.cli.live import quiet

    quiet()  # as every command does before it imports transformers
    for name in (
        *(
            "evaluation",
            "experiment",
            "materials",
            "methods",
            "diagnostics",
            "provenance",
            "data.checks",
            "data.pydocs",
        ),
        *(
            "cli.live",
            "cli.curve_view",
            "cli.corpus_view",
            "cli.paper_view",
            "curves.engine",
            "curves.grid_file",
            "curves.local",
        ),
        *("report.curve_report", "report.inspection", "report.theory_plot", "report.relative_drop", "paper.reproduce"),
    ):
        importlib.import_module(f"ssl_pdr.{name}")
    import matplotlib.backends.backend_svg
    import matplotlib.pyplot  # noqa: F401
    import torch
    from transformers import AutoTokenizer, BertForQuestionAnswering, BertForSequenceClassification, BertTokenizerFast

    assert all((AutoTokenizer, BertForQuestionAnswering, BertForSequenceClassification, BertTokenizerFast))
    torch.set_num_threads(1)


if __name__ == "__main__":
    with in_one_go():
        if "light" not in sys.argv:
            import_all()
    if work := serve():
        _leave(_obey(work))
