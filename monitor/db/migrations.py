"""
Schema revision and upgrade. Alembic is loaded only for an upgrade.

A migration may say with `reads` which schema a program must know at least to go on after it; otherwise its own. So programs of an older
release work beside a newer one: it *expands* the schema, and what they need is removed one release later by a migration with
`contract = True`, which a cluster applies only when it is asked to.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from monitor.db.errors import translated
from monitor.db.tables import REVISION
from monitor.errors import SchemaMismatch, StoreError

_VERSIONS = "alembic_version"
_META = "schema_reads"
_READS = re.compile(r'^reads = "(\d{4})"$', re.MULTILINE)
_CONTRACT = re.compile(r"^contract = True$", re.MULTILINE)
# ruff: noqa: S608 - what is put into these statements are the names above
_READ_META = text(f"SELECT value FROM meta WHERE key = '{_META}'")
_CHANGE_META = text(f"UPDATE meta SET value = :reads WHERE key = '{_META}'")
_ADD_META = text(f"INSERT INTO meta (key, value) VALUES ('{_META}', :reads)")
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
        row = connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).first()
    return None if row is None else str(row[0])


@dataclass(frozen=True, slots=True)
class Migration:
    """
    One migration, as its file says; the revision begins the name of the file.

    Attributes:
        reads: the oldest schema whose programs go on after it.
        contract: it removes what only older programs need.
    """

    revision: str
    reads: str
    contract: bool


@cache
def _all_migrations(folder: Path) -> tuple[Migration, ...]:
    return tuple(_read(file) for file in sorted((folder / "versions").glob("*.py")))


def _read(file: Path) -> Migration:
    revision_, source = file.stem.partition("_")[0], file.read_text(encoding="utf-8")
    reads = _READS.search(source)
    return Migration(revision_, reads[1] if reads else revision_, _CONTRACT.search(source) is not None)


def known() -> set[str]:
    """The revisions that this program can upgrade from, and its own."""
    return {migration.revision for migration in _all_migrations(migrations())}


def pending(current: str | None) -> list[Migration]:
    """The migrations that a database with the schema *current* lacks."""
    return [one for one in _all_migrations(migrations()) if one.revision > (current or "")]


def serves(current: str | None) -> bool:
    """Whether this program works with the schema *current*: with its own, a newer one that it can read, or one not contracted yet."""
    return current is not None and all(migration.contract for migration in pending(current))


def require_ours(connection: Connection) -> str | None:
    """The schema revision of the database; None for an empty one. Raises SchemaMismatch for one that this program can't read."""
    current = revision(connection)
    if current == REVISION or current in known():
        return current
    if current is None:
        if connection.dialect.name == "sqlite" and set(inspect(connection).get_table_names()) - {_VERSIONS}:
            raise SchemaMismatch(_ANOTHER_PROGRAM)
        return None
    if not _OURS.fullmatch(current):
        raise SchemaMismatch(_ANOTHER_PROGRAM)
    with translated():
        reads = connection.execute(_READ_META).scalar()
    if reads is not None and reads <= REVISION < current:
        return current
    raise SchemaMismatch(
        f"the database has schema {current}, which is newer than this program's {REVISION}: "
        "install the newer program again, or restore the backup made before the upgrade"
    )


def require_current(connection: Connection) -> None:
    """Raises SchemaMismatch unless this program works with the database's schema."""
    current = require_ours(connection)
    if not serves(current):
        raise SchemaMismatch(
            f"the database has schema {current or 'none'}, this program needs {REVISION}: run `postpost-monitor db upgrade`"
        )


def upgrade(connection: Connection, before: Callable[[str], None], *, lowest: str | None = None, contract: bool = True) -> bool:
    """
    Upgrade the database to this program's schema, in the caller's open transaction.

    *before* is called with the old revision before an existing database is changed. While other programs run, *lowest* is the oldest
    schema among them: what they can't go on with is left undone. Only with *contract* is removed what older programs need.

    Returns whether anything was done.

    Raises:
        SchemaMismatch: a newer program wrote this database, or another one; or another program that runs needs the old schema.
    """
    current = require_ours(connection)
    target = _target(current, lowest, contract=contract)
    if target is None:
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
            command.upgrade(config, target)
        except CommandError as error:
            raise StoreError(f"the database can't be upgraded: {error}") from None
        connection.execute(_CHANGE_META, {"reads": _reads(target)})
    return True


def note_reads(connection: Connection, current: str) -> None:
    """Note for older programs, in the caller's transaction, which of them can go on with the schema *current*."""
    with translated():
        if connection.execute(_READ_META).scalar() is None:
            connection.execute(_ADD_META, {"reads": _reads(current)})


def _reads(current: str) -> str:
    """The oldest schema whose programs go on with the schema *current*."""
    return max(migration.reads for migration in _all_migrations(migrations()) if migration.revision <= current)


def _target(current: str | None, lowest: str | None, *, contract: bool) -> str | None:
    """The revision to upgrade to; None when there is nothing to do."""
    target = None
    for migration in pending(current):
        if migration.contract and not contract and current is not None:
            break
        if lowest is not None and migration.reads > lowest:
            needs = "what the upgrade removes" if migration.contract else f"schema {lowest}"
            raise SchemaMismatch(f"nodes of an older release are running, which need {needs}: upgrade or stop them first")
        target = migration.revision
    return target
