"""
The level of each topic of a connection: what we believe now, before asking whether anyone should be told.

`fine` means that no incident is open. Levels come from the state and the clock alone, so they can be
computed again at any time, after any restart, with the same result.
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
    What lies above a connection.

    Attributes:
        frozen_by: the open scope incident that freezes belief (account, user, API, storage), or None.
        suppressed_by: the open scope incident that is told in the connection's place, or None.
        gathering_until: until when news wait because a wider incident may be about to open, or None.
        thawed_at: when the last incident that froze belief ended, or None.
        watching_since: since when the connection could be checked at all: start of the daemon, or the last scope incident's end.
    """

    frozen_by: ScopeKey | None = None
    suppressed_by: ScopeKey | None = None
    watching_since: datetime | None = None
    hold_until: datetime | None = None
    recovered_at: datetime | None = None

    def suppresses(self, now: datetime) -> bool:
        """Whether news of the connection wait at *now*."""
        gathering = self.hold_until is not None and now < self.hold_until
        return self.frozen_by is not None or self.suppressed_by is not None or gathering


def connection_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, cover: ScopeContext) -> str:
    """The level of the connection itself: its health, overlaid by flapping, and by staleness while health is fine."""
    if is_flapping(state, now, policy):
        return FLAPPING
    broken = _BROKEN.get(state.health)
    if broken is not None:
        return broken
    # An error that is not confirmed yet is no recovery from silence.
    if state.topic(Topic.CONNECTION).level == STALE and state.pending is not None:
        return STALE
    limit = stale_at(connection, state, policy, cover)
    return STALE if limit is not None and now >= limit else FINE


def is_flapping(state: ConnectionState, now: datetime, policy: Policy) -> bool:
    """Whether health changed too often lately, or did and has not been calm for long enough since."""
    if not state.changes or now - state.changes[-1] >= policy.flap.calm:
        return False
    told = state.topic(Topic.CONNECTION).level == FLAPPING
    recent = sum(1 for change in state.changes if change > now - policy.flap.window)
    return told or recent >= policy.flap.changes


def stale_at(connection: Connection, state: ConnectionState, policy: Policy, cover: ScopeContext) -> datetime | None:
    """When the connection becomes stale without further evidence; None while it was never checked."""
    seen = state.last_evidence_at or state.since
    if seen is None:
        return None
    since = max(seen, cover.watching_since) if cover.watching_since is not None else seen
    return since + policy.stale_for(connection.interval)


def is_uncertain(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, cover: ScopeContext) -> bool:
    """
    Whether what is believed of the connection may be so no more, so that it should not be told just now.

    The last check contradicts it, or there was none since wider trouble ended. That lasts no longer than evidence does.
    """
    pending, thawed_at, seen = state.pending, cover.recovered_at, state.last_evidence_at
    lasts = policy.stale_for(connection.interval)
    if pending is not None and now - pending.last_at <= lasts:
        return True
    unseen = thawed_at is not None and (seen is None or seen < thawed_at)
    return unseen and thawed_at is not None and now - thawed_at <= lasts


def is_contradicted(connection: Connection, state: ConnectionState, topic: Topic, now: datetime, policy: Policy) -> bool:
    """Whether the last evidence tells of another level, which is not confirmed yet; that lasts no longer than evidence does."""
    hint = state.pending_levels.get(topic)
    return hint is not None and now - hint.since <= policy.stale_for(connection.interval)


def expiry_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> str:
    """The level of the token's end; keeps the old one while the evidence is too old to move it."""
    current = state.topic(Topic.EXPIRY).level
    observed = state.token.observed_at
    if state.health is Health.UNSUPPORTED and state.token.status is None:
        return FINE
    if observed is None or now - observed > policy.stale_for(connection.interval):
        return current
    own = policy.expiry_for(connection.platform)
    return expiry_levels.level(state.token, now=now, policy=own, told_level=current, platform=connection.platform)


def publishing_level(state: ConnectionState, now: datetime, policy: Policy) -> str:
    """
    Whether posts fail although nothing is wrong with the connection's test: a fresh posting error newer than the last good post.

    Where there is no test the posts are all that is known.
    """
    if state.health not in {Health.OK, Health.UNSUPPORTED}:
        return state.topic(Topic.PUBLISHING).level
    error, posted = state.last_error, state.last_successful_post_at
    if error is None or error.occurred_at is None or (posted is not None and error.occurred_at <= posted):
        return FINE
    # An old error raises nothing; but its growing old does not mend what it raised.
    fresh = now - error.occurred_at <= policy.publishing_fresh
    return FAILING if fresh or state.topic(Topic.PUBLISHING).level == FAILING else FINE


def proposed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, cover: ScopeContext) -> dict[Topic, str]:
    """The level every topic would have if each were believed at first sight."""
    overdue = expiry_levels.renewal_overdue(state.token, now, policy.expiry_for(connection.platform))
    return {
        Topic.CONNECTION: connection_level(connection, state, now, policy, cover),
        Topic.EXPIRY: expiry_level(connection, state, now, policy),
        Topic.RENEWAL: OVERDUE if overdue and state.health is Health.OK else FINE,
        Topic.PUBLISHING: publishing_level(state, now, policy),
        Topic.PERMISSIONS: LOST if state.permissions_missing else FINE,
    }


def note_pending(state: ConnectionState, levels: Mapping[Topic, str], at: datetime, policy: Policy, *, evidence: bool) -> ConnectionState:
    """
    Keep count of the levels that evidence proposes but that do not hold yet.

    A proposal starts counting when it first appears, grows with every further spaced check that tells the same, and is
    dropped when it is withdrawn. Time alone counts as one sighting only.
    """
    hints = dict(state.pending_levels)
    for topic, level in levels.items():
        hint = hints.get(topic)
        if level == state.topic(topic).level:
            hints.pop(topic, None)
        elif hint is None or hint.level != level:
            hints[topic] = PendingLevel(level, at, _sightings(state, topic, hint))
        elif evidence and at - hint.since >= hint.sightings * policy.spacing:
            hints[topic] = replace(hint, sightings=hint.sightings + 1)
    return state if hints == state.pending_levels else replace(state, pending_levels=hints)


def clearing(state: ConnectionState, topic: Topic) -> bool:
    """Whether the last evidence says that the trouble of *topic* is over, which one more check has to confirm."""
    hint = state.pending_levels.get(topic)
    return hint is not None and hint.level == FINE


def _sightings(state: ConnectionState, topic: Topic, hint: PendingLevel | None) -> int:
    # A belief about the token that several checks share needs no second sighting when the clock alone carries it
    # over a threshold; a fresh belief does.
    if topic is Topic.EXPIRY and hint is None:
        return max(1, state.token_sightings)
    return 1


def holds(topic: Topic, hint: PendingLevel, now: datetime, policy: Policy, platform: str) -> bool:
    """Whether a proposed level is confirmed. The connection's own level was confirmed by `incidents` already."""
    if topic in {Topic.CONNECTION, Topic.RENEWAL, Topic.PUBLISHING}:
        return True
    if hint.sightings < policy.confirm.expiry:
        return False
    settle = policy.expiry_for(platform).settle if topic is Topic.EXPIRY and hint.level not in {FINE, EXPIRED} else timedelta(0)
    return now - hint.since >= settle


def severity_of(topic: Topic, level: str, policy: Policy, platform: str) -> Severity:
    """How urgent a level is. A closing notification carries the urgency of what it closes."""
    if topic is Topic.EXPIRY:
        return Severity.CRITICAL if level == EXPIRED else expiry_levels.severity_of(level, policy.expiry_for(platform))
    if topic is Topic.CONNECTION and level == "error":
        return Severity.CRITICAL
    return Severity.INFO if level == FINE else Severity.WARNING
