"""Who may ask the web port."""

import base64

import pytest

from monitor.web.access import Hosts, host_of, is_authorised


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
    assert Hosts.of(listen, extra).serve([header]) is served


@pytest.mark.parametrize("headers", [[], ["localhost", "localhost"], ["localhost", "evil.example"]])
def test_exactly_one_host(headers: list[str]) -> None:
    """A request without a name, or with two, is not served."""
    assert Hosts.of("127.0.0.1", ()).serve(headers) is False


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("header", "authorised"),
    [
        ("Bearer correct-horse", True),
        ("bearer  correct-horse ", True),
        (_basic("anybody:correct-horse"), True),
        (_basic(":correct-horse"), True),
        (_basic("correct-horse"), False),
        (_basic("anybody:wrong"), False),
        ("Basic not base64!", False),
        ("Basic /w==", False),
        ("Bearer wrong", False),
        ("Bearer", False),
        ("Digest correct-horse", False),
        ("correct-horse", False),
        ("", False),
        ("Bearer \udcff", False),
    ],
)
def test_token(header: str, authorised: bool) -> None:
    """The token is taken as a bearer token, or from browsers as the password of any user; nothing else will do."""
    assert is_authorised(header, "correct-horse") is authorised
