"""Schema revision and upgrade. Alembic is loaded only for an upgrade."""

import re
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from monitor.db.errors import translated
from monitor.db.tables import REVISION
from monitor.errors import SchemaMismatch, StoreError

_VERSIONS = "alembic_version"
_OURS = re.compile(r"\d{4}")
_ANOTHER_PROGRAM = "the database holds the tables of another program: name one of the monitor's own in database.url"


def migrations() -> Path:
    """The folder of the migrations: beside the package in a source checkout, inside it once installed."""
    package = Path(__file__).parent.parent
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError(f"the database migrations are missing from this installation ({package / '_alembic'})")


def revision(connection: Connection) -> str | None:
    """The schema revision of the database; None for an empty one."""
    with translated():
        if not inspect(connection).has_table(_VERSIONS):
            return None
        row = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).first()  # noqa: S608
    return None if row is None else str(row[0])


def known() -> set[str]:
    """The revisions that this program can upgrade from, and its own; each begins the name of its file."""
    return {file.stem.partition("_")[0] for file in (migrations() / "versions").glob("*.py")}


def require_ours(connection: Connection) -> str | None:
    """
    The schema revision of the database; None for an empty one.

    Raises:
        SchemaMismatch: a newer program wrote this database, or another one.
    """
    current = revision(connection)
    if current == REVISION or current in known():
        return current
    if current is None:
        if connection.dialect.name == "sqlite" and set(inspect(connection).get_table_names()) - {_VERSIONS}:
            raise SchemaMismatch(_ANOTHER_PROGRAM)
        return None
    if not _OURS.fullmatch(current):
        raise SchemaMismatch(_ANOTHER_PROGRAM)
    raise SchemaMismatch(
        f"the database has schema {current}, which is newer than this program's {REVISION}: "
        "install the newer program again, or restore the backup made before the upgrade"
    )


def require_current(connection: Connection) -> None:
    """Raises SchemaMismatch unless the database has exactly this program's schema."""
    current = require_ours(connection)
    if current != REVISION:
        raise SchemaMismatch(
            f"the database has schema {current or 'none'}, this program needs {REVISION}: run `postpost-monitor db upgrade`"
        )


def upgrade(connection: Connection, before: Callable[[str], None]) -> bool:
    """
    Upgrade the database to this program's schema, in the caller's open transaction.

    *before* is called with the old revision before an existing database is changed. Returns whether anything was done.

    Raises:
        SchemaMismatch: a newer program wrote this database, or another one.
    """
    current = require_ours(connection)
    if current == REVISION:
        return False
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415 - half a second that most starts can do without

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    if current is not None:
        before(current)
    config.attributes["connection"] = connection
    with translated():
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(f"the database can't be upgraded: {error}") from None
    return True
