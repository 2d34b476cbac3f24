"""
What `--json` prints: names as in the webhook's body, moments in ISO 8601, absent facts as null.

`docs/command-line.md` describes it; a change that breaks readers raises VERSION.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.db import CheckRow, DeliveryRow, IncidentRow
from monitor.domain import expiry
from monitor.domain.model import Connection, ConnectionState
from monitor.domain.reasons import meaning, outcome_of

VERSION = "1"


def put(document: dict[str, Any]) -> None:
    """Print *document*."""
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=False))


def iso(at: datetime | None) -> str | None:
    """A moment for machines, to the millisecond."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(duration: timedelta | None) -> float | None:
    """A duration for machines."""
    return None if duration is None else duration.total_seconds()


def identity(connection: Connection) -> dict[str, Any]:
    """Which connection is meant."""
    return {
        "account": connection.account,
        "userId": connection.user_id or None,
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "name": connection.name,
    }


def connection(one: Connection, state: ConnectionState, *, why: str, covered_by: str | None, topics: Sequence[str]) -> dict[str, Any]:
    """One connection and what is known of it."""
    return {
        **identity(one),
        "username": state.username,
        "labels": dict(one.labels),
        "health": state.health,
        "since": iso(state.since),
        "reason": state.reason,
        "detail": state.detail,
        "why": why,
        "coveredBy": covered_by,
        "openIncidents": list(topics),
        "consecutiveFailures": state.failures,
        "lastCheckAt": iso(state.last_check_at),
        "lastCheckReason": state.last_reason,
        "lastConclusiveCheckAt": iso(state.last_evidence_at),
        "lastSuccessfulPostAt": iso(state.last_successful_post_at),
        "expiresAt": iso(expiry.best(state.token)),
        "expiresUncertaintySeconds": seconds(expiry.uncertainty(state.token)),
    }


def check(row: CheckRow) -> dict[str, Any]:
    """One check of the history."""
    return {
        "at": iso(row.at),
        "outcome": outcome_of(row.reason),
        "reason": row.reason,
        "words": meaning(row.reason).words,
        "detail": row.detail,
        "durationSeconds": row.duration_ms / 1000,
        "httpStatus": row.http_status,
        "tokenExpiresIn": row.token,
    }


def incident(row: IncidentRow, about: Connection | None) -> dict[str, Any]:
    """One incident, open or closed."""
    return {
        "id": row.id,
        "topic": row.incident.topic,
        "scope": row.scope,
        "subject": about.platform_id if about is not None else row.incident.subject,
        "account": about.account if about is not None else None,
        "userId": (about.user_id or None) if about is not None else None,
        "platform": about.platform if about is not None else None,
        "number": row.incident.number,
        "level": row.level,
        "severity": row.severity,
        "reason": row.reason,
        "detail": row.detail,
        "openedAt": iso(row.incident.opened_at),
        "changedAt": iso(row.changed_at),
        "closedAt": iso(row.closed_at),
        "closedWhy": row.closed_why,
    }


def delivery(row: DeliveryRow) -> dict[str, Any]:
    """One delivery."""
    return {
        "number": row.id,
        "id": row.webhook_id,
        "receiver": row.receiver,
        "state": row.state,
        "type": row.type,
        "severity": row.severity,
        "incidentKey": row.incident_key,
        "attempts": row.attempts,
        "queuedAt": iso(row.queued_at),
        "nextAttemptAt": iso(row.next_attempt_at),
        "finishedAt": iso(row.finished_at),
        "inDigest": row.digest_id,
        "lastReason": row.last_reason,
        "lastStatus": row.last_status,
    }
