"""One cause, one notification: for every scope a story by a virtual clock, and the exact list of what was told."""

import itertools
from datetime import timedelta
from functools import partial

import pytest

from monitor.domain.events import Topic
from monitor.domain.policy import ScopePolicy
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import LastError
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, a_connection, a_policy, a_reply, a_token_life, changed
from tests.patrol import Answer, Patrol, fleet
from tests.sampling import sampled
from tests.story import Story

OK, BAD, GONE, WRONG = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.CONNECTION_MISSING, Reason.ID_REFUSED
CRASHED, THROTTLED, REVOKED = Reason.API_VALIDATOR_FAILED, Reason.API_THROTTLED, Reason.API_UNAUTHORIZED

API_FAILED = ("api:api.example", "api.failed", "opened")
API_RECOVERED = ("api:api.example", "api.recovered", "closed")
ACCOUNT_FAILED = ("account:main", "account.failed", "opened")
ACCOUNT_RECOVERED = ("account:main", "account.recovered", "closed")
GROUP_FAILED = ("group:main/linkedin", "group.failed", "opened")
GROUP_RECOVERED = ("group:main/linkedin", "group.recovered", "closed")

AT_ONCE = a_policy(scopes=ScopePolicy(api_notify_after=SECOND))
"""An outage of the API is told as soon as its incident opens."""

OUTAGES = [
    Reason.API_DNS_FAILED,
    Reason.API_UNREACHABLE,
    Reason.API_TLS_EXPIRED,
    Reason.API_TLS_FAILED,
    Reason.API_TIMEOUT,
    Reason.API_DISCONNECTED,
    Reason.API_REDIRECTED,
    Reason.API_FAILED,
    Reason.API_NOT_FOUND,
    Reason.PROXY_ANSWERED,
    Reason.CAPTIVE_PORTAL,
    Reason.REPLY_NOT_JSON,
    Reason.REPLY_INVALID,
    Reason.REPLY_MISMATCHED,
]


def always(reason: Reason) -> Answer:
    """An API that answers the same to everybody."""
    return lambda _: reason


def patrol(connections: int = 200, *platforms: str, **overrides: object) -> Patrol:
    """A patrol of so many connections, checked once a minute."""
    values = {"interval": MINUTE, **overrides}
    return Patrol(Story(connections=fleet(connections, *platforms, **values)))


def assert_untouched(story: Story) -> None:
    """No connection's health moved, or is about to."""
    assert {state.health for state in story.states.values()} == {Health.OK}
    assert all(state.pending is None for state in story.states.values())


class TestApi:
    """The API is down: told once, whatever the way in which it is down."""

    @pytest.mark.parametrize("reason", sampled(OUTAGES))
    def test_outage(self, reason: Reason) -> None:
        """Ten minutes down and back: one event each, none of any of the connections, nine in ten requests spared."""
        one = patrol(200 if reason is Reason.API_UNREACHABLE else 50)
        one.run(10 * MINUTE, always(OK))
        usual = one.requests(one.story.now - 5 * MINUTE, 5 * MINUTE)
        down_at = one.story.now
        one.run(10 * MINUTE, always(reason))
        assert one.story.told == [API_FAILED]
        opened_at = one.story.notifications[0].at
        assert 2 * MINUTE <= opened_at - down_at <= 2 * MINUTE + 15 * SECOND
        assert one.requests(opened_at, 5 * MINUTE) <= usual / 10
        one.run(20 * MINUTE, always(OK))
        assert one.story.told == [API_FAILED, API_RECOVERED]
        assert_untouched(one.story)

    def test_canaries(self) -> None:
        """While it is down somebody is asked every 15 seconds, each connection in turn."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(3 * MINUTE, always(Reason.API_TIMEOUT))
        since = one.story.now
        one.run(5 * MINUTE, always(Reason.API_TIMEOUT))
        asked = [(moment, number) for moment, number in one.asked if moment >= since]
        gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(asked)]
        assert min(gaps) >= 15 * SECOND
        assert len(asked) == 20
        assert len({number for _, number in asked}) == 20

    def test_checked_again_after_it(self) -> None:
        """Once it is over, all connections are asked again at the account's pace, the oldest evidence first."""
        one = patrol(200, interval=15 * MINUTE)
        one.run(30 * MINUTE, always(OK))
        one.run(20 * MINUTE, always(Reason.API_UNREACHABLE))
        evidence = {number: state.last_evidence_at for number, state in one.story.states.items()}
        before = one.story.now
        while one.story.told != [API_FAILED, API_RECOVERED]:
            before = one.story.now
            one.run(SECOND, always(OK))
        canaries = {number for moment, number in one.asked if evidence[number] and moment >= before - 3 * MINUTE}
        one.run(40 * SECOND, always(OK))
        asked = [number for moment, number in one.asked if moment > before and number not in canaries]
        assert set(asked) | canaries == set(range(1, 201))
        first_time = list(dict.fromkeys(asked))
        ages = [evidence[number] for number in first_time]
        assert ages == sorted(ages, key=str)

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_few_connections(self, count: int) -> None:
        """With few connections and long intervals it is told within ten minutes all the same, and so is its end."""
        one = patrol(count, interval=HOUR)
        one.run(3 * HOUR, always(OK))
        one.run(90 * MINUTE, always(Reason.API_UNREACHABLE))
        assert one.story.told == [API_FAILED]
        recovering_at = one.story.now
        one.run(90 * MINUTE, always(OK))
        assert one.story.told == [API_FAILED, API_RECOVERED]
        assert one.story.notifications[-1].at - recovering_at <= 3 * MINUTE
        first_bad = one.story.notifications[0].incident.opened_at
        assert one.story.notifications[0].at - first_bad <= 10 * MINUTE + 15 * SECOND

    def test_blip(self) -> None:
        """Ninety seconds are not an outage, and the checks go on meanwhile."""
        one = patrol()
        one.run(10 * MINUTE, always(OK))
        since = one.story.now
        one.run(90 * SECOND, always(Reason.API_UNREACHABLE))
        assert one.requests(since, 90 * SECOND) >= 300
        one.run(10 * MINUTE, always(OK))
        assert one.story.told == []

    @pytest.mark.slow
    def test_most_of_it(self) -> None:
        """Nine of ten answers lost is an outage too, and one of ten is none."""
        numbers = itertools.count()
        one = patrol(100)
        one.run(10 * MINUTE, lambda _: Reason.API_TIMEOUT if next(numbers) % 10 == 0 else OK)
        assert one.story.told == []
        one.run(10 * MINUTE, lambda _: OK if next(numbers) % 10 == 0 else Reason.API_TIMEOUT)
        assert one.story.told == [API_FAILED]
        one.run(20 * MINUTE, lambda _: Reason.API_TIMEOUT if next(numbers) % 10 == 0 else OK)
        assert one.story.told == [API_FAILED, API_RECOVERED]

    def test_one_slow_connection(self) -> None:
        """A single connection whose test times out for ever is no outage; it becomes stale."""
        one = patrol(2, interval=15 * MINUTE)
        one.run(3 * HOUR, lambda number: Reason.API_TIMEOUT if number == 1 else OK)
        assert one.story.told == [("1", "connection.stale", "opened")]

    def test_broken_meanwhile(self) -> None:
        """What broke during the outage is told after it, once it is confirmed afresh."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(10 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(10 * MINUTE, lambda number: BAD if number == 7 else OK)
        assert one.story.told == [API_FAILED, API_RECOVERED, ("7", "connection.failed", "opened")]

    def test_broken_before(self) -> None:
        """A failure that was known before is neither told again nor healed by the outage."""
        one = patrol(20)
        one.run(10 * MINUTE, lambda number: BAD if number == 7 else OK)
        one.run(10 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(10 * MINUTE, lambda number: BAD if number == 7 else OK)
        assert one.story.told == [("7", "connection.failed", "opened"), API_FAILED, API_RECOVERED]

    @pytest.mark.slow
    def test_restart_meanwhile(self) -> None:
        """A restart at any minute of an outage changes nothing of what is told."""
        for minute in range(14):
            one = patrol(20)
            one.run(10 * MINUTE, always(OK))
            for passed in range(24):
                if passed == minute:
                    one.start()
                one.run(MINUTE, always(Reason.API_UNREACHABLE) if passed < 10 else always(OK))
            assert one.story.told == [API_FAILED, API_RECOVERED], minute
            assert_untouched(one.story)

    @pytest.mark.slow
    def test_reminders(self) -> None:
        """An outage of two days is told again after each."""
        one = patrol(5)
        one.run(10 * MINUTE, always(OK))
        one.run(2 * DAY + HOUR, always(Reason.API_UNREACHABLE))
        assert one.story.types == ["api.failed", "reminder", "reminder"]

    def test_all_tests_crash(self) -> None:
        """When the API's test crashes for everybody, that is the API's trouble and told as such."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(HOUR, always(CRASHED))
        assert one.story.told == [API_FAILED]
        one.run(10 * MINUTE, always(OK))
        assert one.story.told == [API_FAILED, API_RECOVERED]

    def test_everybody_missing(self) -> None:
        """When the API knows none of many connections it was asked in the wrong place: nobody is missing."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(HOUR, always(GONE))
        assert one.story.told == [API_FAILED]
        one.run(10 * MINUTE, always(OK))
        assert one.story.told == [API_FAILED, API_RECOVERED]
        assert_untouched(one.story)

    def test_all_three_missing(self) -> None:
        """A few connections may all be gone."""
        one = patrol(3)
        one.run(10 * MINUTE, always(OK))
        one.run(HOUR, always(GONE))
        assert sorted(one.story.told) == [(str(number), "connection.missing", "opened") for number in (1, 2, 3)]

    @pytest.mark.slow
    def test_old_evidence_after_it(self) -> None:
        """After a day's outage nobody is stale before there was time to look."""
        one = patrol(20, interval=15 * MINUTE)
        one.run(HOUR, always(OK))
        one.run(DAY - HOUR, always(Reason.API_UNREACHABLE))
        while one.story.types[-1] != "api.recovered":
            one.run(SECOND, always(OK))
        for number in one.story.connections:
            one.story.check(Reason.MONITOR_INTERNAL, number)
        one.story.pass_time(MINUTE)
        assert one.story.told == [API_FAILED, API_RECOVERED]

    def test_token_meanwhile(self) -> None:
        """A token that slips below a threshold during the outage opens nothing then; it is told after it, once."""
        story = Story(connections=fleet(5, interval=MINUTE), policy=a_policy(stale_after=12 * HOUR))
        end = story.now + 7 * DAY + 2 * HOUR
        one = Patrol(story)

        def answer(number: int) -> Reason:
            left = (end - story.now) // HOUR * HOUR
            story.replies[number] = a_reply(platform_id=f"linkedin-page{number}", permissions=("p",), token=a_token_life(left))
            return OK

        one.run(HOUR, answer)
        assert story.types == ["token.expiring"] * 5
        story.replies.clear()
        one.run(3 * HOUR, always(Reason.API_UNREACHABLE))
        assert story.types == ["token.expiring"] * 5 + ["api.failed"]
        assert {state.topic(Topic.EXPIRY).level for state in story.states.values()} == {"14d"}
        one.run(HOUR, answer)
        assert story.types[6:] == ["api.recovered"] + ["token.expiring"] * 5


class TestAccount:
    """The key is refused: told once, and hardly asked any more."""

    @pytest.mark.parametrize("reason", [Reason.API_UNAUTHORIZED, Reason.API_FORBIDDEN])
    def test_revoked(self, reason: Reason) -> None:
        """A revoked key: one event, few requests in the next hour, one close, no flips."""
        one = patrol(50)
        one.run(10 * MINUTE, always(OK))
        revoked_at = one.story.now
        one.run(2 * HOUR, always(reason))
        assert one.story.told == [ACCOUNT_FAILED]
        assert one.requests(revoked_at, HOUR) <= 18
        assert one.story.notifications[0].at - revoked_at <= 32 * SECOND
        one.run(20 * MINUTE, always(OK))
        assert one.story.told == [ACCOUNT_FAILED, ACCOUNT_RECOVERED]
        assert_untouched(one.story)

    def test_swapped_key(self) -> None:
        """After a reload with a good key somebody is asked at once."""
        one = patrol(50, interval=HOUR)
        one.run(3 * HOUR, always(OK))
        one.run(HOUR, always(REVOKED))
        one.start()
        swapped_at = one.story.now
        one.run(5 * SECOND, always(OK))
        assert one.asked[-1][0] - swapped_at <= 5 * SECOND
        assert one.story.told == [ACCOUNT_FAILED, ACCOUNT_RECOVERED]

    def test_single_refusal(self) -> None:
        """One 401 that the second look does not confirm is not told."""
        one = patrol(50)
        one.run(10 * MINUTE, always(OK))
        answers = iter([REVOKED])
        one.run(10 * MINUTE, lambda _: next(answers, OK))
        assert one.story.told == []

    def test_other_account(self) -> None:
        """Other accounts go on as if nothing were."""
        story = Story(connections=fleet(40, interval=MINUTE))
        for number in range(21, 41):
            story.connections[number] = changed(story.connections[number], account="other")
        one = Patrol(story)
        one.run(10 * MINUTE, always(OK))
        since = story.now
        one.run(30 * MINUTE, lambda number: REVOKED if number <= 20 else OK)
        assert story.told == [ACCOUNT_FAILED]
        assert 590 <= sum(1 for moment, number in one.asked if moment >= since and number > 20) <= 610

    def test_single_connection(self) -> None:
        """The only connection of an account, asked once an hour: told half a minute after the first refusal."""
        one = patrol(1, interval=HOUR)
        one.run(2 * HOUR, always(OK))
        one.run(2 * HOUR, always(REVOKED))
        assert one.story.told == [ACCOUNT_FAILED]
        assert one.story.notifications[0].at - one.story.notifications[0].incident.opened_at == 30 * SECOND

    @pytest.mark.slow
    def test_restart_meanwhile(self) -> None:
        """A restart between the first refusal and the end changes nothing of what is told."""
        for moment in (0, 10, 29, 31, 100, 300):
            one = patrol(50)
            one.run(10 * MINUTE, always(OK))
            one.run(moment * SECOND, always(REVOKED))
            one.start()
            one.run(HOUR, always(REVOKED))
            one.start()
            one.run(20 * MINUTE, always(OK))
            assert one.story.told == [ACCOUNT_FAILED, ACCOUNT_RECOVERED]
            assert_untouched(one.story)


def two_accounts(main: int, other: int, **overrides: object) -> Patrol:
    """A patrol of two accounts: the connections from 1 on belong to `main`, those after them to `other`."""
    connections = fleet(main + other, **{"interval": MINUTE, **overrides})
    for number in range(main + 1, main + other + 1):
        connections[number] = changed(connections[number], account="other")
    return Patrol(Story(connections=connections))


SERVICE_FAILED = ("service:other", "account.failed", "opened")
SERVICE_RECOVERED = ("service:other", "account.recovered", "closed")


class TestService:
    """The API answers one account and fails for another: told once, about that account."""

    @pytest.mark.slow
    @pytest.mark.parametrize("reason", sampled([CRASHED, Reason.API_FAILED, Reason.API_TIMEOUT, Reason.PROXY_ANSWERED]))
    def test_fails_for_one(self, reason: Reason) -> None:
        """Two hours of it: one event and its end, nobody becomes stale or moves, and the others are asked as ever."""
        one = two_accounts(20, 20)
        one.run(10 * MINUTE, always(OK))
        since = one.story.now
        one.run(2 * HOUR, lambda number: reason if number > 20 else OK)
        assert one.story.told == [SERVICE_FAILED]
        # Tests that crash accuse nobody before every test within the window of five minutes has.
        told_at, window = one.story.notifications[0].at, 5 * MINUTE if reason is CRASHED else timedelta(0)
        assert 2 * MINUTE <= told_at - since <= 3 * MINUTE + window
        assert sum(1 for moment, number in one.asked if moment >= since and number <= 20) >= 20 * 119
        assert sum(1 for moment, number in one.asked if moment >= told_at and number > 20) <= 120 * 4
        one.run(20 * MINUTE, always(OK))
        assert one.story.told == [SERVICE_FAILED, SERVICE_RECOVERED]
        assert_untouched(one.story)

    def test_slow_checks(self) -> None:
        """With checks far apart it is told within minutes of the first of them all the same."""
        one = two_accounts(30, 5, interval=HOUR)
        one.run(2 * HOUR, always(OK))
        since = one.story.now
        one.run(2 * HOUR, lambda number: Reason.API_FAILED if number > 30 else OK)
        assert one.story.told == [SERVICE_FAILED]
        first = min(moment for moment, number in one.asked if moment >= since and number > 30)
        assert one.story.notifications[0].at - first <= 11 * MINUTE

    @pytest.mark.slow
    @pytest.mark.parametrize("interval", [MINUTE, HOUR])
    def test_most_connections(self, interval: timedelta) -> None:
        """An account with nine of ten connections is one account all the same: the API serves others, so it is not down."""
        one = two_accounts(5, 45, interval=interval)
        one.run(2 * interval, always(OK))
        one.run(3 * HOUR, lambda number: Reason.API_FAILED if number > 5 else OK)
        assert one.story.told == [SERVICE_FAILED]

    @pytest.mark.slow
    def test_one_recovers_first(self) -> None:
        """An outage that ends for one account first is over; for the other it goes on by itself, and hides nothing of the first."""
        one = two_accounts(20, 20)
        one.run(10 * MINUTE, always(OK))
        one.run(20 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(HOUR, lambda number: Reason.API_FAILED if number > 20 else BAD if number == 3 else OK)
        assert one.story.told == [API_FAILED, API_RECOVERED, ("3", "connection.failed", "opened"), SERVICE_FAILED]
        one.run(20 * MINUTE, lambda number: BAD if number == 3 else OK)
        assert one.story.told[4:] == [SERVICE_RECOVERED]

    @pytest.mark.slow
    def test_outage_meanwhile(self) -> None:
        """An outage for all while one account fails already is told too, and each end for itself."""
        one = two_accounts(20, 20)
        one.run(10 * MINUTE, always(OK))
        one.run(20 * MINUTE, lambda number: Reason.API_FAILED if number > 20 else OK)
        one.run(20 * MINUTE, always(Reason.API_FAILED))
        assert one.story.told == [SERVICE_FAILED, API_FAILED]
        one.run(20 * MINUTE, always(OK))
        assert sorted(one.story.told[2:]) == sorted([SERVICE_RECOVERED, API_RECOVERED])
        assert_untouched(one.story)

    @pytest.mark.slow
    def test_broken_in_the_other_account(self) -> None:
        """What breaks in the account that is answered is told as ever."""
        one = two_accounts(20, 20)
        one.run(10 * MINUTE, always(OK))
        one.run(20 * MINUTE, lambda number: Reason.API_FAILED if number > 20 else OK)
        one.run(20 * MINUTE, lambda number: Reason.API_FAILED if number > 20 else BAD if number == 3 else OK)
        assert one.story.told == [SERVICE_FAILED, ("3", "connection.failed", "opened")]

    def test_somebody_who_is_held_back(self) -> None:
        """Who is asked whether the API serves anybody is no managed user whom it refuses: they would not be asked."""
        one = two_accounts(10, 10, interval=15 * MINUTE)
        for number in range(1, 8):
            one.story.connections[number] = changed(one.story.connections[number], user_id="a" * 24)
        one.run(HOUR, always(OK))
        one.run(HOUR, lambda number: Reason.USER_NOT_MANAGED if number < 8 else OK)
        one.run(2 * HOUR, lambda number: Reason.API_FAILED if number > 10 else Reason.USER_NOT_MANAGED if number < 8 else OK)
        assert one.story.told == [(f"user:main/{'a' * 24}", "account.failed", "opened"), SERVICE_FAILED]

    def test_beside_a_refused_account(self) -> None:
        """A refusal of the other account's key is an answer: the API is not down, until that account gets none either."""
        one = two_accounts(10, 10)
        one.run(10 * MINUTE, always(OK))
        one.run(20 * MINUTE, lambda number: REVOKED if number <= 10 else OK)
        one.run(HOUR, lambda number: REVOKED if number <= 10 else Reason.API_FAILED)
        assert one.story.told == [ACCOUNT_FAILED, SERVICE_FAILED]
        one.run(20 * MINUTE, always(OK))
        assert sorted(one.story.told[2:]) == sorted([ACCOUNT_RECOVERED, SERVICE_RECOVERED])
        one.run(10 * MINUTE, lambda number: REVOKED if number <= 10 else OK)
        down_at = one.story.now
        one.run(20 * MINUTE, always(Reason.API_UNREACHABLE))
        assert one.story.told[4:] == [ACCOUNT_FAILED, API_FAILED]
        assert one.story.notifications[-1].at - down_at <= 3 * MINUTE

    def test_everybody(self) -> None:
        """When it fails for all accounts that is the API's trouble, and only that is told."""
        one = two_accounts(20, 20)
        one.run(10 * MINUTE, always(OK))
        one.run(HOUR, always(Reason.API_FAILED))
        one.run(20 * MINUTE, always(OK))
        assert one.story.told == [API_FAILED, API_RECOVERED]

    @staticmethod
    def _of_these(failing: range, number: int) -> Reason:
        return Reason.API_FAILED if number in failing else OK

    @pytest.mark.slow
    def test_one_connection_of_it(self) -> None:
        """One connection, also the account's only one, that gets no answer is stale, and no trouble of its account."""
        for count in (1, 3):
            one = two_accounts(20, count, interval=5 * MINUTE)
            one.run(2 * HOUR, lambda number: Reason.API_TIMEOUT if number == 21 else OK)
            assert one.story.told == [("21", "connection.stale", "opened")]

    @pytest.mark.slow
    def test_restart_meanwhile(self) -> None:
        """A restart at any minute changes nothing of what is told."""
        for minute in (0, 1, 2, 5, 11):
            one = two_accounts(10, 10)
            one.run(10 * MINUTE, always(OK))
            for passed in range(24):
                if passed == minute:
                    one.start()
                failing = range(11, 21) if passed < 10 else range(0)
                one.run(MINUTE, partial(self._of_these, failing))
            assert one.story.told == [SERVICE_FAILED, SERVICE_RECOVERED], minute


class TestUser:
    """A managed user is refused: told once, naming the user; everybody else is unaffected."""

    @pytest.mark.parametrize("reason", sampled([Reason.USER_NOT_MANAGED, Reason.WORKSPACE_FORBIDDEN, Reason.USER_ID_INVALID]))
    def test_refused(self, reason: Reason) -> None:
        """Two users with 25 connections each, one refused: one event of that user, none of a connection."""
        story = Story(connections=fleet(50, interval=MINUTE))
        for number in story.connections:
            story.connections[number] = changed(story.connections[number], user_id="a" * 24 if number <= 25 else "b" * 24)
        one = Patrol(story)
        one.run(10 * MINUTE, always(OK))
        since = story.now
        one.run(HOUR, lambda number: reason if number <= 25 else OK)
        assert story.told == [(f"user:main/{'a' * 24}", "account.failed", "opened")]
        assert sum(1 for moment, number in one.asked if moment >= since and number > 25) >= 25 * 59
        assert sum(1 for moment, number in one.asked if moment >= since and number <= 25) <= 14
        one.run(20 * MINUTE, always(OK))
        assert story.told[1:] == [(f"user:main/{'a' * 24}", "account.recovered", "closed")]
        assert_untouched(story)

    @pytest.mark.parametrize("refused", [6, 9])
    def test_all_refused(self, refused: int) -> None:
        """All users of a workspace that are refused together are one incident of the workspace, two of three are one each."""
        story = Story(connections=fleet(12, interval=15 * MINUTE), beat=MINUTE)
        users = ("a" * 24, "b" * 24, "c" * 24)
        for number in range(1, 10):
            story.connections[number] = changed(story.connections[number], user_id=users[(number - 1) // 3])
        one = Patrol(story)
        one.run(HOUR, always(OK))
        one.run(HOUR, lambda number: Reason.USER_NOT_MANAGED if number <= refused else OK)
        names = ["user:main"] if refused == 9 else [f"user:main/{user}" for user in users[:2]]
        assert sorted(story.told) == [(name, "account.failed", "opened") for name in names]
        one.start()
        one.run(HOUR, lambda number: Reason.USER_NOT_MANAGED if number <= refused else OK)
        assert len(story.told) == len(names)
        one.run(HOUR, always(OK))
        assert sorted(story.told[len(names) :]) == [(name, "account.recovered", "closed") for name in names]
        assert_untouched(story)


class TestRate:
    """The API throttles: silence for half an hour, then one word; nothing becomes stale meanwhile."""

    def _throttled(self, one: Patrol, span: timedelta, every: timedelta = 5 * MINUTE) -> None:
        # The account pauses after each 429, so one request every now and then is all there is.
        end = one.story.now + span
        while one.story.now < end:
            one.story.check(THROTTLED, 1)
            one.story.pass_time(every)

    def test_throttled(self) -> None:
        """More than thirty minutes: one event, and one when it has been over for ten."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        self._throttled(one, 25 * MINUTE)
        assert one.story.told == []
        self._throttled(one, 2 * HOUR)
        assert one.story.told == [("rate:main", "account.failed", "opened")]
        one.run(HOUR, always(OK))
        assert one.story.told[1:] == [("rate:main", "account.recovered", "closed")]
        assert_untouched(one.story)

    def test_now_and_then(self) -> None:
        """A 429 every five minutes for an hour is throttling too, whatever is answered in between; and it is told once."""
        one = patrol(20)
        for _ in range(12):
            one.run(5 * MINUTE, always(OK))
            one.story.check(THROTTLED, 1)
        assert one.story.told == [("rate:main", "account.failed", "opened")]

    def test_broken_while_throttled(self) -> None:
        """Slow answers are answers: what breaks while the API throttles is told as ever."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        self._throttled(one, 40 * MINUTE)
        for _ in range(2):
            one.story.check(BAD, 7)
            one.story.check(THROTTLED, 1)
            one.story.pass_time(MINUTE)
        assert one.story.told == [("rate:main", "account.failed", "opened"), ("7", "connection.failed", "opened")]

    def test_long_pauses(self) -> None:
        """The pauses of an hour that the API asks for are no recovery."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        self._throttled(one, 6 * HOUR, every=HOUR)
        assert one.story.told == [("rate:main", "account.failed", "opened")]

    def test_old_throttling(self) -> None:
        """A 429 of this morning and one of tonight are not a day of throttling, not even after a restart."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.story.check(THROTTLED, 1)
        one.start()
        one.run(3 * HOUR, always(OK))
        one.story.check(THROTTLED, 1)
        assert one.story.told == []


class TestOneConnection:
    """Trouble of one connection never widens."""

    def test_crashing_test(self) -> None:
        """One id answers 500 for two hours, 20 others are fine: one stale event, nothing else."""
        one = patrol(21, interval=5 * MINUTE)
        one.run(2 * HOUR, lambda number: CRASHED if number == 3 else OK)
        assert one.story.told == [("3", "connection.stale", "opened")]
        one.run(20 * MINUTE, always(OK))
        assert one.story.told[1:] == [("3", "connection.recovered", "closed")]

    @pytest.mark.parametrize("count", [2, 3])
    def test_crashing_test_in_small_fleet(self, count: int) -> None:
        """The same with one or two others."""
        one = patrol(count, interval=15 * MINUTE)
        one.run(HOUR, always(OK))
        one.run(4 * HOUR, lambda number: CRASHED if number == 1 else OK)
        assert one.story.told == [("1", "connection.stale", "opened")]

    def test_missing(self) -> None:
        """The API's own 404 of one id is told once, after the third answer and ten minutes."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        since = one.story.now
        one.run(2 * HOUR, lambda number: GONE if number == 3 else OK)
        assert one.story.told == [("3", "connection.missing", "opened")]
        assert one.story.notifications[0].at - since >= 10 * MINUTE
        assert sum(1 for moment, number in one.asked if number == 3 and moment < one.story.notifications[0].at and moment >= since) >= 3

    def test_refused_id(self) -> None:
        """A day of 400: one event, at most a tenth of the requests."""
        one = patrol(2)
        one.run(10 * MINUTE, always(OK))
        since = one.story.now
        one.run(DAY, lambda number: WRONG if number == 1 else OK)
        assert one.story.told == [("1", "connection.misconfigured", "opened")]
        assert sum(1 for moment, number in one.asked if number == 1 and moment >= since) <= 24 * 60 / 10

    @pytest.mark.parametrize("interval", [timedelta(seconds=seconds) for seconds in (1, 3, 5, 9, 10, 30, 60, 3600, 86400)])
    def test_any_interval(self, interval: timedelta) -> None:
        """However short or long the interval is, a failure is confirmed, and so is its end."""
        one = patrol(2, interval=interval)
        one.story.policy = a_policy(reminders=timedelta(0))
        one.run(max(2 * interval, MINUTE), always(OK))
        one.run(2 * interval + 5 * MINUTE, lambda number: BAD if number == 1 else OK)
        assert one.story.told == [("1", "connection.failed", "opened")]
        one.run(2 * interval + 5 * MINUTE, always(OK))
        assert one.story.told[1:] == [("1", "connection.recovered", "closed")]


class TestPrecedence:
    """Where causes meet, the wider one is told."""

    def test_key_revoked_during_outage(self) -> None:
        """An outage that ends in a refused key: each is told once, no connection is."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(10 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(HOUR, always(REVOKED))
        one.run(20 * MINUTE, always(OK))
        assert sorted(one.story.types) == ["account.failed", "account.recovered", "api.failed", "api.recovered"]
        assert_untouched(one.story)

    @pytest.mark.slow
    def test_outage_during_platform_trouble(self) -> None:
        """The API goes down while connections have a cause in common: each is told once, also after both."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(10 * MINUTE, always(BAD))
        one.run(30 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(HOUR, always(BAD))
        assert one.story.told == [GROUP_FAILED, API_FAILED, API_RECOVERED]
        one.run(HOUR, always(OK))
        assert one.story.told[3:] == [GROUP_RECOVERED]

    def test_healed_meanwhile(self) -> None:
        """What broke together and healed during an outage is told to be over after it, once."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(10 * MINUTE, always(BAD))
        one.run(40 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(20 * MINUTE, always(OK))
        assert one.story.told == [GROUP_FAILED, API_FAILED, API_RECOVERED, GROUP_RECOVERED]
        assert {state.health for state in one.story.states.values()} == {Health.OK}

    @pytest.mark.slow
    def test_silent_after_it(self) -> None:
        """One of them that can't be looked at after the outage keeps its incident open: silence heals nothing."""
        one = patrol(20)
        one.run(10 * MINUTE, always(OK))
        one.run(10 * MINUTE, always(BAD))
        one.run(40 * MINUTE, always(Reason.API_UNREACHABLE))
        one.run(HOUR, lambda number: CRASHED if number == 7 else OK)
        assert one.story.told == [GROUP_FAILED, API_FAILED, API_RECOVERED]
        one.run(20 * MINUTE, always(OK))
        assert one.story.told[3:] == [GROUP_RECOVERED]


class TestClock:
    """The wall clock is set, or the machine sleeps: nothing is told because of it, and nothing is lost."""

    @pytest.mark.parametrize("hours", [1, 24 * 365, -1, -24 * 365])
    def test_jump(self, hours: int) -> None:
        """After a jump of the wall clock a failure is confirmed as soon as ever."""
        story = Story(connections=fleet(3))
        story.checks(OK, BAD)
        story.jump(timedelta(hours=hours))
        assert story.told == []
        story.checks(BAD, BAD)
        assert story.told == [("1", "connection.failed", "opened")]
        assert story.notifications[0].at >= story.notifications[0].incident.opened_at

    @pytest.mark.parametrize("hours", [1, 24 * 365, -1, -24 * 365])
    def test_jump_during_outage(self, hours: int) -> None:
        """An outage that is suspected when the clock jumps is told once, and ends once."""
        story = Story(connections=fleet(3), policy=AT_ONCE)
        for _ in range(2):
            for number in (1, 2, 3):
                story.check(OK, number)
            story.pass_time(MINUTE)
        for _ in range(2):
            for number in (1, 2, 3):
                story.check(Reason.API_TIMEOUT, number)
                story.pass_time(15 * SECOND)
        story.jump(timedelta(hours=hours))
        assert story.told == []
        for reason, told in ((Reason.API_TIMEOUT, [API_FAILED]), (OK, [API_FAILED, API_RECOVERED])):
            for _ in range(6):
                for number in (1, 2, 3):
                    story.check(reason, number)
                    story.pass_time(15 * SECOND)
            assert story.told == told

    def test_set_back_after_a_refusal(self) -> None:
        """A refusal that was first seen "next week" is confirmed half a minute after the next one all the same."""
        story = Story(connections=fleet(3))
        story.check(REVOKED)
        story.jump(-7 * DAY)
        story.checks(REVOKED, REVOKED, REVOKED, every=31 * SECOND)
        assert story.told == [ACCOUNT_FAILED]

    def test_suspend_while_flapping(self) -> None:
        """Hours that the machine slept are no calm: that a flapping connection works again is said after a check."""
        story = Story()
        for _ in range(4):
            story.checks(OK, OK, BAD, BAD, every=MINUTE)
        assert story.types[-1] == "connection.flapping"
        told = len(story.told)
        story.jump(5 * HOUR)
        story.pass_time(10 * MINUTE)
        assert len(story.told) == told
        story.checks(*[OK] * 10, every=15 * MINUTE)
        assert story.types[told:][0] == "connection.recovered"

    def test_set_back_while_stale(self) -> None:
        """What grew old before the clock was set back grows old after it too."""
        story = Story(policy=a_policy(stale_after=30 * MINUTE))
        story.check(OK)
        story.jump(-10 * DAY)
        for _ in range(40):
            story.check(CRASHED)
            story.pass_time(MINUTE)
        assert story.types == ["connection.stale"]


def test_stale_then_failed() -> None:
    """A connection that was silent and then fails did not recover in between."""
    story = Story(policy=a_policy(stale_after=30 * MINUTE))
    story.check(OK)
    for _ in range(40):
        story.check(CRASHED)
        story.pass_time(MINUTE)
    story.checks(BAD, BAD)
    assert story.types == ["connection.stale", "connection.failed"]
    assert {one.incident.number for one in story.notifications} == {1}


def test_coverage_lost_once() -> None:
    """A test that works every other time is not news each time."""
    story = Story(beat=10 * MINUTE)
    for _ in range(48):
        story.checks(OK, Reason.PLATFORM_UNKNOWN, every=30 * MINUTE)
    assert story.types == ["connection.closed"]


def test_publishing_of_what_cannot_be_tested() -> None:
    """Where there is no test, failing posts are told all the same."""
    story = Story(connections={1: a_connection(platform_id="bluesky-did:plc:a")})
    story.check(Reason.VALIDATOR_LACKS_CREDENTIALS)
    failed = story.now
    story.pass_time(MINUTE)

    story.check(
        Reason.VALIDATOR_LACKS_CREDENTIALS, reply=a_reply(passed=False, permissions=(), last_error=LastError("Upload failed", failed))
    )
    assert story.types == ["publishing.failing"]
