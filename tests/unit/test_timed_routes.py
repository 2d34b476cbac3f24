"""Routes that say when: quiet hours, reminder intervals, escalations."""

from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from monitor.domain.events import NotificationReason, Topic
from monitor.domain.policy import FlapPolicy
from monitor.domain.recurrence import EVERY_DAY, Schedule
from monitor.domain.routes import Escalation, Route, RouteQuietHours
from monitor.domain.routing.rules import ReceiverRule, receivers_for, routes_of
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS
from monitor.domain.states import SuppressionReason
from monitor.domain.views.handling import handling_of
from monitor.domain.views.snapshot import ConnectionView, incidents_of, scope_incidents
from monitor.errors import Reason
from monitor.text.notification_history import topic_lines
from monitor.text.report import ConnectionReport
from monitor.text.status import escalation_text, handling_texts
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_notification, a_policy
from tests.story import Story

OK, BAD, SLOW = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.PLATFORM_TROUBLE
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = RouteQuietHours(Schedule(EVERY_DAY, 22 * HOUR, 7 * HOUR, BERLIN), frozenset({"info", "warning"}))
ALWAYS = RouteQuietHours(NIGHT.when, frozenset({"info", "warning", "critical"}))
"""From 21:00 to 06:00 UTC in winter; `START` is midnight UTC, which is within."""

PAGE = Route({}, ("chat",), escalation=Escalation(30 * MINUTE, ("boss",)))


def a_story(*routes: Route) -> Story:
    """One connection that has worked, under these routes."""
    story = Story(beat=MINUTE, policy=a_policy(flap=FlapPolicy(changes=99), stale_after=30 * DAY, routes=routes))
    story.checks(OK, OK)
    return story


def sent(story: Story) -> list[tuple[str, timedelta]]:
    """Why and when, after the start, each notification was sent."""
    return [(one.why.value, one.at - START) for one in story.notifications]


def lines(story: Story) -> str:
    """What `explain` says about notifications."""
    report = ConnectionReport(story.connections[1], story.state(), controls=story.engine.controls, instance="here")
    return "\n".join(topic_lines(report, story.now, story.policy))


def test_quiet_hours_hold() -> None:
    """What is not urgent waits for the end of the route's quiet hours, in their time zone, and is sent then, once."""
    story = a_story(Route({}, ("chat",), quiet_hours=ALWAYS))
    story.checks(BAD, BAD, BAD)
    assert sent(story) == []
    assert story.state().suppression is SuppressionReason.QUIET_HOURS
    assert "suppressed by the quiet hours of route everything until" in lines(story)
    story.restart()
    story.pass_time(6 * HOUR)
    assert sent(story) == [("opened", 6 * HOUR)]


def test_quiet_hours_outlived() -> None:
    """What is over before the quiet hours are is never told."""
    story = a_story(Route({}, ("chat",), quiet_hours=ALWAYS))
    story.checks(BAD, BAD, BAD, OK, OK, OK)
    story.pass_time(DAY)
    assert sent(story) == []


def test_critical_passes() -> None:
    """A critical notification passes quiet hours that do not name its severity, and so does the end of its incident."""
    story = a_story(Route({}, ("chat",), quiet_hours=NIGHT))
    story.checks(BAD, BAD, BAD, OK, OK, OK)
    assert [why for why, _ in sent(story)] == ["opened", "closed"]


def test_end_waits_with_its_route() -> None:
    """The end of an incident belongs to the route that took its beginning, although that route does not match an end."""
    story = a_story(Route({"type": "connection.failed"}, ("chat",), quiet_hours=ALWAYS), Route({}, ("log",)))
    story.pass_time(7 * HOUR)
    story.checks(BAD, BAD, BAD)
    story.pass_time(14 * HOUR)
    story.checks(OK, OK, OK)
    assert [why for why, _ in sent(story) if why != "reminder"] == ["opened"]
    story.pass_time(DAY)
    assert sent(story)[-1] == ("closed", 30 * HOUR)


def test_members_of_several_routes() -> None:
    """A notification about several connections waits only while every route of theirs is quiet."""
    quiet, loud = Route({"team": "a"}, ("a",), quiet_hours=ALWAYS), Route({"team": "b"}, ("b",))
    members = [a_connection(1, labels={"team": "a"}), a_connection(2, labels={"team": "b"})]
    assert routes_of(a_notification(), members, (quiet, loud)) == (quiet, loud)
    assert routes_of(a_notification(), members[:1], (quiet, loud)) == (quiet,)


def test_reminder_interval() -> None:
    """A route's interval replaces the policy's, exactly and also after a week; zero turns reminders off."""
    story = a_story(Route({}, ("chat",), reminder_interval=4 * HOUR))
    quiet = a_story(Route({}, ("chat",), reminder_interval=timedelta(0)))
    for one in (story, quiet):
        one.beat = 10 * MINUTE
        one.checks(BAD, BAD)
        one.checks(*[BAD] * 8 * 24, every=HOUR)
    reminders = [at for why, at in sent(story) if why == "reminder"]
    assert len(reminders) == 8 * 24 // 4 - 1
    assert {later - earlier for earlier, later in pairwise(reminders)} == {4 * HOUR}
    assert [why for why, _ in sent(quiet)] == ["opened"]


def test_escalation() -> None:
    """An incident that is open and not acknowledged is escalated once, to the receivers of the route, also over a restart."""
    story = a_story(PAGE)
    story.checks(BAD, BAD, BAD)
    assert "escalated to boss" in lines(story)
    story.restart()
    story.pass_time(2 * HOUR)
    opened, escalated = sent(story)
    assert (opened[0], escalated[0], escalated[1] - opened[1]) == ("opened", "escalated", 30 * MINUTE)
    last = story.notifications[-1]
    assert (last.type.value, last.facts.escalated_to) == ("connection.failed", ("boss",))
    rules = [ReceiverRule("chat"), ReceiverRule("boss")]
    assert receivers_for(last, a_connection(), (PAGE,), rules, notified=("chat",)) == ("boss",)
    assert "escalated by the route everything" in lines(story)
    story.restart()
    story.checks(OK, OK, OK)
    assert [why for why, _ in sent(story)] == ["opened", "escalated", "closed"]
    assert receivers_for(story.notifications[-1], a_connection(), (PAGE,), rules, notified=("boss", "chat")) == ("chat", "boss")


def test_no_reminder_with_an_escalation() -> None:
    """Who gets an escalation gets no reminder in the same minute; the next one, and the receivers of the route, are as usual."""
    page = Route({}, ("chat",), reminder_interval=30 * MINUTE, escalation=Escalation(30 * MINUTE, ("boss",)))
    story = a_story(page)
    story.beat = MINUTE
    story.checks(BAD, BAD)
    story.checks(*[BAD] * 70, every=MINUTE)
    rules = [ReceiverRule("chat"), ReceiverRule("boss")]
    sent_to = [
        (one.why.value, receivers_for(one, a_connection(), (page,), rules, notified=("chat", "boss"))) for one in story.notifications[1:]
    ]
    assert sent_to == [("escalated", ("boss",)), ("reminder", ("chat",)), ("reminder", ("chat", "boss"))]


def test_escalation_after_a_clock_that_was_ahead() -> None:
    """A clock that is set back by a day does not delay an escalation by a day."""
    story = a_story(PAGE)
    story.checks(BAD, BAD)
    story.jump(-DAY)
    story.check(BAD)
    story.pass_time(31 * MINUTE)
    assert [one.why for one in story.notifications] == [NotificationReason.OPENED, NotificationReason.ESCALATED]


def test_no_escalation_of_what_is_seen() -> None:
    """Neither an acknowledged incident is escalated, nor one that is over, nor one that a check has just contradicted."""
    seen, over, doubtful = a_story(PAGE), a_story(PAGE), a_story(PAGE)
    for story in (seen, over, doubtful):
        story.checks(BAD, BAD, BAD)
    value = seen.state().topic(Topic.CONNECTION)
    seen.ask(acks=(Ack(Topic.CONNECTION, "1", value.number, value.level, seen.now, "ann", "on it"),))
    over.checks(OK, OK, OK)
    for story in (seen, over):
        story.pass_time(2 * HOUR)
    doubtful.pass_time(25 * MINUTE)
    doubtful.check(OK)
    doubtful.pass_time(10 * MINUTE)
    assert not [why for story in (seen, over, doubtful) for why, _ in sent(story) if why == "escalated"]
    seen.ask()
    seen.pass_time(MINUTE)
    assert sent(seen)[-1][0] == "escalated"


def test_escalation_waits_for_quiet_hours() -> None:
    """An escalation that falls into its route's quiet hours is sent at their end."""
    story = a_story(Route({}, ("chat",), quiet_hours=ALWAYS, escalation=Escalation(30 * MINUTE, ("boss",))))
    story.pass_time(20 * HOUR + 40 * MINUTE)
    story.checks(BAD, BAD, BAD)
    story.pass_time(10 * HOUR)
    (opened, _), (why, at) = sent(story)
    assert (opened, why, at) == ("opened", "escalated", 30 * HOUR)


def test_routes_of_a_reload() -> None:
    """Routes that are configured while an incident is open count from its notification on; an escalation is not repeated."""
    story = a_story()
    story.checks(BAD, BAD, BAD)
    story.policy = a_policy(flap=FlapPolicy(changes=99), stale_after=30 * DAY, routes=(PAGE,))
    story.take_up_changes()
    story.checks(BAD, BAD)
    story.pass_time(HOUR)
    assert sent(story)[-1][0] == "escalated"
    assert story.notifications[-1].why is NotificationReason.ESCALATED
    story.checks(BAD, BAD)
    story.pass_time(HOUR)
    assert [why for why, _ in sent(story)].count("escalated") == 1


def test_escalated_account() -> None:
    """The incident of a scope is escalated like that of a connection, to the receivers of its route."""
    story = a_story(PAGE)
    for _ in range(60):
        story.checks(Reason.API_UNAUTHORIZED)
    kinds = [(one.type.value, one.why.value) for one in story.notifications]
    assert kinds == [("account.failed", "opened"), ("account.failed", "escalated")]


def test_shown() -> None:
    """Pages, tables and JSON get the time of the next escalation, of connections and scopes, until it is acknowledged."""
    story = a_story(PAGE)
    story.checks(BAD, BAD, BAD)
    view = ConnectionView(story.connections[1], story.state())
    (incident,) = incidents_of(view, story.policy)
    opened = story.notifications[-1].at
    assert incident.escalates_at == opened + 30 * MINUTE
    handling = handling_of(view, [incident], NO_CONTROLS, story.now)
    assert (handling.escalates_at, handling.handled) == (incident.escalates_at, False)
    assert list(handling_texts(handling, opened)) == [escalation_text(opened + 30 * MINUTE, opened)]
    value = view.state.topic(Topic.CONNECTION)
    seen = NO_CONTROLS.with_requests((), [Ack(Topic.CONNECTION, "1", value.number, value.level, story.now, "ann", "on it")])
    assert handling_of(view, [incident], seen, story.now).escalates_at is None
    story.pass_time(HOUR)
    (later,) = incidents_of(ConnectionView(story.connections[1], story.state()), story.policy)
    assert later.escalates_at is None
    outage = a_story(PAGE)
    for _ in range(9):
        outage.checks(Reason.API_UNAUTHORIZED)
    (scope,) = (view for state in outage.engine.scopes().values() for view in scope_incidents(state, outage.policy))
    assert scope.escalates_at == outage.notifications[-1].at + 30 * MINUTE
