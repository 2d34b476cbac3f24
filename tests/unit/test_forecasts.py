"""What is notified if nobody does anything."""

from dataclasses import replace
from datetime import timedelta

from monitor.domain.engine import EngineConfig
from monitor.domain.expiry.estimate import GRACE, window
from monitor.domain.projections.forecast import Forecast, ForecastEvent, begins_at, forecast, forecast_of
from monitor.domain.replies.token_life import parse_token_life
from monitor.domain.routes import Route
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import LastNotified, TopicState
from monitor.errors import Reason
from tests.builders import DAY, MINUTE, a_reply, a_silence
from tests.patrol import fleet
from tests.story import Story

RECEIVERS = (ReceiverRule("on-call"), ReceiverRule("mail"))
ROUTES = (Route({"severity": "critical"}, ("on-call",)), Route({}, ("mail",)))


def _story(left: str | None) -> Story:
    """A connection that works, with a token that lasts so long."""
    story = Story()
    for _ in range(3):
        story.check(reply=a_reply(token=parse_token_life(left), permissions=("p",)))
        story.now += 15 * MINUTE
    return story


def _forecast(story: Story, days: int = 14) -> tuple[ForecastEvent, ...]:
    known = [(story.connections[1], story.state())]
    moments = forecast_of(known, _config(story), story.engine.controls, story.now, story.now + days * DAY)
    return tuple(event for events in moments for event in events)


def _config(story: Story) -> EngineConfig:
    return EngineConfig(policy=replace(story.policy, routes=ROUTES), api_host="x", receivers=RECEIVERS)


def _shown(events: tuple[ForecastEvent, ...], story: Story) -> list[tuple[int, str, str, tuple[str, ...]]]:
    return [(round((event.at - story.now) / DAY), event.notification.type, event.notification.why, event.receivers) for event in events]


def test_token_that_ends() -> None:
    """Every threshold that is ahead and the end, each with the receivers that the routes name and those that were told before."""
    story = _story("10d")

    assert _shown(_forecast(story), story) == [
        (4, "token.expiring", "changed", ("mail",)),
        (10, "token.expiring", "changed", ("on-call", "mail")),
        (11, "token.expired", "changed", ("on-call", "mail")),
    ]


def test_same_as_it_comes() -> None:
    """What is forecast is what the engine does when the days pass and the checks go on."""
    story = _story("10d")
    expected = [(event.notification.type, event.notification.why) for event in _forecast(story, days=11)]
    end, told = story.now + 10.9 * DAY, len(story.notifications)
    while story.now < end:
        story.check(reply=a_reply(token=parse_token_life(_printed(end - story.now)), permissions=("p",)))
        story.now += timedelta(hours=1)

    assert [(sent.type, sent.why) for sent in story.notifications[told:]] == expected[: len(story.notifications) - told]
    assert len(story.notifications) - told >= 2


def _printed(left: timedelta) -> str:
    return f"{left.days}d" if left >= DAY else f"{left // timedelta(hours=1)}h"


def test_when_it_fails() -> None:
    """A token that has ended fails the next regular check: a few checks after its end that is confirmed."""
    story = _story("10d")
    ends = window(story.state().token)
    (expired,) = [event for event in _forecast(story) if event.notification.type == "token.expired"]

    assert ends is not None
    assert ends[1] <= expired.at <= ends[1] + story.connections[1].interval + 3 * story.policy.recheck


def test_passes_after_its_end() -> None:
    """A check that passed after the end is believed: what is told comes when the end counts as passed."""
    story = _story("10d")
    ends = window(story.state().token)
    assert ends is not None
    state, now = replace(story.state(), last_passed_at=ends[1]), ends[1] + MINUTE
    assert begins_at(story.connections[1], state, story.policy, now, now + DAY) is not None
    events = [
        event
        for events in forecast_of([(story.connections[1], state)], _config(story), story.engine.controls, now, now + DAY)
        for event in events
        if event.notification.type == "token.expired"
    ]
    assert [event.at >= ends[1] + GRACE for event in events] == [True]


def test_nothing_ahead() -> None:
    """A token without an end, or with one that is far away, makes no notification and no work."""
    for left in (None, "59d"):
        story = _story(left)
        assert begins_at(story.connections[1], story.state(), story.policy, story.now, story.now + 14 * DAY) is None
        assert _forecast(story) == ()


def test_silenced() -> None:
    """What a silence suppresses comes at its end."""
    story = _story("59d")
    story.checks(*[Reason.CREDENTIAL_REJECTED] * 3)
    assert _shown(_forecast(story, days=2), story)[0][1:3] == ("reminder", "reminder")
    story.engine.set_requests([a_silence(match={"connection": "*"}, starts_at=story.now, ends_at=story.now + 9 * DAY)], ())
    assert min(event.at for event in _forecast(story)) >= story.now + 9 * DAY


def test_seen_once() -> None:
    """A token that was seen once only is confirmed by the checks that follow: the ends of its thresholds are the same."""
    story = Story()
    story.check(reply=a_reply(token=parse_token_life("10d"), permissions=("p",)))

    assert [event.notification.level_to for event in _forecast(story)] == ["14d", "7d", "1d", "expired"]


def _forecast_of_all(story: Story) -> Forecast:
    """The forecast of every connection of a story."""
    known = [(connection, story.state(number)) for number, connection in story.connections.items()]
    *_, made = forecast(known, _config(story), story.engine.controls, story.now)
    return made


def _fleet_that_ends(count: int, works: int) -> Story:
    """Connections of one platform, checked within the time of a re-check; the tokens of *count* end together, those of *works* others do not."""
    story = Story(connections=fleet(count + works, interval=MINUTE / 3))
    for number, connection in story.connections.items():
        left = "8d" if number <= count else "59d"
        story.check(number=number, reply=a_reply(platform_id=connection.platform_id, token=parse_token_life(left), permissions=("p",)))
    return story


def test_together() -> None:
    """Tokens that end at the same time are one notification of their group, as when it comes; what comes in one digest is one message."""
    story = _fleet_that_ends(3, works=1)
    expected = _forecast_of_all(story)

    ends = [event for events in expected.messages for event in events if event.at > story.now + 8 * DAY]
    assert [(event.notification.type, len(event.connections), event.receivers) for event in ends[:1]] == [("group.failed", 3, ("on-call",))]
    assert {event.notification.type for event in ends[1:]} <= {"reminder"}
    assert all(len(events) == 1 for events in expected.messages)


def test_one_of_many() -> None:
    """The end of a single token is not the trouble of its group, whatever works beside it."""
    story = _fleet_that_ends(1, works=6)
    ends = [event for events in _forecast_of_all(story).messages for event in events if event.at > story.now + 8 * DAY]
    assert [event.notification.type for event in ends] == ["token.expired"] + ["reminder"] * (len(ends) - 1)


def test_digest() -> None:
    """Of many at once the first are messages of their own, and the rest is one, as the deliverer does it."""
    story = _fleet_that_ends(12, works=0)
    first = [events for events in _forecast_of_all(story).messages if events[0].notification.level_to == "7d"]
    after = story.policy.digest.after
    assert sorted(map(len, first)) == [1] * after + [12 - after]


def test_open_scope_stays() -> None:
    """What an open account incident holds back is not told of before it ends; its own reminders are, and the connections are counted."""
    story = _story("10d")
    opened = ScopeState(ScopeKey.parse("account:main"), reason=Reason.API_UNAUTHORIZED)
    topic = TopicState("failed", story.now, 1, story.now, LastNotified("failed", 1, story.now, story.now))
    known = [(story.connections[1], story.state())]

    *_, free = forecast(known, _config(story), story.engine.controls, story.now)
    *_, held = forecast(known, _config(story), story.engine.controls, story.now, [replace(opened, topic=topic)])
    told = [event.notification for events in held.messages for event in events]

    assert "token.expired" in {event.notification.type for events in free.messages for event in events}
    assert {note.type for note in told if note.connection_id is not None} <= {"token.expiring"}
    assert sum(note.type == "reminder" for note in told if note.connection_id is None) >= 7
    assert not free.frozen
    assert set(held.frozen) == {1}
