"""What a benchmark says, and how it is measured."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """
    One measured thing.

    Attributes:
        what: what was measured, in a few words.
        value: the number, in *unit*.
        limit: the most it may be, in *unit*; None where no target is set.
    """

    what: str
    value: float
    unit: str
    limit: float | None = None

    @property
    def measured(self) -> str:
        """The value in words."""
        return f"{self.value:,.0f} {self.unit}" if self.value >= 100 else f"{self.value:.3g} {self.unit}"

    @property
    def target(self) -> str:
        """The limit in words; empty without one."""
        return "" if self.limit is None else f"at most {self.limit:g} {self.unit}".strip()

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without one."""
        return "" if self.limit is None else "MET" if self.value <= self.limit else "MISSED"

    def __str__(self) -> str:
        verdict = f"   {self.verdict}: {self.target}" if self.verdict else ""
        return f"  {self.what:<58} {self.value:>10.3g} {self.unit:<6}{verdict}"


def cpu_seconds(work: Callable[[], object], rounds: int, *, repeats: int = 5) -> float:
    """CPU seconds of this process for one call of *work*: the best of *repeats* runs of *rounds* calls, so that noise only adds."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, (time.process_time() - started) / rounds)
    return best


async def longest_hold(work: Awaitable[object]) -> float:
    """The most CPU seconds between two turns of a loop that does nothing but turn, until *work* is done; of time, other programs take a part."""
    longest, working = 0.0, True

    async def turn() -> None:
        nonlocal longest
        while working:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    turning = asyncio.create_task(turn())
    await work
    working = False
    await turning
    return longest
