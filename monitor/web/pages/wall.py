"""
The wall: every connection as a small square of one drawing, grouped.

What is worse is larger, so that the colour is not the only cue.
"""

from collections import defaultdict
from dataclasses import dataclass

from monitor.domain.status import Filters, Tone
from monitor.text.format import platform_name, short_name
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
    """One connection."""

    x: float
    y: float
    size: float
    tone: str
    path: str
    text: str


@dataclass(frozen=True, slots=True)
class WallGroup:
    """The squares of one group below its heading; *address* lists its connections."""

    name: str
    y: int
    total: int
    trouble: int
    address: str
    squares: tuple[Square, ...]


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
    matching = board.matching(filters)
    members = defaultdict(list)
    for view in matching:
        members[group_key(view, by)].append(view)
    cell = next((size for most, size in _CELLS if len(matching) <= most), _SMALLEST)
    groups, y = [], 0
    for (_, value), views in sorted(members.items()):
        squares, trouble = [], 0
        for number, view in enumerate(views):
            status, incidents = board.status(view), board.incidents_of(view)
            tone = board.tone(view)
            trouble += status.in_trouble
            size = cell * _SIZES[tone] * 0.9
            inset = (cell - size) / 2
            across, down = number % (WIDTH // cell), number // (WIDTH // cell)
            text = f"{short_name(view.connection, view.state)}: {status_label(view, status, incidents)}"
            squares.append(
                Square(
                    round(across * cell + inset, 1),
                    round(y + _HEADING + down * cell + inset, 1),
                    round(size, 1),
                    tone.value,
                    connection_path(view.connection),
                    text,
                )
            )
        name = (platform_name(value) if by == "platform" else value) or f"without {by}"
        groups.append(WallGroup(name, y + _HEADING - 7, len(views), trouble, _address(filters, by, value), tuple(squares)))
        y += _HEADING + -(-len(views) // (WIDTH // cell)) * cell + _GAP
    return Wall(filters, WIDTH, max(y, 1), tuple(groups), f"{len(matching):,} connections in {len(groups):,} groups")


def _address(filters: Filters, by: str, value: str) -> str:
    """The list of one group; all of the list for those without a value."""
    if not value:
        return filters.address()
    changes: dict[str, str | tuple[str, ...]] = (
        {by: value} if by in ("platform", "account") else {"labels": (*filters.labels, f"{by}={value}")}
    )
    return filters.address(group="", **changes)
