"""Type `webhook`: the stored document as it is, or filled into a template, with the headers of Standard Webhooks."""

import json

from standardwebhooks import Webhook

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, result_of_status
from monitor.notify.base import Message, ReceiverType, Request
from monitor.notify.chat_message import personal
from monitor.notify.filling import fill


def _render(message: Message, settings: ReceiverSettings) -> Request:
    """
    Return the request for *message*: its exact bytes or the filled template, signed with every secret of the receiver, so that secrets can be rotated.

    Source: Standard Webhooks, "Webhook headers" and "Signature scheme".
    """
    body = _body(message.body, settings)
    headers = {name: value.reveal() for name, value in settings.headers.items()}
    headers |= {
        "Content-Type": "application/json",
        "User-Agent": message.user_agent,
        "webhook-id": message.webhook_id,
        "webhook-timestamp": str(int(message.at.timestamp())),
    }
    if settings.secrets:
        text = body.decode()
        # The library takes the digits of the time as UTC whatever its zone; `at` is UTC.
        signatures = [Webhook(secret.reveal()).sign(message.webhook_id, message.at, text) for secret in settings.secrets]
        headers["webhook-signature"] = " ".join(signatures)
    return Request(settings.url.reveal(), headers, body)


def _body(stored: bytes, settings: ReceiverSettings) -> bytes:
    """The stored document as it is, unless the receiver has a template or texts of its own."""
    if settings.template is not None:
        return fill(settings.template.reveal(), personal(json.loads(stored), settings))
    if not settings.title and not settings.text and settings.timezone == "UTC":
        return stored
    document = personal(json.loads(stored), settings)
    kept = {name: value for name, value in document.items() if name != "title" or settings.title}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _judge(status: int, _body: bytes) -> AttemptResult:
    """Only the status counts: 2xx is success."""
    return result_of_status(status)


WEBHOOK = ReceiverType(_render, _judge)
