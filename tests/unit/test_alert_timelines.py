"""What is said after a pause, in a platform's trouble, and of causes that come and go: stories by a virtual clock."""

import pytest

from monitor.config import Config
from monitor.domain.events import Severity
from monitor.domain.policy import ScopePolicy
from monitor.domain.replies.checks import LastError
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.replies.verdicts import judge
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, a_connection, a_policy, a_reply, a_token_life
from tests.patrol import Patrol, fleet
from tests.story import Story

OK, BAD, LIMITED, TROUBLE = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.PLATFORM_LIMITED, Reason.PLATFORM_TROUBLE
EXPIRED, DOWN, FORBIDDEN = Reason.TOKEN_EXPIRED, Reason.API_UNREACHABLE, Reason.API_FORBIDDEN


class TestPause:
    """A process that stood still says nothing before it has looked again."""

    def test_failure_from_before(self) -> None:
        """A failure that was held when the machine went to sleep, and was repaired meanwhile, is not notified."""
        story = Story(connections=fleet(3))
        for number in (1, 2, 3):
            story.check(OK, number)
        story.pass_time(MINUTE)
        story.check(BAD)
        story.pass_time(40 * SECOND)
        story.check(BAD)
        assert story.told == []
        story.jump(8 * HOUR)
        story.pass_time(10 * MINUTE)
        assert story.told == []
        story.checks(OK, OK, every=MINUTE)
        assert story.told == []

    def test_still_failing(self) -> None:
        """One that still fails is notified after the look."""
        story = Story()
        story.checks(OK, BAD)
        story.jump(8 * HOUR)
        story.checks(BAD, BAD, every=MINUTE)
        assert story.types == ["connection.failed"]

    def test_reminder(self) -> None:
        """A reminder that fell due meanwhile waits for a look too, as long as any evidence is awaited."""
        story = Story()
        story.checks(OK, BAD, BAD)
        story.pass_time(DAY - HOUR)
        story.check(BAD)
        story.jump(8 * HOUR)
        story.pass_time(10 * MINUTE)
        assert story.types == ["connection.failed"]
        story.check(BAD)
        assert story.types == ["connection.failed", "reminder"]

    def test_outage_from_before(self) -> None:
        """An outage of the API that began before the pause is notified only when it goes on."""
        story = Story(connections=fleet(6))
        for _ in range(14):
            for number in (1, 2, 3):
                story.check(DOWN, number)
                story.pass_time(5 * SECOND)
        assert story.scope("api:api.example").open
        story.jump(8 * HOUR)
        story.pass_time(MINUTE)
        assert story.told == []


class TestCauses:
    """A cause replaces another one as far as it asks for other work."""

    @pytest.mark.parametrize("trouble", [LIMITED, TROUBLE])
    def test_trouble_hides_a_break(self, trouble: Reason) -> None:
        """A revoked connection stays revoked while its platform limits requests: nothing has shown its repair."""
        story = Story()
        story.checks(OK, BAD, BAD, trouble, trouble, trouble, trouble, BAD, BAD, every=15 * MINUTE)
        assert story.types == ["connection.failed"]
        story.checks(OK, OK)
        assert story.types == ["connection.failed", "connection.recovered"]

    def test_trouble_that_lasts(self) -> None:
        """
        A revoked connection whose platform has trouble for more than a day is no news, and its reminder still asks to reconnect it.

        Receivers know that somebody must act, and no check has shown that somebody did; "nothing to do" would be said too early.
        """
        story = Story(connections={1: a_connection(interval=HOUR)})
        story.checks(OK, BAD, BAD)
        story.checks(*(TROUBLE,) * 25, every=HOUR)
        told = [(each.type, each.why, each.reason) for each in story.notifications]
        assert told == [("connection.failed", "opened", BAD), ("reminder", "reminder", BAD)]
        story.checks(OK, OK)
        assert story.types[2:] == ["connection.recovered"]

    def test_changes_while_hidden(self) -> None:
        """Trouble of the platform that is a revoked credential when a refused key works again: told as that, once."""
        one = Patrol(Story(connections=fleet(3, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        one.run(25 * MINUTE, lambda number: TROUBLE if number == 1 else OK)
        one.run(HOUR, lambda _: Reason.API_UNAUTHORIZED)
        assert "connection.failed" not in one.story.types
        one.run(HOUR, lambda number: BAD if number == 1 else OK)
        told = [each for each in one.story.notifications if each.type == "connection.failed"]
        assert [(each.reason, each.why) for each in told] == [(BAD, "opened")]

    def test_changes_when_it_is_due(self) -> None:
        """A check that shows another cause when the failure is to be notified holds it until that is confirmed, by whichever causes."""
        story = Story()
        story.checks(OK, TROUBLE, TROUBLE, TROUBLE)
        story.pass_time(30 * MINUTE)
        story.checks(BAD, Reason.TARGET_GONE)
        assert [(each.reason, each.why) for each in story.notifications] == [(Reason.TARGET_GONE, "opened")]

    def test_old_posting_error(self) -> None:
        """A posting error of one break is not news after the next one."""
        story = Story()
        story.checks(OK, BAD, BAD)
        error = LastError("Access was revoked", story.now)
        story.pass_time(HOUR)
        for reason in (OK, OK, OK, OK, TROUBLE, TROUBLE, TROUBLE, OK, OK, OK):
            passed = reason is OK
            story.check(reason, reply=a_reply(passed=passed, permissions=("p",) if passed else (), last_error=error))
            story.pass_time(15 * MINUTE)
        assert "publishing.failing" not in story.types

    def test_trouble_is_no_flapping(self) -> None:
        """An outage of the platform and then the end of the token: the connection does not flap, and is told once."""
        one = Patrol(Story(connections=fleet(6, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        one.run(HOUR, lambda _: TROUBLE)
        one.run(20 * MINUTE, lambda _: OK)
        one.run(3 * HOUR, lambda number: EXPIRED if number == 1 else OK)
        assert one.story.types == ["platform.failed", "platform.recovered", "connection.failed"]

    def test_youtube(self) -> None:
        """YouTube's "expired or revoked" is a rejected credential, whatever is said of a token that is renewed by itself."""
        connection = a_connection(platform_id="youtube-UCa")
        message = "invalid_grant: Token has been expired or revoked."
        reply = a_reply(passed=False, platform_id="youtube-UCa", message=message, token=a_token_life(says=TokenSays.EXPIRED))
        assert judge(reply, connection, texts=Config().platform_texts()).reason is BAD


class TestFlapping:
    """What comes and goes is recognised by its third change, and no more is said until it is calm."""

    @pytest.mark.parametrize(("interval", "minutes"), [(1, 20), (5, 20), (5, 45), (15, 45), (60, 120)])
    def test_connection(self, interval: int, minutes: int) -> None:
        """A connection that is broken half of the time: its failure, its recovery, and that it flaps."""
        one = Patrol(Story(connections=fleet(2, interval=interval * MINUTE), beat=MINUTE), spacing=SECOND)
        one.run(4 * interval * MINUTE, lambda _: OK)
        begins = one.story.now
        broken = minutes * MINUTE
        one.run(8 * broken, lambda number: BAD if number == 1 and (one.story.now - begins) % (2 * broken) < broken else OK)
        assert one.story.types == ["connection.failed", "connection.recovered", "connection.flapping"]
        one.run(12 * HOUR, lambda _: OK)
        assert one.story.types[3:] == ["connection.recovered"]
        assert one.story.notifications[-1].facts.outages > 1

    def test_repair(self) -> None:
        """A repair that is one of many changes is told as a repair, with how often the connection failed."""
        story = Story(connections={1: a_connection(interval=15 * MINUTE)})
        story.checks(BAD, BAD)
        story.checks(OK, OK, BAD, BAD, OK, OK)
        assert story.types == ["connection.failed", "connection.recovered"] * 2
        assert story.notifications[-1].facts.outages == 2


class TestScopes:
    """What many have in common."""

    def test_restart_while_recovering(self) -> None:
        """A restart within the minutes of a recovery does not begin them anew."""
        policy = a_policy(scopes=ScopePolicy(api_notify_after=SECOND))
        closed = []
        for restarts in (False, True):
            one = Patrol(Story(connections=fleet(20, interval=MINUTE), policy=policy))
            one.run(10 * MINUTE, lambda _: OK)
            one.run(10 * MINUTE, lambda _: DOWN)
            one.run(110 * SECOND, lambda _: OK)
            if restarts:
                one.start()
            one.run(10 * MINUTE, lambda _: OK)
            assert one.story.types == ["api.failed", "api.recovered"]
            closed.append(one.story.notifications[-1].at)
        assert closed[1] - closed[0] <= 20 * SECOND

    @pytest.mark.parametrize(("count", "minutes"), [(2, 3), (4, 10), (20, 3)])
    def test_flapping_api(self, count: int, minutes: int) -> None:
        """An API that is down half of the time, never for long, is a warning with its third outage, once, however few connections there are."""
        one = Patrol(Story(connections=fleet(count, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        begins = one.story.now
        one.run(4 * HOUR, lambda _: DOWN if (one.story.now - begins) % (2 * minutes * MINUTE) < minutes * MINUTE else OK)
        told = one.story.notifications[-1]
        assert [(told.type, told.facts.outages, told.severity)] == [("api.failed", 3, "warning")]
        one.run(2 * HOUR, lambda _: OK)
        assert one.story.types == ["api.failed", "api.recovered"]

    @pytest.mark.parametrize("outages", [(5, 60), (20, 20, 20)])
    def test_outages_an_hour_apart(self, outages: tuple[int, ...]) -> None:
        """Each outage that lasts is notified, once, and that it is over, at once, with its own length."""
        one = Patrol(Story(connections=fleet(20, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        for minutes in outages:
            one.run(minutes * MINUTE, lambda _: DOWN)
            one.run(HOUR - minutes % 60 * MINUTE, lambda _: OK)
        lasting = [minutes for minutes in outages if minutes > 10]
        assert one.story.types == ["api.failed", "api.recovered"] * len(lasting)
        assert all(each.severity is Severity.CRITICAL for each in one.story.notifications)
        lengths = [each.facts.duration for each in one.story.notifications[1::2]]
        assert all(length is not None and abs(length / MINUTE - minutes) <= 5 for minutes, length in zip(lasting, lengths, strict=True))

    def test_outage_while_flapping(self) -> None:
        """A long outage of an API that flaps is notified, as since its own beginning; the end, late, has its length."""
        one = Patrol(Story(connections=fleet(6, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        for _ in range(3):
            one.run(25 * MINUTE, lambda _: DOWN)
            one.run(5 * MINUTE, lambda _: OK)
        one.run(HOUR, lambda _: DOWN)
        again = one.story.notifications[-1]
        assert [each.type for each in one.story.notifications[-2:]] == ["api.failed", "api.failed"]
        assert again.at - again.incident.opened_at <= 25 * MINUTE
        one.run(3 * HOUR, lambda _: OK)
        over = one.story.notifications[-1]
        assert (over.type, over.facts.duration is not None and over.facts.duration < 70 * MINUTE) == ("api.recovered", True)

    def test_flapping_api_that_stays_down(self) -> None:
        """The warning of short outages becomes a page when one of them lasts."""
        one = Patrol(Story(connections=fleet(20, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        begins = one.story.now
        one.run(18 * MINUTE, lambda _: DOWN if (one.story.now - begins) % (6 * MINUTE) < 3 * MINUTE else OK)
        one.run(HOUR, lambda _: DOWN)
        told = [(each.type, each.why, each.severity) for each in one.story.notifications]
        assert told == [("api.failed", "opened", "warning"), ("api.failed", "changed", "critical")]

    def test_refused_from_the_start(self) -> None:
        """Six of twenty that the API forbids from the first round on are not the account."""
        one = Patrol(Story(connections=fleet(20, interval=15 * MINUTE)))
        one.run(2 * HOUR, lambda number: FORBIDDEN if number <= 6 else OK)
        assert "account.failed" not in one.story.types

    @pytest.mark.parametrize("refused", [Reason.API_UNAUTHORIZED, FORBIDDEN])
    def test_a_few_are_refused(self, refused: Reason) -> None:
        """Four of twenty whose checks the API answers with a refusal are not the account; all of them are, as soon as before."""
        one = Patrol(Story(connections=fleet(20, interval=15 * MINUTE)))
        one.run(HOUR, lambda _: OK)
        one.run(3 * HOUR, lambda number: refused if number <= 4 else OK)
        assert "account.failed" not in one.story.types
        since = one.story.now
        one.run(HOUR, lambda _: refused)
        failed = next(each for each in one.story.notifications if each.type == "account.failed")
        first = min(moment for moment, _ in one.asked if moment >= since)
        assert failed.at - first <= 2 * MINUTE

    def test_partly_repaired(self) -> None:
        """The reminder of those that broke together names those that are left."""
        one = Patrol(Story(connections=fleet(8, interval=HOUR), beat=5 * MINUTE))
        one.run(3 * HOUR, lambda _: OK)
        one.run(2 * HOUR, lambda _: BAD)
        assert one.story.types == ["group.failed"]
        one.run(26 * HOUR, lambda number: BAD if number <= 2 else OK)
        reminder = one.story.notifications[-1]
        assert one.story.types == ["group.failed", "reminder"]
        assert (reminder.facts.affected, set(reminder.facts.members)) == (2, {1, 2})
