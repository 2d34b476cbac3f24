"""`Reader`, one consistent view of the database, and `Transaction`, one that may change rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar, cast

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable, Insert, Row, Select, Table
from sqlalchemy.exc import DBAPIError

from monitor.db.errors import translate, translated
from monitor.db.tables import meta
from monitor.errors import StoreError

T = TypeVar("T")
Values = Mapping[str, Any]

# SQLAlchemy keeps the row count of an insert only when asked to.
_COUNT_ROWS = {"preserve_rowcount": True}

_PAGED = {"yield_per": 1000}


class PerDialect(dict[str, T]):
    """Dialect name to what *build* makes with SQLAlchemy's package of that dialect, on first use: that of PostgreSQL imports all its drivers."""

    def __init__(self, build: Callable[[Any], T]) -> None:
        super().__init__()
        self._build = build

    def __missing__(self, dialect: str) -> T:
        made = self[dialect] = self._build(import_module(f"sqlalchemy.dialects.{dialect}"))
        return made


Statements = PerDialect[Executable]


def for_each_dialect(build: Callable[[Any], Executable]) -> Statements:
    """Dialect name to the statement that *build* makes with that dialect's `insert`, which alone knows ON CONFLICT."""
    return PerDialect(lambda dialect: build(dialect.insert))


def upsert(table: Table, key: Sequence[str], changed: Sequence[str]) -> Statements:
    """For each dialect: insert a row; one of the same *key* gets the new values of *changed*."""
    return for_each_dialect(
        lambda insert: (put := insert(table)).on_conflict_do_update(index_elements=key, set_={name: put.excluded[name] for name in changed})
    )


def insert_missing(table: Table, key: Sequence[str]) -> Statements:
    """For each dialect: insert a row, unless there is one of the same *key*."""
    return for_each_dialect(lambda insert: insert(table).on_conflict_do_nothing(index_elements=key))


@dataclass(frozen=True, slots=True)
class RowInsert:
    """An insert of many rows, written out once: SQL text per dialect, with values by the position of *names*."""

    names: tuple[str, ...]
    texts: PerDialect[str]


_STYLES = {"sqlite": "qmark", "postgresql": "format"}


def row_insert(table: Table, key: Sequence[str]) -> RowInsert:
    """The insert of whole rows of *table*, unless there is one of the same *key*. Values stand in the order of the columns."""
    names, statements = tuple(column.name for column in table.columns), insert_missing(table, key)

    def text_of(dialect: Any) -> str:
        name = dialect.dialect.name
        style = dialect.dialect(paramstyle=_STYLES[name])
        return str(cast("Insert", statements[name]).compile(dialect=style, column_keys=names))

    return RowInsert(names, PerDialect(text_of))


PUT_META = upsert(meta, ["key"], ["value"])


class Reader:
    """One consistent view of the database. A query raises StoreUnavailable, and StoreCorrupt for a row that can't be read."""

    def __init__(self, connection: SqlConnection) -> None:
        self._connection = connection
        self.dialect = connection.dialect.name

    def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """The rows that *statement* returns; for the modules of this package."""
        with translated():
            return self._connection.execute(statement, parameters).all()

    def stream(self, statement: Executable) -> Iterator[Row[*tuple[Any, ...]]]:
        """The same, for many rows: not all of them are in memory at once. No other statement before the last of them."""
        with translated(), self._connection.execute(statement, execution_options=_PAGED) as result:
            yield from result

    def locking(self, query: Select[Any]) -> Select[Any]:
        """*query*; in a write transaction its rows are locked until the commit."""
        return query


class Transaction(Reader):
    """
    One open write transaction.

    Attributes:
        scratch: for works of the same transaction to share what they read; gone with the transaction.
        before: what to call when all works have run, before the commit.
        after: what to call after the commit.
    """

    def __init__(self, connection: SqlConnection) -> None:
        super().__init__(connection)
        self.scratch: dict[object, object] = {}
        self.before: list[Callable[[], None]] = []
        self.after: list[Callable[[], None]] = []

    def unlocked(self) -> Reader:
        """A reader of the same transaction that locks no rows."""
        return Reader(self._connection)

    def before_commit(self, call: Callable[[], None]) -> None:
        """Run *call* when all works of this transaction have run."""
        self.before.append(call)

    def after_commit(self, call: Callable[[], None]) -> None:
        """Run *call* on the writer's thread once this is committed; forgotten when it is rolled back."""
        self.after.append(call)

    def flush(self) -> None:
        """Send the collected rows; called before every read and before the commit."""

    def change(self, statement: Executable | Statements, values: Values | Sequence[Values]) -> int:
        """Run *statement*, or that of this dialect (see `PerDialect`); returns how many rows it changed."""
        if isinstance(statement, dict):
            statement = statement[self.dialect]
        with translated():
            return self._connection.execute(statement, values, execution_options=_COUNT_ROWS).rowcount

    def insert(self, insert: RowInsert, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert *rows*, their values in the order of `RowInsert.names`."""
        with translated():
            self._connection.exec_driver_sql(insert.texts[self.dialect], list(rows))

    def attempt(self, statements: Callable[[], Iterator[str]]) -> StoreError | None:
        """Run *statements*, all or none of them, the rest of the transaction whatever comes of it; returns why the server refused them."""
        self.flush()
        try:
            with self._connection.begin_nested():
                for statement in statements():
                    self._connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if error.connection_invalidated or getattr(error.orig, "sqlstate", None) is None:
                raise translate(error) from None
            return translate(error)
        return None

    def rows(self, statement: Executable, parameters: Values | None = None) -> Sequence[Row[Any]]:
        """As of a reader, with all that was changed before."""
        self.flush()
        return super().rows(statement, parameters)

    def stream(self, statement: Executable) -> Iterator[Row[*tuple[Any, ...]]]:
        """As of a reader, with all that was changed before."""
        self.flush()
        return super().stream(statement)

    def locking(self, query: Select[Any]) -> Select[Any]:
        """*query* with its rows locked: row by row on PostgreSQL; SQLite has one writer at most (BEGIN IMMEDIATE)."""
        return query.with_for_update() if self.dialect == "postgresql" else query
