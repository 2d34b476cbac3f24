"""What is asked for often is made at most once a second, however many ask."""

import asyncio
from collections.abc import Callable

from monitor.clock import Clock
from monitor.domain.snapshot import Snapshot
from monitor.metrics import Metrics
from monitor.web.views import Board


class Pictures:
    """The latest picture, at most *fresh_seconds* old, and its renderings."""

    def __init__(self, source: Callable[[], Snapshot], metrics: Metrics, clock: Clock, fresh_seconds: float) -> None:
        self._source = source
        self._metrics = metrics
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._snapshot: tuple[float, Snapshot] | None = None
        self._board: Board | None = None
        self._texts: dict[bool, tuple[float, tuple[bytes, ...]]] = {}
        self._rendering = {False: asyncio.Lock(), True: asyncio.Lock()}

    def snapshot(self) -> Snapshot:
        """The picture."""
        if self._snapshot is None or not self._is_fresh(self._snapshot[0]):
            self._snapshot = (self._clock.monotonic(), self._source())
        return self._snapshot[1]

    def board(self) -> Board:
        """The picture, sorted for people."""
        snapshot = self.snapshot()
        if self._board is None or self._board.snapshot is not snapshot:
            self._board = Board(snapshot)
        return self._board

    async def text(self, *, openmetrics: bool) -> tuple[bytes, ...]:
        """The metrics in pieces. Others run between the pieces; who asks meanwhile gets the same."""
        async with self._rendering[openmetrics]:
            made = self._texts.get(openmetrics)
            if made is not None and self._is_fresh(made[0]):
                return made[1]
            at, pieces = self._clock.monotonic(), []
            for piece in self._metrics.chunks(self.snapshot(), self._clock.now(), openmetrics=openmetrics):
                pieces.append(piece)
                await self._clock.sleep(0)
            text = (at, tuple(pieces))
            self._texts[openmetrics] = text
            # Tens of megabytes: not to be kept until somebody asks again.
            asyncio.get_running_loop().call_later(self._fresh_seconds, self._forget, openmetrics, text)
            return text[1]

    def _forget(self, openmetrics: bool, text: tuple[float, tuple[bytes, ...]]) -> None:
        if self._texts.get(openmetrics) is text:
            del self._texts[openmetrics]

    def _is_fresh(self, at: float) -> bool:
        return self._clock.monotonic() - at < self._fresh_seconds
