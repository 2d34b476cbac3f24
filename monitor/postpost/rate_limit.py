"""The request budget of one account."""

from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.clock import Clock

SLOW_FOR_SECONDS = 60.0

# The pause after a 429 that names none: the first one, and what it grows to while nothing but such answers comes.
UNTOLD_SECONDS = 60.0
UNTOLD_AT_MOST_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class RequestPacing:
    """
    A budget of *rate* starts per second, *burst* of them at once after a rest; all times are monotonic seconds.

    In any span of time at most `rate * span + burst` requests start. Nothing starts during a pause. After being
    throttled, starts are twice as far apart for a minute, and come one by one.

    Attributes:
        rate: starts per second.
        burst: starts that may come at once.
        free_at: when the budget is whole again.
        paused_until: nothing starts before.
        slow_until: half rate before.
        untold: how many pauses in a row the API asked for without saying how long.

    Source: reliability.md F09.
    """

    rate: float = 5.0
    burst: int = 2
    free_at: float = float("-inf")
    paused_until: float = float("-inf")
    slow_until: float = float("-inf")
    untold: int = 0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1:
            raise ValueError("a budget has a rate above zero and a burst of at least one")

    def paused(self, now: float) -> bool:
        """Whether nothing may start at *now*. Ask again after waiting for a reserved start: the pause may be newer."""
        return now < self.paused_until

    def reserve(self, now: float) -> "tuple[RequestPacing, float]":
        """The budget with the next free start taken, and the seconds until that start."""
        start = max(now, self.paused_until, self.free_at - self._room(max(now, self.paused_until)))
        spacing = 1 / self.rate if start >= self.slow_until else 2 / self.rate
        return replace(self, free_at=max(self.free_at, start) + spacing), start - now

    def pause(self, until: float, *, throttled: bool = True) -> "RequestPacing":
        """The budget with no start before *until*; after being *throttled*, half the rate for a minute after that."""
        paused_until = max(self.paused_until, until)
        slow_until = max(self.slow_until, paused_until + SLOW_FOR_SECONDS) if throttled else self.slow_until
        return replace(self, paused_until=paused_until, slow_until=slow_until)

    def throttle(self, now: float, asked_seconds: float | None) -> "RequestPacing":
        """
        The budget after an answer that throttles and asks for so long a pause, or does not say how long.

        Then each pause is twice as long as the one before. Answers that come within a pause are of requests that left
        before it, and are no new refusal.
        """
        if asked_seconds is not None:
            return self.pause(now + asked_seconds)
        if self.paused(now):
            return self.pause(now)
        seconds = min(UNTOLD_SECONDS * 2 ** min(self.untold, 10), UNTOLD_AT_MOST_SECONDS)
        return replace(self.pause(now + seconds), untold=self.untold + 1)

    def answered(self, now: float) -> "RequestPacing":
        """The budget after an answer that does not throttle, unless its request left before the pause that holds now."""
        return self if self.untold == 0 or self.paused(now) else replace(self, untold=0)

    def _room(self, now: float) -> float:
        """How far ahead of the regular spacing a start may come."""
        return (self.burst - 1) / self.rate if now >= self.slow_until else 0.0


TOO_MANY_REQUESTS = 429


class RateLimiter:
    """Lets requests start no faster than the account's budget, and none while the API asked for a pause."""

    def __init__(self, pacer: RequestPacing, clock: Clock) -> None:
        self._pacer = pacer
        self._clock = clock

    def paused(self) -> bool:
        """Whether the API asked for a pause that is not over."""
        return self._pacer.paused(self._clock.monotonic())

    async def acquire(self) -> None:
        """Wait for the next free start; a pause that the API asked for meanwhile is waited for too."""
        while True:
            self._pacer, wait_seconds = self._pacer.reserve(self._clock.monotonic())
            if wait_seconds <= 0:
                return
            await self._clock.sleep(wait_seconds)
            if not self.paused():
                return

    async def try_acquire(self) -> bool:
        """Wait for the next free start; False as soon as the API asked for a pause: nothing may start, and nobody waits here."""
        if self.paused():
            return False
        self._pacer, wait_seconds = self._pacer.reserve(self._clock.monotonic())
        if wait_seconds > 0:
            await self._clock.sleep(wait_seconds)
        return not self.paused()

    def record_response(self, http_status: int | None, retry_after: timedelta | None) -> None:
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
