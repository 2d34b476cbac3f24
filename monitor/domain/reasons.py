"""`Outcome`, `Scope`, `Health`, and the table reason -> outcome, scope, health."""

from dataclasses import dataclass
from enum import StrEnum

from monitor.errors import Reason


class Outcome(StrEnum):
    """The result of one check. Only `passed` and `failed` are evidence about health; `inconclusive` never is."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"


class Health(StrEnum):
    """The debounced state of one connection."""

    UNKNOWN = "unknown"
    OK = "ok"
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"

    @property
    def broken(self) -> bool:
        """Whether posts through the connection will fail."""
        return self in (Health.ERROR, Health.MISSING, Health.MISCONFIGURED)


class Scope(StrEnum):
    """What one cause affects, from narrow to wide."""

    CONNECTION = "connection"
    PLATFORM = "platform"
    USER = "user"
    ACCOUNT = "account"
    API = "api"
    STORAGE = "storage"
    RECEIVER = "receiver"

    @property
    def width(self) -> int:
        """The larger, the wider."""
        return list(Scope).index(self)


@dataclass(frozen=True, slots=True)
class Meaning:
    """
    What follows from a reason.

    Attributes:
        outcome: passed, failed, inconclusive or unsupported.
        scope: what the cause affects.
        health: the connection's health once confirmed; None when the reason is not evidence.
    """

    outcome: Outcome
    scope: Scope
    health: Health | None = None


_FAILED = Meaning(Outcome.FAILED, Scope.CONNECTION, Health.ERROR)
_UNSUPPORTED = Meaning(Outcome.UNSUPPORTED, Scope.CONNECTION, Health.UNSUPPORTED)
_ACCOUNT = Meaning(Outcome.INCONCLUSIVE, Scope.ACCOUNT)
_USER = Meaning(Outcome.INCONCLUSIVE, Scope.USER)
_API = Meaning(Outcome.INCONCLUSIVE, Scope.API)

MEANINGS: dict[Reason, Meaning] = {
    Reason.OK: Meaning(Outcome.PASSED, Scope.CONNECTION, Health.OK),
    Reason.CREDENTIAL_REJECTED: _FAILED,
    Reason.TOKEN_EXPIRED: _FAILED,
    Reason.RIGHTS_LOST: _FAILED,
    Reason.TARGET_GONE: _FAILED,
    Reason.PLATFORM_TROUBLE: _FAILED,
    Reason.VALIDATION_FAILED: _FAILED,
    Reason.CONNECTION_MISSING: Meaning(Outcome.FAILED, Scope.CONNECTION, Health.MISSING),
    Reason.ID_REFUSED: Meaning(Outcome.FAILED, Scope.CONNECTION, Health.MISCONFIGURED),
    Reason.PLATFORM_UNKNOWN: _UNSUPPORTED,
    Reason.VALIDATOR_LACKS_MTPROTO: _UNSUPPORTED,
    Reason.VALIDATOR_LACKS_CREDENTIALS: _UNSUPPORTED,
    Reason.ID_UNSUPPORTED: _UNSUPPORTED,
    Reason.KNOWN_FALSE_NEGATIVE: _UNSUPPORTED,
    Reason.EXPECTED_UNSUPPORTED: _UNSUPPORTED,
    Reason.API_VALIDATOR_FAILED: Meaning(Outcome.INCONCLUSIVE, Scope.CONNECTION),
    Reason.API_UNAUTHORIZED: _ACCOUNT,
    Reason.API_FORBIDDEN: _ACCOUNT,
    Reason.WORKSPACE_FORBIDDEN: _USER,
    Reason.USER_NOT_MANAGED: _USER,
    Reason.USER_ID_INVALID: _USER,
    Reason.API_THROTTLED: _ACCOUNT,
    Reason.API_DNS_FAILED: _API,
    Reason.API_UNREACHABLE: _API,
    Reason.API_TLS_EXPIRED: _API,
    Reason.API_TLS_FAILED: _API,
    Reason.API_TIMEOUT: _API,
    Reason.API_DISCONNECTED: _API,
    Reason.API_REDIRECTED: _API,
    Reason.API_FAILED: _API,
    Reason.API_REFUSED: _API,
    Reason.API_NOT_FOUND: _API,
    Reason.PROXY_ANSWERED: _API,
    Reason.CAPTIVE_PORTAL: _API,
    Reason.REPLY_TOO_LARGE: _API,
    Reason.REPLY_ENCODED: _API,
    Reason.REPLY_NOT_JSON: _API,
    Reason.REPLY_INVALID: _API,
    Reason.REPLY_MISMATCHED: _API,
    Reason.MONITOR_INTERNAL: Meaning(Outcome.INCONCLUSIVE, Scope.STORAGE),
}


def meaning(reason: Reason) -> Meaning:
    """What follows from *reason*."""
    return MEANINGS[reason]


def outcome_of(reason: Reason) -> Outcome:
    """The outcome *reason* stands for."""
    return MEANINGS[reason].outcome
