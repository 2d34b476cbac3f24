"""How the pages say things: durations, moments, counts."""

from datetime import UTC, date, datetime, timedelta

from monitor.domain.sentences import span

_JUST_NOW = timedelta(seconds=2)
_WORTH_SAYING = timedelta(minutes=2)


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, or in how long: `3m ago`, `in 2h`, `just now`, `never`."""
    if at is None:
        return "never"
    if abs(now - at) < _JUST_NOW:
        return "just now"
    return f"{short(now - at)} ago" if at <= now else f"in {short(at - now)}"


def short(duration: timedelta) -> str:
    """A duration in one unit below a day, in two above: `42s`, `7m`, `3h 20m`, `12d 4h`."""
    minutes = duration // timedelta(minutes=1)
    return span(timedelta(minutes=minutes)) if minutes else span(duration)


def doubt(uncertainty: timedelta | None) -> str:
    """By how much a moment may be off, when that is worth saying: `± 30m`."""
    if uncertainty is None or uncertainty < _WORTH_SAYING:
        return ""
    return f"± {short(uncertainty)}"


def count(number: int, thing: str, things: str = "") -> str:
    """`1 connection`, `1,000 connections`."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def sentence(words: str) -> str:
    """A clause as a sentence."""
    return f"{words[0].upper()}{words[1:]}." if words else ""


def stamp(at: datetime) -> str:
    """A moment in full, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def second(at: datetime) -> str:
    """A moment to the second, where it is said elsewhere that it is in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def milliseconds(number: float) -> str:
    """How long a check took: `85 ms`, `1.2 s`."""
    return f"{number:.0f} ms" if number < 1000 else f"{number / 1000:.1f} s"


def day(at: datetime | date) -> str:
    """A day for people, in UTC: `Tue 1 Jan 2030`."""
    return f"{at:%a} {at.day} {at:%b %Y}"


def clock(at: datetime) -> str:
    """A time of day, in UTC: `00:00`."""
    return f"{at.astimezone(UTC):%H:%M}"


def percent(ratio: float) -> str:
    """A share as `99.98 %`, cut off: `100 %` is nothing but all of it."""
    hundredths = int(ratio * 10_000 + 1e-6)
    return f"{hundredths // 100} %" if hundredths % 100 == 0 else f"{hundredths / 100:.2f} %"
