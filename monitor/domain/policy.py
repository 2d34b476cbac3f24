"""The thresholds that turn verdicts into incidents and incidents into notifications. Every field is a config key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Confirm:
    """
    How often something must be seen before it is believed.

    Attributes:
        failures: failed checks that make an error.
        successes: passed checks that end one.
        upstream: failed checks that make an error when the text tells of the platform's own trouble.
        missing: "Connection not found" answers, spread over at least *missing_over*.
        misconfigured: refusals of the id.
        expiry: checks that must tell of the same expiry level.
    """

    failures: int = 2
    successes: int = 2
    upstream: int = 3
    missing: int = 3
    missing_over: timedelta = 10 * _MINUTE
    misconfigured: int = 2
    expiry: int = 2


@dataclass(frozen=True, slots=True)
class ExpiryPolicy:
    """
    When the end of a token is told.

    Attributes:
        thresholds: time left at which to tell, descending; the first is info, the last critical, between them warning.
            Empty: never a countdown; only `expired` and the API's own flags count.
        trust_date: whether a date may be believed while `tokenStatus` says `valid` (False where the platform renews by itself).
        hysteresis: how far above a threshold the end must move back before the level goes down; at least a tenth of the threshold.
        settle: how long a level must hold before it is told.
        overdue_after: tell that a usual renewal is overdue when it is this much later than the latest one seen.
    """

    thresholds: tuple[timedelta, ...] = (14 * _DAY, 7 * _DAY, _DAY)
    trust_date: bool = True
    hysteresis: timedelta = 2 * _HOUR
    settle: timedelta = timedelta(0)
    overdue_after: timedelta = _DAY


@dataclass(frozen=True, slots=True)
class ScopePolicy:
    """
    When many troubles are one (`reliability` 3.5).

    Attributes:
        window: how far back attempts are counted; at least two rounds of checks.
        open_after, close_after: how long the condition must hold.
        canary: pause between checks while the API is down.
        account_confirm: pause before the second 401 that opens an account incident.
        account_canary: pause between checks while the account is refused.
        attempts, ratio: least number and share of inconclusive checks that open an API incident.
        close_ratio: share below which it may close.
        platform_window, platform_count, platform_ratio: connections of one platform that fail together.
        platform_hold: after this long the rest is told one by one.
        throttled_after: how long throttling must last before it is told.
    """

    window: timedelta = 5 * _MINUTE
    open_after: timedelta = 2 * _MINUTE
    close_after: timedelta = 2 * _MINUTE
    canary: timedelta = timedelta(seconds=15)
    account_confirm: timedelta = timedelta(seconds=30)
    account_canary: timedelta = 5 * _MINUTE
    attempts: int = 5
    ratio: float = 0.6
    close_ratio: float = 0.2
    platform_window: timedelta = 10 * _MINUTE
    platform_count: int = 5
    platform_ratio: float = 0.5
    platform_hold: timedelta = 30 * _MINUTE
    throttled_after: timedelta = 30 * _MINUTE


@dataclass(frozen=True, slots=True)
class FlapPolicy:
    """After *changes* confirmed changes within *window* the connection is flapping until *calm* passed without one."""

    changes: int = 4
    window: timedelta = _HOUR
    calm: timedelta = 30 * _MINUTE


@dataclass(frozen=True, slots=True)
class DigestPolicy:
    """
    When many notifications become one.

    Attributes:
        wait: how long a burst is collected.
        after: so many notifications to one receiver within *wait* go out one by one; the rest are collected.
        max_items: connections in one digest.
    """

    wait: timedelta = timedelta(seconds=20)
    after: int = 4
    max_items: int = 50


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How long and how often a delivery is tried.

    Attributes:
        schedule: pauses after the first, second, ... failed attempt; the last one repeats.
        slow_after, slow_every: after this age, only this often.
        give_up_after: age at which a delivery becomes a dead letter.
        jitter: share by which every pause is varied up and down.
        poison_attempts: refusals of one body (400, 413, 422) that make it a dead letter.
    """

    schedule: tuple[timedelta, ...] = (
        timedelta(seconds=5),
        timedelta(seconds=15),
        timedelta(seconds=45),
        2 * _MINUTE,
        5 * _MINUTE,
    )
    slow_after: timedelta = _DAY
    slow_every: timedelta = 30 * _MINUTE
    give_up_after: timedelta = 3 * _DAY
    jitter: float = 0.2
    poison_attempts: int = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """
    All of it.

    Attributes:
        spacing: counted observations are at least this far apart (two thirds of `schedule.recheck`).
        recheck: pause before the fast re-check after contrary evidence.
        pending_rounds: contrary evidence older than this many intervals is void.
        stale_after: None means automatic: three intervals, at least 30 minutes.
        reminders: pause between reminders; zero turns them off; weekly after seven days.
        publishing_fresh: a posting error older than this raises nothing.
    """

    confirm: Confirm = Confirm()
    expiry: ExpiryPolicy = ExpiryPolicy()
    platforms: Mapping[str, ExpiryPolicy] = field(default_factory=dict)
    scopes: ScopePolicy = ScopePolicy()
    flap: FlapPolicy = FlapPolicy()
    digest: DigestPolicy = DigestPolicy()
    retry: RetryPolicy = RetryPolicy()
    spacing: timedelta = timedelta(seconds=30)
    recheck: timedelta = timedelta(seconds=45)
    pending_rounds: int = 3
    stale_after: timedelta | None = None
    stale_floor: timedelta = 30 * _MINUTE
    reminders: timedelta = _DAY
    publishing_fresh: timedelta = 7 * _DAY

    def expiry_for(self, platform: str) -> ExpiryPolicy:
        """The expiry policy of *platform*."""
        return self.platforms.get(platform, self.expiry)

    def stale_for(self, interval: timedelta) -> timedelta:
        """How long a connection with this check *interval* may go without evidence."""
        return self.stale_after if self.stale_after is not None else max(3 * interval, self.stale_floor)
