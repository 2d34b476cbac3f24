"""
The parser of `tokenExpiresIn`: what one answer says about a token's end.

    null, ""                      unknown
    "45d 3h", "5h", "29 days"     time left, in steps of the smallest unit printed
    "< 1h"                        upper bound of the time left
    "expired"                     expired
    anything else                 not parsed; kept to be shown

Source: api-contract.md 2.1 (7) and C2.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import lru_cache

from monitor.domain.copies import quick_init

RAW_LIMIT = 64

# A hundred years. A longer life is an error of the server, and would overflow dates.
LIFE_LIMIT = timedelta(days=36_525)

_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)

_LEFT = re.compile(
    r"(?:(?P<days>[0-9]{1,5}) ?(?:d|days?))? ?"
    r"(?:(?P<hours>[0-9]{1,6}) ?(?:h|hrs?|hours?))? ?"
    r"(?:(?P<minutes>[0-9]{1,7}) ?(?:m|mins?|minutes?))?",
    re.IGNORECASE,
)
_BELOW = re.compile(r"< ?(?P<count>[0-9]{1,4}) ?(?P<unit>h|hours?|d|days?|m|mins?|minutes?)", re.IGNORECASE)
_UNITS = {"d": _DAY, "h": _HOUR, "m": _MINUTE}


class TokenSays(StrEnum):
    """The kind of one `tokenExpiresIn`."""

    NOTHING = "nothing"
    LEFT = "left"
    EXPIRED = "expired"
    UNPARSED = "unparsed"


@quick_init
@dataclass(frozen=True, slots=True)
class TokenLife:
    """
    One `tokenExpiresIn`, parsed.

    Attributes:
        left: the printed duration; for `"< 1h"` the upper bound.
        unit: the step of the printed value (an hour, a day, a minute); for `"< n"` equal to *left*.
        below: True for the `"< n"` form: the time left is in [0, left).
        raw: the text as it came, cleaned, at most 64 characters; empty for null.
    """

    says: TokenSays = TokenSays.NOTHING
    left: timedelta | None = None
    unit: timedelta | None = None
    below: bool = False
    raw: str = ""


def parse_token_life(value: object) -> TokenLife:
    """Return one `tokenExpiresIn`, parsed; never raises. *value*: the decoded JSON value, of any type."""
    if value is None:
        return TokenLife()
    if not isinstance(value, str):
        return TokenLife(TokenSays.UNPARSED, raw=_described(value))
    return _parse(value) if len(value) <= RAW_LIMIT else _parse.__wrapped__(value)


# The tokens of many connections have the same time left.
@lru_cache(maxsize=2048)
def _parse(value: str) -> TokenLife:
    text = " ".join(value.split())
    raw = "".join(letter for letter in text[:RAW_LIMIT] if letter.isprintable())
    if not text:
        return TokenLife()
    if text.casefold() == "expired":
        return TokenLife(TokenSays.EXPIRED, raw=raw)
    if len(text) > RAW_LIMIT:
        return TokenLife(TokenSays.UNPARSED, raw=raw)
    return _below(text, raw) or _left(text, raw) or TokenLife(TokenSays.UNPARSED, raw=raw)


def _below(text: str, raw: str) -> TokenLife | None:
    """The `"< n"` form, or None."""
    match = _BELOW.fullmatch(text)
    if match is None:
        return None
    left = int(match["count"]) * _UNITS[match["unit"][0].lower()]
    if not timedelta(0) < left <= LIFE_LIMIT:
        return None
    return TokenLife(TokenSays.LEFT, left, left, below=True, raw=raw)


def _left(text: str, raw: str) -> TokenLife | None:
    """The `"45d 3h"` form, or None."""
    match = _LEFT.fullmatch(text)
    if match is None:
        return None
    parts = [(match["days"], _DAY), (match["hours"], _HOUR), (match["minutes"], _MINUTE)]
    printed = [(int(digits), unit) for digits, unit in parts if digits is not None]
    if not printed:
        return None
    left = sum((count * unit for count, unit in printed), timedelta(0))
    if left > LIFE_LIMIT:
        return None
    return TokenLife(TokenSays.LEFT, left, printed[-1][1], raw=raw)


def _described(value: object) -> str:
    """Return a value that is not a string, to be shown: small numbers as they are, anything else by its type."""
    if isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= RAW_LIMIT):
        return repr(value)
    return f"({type(value).__name__})"
