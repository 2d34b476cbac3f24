"""
The webhook body: one JSON document per notification, rendered once and stored before the first attempt.

Other receiver types (chat, paging) render their form from the stored document, so it holds all that they need. Keys are camelCase, times are ISO 8601 in UTC, durations are whole seconds.

Source: design 8 (public), reliability 3.7. `docs/reference/webhook.md` and `docs/reference/webhook.schema.json` describe it to receivers.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from monitor.clock import iso_utc
from monitor.domain.connections import Connection
from monitor.domain.events import FINE, EventType, Notification, NotificationReason, Severity, Topic, incident_key
from monitor.domain.reasons import Advice, advice_of
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.views.alert_labels import IncidentLabels, alert_name
from monitor.errors import Reason
from monitor.notify.identity import MonitorIdentity
from monitor.text.advice import notification_advice
from monitor.text.format import one_line, platform_name
from monitor.text.links import connection_path, runbook_link
from monitor.text.reasons import reason_text
from monitor.text.sentences import NO_NAMES, sentence

VERSION = "1"
MAX_BODY = 20_000
MAX_ITEMS = 50

_MAX_TEXT = 500
_MAX_NAME = 120

_MAX_LABELS = 20

_MAX_MEMBERS = 20

_TOKEN_TYPES = frozenset({EventType.TOKEN_EXPIRING, EventType.TOKEN_EXPIRED, EventType.TOKEN_RENEWED, EventType.TOKEN_RENEWAL_OVERDUE})
_RECONNECTS = frozenset({Topic.CONNECTION, Topic.EXPIRY, Topic.RENEWAL, Topic.PERMISSIONS})

_HELPED_BY_RECONNECTING = frozenset(
    {Advice.RECONNECT, Advice.RESTORE_RIGHTS, Advice.CONFIRM_ACCOUNT, Advice.CHOOSE_TARGET, Advice.READ_MESSAGE}
)


def summary(
    notification: Notification,
    connection: Connection | None,
    members: Sequence[Connection] = (),
    users: Mapping[str, str] = NO_NAMES,
) -> str:
    """Return one line of at most 500 characters: what happened, since when, why, and what to do."""
    return one_line(sentence(notification, connection, members, users), _MAX_TEXT)


def render(
    webhook_id: str,
    notification: Notification,
    connection: Connection | None,
    identity: MonitorIdentity,
    members: Sequence[Connection] = (),
    key: str | None = None,
) -> bytes:
    """
    Return the stored body of *notification*: UTF-8 JSON, at most `MAX_BODY` bytes.

    *webhook_id* is the delivery id, the same over all attempts; *connection* is None when the notification is about
    more than one; *members* are those that it is about together.
    """
    facts = notification.facts
    data: dict[str, Any] = {
        **_subject(notification, connection, identity.users),
        "incident": {
            "number": notification.incident.number,
            "key": key or incident_key(notification.incident, identity.instance),
            "topic": notification.incident.topic.value,
            "subject": one_line(notification.incident.subject, _MAX_NAME),
            "openedAt": _time(notification.incident.opened_at),
        },
        "level": {"from": notification.level_from, "to": notification.level_to},
        "reason": _reason(notification),
        "scope": notification.scope.value,
        "why": notification.why.value,
        "seq": notification.seq,
        "advice": notification_advice(notification),
        "reconnectUrl": _reconnect_url(notification, identity),
        **_links(notification, connection, identity),
        "firstCheck": facts.first_check,
        "suspectedFalseNegative": facts.suspected_false_negative,
        "durationSeconds": _seconds(facts.duration),
        "lastSuccessfulPostAt": _time(facts.last_successful_post_at),
        **_details(notification),
        **_members(members),
        "monitor": _monitor(identity),
    }
    return _encode(
        _envelope(
            webhook_id,
            notification.type,
            notification.at,
            summary(notification, connection, members, identity.users),
            notification.severity,
            data,
        )
    )


def render_digest(webhook_id: str, at: datetime, bodies: Sequence[bytes], identity: MonitorIdentity) -> bytes:
    """
    Return one body for many stored ones: each subject once, with its latest state.

    *bodies* are in the order in which they were decided, about at most `MAX_ITEMS` subjects. A digest of many long names may exceed
    `MAX_BODY`: the caller then makes two of it.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for body in bodies:
        document = json.loads(body)
        groups.setdefault(document["data"]["incident"]["subject"], []).append(document)
    items = [_item(documents) for documents in groups.values()]
    types = Counter(item["type"] for item in items)
    severities = Counter(item["severity"] for item in items)
    data = {
        "why": NotificationReason.DIGEST.value,
        "items": items,
        "counts": {
            "connections": len(items),
            "notifications": len(bodies),
            "byType": dict(types),
            "bySeverity": {severity.value: severities.get(severity, 0) for severity in Severity},
        },
        "monitor": _monitor(identity),
    }
    severity = max((Severity(item["severity"]) for item in items), key=lambda severity: severity.rank, default=Severity.INFO)
    return _encode(_envelope(webhook_id, EventType.DIGEST, at, _digest_summary(items, types), severity, data))


def render_test(webhook_id: str, at: datetime, receiver: str, identity: MonitorIdentity) -> bytes:
    """Return the body that `receivers test` sends."""
    text = f"Test of the receiver {one_line(receiver, _MAX_NAME)}: notifications of postpost-monitor arrive here. Nothing to do."
    data = {"why": NotificationReason.NOTICE.value, "receiver": one_line(receiver, _MAX_NAME), "monitor": _monitor(identity)}
    return _encode(_envelope(webhook_id, EventType.TEST, at, text, Severity.INFO, data))


def _envelope(webhook_id: str, kind: EventType, at: datetime, text: str, severity: Severity, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": kind.value,
        "version": VERSION,
        "id": webhook_id,
        "timestamp": _time(at),
        "summary": text,
        "severity": severity.value,
        "data": data,
    }


def _subject(notification: Notification, connection: Connection | None, users: Mapping[str, str]) -> dict[str, Any]:
    if connection is None:
        key = ScopeKey.parse(notification.incident.subject)
        platform = one_line(key.platform, _MAX_NAME) or None
        account = one_line(key.account, _MAX_NAME) or None
        user = _user_name(users.get(key.user))
        return {"connection": None, "platform": platform, "platformId": None, "username": None, "account": account, "userName": user}
    labels = dict(list(connection.labels.items())[:_MAX_LABELS])
    platform_id, platform = connection.platform_id[:300], connection.platform[:64]
    return {
        "connection": {
            "id": platform_id,
            "platform": platform,
            "name": one_line(connection.name, _MAX_NAME) if connection.name else None,
            "account": one_line(connection.account, _MAX_NAME),
            "userId": one_line(connection.user_id, _MAX_NAME) or None,
            "userName": _user_name(connection.user_name),
            "labels": {one_line(name, 64): one_line(value, _MAX_NAME) for name, value in labels.items()},
        },
        "platform": platform,
        "platformId": platform_id,
        "username": one_line(notification.facts.username, _MAX_NAME) if notification.facts.username else None,
        "account": one_line(connection.account, _MAX_NAME),
        "userName": _user_name(connection.user_name),
    }


def _user_name(name: str | None) -> str | None:
    return one_line(name, _MAX_NAME) if name else None


def _reason(notification: Notification) -> dict[str, str] | None:
    if notification.reason is None or (notification.reason is Reason.OK and notification.level_to != FINE):
        return None
    return {
        "code": notification.reason.value,
        "words": reason_text(notification.reason),
        "text": one_line(notification.detail, _MAX_TEXT),
    }


def _reconnect_url(notification: Notification, identity: MonitorIdentity) -> str | None:
    topic, level, reason = notification.incident.topic, notification.level_to, notification.reason
    helps = topic in _RECONNECTS and level != FINE and notification.connection_id is not None
    if topic is Topic.CONNECTION and level == "error" and reason is not None:
        helps = helps and advice_of(reason) in _HELPED_BY_RECONNECTING and not notification.facts.suspected_false_negative
    return identity.dashboard_url[:500] or None if helps else None


def _links(notification: Notification, connection: Connection | None, identity: MonitorIdentity) -> dict[str, str]:
    """Return where to look: the connection's page, and the runbook's section about the alert, as far as their addresses are known."""
    links: dict[str, str] = {}
    if identity.external_url:
        page = connection_path(connection) if connection is not None else "incidents"
        links["pageUrl"] = f"{identity.external_url}/{page}"
    if identity.runbook_url and notification.why is not NotificationReason.NOTICE:
        level = notification.level_to if notification.level_to != FINE else notification.level_from
        incident, severity = notification.incident, notification.severity.value
        if connection is None:
            labels = IncidentLabels.of_scope(incident.subject, notification.scope, level, severity)
        else:
            labels = IncidentLabels(incident.topic.value, notification.scope.value, level=level)
        links["runbookUrl"] = runbook_link(alert_name(labels), identity.runbook_url)
    return links


def _details(notification: Notification) -> dict[str, Any]:
    facts = notification.facts
    details: dict[str, Any] = {}
    if notification.type in _TOKEN_TYPES or facts.expires_at is not None:
        left = facts.expires_at - notification.at if facts.expires_at is not None else None
        details |= {
            "expiresAt": _time(facts.expires_at),
            "expiresInSeconds": _seconds(left),
            "uncertaintySeconds": _seconds(facts.expires_uncertainty),
            "thresholdSeconds": _seconds(facts.threshold),
        }
    if facts.permissions_lost:
        details["permissionsLost"] = [one_line(name, _MAX_NAME) for name in facts.permissions_lost[:50]]
    if facts.affected is not None:
        details["affected"] = facts.affected
    if facts.reminder:
        details["reminder"] = facts.reminder
    moments = {
        "causeSince": facts.cause_since,
        "lastPassedAt": facts.last_worked_at,
        "lastConclusiveCheckAt": facts.last_evidence_at,
        "lastFailedPostAt": facts.last_failed_post_at,
    }
    details |= {name: _time(moment) for name, moment in moments.items() if moment is not None}
    if facts.failed_posts:
        details["failedPosts"] = facts.failed_posts
    if facts.closed_why is not None:
        details["closedWhy"] = one_line(facts.closed_why, _MAX_NAME)
    return details


def _members(members: Sequence[Connection]) -> dict[str, Any]:
    """Return the connections that a notification is about together; the first of them, for the body is short."""
    if not members:
        return {}
    return {
        "connections": [
            {
                "id": member.platform_id[:300],
                "platform": member.platform[:64],
                "name": one_line(member.name, _MAX_NAME) if member.name else None,
                "account": one_line(member.account, _MAX_NAME),
                "userId": one_line(member.user_id, _MAX_NAME) or None,
                "userName": _user_name(member.user_name),
            }
            for member in members[:_MAX_MEMBERS]
        ]
    }


def _item(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one subject of a digest: its latest document, and the latest of each of its other topics. Short: fifty must fit."""
    last = documents[-1]
    topics = {document["data"]["incident"]["topic"]: document for document in documents}
    topics.pop(last["data"]["incident"]["topic"])
    connection = last["data"]["connection"]
    item: dict[str, Any] = {"connection": None, **_latest(last), "merged": len(documents)}
    if connection:
        item["connection"] = {name: connection.get(name) for name in ("id", "platform", "name", "account", "userName")}
        item["connection"]["name"] = connection["name"] or last["data"]["username"]
    if topics:
        item["others"] = [_latest(document) for document in topics.values()]
    return item


def _latest(document: Mapping[str, Any]) -> dict[str, Any]:
    data = document["data"]
    return {
        "type": document["type"],
        "severity": document["severity"],
        "level": data["level"]["to"],
        "reason": data["reason"]["code"] if data["reason"] else None,
        "incidentKey": data["incident"]["key"],
        "openedAt": data["incident"]["openedAt"],
        "seq": data["seq"],
    }


def _digest_summary(items: Sequence[Mapping[str, Any]], types: Mapping[str, int]) -> str:
    platforms = Counter(item["connection"]["platform"] for item in items if item["connection"])
    where = ", ".join(f"{platform_name(platform)} {count}" for platform, count in platforms.most_common(5))
    many = f"{len(items)} connection{'s' if len(items) != 1 else ''}"
    if set(types) == {EventType.REMINDER.value}:
        what = f"{many} still in trouble"
    else:
        what = f"{many} changed: " + ", ".join(f"{count} {_digest_word(kind)}" for kind, count in types.items())
    return one_line(what + (f" ({where})" if where else "") + ".", _MAX_TEXT)


def _digest_word(kind: str) -> str:
    return "still in trouble" if kind == EventType.REMINDER.value else kind.partition(".")[2].replace("_", " ") or kind


def _monitor(identity: MonitorIdentity) -> dict[str, str]:
    return {"instance": identity.instance[:64], "version": identity.version[:32]}


def _encode(document: Mapping[str, Any]) -> bytes:
    """Return *document* as bytes; a body that is too large loses its labels, which have no bound of their own."""
    body = _bytes(document)
    connection = document["data"].get("connection")
    if len(body) > MAX_BODY and connection:
        connection["labels"] = {}
        body = _bytes(document)
    return body


def _bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _time(at: datetime | None) -> str | None:
    return iso_utc(at) if at is not None else None


def _seconds(duration: timedelta | None) -> int | None:
    return round(duration.total_seconds()) if duration is not None else None
