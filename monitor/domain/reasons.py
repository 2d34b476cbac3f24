"""`Outcome`, `Scope`, `Health`, and the table reason -> outcome, scope, health."""

from dataclasses import dataclass
from enum import StrEnum

from monitor.errors import Reason


class Outcome(StrEnum):
    """What one check tells. Only `passed` and `failed` are evidence about health; `inconclusive` never is."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    UNSUPPORTED = "unsupported"


class Health(StrEnum):
    """The debounced belief about one connection."""

    UNKNOWN = "unknown"
    OK = "ok"
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    MISSING = "missing"
    MISCONFIGURED = "misconfigured"


class Scope(StrEnum):
    """What a cause covers, from narrow to wide."""

    CONNECTION = "connection"
    PLATFORM = "platform"
    USER = "user"
    ACCOUNT = "account"
    API = "api"
    STORAGE = "storage"
    RECEIVER = "receiver"


_RECONNECT = "Reconnect the account on the PostPost dashboard."
_CRASHED = "Wait a while. If it lasts, reconnect the account, or ask PostPost's support about this connection."
_WAIT = "Nothing to do at the connection; checks go on and this clears by itself."
_NETWORK = "Check this machine's network and the API's status page."
_KEY = "Put a valid API key into the account's key file and reload."


@dataclass(frozen=True, slots=True)
class Meaning:
    """
    What a reason says.

    Attributes:
        outcome: passed, failed, inconclusive or unsupported.
        scope: what the cause covers.
        words: one plain clause, without a full stop.
        advice: what a person should do; empty when nothing is needed.
        health: what the connection's health becomes once confirmed; None when it is no evidence.
    """

    outcome: Outcome
    scope: Scope
    words: str
    advice: str = ""
    health: Health | None = None


def _failed(words: str, advice: str = _RECONNECT, health: Health = Health.ERROR) -> Meaning:
    return Meaning(Outcome.FAILED, Scope.CONNECTION, words, advice, health)


def _unsupported(words: str) -> Meaning:
    return Meaning(Outcome.UNSUPPORTED, Scope.CONNECTION, words, "", Health.UNSUPPORTED)


def _inconclusive(scope: Scope, words: str, advice: str = _WAIT) -> Meaning:
    return Meaning(Outcome.INCONCLUSIVE, scope, words, advice)


MEANINGS: dict[Reason, Meaning] = {
    Reason.OK: Meaning(Outcome.PASSED, Scope.CONNECTION, "the connection works", "", Health.OK),
    Reason.CREDENTIAL_REJECTED: _failed("the platform rejects the stored credential"),
    Reason.TOKEN_EXPIRED: _failed("the access token has expired"),
    Reason.RIGHTS_LOST: _failed("the account lost a right it needs for posting"),
    Reason.TARGET_GONE: _failed("the page, channel or profile is gone"),
    Reason.PLATFORM_TROUBLE: _failed("the platform itself has trouble", _WAIT),
    Reason.VALIDATION_FAILED: _failed("the test of the connection failed"),
    Reason.CONNECTION_MISSING: _failed(
        "the API does not know this connection",
        "It was removed, or reconnected under another id: update the configuration, or reconnect it.",
        Health.MISSING,
    ),
    Reason.ID_REFUSED: _failed(
        "the API refuses the configured id",
        "Correct the id in the configuration; copy it from the list of connections.",
        Health.MISCONFIGURED,
    ),
    Reason.PLATFORM_UNKNOWN: _unsupported("the API has no test for this platform"),
    Reason.VALIDATOR_LACKS_MTPROTO: _unsupported("the API cannot test Telegram MTProto connections"),
    Reason.VALIDATOR_LACKS_CREDENTIALS: _unsupported("the API's test lacks the credentials of this platform"),
    Reason.ID_UNSUPPORTED: _unsupported("the API's test cannot read this id although the API listed it"),
    Reason.KNOWN_FALSE_NEGATIVE: _unsupported("the answer matches a configured known false negative"),
    Reason.EXPECTED_UNSUPPORTED: _unsupported("the configuration says that this connection cannot be tested"),
    Reason.API_VALIDATOR_FAILED: _inconclusive(Scope.CONNECTION, "the API's test crashed for this connection", _CRASHED),
    Reason.API_UNAUTHORIZED: _inconclusive(Scope.ACCOUNT, "the API key is revoked or wrong", _KEY),
    Reason.API_FORBIDDEN: _inconclusive(Scope.ACCOUNT, "the account has no API access", "Check the account's plan with PostPost."),
    Reason.WORKSPACE_FORBIDDEN: _inconclusive(
        Scope.USER, "the key may not act for managed users", "Ask PostPost to switch on workspace access for this key."
    ),
    Reason.USER_NOT_MANAGED: _inconclusive(
        Scope.USER, "the key does not manage this user", "Correct the account's user_id, or attach the user again."
    ),
    Reason.USER_ID_INVALID: _inconclusive(Scope.USER, "the managed user's id is malformed", "Correct the account's user_id."),
    Reason.API_THROTTLED: _inconclusive(Scope.ACCOUNT, "the API limits our requests", "Lower requests_per_second or raise the interval."),
    Reason.API_DNS_FAILED: _inconclusive(Scope.API, "the API's name cannot be resolved", _NETWORK),
    Reason.API_UNREACHABLE: _inconclusive(Scope.API, "the API cannot be reached", _NETWORK),
    Reason.API_TLS_EXPIRED: _inconclusive(Scope.API, "the API's certificate has expired", _NETWORK),
    Reason.API_TLS_FAILED: _inconclusive(Scope.API, "the API's certificate is not trusted", _NETWORK),
    Reason.API_TIMEOUT: _inconclusive(Scope.API, "the API did not answer in time"),
    Reason.API_DISCONNECTED: _inconclusive(Scope.API, "the API broke off its answer"),
    Reason.API_REDIRECTED: _inconclusive(Scope.API, "the API answered with a redirect, which is never followed", _NETWORK),
    Reason.API_FAILED: _inconclusive(Scope.API, "the API answered with a server error"),
    Reason.API_REFUSED: _inconclusive(Scope.API, "the API refused the request", "Update this program; client and server do not fit."),
    Reason.API_NOT_FOUND: _inconclusive(Scope.API, "there is no API at this address", "Check api.base_url."),
    Reason.PROXY_ANSWERED: _inconclusive(Scope.API, "a proxy or gateway answered in place of the API", _NETWORK),
    Reason.CAPTIVE_PORTAL: _inconclusive(Scope.API, "a web page answered in place of the API", _NETWORK),
    Reason.REPLY_TOO_LARGE: _inconclusive(Scope.API, "the answer was too large"),
    Reason.REPLY_ENCODED: _inconclusive(Scope.API, "the answer was compressed although we asked for none"),
    Reason.REPLY_NOT_JSON: _inconclusive(Scope.API, "the answer was not JSON"),
    Reason.REPLY_INVALID: _inconclusive(Scope.API, "the answer was not of the documented form"),
    Reason.REPLY_MISMATCHED: _inconclusive(Scope.API, "the answer was about another connection"),
    Reason.MONITOR_INTERNAL: _inconclusive(Scope.STORAGE, "the monitor itself failed", "See the log; please report it."),
}


def meaning(reason: Reason) -> Meaning:
    """What *reason* says."""
    return MEANINGS[reason]


def outcome_of(reason: Reason) -> Outcome:
    """The outcome *reason* stands for."""
    return MEANINGS[reason].outcome
