"""HTTP dates and Retry-After."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, ([0-9]{2}) ([A-Z][a-z]{2}) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT")
_MONTHS = {
    name: number for number, name in enumerate(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1)
}


def http_date(text: str) -> datetime | None:
    """
    The time in a `Date` or `Retry-After` header; None for anything but the one form in use today.

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


def _retry_after(text: str, now: datetime) -> timedelta | None:
    """How long an answer asks to wait: whole seconds or a date; None when it does not, or not legibly."""
    digits = text.strip()
    if digits.isdecimal() and digits.isascii():
        # Nobody waits longer than eleven days; and Python refuses numbers of thousands of digits.
        return timedelta(seconds=10**6 if len(digits) > 6 else int(digits))
    try:
        at = parsedate_to_datetime(text)
        return max(at.replace(tzinfo=at.tzinfo or UTC) - now, timedelta(0))
    except (ValueError, OverflowError, TypeError):
        return None
