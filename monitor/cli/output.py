"""Tables, live screen, progress, `--json`."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self, TextIO

from monitor.clock import Clock
from monitor.schemas.facts import VERSION

_COLOURS = {
    "passed": "32",
    "ok": "32",
    "failed": "31",
    "error": "31",
    "critical": "31",
    "expired": "31",
    "inconclusive": "33",
    "missing": "33",
    "misconfigured": "33",
    "stale": "33",
    "warning": "33",
    "unsupported": "90",
    "unknown": "90",
    "info": "36",
}
_ESCAPES = re.compile(r"\033\[[0-9;]*m")
_LEAST_LAST_COLUMN = 20
_MOST_READABLE = 120

WIDE = 110
"""From so many columns on the words of a row fit beside its other cells; else they stand below."""


def coloured(text: str, meaning: str) -> str:
    """*text* in the colour of *meaning*, when standard output is a terminal and NO_COLOR is not set."""
    colour = _COLOURS.get(meaning)
    return text if colour is None else paint(text, colour)


def paint(text: str, colour: str) -> str:
    """*text* in an SGR *colour*, when standard output is a terminal and NO_COLOR is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{colour}m{text}\033[0m"


def terminal_width() -> int:
    """How many columns a line may have: those of the terminal, or any number when the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, least: Mapping[int, int], right: Collection[int] = ()
) -> list[str]:
    """
    The lines of a table no wider than *width*, if that can be: the widest of the columns in *least* is cut first.

    *least* maps the number of a column that may be cut to how wide it stays at least; the columns in *right* end in line.
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(columns(line[column]) for line in lines) for column in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(least, key=lambda column: widths[column] - least[column])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    return [_line([cut(cell, room) for cell, room in zip(line, widths, strict=True)], widths, right) for line in lines]


def stacked(lines: Sequence[str], below: Sequence[str], width: int) -> list[str]:
    """A table whose rows have each one's words of *below*, where there are any, in a line of their own."""
    pairs = zip(lines[1:], below, strict=True)
    return [lines[0], *(part for line, words in pairs for part in ([line, indented(words, 2, width)] if words else [line]))]


def indented(text: str, indent: int, width: int) -> str:
    """*text* in one line of *width* columns at most, *indent* from the left."""
    return " " * indent + cut(text, max(_LEAST_LAST_COLUMN, width - indent))


def wrapped(text: str, width: int, indent: str = "", further: str = "") -> str:
    """*text* in lines of *width* columns at most, and no longer than people like to read; all but the first begin with *further*."""
    lines, line, empty = [], indent, True
    for word in text.split():
        longer = line + word if empty else f"{line} {word}"
        if not empty and columns(longer) > min(width, _MOST_READABLE):
            lines.append(line)
            line, empty = further, True
            longer = line + word
        line, empty = longer, False
    return "\n".join([*lines, line])


def columns(text: str) -> int:
    """How many columns of a terminal *text* takes, colour not counted."""
    plain = _ESCAPES.sub("", text)
    return len(plain) if plain.isascii() else sum(width for _, width in _letters(plain))


def cut(text: str, room: int) -> str:
    """*text*, and when it takes more than *room* columns, its beginning with a sign that something is missing; without colour then."""
    if columns(text) <= room:
        return text
    shown, used = "", 0
    for letter, width in _letters(_ESCAPES.sub("", text)):
        used += width
        if used >= room:
            break
        shown += letter
    return f"{shown}…"


def _letters(plain: str) -> Iterator[tuple[str, int]]:
    """What a reader takes for one letter each, with how many columns it takes: wide, combined and emoji ones included."""
    if plain.isascii():
        yield from ((letter, 1) for letter in plain)
        return
    # Only now, since few texts need it and every command starts faster without.
    import wcwidth  # noqa: PLC0415

    for letter in wcwidth.iter_graphemes(plain):
        yield letter, max(0, wcwidth.wcswidth(letter))


def _line(cells: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    padded = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        space = " " * (width - columns(cell))
        padded.append(space + cell if column in right else cell + space)
    return "  ".join(padded).rstrip()


def put(document: Mapping[str, object]) -> None:
    """Print *document*; where standard output is not UTF-8, without any letter beyond ASCII."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=plain))


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
