"""`policy`: the sections are made from the dataclasses of `domain/policy`; built-in differences of platforms."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, TypeVar, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema, create_model, model_validator

from monitor.config.problems import nearest
from monitor.config.sections.core import ScheduleSettings
from monitor.config.types import Count, Duration, Items, OffOrDuration, Period, Section, Share, Switch, matching, problem, to_duration
from monitor.domain.policy import Confirm, DigestPolicy, DiscoveryPolicy, ExpiryPolicy, FlapPolicy, Policy, RetryPolicy, ScopePolicy
from monitor.domain.routes import Route
from monitor.text.durations import format_duration


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


def _check_not_empty(value: str) -> str:
    if re.search(value, ""):
        raise problem("would match every message", "name the words that tell this failure from others")
    return value


def _check_platform(value: str) -> str:
    close = nearest(value, sorted(KNOWN_PLATFORMS), cutoff=0.8)
    if value not in KNOWN_PLATFORMS and close:
        raise problem("is not a known platform", f"did you mean {close}?")
    return value


_PLATFORM = "[a-z][a-z0-9_]{0,63}"
_PLATFORM_PROBLEM = ("is not a platform name", "use the lower-case word before the first dash of an id, such as linkedin")


def _auto_or_period(value: object) -> timedelta | None:
    if value is None or value == "auto":
        return None
    duration = to_duration(value)
    if not duration:
        raise problem("must be auto or more than 0s", "for fewer notifications, use a longer time")
    return duration


V = TypeVar("V")

Thresholds = Annotated[Items[Period], Field(max_length=20), AfterValidator(_check_descending)]
Pattern = Annotated[str, AfterValidator(_check_pattern), Field(max_length=500)]
PlatformName = Annotated[str, matching(_PLATFORM, *_PLATFORM_PROBLEM), AfterValidator(_check_platform)]
PlatformOrAny = Annotated[str, matching(rf"\*|{_PLATFORM}", *_PLATFORM_PROBLEM), AfterValidator(_check_platform)]
AutoOrPeriod = Annotated[
    timedelta | None,
    BeforeValidator(_auto_or_period),
    PlainSerializer(lambda value: "auto" if value is None else format_duration(value), return_type=str),
    WithJsonSchema({"type": "string", "examples": ["auto", "1h"]}),
]


_ENTRY = re.compile(r"^    (\w+): (.+(?:\n        .+)*)", re.MULTILINE)
_KINDS: dict[Any, Any] = {int: Count, float: Share, bool: Switch, timedelta: Duration}
_DATACLASSES: dict[type[Section], type] = {}


def _section_of(kind: type, *, leave_out: frozenset[str] = frozenset(), **kinds: Any) -> Any:
    """
    The section whose keys are the fields of the dataclass *kind*, with its defaults and its documentation.

    Args:
        kind: its docstring has an entry for every field.
        leave_out: fields that are no keys.
        kinds: of the keys that are not plain numbers, switches and durations.
    """
    documentation = inspect.getdoc(kind) or ""
    texts = {name: " ".join(text.split()) for name, text in _ENTRY.findall(documentation)}
    types = get_type_hints(kind)
    keys: dict[str, Any] = {}
    for item in fields(kind):
        if item.name in leave_out:
            continue
        annotation = kinds.get(item.name) or _KINDS[types[item.name]]
        factory = annotation.defaults if is_dataclass(item.default) else item.default_factory
        given: dict[str, Any] = {"default": item.default} if factory is MISSING else {"default_factory": factory}
        keys[item.name] = (annotation, Field(description=texts[item.name], **given))
    name = kind.__name__.removesuffix("Policy") + "Settings"
    section = create_model(name, __base__=Section, __module__=__name__, __doc__=documentation.partition("\n\n")[0], **keys)
    _KINDS[kind] = section
    _DATACLASSES[section] = kind
    return section


ConfirmSettings = _section_of(Confirm)
ExpirySettings = _section_of(ExpiryPolicy, thresholds=Thresholds)
ScopeSettings = _section_of(
    ScopePolicy, window=Period, canary=Period, account_canary=Period, api_notify_after=AutoOrPeriod, platform_window=Period, sweep=Period
)
FlapSettings = _section_of(FlapPolicy, changes=Annotated[Count, Field(ge=2)], window=Period, calm=Period)
DiscoverySettings = _section_of(DiscoveryPolicy)
DigestSettings = _section_of(DigestPolicy, max_items=Annotated[Count, Field(le=50)])
RetrySettings = _section_of(
    RetryPolicy,
    schedule=Annotated[Items[Period], Field(min_length=1, max_length=50)],
    slow_after=Period,
    slow_every=Period,
    give_up_after=Period,
)


class PlatformSettings(Section):
    """Differences of one platform."""

    expiry: ExpirySettings = Field(default_factory=ExpirySettings.defaults)  # type: ignore[valid-type]
    """Keys of `policy.expiry` for this platform; keys that are not given here keep the platform's built-in value."""
    upstream_after: Duration | None = None
    """`policy.upstream_after` for this platform."""


class FalseNegativeSettings(Section):
    """One answer that reports an error although the connection works; it counts as unsupported. All given keys must match."""

    platform: PlatformOrAny = "*"
    """Platform of the connection; `*` matches every platform."""
    id: Pattern = ".*"
    """Regular expression that the whole id must match."""
    message: Pattern = ""
    """Regular expression to search in the API's message, ignoring case; empty: any message."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.id == ".*" and not self.message:
            raise problem("would hide every failure", "give an id or a message")
        return self


TextReason = Literal[
    "credential_rejected",
    "token_expired",
    "rights_lost",
    "bot_removed",
    "account_restricted",
    "target_gone",
    "app_refused",
    "platform_limited",
    "platform_trouble",
    "validation_failed",
]


class PlatformTextSettings(Section):
    """What an error text of a platform means; tried before the built-in table of texts."""

    platform: PlatformOrAny = "*"
    """Platform of the connection; `*` matches every platform."""
    message: Annotated[Pattern, AfterValidator(_check_not_empty)]
    """Regular expression to search in the platform's message, ignoring case."""
    reason: TextReason
    """Reason that such a failure has; the advice follows from it."""


_PolicyKeys = _section_of(
    Policy,
    leave_out=frozenset({"spacing", "recheck", "interval", "upstream_after_of", "routes"}),
    platforms=Mapping[PlatformName, PlatformSettings],
    reminders=OffOrDuration,
    stale_after=AutoOrPeriod,
    upstream_after=AutoOrPeriod,
)


class PolicySettings(_PolicyKeys):  # type: ignore[misc, valid-type]
    """When notifications are sent."""

    known_false_negatives: Items[FalseNegativeSettings] = ()
    """Answers that report an error although the connection works, in addition to the built-in ones."""
    platform_texts: Items[PlatformTextSettings] = ()
    """Error texts of platforms and what they mean, in addition to the built-in ones."""


_DAY = timedelta(days=1)
_RENEWS_LATE: Mapping[str, Any] = {"thresholds": (7 * _DAY, _DAY), "settle": _DAY}
_NO_COUNTDOWN: Mapping[str, Any] = {"thresholds": (), "trust_date": False}

COUNTS_DOWN = frozenset({"linkedin", "instagram", "threads"})
"""Platforms whose tokens end unless a person acts; `policy.expiry.thresholds`, if given, applies to them."""

BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "linkedin": {"thresholds": (14 * _DAY, 3 * _DAY, _DAY)},
    "instagram": _RENEWS_LATE,
    "threads": _RENEWS_LATE,
    "tiktok": {"thresholds": (14 * _DAY, _DAY), "trust_date": False},
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

KNOWN_PERMISSIONS = frozenset(
    {"w_member_social", "w_member_social_feed", "r_basicprofile", "r_member_postAnalytics", "r_member_profileAnalytics"}
)
"""Those that the API documents, all of LinkedIn; there are others."""
KNOWN_PLATFORMS = frozenset({*BUILT_IN, "pinterest", "x"})


def policy_of(settings: PolicySettings, schedule: ScheduleSettings, routes: tuple[Route, ...] = ()) -> Policy:
    """The domain's policy; counted observations are two thirds of `schedule.recheck` apart."""
    return _value(
        Policy,
        settings,
        platforms=expiry_by_platform(settings),
        upstream_after_of={
            name: platform.upstream_after for name, platform in settings.platforms.items() if platform.upstream_after is not None
        },
        spacing=schedule.recheck * 2 / 3,
        recheck=schedule.recheck,
        interval=schedule.interval,
        routes=routes,
    )


def expiry_by_platform(settings: PolicySettings) -> dict[str, ExpiryPolicy]:
    """
    The expiry policy of every platform that differs from `policy.expiry`, by name.

    For each key the first of these wins: the platform's in the file; for thresholds of platforms that count down,
    those of `policy.expiry` in the file; the built-in one of the platform; `policy.expiry`.
    """
    names = sorted({*BUILT_IN, *settings.platforms})
    return {name: _expiry_of(name, settings) for name in names}


def _expiry_of(name: str, settings: PolicySettings) -> ExpiryPolicy:
    built_in = dict(BUILT_IN.get(name, {}))
    if name in COUNTS_DOWN and "thresholds" in settings.expiry.model_fields_set:
        built_in.pop("thresholds", None)
    own = settings.platforms[name].expiry if name in settings.platforms else ExpirySettings.defaults()
    given = {key: getattr(own, key) for key in own.model_fields_set}
    return replace(_value(ExpiryPolicy, settings.expiry), **{**built_in, **given})


def _value(kind: type[V], section: Section, **given: Any) -> V:
    """The dataclass *kind* with the values of its section, and those that are *given*."""
    values = {item.name: getattr(section, item.name) for item in fields(kind) if item.name not in given}  # type: ignore[arg-type]
    return kind(
        **given,
        **{name: _value(_DATACLASSES[type(value)], value) if isinstance(value, Section) else value for name, value in values.items()},
    )
