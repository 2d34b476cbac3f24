"""The level of each topic of a connection, and when a level is confirmed; both follow from the state and the clock alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.domain import events
from monitor.domain.connections import Connection
from monitor.domain.copies import replace
from monitor.domain.events import FINE, Severity, Topic
from monitor.domain.expiry import estimate
from monitor.domain.expiry import levels as expiry_levels
from monitor.domain.policy import Policy
from monitor.domain.reasons import CREDENTIAL, UPSTREAM, Advice, Health, advice_of
from monitor.domain.schedule import lasting_at
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.states import ConnectionState, PendingLevel
from monitor.errors import Reason

STALE = events.STALE
FLAPPING = "flapping"
EXPIRED = "expired"
OVERDUE = "overdue"
FAILING = "failing"
LOST = "lost"

# For so many times what it takes alone.
_WAITS_FOR_OTHERS = 2

DUE_TO_TOKEN = CREDENTIAL | {Reason.VALIDATION_FAILED}
"""Reasons that may be the end of the token: a refused credential, and a text that names no cause."""

_BROKEN = {Health.ERROR: "error", Health.MISSING: "missing", Health.MISCONFIGURED: "misconfigured"}


@dataclass(frozen=True, slots=True)
class ScopeContext:
    """
    The scope incidents above a connection.

    Attributes:
        frozen_by: the scope with an open incident that freezes the connection (account, user, API, storage), or None.
        suppressed_by: the scope with an open incident that is notified instead of the connection's: its platform or group, or
            *frozen_by*; or None.
        watching_since: since when the connection can be checked: the start of the daemon, or the close of the last scope incident.
        hold_until: until when notifications wait because a scope incident may be about to open, or None.
        recovered_at: when the last incident that froze the connection closed, or None.
        outages: the open or last incident of each scope: since when it was seen, and when it closed.
        repaired_with: the platform or group whose open incident began with the connection, asks to reconnect it, and will tell its end.
        alike_at: when a connection of its platform last began to fail with trouble of the platform.
        resumed_at: when this process began or went on to check, after a pause of the process or the machine.
    """

    frozen_by: ScopeKey | None = None
    suppressed_by: ScopeKey | None = None
    watching_since: datetime | None = None
    hold_until: datetime | None = None
    recovered_at: datetime | None = None
    outages: tuple[tuple[datetime, datetime | None], ...] = ()
    resumed_at: datetime | None = None
    repaired_with: ScopeKey | None = None
    alike_at: datetime | None = None


def connection_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> str:
    """Return the level of the topic `connection`: flapping before health, staleness while health is not broken."""
    if is_flapping(connection, state, now, policy) or _was_flapping_when_last_seen(connection, state, now, policy, context):
        return FLAPPING
    broken = _BROKEN.get(state.health)
    if broken is not None and not _is_outdated(connection, state, now, policy, context):
        return broken
    if state.topic(Topic.CONNECTION).level == STALE and not _ends_staleness(state):
        return STALE
    limit = stale_at(connection, state, policy, context)
    return STALE if limit is not None and now >= limit else FINE


def _is_outdated(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> bool:
    """Whether a failure that was never notified was seen within a wider incident only, and nothing about it for long since that ended."""
    if state.topic(Topic.CONNECTION).notified.level not in {FINE, STALE} or context.recovered_at is None:
        return False
    unseen = state.last_evidence_at is None or state.last_evidence_at < context.recovered_at
    return unseen and now - context.recovered_at > policy.stale_for(connection.interval)


def _was_flapping_when_last_seen(
    connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext
) -> bool:
    """Whether the connection was flapping, and no check has shown yet that it is calm since the monitor went on to look at it."""
    since, evidence_at = context.watching_since, state.last_evidence_at
    if since is None or state.topic(Topic.CONNECTION).level != FLAPPING or not state.changes:
        return False
    return (evidence_at is None or evidence_at < since) and now - since < policy.stale_for(connection.interval)


def is_flapping(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> bool:
    """Whether health changed too often within the window, or did before and has not been seen calm for long enough since."""
    if not state.changes:
        return False
    flapping = state.topic(Topic.CONNECTION).level == FLAPPING
    seen_at = state.last_evidence_at if flapping and state.last_evidence_at is not None else now
    if state.pending is None and seen_at - state.changes[-1] >= policy.flap.calm_for(connection.interval):
        return False
    recent = sum(1 for change in state.changes if change > now - policy.flap.window_for(connection.interval))
    # A repair is told as one, whatever was before it.
    return flapping or (recent >= policy.flap.changes and state.health.broken)


def _ends_staleness(state: ConnectionState) -> bool:
    """Whether there is evidence since the connection became stale. Time in which nothing could be checked does not end it."""
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
    """Whether the health or the cause of a failure may be outdated, so that a notification waits."""
    recovered_at, evidence_at = context.recovered_at, state.last_evidence_at
    limit = policy.stale_for(connection.interval)
    if any(pending is not None and now - pending.last_at <= limit for pending in (state.pending, state.pending_cause)):
        return True
    if recovered_at is None or now - recovered_at > limit:
        return False
    return evidence_at is None or evidence_at < recovered_at


def is_unseen(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> bool:
    """Whether the connection was not looked at since the process went on: what happened meanwhile is unknown. Limited like `is_uncertain`."""
    resumed_at, checked_at = context.resumed_at, state.last_check_at
    if resumed_at is None or checked_at is None or checked_at >= resumed_at:
        return False
    return now - resumed_at <= policy.stale_for(connection.interval)


def lasts_at(connection: Connection, state: ConnectionState, policy: Policy, context: ScopeContext) -> datetime | None:
    """Return when trouble of the platform itself has lasted long enough at this connection alone; None when there is none."""
    alone, wait = lasting_at(connection, state, policy), policy.upstream_for(connection.platform, connection.interval)
    if alone is None or state.since is None or context.alike_at is None:
        return alone
    # Others have met it since: it is more likely the platform's, and will show so.
    return max(alone, min(context.alike_at, state.since + _WAITS_FOR_OTHERS * wait) + wait)


def is_too_young(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> bool:
    """Whether a notification waits because trouble of the platform itself has not lasted long enough, or comes and goes."""
    failure = state.failure
    if context.alike_at is not None and state.health is Health.OK and failure is not None and failure.cause in UPSTREAM:
        return True
    lasting = lasts_at(connection, state, policy, context)
    if lasting is None:
        return False
    looked = state.last_evidence_at is not None and state.last_evidence_at >= lasting
    return now < lasting or (not looked and now < lasting + policy.stale_for(connection.interval))


def is_contradicted(connection: Connection, state: ConnectionState, topic: Topic, now: datetime, policy: Policy) -> bool:
    """Whether recent evidence shows another level, which is not confirmed yet."""
    pending = state.pending_levels.get(topic)
    return pending is not None and now - pending.since <= policy.stale_for(connection.interval)


def advice_for(state: ConnectionState) -> Advice:
    """What to do about a failed connection: a test that may be wrong asks for another look, a cause for its own work."""
    if state.suspected_false_negative:
        return Advice.CHECK_POSTS
    return advice_of(state.cause) if state.cause is not None else Advice.NOTHING


def failed_by_expiry(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> bool:
    """Whether the connection has failed because its token has ended: the answer says so, or the end that was expected has come."""
    if state.health is not Health.ERROR or state.cause not in DUE_TO_TOKEN:
        return False
    if state.cause is Reason.TOKEN_EXPIRED or state.topic(Topic.EXPIRY).level == EXPIRED:
        return True
    expiry, token = policy.expiry_for(connection.platform), state.token
    if not expiry.thresholds or not estimate.has_estimate(token.status, connection.platform, expiry):
        return False
    ends = estimate.window(token)
    return ends is not None and ends[0] <= now


def expiry_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> str | None:
    """Return the level of the topic `expiry`; None while the evidence is too old to say it."""
    current = state.topic(Topic.EXPIRY).level
    observed = state.token.observed_at
    if state.pending is None and failed_by_expiry(connection, state, now, policy):
        return EXPIRED
    if state.health is Health.UNSUPPORTED and state.token.status is None:
        return FINE
    if observed is None or now - observed > policy.stale_for(connection.interval):
        return None
    expiry = policy.expiry_for(connection.platform)
    return expiry_levels.level(state.token, now=now, policy=expiry, notified_level=current, platform=connection.platform)


def publishing_level(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> str:
    """
    Return the level of the topic `publishing`: failing after a fresh posting error that is newer than the last successful post.

    Only while the test passes, as a check after the error has shown, or while there is none: an error that is dated within a failure
    of the connection or an incident of a scope above it belongs to that.
    """
    current = state.topic(Topic.PUBLISHING).level
    failing = state.pending is not None and state.pending.health.broken
    if failing or state.health not in {Health.OK, Health.UNSUPPORTED}:
        return current
    occurred_at = failed_post_at(state)
    if occurred_at is None:
        return FINE
    if current == FAILING:
        # An incident does not close because its error grows old.
        return FAILING
    checked_at = state.last_passed_at if state.health is Health.OK else state.last_evidence_at
    failed_at = state.by_our_clock(occurred_at)
    known = checked_at is not None and failed_at <= checked_at
    explained = explained_error_at(connection, state, context) == occurred_at
    return FAILING if known and not explained and now - failed_at <= policy.publishing_fresh else FINE


def explained_error_at(connection: Connection, state: ConnectionState, context: ScopeContext) -> datetime | None:
    """When the last posting error occurred that a failure or a scope incident explains; it stays explained when these are long over."""
    occurred_at = state.last_error.occurred_at if state.last_error is not None else None
    if occurred_at is None or occurred_at == state.explained_error_at:
        return state.explained_error_at
    failed_at = state.by_our_clock(occurred_at)
    explained = state.failure is not None and state.failure.covers(failed_at)
    explained = explained or any(_within(outage, failed_at, connection.interval) for outage in context.outages)
    return occurred_at if explained else state.explained_error_at


def failed_post_at(state: ConnectionState) -> datetime | None:
    """Return when the last post failed; None when one succeeded since, or none failed."""
    error, posted = state.last_error, state.last_successful_post_at
    if error is None or error.occurred_at is None or (posted is not None and error.occurred_at <= posted):
        return None
    return error.occurred_at


def _within(outage: tuple[datetime, datetime | None], moment: datetime, margin: timedelta) -> bool:
    """Whether *moment* lies within *outage*, which began up to *margin* before it was seen."""
    began_at, ended_at = outage
    return began_at - margin <= moment and (ended_at is None or moment <= ended_at)


def proposed(connection: Connection, state: ConnectionState, now: datetime, policy: Policy, context: ScopeContext) -> dict[Topic, str]:
    """Return the level of every topic as the state and the clock have it, before confirmation; without those that they cannot say."""
    overdue = expiry_levels.renewal_overdue(state.token, now, policy.expiry_for(connection.platform))
    # That the connection fails does not say that its token was renewed.
    known_overdue = state.topic(Topic.RENEWAL).level == OVERDUE
    levels = {
        Topic.CONNECTION: connection_level(connection, state, now, policy, context),
        Topic.EXPIRY: expiry_level(connection, state, now, policy),
        Topic.RENEWAL: OVERDUE if overdue and (state.health is Health.OK or known_overdue) else FINE,
        Topic.PUBLISHING: publishing_level(connection, state, now, policy, context),
        Topic.PERMISSIONS: LOST if state.permissions_missing else FINE,
    }
    return {topic: level for topic, level in levels.items() if level is not None}


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


def fails(topic: Topic, level: str) -> bool:
    """Whether *level* of *topic* says that something does not work, not only that it will not."""
    return topic in (Topic.CONNECTION, Topic.SCOPE) or level == EXPIRED


def clearing(state: ConnectionState, topic: Topic) -> bool:
    """Whether the last evidence says that the incident of *topic* is over, which is not confirmed yet."""
    pending = state.pending_levels.get(topic)
    return pending is not None and pending.level == FINE


def _sightings(state: ConnectionState, topic: Topic, pending: PendingLevel | None) -> int:
    # When time alone carries the token over a threshold, the checks that agree about its end count as sightings.
    if topic is Topic.EXPIRY and pending is None:
        return max(1, state.token_sightings)
    return 1


def is_confirmed(
    connection: Connection, state: ConnectionState, topic: Topic, pending: PendingLevel, now: datetime, policy: Policy
) -> bool:
    """Whether a pending level is confirmed. Health was confirmed in `health` already, and so is the end of a failure by the token."""
    if topic in {Topic.CONNECTION, Topic.RENEWAL, Topic.PUBLISHING}:
        return True
    settled = pending.sightings >= policy.confirm.expiry
    if topic is Topic.EXPIRY and not settled:
        fails = pending.level == EXPIRED and failed_by_expiry(connection, state, now, policy)
        settled = fails or _failed_while_expired(state)
    if not settled:
        return False
    return topic is not Topic.EXPIRY or now >= settled_at(connection, state, pending, policy)


def _failed_while_expired(state: ConnectionState) -> bool:
    """Whether the connection failed for its token, works again, and the topic `expiry` still says `expired`."""
    expiry, failure = state.topic(Topic.EXPIRY), state.failure
    if expiry.level != EXPIRED or failure is None or failure.cause not in DUE_TO_TOKEN or state.health is not Health.OK:
        return False
    return failure.ended_at is not None and expiry.since is not None and failure.ended_at >= expiry.since


def settled_at(connection: Connection, state: ConnectionState, pending: PendingLevel, policy: Policy) -> datetime:
    """Return when a pending level of the token's life has lasted for long enough."""
    expiry, threshold = policy.expiry_for(connection.platform), expiry_levels.threshold_of(pending.level)
    if pending.level in {FINE, EXPIRED}:
        return pending.since
    ends = estimate.window(state.token)
    if threshold is None or ends is None:
        return pending.since + expiry.settle
    return min(pending.since, ends[1] - threshold) + min(expiry.settle, threshold / 4)


def severity_of(topic: Topic, level: str, policy: Policy, platform: str, cause: Reason | None = None) -> Severity:
    """Return the severity of a level; a close has that of the level it ends. A failure whose *cause* clears by itself is a warning."""
    if topic is Topic.EXPIRY:
        return Severity.CRITICAL if level == EXPIRED else expiry_levels.severity_of(level, policy.expiry_for(platform))
    if topic is Topic.CONNECTION and level == "error":
        return Severity.WARNING if cause is not None and advice_of(cause) is Advice.WAIT else Severity.CRITICAL
    return Severity.INFO if level == FINE else Severity.WARNING
