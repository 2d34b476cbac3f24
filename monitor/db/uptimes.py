"""What was added up of the time that connections worked: sums for hours and for days, and the questions asked of them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Executable, Row, Select, Table, bindparam, func, select

from monitor.db.codec import millis, moment
from monitor.db.tables import connections, meta, uptime_days, uptime_hours
from monitor.domain.uptime import DAY, NOTHING, WINDOWS, DayUptime, Uptime, begin, day_of

UNTIL = "uptime_until"
"""The fact (see `Reader.meta`) up to when all is added up."""

# Milliseconds: ok, down, excluded.
_Sums = tuple[int, int, int]
_ZERO = (0, 0, 0)

# Above that it is cheaper to read the days of everybody.
_FEW = 300

_UNTIL = select(meta.c.value).where(meta.c.key == UNTIL)
_WATCHED = select(connections.c.id).where(connections.c.retired_at.is_(None))


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


class Uptimes:
    """The part of a `Reader` that knows how much of the time connections worked."""

    def uptimes(self, now: datetime, connection_id: int | None = None) -> Mapping[int, Mapping[str, Uptime]]:
        """
        Of every connection that is watched, or of one, what is known of each window of `domain.uptime.WINDOWS` that ends *now*.

        Windows begin at a full hour, that of 90 days at midnight UTC. What nobody looked at, or has not been added up yet (that is
        done every ten minutes), is unknown.
        """
        numbers = [row.id for row in self._rows(_WATCHED)] if connection_id is None else [connection_id]
        sum_hours, sum_days = (_SUM_HOURS, _SUM_DAYS) if connection_id is None else (_SUM_HOURS_OF, _SUM_DAYS_OF)
        totals: dict[int, dict[str, Uptime]] = {number: {} for number in numbers}
        days = dict.fromkeys(totals, _ZERO)
        behind = now
        for name in sorted(WINDOWS, key=lambda window: WINDOWS[window]):
            start = begin(name, now)
            full = day_of(start + DAY - timedelta(microseconds=1))
            days = _added(days, self._summed(sum_days, full, behind, connection_id))
            for number, sums in _added(days, self._summed(sum_hours, start, full, connection_id)).items():
                totals[number][name] = _uptime(*sums).within(now - start)
            behind = full
        return totals

    def daily_uptime(self, connection_ids: Collection[int], since: datetime) -> Mapping[int, Sequence[DayUptime]]:
        """
        What is known of every day (UTC), from that of *since* until that up to which all is added up, oldest first.

        Every connection asked for has every day, also those of which nothing is known.
        """
        until = self.uptime_until()
        found: dict[tuple[int, int], Uptime] = {}
        first = day_of(since)
        days = [] if until is None else [first + n * DAY for n in range((until - first) // DAY + 1)]
        if days and connection_ids:
            found = {(row.connection_id, row.at): to_uptime(row) for row in self._days(days, connection_ids)}
        return {
            number: [
                DayUptime(day.date(), found.get((number, millis(day)), NOTHING).within(min(day + DAY, until or day) - day)) for day in days
            ]
            for number in connection_ids
        }

    def uptime_until(self) -> datetime | None:
        """Until when all is added up; None when nothing is yet."""
        rows = self._rows(_UNTIL)
        return moment(int(rows[0].value)) if rows else None

    def _days(self, days: Sequence[datetime], ids: Collection[int]) -> Sequence[Row[Any]]:
        if len(ids) > _FEW:
            return self._rows(_DAYS, {"since": millis(days[0]), "until": millis(days[-1] + DAY)})
        return self._rows(_DAYS_OF, {"days": [millis(day) for day in days], "ids": list(ids)})

    def _summed(self, query: Select[Any], since: datetime, until: datetime, connection_id: int | None) -> dict[int, _Sums]:
        one = {} if connection_id is None else {"id": connection_id}
        rows: Sequence[Row[Any]] = self._rows(query, {"since": millis(since), "until": millis(until), **one}) if since < until else []
        return {number: (ok, down, excluded) for number, ok, down, excluded in map(tuple, rows)}

    def _rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Sequence[Row[Any]]:
        raise NotImplementedError


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
