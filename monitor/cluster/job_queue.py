"""A queue of jobs in the same database that offers free shards to all nodes. It decides nothing: without it a turn begins later."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from monitor.clock import Clock
from monitor.logs import get_logger

_log = get_logger(__name__)

_QUEUE = "postpost-monitor"
_TASK = "tend"
_AT_ONCE = 20
_RESTART_SECONDS = 1.0
_FAILURES_LOGGED = 2
_STALLED_SECONDS = 30.0
_MOST_CONNECTIONS = 3

_TABLES = ("procrastinate_jobs", "procrastinate_workers", "procrastinate_events", "procrastinate_periodic_defers")
_COUNT_TABLES = f"SELECT count(to_regclass(name)) AS tables FROM unnest(ARRAY{list(_TABLES)}) AS name"  # noqa: S608 - constants
_DROP_ALL = """
DO $$ DECLARE statements text; BEGIN
    SELECT string_agg('DROP ' || kind || ' IF EXISTS ' || name || ' CASCADE', '; ') INTO statements FROM (
        SELECT CASE relkind WHEN 'r' THEN 'TABLE' ELSE 'TYPE' END AS kind, oid::regclass::text AS name FROM pg_class
        WHERE relkind IN ('r', 'c') AND starts_with(relname, 'procrastinate_') AND pg_table_is_visible(oid)
        UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc
        WHERE starts_with(proname, 'procrastinate_') AND pg_function_is_visible(oid)
        UNION ALL SELECT 'TYPE', oid::regtype::text FROM pg_type
        WHERE typtype = 'e' AND starts_with(typname, 'procrastinate_') AND pg_type_is_visible(oid)
        ORDER BY kind) AS found;
    IF statements IS NOT NULL THEN EXECUTE statements; END IF;
END $$
"""

Handler = Callable[[str], Awaitable[None]]


class JobQueue:
    """The jobs of Procrastinate."""

    def __init__(self, conninfo: str, clock: Clock) -> None:
        self.up = False
        self._conninfo = conninfo
        self._clock = clock
        self._app: Any = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def start(self, handler: Handler) -> None:
        """Call *handler* with the name of each shard that is offered; it must not raise."""
        # So much is logged for each job as the monitor logs in an hour.
        logging.getLogger("procrastinate").setLevel(logging.CRITICAL)
        logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
        self._stopping = False
        self._task = asyncio.create_task(self._run(handler), name="job-queue")

    async def offer(self, shard: str) -> None:
        """Offer *shard* to all nodes, unless it is on offer already or the queue is down."""
        from procrastinate.exceptions import ProcrastinateException  # noqa: PLC0415 - not installed everywhere

        if self._app is not None:
            with suppress(ProcrastinateException):
                await self._app.configure_task(_TASK, queue=_QUEUE, queueing_lock=shard).defer_async(shard=shard)

    async def sweep(self) -> None:
        """Remove the jobs of workers that have ended; they block nothing."""
        from procrastinate.exceptions import ProcrastinateException  # noqa: PLC0415
        from procrastinate.jobs import Status  # noqa: PLC0415

        if self._app is None:
            return
        with suppress(ProcrastinateException):
            jobs = self._app.job_manager
            for job in await jobs.get_stalled_jobs(queue=_QUEUE, seconds_since_heartbeat=_STALLED_SECONDS):
                await jobs.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)

    async def stop(self) -> None:
        """Wait for no more jobs."""
        task, self._task = self._task, None
        # A worker that loses its connection while it is cancelled ends with that error instead.
        self._stopping = True
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, handler: Handler) -> None:
        """Wait for jobs, with new connections after each failure: a worker ends with its first error of the database."""
        failures = 0
        while not self._stopping:
            try:
                await self._work(handler)
            except Exception as error:  # noqa: BLE001 - whatever the library raises, the cluster goes on without it
                failures += 1
                # Two nodes that make the tables at the same time: the second one finds them a moment later.
                if failures == _FAILURES_LOGGED:
                    cause = error.__cause__ or error
                    _log.warning("job_queue.failed", problem=f"{type(cause).__name__}: {cause}".partition("\n")[0])
            await self._clock.sleep(_RESTART_SECONDS)

    async def _work(self, handler: Handler) -> None:
        from procrastinate import App, PsycopgConnector  # noqa: PLC0415

        connector = PsycopgConnector(conninfo=self._conninfo, min_size=1, max_size=_MOST_CONNECTIONS, timeout=10.0)
        app = App(connector=connector)

        @app.task(name=_TASK, queue=_QUEUE)
        async def tend(shard: str) -> None:
            await handler(shard)

        async with app.open_async():
            await _ensure_tables(app)
            self._app, self.up = app, True
            try:
                await app.run_worker_async(
                    queues=[_QUEUE],
                    concurrency=_AT_ONCE,
                    install_signal_handlers=False,
                    shutdown_graceful_timeout=0,
                    delete_jobs="always",
                    fetch_job_polling_interval=5.0,
                )
            finally:
                self._app, self.up = None, False


async def _ensure_tables(app: Any) -> None:
    """Make the tables; anew when one is missing, since nothing is in them that is not offered again."""
    found = await app.connector.execute_query_one_async(_COUNT_TABLES)
    if found["tables"] < len(_TABLES):
        await app.connector.execute_query_async(_DROP_ALL)
        await app.schema_manager.apply_schema_async()
