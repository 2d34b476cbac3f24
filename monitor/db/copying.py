"""Copies a database into an empty one, of the same or of the other kind, in one transaction: everything or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from sqlalchemy import Connection, RowMapping, Table, bindparam, exists, func, insert, inspect, select, text
from sqlalchemy import table as table_named
from sqlalchemy.engine import URL

from monitor.clock import Clock
from monitor.db.backend import Backend
from monitor.db.database import backend_of
from monitor.db.errors import translated
from monitor.db.maintenance import parse, reading, reading_engine_of
from monitor.db.sqlite import Report, no_report
from monitor.db.tables import findings, lease, members, metadata, shards
from monitor.errors import StoreError

_BATCH = 1_000
_OWN = (lease, members, shards, findings)
_OWN_TABLES = ("alembic_version", *(table.name for table in _OWN))
"""What is no content: the new database has its own."""

_TABLES = [table for table in metadata.sorted_tables if table not in _OWN]


@dataclass(slots=True)
class _Digest:
    """The number of a table's rows and the sum of their hashes, whatever their order."""

    rows: int = 0
    total: int = 0

    def add(self, rows: Sequence[RowMapping]) -> None:
        self.rows += len(rows)
        for row in rows:
            self.total += int.from_bytes(blake2b(repr(tuple(row.values())).encode(), digest_size=16).digest())


def copy_database(source_url: str, target_url: str, clock: Clock, report: Report = no_report) -> str:
    """
    Copy every row of *source_url* to the empty *target_url*, both locked meanwhile; *report* gets the progress. Returns the line to print.

    Raises:
        AnotherInstance: a monitor runs on one of them.
        StoreError: the target holds data, or the copy differs; the target has no rows then.
        StoreCorrupt: the source is damaged.
        SchemaMismatch: the source has another schema than this program's.
        StoreUnavailable: one can't be reached.
    """
    source, target = parse(source_url), parse(target_url)
    if source == target:
        raise StoreError("both addresses name the same database")
    with reading(source_url):
        pass
    _require_empty(target)
    reader, writer = (backend_of(address, clock, "db copy") for address in (source, target))
    reader.open()
    try:
        if not reader.examined:
            reader.examine()
        writer.open()
        try:
            rows = _copy(reader, writer, report)
        finally:
            writer.close()
    finally:
        reader.close()
    return f"Copied {rows} rows in {len(_TABLES)} tables, and found them equal."


def _require_empty(address: URL) -> None:
    """Raises StoreError when a table of the database at *address* has a row; a file that does not exist has none."""
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").exists():
        return
    engine = reading_engine_of(address)
    try:
        with translated(), engine.connect() as connection:
            for name in inspect(connection).get_table_names():
                one_row = exists(select(text("1")).select_from(table_named(name)))
                if name not in _OWN_TABLES and connection.execute(select(one_row)).scalar_one():
                    raise StoreError(f"the target is not empty: its table {name} has rows; name a new database")
    finally:
        engine.dispose()


def _copy(source: Backend, target: Backend, report: Report) -> int:
    """The number of rows that were copied, compared and committed."""
    into = target.begin()
    try:
        with source.reading() as origin:
            read = {table: _copy_table(table, origin, into, report) for table in _TABLES}
            last_ids = {table: _last_id(table, origin) for table in _TABLES if table.autoincrement_column is not None}
        # The source's transaction has ended: comparing takes longer than a server lets one be idle.
        with translated():
            for table, last in last_ids.items():
                _continue_after(table, last, into)
        _compare(read, into, report)
    except BaseException:
        target.rollback()
        raise
    target.commit()
    return sum(digest.rows for digest in read.values())


def _copy_table(table: Table, origin: Connection, into: Connection, report: Report) -> _Digest:
    digest = _Digest()
    # A row may refer to one of its own table that comes later.
    own = [column.name for column in table.columns if any(key.column.table is table for key in column.foreign_keys)]
    references: list[RowMapping] = []
    for rows in _batches(table, origin):
        digest.add(rows)
        references.extend(row for row in rows if any(row[name] is not None for name in own))
        with translated():
            into.execute(insert(table), [{**row, **dict.fromkeys(own)} for row in rows])
        report(f"copying {table.name}: {digest.rows} rows")
    if references:
        update = table.update().where(table.c.id == bindparam("b_id")).values({name: bindparam(f"b_{name}") for name in own})
        with translated():
            into.execute(update, [{f"b_{name}": row[name] for name in ("id", *own)} for row in references])
    return digest


def _compare(read: Mapping[Table, _Digest], copied: Connection, report: Report) -> None:
    """Raises StoreError when a table has other rows than were *read*."""
    for table, original in read.items():
        digest = _Digest()
        for rows in _batches(table, copied):
            digest.add(rows)
            report(f"comparing {table.name}: {digest.rows} rows")
        if digest != original:
            raise StoreError(f"the copy of table {table.name} differs from its original; nothing was kept")


def _batches(table: Table, connection: Connection) -> Iterator[Sequence[RowMapping]]:
    with translated():
        yield from connection.execute(select(table), execution_options={"yield_per": _BATCH}).mappings().partitions()


def _last_id(table: Table, connection: Connection) -> int:
    """The highest id that was ever given: a deleted row's too, where the database remembers it."""
    with translated():
        found = [connection.execute(select(func.max(table.autoincrement_column))).scalar()]
        if connection.dialect.name == "postgresql":
            found.append(
                connection.execute(
                    text("SELECT pg_sequence_last_value(pg_get_serial_sequence(:name, 'id'))"), {"name": table.name}
                ).scalar()
            )
        elif table.dialect_options["sqlite"]["autoincrement"]:
            found.append(connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}).scalar())
    return max((int(last) for last in found if last is not None), default=0)


def _continue_after(table: Table, last: int, connection: Connection) -> None:
    """Let the ids of new rows follow *last*."""
    values = {"name": table.name, "last": last}
    if not last:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values)
    elif table.dialect_options["sqlite"]["autoincrement"]:
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)
