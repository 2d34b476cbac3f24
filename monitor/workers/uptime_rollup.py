"""The bookkeeper: adds up, every few minutes, how much of the time each connection worked, from what is written of its checks."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from monitor.clock import Clock
from monitor.db import Database, Reader, Store, silences_since, uptime
from monitor.db.codec import whole_milliseconds
from monitor.domain.connections import Connection
from monitor.domain.silencing.silences import RecurringSilence, Silence, silenced_spans
from monitor.domain.time_spans import Span
from monitor.domain.uptime import DAY, HOUR, LONGEST_REACH, NOTHING, IncidentSpan, Uptime, UptimeInput, by_hour, day_of, hour_of
from monitor.errors import StoreUnavailable
from monitor.state.registry import Registry

_BATCH = 100
# A failure is confirmed, and a wider cause found, some time after it began: then the hours before are added up again.
_AGAIN = 2 * HOUR
# How long the history is before nobody waits any more to see the first of it added up.
_NEW = timedelta(minutes=10)
_FIRST = timedelta(seconds=15)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Round:
    """
    One pass over all connections: the hours until *until*, and what may excuse time in them.

    Attributes:
        behind: whether there is more to be added up after *until*.
        left: the connections that are still to be done, each with when it was retired, by the full hour from which on they are.
    """

    until: datetime
    behind: bool
    left: dict[datetime, list[tuple[Connection, datetime | None]]]
    incidents: Mapping[int, Sequence[IncidentSpan]]
    wider: Mapping[str, Sequence[IncidentSpan]]
    silences: Sequence[Silence]
    windows: Sequence[tuple[RecurringSilence, Sequence[Span]]]


class UptimeRollup:
    """
    Everything follows from rows, and is worked out anew for the last hours each time: a crash, a late confirmation or a clock
    that was set changes nothing but when it is done. What was never added up, such as the history from before this
    existed, is added up day by day.

    Effects of one step: one short read and one small transaction.
    """

    def __init__(self, *, registry: Registry, database: Database, clock: Clock, longest: timedelta) -> None:
        """*longest* is for how long the sums of days are kept: what is older is not added up."""
        self._registry = registry
        self._database = database
        self._clock = clock
        self._longest = longest
        self._round: _Round | None = None
        self._history = timedelta(0)

    def idle(self) -> float:
        """
        Seconds until the next pass is worth it, where that is before its turn.

        A history that has only just begun is added up again whenever it is twice as long, so that people need not wait.
        """
        return math.inf if self._history >= _NEW else max(_FIRST, self._history).total_seconds()

    async def step(self) -> bool:
        """Add up a few connections; returns whether there is more to do."""
        if not self._database.storage_up:
            return False
        try:
            return await self._go_on()
        except StoreUnavailable as error:
            log.debug("uptime.postponed", error=str(error))
            self._round = None
            return False

    async def _go_on(self) -> bool:
        now = whole_milliseconds(self._clock.now())
        if self._round is None:
            self._round = await self._database.read(partial(self._begin, now))
        current = self._round
        for since, left in current.left.items():
            if left:
                batch = [left.pop() for _ in range(min(_BATCH, len(left)))]
                changed = await self._database.read(partial(self._add_up, current, since, batch))
                if changed:
                    await self._database.write(partial(_put, changed))
                return True
        await self._database.write(lambda store: uptime.put_until(store, current.until))
        self._round = None
        return current.behind

    def _begin(self, now: datetime, reader: Reader) -> _Round:
        begun = uptime.first_check(reader)
        self._history = now - (begun or now)
        known = uptime.uptime_until(reader) or begun or now
        set_back = known > now
        known = max(min(known, now), now - self._longest)
        if now - known > DAY:
            # Days without any check, after a long stop or a leap of the clock, need not be gone through.
            known = max(known, day_of(uptime.first_check(reader, known) or now))
        until = min(now, day_of(known) + DAY)
        since = known - LONGEST_REACH - _AGAIN
        incidents, wider = uptime.incidents_between(reader, since, until)
        left: dict[datetime, list[tuple[Connection, datetime | None]]] = defaultdict(list)
        for connection, retired_at in uptime.watched_since(reader, since) if begun is not None else ():
            # The next check speaks for time before it.
            begin = known - self._reach(connection)
            if set_back or wider or connection.id in incidents:
                begin -= _AGAIN
            left[hour_of(begin)].append((connection, retired_at))
        return _Round(
            until=until,
            behind=until < now,
            left=left,
            incidents=incidents,
            wider=wider,
            silences=silences_since(reader, since),
            windows=[(window, list(window.when.between(since, until))) for window in self._registry.config.recurring_silences],
        )

    def _add_up(
        self, current: _Round, since: datetime, batch: Sequence[tuple[Connection, datetime | None]], reader: Reader
    ) -> dict[uptime.HourKey, Uptime]:
        """The hours of *batch* from *since* on that are not yet written as they are."""
        ids = [connection.id for connection, _ in batch]
        reach = {connection.id: self._reach(connection) for connection, _ in batch}
        first = uptime.first_checks(reader, ids)
        evidence = uptime.evidence(reader, ids, since - max(reach.values()), current.until)
        written = uptime.hours_between(reader, ids, since, current.until)
        sums = dict.fromkeys(written, NOTHING)
        for connection, retired_at in batch:
            if connection.id not in first:
                continue
            life = UptimeInput(
                monitored=Span(first[connection.id], retired_at or current.until),
                evidence=evidence.get(connection.id, ()),
                incidents=current.incidents.get(connection.id, ()),
                excluded=self._excused(current, connection),
                reach=reach[connection.id],
            )
            hours = by_hour(life, since, current.until)
            sums |= {(connection.id, hour): value for hour, value in hours.items()}
        return {key: value for key, value in sums.items() if written.get(key) != value}

    def _reach(self, connection: Connection) -> timedelta:
        return min(self._registry.config.policy.stale_for(connection.interval), LONGEST_REACH)

    def _excused(self, current: _Round, connection: Connection) -> list[Span]:
        spans = list(silenced_spans(connection, current.silences, current.windows))
        if current.wider:
            above = self._registry.scopes_above(connection).all
            wider = [incident for key in above for incident in current.wider.get(str(key), ())]
            spans += [Span(incident.opened_at, incident.closed_at or current.until) for incident in wider]
        return spans


def _put(changed: Mapping[uptime.HourKey, Uptime], store: Store) -> None:
    uptime.put_hours(store, changed)
