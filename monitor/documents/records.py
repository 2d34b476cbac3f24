"""Rows of the database: checks, incidents, deliveries, attempts."""

from datetime import datetime

from monitor.db import CheckRow, DeliveryRow, IncidentRow
from monitor.documents import shapes
from monitor.documents.values import iso, stamp
from monitor.domain.model import Connection, IncidentRef
from monitor.domain.reasons import meaning, outcome_of
from monitor.domain.uptime import Uptime
from monitor.errors import DeliveryReason


def check(row: CheckRow) -> shapes.Check:
    """One check of the history."""
    return {
        "at": stamp(row.at),
        "outcome": outcome_of(row.reason),
        "reason": row.reason,
        "words": meaning(row.reason).words,
        "detail": row.detail,
        "durationSeconds": row.duration_ms / 1000,
        "httpStatus": row.http_status,
        "tokenExpiresIn": row.token,
    }


def uptime(known: Uptime) -> shapes.UptimeFacts:
    """How much of a stretch of time a connection worked."""
    return {
        "ratio": known.ratio,
        "okSeconds": known.ok.total_seconds(),
        "downSeconds": known.down.total_seconds(),
        "excludedSeconds": known.excluded.total_seconds(),
        "unknownSeconds": known.unknown.total_seconds(),
    }


def incident(row: IncidentRow, about: Connection | None) -> shapes.Incident:
    """One incident, open or closed; *about* is its connection, None when it is wider than one."""
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
        "openedAt": stamp(row.incident.opened_at),
        "changedAt": stamp(row.changed_at),
        "closedAt": iso(row.closed_at),
        "closedWhy": row.closed_why,
    }


def delivery(row: DeliveryRow, about: Connection | None) -> shapes.Delivery:
    """One delivery; *about* is the connection that it tells of, None when it is wider than one."""
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
        "queuedAt": stamp(row.queued_at),
        "nextAttemptAt": stamp(row.next_attempt_at),
        "finishedAt": iso(row.finished_at),
        "inDigest": row.digest_id,
        "lastReason": row.last_reason,
        "lastStatus": row.last_status,
    }


def attempt(at: datetime, reason: DeliveryReason, took_seconds: float, http_status: int | None, detail: str) -> shapes.Attempt:
    """One try to tell a receiver."""
    return {"at": stamp(at), "reason": reason, "httpStatus": http_status, "durationSeconds": took_seconds, "detail": detail}


def _about(incident: IncidentRef, about: Connection | None) -> shapes.About:
    return {
        "subject": about.platform_id if about is not None else incident.subject,
        "account": about.account if about is not None else None,
        "userId": (about.user_id or None) if about is not None else None,
        "platform": about.platform if about is not None else None,
    }
