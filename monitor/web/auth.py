"""
Allowed hosts, users, tokens, client certificates, bcrypt.

Source: reliability.md F49, 4.1; RFC 9110, 7.2; RFC 6750, 2.1; RFC 7617.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import bcrypt

from monitor.config import Secret, ServerTls, WebConfig, WebSettings
from monitor.http.addresses import is_loopback

COST = 10
"""bcrypt cost of the hashes that `hash_password` makes: about 50 ms each."""

TOKEN_USER = "token"
"""The author of what is done with the token."""

_MOST_PENDING = 8
_REMEMBERED = 256
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class TooManyAttempts(Exception):
    """Too many passwords are being verified; this one was not."""


class PasswordVerifier:
    """Verifies passwords, one at a time in a thread, and remembers the results."""

    def __init__(self, users: Mapping[str, str], *, most_pending: int = _MOST_PENDING) -> None:
        self._users = {name: hashed.encode() for name, hashed in users.items()}
        # An unknown name takes as long as a known one, so that the time reveals no names.
        self._dummy = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(max(int(hashed.split("$")[2]) for hashed in users.values())))
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._most_pending = most_pending
        self._pending = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords")

    async def verify(self, name: str, password: str) -> bool:
        """Whether *password* is the one of the user *name*. Raises TooManyAttempts: it was not verified; try again."""
        digest = hmac.digest(self._key, f"{len(name)}:{name}:{password}".encode(errors="surrogatepass"), hashlib.sha256)
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        if digest in self._wrong:
            return False
        if self._pending >= self._most_pending:
            raise TooManyAttempts
        self._pending += 1
        try:
            right = await asyncio.get_running_loop().run_in_executor(self._thread, self._matches, name, password)
        finally:
            self._pending -= 1
        _remember(self._right if right else self._wrong, digest)
        return right

    def close(self) -> None:
        """Verify no more passwords; idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _matches(self, name: str, password: str) -> bool:
        hashed = self._users.get(name)
        try:
            matches = bcrypt.checkpw(password.encode(), self._dummy if hashed is None else hashed)
        except ValueError:
            # Longer than the 72 bytes that bcrypt reads, or not valid text.
            return False
        return matches and hashed is not None


def hash_password(password: str, *, cost: int = COST) -> str:
    """The bcrypt hash of *password*. Raises ValueError: it is longer than the 72 bytes that bcrypt reads."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def _remember(digests: OrderedDict[bytes, None], digest: bytes) -> None:
    digests[digest] = None
    if len(digests) > _REMEMBERED:
        digests.popitem(last=False)


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """
    The hosts that a request may name.

    Attributes:
        names: allowed names; None: any.
        addresses: whether any IP address is allowed too: no foreign name can resolve to one in a browser's address bar.
    """

    names: frozenset[str] | None
    addresses: bool

    @classmethod
    def of(cls, listen: str, extra: Iterable[str]) -> "AllowedHosts":
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


def host_of(header: str) -> str:
    """The name in a `Host` header: without port, brackets and final dot, in lower case; empty when it is malformed."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    name, _, port = text.partition(":")
    return name.rstrip(".") if port.isdigit() or not port else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of an `Authorization` header."""

    user: str | None = None
    secret: str = ""

    @classmethod
    def of(cls, header: str) -> "Credentials":
        """Those in *header*; none where its scheme is another one, or it is malformed."""
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
    """Whether the two are equal. Takes the same time wherever they differ."""
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())


@dataclass(slots=True)
class Authenticator:
    """
    Decides who has access, by one configuration.

    Attributes:
        token: grants access; None: there is none.
        names: a client's certificate must hold one of these; empty: it need not.
        tls: None: plain HTTP.
    """

    hosts: AllowedHosts
    token: Secret | None
    passwords: PasswordVerifier | None
    names: frozenset[str]
    tls: ServerTls | None

    @classmethod
    def of(cls, settings: WebSettings, file: WebConfig) -> "Authenticator":
        """The authenticator of *settings* and of the *file* `web.config_file`. Raises `SecretProblem` for files of TLS."""
        tls = file.tls_server_config
        users = {name: hashed.reveal() for name, hashed in file.basic_auth_users.items()}
        return cls(
            hosts=AllowedHosts.of(settings.host, settings.allowed_hosts),
            token=settings.token,
            passwords=PasswordVerifier(users) if users else None,
            names=frozenset(tls.client_allowed_sans) if tls is not None else frozenset(),
            tls=ServerTls(tls) if tls is not None else None,
        )

    def allows_certificate(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client with this certificate, as `ssl` shows it, may have access at all."""
        return not self.names or not self.names.isdisjoint(_names_in((certificate or {}).get("subjectAltName", ())))

    @property
    def required(self) -> bool:
        """Whether requests need credentials."""
        return self.token is not None or self.passwords is not None

    async def identify(self, header: str) -> str | None:
        """
        The user that an `Authorization` header is of, `token` for the token; None: it grants no access.

        Without credentials to ask for it is nobody's, the empty name. A wrong header takes the same time, whatever is wrong with it.

        Raises:
            TooManyAttempts: its password was not verified.
        """
        if not self.required:
            return ""
        given = Credentials.of(header)
        # The name beside the token may be any: it is not the one of a user.
        if self.token is not None and same(given.secret, self.token.reveal()):
            return TOKEN_USER
        if self.passwords is None or given.user is None or not await self.passwords.verify(given.user, given.secret):
            return None
        return given.user

    def close(self) -> None:
        """Stop the thread of the passwords; idempotent."""
        if self.passwords is not None:
            self.passwords.close()


def _names_in(names: Iterable[tuple[str, str]]) -> set[str]:
    return {name for kind, name in names if kind in ("DNS", "IP Address", "email", "URI")}
