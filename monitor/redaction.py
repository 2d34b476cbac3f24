"""Third-party text made safe; known secrets removed in every form."""

import base64
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, urlsplit

_MASK = "<secret>"
_LEAST = 8
"""Shorter texts may be ordinary words; they are left to the patterns."""

_START = 16
_TOKEN = re.compile(r"[A-Za-z0-9_.\-+/=~]{20,}")


class Redactor:
    """Replaces known secrets, and what looks like one, in every text of a value."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Redact *secrets* from now on, besides the earlier ones."""
        fresh = {form for secret in secrets for form in forms_of(secret)} - self._known
        if fresh:
            self._known |= fresh
            long_first = sorted(self._known, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, long_first)))

    def redacted(self, value: object) -> object:
        """Return *value* with every text in it redacted; numbers, flags and None stay, other objects become texts."""
        if isinstance(value, (bool, int, float)) or value is None:
            return value
        if isinstance(value, dict):
            return {key: self.redacted(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.redacted(item) for item in value]
        text = str(value)
        return redact(self._pattern.sub(_MASK, text) if self._pattern is not None else text)


def forms_of(secret: str) -> Iterator[str]:
    """Yield the forms of *secret* in a text: itself, its secret parts, their beginnings; percent-encoded and as base64."""
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
    """Yield the secret parts of an address or of a header's value."""
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
    # Paths of files and names of databases are not secret, and in every other line.
    if not parts.scheme.startswith(("sqlite", "postgresql")):
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        # Apprise keeps tokens in the place of the host, too.
        places = target if parts.scheme in ("http", "https") else f"{parts.netloc}/{target}"
        yield from (piece for piece in (target, *re.split(r"[/?&=;@]", places)) if len(piece) >= _START)
    if password:
        yield from (password, unquote(password))


def _base64(part: str) -> Iterator[str]:
    """Yield the middle of the base64 of *part*, for each offset in a longer text."""
    content = part.encode(errors="replace")
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + content).decode()
        middle = encoded[4 if shift else 0 : len(encoded) - 4]
        if len(middle) >= _LEAST + 4:
            yield middle
            yield middle.translate(_URL_SAFE)


_URL_SAFE = str.maketrans("+/", "-_")

TEXT_LIMIT = 500
REDACTED = "<redacted>"

# Longer texts are cut before they are searched: a hostile megabyte must not cost more than a normal message.
_WINDOW = 20_000

# The API says the same few texts of most connections.
_SHORT = 256

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]|\x1b\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)|\x1b[ -~]?")
_SPACES = re.compile(r"\s+")
_BLANK_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Zs"})
_DROPPED_CATEGORIES = frozenset({"Cf", "Cs", "Co", "Cn"})

# Every secret below holds one of these letters or words: most texts need no search.
_TELLTALE_LETTERS = frozenset("_:=.-")
_TELLTALE_WORDS = re.compile(r"EAA|bearer", re.IGNORECASE)

_SECRET = re.compile(
    r"""
      sk_[\w.\-]{8,}                                                     # API keys of PostPost, Stripe and others
    | whsec_[\w+/=\-]{6,}                                                # webhook signing secrets
    | \b(?:bot)?\d{5,}:[\w\-]{6,}                                        # Telegram bot tokens
    | \bEAA\w{8,}                                                        # Facebook
    | \bya29\.[\w.\-]+                                                   # Google
    | \bxox[a-z]-[\w\-]{8,}                                              # Slack
    | \beyJ[\w\-]{4,}\.[\w\-]{4,}(?:\.[\w\-]*)?                          # JSON web tokens
    | (?P<bearer>\bbearer\s+)[\w.~+/=\-]{8,}
    | (?P<scheme>://)[^\s/@]{1,256}@                                     # user:password@host
    | (?P<hook>\b(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[\w\-]{1,64}\.webhook\.office\.com)/)\S+
    | (?P<name>\b(?:(?:access|refresh|id|bearer|oauth|auth|page|user|session)[_\-]?)?
        (?:token|api[_\-]?key|secret|signature|password|passwd|client[_\-]?secret|x-api-key|x-publora-key)["']?\s?(?:=|["']:)\s?["']?)
        [^\s&"',;<>]{4,}
    """,
    re.VERBOSE | re.IGNORECASE,
)


def clean(text: str, limit: int = TEXT_LIMIT, secrets: tuple[str, ...] = ()) -> str:
    """
    Return one printable line of at most *limit* characters, without secrets. Equal short texts are searched once.

    Args:
        text: anything, lone surrogates and megabytes included.
        secrets: exact texts to take out besides what looks like a secret.
    """
    return _cleaned_short(text, limit, secrets) if len(text) <= _SHORT else _cleaned(text, limit, secrets)


def _cleaned(text: str, limit: int, secrets: tuple[str, ...]) -> str:
    line = text[:_WINDOW]
    if not (line.isascii() and line.isprintable()):
        line = _printable(line)
    if "  " in line or line[:1] == " " or line[-1:] == " ":
        line = _SPACES.sub(" ", line).strip()
    for secret in secrets:
        if secret in line:
            line = line.replace(secret, REDACTED)
    return redact(line)[:limit].rstrip(f" {JOINERS}")


_cleaned_short = lru_cache(maxsize=2048)(_cleaned)


def redact(line: str) -> str:
    """Return *line* without what looks like a secret; its name stays."""
    if _TELLTALE_LETTERS.isdisjoint(line) and not _TELLTALE_WORDS.search(line):
        return line
    return _SECRET.sub(_replacement, line)


def mask_email(text: str) -> str:
    """Return an e-mail address as `a***@example.org`, any other text unchanged."""
    name, at, host = text.partition("@")
    return f"{name[0]}***@{host}" if at and name and "." in host and " " not in text else text


def _replacement(match: re.Match[str]) -> str:
    kept = match["bearer"] or match["hook"] or match["name"] or match["scheme"] or ""
    return f"{kept}{REDACTED}@" if match["scheme"] else f"{kept}{REDACTED}"


def _printable(text: str) -> str:
    """Return the text without escape sequences and invisible characters but joiners within words, with every kind of blank as a space."""
    text = _ANSI.sub("", text)
    return "".join(letter if joins(text, place) else _shown(letter) for place, letter in enumerate(text))


JOINERS = "\u200c\u200d"


def joins(text: str, place: int) -> bool:
    """Whether the character at *place* joins, or keeps apart, two visible characters beyond ASCII: in emoji, Persian, Indian words."""
    return text[place] in JOINERS and all(
        0 <= beside < len(text) and not text[beside].isascii() and unicodedata.category(text[beside])[0] not in "CZ"
        for beside in (place - 1, place + 1)
    )


def _shown(letter: str) -> str:
    category = unicodedata.category(letter)
    if category in _BLANK_CATEGORIES:
        return " "
    return "" if category in _DROPPED_CATEGORIES else letter
