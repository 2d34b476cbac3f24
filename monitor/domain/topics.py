"""
The level of each topic of a connection, and when a level is confirmed.

`fine` means that no incident is open. Levels follow from the state and the clock alone, so they can be computed again at any
time, also after a restart, with the same result. Whether receivers are notified is decided in `notifications.decide`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, Severity, Topic
from monitor.domain.expiry import levels as expiry_levels
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.states import ConnectionState, PendingLevel

STALE = "stale"
FLAPPING = "flapping"
EXPIRED = "expired"
OVERDUE = "overdue"
FAILING = "failing"
LOST = "lost"

_BROKEN = {Health.ERROR: "error", Health.MISSING: "missing", Health.MISCONFIGURED: "misconfigured"}


@dataclass(frozen=True, slots=True)
class ScopeContext:
    """
    The scope incidents above a connection.

    Attributes:
        frozen_by: the scope with an open incident that freezes the connection (account, user, API, storage), or None.
        suppressed_by: the scope with an open incident that is notified instead of the connection's: its platform or *frozen_by*; or None.
        watching_since: since when the connection can be checked: the start of the daemon, or the close of the last scope incident.
        hold_until: until when notifications wait because a scope incident may be about to open, or None.
        recovered_at: when the last incident that froze the connection closed, or None.
    """

    frozen_by: ScopeKey | None = None
    suppressed_by: ScopeKey | None = None
    watching_since: datetime | None = None
    hold_until: datetime | None = None
    recovered_at: datetime | None = None

    def suppresses(self, now: datetime) -> bool:
        """Whether notifications of the connection are suppressed at *now*."""
        holding = self.hold_until is not None and now < self.hold_until
        return self.frozen_by is not None or self.suppressed_by is not None or holding


def connection_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> str:
    """Return the level of the topic `connection`: flapping before health, staleness while health is not broken."""
    if is_flapping(state, now, policy):
        return FLAPPING
    broken = _BROKEN.get(state.health)
    if broken is not None:
        return broken
    if state.topic(Topic.CONNECTION).level == STALE and not _ends_staleness(state):
        return STALE
    limit = stale_at(connection, state, policy, context)
    return STALE if limit is not None and now >= limit else FINE


def is_flapping(state: ConnectionState, now: datetime, policy: Policy) -> bool:
    """Whether health changed too often within the window, or did before and has not been calm for long enough since."""
    if not state.changes or now - state.changes[-1] >= policy.flap.calm:
        return False
    flapping = state.topic(Topic.CONNECTION).level == FLAPPING
    recent = sum(1 for change in state.changes if change > now - policy.flap.window)
    return flapping or recent >= policy.flap.changes


def _ends_staleness(state: ConnectionState) -> bool:
    """
    Whether there is evidence since the connection became stale. Time in which nothing could be checked does not end it.

    An error that is not confirmed yet does not end it either: that would send a recovery before the failure.
    """
    stale_since, evidence_at = state.topic(Topic.CONNECTION).since, state.last_evidence_at
    return state.pending is None and evidence_at is not None and (stale_since is None or evidence_at >= stale_since)


def stale_at(connection: Connection, state: ConnectionState, policy: Policy, context: ScopeContext) -> datetime | None:
    """Return when the connection becomes stale without further evidence; None while it was never checked."""
    evidence_at = state.last_evidence_at or state.since
    if evidence_at is None:
        return None
    since = max(evidence_at, context.watching_since) if context.watching_since is not None else evidence_at
    return since + policy.stale_for(connection.interval)


def is_uncertain(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> bool:
    """
    Whether the health may be outdated, so that a notification waits.

    The last check contradicts it, or there was none since a scope incident closed. Limited to the time after which evidence is stale.
    """
    pending, recovered_at, evidence_at = state.pending, context.recovered_at, state.last_evidence_at
    limit = policy.stale_for(connection.interval)
    if pending is not None and now - pending.last_at <= limit:
        return True
    if recovered_at is None or now - recovered_at > limit:
        return False
    return evidence_at is None or evidence_at < recovered_at


def is_contradicted(connection: Connection, state: ConnectionState, topic: Topic, now: datetime, policy: Policy) -> bool:
    """Whether recent evidence shows another level, which is not confirmed yet."""
    pending = state.pending_levels.get(topic)
    return pending is not None and now - pending.since <= policy.stale_for(connection.interval)


def expiry_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> str:
    """Return the level of the topic `expiry`; the current one while the evidence is too old to change it."""
    current = state.topic(Topic.EXPIRY).level
    observed = state.token.observed_at
    if state.health is Health.UNSUPPORTED and state.token.status is None:
        return FINE
    if observed is None or now - observed > policy.stale_for(connection.interval):
        return current
    expiry = policy.expiry_for(connection.platform)
    return expiry_levels.level(state.token, now=now, policy=expiry, notified_level=current, platform=connection.platform)


def publishing_level(state: ConnectionState, now: datetime, policy: Policy) -> str:
    """
    Return the level of the topic `publishing`: failing after a fresh posting error that is newer than the last successful post.

    Only while the test passes or there is none: otherwise the incident of the connection explains the failed posts.
    """
    if state.health not in {Health.OK, Health.UNSUPPORTED}:
        return state.topic(Topic.PUBLISHING).level
    error, posted = state.last_error, state.last_successful_post_at
    if error is None or error.occurred_at is None or (posted is not None and error.occurred_at <= posted):
        return FINE
    # An old error opens no incident, and an incident does not close because its error grows old.
    fresh = now - error.occurred_at <= policy.publishing_fresh
    return FAILING if fresh or state.topic(Topic.PUBLISHING).level == FAILING else FINE


def proposed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> dict[Topic, str]:
    """Return the level of every topic as the state and the clock have it, before confirmation."""
    overdue = expiry_levels.renewal_overdue(state.token, now, policy.expiry_for(connection.platform))
    return {
        Topic.CONNECTION: connection_level(connection, state, now, policy, context),
        Topic.EXPIRY: expiry_level(connection, state, now, policy),
        Topic.RENEWAL: OVERDUE if overdue and state.health is Health.OK else FINE,
        Topic.PUBLISHING: publishing_level(state, now, policy),
        Topic.PERMISSIONS: LOST if state.permissions_missing else FINE,
    }


def note_pending(state: ConnectionState, levels: Mapping[Topic, str], at: datetime, policy: Policy, *, evidence: bool) -> ConnectionState:
    """
    Return *state* with its pending levels counted.

    A proposed level counts from its first sighting, once more with every further spaced check that shows it, and is dropped when
    the proposal changes. The passing of time alone counts as one sighting.
    """
    pending_levels = dict(state.pending_levels)
    for topic, level in levels.items():
        pending = pending_levels.get(topic)
        if level == state.topic(topic).level:
            pending_levels.pop(topic, None)
        elif pending is None or pending.level != level:
            pending_levels[topic] = PendingLevel(level, at, _sightings(state, topic, pending))
        elif evidence and at - pending.since >= pending.sightings * policy.spacing:
            pending_levels[topic] = replace(pending, sightings=pending.sightings + 1)
    return state if pending_levels == state.pending_levels else replace(state, pending_levels=pending_levels)


def clearing(state: ConnectionState, topic: Topic) -> bool:
    """Whether the last evidence says that the incident of *topic* is over, which is not confirmed yet."""
    pending = state.pending_levels.get(topic)
    return pending is not None and pending.level == FINE


def _sightings(state: ConnectionState, topic: Topic, pending: PendingLevel | None) -> int:
    # When time alone carries the token over a threshold, the checks that agree about its end count as sightings.
    if topic is Topic.EXPIRY and pending is None:
        return max(1, state.token_sightings)
    return 1


def is_confirmed(topic: Topic, pending: PendingLevel, now: datetime, policy: Policy, platform: str) -> bool:
    """Whether a pending level is confirmed. Health was confirmed in `health` already."""
    if topic in {Topic.CONNECTION, Topic.RENEWAL, Topic.PUBLISHING}:
        return True
    if pending.sightings < policy.confirm.expiry:
        return False
    settle = policy.expiry_for(platform).settle if topic is Topic.EXPIRY and pending.level not in {FINE, EXPIRED} else timedelta(0)
    return now - pending.since >= settle


def severity_of(topic: Topic, level: str, policy: Policy, platform: str) -> Severity:
    """Return the severity of a level. A closing notification has the severity of the level that it closes."""
    if topic is Topic.EXPIRY:
        return Severity.CRITICAL if level == EXPIRED else expiry_levels.severity_of(level, policy.expiry_for(platform))
    if topic is Topic.CONNECTION and level == "error":
        return Severity.CRITICAL
    return Severity.INFO if level == FINE else Severity.WARNING
