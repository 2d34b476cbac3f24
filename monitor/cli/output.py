"""Tables, live screen, progress, `--json`. `rich` is imported only where it is needed: it takes longer than most verbs."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from monitor.clock import Clock
from monitor.schemas.facts import VERSION

if TYPE_CHECKING:
    from rich.live import Live

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
_MIN_TEXT_WIDTH = 20
_MAX_READABLE_WIDTH = 120

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
    notable: Sequence[bool] | None = None,
) -> list[str]:
    """
    The lines of a table whose last *texts* columns are texts: beside the other cells if *width* allows, else below each row.

    Below, the text of a row that is not *notable* is left out. *least* and *right* as for `fitted`.
    """
    if width >= WIDE:
        return fitted(header, rows, width, least=least, right=right)
    kept = len(header) - texts
    narrow = {column: room for column, room in least.items() if column < kept}
    first, *lines = fitted(header[:kept], [row[:kept] for row in rows], width, least=narrow, right=right)
    shown = [first]
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        shown.append(line)
        text = ": ".join(filter(None, row[kept:]))
        if text and (notable is None or notable[number]):
            shown.append(indented(text, 2, width))
    return shown


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, least: Mapping[int, int], right: Collection[int] = ()
) -> list[str]:
    """
    The lines of a table that fits into *width* if possible: the widest of the columns in *least* is cut first.

    *least* maps the columns that may be cut to their minimum width; the columns in *right* are aligned right.
    """
    # Not a rich.table: its import and its layout would double the time of a verb, and 10,000 rows take it six seconds.
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(columns(line[column]) for line in lines) for column in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(least, key=lambda column: widths[column] - least[column])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    return [
        "  ".join(
            _padded(cut(cell, room), room, right=column in right) for column, (cell, room) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _padded(cell: str, room: int, *, right: bool) -> str:
    space = " " * (room - columns(cell))
    return space + cell if right else cell + space


def indented(text: str, indent: int, width: int) -> str:
    """*text* on one line of *width* columns, indented, cut if necessary."""
    return " " * indent + cut(text, max(_MIN_TEXT_WIDTH, width - indent))


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
    if plain.isascii():
        return len(plain)
    from rich.cells import cell_len  # noqa: PLC0415 - few texts need it

    return cell_len(plain)


def cut(text: str, room: int) -> str:
    """*text*, or as much of it as fits before an ellipsis, then without colour."""
    if columns(text) <= room:
        return text
    plain = _ESCAPES.sub("", text)
    if plain.isascii():
        return f"{plain[: room - 1]}…"
    from rich.cells import set_cell_size  # noqa: PLC0415 - few texts need it

    return f"{set_cell_size(plain, room - 1).rstrip()}…"


def put(document: Mapping[str, object]) -> None:
    """Print *document* as JSON; in ASCII where standard output is not UTF-8."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    print(json.dumps({"version": VERSION, **document}, indent=2, ensure_ascii=ascii_only))


_FIRST_SHOWN_SECONDS = 1.0
_REFRESH_SECONDS = 0.2


class Progress:
    """Shows the progress of a long command on a terminal, in one line that is removed at the end."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stderr
        self._next = clock.monotonic() + _FIRST_SHOWN_SECONDS
        self._open = ExitStack()
        self._line: Live | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._open.close()

    def show(self, text: str) -> None:
        """Show *text*, unless the command is too young or another text was shown a moment ago."""
        now = self._clock.monotonic()
        if now < self._next or not self._stream.isatty():
            return
        self._next = now + _REFRESH_SECONDS
        if self._line is None:
            self._line = self._open.enter_context(_live(self._stream, screen=False))
        self._line.update(text, refresh=True)


def _live(stream: TextIO, *, screen: bool) -> "Live":
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.live import Live  # noqa: PLC0415

    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    return Live(console=console, screen=screen, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """
    The whole terminal as long as the context lasts; where standard output is not one, texts are printed one after the other.

    Inside, a signal to stop or a change of the terminal's size ends `wait`, nothing else.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._woken = asyncio.Event()
        self._stopped = False
        self._live = _live(sys.stdout, screen=True) if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGWINCH, self._woken.set)
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (*_STOP_SIGNALS, signal.SIGWINCH):
            loop.remove_signal_handler(number)
        if self._live is not None:
            self._live.stop()

    def draw(self, text: str) -> None:
        """Show *text* in place of what was shown; its lines must fit."""
        if self._live is None:
            print(f"{text}\n", flush=True)
            return
        from rich.text import Text  # noqa: PLC0415 - slow to import

        self._live.update(Text.from_ansi(text, no_wrap=True, end=""), refresh=True)

    async def wait(self, seconds: float) -> bool:
        """Wait until the next text is due; False when none shall be drawn any more."""
        self._woken.clear()
        if not self._stopped:
            await self._clock.wait(self._woken, seconds)
        return not self._stopped

    def _stop(self) -> None:
        self._stopped = True
        self._woken.set()
