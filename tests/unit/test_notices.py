"""Who is told what about one connection, and when nobody is: reliability 3.3 as stories."""

from datetime import timedelta

import pytest

from monitor.domain.events import Topic
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import LastError
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_listed_connection, a_policy, a_reply, a_token_life, changed
from tests.patrol import fleet
from tests.story import Story

OK, BAD, GONE, WRONG = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.CONNECTION_MISSING, Reason.ID_REFUSED
DOWN, LIE = Reason.API_TIMEOUT, Reason.PLATFORM_UNKNOWN


@pytest.mark.parametrize(
    ("history", "types"),
    [
        pytest.param((OK,), [], id="the first good check is silent"),
        pytest.param((BAD,), [], id="one failure is not confirmed"),
        pytest.param((BAD, BAD), ["connection.failed"], id="the first checks fail"),
        pytest.param((OK, BAD, OK, BAD, OK), [], id="single failures between passes are void"),
        pytest.param((OK, BAD, BAD), ["connection.failed"], id="two failures"),
        pytest.param((OK, BAD, DOWN, BAD), ["connection.failed"], id="no evidence in between changes nothing"),
        pytest.param((OK, BAD, BAD, OK), ["connection.failed"], id="one pass does not heal"),
        pytest.param((OK, BAD, BAD, OK, OK), ["connection.failed", "connection.recovered"], id="two passes heal"),
        pytest.param((OK, *(Reason.PLATFORM_TROUBLE,) * 29), [], id="the platform's own trouble for less than half an hour"),
        pytest.param((OK, *(Reason.PLATFORM_TROUBLE,) * 32), ["connection.failed"], id="the platform's own trouble for half an hour"),
        pytest.param((OK, WRONG, WRONG), ["connection.misconfigured"], id="a refused id"),
        pytest.param((OK, GONE, GONE, GONE), [], id="missing three times within ten minutes"),
        pytest.param((OK, *(GONE,) * 11), ["connection.missing"], id="missing for ten minutes"),
        pytest.param((LIE,), [], id="what can't be tested is silent"),
        pytest.param((LIE, OK), [], id="promotion is silent"),
        pytest.param((OK, LIE, LIE), ["connection.closed"], id="coverage lost is told once"),
        pytest.param((OK, BAD, BAD, LIE), ["connection.failed", "connection.closed"], id="unsupported closes without recovery"),
        pytest.param((OK, BAD, BAD, *(GONE,) * 11), ["connection.failed", "connection.missing"], id="from failed to missing"),
        pytest.param((DOWN,) * 4, [], id="no evidence at all"),
    ],
)
def test_connection(history: tuple[Reason, ...], types: list[str]) -> None:
    """A history of checks one minute apart is told as exactly these notifications."""
    story = Story()
    story.checks(*history)
    assert types == story.types


def test_restart_at_every_step() -> None:
    """A restart between any two steps changes nothing."""
    for restart_after in range(6):
        story = Story()
        for step, reason in enumerate((OK, BAD, BAD, OK, OK, OK)):
            story.checks(reason)
            if step == restart_after:
                story.restart()
        assert story.types == ["connection.failed", "connection.recovered"]


def test_spacing() -> None:
    """Observations closer than the spacing count once."""
    story = Story()
    story.checks(OK, BAD, BAD, BAD, every=timedelta(seconds=5))
    assert story.types == []
    story.pass_time(30 * MINUTE / 60)
    story.check(BAD)
    assert story.types == ["connection.failed"]


def test_old_suspicion_is_void() -> None:
    """Contrary evidence older than three intervals confirms nothing."""
    story = Story()
    story.checks(OK, BAD)
    story.pass_time(46 * MINUTE)
    story.check(BAD)
    assert "connection.failed" not in story.types


def test_same_incident() -> None:
    """Failure, change and recovery carry the same incident, and the recovery its duration."""
    story = Story()
    story.checks(OK, BAD, BAD, *(GONE,) * 11, OK, OK)
    assert {one.incident.number for one in story.notifications} == {1}
    assert {one.incident.opened_at for one in story.notifications} == {START + MINUTE}, "the first failed check"
    assert story.notifications[-1].facts.duration == story.notifications[-1].at - story.notifications[0].incident.opened_at
    assert [one.seq for one in story.notifications] == [1, 2, 3]


def test_stale() -> None:
    """No evidence for half an hour is told once, and the next pass as recovery."""
    story = Story(policy=a_policy(stale_after=30 * MINUTE))
    story.check(OK)
    for _ in range(40):
        story.check(Reason.API_VALIDATOR_FAILED)
        story.pass_time(MINUTE)
    assert story.types == ["connection.stale"]
    story.check(OK)
    story.review()
    assert story.types == ["connection.stale", "connection.recovered"]


def test_silence_does_not_heal() -> None:
    """A failed connection without further evidence stays failed."""
    story = Story()
    story.checks(OK, BAD, BAD)
    story.pass_time(5 * HOUR)
    assert story.types == ["connection.failed"]
    assert story.state().topic(Topic.CONNECTION).level == "error"


def test_reminders() -> None:
    """An open failure is repeated daily, and weekly after a week; never after it is over."""
    story = Story(beat=10 * MINUTE)
    story.checks(OK, BAD, BAD)
    story.checks(*(BAD,) * (21 * 24 + 1), every=HOUR)
    assert story.types.count("reminder") == 7 + 2
    story.checks(OK, OK)
    assert story.types[-1] == "connection.recovered"
    assert story.types.count("reminder") == 7 + 2


@pytest.mark.parametrize("interval", [MINUTE, 15 * MINUTE, 6 * HOUR])
def test_flapping(interval: timedelta) -> None:
    """The third change within eight rounds is told as flapping, whatever the interval, and once it is calm the final state is told."""
    story = Story(connections={1: a_connection(interval=interval)}, policy=a_policy(stale_after=3 * DAY), beat=MINUTE)
    for reason in (OK, *(BAD, OK) * 4):
        story.checks(reason, reason, every=interval / 2)
    assert story.types == ["connection.failed", "connection.recovered", "connection.flapping"]
    story.checks(*(OK,) * 6, every=max(interval, 12 * MINUTE))
    assert story.types[3:] == ["connection.recovered"]


def test_flapping_that_ends_broken() -> None:
    """Flapping that ends in error says so, although an error was told before."""
    story = Story()
    story.checks(OK, *(BAD, BAD, OK, OK) * 2, BAD, BAD)
    story.pass_time(80 * MINUTE)
    assert story.types[-1:] == ["connection.flapping"], "nothing was seen of it meanwhile"
    story.check(BAD)
    assert story.types[-2:] == ["connection.flapping", "connection.failed"]


def test_suspected_false_negative() -> None:
    """A post that succeeded after the first failed check marks the failure and lowers its severity."""
    story = Story()
    story.check(OK)
    story.pass_time(MINUTE)
    story.check(BAD)
    posted = story.now + timedelta(seconds=20)
    story.pass_time(MINUTE)
    story.check(BAD, reply=a_reply(passed=False, last_successful_post_at=posted))
    assert story.notifications[0].facts.suspected_false_negative
    assert story.notifications[0].severity == "warning"
    assert story.types == ["connection.failed"]


@pytest.mark.parametrize("restart", [False, True])
def test_false_negative_suspected_later(restart: bool) -> None:
    """When a post succeeds after the failure was told, that is told once, as a warning under the same incident; reminders keep saying it."""
    story = Story(beat=10 * MINUTE)
    story.checks(OK, BAD, BAD, BAD)
    doubtful = a_reply(passed=False, permissions=(), last_successful_post_at=story.now)
    story.pass_time(MINUTE)
    for _ in range(5):
        story.check(BAD, reply=doubtful)
        story.pass_time(MINUTE)
        if restart:
            story.restart()
    assert [(one.type.value, one.why.value, one.severity.value) for one in story.notifications] == [
        ("connection.failed", "opened", "critical"),
        ("connection.failed", "changed", "warning"),
    ]
    assert [one.facts.suspected_false_negative for one in story.notifications] == [False, True]
    for _ in range(8 * 24):
        story.pass_time(HOUR)
        story.check(BAD, reply=doubtful)
    story.pass_time(MINUTE)
    story.checks(OK, OK)
    assert story.types[2:] == ["reminder", "connection.recovered"], "a week apart"
    assert [one.severity.value for one in story.notifications[2:]] == ["warning", "critical"]
    assert story.notifications[2].facts.suspected_false_negative
    assert {(one.incident.number, one.incident.opened_at) for one in story.notifications} == {
        (1, story.notifications[0].incident.opened_at)
    }


@pytest.mark.parametrize("restart", [False, True])
def test_false_negative_stays_suspected(restart: bool) -> None:
    """A test that was proven wrong stays suspected while the list shows newer posts, until posts fail or a check passes."""
    story = Story(beat=10 * MINUTE)
    story.checks(OK, BAD, BAD)
    for _ in range(5):
        story.pass_time(HOUR)
        story.learn(a_listed_connection(last_successful_post_at=story.now))
        story.pass_time(10 * MINUTE)
        if restart:
            story.restart()
        story.check(BAD)
    assert [one.severity.value for one in story.notifications] == ["critical", "warning"]
    story.learn(a_listed_connection(last_error=LastError("Unauthorized", story.now)))
    story.pass_time(MINUTE)
    story.check(BAD)
    assert [one.severity.value for one in story.notifications[2:]] == ["critical"], "posts fail too"
    story.checks(OK, OK, BAD, BAD)
    assert not story.state().suspected_false_negative, "the proof was about the failure before"


def test_posts_of_the_future() -> None:
    """A post or a posting error that is dated ahead of the clock proves nothing: the failure is as urgent as any."""
    story = Story()
    story.check(OK)
    story.pass_time(MINUTE)
    future = story.now + 20 * 365 * DAY
    for _ in range(3):
        error = LastError("Upload failed", future)
        story.check(BAD, reply=a_reply(passed=False, permissions=(), last_successful_post_at=future, last_error=error))
        story.pass_time(MINUTE)
    for _ in range(3):
        story.check(OK, reply=a_reply(permissions=("p",), last_successful_post_at=future, last_error=LastError("Upload failed", future)))
        story.learn(a_listed_connection(last_successful_post_at=future, last_error=LastError("Upload failed", future)))
        story.pass_time(MINUTE)
    assert story.types == ["connection.failed", "connection.recovered"]
    assert story.notifications[0].severity == "critical"
    assert story.state().last_successful_post_at is None


class TestExpiry:
    """The end of the token is a topic of its own."""

    def _check_left(self, story: Story, left: timedelta) -> None:
        story.check(OK, reply=a_reply(permissions=(), token=a_token_life(left)), server_at=story.now)

    def test_ladder(self) -> None:
        """Each threshold is told once on the way down, and renewal once."""
        story = Story(policy=a_policy(stale_after=7 * HOUR), beat=5 * MINUTE)
        end = story.now + 16 * DAY
        while end - story.now > 2 * DAY:
            self._check_left(story, (end - story.now) // HOUR * HOUR)
            story.pass_time(6 * HOUR)
        assert story.types == ["token.expiring", "token.expiring"]
        assert [one.level_to for one in story.notifications] == ["14d", "7d"]
        end = story.now + 60 * DAY
        for _ in range(3):
            self._check_left(story, (end - story.now) // HOUR * HOUR)
            story.pass_time(MINUTE)
        assert story.types[2:] == ["token.renewed"]

    def test_first_check_below(self) -> None:
        """A token that is found near its end is told at the second look."""
        story = Story()
        self._check_left(story, 5 * HOUR)
        assert story.types == []
        story.pass_time(MINUTE)
        self._check_left(story, 5 * HOUR)
        assert [one.level_to for one in story.notifications] == ["1d"]

    def test_merged_with_the_failure_it_causes(self) -> None:
        """An expired token and the failure it causes are told as one, and so is their end."""
        story = Story()
        self._check_left(story, 20 * DAY)
        expired = a_reply(passed=False, permissions=(), token=a_token_life(says="expired"))
        for _ in range(4):
            story.pass_time(MINUTE)
            story.check(Reason.TOKEN_EXPIRED, reply=expired)
        assert story.types == ["connection.failed"]
        assert story.notifications[0].facts.merged_expiry
        for _ in range(4):
            story.pass_time(MINUTE)
            self._check_left(story, 60 * DAY)
        assert story.types == ["connection.failed", "connection.recovered"]

    def test_told_countdown_goes_on(self) -> None:
        """The end of a token whose countdown was told is the same incident, the failure that it causes included, and its repair one message."""
        story = Story()
        for _ in range(3):
            self._check_left(story, 5 * HOUR)
            story.pass_time(MINUTE)
        expired = a_reply(passed=False, permissions=(), token=a_token_life(says="expired"))
        for _ in range(3):
            story.check(Reason.TOKEN_EXPIRED, reply=expired)
            story.pass_time(MINUTE)
        for _ in range(3):
            self._check_left(story, 60 * DAY)
            story.pass_time(MINUTE)
        assert story.told == [
            ("1", "token.expiring", "opened"),
            ("1", "token.expired", "changed"),
            ("1", "connection.recovered", "closed"),
        ]
        assert {(one.incident.topic, one.incident.number) for one in story.notifications} == {(Topic.EXPIRY, 1)}
        assert [one.severity.value for one in story.notifications] == ["critical"] * 3
        assert story.notifications[-1].facts.expires_at is not None


def test_no_reminder_of_what_just_passed() -> None:
    """A reminder that falls due while the last check passed waits: it heals, or fails again and is reminded of."""
    for last, types in ((OK, ["connection.failed", "connection.recovered"]), (BAD, ["connection.failed", "reminder"])):
        story = Story(beat=10 * MINUTE)
        story.checks(OK, BAD, BAD)
        story.pass_time(DAY - 3 * MINUTE)
        story.check(OK)
        story.pass_time(10 * MINUTE)
        assert story.types == ["connection.failed"]
        story.check(last)
        story.pass_time(MINUTE)
        assert story.types == types


def test_a_reminder_that_waits_for_a_check_that_never_comes() -> None:
    """What waits for the next check is looked at again without one: when the last one is too old to be in doubt, it is told."""
    story = Story(beat=10 * MINUTE)
    story.checks(OK, BAD, BAD)
    story.pass_time(DAY - 3 * MINUTE)
    story.check(OK)
    story.pass_time(25 * MINUTE)
    assert story.types == ["connection.failed"]
    story.pass_time(HOUR)
    assert story.types == ["connection.failed", "reminder"]


def test_publishing() -> None:
    """Posts that fail although the test passes are told, and the next good post ends it."""
    story = Story()
    story.check(OK)
    story.pass_time(20 * MINUTE)
    failed = story.now - MINUTE
    story.check(OK, reply=a_reply(last_error=LastError("Invalid image", failed), last_successful_post_at=failed - DAY))
    assert story.types == ["publishing.failing"]
    assert story.state().health is Health.OK
    story.check(OK, reply=a_reply(last_error=LastError("Invalid image", failed), last_successful_post_at=story.now))
    assert story.types == ["publishing.failing", "publishing.recovered"]


def test_permissions() -> None:
    """A permission that disappears between two passed checks is told at the second sight, naming it."""
    story = Story()
    story.check(OK, reply=a_reply(permissions=("a", "b")))
    for _ in range(3):
        story.pass_time(MINUTE)
        story.check(OK, reply=a_reply(permissions=("a",)))
    assert story.types == ["permissions.lost"]
    assert story.notifications[0].facts.permissions_lost == ("b",)
    story.pass_time(MINUTE)
    story.check(BAD, reply=a_reply(passed=False, permissions=()))
    assert story.types == ["permissions.lost"]


def test_required_permissions() -> None:
    """A required permission that was never granted is told."""
    story = Story()
    story.connections[1] = changed(story.connections[1], require_permissions=("w_member_social",))
    for _ in range(3):
        story.check(OK, reply=a_reply(permissions=("r_basicprofile",)))
        story.pass_time(MINUTE)
    assert story.types == ["permissions.lost"]


def test_publishing_that_only_the_list_knows() -> None:
    """A posting error that only some answers carry is told once, and growing old does not mend it."""
    story = Story(policy=a_policy(stale_after=20 * DAY), beat=HOUR)
    story.check(OK, reply=a_reply())
    error = LastError("Invalid image", story.now)
    for _ in range(9):
        story.check(OK, reply=a_reply(last_error=error))
        story.pass_time(12 * HOUR)
        story.check(OK, reply=a_reply(last_error=None))
        story.pass_time(12 * HOUR)
    assert story.types == ["publishing.failing"]


def test_suspicion_from_before_an_incident() -> None:
    """A failed check from before a scope incident and one after it confirm nothing; two fresh ones do."""
    story = Story(connections={1: a_connection(1), 2: a_connection(2)})
    story.checks(OK)
    story.checks(BAD)
    story.checks(Reason.API_UNAUTHORIZED)
    story.checks(Reason.API_UNAUTHORIZED, number=2)
    story.checks(BAD)
    assert story.types == ["account.failed", "account.recovered"]
    story.check(BAD)
    assert story.types == ["account.failed", "account.recovered", "connection.failed"]


@pytest.mark.parametrize("passes", [1, 2])
def test_half_recovered_after_wider_trouble(passes: int) -> None:
    """Who has passed one check when the others work again is not told broken: the next check decides whether all is over."""
    connections = fleet(10)
    story = Story(connections=connections)
    for reason in (OK, BAD, BAD):
        for number in connections:
            story.check(reason, number)
        story.pass_time(MINUTE)
    assert story.types.count("group.failed") == 1
    before = len(story.notifications)
    for number in connections:
        story.check(OK, number)
    story.pass_time(MINUTE)
    for number in range(1, 10):
        story.check(OK, number)
    for _ in range(passes):
        story.pass_time(MINUTE)
        story.check(OK if passes == 2 else BAD, 10)
    story.pass_time(MINUTE)
    assert story.types[before:] == (["group.recovered"] if passes == 2 else [])
