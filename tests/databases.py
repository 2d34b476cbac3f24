"""Databases with the newest schema and no rows: migrated once per process, copied for every test."""

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, inspect

from monitor.db.migrations import upgrade
from monitor.db.sqlite import writing_engine
from tests.postgres import PostgresServer


def migrated_sqlite(path: Path) -> str:
    """The address of a new SQLite database at *path*."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_migrated_file())
    return f"sqlite:///{path}"


def migrated_postgres(server: PostgresServer) -> str:
    """The address of a new PostgreSQL database on *server*."""
    return server.create_database(_migrated_template(server))


def table_names(connection: Connection) -> set[str]:
    """The tables of a database, without the partitions of one, of which a database has as many as it has days."""
    return {name for name in inspect(connection).get_table_names() if not name.startswith("checks_")}


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "monitor.db"
        _migrate(writing_engine(path))
        return path.read_bytes()


@cache
def _migrated_template(server: PostgresServer) -> str:
    url = server.create_database()
    _migrate(create_engine(url.replace("://", "+psycopg://")))
    return url.rpartition("/")[2]


def _migrate(engine: Engine) -> None:
    with engine.begin() as connection:
        upgrade(connection, lambda _: None)
    engine.dispose()
