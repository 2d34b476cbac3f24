"""Third-party text: one printable line without secrets."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.redaction import clean, joins, mask_email

CLEANED = [
    ("plain", "Connected as John Doe", "Connected as John Doe"),
    ("blanks", "  a \t b\r\n\r\nc\u00a0d\u3000e ", "a b c d e"),
    ("colours", "\x1b[31;1mred\x1b[0m \x1b]0;title\x07x \x9b2Jy", "red x y"),
    ("NUL", "a\x00b", "a b"),
    ("bidi", "user\u202egnp.exe\u2066", "usergnp.exe"),
    ("zero width", "s\u200bk\ufeff", "sk"),
    ("line separators", "a\u2028b\u2029c", "a b c"),
    ("surrogate", "a\ud800b", "ab"),
    ("unassigned", "a\U000e0041b\ue000c", "abc"),
    ("joiners", "👩\u200d👧 نمی\u200cشد", "👩\u200d👧 نمی\u200cشد"),
    ("joiners that join nothing", "\u200da\u200cb é\u200d \u200d\u200cé", "ab é é"),
    ("kept", "Zoë 日本 😀 <b>&amp;</b> @everyone", "Zoë 日本 😀 <b>&amp;</b> @everyone"),
]

SECRETS = [
    ("API key", "Invalid key sk_live4u.0123456789abcdef!", "Invalid key <redacted>!"),
    ("hidden in controls", "sk_\u200blive\x1b[0m4u0123456789", "<redacted>"),
    ("hidden in joiners", "sk_li\u200dve4u01\u200c23456789", "<redacted>"),
    ("signing secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "<redacted>"),
    ("Telegram", "https://api.telegram.org/bot123456:AAbbccddeeffgg/x", "https://api.telegram.org/<redacted>/x"),
    ("Facebook", "token EAABsbCS1234567890 is bad", "token <redacted> is bad"),
    ("query", "GET /me?access_token=EAAB12345678&fields=id", "GET /me?access_token=<redacted>&fields=id"),
    ("JSON", 'got {"refresh_token": "abcdefgh", "a": 1}', 'got {"refresh_token": "<redacted>", "a": 1}'),
    ("password", "password=hunter22;", "password=<redacted>;"),
    ("bearer", "header Authorization: Bearer abcdefgh.ijkl-mn", "header Authorization: Bearer <redacted>"),
    ("Google", "ya29.a0AfB_byC", "<redacted>"),
    ("JWT", "x eyJhbGciOi.eyJzdWIiOi.SflKxwRJ y", "x <redacted> y"),
    ("Slack hook", "https://hooks.slack.com/services/T0/B0/xyz", "https://hooks.slack.com/<redacted>"),
    ("Discord hook", "https://discord.com/api/webhooks/1/abc now", "https://discord.com/api/webhooks/<redacted> now"),
    ("user info", "postgresql://me:pw@db/x", "postgresql://<redacted>@db/x"),
]

HARMLESS = [
    "Error validating access token: Session has expired",
    "Invalid bot token",
    "Request failed with status code 401",
    "getaddrinfo ENOTFOUND api.linkedin.com",
    "Unknown platform: pinterest",
    "w_member_social r_member_postAnalytics",
    "Bot can post to Daily_News: 2026-02-22T10:00:00.000Z",
    "did:plc:abc at https://bsky.social/x",
]


@pytest.mark.parametrize(("name", "text", "expected"), CLEANED + SECRETS, ids=[row[0] for row in CLEANED + SECRETS])
def test_cleaned(name: str, text: str, expected: str) -> None:
    """Invisible characters and secrets go, everything else stays."""
    assert clean(text) == expected
    assert clean(expected) == expected


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless(text: str) -> None:
    """Ordinary messages are left alone: they are what on-call reads."""
    assert clean(text) == text


def test_known_secrets() -> None:
    """Exact secrets go whatever they look like, also when control characters try to hide them."""
    assert clean("got legacykey and leg\x1b[0macykey", secrets=("legacykey",)) == "got <redacted> and <redacted>"


def test_limit() -> None:
    """No more than the limit is kept, and a cut leaves no half of a secret behind."""
    assert clean("x" * 1_000_000) == "x" * 500
    assert clean("x " * 245 + "sk_0123456789abcdef").endswith("<redacted>"[:10])
    assert "sk_" not in clean("x" * 497 + " sk_0123456789abcdef")


def _cost(piece: str) -> float:
    """CPU seconds of cleaning a megabyte of it; the best of three."""
    text, costs = piece * (1_000_000 // len(piece)), []
    for _ in range(3):
        started = time.process_time()
        clean(text)
        costs.append(time.process_time() - started)
    return min(costs)


@pytest.mark.parametrize(
    "piece", ["sk_", "a", "=", "://", "eyJ.", "\x1b[", "\x1b]", " ", "token=", "1:", "\u202e", "bot1", "w.webhook.office.com", "-"]
)
def test_fast(piece: str) -> None:
    """A hostile megabyte costs a small multiple of one of plain words: nothing is quadratic."""
    assert _cost(piece) < 100 * _cost("plain words, ")


@given(st.text() | st.text(alphabet="sk_bot:=.- \x1b[]@/\ud800\u202eEA1eyJ", max_size=200))
def test_any(text: str) -> None:
    """Any text becomes one printable, encodable line without blanks around it, and cleaning twice changes nothing."""
    line = clean(text)
    assert "".join(letter for place, letter in enumerate(line) if not joins(line, place)).isprintable()
    assert line.encode().decode() == line
    assert len(line) <= 500
    assert clean(line) == line


def test_email() -> None:
    """An e-mail address keeps its first letter and its host; other texts stay."""
    assert mask_email("anna@b.example") == "a***@b.example"
    assert [mask_email(text) for text in ("@handle", "a b@c.d", "x")] == ["@handle", "a b@c.d", "x"]
