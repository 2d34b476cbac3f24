"""
The entries of `connections` and `users`, and what they make of one connection.

Every entry that matches a connection applies: first what its user gives, then the entries that match by a selector, in their
order, then the one that names it by its id. A later one takes precedence over an earlier one, key by key, and label by label.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from monitor.domain.connections import ConnectionSpec, platform_of
from monitor.domain.routing.rules import matches

Key = tuple[str, str, str]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class User:
    """A managed user as the configuration knows it: its *name*, and *labels* that its connections inherit."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectionEntry:
    """
    One entry of `connections`. What is None, or a label that is missing, is left to other entries.

    Attributes:
        place: file and line.
        match: of a selector: matchers named as in a `Route`, of `account`, `user`, `platform` and `connection`.
    """

    place: str
    match: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    interval: timedelta | None = None
    expect: str | None = None
    require_permissions: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ConnectionEntries:
    """
    All entries of a configuration.

    Attributes:
        named: those with an id, by the key of their connection.
        selectors: those with a selector, in their order.
        interval: of a connection that no entry gives one.
    """

    named: Mapping[Key, ConnectionEntry] = field(default_factory=dict)
    selectors: Sequence[ConnectionEntry] = ()
    users: Mapping[str, User] = field(default_factory=dict)
    interval: timedelta = timedelta(minutes=15)

    def applying(self, key: Key) -> list[ConnectionEntry]:
        """Return the entries that apply to the connection with this key, the one that takes precedence last."""
        entries = [entry for entry in self.selectors if matches(entry.match, matched_values(key))] if self.selectors else []
        own = self.named.get(key)
        return entries if own is None else [*entries, own]

    def spec(self, key: Key, *, listed: bool) -> ConnectionSpec:
        """Return what the entries make of the connection with this key; *listed* when the API's list has it."""
        account, user_id, platform_id = key
        entries, user = self.applying(key), self.users.get(user_id)
        labels: dict[str, str] = dict(user.labels) if user is not None else {}
        for entry in entries:
            labels |= entry.labels
        return ConnectionSpec(
            account=account,
            user_id=user_id,
            platform_id=platform_id,
            platform=platform_of(platform_id),
            name=_last(entry.name for entry in entries),
            labels=labels,
            interval=_last(entry.interval for entry in entries) or self.interval,
            expect=_last(entry.expect for entry in entries) or "auto",
            require_permissions=_last(entry.require_permissions for entry in entries) or (),
            listed=listed,
            user_name=user.name if user is not None else None,
        )


def matched_values(key: Key) -> dict[str, str]:
    """Return the values of a connection that a selector can match."""
    account, user_id, platform_id = key
    return {"account": account, "user": user_id, "platform": platform_of(platform_id), "connection": platform_id}


def _last(values: Iterable[_T | None]) -> _T | None:
    given = [value for value in values if value is not None]
    return given[-1] if given else None
