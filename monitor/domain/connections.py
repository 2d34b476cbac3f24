"""
`Connection`, platform ids, find one by id.

The account part is case-sensitive and may itself hold dashes and colons (`telegram--100123`,
`bluesky-did:plc:abc`), so only the first dash divides.

Source: api-contract.md 4.1; reliability.md F48.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

from monitor.domain.copies import quick_init

ID_LIMIT = 256

IDS_KEPT = 4096
"""For so many ids it is remembered whether and how they stand in a request path."""

SHORT_LIVED = frozenset({"tiktok", "youtube"})
"""Platforms whose dates and texts about the token are those of a short-lived one, which the API renews by itself before every post."""

# RFC 3986: what a path segment may hold, without percent escapes (no documented id has one).
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*-[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_ESCAPED = re.compile(r"[^A-Za-z0-9._~:-]")
_MTPROTO = re.compile(r"telegram-[0-9]+", re.IGNORECASE)
_USER_ID = re.compile(r"[0-9a-fA-F]{24}")


def platform_of(platform_id: str) -> str:
    """The platform of an id: the text before its first dash, lower case."""
    return platform_id.partition("-")[0].lower()


@lru_cache(maxsize=IDS_KEPT)
def id_problem(platform_id: str) -> str | None:
    """Why *platform_id* cannot stand in a request path, as the end of a sentence; None when it can."""
    if len(platform_id) > ID_LIMIT:
        return f"longer than {ID_LIMIT} characters"
    if "-" not in platform_id:
        return "has no dash: an id is <platform>-<account>, copied from the list of connections"
    if ".." in platform_id:
        return "contains '..'"
    if not _ID.fullmatch(platform_id):
        return "is not <platform>-<account> made of letters, digits and . _ ~ : @ -"
    return None


@lru_cache(maxsize=IDS_KEPT)
def path_segment(platform_id: str) -> str:
    """The id as one percent-encoded path segment. Raises ValueError: the id has a problem, see `id_problem`."""
    problem = id_problem(platform_id)
    if problem is not None:
        raise ValueError(f"platform id {problem}")
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", platform_id)


def same_id(first: str, second: str) -> bool:
    """Whether two ids name the same connection: the platform's case is free, the account part's is not."""
    if first == second:
        return True
    platform, dash, account = first.partition("-")
    other_platform, other_dash, other_account = second.partition("-")
    return (platform.casefold(), dash, account) == (other_platform.casefold(), other_dash, other_account)


def is_mtproto(platform_id: str) -> bool:
    """Whether the id has the form of a Telegram user session (bots have two dashes)."""
    return _MTPROTO.fullmatch(platform_id) is not None


def user_id_problem(user_id: str) -> str | None:
    """Why *user_id* is not a managed user's id (24 hexadecimal digits), as the end of a sentence; None when it is."""
    return None if _USER_ID.fullmatch(user_id) else "is not 24 hexadecimal digits"


@quick_init
@dataclass(frozen=True, slots=True)
class ConnectionSpec:
    """
    What identifies a connection, and how it shall be monitored.

    Attributes:
        user_id: the managed user, or "" for the account's owner.
        expect: `auto`, `ok` or `unsupported`.
        user_name: what the configuration calls the managed user.
    """

    account: str
    user_id: str
    platform_id: str
    platform: str
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: timedelta = timedelta(minutes=15)
    expect: str = "auto"
    require_permissions: tuple[str, ...] = ()
    listed: bool = False
    user_name: str | None = None

    @property
    def account_label(self) -> str:
        """The account as people see it: with the name or id of the managed user, so that equal ids stay apart."""
        return f"{self.account}/{self.user_name or self.user_id}" if self.user_id else self.account

    @property
    def key(self) -> tuple[str, str, str]:
        """What identifies a connection outside this database: account, managed user ("" for the owner), platform id."""
        return (self.account, self.user_id, self.platform_id)


@quick_init
@dataclass(frozen=True, slots=True)
class Connection:
    """One social account linked at the API, within one account (API key) and managed user; *id* numbers it in the database."""

    id: int
    spec: ConnectionSpec

    @property
    def account(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.account

    @property
    def user_id(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.user_id

    @property
    def platform_id(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.platform_id

    @property
    def platform(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.platform

    @property
    def name(self) -> str | None:
        """See `ConnectionSpec`."""
        return self.spec.name

    @property
    def labels(self) -> Mapping[str, str]:
        """See `ConnectionSpec`."""
        return self.spec.labels

    @property
    def interval(self) -> timedelta:
        """See `ConnectionSpec`."""
        return self.spec.interval

    @property
    def expect(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.expect

    @property
    def require_permissions(self) -> tuple[str, ...]:
        """See `ConnectionSpec`."""
        return self.spec.require_permissions

    @property
    def listed(self) -> bool:
        """See `ConnectionSpec`."""
        return self.spec.listed

    @property
    def user_name(self) -> str | None:
        """See `ConnectionSpec`."""
        return self.spec.user_name

    @property
    def account_label(self) -> str:
        """See `ConnectionSpec`."""
        return self.spec.account_label

    @property
    def key(self) -> tuple[str, str, str]:
        """See `ConnectionSpec`."""
        return self.spec.key


def matching(connections: Iterable[Connection], platform_id: str, account: str | None) -> list[Connection]:
    """Those of *connections* with this id; *account* is a name, a user's name or id, or both as `name/user`."""
    with_id = [connection for connection in connections if connection.platform_id == platform_id]
    if account is None:
        return with_id
    exact = [
        connection
        for connection in with_id
        if account
        in (connection.account_label, f"{connection.account}/{connection.user_id}", connection.user_name, connection.user_id or None)
    ]
    return exact or [connection for connection in with_id if connection.account == account]
