"""Sums of uptime, written and read."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, Table, bindparam, func, or_, select

from monitor.db.codec import maybe_moment, millis, moment
from monitor.db.queries.state import Reader
from monitor.db.rows import to_connection
from monitor.db.tables import checks, connections, incidents, meta, uptime_days, uptime_hours
from monitor.db.transaction import PUT_META, Transaction, for_each_dialect
from monitor.domain.connections import Connection
from monitor.domain.events import Topic
from monitor.domain.reasons import MEANINGS
from monitor.domain.topics import STALE
from monitor.domain.uptime import DAY, EXCLUDING_SCOPES, HOUR, NOTHING, WINDOWS, DayUptime, Evidence, IncidentSpan, Uptime, begin, day_of

HourKey = tuple[int, datetime]
"""A connection and the beginning of an hour."""

_HEALTH = {reason.value: meaning.health for reason, meaning in MEANINGS.items() if meaning.health is not None}

_MILLISECOND = timedelta(milliseconds=1)

_EVER = moment(0)
_AT = select(func.min(checks.c.at)).where(checks.c.connection_id == connections.c.id)
_FIRST_OF_EACH = select(connections.c.id, _AT.scalar_subquery().label("first_at"))
_FIRST_SINCE = select(connections.c.id, _AT.where(checks.c.at >= bindparam("since")).scalar_subquery().label("first_at"))
_FIRST_CHECKS = _FIRST_OF_EACH.where(connections.c.id.in_(bindparam("ids", expanding=True)))
_WATCHED = select(connections).where(or_(connections.c.retired_at.is_(None), connections.c.retired_at > bindparam("since")))
_WATCHED = _WATCHED.order_by(connections.c.id)
_EVIDENCE = (
    select(checks.c.connection_id, checks.c.at, checks.c.reason)
    .where(
        checks.c.connection_id.in_(bindparam("ids", expanding=True)), checks.c.at >= bindparam("since"), checks.c.at < bindparam("until")
    )
    .order_by(checks.c.connection_id, checks.c.at)
)
_INCIDENTS = select(
    incidents.c.topic, incidents.c.subject, incidents.c.scope, incidents.c.connection_id, incidents.c.opened_at, incidents.c.closed_at
).where(
    or_(incidents.c.closed_at.is_(None), incidents.c.closed_at > bindparam("since")),
    incidents.c.opened_at < bindparam("until"),
    incidents.c.topic.in_([Topic.CONNECTION, Topic.SCOPE]),
    incidents.c.level != STALE,
)
_HOURS = select(uptime_hours).where(
    uptime_hours.c.at.in_(bindparam("hours", expanding=True)), uptime_hours.c.connection_id.in_(bindparam("ids", expanding=True))
)

_LAST_DAY = select(func.max(uptime_days.c.at)).where(uptime_days.c.at < bindparam("today"))
_SUMS = ("ok_ms", "down_ms", "excluded_ms")
_PUT_HOURS = for_each_dialect(
    lambda insert: (put := insert(uptime_hours)).on_conflict_do_update(
        index_elements=["at", "connection_id"], set_={name: put.excluded[name] for name in _SUMS}
    )
)
_SUMMED = (
    select(
        bindparam("b_day", type_=uptime_days.c.at.type), uptime_hours.c.connection_id, *(func.sum(uptime_hours.c[name]) for name in _SUMS)
    )
    .where(
        uptime_hours.c.at.in_(bindparam("b_hours", expanding=True)), uptime_hours.c.connection_id.in_(bindparam("b_ids", expanding=True))
    )
    .group_by(uptime_hours.c.connection_id)
)
_PUT_DAYS = for_each_dialect(
    lambda insert: (put := insert(uptime_days).from_select(["at", "connection_id", *_SUMS], _SUMMED)).on_conflict_do_update(
        index_elements=["at", "connection_id"], set_={name: put.excluded[name] for name in _SUMS}
    )
)


def first_check(reader: Reader, since: datetime = _EVER) -> datetime | None:
    """When the oldest check that is kept ended, of those from *since* on; None without any."""
    moments = [row.first_at for row in reader.rows(_FIRST_SINCE, {"since": millis(since)}) if row.first_at is not None]
    return moment(min(moments)) if moments else None


def first_checks(reader: Reader, ids: Collection[int]) -> dict[int, datetime]:
    """When the oldest check that is kept ended, of those connections *ids* that have one."""
    return {row.id: moment(row.first_at) for row in reader.rows(_FIRST_CHECKS, {"ids": list(ids)}) if row.first_at is not None}


def last_day_before(reader: Reader, now: datetime) -> datetime | None:
    """The last day before that of *now* of which anything is known; None without one."""
    row = reader.rows(_LAST_DAY, {"today": millis(day_of(now))})[0]
    return maybe_moment(row[0])


def watched_since(reader: Reader, since: datetime) -> list[tuple[Connection, datetime | None]]:
    """The connections that are watched, or were at some time after *since*, each with when it was retired."""
    return [(to_connection(row), maybe_moment(row.retired_at)) for row in reader.rows(_WATCHED, {"since": millis(since)})]


def evidence(reader: Reader, ids: Collection[int], since: datetime, until: datetime) -> Mapping[int, Sequence[Evidence]]:
    """Connection id to its conclusive checks from *since* until *until*, oldest first."""
    found: dict[int, list[Evidence]] = defaultdict(list)
    for number, at, reason in map(tuple, reader.rows(_EVIDENCE, {"ids": list(ids), "since": millis(since), "until": millis(until)})):
        health = _HEALTH.get(reason)
        if health is not None:
            found[number].append(Evidence(moment(at), health))
    return found


def incidents_between(
    reader: Reader, since: datetime, until: datetime
) -> tuple[dict[int, list[IncidentSpan]], dict[str, list[IncidentSpan]]]:
    """The incidents of connections (but for those that only grew stale) by id, and the wider ones that excuse by the scope's name."""
    own: dict[int, list[IncidentSpan]] = defaultdict(list)
    wider: dict[str, list[IncidentSpan]] = defaultdict(list)
    for row in reader.rows(_INCIDENTS, {"since": millis(since), "until": millis(until)}):
        incident = IncidentSpan(moment(row.opened_at), maybe_moment(row.closed_at))
        if row.connection_id is not None:
            own[row.connection_id].append(incident)
        elif row.scope in EXCLUDING_SCOPES and not row.subject.startswith("rate:"):
            wider[row.subject].append(incident)
    return own, wider


def hours_between(reader: Reader, ids: Collection[int], since: datetime, until: datetime) -> dict[HourKey, Uptime]:
    """The sums that are written, of every hour that begins from *since*, a full hour, until *until*."""
    hours = [millis(since + n * HOUR) for n in range(-((since - until) // HOUR))]
    return {(row.connection_id, moment(row.at)): to_uptime(row) for row in reader.rows(_HOURS, {"hours": hours, "ids": list(ids)})}


def put_hours(store: Transaction, changed: Mapping[HourKey, Uptime]) -> None:
    """Write these hours, and the sums of the days that they are part of."""
    rows = [
        {
            "at": millis(hour),
            "connection_id": number,
            "ok_ms": uptime.ok // _MILLISECOND,
            "down_ms": uptime.down // _MILLISECOND,
            "excluded_ms": uptime.excluded // _MILLISECOND,
        }
        for (number, hour), uptime in changed.items()
    ]
    if rows:
        store.put(_PUT_HOURS, rows)
    for day, ids in _days(changed).items():
        hours = [millis(day + n * HOUR) for n in range(DAY // HOUR)]
        store.put(_PUT_DAYS, {"b_day": millis(day), "b_hours": hours, "b_ids": sorted(ids)})


def put_until(store: Transaction, until: datetime) -> None:
    """Remember until when all is added up."""
    store.put(PUT_META, {"key": UNTIL, "value": str(millis(until))})


def _days(keys: Iterable[HourKey]) -> dict[datetime, set[int]]:
    days: dict[datetime, set[int]] = defaultdict(set)
    for number, hour in keys:
        days[day_of(hour)].add(number)
    return days


UNTIL = "uptime_until"
"""The fact (see `Reader.meta`) up to when all is added up."""

# Milliseconds: ok, down, excluded.
_Sums = tuple[int, int, int]
_ZERO = (0, 0, 0)

# Above that it is cheaper to read the days of everybody.
_FEW = 300

_UNTIL = select(meta.c.value).where(meta.c.key == UNTIL)
_WATCHED_IDS = select(connections.c.id).where(connections.c.retired_at.is_(None))


def _sums(table: Table) -> Select[Any]:
    return (
        select(
            table.c.connection_id,
            func.sum(table.c.ok_ms).label("ok_ms"),
            func.sum(table.c.down_ms).label("down_ms"),
            func.sum(table.c.excluded_ms).label("excluded_ms"),
        )
        .where(table.c.at >= bindparam("since"), table.c.at < bindparam("until"))
        .group_by(table.c.connection_id)
    )


_SUM_HOURS = _sums(uptime_hours)
_SUM_DAYS = _sums(uptime_days)
_SUM_HOURS_OF = _SUM_HOURS.where(uptime_hours.c.connection_id == bindparam("id"))
_SUM_DAYS_OF = _SUM_DAYS.where(uptime_days.c.connection_id == bindparam("id"))
_DAYS = select(uptime_days).where(uptime_days.c.at >= bindparam("since"), uptime_days.c.at < bindparam("until"))
# One seek for each day of each connection.
_DAYS_OF = select(uptime_days).where(
    uptime_days.c.at.in_(bindparam("days", expanding=True)), uptime_days.c.connection_id.in_(bindparam("ids", expanding=True))
)


def uptimes(reader: Reader, now: datetime, connection_id: int | None = None) -> Mapping[int, Mapping[str, Uptime]]:
    """
    Of every connection that is watched, or of one, what is known of each window of `domain.uptime.WINDOWS` that ends *now*.

    Windows begin at a full hour, that of 90 days at midnight UTC. What nobody looked at, or has not been added up yet (that is
    done every ten minutes), is unknown.
    """
    numbers = [row.id for row in reader.rows(_WATCHED_IDS)] if connection_id is None else [connection_id]
    sum_hours, sum_days = (_SUM_HOURS, _SUM_DAYS) if connection_id is None else (_SUM_HOURS_OF, _SUM_DAYS_OF)
    totals: dict[int, dict[str, Uptime]] = {number: {} for number in numbers}
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
    """
    What is known of every day (UTC), from that of *since* until that up to which all is added up, oldest first.

    Every connection asked for has every day, also those of which nothing is known.
    """
    until = uptime_until(reader)
    found: dict[tuple[int, int], Uptime] = {}
    first = day_of(since)
    days = [] if until is None else [first + n * DAY for n in range((until - first) // DAY + 1)]
    if days and connection_ids:
        found = {(row.connection_id, row.at): to_uptime(row) for row in _stored_days(reader, days, connection_ids)}
    return {
        number: [
            DayUptime(day.date(), found.get((number, millis(day)), NOTHING).within(min(day + DAY, until or day) - day)) for day in days
        ]
        for number in connection_ids
    }


def uptime_until(reader: Reader) -> datetime | None:
    """Until when all is added up; None when nothing is yet."""
    rows = reader.rows(_UNTIL)
    return moment(int(rows[0].value)) if rows else None


def _stored_days(reader: Reader, days: Sequence[datetime], ids: Collection[int]) -> Sequence[Row[Any]]:
    if len(ids) > _FEW:
        return reader.rows(_DAYS, {"since": millis(days[0]), "until": millis(days[-1] + DAY)})
    return reader.rows(_DAYS_OF, {"days": [millis(day) for day in days], "ids": list(ids)})


def _summed(reader: Reader, query: Select[Any], since: datetime, until: datetime, connection_id: int | None) -> dict[int, _Sums]:
    one = {} if connection_id is None else {"id": connection_id}
    rows: Sequence[Row[Any]] = reader.rows(query, {"since": millis(since), "until": millis(until), **one}) if since < until else []
    return {number: (ok, down, excluded) for number, ok, down, excluded in map(tuple, rows)}


def to_uptime(row: Row[Any]) -> Uptime:
    """What a row of sums tells; the unknown is not in it."""
    return _uptime(row.ok_ms, row.down_ms, row.excluded_ms)


def _uptime(ok: int, down: int, excluded: int) -> Uptime:
    return Uptime(timedelta(milliseconds=ok), timedelta(milliseconds=down), timedelta(milliseconds=excluded))


def _added(sums: Mapping[int, _Sums], more: Mapping[int, _Sums]) -> dict[int, _Sums]:
    """*sums*, each with what *more* has of the same connection."""
    return {
        number: (one[0] + other[0], one[1] + other[1], one[2] + other[2]) if (other := more.get(number)) else one
        for number, one in sums.items()
    }
