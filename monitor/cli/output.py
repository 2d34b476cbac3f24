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
    "attention": "33",
    "expiring": "33",
    "unsupported": "90",
    "unknown": "90",
    "info": "36",
}
_ESCAPES = re.compile(r"\033\[[0-9;]*m")
# Latin letters, quotation marks, dashes and arrows take one column each, whatever is beside them.
_NARROW = re.compile(r"[\x00-\x7f\xa1-\xac\xae-\u02ff\u2010-\u2027\u2190-\u2193]*")
_MAX_READABLE_WIDTH = 120
_MIN_LAST_WIDTH = 40

WIDE = 110
"""From this width on the texts of a row stand beside its other cells, else below them."""


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
    """The columns of the terminal; practically unlimited when standard output is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    least: Mapping[int, int],
    right: Collection[int] = (),
    texts: int = 1,
    named: Mapping[int, str] | None = None,
    notable: Sequence[bool] | None = None,
) -> list[str]:
    """
    The lines of a table whose last *texts* columns are texts: beside the other cells if they fit into *width*, else below each row.

    The last column is wrapped, never cut. Below, the last text of a row that is not *notable* is left out; *named* is what precedes
    the cell of a column there. *least* and *right* as for `fitted`.
    """
    last = len(header) - 1
    least = {column: room for column, room in least.items() if column < last}
    if width >= WIDE:
        beside = _widths([header[:last], *(row[:last] for row in rows)], width - _MIN_LAST_WIDTH - 2, least)
        room = width - sum(beside) - 2 * last
        if room >= _MIN_LAST_WIDTH:
            return [line for row in (header, *rows) for line in _with_last(row, beside, room, right)]
    kept = len(header) - texts
    narrow = {column: room for column, room in least.items() if column < kept}
    first, *lines = fitted(header[:kept], [row[:kept] for row in rows], width, least=narrow, right=right)
    shown = [first]
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        shown.append(line)
        below = range(kept, len(row) if notable is None or notable[number] else last)
        if text := ": ".join(f"{(named or {}).get(column, '')}{row[column]}" for column in below if row[column]):
            shown += wrapped(text, width, "  ", "  ").splitlines()
    return shown


def _with_last(row: Sequence[str], widths: Sequence[int], room: int, right: Collection[int]) -> list[str]:
    """The lines of one row whose last cell is wrapped into *room* columns."""
    first = "".join(
        f"{_padded(cut(cell, width), width, right=column in right)}  "
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    )
    text = row[-1] if room > _MAX_READABLE_WIDTH else wrapped(row[-1], room)
    head, *rest = text.splitlines() or [""]
    return [f"{first}{head}".rstrip(), *(" " * columns(first) + line for line in rest)]


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, least: Mapping[int, int], right: Collection[int] = ()
) -> list[str]:
    """A table that fits into *width* if possible; *least*: minimum widths of the columns that may be cut; *right*: those aligned right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = _widths(lines, width, least)
    return [
        "  ".join(
            _padded(cut(cell, room), room, right=column in right) for column, (cell, room) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _widths(lines: Sequence[Sequence[str]], width: int, least: Mapping[int, int]) -> list[int]:
    """The widths of the columns, so that they fit into *width* if possible."""
    widths = [max(columns(line[column]) for line in lines) for column in range(len(lines[0]))]
    while least and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(least, key=lambda column: widths[column] - least[column])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    return widths


def _padded(cell: str, room: int, *, right: bool) -> str:
    space = " " * (room - columns(cell))
    return space + cell if right else cell + space


def wrapped(text: str, width: int, indent: str = "", further: str = "") -> str:
    """*text* wrapped at *width* or at a readable width; all lines but the first begin with *further*."""
    lines, line, empty = [], indent, True
    for word in text.split():
        longer = line + word if empty else f"{line} {word}"
        if not empty and columns(longer) > min(width, _MAX_READABLE_WIDTH):
            lines.append(line)
            longer = further + word
        line, empty = longer, False
    return "\n".join([*lines, line])


def columns(text: str) -> int:
    """How many columns of a terminal *text* takes; colours take none."""
    plain = _ESCAPES.sub("", text)
    if _NARROW.fullmatch(plain):
        return len(plain)
    import wcwidth  # noqa: PLC0415 - few texts need it, and a verb starts faster without

    width = wcwidth.wcswidth(plain)
    # It refuses a text with a control character.
    return width if width >= 0 else sum(width for _, width in _graphemes(plain))


def cut(text: str, room: int) -> str:
    """*text*, or as much of it as fits before an ellipsis, then without colour."""
    if columns(text) <= room:
        return text
    plain = _ESCAPES.sub("", text)
    if _NARROW.fullmatch(plain):
        return f"{plain[: room - 1]}…"
    kept, used = "", 0
    for grapheme, width in _graphemes(plain):
        used += width
        if used >= room:
            break
        kept += grapheme
    return f"{kept.rstrip()}…"


def _graphemes(plain: str) -> Iterator[tuple[str, int]]:
    """The graphemes of *plain*, each with the columns that it takes."""
    import wcwidth  # noqa: PLC0415 - as above

    for grapheme in wcwidth.iter_graphemes(plain):
        yield grapheme, max(0, wcwidth.wcswidth(grapheme))


def put(document: Mapping[str, object]) -> None:
    """Print *document* as JSON; in ASCII where standard output is not UTF-8."""
    from monitor.schemas.facts import VERSION  # noqa: PLC0415 - few verbs print JSON without being asked

    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=ascii_only))


def report(done: str, *, as_json: bool) -> int:
    """Print what was *done*, in words or as JSON; returns 0."""
    if as_json:
        put({"done": done})
    else:
        print(done)
    return 0


_FIRST_SHOWN_SECONDS = 1.0
_REFRESH_SECONDS = 0.2
_CLEAR_LINE = "\r\033[2K"


class Progress:
    """Shows the progress of a long command on a terminal, in one line that is removed at the end."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stderr
        self._next = clock.monotonic() + _FIRST_SHOWN_SECONDS
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            print(_CLEAR_LINE, end="", file=self._stream, flush=True)

    def show(self, text: str) -> None:
        """Show *text*, unless the command is too young or another text was shown a moment ago."""
        now = self._clock.monotonic()
        if now < self._next or not self._stream.isatty():
            return
        self._next = now + _REFRESH_SECONDS
        self._shown = True
        print(f"{_CLEAR_LINE}{text}", end="", file=self._stream, flush=True)


_ENTER = "\033[?1049h\033[?25l"
_LEAVE = "\033[?25h\033[?1049l"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """The terminal while the context lasts, redrawn line by line; elsewhere texts are printed one after the other. Signals end `wait`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._stopped = False
        self._is_terminal = sys.stdout.isatty()

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGWINCH, self._woken.set)
        if self._is_terminal:
            print(_ENTER, end="", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (*_STOP_SIGNALS, signal.SIGWINCH):
            loop.remove_signal_handler(number)
        if self._is_terminal:
            print(_LEAVE, end="", flush=True)

    def draw(self, text: str) -> None:
        """Show *text* in place of what was shown; its lines must fit."""
        if not self._is_terminal:
            print(f"{text}\n", flush=True)
            return
        lines = text.splitlines()[: shutil.get_terminal_size().lines]
        print("\033[H" + "\n".join(f"{line}\033[K" for line in lines) + "\033[J", end="", flush=True)

    async def wait(self, seconds: float) -> bool:
        """Wait until the next text is due; False when none shall be drawn any more."""
        self._woken.clear()
        if not self._stopped:
            await self._clock.wait(self._woken, seconds)
        return not self._stopped

    def _stop(self) -> None:
        self._stopped = True
        self._woken.set()
