"""The wall: every connection as a small square of one drawing, grouped; what is worse is larger."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitor.domain.views.snapshot import ConnectionView
from monitor.domain.views.status import DisplayStatus, Filters, Tone, tone_of
from monitor.text.format import count, platform_name, short_name
from monitor.text.links import connection_path
from monitor.text.status import status_label
from monitor.web.status.board import StatusBoard, group_key

WIDTH = 1200
_HEADING = 22
_GAP = 8
_CELLS = ((200, 40), (1200, 20))
_SMALLEST = 10
_SIZES = {Tone.BAD: 1.0, Tone.WARN: 0.9, Tone.GOOD: 0.7, Tone.IDLE: 0.5}


@dataclass(frozen=True, slots=True)
class Square:
    """One connection. *kind*: its tone; `expiring` of one that works and whose token ends soon, with `critical` where that is."""

    x: float
    y: float
    size: float
    kind: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class WallGroup:
    """One group below its heading; *address* lists its connections. The *squares* can be read once: they are made while they are drawn."""

    name: str
    y: int
    total: int
    trouble: int
    address: str
    squares: Iterator[Square]


@dataclass(frozen=True, slots=True)
class Wall:
    """The drawing: *width* by *height*."""

    filters: Filters
    width: int
    height: int
    groups: tuple[WallGroup, ...]
    text: str


def wall_of(board: StatusBoard, filters: Filters) -> Wall:
    """The wall of the connections that *filters* keep, by their group, else by platform; within a group the worst first."""
    by = filters.group or "platform"
    matching = board.ranked(filters)
    members: dict[tuple[bool, str], list[tuple[DisplayStatus, ConnectionView]]] = defaultdict(list)
    for entry in matching:
        members[group_key(entry[1], by)].append(entry)
    cell = next((size for most, size in _CELLS if len(matching) <= most), _SMALLEST)
    groups, y = [], 0
    for (_, value), entries in sorted(members.items()):
        name = (platform_name(value) if by == "platform" else value) or f"without {by}"
        trouble = sum(status.in_trouble for status, _ in entries)
        squares = _squares(board, entries, cell, y + _HEADING)
        groups.append(WallGroup(name, y + _HEADING - 7, len(entries), trouble, _address(filters, by, value), squares))
        y += _HEADING + -(-len(entries) // (WIDTH // cell)) * cell + _GAP
    match = f" {'matches' if len(matching) == 1 else 'match'} {filters.text}," if filters.text else ""
    text = f"{count(len(matching), 'connection')}{match} in {count(len(groups), 'group')}"
    return Wall(filters, WIDTH, max(y, 1), tuple(groups), text)


def _squares(board: StatusBoard, entries: Sequence[tuple[DisplayStatus, ConnectionView]], cell: int, top: int) -> Iterator[Square]:
    in_row = WIDTH // cell
    for number, (status, view) in enumerate(entries):
        incidents = board.incidents_of(view)
        tone = tone_of(status, incidents)
        size = cell * _SIZES[tone] * 0.9
        x, y = (part * cell + (cell - size) / 2 for part in (number % in_row, number // in_row))
        text = f"{short_name(view.connection, view.state)}: {status_label(view, status, incidents)}"
        kind = tone.value
        if status is DisplayStatus.EXPIRING:
            kind = "expiring critical" if tone is Tone.BAD else "expiring"
        yield Square(round(x, 1), round(top + y, 1), round(size, 1), kind, connection_path(view.connection), text)


def _address(filters: Filters, by: str, value: str) -> str:
    """The list of one group; all of the list for those without a value."""
    if not value:
        return filters.address()
    changes: dict[str, str | tuple[str, ...]] = (
        {by: value} if by in ("platform", "account") else {"labels": (*filters.labels, f"{by}={value}")}
    )
    return filters.address(group="", **changes)
