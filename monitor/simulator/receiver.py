"""A webhook receiver, and comparison of wanted and received."""

import asyncio
import difflib
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook

from monitor.clock import Clock, SystemClock
from monitor.simulator.actions import Body, InvalidRequest, sequence
from monitor.simulator.faults import Fault, FaultKind, FaultScript, describe
from monitor.simulator.http import Act, DateHeader, LocalServer, hang_up, is_local, respond

HOOK = "/hook"
_JSON = "application/json; charset=utf-8"
_HELP = (
    "A webhook receiver. POST anything anywhere, then:\n"
    "  curl http://{host}/_received                    what came (?last=20)\n"
    '  curl -X POST http://{host}/_behave -d \'{{"steps": [{{"do": "answer", "status": 503, "times": 2}}, {{"do": "normal"}}]}}\'\n'
    "  curl -X POST http://{host}/_clear               forget what came\n"
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


class ReceiverServer:
    """
    Takes every POST, on any path, and answers 204 unless told otherwise.

    Attributes:
        received: the latest deliveries, oldest first, refused ones included; what came is kept before it is answered.
        total: how many came in all.
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
        self._server = LocalServer(self._handle)
        self._date = DateHeader(self._clock)
        self._came = asyncio.Condition()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """
        Listen; returns the URL to send to.

        Raises:
            OSError: the port is taken, or the host is not one of this machine.
        """
        self.url = await self._server.start(host, port) + HOOK
        return self.url

    async def close(self) -> None:
        """Stop at once; closing twice is fine."""
        await self._server.close()

    def behave(self, *steps: Fault) -> None:
        """
        Treat the next deliveries as *steps* say: each once or as often as its `times`, the last for ever without a count.

        Without steps everything is accepted again.
        """
        self._script.play(*steps)

    def clear(self) -> None:
        """Forget what came."""
        self.received.clear()
        self.total = 0

    def accepted(self) -> list[Received]:
        """What was answered with success, once per webhook id, in order of arrival."""
        return firsts(delivery for delivery in self.received if delivery.accepted)

    def by_id(self) -> dict[str, list[Received]]:
        """Webhook id to all deliveries that carried it, in order of arrival."""
        grouped: dict[str, list[Received]] = {}
        for delivery in self.received:
            grouped.setdefault(delivery.webhook_id, []).append(delivery)
        return grouped

    async def wait_for(self, wanted: Callable[[Received], bool], within: timedelta = timedelta(seconds=5)) -> Received:
        """
        The first delivery that *wanted* likes, whether it came already or comes *within* real time.

        Raises:
            AssertionError: none did; shows what came.
        """
        try:
            async with asyncio.timeout(within.total_seconds()), self._came:
                while True:
                    found = next((delivery for delivery in self.received if wanted(delivery)), None)
                    if found is not None:
                        return found
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"nothing of the kind came within {within}\n{side_by_side((), list(self.received))}") from None

    def assert_exactly(self, *types: str, in_order: bool = True) -> list[Received]:
        """
        What was accepted, once per webhook id, when its types are exactly *types*.

        Raises:
            AssertionError: something is missing, unexpected, or (unless *in_order* is false) in another order;
                shows wanted and received side by side.
        """
        got = self.accepted()
        wanted = list(types)
        if not in_order:
            wanted.sort()
            got.sort(key=lambda delivery: delivery.type)
        if [delivery.type for delivery in got] != wanted:
            raise AssertionError(f"not what was wanted:\n{side_by_side(wanted, got)}")
        return got

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if path.startswith("/_") or request.method != "POST":
            return await self._steer(request, path, query)
        body = await request.read()
        step = self._script.take()
        await self._keep(request, path, body, _status(step))
        act = Act(request, self._clock, self._server.closing, str(self._date))
        ordinary = respond(204, b"", {"Date": str(self._date)})
        if step is None:
            return ordinary
        if step.kind is FaultKind.SLOW:
            await act.pause(step.delay.total_seconds())
        return await act.perform(step, ordinary) or hang_up(request)

    async def _keep(self, request: web.BaseRequest, path: str, body: bytes, status: int) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signature = check(self._secret, headers, body)
        delivery = Received(self._clock.now(), path, headers, body, parsed(body), signature, status)
        self.received.append(delivery)
        self.total += 1
        self._on_event(delivery)
        async with self._came:
            self._came.notify_all()

    async def _steer(self, request: web.BaseRequest, path: str, query: str) -> web.StreamResponse:
        if not is_local(request.remote):
            return _document(403, {"error": "only this machine may look"})
        match (request.method, path):
            case ("GET", "/_received"):
                last = query.removeprefix("last=")
                return _document(200, self._shown(int(last) if last.isdecimal() else 100))
            case ("POST", "/_behave"):
                return self._told(await request.read())
            case ("POST", "/_clear"):
                self.clear()
                return _document(200, {"changed": ["received"]})
            case ("GET", "/" | "/_"):
                text = _HELP.format(host=request.host)
                return respond(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})
        return _document(404, {"error": "GET / shows what can be done"})

    def _told(self, raw: bytes) -> web.Response:
        try:
            body = Body(raw)
            body.only(("steps",))
            self.behave(*sequence(body.take("steps", [])))
        except InvalidRequest as mistake:
            return _document(mistake.status, {"error": str(mistake)})
        return _document(200, {"steps": describe(self._script)})

    def _shown(self, last: int) -> dict[str, Any]:
        shown = list(self.received)[-last:] if last else []
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
                for delivery in shown
            ],
        }


def _status(step: Fault | None) -> int:
    """The status a delivery will be answered with; 0 when there will be no whole answer."""
    if step is None or step.kind in (FaultKind.NORMAL, FaultKind.SLOW):
        return 204
    return {FaultKind.ANSWER: step.status, FaultKind.GARBAGE: 200}.get(step.kind, 0)


def _document(status: int, document: object) -> web.Response:
    return respond(status, json.dumps(document, ensure_ascii=False, indent=2).encode() + b"\n", {"Content-Type": _JSON})


MISSING = "-"


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
