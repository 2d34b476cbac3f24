"""Who may ask the web port."""

import base64

import pytest

from monitor.web.auth import AllowedHosts, Credentials, host_of, same


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:9840", "127.0.0.1"),
        ("LOCALHOST", "localhost"),
        ("localhost.:80", "localhost"),
        ("[::1]:9840", "::1"),
        ("[::1]", "::1"),
        ("monitor.example.com", "monitor.example.com"),
        ("localhost:80@evil.example", ""),
        ("::1", ""),
        ("", ""),
    ],
)
def test_host_of(header: str, host: str) -> None:
    """The name in a `Host` header, without port, brackets and final dot."""
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("listen", "extra", "header", "served"),
    [
        ("127.0.0.1", (), "127.0.0.1:9840", True),
        ("127.0.0.1", (), "localhost", True),
        ("::1", (), "[::1]:9840", True),
        ("127.0.0.1", (), "evil.example", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1", (), "10.0.0.1", False),
        ("127.0.0.1", ("monitor.example.com",), "Monitor.Example.com:443", True),
        ("127.0.0.1", ("monitor.example.com",), "other.example.com", False),
        ("0.0.0.0", (), "anything.example", True),
        ("0.0.0.0", ("monitor.example.com",), "anything.example", False),
        ("0.0.0.0", ("monitor.example.com",), "192.0.2.7:9840", True),
        ("0.0.0.0", ("monitor.example.com",), "localhost", True),
    ],
)
def test_hosts(listen: str, extra: tuple[str, ...], header: str, served: bool) -> None:
    """On loopback only its own names and the listed ones; on an open address anything, or with a list, the list and addresses."""
    assert AllowedHosts.of(listen, extra).serve([header]) is served


@pytest.mark.parametrize("headers", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_exactly_one_host(headers: list[str]) -> None:
    """A request without a name, or with two, is not served."""
    assert AllowedHosts.of("127.0.0.1", ()).serve(headers) is False


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "user", "secret"),
    [
        ("Bearer correct-horse", None, "correct-horse"),
        ("bearer  correct-horse ", None, "correct-horse"),
        (_basic("anybody:correct-horse"), "anybody", "correct-horse"),
        (_basic("anybody:with:colons"), "anybody", "with:colons"),
        (_basic(":correct-horse"), "", "correct-horse"),
        (_basic("umlaut:\u00fc"), "umlaut", "\u00fc"),
        (_basic("correct-horse"), None, ""),
        ("Basic not base64!", None, ""),
        ("Basic /w==", None, ""),
        ("Basic \u00fc", None, ""),
        ("Bearer", None, ""),
        ("Digest correct-horse", None, ""),
        ("correct-horse", None, ""),
        ("", None, ""),
    ],
)
def test_credentials(header: str, user: str | None, secret: str) -> None:
    """A bearer token, or name and password of Basic; nothing in what is of another kind, or broken."""
    assert Credentials.of(header) == Credentials(user, secret)


@pytest.mark.parametrize(("given", "is_same"), [("abc", True), ("abd", False), ("", False), ("abcd", False), ("ab\udcff", False)])
def test_same(given: str, is_same: bool) -> None:
    """Only the same text is the same, whatever bytes the other one is made of."""
    assert same(given, "abc") is is_same
