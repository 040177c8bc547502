"""Bad input through the real command line: a few cases of each kind; all of them are `python -m benchmarks.fuzz`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from benchmarks.fuzz.__main__ import all_cases, sample
from benchmarks.fuzz.case import FINE, Bench, Case, faults_of
from benchmarks.fuzz.server import Done
from benchmarks.fuzz.ways import put

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("fuzz")) as made:
        yield made


def test_bad_input_of_every_kind_ends_in_one_line(bench: Bench) -> None:
    cases = [case for case in all_cases() if case.kind != "bombs"]  # which take seconds to be made
    faults = {str(v.case): (v.faults, v.done.err) for v in map(bench.run, sample(cases, 1, seed=1)) if v.faults}
    assert faults == {}


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        ({"argv": ("list", "x"), "ends": FINE}, "exit code 2, expected 0"),
        ({"argv": ("split", "--data", "reviews.csv", "--output", "out/s.json")}, "exit code 0, expected 2"),
        ({"argv": ("list", "x"), "says": "did you mean"}, "its message does not say 'did you mean'"),
        ({"argv": ("split", "--data", "reviews.csv", "--output", "mine.json"), "ends": FINE}, "it wrote"),
    ],
)
def test_the_judge_sees(bench: Bench, case: dict[str, object], fault: str) -> None:
    faults = bench.run(Case(kind="judge", name=fault, **case)).faults  # type: ignore[arg-type]
    assert any(fault in one for one in faults)


def test_the_judge_sees_that_torch_was_imported_and_control_characters() -> None:
    case = Case(kind="judge", name="torch", argv=("list", "x"), light=True)
    done = Done(code=2, seconds=0.1, peak=0, torch=True, out=b"", err=b"error: \x1b[31m\n")
    assert list(faults_of(case, done)) == ["torch was imported before the error", "a control character, '\\x1b'"]


def test_the_judge_sees_what_a_text_takes(bench: Bench) -> None:
    text = "film " * 700_000
    argv = ("split", "--data", "long.csv", "--text-column", "text", "--output", "out/s.json")
    done = bench.run(
        Case(kind="judge", name="memory", argv=argv, make=put("long.csv", f"text,label\n{text},a\nb,b\n"))
    ).done
    assert done.peak > len(text)
