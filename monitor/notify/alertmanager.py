"""
Type `alertmanager`: alerts for the Alertmanager of Prometheus, which groups, routes, silences and inhibits them.

Alertmanager identifies an alert by its labels, so those stay the same through an incident. Only the severity may change: then the
alert with the old one is resolved in the same request. Alertmanager forgets an alert whose `endsAt` has passed, and all of them when it
restarts, so all open alerts are sent again every minute with an end in an hour: an upgrade of this monitor resolves none, and what
Alertmanager forgot it knows again a minute later.

Source: the OpenAPI specification of its API v2; "Sending alerts" in the documentation of Prometheus.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from monitor.clock import iso_utc
from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.notify.base import Message, OpenAlerts, ReceiverType, Request, ResendPolicy, json_request, result_where
from monitor.notify.chat_message import ChatMessage, read, without_mentions

EVERY = timedelta(minutes=1)
STANDS = timedelta(hours=1)

_PATH = "/api/v2/alerts"
_TEST_STANDS = timedelta(minutes=5)
_NAMES = {
    "connection": "PostPostConnection",
    "expiry": "PostPostToken",
    "renewal": "PostPostTokenRenewal",
    "publishing": "PostPostPublishing",
    "permissions": "PostPostPermissions",
}


def _render(message: Message, settings: ReceiverSettings) -> Request | None:
    chat = read(message.body, settings)
    if chat.why == "notice" and chat.type != "test":
        return None
    previous = read(message.previous, settings) if message.previous is not None else None
    if chat.over:
        # The alert that is firing there ends, whatever the severity of the last message.
        chat = replace(chat, severity=previous.severity) if previous else chat
        return _request([_resolved(chat, message.at)], message.user_agent, settings)
    if previous and previous.over:
        # It is resolved there already; only a message that was sent again by hand comes this late.
        return None
    alerts = [_firing(chat, message.at)]
    if previous and _labels(previous) != _labels(chat):
        alerts.append(_resolved(previous, message.at))
    return _request(alerts, message.user_agent, settings)


def _repeat(alerts_open: OpenAlerts, settings: ReceiverSettings) -> Request | None:
    alerts = [_firing(chat, alerts_open.at) for body in alerts_open.bodies if not (chat := read(body, settings)).over]
    return _request(alerts, alerts_open.user_agent, settings) if alerts else None


def _judge(status: int, _body: bytes) -> AttemptResult:
    """200 alone is success: 400 is for invalid alerts, and any other 2xx comes from another server."""
    return result_where(status, 200)


def _request(alerts: list[dict[str, Any]], user_agent: str, settings: ReceiverSettings) -> Request:
    parts = urlsplit(settings.url.reveal())
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    return json_request(urlunsplit(parts._replace(path=path)), alerts, user_agent, settings)


def _firing(chat: ChatMessage, now: datetime) -> dict[str, Any]:
    return _alert(chat, now + (_TEST_STANDS if chat.type == "test" else STANDS))


def _resolved(chat: ChatMessage, now: datetime) -> dict[str, Any]:
    """Return the alert as resolved: not before it began, nor in a future that would keep it firing."""
    return _alert(chat, max(chat.opened_at, min(chat.at, now) if chat.over else now))


def _alert(chat: ChatMessage, ends_at: datetime) -> dict[str, Any]:
    annotations = {
        "summary": chat.summary,
        "title": chat.title,
        "advice": chat.data.get("advice") or "",
        **{name.lower().replace(" ", "_"): value for name, value in chat.facts},
        "items": "\n".join(chat.lines),
        "reconnect_url": chat.link,
    }
    alert = {
        "labels": _labels(chat),
        "annotations": {name: without_mentions(value) for name, value in annotations.items() if value},
        "startsAt": iso_utc(chat.opened_at),
        "endsAt": iso_utc(ends_at),
    }
    return alert | ({"generatorURL": chat.link} if chat.link else {})


def _labels(chat: ChatMessage) -> dict[str, str]:
    """Return what identifies the alert, without empty labels."""
    data = chat.data
    incident = data.get("incident") or {"topic": chat.type, "key": f"{chat.type}-{chat.id}"}
    scope = f"PostPost{str(data.get('scope', chat.type)).capitalize()}"
    labels = {
        "alertname": _NAMES.get(incident["topic"], scope),
        "severity": chat.severity,
        "account": data.get("account") or "",
        "platform": data.get("platform") or "",
        "platform_id": data.get("platformId") or "",
        "incident": incident["key"],
    }
    return {name: without_mentions(value) for name, value in labels.items() if value}


ALERTMANAGER = ReceiverType(_render, _judge, digests=False, repeat=ResendPolicy(EVERY, _repeat))
