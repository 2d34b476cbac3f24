"""
The thresholds that turn verdicts into incidents and incidents into notifications.

The fields are the keys of the section `policy`: names, defaults and the texts under "Attributes" are taken from here,
so the texts are Markdown for operators. A field is documented once, in the order of the fields.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from monitor.domain.routes import Route

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Confirm:
    """
    How many observations confirm a change.

    Attributes:
        failures: Failed checks that make an error. 1 notifies at once, also of a single hiccup.
        successes: Passed checks that end an error.
        upstream: Failed checks that make an error when the message reports trouble of the platform itself (timeouts, 5xx, rate limits).
        missing: "Connection not found" answers that make a connection missing.
        missing_over: Time over which these answers must be spread.
        misconfigured: Refusals of the id that make a connection misconfigured.
        expiry: Checks that must report the same expiry level.
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
    When the end of a token's life is notified.

    Attributes:
        thresholds: Time left at which to notify, descending: the first is info, the last critical, those between warning. Empty: no
            countdown, only `expired` and the API's own flags count.
        trust_date: Whether the API's date is trusted while its `tokenStatus` says `valid`. False where the platform renews by itself.
        hysteresis: How far above a threshold the end must move back before the level is lowered; at least a tenth of the threshold.
        settle: How long after a threshold is crossed it is notified, at most a quarter of the threshold; for platforms that renew
            tokens at the last moment.
        overdue_after: Notify that a usual renewal is overdue when it is this much later than the latest one seen.
    """

    thresholds: tuple[timedelta, ...] = (14 * _DAY, 7 * _DAY, _DAY)
    trust_date: bool = True
    hysteresis: timedelta = 2 * _HOUR
    settle: timedelta = timedelta(0)
    overdue_after: timedelta = _DAY


@dataclass(frozen=True, slots=True)
class ScopePolicy:
    """
    When many failures are one incident, notified once with the cause.

    Attributes:
        window: How far back attempts are counted; at least two rounds of checks.
        open_after: How long the API must fail before its incident opens.
        close_after: How long it must work before it counts as recovered.
        canary: Pause between checks while the API is down.
        account_confirm: How long the key must be refused, for several connections, before an account incident opens.
        account_canary: Pause between checks while the key is refused; each refusal is expensive for the API.
        attempts: Minimum number of checks without an answer that opens an API incident.
        ratio: Minimum share of checks without an answer that opens one (0 to 1).
        close_ratio: Share below which it may close; less than `ratio`.
        api_notify_after: How long the API must fail before that is notified; a shorter outage is only recorded. `auto`: two thirds of
            `schedule.interval`, at most 10 minutes.
        platform_window: Time within which connections of one platform must fail to count as failing together; at least two rounds of checks.
        platform_count: Minimum number of connections that fail together.
        platform_ratio: Minimum share of the connections that fail together, of a platform or of one user's (0 to 1).
        group_count: From this number on, connections of one user and platform that fail together are one incident, whatever their share;
            so are those of several users in trouble of the platform itself.
        sweep: How long the other connections of a platform are looked at, after a first failure there, before failures are notified.
        sweep_size: Maximum number of connections of each account that are looked at.
        sweep_pause: Minimum time between two such looks; less where `schedule.interval` is short.
        throttled_after: How long the API must throttle us before its incident opens.

    Source: reliability.md 3.5.
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
    api_notify_after: timedelta | None = None
    platform_window: timedelta = 10 * _MINUTE
    platform_count: int = 2
    platform_ratio: float = 0.5
    group_count: int = 3
    sweep: timedelta = _MINUTE
    sweep_size: int = 50
    sweep_pause: timedelta = 5 * _MINUTE
    throttled_after: timedelta = 30 * _MINUTE

    def api_notify_for(self, window: timedelta) -> timedelta:
        """How long the API must fail before that is notified; checks count for *window*, which is two rounds or more."""
        return self.api_notify_after if self.api_notify_after is not None else min(window / 3, 10 * _MINUTE)


@dataclass(frozen=True, slots=True)
class FlapPolicy:
    """
    When a connection or a scope is flapping.

    Attributes:
        changes: Confirmed changes within `window` that make a connection flapping, and incidents within it that make a scope flapping.
        window: Time within which changes are counted; at least `window_rounds`.
        window_rounds: Minimum of `window`, in intervals of the connection's checks; of a scope, in ordinary ones.
        calm: Time without a change after which the final state is notified; at least `calm_rounds`. Also how long
            the third cause of one failure must last before it is notified, the fourth twice as long, and so on.
        calm_rounds: Minimum of `calm`, in the same intervals.
    """

    changes: int = 3
    window: timedelta = 2 * _HOUR
    window_rounds: int = 8
    calm: timedelta = _HOUR
    calm_rounds: int = 5

    def window_for(self, interval: timedelta) -> timedelta:
        """The time within which changes are counted, at this check *interval*."""
        return max(self.window, self.window_rounds * interval)

    def calm_for(self, interval: timedelta) -> timedelta:
        """The time without a change after which a connection or scope is stable, at this check *interval*."""
        return max(self.calm, self.calm_rounds * interval)


@dataclass(frozen=True, slots=True)
class DiscoveryPolicy:
    """
    When the API's lists are believed, and which changes of them are notified.

    Attributes:
        short_over: How long the lists must lack more than half of the connections or users before these are no longer watched.
        unusual: Share of the connections of an account or managed user whose removal at once is notified.
    """

    short_over: timedelta = _HOUR
    unusual: float = 0.2


@dataclass(frozen=True, slots=True)
class DigestPolicy:
    """
    When many notifications become one.

    Attributes:
        wait: How long a burst is collected.
        after: Number of notifications to one receiver within `wait` that are sent one by one; the rest are collected.
        max_items: Maximum number of connections in one digest; bodies stay below 20 kB.
    """

    wait: timedelta = timedelta(seconds=20)
    after: int = 4
    max_items: int = 50


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How long and how often a delivery is retried.

    Attributes:
        schedule: Pauses after the first, second, ... failed attempt; the last one repeats.
        slow_after: Age from which a delivery is retried every `slow_every` only.
        slow_every: Pause between attempts of an old delivery.
        give_up_after: Age at which a delivery is abandoned; `deliveries retry` can send it later.
        jitter: Share by which every pause is varied up and down (0 to 1).
        poison_attempts: Refusals of one body (400, 413, 422) after which its delivery is abandoned, so that it can't block others.
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
    When notifications are sent.

    Attributes:
        confirm: How many observations confirm a change.
        expiry: When the end of a token's life is notified. Platforms have built-in differences, see the table of platforms.
        platforms: Differences of single platforms, by name.
        reminders: Pause between reminders of a failed, missing, misconfigured or stale connection, of an expired token and of an open
            scope incident; weekly after seven days. Other incidents are not repeated. `off` turns them off.
        reminders_suspected: The same for a failure that may be a false negative of the test; at least `reminders`.
        stale_after: How long a connection may go without evidence before that is notified. `auto`: three intervals, at least `stale_floor`.
        stale_floor: The minimum of `auto`.
        upstream_after: How long trouble of the platform itself (timeouts, 5xx, rate limits) must last at a connection, without a
            passed check, before that is notified; while others of the platform begin to fail too, up to three times as long; trouble of many of
            its connections is notified at once. `auto`: two intervals, at least 30 minutes.
        pending_rounds: Unconfirmed evidence older than this many intervals is void.
        publishing_fresh: A posting error older than this is not notified.
        scopes: When many failures are one incident.
        flap: When a connection or a scope is flapping.
        discovery: When the API's lists are believed, and which changes of them are notified.
        digest: When many notifications become one.
        retry: How long and how often a delivery is retried.
        spacing: Counted observations are at least this far apart; two thirds of `schedule.recheck`.
        recheck: Pause before the fast re-check after contrary evidence: `schedule.recheck`.
        interval: The ordinary pause between checks: `schedule.interval`.
        upstream_after_of: `upstream_after` of single platforms.
        routes: The routes, which may say when receivers are notified.
    """

    confirm: Confirm = Confirm()
    expiry: ExpiryPolicy = ExpiryPolicy()
    platforms: Mapping[str, ExpiryPolicy] = field(default_factory=dict)
    reminders: timedelta = _DAY
    reminders_suspected: timedelta = 7 * _DAY
    stale_after: timedelta | None = None
    stale_floor: timedelta = 30 * _MINUTE
    upstream_after: timedelta | None = None
    pending_rounds: int = 3
    publishing_fresh: timedelta = 7 * _DAY
    scopes: ScopePolicy = ScopePolicy()
    flap: FlapPolicy = FlapPolicy()
    discovery: DiscoveryPolicy = DiscoveryPolicy()
    digest: DigestPolicy = DigestPolicy()
    retry: RetryPolicy = RetryPolicy()
    spacing: timedelta = timedelta(seconds=30)
    recheck: timedelta = timedelta(seconds=45)
    interval: timedelta = 15 * _MINUTE
    upstream_after_of: Mapping[str, timedelta] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()

    @property
    def api_window(self) -> timedelta:
        """How far back checks count for the API scope: two rounds at least."""
        return max(self.scopes.window, 2 * self.interval)

    @property
    def routes_are_timed(self) -> bool:
        """Whether a route says when receivers are notified."""
        return any(route.timed for route in self.routes)

    def routes_named(self, keys: Collection[str]) -> tuple[Route, ...]:
        """The routes with these *keys* that are still configured."""
        return tuple(route for route in self.routes if route.key in keys) if keys else ()

    def reminders_by(self, keys: Collection[str]) -> timedelta | None:
        """The pause between reminders that the routes with these *keys* ask for, the shortest; None when they ask for none."""
        asked = [route.reminder_interval for route in self.routes_named(keys) if route.reminder_interval is not None]
        return min(filter(None, asked), default=timedelta(0)) if asked else None

    def expiry_for(self, platform: str) -> ExpiryPolicy:
        """The expiry policy of *platform*."""
        return self.platforms.get(platform, self.expiry)

    def stale_for(self, interval: timedelta) -> timedelta:
        """How long a connection with this check *interval* may go without evidence."""
        return self.stale_after if self.stale_after is not None else max(3 * interval, self.stale_floor)

    def upstream_for(self, platform: str, interval: timedelta) -> timedelta:
        """How long trouble of *platform* itself must last at a connection with this check *interval* before that is notified."""
        after = self.upstream_after_of.get(platform, self.upstream_after)
        return after if after is not None else max(2 * interval, 30 * _MINUTE)
