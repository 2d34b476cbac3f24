"""What nodes of a cluster send to the one that tends `global`, and what that one publishes to all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, insert, select

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.codec import decode_scope, dump_board, dump_findings, load_board, load_findings
from monitor.db.queries.state import read_meta, read_scopes
from monitor.db.store import Store
from monitor.db.tables import findings, meta
from monitor.db.transaction import Reader
from monitor.domain.cluster.findings import Board, Finding
from monitor.domain.connections import Connection
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState

_BOARD = "cluster_board"
_AT_ONCE = 500
_CHARACTERS_AT_ONCE = 200_000
"""So much is taken in by one transaction: a larger one may take longer than the server lets it do nothing."""

_ASKED = "check_now:"
_PUBLISHED_ROWS = select(meta).where((meta.c.key == _BOARD) | meta.c.key.startswith(_ASKED))
_LENGTH = func.length(findings.c.document)
_BEFORE = (func.sum(_LENGTH).over(order_by=findings.c.id) - _LENGTH).label("before")
_OLDEST = select(findings.c.id, _BEFORE).order_by(findings.c.id).limit(_AT_ONCE).subquery()
_TAKE = delete(findings).where(findings.c.id.in_(select(_OLDEST.c.id).where(_OLDEST.c.before < _CHARACTERS_AT_ONCE))).returning(findings)


@dataclass(frozen=True, slots=True)
class FindingsRow:
    """What one transaction of a node found. *member*: the process, by its `holder`; *number*: counts up for each member."""

    member: str
    number: int
    entries: Sequence[Finding]


def put_findings(store: Store, row: FindingsRow) -> None:
    """Send *row* to the node that tends `global`."""
    store.change(insert(findings), {"member": row.member, "number": row.number, "document": dump_findings(tuple(row.entries))})


def take_findings(store: Store) -> tuple[list[FindingsRow], bool]:
    """The oldest rows, which are gone with the commit; and whether there may be more."""
    rows = sorted(store.rows(_TAKE), key=lambda row: int(row.id))
    more = len(rows) == _AT_ONCE or sum(len(row.document) for row in rows) >= _CHARACTERS_AT_ONCE
    return [FindingsRow(row.member, row.number, load_findings(row.document)) for row in rows], more


def put_board(store: Store, board: Board) -> None:
    """Publish *board* to all nodes."""
    store.put_meta(_BOARD, dump_board(board))


def read_board(reader: Reader) -> Board:
    """The board that was published last; raises StoreCorrupt."""
    return load_board(read_meta(reader, _BOARD))


def ask_for_check(connection: Connection, at: datetime, store: Store) -> None:
    """Have the node that tends the account of *connection* check it next; *at* is now."""
    store.put_meta(f"{_ASKED}{connection.account}", f"{connection.id} {to_milliseconds(at)}")


def read_published(reader: Reader) -> tuple[Board, dict[str, tuple[int, datetime]]]:
    """What was published last, and account to the connection that was last asked for, by its id, and when; raises StoreCorrupt."""
    rows: dict[str, str] = {row.key: row.value for row in reader.rows(_PUBLISHED_ROWS)}
    board = load_board(rows.pop(_BOARD, None))
    asked = {key.removeprefix(_ASKED): value.split() for key, value in rows.items()}
    return board, {account: (int(number), from_milliseconds(int(at))) for account, (number, at) in asked.items()}


def read_scope_rows(reader: Reader) -> Mapping[ScopeKey, tuple[int, ScopeState]]:
    """Every scope that has a row, with its version."""
    scopes = ((decode_scope(name, document), version) for name, (version, document) in read_scopes(reader).items())
    return {scope.key: (version, scope) for scope, version in scopes}
