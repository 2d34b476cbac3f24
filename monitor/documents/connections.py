"""Connections, and what stands above them."""

from datetime import datetime

from monitor.documents import shapes
from monitor.documents.values import iso, seconds, stamp
from monitor.domain import expiry
from monitor.domain.gists import gist
from monitor.domain.model import FINE, Connection, ConnectionState, Topic
from monitor.domain.preflights import Finding
from monitor.domain.snapshot import IncidentView, OutboxView


def identity(connection: Connection) -> shapes.Identity:
    """Which connection is meant."""
    return {
        "account": connection.account,
        "userId": connection.user_id or None,
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "name": connection.name,
    }


def connection(
    one: Connection, state: ConnectionState, *, covered_by: str | None, next_check_at: datetime | None = None
) -> shapes.ConnectionFacts:
    """One connection and what is known of it."""
    topics = [topic for topic, value in state.topics.items() if value.level != FINE]
    return {
        **identity(one),
        "displayName": state.display_name,
        "username": state.username,
        "labels": dict(one.labels),
        "health": state.health,
        "since": iso(state.since),
        "reason": state.reason,
        "detail": state.detail,
        "why": gist(state, topics, covered_by, level=state.topic(Topic.CONNECTION).level),
        "coveredBy": covered_by,
        "openIncidents": topics,
        "consecutiveFailures": state.failures,
        "lastCheckAt": iso(state.last_check_at),
        "lastCheckReason": state.last_reason,
        "lastConclusiveCheckAt": iso(state.last_evidence_at),
        "nextCheckAt": iso(next_check_at),
        "lastSuccessfulPostAt": iso(state.last_successful_post_at),
        "expiresAt": iso(expiry.best(state.token)),
        "expiresUncertaintySeconds": seconds(expiry.uncertainty(state.token)),
        "permissionsMissing": list(state.permissions_missing),
    }


def details(state: ConnectionState) -> shapes.Details:
    """Why a connection is believed to be as it is, and why nobody was told."""
    pending = state.pending
    return {
        "suspectedFalseNegative": state.suspected_false_negative,
        "pending": None if pending is None else {"health": pending.health, "count": pending.count, "firstAt": stamp(pending.first_at)},
        "quiet": state.quiet,
        "topics": {
            topic.value: {
                "level": value.level,
                "since": iso(value.since),
                "incident": value.number,
                "toldLevel": value.told.level,
                "toldAt": iso(value.told.at),
                "reminders": value.told.reminders,
            }
            for topic, value in state.topics.items()
        },
    }


def preflight(one: Connection, finding: Finding, *, known_at: datetime | None, now: datetime, live: bool) -> shapes.Preflight:
    """Whether a connection can be relied on for a post."""
    return {**identity(one), **_answer(finding, known_at, now, live=live)}


def preflight_unknown(platform_id: str, finding: Finding) -> shapes.Preflight:
    """The same for an id that is not watched."""
    nobody: shapes.MaybeIdentity = {"account": None, "userId": None, "platform": None, "platformId": platform_id, "name": None}
    return {**nobody, **_answer(finding, None, None, live=False)}


def _answer(finding: Finding, known_at: datetime | None, now: datetime | None, *, live: bool) -> shapes.PreflightAnswer:
    return {
        "answer": finding.answer,
        "why": finding.why,
        "knownAt": iso(known_at),
        "ageSeconds": None if known_at is None or now is None else max(0.0, (now - known_at).total_seconds()),
        "live": live,
        "expiresAt": iso(finding.ends_at),
    }


def wide_incident(view: IncidentView) -> shapes.WideIncident:
    """An open incident that is wider than one connection."""
    return {
        "scope": view.scope,
        "subject": view.incident.subject,
        "severity": view.severity,
        "reason": view.reason,
        "detail": view.detail,
        "openedAt": stamp(view.incident.opened_at),
    }


def receiver(owed: OutboxView) -> shapes.Receiver:
    """What one receiver is owed."""
    return {
        "pending": owed.pending,
        "oldestAt": iso(owed.oldest_at),
        "failingSince": iso(owed.failing_since),
        "disabled": owed.disabled,
    }
