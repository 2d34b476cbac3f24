"""How far a long command is: one line on standard error, only on a terminal, and only once it takes longer than a second."""

import sys
from types import TracebackType
from typing import Self, TextIO

from monitor.clock import Clock

_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


class Progress:
    """Shows what `tell` is told, now and then, in place; leaves a clean line behind."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stderr
        self._next = clock.monotonic() + _PATIENCE_SECONDS
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            print("\r\033[K", end="", file=self._stream, flush=True)

    def tell(self, text: str) -> None:
        """Show *text*, unless something was shown a moment ago."""
        now = self._clock.monotonic()
        if now < self._next or not self._stream.isatty():
            return
        self._next = now + _PAUSE_SECONDS
        self._shown = True
        print(f"\r\033[K{text}", end="", file=self._stream, flush=True)
