"""Tables that fit the terminal, and colour only where there is one."""

import os
import re
import shutil
import sys
from collections.abc import Sequence

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


def coloured(text: str, meaning: str) -> str:
    """*text* in the colour of *meaning*, when standard output is a terminal and NO_COLOR is not set."""
    colour = _COLOURS.get(meaning)
    return text if colour is None else paint(text, colour)


def paint(text: str, colour: str) -> str:
    """*text* in an SGR *colour*, when standard output is a terminal and NO_COLOR is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\033[{colour}m{text}\033[0m"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """
    *rows* under *header*, as wide as the terminal at most.

    Columns are as wide as their widest cell; the last one is cut where the line would be longer than *width*
    (default: the terminal, or no limit when the output goes elsewhere).
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(_length(line[column]) for line in lines) for column in range(len(header))]
    room = max(_LEAST_LAST_COLUMN, width - sum(widths[:-1]) - 2 * (len(widths) - 1))
    return "\n".join(_line(line, widths, room) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], room: int) -> str:
    padded = [cell + " " * (width - _length(cell)) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "  ".join([*padded, _cut(cells[-1], room)]).rstrip()


def _length(text: str) -> int:
    return len(_ESCAPES.sub("", text))


def _cut(text: str, room: int) -> str:
    return text if _length(text) <= room else text[: room - 1] + "…"
