"""Requests to stop and to reload, from signals."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from monitor.runtime.loop import _AT_ONCE_SECONDS


class Signals:
    """Requested: `stop` (first SIGTERM or SIGINT), `abort` (the second; the process then ends soon), `reload` (SIGHUP, coalesced)."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.abort = asyncio.Event()
        self.reload = asyncio.Event()

    def request_stop(self) -> None:
        """Stop after the drain; at once when called twice."""
        if self.stop.is_set():
            self.abort.set()
        self.stop.set()

    def remember_reload(self) -> None:
        """Until the handlers are installed, keep a SIGHUP: the configuration may have been read before it was changed."""
        signal.signal(signal.SIGHUP, lambda _number, _frame: self.reload.set())

    def _stop(self) -> None:
        if self.stop.is_set():
            last_resort = threading.Timer(_AT_ONCE_SECONDS, os.kill, (os.getpid(), signal.SIGKILL))
            last_resort.daemon = True
            last_resort.start()
        self.request_stop()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the process's signals between two callbacks of the loop; restores the previous handlers afterwards."""
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
