"""
The end of a token: what level of trouble it is, and when it is told.

`observe` and `observe_listing` (from `beliefs`) fold evidence into a `TokenBelief`; `level` reads a level from it.

Source: api-contract.md 1.5, 3.1; reliability.md 3.4.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.domain.events import FINE, Severity
from monitor.domain.expiry.estimate import GRACE, has_estimate, window
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.token_life import TokenSays

EXPIRED = "expired"

# The API's own flag `expiring_soon`, while none of our thresholds is crossed.
SOON = "soon"

_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}
_COMPACT = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)([dhms])")


def level(belief: TokenBelief, *, now: datetime, policy: ExpiryPolicy, told_level: str, platform: str) -> str:
    """
    How near the end is: `"fine"`, `"soon"` (only the API's flag), the lowest threshold that is crossed (as `"7d"`), or `"expired"`.

    A threshold is crossed when the end is provably nearer. The told level is left towards finer ones only when the
    end is provably beyond it by the hysteresis, a tenth of the threshold at least; so no jitter tells a thing twice.
    A token that renews itself has no countdown unless its renewal is overdue.
    """
    if belief.status == "expired":
        return EXPIRED
    if not policy.thresholds or not has_estimate(belief.status, platform, policy):
        return FINE
    if _has_ended(belief):
        return EXPIRED
    if auto_renewing(belief) and not renewal_overdue(belief, now, policy):
        return FINE
    return _countdown(belief, now, policy, told_level) or (SOON if belief.status == "expiring_soon" else FINE)


def _countdown(belief: TokenBelief, now: datetime, policy: ExpiryPolicy, told_level: str) -> str | None:
    """The level the time left stands for; None when it is above every threshold, or not known."""
    ends = window(belief)
    if ends is None:
        return None
    at_least, at_most = ends[0] - now, ends[1] - now
    if told_level == EXPIRED and at_least <= policy.hysteresis:
        return EXPIRED
    told_threshold = threshold_of(told_level)
    for threshold in sorted(policy.thresholds):
        held = threshold == told_threshold and at_least <= threshold + max(policy.hysteresis, threshold / 10)
        if held or at_most <= threshold:
            return compact(threshold)
    return None


def crossings(belief: TokenBelief, policy: ExpiryPolicy) -> Iterator[datetime]:
    """The moments, past or to come, at which the passing of time alone moves the level or makes a renewal overdue."""
    ends = window(belief)
    if ends is None:
        return
    for threshold in policy.thresholds:
        yield ends[1] - threshold
    if auto_renewing(belief):
        yield ends[1] - _overdue_below(belief, policy)


def severity_of(level: str, policy: ExpiryPolicy) -> Severity:
    """How urgent a level is: the first threshold info, the last critical, any other (also an only one) warning."""
    if level == EXPIRED:
        return Severity.CRITICAL
    if level in (FINE, SOON):
        return Severity.INFO
    ladder = [compact(threshold) for threshold in sorted(policy.thresholds, reverse=True)]
    if len(ladder) > 1 and level == ladder[0]:
        return Severity.INFO
    return Severity.CRITICAL if len(ladder) > 1 and level == ladder[-1] else Severity.WARNING


def auto_renewing(belief: TokenBelief) -> bool:
    """Whether the last two renewals came with so equal a life left that a machine must have made them."""
    if len(belief.renewal_points) < 2:
        return False
    nearer, further = sorted(belief.renewal_points[-2:])
    return further - nearer <= max(GRACE, further / 10)


def renewal_overdue(belief: TokenBelief, now: datetime, policy: ExpiryPolicy) -> bool:
    """Whether a token that renews itself has provably less life left than at any renewal seen, by the policy's margin."""
    ends = window(belief)
    if ends is None or not auto_renewing(belief):
        return False
    return ends[1] - now <= _overdue_below(belief, policy)


def compact(duration: timedelta) -> str:
    """A duration in the largest unit that divides it: `"7d"`, `"36h"`, `"90m"`, `"45s"`."""
    for letter, unit in _UNITS.items():
        if duration and not duration % unit:
            return f"{duration // unit}{letter}"
    return f"{duration.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def threshold_of(level: str) -> timedelta | None:
    """The threshold a level is named after, or None for the levels that have none."""
    match = _COMPACT.fullmatch(level)
    return None if match is None else float(match[1]) * _UNITS[match[2]]


def _overdue_below(belief: TokenBelief, policy: ExpiryPolicy) -> timedelta:
    """The life left at which a renewal is overdue; not above zero for tokens that live on their last day anyway."""
    return min(belief.renewal_points) - policy.overdue_after


def _has_ended(belief: TokenBelief) -> bool:
    """Whether the answer says so, or evidence arrived well after the end and the API does not call the token valid."""
    if belief.says is TokenSays.EXPIRED:
        # A text that contradicts the list's `valid`, or its living date, is an anomaly to show, not an end: see what the test says.
        alive = belief.exact_at is not None and belief.observed_at is not None and belief.exact_at > belief.observed_at
        return belief.status != "valid" and not (alive and belief.status == "expiring_soon")
    ends = window(belief)
    if ends is None or belief.observed_at is None or belief.status == "valid":
        return False
    return ends[1] + GRACE <= belief.observed_at
