"""Matchers that can match nothing: values of closed sets that do not exist, and values of open sets that nothing known has."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product

from monitor.domain.connections import Connection
from monitor.domain.events import EventType, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.routing.rules import OF_NOTIFICATIONS, connection_facts, matches, matches_pattern
from monitor.errors import Reason

CLOSED: Mapping[str, frozenset[str]] = {
    "severity": frozenset(Severity),
    # Digests are made of what was routed already, and tests are sent to the receiver they are for.
    "type": frozenset(EventType) - {EventType.DIGEST, EventType.TEST},
    "topic": frozenset(Topic),
    "scope": frozenset(Scope),
    "why": frozenset(NotificationReason) - {NotificationReason.DIGEST},
    "reason": frozenset({*Reason, ""}),
}
"""Name of a matcher to all values that a notification can have there; empty: it can have none."""


_MEANT = {
    "broken": "failed",
    "down": "failed",
    "error": "failed",
    "ok": "recovered",
    "works": "recovered",
    "fixed": "recovered",
    "resolved": "recovered",
}
"""The last word of a type as people may write it, and as it is."""

_TOPICS = {"connection": {Topic.CONNECTION}, "token": {Topic.EXPIRY, Topic.RENEWAL}, "publishing": {Topic.PUBLISHING}}
_OF_CONNECTIONS = frozenset(Topic) - {Topic.SCOPE}
_WARNINGS = {
    EventType.CONNECTION_MISSING,
    EventType.CONNECTION_MISCONFIGURED,
    EventType.CONNECTION_STALE,
    EventType.CONNECTION_FLAPPING,
    EventType.TOKEN_RENEWAL_OVERDUE,
    EventType.PUBLISHING_FAILING,
    EventType.PERMISSIONS_LOST,
}
"""Types that have one severity."""
_ENDS = frozenset({"recovered", "closed", "renewed", "restored"})
"""The last words of the types of closed incidents."""

_SOME = "\0"
"""Stands for any value of an open set but the empty one."""
_EITHER = (_SOME, "")
_NO_SUBJECT = {"account": ("",), "user": ("",), "platform": ("",), "connection": ("",)}
_OF_ACCOUNT = _NO_SUBJECT | {"account": (_SOME,), "user": _EITHER}
_SUBJECTS: Mapping[Scope, Mapping[str, Collection[str]]] = {
    Scope.CONNECTION: {"account": (_SOME,), "user": _EITHER, "platform": (_SOME,), "connection": (_SOME,)},
    # Those about several connections are routed by each of them.
    Scope.GROUP: {"account": (_SOME,), "user": _EITHER, "platform": (_SOME,), "connection": _EITHER},
    Scope.PLATFORM: {"account": _EITHER, "user": _EITHER, "platform": (_SOME,), "connection": _EITHER},
    Scope.USER: _OF_ACCOUNT | {"user": (_SOME,)},
    Scope.ACCOUNT: _OF_ACCOUNT,
}
"""What a notification of a scope says of its subject, for matchers of open sets."""
_RELATED = ("type", "topic", "scope", "severity", "why", "account", "user", "platform", "connection")
"""The matchers of which some have no value together; those of a connection alone say nothing of each other."""


@dataclass(frozen=True, slots=True, order=True)
class UnmatchedMatcher:
    """A matcher that nothing known matches: *where* it is configured, its *name* and its *pattern*; *meant* is what to write, if known."""

    where: str
    name: str
    pattern: str
    meant: str = field(default="", compare=False)


def unknown_choices(pattern: str, known: Collection[str]) -> Iterator[str]:
    """Yield the alternatives of *pattern* that match none of the *known* values."""
    for choice in map(str.strip, pattern.split("|")):
        if not any(matches_pattern(choice, value) for value in known):
            yield choice


def meant(choice: str, known: Collection[str]) -> str | None:
    """Return the one of *known* that has the first word of *choice* and a last one that means the same; None if there is none."""
    first, dot, last = choice.lower().partition(".")
    value = f"{first}.{_MEANT.get(last)}"
    return value if dot and value in known else None


def contradictory(match: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fewest matchers of *match* that no notification fulfils together; empty if some may."""
    given = {name: match[name] for name in _RELATED if name in match}
    if any(choice for name in given.keys() & CLOSED.keys() for choice in unknown_choices(given[name], CLOSED[name])):
        return {}
    if len(given) < 2 or _is_possible(given):
        return {}
    parts = (dict(part) for size in range(2, len(given)) for part in combinations(given.items(), size))
    return next((part for part in parts if not _is_possible(part)), given)


def _is_possible(match: Mapping[str, str]) -> bool:
    return any(
        all(
            any(matches_pattern(pattern, value) or (value == _SOME and pattern) for value in values[name])
            for name, pattern in match.items()
        )
        for values in _combinations()
    )


@cache
def _combinations() -> Sequence[Mapping[str, Collection[str]]]:
    """The types, topics and scopes that occur together, each with what the other matchers may find there."""
    return [
        {
            "type": (kind,),
            "topic": (topic,),
            "scope": (scope,),
            "severity": _severities_of(kind, topic),
            "why": _whys_of(kind),
            **_SUBJECTS.get(scope, _NO_SUBJECT),
        }
        for kind in EventType
        for topic, scope in product(_topics_of(kind), _scopes_of(kind))
        if (topic is Topic.SCOPE) is (scope is not Scope.CONNECTION)
    ]


def _severities_of(kind: EventType, topic: Topic) -> Collection[Severity]:
    if kind in _WARNINGS or (topic in {Topic.PUBLISHING, Topic.PERMISSIONS, Topic.RENEWAL} and kind is EventType.REMINDER):
        return (Severity.WARNING,)
    if kind is EventType.CONNECTION_FAILED or (topic is Topic.SCOPE and kind is not EventType.INVENTORY_CHANGED):
        return (Severity.WARNING, Severity.CRITICAL)
    return tuple(Severity)


def _whys_of(kind: EventType) -> Collection[NotificationReason]:
    if kind in {EventType.CONNECTION_CLOSED, EventType.INVENTORY_CHANGED}:
        return tuple(NotificationReason)
    if kind is EventType.REMINDER:
        # What a receiver that is new gets of an open incident counts as opened.
        return (NotificationReason.REMINDER, NotificationReason.OPENED)
    if kind.value.partition(".")[2] in _ENDS:
        return (NotificationReason.CLOSED,)
    return (NotificationReason.OPENED, NotificationReason.CHANGED, NotificationReason.ESCALATED)


def _topics_of(kind: EventType) -> Collection[Topic]:
    if kind is EventType.REMINDER:
        return tuple(Topic)
    if kind is EventType.CONNECTION_CLOSED:
        return _OF_CONNECTIONS
    first = kind.value.partition(".")[0]
    return _TOPICS.get(first) or ({Topic.PERMISSIONS} if first == "permissions" else {Topic.SCOPE})


def _scopes_of(kind: EventType) -> Collection[Scope]:
    first = kind.value.partition(".")[0]
    if kind is EventType.REMINDER:
        return tuple(Scope)
    if first in {"account", "inventory"}:
        return {Scope.ACCOUNT, Scope.USER}
    return {scope for scope in Scope if scope.value == first} or {Scope.CONNECTION}


def about_connections(match: Mapping[str, str]) -> bool:
    """Whether notifications about single connections may have what *match* asks of the notification itself."""
    given = {name: match[name] for name in _RELATED if name in match and name in OF_NOTIFICATIONS}
    return any(
        all(any(matches_pattern(pattern, value) for value in values[name]) for name, pattern in given.items())
        for values in _combinations()
        if Scope.CONNECTION in values["scope"]
    )


def covers(match: Mapping[str, str], connection: Connection) -> bool:
    """Whether a silence with this *match* can match a notification about *connection*."""
    values = {**connection.labels, **connection_facts(connection)}
    of_connection = {name: pattern for name, pattern in match.items() if name not in OF_NOTIFICATIONS}
    return matches(of_connection, values) and about_connections(match)


def unmatched(matches: Iterable[tuple[str, Mapping[str, str]]], connections: Sequence[Connection]) -> tuple[UnmatchedMatcher, ...]:
    """Return the matchers of open sets that match none of *connections*; *matches*: places of the configuration with their matchers."""
    configured = [(where, name, pattern) for where, match in matches for name, pattern in match.items() if name not in CLOSED]
    values = known_values(connections) if configured else {}
    return tuple(
        UnmatchedMatcher(where, name, pattern)
        for where, name, pattern in configured
        if not any(matches_pattern(pattern, value) for value in {*values.get(name, ()), ""})
    )


def known_values(connections: Sequence[Connection]) -> dict[str, set[str]]:
    """Return the values that matchers of open sets can match, by the name of the matcher: those that *connections* have."""
    values: dict[str, set[str]] = {
        "account": {connection.account for connection in connections},
        "user": {connection.user_id for connection in connections},
        "platform": {connection.platform for connection in connections},
        "connection": {connection.platform_id for connection in connections},
    }
    for connection in connections:
        for label, value in connection.labels.items():
            values.setdefault(label, set()).add(value)
    return values
