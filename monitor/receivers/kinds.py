"""The values that every type of receiver is described with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from monitor.config import ReceiverSettings
from monitor.domain.retries import Result


@dataclass(frozen=True, slots=True)
class Message:
    """
    What is to be told, for one attempt.

    Attributes:
        webhook_id: constant over all attempts.
        body: the stored document, our own JSON (`docs/webhook.md`).
        at: when this attempt begins, UTC.
        user_agent: how this program names itself.
    """

    webhook_id: str
    body: bytes
    at: datetime
    user_agent: str


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Nothing of it is printed: address, headers and even the body may hold a secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Kind:
    """
    One type of receiver.

    Attributes:
        render: the request that tells a message to a receiver. May raise ValueError or KeyError for a document it can't tell.
        judge: what an answer means, from its status and the beginning of its body (at most 4 KiB).
        digests: whether a digest makes sense there; where every incident has an object of its own it does not.
    """

    render: Callable[[Message, ReceiverSettings], Request]
    judge: Callable[[int, bytes], Result]
    digests: bool = True
