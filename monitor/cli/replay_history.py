"""The stored history lived through again, under the present policy and under another one, side by side."""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from monitor.config import Config
from monitor.db import CheckRow, Lifetime, acks_since, checks_in_order, lifetimes, notifications_since, reading, silences_since
from monitor.domain.connections import Connection
from monitor.domain.replay import Replay, ReplayEvent, from_checks, notifications_of, observation_of
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import Silence
from monitor.state.evaluation_config import EvaluationConfig

_STEP = timedelta(minutes=1)
# Nobody looked at anything when there was no check for so long, and for so many rounds: the monitor did not run.
_STOPPED_LEAST = timedelta(minutes=15)
_STOPPED_ROUNDS = 3


@dataclass(slots=True)
class Lives:
    """
    What came out.

    Attributes:
        began_at: the oldest check that was read; None without any.
        ended_at: the newest one.
        stops: how often the monitor did not run, as far as its checks tell.
        checks: how many were since the moment asked for.
        before, after: what the present and the other policy tell since that moment, in order.
        sent: what was really decided since then and can follow from checks.
        beyond: how many notifications were really decided that no check tells of.
    """

    connections: dict[int, Connection]
    began_at: datetime | None = None
    ended_at: datetime | None = None
    stops: int = 0
    checks: int = 0
    before: list[ReplayEvent] = field(default_factory=list)
    after: list[ReplayEvent] = field(default_factory=list)
    sent: list[ReplayEvent] = field(default_factory=list)
    beyond: int = 0


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happens to both lives beside checks; *alive* when the running monitor itself did it."""

    at: datetime
    act: Callable[[Replay], None]
    alive: bool = False


def relive(config: Config, other: Config, since: datetime, until: datetime, tell: Callable[[datetime, int], None]) -> Lives:
    """
    Live through every check that is kept, until *until*, under the policies of *config* and *other*.

    Checks before *since* are lived through too, so that what was told before is not told again; only their notifications are
    left out. *tell* is called now and then with how far it is.
    """
    url = config.database.url.reveal()
    with reading(url) as reader:
        everyone = {one.id: one for retired in (True, False) for one in reader.connections(retired=retired)}
        spans = {one: span for one, span in lifetimes(reader).items() if one in everyone}
        began_at = min((span.first_at for span in spans.values() if span.first_at is not None), default=None)
        lives = Lives(everyone, began_at)
        if began_at is None:
            return lives
        silences = [_as_heeded(one) for one in silences_since(reader, began_at)]
        acks = acks_since(reader, began_at)
    events = [*_arrivals(everyone, spans, began_at), *_departures(spans)]
    events += [_Event(ack.at, partial(_acknowledge, ack)) for ack in acks]
    events.sort(key=lambda event: event.at)
    configs = [_engine_config(settings) for settings in (config, other)]
    lived = [Replay(own, began_at, silences) for own in (configs[:1] if configs[0] == configs[1] else configs)]
    rows = checks_in_order(lambda: reading(url), began_at, until)
    happenings: Iterator[_Event | CheckRow] = heapq.merge((event for event in events if event.at < until), rows, key=_moment)
    _live(lives, lived, happenings, since, until, tell)
    if len(lived) == 1:
        lives.after = lives.before
    for row in notifications_since(lambda: reading(url), since):
        if from_checks(row.notification):
            lives.sent.append(notifications_of(row.notification))
        else:
            lives.beyond += 1
    lives.sent.reverse()
    return lives


def _moment(one: _Event | CheckRow) -> datetime:
    return one.at


def _engine_config(config: Config) -> EvaluationConfig:
    """What *config* means, for the accounts that the history has instead of those that are configured now."""
    return replace(EvaluationConfig.from_config(config, ""), accounts=())


def _as_heeded(silence: Silence) -> Silence:
    """The silence as the monitor could heed it: not before somebody asked for it."""
    return replace(silence, starts_at=max(silence.starts_at, silence.created_at))


def _arrivals(everyone: dict[int, Connection], spans: dict[int, Lifetime], began_at: datetime) -> Iterator[_Event]:
    """
    When each connection came; rows do not say. A new one is checked within an interval, and numbers grow with time: one was
    known before any with a higher number was checked.
    """
    latest = None
    for number in sorted(everyone, reverse=True):
        first = spans[number].first_at if number in spans else None
        if first is None:
            continue
        came = max(began_at, first - max(_STEP, everyone[number].interval))
        latest = came if latest is None else min(latest, came)
        yield _Event(latest, partial(_watch, everyone[number]))


def _departures(spans: dict[int, Lifetime]) -> Iterator[_Event]:
    for number, span in spans.items():
        if span.retired_at is not None and span.first_at is not None:
            yield _Event(span.retired_at, partial(_retire, number, span.retired_at), alive=True)


def _watch(connection: Connection, life: Replay) -> None:
    life.watch(connection)


def _retire(number: int, at: datetime, life: Replay) -> None:
    life.retire(number, at)


def _acknowledge(ack: Ack, life: Replay) -> None:
    life.acknowledge(ack)


def _live(
    lives: Lives,
    lived: Sequence[Replay],
    happenings: Iterable[_Event | CheckRow],
    since: datetime,
    until: datetime,
    tell: Callable[[datetime, int], None],
) -> None:
    alive_at = None
    for count, one in enumerate(happenings):
        if isinstance(one, CheckRow) or one.alive:
            if alive_at is not None and _stopped(lived[0], one.at - alive_at):
                lives.stops += 1
                for life in lived:
                    life.restart(one.at)
            alive_at = one.at
        if isinstance(one, CheckRow):
            lives.checks += int(one.at >= since)
            lives.ended_at = one.at
            tell(one.at, count)
        act = _check(lives.connections[one.connection_id], one) if isinstance(one, CheckRow) else one.act
        for life, kept in zip(lived, (lives.before, lives.after), strict=False):
            act(life)
            _keep(life, kept, since)
    for life, kept in zip(lived, (lives.before, lives.after), strict=False):
        if alive_at is not None and not _stopped(life, until - alive_at):
            life.advance_to(until)
        _keep(life, kept, since)


def _check(connection: Connection, row: CheckRow) -> Callable[[Replay], None]:
    took = timedelta(milliseconds=row.duration_ms)
    observation = observation_of(connection, row.at, row.reason, took=took, http_status=row.http_status, token=row.token, detail=row.detail)
    return lambda life: life.check(observation)


def _stopped(life: Replay, pause: timedelta) -> bool:
    return pause > _STOPPED_LEAST and pause > _STOPPED_ROUNDS * life.pace()


def _keep(life: Replay, kept: list[ReplayEvent], since: datetime) -> None:
    if life.notifications:
        kept += [notifications_of(one) for one in life.notifications if one.at >= since and from_checks(one)]
        life.notifications.clear()
