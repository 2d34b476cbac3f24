"""How long a storm of messages to one receiver takes: each by itself, to a receiver without limits that answers in 50 ms."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from monitor.simulator import faults
from tests.bench.result import Result
from tests.delivering import a_world

MESSAGES = 2000
_ANSWER = timedelta(milliseconds=50)


def measure() -> Iterator[Result]:
    """Seconds until all are delivered and recorded, beside the time that one after the other would take, and the transactions."""
    with tempfile.TemporaryDirectory() as name:
        seconds, cpu, commits = asyncio.run(_storm(Path(name)))
    yield Result(f"{MESSAGES} messages delivered", seconds, "s", limit=60)
    yield Result("of the time that one after the other would take", seconds / (MESSAGES * _ANSWER.total_seconds()), "", limit=0.5)
    yield Result("transactions per message", commits / MESSAGES, "", limit=0.5)
    yield Result("CPU per message, receiver included", cpu / MESSAGES * 1e3, "ms")


async def _storm(folder: Path) -> tuple[float, float, int]:
    async with a_world(folder) as world:
        await world.connect(MESSAGES)
        await world.owe(*range(1, MESSAGES + 1))
        world.on_call.behave(faults.slow(_ANSWER))
        started, cpu, commits = time.monotonic(), time.process_time(), world.commits
        await world.run(world.deliverer())
        assert len(world.on_call.by_id()) == world.on_call.total == MESSAGES
        return time.monotonic() - started, time.process_time() - cpu, world.commits - commits
