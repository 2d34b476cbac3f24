"""
Upgrades copies of a database and is killed after each statement in turn. A process of its own that forks: nothing is imported twice.

    python -m tests.crash.migrations DATABASE FOLDER FIRST STEP

DATABASE is a file to copy, or the address of a PostgreSQL database to use as a template. It is killed after every STEP-th
statement, from the FIRST on, until an upgrade comes to its end. Prints one line for each kill: after how many statements,
and `ok`, or what was wrong with the database after the next start.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event, text

from monitor.db import migrations
from monitor.db.sqlite import writing_engine
from monitor.db.tables import metadata
from tests.databases import table_names

Rows = dict[str, list[tuple[Any, ...]]]


def rows(connection: Connection, wanted: set[str] | None = None) -> Rows:
    """All rows of these tables, by default of all but those that a start changes."""
    names = wanted if wanted is not None else table_names(connection) - {"alembic_version", "lease"}
    return {name: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {name}"))), key=repr) for name in names}


class Copies:
    """Copies of one database, one at a time."""

    def __init__(self, template: str, folder: Path) -> None:
        self._template = template
        self._folder = folder

    @contextmanager
    def copy(self, number: int) -> Iterator[Callable[[], Engine]]:
        """A fresh copy, as a way to connect to it: engines do not survive a fork."""
        if not self._template.startswith("postgresql"):
            path = self._folder / f"copy{number}.db"
            shutil.copy(self._template, path)
            yield lambda: writing_engine(path)
            path.unlink()
            return
        server, _, name = self._template.rpartition("/")
        url = f"{server}/{name}_copy_{number}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}_copy_{number} TEMPLATE {name} STRATEGY file_copy".encode())
            yield lambda: create_engine(url.replace("://", "+psycopg://"))
            admin.execute(f"DROP DATABASE {name}_copy_{number} WITH (FORCE)".encode())


def upgrade(engine: Engine, *, die_after: int = 0) -> int:
    """Upgrade as a start does; returns the number of statements, unless it ends this process after one of them."""
    count = 0

    @event.listens_for(engine, "after_cursor_execute")
    def counted(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        nonlocal count
        # Reading changes nothing, so being killed after it is being killed before it.
        count += not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if count == die_after > 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with engine.connect() as connection, connection.begin():
        migrations.upgrade(connection, lambda _revision: None)
    engine.dispose()
    return count


def killed(connect: Callable[[], Engine], after: int) -> bool:
    """Whether an upgrade in another process was killed, because it had so many statements."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            upgrade(connect(), die_after=after)
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the upgrade itself failed"
    return os.WIFSIGNALED(status)


def problem(connect: Callable[[], Engine], before: Rows, expected: Rows) -> str:
    """What is wrong with a database whose upgrade was killed, once it is upgraded again; empty when nothing is."""
    engine = connect()
    with engine.connect() as connection:
        if rows(connection, set(before)) != before:
            return "the rows changed before the second start"
    engine.dispose()
    upgrade(connect())
    engine = connect()
    with engine.connect() as connection:
        found = rows(connection)
        if set(found) != set(metadata.tables) - {"lease"}:
            return f"other tables: {sorted(found)}"
        if engine.dialect.name == "sqlite" and connection.execute(text("PRAGMA integrity_check")).scalar() != "ok":
            return "damaged"
    engine.dispose()
    return "" if found == expected else "rows were lost or changed"


def say(when: str, trouble: str) -> None:
    """Print the line of one kill."""
    sys.stdout.write(f"{when} {trouble or 'ok'}\n")


def main(template: str, folder: str, first: int, step: int) -> None:
    """Kill after the statements *first*, *first* + *step*, ...; at last see that it also comes to its end."""
    copies = Copies(template, Path(folder))
    with copies.copy(0) as connect:
        upgrade(connect())
        engine = connect()
        with engine.connect() as connection:
            expected = rows(connection)
        engine.dispose()
    after = first
    while True:
        with copies.copy(after) as connect:
            engine = connect()
            with engine.connect() as connection:
                before = rows(connection)
            engine.dispose()
            if not killed(connect, after):
                say("end", problem(connect, {name: expected[name] for name in before}, expected))
                return
            say(str(after), problem(connect, before, expected))
        after += step


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
