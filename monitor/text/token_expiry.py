"""What is known of a token's end and how it is known, in plain words."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, Topic
from monitor.domain.expiry import estimate, levels
from monitor.domain.expiry.estimate import has_estimate
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.notifications.build import passes_all_the_same
from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.domain.states import ConnectionState
from monitor.domain.token_life import TokenSays
from monitor.domain.topics import EXPIRED
from monitor.text.durations import span
from monitor.text.format import moment, when

_EXACT = timedelta(0)
_SAYABLE = timedelta(seconds=2)


def token_lines(connection: Connection, state: ConnectionState, now: datetime, policy: Policy) -> Iterator[str]:
    """Where the end of the token lies, how that is known, and when somebody is told of it."""
    token, own = state.token, policy.expiry_for(connection.platform)
    yield from _end(token, state.token_sightings, now)
    if passes_all_the_same(state) and state.topic(Topic.EXPIRY).level == EXPIRED:
        yield "The connection passes its test all the same, so that is told as information: nobody is paged for it."
    if token.status is not None:
        yield f"The API's list calls the token {token.status}."
    if token.disagrees:
        yield "The list's date and the printed times disagree by more than a day; the date is believed."
    if token.renewed_at is not None:
        yield f"It was last renewed {when(token.renewed_at, now)}."
    if levels.auto_renewing(token):
        left = span(min(token.renewal_points[-2:]))
        yield f"It renews itself: the last renewals came with about {left} left, so there is no countdown unless one is overdue."
    yield from _telling(connection, state, now, own)
    observed = token.observed_at
    if observed is not None and now - observed > policy.stale_for(connection.interval):
        yield f"The last evidence about it is {span(now - observed)} old, too old to change what is told."


def token_left(token: TokenBelief, now: datetime) -> str:
    """The life left in short, with its uncertainty: `12d 4h ±30m`, `expired`, `no end`, or empty when nothing is known."""
    best = estimate.best_estimate(token)
    if best is None:
        known = token.says is TokenSays.NOTHING and token.observed_at is not None
        return "no end" if known else ""
    if best <= now or token.says is TokenSays.EXPIRED:
        return "expired"
    doubt = estimate.uncertainty(token) or _EXACT
    about = f" ±{span(_whole_minutes(doubt))}" if doubt >= timedelta(minutes=2) else ""
    return f"{span(_whole_minutes(best - now))}{about}"


def _whole_minutes(duration: timedelta) -> timedelta:
    """*duration* without its seconds, unless there is nothing else."""
    minutes = duration // timedelta(minutes=1)
    return timedelta(minutes=minutes) if minutes else duration


def _end(token: TokenBelief, sightings: int, now: datetime) -> Iterator[str]:
    if token.says is TokenSays.EXPIRED:
        at = f", first {when(token.expired_at, now)}" if token.expired_at is not None else ""
        yield f"The API says that it has expired{at}."
        return
    if token.exact_at is not None:
        yield f"It ends {when(token.exact_at, now)}: the exact date of the API's list of connections."
        return
    ends = estimate.window(token)
    if ends is None:
        if token.observed_at is None:
            yield "Nothing is known of its end."
        elif token.says is TokenSays.UNPARSED:
            yield "The API tells of its end in words that are not understood."
        else:
            yield "The API reports no end for it."
        return
    earliest, latest = ends
    if latest - earliest <= _SAYABLE:
        yield f"It ends {when(earliest, now)}, to the second: the times printed by {_checks(sightings)} leave no more doubt."
        return
    yield (
        f"It ends between {moment(earliest)} and {moment(latest)}, {_distance(earliest + (latest - earliest) / 2, now)}, "
        f"give or take {span((latest - earliest) / 2)}: what the times printed by {_checks(sightings)} have in common."
    )


def _telling(connection: Connection, state: ConnectionState, now: datetime, policy: ExpiryPolicy) -> Iterator[str]:
    token = state.token
    if not policy.thresholds or not has_estimate(token.status, connection.platform, policy):
        if estimate.window(token) is not None:
            yield f"No countdown is told for {connection.platform}: such tokens are renewed without anybody's help."
        return
    ladder = ", ".join(levels.compact(threshold) for threshold in policy.thresholds)
    level = state.topic(Topic.EXPIRY).level
    ahead = sorted(at for at in levels.crossings(token, policy) if at > now)
    if estimate.window(token) is None and level == FINE:
        return
    crossed = "no threshold is crossed" if level == FINE else f"the level is “{level}”"
    later = f"; the next is crossed {when(ahead[0], now)}" if ahead else ""
    yield f"It is told at {ladder} left: {crossed}{later}."


def _checks(count: int) -> str:
    return f"{count} checks that agree" if count > 1 else "one check"


def _distance(at: datetime, now: datetime) -> str:
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
