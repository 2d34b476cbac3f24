"""
The secrets of all tests, and the search for them.

Every secret that a test hands to the program holds a mark in its first sixteen characters. Whatever the program leaves
behind (what it prints and logs, pages, metrics, databases, backups) is searched for the mark, plain and in disguise, after
every test. What a test writes itself, to hand it over, is not searched.

Source: reliability.md F46.
"""

import base64
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "c4nAryLe4k9"

API_KEY = f"sk_{MARK}01.0123456789abcdef"
SECOND_API_KEY = f"sk_{MARK}02.fedcba9876543210"
PASSWORD = f"{MARK}-correct-horse"
TOKEN = f"{MARK}-token-of-the-web-port"
HEADER = f"{MARK}-header-of-a-receiver"
ROUTING_KEY = f"{MARK}0123456789abcdef01234"[:32]
PATH = f"{MARK}-path-of-a-webhook"
TEMPLATE_TOKEN = f"{MARK}-in-a-template"


def signing(which: str = "") -> str:
    """A signing secret."""
    return "whsec_" + base64.b64encode(f"{MARK}{which}".ljust(32, ".").encode()).decode()


def _middles(text: str) -> Iterator[bytes]:
    """The middle of the base64 of *text*, wherever it begins in a longer one."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + text.encode())
        yield encoded[4 if shift else 0 : len(encoded) - 4]


FORMS = {
    "plain": (MARK.encode(),),
    "in capitals or small letters": (MARK.upper().encode(), MARK.lower().encode()),
    "backwards": (MARK[::-1].encode(),),
    "as base64": tuple(_middles(MARK)),
    "as base64 of base64": tuple(middle for once in _middles(MARK) for middle in _middles(once.decode())),
    "as hex": (MARK.encode().hex().encode(), MARK.encode().hex().upper().encode()),
    "percent-encoded": (
        "".join(f"%{byte:02x}" for byte in MARK.encode()).encode(),
        "".join(f"%{byte:02X}" for byte in MARK.encode()).encode(),
    ),
    "in UTF-16": (MARK.encode("utf-16-le"), MARK.encode("utf-16-be")),
}
"""Disguise → the bytes to look for."""

GIVEN = (".yaml", ".yml", ".key", ".pem", ".crt", ".json")
GIVEN_NAMES = ("api-key", "secret", "url", "token", "password", "credential", "simulator", "receiver", "key")


def disguises_in(content: bytes) -> list[str]:
    """The disguises in which a secret is in *content*."""
    return [disguise for disguise, forms in FORMS.items() if any(form in content for form in forms)]


def is_given(path: Path) -> bool:
    """Whether a test writes such a file to hand a secret over: a configuration, a secret file, the log of the simulated API itself."""
    return path.suffix in GIVEN or any(name in path.name for name in GIVEN_NAMES)


def leaks_below(folder: Path) -> list[str]:
    """`path: disguise` for every secret in the files below *folder* that the program wrote."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or is_given(path):
            continue
        with suppress(FileNotFoundError):
            found += [f"{path.relative_to(folder)}: {disguise}" for disguise in disguises_in(path.read_bytes())]
    return found
