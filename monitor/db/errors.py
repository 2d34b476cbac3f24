"""Driver errors to ours: exceptions of the database libraries never leave this package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor.errors import StoreCorrupt, StoreDenied, StoreError, StoreUnavailable, UnsuitableServer

_REPAIR = (
    "stop the monitor, keep a copy of the file, then either restore a backup made by `postpost-monitor db backup`, "
    'or save what can be read: sqlite3 FILE ".recover" | sqlite3 REPAIRED'
)
_NO_TEXT = f"the database is damaged (a text in it is none); nothing is written any more. To repair: {_REPAIR}"

# Prefixes of SQLite result codes after which the same work may succeed later.
_SQLITE_LATER = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_NOMEM")
_SQLITE_REFUSED = ("SQLITE_PERM", "SQLITE_AUTH", "SQLITE_PROTOCOL", "SQLITE_INTERRUPT")
# Raised by Python's sqlite3 without a result code: the page is sound, its text is not UTF-8.
_UNDECODABLE = "Could not decode to UTF-8"
_SQLITE_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB")

# SQLSTATE classes of the same meaning: no connection, transaction rolled back, out of resources, not in the right
# state, operator intervention, system error; then refused log-in, read-only server, no such database.
_POSTGRES_LATER = ("08", "40", "53", "55", "57", "58", "28", "25006", "3D")
_DENIED = "42501"
# What PgBouncer answers to settings of a session.
_NO_OPTIONS = "unsupported startup parameter"
POOLER = "connect to the PostgreSQL server itself: a pooler in between keeps neither the lock nor the settings of a session"
_POSTGRES_DAMAGE = ("XX001", "XX002")
# What libpq says of an address before it connects: another try gets the same answer.
_WRONG_ADDRESS = re.compile(r"invalid (port number|connection option|integer value|\S+ value:)|bad value for ")


@contextmanager
def translated() -> Iterator[None]:
    """Within it, errors of the database libraries become StoreUnavailable, StoreCorrupt or StoreError."""
    try:
        yield
    except SQLAlchemyError as error:
        raise translate(error) from None
    except UnicodeDecodeError:
        # SQLite's own error message quotes what is damaged.
        raise StoreCorrupt(_NO_TEXT) from None


def translate(error: SQLAlchemyError) -> StoreError:
    """Our error for *error*; its text holds neither values nor passwords."""
    if not isinstance(error, DBAPIError):
        return StoreUnavailable("no database connection is free") if "QueuePool" in str(error) else StoreError(type(error).__name__)
    original = error.orig
    name = getattr(original, "sqlite_errorname", None)
    if name is None and _UNDECODABLE in str(original):
        return StoreCorrupt(_NO_TEXT)
    if name is not None:
        return _of_sqlite(name, str(original))
    return _of_postgres(error)


def corrupt(path: str, finding: str) -> StoreCorrupt:
    """The error for a damaged file: the finding and how to repair it."""
    return StoreCorrupt(f"the database {path} is damaged ({finding}); nothing was changed. To repair: {_REPAIR}")


def _of_sqlite(name: str, text: str) -> StoreError:
    if name.startswith(_SQLITE_DAMAGE):
        return StoreCorrupt(f"the database is damaged ({name}); nothing is written any more. To repair: {_REPAIR}")
    if name.startswith(_SQLITE_LATER + _SQLITE_REFUSED):
        return StoreUnavailable(f"{text} ({name})")
    return StoreError(f"{text} ({name})")


def _of_postgres(error: DBAPIError) -> StoreError:
    state = getattr(error.orig, "sqlstate", None) or ""
    diagnosis = getattr(error.orig, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(error.orig).partition("\n")[0]
    if state.startswith(_POSTGRES_DAMAGE):
        return StoreCorrupt(f"PostgreSQL reports damage: {text}")
    if _NO_OPTIONS in text:
        return UnsuitableServer(f"{text}; {POOLER}")
    if not state and _WRONG_ADDRESS.search(text):
        return UnsuitableServer(f"{text}; correct database.url")
    # Subclasses too, such as that of a server that does not answer in time.
    kinds = {kind.__name__ for kind in type(error.orig).__mro__}
    lost = error.connection_invalidated or (not state and not kinds.isdisjoint({"OperationalError", "InterfaceError"}))
    if lost or state.startswith(_POSTGRES_LATER):
        return StoreUnavailable(text)
    if state == _DENIED:
        return StoreDenied(f"{text} ({state})")
    return StoreError(f"{text} ({state})" if state else text)
