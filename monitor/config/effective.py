"""From the keys of the file to the policy that the domain works with: built-in differences of platforms, and who wins."""

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from monitor.config.policies import ExpirySettings, PolicySettings
from monitor.config.sections import ScheduleSettings
from monitor.domain.policy import Confirm, DigestPolicy, ExpiryPolicy, FlapPolicy, Policy, RetryPolicy, ScopePolicy

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
