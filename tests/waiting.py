"""Waiting for facts instead of for time. A deadline is only for what never happens, and grows with the load of the machine."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
_PAUSES = (0.005, 0.05)
"""The first and the longest pause between two looks, in seconds: what takes long is looked at less often."""


def slowness() -> float:
    """How many processes want each CPU now, at least 1: so many times longer than alone a computation takes here."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def scaled(seconds: float) -> float:
    """The upper bound for what takes less than *seconds* on a quiet machine."""
    return seconds * slowness()


def patience() -> float:
    """How many seconds a test waits for what must happen; only a test that fails waits that long."""
    return scaled(PATIENCE_SECONDS)


@overload
async def eventually(condition: Callable[[], Awaitable[T]], *, what: str = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], *, what: str = ...) -> T: ...
async def eventually(condition: Callable[[], Any], *, what: str = "") -> Any:
    """
    The first true answer of *condition*, which may be a plain or an async function.

    Args:
        condition: called every few milliseconds, at least once.
        what: named in the failure; by default the condition's own name.

    Raises:
        AssertionError: it was still false at the end; tells the last answer.
    """
    started = time.monotonic()
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        await asyncio.sleep(_pause(started, condition, what, value))


def eventually_sync(condition: Callable[[], T], *, what: str = "", within: float = PATIENCE_SECONDS) -> T:
    """As `eventually`, for tests without an event loop: waiting for processes and files; *within* is scaled."""
    started = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        time.sleep(_pause(started, condition, what, value, within))


def _pause(started: float, condition: object, what: str, last: object, within: float = PATIENCE_SECONDS) -> float:
    waited = time.monotonic() - started
    if waited >= within and waited >= scaled(within):
        name = what or getattr(condition, "__name__", repr(condition))
        raise AssertionError(f"not true within {waited:.0f} s: {name} (last answer: {last!r})")
    first, longest = _PAUSES
    return min(longest, first + waited / 20)
