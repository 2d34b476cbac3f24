"""The same view as JSON: names as in the webhook's body, moments in ISO 8601, absent facts as null."""

import json
from datetime import datetime
from typing import Any

from monitor.domain.snapshot import IncidentView
from monitor.metrics import kind_of
from monitor.web.rows import Row
from monitor.web.standing import Standing
from monitor.web.views import Board, Filters
from monitor.web.words import iso

VERSION = "1"


def summary(board: Board, now: datetime) -> dict[str, Any]:
    """How it all stands: `/api/v1/summary`."""
    overall, snapshot = board.overall, board.snapshot
    return {
        "version": VERSION,
        "at": iso(now),
        "takenAt": iso(snapshot.taken_at),
        "tone": overall.tone,
        "summary": " ".join(filter(None, (overall.words, overall.more))),
        "connections": {"total": len(snapshot.connections), **{standing.value: board.counts[standing] for standing in Standing}},
        "apiUp": snapshot.api_up,
        "storageUp": snapshot.storage_up,
        "accounts": {name: {"up": up} for name, up in sorted(snapshot.accounts.items())},
        "receivers": {
            name: {
                "pending": owed.pending,
                "oldestAt": iso(owed.oldest_at),
                "failingSince": iso(owed.failing_since),
                "disabled": owed.disabled,
            }
            for name, owed in sorted(snapshot.outbox.items())
        },
        "incidents": {
            "open": len(snapshot.incidents),
            "bySeverity": {severity.value: number for severity, number in sorted(board.incident_counts().items())},
            "wide": [_incident(trouble.view) for trouble in board.troubles(now)],
        },
    }


def connections(board: Board, filters: Filters, now: datetime) -> dict[str, Any]:
    """One page of connections, worst first: `/api/v1/connections`."""
    page = board.page(filters, now)
    return {
        "version": VERSION,
        "at": iso(now),
        "takenAt": iso(board.snapshot.taken_at),
        "total": page.total,
        "page": page.number,
        "pages": page.pages,
        "connections": [_connection(row) for row in page.rows],
    }


def encode(document: dict[str, Any]) -> bytes:
    """A document as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"


def _incident(view: IncidentView) -> dict[str, Any]:
    return {
        "kind": kind_of(view),
        "subject": view.incident.subject,
        "severity": view.severity,
        "openedAt": iso(view.incident.opened_at),
        "reason": view.reason,
        "detail": view.detail,
    }


def _connection(row: Row) -> dict[str, Any]:
    connection, state = row.view.connection, row.view.state
    doubt = row.countdown.uncertainty
    return {
        "account": connection.account,
        "userId": connection.user_id or None,
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "name": connection.name or state.display_name,
        "username": state.username,
        "labels": dict(connection.labels),
        "standing": row.standing,
        "health": state.health,
        "since": iso(state.since),
        "reason": state.reason,
        "detail": state.detail,
        "lastReason": state.last_reason,
        "consecutiveFailures": state.failures,
        "lastCheckAt": iso(state.last_check_at),
        "lastConclusiveCheckAt": iso(state.last_evidence_at),
        "nextCheckAt": iso(row.view.next_check_at),
        "lastSuccessfulPostAt": iso(state.last_successful_post_at),
        "expiresAt": iso(row.countdown.ends_at),
        "expiresUncertaintySeconds": None if doubt is None else doubt.total_seconds(),
        "permissionsMissing": list(state.permissions_missing),
        "coveredBy": row.view.covered_by,
        "notes": [" ".join(filter(None, (note.words, note.advice))) for note in row.notes],
    }
