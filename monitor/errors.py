"""
Every error of ours, and the closed vocabulary of reasons.

A broken connection is data, not an exception: exceptions mean "we could not find out" or
"we could not tell anyone".

    MonitorError                 exit 1
      UsageError                 exit 2: words of a command that make no sense
      ConfigError                exit 78, never restart: all problems of a file at once
        PortUnavailable          exit 1: another start may succeed
      StoreError
        StoreUnavailable         try again later
        StoreMisplaced           exit 78: the database lies where it is not safe
        StoreCorrupt             exit 74: the database file is damaged
        SchemaMismatch           exit 78: the schema is a newer program's, or another program's
        AnotherInstance          exit 75: another process holds the database
      ApiError                   no verdict about a connection could be had
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_CORRUPT = 74
EXIT_ANOTHER_INSTANCE = 75
EXIT_CONFIG = 78


class Reason(StrEnum):
    """Why a check ended as it did: one spelling for log, metric label, column and JSON."""

    # evidence about one connection
    OK = "ok"
    CREDENTIAL_REJECTED = "credential_rejected"
    TOKEN_EXPIRED = "token_expired"
    RIGHTS_LOST = "rights_lost"
    BOT_REMOVED = "bot_removed"
    ACCOUNT_RESTRICTED = "account_restricted"
    TARGET_GONE = "target_gone"
    APP_REFUSED = "app_refused"
    PLATFORM_LIMITED = "platform_limited"
    PLATFORM_TROUBLE = "platform_trouble"
    VALIDATION_FAILED = "validation_failed"
    CONNECTION_MISSING = "connection_missing"
    ID_REFUSED = "id_refused"

    # the API cannot test this one
    PLATFORM_UNKNOWN = "platform_unknown"
    VALIDATOR_LACKS_MTPROTO = "validator_lacks_mtproto"
    VALIDATOR_LACKS_CREDENTIALS = "validator_lacks_credentials"
    ID_UNSUPPORTED = "id_unsupported"
    KNOWN_FALSE_NEGATIVE = "known_false_negative"
    EXPECTED_UNSUPPORTED = "expected_unsupported"

    # one connection, but nothing learned about it
    API_VALIDATOR_FAILED = "api_validator_failed"

    # the account or the managed user
    API_UNAUTHORIZED = "api_unauthorized"
    API_FORBIDDEN = "api_forbidden"
    WORKSPACE_FORBIDDEN = "workspace_forbidden"
    USER_NOT_MANAGED = "user_not_managed"
    USER_ID_INVALID = "user_id_invalid"
    API_THROTTLED = "api_throttled"

    # the API or the way to it
    API_DNS_FAILED = "api_dns_failed"
    API_UNREACHABLE = "api_unreachable"
    API_TLS_EXPIRED = "api_tls_expired"
    API_TLS_FAILED = "api_tls_failed"
    API_TIMEOUT = "api_timeout"
    API_DISCONNECTED = "api_disconnected"
    API_REDIRECTED = "api_redirected"
    API_FAILED = "api_failed"
    API_REFUSED = "api_refused"
    API_NOT_FOUND = "api_not_found"
    PROXY_ANSWERED = "proxy_answered"
    CAPTIVE_PORTAL = "captive_portal"
    REPLY_TOO_LARGE = "reply_too_large"
    REPLY_ENCODED = "reply_encoded"
    REPLY_NOT_JSON = "reply_not_json"
    REPLY_INVALID = "reply_invalid"
    REPLY_MISMATCHED = "reply_mismatched"

    # our own doing
    MONITOR_INTERNAL = "monitor_internal"
    STORAGE_FAILED = "storage_failed"


class DeliveryReason(StrEnum):
    """Why one attempt to tell a receiver ended as it did; also the `result` label of the deliveries counter."""

    DELIVERED = "delivered"
    CLIENT_ERROR = "client_error"
    AUTH_ERROR = "auth_error"
    GONE = "gone"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    REDIRECTED = "redirected"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    ADDRESS_REFUSED = "address_refused"
    DISCONNECTED = "disconnected"
    UNKNOWN = "unknown"
    INTERNAL = "internal"
    NOT_SENT = "not_sent"


class MonitorError(Exception):
    """The root of all errors of this program; `exit_code` is what the command line ends with."""

    exit_code = EXIT_UNEXPECTED


class UsageError(MonitorError):
    """The words of a command make no sense together, or name what does not exist; says what to write."""

    exit_code = EXIT_USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: `location` is `file:line` (or an option), `fix` says what to do."""

    location: str
    message: str
    fix: str = ""

    def __str__(self) -> str:
        advice = f" ({self.fix})" if self.fix else ""
        return f"{self.location}: {self.message}{advice}"


class ConfigError(MonitorError):
    """The configuration can't be used; carries every problem found, not only the first."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class PortUnavailable(ConfigError):
    """The web port is taken or its address is not on this machine: another start may succeed."""

    exit_code = EXIT_UNEXPECTED


class StoreError(MonitorError):
    """The database could not do its work."""


class StoreUnavailable(StoreError):
    """The database can't be reached, is locked, full or read-only: the same work may succeed later."""


class UnsafeDatabaseLocation(StoreError):
    """The database's folder or file is none that can be trusted; only a person can put that right."""

    exit_code = EXIT_CONFIG


class StoreDenied(StoreError):
    """The role of the database may not do what is needed; the same work succeeds once it may."""


class UnsuitableServer(StoreError):
    """The database server, a pooler before it, or its address can't be used; only a person can put that right."""

    exit_code = EXIT_CONFIG


class StoreCorrupt(StoreError):
    """The database file is damaged; nothing is written to it any more."""

    exit_code = EXIT_CORRUPT


class SchemaMismatch(StoreError):
    """The database was written by a newer version of this program, or by another program."""

    exit_code = EXIT_CONFIG


class AnotherInstance(StoreError):
    """Another process holds the database."""

    exit_code = EXIT_ANOTHER_INSTANCE


class StaleStateError(StoreError):
    """A row is not as it was when it was read; nothing was written. Read it again, or give up."""


class ApiError(MonitorError):
    """
    The API gave no verdict.

    Attributes:
        detail: what happened, cleaned and redacted, at most 500 characters.
        retry_after: how long the API asked us to wait, or None.
        http_status: the status code, or None when no answer arrived.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        *,
        retry_after: timedelta | None = None,
        http_status: int | None = None,
    ) -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        self.http_status = http_status
