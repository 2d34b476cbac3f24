"""
Values for tests: valid by default, override the one thing the test is about.

Builders are named `a_...`; add to them freely, never change a default that tests rely on.
Time starts at `START`, so that every expected moment can be worked out in one's head.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import FINE, EventType, IncidentRef, Notification, NotificationReason, Severity, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health, Scope
from monitor.domain.replies.checks import Observation, Reply, Verdict
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.silencing.silences import Silence
from monitor.domain.states import ConnectionState
from monitor.errors import Reason

START = datetime(2030, 1, 1, tzinfo=UTC)
"""A Tuesday, midnight."""

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def at(offset: timedelta) -> datetime:
    """The moment *offset* after `START`."""
    return START + offset


def changed(connection: Connection, **values: Any) -> Connection:
    """*connection* with other *values* in its spec."""
    return Connection(connection.id, replace(connection.spec, **values))


def a_connection(number: int = 1, **overrides: Any) -> Connection:
    """A LinkedIn connection of the first account; *number* makes its row and its platform id unique."""
    values: dict[str, Any] = {
        "account": "main",
        "user_id": "",
        "platform_id": f"linkedin-page{number}",
        "platform": "linkedin",
        "name": f"Page {number}",
    }
    if "platform_id" in overrides and "platform" not in overrides:
        values["platform"] = overrides["platform_id"].partition("-")[0]
    return Connection(number, ConnectionSpec(**(values | overrides)))


def a_token_life(left: timedelta | None = None, **overrides: Any) -> TokenLife:
    """What a token text told: *left*, printed in whole days or hours; nothing at all without it."""
    if left is None:
        return TokenLife(**overrides)
    days, rest = divmod(left, DAY)
    raw = f"{days}d {rest // HOUR}h" if days else f"{rest // HOUR}h"
    values: dict[str, Any] = {"says": TokenSays.LEFT, "left": left, "unit": HOUR, "raw": raw}
    return TokenLife(**(values | overrides))


def a_token_belief(expires_at: datetime | None = None, **overrides: Any) -> TokenBelief:
    """What is known of a token's end: exactly *expires_at*, or nothing without it."""
    if expires_at is None:
        return TokenBelief(**overrides)
    values: dict[str, Any] = {
        "says": TokenSays.LEFT,
        "earliest_at": expires_at,
        "latest_at": expires_at,
        "exact_at": expires_at,
        "observed_at": START,
    }
    return TokenBelief(**(values | overrides))


def a_reply(**overrides: Any) -> Reply:
    """The API's answer about `a_connection()`: passed, two permissions, a token without an end."""
    values: dict[str, Any] = {
        "passed": True,
        "platform": "linkedin",
        "platform_id": "linkedin-page1",
        "username": "page1",
        "message": "Connection is working",
        "permissions": ("r_liteprofile", "w_member_social"),
    }
    return Reply(**(values | overrides))


def a_listed_connection(**overrides: Any) -> ListedConnection:
    """One row of the API's list of connections, about `a_connection()`."""
    values: dict[str, Any] = {"platform_id": "linkedin-page1", "username": "page1", "display_name": "Page 1"}
    return ListedConnection(**(values | overrides))


def an_observation(reason: Reason = Reason.OK, moment: datetime = START, **overrides: Any) -> Observation:
    """One check of `a_connection()` that ended at *moment* with *reason*; a passed one carries `a_reply()`."""
    values: dict[str, Any] = {
        "connection_id": 1,
        "sent_at": moment - timedelta(milliseconds=200),
        "at": moment,
        "verdict": Verdict(reason),
        "reply": a_reply() if reason is Reason.OK else None,
        "http_status": 200,
    }
    return Observation(**(values | overrides))


def a_state(health: Health = Health.OK, **overrides: Any) -> ConnectionState:
    """What is remembered of a connection whose *health* has been known since `START`."""
    values: dict[str, Any] = {
        "health": health,
        "since": None if health is Health.UNKNOWN else START,
        "last_check_at": START,
        "last_evidence_at": START,
        "last_reason": Reason.OK,
    }
    if health is Health.OK:
        values |= {"reason": Reason.OK, "last_passed_at": START, "passed_before": True}
    if health is Health.ERROR:
        values |= {
            "reason": Reason.CREDENTIAL_REJECTED,
            "last_reason": Reason.CREDENTIAL_REJECTED,
            "failures": 2,
            "first_failed_at": START,
        }
    return ConnectionState(**(values | overrides))


def a_policy(**overrides: Any) -> Policy:
    """The default policy."""
    return Policy(**overrides)


def a_notification(number: int = 1, **overrides: Any) -> Notification:
    """That `a_connection(number)` broke at `START`, its first incident."""
    values: dict[str, Any] = {
        "type": EventType.CONNECTION_FAILED,
        "why": NotificationReason.OPENED,
        "severity": Severity.CRITICAL,
        "at": START,
        "incident": IncidentRef(Topic.CONNECTION, str(number), 1, START),
        "scope": Scope.CONNECTION,
        "connection_id": number,
        "level_from": FINE,
        "level_to": "error",
        "reason": Reason.CREDENTIAL_REJECTED,
        "detail": "Session has expired",
        "seq": 1,
    }
    return Notification(**(values | overrides))


def a_silence(number: int = 1, **overrides: Any) -> Silence:
    """Of everything that is about LinkedIn, for the two hours after `START`."""
    values: dict[str, Any] = {
        "id": number,
        "match": {"platform": "linkedin"},
        "starts_at": START,
        "ends_at": START + 2 * HOUR,
        "author": "anna",
        "reason": "maintenance",
        "created_at": START,
    }
    return Silence(**(values | overrides))
