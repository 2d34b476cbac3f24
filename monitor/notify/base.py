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
    What is to be told, for one attempt.

    Attributes:
        webhook_id: constant over all attempts.
        body: the stored document, our own JSON (`docs/reference/webhook.md`).
        at: when this attempt begins, UTC.
        user_agent: how this program names itself.
        previous: the document last delivered about the same incident, if any; only for types with a `repeat`.
    """

    webhook_id: str
    body: bytes
    at: datetime
    user_agent: str
    previous: bytes | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Nothing of it is printed: address, headers and even the body may hold a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class OpenAlerts:
    """
    What stands at a receiver, to be told again.

    Attributes:
        bodies: for each incident that is still open, the last stored document that was delivered about it.
        at: when this attempt begins, UTC.
        user_agent: how this program names itself.
    """

    bodies: Sequence[bytes]
    at: datetime
    user_agent: str


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """
    How a receiver that forgets is kept informed.

    Attributes:
        every: how often everything that stands is told again.
        render: the request that tells a batch of it; None when nothing of it stands.
    """

    every: timedelta
    render: Callable[[OpenAlerts, ReceiverSettings], Request | None]


@dataclass(frozen=True, slots=True)
class ReceiverType:
    """
    One type of receiver.

    Attributes:
        render: the request that tells a message to a receiver; None when there is nothing to tell a receiver of this
            type, which counts as told. May raise ValueError or KeyError for a document it can't tell.
        judge: what an answer means, from its status and the beginning of its body (at most 4 KiB).
        digests: whether a digest makes sense there; where every incident has an object of its own it does not.
        repeat: for receivers that forget an incident unless they are told of it again and again.
    """

    render: Callable[[Message, ReceiverSettings], Request | None]
    judge: Callable[[int, bytes], AttemptResult]
    digests: bool = True
    repeat: ResendPolicy | None = None


def json_request(url: str, document: object, user_agent: str, settings: ReceiverSettings, **headers: str) -> Request:
    """A request with *document* as its JSON body and the configured headers; *headers* win over those."""
    configured = {name: value.reveal() for name, value in settings.headers.items()}
    own = {"Content-Type": "application/json", "User-Agent": user_agent, **headers}
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Request(url, configured | own, body)


def result_where(status: int, *accepted: int) -> AttemptResult:
    """The result of an attempt answered with *status*, where only *accepted* mean success: any other 2xx came from somebody else."""
    if 200 <= status < 300 and status not in accepted:
        return AttemptResult(DeliveryReason.CLIENT_ERROR)
    return result_of_status(status)


def answer_of(body: bytes) -> Mapping[str, object]:
    """A JSON object that was answered; empty when the answer is none, or was cut off."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def fingerprint(receiver: ReceiverSettings) -> str:
    """What tells one configuration of a receiver from another without telling its secrets."""
    parts = [receiver.type, receiver.url.reveal(), *(secret.reveal() for secret in receiver.secrets)]
    parts += [f"{name}:{value.reveal()}" for name, value in sorted(receiver.headers.items())]
    # Named, so that the fingerprint of a receiver without them stays what it was.
    for name in ("routing_key", "api_key", "template"):
        secret = getattr(receiver, name)
        parts += [f"{name}={secret.reveal()}"] if secret is not None else []
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
