"""When tokens end: the next 90 days as an agenda and as months."""

import calendar
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from monitor.domain import expiry
from monitor.domain.sentences import platform_name
from monitor.domain.snapshot import ConnectionView
from monitor.web.links import connection_path
from monitor.web.rows import countdown_of, name_of
from monitor.web.standing import Tone
from monitor.web.views import Board, Filters
from monitor.web.words import clock, count, day, short

AHEAD = timedelta(days=90)
BEHIND = timedelta(days=30)
_MOST_A_DAY = 25
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
    """The ends of one day: the first of them, and how many are not shown."""

    anchor: str
    words: str
    distance: str
    endings: tuple[Ending, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Cell:
    """A day in a month: its number, how many tokens end, where they are listed, and how bad the worst is."""

    number: int
    ends: int
    anchor: str
    tone: Tone
    words: str
    today: bool
    inside: bool


@dataclass(frozen=True, slots=True)
class Month:
    """A month as weeks of seven cells; None where a week belongs to a neighbour."""

    words: str
    weeks: tuple[tuple[Cell | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Agenda:
    """The ends of tokens: those behind us that still matter, those ahead by day, and the months around them."""

    filters: Filters
    words: str
    ended: tuple[Ending, ...]
    ended_more: int
    days: tuple[Day, ...]
    months: tuple[Month, ...]


def endings_of(board: Board, filters: Filters, now: datetime) -> list[Ending]:
    """The ends within the next 90 days, and those of the last 30 that are not renewed, in order."""
    found = []
    for view in board.matching(filters):
        ends_at = expiry.best(view.state.token)
        if ends_at is not None and -BEHIND <= ends_at - now <= AHEAD:
            found.append(_ending(board, view, ends_at, now))
    return sorted(found, key=lambda one: (one.ends_at, one.platform, one.view.connection.platform_id))


def agenda_of(board: Board, filters: Filters, now: datetime) -> Agenda:
    """The calendar of the next 90 days."""
    endings = endings_of(board, filters, now)
    ended = [one for one in endings if one.ends_at <= now][::-1]
    ahead = [one for one in endings if one.ends_at > now]
    by_day: dict[date, list[Ending]] = defaultdict(list)
    for one in ahead:
        by_day[one.ends_at.astimezone(UTC).date()].append(one)
    today = now.astimezone(UTC).date()
    renewing = sum(one.renews for one in ahead)
    words = f"{count(len(ahead), 'token ends', 'tokens end')} within the next 90 days" if ahead else "No token ends within the next 90 days"
    return Agenda(
        filters=filters,
        words=f"{words}; {renewing:,} of them {'renews' if renewing == 1 else 'renew'} by machine." if renewing else f"{words}.",
        ended=tuple(ended[:_MOST_A_DAY]),
        ended_more=max(0, len(ended) - _MOST_A_DAY),
        days=tuple(_day(at, found, today) for at, found in sorted(by_day.items())),
        months=tuple(_months(by_day, today, (now + AHEAD).astimezone(UTC).date())),
    )


def _ending(board: Board, view: ConnectionView, ends_at: datetime, now: datetime) -> Ending:
    countdown = countdown_of(view.state, board.incidents_of(view), now)
    left = ends_at - now
    return Ending(
        view=view,
        ends_at=ends_at,
        title=name_of(view.connection, view.state),
        platform=platform_name(view.connection.platform),
        path=connection_path(view.connection),
        time=clock(ends_at),
        left=f"in {short(left)}" if left > _NOW else f"{short(-left)} ago",
        doubt=countdown.doubt,
        tone=countdown.tone,
        renews=expiry.auto_renewing(view.state.token),
    )


def _day(at: date, found: Sequence[Ending], today: date) -> Day:
    distance = (at - today) // _DAY
    words = {0: "today", 1: "tomorrow"}.get(distance, f"in {distance} days")
    return Day(at.isoformat(), day(at), words, tuple(found[:_MOST_A_DAY]), max(0, len(found) - _MOST_A_DAY))


def _months(by_day: dict[date, list[Ending]], today: date, last: date) -> Iterator[Month]:
    year, month = today.year, today.month
    while (year, month) <= (last.year, last.month):
        weeks = calendar.Calendar().monthdatescalendar(year, month)
        cells = tuple(tuple(_cell(at, by_day.get(at, ()), today, last) if at.month == month else None for at in week) for week in weeks)
        yield Month(f"{date(year, month, 1):%B %Y}", cells)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _cell(at: date, found: Sequence[Ending], today: date, last: date) -> Cell:
    tones = Counter(one.tone for one in found)
    tone = next((one for one in Tone if tones[one]), Tone.IDLE)
    words = f"{day(at)}: {count(len(found), 'token ends', 'tokens end')}" if found else day(at)
    return Cell(at.day, len(found), at.isoformat(), tone, words, at == today, today <= at <= last)
