"""
Type `teams`: an Adaptive Card for a workflow of Microsoft Teams ("Post to a channel when a webhook request is received").

All texts are runs in rich text blocks: those know no Markdown, and without an `entities` list nobody can be mentioned.

Source: Adaptive Cards 1.4, "RichTextBlock" and "TextRun"; Microsoft Teams, "Create and send messages", "Webhooks and
connectors" (28 KB; errors that are answered with 200 and a text).
"""

import re
from typing import Any

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, result_of_status
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, ReceiverType, Request, json_request, result_where
from monitor.notify.chat_message import read, truncated

_TITLE = 200
_TEXT = 600
_COLOURS = {"critical": "attention", "warning": "warning", "info": "accent"}
_HIDDEN_STATUS = re.compile(rb"HTTP error (\d{3})", re.IGNORECASE)
_HIDDEN_FAILURE = re.compile(rb"delivery failed|\bText is required", re.IGNORECASE)
# A workflow that is switched off answers 400, which has nothing to do with the message.
_OFF = b"WorkflowTriggerIsNotEnabled"


def _render(message: Message, settings: ReceiverSettings) -> Request:
    chat = read(message.body)
    colour = "good" if chat.over else _COLOURS.get(chat.severity, "accent")
    title = _run(f"{chat.mark} {chat.title}", _TITLE, weight="bolder", size="medium", color=colour)
    body = [_block(title), _block(_run(chat.summary, _TEXT))]
    body += [_block(_run(f"{name}: ", _TITLE, weight="bolder"), _run(value, _TEXT)) for name, value in chat.facts]
    body += [_block(_run(f"• {line}", _TITLE)) for line in chat.lines]
    body.append(_block(_run(" · ".join(filter(None, (chat.source, chat.key))), _TEXT, size="small", isSubtle=True)))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": body,
    }
    if actions := [{"type": "Action.OpenUrl", "title": text, "url": url} for text, url in chat.links]:
        card["actions"] = actions
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return json_request(settings.url.reveal(), {"type": "message", "attachments": [attachment]}, message.user_agent, settings)


def _block(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, limit: int, **style: object) -> dict[str, Any]:
    # Cards replace {{DATE(...)}} and its like by the time.
    return {"type": "TextRun", "text": truncated(text, limit).replace("{{", "{ {"), **style}


def _judge(status: int, body: bytes) -> AttemptResult:
    """202 is success, and so is 200 unless its text tells of an error."""
    if status == 400 and _OFF in body:
        return AttemptResult(DeliveryReason.CLIENT_ERROR)
    if status in {200, 202}:
        hidden = _HIDDEN_STATUS.search(body)
        if hidden and not 200 <= int(hidden[1]) < 300:
            return result_of_status(int(hidden[1]))
        if _HIDDEN_FAILURE.search(body):
            return AttemptResult(DeliveryReason.SERVER_ERROR)
    return result_where(status, 200, 202)


TEAMS = ReceiverType(_render, _judge, per_second=1.0)
