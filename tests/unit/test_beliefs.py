"""What is believed of a token's end, field by field: the bounds at which a belief changes, and what each piece of evidence leaves behind."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.domain.expiry.estimate import DISAGREEMENT, apply, apply_listing, best_estimate
from monitor.domain.expiry.model import Rounding, TokenBelief, TokenChange
from monitor.domain.policy import ExpiryPolicy
from monitor.domain.replies.listings import ListedConnection
from monitor.domain.replies.token_life import TokenSays, parse_token_life
from tests.builders import DAY, HOUR, MINUTE, SECOND, START

POLICY = ExpiryPolicy()
END = START + 10 * DAY
TEXT = TokenBelief(TokenSays.LEFT, earliest_at=END, latest_at=END + HOUR, observed_at=START - HOUR)


def checked(belief: TokenBelief, text: str | None, *, server: timedelta | None = None) -> tuple[TokenBelief, TokenChange | None]:
    """*belief* after a passed test at START by a server that cuts off, whose clock is *server* ahead."""
    server_at = None if server is None else START + server
    life = parse_token_life(text)
    return apply(belief, life, passed=True, sent_at=START, at=START, server_at=server_at, policy=POLICY, rounding=Rounding.FLOOR)


def listed(belief: TokenBelief, ends_at: datetime | None, status: str | None = "valid", text: str | None = None) -> TokenBelief:
    """*belief* after a list at START."""
    row = ListedConnection("linkedin-a", token=parse_token_life(text), token_expires_at=ends_at, token_status=status)
    return apply_listing(belief, row, at=START, platform="linkedin", policy=POLICY)[0]


def test_a_text() -> None:
    """A text leaves its unit, its rounding and by how much the server's clock is ahead; `< 1h` is cut off whatever else is known."""
    belief, _ = checked(TokenBelief(), "10d 0h", server=MINUTE)
    assert (belief.unit, belief.rounding, belief.server_ahead) == (HOUR, Rounding.FLOOR, MINUTE + SECOND / 2)
    below, _ = apply(TokenBelief(), parse_token_life("< 1h"), passed=True, sent_at=START, at=START, server_at=None, policy=POLICY)
    assert below.rounding is Rounding.FLOOR


@pytest.mark.parametrize(("status", "told"), [(" Valid ", "valid"), ("EXPIRED", "expired"), ("", None), (None, None)])
def test_status(status: str | None, told: str | None) -> None:
    """The list's status is read whatever its case and spaces; only one that is there is evidence of today."""
    belief = listed(TEXT, None, status)
    assert belief.status == told
    assert belief.observed_at == (START if told else START - HOUR)


def test_passed_dates() -> None:
    """A date that just passed while the list says valid is not taken up; one that was believed before stays, and is evidence of today."""
    assert listed(TEXT, START).exact_at is None
    known = replace(TEXT, exact_at=START - MINUTE)
    assert listed(known, START - MINUTE) == replace(known, status="valid", observed_at=START)


@pytest.mark.parametrize("ends_at", [None, START - HOUR])
def test_a_date_that_is_gone(ends_at: datetime | None) -> None:
    """Without a date that counts nothing disagrees with the texts any more."""
    belief = listed(replace(TEXT, exact_at=END + 5 * DAY, disagrees=True), ends_at)
    assert (belief.exact_at, belief.disagrees) == (None, False)


@pytest.mark.parametrize(
    ("ends_at", "disagrees"),
    [
        (END - DISAGREEMENT, False),
        (END - DISAGREEMENT - SECOND, True),
        (END + HOUR + DISAGREEMENT, False),
        (END + HOUR + DISAGREEMENT + SECOND, True),
    ],
)
def test_disagreement(ends_at: datetime, disagrees: bool) -> None:
    """Date and texts disagree when they are more than a day apart."""
    assert listed(TEXT, ends_at).disagrees is disagrees


@pytest.mark.parametrize(("ago", "kept"), [(2 * HOUR, True), (2 * HOUR + SECOND, False)])
def test_a_date_against_life(ago: timedelta, kept: bool) -> None:
    """Time left that is printed more than two hours after the date voids it, not sooner."""
    belief, _ = checked(replace(TEXT, exact_at=START - ago), "10d 0h")
    assert (belief.exact_at is not None) is kept


def test_the_word_expired() -> None:
    """`expired` keeps the first moment it was told, cuts the window at now, and forgets what lies ahead."""
    first, _ = checked(replace(TEXT, nulls=1, expired_at=START - HOUR), "expired")
    assert (first.expired_at, first.earliest_at, first.nulls) == (START - HOUR, None, 0)
    cut, _ = checked(replace(TEXT, earliest_at=START - HOUR, latest_at=START + HOUR), "expired")
    assert (cut.earliest_at, cut.latest_at) == (START - HOUR, START)
    assert checked(replace(TEXT, earliest_at=START), "expired")[0].earliest_at is None


@pytest.mark.parametrize(("left", "change"), [(2 * HOUR, None), (2 * HOUR + SECOND, TokenChange.SHORTENED)])
def test_the_word_expired_too_soon(left: timedelta, change: TokenChange | None) -> None:
    """`expired` more than two hours before the end that was believed is a shortening."""
    assert checked(replace(TEXT, earliest_at=START + left, latest_at=START + left + HOUR), "expired")[1] is change


def test_nothing() -> None:
    """The second null in a row leaves nothing of the end; further ones count no further."""
    known = replace(TEXT, nulls=1, expired_at=START, disagrees=True, unit=HOUR)
    belief, _ = checked(known, None)
    assert belief == TokenBelief(TokenSays.NOTHING, observed_at=START, nulls=2)
    assert checked(belief, None)[0].nulls == 2


def test_life_after_the_end() -> None:
    """Time left after `expired` forgets when that was told, and the nulls before it."""
    belief, change = checked(TokenBelief(TokenSays.EXPIRED, expired_at=START - DAY, nulls=1), "59d 0h")
    assert (belief.expired_at, belief.nulls, change) == (None, 0, TokenChange.RENEWED)


@pytest.mark.parametrize(("ahead", "renewed"), [(2 * HOUR, False), (2 * HOUR + SECOND, True)])
def test_a_date_after_the_end(ahead: timedelta, renewed: bool) -> None:
    """The first date after `expired` is a renewal when it lies more than two hours ahead; then nothing of the old end is left."""
    known = TokenBelief(TokenSays.EXPIRED, earliest_at=START - 2 * HOUR, latest_at=START - HOUR, expired_at=START - HOUR, unit=HOUR)
    belief = listed(known, START + ahead)
    left = TokenBelief(TokenSays.LEFT, exact_at=START + ahead, status="valid", observed_at=START, renewed_at=START)
    assert (belief == left) is renewed
    assert (belief.says is TokenSays.EXPIRED) is not renewed


def test_a_date_where_there_was_no_end() -> None:
    """A date tells of time left where the texts knew of none."""
    assert listed(TokenBelief(TokenSays.NOTHING), END).says is TokenSays.LEFT


@pytest.mark.parametrize(
    ("known", "seen", "change"),
    [
        (END, END + DAY, None),
        (END, END + DAY + SECOND, TokenChange.RENEWED),
        (START + 4 * HOUR, START + 8 * HOUR, None),
        (START + 4 * HOUR, START + 8 * HOUR + SECOND, TokenChange.RENEWED),
        (START, START + 2 * HOUR, None),
        (END, END - 2 * HOUR, None),
        (END, END - 2 * HOUR - SECOND, TokenChange.SHORTENED),
    ],
)
def test_moves(known: datetime, seen: datetime, change: TokenChange | None) -> None:
    """A later date is a renewal beyond a day, or when it doubles the life left; an earlier one a shortening beyond two hours."""
    row = ListedConnection("linkedin-a", token_expires_at=seen, token_status="valid")
    belief = TokenBelief(TokenSays.LEFT, exact_at=known, observed_at=START)
    assert apply_listing(belief, row, at=START, platform="linkedin", policy=POLICY)[1] is change


def test_best() -> None:
    """When it was said to have expired is shown as the end only while that is what is said."""
    assert best_estimate(TokenBelief(TokenSays.EXPIRED, expired_at=START)) == START
    assert best_estimate(TokenBelief(TokenSays.NOTHING, expired_at=START)) is None
