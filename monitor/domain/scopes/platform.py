"""Is a whole platform in trouble? It is when many of its connections turn to error within a short time."""

from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.policy import ScopePolicy
from monitor.domain.scopes.key import SPLIT
from monitor.domain.scopes.state import ScopeState, closed, opened
from monitor.errors import Reason


def advance_platform(
    state: ScopeState, turned_id: int | None, now: datetime, policy: ScopePolicy, *, window: timedelta, total: int, failing: int
) -> ScopeState:
    """
    The state of a platform scope, now that *failing* of its *total* connections are in error.

    Args:
        state: as it was.
        turned_id: the connection that just turned to error, if one did.
        now: when.
        policy: the numbers.
        window: how far back turns count: two rounds of checks at least, or slow checks would never meet in it.
        total, failing: connections of the platform, and those of them in error.
    """
    horizon = now - max(policy.platform_window, window)
    turned = tuple(item for item in state.recent_failures if item[1] > horizon and item[0] != turned_id)
    if turned_id is not None:
        turned = (*turned, (turned_id, now))
    state = state if turned == state.recent_failures else replace(state, recent_failures=turned)
    if state.open:
        if failing < policy.close_ratio * total:
            return closed(state, now)
        held = state.topic.opened_at is not None and now - state.topic.opened_at >= policy.platform_hold
        return closed(state, now, SPLIT) if held else state
    if len(turned) < policy.platform_count:
        return state if state.suspect_at is None else replace(state, suspect_at=None)
    if state.suspect_at is None:
        state = replace(state, suspect_at=now)
    if len(turned) < policy.platform_ratio * total:
        return state
    blamed = replace(state, reason=Reason.PLATFORM_TROUBLE, detail=f"{failing} of {total} connections fail", last_bad_at=now)
    return replace(opened(blamed, now, failing), suspect_at=None)


def hold_until(state: ScopeState, policy: ScopePolicy) -> datetime | None:
    """
    Until when news of single connections wait, because their whole platform may turn out to be in trouble.

    As many as make a suspicion failed, and more keep failing; no longer than the window, and None without a suspicion.
    """
    if state.open or state.suspect_at is None or not state.recent_failures:
        return None
    return min(state.recent_failures[-1][1] + policy.open_after, state.suspect_at + policy.platform_window)
