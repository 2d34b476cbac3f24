"""
What is believed of a token's end, after each piece of evidence.

The window of the printed texts and the exact date of the list are kept apart: each is compared only with its own
past, because the API's texts and dates need not belong together. The date wins where it can be trusted.

Source: api-contract.md 1.5, 2.1 (7-9), C17, C18; reliability.md 3.4.
"""

from datetime import datetime, timedelta

from monitor.domain.copies import replace
from monitor.domain.expiry.interval import DATE_STEP, Interval, end_of, printed_by, with_skew
from monitor.domain.expiry.model import Rounding, TokenBelief, TokenChange
from monitor.domain.listings import ListedConnection
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.token_life import TokenLife, TokenSays

# Platforms whose date was the one of a token that the API renews by itself before every post.
ARTEFACTS = frozenset({"tiktok", "youtube"})

# An end counts as passed when evidence arrives this long after it.
GRACE = timedelta(hours=2)

# A move of the end by more than this is a renewal; a smaller one only when it at least doubles the life left.
CLEAR_MOVE = timedelta(days=1)

# The list's date and the printed texts may differ by so much before it is worth a remark.
DISAGREEMENT = timedelta(days=1)

# A list may take so long that its texts are this old.
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
    The belief after one more test.

    Args:
        belief: what was believed before.
        life: the reply's `tokenExpiresIn`.
        passed: whether the test passed; a failed one carries null for no reason, so its null tells nothing.
        sent_at: when the request left, our wall clock.
        at: when the reply arrived, our wall clock.
        server_at: the reply's `Date`, or None.
        policy: the platform's.
        rounding: what the account's lists taught of the server's rounding.

    Returns:
        The new belief, and whether the token was renewed or its life shortened.
    """
    if life.says is TokenSays.LEFT:
        usable = None if with_skew(at, server_at) else server_at
        seen = end_of(life, printed_by(sent_at, at, usable), rounding)
        theirs = seen if usable is server_at else end_of(life, printed_by(sent_at, at, server_at), rounding)
        ahead = timedelta(0) if usable is None else usable + DATE_STEP / 2 - at
        if usable is not server_at:
            # Of two clocks that are far apart the life left is counted by ours; a date would be read by theirs.
            belief = replace(belief, exact_at=None)
        belief = replace(belief, unit=life.unit, rounding=Rounding.FLOOR if life.below else rounding, server_ahead=ahead)
        return _observe_left(belief, seen, theirs, at=at, policy=policy)
    if life.says is TokenSays.EXPIRED:
        return _observe_expired(belief, at=at, policy=policy)
    if life.says is TokenSays.NOTHING and passed:
        return _observe_nothing(belief, at=at), None
    if life.says is TokenSays.NOTHING and not with_skew(at, server_at):
        return replace(belief, observed_at=at), None
    return belief, None


def apply_listing(
    belief: TokenBelief, row: ListedConnection, *, at: datetime, platform: str, policy: ExpiryPolicy, server_at: datetime | None = None
) -> tuple[TokenBelief, TokenChange | None]:
    """
    The belief after one more list, which arrived *at* our wall clock and carried the `Date` *server_at*.

    The date is believed unless it is an artefact (a passed one while the API says `valid`, or one of a token that
    the API renews by itself). A row without a date lends its text.
    """
    status = (row.token_status or "").strip().casefold() or None
    belief, change = _observe_row(belief, row, status, at=at, server_at=server_at, platform=platform, policy=policy)
    return replace(belief, status=status, observed_at=at if status is not None else belief.observed_at), change


def window_from_text(belief: TokenBelief) -> Interval | None:
    """The window of the printed texts alone."""
    if belief.earliest_at is None or belief.latest_at is None:
        return None
    return Interval(belief.earliest_at, belief.latest_at)


def window(belief: TokenBelief) -> tuple[datetime, datetime] | None:
    """The end lies in [earliest, latest); both are equal when it is exactly known. None when nothing is known."""
    if belief.exact_at is not None:
        return belief.exact_at, belief.exact_at
    ends = window_from_text(belief)
    return None if ends is None else (ends.earliest_at, ends.latest_at)


def best_estimate(belief: TokenBelief) -> datetime | None:
    """The one instant to show as the end, or None when the token has none that is known."""
    ends = window(belief)
    if ends is not None:
        return ends[0] + (ends[1] - ends[0]) / 2
    return belief.expired_at if belief.says is TokenSays.EXPIRED else None


def uncertainty(belief: TokenBelief) -> timedelta | None:
    """By how much `best` may be off to either side; zero when exact, None when no window is known."""
    ends = window(belief)
    return None if ends is None else (ends[1] - ends[0]) / 2


def is_artefact(status: str | None, platform: str) -> bool:
    """Whether a platform's texts tell the end of a token that the API renews by itself before every post: no end at all."""
    return platform in ARTEFACTS and status not in ("expiring_soon", "expired")


def has_estimate(status: str | None, platform: str, policy: ExpiryPolicy) -> bool:
    """Whether a platform's dates and texts count as a countdown at all."""
    return status in ("expiring_soon", "expired") or (policy.trust_date and platform not in ARTEFACTS)


def _observe_row(
    belief: TokenBelief,
    row: ListedConnection,
    status: str | None,
    *,
    at: datetime,
    server_at: datetime | None,
    platform: str,
    policy: ExpiryPolicy,
) -> tuple[TokenBelief, TokenChange | None]:
    """Folds a row's date or text; the belief still carries the status of the list before."""
    if row.token_expires_at is not None and with_skew(at, server_at):
        # By a clock that is wrong, theirs or ours, a date would seem to be nearer or further than it is.
        return replace(belief, exact_at=None, disagrees=False), None
    if row.token_expires_at is not None:
        stale = status == "valid" and row.token_expires_at <= at
        if stale and belief.exact_at == row.token_expires_at:
            # A date that was believed while it lay ahead stays; that it has passed renews nothing.
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
    belief: TokenBelief, seen: Interval, theirs: Interval, *, at: datetime, policy: ExpiryPolicy
) -> tuple[TokenBelief, TokenChange | None]:
    """
    Narrows the window by one print, or starts it anew where the print contradicts it.

    *seen* is where the end lies by the clock that is used, *theirs* by the server's. When the two clocks are far
    apart one of them has jumped: if by theirs the end is where it was, nothing else happened.
    """
    known = window_from_text(belief)
    if known is None and belief.says is TokenSays.EXPIRED and belief.expired_at is not None:
        known = Interval(belief.expired_at, belief.expired_at)
    common = None if known is None else known.meet(seen)
    change = None
    if known is not None and common is None and _change(known, theirs, at, policy) is not None:
        change = _change(known, seen, at, policy)
    if change is TokenChange.RENEWED:
        belief = replace(_renewed(belief, at), exact_at=None, status=None)
    ends = common or seen
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
        disagrees=_disagree(exact_at, ends),
    )
    return belief, change


def _observe_expired(belief: TokenBelief, *, at: datetime, policy: ExpiryPolicy) -> tuple[TokenBelief, TokenChange | None]:
    """The end lies before now."""
    known = window_from_text(belief)
    change = None
    if known is not None and known.earliest_at - at > policy.hysteresis:
        change = TokenChange.SHORTENED
    if known is not None:
        known = Interval(known.earliest_at, min(known.latest_at, at)) if known.earliest_at < at else None
    belief = replace(
        belief,
        says=TokenSays.EXPIRED,
        earliest_at=None if known is None else known.earliest_at,
        latest_at=None if known is None else known.latest_at,
        observed_at=at,
        expired_at=belief.expired_at or at,
        nulls=0,
    )
    return belief, change


def _observe_nothing(belief: TokenBelief, *, at: datetime) -> TokenBelief:
    """One null may be a slip; the second in a row says that the token has no end."""
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
    """Takes over a date that is believed; a later one than before voids what older texts told."""
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
    disagrees = _disagree(exact_at, window_from_text(belief))
    return replace(belief, says=says, exact_at=exact_at, observed_at=at, disagrees=disagrees), change


def _change(known: Interval, seen: Interval, at: datetime, policy: ExpiryPolicy) -> TokenChange | None:
    """What it means that the end was in *known* and is now in *seen*; None while it may be jitter."""
    enough = max(policy.hysteresis, 2 * seen.width)
    later = seen.earliest_at - known.latest_at
    if later > enough and (later > CLEAR_MOVE or later > known.middle - at):
        return TokenChange.RENEWED
    return TokenChange.SHORTENED if known.earliest_at - seen.latest_at > enough else None


def _renewed(belief: TokenBelief, at: datetime) -> TokenBelief:
    """Remembers a renewal, and how much life was left by then."""
    ends_at = best_estimate(belief)
    points = belief.renewal_points
    alive = belief.says is TokenSays.LEFT and belief.status != "expired"
    if alive and ends_at is not None and ends_at > at:
        points = (*points, ends_at - at)[-POINTS_KEPT:]
    return replace(belief, renewed_at=at, renewal_points=points)


def _disagree(exact_at: datetime | None, ends: Interval | None) -> bool:
    """Whether the date lies well outside of what the texts tell."""
    if exact_at is None or ends is None:
        return False
    return not ends.earliest_at - DISAGREEMENT <= exact_at <= ends.latest_at + DISAGREEMENT
