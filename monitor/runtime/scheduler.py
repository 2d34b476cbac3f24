"""The scheduler: a few static jobs that only wake loops, so a lost or late run delays a wake by one interval."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent, JobSubmissionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from monitor.clock import Clock
from monitor.logs import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WakeJob:
    """One job: its name, how often it runs, and what it wakes. *wake* must only set events."""

    name: str
    every: timedelta
    wake: Callable[[], None]


class CoalescingIntervalTrigger(IntervalTrigger):  # type: ignore[misc] # the library brings no types
    """An interval; missed runs count as one, and are not listed: after a jump of the wall clock there may be millions."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """The first run after *now* that is in step with the one before."""
        following: datetime | None = super().get_next_fire_time(previous_fire_time, now)
        if previous_fire_time is None or following is None or following > now:
            return following
        every: timedelta = self.interval
        return previous_fire_time + ((now - previous_fire_time) // every + 1) * every


class Scheduler:
    """
    Runs the jobs on the current event loop.

    Attributes:
        name: "scheduler".
        last_step: when the last job ran, in seconds of the monotonic clock; read by the watchdog.
        missed: how many runs were skipped or failed.
    """

    def __init__(self, jobs: tuple[WakeJob, ...], clock: Clock) -> None:
        self.name = "scheduler"
        self.last_step = clock.monotonic()
        self.missed = 0
        self._clock = clock
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        # It logs runs that the stop cancels as errors; those that fail are logged here.
        logging.getLogger("apscheduler.executors").setLevel(logging.CRITICAL)
        self._scheduler.add_listener(self._on_problem, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        for job in jobs:
            self._scheduler.add_job(
                self._run,
                CoalescingIntervalTrigger(seconds=job.every.total_seconds(), timezone=UTC),
                args=(job.wake,),
                id=job.name,
                name=job.name,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )

    def start(self) -> None:
        """Start the jobs."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop the jobs; idempotent. Jobs only set events, so there is nothing to wait for."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    def reschedule(self) -> None:
        """Run every job now and count its interval from here: needed after the wall clock was set back."""
        for job in self._scheduler.get_jobs():
            job.reschedule(job.trigger)

    def _on_problem(self, event: JobExecutionEvent | JobSubmissionEvent) -> None:
        self.missed += 1
        _log.warning("job.missed", job=event.job_id, problem=str(getattr(event, "exception", "") or "late"))

    async def _run(self, wake: Callable[[], None]) -> None:
        # A coroutine, because APScheduler runs plain functions in a thread, where setting an asyncio event is a race.
        self.last_step = self._clock.monotonic()
        wake()
