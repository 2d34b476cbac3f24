"""Silences, quiet hours and acknowledgements in the lives of connections, against a model of what must be told."""

from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import combinations
from zoneinfo import ZoneInfo

import pytest

from monitor.domain.events import FINE, Topic
from monitor.domain.notifications import decide
from monitor.domain.policy import FlapPolicy
from monitor.domain.recurrence import EVERY_DAY, Schedule
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.silences import RecurringSilence, Silence
from monitor.domain.states import SuppressionReason
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_policy, a_reply, a_silence, a_token_life, at
from tests.sampling import sampled
from tests.story import Story

OK, BAD = Reason.OK, Reason.CREDENTIAL_REJECTED
LIFE = (OK, OK, BAD, BAD, BAD, BAD, OK, OK, OK, BAD, BAD, BAD, OK, OK, OK, OK)
"""Works, breaks, heals, breaks, heals; a check a minute."""

CALM = timedelta(minutes=10)
HALF = timedelta(seconds=30)
STEADY = a_policy(flap=FlapPolicy(changes=99), stale_after=7 * DAY)
EVERYTHING = {"severity": "*"}


def live(silences: tuple[Silence, ...] = (), restart: int | None = None) -> Story:
    """The life under *silences*."""
    story = Story(policy=STEADY)
    story.ask(*silences)
    for step, reason in enumerate(LIFE):
        if step == restart:
            story.restart()
        story.check(reason)
        story.pass_time(MINUTE)
    story.pass_time(CALM)
    return story


@cache
def plain_life() -> Story:
    return live()


def model(silences: tuple[Silence, ...]) -> list[tuple[str, timedelta]]:
    """What must be told of that life, and when: the level at every moment at which nobody is in the way, if it is news."""
    plain = plain_life()
    told, expected = FINE, list[tuple[str, timedelta]]()
    moments = {one.at for one in plain.transitions} | {one.over_at for one in silences}
    for moment in sorted(moments):
        level = next((one.level for one in reversed(plain.transitions) if one.at <= moment), FINE)
        held = any(one.starts_at <= moment < one.over_at for one in silences)
        if level != told and not held and not contradicted(level, moment):
            expected.append((level, moment - START))
            told = level
    return expected


def contradicted(level: str, moment: datetime) -> bool:
    """Whether the last check before *moment* tells the contrary of *level*: then the level is about to change, and is not told."""
    last = min(int((moment - START) / MINUTE), len(LIFE) - 1)
    return LIFE[last] is (OK if level != FINE else BAD)


def between(step: int) -> timedelta:
    """A moment between the check of this step and the next one, at which there is a beat."""
    return step * MINUTE + HALF


def heard(story: Story) -> list[tuple[str, timedelta]]:
    return [(one.level_to, one.at - START) for one in story.notifications]


def test_life_without_silence() -> None:
    """The life that the following tests are about: two failures and two recoveries."""
    assert [(one.type.value, one.at - START) for one in live().notifications] == [
        ("connection.failed", 3 * MINUTE),
        ("connection.recovered", 7 * MINUTE),
        ("connection.failed", 10 * MINUTE),
        ("connection.recovered", 13 * MINUTE),
    ]


@pytest.mark.parametrize("restart", sampled([None, *range(0, len(LIFE), 3)]))
def test_a_silence_at_every_step(restart: int | None) -> None:
    """Whenever a silence begins and ends, exactly what the model says is told, at its very moment; incidents are as ever."""
    plain = plain_life()
    for start, end in combinations(range(-1, len(LIFE) + 3), 2):
        silences = (a_silence(starts_at=at(between(start)), ends_at=at(between(end)), match=EVERYTHING),)
        story = live(silences, restart)
        assert heard(story) == model(silences), (start, end)
        assert story.transitions == plain.transitions
        assert not [one for one in story.notifications if between(start) <= one.at - START < between(end)]


def test_two_silences() -> None:
    """Silences that touch, overlap or leave a gap hold back exactly what falls into one of them."""
    for middle, gap in [(4, 0), (4, -2), (5, 3), (8, 1), (2, 9)]:
        first = a_silence(1, starts_at=START, ends_at=at(between(middle)), match=EVERYTHING)
        second = a_silence(2, starts_at=at(between(middle + gap)), ends_at=at(between(14)), match={"platform": "linkedin"})
        assert heard(live((first, second))) == model((first, second)), (middle, gap)


@pytest.mark.parametrize(("begun", "ended"), list(combinations(range(len(LIFE)), 2)))
def test_a_silence_that_somebody_begins_and_ends(begun: int, ended: int) -> None:
    """Asked for at one step and ended by hand at a later one, with a restart in between, it is as one that had just these times."""
    wished = a_silence(starts_at=at(between(begun)), ends_at=at(DAY), match=EVERYTHING)
    story = Story(policy=STEADY)
    for step, reason in enumerate(LIFE):
        story.check(reason)
        story.pass_time(HALF)
        if step == begun:
            story.ask(wished)
        if step == (begun + ended) // 2:
            story.restart()
        if step == ended:
            story.ask()
            story.review()
        story.pass_time(HALF)
    story.pass_time(CALM)
    just = a_silence(starts_at=wished.starts_at, ends_at=at(between(ended)), match=EVERYTHING)
    assert heard(story) == model((just,))


def test_opened_and_closed_within() -> None:
    """A failure that begins and ends within a silence is never told, but is an incident like any other."""
    story = live((a_silence(starts_at=at(2 * MINUTE), ends_at=at(9 * MINUTE), match=EVERYTHING),))
    assert story.types == ["connection.failed", "connection.recovered"]
    assert [one.incident.number for one in story.notifications] == [2, 2]
    assert [one.incident.number for one in story.transitions] == [1, 1, 2, 2]


def test_what_was_told_before() -> None:
    """The end of a failure that was told before the silence is told after it, under the incident that was told, once."""
    story = live((a_silence(starts_at=at(5 * MINUTE), ends_at=at(15 * MINUTE), match=EVERYTHING),))
    assert [(one.type.value, one.incident.number, one.at - START) for one in story.notifications] == [
        ("connection.failed", 1, 3 * MINUTE),
        ("connection.recovered", 1, 15 * MINUTE),
    ]


def test_quiet_says_why() -> None:
    """While something is held back the state says so, and is looked at again when the silence ends, not every minute."""
    story = Story()
    story.ask(a_silence(ends_at=at(5 * HOUR)))
    story.checks(OK, BAD, BAD)
    state = story.state()
    assert state.topic(Topic.CONNECTION).level == "error"
    assert state.topic(Topic.CONNECTION).notified.level == FINE
    assert state.suppression is SuppressionReason.SILENCED
    assert state.next_evaluation_at is not None
    assert state.next_evaluation_at >= at(30 * MINUTE)


def test_topics_are_silenced_apart() -> None:
    """A silence of one topic leaves the others alone, and the other way round."""
    for silenced, told in (("expiry", "connection.failed"), ("connection", "token.expiring")):
        story = Story()
        story.ask(a_silence(match={"topic": silenced}))
        dying = a_token_life(20 * HOUR)
        for _ in range(3):
            story.check(OK, reply=a_reply(token=dying))
            story.pass_time(MINUTE)
        for _ in range(3):
            story.check(BAD, reply=a_reply(passed=False, permissions=(), token=dying))
            story.pass_time(MINUTE)
        assert story.types == [told], silenced
        story.ask()
        story.review()
        assert sorted(story.types) == ["connection.failed", "token.expiring"]


def test_other_connections_are_told() -> None:
    """A silence of one connection is not one of its neighbour."""
    story = Story(connections={1: a_connection(1), 2: a_connection(2, platform_id="threads-2")})
    story.ask(a_silence(match={"connection": "linkedin-page1"}))
    for reason in (OK, BAD, BAD):
        story.check(reason, 1)
        story.check(reason, 2)
        story.pass_time(MINUTE)
    assert [subject for subject, _, _ in story.told] == ["2"]


def test_a_silence_of_failures_is_none_of_recoveries() -> None:
    """Matching the type of a failure holds back that failure; the recovery of one that was told has another type and is told."""
    story = live((a_silence(starts_at=at(5 * MINUTE), ends_at=at(DAY), match={"type": "connection.failed"}),))
    assert story.types == ["connection.failed", "connection.recovered"]


def test_removed_within() -> None:
    """The end of a connection that is removed is told in spite of a silence: nobody would be left to tell it later."""
    story = Story()
    story.checks(OK, BAD, BAD)
    story.ask(a_silence(match=EVERYTHING))
    story.check(BAD)
    settled = decide.close_removed(story.connections[1], story.state(), story.now, story.policy)
    assert [one.type.value for one in settled.notifications] == ["connection.closed"]


def test_coverage_lost_within() -> None:
    """That a connection can no longer be tested is told when the silence ends, if that is still so."""
    for later, expected in ((Reason.VALIDATOR_LACKS_MTPROTO, ["connection.closed"]), (OK, [])):
        story = Story(policy=STEADY, connections={1: a_connection(1, platform_id="telegram-1")})
        story.checks(OK, OK)
        story.ask(a_silence(match=EVERYTHING, ends_at=at(HOUR)))
        story.checks(Reason.VALIDATOR_LACKS_MTPROTO)
        assert story.state().suppression is SuppressionReason.SILENCED
        story.restart()
        story.checks(later, later)
        assert story.types == []
        story.pass_time(2 * HOUR)
        assert [one for one in story.types if one != "connection.stale"] == expected
        assert [one.at - START for one in story.notifications if one.type.value == "connection.closed"] == [HOUR] * len(expected)


def test_coverage_lost_and_the_silence_ended() -> None:
    """It is told too when somebody ends the silence before its time."""
    story = Story(policy=STEADY, connections={1: a_connection(1, platform_id="telegram-1")})
    story.checks(OK, OK)
    story.ask(a_silence(match=EVERYTHING, ends_at=at(DAY)))
    story.checks(Reason.VALIDATOR_LACKS_MTPROTO)
    story.ask()
    story.review()
    assert story.types == ["connection.closed"]
    story.pass_time(HOUR)
    assert story.types == ["connection.closed"]


# wider causes


def an_outage(*silences: Silence, restart: bool = False) -> Story:
    """Three connections; the API is away from minute 2 to minute 17."""
    story = Story(connections={number: a_connection(number) for number in (1, 2, 3)})
    story.ask(*silences)
    for minute in range(26):
        if restart and minute % 5 == 0:
            story.restart()
        for number in story.connections:
            story.check(Reason.API_UNREACHABLE if 2 <= minute < 17 else OK, number)
        story.pass_time(MINUTE)
    story.pass_time(CALM)
    return story


def test_silenced_outage() -> None:
    """An outage within a silence is an incident that nobody is told of; one that outlasts it is told at its end, and so is its end."""
    plain = an_outage()
    assert [one for one in plain.types if one.startswith("api")] == ["api.failed", "api.recovered"]
    for restart in (False, True):
        within = an_outage(a_silence(match={"scope": "api"}), restart=restart)
        assert within.types == []
        assert [(one.incident, one.level, one.at) for one in within.transitions] == [
            (one.incident, one.level, one.at) for one in plain.transitions
        ]
        longer = an_outage(a_silence(match={"scope": "api"}, ends_at=at(14 * MINUTE)), restart=restart)
        assert [one.at - START for one in longer.notifications][:1] == [14 * MINUTE]
        assert longer.types == plain.types
        end = an_outage(a_silence(match={"scope": "api"}, starts_at=at(16 * MINUTE), ends_at=at(35 * MINUTE)), restart=restart)
        assert [one.at - START for one in end.notifications][1:] == [35 * MINUTE]
        assert end.types == plain.types


# quiet hours


def quiet_hours(zone: str = "UTC", severities: str = "info|warning") -> RecurringSilence:
    when = Schedule(EVERY_DAY, 22 * HOUR, 6 * HOUR, ZoneInfo(zone) if zone != "UTC" else UTC)
    return RecurringSilence("quiet hours", {"severity": severities}, when, SuppressionReason.QUIET_HOURS)


def test_quiet_hours_delay_what_is_not_urgent() -> None:
    """At night a token that nears its end waits for the morning, a broken connection does not."""
    story = Story(now=at(23 * HOUR), recurring_silences=(quiet_hours(),))
    for _ in range(3):
        story.check(OK, reply=a_reply(token=a_token_life(6 * DAY)))
        story.pass_time(MINUTE)
    assert story.types == []
    assert story.state().suppression is SuppressionReason.QUIET_HOURS
    for _ in range(3):
        story.check(BAD, reply=a_reply(passed=False, permissions=(), token=a_token_life(6 * DAY)))
        story.pass_time(MINUTE)
    assert story.types == ["connection.failed"]
    story.restart()
    while story.now < at(31 * HOUR):
        story.check(BAD, reply=a_reply(passed=False, permissions=(), token=a_token_life(6 * DAY)))
        story.pass_time(15 * MINUTE)
    assert [(one.type.value, one.at - START) for one in story.notifications[1:]] == [("token.expiring", 30 * HOUR)]


def test_quiet_hours_forget_what_is_over() -> None:
    """What was a warning at night and is fine in the morning is never told."""
    story = Story(now=at(23 * HOUR), recurring_silences=(quiet_hours(),))
    story.checks(OK)
    story.checks(*[Reason.CONNECTION_MISSING] * 15)
    assert story.state().topic(Topic.CONNECTION).level == "missing"
    story.checks(OK, OK, OK)
    while story.now < at(31 * HOUR):
        story.checks(OK, every=15 * MINUTE)
    assert story.types == []
    assert [one.level for one in story.transitions] == ["missing", "fine"]


# reminders and acknowledgements


def broken(days: int, *, ack_at: int | None = None, silences: tuple[Silence, ...] = ()) -> Story:
    """A connection that stays broken, checked every hour; acknowledged after so many hours."""
    story = Story(connections={1: a_connection(interval=HOUR)})
    story.ask(*silences)
    story.checks(OK, BAD)
    for hour in range(24 * days + 1):
        story.check(BAD)
        if hour == ack_at:
            value = story.state().topic(Topic.CONNECTION)
            story.ask(*silences, acks=(Ack(Topic.CONNECTION, "1", value.number, value.level, story.now, "anna", "seen"),))
        story.pass_time(HOUR)
    return story


def test_one_reminder_for_an_expired_token() -> None:
    """A connection that is broken because its token has ended is one trouble, and reminded of once a day."""
    story = Story(connections={1: a_connection(interval=HOUR)})
    story.checks(OK)
    for _ in range(50):
        story.check(Reason.TOKEN_EXPIRED, reply=a_reply(passed=False, permissions=(), token=a_token_life(says=TokenSays.EXPIRED)))
        story.pass_time(HOUR)
    assert story.types == ["connection.failed", "reminder", "reminder"]


def test_acknowledged() -> None:
    """Reminders come daily, and none after the acknowledgement; the recovery is told all the same."""
    assert broken(4).types == ["connection.failed", *["reminder"] * 4]
    story = broken(4, ack_at=30)
    assert story.types == ["connection.failed", "reminder"]
    assert story.state().suppression is SuppressionReason.ACKNOWLEDGED
    story.checks(OK, OK, every=2 * MINUTE)
    assert story.types[-1] == "connection.recovered"


def test_the_next_incident_is_not_acknowledged() -> None:
    """The acknowledgement ends with its incident: the next one is told, and reminded of."""
    story = broken(2, ack_at=5)
    story.checks(OK, OK, BAD, BAD, every=2 * MINUTE)
    for _ in range(25):
        story.checks(BAD, every=HOUR)
    assert story.types == ["connection.failed", "connection.recovered", "connection.failed", "reminder"]


def test_acknowledged_until_it_is_worse() -> None:
    """What was acknowledged as missing and is broken now is told, and reminded of again."""
    story = Story(connections={1: a_connection(interval=HOUR)})
    story.checks(OK, *[Reason.CONNECTION_MISSING] * 15)
    value = story.state().topic(Topic.CONNECTION)
    story.ask(acks=(Ack(Topic.CONNECTION, "1", value.number, value.level, story.now, "anna", "seen"),))
    for _ in range(30):
        story.checks(Reason.CONNECTION_MISSING, every=HOUR)
    assert story.types == ["connection.missing"]
    for _ in range(30):
        story.checks(BAD, every=HOUR)
    assert story.types == ["connection.missing", "connection.failed", "reminder"]


def test_acknowledged_outage() -> None:
    """The reminders of a wider incident stop too."""
    for acked, expected in ((False, ["account.failed", "reminder", "reminder"]), (True, ["account.failed"])):
        story = Story(connections={1: a_connection(interval=HOUR)})
        story.checks(OK, Reason.API_UNAUTHORIZED, Reason.API_UNAUTHORIZED)
        if acked:
            value = story.scopes["account:main"].topic
            story.ask(acks=(Ack(Topic.SCOPE, "account:main", value.number, value.level, story.now, "anna", "seen"),))
        for _ in range(50):
            story.checks(Reason.API_UNAUTHORIZED, every=HOUR)
        assert story.types == expected


@pytest.mark.parametrize("match", [EVERYTHING, {"type": "reminder"}, {"type": "connection.failed"}])
def test_silenced_reminders(match: dict[str, str]) -> None:
    """A reminder that falls into a silence comes once, with the next check; matching what it reminds of holds it back too."""
    silence = a_silence(starts_at=at(10 * HOUR), ends_at=at(60 * HOUR), match=match)
    story = broken(4, silences=(silence,))
    assert story.types == ["connection.failed", "reminder", "reminder"]
    assert 60 * HOUR <= [one.at - START for one in story.notifications][1] <= 61 * HOUR
    ended = broken(2, silences=(a_silence(starts_at=at(10 * HOUR), ends_at=at(90 * HOUR), match=match),))
    assert ended.types == ["connection.failed"]
    ended.ask()
    ended.pass_time(MINUTE)
    assert ended.types == ["connection.failed"]
    ended.check(BAD)
    assert ended.types == ["connection.failed", "reminder"]
