"""Matchers that can match nothing: values of closed sets that do not exist, and values of open sets that nothing known has."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from monitor.domain.connections import Connection
from monitor.domain.events import EventType, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.routing.rules import matches_pattern
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
    """Return the matchers of *match* that no notification fulfils together; empty if some may."""
    possible = [
        one
        for kind in EventType
        for one in product((kind.value,), _topics_of(kind), Scope)
        if one[2] in _scopes_of(kind) and (one[1] is Topic.SCOPE) is (one[2] is not Scope.CONNECTION)
    ]
    given = {name: (place, match[name]) for place, name in enumerate(("type", "topic", "scope")) if name in match}
    if len(given) < 2 or any(choice for name, (_, pattern) in given.items() for choice in unknown_choices(pattern, CLOSED[name])):
        return {}
    if any(all(matches_pattern(pattern, one[place]) for place, pattern in given.values()) for one in possible):
        return {}
    return {name: pattern for name, (_, pattern) in given.items()}


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


def unmatched(matches: Iterable[tuple[str, Mapping[str, str]]], connections: Sequence[Connection]) -> tuple[UnmatchedMatcher, ...]:
    """
    Return the matchers of open sets that match none of *connections*.

    *matches* are the places of the configuration that match, each with its matchers. An empty pattern is for notifications that
    are about no such thing, so it is never unmatched.
    """
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
