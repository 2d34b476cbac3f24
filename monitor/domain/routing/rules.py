"""Routes: the first one that matches a notification names its receivers."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.events import Notification, NotificationReason, Severity
from monitor.domain.routes import Route
from monitor.domain.scopes.key import ScopeKey

UserLabels = Mapping[str, Mapping[str, str]]
"""The labels of managed users, by id: an incident of a user has them, as its connections do."""

NO_LABELS: UserLabels = {}

RESERVED = frozenset({"severity", "type", "topic", "scope", "reason", "why", "account", "user", "platform", "connection"})

OF_NOTIFICATIONS = RESERVED - {"account", "user", "platform", "connection"}
"""Names of matchers that say nothing of a connection."""


@dataclass(frozen=True, slots=True)
class ReceiverRule:
    """
    A receiver as routing sees it.

    Attributes:
        send_resolved: whether it gets notifications of closed incidents.
        keeps_incidents: whether it opens and closes incidents; people read a chat, where one message is enough for two that end together.
    """

    name: str
    send_resolved: bool = True
    keeps_incidents: bool = True


def receivers_for(
    notification: Notification,
    connection: Connection | None,
    routes: Sequence[Route],
    receivers: Sequence[ReceiverRule],
    *,
    notified: Collection[str] | None = None,
    members: Sequence[Connection] = (),
    user_labels: UserLabels = NO_LABELS,
    informed: Collection[str] = (),
) -> tuple[str, ...]:
    """
    Return the names of the receivers of *notification*, in configured order.

    Without routes these are all; when no route matches, none. The receivers *notified* of this incident before also get what
    follows. The close of an incident goes to exactly them, because its level and reason are no longer those that the routes
    matched when it opened; when they are not known (None), the routes decide alone. A notification about several connections, *members*, goes
    to whoever gets it by one of them: their labels are not in it. An escalation goes to the receivers that it names;
    a reminder names those that have just got one, and passes them over unless the routes name them.
    Chats that another notification has *informed* of the same do not get it.
    """
    closing = notification.why is NotificationReason.CLOSED
    if notification.why is NotificationReason.ESCALATED:
        chosen = set(notification.facts.escalated_to)
    elif closing and notified is not None:
        chosen = set(notified)
    else:
        taking = routes_of(notification, members or (connection,), routes, user_labels)
        passed = notification.facts.escalated_to if notification.why is NotificationReason.REMINDER else ()
        chosen = _named_by(taking, routes, receivers).union(set(notified or ()).difference(passed))
    chosen -= {receiver.name for receiver in receivers if receiver.name in informed and not receiver.keeps_incidents}
    return _in_order(chosen, receivers, closing=closing)


def receivers_by(values: Mapping[str, str], routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> tuple[str, ...]:
    """Return the names of the receivers of a first notification with these *values*, as `receivers_for` does."""
    first = first_match(values, routes)
    chosen = _named_by(() if first is None else (first,), routes, receivers)
    return _in_order(chosen, receivers, closing=values["why"] == NotificationReason.CLOSED)


def _named_by(taking: Sequence[Route], routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> set[str]:
    return {name for route in taking for name in route.receivers} if routes else {receiver.name for receiver in receivers}


def _in_order(chosen: Collection[str], receivers: Sequence[ReceiverRule], *, closing: bool) -> tuple[str, ...]:
    return tuple(receiver.name for receiver in receivers if receiver.name in chosen and (receiver.send_resolved or not closing))


def first_match(values: Mapping[str, str], routes: Sequence[Route]) -> Route | None:
    """Return the route that takes a notification with these *values*: the first one that matches."""
    return next((route for route in routes if matches(route.match, values)), None)


def is_unrouted(
    notification: Notification,
    connection: Connection | None,
    routes: Sequence[Route],
    members: Sequence[Connection] = (),
    user_labels: UserLabels = NO_LABELS,
) -> bool:
    """Whether there are routes and none matches; a route without receivers that matches drops a notification on purpose."""
    subjects = members or (connection,)
    return bool(routes) and not any(
        matches(route.match, facts(notification, subject, user_labels)) for subject in subjects for route in routes
    )


def takes_everything(matches_of_routes: Sequence[Mapping[str, str]]) -> bool:
    """Whether routes with these matchers take every notification: one has none, or those that have only a severity name all of them."""
    severities = {
        severity
        for match in matches_of_routes
        if all(pattern == "*" for name, pattern in match.items() if name != "severity")
        for severity in Severity
        if matches_pattern(match.get("severity", "*"), severity.value)
    }
    return severities == set(Severity)


def of_any(severity: Severity, routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> frozenset[str]:
    """Return the names of the receivers of a notification of this *severity* of which nothing else is known."""
    for route in routes:
        if not route.match.keys() - {"severity"} and matches_pattern(route.match.get("severity", "*"), severity.value) and route.receivers:
            return frozenset(route.receivers)
    return may_get(severity, routes, receivers)


def may_get(severity: Severity, routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> frozenset[str]:
    """Return the names of the receivers that some notification of this *severity* can be routed to."""
    if not routes:
        return frozenset(receiver.name for receiver in receivers)
    names: set[str] = set()
    for route in routes:
        if matches_pattern(route.match.get("severity", "*"), severity.value):
            names.update(route.receivers)
            if not route.match.keys() - {"severity"}:
                break
    return frozenset(names)


def routes_of(
    notification: Notification, subjects: Sequence[Connection | None], routes: Sequence[Route], user_labels: UserLabels = NO_LABELS
) -> tuple[Route, ...]:
    """Return the routes that take *notification*: for each of the *subjects* that it is about the first one that matches."""
    first = (first_match(facts(notification, subject, user_labels), routes) for subject in subjects)
    found = {route.key: route for route in first if route is not None}
    return tuple(found.values())


def quiet_until(routes: Sequence[Route], severity: Severity, now: datetime) -> tuple[Route, datetime] | None:
    """Return the first of *routes* whose quiet hours end, and when; None when one of them may notify now."""
    first: tuple[Route, datetime] | None = None
    for route in routes:
        quiet = route.quiet_hours
        end = quiet.when.ends_at(now) if quiet is not None and severity.value in quiet.severities else None
        if end is None:
            return None
        if first is None or end < first[1]:
            first = (route, end)
    return first


def matches(match: Mapping[str, str], values: Mapping[str, str]) -> bool:
    """Whether all matchers of *match* (see `Route`) match *values*; a missing value is an empty text."""
    return mismatch(match, values) is None


def mismatch(match: Mapping[str, str], values: Mapping[str, str]) -> str | None:
    """Return the name of the first matcher of *match* that does not match *values*; None when all do."""
    return next((name for name, pattern in match.items() if not matches_pattern(pattern, values.get(name, ""))), None)


def matches_pattern(pattern: str, value: str) -> bool:
    """Whether *value* is one of the alternatives of *pattern*, see `Route`."""
    for choice in pattern.split("|"):
        text = choice.strip()
        if text == value or (text.endswith("*") and value.startswith(text[:-1])):
            return True
    return False


def facts(notification: Notification, connection: Connection | None, user_labels: UserLabels = NO_LABELS) -> dict[str, str]:
    """Return the values that matchers apply to. Labels come first, so that none can replace a reserved name."""
    values = dict(connection.labels) if connection else {}
    values |= {
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
        values = scope_labels(notification.incident.subject, user_labels) | values | scope_facts(notification.incident.subject)
    return values


def scope_labels(subject: str, user_labels: UserLabels) -> dict[str, str]:
    """Return the labels of the managed user in the *subject* of a scope incident."""
    return dict(user_labels.get(ScopeKey.parse(subject).user, {}))


def scope_facts(subject: str) -> dict[str, str]:
    """Return the account, managed user or platform in the *subject* of a scope incident."""
    key = ScopeKey.parse(subject)
    return {"account": key.account, "user": key.user, "platform": key.platform}


def connection_facts(connection: Connection) -> dict[str, str]:
    """What says which connection it is, for matchers."""
    return {
        "account": connection.account,
        "user": connection.user_id,
        "platform": connection.platform,
        "connection": connection.platform_id,
    }
