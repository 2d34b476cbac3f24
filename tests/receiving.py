"""The simulator's webhook receiver with what tests need: wait for a delivery, compare wanted with received."""

import asyncio
import difflib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from aiohttp import web

from monitor.clock import Clock
from monitor.simulator import receiver
from monitor.simulator.faults import Fault
from monitor.simulator.receiver import Received, firsts

MISSING = "-"


class ReceiverServer(receiver.ReceiverServer):
    """A receiver that tests can wait for."""

    def __init__(
        self,
        secret: str | None = None,
        *,
        clock: Clock | None = None,
        on_event: Callable[[Received], None] = lambda _: None,
        limit: int = 10_000,
    ) -> None:
        super().__init__(secret, clock=clock, on_event=self._notify, limit=limit)
        self._listener = on_event
        self._came = asyncio.Event()
        self.judge: Callable[[Any], Fault] | None = None
        """From the document of a delivery to how it is treated, instead of the script."""

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse | None:
        if self.judge is not None and request.method == "POST":
            self.behave(self.judge(receiver.parsed(await request.read())))
        return await super()._handle(request)

    def _notify(self, delivery: Received) -> None:
        self._listener(delivery)
        self._came.set()

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
        """The first delivery that is *wanted*, whether it came already or comes *within* real time; else AssertionError."""
        try:
            async with asyncio.timeout(within.total_seconds()):
                while True:
                    self._came.clear()
                    for delivery in self.received:
                        if wanted(delivery):
                            return delivery
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"nothing of the kind came within {within}\n{side_by_side((), list(self.received))}") from None

    def assert_exactly(self, *types: str) -> list[Received]:
        """What was accepted, once per webhook id, when its types are exactly *types*, in order; else AssertionError."""
        received = self.accepted()
        assert [delivery.type for delivery in received] == list(types), f"not what was wanted:\n{side_by_side(types, received)}"
        return received


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
