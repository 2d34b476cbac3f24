"""Waiting for facts instead of for time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

_PAUSE = 0.005


@overload
async def eventually(condition: Callable[[], Awaitable[T]], *, within: float = ..., what: str = ...) -> T: ...
@overload
async def eventually(condition: Callable[[], T], *, within: float = ..., what: str = ...) -> T: ...
async def eventually(condition: Callable[[], Any], *, within: float = 5.0, what: str = "") -> Any:
    """
    The first true answer of *condition*, which may be a plain or an async function.

    Args:
        condition: asked again every few milliseconds, at least once.
        within: the longest wait, in real seconds.
        what: said when it never became true; by default the condition's own name.

    Raises:
        AssertionError: it was still false at the end; tells the last answer.
    """
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_never(condition, within, what, value))
        await asyncio.sleep(_PAUSE)


def eventually_sync(condition: Callable[[], T], *, within: float = 5.0, what: str = "") -> T:
    """As `eventually`, for tests without an event loop: waiting for processes and files."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_never(condition, within, what, value))
        time.sleep(_PAUSE)


def _never(condition: object, within: float, what: str, last: object) -> str:
    name = what or getattr(condition, "__name__", repr(condition))
    return f"not true within {within:g} s: {name} (last answer: {last!r})"
