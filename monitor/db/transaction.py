"""What every part of a write transaction needs: changing rows, reading them locked, and calls for after the commit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable, Row, Select
from sqlalchemy.dialects import postgresql, sqlite

from monitor.db.errors import translated
from monitor.db.queries.state import Reader
from monitor.db.tables import meta

Values = Mapping[str, Any]

# Of inserts SQLAlchemy forgets the number of rows unless told to keep it.
_COUNT_ROWS = {"preserve_rowcount": True}


def for_each_dialect(build: Callable[[Any], Executable]) -> dict[str, Executable]:
    """Dialect name to the statement that *build* makes with that dialect's `insert`, which alone knows ON CONFLICT."""
    return {"sqlite": build(sqlite.insert), "postgresql": build(postgresql.insert)}


PUT_META = for_each_dialect(
    lambda insert: (put := insert(meta)).on_conflict_do_update(index_elements=["key"], set_={"value": put.excluded.value})
)
"""Keeps a fact about the database itself."""


class Transaction(Reader):
    """
    One open write transaction.

    Attributes:
        scratch: for works of the same transaction to share what they read; gone with the transaction.
    """

    def __init__(self, connection: SqlConnection) -> None:
        super().__init__(connection)
        self.scratch: dict[object, object] = {}
        self.after: list[Callable[[], None]] = []
        self._dialect = connection.dialect.name
        self._locks = self._dialect == "postgresql"

    def after_commit(self, call: Callable[[], None]) -> None:
        """Run *call* on the writer's thread once this is committed; forgotten when it is rolled back."""
        self.after.append(call)

    def flush(self) -> None:
        """Send what was collected; called before every read and before the commit."""

    def change(self, statement: Executable, values: Values) -> int:
        """Run a *statement* that changes rows; returns how many. For the other modules of this package."""
        return self._change(statement, values)

    def put(self, statements: Mapping[str, Executable], values: Values | Sequence[Values]) -> None:
        """Run the one of *statements* (see `for_each_dialect`) that this database understands. For the other modules of this package."""
        self._change(statements[self._dialect], values)

    def _change(self, statement: Executable, values: Values | Sequence[Values]) -> int:
        with translated():
            return self._connection.execute(statement, values, execution_options=_COUNT_ROWS).rowcount

    def _rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        self.flush()
        return super()._rows(statement, parameters)

    def _locking(self, query: Select[Any]) -> Select[Any]:
        # SQLite has let in one writer only (BEGIN IMMEDIATE); PostgreSQL locks row by row.
        return query.with_for_update() if self._locks else query
