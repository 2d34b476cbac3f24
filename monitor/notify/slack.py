"""
Type `slack`: messages of Block Kit through an incoming webhook.

Third-party text goes into `plain_text`, where Slack reads no markup, with the three characters escaped that have a meaning
everywhere. The one text with markup are the links, which are ours.

Source: Slack, "Sending messages using incoming webhooks", "Formatting message text", "Blocks" (limits).
"""

from typing import Any
from urllib.parse import quote

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, ReceiverType, Request, json_request, result_where
from monitor.notify.chat_message import read, truncated

_HEADER = 150
_SECTION = 3000
_FIELD = 2000
_CONTEXT = 300
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# The webhook was deleted, or its workspace was: no later attempt can succeed.
_GONE = frozenset({b"no_service", b"no_team"})
_IN_ADDRESSES = "%/:?#[]@!$&'()*+,;=~"


def _render(message: Message, settings: ReceiverSettings) -> Request:
    chat = read(message.body)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(f"{chat.mark} {chat.title}", _HEADER)},
        {"type": "section", "text": _plain(chat.summary, _SECTION)},
    ]
    if chat.facts:
        blocks.append({"type": "section", "fields": [_plain(f"{name}: {value}", _FIELD) for name, value in chat.facts]})
    if chat.lines:
        blocks.append({"type": "section", "text": _plain("\n".join(chat.lines), _SECTION)})
    links = [f"<{quote(url, safe=_IN_ADDRESSES).replace('&', '&amp;')}|{text}>" for text, url in chat.links]
    if links:
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": " · ".join(links)}})
    blocks.append({"type": "context", "elements": [_plain(" · ".join(filter(None, (chat.source, chat.key))), _CONTEXT)]})
    document = {
        "text": truncated(chat.headline, _SECTION, _escape),
        "mrkdwn": False,
        "link_names": False,
        "parse": "none",
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": blocks,
    }
    return json_request(settings.url.reveal(), document, message.user_agent, settings)


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": truncated(text, limit, _escape), "emoji": False}


def _escape(text: str) -> str:
    return text.translate(_ESCAPES)


def _judge(status: int, body: bytes) -> AttemptResult:
    """200 is success. The text of a 404 says which error it is."""
    if status == 404 and body.strip() in _GONE:
        return AttemptResult(DeliveryReason.GONE)
    return result_where(status, 200)


SLACK = ReceiverType(_render, _judge, per_second=1.0)
