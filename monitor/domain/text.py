"""
Third-party text made safe, once, where it enters: platforms put control characters, markup and tokens into their messages.

What leaves `clean` is one printable line without secrets. Escaping for a format (HTML, Slack, a label) is
up to whoever writes that format.

Source: reliability.md F45, F46 and 4.4; api-contract.md 2.1 (11).
"""

import re
import unicodedata

TEXT_LIMIT = 500
REDACTED = "<redacted>"

# Longer texts are cut before they are searched: a hostile megabyte must not cost more than a normal message.
_WINDOW = 20_000

_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]|\x1b\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)|\x1b[ -~]?")
_SPACES = re.compile(r"\s+")
_BLANK_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Zs"})
_DROPPED_CATEGORIES = frozenset({"Cf", "Cs", "Co", "Cn"})

# Every secret below holds one of these, or one of the two words: most texts need no search at all.
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
    One printable line of at most *limit* characters, without secrets.

    Args:
        text: anything, lone surrogates and megabytes included.
        limit: most characters that are kept.
        secrets: exact texts to take out besides what looks like a secret.
    """
    line = text[:_WINDOW]
    if not (line.isascii() and line.isprintable()):
        line = _printable(line)
    if "  " in line or line[:1] == " " or line[-1:] == " ":
        line = _SPACES.sub(" ", line).strip()
    for secret in secrets:
        if secret in line:
            line = line.replace(secret, REDACTED)
    return redact(line)[:limit].rstrip()


def redact(line: str) -> str:
    """The text with everything that looks like a secret taken out; what it was called stays."""
    if _TELLTALE_LETTERS.isdisjoint(line) and not _TELLTALE_WORDS.search(line):
        return line
    return _SECRET.sub(_replacement, line)


def mask_email(text: str) -> str:
    """An e-mail address as `a***@example.org`; any other text as it is."""
    name, at, host = text.partition("@")
    return f"{name[0]}***@{host}" if at and name and "." in host and " " not in text else text


def _replacement(match: re.Match[str]) -> str:
    kept = match["bearer"] or match["hook"] or match["name"] or match["scheme"] or ""
    return f"{kept}{REDACTED}@" if match["scheme"] else f"{kept}{REDACTED}"


def _printable(text: str) -> str:
    """The text with escape sequences and invisible characters taken out, and every kind of blank made a space."""
    return "".join(map(_shown, _ANSI.sub("", text)))


def _shown(letter: str) -> str:
    category = unicodedata.category(letter)
    if category in _BLANK_CATEGORIES:
        return " "
    return "" if category in _DROPPED_CATEGORIES else letter
