"""`TokenBelief`: what is believed of a token's end after all checks and lists."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.replies.token_life import TokenSays


class Rounding(StrEnum):
    """How the API rounds the time left: cut off, to the nearest, or not known yet."""

    UNKNOWN = "unknown"
    FLOOR = "floor"
    ROUND = "round"


class TokenChange(StrEnum):
    """How new evidence moved a known end of a token."""

    RENEWED = "renewed"
    SHORTENED = "shortened"


@dataclass(frozen=True, slots=True)
class TokenBelief:
    """
    The token's end, by all evidence so far: within [earliest_at, latest_at).

    Attributes:
        says: the kind of the last parsed evidence.
        exact_at: the list's `accessTokenExpiresAt`, while it is trusted.
        observed_at: when the last evidence of the end arrived, wall clock.
        expired_at: when evidence first said `expired`.
        nulls: passed checks in a row without an expiry.
        renewed_at: when the last renewal was noticed.
        renewal_points: the time left when each of the last renewals was noticed, oldest first;
            without renewals of expired tokens, because those do not show a habit.
        disagrees: the list's date lies outside of the interval of the checks.
        unit, rounding: of the last printed value.
        server_ahead: how far the server's clock was ahead of ours at that print, to about a second.
    """

    says: TokenSays = TokenSays.NOTHING
    earliest_at: datetime | None = None
    latest_at: datetime | None = None
    exact_at: datetime | None = None
    status: str | None = None
    observed_at: datetime | None = None
    expired_at: datetime | None = None
    nulls: int = 0
    renewed_at: datetime | None = None
    renewal_points: tuple[timedelta, ...] = ()
    disagrees: bool = False
    unit: timedelta | None = None
    rounding: Rounding = Rounding.UNKNOWN
    server_ahead: timedelta = timedelta(0)
