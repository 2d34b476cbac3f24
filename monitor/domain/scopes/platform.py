"""Rule: a platform fails when the health of many of its connections becomes error within a short time."""

from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.policy import ScopePolicy
from monitor.domain.scopes.key import SPLIT
from monitor.domain.scopes.state import ScopeState, closed, opened
from monitor.errors import Reason


def advance_platform(
    state: ScopeState, failed_id: int | None, now: datetime, policy: ScopePolicy, *, window: timedelta, total: int, failing: int
) -> ScopeState:
    """
    Return the state of a platform scope with *failing* of its *total* connections in error.

    Args:
        state: the state before.
        failed_id: the connection whose health just became error, if any.
        now: the time.
        policy: the thresholds.
        window: how far back failures count: at least two rounds of checks, or long intervals would keep them apart.
        total, failing: connections of the platform, and those of them in error.
    """
    horizon = now - max(policy.platform_window, window)
    failures = tuple(item for item in state.recent_failures if item[1] > horizon and item[0] != failed_id)
    if failed_id is not None:
        failures = (*failures, (failed_id, now))
    state = state if failures == state.recent_failures else replace(state, recent_failures=failures)
    if state.open:
        if failing < policy.close_ratio * total:
            return closed(state, now)
        expired = state.topic.opened_at is not None and now - state.topic.opened_at >= policy.platform_hold
        return closed(state, now, SPLIT) if expired else state
    if len(failures) < policy.platform_count:
        return state if state.suspect_at is None else replace(state, suspect_at=None)
    if state.suspect_at is None:
        state = replace(state, suspect_at=now)
    if len(failures) < policy.platform_ratio * total:
        return state
    failed = replace(state, reason=Reason.PLATFORM_TROUBLE, detail=f"{failing} of {total} connections fail", last_bad_at=now)
    return replace(opened(failed, now, failing), suspect_at=None)


def hold_until(state: ScopeState, policy: ScopePolicy) -> datetime | None:
    """
    Return until when notifications of single connections wait because the platform is suspected; None when it is not.

    Every further failure extends the wait, up to the window.
    """
    if state.open or state.suspect_at is None or not state.recent_failures:
        return None
    return min(state.recent_failures[-1][1] + policy.open_after, state.suspect_at + policy.platform_window)
