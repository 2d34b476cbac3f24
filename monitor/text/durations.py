"""Parse and print durations."""

import re
from datetime import timedelta

# Longest first, so that formatting prefers the larger unit; a year is 365 days, never a calendar year.
_UNITS = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}

_PRINTED = ("d", "h", "m", "s", "ms")
DURATION_PATTERN = r"(?:[0-9]+y)?(?:[0-9]+w)?(?:[0-9]+d)?(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?(?:[0-9]+ms)?"
_PART = re.compile(r"([0-9]+)(ms|[ywdhms])")
LONGEST = timedelta(days=3650)


def _invalid(problem: str, fix: str) -> ValueError:
    return ValueError(problem, fix)


def parse_duration(value: object) -> timedelta:
    """
    The duration that `15m`, `7d`, `36h` or `1d12h` stands for; a timedelta stays as it is.

    Units, largest first, each at most once: y (365 days), w, d, h, m (minutes), s, ms.

    Raises:
        ValueError: for anything else; its arguments are what is wrong and what to write instead.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise _invalid("needs a unit", f'write "{value}s" for seconds, "{value}m" for minutes')
    if not isinstance(value, str):
        raise _invalid("must be a duration", "such as 15m, 36h or 7d")
    text = value.strip()
    if not text or not re.fullmatch(DURATION_PATTERN, text):
        raise _invalid("is not a duration", "such as 30s, 15m, 36h, 7d or 1d12h: largest unit first, no blanks")
    try:
        total = sum((int(count) * _UNITS[unit] for count, unit in _PART.findall(text)), timedelta())
    except (OverflowError, ValueError):
        total = LONGEST * 2
    if total > LONGEST:
        raise _invalid("is longer than ten years", "write a shorter duration")
    return total


def format_duration(duration: timedelta) -> str:
    """*duration* as the configuration writes it, in days and smaller units: `1d12h`, `15m`, `0s`."""
    rest, parts = duration, []
    for unit in _PRINTED:
        count, rest = divmod(rest, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def span(duration: timedelta) -> str:
    """A duration in its two largest units, such as `2d 3h`; below a minute in seconds, never negative."""
    seconds = max(0, round(duration.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    shown = [f"{count}{unit}" for count, unit in parts[first : first + 2] if count]
    return " ".join(shown) or "0s"


def brief(duration: timedelta) -> str:
    """`span` without seconds, unless there is nothing else: `42s`, `7m`, `3h 20m`, `12d 4h`."""
    minutes = duration // timedelta(minutes=1)
    return span(timedelta(minutes=minutes)) if minutes else span(duration)
