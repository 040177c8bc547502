"""Large libraries are imported without a search for garbage, which would take a fifth of the time and more afterwards."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ssl_pdr.imports import in_one_go

SEARCHES = """
import gc
searches = []
gc.callbacks.append(lambda phase, found: searches.append((phase, found["generation"])))
{}
print(searches.count(("start", 2)), gc.get_freeze_count() > 100_000, gc.isenabled())
"""


@pytest.fixture
def _collecting() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_collecting")
def test_garbage_is_not_looked_for_inside_and_is_afterwards() -> None:
    with in_one_go():
        assert not gc.isenabled()
        with in_one_go():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.usefixtures("_collecting")
def test_a_library_that_is_not_there_changes_nothing() -> None:
    with pytest.raises(ImportError), in_one_go():
        import no_such_library  # noqa: F401
    assert gc.isenabled()


@pytest.mark.usefixtures("_collecting")
def test_who_looks_for_no_garbage_is_left_alone() -> None:
    gc.disable()
    with in_one_go():
        pass
    assert not gc.isenabled()


def test_what_is_set_aside_is_set_aside_once() -> None:
    with in_one_go():
        pass
    before = gc.get_freeze_count()
    kept = [[number] for number in range(10_000)]
    with in_one_go():
        pass
    assert gc.get_freeze_count() <= before < len(kept) + before


LIST = """
from ssl_pdr.cli import main
try:
    main(["list", "--json"])
except SystemExit:
    pass
"""
SERVE = """
from multiprocessing import Pipe
from ssl_pdr.curves.serving import serve
ours, theirs = Pipe()
ours.send(None)
serve(theirs, 1, None)
"""


@pytest.mark.parametrize("work", [pytest.param(LIST, id="command"), pytest.param(SERVE, id="worker")])
def test_processes_of_ours_begin_with_it(work: str) -> None:
    made = subprocess.run(  # this interpreter
        [sys.executable, "-c", SEARCHES.format(work)], capture_output=True, text=True, check=True
    )
    full, aside, enabled = made.stdout.splitlines()[-1].split()
    assert (aside, enabled) == ("True", "True")
    assert int(full) <= 1
