"""The request budget of one account."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from monitor.clock import Clock

SLOW_FOR_SECONDS = 60.0
LEAST_BURST = 2

# The pause after a 429 without a wait: the first one, and the longest, while such answers go on.
UNSPECIFIED_SECONDS = 60.0
LONGEST_UNSPECIFIED_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class RequestPacing:
    """
    A budget of *rate* starts per second, *burst* of them at once after a rest; all times are monotonic seconds.

    In any span of time at most `rate * span + burst` requests start. Nothing starts during a pause. After being
    throttled, starts are twice as far apart for a minute, and come one by one.

    Attributes:
        burst: starts that may come at once.
        free_at: when the budget is whole again.
        paused_until: nothing starts before.
        slow_until: half rate before.
        unspecified: how many pauses in a row had no length.

    Source: reliability.md F09.
    """

    rate: float = 5.0
    burst: int = LEAST_BURST
    free_at: float = float("-inf")
    paused_until: float = float("-inf")
    slow_until: float = float("-inf")
    unspecified: int = 0

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.burst < 1:
            raise ValueError("a budget has a rate above zero and a burst of at least one")

    def paused(self, now: float) -> bool:
        """Return whether a pause holds at *now*. Ask again after waiting for a reserved start: the pause may be newer."""
        return now < self.paused_until

    def wait(self, now: float) -> float:
        """Return the seconds until the next free start; it takes none."""
        return self._start_after(now) - now

    def reserve(self, now: float) -> "tuple[RequestPacing, float]":
        """Return the budget with the next free start taken, and the seconds until that start."""
        start = self._start_after(now)
        spacing = 1 / self.rate if start >= self.slow_until else 2 / self.rate
        free_at = max(self.free_at, start) + spacing
        return RequestPacing(self.rate, self.burst, free_at, self.paused_until, self.slow_until, self.unspecified), start - now

    def pause(self, until: float, *, throttled: bool = True) -> "RequestPacing":
        """Return the budget with no start before *until*; after being *throttled*, half the rate for a minute after that."""
        paused_until = max(self.paused_until, until)
        slow_until = max(self.slow_until, paused_until + SLOW_FOR_SECONDS) if throttled else self.slow_until
        return replace(self, paused_until=paused_until, slow_until=slow_until)

    def throttle(self, now: float, asked_seconds: float | None) -> "RequestPacing":
        """
        Return the budget after a 429 that asks for a pause of *asked_seconds*, or does not say how long.

        Without a length each pause is twice as long as the one before. Answers within a pause belong to requests that left before
        it, and do not count.
        """
        if asked_seconds is not None:
            return self.pause(now + asked_seconds)
        if self.paused(now):
            return self.pause(now)
        seconds = min(UNSPECIFIED_SECONDS * 2 ** min(self.unspecified, 10), LONGEST_UNSPECIFIED_SECONDS)
        return replace(self.pause(now + seconds), unspecified=self.unspecified + 1)

    def answered(self, now: float) -> "RequestPacing":
        """Return the budget after any other answer; within a pause it belongs to a request that left before."""
        return self if self.unspecified == 0 or self.paused(now) else replace(self, unspecified=0)

    def _start_after(self, now: float) -> float:
        if self.free_at <= now >= self.paused_until:
            return now
        return max(now, self.paused_until, self.free_at - self._room(max(now, self.paused_until)))

    def _room(self, now: float) -> float:
        """Return how far ahead of the regular spacing a start may come."""
        return (self.burst - 1) / self.rate if now >= self.slow_until else 0.0


TOO_MANY_REQUESTS = 429

_NOT_NOW_SECONDS = 0.5


class RateLimiter:
    """Starts requests no faster than the account's budget, and none during a pause; *may_send*: whether any may start now."""

    def __init__(self, pacer: RequestPacing, clock: Clock, may_send: Callable[[], bool] = lambda: True) -> None:
        self._pacer = pacer
        self._clock = clock
        self._may_send = may_send

    def paused(self) -> bool:
        """Return whether a pause holds that the API asked for."""
        return self._pacer.paused(self._clock.monotonic())

    @property
    def paused_seconds(self) -> float:
        """How long the pause that the API asked for still lasts; not above zero without one."""
        return self._pacer.paused_until - self._clock.monotonic()

    def pause(self, seconds: float) -> None:
        """Start nothing for *seconds*, and then at half the rate for a minute: the API asked for that before."""
        self._pacer = self._pacer.pause(self._clock.monotonic() + seconds)

    async def acquire(self) -> None:
        """Wait for the next free start, and for the end of a pause that begins meanwhile."""
        while True:
            self._pacer, wait_seconds = self._pacer.reserve(self._clock.monotonic())
            if wait_seconds > 0:
                await self._clock.sleep(wait_seconds)
            while not self._may_send():
                await self._clock.sleep(_NOT_NOW_SECONDS)
            if wait_seconds <= 0 or not self.paused():
                return

    def seconds_to_wait(self) -> float:
        """Return the time until the next free start, or the end of a pause; reserves nothing."""
        return max(0.0 if self._may_send() else _NOT_NOW_SECONDS, self._pacer.wait(self._clock.monotonic()))

    def start(self) -> None:
        """Take the next free start, after `seconds_to_wait` said that it is now."""
        self._pacer, _ = self._pacer.reserve(self._clock.monotonic())

    def record_response(self, http_status: int | None, retry_after: timedelta | None) -> None:
        """Record an answer (*http_status* None: there was none): pause as long as it asks, after a 429 always, then at half the rate."""
        now, asked_seconds = self._clock.monotonic(), None if retry_after is None else retry_after.total_seconds()
        if http_status == TOO_MANY_REQUESTS:
            self._pacer = self._pacer.throttle(now, asked_seconds)
            return
        if http_status is not None:
            self._pacer = self._pacer.answered(now)
        if asked_seconds is not None:
            self._pacer = self._pacer.pause(now + asked_seconds, throttled=False)
