"""Bad input, more than two thousand times: `python -m benchmarks.fuzz`.

Every case is a command of `ssl-pdr` in a process of its own, in a folder of its own, that meets a bad file, a bad argument or a bad place. It has to end with exit
code 2 and one line of error, or to do its work; within ten seconds of processor time and one gibibyte of memory beyond the imports, writing nowhere but where it
was told to, and, where an argument is bad, before torch is imported. Linux only.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from benchmarks.fuzz import binaries, folders, models, mutants, objects, options, places, recipes, texts
from benchmarks.fuzz.case import Bench, Case, Verdict
from benchmarks.report import RESULTS, show, write

_ROOMS = (options, recipes, texts, objects, binaries, places, folders, models, mutants)


def all_cases() -> list[Case]:
    """Every case there is, by kind."""
    found = [case for room in _ROOMS for case in room.cases()]
    names = [str(case) for case in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two cases are called {next(name for name in names if names.count(name) > 1)!r}")
    return sorted(found, key=lambda case: case.kind)


def sample(cases: Iterable[Case], of_each: int, seed: int) -> list[Case]:
    """Some cases of each kind, others for each seed."""
    rng = random.Random(seed)
    kinds = [list(group) for _, group in groupby(cases, key=lambda case: case.kind)]
    return [case for kind in kinds for case in rng.sample(kind, min(of_each, len(kind)))]


def run(cases: Sequence[Case], jobs: int = 1) -> list[Verdict]:
    """All of them; what fails is told at once."""
    with ThreadPoolExecutor(jobs) as pool:
        parts = list(pool.map(_run, [cases[place::jobs] for place in range(jobs)]))
    return sorted((verdict for part in parts for verdict in part), key=lambda verdict: verdict.case.kind)


def _run(cases: Sequence[Case]) -> list[Verdict]:
    """One after the other."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="ssl_pdr_fuzz_") as folder, Bench(Path(folder)) as bench:
        for number, case in enumerate(cases, 1):
            verdict = bench.run(case)
            verdicts.append(verdict)
            if verdict.faults:
                tell(verdict)
            if number % 100 == 0:
                print(f"{number} of {len(cases)}", file=sys.stderr)
    return verdicts


def tell(verdict: Verdict) -> None:
    """What a person needs to see of a case, and to run it again."""
    print(f"{'FAILED' if verdict.faults else 'passed'} {str(verdict.case).encode(errors='backslashreplace').decode()}")
    for fault in verdict.faults:
        print(f"    {fault}".encode(errors="backslashreplace").decode())
    print(
        f"    {verdict.case.shown}\n    exit code {verdict.done.code}, stderr: {verdict.done.err.decode(errors='backslashreplace').strip()[-500:]}"
    )
    print(f"    again: python -m benchmarks.fuzz --case {str(verdict.case)!r}")


def summary(verdicts: Sequence[Verdict]) -> dict[str, dict[str, float]]:
    """Counts and the worst of each kind."""
    return {
        kind: {
            "cases": len(of_kind),
            "refused": sum(v.done.code == 2 for v in of_kind),
            "handled": sum(v.done.code == 0 for v in of_kind),
            "failed": sum(bool(v.faults) for v in of_kind),
            "seconds": round(sum(v.done.seconds for v in of_kind), 1),
            "longest_seconds": round(max(v.done.seconds for v in of_kind), 2),
            "peak_mib": round(max(v.done.peak for v in of_kind) / 2**20),
        }
        for kind, of_kind in ((kind, list(group)) for kind, group in groupby(verdicts, key=lambda v: v.case.kind))
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--case", help="run this one only, and show what it says")
    parser.add_argument("--kind", nargs="+", help="these kinds only; nothing is written")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many of each kind; nothing is written")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--list", action="store_true", help="name the cases only")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args(arguments)
    cases = all_cases()
    if asked.kind:
        cases = [case for case in cases if case.kind in asked.kind]
    if asked.case:
        cases = [case for case in cases if str(case) == asked.case]
    if not cases:
        parser.error("there is no such case; --list names them")
    if asked.list:
        print("\n".join(str(case).encode(errors="backslashreplace").decode() for case in cases))
        return
    if asked.sample:
        cases = sample(cases, asked.sample, asked.seed)
    began = time.perf_counter()
    verdicts = run(cases, min(asked.jobs, len(cases)))
    if asked.case:
        tell(verdicts[0])
    kinds = summary(verdicts)
    failed = [str(v.case) for v in verdicts if v.faults]
    columns = ("kind", "cases", "refused", "handled", "failed", "seconds", "longest", "peak MiB")
    show(
        f"{len(cases)} cases",
        columns,
        [(kind, *(f"{value:g}" for value in facts.values())) for kind, facts in kinds.items()],
    )
    if not (asked.case or asked.kind or asked.sample):
        facts = {
            "cases": len(cases),
            "failed": failed,
            "wall_seconds": round(time.perf_counter() - began),
            "kinds": kinds,
        }
        print(write("fuzz", facts, asked.output))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
