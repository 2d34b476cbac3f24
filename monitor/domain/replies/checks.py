"""`Reply`, `Verdict`, `Observation`."""

from dataclasses import dataclass
from datetime import datetime

from monitor.domain.copies import quick_init
from monitor.domain.replies.token_life import TokenLife
from monitor.errors import Reason


@dataclass(frozen=True, slots=True)
class LastError:
    """The last *posting* error of a connection; independent of the result of the check that reported it."""

    message: str
    occurred_at: datetime | None = None


@quick_init
@dataclass(frozen=True, slots=True)
class Reply:
    """The API's parsed answer to one test; every text in it is cleaned and redacted."""

    passed: bool
    platform: str
    platform_id: str
    username: str | None
    message: str
    permissions: tuple[str, ...] = ()
    token: TokenLife = TokenLife()
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None


@quick_init
@dataclass(frozen=True, slots=True)
class Verdict:
    """The reason of one check (outcome and scope follow from it), and a cleaned text for people."""

    reason: Reason
    detail: str = ""


@quick_init
@dataclass(frozen=True, slots=True)
class Observation:
    """
    One completed check of one connection.

    Attributes:
        at: when the reply arrived, wall clock.
        server_at: the server's `Date` header (whole seconds), or None.
    """

    connection_id: int
    sent_at: datetime
    at: datetime
    verdict: Verdict
    reply: Reply | None = None
    server_at: datetime | None = None
    http_status: int | None = None

    @property
    def duration_seconds(self) -> float:
        """Duration of the request in seconds, never negative."""
        return max(0.0, (self.at - self.sent_at).total_seconds())
