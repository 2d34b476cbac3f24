"""Losses of permissions that an operator accepts, as stories."""

from datetime import datetime

from monitor.domain.events import FINE, Topic
from monitor.domain.silencing.acceptance import Acceptance
from monitor.domain.silencing.controls import Controls
from monitor.errors import Reason
from monitor.text.explain import explain
from monitor.text.report import ConnectionReport
from monitor.text.sentences import sentence
from tests.builders import MINUTE, a_reply, changed
from tests.story import Story

OK, BAD = Reason.OK, Reason.CREDENTIAL_REJECTED
LOST, RESTORED = "permissions.lost", "permissions.restored"


def checked(story: Story, *permissions: str) -> None:
    """Three passed checks that report these permissions."""
    for _ in range(3):
        story.check(OK, reply=a_reply(permissions=permissions))
        story.pass_time(MINUTE)


def accepted(*permissions: str, at: datetime) -> Acceptance:
    return Acceptance(1, permissions, at, "anna", "posts by the agency")


def accept(story: Story, *permissions: str) -> Acceptance:
    """The operator accepts the loss, and the daemon evaluates; no check is needed."""
    acceptance = accepted(*permissions, at=story.now)
    story.ask(accepted=(acceptance,))
    story.review()
    return acceptance


def lost_b() -> Story:
    story = Story()
    checked(story, "a", "b", "c")
    checked(story, "a", "c")
    assert story.types == [LOST]
    return story


def test_accepted() -> None:
    """The incident closes at once, in plain words; the permission is not required any more, also after a restart."""
    story = lost_b()
    acceptance = accept(story, "b")
    assert story.types == [LOST, RESTORED]
    assert story.transitions[-1].closed_why == "accepted"
    text = sentence(story.notifications[-1], story.connections[1])
    assert "are no longer required: an operator accepted the loss." in text
    assert (story.state().permissions, story.state().permissions_missing) == (("a", "c"), ())
    story.restart()
    story.ask(accepted=(acceptance,))
    checked(story, "a", "c")
    story.ask()
    checked(story, "a", "c")
    assert story.types == [LOST, RESTORED]


def test_lost_once_more() -> None:
    """Another permission that is lost later is told; one that comes back is learned again, and its second loss is told."""
    story = lost_b()
    accept(story, "b")
    checked(story, "a")
    assert story.notifications[-1].facts.permissions_lost == ("c",)
    checked(story, "a", "b", "c")
    assert story.transitions[-1].closed_why == "recovered"
    checked(story, "a", "c")
    assert story.types == [LOST, RESTORED, LOST, RESTORED, LOST]
    assert story.notifications[-1].facts.permissions_lost == ("b",)


def test_back_before_it_is_taken_over() -> None:
    """A permission that came back while the daemon was stopped stays required."""
    story = lost_b()
    at = story.now
    checked(story, "a", "b", "c")
    story.restart()
    story.ask(accepted=(accepted("b", at=at),))
    story.check(OK, reply=a_reply(permissions=("a", "c")))
    assert story.state().permissions_missing == ("b",)
    checked(story, "a", "c")
    assert story.types == [LOST, RESTORED, LOST]


def test_required_stays_required() -> None:
    """What the configuration requires is not accepted; its return closes the incident as recovered."""
    story = lost_b()
    story.connections[1] = changed(story.connections[1], require_permissions=("c",))
    checked(story, "a")
    accept(story, "b", "c")
    assert story.state().permissions_missing == ("c",)
    assert story.state().topic(Topic.PERMISSIONS).level != FINE
    checked(story, "a", "c")
    assert (story.types, story.transitions[-1].closed_why) == ([LOST, RESTORED], "recovered")


def test_before_it_is_confirmed() -> None:
    """A loss that is accepted after its first sight is never told."""
    story = Story()
    checked(story, "a", "b")
    story.check(OK, reply=a_reply(permissions=("a",)))
    accept(story, "b")
    assert story.state().permissions_missing == ()
    checked(story, "a")
    assert story.types == []


def test_while_it_fails() -> None:
    """The acceptance does not wait for the connection to work again."""
    story = lost_b()
    story.checks(BAD, BAD, BAD)
    accept(story, "b")
    assert story.types == [LOST, "connection.failed", RESTORED]


def test_explained() -> None:
    """`explain` names who accepted what, when and why, and whether the daemon has taken it over."""
    story = lost_b()
    acceptance = accepted("b", at=story.now)
    report = ConnectionReport(story.connections[1], story.state(), controls=Controls().with_requests((), (), (acceptance,)))

    def said(report: ConnectionReport) -> str:
        return "\n".join(line for section in explain(report, story.now, story.policy) for line in section.lines)

    assert "The loss of b was accepted by anna" in said(report)
    assert "“posts by the agency”. The running daemon takes it over within seconds." in said(report)
    accept(story, "b")
    report = ConnectionReport(story.connections[1], story.state(), controls=report.controls)
    assert "takes it over" not in said(report)
