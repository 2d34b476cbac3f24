"""Stored history fed to `domain/projections/replay`, under the current policy and under another one."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from operator import attrgetter

from monitor.cli.lookup import connections_by_number
from monitor.config import Config
from monitor.db import (
    CheckRow,
    Lifetime,
    acks_since,
    checks_in_order,
    lifetimes,
    notifications_since,
    reading,
    silences_since,
)
from monitor.domain.connections import Connection
from monitor.domain.projections.replay import Replay, ReplayEvent, from_checks, notifications_of, observation_of
from monitor.state.evaluation_config import EvaluationConfig

_ARRIVAL_MINIMUM = timedelta(minutes=1)
# The daemon did not run when there was no check for this long and for this many intervals.
_STOPPED_MINIMUM = timedelta(minutes=15)
_STOPPED_INTERVALS = 3


@dataclass(slots=True)
class ReplayResult:
    """
    What the two policies notify.

    Attributes:
        began_at: the oldest check that is stored; None without any.
        stops: how often the daemon did not run, as far as the checks show.
        checks: how many there were in the compared time.
        before, after: notifications of the current and of the other policy in that time, in order.
        sent: the notifications that were decided in that time and follow from checks.
        beyond: how many were decided that do not follow from checks.
    """

    connections: dict[int, Connection]
    began_at: datetime | None = None
    stops: int = 0
    checks: int = 0
    before: list[ReplayEvent] = field(default_factory=list)
    after: list[ReplayEvent] = field(default_factory=list)
    sent: list[ReplayEvent] = field(default_factory=list)
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class _Event:
    """Something else than a check; *alive* when the daemon itself did it."""

    at: datetime
    act: Callable[[Replay], None]
    alive: bool = False


def replay_history(
    config: Config, other: Config, since: datetime, until: datetime, progress: Callable[[datetime, int], None]
) -> ReplayResult:
    """Replay all checks before *until* under both policies, and keep notifications from *since* on; *progress* gets time and number of each."""
    url = config.database.url.reveal()
    with reading(url) as reader:
        connections = connections_by_number(reader)
        spans = {number: span for number, span in lifetimes(reader).items() if number in connections}
        began_at = min((span.first_at for span in spans.values() if span.first_at is not None), default=None)
        result = ReplayResult(connections, began_at)
        if began_at is None:
            return result
        # A silence had no effect before it was created.
        silences = [replace(silence, starts_at=max(silence.starts_at, silence.created_at)) for silence in silences_since(reader, began_at)]
        acks = acks_since(reader, began_at)
    events = [*_arrivals(connections, spans, began_at), *_retirements(spans)]
    events += [_Event(ack.at, partial(Replay.acknowledge, ack=ack)) for ack in acks]
    events.sort(key=lambda event: event.at)
    # For the accounts of the history instead of those that are configured now.
    configs = [replace(EvaluationConfig.from_config(each, ""), accounts=()) for each in (config, other)]
    replays = [Replay(each, began_at, silences) for each in (configs[:1] if configs[0] == configs[1] else configs)]
    rows = checks_in_order(lambda: reading(url), began_at, until)
    history: Iterator[_Event | CheckRow] = heapq.merge((event for event in events if event.at < until), rows, key=attrgetter("at"))
    _replay(result, replays, history, since, until, progress)
    if len(replays) == 1:
        result.after = result.before
    for row in notifications_since(lambda: reading(url), since):
        if from_checks(row.notification):
            result.sent.append(notifications_of(row.notification))
        else:
            result.beyond += 1
    result.sent.reverse()
    return result


def _arrivals(connections: dict[int, Connection], spans: dict[int, Lifetime], began_at: datetime) -> Iterator[_Event]:
    """When each connection became known, which is not stored: an interval before its first check, and before those with higher numbers."""
    latest = None
    for number in sorted(connections, reverse=True):
        first = spans[number].first_at if number in spans else None
        if first is None:
            continue
        arrived_at = max(began_at, first - max(_ARRIVAL_MINIMUM, connections[number].interval))
        latest = arrived_at if latest is None else min(latest, arrived_at)
        yield _Event(latest, partial(Replay.watch, connection=connections[number]))


def _retirements(spans: dict[int, Lifetime]) -> Iterator[_Event]:
    for number, span in spans.items():
        if span.retired_at is not None and span.first_at is not None:
            yield _Event(span.retired_at, partial(Replay.retire, connection_id=number, now=span.retired_at), alive=True)


def _replay(
    result: ReplayResult,
    replays: Sequence[Replay],
    history: Iterable[_Event | CheckRow],
    since: datetime,
    until: datetime,
    progress: Callable[[datetime, int], None],
) -> None:
    alive_at = None
    for number, item in enumerate(history):
        if isinstance(item, CheckRow) or item.alive:
            if alive_at is not None and _stopped(replays[0], item.at - alive_at):
                result.stops += 1
                for replay in replays:
                    replay.restart(item.at)
            alive_at = item.at
        if isinstance(item, CheckRow):
            result.checks += int(item.at >= since)
            progress(item.at, number)
        act = _check(result.connections[item.connection_id], item) if isinstance(item, CheckRow) else item.act
        for replay, kept in zip(replays, (result.before, result.after), strict=False):
            act(replay)
            _keep(replay, kept, since)
    for replay, kept in zip(replays, (result.before, result.after), strict=False):
        if alive_at is not None and not _stopped(replay, until - alive_at):
            replay.advance_to(until)
        _keep(replay, kept, since)


def _check(connection: Connection, row: CheckRow) -> Callable[[Replay], None]:
    took = timedelta(milliseconds=row.duration_ms)
    observation = observation_of(connection, row.at, row.reason, took=took, http_status=row.http_status, token=row.token, detail=row.detail)
    return lambda replay: replay.check(observation)


def _stopped(replay: Replay, pause: timedelta) -> bool:
    return pause > _STOPPED_MINIMUM and pause > _STOPPED_INTERVALS * replay.pace()


def _keep(replay: Replay, kept: list[ReplayEvent], since: datetime) -> None:
    if replay.notifications:
        kept += [notifications_of(each) for each in replay.notifications if each.at >= since and from_checks(each)]
        replay.notifications.clear()
