"""`Outcome`, `Scope`, `Health`, `Advice`, and the table reason -> outcome, scope, health, advice."""

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
    GROUP = "group"
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


class Advice(StrEnum):
    """What to do about a cause (words: `text.advice`). Two causes with the same advice ask for the same work."""

    NOTHING = "nothing"
    WAIT = "wait"
    RECONNECT = "reconnect"
    RESTORE_RIGHTS = "restore_rights"
    ADD_BOT = "add_bot"
    CONFIRM_ACCOUNT = "confirm_account"
    CHOOSE_TARGET = "choose_target"
    CHECK_POSTS = "check_posts"
    READ_MESSAGE = "read_message"
    ASK_SUPPORT = "ask_support"
    CORRECT_CONFIGURATION = "correct_configuration"
    REPLACE_KEY = "replace_key"
    CHECK_PLAN = "check_plan"
    ATTACH_USER = "attach_user"
    LOWER_RATE = "lower_rate"
    CHECK_NETWORK = "check_network"
    UPDATE_MONITOR = "update_monitor"
    READ_LOG = "read_log"

    @property
    def needs_action(self) -> bool:
        """Whether a person must act; False where it works or clears by itself."""
        return self not in (Advice.NOTHING, Advice.WAIT)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from a reason. *scope*: what the cause affects; *advice*: what to do about it."""

    outcome: Outcome
    scope: Scope
    health: Health | None = None
    advice: Advice = Advice.NOTHING


def _failed(advice: Advice, health: Health = Health.ERROR) -> Meaning:
    return Meaning(Outcome.FAILED, Scope.CONNECTION, health, advice)


def _inconclusive(scope: Scope, advice: Advice) -> Meaning:
    return Meaning(Outcome.INCONCLUSIVE, scope, advice=advice)


_UNSUPPORTED = Meaning(Outcome.UNSUPPORTED, Scope.CONNECTION, Health.UNSUPPORTED)
_API_WAIT = _inconclusive(Scope.API, Advice.WAIT)
_API_NETWORK = _inconclusive(Scope.API, Advice.CHECK_NETWORK)

MEANINGS: dict[Reason, Meaning] = {
    Reason.OK: Meaning(Outcome.PASSED, Scope.CONNECTION, Health.OK),
    Reason.CREDENTIAL_REJECTED: _failed(Advice.RECONNECT),
    Reason.TOKEN_EXPIRED: _failed(Advice.RECONNECT),
    Reason.RIGHTS_LOST: _failed(Advice.RESTORE_RIGHTS),
    Reason.BOT_REMOVED: _failed(Advice.ADD_BOT),
    Reason.ACCOUNT_RESTRICTED: _failed(Advice.CONFIRM_ACCOUNT),
    Reason.TARGET_GONE: _failed(Advice.CHOOSE_TARGET),
    Reason.APP_REFUSED: _failed(Advice.ASK_SUPPORT),
    Reason.PLATFORM_LIMITED: _failed(Advice.WAIT),
    Reason.PLATFORM_TROUBLE: _failed(Advice.WAIT),
    Reason.VALIDATION_FAILED: _failed(Advice.READ_MESSAGE),
    Reason.CONNECTION_MISSING: _failed(Advice.CORRECT_CONFIGURATION, Health.MISSING),
    Reason.ID_REFUSED: _failed(Advice.CORRECT_CONFIGURATION, Health.MISCONFIGURED),
    Reason.PLATFORM_UNKNOWN: _UNSUPPORTED,
    Reason.VALIDATOR_LACKS_MTPROTO: _UNSUPPORTED,
    Reason.VALIDATOR_LACKS_CREDENTIALS: _UNSUPPORTED,
    Reason.ID_UNSUPPORTED: _UNSUPPORTED,
    Reason.KNOWN_FALSE_NEGATIVE: _UNSUPPORTED,
    Reason.EXPECTED_UNSUPPORTED: _UNSUPPORTED,
    Reason.API_VALIDATOR_FAILED: _inconclusive(Scope.CONNECTION, Advice.WAIT),
    Reason.API_UNAUTHORIZED: _inconclusive(Scope.ACCOUNT, Advice.REPLACE_KEY),
    Reason.API_FORBIDDEN: _inconclusive(Scope.ACCOUNT, Advice.CHECK_PLAN),
    Reason.WORKSPACE_FORBIDDEN: _inconclusive(Scope.USER, Advice.CHECK_PLAN),
    Reason.USER_NOT_MANAGED: _inconclusive(Scope.USER, Advice.ATTACH_USER),
    Reason.USER_ID_INVALID: _inconclusive(Scope.USER, Advice.CORRECT_CONFIGURATION),
    Reason.API_THROTTLED: _inconclusive(Scope.ACCOUNT, Advice.LOWER_RATE),
    Reason.API_DNS_FAILED: _API_NETWORK,
    Reason.API_UNREACHABLE: _API_NETWORK,
    Reason.API_TLS_EXPIRED: _API_NETWORK,
    Reason.API_TLS_FAILED: _API_NETWORK,
    Reason.API_TIMEOUT: _API_WAIT,
    Reason.API_DISCONNECTED: _API_WAIT,
    Reason.API_REDIRECTED: _API_NETWORK,
    Reason.API_FAILED: _API_WAIT,
    Reason.API_REFUSED: _inconclusive(Scope.API, Advice.UPDATE_MONITOR),
    Reason.API_NOT_FOUND: _inconclusive(Scope.API, Advice.CORRECT_CONFIGURATION),
    Reason.PROXY_ANSWERED: _API_NETWORK,
    Reason.CAPTIVE_PORTAL: _API_NETWORK,
    Reason.REPLY_TOO_LARGE: _API_WAIT,
    Reason.REPLY_ENCODED: _API_WAIT,
    Reason.REPLY_NOT_JSON: _API_WAIT,
    Reason.REPLY_INVALID: _API_WAIT,
    Reason.REPLY_MISMATCHED: _API_WAIT,
    Reason.MONITOR_INTERNAL: _inconclusive(Scope.STORAGE, Advice.READ_LOG),
    Reason.STORAGE_FAILED: _inconclusive(Scope.STORAGE, Advice.READ_LOG),
}

CREDENTIAL = frozenset({Reason.CREDENTIAL_REJECTED, Reason.TOKEN_EXPIRED})
"""Failures that a new credential ends."""

UPSTREAM = frozenset({Reason.PLATFORM_LIMITED, Reason.PLATFORM_TROUBLE})
"""Failures that the platform causes and ends; they say nothing about the connection itself."""


def meaning(reason: Reason) -> Meaning:
    """What follows from *reason*."""
    return MEANINGS[reason]


def outcome_of(reason: Reason) -> Outcome:
    """The outcome *reason* stands for."""
    return MEANINGS[reason].outcome


def advice_of(reason: Reason) -> Advice:
    """What to do about *reason*."""
    return MEANINGS[reason].advice
