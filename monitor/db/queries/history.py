"""Checks, incidents, latencies, and checks in order of time."""

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, true, tuple_

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.codec import maybe_moment
from monitor.db.queries.state import newest_check, read_state, with_last_checks
from monitor.db.rows import CheckRow, IncidentRow, to_check, to_incident, to_view
from monitor.db.tables import checks, connections, incidents, messages
from monitor.db.transaction import Reader
from monitor.domain.events import Topic
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

if TYPE_CHECKING:
    from monitor.domain.views.snapshot import IncidentView

PAGE = 5_000
_LAST = 2**63 - 1
_LAST_CHECKS = 50
_SHORTEST_MS = 1_000
_LONGEST_MS = timedelta(days=30) // timedelta(milliseconds=1)
_FIRST_MS = timedelta(minutes=10) // timedelta(milliseconds=1)

_CHECKS = select(checks, messages.c.text).outerjoin(messages, messages.c.id == checks.c.message_id)
_CHECKS_OF = (
    _CHECKS.where(checks.c.connection_id == bindparam("connection_id"), checks.c.at < bindparam("before"))
    .order_by(checks.c.at.desc())
    .limit(bindparam("limit"))
)
# One seek in the primary key for each connection, as in `retention`.
SLICE = (
    _CHECKS.where(checks.c.connection_id.in_(select(connections.c.id)))
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
_LATENCIES = (
    select(checks.c.at, checks.c.duration_ms, checks.c.reason)
    .where(checks.c.connection_id == bindparam("connection_id"))
    .order_by(checks.c.at.desc())
    .limit(bindparam("limit"))
)
_RESPONSE_TIMES = _LATENCIES.where(checks.c.at >= bindparam("since"))
_INCIDENTS = select(incidents).order_by(incidents.c.id.desc()).limit(bindparam("limit"))
_CLOSED = _INCIDENTS.where(incidents.c.closed_at.is_not(None), incidents.c.id < bindparam("before"))
_OPEN = select(incidents).where(incidents.c.closed_at.is_(None)).order_by(incidents.c.opened_at, incidents.c.id)


_CONFIRMED_AT = func.coalesce(incidents.c.confirmed_at, incidents.c.opened_at)
_OPEN_AT = (
    select(incidents)
    .where(bindparam("at") >= _CONFIRMED_AT, or_(incidents.c.closed_at.is_(None), incidents.c.closed_at > bindparam("at")))
    .order_by(incidents.c.opened_at, incidents.c.id)
)


def _last_checks(*conditions: ColumnElement[bool]) -> dict[str, Select[Any]]:
    """By dialect: the last check of each connection that meets *conditions*, up to a moment; one seek in the primary key for each."""
    conditions = (checks.c.at <= bindparam("at"), *conditions)
    of_connection = select(func.max(checks.c.at)).where(checks.c.connection_id == connections.c.id, *conditions)
    last_at, last = select(connections.c.id, of_connection.scalar_subquery().label("at")).subquery(), newest_check(*conditions)
    return {
        "sqlite": _CHECKS.join(last_at, (last_at.c.id == checks.c.connection_id) & (last_at.c.at == checks.c.at)),
        "postgresql": select(*last.c, messages.c.text)
        .select_from(connections)
        .join(last, true())
        .outerjoin(messages, messages.c.id == last.c.message_id),
    }


_INCONCLUSIVE = [reason.value for reason in Reason if outcome_of(reason) is Outcome.INCONCLUSIVE]
_LAST_CHECKS_AT = {False: _last_checks(), True: _last_checks(checks.c.reason.not_in(_INCONCLUSIVE))}


class Lifetime(NamedTuple):
    """From when to when a connection was checked: its oldest check that is kept, and when it was retired."""

    first_at: datetime | None
    retired_at: datetime | None


@dataclass(frozen=True, slots=True)
class LatencyRow:
    """How long one check took, in milliseconds, and its reason."""

    at: datetime
    duration_ms: int
    reason: Reason


def list_checks(reader: Reader, connection_id: int, limit: int = 100, before_at: datetime | None = None) -> list[CheckRow]:
    """The checks of one connection that ended before *before_at*, newest first, at most *limit*."""
    before = _LAST if before_at is None else to_milliseconds(before_at)
    return [to_check(row) for row in reader.rows(_CHECKS_OF, {"connection_id": connection_id, "before": before, "limit": limit})]


def read_last_known(reader: Reader, connection_id: int) -> ConnectionState:
    """The state of a retired connection when it was watched last; release 0.1 kept no more than its checks."""
    state = read_state(reader, connection_id) or ConnectionState()
    return state.last_known or with_last_checks(state, list_checks(reader, connection_id, _LAST_CHECKS))


def latencies(reader: Reader, connection_ids: Collection[int], limit: int) -> dict[int, tuple[LatencyRow, ...]]:
    """Connection id to its last *limit* checks, oldest first."""
    # One query per connection reads `limit` rows by the primary key; one query for all would read every check.
    return {
        connection_id: tuple(_latency(row) for row in reversed(reader.rows(_LATENCIES, {"connection_id": connection_id, "limit": limit})))
        for connection_id in connection_ids
    }


def response_times(reader: Reader, connection_id: int, since: datetime, limit: int) -> tuple[LatencyRow, ...]:
    """The last *limit* checks of one connection that ended at *since* or later, oldest first."""
    values = {"connection_id": connection_id, "since": to_milliseconds(since), "limit": limit}
    return tuple(_latency(row) for row in reversed(reader.rows(_RESPONSE_TIMES, values)))


def _latency(row: Any) -> LatencyRow:
    return LatencyRow(from_milliseconds(row.at), row.duration_ms, Reason(row.reason))


def lifetimes(reader: Reader) -> dict[int, Lifetime]:
    """Connection id to lifetime, retired connections included."""
    return {row.id: Lifetime(maybe_moment(row.first), maybe_moment(row.retired_at)) for row in reader.rows(LIFETIMES)}


def checks_in_order(
    reading: Callable[[], AbstractContextManager[Reader]], since: datetime, until: datetime, page: int = PAGE
) -> Iterator[CheckRow]:
    """Every check from *since* until before *until*, by time and then by connection; each *page* is a short transaction of its own."""
    begin, last, width = to_milliseconds(since), to_milliseconds(until), _FIRST_MS
    at, number = begin - 1, 0
    while begin < last:
        end = min(begin + width, last)
        with reading() as reader:
            values = {"begin": begin, "end": end, "after_at": at, "after_id": number, "limit": page}
            rows = [to_check(row) for row in reader.rows(SLICE, values)]
        yield from rows
        if len(rows) == page:
            at, number = to_milliseconds(rows[-1].at), rows[-1].connection_id
            begin, width = at, max(_SHORTEST_MS, width // 2)
        else:
            begin, width = end, min(_LONGEST_MS, width * 2) if len(rows) <= page // 4 else width


def read_open_incidents(reader: Reader) -> "list[IncidentView]":
    """The open incidents, ordered by when they opened."""
    return [to_view(row) for row in reader.rows(_OPEN)]


def list_incidents(
    reader: Reader,
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
    query = _INCIDENTS
    if connection_id is not None:
        query = query.where(incidents.c.connection_id == connection_id)
    if topic is not None:
        query = query.where(incidents.c.topic == topic)
    if subject is not None:
        query = query.where(incidents.c.subject == subject)
    if open_only:
        query = query.where(incidents.c.closed_at.is_(None))
    if since is not None:
        query = query.where(or_(incidents.c.closed_at.is_(None), incidents.c.closed_at >= to_milliseconds(since)))
    if before_id is not None:
        query = query.where(incidents.c.id < before_id)
    return [to_incident(row) for row in reader.rows(query, {"limit": limit})]


def incidents_at(reader: Reader, at: datetime) -> list[IncidentRow]:
    """The incidents that were confirmed and open at a moment, ordered by when they opened."""
    return [to_incident(row) for row in reader.rows(_OPEN_AT, {"at": to_milliseconds(at)})]


def last_checks_at(reader: Reader, at: datetime, *, conclusive: bool = False) -> dict[int, CheckRow]:
    """Connection id to its last check up to a moment; *conclusive*: to the last that was."""
    rows = reader.rows(_LAST_CHECKS_AT[conclusive][reader.dialect], {"at": to_milliseconds(at)})
    return {row.connection_id: to_check(row) for row in rows}


def closed_incidents(reader: Reader, limit: int, before_id: int | None = None) -> list[IncidentRow]:
    """The closed incidents, newest first, at most *limit*; page with *before_id*, the `id` of the last one seen."""
    before = _LAST if before_id is None else before_id
    return [to_incident(row) for row in reader.rows(_CLOSED, {"before": before, "limit": limit})]
