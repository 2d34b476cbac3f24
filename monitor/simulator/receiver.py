"""A webhook receiver."""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from monitor.clock import Clock, SystemClock
from monitor.simulator.actions import Body, InvalidRequest, sequence
from monitor.simulator.faults import Fault, FaultKind, FaultScript, describe
from monitor.simulator.http import LocalServer

HOOK = "/hook"
_HELP = (
    "A webhook receiver. POST to any path, then:\n"
    "  curl http://{host}/_received                    list deliveries (?last=20)\n"
    '  curl -X POST http://{host}/_behave -d \'{{"steps": [{{"do": "answer", "status": 503, "times": 2}}, {{"do": "normal"}}]}}\'\n'
    "  curl -X POST http://{host}/_clear               forget them\n"
)


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
        headers: names in lower case.
        document: the body as JSON; None when it is not JSON.
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
        """The `type` of the notification; `?` when there is none."""
        kind = self.document.get("type") if isinstance(self.document, dict) else None
        return kind if isinstance(kind, str) else "?"

    @property
    def data(self) -> dict[str, Any]:
        """The notification's `data`; empty when there is none."""
        data = self.document.get("data") if isinstance(self.document, dict) else None
        return data if isinstance(data, dict) else {}

    @property
    def accepted(self) -> bool:
        """Whether it was answered with success."""
        return 200 <= self.status < 300

    @property
    def summary(self) -> str:
        """The notification's sentence; empty when there is none."""
        places = (self.document if isinstance(self.document, dict) else {}, self.data)
        return next((text for place in places if isinstance(text := place.get("summary"), str)), "")


class ReceiverServer:
    """
    Takes every POST, on any path, and answers 204 unless it has a fault to act out.

    Attributes:
        received: the latest deliveries, oldest first, refused ones included; each is stored before it is answered.
        url: where to send, ends in `/hook`; empty before the start.
    """

    def __init__(
        self,
        secret: str | None = None,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Received], None] = lambda _: None,
        limit: int = 10_000,
    ) -> None:
        self.received: deque[Received] = deque(maxlen=limit)
        self.total = 0
        self.url = ""
        self._secret = secret
        self._clock = clock or SystemClock()
        self._on_event = on_event
        self._script = FaultScript()
        self._server = LocalServer(self._handle, self._clock)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen; returns the URL to send to. Raises OSError: the port is in use, or the host is not one of this machine."""
        self.url = await self._server.start(host, port) + HOOK
        return self.url

    async def close(self) -> None:
        """Stop at once; may be called twice."""
        await self._server.close()

    def behave(self, *steps: Fault) -> None:
        """Treat the next deliveries by *steps*, each once or as often as its `times`, the last for ever; without any, accept everything."""
        self._script.play(*steps)

    def clear(self) -> None:
        """Forget all deliveries."""
        self.received.clear()
        self.total = 0

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse | None:
        path = request.raw_path.partition("?")[0]
        if path.startswith("/_") or request.method != "POST":
            return await self._server.control(request, self._control)
        body = await request.read()
        fault = self._script.take()
        headers = {name.lower(): value for name, value in request.headers.items()}
        signature = check(self._secret, headers, body)
        delivery = Received(self._clock.now(), path, headers, body, parsed(body), signature, _status(fault))
        self.received.append(delivery)
        self.total += 1
        self._on_event(delivery)
        accepted = self._server.respond(204, b"", {})
        if fault is None:
            return accepted
        if fault.kind is FaultKind.SLOW:
            await self._server.pause(fault.delay.total_seconds())
        return await self._server.perform(fault, request, accepted)

    def _control(self, method: str, path: str, query: str, raw: bytes) -> tuple[int, dict[str, Any] | str]:
        match method, path:
            case "GET", "/_received":
                last = query.removeprefix("last=")
                return 200, self._document(int(last) if last.isdecimal() else 100)
            case "POST", "/_behave":
                try:
                    body = Body(raw)
                    body.only(("steps",))
                    self.behave(*sequence(body.take("steps", [])))
                except InvalidRequest as error:
                    return error.status, {"error": str(error)}
                return 200, {"steps": describe(self._script)}
            case "POST", "/_clear":
                self.clear()
                return 200, {"changed": ["received"]}
            case "GET", "/" | "/_":
                return 200, _HELP.format(host=self.url.removeprefix("http://").removesuffix(HOOK))
        return 404, {"error": "GET / lists all actions"}

    def _document(self, last: int) -> dict[str, Any]:
        return {
            "total": self.total,
            "ids": len(firsts(self.received)),
            "steps": describe(self._script),
            "received": [
                {
                    "received_at": delivery.received_at.isoformat(),
                    "path": delivery.path,
                    "webhook_id": delivery.webhook_id,
                    "type": delivery.type,
                    "summary": delivery.summary,
                    "signature": delivery.signature,
                    "status": delivery.status,
                    "headers": delivery.headers,
                    "document": delivery.document,
                    "body": delivery.body.decode(errors="backslashreplace"),
                }
                for delivery in (list(self.received)[-last:] if last else [])
            ],
        }


def _status(fault: Fault | None) -> int:
    """The status of the response; 0 when there will be no complete one."""
    if fault is None or fault.kind in (FaultKind.NORMAL, FaultKind.SLOW):
        return 204
    return {FaultKind.ANSWER: fault.status, FaultKind.GARBAGE: 200}.get(fault.kind, 0)


def check(secret: str | None, headers: dict[str, str], body: bytes) -> Signature:
    """
    Whether *headers* sign *body* with *secret*; a timestamp may be of any age.

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
    """The body as JSON; None when it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def firsts(deliveries: Iterable[Received]) -> list[Received]:
    """The first delivery of each webhook id, in order; those without an id are all kept."""
    seen: set[str] = set()
    kept = []
    for delivery in deliveries:
        if delivery.webhook_id and delivery.webhook_id in seen:
            continue
        seen.add(delivery.webhook_id)
        kept.append(delivery)
    return kept
