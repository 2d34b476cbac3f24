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
    chat = read(message.body, settings)
    if chat.is_comment:
        return None
    if settings.routing_key is None:
        raise ValueError("there is no routing_key")
    event: dict[str, object] = {"routing_key": settings.routing_key.reveal(), "dedup_key": (chat.key or chat.id)[:_KEY]}
    if chat.over:
        event["event_action"] = "resolve"
    else:
        event |= {"event_action": "trigger", "client": _CLIENT, "payload": _payload(chat)}
        if links := [{"href": url, "text": text} for text, url in chat.links]:
            event |= {"client_url": links[0]["href"], "links": links}
    return json_request(settings.url.reveal(), event, message.user_agent, settings)


def _payload(chat: ChatMessage) -> dict[str, object]:
    data = chat.data
    payload: dict[str, object] = {
        "summary": truncated(without_mentions(chat.headline), _SUMMARY),
        "timestamp": chat.at.astimezone(UTC).isoformat(),
        "severity": chat.severity if chat.severity in set(Severity) else "error",
        "source": truncated(without_mentions(data.get("platformId") or chat.who), _FIELD),
        "class": chat.type,
        "custom_details": {
            **{name.lower(): without_mentions(value) for name, value in chat.facts},
            "summary": without_mentions(chat.summary),
            "incident began": chat.opened_at.astimezone(UTC).isoformat(),
            "what to do": without_mentions(data.get("advice") or ""),
            **({"connections": [without_mentions(line) for line in chat.lines]} if chat.lines else {}),
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


PAGERDUTY = ReceiverType(_render, _judge, digests=False, per_second=1.0)
