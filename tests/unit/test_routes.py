"""Routes: who is told."""

import pytest

from monitor.domain.events import EventType, IncidentRef, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.routes import Route
from monitor.domain.routing.rules import ReceiverRule, receivers_for
from tests.builders import START, a_connection, a_notification

BOTH = (ReceiverRule("on-call"), ReceiverRule("chat"))
CRITICAL = Route({"severity": "critical"}, ("on-call",))


def test_no_routes() -> None:
    """Without routes everything goes to every receiver, in configured order."""
    assert receivers_for(a_notification(), a_connection(), (), BOTH) == ("on-call", "chat")


def test_first_match_wins() -> None:
    """The first route that fits decides alone; one without conditions fits everything."""
    routes = (CRITICAL, Route({}, ("chat",)))
    assert receivers_for(a_notification(), a_connection(), routes, BOTH) == ("on-call",)
    assert receivers_for(a_notification(severity=Severity.INFO), a_connection(), routes, BOTH) == ("chat",)


def test_nothing_matches() -> None:
    """Where no route fits, nobody is told."""
    assert receivers_for(a_notification(severity=Severity.INFO), a_connection(), (CRITICAL,), BOTH) == ()


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"type": "connection.failed"}, True),
        ({"type": "connection.*"}, True),
        ({"type": "token.*"}, False),
        ({"type": "token.*|connection.*"}, True),
        ({"severity": "warning | critical"}, True),
        ({"topic": "connection", "scope": "connection", "why": "opened"}, True),
        ({"reason": "credential_rejected"}, True),
        ({"account": "main", "platform": "linkedin", "connection": "linkedin-page1"}, True),
        ({"account": "main", "platform": "twitter"}, False),
        ({"user": ""}, True),
        ({"team": "social"}, True),
        ({"team": "soc"}, False),
        ({"team": "*"}, True),
        ({"nosuchlabel": "x"}, False),
    ],
)
def test_conditions(match: dict[str, str], *, fits: bool) -> None:
    """A route fits when all its conditions do: names of the notification, of the connection, and its labels."""
    connection = a_connection(labels={"team": "social", "severity": "harmless"})
    assert receivers_for(a_notification(), connection, (Route(match, ("chat",)),), BOTH) == (("chat",) if fits else ())


def test_label_cannot_pose() -> None:
    """A label called like a reserved name does not hide the notification's own."""
    connection = a_connection(labels={"severity": "info"})
    assert receivers_for(a_notification(), connection, (CRITICAL,), BOTH) == ("on-call",)


def test_scope_incident() -> None:
    """An account's or a platform's trouble can be routed by its name although it is about no single connection."""
    incident = IncidentRef(Topic.SCOPE, "platform:linkedin", 1, START)
    notification = a_notification(type=EventType.PLATFORM_FAILED, incident=incident, scope=Scope.PLATFORM, connection_id=None)
    assert receivers_for(notification, None, (Route({"platform": "linkedin"}, ("chat",)),), BOTH) == ("chat",)


def test_end_of_an_incident() -> None:
    """Exactly those hear of an incident's end who were told of it, whatever the routes say by now."""
    closing = a_notification(type=EventType.CONNECTION_RECOVERED, why=NotificationReason.CLOSED, severity=Severity.CRITICAL)
    assert receivers_for(closing, a_connection(), (CRITICAL,), BOTH, notified=("chat",)) == ("chat",)
    assert receivers_for(closing, a_connection(), (CRITICAL,), BOTH, notified=("removed-receiver",)) == ()
    assert receivers_for(closing, a_connection(), (CRITICAL,), BOTH) == ("on-call",)


def test_incident_that_goes_on() -> None:
    """Whoever heard of an incident hears how it changes, together with those whom the routes add."""
    changed = a_notification(why=NotificationReason.CHANGED)
    assert receivers_for(changed, a_connection(), (CRITICAL,), BOTH, notified=("chat",)) == ("on-call", "chat")


def test_said_in_another_message() -> None:
    """The end of an incident that a recovery includes goes to what keeps incidents, and to chats that did not get the recovery."""
    rules = (ReceiverRule("pager"), ReceiverRule("chat", keeps_incidents=False), ReceiverRule("team", keeps_incidents=False))
    closing = a_notification(type=EventType.TOKEN_RENEWED, why=NotificationReason.CLOSED)
    for notified in (None, ("pager", "chat", "team")):
        assert receivers_for(closing, a_connection(), (), rules, notified=notified, informed=("pager", "chat")) == ("pager", "team")
    assert receivers_for(closing, a_connection(), (), rules, notified=(), informed=("pager", "chat")) == ()


def test_send_resolved() -> None:
    """A receiver that does not want recoveries gets everything else."""
    rules = (ReceiverRule("on-call", send_resolved=False), ReceiverRule("chat"))
    closing = a_notification(type=EventType.CONNECTION_RECOVERED, why=NotificationReason.CLOSED)
    assert receivers_for(closing, a_connection(), (), rules) == ("chat",)
    assert receivers_for(a_notification(), a_connection(), (), rules) == ("on-call", "chat")
