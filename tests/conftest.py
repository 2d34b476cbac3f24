"""What every test gets: a clean environment, no way out of this machine, and servers on request."""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from shutil import disk_usage

import pytest
from hypothesis import settings

from tests import marked
from tests.databases import migrated_postgres
from tests.postgres import PostgresServer, start_postgres
from tests.tools import require_tool
from tests.watch_for_leaks import _no_secret_left, search_report

__all__ = ["_no_secret_left"]

ROOT = Path(__file__).parent.parent

_SCRUBBED = ("POSTPOST_", "PUBLORA_", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "PG", "NO_COLOR", "FORCE_COLOR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def _scrub_environment() -> None:
    for name in list(os.environ):
        if name.startswith(_SCRUBBED) or name.lower() in _PROXIES:
            del os.environ[name]
    # Naive local times show at once where local time is not UTC and not even whole hours from it.
    os.environ["TZ"] = "Asia/Kathmandu"
    time.tzset()


class _Guard:
    """Refuses connections that a test must not make: none leaves this machine, none at all in tests/unit."""

    def __init__(self) -> None:
        self.sockets_allowed = True

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event != "socket.connect":
            return
        address = arguments[1]
        if not isinstance(address, tuple):
            return
        host = str(address[0])
        if not (host == "localhost" or host.startswith("127.") or host in ("::1", "::ffff:127.0.0.1")):
            raise AssertionError(f"a test tried to connect to {address!r}: tests stay on the loopback interface")
        if not self.sockets_allowed:
            raise AssertionError(f"a unit test tried to connect to {address!r}: move it to tests/integration")


def _keep_compiled_modules() -> None:
    """Here and in every process that a test starts: else each start compiles the whole program again, a second of CPU."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def _keep_files_in_memory() -> None:
    """Where a file system in memory has room, no test waits for a disk: thousands of databases are made and thrown away."""
    folder = Path("/dev/shm")
    if os.access(folder, os.W_OK) and disk_usage(folder).free > 4 * 2**30:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(folder))


_scrub_environment()
_keep_compiled_modules()
_keep_files_in_memory()
_guard = _Guard()
sys.addaudithook(_guard)

# Else pytest-asyncio's look for a current loop makes one that nobody closes: an async test after a plain one would fail.
asyncio.set_event_loop(None)

# No deadline: the machine is shared. Under CI the same examples every time: what is red there is red here.
settings.register_profile("ours", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.register_profile("quick", settings.get_profile("ours"), max_examples=30)
settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
    """With the slow tests left out, fewer examples too."""
    if config.getoption("markexpr") == "not slow":
        settings.load_profile("quick")


def _no_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Under CI a skipped test has failed: nobody would notice that it never runs."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"


def pytest_xdist_auto_num_workers() -> int:
    """Half as many workers again as there are CPUs: a third of the tests' time is waiting for processes and deadlines."""
    cpus = os.cpu_count() or 1
    return cpus + cpus // 2


_HEAVIEST_FIRST = ("e2e", "crash", "deploy", "project", "integration", "unit")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each worker its share of the files of every kind, the heaviest first: what is stolen at the end are short unit tests."""
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    kinds = {kind: number for number, kind in enumerate(_HEAVIEST_FIRST)}
    ordered = sorted(files, key=lambda path: kinds.get(path.relative_to(ROOT / "tests").parts[0], len(kinds)))
    items[:] = [item for number in range(workers) for path in ordered[number::workers] for item in files[path]]


def pytest_collection_finish() -> None:
    """Leave the modules and the collected tests out of the collections of garbage: walking them costs a tenth of the whole run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Look at each result of a test."""
    report = yield
    _no_skip(report)
    search_report(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Look at each result of a collection: a module may skip itself."""
    report = yield
    _no_skip(report)
    return report


@pytest.fixture(autouse=True)
def _sockets_only_where_allowed(request: pytest.FixtureRequest) -> Iterator[None]:
    _guard.sockets_allowed = "unit" not in request.path.relative_to(ROOT / "tests").parts[:1]
    yield
    _guard.sockets_allowed = True


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A private PostgreSQL server, started when the first test of this worker asks for it."""
    server = start_postgres()
    yield server
    # Its log and its write-ahead log, which holds the rows of all tests, those of dropped databases too.
    found = marked.leaks_below(server.folder)
    server.stop()
    assert found == [], "a secret was written into a database"


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty PostgreSQL database that only this test uses."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a PostgreSQL database with the newest schema and no rows that only this test uses."""
    url = migrated_postgres(postgres_server)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus' own checker of rules and of the exposition format."""
    return require_tool("promtool")
