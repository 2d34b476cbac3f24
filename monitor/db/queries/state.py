"""Connections, states, scopes, and facts about the database itself."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Row, and_, bindparam, func, or_, select, text, true

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.codec import load_state
from monitor.db.rows import CheckRow, to_connection
from monitor.db.tables import checks, connection_states, connections, messages, meta, scopes
from monitor.db.transaction import Reader
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.reasons import Health, meaning
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

_CONNECTIONS = select(connections).order_by(connections.c.account, connections.c.user_id, connections.c.platform, connections.c.platform_id)
_CONNECTIONS_BY_ID = _CONNECTIONS.where(connections.c.id.in_(bindparam("ids", expanding=True)))
_MONITORED = connections.c.retired_at.is_(None)
_RETIRED = connections.c.retired_at.is_not(None)
_STATES = select(connection_states.c.connection_id, connection_states.c.version, connection_states.c.document)
_STATE = _STATES.where(connection_states.c.connection_id == bindparam("id"))
# Two seeks in the primary key for each connection, however long its history is.
_newer = checks.alias("newer")
_NEWEST_AT = select(func.max(_newer.c.at)).where(_newer.c.connection_id == connections.c.id).scalar_subquery()
_NEWEST_PASSED = (
    select(checks.c.connection_id, checks.c.at, messages.c.text)
    .select_from(connections)
    .join(checks, and_(checks.c.connection_id == connections.c.id, checks.c.at == _NEWEST_AT))
    .outerjoin(messages, messages.c.id == checks.c.message_id)
    .where(checks.c.reason == Reason.OK.value)
)


def newest_check(*conditions: ColumnElement[bool]) -> FromClause:
    """The newest check that meets *conditions* of the connection to its left, for PostgreSQL: seeks from the newest partition on."""
    of_connection = checks.c.connection_id == connections.c.id
    return select(checks).where(of_connection, *conditions).order_by(checks.c.at.desc()).limit(1).lateral("newest_check")


_newest = newest_check()
_PASSED = {
    "sqlite": _NEWEST_PASSED,
    "postgresql": select(_newest.c.connection_id, _newest.c.at, messages.c.text)
    .select_from(connections)
    .join(_newest, true())
    .outerjoin(messages, messages.c.id == _newest.c.message_id)
    .where(_newest.c.reason == Reason.OK.value),
}
_SCOPES = select(scopes)
_META = select(meta.c.value).where(meta.c.key == bindparam("key"))
_SERVER = text("SELECT clock_timestamp() AS now, current_setting('synchronous_standby_names') AS names")
_SIZE = {
    "sqlite": text(
        "SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s"
    ),
    # A table keeps the room of its deleted rows, so checks are counted, not measured.
    "postgresql": text(
        "SELECT pg_database_size(current_database()) - sum(pg_total_relation_size(relid)) + 150 * sum(n_live_tup)"
        " FROM pg_partition_tree('checks') JOIN pg_stat_user_tables USING (relid)"
    ),
}


def read_connections(
    reader: Reader, platform_id: str | None = None, *, account: str | None = None, retired: bool = False
) -> list[Connection]:
    """The monitored connections, or else the *retired* ones, by account, user, platform and id; those of one platform id, of one account."""
    query = _CONNECTIONS.where(_RETIRED if retired else _MONITORED)
    if platform_id is not None:
        query = query.where(connections.c.platform_id == platform_id)
    if account is not None:
        query = query.where(connections.c.account == account)
    return [to_connection(row) for row in reader.stream(query)]


def connections_at(reader: Reader, at: datetime) -> list[Connection]:
    """The connections that were not retired at a moment; those that were added later are among them."""
    query = _CONNECTIONS.where(or_(connections.c.retired_at.is_(None), connections.c.retired_at > to_milliseconds(at)))
    return [to_connection(row) for row in reader.stream(query)]


def connections_by_id(reader: Reader, ids: Collection[int]) -> list[Connection]:
    """The connections with these ids, retired ones included; a page of them at most."""
    return [to_connection(row) for row in reader.rows(_CONNECTIONS_BY_ID, {"ids": list(ids)})]


def read_states(reader: Reader, account: str | None = None) -> dict[int, tuple[int, ConnectionState]]:
    """Connection id to (version, state), retired connections included; with *account* those of that account only."""
    from monitor.domain.usual_case import resumed  # noqa: PLC0415 - verbs that read no states do without the rules of checks

    documents, newest = _STATES, _PASSED[reader.dialect]
    if account is not None:
        ids = select(connections.c.id).where(connections.c.account == account)
        documents, newest = documents.where(connection_states.c.connection_id.in_(ids)), newest.where(connections.c.account == account)
    states = {row.connection_id: _to_state(row) for row in reader.stream(reader.locking(documents))}
    texts: dict[str, str] = {}
    for connection_id, at, passed in reader.stream(newest):
        version, state = states[connection_id]
        shared = texts.setdefault(passed or "", passed or "")
        states[connection_id] = (version, resumed(state, from_milliseconds(at), shared))
    return states


def read_state(reader: Reader, connection_id: int) -> ConnectionState | None:
    """The state of one connection, None when there is no such connection."""
    from monitor.domain.usual_case import resumed  # noqa: PLC0415 - as above

    rows = reader.rows(reader.locking(_STATE), {"id": connection_id})
    if not rows:
        return None
    _, state = _to_state(rows[0])
    for row in reader.rows(_PASSED[reader.dialect].where(connections.c.id == connection_id)):
        state = resumed(state, from_milliseconds(row.at), row.text or "")
    return state


def _to_state(row: Row[*tuple[Any, ...]]) -> tuple[int, ConnectionState]:
    connection_id, version, document = row
    return version, load_state(document, f"connection_states row {connection_id}")


def read_scopes(reader: Reader) -> dict[str, tuple[int, bytes]]:
    """Scope key to (version, JSON document)."""
    return {row.name: (row.version, row.document.encode()) for row in reader.rows(reader.locking(_SCOPES))}


def with_last_checks(state: ConnectionState, rows: Sequence[CheckRow]) -> ConnectionState:
    """*state*, of a retired connection, with what its last checks, newest first, say: its stored state has nothing of it."""
    if not rows or state.last_check_at is not None:
        return state
    evidence = next((row for row in rows if meaning(row.reason).health is not None), None)
    passed = next((row for row in rows if row.reason is Reason.OK), None)
    return replace(
        state,
        health=meaning(evidence.reason).health or Health.UNKNOWN if evidence is not None else Health.UNKNOWN,
        reason=evidence.reason if evidence is not None else None,
        detail=evidence.detail if evidence is not None else "",
        last_evidence_at=evidence.at if evidence is not None else None,
        last_check_at=rows[0].at,
        last_reason=rows[0].reason,
        last_detail=rows[0].detail,
        last_passed_at=passed.at if passed is not None else None,
        passed_before=passed is not None,
    )


HEARTBEAT_ACCEPTED = "heartbeat_accepted_at"


def read_meta(reader: Reader, key: str) -> str | None:
    """A fact about the database itself, such as `instance_id`."""
    rows = reader.rows(_META, {"key": key})
    return str(rows[0].value) if rows else None


def heartbeat_accepted_at(reader: Reader) -> datetime | None:
    """When a heartbeat was accepted last; None before the first."""
    stored = read_meta(reader, HEARTBEAT_ACCEPTED)
    return datetime.fromisoformat(stored) if stored is not None else None


def read_server(reader: Reader) -> tuple[datetime, bool]:
    """The clock of a PostgreSQL server, and whether a commit waits for one of its standby servers."""
    row = reader.rows(_SERVER)[0]
    return row.now, bool(row.names)


def database_size(reader: Reader) -> int:
    """How many bytes are in use, free space within the database not counted; of PostgreSQL an estimate."""
    return int(reader.rows(_SIZE[reader.dialect])[0][0])
