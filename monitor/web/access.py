"""
Who asks: the name they ask for, and what they show for themselves.

A web page of a stranger can make a browser ask a loopback port under the stranger's own name (DNS rebinding); so the
name in `Host` must be one of ours. A token is taken as a bearer token, or, for browsers, as the password of Basic.

Source: reliability.md F49, 4.1; RFC 9110, 7.2; RFC 6750, 2.1; RFC 7617.
"""

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def host_of(header: str) -> str:
    """The name in a `Host` header: without its port, brackets and final dot, in lower case; empty when it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.partition(":")
    return name.rstrip(".") if port.isdigit() or not port else ""


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address to listen on, is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class Hosts:
    """
    The names under which the port may be asked.

    Attributes:
        names: those that are served; None: any.
        addresses: whether any IP address is served too: nobody else's name can turn into one.
    """

    names: frozenset[str] | None
    addresses: bool

    @classmethod
    def of(cls, listen: str, extra: Iterable[str]) -> "Hosts":
        """On loopback its own names and *extra*; elsewhere *extra* and any address, or anything without a list."""
        names = {host_of(name) for name in extra}
        open_to_all = not is_loopback(listen)
        if open_to_all and not names:
            return cls(None, addresses=True)
        return cls(frozenset({*names, *_LOOPBACK_NAMES, listen.lower()}), addresses=open_to_all)

    def serve(self, headers: Sequence[str]) -> bool:
        """Whether a request with these `Host` headers is answered."""
        if self.names is None:
            return True
        host = host_of(headers[0]) if len(headers) == 1 else ""
        return host in self.names or (self.addresses and _is_address(host))


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What an `Authorization` header carries.

    Attributes:
        user: None when it names none.
        secret: a token or a password; empty when there is none.
    """

    user: str | None = None
    secret: str = ""

    @classmethod
    def of(cls, header: str) -> "Credentials":
        """Those in *header*; nothing where it is of another kind, or broken."""
        scheme, _, rest = header.strip().partition(" ")
        given = rest.strip()
        if scheme.lower() == "bearer":
            return cls(None, given)
        if scheme.lower() != "basic":
            return cls()
        try:
            user, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return cls()
        return cls(user, password) if colon else cls()


def same(given: str, expected: str) -> bool:
    """Whether the two are the same. Takes the same time wherever they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
