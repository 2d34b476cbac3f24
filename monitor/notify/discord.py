"""
Type `discord`: an embed through a channel's webhook.

Markdown has a meaning nearly everywhere in an embed, so every character that could begin some is escaped; mentions are switched off.

Source: Discord, "Execute Webhook", "Embed Limits", "Allowed Mentions Object", "Rate Limits", "JSON Error Codes".
"""

import re
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, ReceiverType, Request, answer_of, json_request, result_where
from monitor.notify.chat_message import read, truncated

_TITLE = 256
# All texts of an embed together may have 6,000 characters.
_DESCRIPTION = 3500
_VALUE = 250
_LINK = 1024
_FOOTER = 300
_COLOURS = {"critical": 0xD92D20, "warning": 0xF79009, "info": 0x2E90FA}
_OVER = 0x12B76A
_UNKNOWN_WEBHOOK = 10015
_MARKUP = re.compile(r"[\\*_~`|>#\[\]()<@:\-]")


def _render(message: Message, settings: ReceiverSettings) -> Request:
    chat = read(message.body)
    text = truncated(chat.summary, _DESCRIPTION, _escape)
    if chat.lines:
        text = truncated("\n".join((chat.summary, *(f"• {line}" for line in chat.lines))), _DESCRIPTION, _escape)
    fields = [{"name": name, "value": truncated(value, _VALUE, _escape), "inline": True} for name, value in chat.facts]
    fields += [{"name": text, "value": url, "inline": False} for text, url in chat.links if len(url) <= _LINK]
    embed: dict[str, Any] = {
        "title": truncated(f"{chat.mark} {chat.title}", _TITLE, _escape),
        "description": text,
        "color": _OVER if chat.over else _COLOURS.get(chat.severity, _COLOURS["info"]),
        "timestamp": chat.at.astimezone(UTC).isoformat(),
        "fields": fields,
        # A footer is shown as it is.
        "footer": {"text": truncated(" · ".join(filter(None, (chat.source, chat.key))), _FOOTER)},
    }
    document = {"embeds": [embed], "allowed_mentions": {"parse": []}}
    return json_request(settings.url.reveal(), document, message.user_agent, settings)


def _escape(text: str) -> str:
    return _MARKUP.sub(r"\\\g<0>", text)


def _judge(status: int, body: bytes) -> AttemptResult:
    """204 is success (200 where the address says `wait=true`). How long to wait is in the body, to the millisecond."""
    answer = answer_of(body)
    if status == 404 and answer.get("code") == _UNKNOWN_WEBHOOK:
        return AttemptResult(DeliveryReason.GONE)
    result = result_where(status, 200, 204)
    wait = answer.get("retry_after")
    if status == 429 and isinstance(wait, int | float) and 0 <= wait < 1e6:
        return replace(result, retry_after=timedelta(seconds=wait))
    return result


DISCORD = ReceiverType(_render, _judge, per_second=1.0)
