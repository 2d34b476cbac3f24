"""The latest snapshot, at most a second old, and what is made of it once: the board of the pages, the text of the metrics."""

import asyncio
from collections.abc import Callable

from monitor.clock import Clock
from monitor.domain.views.snapshot import Snapshot
from monitor.metrics import Metrics
from monitor.web.status.board import StatusBoard
from monitor.web.time_slice import TimeSlice

_Format = tuple[bool, bool]


class SnapshotCache:
    """The latest snapshot, at most *fresh_seconds* old, and its renderings; *exported* gives another one for the metrics."""

    def __init__(
        self,
        source: Callable[[], Snapshot],
        metrics: Metrics,
        clock: Clock,
        fresh_seconds: float,
        exported: Callable[[], Snapshot] | None = None,
    ) -> None:
        self._source = source
        self._exported = exported or self.snapshot
        self._metrics = metrics
        self._clock = clock
        self._fresh_seconds = fresh_seconds
        self._snapshot: tuple[float, Snapshot] | None = None
        self._board: StatusBoard | None = None
        self._texts: dict[_Format, tuple[float, tuple[bytes, ...]]] = {}
        self._rendering = {(openmetrics, gzip): asyncio.Lock() for openmetrics in (False, True) for gzip in (False, True)}

    def snapshot(self) -> Snapshot:
        """The snapshot."""
        if self._snapshot is None or not self._is_fresh(self._snapshot[0]):
            self._snapshot = (self._clock.monotonic(), self._source())
        return self._snapshot[1]

    def board(self) -> StatusBoard:
        """The snapshot, sorted for showing."""
        snapshot = self.snapshot()
        if self._board is None or self._board.source is not snapshot:
            self._board = StatusBoard(snapshot)
        return self._board

    async def text(self, *, openmetrics: bool, gzip: bool = False) -> tuple[bytes, ...]:
        """The metrics in pieces. Other tasks run in between; concurrent requests share the result."""
        form = (openmetrics, gzip)
        async with self._rendering[form]:
            latest = self._texts.get(form)
            if latest is not None and self._is_fresh(latest[0]):
                return latest[1]
            at, pieces, time_slice = self._clock.monotonic(), [], TimeSlice(self._clock)
            for piece in self._metrics.chunks(self._exported(), self._clock.now(), openmetrics=openmetrics, gzip=gzip):
                if piece:
                    pieces.append(piece)
                await time_slice.rest()
            text = (at, tuple(pieces))
            self._texts[form] = text
            # Uncompressed tens of megabytes: not kept until the next scrape.
            asyncio.get_running_loop().call_later(self._fresh_seconds, self._forget, form, text)
            return text[1]

    def _forget(self, form: _Format, text: tuple[float, tuple[bytes, ...]]) -> None:
        if self._texts.get(form) is text:
            del self._texts[form]

    def _is_fresh(self, at: float) -> bool:
        return self._clock.monotonic() - at < self._fresh_seconds
