"""`ReceiverType` and the values it is described with."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from monitor.config import ReceiverSettings
from monitor.domain.delivery.retries import AttemptResult, result_of_status
from monitor.errors import DeliveryReason


@dataclass(frozen=True, slots=True)
class Message:
    """
    What one attempt delivers.

    Attributes:
        webhook_id: constant over all attempts.
        body: the stored document, our own JSON (`docs/reference/webhook.md`).
        previous: the document last delivered about the same incident, if any; only for types with a `repeat`.
    """

    webhook_id: str
    body: bytes
    at: datetime
    user_agent: str
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Its `repr` shows nothing: address, headers and body may hold secrets."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """
    Incidents that are open at a receiver, to be sent again.

    Attributes:
        bodies: for each incident that is still open, the last stored document that was delivered about it.
    """

    bodies: Sequence[bytes]
    at: datetime
    user_agent: str


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """
    How open incidents are sent again to a receiver that forgets them.

    Attributes:
        every: how often.
        render: the request for a batch; None when none of it is open.
    """

    every: timedelta
    render: Callable[[OpenAlerts, ReceiverSettings], Request | None]


@dataclass(frozen=True, slots=True)
class ReceiverType:
    """
    One type of receiver.

    Attributes:
        render: the request for a message; None when this type has no form for it, which is not sent. May raise ValueError or
            KeyError for a document that it cannot render.
        judge: what a response means, from its status and the beginning of its body (at most 4 KiB).
        digests: whether digests are sent; not where every incident has an object of its own.
        repeat: for receivers that forget an incident unless it is sent again and again.
        per_second: how many messages a second the service takes, after ten at once; None without a limit of its own.
        blocking: sends a request within so many seconds by other means than our transport; called in a thread. None for HTTP.
    """

    render: Callable[[Message, ReceiverSettings], Request | None]
    judge: Callable[[int, bytes], AttemptResult]
    digests: bool = True
    repeat: ResendPolicy | None = None
    per_second: float | None = None
    blocking: Callable[[Request, float], AttemptResult] | None = None


def json_request(url: str, document: object, user_agent: str, settings: ReceiverSettings, **headers: str) -> Request:
    """Return a request with *document* as its JSON body and the configured headers; *headers* win over those."""
    configured = {name: value.reveal() for name, value in settings.headers.items()}
    own = {"Content-Type": "application/json", "User-Agent": user_agent, **headers}
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Request(url, configured | own, body)


def result_where(status: int, *accepted: int) -> AttemptResult:
    """Return the result of an attempt where only *accepted* mean success: any other 2xx comes from another server."""
    if 200 <= status < 300 and status not in accepted:
        return AttemptResult(DeliveryReason.CLIENT_ERROR)
    return result_of_status(status)


def answer_of(body: bytes) -> Mapping[str, object]:
    """Return the JSON object in a response; empty when it holds none, or is cut off."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def destination(receiver: ReceiverSettings) -> str:
    """Return a hash of where messages for *receiver* end up, so that it is known again under another name; it gives no secret away."""
    keys = [secret.reveal() if secret is not None else "" for secret in (receiver.routing_key, receiver.api_key)]
    return hashlib.sha256("\0".join([receiver.type, receiver.url.reveal(), *keys]).encode()).hexdigest()[:16]


def fingerprint(receiver: ReceiverSettings) -> str:
    """Return a hash that differs between configurations of a receiver; it does not give its secrets away."""
    parts = [receiver.type, receiver.url.reveal(), *(secret.reveal() for secret in receiver.secrets)]
    parts += [f"{name}:{value.reveal()}" for name, value in sorted(receiver.headers.items())]
    # With their names: a receiver without them keeps its fingerprint.
    for name in ("routing_key", "api_key", "template", "proxy"):
        secret = getattr(receiver, name)
        parts += [f"{name}={secret.reveal()}"] if secret is not None else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
