"""Reads, examines and copies a database that another process may have open: takes no lock, changes nothing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from monitor.db import migrations
from monitor.db.errors import translated
from monitor.db.files import DamageNote
from monitor.db.sqlite import Report, backup, check_pages, disk_problem, lock_problem, no_report, reading_engine
from monitor.db.tables import REVISION
from monitor.db.transaction import Reader
from monitor.errors import ConfigError, Problem, StoreError, StoreUnavailable

_READ_ONLY = text("SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean")


def parse(url: str) -> URL:
    """The parts of a database address; raises ConfigError for an unusable one."""
    try:
        address = make_url(url)
    except ArgumentError:
        raise _refused("not a database address") from None
    kind = address.get_backend_name()
    if kind == "sqlite" and address.database and address.database != ":memory:" and not address.query:
        return address
    if address.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        return address.set(drivername="postgresql+psycopg")
    raise _refused(f"{address.drivername} can't be used")


@contextmanager
def reading(url: str) -> Iterator[Reader]:
    """A reader of the database at *url* while the context lasts. Raises StoreUnavailable, or SchemaMismatch for another schema."""
    engine = reading_engine_of(parse(url))
    try:
        with translated(), engine.connect() as connection, connection.begin():
            migrations.require_current(connection)
            yield Reader(connection)
    finally:
        engine.dispose()


def write_problem(reader: Reader, url: str, *, idle: bool) -> str:
    """Why the database of *reader*, at *url*, takes no writes now, as far as it can be seen without writing; *idle*: none were seen for long."""
    if reader.dialect == "postgresql":
        read_only = reader.rows(_READ_ONLY)[0][0]
        return "the server is a standby, or default_transaction_read_only is on" if read_only else ""
    path = existing(parse(url))
    return disk_problem(os.statvfs(path), idle=idle) or lock_problem(path)


def examine(url: str, report: Report = no_report) -> str:
    """
    Check the database for damage; returns the line to print. *report* gets the progress.

    Raises:
        StoreCorrupt: it is damaged; says how to repair it.
        SchemaMismatch: its schema is not this program's.
        StoreUnavailable: it does not exist or can't be reached.
    """
    address = parse(url)
    engine = reading_engine_of(address)
    try:
        if engine.dialect.name == "sqlite":
            check_pages(Path(address.database or ""), engine, report=report)
        with translated(), engine.connect() as connection, connection.begin():
            migrations.require_current(connection)
            checks = connection.execute(text("SELECT count(*) FROM checks")).scalar_one()
    finally:
        engine.dispose()
    return f"The database is sound: schema {REVISION}, {checks} checks in its history."


def damage_is_news(url: str, now: datetime, lasting: timedelta) -> bool:
    """Whether the damage of the database at *url* was not notified within the *lasting* time before *now*; notes that it is now."""
    address = parse(url)
    return address.get_backend_name() != "sqlite" or DamageNote(Path(address.database or "")).leave(now, lasting)


def back_up(url: str, target: Path | None, now: datetime, report: Report = no_report) -> str:
    """Copy an SQLite database to *target*, by default beside itself, and check it; returns the line to print. Raises StoreError."""
    address = parse(url)
    if address.get_backend_name() != "sqlite":
        raise StoreError("PostgreSQL is backed up with pg_dump")
    path = existing(address)
    target = target or path.with_name(f"{path.name}.backup-{now:%Y%m%dT%H%M%SZ}")
    backup(path, target, report)
    return f"Copied to {target}"


def reading_engine_of(address: URL) -> Engine:
    """The engine of readers of the database at *address*; raises StoreUnavailable when its file does not exist."""
    if address.get_backend_name() == "sqlite":
        return reading_engine(existing(address))
    from monitor.db.postgres import reading_from  # noqa: PLC0415 - a file needs none of it

    return reading_from(address)


def existing(address: URL) -> Path:
    """The database file at *address*; raises StoreUnavailable when it does not exist or this user may not read it."""
    path = Path(address.database or "")
    try:
        with path.open("rb"):
            return path
    except PermissionError:
        raise StoreUnavailable(f"{path} can't be read by this user: run the command with sudo") from None
    except OSError:
        raise StoreUnavailable(f"there is no database at {path}") from None


def _refused(problem: str) -> ConfigError:
    return ConfigError((Problem("database.url", problem, "sqlite:////folder/file.db or postgresql://user:password@host/name"),))
