"""Ids that try to leave their place in a URL."""

import random

PIECES = (
    "/",
    "\\",
    "..",
    ".",
    "%2f",
    "%2e%2e",
    "?",
    "#",
    "@",
    ":",
    ";",
    " ",
    "\r\n",
    "\x00",
    "-",
    "a",
    "Z",
    "9",
    "_",
    "é",
    "\ud800",
    "&",
    "+",
)


def hostile_id(source: random.Random) -> str:
    """The id of a connection, of up to eight pieces."""
    return source.choice(("x-", "linkedin-", "", "-")) + "".join(source.choices(PIECES, k=source.randrange(1, 9)))
