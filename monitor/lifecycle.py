"""
Signals, supervised loops, the bounded drain, and the word to systemd.

A loop is written once, here: `step` until it finds nothing, then wait for a wake, for a while, or for the stop. A loop
that raises ends its task group, and with it the process: state is in rows, so a restart loses nothing.
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import structlog

from monitor.clock import Clock

_log = structlog.get_logger(__name__)

Step = Callable[[], Awaitable[bool]]

_SHORTEST_REST_SECONDS = 0.02
_AT_ONCE_SECONDS = 5.0


class Progress(Protocol):
    """Whatever must go on: its name, and when it last did, in seconds of the monotonic clock."""

    name: str
    last_step: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """
    How long what must go on may stand still before the watchdog is no longer fed, in seconds.

    With the default timeouts of requests all of them together are below the minute of `WatchdogSec=`.

    Attributes:
        step: a step of a loop, beyond what the network may take.
        rest: how long a loop rests by itself; beats wake it before that.
        scheduler: between two beats.
        writer: the database writer's answer, while it is not known to be out of order.
    """

    step: float = 20.0
    rest: float = 5.0
    scheduler: float = 30.0
    writer: float = 30.0


class Signals:
    """
    What the outside asked for: `stop` (first SIGTERM or SIGINT), `abort` (the second), `reload` (SIGHUP, coalesced).

    The second one cuts off what is in hand. If the process is still there some seconds later (a disk that does not
    answer), it ends as by `kill -9`: whatever is owed is in rows.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.abort = asyncio.Event()
        self.reload = asyncio.Event()

    def ask_to_stop(self) -> None:
        """Stop after the drain; asked twice, stop at once."""
        if self.stop.is_set():
            self.abort.set()
        self.stop.set()

    def remember_reload(self) -> None:
        """Until the signals are installed, note a SIGHUP: the configuration may have been read before it was changed."""
        signal.signal(signal.SIGHUP, lambda _number, _frame: self.reload.set())

    def _stop(self) -> None:
        if self.stop.is_set():
            last_resort = threading.Timer(_AT_ONCE_SECONDS, os.kill, (os.getpid(), signal.SIGKILL))
            last_resort.daemon = True
            last_resort.start()
        self.ask_to_stop()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """
        Route the process's signals here, and give them back afterwards.

        asyncio runs the handlers between two callbacks of the loop, so they may set events; Python's own handlers are
        replaced meanwhile, so a SIGHUP no longer ends the process.
        """
        loop = asyncio.get_running_loop()
        handlers = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self.reload.set}
        before = {number: signal.getsignal(number) for number in handlers}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])


class Loop:
    """
    One supervised loop: a name, a step, and when it last finished one.

    Args:
        rest_seconds: the longest wait when there is nothing to do; a wake ends it.
        idle: seconds until there will be something to do, where the agent knows; ends the rest in time.
    """

    def __init__(
        self, name: str, step: Step, *, rest_seconds: float, clock: Clock, stop: asyncio.Event, idle: Callable[[], float] | None = None
    ) -> None:
        self.name = name
        self.wake = asyncio.Event()
        self.last_step = clock.monotonic()
        self._step = step
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._stop = stop
        self._idle = idle

    async def run(self) -> None:
        """Step until the stop is asked for; the step in hand is finished first."""
        while not self._stop.is_set():
            self.wake.clear()
            busy = await self._step()
            self.last_step = self._clock.monotonic()
            if busy:
                await asyncio.sleep(0)  # noqa: TID251 - yields to the other loops, takes no time
            else:
                await self._clock.wait(self.wake, self._rest())

    def _rest(self) -> float:
        # Something that is due but held back must not turn the wait into a spin.
        return self._rest_seconds if self._idle is None else min(self._rest_seconds, max(self._idle(), _SHORTEST_REST_SECONDS))


async def drain(tasks: dict[str, asyncio.Task[None]], *, seconds: float, abort: asyncio.Event) -> list[str]:
    """
    Let *tasks* finish, at most *seconds* or until *abort*; cancel what is left.

    Returns the names of those that had to be cancelled.
    """
    pending = {task for task in tasks.values() if not task.done()}
    if pending:
        aborted = asyncio.create_task(abort.wait())
        finished = asyncio.create_task(asyncio.wait(pending))
        await asyncio.wait({finished, aborted}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for helper in (aborted, finished):
            helper.cancel()
    left = [name for name, task in tasks.items() if not task.done()]
    for name in left:
        _log.warning("drain.exceeded", loop=name)
        tasks[name].cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    return left


class ServiceManager:
    """
    Tells systemd how the service is; does nothing when it is not there.

    Attributes:
        watchdog_seconds: without a sign of life for so long the service manager ends this process; None: it does not.
        trouble: what people should read in `systemctl status` besides the counts; "" when there is none.

    Source: sd_notify(3), "Well-known assignments": datagrams to the socket named by $NOTIFY_SOCKET.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._reached = True
        self._owed: tuple[str, ...] = ()
        self.watchdog_seconds = watchdog_seconds
        self.trouble = ""

    @classmethod
    def from_environment(cls) -> "ServiceManager":
        """The service manager that started this process, if one did."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        own = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        watchdog = int(microseconds) / 1e6 if own and microseconds.isdigit() else None
        return cls(os.environ.get("NOTIFY_SOCKET"), watchdog)

    def ready(self, status: str) -> None:
        """The service is up."""
        self._change("READY=1", self._status(status))

    def reloading(self, monotonic_seconds: float) -> None:
        """The configuration is being read again."""
        self._change("RELOADING=1", f"MONOTONIC_USEC={int(monotonic_seconds * 1e6)}")

    def stopping(self) -> None:
        """The service is going down."""
        self._change("STOPPING=1", "STATUS=Finishing what is in hand")

    def alive(self, status: str) -> None:
        """Every loop makes progress."""
        self._send("WATCHDOG=1", self._status(status))

    def unwell(self, status: str) -> None:
        """Something stands still: only words, no sign of life."""
        self._send(f"STATUS={status}")

    def _status(self, status: str) -> str:
        return f"STATUS={status}; {self.trouble}" if self.trouble else f"STATUS={status}"

    def _change(self, *lines: str) -> None:
        """A new state: where it can't be told now, it is told before the next words."""
        self._owed = ()
        self._owed = () if self._send(*lines) else lines

    def _send(self, *lines: str) -> bool:
        """Whether *lines* were taken. Never waits: a service manager that reads nothing must not stop the checks."""
        if not self._address:
            return True
        if self._owed:
            self._change(*self._owed)
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as notify:
            try:
                notify.connect(address)
                notify.send("\n".join(lines).encode())
            except OSError as error:
                if self._reached:
                    _log.warning("systemd.unreachable", problem=error.strerror)
                self._reached = False
                return False
        self._reached = True
        return True
