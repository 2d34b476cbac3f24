"""
Single members of the API's JSON, read tolerantly: a wrong type counts as absent and raises nothing.

Source: api-contract.md 2 and 2.1.
"""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from monitor.domain.replies.checks import LastError
from monitor.errors import ApiError, Reason
from monitor.redaction import clean

NAME_LIMIT = 200
PERMISSION_LIMIT = 100
PERMISSIONS_LIMIT = 200

# Members that decide: an object that has one twice with different values is refused.
_DECISIVE = frozenset({"status", "platformId", "success", "connections"})
CONFLICT = object()

_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.([0-9]{1,9}))?(?:([Zz])|([+-])([0-9]{2}):?([0-9]{2}))?"
)

_FIRST_YEAR, _LAST_YEAR = 2000, 2100
_BLANKS_OR_COMMAS = re.compile(r"[\s,]+")
_UTF8_MARK = b"\xef\xbb\xbf"


def decode(body: bytes, secrets: tuple[str, ...] = ()) -> Any:
    """Return the JSON value of a successful answer. Raises ApiError: `captive_portal` for a web page, else `reply_not_json`."""
    try:
        return _DECODER.decode(body.removeprefix(_UTF8_MARK).decode())
    except (ValueError, RecursionError):
        if is_web_page(body):
            raise ApiError(Reason.CAPTIVE_PORTAL, _page_title(body, secrets)) from None
        what = "the body is empty" if not body.strip() else f"{len(body)} bytes that are not JSON"
        raise ApiError(Reason.REPLY_NOT_JSON, what) from None


def is_web_page(body: bytes) -> bool:
    """Return whether a body looks like HTML or XML; headers are less reliable."""
    return body[:1024].removeprefix(_UTF8_MARK).lstrip()[:1] == b"<"


def page_excerpt(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    """Return the title of a page that is not the API's, or the beginning of its text."""
    if is_web_page(body):
        return _page_title(body, secrets)
    return clean(body[:2048].decode(errors="replace"), 200, secrets)


def text_of(value: Any, limit: int, secrets: tuple[str, ...] = ()) -> str | None:
    """Return a text, cleaned; None for anything else and for an empty one."""
    return clean(value, limit, secrets) or None if isinstance(value, str) else None


def name_of(value: Any, secrets: tuple[str, ...] = ()) -> str | None:
    """Return a name; None for the API's placeholder `unknown` too."""
    name = text_of(value, NAME_LIMIT, secrets)
    return None if name is None or name.casefold() == "unknown" else name


def permissions_of(value: Any, secrets: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return permission names, sorted, each once; from a list of texts or from one text divided by blanks or commas."""
    if isinstance(value, str):
        value = _BLANKS_OR_COMMAS.split(value)
    if not isinstance(value, list):
        return ()
    names = {clean(name, PERMISSION_LIMIT, secrets) for name in value[:PERMISSIONS_LIMIT] if isinstance(name, str)}
    return tuple(sorted(names - {""}))


def timestamp_of(value: Any) -> datetime | None:
    """Return an RFC 3339 time in UTC, one without a zone taken as UTC; None for anything else and for years outside 2000 to 2100."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    match = _TIMESTAMP.fullmatch(value.strip())
    if match is None:
        return None
    date, time, fraction, _, sign, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=_zone(sign, hours, minutes)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        return None
    return moment.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if fraction else moment


def last_error_of(value: Any, secrets: tuple[str, ...] = ()) -> LastError | None:
    """Return the last posting error, from an object or a text; None for an empty one, and for any other type."""
    if isinstance(value, str):
        message = clean(value, secrets=secrets)
        return LastError(message) if message else None
    if not isinstance(value, dict):
        return None
    message = text_of(value.get("message"), 500, secrets) or ""
    occurred_at = timestamp_of(value.get("occurredAt"))
    return LastError(message, occurred_at) if message or occurred_at else None


def _zone(sign: str | None, hours: str | None, minutes: str | None) -> timezone:
    if sign is None or hours is None or minutes is None:
        return UTC
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return timezone(offset if sign == "+" else -offset)


def _page_title(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    text = body[:4096].decode(errors="replace")
    start = text.lower().find("<title")
    title = text[start:].partition(">")[2].partition("<")[0] if start >= 0 else ""
    title = clean(title, 100, secrets)
    return f'a web page titled "{title}"' if title else "a web page"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of a member that occurs twice the last counts, unless it decides and the values differ."""
    members = dict(pairs)
    if len(members) != len(pairs):
        for key, value in pairs:
            if key in _DECISIVE and value != members[key]:
                members[key] = CONFLICT
    return members


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
