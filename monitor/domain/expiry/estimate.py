"""
The estimate of a token's end, updated by each piece of evidence.

The interval of the printed texts and the exact date of the list are kept apart, and each is compared only with its own past,
because the API's texts and dates may contradict each other. The date is preferred where it can be trusted.

Source: api-contract.md 1.5, 2.1 (7-9), C17, C18; reliability.md 3.4.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from monitor.domain.connections import SHORT_LIVED
from monitor.domain.copies import replace
from monitor.domain.expiry.interval import DATE_STEP, Interval, end_of, printed_by, with_skew
from monitor.domain.expiry.model import Rounding, TokenBelief, TokenChange
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.replies.token_life import TokenLife, TokenSays

if TYPE_CHECKING:
    from monitor.domain.replies.listings import ListedConnection

# An end counts as passed when evidence arrives this long after it.
GRACE = timedelta(hours=2)

# A later end by more than this is a renewal; by less, only when it at least doubles the time left.
CLEAR_MOVE = timedelta(days=1)

# The list's date and the printed texts may differ by this much before `disagrees` is set.
DISAGREEMENT = timedelta(days=1)

# The texts of a list may be this old when it arrives.
LIST_AGE = timedelta(minutes=1)

NULLS_THAT_CLEAR = 2
POINTS_KEPT = 5


def apply(
    belief: TokenBelief,
    life: TokenLife,
    *,
    passed: bool,
    sent_at: datetime,
    at: datetime,
    server_at: datetime | None,
    policy: ExpiryPolicy,
    rounding: Rounding = Rounding.UNKNOWN,
) -> tuple[TokenBelief, TokenChange | None]:
    """
    Return the belief after one more test, and whether the token was renewed or its life shortened.

    Args:
        life: the reply's `tokenExpiresIn`.
        sent_at: when the request was sent, our wall clock.
        server_at: the reply's `Date`, or None.
        rounding: the server's, as far as known from lists.
    """
    if life.says is TokenSays.LEFT:
        usable = None if with_skew(at, server_at) else server_at
        ends = end_of(life, printed_by(sent_at, at, usable), rounding)
        by_server_clock = ends if usable is server_at else end_of(life, printed_by(sent_at, at, server_at), rounding)
        ahead = timedelta(0) if usable is None else usable + DATE_STEP / 2 - at
        if usable is not server_at:
            # With skewed clocks the time left is counted by ours, and a date, which is by the server's, is not comparable.
            belief = replace(belief, exact_at=None)
        belief = replace(belief, unit=life.unit, rounding=Rounding.FLOOR if life.below else rounding, server_ahead=ahead)
        return _observe_left(belief, ends, by_server_clock, at=at, policy=policy)
    if life.says is TokenSays.EXPIRED:
        return _observe_expired(belief, at=at, policy=policy)
    if life.says is TokenSays.NOTHING and passed:
        return _observe_nothing(belief, at=at), None
    if life.says is TokenSays.NOTHING and not with_skew(at, server_at):
        return replace(belief, observed_at=at), None
    return belief, None


def apply_listing(
    belief: TokenBelief, row: "ListedConnection", *, at: datetime, platform: str, policy: ExpiryPolicy, server_at: datetime | None = None
) -> tuple[TokenBelief, TokenChange | None]:
    """
    Return the belief after one more row of a list, which arrived *at* our wall clock with the `Date` *server_at*.

    The date is used unless it is an artefact: a past one while the status is `valid`, or that of a token which the API renews by
    itself. Without a date the row's text is used.
    """
    status = (row.token_status or "").strip().casefold() or None
    belief, change = _observe_row(belief, row, status, at=at, server_at=server_at, platform=platform, policy=policy)
    return replace(belief, status=status, observed_at=at if status is not None else belief.observed_at), change


def window_from_text(belief: TokenBelief) -> Interval | None:
    """Return the interval of the printed texts alone, or None."""
    if belief.earliest_at is None or belief.latest_at is None:
        return None
    return Interval(belief.earliest_at, belief.latest_at)


def window(belief: TokenBelief) -> tuple[datetime, datetime] | None:
    """Return the end as [earliest, latest), both equal when it is known exactly; None when it is unknown."""
    if belief.exact_at is not None:
        return belief.exact_at, belief.exact_at
    if belief.earliest_at is None or belief.latest_at is None:
        return None
    return belief.earliest_at, belief.latest_at


def best_estimate(belief: TokenBelief) -> datetime | None:
    """Return the instant to show as the end; None when it is unknown."""
    ends = window(belief)
    if ends is not None:
        return ends[0] + (ends[1] - ends[0]) / 2
    return belief.expired_at if belief.says is TokenSays.EXPIRED else None


def uncertainty(belief: TokenBelief) -> timedelta | None:
    """Return by how much `best_estimate` may be off to either side; zero when exact, None when it is unknown."""
    ends = window(belief)
    return None if ends is None else (ends[1] - ends[0]) / 2


def is_artefact(status: str | None, platform: str) -> bool:
    """Whether the texts are those of a token that the API renews by itself before every post."""
    return platform in SHORT_LIVED and status not in ("expiring_soon", "expired")


def has_estimate(status: str | None, platform: str, policy: ExpiryPolicy) -> bool:
    """Whether the dates and texts of a platform are used for a countdown."""
    return status in ("expiring_soon", "expired") or (policy.trust_date and platform not in SHORT_LIVED)


def _observe_row(
    belief: TokenBelief,
    row: "ListedConnection",
    status: str | None,
    *,
    at: datetime,
    server_at: datetime | None,
    platform: str,
    policy: ExpiryPolicy,
) -> tuple[TokenBelief, TokenChange | None]:
    """Apply a row's date or text; *belief* still has the status of the previous list."""
    if row.token_expires_at is not None and with_skew(at, server_at):
        # One of the clocks is wrong, so the time until the date is unknown.
        return replace(belief, exact_at=None, disagrees=False), None
    if row.token_expires_at is not None:
        stale = status == "valid" and row.token_expires_at <= at
        if stale and belief.exact_at == row.token_expires_at:
            # A date that was used before it passed stays; its passing is not a renewal.
            return replace(belief, observed_at=at), None
        if not stale and has_estimate(status, platform, policy):
            return _observe_exact(belief, row.token_expires_at, at=at, policy=policy)
        return replace(belief, exact_at=None, disagrees=False), None
    belief = replace(belief, exact_at=None, disagrees=False)
    stale = status == "valid" and row.token.says is TokenSays.EXPIRED
    if stale or row.token.says is TokenSays.NOTHING:
        return belief, None
    return apply(belief, row.token, passed=False, sent_at=at - LIST_AGE, at=at, server_at=server_at, policy=policy)


def _observe_left(
    belief: TokenBelief, printed: Interval, by_server_clock: Interval, *, at: datetime, policy: ExpiryPolicy
) -> tuple[TokenBelief, TokenChange | None]:
    """Narrow the interval by one print, or replace it when the print contradicts it, unless only one of the clocks has jumped."""
    previous = window_from_text(belief)
    if previous is None and belief.says is TokenSays.EXPIRED and belief.expired_at is not None:
        previous = Interval(belief.expired_at, belief.expired_at)
    common = None if previous is None else previous.intersect(printed)
    change = None
    if previous is not None and common is None and _change(previous, by_server_clock, at, policy) is not None:
        change = _change(previous, printed, at, policy)
    if change is TokenChange.RENEWED:
        belief = replace(_renewed(belief, at), exact_at=None, status=None)
    ends = common or printed
    exact_at = belief.exact_at
    if exact_at is not None and exact_at + GRACE < at:
        exact_at = None
    belief = replace(
        belief,
        says=TokenSays.LEFT,
        earliest_at=ends.earliest_at,
        latest_at=ends.latest_at,
        exact_at=exact_at,
        observed_at=at,
        expired_at=None,
        nulls=0,
        disagrees=disagree(exact_at, ends),
    )
    return belief, change


def _observe_expired(belief: TokenBelief, *, at: datetime, policy: ExpiryPolicy) -> tuple[TokenBelief, TokenChange | None]:
    """Apply an answer `expired`: the end lies before *at*."""
    previous = window_from_text(belief)
    change = None
    if previous is not None and previous.earliest_at - at > policy.hysteresis:
        change = TokenChange.SHORTENED
    if previous is not None:
        previous = Interval(previous.earliest_at, min(previous.latest_at, at)) if previous.earliest_at < at else None
    belief = replace(
        belief,
        says=TokenSays.EXPIRED,
        earliest_at=None if previous is None else previous.earliest_at,
        latest_at=None if previous is None else previous.latest_at,
        observed_at=at,
        expired_at=belief.expired_at or at,
        nulls=0,
    )
    return belief, change


def _observe_nothing(belief: TokenBelief, *, at: datetime) -> TokenBelief:
    """Apply a null: one may be an error of the API, the second in a row means that the token does not expire."""
    nulls = min(belief.nulls + 1, NULLS_THAT_CLEAR)
    if nulls < NULLS_THAT_CLEAR:
        return replace(belief, nulls=nulls)
    return replace(
        belief,
        says=TokenSays.NOTHING,
        earliest_at=None,
        latest_at=None,
        observed_at=at,
        expired_at=None,
        nulls=nulls,
        disagrees=False,
        unit=None,
    )


def _observe_exact(
    belief: TokenBelief, exact_at: datetime, *, at: datetime, policy: ExpiryPolicy
) -> tuple[TokenBelief, TokenChange | None]:
    """Apply a trusted date; a renewal discards the interval of older texts."""
    exact = Interval(exact_at, exact_at)
    change = None
    if belief.exact_at is not None:
        change = _change(Interval(belief.exact_at, belief.exact_at), exact, at, policy)
    first_after_end = belief.exact_at is None and belief.says is TokenSays.EXPIRED and exact_at > at + GRACE
    if change is TokenChange.RENEWED:
        belief = _renewed(belief, at)
    elif first_after_end:
        change = TokenChange.RENEWED
        belief = replace(belief, renewed_at=at)
    if change is TokenChange.RENEWED:
        belief = replace(belief, says=TokenSays.LEFT, earliest_at=None, latest_at=None, expired_at=None, unit=None)
    says = TokenSays.LEFT if belief.says is TokenSays.NOTHING else belief.says
    disagrees = disagree(exact_at, window_from_text(belief))
    return replace(belief, says=says, exact_at=exact_at, observed_at=at, disagrees=disagrees), change


def _change(previous: Interval, current: Interval, at: datetime, policy: ExpiryPolicy) -> TokenChange | None:
    """Return the change when the end moves from *previous* to *current*; None while it may be jitter."""
    enough = max(policy.hysteresis, 2 * current.width)
    later = current.earliest_at - previous.latest_at
    if later > enough and (later > CLEAR_MOVE or later > previous.middle - at):
        return TokenChange.RENEWED
    return TokenChange.SHORTENED if previous.earliest_at - current.latest_at > enough else None


def _renewed(belief: TokenBelief, at: datetime) -> TokenBelief:
    """Record a renewal, and the time that was left then."""
    ends_at = best_estimate(belief)
    points = belief.renewal_points
    alive = belief.says is TokenSays.LEFT and belief.status != "expired"
    if alive and ends_at is not None and ends_at > at:
        points = (*points, ends_at - at)[-POINTS_KEPT:]
    return replace(belief, renewed_at=at, renewal_points=points)


def disagree(exact_at: datetime | None, ends: Interval | None) -> bool:
    """Whether the date lies outside of the interval of the texts by more than `DISAGREEMENT`."""
    if exact_at is None or ends is None:
        return False
    return not ends.earliest_at - DISAGREEMENT <= exact_at <= ends.latest_at + DISAGREEMENT
