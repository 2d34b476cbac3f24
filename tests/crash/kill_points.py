"""SIGKILL at a chosen step: before and after each BEGIN and COMMIT, before each statement, before and after each request."""

import os
import signal
import threading
from typing import Any

from sqlalchemy import Connection, Engine, event

from monitor.clock import Clock
from monitor.config import ReceiverSettings
from monitor.db.backend import Backend
from monitor.domain.delivery.retries import AttemptResult
from monitor.notify.sender import Sender

_WRITER = "database-writer"


class KillPoint:
    """Counts the steps that this process takes, a byte to *report* for each, and ends it by SIGKILL at number *last*; never for 0."""

    def __init__(self, last: int, report: int) -> None:
        self._last = last
        self._report = report
        self._taken = 0
        event.listen(Engine, "before_cursor_execute", self._statement)

    def step(self) -> None:
        """One more step."""
        self._taken += 1
        os.write(self._report, b".")
        if self._taken == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()

    def _statement(self, *_: Any) -> None:
        if threading.current_thread().name == _WRITER:
            self.step()


class KillableBackend:
    """A database's backend that counts a step before and after each BEGIN and COMMIT."""

    def __init__(self, backend: Backend, kill_point: KillPoint) -> None:
        self._backend = backend
        self._kill_point = kill_point

    def begin(self) -> Connection:
        """Begin, with a step before it and one after it."""
        self._kill_point.step()
        connection = self._backend.begin()
        self._kill_point.step()
        return connection

    def commit(self) -> None:
        """Commit, with a step before it and one after it."""
        self._kill_point.step()
        self._backend.commit()
        self._kill_point.step()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the backend's own."""
        return getattr(self._backend, name)


class KillableSender(Sender):
    """A sender that counts a step before and after each request."""

    def __init__(self, clock: Clock, kill_point: KillPoint) -> None:
        super().__init__(clock=clock, user_agent="crash")
        self._kill_point = kill_point

    async def send(self, receiver: ReceiverSettings, webhook_id: str, body: bytes, previous: bytes | None = None) -> AttemptResult:
        """Send, with a step before it and one after it."""
        self._kill_point.step()
        result = await super().send(receiver, webhook_id, body, previous)
        self._kill_point.step()
        return result
