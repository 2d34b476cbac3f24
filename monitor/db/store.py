"""`Store`: the write transaction, composed of the parts below."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import bindparam, select, update

from monitor.clock import to_milliseconds
from monitor.db.codec import dump_labels, dump_names, dump_state, message_id
from monitor.db.outbox import Outbox
from monitor.db.retention import Retention
from monitor.db.rows import CheckRow
from monitor.db.tables import checks, connection_states, connections, incidents, messages, scopes
from monitor.db.transaction import PUT_META, Transaction, for_each_dialect, insert_missing, row_insert, upsert
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, Transition
from monitor.domain.reasons import Health
from monitor.domain.states import ConnectionState
from monitor.errors import StaleStateError

_CONFIGURED = ("platform", "name", "labels", "interval_ms", "expect", "require_permissions", "listed", "retired_at")
_DAY_MS = timedelta(days=1) // timedelta(milliseconds=1)
_MINUTE_MS = 60_000
_MESSAGES_REMEMBERED = 1000

_KEYS = select(connections.c.id, connections.c.account, connections.c.user_id, connections.c.platform_id).where(
    connections.c.account.in_(bindparam("accounts", expanding=True))
)
_PUT_CONNECTIONS = upsert(connections, ["account", "user_id", "platform_id"], _CONFIGURED)
_ADD_STATES = insert_missing(connection_states, ["connection_id"])
_RETIRE = update(connections).where(connections.c.id == bindparam("b_id"), connections.c.retired_at.is_(None))
_RETIRE = _RETIRE.values(retired_at=bindparam("b_at"))

_SAVE_STATE = (
    update(connection_states)
    .where(connection_states.c.connection_id == bindparam("b_id"), connection_states.c.version == bindparam("b_version"))
    .values(version=connection_states.c.version + 1, health=bindparam("b_health"), document=bindparam("b_document"))
)
_ADD_SCOPE = insert_missing(scopes, ["name"])
_SAVE_SCOPE = (
    update(scopes)
    .where(scopes.c.name == bindparam("b_name"), scopes.c.version == bindparam("b_version"))
    .values(version=scopes.c.version + 1, document=bindparam("b_document"))
)

# The wall clock may jump back: a second check of a connection in the same millisecond is dropped, not an error.
_ADD_CHECKS = row_insert(checks, ["connection_id", "at"])
# Updated once a day at most: a text that every check has costs no writes.
_PUT_MESSAGES = for_each_dialect(
    lambda insert: (put := insert(messages)).on_conflict_do_update(
        index_elements=["id"], set_={"used_at": put.excluded.used_at}, where=messages.c.used_at < put.excluded.used_at
    )
)

_PUT_INCIDENT = upsert(
    incidents,
    ["topic", "subject", "number"],
    ["scope", "connection_id", "level", "severity", "reason", "detail", "changed_at", "closed_at", "closed_why"],
)
_CLOSE_INCIDENT = (
    update(incidents)
    .where(
        incidents.c.topic == bindparam("b_topic"),
        incidents.c.subject == bindparam("b_subject"),
        incidents.c.number == bindparam("b_number"),
    )
    .values(changed_at=bindparam("b_at"), closed_at=bindparam("b_at"), closed_why=bindparam("b_why"))
)


class Store(Transaction):
    """
    One open write transaction; a work must not keep it after its return.

    Checks and connection states are collected and written in batches: before the next read, or just before the
    commit. What they raise may therefore come after the work has returned; it still reaches that work's future alone.

    *put_messages* remembers over transactions in which minute a message was last written: not more often, and no more rarely, because
    retention deletes messages that were not used for long.
    """

    def __init__(self, connection: SqlConnection, put_messages: dict[int, int] | None = None) -> None:
        super().__init__(connection)
        self._put_messages = put_messages if put_messages is not None else {}
        self._new_checks: list[tuple[Any, ...]] = []
        self._new_messages: dict[int, dict[str, Any]] = {}
        self._new_states: list[dict[str, Any]] = []
        self.outbox_used = False

    # The parts are built on demand: kept here, they would make a reference cycle of every transaction.

    @property
    def outbox(self) -> Outbox:
        """Notifications, deliveries, attempts."""
        self.outbox_used = True
        return Outbox(self)

    @property
    def retention(self) -> Retention:
        """Deletes of old rows."""
        return Retention(self)

    def flush(self) -> None:
        """Write the collected rows; raises StaleStateError for states of another version."""
        if self._new_messages:
            # In one order: nodes of a cluster that write the same ones wait for each other, and never in a circle.
            rows, self._new_messages = sorted(self._new_messages.values(), key=lambda row: int(row["id"])), {}
            self.change(_PUT_MESSAGES, rows)
        if self._new_checks:
            checks_, self._new_checks = self._new_checks, []
            self.insert(_ADD_CHECKS, checks_)
        if self._new_states:
            rows, self._new_states = self._new_states, []
            saved = self.change(_SAVE_STATE, rows)
            if saved != len(rows):
                names = ", ".join(str(row["b_id"]) for row in rows[:5])
                raise StaleStateError(f"{len(rows) - saved} of {len(rows)} connection states have another version (connections {names}...)")

    # connections

    def ensure_connections(self, wanted: Sequence[ConnectionSpec]) -> dict[tuple[str, str, str], int]:
        """Insert or update *wanted*, not retired, each with a state (version 0 when new); returns the id of each key, which stays."""
        if not wanted:
            return {}
        self.change(_PUT_CONNECTIONS, [_connection_values(connection) for connection in wanted])
        accounts = sorted({connection.account for connection in wanted})
        ids = {(row.account, row.user_id, row.platform_id): row.id for row in self.rows(_KEYS, {"accounts": accounts})}
        ids = {connection.key: ids[connection.key] for connection in wanted}
        empty = {"version": 0, "health": Health.UNKNOWN, "document": dump_state(ConnectionState())}
        self.change(_ADD_STATES, [{"connection_id": connection_id, **empty} for connection_id in ids.values()])
        return ids

    def retire(self, ids: Iterable[int], at: datetime) -> int:
        """Stop monitoring these connections; their history stays. Returns how many were monitored."""
        rows = [{"b_id": connection_id, "b_at": to_milliseconds(at)} for connection_id in ids]
        return self.change(_RETIRE, rows) if rows else 0

    # checks, states, incidents

    def save_states(self, changed: Mapping[int, tuple[int, ConnectionState]]) -> None:
        """Save states: connection id to (expected version, new state). Raises StaleStateError for another version, before the commit."""
        self._new_states += [
            {"b_id": number, "b_version": version, "b_health": state.health, "b_document": dump_state(state)}
            for number, (version, state) in changed.items()
        ]

    def save_scopes(self, changed: Mapping[str, tuple[int, bytes]]) -> None:
        """Save scopes: name to (expected version, JSON document); 0 inserts version 1. Raises StaleStateError for another version."""
        for name, (version, document) in changed.items():
            if version == 0:
                saved = self.change(_ADD_SCOPE, {"name": name, "version": 1, "document": document.decode()})
            else:
                saved = self.change(_SAVE_SCOPE, {"b_name": name, "b_version": version, "b_document": document.decode()})
            if saved != 1:
                raise StaleStateError(f"scope {name} does not have version {version}")

    def record_checks(self, rows: Sequence[CheckRow]) -> None:
        """Add *rows* to the history."""
        for row in rows:
            at = to_milliseconds(row.at)
            text_id = message_id(row.detail) if row.detail else None
            if text_id is not None and self._put_messages.get(text_id, -1) != at // _MINUTE_MS:
                self._new_messages[text_id] = {"id": text_id, "text": row.detail, "used_at": at - at % _DAY_MS}
                self.after_commit(partial(_remember, self._put_messages, text_id, at // _MINUTE_MS))
            values = (row.connection_id, at, row.reason.value, row.duration_ms, row.http_status, row.token, text_id)
            self._new_checks.append(values)

    def apply_transitions(self, transitions: Sequence[Transition]) -> None:
        """Open incidents, change their level, or close them (level `fine`), in the given order."""
        for transition in transitions:
            if transition.level != FINE or not self._close(transition):
                self.change(_PUT_INCIDENT, _incident_values(transition))

    def put_meta(self, key: str, value: str) -> None:
        """Store a fact about the database itself."""
        self.change(PUT_META, {"key": key, "value": value})

    def _close(self, transition: Transition) -> bool:
        incident = transition.incident
        values = {
            "b_topic": incident.topic,
            "b_subject": incident.subject,
            "b_number": incident.number,
            "b_at": to_milliseconds(transition.at),
            "b_why": transition.closed_why or "",
        }
        return self.change(_CLOSE_INCIDENT, values) == 1


def _remember(put_messages: dict[int, int], text_id: int, minute: int) -> None:
    if len(put_messages) >= _MESSAGES_REMEMBERED:
        put_messages.clear()
    put_messages[text_id] = minute


def _connection_values(connection: ConnectionSpec) -> dict[str, Any]:
    return {
        "account": connection.account,
        "user_id": connection.user_id,
        "platform_id": connection.platform_id,
        "platform": connection.platform,
        "name": connection.name,
        "labels": dump_labels(connection.labels),
        "interval_ms": connection.interval // timedelta(milliseconds=1),
        "expect": connection.expect,
        "require_permissions": dump_names(connection.require_permissions),
        "listed": connection.listed,
        "retired_at": None,
        "user_name": connection.user_name,
    }


def _incident_values(transition: Transition) -> dict[str, Any]:
    closed = transition.level == FINE
    return {
        "topic": transition.incident.topic,
        "subject": transition.incident.subject,
        "number": transition.incident.number,
        "scope": transition.scope,
        "connection_id": transition.connection_id,
        "level": transition.level,
        "severity": transition.severity,
        "reason": transition.reason,
        "detail": transition.detail,
        "opened_at": to_milliseconds(transition.incident.opened_at),
        "changed_at": to_milliseconds(transition.at),
        # Of the row that is inserted: later transitions change it no more.
        "confirmed_at": to_milliseconds(transition.at),
        "closed_at": to_milliseconds(transition.at) if closed else None,
        "closed_why": (transition.closed_why or "") if closed else None,
    }
