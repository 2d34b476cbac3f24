"""Long calculations on the event loop, interrupted now and then so that checks go on."""

from monitor.clock import Clock

_SHORTEST_SECONDS = 0.005
_LONGEST_SECONDS = 0.015


class TimeSlice:
    """
    The time in which a calculation holds the event loop.

    It gets about half of the time: while another thread calculates, or many checks are under way, each rest takes milliseconds, and
    rests after every small piece would take many times as long as the pieces.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_at = clock.monotonic()
        self._length_seconds = _SHORTEST_SECONDS

    async def rest(self) -> None:
        """Let other tasks run, if the calculation has held the loop for long enough."""
        ended_at = self._clock.monotonic()
        if ended_at - self._began_at < self._length_seconds:
            return
        await self._clock.sleep(0)
        self._began_at = self._clock.monotonic()
        self._length_seconds = min(max(_SHORTEST_SECONDS, self._began_at - ended_at), _LONGEST_SECONDS)
