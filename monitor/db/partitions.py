"""Makes and drops the partitions of `checks` of a PostgreSQL database; gives up for now when the table can't be locked soon."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import text

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.transaction import Reader, Transaction
from monitor.domain.partitions import Bounds, Partition, division, droppable, table_of
from monitor.errors import StoreError

_PARTITIONS = text(
    "SELECT CAST(CAST(c.oid AS regclass) AS TEXT) AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds"
    " FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = CAST('checks' AS regclass)"
)
_BOUNDS = re.compile(r"FOR VALUES FROM \((?:MINVALUE|'?(-?\d+)'?)\) TO \((?:MAXVALUE|'?(-?\d+)'?)\)")
# Both at once: a partition that goes locks what it refers to. The server looks for deadlocks after a second, and would end the wait of a
# command or a page that has read one of them and wants the other.
_LOCK = ("SET LOCAL lock_timeout = '900ms'", "LOCK TABLE ONLY checks, ONLY connections IN ACCESS EXCLUSIVE MODE")
_UNLIMITED = "SET LOCAL lock_timeout TO DEFAULT"


def partitions(reader: Reader) -> Sequence[Partition]:
    """The partitions of `checks`; none of SQLite."""
    if reader.dialect != "postgresql":
        return ()
    found = ((row.name, _BOUNDS.fullmatch(row.bounds or "")) for row in reader.rows(_PARTITIONS))
    return [Partition(name, _moment(bounds[1]), _moment(bounds[2])) for name, bounds in found if bounds is not None]


def divide(store: Transaction, now: datetime) -> StoreError | None:
    """Give a partition to the days after *now*; returns why it was refused, None when it was done. StoreUnavailable: a later try may succeed."""
    return store.attempt(partial(_division, store, now))


def drop(store: Transaction, before: datetime) -> StoreError | None:
    """Drop the partitions that have no check from *before* or later; returns as `divide` does."""
    return store.attempt(partial(_drop, store, before))


# ruff: noqa: S608 - what is put into these statements are names from the catalogue and numbers


def _division(store: Transaction, now: datetime) -> Iterator[str]:
    yield from _LOCK
    while (cut := division(partitions(store), now)) is not None:
        table = cut.wide.table
        yield f"ALTER TABLE checks DETACH PARTITION {table}"
        for made in cut.made:
            yield _create(made)
        leaving = "true" if cut.kept is None else f"NOT ({_within(cut.kept)})"
        yield f"WITH moved AS (DELETE FROM {table} WHERE {leaving} RETURNING *) INSERT INTO checks SELECT * FROM moved"
        if cut.kept is None:
            yield f"DROP TABLE {table}"
        else:
            yield f"ALTER TABLE {table} RENAME TO {table_of(cut.kept)}"
            yield f"ALTER TABLE checks ATTACH PARTITION {table_of(cut.kept)} {_values(cut.kept)}"
    yield _UNLIMITED


def _drop(store: Transaction, before: datetime) -> Iterator[str]:
    yield from _LOCK
    old = droppable(partitions(store), before)
    for partition in old:
        yield f"DROP TABLE {partition.table}"
    if old:
        yield _create((None, old[-1].upper))
    yield _UNLIMITED


def _create(bounds: Bounds) -> str:
    return f"CREATE TABLE {table_of(bounds)} PARTITION OF checks {_values(bounds)}"


def _values(bounds: Bounds) -> str:
    begin, end = ("" if moment is None else to_milliseconds(moment) for moment in bounds)
    return f"FOR VALUES FROM ({begin or 'MINVALUE'}) TO ({end or 'MAXVALUE'})"


def _within(bounds: Bounds) -> str:
    begin, end = bounds
    parts = [] if begin is None else [f"at >= {to_milliseconds(begin)}"]
    return " AND ".join([*parts, *([] if end is None else [f"at < {to_milliseconds(end)}"])]) or "true"


def _moment(number: str | None) -> datetime | None:
    return None if number is None else from_milliseconds(int(number))
