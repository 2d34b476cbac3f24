"""
The values everything else is made of. One word per concept; `docs/explanation/glossary.md` defines them.

A *check* asks the API about one *connection* and ends in a *reply* or an error; `verdicts.judge` reads a
*verdict* from it (an outcome and a reason). Verdicts move the connection's *health*, our debounced belief.
While one kind of trouble (a *topic*) holds for one *scope*, an *incident* is open. When the level of a topic
differs from what the receivers were last told, a *notification* is owed.

Timestamps are aware UTC datetimes and end in `_at`; durations are timedeltas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from monitor.domain.tokens import TokenBelief, TokenLife
from monitor.errors import Reason

FINE = "fine"


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


class Severity(StrEnum):
    """How urgent a notification is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Topic(StrEnum):
    """The kinds of trouble; one incident of each at most is open per subject."""

    CONNECTION = "connection"
    EXPIRY = "expiry"
    RENEWAL = "renewal"
    PUBLISHING = "publishing"
    PERMISSIONS = "permissions"
    SCOPE = "scope"


class EventType(StrEnum):
    """The `type` of a webhook body. Public: receivers match on it."""

    CONNECTION_FAILED = "connection.failed"
    CONNECTION_RECOVERED = "connection.recovered"
    CONNECTION_MISSING = "connection.missing"
    CONNECTION_MISCONFIGURED = "connection.misconfigured"
    CONNECTION_STALE = "connection.stale"
    CONNECTION_FLAPPING = "connection.flapping"
    CONNECTION_CLOSED = "connection.closed"
    TOKEN_EXPIRING = "token.expiring"
    TOKEN_EXPIRED = "token.expired"
    TOKEN_RENEWED = "token.renewed"
    TOKEN_RENEWAL_OVERDUE = "token.renewal_overdue"
    PUBLISHING_FAILING = "publishing.failing"
    PUBLISHING_RECOVERED = "publishing.recovered"
    PERMISSIONS_LOST = "permissions.lost"
    PERMISSIONS_RESTORED = "permissions.restored"
    ACCOUNT_FAILED = "account.failed"
    ACCOUNT_RECOVERED = "account.recovered"
    API_FAILED = "api.failed"
    API_RECOVERED = "api.recovered"
    PLATFORM_FAILED = "platform.failed"
    PLATFORM_RECOVERED = "platform.recovered"
    STORAGE_FAILED = "storage.failed"
    STORAGE_RECOVERED = "storage.recovered"
    RECEIVER_FAILING = "receiver.failing"
    RECEIVER_RECOVERED = "receiver.recovered"
    INVENTORY_CHANGED = "inventory.changed"
    REMINDER = "reminder"
    DIGEST = "digest"
    TEST = "test"


class Why(StrEnum):
    """Why someone was told."""

    OPENED = "opened"
    CHANGED = "changed"
    CLOSED = "closed"
    REMINDER = "reminder"
    NOTICE = "notice"
    DIGEST = "digest"


class Quiet(StrEnum):
    """Why nobody was told; `explain` prints it."""

    NOTHING_NEW = "nothing_new"
    COVERED_BY_SCOPE = "covered_by_scope"
    FLAPPING = "flapping"
    REMINDER_NOT_DUE = "reminder_not_due"
    NOT_EXPECTED_TO_WORK = "not_expected_to_work"
    SILENCED = "silenced"
    QUIET_HOURS = "quiet_hours"
    ACKNOWLEDGED = "acknowledged"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Connection:
    """One social account linked at the API, within one account (API key) and managed user."""

    id: int
    account: str
    user_id: str
    platform_id: str
    platform: str
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: timedelta = timedelta(minutes=15)
    expect: str = "auto"
    require_permissions: tuple[str, ...] = ()
    listed: bool = False

    @property
    def account_label(self) -> str:
        """The account as labels show it: a managed user's connections carry the user's id too, so that equal ids stay apart."""
        return f"{self.account}/{self.user_id}" if self.user_id else self.account

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies a connection outside this database: account, managed user ("" for the owner), platform id."""
        return (self.account, self.user_id, self.platform_id)


@dataclass(frozen=True, slots=True)
class LastError:
    """The API's last *posting* error of a connection; says nothing about the check that carried it."""

    message: str
    occurred_at: datetime | None = None


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
    anomalies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedConnection:
    """One row of the API's list of connections; texts cleaned and redacted."""

    platform_id: str
    username: str | None = None
    display_name: str | None = None
    token: TokenLife = TokenLife()
    token_expires_at: datetime | None = None
    token_status: str | None = None
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check tells: the reason (its outcome and scope follow from it) and a cleaned text for people."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """
    One completed check of one connection.

    Attributes:
        sent_at: when the request left, wall clock.
        at: when the reply arrived, wall clock.
        server_at: the server's `Date` header (whole seconds), or None.
        retry_after: how long the API asked the account to wait, or None.
    """

    connection_id: int
    sent_at: datetime
    at: datetime
    verdict: Verdict
    reply: Reply | None = None
    server_at: datetime | None = None
    http_status: int | None = None
    retry_after: timedelta | None = None

    @property
    def duration_seconds(self) -> float:
        """How long the API took, in seconds, never negative."""
        return max(0.0, (self.at - self.sent_at).total_seconds())


@dataclass(frozen=True, slots=True)
class Pending:
    """Contrary evidence that is not yet confirmed: which health it points to, how often and when it was counted."""

    health: Health
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PendingLevel:
    """A level of a topic that was seen but does not yet hold: since when, and how often evidence told it."""

    level: str
    since: datetime
    sightings: int = 1


@dataclass(frozen=True, slots=True)
class Told:
    """
    What the receivers were last told of one topic, and under which incident number.

    *merged* says that the notification of another topic told it: an expired token within the failure that it caused.
    *doubted* says that they also heard that the failure may be the test's own.
    """

    level: str = FINE
    number: int = 0
    opened_at: datetime | None = None
    at: datetime | None = None
    reminders: int = 0
    merged: bool = False
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class TopicState:
    """
    One kind of trouble of one subject.

    Attributes:
        level: what we believe now; `fine` means no incident is open.
        since: when that level began.
        number: counts the incidents of this topic; the open or the last one.
        opened_at: when that incident opened.
        told: what the receivers know. A notification is owed while `told.level` differs from `level`.
    """

    level: str = FINE
    since: datetime | None = None
    number: int = 0
    opened_at: datetime | None = None
    told: Told = Told()


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """
    All the monitor remembers of one connection between checks: one row, one version number.

    Attributes:
        health, since: the belief and when it began.
        reason, detail: of the last conclusive check.
        pending: contrary evidence not yet confirmed.
        last_check_at: the last check, whatever it told.
        last_evidence_at: the last conclusive check.
        last_passed_at: the last passed one.
        failures: failed checks in a row.
        first_failed_at: the first of them.
        last_reason, last_detail: of the very last check, conclusive or not.
        passed_before: whether any check ever passed.
        changes: when confirmed health changed lately, for flap damping, oldest first.
        permissions: what the last passed check that reported any reported, plus what was lost since.
        permissions_missing: granted earlier or required, and absent from the last report.
        token_sightings: checks in a row that agree about the token's end.
        hints: levels of topics that evidence told but that are not yet confirmed.
        quiet: why nobody was told at the last look.
        notice_owed: a notice that no level tells of was held back by a silence: that the connection can no longer be tested.
        review_at: when the passing of time alone may next change something.
        seq: numbers the notifications about this connection; receivers order by it.
    """

    health: Health = Health.UNKNOWN
    since: datetime | None = None
    reason: Reason | None = None
    detail: str = ""
    pending: Pending | None = None
    last_check_at: datetime | None = None
    last_evidence_at: datetime | None = None
    last_passed_at: datetime | None = None
    last_reason: Reason | None = None
    last_detail: str = ""
    failures: int = 0
    first_failed_at: datetime | None = None
    passed_before: bool = False
    username: str | None = None
    display_name: str | None = None
    permissions: tuple[str, ...] = ()
    permissions_missing: tuple[str, ...] = ()
    last_successful_post_at: datetime | None = None
    last_error: LastError | None = None
    token: TokenBelief = TokenBelief()
    token_sightings: int = 0
    changes: tuple[datetime, ...] = ()
    hints: Mapping[Topic, PendingLevel] = field(default_factory=dict)
    topics: Mapping[Topic, TopicState] = field(default_factory=dict)
    quiet: Quiet = Quiet.NOTHING_NEW
    notice_owed: bool = False
    review_at: datetime | None = None
    seq: int = 0

    @property
    def suspected_false_negative(self) -> bool:
        """Whether a post succeeded after the first failed check: the validator may be wrong."""
        posted = self.last_successful_post_at
        return posted is not None and self.first_failed_at is not None and posted > self.first_failed_at

    def topic(self, topic: Topic) -> TopicState:
        """The state of one topic; a topic that never was in trouble is fine."""
        return self.topics.get(topic, TopicState())


@dataclass(frozen=True, slots=True)
class IncidentRef:
    """Names one incident: what it is about and its number. `key` (see payloads) is made of it."""

    topic: Topic
    subject: str
    number: int
    opened_at: datetime


@dataclass(frozen=True, slots=True)
class Transition:
    """An incident opening, changing its level, or closing: one row of history."""

    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level: str
    at: datetime
    severity: Severity
    reason: Reason | None
    detail: str
    closed_why: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What a notification may add to its bare bones; absent facts are None or empty.

    *expires_uncertainty* says by how much *expires_at* may be off to either side.
    """

    first_check: bool = False
    suspected_false_negative: bool = False
    merged_expiry: bool = False
    duration: timedelta | None = None
    expires_at: datetime | None = None
    expires_uncertainty: timedelta | None = None
    threshold: timedelta | None = None
    permissions_lost: tuple[str, ...] = ()
    last_successful_post_at: datetime | None = None
    affected: int | None = None
    reminder: int = 0
    username: str | None = None
    closed_why: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """The decision to tell, with its why. It becomes one stored body and one delivery per receiver."""

    type: EventType
    why: Why
    severity: Severity
    at: datetime
    incident: IncidentRef
    scope: Scope
    connection_id: int | None
    level_from: str
    level_to: str
    reason: Reason | None
    detail: str
    seq: int
    facts: Facts = Facts()
