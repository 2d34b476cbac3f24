"""
The documents the simulated API answers with, as values of JSON.

Source: `api-contract.md` 1.2-1.5 and 3.2.
"""

import math
from datetime import datetime, timedelta
from typing import Any

from monitor.clock import iso_utc
from monitor.simulator.platforms import Generation, is_mtproto
from monitor.simulator.state import SimulatedAccount, SimulatedApi, SimulatedConnection, SimulatedRounding

_HOUR = timedelta(hours=1)
_LACKS_CREDENTIALS = "Missing credentials: accessToken and username are required"
_MTPROTO = {Generation.MARCH: "Invalid bot token", Generation.SEPTEMBER: "Invalid bot connection"}


def verdict_document(world: SimulatedApi, connection: SimulatedConnection) -> dict[str, Any]:
    """The answer to a test of *connection*, which is 200 whatever came of it."""
    traits = connection.traits
    if traits is None:
        return _unknown_platform(connection)
    trouble = _trouble(world, connection)
    passed = trouble is None
    permissions = connection.permissions if connection.permissions is not None else traits.scopes
    return {
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "username": connection.username,
        "status": "ok" if passed else "error",
        "message": _welcome(world, connection) if passed else trouble,
        "permissions": list(permissions) if passed else [],
        "tokenExpiresIn": _token(world, connection),
        "lastSuccessfulPost": timestamp(connection.last_post_at),
        "lastError": _last_error(connection),
    }


def list_document(world: SimulatedApi, connections: dict[str, SimulatedConnection]) -> dict[str, Any]:
    """The answer to a call for the list of connections."""
    return {"success": True, "connections": [_row(world, row) for row in connections.values() if row.listed]}


def users_document(account: SimulatedAccount) -> dict[str, Any]:
    """The answer to a call for the managed users; there is no `success` in it."""
    users = [user for user in account.users.values() if user.attached]
    return {
        "users": [
            {
                "_id": user.id,
                "username": user.username,
                "displayName": user.display_name,
                "role": "managed",
                "dailyPostsLeft": 100,
                "connectionsPageUrl": f"https://app.example.com/connect/secret-of-{user.id}",
                "connectionsPageTokenExpiresAt": None,
            }
            for user in users
        ]
    }


def token_text(left: timedelta, rounding: SimulatedRounding = SimulatedRounding.FLOOR, *, day_texts: bool = False) -> str:
    """How long a token lives yet, as the API prints it: `7d 3h`, `5h`, `< 1h`, `expired`."""
    if left <= timedelta():
        return "expired"
    hours = _rounded(left / _HOUR, rounding)
    if hours < 1:
        return "< 1h"
    days, rest = divmod(hours, 24)
    if days and day_texts:
        return f"{days} days"
    return f"{days}d {rest}h" if days else f"{rest}h"


def token_status(world: SimulatedApi, connection: SimulatedConnection) -> str:
    """The list's `tokenStatus` by the rules of the world's generation."""
    traits = connection.traits
    generation = world.generation
    september = generation is Generation.SEPTEMBER
    if september and connection.flagged:
        return "expired"
    if traits is None:
        return "unknown"
    end = connection.shown_end(generation)
    if end is None:
        unnamed = september and connection.platform == "bluesky" and not connection.username
        return "unknown" if unnamed else traits.undated_status(generation)
    left = end - world.clock.now()
    if not traits.is_honest(generation):
        return "valid"
    if left <= timedelta():
        return "expired"
    return "expiring_soon" if left < traits.soon_below(generation) else "valid"


def timestamp(at: datetime | None) -> str | None:
    """The moment as JavaScript prints it: milliseconds and `Z`."""
    return None if at is None else iso_utc(at)


def _rounded(hours: float, rounding: SimulatedRounding) -> int:
    if rounding is SimulatedRounding.CEIL:
        return math.ceil(hours)
    return math.floor(hours + 0.5) if rounding is SimulatedRounding.NEAREST else math.floor(hours)


def _token(world: SimulatedApi, connection: SimulatedConnection) -> str | None:
    end = connection.shown_end(world.generation)
    if end is None:
        return None
    return token_text(end - world.clock.now(), world.rounding, day_texts=world.day_texts)


def _trouble(world: SimulatedApi, connection: SimulatedConnection) -> str | None:
    traits = connection.traits
    if is_mtproto(connection.platform_id):
        return _MTPROTO[world.generation]
    if connection.platform == "bluesky":
        return _LACKS_CREDENTIALS
    rejection = traits.rejection if traits else ""
    if connection.dead is not None:
        return connection.dead or rejection
    return rejection if connection.is_past() else None


def _welcome(world: SimulatedApi, connection: SimulatedConnection) -> str:
    if connection.platform == "telegram" and world.generation is Generation.SEPTEMBER:
        return f"Bot can post to {connection.display_name or connection.platform_id}"
    return f"Connected as {connection.username}"


def _last_error(connection: SimulatedConnection) -> dict[str, Any] | None:
    if connection.last_error is None:
        return None
    message, at = connection.last_error
    return {"message": message, "occurredAt": timestamp(at)}


def _unknown_platform(connection: SimulatedConnection) -> dict[str, Any]:
    return {
        "platform": connection.platform,
        "platformId": connection.platform_id,
        "username": "unknown",
        "status": "error",
        "message": f"Unknown platform: {connection.platform}",
        "permissions": [],
        "tokenExpiresIn": None,
        "lastSuccessfulPost": None,
        "lastError": None,
    }


def _row(world: SimulatedApi, connection: SimulatedConnection) -> dict[str, Any]:
    row: dict[str, Any] = {
        "platformId": connection.platform_id,
        "username": connection.username,
        "displayName": connection.display_name,
        "profileImageUrl": None,
        "profileUrl": None,
        "accessTokenExpiresAt": timestamp(connection.shown_end(world.generation)),
        "tokenStatus": token_status(world, connection),
        "tokenExpiresIn": _token(world, connection),
        "lastSuccessfulPost": timestamp(connection.last_post_at),
        "lastError": _last_error(connection),
    }
    if world.generation is Generation.SEPTEMBER and connection.platform == "twitter":
        row["subscriptionType"] = "Premium"
    return row
