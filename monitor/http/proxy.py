"""The address of an HTTP proxy, as the configuration has it."""

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy. Its `repr` shows no credentials. *credentials*: the value of `Proxy-Authorization`; empty without one."""

    host: str
    port: int
    credentials: bytes = field(default=b"", repr=False)


def proxy_of(url: str) -> Proxy:
    """
    Return the proxy at *url*, such as `http://user:password@proxy.example.org:3128`.

    Raises:
        ValueError: *url* is none; its text shows nothing of it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme != "http" or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("is not the URL of an HTTP proxy")
    credentials = b""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = b"Basic " + base64.b64encode(pair.encode())
    return Proxy(host, port or 80, credentials)
