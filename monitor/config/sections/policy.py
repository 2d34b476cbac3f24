"""`policy`, made from the dataclasses of `domain/policy`; per-platform defaults."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainSerializer, WithJsonSchema, model_validator

from monitor.config.sections.core import ScheduleSettings
from monitor.config.types import Count, Duration, Items, Period, Section, Share, Switch, off_or_duration, problem, to_duration
from monitor.domain.policy import Confirm, DigestPolicy, ExpiryPolicy, FlapPolicy, Policy, RetryPolicy, ScopePolicy
from monitor.text.durations import format_duration

_CONFIRM, _EXPIRY, _SCOPES, _FLAP, _DIGEST, _RETRY, _POLICY = (
    Confirm(),
    ExpiryPolicy(),
    ScopePolicy(),
    FlapPolicy(),
    DigestPolicy(),
    RetryPolicy(),
    Policy(),
)


def _check_descending(value: tuple[timedelta, ...]) -> tuple[timedelta, ...]:
    if any(later >= earlier for earlier, later in pairwise(value)):
        raise problem("must descend, each shorter than the one before", "such as [14d, 7d, 1d]: the first is info, the last critical")
    return value


def _check_pattern(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError):
        raise problem("is not a regular expression", "escape ( ) [ ] . * + ? with a backslash, and use single quotes") from None
    return value


def _check_platform(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", value):
        raise problem("is no platform", "use the lower-case word before the first dash of an id, such as linkedin")
    return value


def _auto_or_period(value: object) -> timedelta | None:
    if value is None or value == "auto":
        return None
    duration = to_duration(value)
    if not duration:
        raise problem("must be auto or more than 0s", "to be told less, give a longer time")
    return duration


Thresholds = Annotated[Items[Period], Field(max_length=20), AfterValidator(_check_descending)]
Pattern = Annotated[str, AfterValidator(_check_pattern), Field(max_length=500)]
PlatformName = Annotated[str, AfterValidator(_check_platform)]
PlatformOrAny = Annotated[str, AfterValidator(lambda value: value if value == "*" else _check_platform(value))]
AutoOrPeriod = Annotated[
    timedelta | None,
    BeforeValidator(_auto_or_period),
    PlainSerializer(lambda value: "auto" if value is None else format_duration(value), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["auto", "1h"]}),
]
OffOrDuration = Annotated[
    Duration,
    BeforeValidator(off_or_duration),
    WithJsonSchema({"type": "string", "examples": ["24h", "off"]}),
]


class ConfirmSettings(Section):
    """How often something must be seen before it is believed."""

    failures: Count = _CONFIRM.failures
    """Failed checks that make an error. 1 tells at once, and of every hiccup."""
    successes: Count = _CONFIRM.successes
    """Passed checks that end an error."""
    upstream: Count = _CONFIRM.upstream
    """Failed checks that make an error when the text tells of the platform's own trouble (timeouts, 5xx, rate limits)."""
    missing: Count = _CONFIRM.missing
    """"Connection not found" answers that make a connection missing."""
    missing_over: Duration = _CONFIRM.missing_over
    """Time over which these answers must be spread."""
    misconfigured: Count = _CONFIRM.misconfigured
    """Refusals of the id that make a connection misconfigured."""
    expiry: Count = _CONFIRM.expiry
    """Checks that must tell of the same expiry level."""


class ExpirySettings(Section):
    """When the end of a token is told."""

    thresholds: Thresholds = _EXPIRY.thresholds
    """Time left at which to tell, descending: the first is info, the last critical, those between warning. Empty: no countdown, only
    `expired` and the API's own flags count."""
    trust_date: Switch = _EXPIRY.trust_date
    """Whether the API's date is believed while its `tokenStatus` says `valid`. False where the platform renews by itself."""
    hysteresis: Duration = _EXPIRY.hysteresis
    """How far above a threshold the end must move back before the level goes down; at least a tenth of the threshold."""
    settle: Duration = _EXPIRY.settle
    """How long a level must hold before it is told; spares platforms that are renewed at the last moment."""
    overdue_after: Duration = _EXPIRY.overdue_after
    """Tell that a usual renewal is overdue when it is this much later than the latest one seen."""


class PlatformSettings(Section):
    """What is different for one platform."""

    expiry: ExpirySettings = ExpirySettings()
    """Keys of `policy.expiry` for this platform; keys that are not given here keep the platform's built-in value."""


class ScopeSettings(Section):
    """When many troubles are one, told once with the cause."""

    window: Period = _SCOPES.window
    """How far back attempts are counted; at least two rounds of checks."""
    open_after: Duration = _SCOPES.open_after
    """How long the API must fail before that is told."""
    close_after: Duration = _SCOPES.close_after
    """How long it must work before it counts as recovered."""
    canary: Period = _SCOPES.canary
    """Pause between checks while the API is down."""
    account_confirm: Duration = _SCOPES.account_confirm
    """Pause before the second refusal of the key that opens an account incident."""
    account_canary: Period = _SCOPES.account_canary
    """Pause between checks while the key is refused; the API works hard on every refusal."""
    attempts: Count = _SCOPES.attempts
    """Least number of checks without an answer that open an API incident."""
    ratio: Share = _SCOPES.ratio
    """Least share of checks without an answer that opens one (0 to 1)."""
    close_ratio: Share = _SCOPES.close_ratio
    """Share below which it may close; less than `ratio`."""
    platform_window: Period = _SCOPES.platform_window
    """Time within which connections of one platform must fail to count as failing together."""
    platform_count: Count = _SCOPES.platform_count
    """Least number of connections that fail together."""
    platform_ratio: Share = _SCOPES.platform_ratio
    """Least share of the platform's connections that fail together (0 to 1)."""
    platform_hold: Duration = _SCOPES.platform_hold
    """After this long, connections that still fail are told one by one."""
    throttled_after: Duration = _SCOPES.throttled_after
    """How long the API must throttle us before that is told."""


class FlapSettings(Section):
    """When a connection goes back and forth, or wider trouble comes and goes."""

    changes: Annotated[Count, Field(ge=2)] = _FLAP.changes
    """Confirmed changes within `window` that make it flapping; wider trouble may change once more."""
    window: Period = _FLAP.window
    """Time within which changes are counted."""
    calm: Period = _FLAP.calm
    """Time without a change after which its final state is told."""


class DigestSettings(Section):
    """When many notifications become one."""

    wait: Duration = _DIGEST.wait
    """How long a burst is collected."""
    after: Count = _DIGEST.after
    """So many notifications to one receiver within `wait` go out one by one; the rest are collected."""
    max_items: Annotated[Count, Field(le=50)] = _DIGEST.max_items
    """Connections in one digest at most; bodies stay below 20 kB."""


class RetrySettings(Section):
    """How long and how often a delivery is tried."""

    schedule: Annotated[Items[Period], Field(min_length=1, max_length=50)] = _RETRY.schedule
    """Pauses after the first, second, ... failed attempt; the last one repeats."""
    slow_after: Period = _RETRY.slow_after
    """Age from which a delivery is tried every `slow_every` only."""
    slow_every: Period = _RETRY.slow_every
    """Pause between attempts of an old delivery."""
    give_up_after: Period = _RETRY.give_up_after
    """Age at which a delivery is given up; `deliveries retry` can send it later."""
    jitter: Share = _RETRY.jitter
    """Share by which every pause is varied up and down (0 to 1)."""
    poison_attempts: Count = _RETRY.poison_attempts
    """Refusals of one body (400, 413, 422) after which it is given up, so that it can't block the others."""


class FalseNegativeSettings(Section):
    """One answer that says error although the connection works; it counts as unsupported. All that is given must match."""

    platform: PlatformOrAny = "*"
    """Platform it is about; `*` is every one."""
    id: Pattern = ".*"
    """Regular expression that the whole id must match."""
    message: Pattern = ""
    """Regular expression that must be found in the API's message, upper and lower case alike; empty: any message."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.id == ".*" and not self.message:
            raise problem("would hide every failure", "give an id or a message to recognise it by")
        return self


class PolicySettings(Section):
    """When somebody is told."""

    confirm: ConfirmSettings = ConfirmSettings()
    """How often something must be seen before it is believed."""
    expiry: ExpirySettings = ExpirySettings()
    """When the end of a token is told. Platforms have built-in differences, see the table of platforms."""
    platforms: Mapping[PlatformName, PlatformSettings] = Field(default_factory=dict)
    """What is different for single platforms, by name."""
    reminders: OffOrDuration = _POLICY.reminders
    """Pause between reminders of an open incident; weekly after seven days. `off` turns them off."""
    stale_after: AutoOrPeriod = None
    """How long a connection may go without evidence before that is told. `auto`: three intervals, at least `stale_floor`."""
    stale_floor: Duration = _POLICY.stale_floor
    """The least that `auto` gives."""
    pending_rounds: Count = _POLICY.pending_rounds
    """Unconfirmed evidence older than this many intervals is void."""
    publishing_fresh: Duration = _POLICY.publishing_fresh
    """A posting error older than this is not told."""
    scopes: ScopeSettings = ScopeSettings()
    """When many troubles are one."""
    flap: FlapSettings = FlapSettings()
    """When a connection goes back and forth."""
    digest: DigestSettings = DigestSettings()
    """When many notifications become one."""
    retry: RetrySettings = RetrySettings()
    """How long and how often a delivery is tried."""
    known_false_negatives: Items[FalseNegativeSettings] = ()
    """Answers that say error although the connection works, beside the built-in ones."""


V = TypeVar("V", Confirm, DigestPolicy, ExpiryPolicy, FlapPolicy, RetryPolicy, ScopePolicy)

_DAY = timedelta(days=1)
_RENEWS_LATE: Mapping[str, Any] = {"thresholds": (7 * _DAY,), "settle": _DAY}
_NO_COUNTDOWN: Mapping[str, Any] = {"thresholds": (), "trust_date": False}

COUNTS_DOWN = frozenset({"linkedin", "instagram", "threads"})
"""Platforms whose tokens end unless a person acts; `policy.expiry.thresholds`, when given, holds for them."""

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "linkedin": {"thresholds": (14 * _DAY, 3 * _DAY)},
    "instagram": _RENEWS_LATE,
    "threads": _RENEWS_LATE,
    "tiktok": {"thresholds": (14 * _DAY,), "trust_date": False},
    "facebook": _NO_COUNTDOWN,
    "youtube": _NO_COUNTDOWN,
    "twitter": _NO_COUNTDOWN,
    "bluesky": _NO_COUNTDOWN,
    "mastodon": _NO_COUNTDOWN,
    "telegram": _NO_COUNTDOWN,
}
"""
How the platforms differ from `policy.expiry`.

Source: api-contract.md 3.1, last column.
"""


def policy_of(settings: PolicySettings, schedule: ScheduleSettings) -> Policy:
    """The domain's policy; counted observations are two thirds of `schedule.recheck` apart."""
    return Policy(
        confirm=_value(Confirm, settings.confirm),
        expiry=_value(ExpiryPolicy, settings.expiry),
        platforms=expiry_by_platform(settings),
        scopes=_value(ScopePolicy, settings.scopes),
        flap=_value(FlapPolicy, settings.flap),
        digest=_value(DigestPolicy, settings.digest),
        retry=_value(RetryPolicy, settings.retry),
        spacing=schedule.recheck * 2 / 3,
        recheck=schedule.recheck,
        pending_rounds=settings.pending_rounds,
        stale_after=settings.stale_after,
        stale_floor=settings.stale_floor,
        reminders=settings.reminders,
        publishing_fresh=settings.publishing_fresh,
    )


def expiry_by_platform(settings: PolicySettings) -> dict[str, ExpiryPolicy]:
    """
    The expiry policy of every platform that differs from `policy.expiry`, by name.

    For each key the first of these wins: what the file says for the platform; for thresholds of platforms that
    count down, what the file says in `policy.expiry`; what is built in for the platform; `policy.expiry`.
    """
    names = sorted({*BUILT_IN, *settings.platforms})
    return {name: _expiry_of(name, settings) for name in names}


def _expiry_of(name: str, settings: PolicySettings) -> ExpiryPolicy:
    built_in = dict(BUILT_IN.get(name, {}))
    if name in COUNTS_DOWN and "thresholds" in settings.expiry.model_fields_set:
        built_in.pop("thresholds", None)
    own = settings.platforms[name].expiry if name in settings.platforms else ExpirySettings()
    given = {key: getattr(own, key) for key in own.model_fields_set}
    return replace(_value(ExpiryPolicy, settings.expiry), **{**built_in, **given})


def _value(kind: type[V], section: BaseModel) -> V:
    """The domain's value made of a section with the same names."""
    return kind(**{field.name: getattr(section, field.name) for field in fields(kind)})
