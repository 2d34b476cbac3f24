"""One function for each thing that is shown as JSON. Every verb imports this module, so it imports little."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from monitor.clock import iso_utc
from monitor.domain.events import FINE, Topic
from monitor.domain.expiry import estimate, levels
from monitor.domain.reasons import Scope, outcome_of
from monitor.text.reasons import preflight_text, reason_text, state_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from monitor.db import CheckRow, DeliveryRow, IncidentRow
    from monitor.domain.connections import Connection
    from monitor.domain.events import IncidentRef
    from monitor.domain.projections.forecast import ForecastEvent
    from monitor.domain.projections.preflight import PreflightResult
    from monitor.domain.silencing.acks import Ack
    from monitor.domain.silencing.controls import Controls
    from monitor.domain.silencing.silences import Silence
    from monitor.domain.states import ConnectionState
    from monitor.domain.uptime import Uptime
    from monitor.domain.views.handling import Handling
    from monitor.domain.views.snapshot import HeartbeatView, IncidentView, OutboxView, Snapshot, SuspectedScope
    from monitor.errors import DeliveryReason
    from monitor.schemas import shapes


def identity(connection: Connection) -> shapes.Identity:
    """The connection."""
    return {
        "account": connection.account,
        "userId": connection.user_id or None,
        "userName": connection.user_name,
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "name": connection.name,
    }


def connection(
    connection: Connection, state: ConnectionState, *, suppressed_by: str | None, next_check_at: datetime | None = None
) -> shapes.ConnectionFacts:
    """One connection and what is known of it."""
    topics = [topic for topic, value in state.topics.items() if value.level != FINE]
    return {
        **identity(connection),
        "displayName": state.display_name,
        "username": state.username,
        "labels": dict(connection.labels),
        "health": state.health,
        "since": iso(state.since),
        "reason": state.reason,
        "detail": state.detail,
        "why": state_text(
            state,
            topics,
            suppressed_by,
            level=state.topic(Topic.CONNECTION).level,
            users={connection.user_id: connection.user_name or connection.user_id},
        ),
        "suppressedBy": suppressed_by,
        "openIncidents": topics,
        "consecutiveFailures": state.failures,
        "lastCheckAt": iso(state.last_check_at),
        "lastCheckReason": state.last_reason,
        "lastConclusiveCheckAt": iso(state.last_evidence_at),
        "nextCheckAt": iso(next_check_at),
        "lastSuccessfulPostAt": iso(state.last_successful_post_at),
        "expiresAt": iso(estimate.best_estimate(state.token)),
        "expiresUncertaintySeconds": seconds(estimate.uncertainty(state.token)),
        "permissionsMissing": list(state.permissions_missing),
    }


def details(state: ConnectionState) -> shapes.Details:
    """The evidence for the state of a connection, and its topics."""
    pending = state.pending
    return {
        "suspectedFalseNegative": state.suspected_false_negative,
        "pending": None if pending is None else {"health": pending.health, "count": pending.count, "firstAt": iso_utc(pending.first_at)},
        "suppression": state.suppression,
        "topics": {
            topic.value: {
                "level": value.level,
                "since": iso(value.since),
                "incident": value.number,
                "notifiedLevel": value.notified.level,
                "notifiedAt": iso(value.notified.at),
                "reminders": value.notified.reminders,
            }
            for topic, value in state.topics.items()
        },
    }


def preflight(
    connection: Connection, result: PreflightResult, *, name: str | None, known_at: datetime | None, now: datetime, live: bool
) -> shapes.Preflight:
    """Whether a connection can be relied on for a post; *name* is what the API calls it, where it has no configured one."""
    return {**identity(connection), "name": connection.name or name, **_answer(result, known_at, now, live=live)}


def preflight_unknown(platform_id: str, result: PreflightResult) -> shapes.Preflight:
    """The same for an id that is not watched."""
    unknown: shapes.MaybeIdentity = {
        "account": None,
        "userId": None,
        "userName": None,
        "platform": None,
        "platformId": platform_id,
        "name": None,
    }
    return {**unknown, **_answer(result, None, None, live=False)}


def _answer(result: PreflightResult, known_at: datetime | None, now: datetime | None, *, live: bool) -> shapes.PreflightAnswer:
    return {
        "answer": result.answer,
        "why": preflight_text(result),
        "knownAt": iso(known_at),
        "ageSeconds": None if known_at is None or now is None else max(0.0, (now - known_at).total_seconds()),
        "live": live,
        "expiresAt": iso(result.ends_at),
    }


def forecast(event: ForecastEvent, message: int) -> shapes.ForecastNotification:
    """A notification that is sent if nobody does anything, within the message with this number."""
    from monitor.text.sentences import sentence  # noqa: PLC0415 - see above

    notification = event.notification
    return {
        "connections": [identity(connection) for connection in event.connections],
        "at": iso_utc(notification.at),
        "type": notification.type,
        "why": notification.why,
        "severity": notification.severity,
        "text": sentence(notification, event.connection, event.connections),
        "receivers": list(event.receivers),
        "message": message,
    }


def scope_incident(view: IncidentView) -> shapes.ScopeIncident:
    """An open scope incident."""
    return {
        "scope": view.scope,
        "subject": view.incident.subject,
        "severity": view.severity,
        "reason": view.reason,
        "detail": view.detail,
        "openedAt": iso_utc(view.incident.opened_at),
    }


def suspected_scope(view: SuspectedScope) -> shapes.SuspectedScopeFacts:
    """A scope that seems to fail and has no incident yet."""
    return {"scope": view.scope, "subject": view.subject, "since": iso_utc(view.since), "reason": view.reason}


def silence(value: Silence) -> shapes.SilenceSummary:
    """A silence that is not over."""
    return {
        "number": value.id,
        "match": dict(value.match),
        "startsAt": iso_utc(value.starts_at),
        "endsAt": iso_utc(value.over_at),
        "author": value.author,
        "reason": value.reason,
    }


def acked_by(ack: Ack | None) -> shapes.AckedBy | None:
    """The acknowledgement of an open incident."""
    return None if ack is None else {"author": ack.author, "at": iso_utc(ack.at), "reason": ack.reason}


def api_up(snapshot: Snapshot) -> bool | None:
    """Whether the API answers; None while that is not known, or suspected not to be so."""
    return None if any(scope.scope is Scope.API for scope in snapshot.suspected) else snapshot.api_up


def receiver(outbox: OutboxView) -> shapes.Receiver:
    """The pending deliveries of one receiver."""
    return {
        "pending": outbox.pending,
        "oldestAt": iso(outbox.oldest_at),
        "failingSince": iso(outbox.failing_since),
        "disabled": outbox.disabled,
        "refusing": outbox.refusing,
    }


def heartbeat(view: HeartbeatView | None) -> shapes.HeartbeatFacts | None:
    """The heartbeats; None without any."""
    return None if view is None else {"problem": view.problem or None, "acceptedAt": iso(view.accepted_at)}


def check(row: CheckRow) -> shapes.Check:
    """One check of the history."""
    return {
        "at": iso_utc(row.at),
        "outcome": outcome_of(row.reason),
        "reason": row.reason,
        "words": reason_text(row.reason),
        "detail": row.detail,
        "durationSeconds": row.duration_ms / 1000,
        "httpStatus": row.http_status,
        "tokenExpiresIn": row.token,
    }


def uptime(value: Uptime) -> shapes.UptimeFacts:
    """The uptime of a period."""
    return {
        "ratio": value.ratio,
        "okSeconds": value.ok.total_seconds(),
        "downSeconds": value.down.total_seconds(),
        "excludedSeconds": value.excluded.total_seconds(),
        "unknownSeconds": value.unknown.total_seconds(),
    }


def handling(
    row: IncidentRow, about: Connection | None, controls: Controls, now: datetime, escalates_at: datetime | None = None
) -> Handling:
    """What operators did about an incident, which is escalated next *escalates_at*; nothing about one that is closed."""
    from monitor.domain.states import TopicState  # noqa: PLC0415
    from monitor.domain.views.handling import NOT_HANDLED, handling_of_incident  # noqa: PLC0415 - see above
    from monitor.domain.views.snapshot import IncidentView  # noqa: PLC0415

    if row.closed_at is not None:
        return NOT_HANDLED
    view = IncidentView(
        row.incident, row.scope, row.connection_id, row.level, row.severity, row.reason, row.detail, escalates_at=escalates_at
    )
    value = TopicState(row.level, row.changed_at, row.incident.number, row.incident.opened_at)
    return handling_of_incident(view, about, value, controls, now)


def expiry(connection: Connection, state: ConnectionState, at: datetime) -> shapes.Expiry:
    """The end of a token."""
    return {
        **identity(connection),
        "displayName": state.display_name,
        "expiresAt": iso_utc(at),
        "expiresUncertaintySeconds": seconds(estimate.uncertainty(state.token)),
        "renews": levels.auto_renewing(state.token),
    }


def handled_incident(row: IncidentRow, about: Connection | None, key: str, handling: Handling) -> shapes.HandledIncident:
    """The same with the *key* that acknowledges it, and what operators did about it."""
    silence = handling.silence
    return {
        **incident(row, about),
        "incidentKey": key,
        "ackedBy": acked_by(handling.ack),
        "silencedUntil": iso(silence.until) if silence is not None else None,
        "escalatesAt": iso(handling.escalates_at),
    }


def incident(row: IncidentRow, about: Connection | None) -> shapes.Incident:
    """One incident, open or closed; *about* is its connection, None for a scope."""
    return {
        "id": row.id,
        "topic": row.incident.topic,
        "scope": row.scope,
        **_about(row.incident, about),
        "number": row.incident.number,
        "level": row.level,
        "severity": row.severity,
        "reason": row.reason,
        "detail": row.detail,
        "openedAt": iso_utc(row.incident.opened_at),
        "changedAt": iso_utc(row.changed_at),
        "closedAt": iso(row.closed_at),
        "closedWhy": row.closed_why,
    }


def delivery(row: DeliveryRow, about: Connection | None) -> shapes.Delivery:
    """One delivery; *about* is its connection, None for a scope."""
    return {
        "number": row.id,
        "id": row.webhook_id,
        "receiver": row.receiver,
        "state": row.state,
        "type": row.type,
        "why": row.why,
        "severity": row.severity,
        **_about(row.notification.incident, about),
        "incidentKey": row.incident_key,
        "attempts": row.attempts,
        "queuedAt": iso_utc(row.queued_at),
        "nextAttemptAt": iso_utc(row.next_attempt_at),
        "finishedAt": iso(row.finished_at),
        "inDigest": row.digest_id,
        "lastReason": row.last_reason,
        "lastStatus": row.last_status,
    }


def attempt(at: datetime, reason: DeliveryReason, took_seconds: float, http_status: int | None, detail: str) -> shapes.Attempt:
    """One attempt of a delivery."""
    return {"at": iso_utc(at), "reason": reason, "httpStatus": http_status, "durationSeconds": took_seconds, "detail": detail}


def _about(incident: IncidentRef, about: Connection | None) -> shapes.About:
    return {
        "subject": about.platform_id if about is not None else incident.subject,
        "account": about.account if about is not None else None,
        "userId": (about.user_id or None) if about is not None else None,
        "platform": about.platform if about is not None else None,
    }


VERSION = "1"


def iso(at: datetime | None) -> str | None:
    """A moment that may be unknown, as ISO 8601."""
    return None if at is None else iso_utc(at)


def seconds(duration: timedelta | None) -> float | None:
    """A duration for machines."""
    return None if duration is None else duration.total_seconds()


def encode(document: Mapping[str, object]) -> bytes:
    """A document on one line, as UTF-8; half a character becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(errors="replace") + b"\n"
