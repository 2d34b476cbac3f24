"""
Lines to a stream that may stop taking them: whoever logs never waits.

A thread writes. When nobody reads the other end of stderr and the line is full, further ones are dropped and counted;
the number is said as soon as somebody reads again.

Source: reliability.md F54.
"""

import json
import logging
import queue
import threading
from typing import TextIO

_LINES = 5000
_LAST_SECONDS = 2.0


class Outlet(logging.Handler):
    """
    Carries formatted lines to *stream*.

    Attributes:
        dropped: how many lines were not written since it was last said.
    """

    def __init__(self, stream: TextIO, *, lines: int = _LINES) -> None:
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(lines)
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Put the line in the queue; never waits."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that can't be made must not end what it is about
            self.handleError(record)
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is left, as long as somebody reads; idempotent. Waits two seconds at most."""
        if self._thread.is_alive():
            try:
                self._lines.put(None, timeout=_LAST_SECONDS)
            except queue.Full:
                return
            self._thread.join(_LAST_SECONDS)
        super().close()

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._put(line)
            if self.dropped and self._lines.empty():
                dropped, self.dropped = self.dropped, 0
                self._put(json.dumps({"event": "log.dropped", "lines": dropped, "level": "warning"}))

    def _put(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The other end is closed: there is nobody to tell.
            self.dropped += 1
