"""What `tokenExpiresIn` may look like, and what is read from it."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.replies.token_life import LIFE_LIMIT, RAW_LIMIT, TokenLife, TokenSays, parse_token_life

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

UNDERSTOOD = [
    ("45d 3h", 45 * DAY + 3 * HOUR, HOUR),
    ("7d 0h", 7 * DAY, HOUR),
    ("5h", 5 * HOUR, HOUR),
    ("0h", timedelta(0), HOUR),
    ("29 days", 29 * DAY, DAY),
    ("1 day", DAY, DAY),
    ("82d", 82 * DAY, DAY),
    ("1d 2h 3m", DAY + 2 * HOUR + 3 * MINUTE, MINUTE),
    ("90 minutes", 90 * MINUTE, MINUTE),
    ("2d30min", 2 * DAY + 30 * MINUTE, MINUTE),
    ("3 hrs 5 mins", 3 * HOUR + 5 * MINUTE, MINUTE),
    ("  45D\t3H\n", 45 * DAY + 3 * HOUR, HOUR),
    ("45d\u00a03h", 45 * DAY + 3 * HOUR, HOUR),
    ("36525d", LIFE_LIMIT, DAY),
]

NOT_UNDERSTOOD = [
    "soon", "-3h", "3", "3.5h", "3h 2d", "45d,3h", "h", "d h", "<", "< 0h", "< -1h", "<< 1h", "> 1h", "expired!", "expires", "1w", "30s",
    "123456d", "36526d", "999999h", "12345678m", "\u0665h", "5h" + " " * 3 + "x", "5h" * 40, "nan", "null", "5h\x00", "P45D",
    True, False, 0, 5, -1, 10**6000, 3.5, float("nan"), float("inf"), [], ["5h"], {}, {"days": 3}, b"5h", object(),
]  # fmt: skip


@pytest.mark.parametrize(("text", "left", "unit"), UNDERSTOOD)
def test_time_left(text: str, left: timedelta, unit: timedelta) -> None:
    """A printed duration gives the time left and the step of its smallest unit."""
    life = parse_token_life(text)
    assert (life.says, life.left, life.unit, life.below) == (TokenSays.LEFT, left, unit, False)


@pytest.mark.parametrize(("text", "left"), [("< 1h", HOUR), ("<1 hour", HOUR), (" < 2 Days ", 2 * DAY), ("< 30 mins", 30 * MINUTE)])
def test_upper_bound(text: str, left: timedelta) -> None:
    """`< n` gives an upper bound, and is as wide as that bound."""
    life = parse_token_life(text)
    assert (life.says, life.left, life.unit, life.below) == (TokenSays.LEFT, left, left, True)


@pytest.mark.parametrize("value", [None, "", "   ", "\t\n"])
def test_nothing(value: object) -> None:
    """Null and blank texts tell nothing at all."""
    assert parse_token_life(value) == TokenLife()


@pytest.mark.parametrize("value", ["expired", "Expired", " EXPIRED "])
def test_expired(value: object) -> None:
    """The word counts in any case."""
    assert parse_token_life(value).says is TokenSays.EXPIRED


@pytest.mark.parametrize(
    "value", NOT_UNDERSTOOD, ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}" if value != 10**6000 else "huge"
)
def test_not_understood(value: object) -> None:
    """Whatever the grammar does not know is kept as unparsed, with nothing made of it."""
    life = parse_token_life(value)
    assert (life.says, life.left, life.unit) == (TokenSays.UNPARSED, None, None)


def test_what_is_kept_can_be_shown() -> None:
    """The kept text is short, and has no control or bidirectional characters in it."""
    assert parse_token_life("\x1b[31m7d\u202e\x00 xyz").raw == "[31m7d xyz"
    assert len(parse_token_life("y" * 10_000_000).raw) == RAW_LIMIT
    assert parse_token_life(86_400).raw == "86400"
    assert parse_token_life({"token": "sk_secret"}).raw == "(dict)"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON | st.text("0123456789 <dhmays\t-", max_size=30))
def test_never_raises(value: object) -> None:
    """Every JSON value parses to something whose parts fit together."""
    life = parse_token_life(value)
    assert (life.left is not None) == (life.unit is not None) == (life.says is TokenSays.LEFT)
    assert len(life.raw) <= RAW_LIMIT
    if life.left is not None and life.unit is not None:
        assert timedelta(0) <= life.left <= LIFE_LIMIT
        assert life.unit > timedelta(0)


@given(st.integers(0, 9999), st.integers(0, 23))
def test_the_documented_form_round_trips(days: int, hours: int) -> None:
    """What the API prints is what is read."""
    assert parse_token_life(f"{days}d {hours}h").left == days * DAY + hours * HOUR
