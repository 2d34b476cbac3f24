"""What is wrong with the templates and the address of a receiver: templates are tried on an example of every body."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from monitor.config import ReceiverSettings
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationFacts, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.errors import Reason
from monitor.notify.apprise import address_problem
from monitor.notify.filling import PLACE, all_texts, fill, parsed_json
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import render, render_digest, render_test

MAX_TEMPLATE = 20_000

Nearest = Callable[[str, Sequence[str]], str | None]

_LABELS = "data.connection.labels."


def problems(receiver: ReceiverSettings, nearest: Nearest) -> Iterator[tuple[str, str, str]]:
    """Yield what is wrong with the templates and the address of *receiver*: key, problem, fix. *nearest* gives the word that was meant."""
    if receiver.template is not None:
        yield from (("template", f"the template {message}", fix) for message, fix in json_problems(receiver.template.reveal(), nearest))
    for key, text in (("title", receiver.title), ("text", receiver.text)):
        found = dict.fromkeys(_odd_places(text, _known_places(), nearest) if text else ())
        yield from ((key, f"the {key} {message}", fix) for message, fix in found)
    wrong = address_problem(receiver.url.reveal()) if receiver.type == "apprise" and "://" in receiver.url.reveal() else None
    if wrong is not None:
        yield "url", f"the url {wrong[0]}", wrong[1]


def json_problems(template: str, nearest: Nearest) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with *template*, each with a fix; a template without problems was tried on every type of body."""
    if len(template) > MAX_TEMPLATE:
        yield f"is longer than {MAX_TEMPLATE} characters", "shorten it"
        return
    try:
        parsed = parsed_json(template)
    except json.JSONDecodeError as error:
        yield (
            f"is not JSON: {error.msg} in its line {error.lineno}, column {error.colno}",
            "write a JSON document with {places} in its texts",
        )
        return
    except (ValueError, RecursionError):
        yield "is JSON that cannot be sent", "remove NaN, Infinity and deep nesting"
        return
    if not isinstance(parsed, dict | list):
        yield "must be a JSON object or list", 'such as {"text": "{summary}"}'
        return
    yield from dict.fromkeys(_odd_places(parsed, _known_places(), nearest))
    for body in examples().values():
        json.loads(fill(template, json.loads(body)))


@cache
def _known_places() -> list[str]:
    """The paths of the places that some body has, and that of the title."""
    return sorted({"title", *(path for body in examples().values() for path in _paths(json.loads(body)))})


def _odd_places(template: Any, known: Sequence[str], nearest: Nearest) -> Iterator[tuple[str, str]]:
    for text in all_texts(template):
        for match in PLACE.finditer(text):
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
    EventType.ACCOUNT_CLOSED: (Scope.ACCOUNT, "account:main", FINE),
    EventType.API_FAILED: (Scope.API, "api:postpost", "failed"),
    EventType.API_RECOVERED: (Scope.API, "api:postpost", FINE),
    EventType.API_CLOSED: (Scope.API, "api:postpost", FINE),
    EventType.GROUP_FAILED: (Scope.GROUP, "group:main/linkedin", "failed"),
    EventType.GROUP_RECOVERED: (Scope.GROUP, "group:main/linkedin", FINE),
    EventType.GROUP_CLOSED: (Scope.GROUP, "group:main/linkedin", FINE),
    EventType.PLATFORM_FAILED: (Scope.PLATFORM, "platform:linkedin", "failed"),
    EventType.PLATFORM_RECOVERED: (Scope.PLATFORM, "platform:linkedin", FINE),
    EventType.STORAGE_FAILED: (Scope.STORAGE, "storage", "failed"),
    EventType.STORAGE_RECOVERED: (Scope.STORAGE, "storage", FINE),
    EventType.RECEIVER_FAILING: (Scope.RECEIVER, "receiver:chat", "failing"),
    EventType.RECEIVER_RECOVERED: (Scope.RECEIVER, "receiver:chat", FINE),
    EventType.RECEIVER_CLOSED: (Scope.RECEIVER, "receiver:chat", FINE),
    EventType.INVENTORY_CHANGED: (Scope.ACCOUNT, "list:main", "changed"),
}


@cache
def examples() -> Mapping[EventType, bytes]:
    """Return one stored body of every type, all about the same example."""
    bodies = {
        kind: _body(_notification(kind, IncidentRef(topic, "1", 1, _AT), Scope.CONNECTION, 1, level))
        for kind, (topic, level) in _CONNECTIONS.items()
    }
    bodies |= {kind: _body(_of_scope(kind, *place)) for kind, place in _SCOPES.items()}
    several = [bodies[EventType.CONNECTION_FAILED], bodies[EventType.TOKEN_EXPIRING]]
    bodies[EventType.DIGEST] = render_digest(_ID, _AT, several, _IDENTITY)
    bodies[EventType.TEST] = render_test(_ID, _AT, "on-call", _IDENTITY)
    return bodies


def _body(notification: Notification) -> bytes:
    return render(_ID, notification, _CONNECTION if notification.connection_id else None, _IDENTITY)


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
