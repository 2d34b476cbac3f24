"""
Where a list goes on: the place of the last row that was given, as a text that means something to us alone.

A place, not a number of rows: rows that come or go between two pages neither repeat nor hide others.
"""

import base64
import binascii
import json
from collections.abc import Sequence

_MOST = 2**63 - 1

Part = str | int


def encode(name: str, parts: Sequence[Part]) -> str:
    """The cursor of the list *name* behind the row with these *parts*."""
    text = json.dumps([name, *parts], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(name: str, kinds: Sequence[type[Part]], text: str) -> tuple[Part, ...]:
    """
    What `encode` was given.

    Raises:
        ValueError: it is no cursor of this list.
    """
    try:
        found = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        raise ValueError("is no cursor") from None
    if not isinstance(found, list) or found[:1] != [name] or len(found) != len(kinds) + 1:
        raise ValueError("is no cursor of this list")
    parts = found[1:]
    if not all(type(part) is kind for part, kind in zip(parts, kinds, strict=True)):
        raise ValueError("is no cursor of this list")
    if any(isinstance(part, int) and not 0 <= part <= _MOST for part in parts):
        raise ValueError("is no cursor of this list")
    return tuple(parts)
