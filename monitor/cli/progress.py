"""How far a long command is: one line on standard error, only on a terminal, and only once it takes longer than a second."""

import sys
from types import TracebackType
from typing import Self

from monitor.clock import Clock

_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.2


class Progress:
    """Shows what `tell` is told, now and then, in place; leaves a clean line behind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock.monotonic() + _PATIENCE_SECONDS
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def tell(self, text: str) -> None:
        """Show *text*, unless something was shown a moment ago."""
        now = self._clock.monotonic()
        if now < self._next or not sys.stderr.isatty():
            return
        self._next = now + _PAUSE_SECONDS
        self._shown = True
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
