"""The page of token expiry."""

import calendar
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from monitor.domain.expiry import estimate, levels
from monitor.domain.views.snapshot import ConnectionView
from monitor.domain.views.status import Filters, Tone
from monitor.text.durations import brief
from monitor.text.format import clock, count, day, platform_name, short_name
from monitor.text.links import connection_path
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import countdown_of, expiry_tone

End = tuple[datetime, ConnectionView]
AHEAD = timedelta(days=90)
BEHIND = timedelta(days=30)
_MOST_A_DAY = 10
_DAY = timedelta(days=1)
_NOW = timedelta(0)


@dataclass(frozen=True, slots=True)
class Ending:
    """One token's end."""

    view: ConnectionView
    ends_at: datetime
    title: str
    platform: str
    path: str
    time: str
    left: str
    doubt: str
    tone: Tone
    renews: bool


@dataclass(frozen=True, slots=True)
class Day:
    """The first ends of one day, and how many are not shown."""

    anchor: str
    title: str
    distance: str
    endings: tuple[Ending, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A day in a month: its number, how many tokens end, where they are listed, and the worst tone."""

    number: int
    ends: int
    anchor: str
    tone: Tone
    title: str
    today: bool
    inside: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A month as weeks of seven cells; None where a day belongs to a neighbour."""

    title: str
    weeks: tuple[tuple[Cell | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Agenda:
    """The ends of tokens: recent ones that were not renewed, coming ones by day, and their months."""

    filters: Filters
    text: str
    ended: tuple[Ending, ...]
    ended_more: int
    days: tuple[Day, ...]
    months: tuple[Month, ...]


def endings_of(board: StatusBoard, filters: Filters, now: datetime) -> Iterator[Ending]:
    """The ends within the next 90 days, and those of the last 30 that are not renewed, in order."""
    return (_ending(board, view, ends_at, now) for ends_at, view in _ends(board, filters, now))


def _ends(board: StatusBoard, filters: Filters, now: datetime) -> list[End]:
    ends = []
    for view in board.matching(filters):
        ends_at = estimate.best_estimate(view.state.token)
        if ends_at is not None and -BEHIND <= ends_at - now <= AHEAD:
            ends.append((ends_at, view))
    return sorted(ends, key=lambda end: (end[0], end[1].connection.platform, end[1].connection.platform_id))


def agenda_of(board: StatusBoard, filters: Filters, now: datetime) -> Agenda:
    """The calendar of the next 90 days."""
    ends = _ends(board, filters, now)
    ended = [end for end in ends if end[0] <= now][::-1]
    by_day: dict[date, list[End]] = defaultdict(list)
    for end in ends[len(ended) :]:
        by_day[end[0].astimezone(UTC).date()].append(end)
    today = now.astimezone(UTC).date()
    return Agenda(
        filters=filters,
        text=_summary([view for _, view in ends[len(ended) :]], filters.text),
        ended=tuple(_ending(board, view, ends_at, now) for ends_at, view in ended[:_MOST_A_DAY]),
        ended_more=max(0, len(ended) - _MOST_A_DAY),
        days=tuple(_day(board, at, day_ends, now) for at, day_ends in sorted(by_day.items())),
        months=tuple(_months(board, by_day, today, (now + AHEAD).astimezone(UTC).date())),
    )


def _summary(ahead: Sequence[ConnectionView], kept_by: str) -> str:
    which = f" of the connections that match {kept_by}" if kept_by else ""
    if not ahead:
        return f"No token{which} expires within the next 90 days."
    text = f"{len(ahead):,} {'token' if len(ahead) == 1 else 'tokens'}{which} {'expires' if len(ahead) == 1 else 'expire'} within the next 90 days"
    renewing = sum(levels.auto_renewing(view.state.token) for view in ahead)
    return f"{text}; {renewing:,} of them {'renews' if renewing == 1 else 'renew'} automatically." if renewing else f"{text}."


def _ending(board: StatusBoard, view: ConnectionView, ends_at: datetime, now: datetime) -> Ending:
    countdown = countdown_of(view.state, board.incidents_of(view), now)
    left = ends_at - now
    return Ending(
        view=view,
        ends_at=ends_at,
        title=short_name(view.connection, view.state),
        platform=platform_name(view.connection.platform),
        path=connection_path(view.connection),
        time=clock(ends_at),
        left=f"in {brief(left)}" if left > _NOW else f"{brief(-left)} ago",
        doubt=countdown.doubt,
        tone=_tone(board, view),
        renews=levels.auto_renewing(view.state.token),
    )


def _day(board: StatusBoard, at: date, ends: Sequence[End], now: datetime) -> Day:
    distance = (at - now.astimezone(UTC).date()) // _DAY
    distance_text = {0: "today", 1: "tomorrow"}.get(distance, f"in {distance} days")
    endings = tuple(_ending(board, view, ends_at, now) for ends_at, view in ends[:_MOST_A_DAY])
    return Day(at.isoformat(), day(at), distance_text, endings, max(0, len(ends) - _MOST_A_DAY))


def _tone(board: StatusBoard, view: ConnectionView) -> Tone:
    """The tone of the end, as in the list; one without an incident is neither good nor bad."""
    tone = expiry_tone(board.incidents_of(view))
    return Tone.IDLE if tone is Tone.GOOD else tone


def _months(board: StatusBoard, by_day: Mapping[date, Sequence[End]], today: date, last: date) -> Iterator[Month]:
    year, month = today.year, today.month
    while (year, month) <= (last.year, last.month):
        weeks = calendar.Calendar().monthdatescalendar(year, month)
        cells = tuple(
            tuple(_cell(board, at, by_day.get(at, ()), today, last) if at.month == month else None for at in week) for week in weeks
        )
        yield Month(f"{date(year, month, 1):%B %Y}", cells)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _cell(board: StatusBoard, at: date, ends: Sequence[End], today: date, last: date) -> Cell:
    tones = {_tone(board, view) for _, view in ends}
    title = f"{day(at)}: {count(len(ends), 'token expires', 'tokens expire')}" if ends else day(at)
    tone = next((tone for tone in Tone if tone in tones), Tone.IDLE)
    return Cell(at.day, len(ends), at.isoformat(), tone, title, at == today, today <= at <= last)
