"""
The levels of the topic `expiry`, computed from a `TokenBelief` (see `estimate`) and the clock.

Source: api-contract.md 1.5, 3.1; reliability.md 3.4.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.domain.events import FINE, Severity
from monitor.domain.expiry.estimate import GRACE, has_estimate, window
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.replies.token_life import TokenSays

EXPIRED = "expired"

# The API's own flag `expiring_soon`, while none of our thresholds is crossed.
SOON = "soon"

_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_COMPACT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([dhms])")


def level(belief: TokenBelief, *, now: datetime, policy: ExpiryPolicy, notified_level: str, platform: str) -> str:
    """
    Return `"fine"`, `"soon"` (only the API's flag), the lowest threshold that is crossed (as `"7d"`), or `"expired"`.

    A threshold is crossed when the whole interval of the end is nearer. *notified_level* is lowered only when the whole interval is
    beyond its threshold by the hysteresis, at least a tenth of it, so that jitter does not notify twice. A token that is renewed
    automatically has no countdown unless its renewal is overdue.
    """
    if belief.status == "expired":
        return EXPIRED
    if not policy.thresholds or not has_estimate(belief.status, platform, policy):
        return FINE
    if _has_ended(belief):
        return EXPIRED
    if auto_renewing(belief) and not renewal_overdue(belief, now, policy):
        return FINE
    return _countdown(belief, now, policy, notified_level) or (SOON if belief.status == "expiring_soon" else FINE)


def _countdown(belief: TokenBelief, now: datetime, policy: ExpiryPolicy, notified_level: str) -> str | None:
    """Return the level for the time left; None when it is above every threshold, or unknown."""
    ends = window(belief)
    if ends is None:
        return None
    at_least, at_most = ends[0] - now, ends[1] - now
    if notified_level == EXPIRED and at_least <= policy.hysteresis:
        return EXPIRED
    notified_threshold = threshold_of(notified_level)
    for threshold in sorted(policy.thresholds):
        stays = threshold == notified_threshold and at_least <= threshold + max(policy.hysteresis, threshold / 10)
        if stays or at_most <= threshold:
            return compact(threshold)
    return None


def crossings(belief: TokenBelief, policy: ExpiryPolicy) -> Iterator[datetime]:
    """Return the moments, past or future, at which time alone changes the level or makes a renewal overdue."""
    ends = window(belief)
    if ends is None:
        return
    for threshold in policy.thresholds:
        yield ends[1] - threshold
    if auto_renewing(belief):
        yield ends[1] - _overdue_below(belief, policy)


def severity_of(level: str, policy: ExpiryPolicy) -> Severity:
    """Return the severity of a level: the first threshold info, the last critical, any other (also a single one) warning."""
    if level == EXPIRED:
        return Severity.CRITICAL
    if level in (FINE, SOON):
        return Severity.INFO
    ladder = [compact(threshold) for threshold in sorted(policy.thresholds, reverse=True)]
    if len(ladder) > 1 and level == ladder[0]:
        return Severity.INFO
    return Severity.CRITICAL if len(ladder) > 1 and level == ladder[-1] else Severity.WARNING


def auto_renewing(belief: TokenBelief) -> bool:
    """Whether the token seems to be renewed automatically: the last two renewals came with nearly the same time left."""
    if len(belief.renewal_points) < 2:
        return False
    nearer, further = sorted(belief.renewal_points[-2:])
    return further - nearer <= max(GRACE, further / 10)


def renewal_overdue(belief: TokenBelief, now: datetime, policy: ExpiryPolicy) -> bool:
    """Whether an automatically renewed token has less time left than at any renewal seen, by the policy's margin."""
    ends = window(belief)
    if ends is None or not auto_renewing(belief):
        return False
    return ends[1] - now <= _overdue_below(belief, policy)


def compact(duration: timedelta) -> str:
    """Return *duration* in the largest unit that divides it: `"7d"`, `"36h"`, `"90m"`, `"45s"`."""
    for letter, unit in _UNITS.items():
        if duration and not duration % unit:
            return f"{duration // unit}{letter}"
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def threshold_of(level: str) -> timedelta | None:
    """Return the threshold of a level; None for levels without one."""
    match = _COMPACT.fullmatch(level)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def _overdue_below(belief: TokenBelief, policy: ExpiryPolicy) -> timedelta:
    """Return the time left at which a renewal is overdue; may be negative for tokens that are renewed on their last day."""
    return min(belief.renewal_points) - policy.overdue_after


def _has_ended(belief: TokenBelief) -> bool:
    """Whether the token has expired: the answer says so, or evidence arrived well after the end and the status is not `valid`."""
    if belief.says is TokenSays.EXPIRED:
        # A text that contradicts the list's `valid`, or its future date, is an anomaly to show; the test decides whether it works.
        alive = belief.exact_at is not None and belief.observed_at is not None and belief.exact_at > belief.observed_at
        return belief.status != "valid" and not (alive and belief.status == "expiring_soon")
    ends = window(belief)
    if ends is None or belief.observed_at is None or belief.status == "valid":
        return False
    return ends[1] + GRACE <= belief.observed_at
