"""
Type `alertmanager`: alerts for the Alertmanager of Prometheus, which groups, routes, silences and inhibits them.

Alertmanager knows an alert by its labels alone, so those stay the same through an incident. What must change with the urgency
is the severity: then the alert with the old one is resolved in the same request. It forgets an alert whose `endsAt` has
passed, and all of them when it restarts, so everything that stands is sent again every minute, good for an hour: an update of
this monitor resolves nothing, and what Alertmanager forgot it knows again a minute later.

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
    story = read(message.body)
    if story.why == "notice" and story.type != "test":
        return None
    previous = read(message.previous) if message.previous is not None else None
    if story.over:
        # What ends is what is firing there, whatever severity its end is told with.
        story = replace(story, severity=previous.severity) if previous else story
        return _request([_over(story, message.at)], message.user_agent, settings)
    if previous and previous.over:
        # It ended there already; only a message that was sent again by hand comes this late.
        return None
    alerts = [_firing(story, message.at)]
    if previous and _labels(previous) != _labels(story):
        alerts.append(_over(previous, message.at))
    return _request(alerts, message.user_agent, settings)


def _repeat(standing: OpenAlerts, settings: ReceiverSettings) -> Request | None:
    alerts = [_firing(story, standing.at) for story in map(read, standing.bodies) if not story.over]
    return _request(alerts, standing.user_agent, settings) if alerts else None


def _judge(status: int, _body: bytes) -> AttemptResult:
    """200 alone: 400 is for alerts it finds invalid, and any other 2xx came from somebody else."""
    return result_where(status, 200)


def _request(alerts: list[dict[str, Any]], user_agent: str, settings: ReceiverSettings) -> Request:
    parts = urlsplit(settings.url.reveal())
    path = parts.path.rstrip("/")
    if not path.endswith(_PATH):
        path += _PATH
    return json_request(urlunsplit(parts._replace(path=path)), alerts, user_agent, settings)


def _firing(story: ChatMessage, now: datetime) -> dict[str, Any]:
    return _alert(story, now + (_TEST_STANDS if story.type == "test" else STANDS))


def _over(story: ChatMessage, now: datetime) -> dict[str, Any]:
    """The alert as resolved: never before it began, nor in a future that would keep it firing."""
    return _alert(story, max(story.opened_at, min(story.at, now) if story.over else now))


def _alert(story: ChatMessage, ends_at: datetime) -> dict[str, Any]:
    annotations = {
        "summary": story.summary,
        "title": story.title,
        "advice": story.data.get("advice") or "",
        **{name.lower().replace(" ", "_"): value for name, value in story.facts},
        "items": "\n".join(story.lines),
        "reconnect_url": story.link,
    }
    alert = {
        "labels": _labels(story),
        "annotations": {name: without_mentions(value) for name, value in annotations.items() if value},
        "startsAt": iso_utc(story.opened_at),
        "endsAt": iso_utc(ends_at),
    }
    return alert | ({"generatorURL": story.link} if story.link else {})


def _labels(story: ChatMessage) -> dict[str, str]:
    """What identifies the alert. An empty label is no label."""
    data = story.data
    incident = data.get("incident") or {"topic": story.type, "key": f"{story.type}-{story.id}"}
    scope = f"PostPost{str(data.get('scope', story.type)).capitalize()}"
    labels = {
        "alertname": _NAMES.get(incident["topic"], scope),
        "severity": story.severity,
        "account": data.get("account") or "",
        "platform": data.get("platform") or "",
        "platform_id": data.get("platformId") or "",
        "incident": incident["key"],
    }
    return {name: without_mentions(value) for name, value in labels.items() if value}


ALERTMANAGER = ReceiverType(_render, _judge, digests=False, repeat=ResendPolicy(EVERY, _repeat))
