"""
Refusals of the API: every answer that is not a 2xx, and the wait it asks for.

Matched on status and loose, case-insensitive texts: the wording differs between generations of the API.

Source: api-contract.md 1.1, 1.2, 1.6, C3, C9; reliability.md F08 to F14.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from monitor.errors import ApiError, Reason
from monitor.http.headers import retry_after
from monitor.postpost.fields import is_web_page, page_excerpt, timestamp_of
from monitor.redaction import clean

LEAST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(hours=1)

# Larger numbers in X-RateLimit-Reset are a time since 1970, smaller ones a span of seconds.
_EPOCH_FROM = 1_000_000_000
_EPOCH_MILLISECONDS_FROM = 100_000_000_000
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,9})?")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,15}://[^/?#\s]{1,260}")
_USER_INFO = re.compile(r"//[^@]*@")
_ERROR_LIMIT = 300

_BY_STATUS = {
    401: Reason.API_UNAUTHORIZED,
    402: Reason.API_FORBIDDEN,
    404: Reason.API_NOT_FOUND,
    407: Reason.PROXY_ANSWERED,
    408: Reason.API_TIMEOUT,
    425: Reason.API_FAILED,
    429: Reason.API_THROTTLED,
    511: Reason.CAPTIVE_PORTAL,
}
_GATEWAY_STATUSES = frozenset({502, 503, 504})


def refusal(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: datetime,
    with_user: bool,
    about_connection: bool = True,
    secrets: tuple[str, ...] = (),
) -> ApiError:
    """
    Return what an answer with this status means.

    Args:
        headers: by lower-case name.
        body: as much of it as was read; need not be JSON.
        now: for waits that are given as a time.
        with_user: whether the request named a managed user.
        about_connection: whether it asked about one connection (and not for a list).
        secrets: exact texts that must not survive in the detail.
    """
    answer = _json_object(body)
    message = _message(answer, secrets)
    reason = _reason(status, message.casefold(), body, with_user=with_user, is_json=bool(answer))
    if not about_connection:
        # A list call names no connection, so these texts can only come from something else.
        reason = {
            Reason.CONNECTION_MISSING: Reason.API_NOT_FOUND,
            Reason.ID_REFUSED: Reason.API_REFUSED,
            Reason.API_VALIDATOR_FAILED: Reason.API_FAILED,
        }.get(reason, reason)
    wait = _longest(_requested_wait(headers, answer, now), rate_limit_wait(headers, now))
    return ApiError(reason, _detail(status, headers, message, answer, body, secrets), retry_after=wait, http_status=status)


def rate_limit_wait(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how long a used-up request budget asks to wait (`X-RateLimit-Remaining: 0`); None while some is left, or unknown."""
    remaining = headers.get("x-ratelimit-remaining")
    if remaining is None or _number(remaining) != 0:
        return None
    reset = _number(headers.get("x-ratelimit-reset"))
    if reset is None:
        return None
    if reset >= _EPOCH_MILLISECONDS_FROM:
        reset /= 1000
    return _clamped(reset - now.timestamp() if reset >= _EPOCH_FROM else reset)


def _reason(status: int, message: str, body: bytes, *, with_user: bool, is_json: bool) -> Reason:
    """Return the reason for one status; *message* is the API's own text in lower case."""
    reason = _BY_STATUS.get(status, Reason.API_REFUSED)
    if 300 <= status < 400:
        reason = Reason.API_REDIRECTED
    elif status in (401, 403) and is_web_page(body):
        reason = Reason.PROXY_ANSWERED
    elif status == 400:
        reason = _of_400(message, body)
    elif status == 403:
        reason = _of_403(message)
    elif status == 404 and message:
        reason = _of_404(message, with_user=with_user)
    elif status >= 500 and status not in _BY_STATUS:
        reason = _of_5xx(status, message, is_json=is_json)
    return reason


def _of_400(message: str, body: bytes) -> Reason:
    if "user-id" in message or "user id" in message:
        return Reason.USER_ID_INVALID
    if "platformid" in message or "platform id" in message:
        return Reason.ID_REFUSED
    return Reason.PROXY_ANSWERED if is_web_page(body) else Reason.API_REFUSED


def _of_403(message: str) -> Reason:
    if "not managed" in message:
        return Reason.USER_NOT_MANAGED
    return Reason.WORKSPACE_FORBIDDEN if "workspace access" in message else Reason.API_FORBIDDEN


def _of_404(message: str, *, with_user: bool) -> Reason:
    if "connection not found" in message:
        return Reason.CONNECTION_MISSING
    return Reason.USER_NOT_MANAGED if with_user and "user" in message else Reason.API_NOT_FOUND


def _of_5xx(status: int, message: str, *, is_json: bool) -> Reason:
    if "failed to test connection" in message:
        return Reason.API_VALIDATOR_FAILED
    return Reason.PROXY_ANSWERED if status in _GATEWAY_STATUSES and not is_json else Reason.API_FAILED


def _detail(status: int, headers: Mapping[str, str], message: str, answer: dict[str, Any], body: bytes, secrets: tuple[str, ...]) -> str:
    """Return what happened, for people."""
    parts = [f"HTTP {status}"]
    if 300 <= status < 400:
        origin = _ORIGIN.match(headers.get("location", ""))
        parts.append(f"to {clean(_USER_INFO.sub('//', origin[0]), 100, secrets)}" if origin else "to another path")
    elif message or body:
        parts.append(message or page_excerpt(body, secrets))
    if "mcp access" in message.casefold():
        parts.append("(a client header makes the API ask for this right; remove it)")
    held_until = timestamp_of(answer.get("holdExpiresAt"))
    if held_until:
        parts.append(f"(until {held_until:%Y-%m-%d %H:%M} UTC)")
    return clean(" ".join(parts), secrets=secrets)


def _json_object(body: bytes) -> dict[str, Any]:
    """Return the body as an object; empty when it is not one."""
    try:
        answer = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _message(answer: dict[str, Any], secrets: tuple[str, ...]) -> str:
    """Return the API's error, else its message, with its stable code in front."""
    code, error, message = (clean(text, _ERROR_LIMIT, secrets) if isinstance(text, str) else "" for text in map(answer.get, _MESSAGE_KEYS))
    text = error or message
    return f"{code}: {text}" if code and text else code or text


_MESSAGE_KEYS = ("code", "error", "message")


def _requested_wait(headers: Mapping[str, str], answer: dict[str, Any], now: datetime) -> timedelta | None:
    """Return the longest of the waits that header and body ask for."""
    header = retry_after(headers.get("retry-after", ""), now)
    wait = None if header is None else _clamped(header.total_seconds())
    for key in ("retryAfter", "retryAfterSec"):
        seconds = _number(answer.get(key))
        if seconds is not None:
            wait = _longest(wait, _clamped(seconds))
    return wait


def _number(value: Any) -> float | None:
    """Return a number or the number in a text; None for anything else, and for absurd numbers."""
    if isinstance(value, str):
        text = value.strip()
        return float(text) if _NUMBER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e15 < value < 1e15 else None


def _clamped(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, LEAST_WAIT.total_seconds()), LONGEST_WAIT.total_seconds()))


def _longest(*waits: timedelta | None) -> timedelta | None:
    return max((wait for wait in waits if wait is not None), default=None)
