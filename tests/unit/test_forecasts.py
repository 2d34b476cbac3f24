"""What is notified if nobody does anything."""

from dataclasses import replace
from datetime import timedelta

from monitor.domain.forecast import ForecastEvent, begins_at, forecast_of
from monitor.domain.routes import Route
from monitor.domain.routing import ReceiverRule
from monitor.domain.token_life import parse_token_life
from monitor.errors import Reason
from tests.builders import DAY, MINUTE, a_reply, a_silence
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
    config = type(story.engine.config)(policy=replace(story.policy, routes=ROUTES), api_host="x", interval=15 * MINUTE, receivers=RECEIVERS)
    return forecast_of(story.connections[1], story.state(), config, story.engine.controls, story.now, story.now + days * DAY)


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
