"""When the API counts as down: how many bad answers, of whom, for how long; and when it counts as back."""

from collections.abc import Iterable
from datetime import timedelta

import pytest

from monitor.domain.events import FINE
from monitor.errors import Reason
from tests.builders import HOUR, MINUTE, SECOND
from tests.patrol import Patrol, fleet
from tests.sampling import sampled
from tests.story import Story

OK, DOWN, CRASHED, REFUSED = Reason.OK, Reason.API_TIMEOUT, Reason.API_VALIDATOR_FAILED, Reason.API_UNAUTHORIZED
BAD = Reason.CREDENTIAL_REJECTED


def a_story(count: int = 3) -> Story:
    """Connections that have been fine for a while."""
    story = Story(connections=fleet(count, interval=MINUTE))
    rounds(story, 6, dict.fromkeys(story.connections, OK))
    return story


def rounds(story: Story, count: int, answers: dict[int, Reason], every: timedelta = 15 * SECOND) -> None:
    """So many rounds of these answers, each round *every* after the one before."""
    for _ in range(count):
        for number, reason in answers.items():
            story.check(reason, number)
        story.pass_time(every)


def types(story: Story) -> list[str]:
    """What was told of scopes."""
    return [kind for kind in story.types if kind.startswith(("api", "account"))]


def everybody(reason: Reason, numbers: Iterable[int] = (1, 2, 3)) -> dict[int, Reason]:
    """The same answer for all."""
    return dict.fromkeys(numbers, reason)


def test_single_connection_of_several() -> None:
    """Bad answers of one of several connections are its own trouble, however many they are."""
    story = a_story(2)
    rounds(story, 40, {1: DOWN})
    assert types(story) == []


def test_only_connection() -> None:
    """Bad answers of the only connection are the API's trouble."""
    story = a_story(1)
    rounds(story, 12, {1: DOWN})
    assert types(story) == ["api.failed"]


@pytest.mark.parametrize(("span", "told"), [(119, []), (120, ["api.failed"])])
def test_two_minutes(span: int, told: list[str]) -> None:
    """It opens with the bad answer that comes two minutes after the first one, not before."""
    story = a_story()
    rounds(story, 4, everybody(DOWN), every=15 * SECOND)
    story.pass_time((span - 60) * SECOND)
    story.check(DOWN, 1)
    assert types(story) == told


def test_time_alone() -> None:
    """No incident opens without a bad answer: after a suspicion and a long silence everything is open again."""
    story = a_story()
    rounds(story, 4, everybody(DOWN))
    story.pass_time(30 * MINUTE)
    assert types(story) == []


def test_two_blips() -> None:
    """Two suspicions that did not last are none that did."""
    story = a_story()
    for _ in range(3):
        rounds(story, 5, everybody(DOWN))
        rounds(story, 40, everybody(OK))
    assert types(story) == []


def test_crashes_of_several() -> None:
    """Tests that crash for some while others get through are those connections' trouble."""
    story = a_story()
    rounds(story, 40, {1: CRASHED, 2: CRASHED, 3: OK})
    assert types(story) == []


def test_refused_key_is_an_answer() -> None:
    """An API that refuses the key is not down."""
    story = a_story()
    rounds(story, 40, everybody(REFUSED))
    assert types(story) == ["account.failed"]


def test_back_needs_two_connections() -> None:
    """It is not back while only one connection says so."""
    story = a_story()
    rounds(story, 12, everybody(DOWN))
    rounds(story, 20, {1: OK})
    assert types(story) == ["api.failed"]
    story.check(OK, 2)
    assert types(story) == ["api.failed", "api.recovered"]


def test_back_for_a_moment() -> None:
    """A minute of good answers in the middle of an outage ends nothing."""
    story = a_story()
    rounds(story, 12, everybody(DOWN))
    for _ in range(3):
        rounds(story, 4, everybody(OK))
        rounds(story, 4, everybody(DOWN))
    assert types(story) == ["api.failed"]
    rounds(story, 9, everybody(OK))
    assert types(story) == ["api.failed", "api.recovered"]


def test_mostly_bad() -> None:
    """Two thirds of bad answers are an outage, a half is none."""
    story = a_story(6)
    rounds(story, 40, {**everybody(DOWN), **everybody(OK, (4, 5, 6))})
    assert types(story) == []
    rounds(story, 40, {**everybody(DOWN, (1, 2, 3, 4)), **everybody(OK, (5, 6))})
    assert types(story) == ["api.failed"]


@pytest.mark.parametrize(("down", "up"), sampled([(4, 4), (10, 10)]))
def test_comes_and_goes(down: int, up: int) -> None:
    """An API that is down every few minutes for hours is told a few times, not each time, and its third end when it has stayed up."""
    patrol = Patrol(Story(connections=fleet(20, interval=5 * MINUTE)))
    patrol.run(HOUR, lambda _: OK)
    for _ in range(6 * 60 // (down + up)):
        patrol.run(down * MINUTE, lambda _: DOWN)
        patrol.run(up * MINUTE, lambda _: OK)
    told = patrol.story.types
    assert told == ["api.failed", "api.recovered"] * 2 + ["api.failed"] * (len(told) - 4)
    assert len(told) <= 7
    assert sum(1 for one in patrol.story.transitions if one.level == FINE) > 10, "history has each of them"
    patrol.start()
    patrol.run(45 * MINUTE, lambda _: OK)
    assert patrol.story.types == told
    patrol.run(20 * MINUTE, lambda _: OK)
    assert patrol.story.types == [*told, "api.recovered"]


def test_broken_between_troubles() -> None:
    """What breaks while an API comes and goes is told in one of the pauses, as ever."""
    patrol = Patrol(Story(connections=fleet(20, interval=5 * MINUTE)))
    patrol.run(HOUR, lambda _: OK)
    for turn in range(12):
        patrol.run(4 * MINUTE, lambda _: DOWN)
        patrol.run(9 * MINUTE, (lambda number: BAD if number == 4 else OK) if turn > 5 else (lambda _: OK))
    assert patrol.story.types[:5] == ["api.failed", "api.recovered"] * 2 + ["api.failed"]
    assert patrol.story.types.count("connection.failed") == 1
