"""Addresses: which URLs and listening addresses the configuration accepts. No message repeats an address: it may hold a secret."""

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from monitor.config.values import problem

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
_METADATA = (ipaddress.ip_address("100.100.100.200"), ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("192.0.0.192"))


def split(url: str) -> SplitResult:
    """The parts of an http or https *url*; raises a problem that does not repeat it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise problem("is not a valid URL", "such as https://example.org/path") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise problem("is not an http or https URL", "such as https://example.org/path")
    if port == 0 or (literal(parts.hostname) is None and not _HOST.fullmatch(parts.hostname)):
        raise problem("has no usable host or port", "such as https://example.org/path")
    return parts


def literal(host: str) -> Address | None:
    """The IP address *host* spells, also in the short and numeric forms that resolvers accept; None for a name."""
    try:
        address: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fA-FxX.]+", host) else None
        except OSError:
            return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by its very spelling."""
    address = literal(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def is_forbidden(host: str) -> bool:
    """Whether *host* is a link-local or cloud-metadata address by its very spelling; such receivers are never right."""
    address = literal(host)
    if address is None:
        return host.lower().rstrip(".") in _METADATA_HOSTS
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA


def check_base_url(url: str) -> str:
    """*url* without the slash at its end, if it can be the API's: https, or http on loopback, without user, query or fragment."""
    parts = split(url)
    if parts.username or parts.password:
        raise problem("must not hold a user or password", "the API key goes into accounts")
    if parts.query or parts.fragment:
        raise problem("must not have a query or fragment", "such as https://api.postpost.dev/api/v1")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise problem(
            "is not encrypted: the API key would be readable on the way", "use https:// (http:// is accepted for 127.0.0.1 and localhost)"
        )
    return url.rstrip("/")


def check_page_url(url: str) -> str:
    """*url* without the slash at its end, if a person could open it; empty stays empty."""
    if not url:
        return url
    if split(url).password:
        raise problem("must not hold a password", "it is shown to everybody who is told")
    return url.rstrip("/")


def check_receiver_url(url: str) -> str:
    """*url*, if a receiver could be there."""
    parts = split(url)
    if parts.fragment:
        raise problem("must not have a fragment", "remove '#' and what follows")
    if is_forbidden(parts.hostname or ""):
        raise problem("points to a link-local or cloud-metadata address", "receivers are never there; check the address")
    return url


def parse_listen(value: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:9840`, `[::1]:9840` or `:9840` (all addresses); port 0 lets the system choose."""
    host, colon, port = value.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or (":" in host and not value.startswith("[")):
        raise problem("is no address to listen on", 'such as "127.0.0.1:9840" or "[::1]:9840"')
    if host and literal(host) is None and not _HOST.fullmatch(host):
        raise problem("is no address to listen on", 'such as "127.0.0.1:9840" or "[::1]:9840"')
    return host or "0.0.0.0", int(port)  # noqa: S104 - the operator wrote a port without a host
