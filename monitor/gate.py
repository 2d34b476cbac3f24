"""The request budget of one account, shared by everything that calls the API with its key."""

from datetime import timedelta

from monitor.clock import Clock
from monitor.domain.pacing import Pacer

TOO_MANY_REQUESTS = 429


class Gate:
    """Lets requests start no faster than the account's budget, and none while the API asked for a pause."""

    def __init__(self, pacer: Pacer, clock: Clock) -> None:
        self._pacer = pacer
        self._clock = clock

    def paused(self) -> bool:
        """Whether the API asked for a pause that is not over."""
        return self._pacer.paused(self._clock.monotonic())

    async def turn(self) -> None:
        """Wait for the next free start; a pause that the API asked for meanwhile is waited for too."""
        while True:
            self._pacer, wait_seconds = self._pacer.reserve(self._clock.monotonic())
            if wait_seconds <= 0:
                return
            await self._clock.sleep(wait_seconds)
            if not self.paused():
                return

    async def turn_if_open(self) -> bool:
        """Wait for the next free start; False as soon as the API asked for a pause: nothing may start, and nobody waits here."""
        if self.paused():
            return False
        self._pacer, wait_seconds = self._pacer.reserve(self._clock.monotonic())
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)
        return not self.paused()

    def hear(self, http_status: int | None, retry_after: timedelta | None) -> None:
        """
        Take note of an answer.

        While the API asks for a pause nothing starts; after a 429 also when it does not say for how long, and then it goes on at
        half the rate for a while. *http_status* is None when there was no answer.
        """
        now, asked_seconds = self._clock.monotonic(), None if retry_after is None else retry_after.total_seconds()
        if http_status == TOO_MANY_REQUESTS:
            self._pacer = self._pacer.throttle(now, asked_seconds)
            return
        if http_status is not None:
            self._pacer = self._pacer.answered(now)
        if asked_seconds is not None:
            self._pacer = self._pacer.pause(now + asked_seconds, throttled=False)
