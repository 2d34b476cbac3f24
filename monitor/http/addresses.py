"""Loopback, private, link-local and metadata addresses: the one list."""

import ipaddress
import re
import socket

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# Link-local, multicast and reserved networks, and metadata services of clouds outside of them.
_NEVER = _networks(
    "0.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "168.63.129.16/32",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
)
# Not public, although the standard library calls some of them global.
_PRIVATE = _networks("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "fec0::/10", "64:ff9b:1::/48")
_NAT64 = _networks("64:ff9b::/96", "64:ff9b:1::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def is_refused(host: str, *, deny_private: bool = False) -> bool:
    """
    Return whether *host*, an IP address from a resolver, must not be connected to.

    Link-local and cloud-metadata addresses are refused always, all but public ones with *deny_private*. An IPv4 address inside
    an IPv6 one (mapped, compatible, NAT64, 6to4, Teredo) is judged too. Anything but an address is refused.

    Source: reliability F47.
    """
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return _is_bad(address.ipv4_mapped, deny_private=deny_private)
    return any(_is_bad(target, deny_private=deny_private) for target in (address, *_embedded(address)))


def _is_bad(address: Address, *, deny_private: bool) -> bool:
    if any(address in network for network in _NEVER):
        return True
    return deny_private and (not address.is_global or any(address in network for network in _PRIVATE))


def _embedded(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses inside an IPv6 *address*."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    if address in _COMPATIBLE and int(address) > 1:
        return (ipaddress.IPv4Address(int(address)),)
    if any(address in network for network in _NAT64):
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    return address.teredo if address.teredo is not None else ()


_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})


def literal(host: str) -> Address | None:
    """Return the IP address that *host* spells, also in the short and numeric forms that resolvers accept; None for a name."""
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
    """Return whether *host* is this machine by its spelling."""
    address = literal(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def is_forbidden(host: str) -> bool:
    """Return whether *host* is by its spelling an address or a name that is never connected to."""
    address = literal(host)
    return host.lower().rstrip(".") in _METADATA_HOSTS if address is None else is_refused(str(address))
