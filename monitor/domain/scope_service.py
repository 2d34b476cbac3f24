"""
Does the API fail for one account alone? It is judged as the API is, by the answers to that account's connections only.

The wider cause comes first: while the API itself may be down, or serves nobody else, the account has no incident of its own.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.model import Observation
from monitor.domain.policy import ScopePolicy
from monitor.domain.scope_api import advance_api, is_bad
from monitor.domain.scope_state import ScopeState, forgotten
from monitor.errors import Reason


def advance_service(
    state: ScopeState,
    api: ScopeState,
    observation: Observation,
    policy: ScopePolicy,
    *,
    window: timedelta,
    members: int,
    everybody: int,
    elsewhere_at: datetime | None,
) -> ScopeState:
    """
    The state of an account's service scope after *observation*.

    Args:
        state: as it was.
        api: of the API, after the same observation.
        observation: of one of the account's connections, or of its lists.
        policy: the numbers.
        window: how far back checks count.
        members, everybody: connections of the account, and of all accounts.
        elsewhere_at: when another account was last answered.
    """
    if everybody <= members and not state.open:
        return forgotten(state)
    bad = is_bad(observation.verdict.reason) or observation.verdict.reason is Reason.API_VALIDATOR_FAILED
    if not bad:
        state = replace(state, last_good_at=observation.at)
    if not state.open:
        if api.open:
            return forgotten(state)
        serves_others = api.suspect_at is None or (elsewhere_at is not None and elsewhere_at >= api.suspect_at)
        if bad and not serves_others:
            return state
    # A connection that is its account's only one may be slow by itself.
    return advance_api(state, observation, policy, window=window, members=max(members, 2))


def served_elsewhere_at(states: Callable[[str], ScopeState], accounts: Iterable[str], account: str) -> datetime | None:
    """When one of *accounts* other than *account* was last answered; *states* gives the state of a scope by its name."""
    others = (states(f"service:{one}").last_good_at for one in accounts if one != account)
    return max((at for at in others if at is not None), default=None)


def explains(service: ScopeState, observation: Observation) -> bool:
    """Whether *observation*, of an account whose *service* has an open incident, says nothing new of the API."""
    return service.open and is_bad(observation.verdict.reason)
