"""A cause that changes, a repair, and the beginning of a failure are told once, as they were: stories by a virtual clock."""

from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.domain.events import Notification, Topic
from monitor.domain.replies.checks import LastError
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.silencing.silences import Silence
from monitor.errors import Reason
from monitor.text.sentences import sentence
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    START,
    a_connection,
    a_listed_connection,
    a_policy,
    a_reply,
    a_silence,
    a_token_belief,
    a_token_life,
    changed,
)
from tests.configured import configured
from tests.patrol import Patrol, fleet
from tests.story import Story

OK, REVOKED, DOWN = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.PLATFORM_TROUBLE
GONE, KICKED = Reason.CONNECTION_MISSING, Reason.BOT_REMOVED
EXPIRED = a_reply(passed=False, permissions=(), token=a_token_life(says="expired"))


def summary(story: Story, number: int = -1) -> str:
    """One of the sentences that were sent."""
    return sentence(story.notifications[number], story.connections[1])


def last_three(story: Story) -> list[tuple[str, str, str]]:
    """Type, why and severity of what was sent last."""
    return [(one.type.value, one.why.value, one.severity.value) for one in story.notifications[-3:]]


class TestChangedCause:
    """The cause of an open failure changes to one that asks for other work."""

    def test_revoked_during_the_platforms_trouble(self) -> None:
        """What was nothing to do and is revoked then is told at once, as urgent as it is, under the same incident."""
        story = Story()
        story.checks(OK, *(DOWN,) * 4, every=15 * MINUTE)
        assert last_three(story) == [("connection.failed", "opened", "warning")]
        since = story.now
        story.checks(REVOKED, REVOKED)
        assert last_three(story) == [("connection.failed", "opened", "warning"), ("connection.failed", "changed", "critical")]
        told = story.notifications[-1]
        assert (told.reason, told.facts.cause_since, told.incident) == (REVOKED, since, story.notifications[0].incident)
        assert "fails for another reason since 2030-01-01 01:15 UTC: the platform rejects the stored credential" in summary(story)
        assert summary(story).endswith("Reconnect the account on the PostPost dashboard.")
        story.checks(*(REVOKED,) * 5, OK, OK)
        assert last_three(story)[1:] == [("connection.failed", "changed", "critical"), ("connection.recovered", "closed", "critical")]

    @pytest.mark.parametrize("restart", [False, True])
    def test_confirmed_as_any_change(self, restart: bool) -> None:
        """One check with another cause is not told, nor is a cause that asks for the same work."""
        story = Story()
        story.checks(OK, REVOKED, REVOKED, DOWN, REVOKED, Reason.TOKEN_EXPIRED, Reason.TOKEN_EXPIRED)
        if restart:
            story.restart()
        story.checks(Reason.RIGHTS_LOST)
        assert story.types == ["connection.failed"]
        story.checks(Reason.RIGHTS_LOST)
        assert story.types == ["connection.failed"] * 2

    def test_two_texts_that_alternate(self) -> None:
        """A platform that gives two answers in turn is told as that a few times, not for ever."""
        story = Story()
        story.checks(OK, *(*(REVOKED,) * 3, *(KICKED,) * 3) * 200, every=5 * MINUTE)
        assert story.types.count("connection.failed") <= 8
        story.checks(*(KICKED,) * 80, every=15 * MINUTE)
        assert story.notifications[-1].reason is KICKED

    def test_reminder_says_the_present_cause(self) -> None:
        """A reminder after the change repeats the present cause, and a text within one check does not change it."""
        story = Story(beat=10 * MINUTE)
        story.checks(OK, *(DOWN,) * 4, REVOKED, REVOKED, every=15 * MINUTE)
        story.checks(*(REVOKED,) * 25, every=HOUR)
        assert story.types == ["connection.failed", "connection.failed", "reminder"]
        assert story.notifications[-1].reason is REVOKED

    def test_suspicion_that_ends(self) -> None:
        """A test that seemed wrong, and is not: the cause is the same as before, and no other one."""
        story = Story()
        story.checks(OK, REVOKED, every=10 * MINUTE)
        posted = a_reply(passed=False, permissions=(), last_successful_post_at=story.now - MINUTE)
        story.check(REVOKED, reply=posted)
        story.pass_time(10 * MINUTE)
        failed = a_reply(passed=False, permissions=(), last_error=LastError("Invalid token", story.now - MINUTE))
        story.check(REVOKED, reply=failed)
        assert last_three(story) == [("connection.failed", "opened", "warning"), ("connection.failed", "changed", "critical")]
        assert "is broken since 2030-01-01 00:10 UTC" in summary(story)
        story.check(Reason.RIGHTS_LOST)
        story.pass_time(10 * MINUTE)
        story.check(Reason.RIGHTS_LOST)
        assert "fails for another reason since 2030-01-01 00:30 UTC" in summary(story)

    def test_kicked_bot(self) -> None:
        """A bot that was removed is added again, not reconnected."""
        story = Story()
        story.checks(OK, KICKED, KICKED)
        assert "Add the bot to the channel or group again" in summary(story)
        assert "Reconnect" not in summary(story)


class TestRepair:
    """A repair is one message."""

    def test_posting_error_of_the_break(self) -> None:
        """A post that failed while the connection was broken belongs to that: the recovery counts it, and nothing else is told."""
        story = Story()
        story.checks(OK, REVOKED, REVOKED)
        failed_at = story.now
        error = LastError("Session has expired", failed_at)
        story.check(REVOKED, reply=a_reply(passed=False, permissions=(), last_error=error))
        story.pass_time(2 * HOUR)
        for _ in range(4):
            story.check(OK, reply=a_reply(permissions=("p",), last_error=error))
            story.pass_time(MINUTE)
        story.restart()
        story.pass_time(30 * MINUTE)
        assert story.types == ["connection.failed", "connection.recovered"]
        assert "At least 1 post failed meanwhile, the last at 2030-01-01 00:03 UTC." in summary(story)

    def test_posting_error_that_comes_first(self) -> None:
        """A posting error that a list shows before the check does waits for a check: then it belongs to the failure."""
        story = Story()
        story.check(OK)
        story.pass_time(10 * MINUTE)
        error = LastError("Session has expired", story.now)
        story.learn(a_listed_connection(last_error=error))
        story.pass_time(MINUTE)
        story.checks(REVOKED, REVOKED, OK, OK, OK)
        assert story.types == ["connection.failed", "connection.recovered"]

    def test_posting_error_of_a_working_connection(self) -> None:
        """A posting error after the repair is news, once a check after it has passed."""
        story = Story()
        story.checks(OK, REVOKED, REVOKED, OK, OK)
        story.pass_time(10 * MINUTE)
        error = LastError("Invalid image", story.now)
        story.learn(a_listed_connection(last_error=error))
        assert story.types[2:] == []
        story.pass_time(MINUTE)
        story.check(OK, reply=a_reply(permissions=("p",), last_error=error))
        assert story.types[2:] == ["publishing.failing"]
        assert "passes its test, but posting failed" in summary(story)

    def test_posting_error_in_an_outage(self) -> None:
        """Posts that failed while the API was down are not told one by one."""
        story = Story(connections={1: a_connection(1), 2: a_connection(2)})
        for reason in (OK, *(Reason.API_UNREACHABLE,) * 20):
            story.check(reason, 1)
            story.check(reason, 2)
            story.pass_time(MINUTE)
        error = LastError("Upstream failed", story.now)
        for _ in range(9):
            for number in (1, 2):
                story.check(OK, number, reply=a_reply(permissions=("p",), platform_id=f"linkedin-page{number}", last_error=error))
            story.pass_time(MINUTE)
        assert story.types == ["api.failed", "api.recovered"]

    @pytest.mark.parametrize("ahead", [-HOUR, HOUR])
    def test_posting_error_by_a_wrong_clock(self, ahead: timedelta) -> None:
        """Our clock is wrong by an hour: what belongs to the break is told from what came after it by the API's clock."""
        story = Story()

        def check(reason: Reason, error: LastError | None = None) -> None:
            passed = reason is OK
            reply = a_reply(passed=passed, permissions=("p",) if passed else (), last_error=error)
            story.check(reason, reply=reply, server_at=story.now - ahead)
            story.pass_time(MINUTE)

        check(OK)
        error = LastError("Session has expired", story.now - ahead + 2 * MINUTE)
        for reason in (REVOKED,) * 4:
            check(reason)
        story.restart()
        for reason in (REVOKED, OK, OK, OK):
            check(reason, error)
        assert story.types == ["connection.failed", "connection.recovered"]
        assert story.notifications[-1].facts.failed_posts == 1
        later = LastError("Invalid image", story.now - ahead)
        story.pass_time(MINUTE)
        check(OK, later)
        assert story.types[2:] == ["publishing.failing"]

    def test_reconnected_before_its_end(self) -> None:
        """A token that was about to end is rejected, and replaced: one message for people, and the incident of its end closes with it."""
        story = Story()
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(10 * DAY)), server_at=story.now)
            story.pass_time(MINUTE)
        story.checks(REVOKED, REVOKED)
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(60 * DAY)), server_at=story.now)
            story.pass_time(MINUTE)
        told = [(one.type.value, one.facts.included) for one in story.notifications if one.why.value == "closed"]
        assert told == [("connection.recovered", False), ("token.renewed", True)]
        assert "its token now expires in 60d" in summary(story, -2)
        assert {value.notified.level for value in story.state().topics.values()} == {"fine"}

    def test_reconnected_together(self) -> None:
        """Two tokens that were about to end have ended: one message for people that both work again, which closes the incidents of both ends."""
        one = Patrol(Story(connections=fleet(2, interval=15 * MINUTE)))
        ends_at = one.story.now + 20 * HOUR

        def run(span: timedelta, reason: Reason) -> None:
            life = a_token_life(60 * DAY) if one.story.now > ends_at + HOUR else a_token_life(ends_at - one.story.now)
            if reason is not OK:
                life = a_token_life(says=TokenSays.EXPIRED)
            for number, each in one.story.connections.items():
                one.story.replies[number] = a_reply(passed=reason is OK, platform_id=each.platform_id, permissions=(), token=life)
            one.run(span, lambda _: reason)

        run(HOUR, OK)
        run(2 * HOUR, Reason.TOKEN_EXPIRED)
        assert one.story.types == ["token.expiring", "token.expiring", "group.failed"]
        one.story.now = ends_at + 2 * HOUR
        run(HOUR, OK)
        closed = [(each.type.value, each.facts.included) for each in one.story.notifications[3:]]
        assert sorted(closed) == [("group.recovered", False), ("token.renewed", True), ("token.renewed", True)]

    def test_overdue_renewal(self) -> None:
        """A connection whose token is overdue for its usual renewal fails: that is no renewal."""
        story = Story()
        belief = a_token_belief(START + 2 * DAY, renewal_points=(5 * DAY, 5 * DAY), observed_at=START)
        story.put_state(replace(story.state(), token=belief))

        def check(reason: Reason, left: timedelta) -> None:
            story.check(reason, reply=a_reply(passed=reason is OK, permissions=(), token=a_token_life(left)), server_at=story.now)
            story.pass_time(MINUTE)

        for reason in (OK, OK, OK, REVOKED, REVOKED, REVOKED):
            check(reason, START + 2 * DAY - story.now)
        assert story.types.count("token.renewal_overdue") == 1
        assert "token.renewed" not in story.types
        for _ in range(3):
            check(OK, 60 * DAY)
        assert [each.type.value for each in story.notifications if each.why == "closed" and not each.facts.included] == [
            "connection.recovered"
        ]

    def test_renewal_listed_before_the_repair(self) -> None:
        """A renewal that the list shows while the connection is still broken waits for the checks that show the repair."""
        story = Story()
        for _ in range(3):
            story.learn(a_listed_connection(token_status="valid", token_expires_at=START + 10 * DAY))
            story.check(OK)
            story.pass_time(MINUTE)
        story.checks(REVOKED, REVOKED)
        for reason in (REVOKED, REVOKED, REVOKED, OK, OK, OK):
            story.learn(a_listed_connection(token_status="valid", token_expires_at=START + 60 * DAY))
            story.check(reason)
            story.pass_time(MINUTE)
        assert story.types == ["token.expiring", "connection.failed", "connection.recovered", "token.renewed"]
        assert story.notifications[-1].facts.included

    @pytest.mark.parametrize("reason", [REVOKED, Reason.TOKEN_EXPIRED])
    def test_works_beyond_its_end(self, reason: Reason) -> None:
        """A token passes checks for an hour after its end, then none: the incident changes with the confirmed failure, and its end says how long."""
        story = Story()
        ends_at = START + 6 * HOUR

        def check(verdict: Reason) -> None:
            left = ends_at - story.now
            life = a_token_life(left) if left > timedelta(0) else TokenLife(says=TokenSays.EXPIRED)
            story.check(verdict, reply=a_reply(passed=verdict is OK, permissions=(), token=life))
            story.pass_time(15 * MINUTE)

        for _ in range(28):
            check(OK)
        assert [(one.type.value, one.severity.value) for one in story.notifications] == [
            ("token.expiring", "critical"),
            ("token.expired", "info"),
        ]
        broken_at = story.now
        for _ in range(8):
            check(reason)
        assert last_three(story)[2:] == [("token.expired", "changed", "critical")]
        assert story.notifications[-1].at == broken_at + 15 * MINUTE
        assert "the connection is broken since 2030-01-01 07:00 UTC" in summary(story)
        story.restart()
        ends_at = story.now + 60 * DAY
        for _ in range(3):
            check(OK)
        assert last_three(story)[1:] == [("token.expired", "changed", "critical"), ("connection.recovered", "closed", "critical")]
        assert "works again after 2h 15m; its token now expires in 60d" in summary(story)

    @pytest.mark.parametrize("listed", [False, True])
    def test_expired_token(self, listed: bool) -> None:
        """A token that has expired is one alert, whichever of its date and the failed check is seen first, and its repair one message."""
        story = Story()
        story.check(OK)
        story.pass_time(MINUTE)
        if listed:
            story.learn(a_listed_connection(token_status="expired"))
            story.pass_time(MINUTE)
        for _ in range(4):
            story.check(Reason.TOKEN_EXPIRED, reply=EXPIRED)
            story.pass_time(MINUTE)
        if not listed:
            story.learn(a_listed_connection(token_status="expired"))
            story.pass_time(MINUTE)
        assert len(story.types) == 1
        assert story.notifications[0].severity == "critical"
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(60 * DAY)), server_at=story.now)
            story.pass_time(MINUTE)
        assert [one.why.value for one in story.notifications] == ["opened", "closed"]
        assert story.types[-1] == "connection.recovered"
        assert "its token now expires in 60d" in summary(story)
        assert len({(one.incident.topic, one.incident.number) for one in story.notifications}) == 1

    def test_list_says_it_first(self) -> None:
        """An expired token that the list reports is told; the failed checks that follow are the same incident."""
        story = Story()
        story.check(OK)
        story.pass_time(MINUTE)
        for _ in range(2):
            story.learn(a_listed_connection(token_status="expired"))
            story.check(OK)
            story.pass_time(MINUTE)
        assert story.types == ["token.expired"]
        for _ in range(4):
            story.check(REVOKED)
            story.pass_time(MINUTE)
        assert story.types == ["token.expired"]
        for _ in range(3):
            story.check(OK)
            story.pass_time(MINUTE)
        assert story.types == ["token.expired", "connection.recovered"]

    def test_silenced_countdown(self) -> None:
        """A silence of the token's topic does not hide that the connection is broken."""
        story = Story()
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(5 * HOUR)), server_at=story.now)
            story.pass_time(MINUTE)
        silence: Silence = a_silence(match={"topic": "expiry"}, ends_at=START + DAY)
        story.ask(silence)
        for _ in range(3):
            story.check(Reason.TOKEN_EXPIRED, reply=EXPIRED)
            story.pass_time(MINUTE)
        assert story.types == ["token.expiring", "connection.failed"]

    def test_renewed_but_refused(self) -> None:
        """A token that is renewed while the connection keeps failing leaves a failure of its own."""
        story = Story()
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(5 * HOUR)), server_at=story.now)
            story.pass_time(MINUTE)
        for _ in range(3):
            story.check(Reason.TOKEN_EXPIRED, reply=EXPIRED)
            story.pass_time(MINUTE)
        renewed = a_reply(passed=False, permissions=(), token=a_token_life(60 * DAY))
        for _ in range(5):
            story.check(Reason.ACCOUNT_RESTRICTED, reply=renewed, server_at=story.now)
            story.pass_time(MINUTE)
        assert story.types == ["token.expiring", "token.expired", "token.renewed", "connection.failed"]

    def test_removed(self) -> None:
        """A broken connection that is removed is closed once for its incident, and a discovered one says where it went from."""
        story = Story()
        story.connections[1] = changed(story.connections[1], listed=True)
        for _ in range(3):
            story.check(OK, reply=a_reply(permissions=(), token=a_token_life(5 * HOUR)), server_at=story.now)
            story.pass_time(MINUTE)
        for _ in range(3):
            story.check(Reason.TOKEN_EXPIRED, reply=EXPIRED)
            story.pass_time(MINUTE)
        connection = story.connections[1]
        story.retire(1)
        assert story.types == ["token.expiring", "token.expired", "connection.closed"]
        assert "gone from the API's list of connections" in sentence(story.notifications[-1], connection)

    def test_missing_from_a_discovering_account(self) -> None:
        """A connection that discovery found is not corrected in a configuration that does not name it."""
        story = Story()
        story.connections[1] = changed(story.connections[1], listed=True)
        story.checks(OK, *(GONE,) * 12)
        assert story.types == ["connection.missing"]
        assert "another id, which is then found by itself" in summary(story)


class TestBeginning:
    """What is said of the beginning is what was seen."""

    def test_first_seen(self) -> None:
        """A failure begins with its first failed check, not with the one that confirmed it."""
        story = Story()
        story.checks(OK, REVOKED, REVOKED)
        assert story.notifications[0].incident.opened_at == START + MINUTE
        assert "may have begun earlier" not in summary(story)

    def test_hidden_beginning(self) -> None:
        """A failure that is found after an outage or a stop may be older, and says since when nothing was seen."""
        story = Story()
        story.check(OK)
        story.pass_time(5 * HOUR)
        story.restart()
        story.checks(REVOKED, REVOKED)
        failed = [one for one in story.notifications if one.type == "connection.failed"]
        assert failed[0].facts.last_worked_at == START
        assert "It may have begun earlier: the last passed check was at 2030-01-01 00:00 UTC." in sentence(failed[0], story.connections[1])

    def test_first_check(self) -> None:
        """Only what the first check showed was so at the first check."""
        for history, first in (((REVOKED, REVOKED), True), ((Reason.PLATFORM_UNKNOWN, REVOKED, REVOKED), False)):
            story = Story()
            story.checks(*history)
            assert story.notifications[0].facts.first_check is first
            assert ("Already failing at the first check." in summary(story)) is first

    def test_posting_of_what_cannot_be_tested(self) -> None:
        """Nothing passes a test that there is none of."""
        story = Story()
        story.check(Reason.PLATFORM_UNKNOWN)
        story.pass_time(MINUTE)
        error = LastError("Invalid image", START)
        story.check(Reason.PLATFORM_UNKNOWN, reply=a_reply(passed=False, permissions=(), last_error=error))
        assert story.types == ["publishing.failing"]
        assert "passes its test" not in summary(story)


class TestReminders:
    """A reminder follows a look."""

    def remind(self, *reasons: Reason) -> list[Notification]:
        """What is sent after a day of a failure that was seen hourly, then with checks that end so, ten minutes apart."""
        story = Story(beat=MINUTE)
        story.checks(OK, REVOKED, REVOKED)
        story.checks(*(REVOKED,) * 23, every=HOUR)
        story.pass_time(HOUR + 30 * MINUTE)
        assert story.types == ["connection.failed"], "a reminder is due, and nothing was seen since"
        story.checks(*reasons, every=10 * MINUTE)
        return story.notifications[1:]

    def test_after_a_failed_check(self) -> None:
        """The next check fails, too: then it is sent."""
        assert [one.type.value for one in self.remind(REVOKED)] == ["reminder"]

    def test_not_after_a_passed_one(self) -> None:
        """The next checks pass: then it is over, without a reminder."""
        assert [one.type.value for one in self.remind(OK, OK)] == ["connection.recovered"]

    def test_without_any_look(self) -> None:
        """No check is conclusive for as long as makes a connection stale: it is sent, and says so."""
        sent = self.remind(*(Reason.API_VALIDATOR_FAILED,) * 7)
        assert [one.type.value for one in sent] == ["reminder"]
        assert "No check has been conclusive since 2030-01-01 22:03 UTC." in sentence(sent[0], a_connection())

    def test_makes_due(self) -> None:
        """A connection that is checked rarely is checked when its reminder is due."""
        story = Story(connections={1: a_connection(interval=7 * HOUR)}, policy=a_policy(stale_after=DAY))
        story.check(OK)
        evaluation = story.check(REVOKED)
        story.pass_time(MINUTE)
        story.check(REVOKED)
        told_at, waits = story.now, []
        for _ in range(9):
            evaluation = story.check(REVOKED)
            assert evaluation.next_check is not None
            waits.append(story.now + evaluation.next_check)
            story.pass_time(evaluation.next_check)
            if story.now - told_at > 26 * HOUR:
                break
        assert any(timedelta(0) <= moment - told_at - DAY <= 5 * MINUTE for moment in waits)


class TestLastDay:
    """The end of a token is told within its last day, however late it was seen."""

    def learn(self, story: Story, left: timedelta) -> None:
        """The list says when the token ends, twice."""
        for _ in range(2):
            story.learn(a_listed_connection(platform_id="instagram-1", token_status="valid", token_expires_at=story.now + left))
            story.check(OK)
            story.pass_time(MINUTE)

    def story(self) -> Story:
        """An Instagram connection under the built-in policy of its platform."""
        policy = configured("accounts: [{name: main, api_key: '${KEY}'}]\n").policy()
        return Story(connections={1: a_connection(platform_id="instagram-1")}, policy=policy, beat=5 * MINUTE)

    def test_first_seen_deep_inside(self) -> None:
        """A token that is found with three days, or five hours left is told at once: its threshold was crossed long before."""
        for left, level in ((3 * DAY, "7d"), (5 * HOUR, "1d")):
            story = self.story()
            self.learn(story, left)
            assert [one.level_to for one in story.notifications] == [level]

    def test_last_day(self) -> None:
        """The countdown ends within the last day, and a pause of an hour in looking does not start its wait anew."""
        story = self.story()
        ends_at = story.now + 7 * DAY + HOUR
        while story.now < ends_at - HOUR:
            story.learn(a_listed_connection(platform_id="instagram-1", token_status="valid", token_expires_at=ends_at))
            story.check(OK)
            paused = timedelta(hours=7) <= story.now - START <= timedelta(hours=9)
            story.pass_time(2 * HOUR if paused else 20 * MINUTE)
        levels = [(one.level_to, one.severity.value) for one in story.notifications if one.incident.topic is Topic.EXPIRY]
        assert levels == [("7d", "info"), ("1d", "critical")]
        warned, last = (one.at for one in story.notifications if one.incident.topic is Topic.EXPIRY)
        assert ends_at - 7 * DAY + DAY <= warned <= ends_at - 7 * DAY + DAY + HOUR
        assert ends_at - DAY <= last <= ends_at - DAY / 2
