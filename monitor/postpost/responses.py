"""
Successful answers of the API, from bytes to values.

Tolerant where generations of the API differ, strict where a mistake would become a wrong verdict. Raises nothing but `ApiError`;
every text is cleaned and redacted.

Source: api-contract.md 1.2 to 1.4, 2 and 2.1.
"""

import re
from typing import Any

from monitor.domain.connections import id_problem, platform_of, same_id, user_id_problem
from monitor.domain.replies.checks import Reply
from monitor.domain.replies.listings import ListedConnection, Listing, ManagedUser, UserListing
from monitor.domain.replies.token_life import TokenLife, parse_token_life
from monitor.errors import ApiError, Reason
from monitor.postpost.fields import decode, last_error_of, name_of, permissions_of, text_of, timestamp_of
from monitor.redaction import clean, mask_email

_EMAIL = re.compile(r"[^\s@<>()\"',;]+@[^\s@<>()\"',;]+")


def parse_reply(body: bytes, platform_id: str, secrets: tuple[str, ...] = ()) -> Reply:
    """
    Parse the answer to one test.

    Args:
        body: the whole body of a 2xx answer.
        platform_id: the connection that was tested.
        secrets: exact texts that must not survive in any text, such as the API key.

    Raises:
        ApiError: `reply_not_json`, `captive_portal`, `reply_invalid` or `reply_mismatched`.
    """
    answer = decode(body, secrets)
    if not isinstance(answer, dict):
        raise ApiError(Reason.REPLY_INVALID, f"expected an object, got {_kind(answer)}")
    passed = _passed(answer.get("status"), secrets)
    _check_echo(answer, platform_id, secrets)
    return Reply(
        passed=passed,
        platform=platform_of(platform_id),
        platform_id=platform_id,
        username=name_of(answer.get("username"), secrets),
        message=text_of(answer.get("message"), 500, secrets) or "",
        permissions=permissions_of(answer.get("permissions"), secrets),
        token=_token(answer.get("tokenExpiresIn"), secrets),
        last_successful_post_at=timestamp_of(answer.get("lastSuccessfulPost")),
        last_error=last_error_of(answer.get("lastError"), secrets),
    )


def parse_listing(body: bytes, secrets: tuple[str, ...] = ()) -> Listing:
    """
    Parse the list of connections: each once, in the API's order.

    An answer without a list is an error, and so is a list of unusable rows alone: neither means "no connections".

    Raises:
        ApiError: `reply_not_json`, `captive_portal` or `reply_invalid`.
    """
    answer = decode(body, secrets)
    if isinstance(answer, dict):
        if answer.get("success", True) is not True:
            raise ApiError(Reason.REPLY_INVALID, "the list says that it failed")
        answer = answer.get("connections")
    if not isinstance(answer, list):
        raise ApiError(Reason.REPLY_INVALID, "the answer holds no list of connections")
    rows: dict[str, ListedConnection] = {}
    for item in answer:
        row = _row(item, secrets)
        if row is not None:
            rows.setdefault(row.platform_id, row)
    if answer and not rows:
        raise ApiError(Reason.REPLY_INVALID, f"none of {len(answer)} rows can be used")
    return Listing(tuple(rows.values()), len(answer) - len(rows))


def parse_users(body: bytes, secrets: tuple[str, ...] = ()) -> UserListing:
    """
    Parse the list of users that the key may act for; inactive ones are apart.

    `connectionsPageUrl` is a secret of the user's and is never read; e-mail addresses are masked.

    Raises:
        ApiError: `reply_not_json`, `captive_portal` or `reply_invalid`.
    """
    answer = decode(body, secrets)
    if isinstance(answer, dict):
        answer = answer.get("users")
    if not isinstance(answer, list):
        raise ApiError(Reason.REPLY_INVALID, "the answer holds no list of users")
    users: dict[str, ManagedUser] = {}
    inactive: set[str] = set()
    for item in answer:
        user = _user(item, secrets)
        if user is None:
            continue
        users.setdefault(user.id, user)
        if item.get("isActive") is False:
            inactive.add(user.id)
    if answer and not users:
        raise ApiError(Reason.REPLY_INVALID, f"none of {len(answer)} users can be used")
    active = tuple(user for user in users.values() if user.id not in inactive)
    return UserListing(active, tuple(sorted(inactive)), len(answer) - len(users))


def _passed(status: Any, secrets: tuple[str, ...]) -> bool:
    """Read the member that decides; only the two documented values are accepted."""
    if isinstance(status, str) and len(status) < 32 and status.isascii():
        word = status.strip().lower()
        if word in ("ok", "error"):
            return word == "ok"
    shown = repr(clean(status, 40, secrets)) if isinstance(status, str) else _kind(status)
    raise ApiError(Reason.REPLY_INVALID, f"status is {shown}")


def _check_echo(answer: dict[str, Any], platform_id: str, secrets: tuple[str, ...]) -> None:
    """Check that the answer names the tested connection: any server may answer `{"status": "ok"}` about itself."""
    echo = answer.get("platformId")
    if echo is None:
        platform = answer.get("platform")
        if isinstance(platform, str) and platform.strip().lower() == platform_of(platform_id):
            return
        raise ApiError(Reason.REPLY_INVALID, "the answer does not say which connection it is about")
    if not isinstance(echo, str):
        raise ApiError(Reason.REPLY_INVALID, f"platformId is {_kind(echo)}")
    if not same_id(echo, platform_id):
        raise ApiError(Reason.REPLY_MISMATCHED, f"asked about {platform_id}, answered about {clean(echo, 100, secrets)}")


def _token(value: Any, secrets: tuple[str, ...]) -> TokenLife:
    return parse_token_life(clean(value, 100, secrets) if isinstance(value, str) else value)


def _row(item: Any, secrets: tuple[str, ...]) -> ListedConnection | None:
    """Parse one row of the list; None when it names no usable connection."""
    if not isinstance(item, dict):
        return None
    platform_id = item.get("platformId")
    if not isinstance(platform_id, str) or id_problem(platform_id) is not None:
        return None
    status = text_of(item.get("tokenStatus"), 32, secrets)
    return ListedConnection(
        platform_id=platform_id,
        username=name_of(item.get("username"), secrets),
        display_name=name_of(item.get("displayName"), secrets),
        token=_token(item.get("tokenExpiresIn"), secrets),
        token_expires_at=timestamp_of(item.get("accessTokenExpiresAt")),
        token_status=status.lower() if status else None,
        last_successful_post_at=timestamp_of(item.get("lastSuccessfulPost")),
        last_error=last_error_of(item.get("lastError"), secrets),
    )


def _user(item: Any, secrets: tuple[str, ...]) -> ManagedUser | None:
    if not isinstance(item, dict):
        return None
    user_id = item.get("_id") or item.get("id")
    if not isinstance(user_id, str) or user_id_problem(user_id) is not None:
        return None
    name = None
    for key in ("displayName", "username", "email"):
        name = name or name_of(item.get(key), secrets)
    return ManagedUser(user_id, _EMAIL.sub(lambda match: mask_email(match[0]), name) if name else None)


def _kind(value: Any) -> str:
    """Return the type of *value* in words, without the value."""
    if value is None:
        return "missing"
    names = {bool: "a truth value", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "told twice, differently")
