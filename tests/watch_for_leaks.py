"""After every test: what it printed and logged, and what it left in its folder, is searched for the secrets of `tests/marked.py`."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import marked

__all__ = ["_no_secret_left", "pytest_runtest_makereport"]


@pytest.fixture(autouse=True)
def _no_secret_left(request: pytest.FixtureRequest) -> Iterator[None]:
    folder: Path | None = request.getfixturevalue("tmp_path") if "tmp_path" in request.fixturenames else None
    yield
    found = marked.leaks_below(folder) if folder is not None and folder.is_dir() else []
    assert not found, f"a secret was left in {folder}: {found}"


def search_report(report: pytest.TestReport) -> None:
    """Let a test that printed or logged a secret fail."""
    found = [f"{name}: {disguise}" for name, text in report.sections for disguise in marked.disguises_in(text.encode(errors="replace"))]
    if found and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = f"a secret was printed or logged: {found}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at each result of a test."""
    report = yield
    search_report(report)
    return report
