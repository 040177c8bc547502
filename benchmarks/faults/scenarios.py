"""Faults other than a plain kill: what breaks, what it is to look like, and how the run goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.kills import References, Tally, same
from benchmarks.faults.world import JOBS, Process, World, at_step

Before = Callable[[], object]


class Scene:
    """Where a fault is played: a world, and runs that were left alone to compare with."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.references = References(world)
        self.number = 0

    def folder(self) -> Path:
        """A new place for a run."""
        self.number += 1
        return self.world.root / f"run_{self.number}"

    def start(
        self,
        job: str,
        folder: Path,
        before: Before | None = None,
        environment: dict[str, str] | None = None,
        **more: Any,
    ) -> Process:
        """A run's first process."""
        return Process(
            self.world.train(job, folder, **more), self.world.root / f"run_{self.number}", before, environment
        )

    def judge(self, tally: Tally, job: str, folder: Path, process: Process, *, code: int, says: str) -> None:
        """Count a fault: the process has to end with a code and a line, the run to go on, and nothing to be changed."""
        ended, line = process.end(), process.last_line
        clear = ended == code and says in line and not any("Traceback" in one for one in process.errors)
        self.go_on(tally, job, folder, clear=clear, why=f"{job}: code {ended}, {line!r}, expected {code}, {says!r}")

    def go_on(
        self, tally: Tally, job: str, folder: Path, *, clear: bool = True, why: str = "", faults: int = 1
    ) -> None:
        """Resume and compare."""
        command = self.world.next_command(job, folder)
        after = None if command is None else Process(command, self.world.root / "going_on")
        done = after is None or after.end() == 0
        changed = same(folder, self.references.of(job)[0]) if done else "no result"
        detail = "" if after is None or done else after.last_line
        why = f"{why}; then {changed} {detail}"
        tally.count(survived=clear and done, changed=bool(changed), why=why, faults=faults)


def damaged_checkpoints(scene: Scene) -> Tally:
    """Each file of the newest checkpoint has a bit flipped, is cut, emptied, removed; and so has the seal."""
    tally, job = Tally(), "aligned"
    stopped = scene.folder()
    scene.start(job, stopped, at_step(24, lambda: os.kill(os.getpid(), signal.SIGTERM))).end()
    newest = stopped / "checkpoints" / "checkpoint-25"
    harms: dict[str, Callable[[Path], object]] = {
        "flipped": _flip,
        "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
        "emptied": lambda path: os.truncate(path, 0),
        "removed": Path.unlink,
    }
    for name in sorted(path.name for path in newest.iterdir()):
        for harm, do in harms.items():
            folder = scene.folder()
            shutil.copytree(stopped, folder)
            (folder / ".lock").unlink(missing_ok=True)
            do(folder / "checkpoints" / newest.name / name)
            process = Process(["train", "--resume", str(folder)], scene.world.root / "damaged")
            code = process.end()
            loud = any("checkpoint-25 cannot be used" in line for line in process.errors)
            changed = same(folder, scene.references.of(job)[0]).replace("result", "") if code == 0 else "no result"
            tally.count(
                survived=code == 0 and loud, changed=bool(changed), why=f"{name} {harm}: {changed} {process.last_line}"
            )
    return tally


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def terminated(scene: Scene) -> Tally:
    """SIGTERM at moments from the first step to the last: a checkpoint, and the code that a shell expects."""
    tally = Tally()
    for job, step in (("plain", 1), ("adversarial", 20), ("accumulated", 33), ("streamed", 45), ("random", 59)):
        folder = scene.folder()
        process = scene.start(job, folder, at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM)))
        says = f"stopped at step {step + 1}, checkpoint kept; go on with: ssl-pdr train --resume"
        scene.judge(tally, job, folder, process, code=143, says=says)
    return tally


def killed_at_the_end(scene: Scene, jobs: Iterable[str] = JOBS) -> Tally:
    """Killed when the training is done and the evaluation begins, and again after the resume: no step is taken twice, and none too many."""

    def arm() -> None:
        import ssl_pdr.experiment

        ssl_pdr.experiment._evaluate = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]

    tally = Tally()
    for job in jobs:
        folder = scene.folder()
        first = scene.start(job, folder, arm).end()
        again = Process(scene.world.next_command(job, folder) or [], scene.world.root / "again", arm).end()
        clear = (first, again) == (-signal.SIGKILL, -signal.SIGKILL)
        scene.go_on(tally, job, folder, clear=clear, why=f"{job}: codes {first}, {again}", faults=2)
    return tally


def interrupted_twice(scene: Scene) -> Tally:
    """Ctrl-C, and again in the same step."""

    def twice() -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    tally = Tally()
    for job, step in (("adversarial", 12), ("streamed", 30)):
        folder = scene.folder()
        process = scene.start(job, folder, at_step(step, twice))
        scene.judge(tally, job, folder, process, code=2, says="stopped at once, without a new checkpoint; go on with")
    return tally


@contextmanager
def small_disk(place: Path, megabytes: float) -> Any:
    """A disk of its own at a place; None where it may not be made."""
    place.mkdir()
    size = f"size={int(megabytes * 1024)}k"
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], capture_output=True, check=False)
    try:
        yield place if made.returncode == 0 else None
    finally:
        if made.returncode == 0:
            subprocess.run(["umount", "--lazy", place], check=False)


def full_disk(scene: Scene) -> Tally:
    """The disk fills up while a file is written, at sizes at which another file is the first that does not fit; then there is room."""
    tally = Tally()
    for kilobytes in (2, 40, 60, 100, 160, 230, 320):
        with small_disk(scene.folder(), 4) as disk:
            if disk is None:
                tally.notes.append("not played: this system lets nobody mount a small disk")
                return tally
            ballast = disk / "ballast"
            ballast.write_bytes(b"x" * (4 * 1024 - kilobytes) * 1024)
            folder = disk / "run"
            process = scene.start("adversarial", folder)
            code, line = process.end(), process.last_line
            ballast.unlink()
            clear = code == 2 and line.startswith("error: cannot write")
            clear &= "No space left on device" in line or "MB left on the disk" in line
            clear &= not any("Traceback" in one for one in process.errors)
            scene.go_on(tally, "adversarial", folder, clear=clear, why=f"{kilobytes} kB left: code {code}, {line!r}")
    return tally


def read_only(scene: Scene) -> Tally:
    """A disk that may only be read, from the beginning; and checkpoints that may only be read from the middle of a run on."""
    tally = Tally()
    for step in (None, 24):
        with small_disk(scene.folder(), 8) as disk:
            if disk is None:
                tally.notes.append("not played: this system lets nobody mount a small disk")
                return tally
            folder = disk / "run"
            place = folder / "checkpoints"

            def freeze(place: Path = place) -> None:
                subprocess.run(["mount", "--bind", place, place], check=True)
                subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)

            if step is None:
                subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            process = scene.start("adversarial", folder, None if step is None else at_step(step, freeze))
            code, line = process.end(), process.last_line
            release = ["mount", "-o", "remount,rw", disk] if step is None else ["umount", place]
            subprocess.run(release, check=True)
            clear = code == 2 and line.startswith("error: ") and "Read-only file system" in line
            scene.go_on(tally, "adversarial", folder, clear=clear, why=f"from step {step}: code {code}, {line!r}")
    return tally


def removed_folder(scene: Scene) -> Tally:
    """The run's folder is removed under it; nothing can be gone on with, but it has to be said."""
    tally = Tally()
    for step in (0, 15, 40):
        folder = scene.folder()
        process = scene.start("plain", folder, at_step(step, lambda folder=folder: shutil.rmtree(folder)))
        code, line = process.end(), process.last_line
        clear = code == 2 and line.startswith("error: cannot write") and str(folder) in line
        shutil.rmtree(folder, ignore_errors=True)
        scene.go_on(tally, "plain", folder, clear=clear, why=f"in step {step}: code {code}, {line!r}")
    return tally


def two_on_one(scene: Scene) -> Tally:
    """A second process on the folder of a run that is alive: to begin, to begin anew, and to resume."""
    tally, job = Tally(), "adversarial"
    for second in ("train", "--overwrite", "--resume"):
        folder = scene.folder()
        first = scene.start(job, folder, at_step(20, lambda: time.sleep(15)))
        while not (folder / "checkpoints").is_dir() and first.poll() is None:
            time.sleep(0.02)
        command = scene.world.train(job, folder) + (["--overwrite"] if second == "--overwrite" else [])
        if second == "--resume":
            command = ["train", "--resume", str(folder)]
        other = Process(command, scene.world.root / "other")
        code, line = other.end(), other.last_line
        clear = code == 2 and ("is in use by another process" in line or "holds an unfinished run" in line)
        clear &= first.end() == 0
        scene.go_on(tally, job, folder, clear=clear, why=f"{second}: code {code}, {line!r}; {first.last_line}")
    return tally


def out_of_memory(scene: Scene) -> Tally:
    """A step that does not fit: a clear line, or with `--auto-batch` smaller parts of the same rows."""

    def starve() -> None:
        """From step 21 on the allocator refuses what more than four rows would take, as it does where there is no memory left."""
        from ssl_pdr.progress import RunCallback

        def hungry(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            if module.training and len(kwargs["input_ids"]) > 4:
                torch.empty(2**50, dtype=torch.uint8)

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            if state.global_step == 20:
                model.register_forward_pre_hook(hungry, with_kwargs=True)

        RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]

    tally, job = Tally(), "adversarial"
    folder = scene.folder()
    process = scene.start(job, folder, starve)
    scene.judge(
        tally, job, folder, process, code=2, says="out of memory in step 21 with 8 rows at a time; --auto-batch, or"
    )
    folder = scene.folder()
    process = scene.start(job, folder, starve, **{"auto-batch": True})
    code = process.end()
    warned = any("rows go through the model 4 at a time now" in line for line in process.errors)
    near = code == 0 and _as_good(folder, scene.references.of(job)[0])
    tally.count(survived=code == 0 and warned, changed=not near, why=f"--auto-batch: code {code}, {process.last_line}")
    tally.notes.append("with --auto-batch the rows of every step are the same, the dropout masks are not")
    return tally


def _as_good(folder: Path, expected: dict[str, Any]) -> bool:
    """Whether a run has the log of another up to rounding and dropout masks: the same steps, labels and learning rates."""
    import json

    mine, theirs = ([json.loads(line) for line in log] for log in (_log(folder), expected["log"]))
    keys = ("step", "labelled_share", "learning_rate", "r_row_weight")
    return [[entry[key] for key in keys] for entry in mine] == [[entry[key] for key in keys] for entry in theirs]


def _log(folder: Path) -> list[str]:
    return (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()


def not_a_number(scene: Scene) -> Tally:
    """A weight becomes NaN: the run says so, no checkpoint has it, and the last one goes on."""
    tally = Tally()
    for job, step in (("plain", 17), ("adversarial", 30), ("streamed", 41)):

        def poison(step: int = step) -> None:
            from ssl_pdr.progress import RunCallback

            def on_step_begin(self: Any, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
                if state.global_step == step:
                    with torch.no_grad():
                        next(model.parameters()).fill_(torch.nan)

            RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]

        folder = scene.folder()
        process = scene.start(job, folder, poison)
        scene.judge(tally, job, folder, process, code=2, says=f"the loss is not finite at step {step + 1}")
    return tally


def jumping_clock(scene: Scene) -> Tally:
    """The clock is set back and forth in every step, and the newest checkpoint looks like the oldest."""

    def jump() -> None:
        from ssl_pdr.progress import RunCallback

        real, jumps = time.time, iter(range(10**6))
        time.time = lambda: real() + (-1) ** next(jumps) * 10**8

        def on_step_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            for path in Path(args.output_dir).parent.glob("checkpoint-*"):
                os.utime(path, (0, 10**9 - int(path.name.rpartition("-")[2]) * 10**6))
            if state.global_step == 30:
                os.kill(os.getpid(), signal.SIGKILL)

        RunCallback.on_step_begin = on_step_begin  # type: ignore[method-assign]

    tally = Tally()
    for job in ("plain", "adversarial"):
        folder = scene.folder()
        process = scene.start(job, folder, jump)
        code = process.end()
        kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
        clear = code == -9 and kept == ["checkpoint-21", "checkpoint-28"]
        scene.go_on(tally, job, folder, clear=clear, why=f"{job}: code {code}, kept {kept}")
    return tally


SCENARIOS: dict[str, Callable[[Scene], Tally]] = {
    "kill at the end": killed_at_the_end,
    "damaged checkpoint": damaged_checkpoints,
    "SIGTERM": terminated,
    "Ctrl-C twice": interrupted_twice,
    "full disk": full_disk,
    "read-only disk": read_only,
    "folder removed": removed_folder,
    "two on one folder": two_on_one,
    "out of memory": out_of_memory,
    "NaN in a weight": not_a_number,
    "jumping clock": jumping_clock,
}
