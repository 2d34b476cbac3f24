"""Keys to policy: durations, built-in differences of platforms, and precedence."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.text.durations import format_duration, parse_duration
from tests.configured import ACCOUNT, configured

DAY = timedelta(days=1)


def policy_of(text: str) -> Policy:
    return configured(ACCOUNT + text).policy()


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("15m", timedelta(minutes=15)),
        ("7d", 7 * DAY),
        ("36h", timedelta(hours=36)),
        ("1d12h", timedelta(hours=36)),
        ("2y", 730 * DAY),
        ("1w", 7 * DAY),
        ("500ms", timedelta(milliseconds=500)),
        ("1m500ms", timedelta(seconds=60.5)),
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
    ],
)
def test_duration(text: str, duration: timedelta) -> None:
    """A duration is counts with units, largest unit first."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "value",
    [15, True, None, "", "15", "m", "15 m", "-5m", "5m1h", "5m5m", "1.5h", "5M", "\u0665m", "11y", "9" * 500 + "y", ["5m"]],
)
def test_bad_duration(value: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError):
        parse_duration(value)


@given(st.integers(0, 3650 * 24 * 3600 * 1000))
def test_duration_round_trip(milliseconds: int) -> None:
    """Every duration is printed so that it reads back the same."""
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


def test_default_policy() -> None:
    """An empty configuration has the defaults of the domain, and the built-in differences of platforms."""
    policy = policy_of("")
    assert policy == Policy(platforms=policy.platforms)


def test_built_in_platforms() -> None:
    """Platforms that renew by themselves have no countdown; the others have their own thresholds."""
    policy = policy_of("")
    thresholds = {
        name: tuple(threshold.days for threshold in policy.expiry_for(name).thresholds) for name in (*policy.platforms, "pinterest")
    }
    assert thresholds == {
        "linkedin": (14, 3, 1),
        "instagram": (7, 1),
        "threads": (7, 1),
        "tiktok": (14, 1),
        "facebook": (),
        "youtube": (),
        "twitter": (),
        "bluesky": (),
        "mastodon": (),
        "telegram": (),
        "pinterest": (14, 7, 1),
    }
    assert {name for name in policy.platforms if policy.expiry_for(name).settle} == {"instagram", "threads"}
    assert {name for name in policy.platforms if policy.expiry_for(name).trust_date} == {"linkedin", "instagram", "threads"}


def test_general_thresholds_given() -> None:
    """General thresholds apply to unlisted platforms and real countdowns, not to platforms that renew by themselves."""
    policy = policy_of("policy: {expiry: {thresholds: [30d, 10d]}}")
    assert {name for name in (*policy.platforms, "pinterest") if policy.expiry_for(name).thresholds == (30 * DAY, 10 * DAY)} == {
        "linkedin",
        "instagram",
        "threads",
        "pinterest",
    }
    assert policy.expiry_for("instagram").settle == DAY


@pytest.mark.parametrize(
    ("platforms", "name", "expected"),
    [
        ("instagram: {expiry: {thresholds: [5d]}}", "instagram", ExpiryPolicy(thresholds=(5 * DAY,), settle=DAY)),
        ("facebook: {expiry: {settle: 1h}}", "facebook", ExpiryPolicy(thresholds=(), trust_date=False, settle=timedelta(hours=1))),
        ("linkedin: {expiry: {thresholds: [9d]}}", "linkedin", ExpiryPolicy(thresholds=(9 * DAY,))),
        ("instagram: {}", "linkedin", ExpiryPolicy(thresholds=(30 * DAY,))),
    ],
)
def test_platform_given(platforms: str, name: str, expected: ExpiryPolicy) -> None:
    """Keys of a platform win, one by one; its other built-in differences stay."""
    policy = policy_of(f"policy: {{expiry: {{thresholds: [30d]}}, platforms: {{{platforms}}}}}")
    assert policy.expiry_for(name) == expected


def test_general_keys_reach_platforms() -> None:
    """Platforms without a difference in a key follow the general one."""
    policy = policy_of("policy: {expiry: {hysteresis: 5h}, platforms: {pinterest: {expiry: {settle: 2h}}}}")
    assert {policy.expiry_for(name).hysteresis for name in (*policy.platforms, "other")} == {timedelta(hours=5)}
    assert policy.expiry_for("pinterest").settle == timedelta(hours=2)


def test_spacing_follows_recheck() -> None:
    """Counted observations are two thirds of the re-check apart, so that a short schedule behaves like a long one."""
    policy = policy_of("schedule: {interval: 2s, recheck: 900ms}")
    assert (policy.recheck, policy.spacing) == (timedelta(milliseconds=900), timedelta(milliseconds=600))


def test_every_period_is_a_key() -> None:
    """Every field of the policy is a key."""
    policy = policy_of(
        """
policy:
  confirm: {failures: 3, successes: 1, upstream: 4, missing: 2, missing_over: 1s, misconfigured: 1, expiry: 1}
  expiry: {overdue_after: 2d}
  scopes: {window: 1s, open_after: 2s, close_after: 3s, canary: 4s, account_confirm: 5s, account_canary: 6s, attempts: 2, ratio: 0.5,
    close_ratio: 0.1, platform_window: 7s, platform_count: 3, platform_ratio: 0.25, group_count: 8,
    api_notify_after: 10s, sweep: 11s, sweep_size: 12, sweep_pause: 13s, throttled_after: 9s}
  flap: {changes: 9, window: 3h, window_rounds: 7, calm: 1m, calm_rounds: 1}
  digest: {wait: 0s, after: 1, max_items: 3}
  retry: {schedule: [100ms], slow_after: 1s, slow_every: 2s, give_up_after: 3s, jitter: 0, poison_attempts: 1}
  stale_after: 1h
  stale_floor: 1s
  upstream_after: 2h
  platforms: {facebook: {upstream_after: 3h}}
  reminders: off
  reminders_suspected: 1d
  pending_rounds: 5
  publishing_fresh: 1d
"""
    )
    default = Policy()
    same = [
        f"{part}.{name}"
        for part in ("confirm", "scopes", "flap", "digest", "retry")
        for name in getattr(default, part).__dataclass_fields__
        if getattr(getattr(policy, part), name) == getattr(getattr(default, part), name)
    ]
    assert same == []
    assert (policy.stale_after, policy.reminders, policy.pending_rounds) == (timedelta(hours=1), timedelta(0), 5)
    assert (policy.stale_floor, policy.publishing_fresh) == (timedelta(seconds=1), DAY)
    waits = [policy.upstream_for(platform, timedelta(minutes=15)) for platform in ("linkedin", "facebook")]
    assert waits == [timedelta(hours=2), timedelta(hours=3)]


def test_known_false_negatives() -> None:
    """A false negative has a platform or any, a whole id or any, a text or any."""
    config = configured(ACCOUNT + "policy: {known_false_negatives: [{platform: mastodon, id: 'mastodon-4.'}, {message: 'try later'}]}")
    rules = [(rule.platform, rule.id, rule.message) for rule in config.policy_settings.known_false_negatives]
    assert rules == [("mastodon", "mastodon-4.", ""), ("*", ".*", "try later")]
