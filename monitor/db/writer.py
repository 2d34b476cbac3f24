"""The one writing thread, with group commit: queued works share a transaction. When one raises, each runs again by itself."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from monitor.clock import Clock
from monitor.db.backend import Backend
from monitor.db.store import Store
from monitor.errors import AnotherInstance, StoreCorrupt, StoreError, StoreUnavailable
from monitor.logs import get_logger

GROUP = 100
QUEUE = 10_000

BUSY = 2_000
"""While so many works wait, no check should be started."""

COMPANY = 32
"""So many waiting works are written at once, whatever they may wait for."""

_DRAIN_SECONDS = 5.0

_T = TypeVar("_T")

log = get_logger(__name__)


@dataclass(slots=True)
class _Job:
    work: Callable[[Store], Any]
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Committed:
    """The result of each job of a transaction, and what to call after its commit."""

    results: list[Any]
    after: list[Callable[[], None]]


class Writer:
    """
    Takes works from the event loop and runs them in order on its own thread.

    Attributes:
        failing_since: since when writes have failed; None while they succeed.
        failure: the message of the last failed write.
        ended_by: why nothing is written any more (damage, another instance), or None.
        outbox_changes: how many transactions may have changed the outbox.
    """

    def __init__(self, backend: Backend, *, clock: Clock, on_end: Callable[[StoreError], None]) -> None:
        self.failing_since: datetime | None = None
        self.failure = ""
        self.ended_by: StoreError | None = None
        self.outbox_changes = 0
        self._backend = backend
        self._clock = clock
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._put_messages: dict[int, int] = {}
        self._queue: deque[_Job] = deque()
        self._waiting = threading.Condition()
        self._ready = False
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False
        self._abandon = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, work: Callable[[Store], Any], *, within_seconds: float = 0.0) -> asyncio.Future[Any]:
        """Queue *work*, which may wait *within_seconds* for others; done after its commit. StoreUnavailable when full, if it may wait."""
        future: asyncio.Future[Any] = self._loop.create_future()
        with self._waiting:
            refusal = self._refusal(within_seconds)
            if refusal is None:
                self._queue.append(_Job(work, future))
                if within_seconds <= 0 or len(self._queue) >= COMPANY:
                    self._ready = True
                    self._waiting.notify()
                else:
                    self._write_within(within_seconds)
        if refusal is not None:
            future.set_exception(refusal)
        return future

    def is_busy(self) -> bool:
        """Whether works come faster than they can be written; not when nothing can be written at all."""
        return len(self._queue) >= BUSY and self.failing_since is None

    def stop(self) -> None:
        """Write what is queued, then end the thread; blocks. What is not written within seconds fails."""
        with self._waiting:
            self._stopping = True
            self._waiting.notify()
        self._thread.join(_DRAIN_SECONDS)
        self._abandon.set()
        self._thread.join()

    def _write_within(self, seconds: float) -> None:
        """Write what is queued within *seconds*, or earlier if that was asked for before."""
        due = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._write_queued)

    def _write_queued(self) -> None:
        self._timer = None
        with self._waiting:
            if self._queue:
                self._ready = True
                self._waiting.notify()

    def _refusal(self, within_seconds: float) -> StoreError | None:
        if self.ended_by is not None:
            return self.ended_by
        if self._stopping:
            return StoreUnavailable("the database is closed")
        # What may not wait is awaited, one at a time, by loops that would end the process.
        full = within_seconds > 0 and len(self._queue) >= QUEUE
        return StoreUnavailable(f"{QUEUE} writes are waiting already") if full else None

    # on the writer's thread

    def _run(self) -> None:
        try:
            while (jobs := self._take()) is not None:
                if jobs:
                    self._run_group(jobs)
                else:
                    self._persist(self._backend.renew)
        except StoreError as error:
            self._end(error)
        except BaseException as error:
            log.exception("database.writer_failed")
            self._end(StoreError(f"the database writer failed: {type(error).__name__}"))

    def _take(self) -> list[_Job] | None:
        """The next group; an empty one after a heartbeat without works, None at the end."""
        with self._waiting:
            if not self._ready and not self._stopping:
                self._waiting.wait(self._backend.heartbeat)
            if not self._queue:
                return None if self._stopping else []
            jobs = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            self._ready = bool(self._queue)
            return jobs

    def _run_group(self, jobs: list[_Job]) -> None:
        try:
            committed = self._transact(jobs)
        except (AnotherInstance, StoreCorrupt):
            self._leave(jobs)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a work raises belongs to its future
            if len(jobs) == 1 or isinstance(error, StoreUnavailable):
                self._fail(jobs, error)
                return
            for index, job in enumerate(jobs):
                try:
                    self._run_group([job])
                except StoreError:
                    self._leave(jobs[index + 1 :])
                    raise
            return
        for call in committed.after:
            try:
                call()
            except Exception:
                log.exception("database.after_commit_failed")
        self._notify_loop(_resolve, jobs, committed.results)

    def _leave(self, jobs: Sequence[_Job]) -> None:
        """Leave *jobs*, which can't be written any more, to the end of the thread."""
        with self._waiting:
            self._queue.extend(jobs)

    def _transact(self, jobs: Sequence[_Job]) -> _Committed:
        outcome: _Committed | None = None

        def attempt() -> _Committed:
            nonlocal outcome
            if outcome is not None and self._backend.was_committed():
                return outcome
            outcome = None
            store = Store(self._backend.begin(), self._put_messages)
            try:
                results = [job.work(store) for job in jobs]
                for call in store.before:
                    call()
                store.flush()
            except BaseException:
                self._backend.rollback()
                raise
            outcome = _Committed(results, store.after)
            self._backend.commit()
            self.outbox_changes += store.outbox_used
            return outcome

        return self._persist(attempt)

    def _persist(self, call: Callable[[], _T]) -> _T:
        """The result of *call*, tried again for as long as it raises StoreUnavailable."""
        pause, longest = self._backend.patience
        while True:
            try:
                result = call()
            except StoreUnavailable as error:
                self._backend.rollback()
                self._backend.recover(error)
                self.failure = str(error)
                if self.failing_since is None:
                    self.failing_since = self._clock.now()
                    log.warning("database.unavailable", error=str(error))
                if self._abandon.wait(pause):
                    raise
                pause = min(pause * 2, longest)
            else:
                if self.failing_since is not None:
                    log.info("database.available", failing_since=self.failing_since.isoformat())
                    self.failing_since = None
                return result

    def _end(self, error: StoreError) -> None:
        with self._waiting:
            self.ended_by = error
            rest = list(self._queue)
            self._queue.clear()
        if rest:
            log.error("database.writes_lost", writes=len(rest), problem=str(error))
        self._fail(rest, error)
        self._notify_loop(self._on_end, error)

    def _fail(self, jobs: Sequence[_Job], error: Exception) -> None:
        self._notify_loop(_reject, jobs, error)

    def _notify_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.warning("database.result_lost", reason="the event loop is closed")


def _resolve(jobs: Sequence[_Job], results: Sequence[Any]) -> None:
    for job, result in zip(jobs, results, strict=True):
        if not job.future.done():
            job.future.set_result(result)


def _reject(jobs: Sequence[_Job], error: Exception) -> None:
    for job in jobs:
        if not job.future.done():
            job.future.set_exception(error)
