"""Which schema a database has, and bringing it up to date. Alembic is loaded only when there is something to do."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from monitor.db.faults import translated
from monitor.db.tables import REVISION
from monitor.errors import SchemaMismatch, StoreError

_VERSIONS = "alembic_version"


def migrations() -> Path:
    """The folder of the migrations: beside this package in a source checkout, inside of it once installed."""
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


def require_current(connection: Connection) -> None:
    """Raises SchemaMismatch unless the database has exactly this program's schema."""
    found = revision(connection)
    if found != REVISION:
        raise SchemaMismatch(f"the database has schema {found or 'none'}, this program needs {REVISION}: run `postpost-monitor db upgrade`")


def upgrade(connection: Connection, before: Callable[[str], None]) -> bool:
    """
    Bring the database to this program's schema, all in the caller's open transaction.

    *before* is called with the old revision before an existing database is changed. Returns whether anything was done.

    Raises:
        SchemaMismatch: a newer program wrote this database.
    """
    found = revision(connection)
    if found == REVISION:
        return False
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    from alembic import command  # noqa: PLC0415 - half a second that most starts can do without

    config = Config()
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None:
        if found not in known:
            raise SchemaMismatch(
                f"the database has schema {found}, which is newer than this program's {REVISION}: "
                "install the newer program again, or restore the backup made before the upgrade"
            )
        before(found)
    config.attributes["connection"] = connection
    with translated():
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(f"the database can't be upgraded: {error}") from None
    return True
