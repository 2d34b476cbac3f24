"""
Type `opsgenie`: alerts of the Alert API, created and closed by their alias, the incident's key.

Opsgenie shows HTML in what it is sent, hence no angle brackets.

Source: Opsgenie, Alert API, "Create Alert" (limits) and "Close Alert".
"""

from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult
from monitor.notify.base import Message, ReceiverType, Request, json_request, result_where
from monitor.notify.chat_message import ChatMessage, read, truncated, without_mentions

_MESSAGE = 130
_ALIAS = 512
_DESCRIPTION = 15_000
_ENTITY = 512
_TAG = 50
_DETAIL = 500
_NOTE = 25_000
_PRIORITIES = {"critical": "P1", "warning": "P3", "info": "P5"}
_CLIENT = "postpost-monitor"


def _render(message: Message, settings: ReceiverSettings) -> Request | None:
    chat = read(message.body, settings)
    if chat.is_comment:
        return None
    if settings.api_key is None:
        raise ValueError("there is no api_key")
    alias = (chat.key or chat.id)[:_ALIAS]
    url, document = settings.url.reveal(), _alert(chat, alias)
    if chat.over:
        url, document = (
            _closing(url, alias),
            {"source": _CLIENT, "user": _CLIENT, "note": truncated(without_mentions(chat.summary), _NOTE)},
        )
    return json_request(url, document, message.user_agent, settings, Authorization=f"GenieKey {settings.api_key.reveal()}")


def _alert(chat: ChatMessage, alias: str) -> dict[str, Any]:
    data = chat.data
    details = {name.lower(): value for name, value in chat.facts}
    details |= {
        "incident": chat.key,
        "reconnect": chat.link,
        "page": chat.page,
        "runbook": chat.runbook,
        "monitor": data["monitor"]["instance"],
        "type": chat.type,
    }
    tags = ["postpost", chat.severity, data.get("platform") or ""]
    return {
        "message": truncated(without_mentions(chat.headline), _MESSAGE),
        "alias": alias,
        "description": truncated(
            without_mentions("\n".join(part for part in (chat.summary, *chat.lines, *(url for _, url in chat.links)) if part)), _DESCRIPTION
        ),
        "details": {name: truncated(without_mentions(value), _DETAIL) for name, value in details.items() if value},
        "entity": truncated(without_mentions(data.get("platformId") or chat.who), _ENTITY),
        "source": _CLIENT,
        "user": _CLIENT,
        "priority": _PRIORITIES.get(chat.severity, "P3"),
        "tags": [truncated(without_mentions(tag), _TAG) for tag in tags if tag],
    }


def _closing(url: str, alias: str) -> str:
    parts = urlsplit(url)
    path = f"{parts.path.rstrip('/')}/{quote(alias, safe='')}/close"
    return urlunsplit(parts._replace(path=path, query="identifierType=alias"))


def _judge(status: int, _body: bytes) -> AttemptResult:
    """202 alone is success: requests are worked off later."""
    return result_where(status, 202)


OPSGENIE = ReceiverType(_render, _judge, digests=False, per_second=1.0)
