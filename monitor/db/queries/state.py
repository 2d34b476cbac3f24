"""Every question that is asked of the database."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Executable, Row, Select, bindparam, func, or_, select, text

from monitor.db.codec import load_notification, load_state, maybe_moment, millis, moment
from monitor.db.errors import translated
from monitor.db.rows import (
    AttemptRow,
    CheckRow,
    DeliveryRow,
    IncidentRow,
    NotificationRow,
    WaitingRow,
    to_attempt,
    to_check,
    to_connection,
    to_delivery,
    to_incident,
    to_view,
    to_waiting,
)
from monitor.db.tables import (
    attempts,
    checks,
    connection_states,
    connections,
    deliveries,
    incidents,
    messages,
    meta,
    notifications,
    receiver_states,
    scopes,
)
from monitor.domain.connections import Connection
from monitor.domain.delivery.retries import DeliveryState
from monitor.domain.events import Topic
from monitor.domain.snapshot import IncidentView, OutboxView
from monitor.domain.states import ConnectionState

_CONNECTIONS = select(connections).order_by(connections.c.account, connections.c.user_id, connections.c.platform, connections.c.platform_id)
_STATES = select(connection_states.c.connection_id, connection_states.c.version, connection_states.c.document)
_SCOPES = select(scopes)
_RECEIVER_STATES = select(receiver_states)
_META = select(meta.c.value).where(meta.c.key == bindparam("key"))

_HISTORY = (
    select(checks, messages.c.text)
    .outerjoin(messages, messages.c.id == checks.c.message_id)
    .where(checks.c.connection_id == bindparam("connection_id"), checks.c.at < bindparam("before"))
    .order_by(checks.c.at.desc())
    .limit(bindparam("limit"))
)
_OPEN_INCIDENTS = select(incidents).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.opened_at, incidents.c.id)

DELIVERIES = select(
    deliveries,
    notifications.c.webhook_id,
    notifications.c.incident_key,
    notifications.c.document,
    notifications.c.body,
).join(notifications, notifications.c.id == deliveries.c.notification_id)

_WAITING = (
    select(
        deliveries.c.id,
        deliveries.c.subject,
        deliveries.c.attempts,
        deliveries.c.queued_at,
        deliveries.c.next_attempt_at,
        notifications.c.type,
        notifications.c.connection_id,
    )
    .join(notifications, notifications.c.id == deliveries.c.notification_id)
    .where(deliveries.c.receiver == bindparam("receiver"), text("deliveries.state = 'pending'"), deliveries.c.digest_id.is_(None))
    .order_by(deliveries.c.id)
    .limit(bindparam("limit"))
)
_OUTBOX = (
    select(deliveries.c.receiver, func.count().label("pending"), func.min(deliveries.c.queued_at).label("oldest"))
    .where(text("deliveries.state = 'pending'"), deliveries.c.digest_id.is_(None))
    .group_by(deliveries.c.receiver)
)
_BY_ID = DELIVERIES.where(deliveries.c.id.in_(bindparam("ids", expanding=True))).order_by(deliveries.c.id)
_ATTEMPTS = select(attempts).where(attempts.c.delivery_id == bindparam("delivery_id")).order_by(attempts.c.id)
_TOLD = select(deliveries.c.notification_id, deliveries.c.receiver, deliveries.c.state).where(
    deliveries.c.notification_id.in_(bindparam("ids", expanding=True))
)

_SIZE = {
    "sqlite": text(
        "SELECT (p.page_count - f.freelist_count) * s.page_size FROM pragma_page_count p, pragma_freelist_count f, pragma_page_size s"
    ),
    # Deleted checks leave room in their table, which stays as large as it ever was: they are counted, not measured.
    "postgresql": text(
        "SELECT pg_database_size(current_database()) - pg_total_relation_size('checks')"
        " + 150 * (SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'checks'::regclass)"
    ),
}

_LAST = 2**63 - 1


class Reader:
    """
    One consistent view of the database; every method reads.

    All lists are complete unless a *limit* is asked for, then they hold the newest first. Every method raises
    StoreUnavailable when the database can't be reached and StoreCorrupt when a row can't be read.
    """

    def __init__(self, connection: SqlConnection) -> None:
        self._connection = connection

    # connections and what is believed of them

    def connections(self, *, retired: bool = False) -> list[Connection]:
        """The monitored connections by account, user, platform and id; or else the *retired* ones."""
        wanted = connections.c.retired_at.is_not(None) if retired else connections.c.retired_at.is_(None)
        return [to_connection(row) for row in self._rows(_CONNECTIONS.where(wanted))]

    def connections_called(self, platform_id: str, *, retired: bool = False) -> list[Connection]:
        """The monitored connections with this *platform_id*, of all accounts; or else the *retired* ones."""
        wanted = connections.c.retired_at.is_not(None) if retired else connections.c.retired_at.is_(None)
        return [to_connection(row) for row in self._rows(_CONNECTIONS.where(connections.c.platform_id == platform_id, wanted))]

    def numbered(self, ids: Collection[int]) -> list[Connection]:
        """The connections with these numbers, retired ones included; a page of them at most."""
        query = _CONNECTIONS.where(connections.c.id.in_(bindparam("ids", expanding=True)))
        return [to_connection(row) for row in self._rows(query, {"ids": list(ids)})]

    def states(self) -> dict[int, tuple[int, ConnectionState]]:
        """Connection id to (version, state), retired connections included."""
        return {
            row.connection_id: (row.version, load_state(row.document, f"connection_states row {row.connection_id}"))
            for row in self._rows(self._locking(_STATES))
        }

    def state(self, connection_id: int) -> tuple[int, ConnectionState] | None:
        """(version, state) of one connection, None when there is no such connection."""
        rows = self._rows(self._locking(_STATES.where(connection_states.c.connection_id == connection_id)))
        return (rows[0].version, load_state(rows[0].document, f"connection_states row {connection_id}")) if rows else None

    def scopes(self) -> dict[str, tuple[int, bytes]]:
        """Scope name to (version, JSON document)."""
        return {row.name: (row.version, row.document.encode()) for row in self._rows(self._locking(_SCOPES))}

    def history(self, connection_id: int, limit: int = 100, before_at: datetime | None = None) -> list[CheckRow]:
        """The checks of one connection that ended before *before_at*, newest first, at most *limit*."""
        before = _LAST if before_at is None else millis(before_at)
        return [to_check(row) for row in self._rows(_HISTORY, {"connection_id": connection_id, "before": before, "limit": limit})]

    # incidents

    def open_incidents(self) -> list[IncidentView]:
        """The open incidents, ordered by when they opened."""
        return [to_view(row) for row in self._rows(_OPEN_INCIDENTS)]

    def incidents(
        self,
        *,
        connection_id: int | None = None,
        topic: Topic | None = None,
        subject: str | None = None,
        open_only: bool = False,
        since: datetime | None = None,
        limit: int = 100,
        before_id: int | None = None,
    ) -> list[IncidentRow]:
        """Incidents, newest first, those that were open at *since* or later; page with *before_id*, the `id` of the last one seen."""
        query = select(incidents).order_by(incidents.c.id.desc()).limit(limit)
        if connection_id is not None:
            query = query.where(incidents.c.connection_id == connection_id)
        if topic is not None:
            query = query.where(incidents.c.topic == topic)
        if subject is not None:
            query = query.where(incidents.c.subject == subject)
        if open_only:
            query = query.where(incidents.c.closed_at.is_(None))
        if since is not None:
            query = query.where(or_(incidents.c.closed_at.is_(None), incidents.c.closed_at >= millis(since)))
        if before_id is not None:
            query = query.where(incidents.c.id < before_id)
        return [to_incident(row) for row in self._rows(query)]

    # notifications and deliveries

    def notifications(
        self, *, subject: str | None = None, connection_id: int | None = None, limit: int = 100, before_id: int | None = None
    ) -> list[NotificationRow]:
        """Who was told what, newest first; page with *before_id*."""
        query = select(notifications).order_by(notifications.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(notifications.c.subject == subject)
        if connection_id is not None:
            query = query.where(notifications.c.connection_id == connection_id)
        if before_id is not None:
            query = query.where(notifications.c.id < before_id)
        rows = self._rows(query)
        told: dict[int, dict[str, DeliveryState]] = defaultdict(dict)
        for row in self._rows(_TOLD, {"ids": [row.id for row in rows]}):
            told[row.notification_id][row.receiver] = DeliveryState(row.state)
        return [
            NotificationRow(
                id=row.id,
                webhook_id=row.webhook_id,
                incident_key=row.incident_key,
                notification=load_notification(row.document, f"notifications row {row.id}"),
                deliveries=told[row.id],
            )
            for row in rows
        ]

    def deliveries(
        self,
        *,
        receiver: str | None = None,
        state: DeliveryState | None = None,
        subject: str | None = None,
        limit: int = 100,
        before_id: int | None = None,
    ) -> list[DeliveryRow]:
        """Deliveries, newest first, those about one *subject* (of a connection: its number); page with *before_id*."""
        query = DELIVERIES.order_by(deliveries.c.id.desc()).limit(limit)
        if receiver is not None:
            query = query.where(deliveries.c.receiver == receiver)
        if state is not None:
            query = query.where(deliveries.c.state == state)
        if subject is not None:
            # By the notifications, which have an index for it: else all deliveries are looked through for the few of one subject.
            query = query.where(deliveries.c.notification_id.in_(select(notifications.c.id).where(notifications.c.subject == subject)))
        if before_id is not None:
            query = query.where(deliveries.c.id < before_id)
        return [to_delivery(row) for row in self._rows(query)]

    def waiting(self, receiver: str, limit: int = 10_000) -> list[WaitingRow]:
        """What *receiver* is owed, oldest first; without what a pending digest tells."""
        return [to_waiting(row) for row in self._rows(_WAITING, {"receiver": receiver, "limit": limit})]

    def deliveries_of(self, ids: Collection[int]) -> list[DeliveryRow]:
        """The deliveries with these numbers that still exist, oldest first."""
        query = DELIVERIES.where(deliveries.c.id.in_(bindparam("ids", expanding=True))).order_by(deliveries.c.id)
        return [to_delivery(row) for row in self._rows(query, {"ids": list(ids)})]

    def deliveries_about(self, notification_ids: Collection[int]) -> list[DeliveryRow]:
        """Every delivery of these notifications, oldest first."""
        query = DELIVERIES.where(deliveries.c.notification_id.in_(bindparam("ids", expanding=True))).order_by(deliveries.c.id)
        return [to_delivery(row) for row in self._rows(query, {"ids": list(notification_ids)})]

    def attempts(self, delivery_id: int) -> list[AttemptRow]:
        """The attempts of one delivery, oldest first."""
        return [to_attempt(row) for row in self._rows(_ATTEMPTS, {"delivery_id": delivery_id})]

    def outbox(self) -> dict[str, OutboxView]:
        """Receiver name to what it is owed; receivers that are owed nothing appear once they have a state."""
        owed = {row.receiver: row for row in self._rows(_OUTBOX)}
        states = {row.name: row for row in self._rows(_RECEIVER_STATES)}
        return {
            name: OutboxView(
                pending=owed[name].pending if name in owed else 0,
                oldest_at=moment(owed[name].oldest) if name in owed else None,
                disabled=name in states and states[name].disabled,
                failing_since=maybe_moment(states[name].failing_since) if name in states else None,
            )
            for name in sorted(owed.keys() | states.keys())
        }

    def receiver_states(self) -> dict[str, bytes]:
        """Receiver name to the JSON document last put for it."""
        return {row.name: row.document.encode() for row in self._rows(self._locking(_RECEIVER_STATES))}

    # the rest

    def meta(self, key: str) -> str | None:
        """A fact about the database itself, such as `instance_id`."""
        rows = self._rows(_META, {"key": key})
        return str(rows[0].value) if rows else None

    def size(self) -> int:
        """How many bytes are in use; what is free again within the database does not count. Of PostgreSQL an estimate."""
        return int(self._rows(_SIZE[self._connection.dialect.name])[0][0])

    def numbers(self, query: Select[Any], parameters: dict[str, Any]) -> list[int]:
        """The first column of what *query* finds; for the other modules of this package."""
        return [row[0] for row in self._rows(query, parameters)]

    def rows(self, query: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        """What *query* finds; for the other modules of this package."""
        return self._rows(query, parameters)

    def _rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        with translated():
            return self._connection.execute(statement, parameters).all()

    def _locking(self, query: Select[Any]) -> Select[Any]:
        """*query* as it is; a `Store` adds that what it reads stays as read until it has written."""
        return query
