"""A picture on the terminal that is drawn again and again in place, and a terminal that is afterwards as it was before."""

import asyncio
import shutil
import signal
import sys
from types import TracebackType
from typing import Self

from monitor.clock import Clock

_TAKE = "\033[?1049h\033[?25l"
_GIVE_BACK = "\033[?25h\033[?1049l"
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """
    The whole terminal for as long as the context lasts; where standard output is none, pictures follow each other.

    A new picture is written over the old one line by line, so that nothing flickers. Inside, Ctrl-C and its kind only end
    `wait`; a change of the terminal's size ends it too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._over = False
        self._is_terminal = sys.stdout.isatty()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self._end)
        loop.add_signal_handler(signal.SIGWINCH, self._woken.set)
        if self._is_terminal:
            sys.stdout.write(_TAKE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (*_ENDS, signal.SIGWINCH):
            loop.remove_signal_handler(number)
        if self._is_terminal:
            sys.stdout.write(_GIVE_BACK)
            sys.stdout.flush()

    def draw(self, text: str) -> None:
        """Show *text*, as much of it as there are lines; each of them must fit."""
        shown = text.splitlines()[: shutil.get_terminal_size().lines]
        lines = "\n".join(f"{line}\033[K" for line in shown)
        sys.stdout.write(f"\033[H{lines}\033[J" if self._is_terminal else f"{text}\n\n")
        sys.stdout.flush()

    async def wait(self, seconds: float) -> bool:
        """Wait until it is time for the next picture; False when there shall be none."""
        self._woken.clear()
        if not self._over:
            await self._clock.wait(self._woken, seconds)
        return not self._over

    def _end(self) -> None:
        self._over = True
        self._woken.set()
