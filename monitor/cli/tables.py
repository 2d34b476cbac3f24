"""Tables that fit the terminal, and colour only where there is one."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence

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
