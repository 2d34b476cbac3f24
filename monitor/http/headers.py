"""HTTP dates and Retry-After."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

LONGEST_RETRY_AFTER_SECONDS = 10.0**6
"""Longer waits are cut: no receiver or API is left alone for more than eleven days."""

_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS = {
    name: number for number, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)
}
_SECONDS = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)


# Answers within one second have the same date.
@lru_cache(maxsize=16)
def http_date(text: str) -> datetime | None:
    """
    Return the time in a `Date` header; None for anything but the one form in use today.

    Source: RFC 9110, 5.6.7.
    """
    match = _HTTP_DATE.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        return datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC)
    except (ValueError, KeyError):
        return None


def retry_after(text: str, now: datetime) -> timedelta | None:
    """Return how long a `Retry-After` header asks to wait, in seconds or until a date; None for anything else."""
    text = text.strip()
    try:
        if _SECONDS.fullmatch(text):
            seconds = float(text)
        else:
            until = parsedate_to_datetime(text)
            seconds = (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds()
    except (ValueError, OverflowError, TypeError):
        return None
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS))
