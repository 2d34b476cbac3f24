"""
When the wall clock was set back: what is remembered must not lie in the future.

Else a failure seen "next year" would wait a year for its confirmation. Everything later than now is taken to be of now.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.model import ConnectionState, TopicState
from monitor.domain.scope_state import ScopeState

# Works queue before they are concluded, so moments may come a little out of order without any clock being wrong.
TOLERANCE = timedelta(minutes=1)


def rewound(state: ConnectionState, now: datetime) -> ConnectionState:
    """*state* without memories of the future; the same object when there are none."""
    latest = now + TOLERANCE
    if not any(moment > latest for moment in _moments(state)):
        return state
    pending = state.pending
    token = state.token
    return replace(
        state,
        since=_past(state.since, now),
        pending=replace(pending, first_at=min(pending.first_at, now), last_at=min(pending.last_at, now)) if pending else None,
        last_check_at=_past(state.last_check_at, now),
        last_evidence_at=_past(state.last_evidence_at, now),
        last_passed_at=_past(state.last_passed_at, now),
        first_failed_at=_past(state.first_failed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
        hints={topic: replace(hint, since=min(hint.since, now)) for topic, hint in state.hints.items()},
        topics={topic: _topic(value, now) for topic, value in state.topics.items()},
        token=replace(token, observed_at=_past(token.observed_at, now), expired_at=_past(token.expired_at, now)),
        review_at=now,
    )


def rewound_scope(state: ScopeState, now: datetime) -> ScopeState:
    """*state* without memories of the future; the same object when there are none."""
    topic = state.topic
    moments = (state.suspect_at, state.last_bad_at, state.last_good_at, state.closed_at, topic.since, topic.told.at)
    late = [moment for moment in moments if moment is not None] + [at for _, at in state.turned] + [one.at for one in state.buckets]
    late += state.changes[-1:]
    late += [state.calm.since] if state.calm is not None else []
    latest = now + TOLERANCE
    if not any(moment > latest for moment in late):
        return state
    return replace(
        state,
        topic=_topic(topic, now),
        suspect_at=_past(state.suspect_at, now),
        last_bad_at=_past(state.last_bad_at, now),
        last_good_at=_past(state.last_good_at, now),
        buckets=(),
        streak=None,
        calm=None,
        turned=tuple((one, min(at, now)) for one, at in state.turned),
        closed_at=_past(state.closed_at, now),
        changes=tuple(min(change, now) for change in state.changes),
    )


def _moments(state: ConnectionState) -> Iterator[datetime]:
    """The latest memories; all others are older than one of these."""
    for moment in (state.since, state.last_check_at, state.last_evidence_at, state.token.observed_at):
        if moment is not None:
            yield moment
    for value in state.topics.values():
        for moment in (value.since, value.told.at):
            if moment is not None:
                yield moment
    for hint in state.hints.values():
        yield hint.since


def _topic(value: TopicState, now: datetime) -> TopicState:
    told = value.told
    return replace(
        value,
        since=_past(value.since, now),
        opened_at=_past(value.opened_at, now),
        told=replace(told, at=_past(told.at, now), opened_at=_past(told.opened_at, now)),
    )


def _past(moment: datetime | None, now: datetime) -> datetime | None:
    return None if moment is None else min(moment, now)
