"""
Type `pagerduty`: events of the Events API v2. An incident of ours is an alert there, found again by its key.

Source: PagerDuty, Events API v2 (OpenAPI schema; "PD-CEF": summary 1,024 characters, `dedup_key` 255).
"""

from datetime import UTC

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.domain.events import Severity
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, ReceiverType, Request, json_request, result_where
from monitor.notify.chat_message import ChatMessage, read, truncated, without_mentions

_SUMMARY = 1024
_KEY = 255
_FIELD = 255
_CLIENT = "postpost-monitor"


def _render(message: Message, settings: ReceiverSettings) -> Request | None:
    story = read(message.body)
    if story.why == "notice" and story.type != "test":
        return None
    if settings.routing_key is None:
        raise ValueError("there is no routing_key")
    event: dict[str, object] = {"routing_key": settings.routing_key.reveal(), "dedup_key": (story.key or story.id)[:_KEY]}
    if story.over:
        event["event_action"] = "resolve"
    else:
        event |= {"event_action": "trigger", "client": _CLIENT, "payload": _payload(story)}
        if story.link:
            event |= {"client_url": story.link, "links": [{"href": story.link, "text": "Reconnect the account"}]}
    return json_request(settings.url.reveal(), event, message.user_agent, settings)


def _payload(story: ChatMessage) -> dict[str, object]:
    data = story.data
    payload: dict[str, object] = {
        "summary": truncated(without_mentions(story.summary), _SUMMARY),
        "timestamp": story.at.astimezone(UTC).isoformat(),
        "severity": story.severity if story.severity in set(Severity) else "error",
        "source": truncated(without_mentions(data.get("platformId") or story.who), _FIELD),
        "class": story.type,
        "custom_details": {
            **{name.lower(): without_mentions(value) for name, value in story.facts},
            "incident began": story.opened_at.astimezone(UTC).isoformat(),
            "what to do": without_mentions(data.get("advice") or ""),
            **({"connections": [without_mentions(line) for line in story.lines]} if story.lines else {}),
            "monitor": data["monitor"]["instance"],
        },
    }
    places = {"component": data.get("platform"), "group": data.get("account")}
    return payload | {name: truncated(without_mentions(value), _FIELD) for name, value in places.items() if value}


def _judge(status: int, body: bytes) -> AttemptResult:
    """202 alone is success. A 400 that is about the key is no fault of the message: no other one would be taken either."""
    if status == 400 and b"routing" in body.lower():
        return AttemptResult(DeliveryReason.AUTH_ERROR)
    return result_where(status, 202)


PAGERDUTY = ReceiverType(_render, _judge, digests=False)
