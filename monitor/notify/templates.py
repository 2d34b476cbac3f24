"""
User templates, tried on an example of every body.

A place is `{path}`, such as `{data.connection.id}`, inside a text of the template. A text that is only a place becomes the value
itself, of any type; elsewhere the value's text is inserted, nothing for an absent one. The template is parsed as JSON before it is filled,
so the result is JSON of the template's shape whatever a value holds.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationFacts, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.errors import Reason
from monitor.notify.payload import MonitorIdentity, render, render_digest, render_test

MAX_TEMPLATE = 20_000

_PART = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_LABELS = "data.connection.labels."


def fill(template: str, document: Mapping[str, Any]) -> bytes:
    """
    Return *template* filled from the stored *document*: UTF-8 JSON.

    Raises:
        ValueError: *template* is not JSON.
    """
    return json.dumps(_filled(_parsed(template), document), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def problems(template: str, nearest: Callable[[str, Sequence[str]], str | None]) -> Iterator[tuple[str, str]]:
    """
    Yield what is wrong with *template*, each with a fix; a template without problems was tried on every type of body.

    *nearest* returns the one of several words that was probably meant, or None.
    """
    if len(template) > MAX_TEMPLATE:
        yield f"is longer than {MAX_TEMPLATE} characters", "shorten it"
        return
    try:
        parsed = _parsed(template)
    except json.JSONDecodeError as error:
        yield (
            f"is no JSON: {error.msg} in its line {error.lineno}, column {error.colno}",
            "write a JSON document with {places} in its texts",
        )
        return
    except (ValueError, RecursionError):
        yield "is no JSON that can be sent", "remove NaN, Infinity and deep nesting"
        return
    if not isinstance(parsed, dict | list):
        yield "must be a JSON object or list", 'such as {"text": "{summary}"}'
        return
    documents = [json.loads(body) for body in examples().values()]
    known = sorted({path for document in documents for path in _paths(document)})
    yield from dict.fromkeys(_odd_places(parsed, known, nearest))
    for document in documents:
        json.loads(fill(template, document))


def texts(template: str) -> Iterator[str]:
    """Yield the texts of *template* without a place; they may be secrets."""
    return (text for text in _texts(_parsed(template)) if not _PART.search(text))


def _parsed(template: str) -> Any:
    return json.loads(template, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _filled(part: Any, document: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(value, document) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(value, document) for value in part]
    if not isinstance(part, str):
        return part
    whole = _PART.fullmatch(part)
    if whole and whole[1] is not None:
        return _value(document, whole[1])
    return _PART.sub(lambda match: _replacement(match, document), part)


def _replacement(match: re.Match[str], document: Mapping[str, Any]) -> str:
    if match[1] is None:
        return match[0][0]
    value = _value(document, match[1])
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _value(document: Any, path: str) -> Any:
    for name in path.strip().split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    for below in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _texts(below)


def _odd_places(template: Any, known: Sequence[str], nearest: Callable[[str, Sequence[str]], str | None]) -> Iterator[tuple[str, str]]:
    for text in _texts(template):
        for match in _PART.finditer(text):
            if match[0] in {"{", "}"}:
                yield f"has a single {match[0]} in a text", f"write {2 * match[0]} for the character itself"
            path = (match[1] or "").strip()
            if match[1] is not None and path not in known and not path.startswith(_LABELS):
                close = nearest(path, known)
                advice = f"did you mean {{{close}}}?" if close else "docs/reference/webhook.md shows what a body holds"
                yield f"has an unknown place {{{path}}}", advice


def _paths(part: Any, before: str = "") -> Iterator[str]:
    for name, value in part.items() if isinstance(part, dict) else ():
        yield before + name
        yield from _paths(value, f"{before}{name}.")


_AT = datetime(2030, 1, 1, tzinfo=UTC)
_ID = "msg_01997e0c6b2d7cc1a2f0c5d2e8b3a4f6"
_IDENTITY = MonitorIdentity("a1b2c3d4", "1.0.0", "https://app.postpost.dev/connections")
_CONNECTION = Connection(1, ConnectionSpec("main", "", "linkedin-page1", "linkedin", "Page 1", {"team": "social"}))
_FACTS = NotificationFacts(
    duration=timedelta(hours=2),
    expires_at=_AT + timedelta(days=7),
    expires_uncertainty=timedelta(hours=1),
    threshold=timedelta(days=7),
    permissions_lost=("w_member_social",),
    last_successful_post_at=_AT - timedelta(days=1),
    username="@page1",
)

# Each type with its topic and level.
_CONNECTIONS: Mapping[EventType, tuple[Topic, str]] = {
    EventType.CONNECTION_FAILED: (Topic.CONNECTION, "error"),
    EventType.CONNECTION_RECOVERED: (Topic.CONNECTION, FINE),
    EventType.CONNECTION_MISSING: (Topic.CONNECTION, "missing"),
    EventType.CONNECTION_MISCONFIGURED: (Topic.CONNECTION, "misconfigured"),
    EventType.CONNECTION_STALE: (Topic.CONNECTION, "stale"),
    EventType.CONNECTION_FLAPPING: (Topic.CONNECTION, "flapping"),
    EventType.CONNECTION_CLOSED: (Topic.CONNECTION, FINE),
    EventType.TOKEN_EXPIRING: (Topic.EXPIRY, "7d"),
    EventType.TOKEN_EXPIRED: (Topic.EXPIRY, "expired"),
    EventType.TOKEN_RENEWED: (Topic.EXPIRY, FINE),
    EventType.TOKEN_RENEWAL_OVERDUE: (Topic.RENEWAL, "overdue"),
    EventType.PUBLISHING_FAILING: (Topic.PUBLISHING, "failing"),
    EventType.PUBLISHING_RECOVERED: (Topic.PUBLISHING, FINE),
    EventType.PERMISSIONS_LOST: (Topic.PERMISSIONS, "lost"),
    EventType.PERMISSIONS_RESTORED: (Topic.PERMISSIONS, FINE),
    EventType.REMINDER: (Topic.CONNECTION, "error"),
}
_SCOPES: Mapping[EventType, tuple[Scope, str, str]] = {
    EventType.ACCOUNT_FAILED: (Scope.ACCOUNT, "account:main", "failed"),
    EventType.ACCOUNT_RECOVERED: (Scope.ACCOUNT, "account:main", FINE),
    EventType.API_FAILED: (Scope.API, "api:postpost", "failed"),
    EventType.API_RECOVERED: (Scope.API, "api:postpost", FINE),
    EventType.GROUP_FAILED: (Scope.GROUP, "group:main/linkedin", "failed"),
    EventType.GROUP_RECOVERED: (Scope.GROUP, "group:main/linkedin", FINE),
    EventType.PLATFORM_FAILED: (Scope.PLATFORM, "platform:linkedin", "failed"),
    EventType.PLATFORM_RECOVERED: (Scope.PLATFORM, "platform:linkedin", FINE),
    EventType.STORAGE_FAILED: (Scope.STORAGE, "storage", "failed"),
    EventType.STORAGE_RECOVERED: (Scope.STORAGE, "storage", FINE),
    EventType.RECEIVER_FAILING: (Scope.RECEIVER, "receiver:chat", "failing"),
    EventType.RECEIVER_RECOVERED: (Scope.RECEIVER, "receiver:chat", FINE),
    EventType.INVENTORY_CHANGED: (Scope.ACCOUNT, "account:main", "changed"),
}


def examples() -> dict[EventType, bytes]:
    """Return one stored body of every type, all about the same example."""
    bodies = {kind: _body(_of_connection(kind, topic, level)) for kind, (topic, level) in _CONNECTIONS.items()}
    bodies |= {kind: _body(_of_scope(kind, *place)) for kind, place in _SCOPES.items()}
    several = [bodies[EventType.CONNECTION_FAILED], bodies[EventType.TOKEN_EXPIRING]]
    bodies[EventType.DIGEST] = render_digest(_ID, _AT, several, _IDENTITY)
    bodies[EventType.TEST] = render_test(_ID, _AT, "on-call", _IDENTITY)
    return bodies


def _body(notification: Notification) -> bytes:
    return render(_ID, notification, _CONNECTION if notification.connection_id else None, _IDENTITY)


def _of_connection(kind: EventType, topic: Topic, level: str) -> Notification:
    return _notification(kind, IncidentRef(topic, "1", 1, _AT), Scope.CONNECTION, 1, level)


def _of_scope(kind: EventType, scope: Scope, subject: str, level: str) -> Notification:
    notification = _notification(kind, IncidentRef(Topic.SCOPE, subject, 1, _AT), scope, None, level)
    return replace(notification, facts=NotificationFacts(affected=12, duration=_FACTS.duration))


def _notification(kind: EventType, incident: IncidentRef, scope: Scope, connection_id: int | None, level: str) -> Notification:
    why = NotificationReason.CLOSED if level == FINE else NotificationReason.OPENED
    if kind in {EventType.REMINDER, EventType.INVENTORY_CHANGED}:
        why = NotificationReason.REMINDER if kind is EventType.REMINDER else NotificationReason.NOTICE
    return Notification(
        type=kind,
        why=why,
        severity=Severity.CRITICAL,
        at=_AT + timedelta(hours=2),
        incident=incident,
        scope=scope,
        connection_id=connection_id,
        level_from="error" if level == FINE else FINE,
        level_to=level,
        reason=Reason.CREDENTIAL_REJECTED,
        detail="Session has expired",
        seq=1,
        facts=_FACTS,
    )
