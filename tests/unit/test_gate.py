"""The request budget of an account hears what the API's answers ask for."""

import asyncio
from datetime import timedelta

from monitor.postpost.rate_limit import RateLimiter, RequestPacing
from tests.builders import MINUTE, SECOND
from tests.clock import FakeClock


async def paused_for(gate: RateLimiter, clock: FakeClock) -> timedelta:
    """How long nothing may start, in whole seconds."""
    begun = clock.monotonic()
    while gate.paused():
        await clock.advance(SECOND)
    return timedelta(seconds=clock.monotonic() - begun)


async def test_a_used_up_budget() -> None:
    """Vector 63: a good answer that says the budget is used up holds the next request back for as long as it says."""
    clock = FakeClock()
    gate = RateLimiter(RequestPacing(), clock)
    gate.record_response(200, 20 * SECOND)
    assert gate.seconds_to_wait() == 20
    assert await paused_for(gate, clock) == 20 * SECOND


async def test_throttled() -> None:
    """Vectors 58 and 59: a 429 pauses as long as it asks, one that asks for nothing a minute, then two; an answer ends that."""
    clock = FakeClock()
    gate = RateLimiter(RequestPacing(), clock)
    pauses = []
    for status, asked in ((429, 30 * SECOND), (429, None), (429, None), (200, None), (429, None), (None, None), (429, None)):
        gate.record_response(status, asked)
        pauses.append(await paused_for(gate, clock))
    assert pauses == [30 * SECOND, MINUTE, 2 * MINUTE, timedelta(0), MINUTE, timedelta(0), 2 * MINUTE]


async def test_a_server_in_trouble() -> None:
    """Vector 56: the `Retry-After` of a 503 is kept too."""
    clock = FakeClock()
    gate = RateLimiter(RequestPacing(), clock)
    gate.record_response(503, 9 * SECOND)
    assert await paused_for(gate, clock) == 9 * SECOND


async def test_without_a_lease() -> None:
    """While a node may have lost its lease, no request starts, neither of a check nor of a list; afterwards they go on."""
    clock, held = FakeClock(), [False]
    gate = RateLimiter(RequestPacing(), clock, lambda: held[0])
    assert gate.seconds_to_wait() > 0
    waiting = asyncio.create_task(gate.acquire())
    await clock.advance(MINUTE)
    assert not waiting.done()
    held[0] = True
    assert gate.seconds_to_wait() <= 1 / RequestPacing().rate
    await clock.advance(SECOND)
    assert waiting.done()
