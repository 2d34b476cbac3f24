"""
Type `apprise`: e-mail, ntfy, Telegram, Matrix and whatever else the library Apprise knows by an address.

The library is an optional extra, imported here and only when such a receiver is configured. It blocks, so it is called in a thread. It
says whether all targets of the address took a message, and not why one did not: of its log, which holds addresses, only an HTTP status and
whether there was a connection are read.

Source: Apprise 2.3, `Apprise.instantiate`, `AppriseAsset`, `NotifyBase.notify`.
"""

import json
import logging
import re
import threading
from typing import Any

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, reason_of_status
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, ReceiverType, Request
from monitor.notify.chat_message import read, without_mentions

_STATUS = re.compile(r"error=([1-5]\d\d)\b")
_TYPES = {"critical": "failure", "warning": "warning"}
_UNKNOWN = "it was not delivered to all targets; the library says no more"
_LOGGER = logging.getLogger("apprise")
_LOGGERS = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


def address_problem(url: str) -> tuple[str, str] | None:
    """What is wrong with the address of a receiver, and what to do; None if nothing is, or the library is not installed."""
    try:
        plugin = _plugin(url, 1.0)
    except ImportError:
        return None
    return ("is not an address that Apprise understands", "such as ntfys://ntfy.example.org/topic") if plugin is None else None


def _render(message: Message, settings: ReceiverSettings) -> Request:
    """Return title, body and type of *message* as JSON: what the library is called with."""
    chat = read(message.body, settings)
    lines = [chat.summary, "", *(f"{name}: {value}" for name, value in chat.facts), *chat.lines]
    if chat.link:
        lines.append(f"Reconnect the account: {chat.link}")
    lines.append(" · ".join(filter(None, (chat.source, chat.key, message.webhook_id))))
    document = {
        "title": without_mentions(f"{chat.mark} {chat.title}"),
        "body": without_mentions("\n".join(lines)),
        "type": "success" if chat.over else _TYPES.get(chat.severity, "info"),
    }
    return Request(settings.url.reveal(), {}, json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"))


def _send(request: Request, seconds: float) -> AttemptResult:
    """Send *request*; blocks, for a multiple of *seconds* where the address has several targets."""
    plugin = _plugin(request.url, seconds)
    if plugin is None:
        return AttemptResult(DeliveryReason.ADDRESS_REFUSED, detail="Apprise does not understand the address", sent=False)
    document = json.loads(request.body)
    _seen.clear()
    if plugin.notify(body=document["body"], title=document["title"], notify_type=document["type"], body_format="text"):
        return AttemptResult(DeliveryReason.DELIVERED)
    if _seen.status is not None:
        # Perhaps of one target among several: the message itself is not known to be at fault.
        return AttemptResult(reason_of_status(_seen.status), http_status=_seen.status, detail=f"answered {_seen.status}")
    if _seen.unreachable:
        return AttemptResult(DeliveryReason.UNREACHABLE, detail="no connection")
    return AttemptResult(DeliveryReason.UNKNOWN, detail=_UNKNOWN)


def _plugin(url: str, seconds: float) -> Any:
    """The library's object for *url*; None if it understands no such address."""
    import apprise  # noqa: PLC0415 - an optional extra, which takes long to import

    if _LOGGER.propagate:
        # At other levels, and in the log of the program, they would print addresses and messages.
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)
        _LOGGER.handlers, _LOGGER.propagate = [_LogReader()], False
    asset = apprise.AppriseAsset(app_id="postpost-monitor", storage_mode="memory", async_mode=False, http_redirects=False)
    plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    if plugin is not None:
        plugin.socket_connect_timeout = plugin.socket_read_timeout = seconds
    return plugin


class _Seen(threading.local):
    """What the library's log said in this thread: a status that is a failure, and whether there was no connection."""

    status: int | None = None
    unreachable = False

    def clear(self) -> None:
        """Forget the last message."""
        self.status, self.unreachable = None, False


_seen = _Seen()


class _LogReader(logging.Handler):
    """Takes from the library's log what is no secret, and drops the rest."""

    def emit(self, record: logging.LogRecord) -> None:
        """Read one record."""
        text = record.getMessage()
        found = _STATUS.search(text)
        if found is not None and not 200 <= int(found[1]) < 300:
            _seen.status = int(found[1])
        _seen.unreachable = _seen.unreachable or "onnection error" in text


def _judge(_status: int, _body: bytes) -> AttemptResult:
    raise NotImplementedError("the library reads the responses")


APPRISE = ReceiverType(_render, _judge, per_second=1.0, blocking=_send)
