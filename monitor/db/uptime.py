"""Sums of uptime, written and read."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Row, Select, Table, bindparam, func, or_, select

from monitor.clock import from_milliseconds, to_milliseconds
from monitor.db.codec import maybe_moment
from monitor.db.queries.state import read_meta
from monitor.db.rows import to_connection
from monitor.db.tables import checks, connections, incidents, uptime_days, uptime_hours
from monitor.db.transaction import PUT_META, Reader, Transaction, for_each_dialect, upsert
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.reasons import MEANINGS
from monitor.domain.topics import STALE
from monitor.domain.uptime import DAY, EXCLUDING_SCOPES, HOUR, NOTHING, WINDOWS, DayUptime, Evidence, IncidentSpan, Uptime, begin, day_of

HourKey = tuple[int, datetime]
"""A connection and the beginning of an hour."""

UNTIL = "uptime_until"
"""The fact (see `read_meta`) until when all is added up."""

# Milliseconds: ok, down, excluded.
_Sums = tuple[int, int, int]
_ZERO = (0, 0, 0)

# Above that it is cheaper to read the days of every connection.
_FEW = 300

_EVER = from_milliseconds(0)
_MILLISECOND = timedelta(milliseconds=1)
_HEALTH = {reason.value: meaning.health for reason, meaning in MEANINGS.items() if meaning.health is not None}
_SUMS = ("ok_ms", "down_ms", "excluded_ms")

_SINCE: BindParameter[int] = bindparam("since")
_UNTIL: BindParameter[int] = bindparam("until")
_IDS: BindParameter[int] = bindparam("ids", expanding=True)

_FIRST_AT = select(func.min(checks.c.at)).where(checks.c.connection_id == connections.c.id)
_FIRST_OF_EACH = select(_FIRST_AT.where(checks.c.at >= _SINCE).scalar_subquery().label("at")).select_from(connections).subquery()
_FIRST_SINCE = select(func.min(_FIRST_OF_EACH.c.at).label("at"))
_FIRST_CHECKS = select(connections.c.id, _FIRST_AT.scalar_subquery().label("first_at")).where(connections.c.id.in_(_IDS))
_RETIRED = select(connections).where(connections.c.retired_at > _SINCE).order_by(connections.c.id)
_WATCHED_IDS = select(connections.c.id).where(connections.c.retired_at.is_(None))
_EVIDENCE = (
    select(checks.c.connection_id, checks.c.at, checks.c.reason)
    .where(checks.c.connection_id.in_(_IDS), checks.c.at >= _SINCE, checks.c.at < _UNTIL)
    .order_by(checks.c.connection_id, checks.c.at)
)
_INCIDENTS = select(
    incidents.c.topic, incidents.c.subject, incidents.c.scope, incidents.c.connection_id, incidents.c.opened_at, incidents.c.closed_at
).where(
    or_(incidents.c.closed_at.is_(None), incidents.c.closed_at > _SINCE),
    incidents.c.opened_at < _UNTIL,
    incidents.c.topic.in_([Topic.CONNECTION, Topic.SCOPE]),
    incidents.c.level != STALE,
)

_HOURS = select(uptime_hours).where(uptime_hours.c.at.in_(bindparam("hours", expanding=True)), uptime_hours.c.connection_id.in_(_IDS))
_DAYS = select(uptime_days).where(uptime_days.c.at >= _SINCE, uptime_days.c.at < _UNTIL)
# One seek for each day of each connection.
_DAYS_OF = select(uptime_days).where(uptime_days.c.at.in_(bindparam("days", expanding=True)), uptime_days.c.connection_id.in_(_IDS))
_LAST_DAY = select(func.max(uptime_days.c.at)).where(uptime_days.c.at < bindparam("today"))


def _sums(table: Table) -> Select[Any]:
    return (
        select(table.c.connection_id, *(func.sum(table.c[name]).label(name) for name in _SUMS))
        .where(table.c.at >= _SINCE, table.c.at < _UNTIL)
        .group_by(table.c.connection_id)
    )


_SUM_HOURS = _sums(uptime_hours)
_SUM_DAYS = _sums(uptime_days)
_SUM_HOURS_OF = _SUM_HOURS.where(uptime_hours.c.connection_id == bindparam("id"))
_SUM_DAYS_OF = _SUM_DAYS.where(uptime_days.c.connection_id == bindparam("id"))

_PUT_HOURS = upsert(uptime_hours, ["at", "connection_id"], _SUMS)
_SUM_OF_DAY = (
    select(
        bindparam("b_day", type_=uptime_days.c.at.type), uptime_hours.c.connection_id, *(func.sum(uptime_hours.c[name]) for name in _SUMS)
    )
    .where(
        uptime_hours.c.at.in_(bindparam("b_hours", expanding=True)), uptime_hours.c.connection_id.in_(bindparam("b_ids", expanding=True))
    )
    .group_by(uptime_hours.c.connection_id)
)
_PUT_DAYS = for_each_dialect(
    lambda insert: (put := insert(uptime_days).from_select(["at", "connection_id", *_SUMS], _SUM_OF_DAY)).on_conflict_do_update(
        index_elements=["at", "connection_id"], set_={name: put.excluded[name] for name in _SUMS}
    )
)


# what the sums are made of


def first_check(reader: Reader, since: datetime = _EVER) -> datetime | None:
    """The time of the oldest check that is kept, of those from *since* on; None without any."""
    return maybe_moment(reader.rows(_FIRST_SINCE, {"since": to_milliseconds(since)})[0].at)


def first_checks(reader: Reader, ids: Collection[int]) -> dict[int, datetime]:
    """The time of the oldest check that is kept of each of the connections *ids* that has one."""
    return {row.id: from_milliseconds(row.first_at) for row in reader.rows(_FIRST_CHECKS, {"ids": list(ids)}) if row.first_at is not None}


def retired_since(reader: Reader, since: datetime) -> list[tuple[Connection, datetime]]:
    """The connections that were retired after *since*, each with when that was."""
    return [(to_connection(row), from_milliseconds(row.retired_at)) for row in reader.rows(_RETIRED, {"since": to_milliseconds(since)})]


def evidence(reader: Reader, ids: Collection[int], since: datetime, until: datetime) -> Mapping[int, Sequence[Evidence]]:
    """Connection id to its conclusive checks from *since* until *until*, oldest first."""
    evidence_of: dict[int, list[Evidence]] = defaultdict(list)
    rows = reader.rows(_EVIDENCE, {"ids": list(ids), "since": to_milliseconds(since), "until": to_milliseconds(until)})
    for connection_id, at, reason in map(tuple, rows):
        if (health := _HEALTH.get(reason)) is not None:
            evidence_of[connection_id].append(Evidence(from_milliseconds(at), health))
    return evidence_of


def incidents_between(
    reader: Reader, since: datetime, until: datetime
) -> tuple[dict[int, list[IncidentSpan]], dict[str, list[IncidentSpan]]]:
    """The incidents of connections, `stale` ones excepted, by id; and those of scopes whose time is excluded, by scope key."""
    own: dict[int, list[IncidentSpan]] = defaultdict(list)
    wider: dict[str, list[IncidentSpan]] = defaultdict(list)
    for row in reader.rows(_INCIDENTS, {"since": to_milliseconds(since), "until": to_milliseconds(until)}):
        incident = IncidentSpan(from_milliseconds(row.opened_at), maybe_moment(row.closed_at))
        if row.connection_id is not None:
            own[row.connection_id].append(incident)
        elif row.scope in EXCLUDING_SCOPES and not row.subject.startswith(("rate:", "limit:")):
            wider[row.subject].append(incident)
    return own, wider


# the sums


def last_day_before(reader: Reader, now: datetime) -> datetime | None:
    """The last day before that of *now* that has a sum; None without one."""
    return maybe_moment(reader.rows(_LAST_DAY, {"today": to_milliseconds(day_of(now))})[0][0])


def uptime_until(reader: Reader) -> datetime | None:
    """Until when all is added up; None when nothing is yet."""
    until = read_meta(reader, UNTIL)
    return None if until is None else from_milliseconds(int(until))


def hours_between(reader: Reader, ids: Collection[int], since: datetime, until: datetime) -> dict[HourKey, Uptime]:
    """The stored sums of every hour that begins from *since*, a full hour, until *until*."""
    hours = [to_milliseconds(since + n * HOUR) for n in range(-((since - until) // HOUR))]
    return {
        (row.connection_id, from_milliseconds(row.at)): to_uptime(row) for row in reader.rows(_HOURS, {"hours": hours, "ids": list(ids)})
    }


def put_hours(store: Transaction, changed: Mapping[HourKey, Uptime]) -> None:
    """Write these hours, and the sums of the days that they are part of."""
    rows = [
        {
            "at": to_milliseconds(hour),
            "connection_id": connection_id,
            "ok_ms": uptime.ok // _MILLISECOND,
            "down_ms": uptime.down // _MILLISECOND,
            "excluded_ms": uptime.excluded // _MILLISECOND,
        }
        for (connection_id, hour), uptime in changed.items()
    ]
    if rows:
        store.change(_PUT_HOURS, rows)
    for day, ids in _days(changed).items():
        hours = [to_milliseconds(day + n * HOUR) for n in range(DAY // HOUR)]
        store.change(_PUT_DAYS, {"b_day": to_milliseconds(day), "b_hours": hours, "b_ids": sorted(ids)})


def put_until(store: Transaction, until: datetime) -> None:
    """Remember until when all is added up."""
    store.change(PUT_META, {"key": UNTIL, "value": str(to_milliseconds(until))})


def uptimes(reader: Reader, now: datetime, connection_id: int | None = None) -> Mapping[int, Mapping[str, Uptime]]:
    """
    Connection id to the uptime of each window of `domain.uptime.WINDOWS` that ends *now*, of every monitored connection or of one.

    Windows begin at a full hour, that of 90 days at midnight UTC. Time that is not added up yet (that is done every ten
    minutes) is unknown.
    """
    ids = [row.id for row in reader.rows(_WATCHED_IDS)] if connection_id is None else [connection_id]
    sum_hours, sum_days = (_SUM_HOURS, _SUM_DAYS) if connection_id is None else (_SUM_HOURS_OF, _SUM_DAYS_OF)
    totals: dict[int, dict[str, Uptime]] = {number: {} for number in ids}
    days = dict.fromkeys(totals, _ZERO)
    behind = now
    for name in sorted(WINDOWS, key=lambda window: WINDOWS[window]):
        start = begin(name, now)
        full = day_of(start + DAY - timedelta(microseconds=1))
        days = _added(days, _summed(reader, sum_days, full, behind, connection_id))
        for number, sums in _added(days, _summed(reader, sum_hours, start, full, connection_id)).items():
            totals[number][name] = _uptime(*sums).within(now - start)
        behind = full
    return totals


def daily_uptime(reader: Reader, connection_ids: Collection[int], since: datetime) -> Mapping[int, Sequence[DayUptime]]:
    """The uptime of every day (UTC) from that of *since* until all is added up, oldest first, of every connection asked for."""
    until = uptime_until(reader)
    first = day_of(since)
    days = [] if until is None else [first + n * DAY for n in range((until - first) // DAY + 1)]
    sums: dict[tuple[int, int], Uptime] = {}
    if days and connection_ids:
        sums = {(row.connection_id, row.at): to_uptime(row) for row in _stored_days(reader, days, connection_ids)}
    return {
        connection_id: [
            DayUptime(day.date(), sums.get((connection_id, to_milliseconds(day)), NOTHING).within(min(day + DAY, until or day) - day))
            for day in days
        ]
        for connection_id in connection_ids
    }


def to_uptime(row: Row[Any]) -> Uptime:
    """The uptime in a row of sums, which have no unknown time."""
    return _uptime(row.ok_ms, row.down_ms, row.excluded_ms)


def _uptime(ok: int, down: int, excluded: int) -> Uptime:
    return Uptime(timedelta(milliseconds=ok), timedelta(milliseconds=down), timedelta(milliseconds=excluded))


def _days(keys: Iterable[HourKey]) -> dict[datetime, set[int]]:
    days: dict[datetime, set[int]] = defaultdict(set)
    for connection_id, hour in keys:
        days[day_of(hour)].add(connection_id)
    return days


def _stored_days(reader: Reader, days: Sequence[datetime], ids: Collection[int]) -> Sequence[Row[Any]]:
    if len(ids) > _FEW:
        return reader.rows(_DAYS, {"since": to_milliseconds(days[0]), "until": to_milliseconds(days[-1] + DAY)})
    return reader.rows(_DAYS_OF, {"days": [to_milliseconds(day) for day in days], "ids": list(ids)})


def _summed(reader: Reader, query: Select[Any], since: datetime, until: datetime, connection_id: int | None) -> dict[int, _Sums]:
    if since >= until:
        return {}
    parameters = {"since": to_milliseconds(since), "until": to_milliseconds(until)} | (
        {} if connection_id is None else {"id": connection_id}
    )
    return {number: (ok, down, excluded) for number, ok, down, excluded in map(tuple, reader.rows(query, parameters))}


def _added(sums: Mapping[int, _Sums], more: Mapping[int, _Sums]) -> dict[int, _Sums]:
    """*sums*, each with what *more* has of the same connection."""
    return {
        connection_id: (left[0] + right[0], left[1] + right[1], left[2] + right[2]) if (right := more.get(connection_id)) else left
        for connection_id, left in sums.items()
    }
