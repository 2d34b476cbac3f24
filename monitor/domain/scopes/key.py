"""`ScopeKey` identifies a scope; the scopes above a connection."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from monitor.domain.connections import Connection

API = "api"
ACCOUNT = "account"
USER = "user"
SERVICE = "service"
RATE = "rate"
PLATFORM = "platform"
GROUP = "group"
LIMIT = "limit"
LIST = "list"

ACCOUNT_KINDS = frozenset({ACCOUNT, USER, RATE, SERVICE, GROUP, LIST})
"""The kinds whose name is an account."""

API_KINDS = frozenset({API, LIMIT})
"""The kinds whose name is the API's host."""


class ScopeKey(NamedTuple):
    """
    Identifies a scope.

    Attributes:
        kind: the kind of scope; `rate`: the API throttles one account; `limit`: it throttles all of them; `service`: it does not serve one
            account; `user` without a user are all of an account; `group` are the connections of one user and platform.
        name: the API's host, the account or the platform; empty for the database.
        user: the managed user, or empty.
        group_platform: of a group: its platform; else empty.
    """

    kind: str
    name: str = ""
    user: str = ""
    group_platform: str = ""

    def __str__(self) -> str:
        """As rows and JSON spell it, such as `api:api.postpost.dev`, `user:main/0123`, `group:main/facebook` or `storage`."""
        return f"{self.kind}:{self.path}" if self.name else self.kind

    @classmethod
    def parse(cls, text: str) -> "ScopeKey":
        """The key that *text*, a scope's or an incident's subject in rows and JSON, stands for."""
        kind, _, name = text.partition(":")
        if kind not in ACCOUNT_KINDS:
            return cls(kind, name)
        account, _, user = name.partition("/")
        if kind != GROUP:
            return cls(kind, account, user)
        user, _, platform = user.rpartition("/")
        return cls(kind, account, user, platform)

    @property
    def path(self) -> str:
        """Its names without the kind, such as `main/0123`; empty for the database."""
        return "/".join(part for part in self[1:] if part)

    @property
    def account(self) -> str:
        """The account it belongs to; empty for scopes wider than an account."""
        return self.name if self.kind in ACCOUNT_KINDS else ""

    @property
    def platform(self) -> str:
        """The platform of its connections; empty where they are of several."""
        return self.name if self.kind == PLATFORM else self.group_platform


STORAGE = ScopeKey("storage")


@dataclass(frozen=True, slots=True)
class ScopesAbove:
    """The scopes above one connection, and *all* of them, the widest cause first; *user* is None for the owner's own."""

    api: ScopeKey
    account: ScopeKey
    user: ScopeKey | None
    service: ScopeKey
    rate: ScopeKey
    platform: ScopeKey
    group: ScopeKey
    all: Sequence[ScopeKey]


def scopes_above(connection: Connection, api_host: str) -> ScopesAbove:
    """The scopes above *connection*, whose API is at *api_host*."""
    return _above(api_host, connection.account, connection.user_id, connection.platform)


def account_scopes(account: str, user_id: str, api_host: str) -> Sequence[ScopeKey]:
    """The scopes that a request of *account* for *user_id* ("" for its owner) says something about, if it is about no connection."""
    above = _above(api_host, account, user_id, "")
    return [key for key in above.all if key not in (STORAGE, above.platform, above.group)]


# A check needs them many times, and connections by the thousand share them.
@lru_cache(maxsize=4096)
def _above(api_host: str, account_name: str, user_id: str, platform_name: str) -> ScopesAbove:
    api, account = ScopeKey(API, api_host), ScopeKey(ACCOUNT, account_name)
    user = ScopeKey(USER, account_name, user_id) if user_id else None
    service, rate, platform = ScopeKey(SERVICE, account_name), ScopeKey(RATE, account_name), ScopeKey(PLATFORM, platform_name)
    group = ScopeKey(GROUP, account_name, user_id, platform_name)
    every = tuple(key for key in (STORAGE, account, user, api, service, rate, platform, group) if key is not None)
    return ScopesAbove(api, account, user, service, rate, platform, group, every)
