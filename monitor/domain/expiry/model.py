"""What is known of a token's end. The rules are in `durations` (texts) and `expiry` (beliefs)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.token_life import TokenSays


class Rounding(StrEnum):
    """How the API makes whole hours of the time left: it cuts off, it rounds to the nearest, or we cannot tell."""

    UNKNOWN = "unknown"
    FLOOR = "floor"
    ROUND = "round"


class TokenChange(StrEnum):
    """What new evidence told of a token whose end had been known."""

    RENEWED = "renewed"
    SHORTENED = "shortened"


@dataclass(frozen=True, slots=True)
class TokenBelief:
    """
    Where the token's end lies, as far as all checks together tell: in [earliest_at, latest_at).

    Attributes:
        says: what the last understood evidence told.
        exact_at: the list call's `accessTokenExpiresAt`, when it is trustworthy.
        status: the list call's `tokenStatus`, lower case.
        observed_at: when the last evidence arrived by which the end can be judged, wall clock.
        expired_at: when evidence first said `expired`.
        nulls: passed checks in a row that told of no expiry.
        renewed_at: when the last renewal was noticed.
        renewal_points: how much life was left when each of the last renewals was noticed, oldest first;
            renewals of expired tokens are not among them: nobody waits for those on purpose.
        disagrees: the list call's date lies outside of what the checks tell.
        unit, rounding: step and rounding of the printed value that was read last.
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
