"""
Type `alertmanager`: alerts for the Alertmanager of Prometheus, which groups, routes, silences and inhibits them.

Alertmanager identifies an alert by its labels, so those stay the same through an incident. Only severity and level may change: then the
alert with the old ones is resolved in the same request. They are those that the rules in `deploy/prometheus` give it, so that an
Alertmanager which gets both has one alert. Alertmanager forgets an alert whose `endsAt` has passed, and all of them when it
restarts, so all open alerts are sent again every minute with an end in an hour: an upgrade of this monitor resolves none, and what
Alertmanager forgot it knows again a minute later.

Source: the OpenAPI specification of its API v2; "Sending alerts" in the documentation of Prometheus.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from monitor.clock import iso_utc
from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.domain.events import FINE
from monitor.domain.reasons import Scope
from monitor.domain.views.alert_labels import IncidentLabels, alert_name
from monitor.notify.base import Message, OpenAlerts, ReceiverType, Request, ResendPolicy, json_request, result_where
from monitor.notify.chat_message import ChatMessage, read, without_mentions

EVERY = timedelta(minutes=1)
STANDS = timedelta(hours=1)

_PATH = "/api/v2/alerts"
_TEST_STANDS = timedelta(minutes=5)


def labels_of(body: bytes, settings: ReceiverSettings) -> dict[str, str]:
    """Return the labels of the alert that the stored document *body* becomes."""
    return _labels(read(body, settings))


def _render(message: Message, settings: ReceiverSettings) -> Request | None:
    chat = read(message.body, settings)
    if chat.is_comment:
        return None
    previous = read(message.previous, settings) if message.previous is not None else None
    if chat.over:
        # The alert that is firing there ends, whatever the last message says.
        return _request([_resolved(chat, message.at, _labels(previous or chat))], message.user_agent, settings)
    if previous and previous.over:
        # It is resolved there already; only a message that was sent again by hand comes this late.
        return None
    alerts = [_firing(chat, message.at)]
    if previous and _labels(previous) != _labels(chat):
        alerts.append(_resolved(previous, message.at, _labels(previous)))
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
    return _alert(chat, now + (_TEST_STANDS if chat.type == "test" else STANDS), _labels(chat))


def _resolved(chat: ChatMessage, now: datetime, labels: dict[str, str]) -> dict[str, Any]:
    """Return the alert with these *labels* as resolved: not before it began, nor in a future that would keep it firing."""
    return _alert(chat, max(chat.opened_at, min(chat.at, now) if chat.over else now), labels)


def _alert(chat: ChatMessage, ends_at: datetime, labels: dict[str, str]) -> dict[str, Any]:
    annotations = {
        "summary": chat.summary,
        "title": chat.title,
        "advice": chat.data.get("advice") or "",
        **{name.lower().replace(" ", "_"): value for name, value in chat.facts},
        "items": "\n".join(chat.lines),
        "reconnect_url": chat.link,
        "incident": chat.key,
        "runbook_url": chat.data.get("runbookUrl") or "",
    }
    alert = {
        "labels": labels,
        "annotations": {name: without_mentions(value) for name, value in annotations.items() if value},
        "startsAt": iso_utc(chat.opened_at),
        "endsAt": iso_utc(ends_at),
    }
    return alert | ({"generatorURL": link} if (link := chat.page or chat.link) else {})


def _labels(chat: ChatMessage) -> dict[str, str]:
    """Return what identifies the alert, without empty labels: the same as the rules in `deploy/prometheus` give it."""
    monitor = chat.data["monitor"]["instance"]
    if "incident" not in chat.data:
        return {"alertname": f"Postpost{chat.type.capitalize()}", "monitor": monitor, "severity": chat.severity}
    labels = _incident_labels(chat.data, chat.severity)
    # Ids are limited to characters that do no harm, and an "@" is one of them.
    known = {name: value if name == "platform_id" else without_mentions(value) for name, value in labels._asdict().items() if value.strip()}
    return {"alertname": alert_name(labels), "monitor": monitor, **known}


def _incident_labels(data: Mapping[str, Any], severity: str) -> IncidentLabels:
    scope, level = Scope(data["scope"]), data["level"]["to"]
    level = level if level != FINE else data["level"]["from"]
    connection = data["connection"]
    if connection is None:
        return IncidentLabels.of_scope(data["incident"]["subject"], scope, level, severity)
    owner = (connection["account"], connection["userId"] or "", connection["platform"], connection["id"])
    return IncidentLabels(data["incident"]["topic"], scope.value, "", level, severity, *owner)


ALERTMANAGER = ReceiverType(_render, _judge, digests=False, repeat=ResendPolicy(EVERY, _repeat))
