"""A platform, or one user's connections on it, fails: one message that something is wrong, and one that it is over, whatever its width."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest

from monitor.domain.connections import Connection
from monitor.domain.events import Severity
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.key import ScopeKey
from monitor.errors import Reason
from monitor.text.sentences import sentence
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_policy, changed
from tests.patrol import Answer, Patrol, fleet
from tests.story import Story

OK, REJECTED, EXPIRED, DOWN = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.TOKEN_EXPIRED, Reason.PLATFORM_TROUBLE
LIMITED, TIMEOUT, THROTTLED = Reason.PLATFORM_LIMITED, Reason.API_TIMEOUT, Reason.API_THROTTLED
QUARTER = 15 * MINUTE

PLATFORM_FAILED = ("platform:linkedin", "platform.failed", "opened")
PLATFORM_RECOVERED = ("platform:linkedin", "platform.recovered", "closed")
GROUP_FAILED = ("group:main/linkedin", "group.failed", "opened")
GROUP_RECOVERED = ("group:main/linkedin", "group.recovered", "closed")
PLATFORM_CHANGED = ("platform:linkedin", "platform.failed", "changed")
GROUP_CHANGED = ("group:main/linkedin", "group.failed", "changed")


def patrol(count: int, *platforms: str, **overrides: object) -> Patrol:
    """A patrol of so many connections that were checked every 15 minutes for an hour, and work."""
    one = Patrol(Story(connections=fleet(count, *platforms, **{"interval": QUARTER, **overrides})))
    one.run(HOUR, always(OK))
    assert one.story.told == []
    return one


def always(reason: Reason) -> Answer:
    """An API that answers the same for all connections."""
    return lambda _: reason


def failing(reason: Reason, *numbers: int) -> Answer:
    """An API for which only these connections fail."""
    return lambda number: reason if number in numbers else OK


def with_accounts(connections: dict[int, Connection], accounts: Mapping[int, str]) -> dict[int, Connection]:
    """The connections, of which some belong to other accounts."""
    return {number: changed(one, account=accounts.get(number, one.account)) for number, one in connections.items()}


def with_users(connections: dict[int, Connection], users: Mapping[int, str]) -> dict[int, Connection]:
    """The connections, of which some belong to managed users."""
    return {number: changed(one, user_id=users.get(number, "")) for number, one in connections.items()}


def first_seen(one: Patrol, since: datetime) -> datetime:
    """When a check first met the trouble that began at *since*."""
    return min(moment for moment, _ in one.asked if moment >= since)


class TestOutage:
    """The platform answers 5xx, times out or limits requests: a warning, once, and once its end."""

    @pytest.mark.parametrize("count", [2, 3, 4, 12])
    @pytest.mark.parametrize("reason", [DOWN, LIMITED])
    def test_outage(self, count: int, reason: Reason) -> None:
        """Two hours of it: a minute after the first failed check one warning, and one end; also with very few connections."""
        one = patrol(2 * count, "linkedin", "threads")
        since = one.story.now
        one.run(2 * HOUR, lambda number: reason if number % 2 == 0 else OK)
        assert one.story.told == [PLATFORM_FAILED]
        failed = one.story.notifications[0]
        assert failed.severity is Severity.WARNING
        assert failed.reason is reason
        assert failed.facts.affected == count
        assert len(failed.facts.members) == count
        assert failed.at - min(moment for moment, number in one.asked if moment >= since and number % 2 == 0) <= 2 * MINUTE
        over = one.story.now
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
        recovered = one.story.notifications[1]
        first = min(moment for moment, number in one.asked if moment >= over and number % 2 == 0)
        # The fewer connections, the more looks it takes to be sure.
        assert recovered.at - first <= (3 if count > 3 else 7) * MINUTE + 30 * SECOND
        assert sentence(recovered, None).startswith("The LinkedIn connections work again after 2h")

    def test_short(self) -> None:
        """Connections that fail for less than a sweep takes are not told, nor are they after it."""
        one = patrol(12)
        one.run(30 * SECOND, always(DOWN))
        while not one.asked or one.story.scope("platform:linkedin").suspect_at is None:
            one.run(5 * SECOND, always(DOWN))
        one.run(2 * HOUR, always(OK))
        assert one.story.told == []

    def test_ended_before_the_hold(self) -> None:
        """Nothing is told of a single connection whose platform had trouble for less than half an hour."""
        one = patrol(12)
        one.run(25 * MINUTE, failing(DOWN, 3))
        assert one.story.state(3).health is Health.ERROR
        one.run(2 * HOUR, always(OK))
        assert one.story.told == []

    def test_one_connection(self) -> None:
        """A single connection with such trouble is told when it has lasted for half an hour, as a warning, after a fresh look."""
        one = patrol(12)
        since = one.story.now
        one.run(HOUR, failing(DOWN, 3))
        assert one.story.told == [("3", "connection.failed", "opened")]
        told = one.story.notifications[0]
        assert told.severity is Severity.WARNING
        first = min(moment for moment, number in one.asked if moment >= since and number == 3)
        assert 30 * MINUTE <= told.at - first <= 32 * MINUTE
        assert told.at - max(moment for moment, number in one.asked if number == 3 and moment <= told.at) <= SECOND

    def test_only_connection(self) -> None:
        """The only connection of a platform cannot tell whether it is the platform: it waits as well."""
        one = patrol(1)
        one.run(HOUR, always(DOWN))
        assert one.story.told == [("1", "connection.failed", "opened")]
        one.run(HOUR, always(OK))
        assert one.story.told[1:] == [("1", "connection.recovered", "closed")]

    def test_wait_of_a_platform(self) -> None:
        """The wait is a key, and a platform can have its own."""
        one = patrol(2, "linkedin", "threads")
        one.story.policy = a_policy(upstream_after=10 * MINUTE, upstream_after_of={"threads": 2 * HOUR})
        since = one.story.now
        one.run(90 * MINUTE, always(DOWN))
        (told,) = one.story.notifications
        assert one.story.connections[told.connection_id or 0].platform == "linkedin"
        assert told.at - since <= 30 * MINUTE

    def test_genuine_break_inside(self) -> None:
        """A connection whose credential is rejected while its platform fails for the others is told, with its own cause."""
        one = patrol(12)
        one.run(30 * MINUTE, always(DOWN))
        one.run(30 * MINUTE, lambda number: REJECTED if number == 5 else DOWN)
        assert one.story.told == [PLATFORM_FAILED, ("5", "connection.failed", "opened")]
        assert one.story.notifications[1].reason is REJECTED
        assert one.story.notifications[1].severity is Severity.CRITICAL
        one.run(HOUR, failing(REJECTED, 5))
        assert one.story.told[2:] == [PLATFORM_RECOVERED]

    def test_one_stays_broken(self) -> None:
        """One that still fails when the platform works again is told after a fresh look, the others are not."""
        one = patrol(12)
        one.run(HOUR, always(DOWN))
        over = one.story.now
        one.run(HOUR, failing(DOWN, 5))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED, ("5", "connection.failed", "opened")]
        told = one.story.notifications[2]
        assert max(moment for moment, number in one.asked if number == 5 and moment <= told.at) >= over
        one.run(HOUR, always(OK))
        assert one.story.told[3:] == [("5", "connection.recovered", "closed")]

    def test_one_is_not_answered_about(self) -> None:
        """One about which the API says nothing since the outage is not told as broken by what was seen within it: it is stale."""
        one = patrol(12)
        one.run(HOUR, always(DOWN))
        one.run(4 * HOUR, failing(Reason.API_FAILED, 5))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED, ("5", "connection.stale", "opened")]
        one.run(HOUR, failing(REJECTED, 5))
        assert one.story.told[3:] == [("5", "connection.failed", "changed")]

    @pytest.mark.parametrize("count", [2, 3])
    def test_others_are_broken_already(self, count: int) -> None:
        """All but one of the connections are known as broken: that these have the platform's trouble too shows that it is the platform's."""
        one = patrol(count)
        one.run(2 * HOUR, lambda number: {2: REJECTED, 3: Reason.ACCOUNT_RESTRICTED}.get(number, OK))
        before = len(one.story.told)
        assert before == count - 1
        one.run(2 * HOUR, always(DOWN))
        assert one.story.told[before:] == [PLATFORM_FAILED]
        assert sentence(one.story.notifications[-1], None).startswith(f"{count} LinkedIn connections fail together since ")
        one.run(HOUR, failing(REJECTED, 2))
        assert PLATFORM_RECOVERED in one.story.told
        assert ("1", "connection.failed", "opened") not in one.story.told
        over = next(each for each in one.story.notifications if each.type == "platform.recovered")
        assert f"; 1 of {count} still fails." in sentence(over, None)
        assert ("2", "connection.recovered", "closed") not in one.story.told

    def test_outage_within_outage(self) -> None:
        """The API goes down and comes back while the platform fails: each is told once, no connection is."""
        one = patrol(12)
        one.run(30 * MINUTE, always(DOWN))
        one.run(30 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(HOUR, always(DOWN))
        one.run(HOUR, always(OK))
        assert sorted(one.story.types) == ["api.failed", "api.recovered", "platform.failed", "platform.recovered"]

    def test_one_after_the_other(self) -> None:
        """Five connections that break and heal one after the other are not the platform: only what fails now counts."""
        one = patrol(10)
        for number in range(1, 6):
            one.run(10 * MINUTE, failing(DOWN, number))
        one.run(HOUR, always(OK))
        assert one.story.told == []

    def test_healed_and_then_one_breaks(self) -> None:
        """After five short failures a genuine one is told as soon as ever."""
        one = patrol(10)
        for number in range(1, 6):
            one.run(6 * MINUTE, failing(REJECTED, number))
        one.run(20 * MINUTE, always(OK))
        told, since = len(one.story.told), one.story.now
        one.run(HOUR, failing(REJECTED, 7))
        assert one.story.told[told:] == [("7", "connection.failed", "opened")]
        first = min(moment for moment, number in one.asked if moment >= since and number == 7)
        assert one.story.notifications[-1].at - first <= 90 * SECOND

    def test_several_accounts(self) -> None:
        """Connections of several accounts are looked at, each within the budget of its account."""
        accounts = {number: "other" if number < 7 else "third" for number in range(4, 10)}
        story = Story(connections=with_accounts(fleet(9, interval=QUARTER), accounts))
        one = Patrol(story)
        one.run(HOUR, always(OK))
        since = story.now
        one.run(HOUR, always(DOWN))
        assert story.told == [PLATFORM_FAILED]
        first = first_seen(one, since)
        assert {number for moment, number in one.asked if since <= moment <= first + MINUTE} == set(range(1, 10))
        assert story.notifications[0].at - first <= 2 * MINUTE

    @pytest.mark.parametrize("minute", [0, 1, 2, 3, 40, 61, 62])
    def test_restart(self, minute: int) -> None:
        """A restart at any moment of it changes nothing of what is told."""
        one = patrol(6)
        for passed in range(150):
            if passed == minute + 5:
                one.start()
            one.run(MINUTE, always(DOWN) if 5 <= passed < 65 else always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]

    @pytest.mark.parametrize("interval", [MINUTE, HOUR])
    def test_other_intervals(self, interval: timedelta) -> None:
        """It is recognised as soon with checks that are closer or farther apart."""
        one = Patrol(Story(connections=fleet(6, interval=interval)))
        one.run(3 * interval, always(OK))
        since = one.story.now
        one.run(2 * HOUR, always(DOWN))
        assert one.story.told == [PLATFORM_FAILED]
        assert one.story.notifications[0].at - first_seen(one, since) <= 2 * MINUTE
        one.run(2 * HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]

    def test_reminder_after_a_look(self) -> None:
        """Before a reminder the connections are looked at; one that is over meanwhile is not reminded of."""
        one = patrol(3)
        one.run(DAY - 5 * MINUTE, always(DOWN))
        assert one.story.types == ["platform.failed"]
        one.run(HOUR, always(DOWN))
        assert one.story.types == ["platform.failed", "reminder"]
        reminder = one.story.notifications[1]
        assert {number for moment, number in one.asked if reminder.at - 2 * MINUTE <= moment <= reminder.at} == {1, 2, 3}


class TestSweep:
    """At the first sign the other connections of the platform are looked at."""

    def test_budget(self) -> None:
        """A single break costs one look at each other connection of its platform, and none elsewhere."""
        one = patrol(40, "linkedin", "threads")
        since = one.story.now
        one.run(QUARTER, failing(REJECTED, 4))
        first = min(moment for moment, number in one.asked if moment >= since and number == 4)
        looked = [number for moment, number in one.asked if first < moment <= first + 10 * SECOND]
        assert {number % 2 for number in looked if looked.count(number)} <= {0, 1}
        assert len([number for number in looked if number % 2 == 0]) <= 20
        assert one.requests(since, QUARTER) <= 40 + 20 + 3

    def test_size(self) -> None:
        """Of a large platform so many are looked at as the policy says."""
        one = patrol(60)
        one.story.policy = replace(a_policy(), scopes=replace(a_policy().scopes, sweep_size=10))
        since = one.story.now
        one.run(QUARTER, failing(REJECTED, 4))
        assert one.requests(since, QUARTER) <= 60 + 10 + 3

    def test_flapping_connection(self) -> None:
        """A connection that fails at every other check does not multiply the requests."""
        one = patrol(20)
        since, calls = one.story.now, iter(range(10_000))
        one.run(3 * HOUR, lambda number: REJECTED if number == 4 and next(calls) % 2 else OK)
        assert one.requests(since, 3 * HOUR) <= 2.5 * 12 * 20


class TestGroup:
    """Connections of one user break together, because a person changed something: one message, with their reason."""

    def test_password_change(self) -> None:
        """Eight pages of one user of twenty connections: one message with the cause and what to do, and one when all work again."""
        one = patrol(20)
        since = one.story.now
        pages = range(3, 11)
        one.run(3 * HOUR, failing(REJECTED, *pages))
        assert one.story.told == [GROUP_FAILED]
        told = one.story.notifications[0]
        assert (told.severity, told.reason, told.scope) == (Severity.CRITICAL, REJECTED, Scope.GROUP)
        assert set(told.facts.members) == set(pages)
        first = min(moment for moment, number in one.asked if moment >= since and number in pages)
        assert told.at - first <= 2 * MINUTE
        text = sentence(told, None, [one.story.connections[number] for number in told.facts.members])
        assert text.startswith("8 LinkedIn connections of main fail together since ")
        assert "the platform rejects the stored credential" in text
        assert text.endswith("Reconnect them on the PostPost dashboard.")
        assert "clears by itself" not in text
        one.run(HOUR, always(OK))
        assert one.story.told == [GROUP_FAILED, GROUP_RECOVERED]
        assert sentence(one.story.notifications[1], None).startswith("8 LinkedIn connections of main work again after")

    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_small_fleet(self, count: int) -> None:
        """All of a handful of connections are a group as well."""
        one = patrol(count)
        one.run(HOUR, always(REJECTED))
        assert one.story.told == [GROUP_FAILED]
        one.run(HOUR, always(OK))
        assert one.story.told == [GROUP_FAILED, GROUP_RECOVERED]

    def test_prevailing_reason(self) -> None:
        """Of texts that mean the same the prevailing one is told."""
        one = patrol(5)
        one.run(HOUR, lambda number: EXPIRED if number == 2 else REJECTED)
        assert one.story.told == [GROUP_FAILED]
        assert one.story.notifications[0].reason is REJECTED

    def test_two_causes(self) -> None:
        """Two connections with different causes are two messages."""
        one = patrol(4)
        one.run(HOUR, lambda number: {1: REJECTED, 2: Reason.TARGET_GONE}.get(number, OK))
        assert sorted(one.story.told) == [("1", "connection.failed", "opened"), ("2", "connection.failed", "opened")]

    def test_narrowest(self) -> None:
        """What breaks for one managed user is told of that user alone."""
        story = Story(connections=with_users(fleet(12, interval=QUARTER), dict.fromkeys((1, 2, 3, 4), "a" * 24)))
        one = Patrol(story)
        one.run(HOUR, always(OK))
        one.run(HOUR, failing(REJECTED, 1, 2, 3, 4))
        assert story.told == [(f"group:main/{'a' * 24}/linkedin", "group.failed", "opened")]
        assert ScopeKey.parse(story.told[0][0]) == ScopeKey("group", "main", "a" * 24, "linkedin")

    def test_everywhere(self) -> None:
        """What breaks for all users of a platform at once has one cause: the platform's incident, with their reason."""
        users = {1: "a" * 24, 2: "a" * 24, 3: "b" * 24, 4: "b" * 24}
        story = Story(connections=with_users(fleet(6, interval=QUARTER), users))
        one = Patrol(story)
        one.run(HOUR, always(OK))
        one.run(HOUR, always(REJECTED))
        assert story.told == [PLATFORM_FAILED]
        assert (story.notifications[0].reason, story.notifications[0].severity) == (REJECTED, Severity.CRITICAL)
        one.run(HOUR, always(OK))
        assert story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]

    def test_single_break(self) -> None:
        """A single break is told at its second check, not later than without any group."""
        one = patrol(12)
        delays = []
        for number in range(1, 13):
            since = one.story.now
            one.run(40 * MINUTE, failing(REJECTED, number))
            assert one.story.told[-1] == (str(number), "connection.failed", "opened")
            first = min(moment for moment, asked in one.asked if moment >= since and asked == number)
            delays.append(one.story.notifications[-1].at - first)
            one.run(40 * MINUTE, always(OK))
        assert max(delays) <= 90 * SECOND

    def test_later_break(self) -> None:
        """A connection that breaks a day later is not part of the group: it is told."""
        one = patrol(10)
        one.run(5 * HOUR, failing(REJECTED, 1, 2, 3, 4, 5))
        one.run(HOUR, failing(REJECTED, 1, 2, 3, 4, 5, 8))
        assert one.story.told == [GROUP_FAILED, ("8", "connection.failed", "opened")]

    def test_breaks_again(self) -> None:
        """One that was reconnected and breaks again while others of its group never worked is told."""
        one = patrol(10)
        one.run(5 * HOUR, failing(REJECTED, 1, 2, 3, 4, 5))
        one.run(5 * HOUR, failing(REJECTED, 1, 2, 3, 4))
        one.run(HOUR, failing(REJECTED, 1, 2, 3, 4, 5))
        assert one.story.told == [GROUP_FAILED, ("5", "connection.failed", "opened")]
        one.run(HOUR, always(OK))
        assert sorted(one.story.told[2:]) == sorted([("5", "connection.recovered", "closed"), GROUP_RECOVERED])

    def test_removed(self) -> None:
        """A group whose last broken connection leaves is over, without a recovery of anything else."""
        one = patrol(4)
        one.run(HOUR, failing(REJECTED, 1, 2))
        assert one.story.told == [GROUP_FAILED]
        one.story.retire(1)
        one.story.take_up_changes()
        one.run(HOUR, failing(REJECTED, 2))
        assert one.story.told == [GROUP_FAILED]

    @pytest.mark.slow
    def test_restart(self) -> None:
        """A restart at any minute changes nothing of what is told."""
        for minute in (0, 1, 2, 5, 30, 61, 62):
            one = patrol(6)
            for passed in range(110):
                if passed == minute + 5:
                    one.start()
                one.run(MINUTE, always(REJECTED) if 5 <= passed < 65 else always(OK))
            assert one.story.told == [GROUP_FAILED, GROUP_RECOVERED], minute


class TestAnotherCause:
    """Connections that fail together begin to fail for another reason, or more of them do: one message, on the incident that is open."""

    @pytest.mark.parametrize(("count", "minutes"), [(2, 45), (4, 20)])
    def test_of_a_platform(self, count: int, minutes: int) -> None:
        """Trouble of the platform turns into a rejected credential of all: what to do is told once, and the end when all work."""
        one = patrol(count)
        one.run(minutes * MINUTE, always(DOWN))
        changed_at = one.story.now
        one.run(HOUR, always(REJECTED))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_CHANGED]
        told = one.story.notifications[1]
        assert (told.severity, told.reason, told.facts.affected) == (Severity.CRITICAL, REJECTED, count)
        assert told.facts.cause_since is not None
        assert told.facts.cause_since >= changed_at
        text = sentence(told, None)
        assert text.startswith(f"{count} LinkedIn connections fail for another reason since ")
        assert text.endswith("Reconnect them on the PostPost dashboard.")
        one.run(HOUR, always(OK))
        assert one.story.told[2:] == [PLATFORM_RECOVERED]

    @pytest.mark.parametrize("restarted", [False, True])
    def test_of_a_group(self, *, restarted: bool) -> None:
        """Six connections that were rejected lose their rights: one message, none that they work again; also after a restart."""
        one = patrol(6)
        one.run(90 * MINUTE, always(REJECTED))
        if restarted:
            one.start()
        one.run(3 * HOUR, always(Reason.RIGHTS_LOST))
        assert one.story.told == [GROUP_FAILED, GROUP_CHANGED]
        assert (one.story.notifications[1].reason, one.story.notifications[1].facts.affected) == (Reason.RIGHTS_LOST, 6)
        if restarted:
            one.start()
        one.run(HOUR, always(OK))
        assert one.story.told[2:] == [GROUP_RECOVERED]

    def test_of_one(self) -> None:
        """A single connection that fails otherwise than its group is told by itself, since it does."""
        one = patrol(6)
        one.run(90 * MINUTE, always(REJECTED))
        changed_at = one.story.now
        one.run(HOUR, lambda number: Reason.RIGHTS_LOST if number == 3 else REJECTED)
        assert one.story.told == [GROUP_FAILED, ("3", "connection.failed", "opened")]
        failed_at = one.story.notifications[1].facts.failed_at
        assert failed_at is not None
        assert failed_at >= changed_at

    def test_one_by_one(self) -> None:
        """The members of an outage turn out to be broken each in its own way: they no longer fail together, and do not work again."""
        one = patrol(3)
        one.run(HOUR, always(DOWN))
        one.run(2 * HOUR, lambda number: {1: REJECTED, 2: Reason.RIGHTS_LOST}.get(number, OK))
        assert one.story.told[0] == PLATFORM_FAILED
        assert sorted(one.story.told[1:3]) == [("1", "connection.failed", "opened"), ("2", "connection.failed", "opened")]
        assert one.story.told[3:] == [PLATFORM_RECOVERED]
        text = sentence(one.story.notifications[-1], None)
        assert text.startswith("LinkedIn connections no longer fail together after 1h")
        assert text.endswith("; 2 of 3 still fail.")

    def test_within_an_outage(self) -> None:
        """Two of four connections are rejected while the platform has trouble: they are one incident of their own."""
        one = patrol(4)
        one.run(90 * MINUTE, always(DOWN))
        one.run(HOUR, lambda number: REJECTED if number < 3 else DOWN)
        assert one.story.told == [PLATFORM_FAILED, GROUP_FAILED]
        assert set(one.story.notifications[1].facts.members) == {1, 2}

    def test_after_an_outage(self) -> None:
        """Half of the connections turn out to be rejected when the platform works again: one message."""
        one = patrol(8)
        one.run(HOUR, always(DOWN))
        one.run(HOUR, failing(REJECTED, 1, 2, 3, 4))
        assert one.story.told == [PLATFORM_FAILED, GROUP_FAILED, PLATFORM_RECOVERED]

    def test_second_wave(self) -> None:
        """Seven more break two hours after five did: the open incident says how many there are now, and ends once."""
        one = patrol(12)
        one.run(2 * HOUR, failing(REJECTED, *range(1, 6)))
        one.run(HOUR, always(REJECTED))
        assert one.story.told == [GROUP_FAILED, GROUP_CHANGED]
        grown = one.story.notifications[1]
        assert (grown.facts.affected, len(grown.facts.members)) == (12, 12)
        assert sentence(grown, None).startswith("12 LinkedIn connections of main fail together since ")
        one.run(HOUR, always(OK))
        assert one.story.told[2:] == [GROUP_RECOVERED]

    def test_second_wave_of_another_cause(self) -> None:
        """What breaks for another reason is named alone, and those that broke before are not told one by one."""
        one = patrol(12)
        one.run(2 * HOUR, failing(REJECTED, *range(1, 6)))
        one.run(2 * HOUR, lambda number: REJECTED if number < 6 else Reason.RIGHTS_LOST)
        assert one.story.told == [GROUP_FAILED, GROUP_CHANGED]
        assert set(one.story.notifications[1].facts.members) == set(range(6, 13))
        one.run(2 * HOUR, failing(Reason.RIGHTS_LOST, 12))
        assert one.story.told == [GROUP_FAILED, GROUP_CHANGED]
        one.run(HOUR, always(OK))
        assert one.story.told[2:] == [GROUP_RECOVERED]

    def test_trouble_replaces_no_work(self) -> None:
        """While connections wait for a person, trouble of the platform at the others does not say that nothing is to do."""
        one = Patrol(Story(connections=with_users(fleet(12, interval=QUARTER), {12: "a" * 24})))
        one.run(HOUR, always(OK))
        one.run(HOUR, failing(REJECTED, *range(1, 6)))
        one.run(2 * HOUR, lambda number: REJECTED if number < 6 else OK if number == 12 else DOWN)
        assert one.story.told == [GROUP_FAILED, PLATFORM_FAILED]
        assert [each.reason for each in one.story.notifications] == [REJECTED, DOWN]
        one.run(HOUR, always(OK))
        assert sorted(one.story.told[2:]) == [GROUP_RECOVERED, PLATFORM_RECOVERED]

    def test_group_widens(self) -> None:
        """The platform's trouble of one user reaches the others: one message goes on with both, and no end of the first is told."""
        one = Patrol(Story(connections=with_users(fleet(8, interval=QUARTER), dict.fromkeys(range(1, 5), "a" * 24))))
        one.run(HOUR, always(OK))
        one.run(HOUR, failing(DOWN, 1, 2))
        assert [kind for _, kind, _ in one.story.told] == ["group.failed"]
        group = one.story.notifications[0]
        one.run(HOUR, always(DOWN))
        assert [kind for _, kind, _ in one.story.told[1:]] == ["platform.failed", "group.closed"]
        platform, closed = one.story.notifications[1:]
        assert (platform.facts.affected, platform.incident.opened_at) == (8, group.incident.opened_at)
        assert (closed.facts.included, closed.facts.closed_why) == (True, "replaced")
        assert closed.facts.members == group.facts.members
        assert "go on failing, with others" in sentence(closed, None)
        one.run(HOUR, always(OK))
        assert one.story.told[3:] == [PLATFORM_RECOVERED]
        assert sentence(one.story.notifications[-1], None).startswith("The LinkedIn connections work again after ")

    def test_broken_before(self) -> None:
        """The end of an outage names those that were broken before it and still are: it does not say that all work."""
        one = patrol(4)
        one.run(2 * HOUR, failing(REJECTED, 2))
        one.run(HOUR, lambda number: REJECTED if number == 2 else DOWN)
        one.run(HOUR, failing(REJECTED, 2))
        assert one.story.told == [("2", "connection.failed", "opened"), PLATFORM_FAILED, PLATFORM_RECOVERED]
        assert sentence(one.story.notifications[-1], None).endswith("; 1 of 4 still fails.")

    @pytest.mark.parametrize(
        ("count", "reason", "expected"), [(2, REJECTED, GROUP_FAILED), (8, REJECTED, GROUP_FAILED), (3, DOWN, PLATFORM_FAILED)]
    )
    def test_found_after_an_outage_of_the_api(self, count: int, reason: Reason, expected: tuple[str, str, str]) -> None:
        """A common cause that the first answers after an outage of the API show is one message."""
        one = patrol(count)
        one.run(HOUR, always(TIMEOUT))
        one.run(HOUR, always(reason))
        assert one.story.types[:2] == ["api.failed", "api.recovered"]
        assert one.story.told[2:] == [expected]


class TestFlapping:
    """A group that fails again and again."""

    def test_group(self) -> None:
        """Its connections are not told one by one; from its third failure on, the ends are held, and repeats that are short."""
        one = patrol(4)
        for _ in range(5):
            one.run(20 * MINUTE, always(REJECTED))
            one.run(20 * MINUTE, always(OK))
        one.run(3 * HOUR, always(REJECTED))
        assert {subject for subject, _, _ in one.story.told} == {"group:main/linkedin"}
        assert one.story.told[:5] == [GROUP_FAILED, GROUP_RECOVERED] * 2 + [GROUP_FAILED]
        assert one.story.told[5:] == [GROUP_CHANGED] * len(one.story.told[5:])
        assert 1 <= len(one.story.told[5:]) <= 3
        one.run(5 * HOUR, always(OK))
        assert one.story.told[-1] == GROUP_RECOVERED


class TestApi:
    """A short outage of the API is no page; throttling of all accounts is one warning."""

    @pytest.mark.parametrize("minutes", [4, 8])
    def test_short(self, minutes: int) -> None:
        """An outage that checks would hardly notice is recorded, but not told."""
        one = patrol(12)
        since = one.story.now
        while one.requests(since, DAY) == 0:
            one.run(5 * SECOND, always(TIMEOUT))
        one.run(minutes * MINUTE, always(TIMEOUT))
        assert one.story.scope("api:api.example").open
        one.run(HOUR, always(OK))
        assert one.story.told == []
        assert [one.level for one in one.story.transitions] == ["failed", "fine"]

    def test_long(self) -> None:
        """One that lasts is told after ten minutes."""
        one = patrol(12)
        since = one.story.now
        one.run(HOUR, always(TIMEOUT))
        assert one.story.types == ["api.failed"]
        assert 10 * MINUTE <= one.story.notifications[0].at - first_seen(one, since) <= 11 * MINUTE
        one.run(HOUR, always(OK))
        assert one.story.types == ["api.failed", "api.recovered"]

    def test_wait_is_a_key(self) -> None:
        """Who wants to know at once says so."""
        one = patrol(12)
        one.story.policy = replace(a_policy(), scopes=replace(a_policy().scopes, api_notify_after=timedelta(seconds=1)))
        one.run(5 * MINUTE, always(TIMEOUT))
        assert one.story.types == ["api.failed"]

    @staticmethod
    def _throttle(one: Patrol, span: timedelta, throttled: Callable[[str], bool]) -> None:
        """Each account that is throttled makes a request every five minutes, which is refused; the others are answered."""
        end = one.story.now + span
        while one.story.now < end:
            for number, connection in one.story.connections.items():
                if number < 4:
                    one.story.check(THROTTLED if throttled(connection.account) else OK, number)
            one.story.pass_time(5 * MINUTE)

    def test_throttling(self) -> None:
        """Three accounts that are throttled are one warning, and one end; none of their connections moves."""
        story = Story(connections=with_accounts(fleet(3, interval=QUARTER), {2: "other", 3: "third"}))
        one = Patrol(story)
        one.run(HOUR, always(OK))
        self._throttle(one, 2 * HOUR, lambda _: True)
        assert story.told == [("limit:api.example", "api.failed", "opened")]
        assert story.notifications[0].severity is Severity.WARNING
        assert sentence(story.notifications[0], None).startswith("The API limits the requests of all accounts since")
        self._throttle(one, HOUR, lambda _: False)
        assert story.told[1:] == [("limit:api.example", "api.recovered", "closed")]

    def test_throttling_of_one(self) -> None:
        """One of several accounts that is throttled is told by name, as a warning."""
        story = Story(connections=with_accounts(fleet(3, interval=QUARTER), {2: "other", 3: "third"}))
        one = Patrol(story)
        one.run(HOUR, always(OK))
        self._throttle(one, 2 * HOUR, lambda account: account == "other")
        assert story.told == [("rate:other", "account.failed", "opened")]
        assert story.notifications[0].severity is Severity.WARNING
        self._throttle(one, HOUR, lambda _: False)
        assert story.told[1:] == [("rate:other", "account.recovered", "closed")]

    def test_reminder_after_a_restart(self) -> None:
        """An outage of a day that ended while the monitor was down is not reminded of."""
        one = patrol(6)
        one.run(HOUR, always(TIMEOUT))
        one.story.now += DAY
        one.start()
        one.run(HOUR, always(OK))
        assert one.story.types == ["api.failed", "api.recovered"]


class TestPartialOutage:
    """The platform fails some requests, or some connections, or with many texts: one message that it has trouble, one that it is over."""

    @pytest.mark.parametrize("share", [0.3, 0.7])
    def test_some_requests(self, share: float) -> None:
        """Each test fails so often, for three hours: whatever single looks show, it is one outage; nothing fails in its last message."""
        one, random = patrol(12), Random(7)
        one.run(3 * HOUR, lambda _: DOWN if random.random() < share else OK)
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
        assert one.story.notifications[-1].facts.still_failing == 0

    @pytest.mark.parametrize("accounts", [{}, {number: f"account{number % 3}" for number in range(1, 13)}])
    def test_some_connections(self, accounts: Mapping[int, str]) -> None:
        """A third of the connections, of one or three accounts."""
        one = patrol(12)
        one.story.connections = with_accounts(one.story.connections, accounts)
        one.run(HOUR, always(OK))
        one.run(2 * HOUR, failing(DOWN, 1, 2, 3, 4))
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]

    def test_some_of_one_user(self) -> None:
        """Three of eight pages whose user has changed the password are one message, and one when they are reconnected."""
        one = patrol(8)
        one.run(2 * HOUR, failing(REJECTED, 1, 2, 3))
        one.run(HOUR, always(OK))
        assert one.story.told == [GROUP_FAILED, GROUP_RECOVERED]

    def test_unknown_texts(self) -> None:
        """Half of them show a text that says nothing of the platform, first at some, then at others: the same outage, nothing to do."""
        one, begins = patrol(12), START + HOUR
        unknown = Reason.VALIDATION_FAILED
        one.run(2 * HOUR, lambda number: unknown if (number + (one.story.now - begins) // HOUR) % 2 else DOWN)
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
        assert [(each.severity, each.reason) for each in one.story.notifications] == [("warning", DOWN)] * 2

    def test_unknown_texts_of_few(self) -> None:
        """Two connections that at first show only texts that say nothing: the platform's trouble, as soon as one of them names it."""
        one, begins = patrol(2), START + HOUR
        one.run(2 * HOUR, lambda _: Reason.VALIDATION_FAILED if one.story.now - first_seen(one, begins) < 2 * MINUTE else DOWN)
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
        assert one.story.notifications[0].reason is DOWN

    @pytest.mark.parametrize("own", [DOWN, REJECTED])
    def test_unknown_text_of_one_with_own_trouble(self, own: Reason) -> None:
        """It shows an unknown text during the outage, which says nothing of its own trouble; after the outage that is news if it stays."""
        one, unknown = patrol(6), Reason.VALIDATION_FAILED
        one.run(2 * HOUR, failing(own, 3))
        one.run(HOUR, lambda number: unknown if number == 3 else DOWN)
        assert one.story.told == [("3", "connection.failed", "opened"), PLATFORM_FAILED]
        one.run(HOUR, failing(own, 3))
        assert one.story.told[2:] == [PLATFORM_RECOVERED]
        one.run(HOUR, failing(unknown, 3))
        assert one.story.told[3:] == [("3", "connection.failed", "changed")]

    def test_unknown_text_after_a_repair(self) -> None:
        """Unknown texts of an outage do not bring back the cause of an earlier failure, which was repaired."""
        one = patrol(4)
        one.run(HOUR, failing(REJECTED, 1))
        one.run(HOUR, always(OK))
        before = one.story.told
        assert [kind for _, kind, _ in before] == ["connection.failed", "connection.recovered"]
        one.run(HOUR, lambda number: Reason.VALIDATION_FAILED if number == 1 else DOWN)
        one.run(HOUR, always(OK))
        assert one.story.told[2:] == [PLATFORM_FAILED, PLATFORM_RECOVERED]

    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_some_requests_of_few(self, count: int) -> None:
        """Seven of ten tests fail for hours: one outage, and it is over only when it is."""
        one, random = patrol(count), Random(11)
        one.run(3 * HOUR, lambda _: DOWN if random.random() < 0.7 else OK)
        over = one.story.now
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
        assert one.story.notifications[1].at >= over

    def test_process_down(self) -> None:
        """The process stops when it has seen each of them fail once, for longer than two rounds."""
        one = patrol(12)
        while not all(state.failures for state in one.story.states.values()):
            one.run(5 * SECOND, always(DOWN))
            one.story.review()
        assert one.story.scope("platform:linkedin").suspect_at is not None
        one.story.jump(45 * MINUTE)
        one.start()
        one.run(HOUR, always(DOWN))
        one.run(HOUR, always(OK))
        assert one.story.told == [PLATFORM_FAILED, PLATFORM_RECOVERED]
