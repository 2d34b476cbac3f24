"""What is asked for often is made at most once a second."""

import asyncio
from datetime import timedelta

from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.metrics import Metrics
from monitor.web.status.snapshot_cache import SnapshotCache
from tests.builders import SECOND, START, a_connection, a_state
from tests.clock import FakeClock
from tests.waiting import patience


class _Source:
    """Gives a picture with one more connection each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Snapshot:
        self.asked += 1
        return Snapshot(START, tuple(ConnectionView(a_connection(number), a_state()) for number in range(self.asked)))


def _seen(text: tuple[bytes, ...]) -> int:
    return b"".join(text).count(b"postpost_connection_up{")


async def test_a_second() -> None:
    """Within a second of the clock the same picture and text are given, after it new ones."""
    clock, source = FakeClock(START), _Source()
    pictures = SnapshotCache(source, Metrics(), clock, fresh_seconds=1.0)

    first = [_seen(await pictures.text(openmetrics=False)), len(pictures.snapshot().connections)]
    await clock.advance(SECOND / 2)
    again = [_seen(await pictures.text(openmetrics=False)), len(pictures.snapshot().connections)]
    await clock.advance(SECOND / 2)
    later = [_seen(await pictures.text(openmetrics=False)), len(pictures.snapshot().connections)]

    assert (first, again, later) == ([1, 1], [1, 1], [2, 2])


async def test_formats_apart() -> None:
    """Each format is kept for itself; both show the same picture."""
    pictures = SnapshotCache(_Source(), Metrics(), FakeClock(START), fresh_seconds=1.0)

    text, openmetrics = await asyncio.gather(pictures.text(openmetrics=False), pictures.text(openmetrics=True))

    assert _seen(text) == _seen(openmetrics) == 1
    assert b"# EOF" not in b"".join(text)
    assert b"# EOF" in b"".join(openmetrics)


async def test_sorted_once() -> None:
    """The picture is sorted for people once, and anew with the next picture."""
    clock = FakeClock(START)
    pictures = SnapshotCache(_Source(), Metrics(), clock, fresh_seconds=1.0)

    first, again = pictures.board(), pictures.board()
    await clock.advance(SECOND)

    assert first is again
    assert pictures.board() is not first


class _SlowClock(FakeClock):
    """Every piece takes so long that other tasks run after it."""

    def monotonic(self) -> float:
        """Later each time."""
        self.freeze(timedelta(milliseconds=20))
        return super().monotonic()


async def test_a_visitor_who_leaves() -> None:
    """Who gives up while the text is made does not keep the next one from getting it."""
    source = _Source()
    pictures = SnapshotCache(source, Metrics(), _SlowClock(START), fresh_seconds=3600.0)
    leaving = asyncio.create_task(pictures.text(openmetrics=False))
    await asyncio.sleep(0)
    leaving.cancel()

    assert _seen(await asyncio.wait_for(pictures.text(openmetrics=False), patience())) == 1
    assert leaving.cancelled()
