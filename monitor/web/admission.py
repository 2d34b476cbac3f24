"""
Who is let in, by one configuration. A reload makes a new admission completely before it takes the old one's place.

Source: reliability.md F49, 4.1; RFC 9110, 7.2; RFC 6750, 2.1; RFC 7617.
"""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from monitor.config import Secret, TlsServerSettings, WebFile, WebSettings, server_context, stamp_of
from monitor.web.access import Credentials, Hosts, same
from monitor.web.passwords import Passwords


@dataclass(frozen=True, slots=True)
class Tls:
    """What new connections are encrypted with, and the state of the files it was made from."""

    settings: TlsServerSettings
    context: ssl.SSLContext
    stamp: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, settings: TlsServerSettings) -> "Tls":
        """Read from the files. Raises `SecretProblem` when they can't be used."""
        # Looked at before it is read: what changes in between is read once more.
        stamp = stamp_of(settings.files)
        return cls(settings, server_context(settings), stamp)

    def is_current(self) -> bool:
        """Whether the files are still those that were read."""
        return stamp_of(self.settings.files) == self.stamp

    def looked_at(self) -> "Tls":
        """The same, knowing that the files as they are now are of no use."""
        return replace(self, stamp=stamp_of(self.settings.files))


@dataclass(slots=True)
class Admission:
    """
    Who may ask, and what is said to everybody.

    Attributes:
        hosts: the names under which the port may be asked.
        token: opens the port; None: there is none.
        passwords: of the users; None: there are none.
        names: of which a client's certificate must hold one; empty: it need not.
        headers: of every answer, in place of ours.
        tls: None: plain HTTP.
    """

    hosts: Hosts
    token: Secret | None
    passwords: Passwords | None
    names: frozenset[str]
    headers: Mapping[str, str]
    tls: Tls | None

    @classmethod
    def of(cls, settings: WebSettings, file: WebFile) -> "Admission":
        """Everything that *settings* and the *file* of `web.config_file` ask for. Raises `SecretProblem` for files of TLS."""
        tls = file.tls_server_config
        users = {name: hashed.reveal() for name, hashed in file.basic_auth_users.items()}
        return cls(
            hosts=Hosts.of(settings.host, settings.allowed_hosts),
            token=settings.token,
            passwords=Passwords(users) if users else None,
            names=frozenset(tls.client_allowed_sans) if tls is not None else frozenset(),
            headers=file.http_server_config.headers.given(),
            tls=Tls.of(tls) if tls is not None else None,
        )

    def knows(self, certificate: Mapping[str, Any] | None) -> bool:
        """Whether a client with this certificate, as `ssl` shows it, may come in at all."""
        return not self.names or not self.names.isdisjoint(_names_in((certificate or {}).get("subjectAltName", ())))

    async def authorises(self, header: str) -> bool:
        """
        Whether an `Authorization` header opens the port. A wrong one takes the same time, whatever is wrong with it.

        Raises:
            TooManyGuesses: it was not looked at.
        """
        if self.token is None and self.passwords is None:
            return True
        given = Credentials.of(header)
        if self.token is not None and same(given.secret, self.token.reveal()):
            return True
        return self.passwords is not None and given.user is not None and await self.passwords.verify(given.user, given.secret)

    def close(self) -> None:
        """Let go of what is held; idempotent."""
        if self.passwords is not None:
            self.passwords.close()


def _names_in(names: Iterable[tuple[str, str]]) -> set[str]:
    return {name for kind, name in names if kind in ("DNS", "IP Address", "email", "URI")}
