"""The queue of jobs repairs itself: what offers free shards is there again after its tables were lost."""

import asyncio

import psycopg

from monitor.clock import SystemClock
from monitor.cluster.job_queue import JobQueue
from tests.waiting import eventually


async def test_lost_table(postgres_url: str) -> None:
    """A table that was dropped, also with the queue running, is made anew; jobs are offered as before."""
    offered: list[str] = []

    async def handle(shard: str) -> None:
        offered.append(shard)

    def drop() -> None:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP TABLE procrastinate_jobs CASCADE")

    queue = JobQueue(postgres_url, SystemClock())
    queue.start(handle)
    try:
        await eventually(lambda: queue.up, what="the queue works")
        await asyncio.to_thread(drop)
        await queue.offer("account:lost")

        async def offers() -> bool:
            await queue.offer("account:x")
            return "account:x" in offered

        await eventually(offers, what="a job is offered")
    finally:
        await queue.stop()
