"""The queries of the running daemon find their rows by an index: asked of the databases themselves."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, event

from monitor.db import (
    AttemptRow,
    Database,
    Store,
    closed_incidents,
    last_delivered,
    list_checks,
    list_deliveries,
    list_incidents,
    list_notifications,
    open_alerts,
    pending_deliveries,
    read_connections,
    read_open_incidents,
    read_outbox,
    read_state,
    response_times,
    uptime,
)
from monitor.domain.connections import ConnectionSpec
from monitor.domain.events import FINE, IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Scope
from monitor.errors import DeliveryReason, Reason
from tests.builders import DAY, START, a_notification, at

Statement = tuple[str, Any]
LARGE = ("deliveries", "notifications", "incidents", "attempts", "connections", "checks")
"""Tables that grow with time or with the number of connections."""
PENDING_ONLY = ("ix_deliveries_pending", "uq_incidents_open", "ix_deliveries_digest_id")
"""Indexes of the few rows that are not finished: these may be read as a whole."""


@contextmanager
def recorded() -> Iterator[list[Statement]]:
    """Every statement of this process within the block, and its parameters."""
    statements: list[Statement] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: Any, _context: object, executemany: bool) -> None:
        statements.append((statement, parameters[0] if executemany else parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def walked(connection: SqlConnection, statement: Statement) -> list[str]:
    """The lines of the plan of *statement* that read a large table from end to end."""
    text, parameters = statement
    if connection.dialect.name == "sqlite":
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)]
        scans = [line for line in plan if re.match(r"SCAN (\w+)", line)]
    else:
        # Tables without rows are always read from end to end, unless that is made expensive.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {text}", parameters)]
        scans = [line for line in plan if "Seq Scan" in line]
    return [
        line
        for line in scans
        if any(re.search(rf"\b{table}(_\w+)?\b", line) for table in LARGE) and not any(name in line for name in PENDING_ONLY)
    ]


def an_incident(number: int, level: str) -> Transition:
    incident = IncidentRef(Topic.CONNECTION, "1", number, START)
    return Transition(incident, Scope.CONNECTION, None, level, START, Severity.CRITICAL, Reason.TOKEN_EXPIRED, "", None)


def write_everything(store: Store) -> None:
    """What checks, the evaluation and the deliverer write."""
    store.apply_transitions([an_incident(1, "error")])
    store.apply_transitions([an_incident(1, FINE)])
    outbox = store.outbox
    outbox.add_notification("msg_1", a_notification(connection_id=None), "key", b"{}", ["on-call"])
    outbox.receivers_notified("key")
    outbox.overtake_reminders("msg_1", START)
    (waiting,) = pending_deliveries(store, "on-call")
    (delivery,) = list_deliveries(store, subject=a_notification().incident.subject)
    assert delivery.id == waiting.id
    attempt = AttemptRow(START, DeliveryReason.DELIVERED, 5, 200)
    outbox.record_attempt(delivery, attempt, "delivered")
    outbox.cancel_deliveries("on-call", START)
    store.ensure_connections([ConnectionSpec("main", "", "x-1", "x")])


READS: dict[str, Callable[[Store], object]] = {
    "outbox": read_outbox,
    "pending": lambda store: pending_deliveries(store, "on-call"),
    "deliveries of one subject": lambda store: list_deliveries(store, subject="1", limit=10),
    "last delivered": lambda store: last_delivered(store, "on-call", "key"),
    "open alerts": lambda store: open_alerts(store, "alertmanager", 0, 100),
    "open incidents": read_open_incidents,
    "closed incidents": lambda store: closed_incidents(store, 50),
    "incidents of one connection": lambda store: list_incidents(store, connection_id=1, limit=10),
    "notifications of one subject": lambda store: list_notifications(store, subject="1", limit=10),
    "response times of one connection": lambda store: response_times(store, 1, START, 10),
    "a page of checks": lambda store: list_checks(store, 1),
    "one state": lambda store: read_state(store, 1),
    "first check": uptime.first_check,
    "uptime": lambda store: uptime.evidence(store, [1], START, at(DAY)),
    "deletion of checks": lambda store: store.retention.delete_checks([1], START, 10),
    "connections of one account": lambda store: read_connections(store, account="main"),
}


@pytest.mark.parametrize("what", READS)
async def test_reads(database: Database, what: str) -> None:
    """Nothing that is read while the daemon runs walks a table that grows."""

    def work(store: Store) -> list[str]:
        with recorded() as statements:
            READS[what](store)
        assert statements
        return [line for statement in statements for line in walked(store._connection, statement)]

    assert await database.write(work) == []


async def test_writes(database: Database) -> None:
    """Nothing that a check or a delivery writes walks a table that grows."""

    def work(store: Store) -> list[str]:
        with recorded() as statements:
            write_everything(store)
            store.flush()
        assert len(statements) >= 10
        return [line for statement in statements for line in walked(store._connection, statement)]

    assert await database.write(work) == []


async def test_a_walk_is_seen(database: Database) -> None:
    """A query without an index is found out."""
    statement = ("SELECT id FROM deliveries WHERE last_status = 500", ())

    assert await database.write(lambda store: walked(store._connection, statement))
