"""Checks, incidents, latencies, timeline."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import bindparam, func, select, tuple_

from monitor.db.codec import maybe_moment, millis, moment
from monitor.db.queries.state import Reader
from monitor.db.rows import AttemptRow, CheckRow, IncidentRow, NotificationRow, to_attempt, to_check, to_incident
from monitor.db.tables import attempts, checks, connections, incidents, messages
from monitor.errors import Reason

PAGE = 5_000
_SHORTEST_MS = 1_000
_LONGEST_MS = timedelta(days=30) // timedelta(milliseconds=1)
_FIRST_MS = timedelta(minutes=10) // timedelta(milliseconds=1)

# One seek in the primary key for each connection, as in `retention`.
SLICE = (
    select(checks, messages.c.text)
    .outerjoin(messages, messages.c.id == checks.c.message_id)
    .where(checks.c.connection_id.in_(select(connections.c.id)))
    .where(checks.c.at >= bindparam("begin"), checks.c.at < bindparam("end"))
    .where(tuple_(checks.c.at, checks.c.connection_id) > tuple_(bindparam("after_at"), bindparam("after_id")))
    .order_by(checks.c.at, checks.c.connection_id)
    .limit(bindparam("limit"))
)
LIFETIMES = select(
    connections.c.id,
    connections.c.retired_at,
    select(func.min(checks.c.at)).where(checks.c.connection_id == connections.c.id).scalar_subquery().label("first"),
)


class Lifetime(NamedTuple):
    """From when to when a connection was checked: its oldest check that is kept, and when it was retired."""

    first_at: datetime | None
    retired_at: datetime | None


def lifetimes(reader: Reader) -> dict[int, Lifetime]:
    """Connection id to lifetime, of every connection that ever was."""
    return {row.id: Lifetime(maybe_moment(row.first), maybe_moment(row.retired_at)) for row in reader.rows(LIFETIMES)}


def checks_in_order(
    reading: Callable[[], AbstractContextManager[Reader]], since: datetime, until: datetime, page: int = PAGE
) -> Iterator[CheckRow]:
    """
    Every check from *since* until before *until*, by time and then by connection, at most *page* of them in memory.

    Each piece is read on its own, so that nothing keeps the database's past alive for long.
    """
    begin, last, width = millis(since), millis(until), _FIRST_MS
    at, number = begin - 1, 0
    while begin < last:
        end = min(begin + width, last)
        with reading() as reader:
            values = {"begin": begin, "end": end, "after_at": at, "after_id": number, "limit": page}
            rows = [to_check(row) for row in reader.rows(SLICE, values)]
        yield from rows
        if len(rows) == page:
            at, number = millis(rows[-1].at), rows[-1].connection_id
            begin, width = at, max(_SHORTEST_MS, width // 2)
        else:
            begin, width = end, min(_LONGEST_MS, width * 2) if len(rows) <= page // 4 else width


def notifications_since(
    reading: Callable[[], AbstractContextManager[Reader]], since: datetime, page: int = 500
) -> Iterator[NotificationRow]:
    """Every decision to tell from *since* on, the newest first."""
    before: int | None = None
    while True:
        with reading() as reader:
            rows = reader.notifications(limit=page, before_id=before)
        yield from (row for row in rows if row.notification.at >= since)
        if len(rows) < page or rows[-1].notification.at < since - timedelta(days=1):
            return
        before = rows[-1].id


_LATENCIES = (
    select(checks.c.at, checks.c.duration_ms, checks.c.reason)
    .where(checks.c.connection_id == bindparam("connection_id"))
    .order_by(checks.c.at.desc())
    .limit(bindparam("limit"))
)
_CLOSED = (
    select(incidents)
    .where(incidents.c.closed_at.is_not(None), incidents.c.id < bindparam("before"))
    .order_by(incidents.c.id.desc())
    .limit(bindparam("limit"))
)
_LAST = 2**63 - 1
_ATTEMPTS = select(attempts).where(attempts.c.delivery_id.in_(bindparam("ids", expanding=True))).order_by(attempts.c.id)


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one check took, in milliseconds, and what it told."""

    at: datetime
    duration_ms: int
    reason: Reason


def latencies(reader: Reader, connection_ids: Collection[int], limit: int) -> dict[int, tuple[LatencyRow, ...]]:
    """Connection number to its last *limit* checks, oldest first."""
    # One question per connection reads `limit` rows by the primary key; one question for all would read every check.
    return {
        one: tuple(
            LatencyRow(moment(row.at), row.duration_ms, Reason(row.reason))
            for row in reversed(reader.rows(_LATENCIES, {"connection_id": one, "limit": limit}))
        )
        for one in connection_ids
    }


def attempts_of(reader: Reader, delivery_ids: Collection[int]) -> dict[int, list[AttemptRow]]:
    """Delivery number to its attempts, oldest first."""
    found: dict[int, list[AttemptRow]] = defaultdict(list)
    for row in reader.rows(_ATTEMPTS, {"ids": list(delivery_ids)}):
        found[row.delivery_id].append(to_attempt(row))
    return found


def closed_incidents(reader: Reader, limit: int, before_id: int | None = None) -> list[IncidentRow]:
    """The incidents that are over, newest first, at most *limit*; page with *before_id*, the `id` of the last one seen."""
    before = _LAST if before_id is None else before_id
    return [to_incident(row) for row in reader.rows(_CLOSED, {"before": before, "limit": limit})]
