"""
What is notified, to whom and when, if nobody does anything: the engine on a virtual clock.

Every connection is looked at alone, and everything that works goes on working until its token ends; from then on its checks fail. What
is broken stays broken. Open scope incidents are taken as over. Only moments at which the passing of time changes something are
evaluated, so the cost is that of a few checks for each connection of which something is expected, whatever the interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain.checks import Observation, Reply, Verdict
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.engine import Engine, EngineConfig
from monitor.domain.events import IncidentRef, Notification
from monitor.domain.expiry import estimate, levels
from monitor.domain.notifications.timing import reminders_due
from monitor.domain.policy import Policy
from monitor.domain.preflight import renews_itself
from monitor.domain.reasons import Health
from monitor.domain.routing import receivers_for
from monitor.domain.silencing.controls import Controls
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import TokenLife, TokenSays
from monitor.errors import Reason

AHEAD = timedelta(days=14)
_NEVER = timedelta(days=3650)
_MOST_STEPS = 200
_ENDED = TokenLife(TokenSays.EXPIRED)


@dataclass(frozen=True, slots=True)
class ForecastEvent:
    """One notification that is expected, and the receivers that get it; empty: no route takes it."""

    connection: Connection
    notification: Notification
    receivers: tuple[str, ...]

    @property
    def at(self) -> datetime:
        """When it is expected."""
        return self.notification.at


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected up to a moment, in order of time."""

    until: datetime
    notifications: tuple[ForecastEvent, ...] = ()


def forecast_of(
    connection: Connection, state: ConnectionState, config: EngineConfig, controls: Controls, now: datetime, until: datetime
) -> tuple[ForecastEvent, ...]:
    """What is notified of one connection after *now* and up to *until*."""
    events: list[ForecastEvent] = []
    notified: dict[IncidentRef, tuple[str, ...]] = {}
    for notification in _notifications(connection, state, config, controls, now, until):
        incident = notification.incident
        before = notified.get(incident, ())
        names = receivers_for(notification, connection, config.policy.routes, config.receivers, notified=before)
        notified[incident] = (*before, *names)
        events.append(ForecastEvent(connection, notification, names))
    return tuple(events)


def begins_at(connection: Connection, state: ConnectionState, policy: Policy, now: datetime, until: datetime) -> datetime | None:
    """The first moment up to *until* at which time alone may change anything of a connection; None when there is none."""
    moments = list(reminders_due(state, policy))
    if state.pending_levels or state.notice_pending or any(value.level != value.notified.level for value in state.topics.values()):
        moments.append(now)
    expiry = policy.expiry_for(connection.platform)
    if expiry.thresholds and estimate.has_estimate(state.token.status, connection.platform, expiry):
        moments += [moment for moment in levels.crossings(state.token, expiry) if moment > now]
        ended = _fails_at(connection, state, policy)
        moments += [ended] if ended is not None and ended > now else []
    first = min(moments, default=None)
    return max(first, now) if first is not None and first <= until else None


def _notifications(
    connection: Connection, state: ConnectionState, config: EngineConfig, controls: Controls, now: datetime, until: datetime
) -> Iterator[Notification]:
    # Nothing becomes stale: the checks go on, and tell nothing new.
    policy = replace(config.policy, stale_after=_NEVER)
    engine = Engine(replace(config, policy=policy), now)
    engine.set_connections([connection])
    engine.restore({connection.id: state}, ())
    engine.set_requests(controls.silences, controls.acks.values())
    failures = _failed_checks(connection, state, policy, now)
    next_failure = next(failures, None)
    for _ in range(_MOST_STEPS):
        moments = [moment for moment in (engine.next_evaluation_at(), next_failure) if moment is not None]
        at = max(now, min(moments, default=until))
        if at >= until:
            return
        if at == next_failure:
            next_failure = next(failures, None)
            evaluation = engine.check(_failed(connection, at))
        else:
            changes = engine.begin()
            engine.due_connections(at)
            changes.states[connection.id] = _still(engine.state(connection.id), at)
            evaluation = changes.evaluate(connection, at)
            if evaluation is not None:
                changes.apply(evaluation)
            engine.commit(changes)
        if evaluation is not None:
            yield from evaluation.notifications


def _still(state: ConnectionState, at: datetime) -> ConnectionState:
    """*state* after one more check at *at* that says the same."""
    passed = at if state.health is Health.OK else state.last_passed_at
    token = state.token if state.token.observed_at is None else replace(state.token, observed_at=at)
    return replace(state, last_check_at=at, last_evidence_at=at, last_passed_at=passed, token=token)


def _fails_at(connection: Connection, state: ConnectionState, policy: Policy) -> datetime | None:
    """When the checks begin to fail because the token has ended; None when it has no end that counts, or fails already."""
    ends = estimate.window(state.token)
    if state.health is not Health.OK or ends is None or renews_itself(state, connection.platform, policy.expiry_for(connection.platform)):
        return None
    return ends[1] + estimate.GRACE


def _failed_checks(connection: Connection, state: ConnectionState, policy: Policy, now: datetime) -> Iterator[datetime]:
    """The checks that confirm that the token has ended."""
    first = _fails_at(connection, state, policy)
    if first is not None and first > now:
        for number in range(max(policy.confirm.failures, policy.confirm.expiry) + 1):
            yield first + number * max(policy.recheck, policy.spacing)


def _failed(connection: Connection, at: datetime) -> Observation:
    reply = Reply(False, connection.platform, connection.platform_id, None, "", token=_ENDED)
    return Observation(connection.id, at, at, Verdict(Reason.TOKEN_EXPIRED), reply)
