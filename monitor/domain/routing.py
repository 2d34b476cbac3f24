"""Who is told: the first route that matches a notification names its receivers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from monitor.domain.connections import Connection
from monitor.domain.events import Notification, NotificationReason
from monitor.domain.scopes.key import ACCOUNT_KINDS

RESERVED = frozenset({"severity", "type", "topic", "scope", "reason", "why", "account", "user", "platform", "connection"})


@dataclass(frozen=True, slots=True)
class Route:
    """
    One line of the routing table.

    Attributes:
        match: what a notification must be, all of it: a name of `RESERVED` or of a connection's label to a pattern.
            A pattern is a text, or several separated by `|`, each of which may end in `*`. Empty matches everything.
        receivers: the names of those who are told.
    """

    match: Mapping[str, str]
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceiverRule:
    """What routing needs to know of a receiver: its name, and whether it wants to hear that an incident ended."""

    name: str
    send_resolved: bool = True


def receivers_for(
    notification: Notification,
    connection: Connection | None,
    routes: Sequence[Route],
    receivers: Sequence[ReceiverRule],
    *,
    told: Collection[str] = (),
) -> tuple[str, ...]:
    """
    The names of the receivers that *notification* goes to, in configured order.

    Without routes that is everybody; with routes that do not match, nobody. Whoever was *told* of this incident before
    also hears how it goes on, and with the end of an incident exactly they do: its level and reason are no longer those
    that the routes matched when it began. Where *told* is not known, the routes decide alone.
    """
    closing = notification.why is NotificationReason.CLOSED
    chosen = set(told)
    if not (closing and told):
        chosen |= _routed(notification, connection, routes, receivers)
    return tuple(receiver.name for receiver in receivers if receiver.name in chosen and (receiver.send_resolved or not closing))


def _routed(
    notification: Notification, connection: Connection | None, routes: Sequence[Route], receivers: Sequence[ReceiverRule]
) -> set[str]:
    if not routes:
        return {receiver.name for receiver in receivers}
    known = facts(notification, connection)
    for route in routes:
        if matches(route.match, known):
            return set(route.receivers)
    return set()


def matches(match: Mapping[str, str], known: Mapping[str, str]) -> bool:
    """Whether everything that *match* asks for (see `Route`) holds for these facts; what is not known is an empty text."""
    return all(_fits(pattern, known.get(name, "")) for name, pattern in match.items())


def _fits(pattern: str, value: str) -> bool:
    for choice in pattern.split("|"):
        wanted = choice.strip()
        if wanted == value or (wanted.endswith("*") and value.startswith(wanted[:-1])):
            return True
    return False


def facts(notification: Notification, connection: Connection | None) -> dict[str, str]:
    """What can be matched on. Labels come first, so that none of them can pose as a reserved name."""
    known = dict(connection.labels) if connection else {}
    known |= {
        "severity": notification.severity.value,
        "type": notification.type.value,
        "topic": notification.incident.topic.value,
        "scope": notification.scope.value,
        "reason": notification.reason.value if notification.reason else "",
        "why": notification.why.value,
        "account": connection.account if connection else "",
        "user": connection.user_id if connection else "",
        "platform": connection.platform if connection else "",
        "connection": connection.platform_id if connection else "",
    }
    if connection is None:
        known |= scope_facts(notification.incident.subject)
    return known


def scope_facts(subject: str) -> dict[str, str]:
    """Which account, managed user or platform the subject of a wider incident names."""
    kind, _, name = subject.partition(":")
    if kind in ACCOUNT_KINDS:
        account, _, user = name.partition("/")
        return {"account": account, "user": user}
    return {"platform": name} if kind == "platform" else {}
