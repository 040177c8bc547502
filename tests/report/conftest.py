"""What the tests of the report share: a folder whose report is written once."""

from __future__ import annotations

import pytest

from ssl_pdr.report.curve_report import Report, write_report
from tests.report.curve_folder import HOSTILE, write_curve


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a curve with a run that failed, and one that is not there yet."""
    folder = write_curve(
        tmp_path_factory.mktemp("curve") / "sst2",
        failed={("vat:shl", 0.5, 3): "out of memory"},
        missing=[("rdrop:kl", 1.0, 4)],
    )
    return write_report(folder)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of a curve whose every text would like to be markup."""
    folder = write_curve(
        tmp_path_factory.mktemp("curve") / "hostile",
        name=HOSTILE,
        methods=("none", HOSTILE),
        parts=("in_domain", HOSTILE),
        seeds=2,
        failed={(HOSTILE, 0.5, 1): HOSTILE},
        words=HOSTILE,
    )
    return write_report(folder)


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of one budget, one seed and many methods."""
    methods = ("none", "rdrop", "jr", *(f"vat:kl,alpha={alpha}" for alpha in range(1, 21)))
    return write_report(
        write_curve(tmp_path_factory.mktemp("curve") / "single", budgets=(0.1,), seeds=1, methods=methods)
    )
