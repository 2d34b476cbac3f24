"""Adds up, every few minutes, how much of the time each connection worked, from the rows of its checks."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain

from monitor.clock import Clock
from monitor.db import Database, Reader, Store, silences_since, uptime
from monitor.db.codec import whole_milliseconds
from monitor.domain.connections import Connection
from monitor.domain.silencing.silences import RecurringSilence, Silence, silenced_spans
from monitor.domain.time_spans import Span
from monitor.domain.uptime import DAY, HOUR, LONGEST_REACH, NOTHING, IncidentSpan, Uptime, UptimeInput, by_hour, day_of, hour_of
from monitor.errors import StoreUnavailable
from monitor.logs import get_logger
from monitor.state.registry import Registry

_BATCH = 100
# A failure is confirmed, and a scope incident opened, some time after it began: the hours before are added up again.
_REPEATED = 2 * HOUR
# Until the history is so long, it is added up more often.
_SHORT_HISTORY = timedelta(minutes=10)
_FIRST_PASS = timedelta(seconds=15)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Pass:
    """
    One pass over all connections: the hours until *until*, and what excludes time of them.

    Attributes:
        behind: whether there is more to be added up after *until*.
        left: the remaining connections, each with when it was retired, by the full hour from which they are added up.
    """

    until: datetime
    behind: bool
    left: dict[datetime, list[tuple[Connection, datetime | None]]]
    incidents: Mapping[int, Sequence[IncidentSpan]]
    wider: Mapping[str, Sequence[IncidentSpan]]
    silences: Sequence[Silence]
    windows: Sequence[tuple[RecurringSilence, Sequence[Span]]]


class UptimeRollup:
    """Adds up the uptime of all connections, the last hours each time anew: one short read and one small transaction a step."""

    def __init__(self, *, registry: Registry, database: Database, clock: Clock, longest: timedelta) -> None:
        """*longest* is the retention of the sums of days: older checks are not added up."""
        self._registry = registry
        self._database = database
        self._clock = clock
        self._longest = longest
        self._pass: _Pass | None = None
        self._history = timedelta(0)

    def idle(self) -> float:
        """Seconds until the next pass, where that is before its turn."""
        return math.inf if self._history >= _SHORT_HISTORY else max(_FIRST_PASS, self._history).total_seconds()

    async def step(self) -> bool:
        """Add up a few connections; returns whether there is more to do."""
        if not self._database.storage_up:
            return False
        try:
            return await self._advance()
        except StoreUnavailable as error:
            log.debug("uptime.postponed", error=str(error))
            self._pass = None
            return False

    async def _advance(self) -> bool:
        now = whole_milliseconds(self._clock.now())
        if self._pass is None:
            self._pass = await self._database.read(partial(self._begin, now))
        current = self._pass
        for since, left in current.left.items():
            if left:
                batch = [left.pop() for _ in range(min(_BATCH, len(left)))]
                changed = await self._database.read(partial(self._add_up, current, since, batch))
                if changed:
                    await self._database.write(partial(put_hours, changed))
                return True
        await self._database.write(lambda store: uptime.put_until(store, current.until))
        self._pass = None
        return current.behind

    def _begin(self, now: datetime, reader: Reader) -> _Pass:
        begun = uptime.first_check(reader)
        self._history = now - (begun or now)
        known = uptime.uptime_until(reader) or begun or now
        set_back = known > now
        known = max(min(known, now), now - self._longest)
        if now - known > DAY:
            # Days without any check, after a long stop or a clock jump, are skipped.
            known = max(known, day_of(uptime.first_check(reader, known) or now))
        until = min(now, day_of(known) + DAY)
        since = known - LONGEST_REACH - _REPEATED
        incidents, wider = uptime.incidents_between(reader, since, until)
        left: dict[datetime, list[tuple[Connection, datetime | None]]] = defaultdict(list)
        retired = uptime.retired_since(reader, since)
        gone = {connection.id for connection, _ in retired}
        watched = ((connection, None) for connection in self._registry.connections() if connection.id not in gone)
        for connection, retired_at in chain(watched, retired) if begun is not None else ():
            # The next check counts for time before it.
            begin = known - self._reach(connection)
            if set_back or wider or connection.id in incidents:
                begin -= _REPEATED
            left[hour_of(begin)].append((connection, retired_at))
        return _Pass(
            until=until,
            behind=until < now,
            left=left,
            incidents=incidents,
            wider=wider,
            silences=silences_since(reader, since),
            windows=[(window, list(window.when.between(since, until))) for window in self._registry.config.recurring_silences],
        )

    def _add_up(
        self, current: _Pass, since: datetime, batch: Sequence[tuple[Connection, datetime | None]], reader: Reader
    ) -> dict[uptime.HourKey, Uptime]:
        """The hours of *batch* from *since* on that differ from their rows."""
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

    def _excused(self, current: _Pass, connection: Connection) -> list[Span]:
        spans = list(silenced_spans(connection, current.silences, current.windows))
        if current.wider:
            above = self._registry.scopes_above(connection).all
            wider = [incident for key in above for incident in current.wider.get(str(key), ())]
            spans += [Span(incident.opened_at, incident.closed_at or current.until) for incident in wider]
        return spans


def put_hours(changed: Mapping[uptime.HourKey, Uptime], store: Store) -> None:
    """Write the *changed* hours."""
    uptime.put_hours(store, changed)
