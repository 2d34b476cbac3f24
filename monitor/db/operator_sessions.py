"""A command's writes beside a running daemon, in one short transaction and without the instance lock (`ControlsWriter`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

from monitor.db import migrations
from monitor.db.errors import translated
from monitor.db.maintenance import existing, parse, reading
from monitor.db.sqlite import writing_engine
from monitor.db.transaction import Transaction

if TYPE_CHECKING:
    from monitor.db.controls import ControlsWriter


@contextmanager
def operator_session(url: str) -> Iterator["ControlsWriter"]:
    """
    A write transaction on the database at *url*, which may be in use; to be short. Rolled back when the context raises.

    Raises:
        StoreUnavailable: it does not exist, can't be reached, or stays locked for seconds.
        SchemaMismatch: its schema is not this program's.
    """
    from monitor.db.controls import ControlsWriter  # noqa: PLC0415 - `list` is a verb of the same modules, and writes nothing

    # By a reader first: the writer sets the journal mode, and another program's file is left as it is.
    with reading(url):
        engine = _engine(parse(url))
    try:
        with translated(), engine.connect() as connection, connection.begin():
            migrations.require_current(connection)
            yield ControlsWriter(Transaction(connection))
    finally:
        engine.dispose()


def _engine(address: URL) -> Engine:
    if address.get_backend_name() != "sqlite":
        from monitor.db.postgres import writing_to  # noqa: PLC0415 - a file needs none of it

        return writing_to(address)
    engine = writing_engine(existing(address))

    @event.listens_for(engine, "connect")
    def configure(connection: object, _record: object) -> None:
        # The daemon alone checkpoints: before SQLite 3.51.3 two at once can damage the file.
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # type: ignore[attr-defined]

    return engine
