"""
Databases for tests: every test that asks for one runs on SQLite and on PostgreSQL.

On PostgreSQL the modules about the database itself always run; the others, which only read or write through it, are slow there.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from monitor.clock import SystemClock
from monitor.db import Database
from tests.databases import migrated_sqlite

_ABOUT_THE_DATABASE = {"test_db_store", "test_db_writer", "test_db_files", "test_migrations", "test_storage_faults", "test_indexes"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the PostgreSQL twins of tests that are not about the database as slow."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if "postgres" in parameters.values() and item.path.stem not in _ABOUT_THE_DATABASE:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path}/state/monitor.db"


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The address of an SQLite database with the newest schema and no rows."""
    return migrated_sqlite(tmp_path / "state" / "monitor.db")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """The address of a database without tables, of each kind."""
    url: str = request.getfixturevalue(f"empty_{request.param}_url")
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The address of a database with the newest schema and no rows, of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started database of each kind."""
    opened = Database(database_url, clock=SystemClock(), owner="test")
    await opened.start()
    yield opened
    await opened.close()
