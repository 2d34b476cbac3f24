"""`ScopeKey(kind, account, user)`; the scopes above a connection."""

from dataclasses import dataclass
from functools import lru_cache

from monitor.domain.connections import Connection

STORAGE = "storage"


@dataclass(frozen=True, slots=True)
class ScopeNames:
    """The names of the scopes above one connection, *every* one of them once more; `user` is empty for the account owner's own."""

    api: str
    account: str
    user: str
    service: str
    rate: str
    platform: str
    every: tuple[str, ...]

    def all(self) -> tuple[str, ...]:
        """Every name, widest cause first: the order in which one explains the others."""
        return self.every


def scopes_of(connection: Connection, api_host: str) -> ScopeNames:
    """The names of the scopes above *connection*, whose API lives at *api_host*."""
    return _names(api_host, connection.account, connection.user_id, connection.platform)


# A check asks for them many times, and connections by the thousand share them.
@lru_cache(maxsize=4096)
def _names(api_host: str, account_name: str, user_id: str, platform_name: str) -> ScopeNames:
    api, account = f"api:{api_host}", f"account:{account_name}"
    user = f"user:{account_name}/{user_id}" if user_id else ""
    service, rate, platform = f"service:{account_name}", f"rate:{account_name}", f"platform:{platform_name}"
    every = tuple(name for name in (STORAGE, account, user, api, service, rate, platform) if name)
    return ScopeNames(api, account, user, service, rate, platform, every)


ACCOUNT_KINDS = frozenset({"account", "user", "rate", "service", "list"})
"""What subjects begin with that name an account, and after a slash perhaps a managed user of it."""


SPLIT = "told_singly"
"""The trouble lasts: from now on each connection is told by itself."""
