"""Takes secrets out of texts: those that are known, in every form they may take, and what looks like one."""

import base64
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

from monitor.domain.text import redact

_MASK = "<secret>"
_LEAST = 8
"""Shorter texts would blank ordinary words, and are left to the patterns."""

_START = 16
_TOKEN = re.compile(r"[A-Za-z0-9_.\-+/=~]{20,}")


class Redactor:
    """Replaces known secrets, and what looks like one, in every text of a value."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Let none of *secrets* pass from now on, besides those that were learned before."""
        fresh = {form for secret in secrets for form in forms_of(secret)} - self._known
        if fresh:
            self._known |= fresh
            long_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, long_first)))

    def redacted(self, value: object) -> object:
        """*value* with every text in it redacted; what is no text is shown as one, numbers and flags stay."""
        if isinstance(value, (bool, int, float)) or value is None:
            return value
        if isinstance(value, dict):
            return {key: self.redacted(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.redacted(item) for item in value]
        text = str(value)
        return redact(self._pattern.sub(_MASK, text) if self._pattern is not None else text)


def forms_of(secret: str) -> Iterator[str]:
    """What *secret* may look like in a text: itself, its telling parts, and their beginnings; percent-encoded and as base64."""
    for part in {secret, *_parts(secret)}:
        if len(part) < _LEAST:
            continue
        yield part
        yield from {quote(part), quote(part, safe=""), quote_plus(part)} - {part}
        yield from _base64(part)
        if _TOKEN.fullmatch(part):
            # Libraries cut long values short.
            yield part[:_START]


def _parts(secret: str) -> Iterator[str]:
    """The parts of an address, or of a header's value, that give it away."""
    scheme, _, rest = secret.partition(" ")
    if rest and scheme.isalpha():
        yield rest.strip()
    if "://" not in secret:
        return
    try:
        parts = urlsplit(secret)
        password = parts.password
    except ValueError:
        return
    # Paths of files and names of databases are no secrets, and in every other line.
    if parts.scheme in ("http", "https"):
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        yield from (piece for piece in (target, *re.split(r"[/?&=;]", target)) if len(piece) >= _START)
    if password:
        yield from (password, unquote(password))


def _base64(part: str) -> Iterator[str]:
    """The middle of the base64 of *part*, wherever it begins in a longer text."""
    content = part.encode(errors="replace")
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + content).decode()
        middle = encoded[4 if shift else 0 : len(encoded) - 4]
        if len(middle) >= _LEAST + 4:
            yield middle
            yield middle.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")
