"""What is known of a token's expiry, and how it is known."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, Topic
from monitor.domain.expiry import estimate, levels
from monitor.domain.expiry.estimate import has_estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.notifications.build import passes_despite_expiry
from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.domain.reasons import Health
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.states import ConnectionState
from monitor.domain.topics import EXPIRED, clearing
from monitor.errors import Reason
from monitor.text.durations import brief, span
from monitor.text.format import count, moment, when

_EXACT = timedelta(0)
_PRINTED_STEP = timedelta(seconds=2)


def token_lines(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Iterator[str]:
    """When the token expires, how that is known, and when it is notified."""
    token, own = state.token, policy.expiry_for(connection.platform)
    yield from _end(token, state.token_sightings, now)
    if passes_despite_expiry(state) and state.topic(Topic.EXPIRY).level == EXPIRED:
        yield "The connection still passes its test, so the expiry is notified with severity info."
    if token.status is not None:
        yield f"Status in the API's list: {token.status}."
    if token.disagrees:
        yield "The list's date and the printed times differ by more than a day; the date is used."
    if token.renewed_at is not None:
        yield f"Last renewed {when(token.renewed_at, now)}."
    if levels.auto_renewing(token):
        left = span(min(token.renewal_points[-2:]))
        yield f"It is renewed automatically: the last renewals came with about {left} left, so there is no countdown unless one is overdue."
    yield from _thresholds(connection, state, now, own)
    observed = token.observed_at
    if observed is not None and now - observed > policy.stale_for(connection.interval):
        yield f"The last evidence about it is {span(now - observed)} old, too old to change a level."


def token_left(state: ConnectionState, now: datetime) -> str:
    """The remaining life with its uncertainty: `12d 4h ±30m`, `expired`, `no end`, or empty when nothing is known."""
    token = state.token
    best = estimate.best_estimate(token)
    if best is None:
        if has_expired(state):
            return "expired"
        known = token.says is TokenSays.NOTHING and state.last_passed_at is not None
        return "no end" if known else ""
    if best <= now or token.says is TokenSays.EXPIRED:
        return "expired"
    uncertainty = estimate.uncertainty(token) or _EXACT
    margin = f" ±{brief(uncertainty)}" if uncertainty >= timedelta(minutes=2) else ""
    return f"{brief(best - now)}{margin}"


def has_expired(state: ConnectionState) -> bool:
    """Whether a failed test or an open incident says that the token has expired, and nothing newer that it was renewed."""
    failed = state.health is Health.ERROR and state.reason is Reason.TOKEN_EXPIRED
    return failed or (state.topic(Topic.EXPIRY).level == EXPIRED and not clearing(state, Topic.EXPIRY))


def _end(token: TokenBelief, sightings: int, now: datetime) -> Iterator[str]:
    if token.says is TokenSays.EXPIRED:
        at = f", first {when(token.expired_at, now)}" if token.expired_at is not None else ""
        yield f"The API reports it as expired{at}."
        return
    if token.exact_at is not None:
        yield f"It expires {when(token.exact_at, now)}: the exact date in the API's list of connections."
        return
    ends = estimate.window(token)
    if ends is None:
        if token.observed_at is None:
            yield "Its expiry is not known."
        elif token.says is TokenSays.UNPARSED:
            yield "The API reports its expiry in a form that cannot be read."
        else:
            yield "The API reports no expiry."
        return
    earliest, latest = ends
    if latest - earliest <= _PRINTED_STEP:
        yield f"It expires {when(earliest, now)}, exact to the second from the times printed by {_checks(sightings)}."
        return
    yield (
        f"It expires between {moment(earliest)} and {moment(latest)}, {_distance(earliest + (latest - earliest) / 2, now)} "
        f"± {span((latest - earliest) / 2)}, by the times printed by {_checks(sightings)}."
    )


def _thresholds(connection: Connection, state: ConnectionState, now: datetime, policy: ExpiryPolicy) -> Iterator[str]:
    token = state.token
    if not policy.thresholds or not has_estimate(token.status, connection.platform, policy):
        if estimate.window(token) is not None:
            yield f"No countdown for {connection.platform}: its tokens are renewed automatically."
        return
    thresholds = ", ".join(levels.compact(threshold) for threshold in policy.thresholds)
    level = state.topic(Topic.EXPIRY).level
    ahead = sorted(at for at in levels.crossings(token, policy) if at > now)
    if estimate.window(token) is None and level == FINE:
        return
    crossed = "none is crossed" if level == FINE else f"the level is “{level}”"
    following = f"; the next is crossed {when(ahead[0], now)}" if ahead else ""
    yield f"Notified at {thresholds} left: {crossed}{following}."


def _checks(number: int) -> str:
    return f"{number} agreeing checks" if number > 1 else count(number, "check")


def _distance(at: datetime, now: datetime) -> str:
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
