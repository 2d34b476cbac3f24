"""Tables that fit the terminal, and colour only where there is one."""

import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence

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


def terminal_width() -> int:
    """How many columns a line may have: those of the terminal, or any number when the output goes elsewhere."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000


def fitted(header: Sequence[str], rows: Sequence[Sequence[str]], width: int, *, least: Mapping[int, int]) -> list[str]:
    """
    The lines of a table no wider than *width*, if that can be: the widest of the columns in *least* is cut first.

    *least* maps the number of a column that may be cut to how wide it stays at least.
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(_length(line[column]) for line in lines) for column in range(len(header))]
    while sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max(least, key=lambda column: widths[column] - least[column])
        if widths[widest] <= least[widest]:
            break
        widths[widest] -= 1
    cut = [[_cut(cell, room) for cell, room in zip(line, widths, strict=True)] for line in lines]
    return [_line(line, widths, widths[-1]) for line in cut]


def indented(text: str, indent: int, width: int) -> str:
    """*text* in one line of *width* columns at most, *indent* from the left."""
    return " " * indent + _cut(text, max(_LEAST_LAST_COLUMN, width - indent))


def _line(cells: Sequence[str], widths: Sequence[int], room: int) -> str:
    padded = [cell + " " * (width - _length(cell)) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
    return "  ".join([*padded, _cut(cells[-1], room)]).rstrip()


def _length(text: str) -> int:
    """How many columns of a terminal *text* takes."""
    plain = _ESCAPES.sub("", text)
    return len(plain) if plain.isascii() else sum(_columns(character) for character in plain)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, room: int) -> str:
    if _length(text) <= room:
        return text
    shown, used = "", 0
    for character in _ESCAPES.sub("", text):
        used += _columns(character)
        if used >= room:
            break
        shown += character
    return f"{shown}…"
