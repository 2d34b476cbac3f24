"""What a webhook receiver got: the deliveries as values, and a comparison of wanted and received for people."""

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from standardwebhooks.webhooks import Webhook

MISSING = "-"


class Signature(StrEnum):
    """Whether a delivery was signed with the receiver's secret."""

    VALID = "valid"
    INVALID = "invalid"
    ABSENT = "absent"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Received:
    """
    One delivery as it arrived.

    Attributes:
        received_at: by the receiver's clock.
        headers: names in lower case.
        body: the bytes as they came.
        document: the body as JSON; None when it is none.
        signature: `unchecked` when the receiver has no secret.
        status: what it was answered with; 0 for no answer.
    """

    received_at: datetime
    path: str
    headers: dict[str, str]
    body: bytes
    document: Any
    signature: Signature
    status: int

    @property
    def webhook_id(self) -> str:
        """The `webhook-id` header; empty when there is none."""
        return self.headers.get("webhook-id", "")

    @property
    def type(self) -> str:
        """The `type` of the event; `?` when the body is no event of ours."""
        kind = self.document.get("type") if isinstance(self.document, dict) else None
        return kind if isinstance(kind, str) else "?"

    @property
    def data(self) -> dict[str, Any]:
        """The event's `data`; empty when there is none."""
        data = self.document.get("data") if isinstance(self.document, dict) else None
        return data if isinstance(data, dict) else {}

    @property
    def accepted(self) -> bool:
        """Whether it was answered with success, so that it counts as delivered."""
        return 200 <= self.status < 300

    @property
    def summary(self) -> str:
        """The event's one line for people; empty when there is none."""
        places = (self.document if isinstance(self.document, dict) else {}, self.data)
        return next((text for place in places if isinstance(text := place.get("summary"), str)), "")


def check(secret: str | None, headers: dict[str, str], body: bytes) -> Signature:
    """
    Whether *headers* sign *body* with *secret*. The age of the timestamp is not judged.

    Source: Standard Webhooks, "Signature scheme".
    """
    if secret is None:
        return Signature.UNCHECKED
    given = headers.get("webhook-signature", "")
    if not given:
        return Signature.ABSENT
    try:
        at = datetime.fromtimestamp(int(headers.get("webhook-timestamp", "")), UTC)
        wanted = Webhook(secret).sign(headers.get("webhook-id", ""), at, body.decode())
    except (ValueError, OverflowError, OSError):
        return Signature.INVALID
    return Signature.VALID if wanted in given.split(" ") else Signature.INVALID


def parsed(body: bytes) -> Any:
    """The body as JSON; None when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def firsts(deliveries: Iterable[Received]) -> list[Received]:
    """The first delivery of each webhook id, in order; those without an id count each."""
    seen: set[str] = set()
    kept = []
    for delivery in deliveries:
        if delivery.webhook_id and delivery.webhook_id in seen:
            continue
        seen.add(delivery.webhook_id)
        kept.append(delivery)
    return kept


def side_by_side(wanted: Sequence[str], received: Sequence[Received]) -> str:
    """Two columns, wanted and received, aligned; lines that differ are marked."""
    types = [delivery.type for delivery in received]
    rows = [("wanted", "received")]
    for tag, low, high, start, end in difflib.SequenceMatcher(a=list(wanted), b=types, autojunk=False).get_opcodes():
        left = list(wanted[low:high])
        right = [_line(delivery) for delivery in received[start:end]]
        length = max(len(left), len(right))
        left += [MISSING] * (length - len(left))
        right += [MISSING] * (length - len(right))
        mark = "  " if tag == "equal" else "! "
        rows += [(mark + one, other) for one, other in zip(left, right, strict=True)]
    width = max(len(one) for one, _ in rows)
    return "\n".join(f"{one:<{width}}  {other}" for one, other in rows)


def _line(delivery: Received) -> str:
    at = delivery.received_at.strftime("%H:%M:%S.%f")[:-3]
    return f"{delivery.type}  {at}  {delivery.status}  {delivery.summary}".rstrip()
