"""Why a connection is believed to be as it is, and why somebody, or nobody, was told: a table of stories."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from monitor.domain.events import FINE, NotificationReason, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import Policy, ScopePolicy
from monitor.domain.replies.checks import LastError
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.scopes import key as core
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import Controls
from monitor.domain.silencing.silences import Silence
from monitor.domain.states import ConnectionState, PendingLevel, SuppressionReason, TopicState
from monitor.errors import DeliveryReason, Reason
from monitor.text.explain import explain
from monitor.text.notification_history import SUPPRESSION_TEXTS, notification_lines, topic_lines
from monitor.text.report import AttemptRecord, ConnectionReport, DeliveryRecord, NotificationRecord
from monitor.text.token_expiry import token_left
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    START,
    a_connection,
    a_notification,
    a_reply,
    a_state,
    a_token_belief,
    a_token_life,
    at,
)
from tests.patrol import fleet
from tests.story import API_HOST, Story


def case_of(story: Story, number: int = 1) -> ConnectionReport:
    connection = story.connections[number]
    keys = core.scopes_above(connection, API_HOST).all
    return ConnectionReport(
        connection, story.state(number), [story.scopes[str(key)] for key in keys if str(key) in story.scopes], (), instance="db1"
    )


def told(story: Story, number: int = 1) -> dict[str, list[str]]:
    """Title to lines."""
    return {section.title: list(section.lines) for section in explain(case_of(story, number), story.now, story.policy)}


def text(story: Story, number: int = 1) -> str:
    return "\n".join(line for lines in told(story, number).values() for line in lines)


def never_checked(story: Story) -> None:
    """Nothing."""


def well(story: Story) -> None:
    story.checks(Reason.OK, Reason.OK)


def failed_once(story: Story) -> None:
    story.check(Reason.OK)
    story.pass_time(MINUTE)
    story.check(Reason.CREDENTIAL_REJECTED)
    story.pass_time(10 * SECOND)


def broken(story: Story) -> None:
    story.checks(Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.CREDENTIAL_REJECTED)


def another_cause_once(story: Story) -> None:
    broken(story)
    story.pass_time(MINUTE)
    story.check(Reason.RIGHTS_LOST)


def broken_then_blind(story: Story) -> None:
    broken(story)
    story.check(Reason.API_TIMEOUT)


def mending(story: Story) -> None:
    broken(story)
    story.checks(Reason.OK)


def mended(story: Story) -> None:
    mending(story)
    story.checks(Reason.OK)


def posted_meanwhile(story: Story) -> None:
    broken(story)
    posted = a_reply(passed=False, permissions=(), last_successful_post_at=story.now - SECOND)
    story.check(Reason.CREDENTIAL_REJECTED, reply=posted)


def withdrawn(story: Story) -> None:
    story.check(Reason.OK, reply=a_reply(permissions=("p",), token=a_token_life(40 * DAY)))
    story.pass_time(MINUTE)
    story.checks(Reason.CREDENTIAL_REJECTED, Reason.CREDENTIAL_REJECTED)


def gone_twice(story: Story) -> None:
    story.checks(Reason.OK, Reason.CONNECTION_MISSING, Reason.CONNECTION_MISSING)


def gone(story: Story) -> None:
    story.checks(Reason.OK)
    story.checks(*[Reason.CONNECTION_MISSING] * 3, every=6 * MINUTE)


def refused_id(story: Story) -> None:
    story.checks(Reason.ID_REFUSED, Reason.ID_REFUSED)


def untestable(story: Story) -> None:
    story.checks(Reason.VALIDATOR_LACKS_MTPROTO)


def revoked_key(story: Story) -> None:
    story.checks(Reason.OK, *[Reason.API_UNAUTHORIZED] * 3)


def flapping(story: Story) -> None:
    for _ in range(3):
        story.checks(Reason.OK, Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.CREDENTIAL_REJECTED)


def stale(story: Story) -> None:
    story.check(Reason.OK)
    story.pass_time(3 * HOUR)


def expiring(story: Story) -> None:
    for left in (2 * DAY, 2 * DAY, 2 * DAY):
        story.check(Reason.OK, reply=a_reply(permissions=("p",), token=a_token_life(left)))
        story.pass_time(MINUTE)


def expiring_once(story: Story) -> None:
    story.check(Reason.OK, reply=a_reply(permissions=("p",), token=a_token_life(2 * DAY)))


def posts_fail(story: Story) -> None:
    error = LastError("Duplicate content", story.now)
    story.check(Reason.OK, reply=a_reply(permissions=("p",), last_error=error))


def lost_permission(story: Story) -> None:
    story.check(Reason.OK, reply=a_reply(permissions=("p", "w_member_social")))
    story.checks(Reason.OK, Reason.OK, Reason.OK)


STORIES: list[tuple[Callable[[Story], None], list[str], list[str]]] = [
    (
        never_checked,
        ["has an unknown state (unknown).", "Never checked.", "There has never been an incident.", "Start the monitor"],
        ["since", "stale"],
    ),
    (
        well,
        [
            "LinkedIn “Page 1” (linkedin-page1, account main) works (ok) since 2030-01-01 00:00 UTC (2m ago).",
            "The last check, 2030-01-01 00:01 UTC (1m ago), passed: the connection works.",
            "Without another conclusive check it becomes stale 2030-01-01 00:46 UTC (in 44m).",
            "No scope incident (account, API, platform, storage) is open.",
        ],
        ["failed", "Reconnect", "needed"],
    ),
    (
        failed_once,
        [
            "works (ok)",
            "1 check failed 2030-01-01 00:01 UTC (10s ago).",
            "The last passed check was 2030-01-01 00:00 UTC (1m 10s ago).",
            "error: 1 of 2 checks, the first 2030-01-01 00:01 UTC (10s ago); 1 more needed, at least 30s apart.",
            "There has never been an incident.",
        ],
        ["Broken because", "Reconnect"],
    ),
    (
        broken,
        [
            "is broken (error) since 2030-01-01 00:01 UTC (2m ago).",
            "2 consecutive checks failed, the first 2030-01-01 00:01 UTC (2m ago).",
            "Broken because 2 consecutive checks failed, at least 30s apart.",
            (
                "connection: “error” since 2030-01-01 00:02 UTC (1m ago), incident 1. Last notified 2030-01-01 00:02 UTC (1m ago): “error”, "
                "incident key pp-db1-1-connection-1."
            ),
            "connection: reminder 1 is due 2030-01-02 00:02 UTC (in 23h 59m), if the incident is still open then.",
            SUPPRESSION_TEXTS[SuppressionReason.REMINDER_NOT_DUE],
            "Reconnect the account on the PostPost dashboard.",
        ],
        ["needed", "false negative", "stale"],
    ),
    (
        broken_then_blind,
        [
            "is broken (error)",
            "was inconclusive: the API did not answer in time.",
            "An inconclusive check is not evidence and never changes the health.",
            "The last conclusive check, 2030-01-01 00:02 UTC (1m ago), failed: the platform rejects the stored credential.",
        ],
        [],
    ),
    (
        mending,
        [
            "is broken (error)",
            "ok: 1 of 2 checks, the first 2030-01-01 00:03 UTC (1m ago); 1 more needed",
            "The last check, 2030-01-01 00:03 UTC (1m ago), passed",
        ],
        ["consecutive checks failed, the first"],
    ),
    (
        mended,
        [
            "works (ok) since 2030-01-01 00:03 UTC (2m ago).",
            ("connection: fine since 2030-01-01 00:04 UTC (1m ago). Last notified 2030-01-01 00:04 UTC (1m ago): closed."),
            SUPPRESSION_TEXTS[SuppressionReason.NOTHING_NEW],
            "Health changed 2 times within the last 2h; 3 changes count as flapping.",
        ],
        ["Reconnect", "reminder"],
    ),
    (
        posted_meanwhile,
        ["Suspected false negative: a post succeeded 2030-01-01 00:02 UTC", "after the first failed check 2030-01-01 00:01 UTC"],
        [],
    ),
    (
        withdrawn,
        [
            "is broken (error)",
            "By its date the token is valid until 2030-02-10 00:15 UTC (in 40d), but the platform no longer accepts it.",
        ],
        ["has expired"],
    ),
    (
        gone_twice,
        [
            "works (ok)",
            "missing: 2 of 3 checks",
            "1 more needed",
            "It must also last until 2030-01-01 00:11 UTC (in 8m).",
        ],
        [],
    ),
    (
        gone,
        [
            "is missing (missing)",
            "Missing because in 3 consecutive checks, over at least 10m, the API did not know the connection.",
            "It was removed, or reconnected under another id",
        ],
        [],
    ),
    (
        refused_id,
        ["is misconfigured", "because in 2 consecutive checks the API refused the id.", "Correct the id in the configuration"],
        [],
    ),
    (untestable, ["cannot be tested (unsupported)", "that opens no incident"], ["What to do", "Reconnect"]),
    (
        revoked_key,
        [
            "was working 4m ago; its state is not known now.",
            (
                "The account main has an open incident since 2030-01-01 00:01 UTC (3m ago): the API key is revoked or wrong. While it is open the "
                "health is frozen, and its incident is notified in place of this connection's."
            ),
            "Put a valid API key into the account's key file and reload.",
        ],
        ["No scope incident", "stale"],
    ),
    (
        flapping,
        ["Flapping: health changed", "(limit 3)", "connection: “flapping”", "connection: no reminders."],
        [],
    ),
    (stale, ["A connection is stale after 45m", "connection: “stale”"], ["becomes stale"]),
    (
        expiring,
        [
            "It expires between 2030-01-0",
            "by the times printed by 3 agreeing checks.",
            "Notified at 14d, 7d, 1d left: the level is “7d”; the next is crossed",
            "expiry: “7d” since",
            "Reconnect the account on the PostPost dashboard before the token expires.",
        ],
        ["of 2 checks"],
    ),
    (another_cause_once, ["another cause of the failure: 1 of 2 checks, the first 2030-01-01 00:0"], ["more needed"]),
    (expiring_once, ["expiry: “7d”, 1 of 2 checks, the first 2030-01-01 00:00 UTC (0s ago)."], ["expiry: “7d” since"]),
    (
        posts_fail,
        [
            "The last posting error, 2030-01-01 00:00 UTC (0s ago): “Duplicate content”. It concerns posting, not the test.",
            "publishing: “failing”",
            "Read the posting error; correct the post or reconnect the account.",
        ],
        [],
    ),
    (lost_permission, ["Missing permissions: w_member_social.", "permissions: “lost”", "grant the missing permissions"], []),
]


@pytest.mark.parametrize(("tell", "said", "unsaid"), STORIES, ids=[tell.__name__ for tell, _, _ in STORIES])
def test_story(tell: Callable[[Story], None], said: list[str], unsaid: list[str]) -> None:
    """Each story is explained by what led to it, and by nothing else."""
    story = Story()
    tell(story)
    everything = text(story)
    assert [words for words in said if words not in everything] == [], everything
    assert [words for words in unsaid if words in everything] == [], everything


def test_frozen_recovery_waits() -> None:
    """A reminder that falls into wider trouble is said to wait, and for what."""
    story = Story()
    broken(story)
    story.checks(*[Reason.API_UNAUTHORIZED] * 3)
    state = replace(story.state(), topics={**story.state().topics, Topic.EXPIRY: replace(story.state().topic(Topic.EXPIRY), level="1d")})
    story.put_state(replace(state, suppression=SuppressionReason.COVERED_BY_SCOPE))
    everything = text(story)
    assert "expiry: the notification “1d” is pending; it waits until the incident of the account main is closed." in everything
    assert SUPPRESSION_TEXTS[SuppressionReason.COVERED_BY_SCOPE] in everything


def test_suspected_platform() -> None:
    """A suspicion is said with when it began, for as long as the other connections are looked at."""
    story = Story(connections=fleet(3))
    for number in (1, 2, 3):
        story.check(Reason.OK, number)
    story.pass_time(10 * MINUTE)
    story.check(Reason.CREDENTIAL_REJECTED)
    story.now += 10 * SECOND
    assert "LinkedIn is suspected since 2030-01-01 00:10 UTC (10s ago). No notification yet." in text(story)
    story.pass_time(5 * MINUTE)
    assert "suspected" not in text(story)
    assert "No scope incident (account, API, platform, storage) is open." in text(story)


def test_platform_told_in_place() -> None:
    """When many connections of a platform broke together, the platform's incident is named, and that it is told instead."""
    story = Story(connections={number: a_connection(number) for number in range(1, 9)})
    for _ in range(3):
        for number in story.connections:
            story.check(Reason.CREDENTIAL_REJECTED, number)
        story.pass_time(MINUTE)
    assert "LinkedIn of main has an open incident" in text(story, 8)
    assert "their incident is notified in place of each" in text(story, 8)


def test_silenced() -> None:
    """News that a silence holds back name it, who asked for it and why, and until when."""
    story = Story()
    broken(story)
    value = replace(story.state().topic(Topic.CONNECTION), level="missing")
    state = replace(story.state(), topics={Topic.CONNECTION: value}, suppression=SuppressionReason.SILENCED)
    silence = Silence(3, {"platform": "linkedin"}, START, at(HOUR), "ann", "maintenance", START)
    case = replace(case_of(story), state=state, controls=Controls(silences=(silence,)))
    lines = "\n".join(topic_lines(case, story.now, story.policy))
    assert "it is suppressed by silence 3 (ann: “maintenance”) until 2030-01-01 01:00 UTC (in 57m)." in lines
    assert SUPPRESSION_TEXTS[SuppressionReason.SILENCED] in lines
    assert "it is sent at the next evaluation." in "\n".join(topic_lines(replace(case, controls=Controls()), story.now, story.policy))


def test_acknowledged() -> None:
    """An acknowledged incident has no reminders, and who acknowledged it is named."""
    story = Story()
    broken(story)
    ack = Ack(Topic.CONNECTION, "1", 1, "error", story.now, "ann", "on it")
    controls = Controls().with_requests((), (ack,))
    lines = "\n".join(topic_lines(replace(case_of(story), controls=controls), story.now, story.policy))
    assert "connection: acknowledged by ann 2030-01-01 00:03 UTC (0s ago) (“on it”): no reminders." in lines
    assert "is due" not in lines


def test_who_has_it() -> None:
    """Receivers are said to be up to date only when each has what was sent to it; others are named, with the reason and the attempts."""
    story = Story()
    broken(story)
    (opened,) = story.notifications
    refused = tuple(AttemptRecord(story.now, DeliveryReason.CLIENT_ERROR, http_status=400) for _ in range(3))

    def said(*escalated: DeliveryRecord, **deliveries: str) -> str:
        rows = tuple(
            DeliveryRecord(1, name, state, story.now, attempts=() if state == "delivered" else refused)
            for name, state in deliveries.items()
        )
        escalation = replace(opened, why=NotificationReason.REMINDER)
        records = [NotificationRecord("b", "key", escalation, escalated), NotificationRecord("a", "key", opened, rows)]
        return "\n".join(topic_lines(replace(case_of(story), notifications=records), story.now, story.policy))

    assert "Receivers are up to date" in said(chat="delivered", pager="delivered")
    lines = said(chat="delivered", pager="pending")
    assert "Of connection, chat has the latest notification, but not pager (pending after 3 attempts: client_error 400)." in lines
    assert "up to date" not in lines
    lines = said(pager="cancelled", chat="dead")
    assert "No receiver has the latest notification about connection: pager (cancelled after 3 attempts: client_error 400), chat (" in lines
    assert "up to date" not in lines
    assert "Of connection, boss has" in said(DeliveryRecord(2, "boss", "delivered", story.now), chat="dead")


def test_every_quiet_has_words() -> None:
    """Each reason to stay quiet is said in words."""
    assert set(SUPPRESSION_TEXTS) == set(SuppressionReason)


def test_retired() -> None:
    """A connection that is no longer watched is said to be so, and no future is foretold."""
    story = Story()
    well(story)
    sections = explain(replace(case_of(story), retired=True), story.now, story.policy)
    assert sections[0].lines[0].endswith(" is no longer watched; it was working 1m ago.")
    assert "stale" not in "\n".join(line for section in sections for line in section.lines)


# the token

TOKENS = [
    (TokenBelief(), "Its expiry is not known."),
    (TokenBelief(observed_at=START), "The API reports no expiry."),
    (TokenBelief(TokenSays.UNPARSED, observed_at=START), "a form that cannot be read"),
    (TokenBelief(TokenSays.EXPIRED, expired_at=START, observed_at=START), "The API reports it as expired, first 2030-01-01 00:00 UTC"),
    (a_token_belief(at(3 * DAY)), "It expires 2030-01-04 00:00 UTC (in 3d): the exact date in the API's list of connections."),
    (
        a_token_belief(at(3 * DAY), exact_at=None, earliest_at=at(3 * DAY - HOUR), latest_at=at(3 * DAY + HOUR)),
        "It expires between 2030-01-03 23:00 UTC and 2030-01-04 01:00 UTC, in 3d ± 1h, by the times printed by",
    ),
    (a_token_belief(at(3 * DAY), exact_at=None), "exact to the second from the times printed by"),
    (a_token_belief(at(3 * DAY), disagrees=True), "differ by more than a day"),
    (
        a_token_belief(at(3 * DAY), renewal_points=(5 * DAY, 5 * DAY)),
        "It is renewed automatically: the last renewals came with about 5d left",
    ),
    (a_token_belief(at(3 * DAY), renewed_at=START), "Last renewed 2030-01-01 00:00 UTC"),
    (a_token_belief(at(3 * DAY), status="valid"), "Status in the API's list: valid."),
]


@pytest.mark.parametrize(("belief", "said"), TOKENS)
def test_token(belief: TokenBelief, said: str) -> None:
    """What is known of the token's end is said together with how it is known."""
    state = a_state(token=belief, token_sightings=4)
    sections = {section.title: "\n".join(section.lines) for section in explain(ConnectionReport(a_connection(), state), START, Policy())}
    assert said in sections["Token"]


def test_no_countdown_for_tokens_that_platforms_renew() -> None:
    """For a platform whose tokens are renewed by themselves the missing countdown is explained."""
    state = a_state(token=a_token_belief(at(HOUR)))
    sections = explain(ConnectionReport(a_connection(platform_id="youtube-1"), state), START, Policy())
    assert "No countdown for youtube" in next("\n".join(one.lines) for one in sections if one.title == "Token")


@pytest.mark.parametrize(
    ("belief", "shown"),
    [
        (TokenBelief(), "no end"),
        (a_token_belief(at(3 * DAY + 4 * HOUR)), "3d 4h"),
        (a_token_belief(START - SECOND), "expired"),
        (a_token_belief(at(DAY), exact_at=None, earliest_at=at(DAY - HOUR), latest_at=at(DAY + HOUR)), "1d ±1h"),
        (a_token_belief(at(30 * SECOND)), "30s"),
    ],
)
def test_token_left(belief: TokenBelief, shown: str) -> None:
    """The life left in short comes with its uncertainty when that is worth saying."""
    assert token_left(a_state(token=belief), START) == shown


def test_token_of_a_connection_that_was_never_checked() -> None:
    """That a list names no end says nothing before the first check."""
    assert token_left(ConnectionState(token=TokenBelief(observed_at=START)), START) == ""


# who was told


def an_owed(state: str, **overrides: object) -> DeliveryRecord:
    values: dict[str, object] = {"number": 7, "receiver": "on-call", "state": state, "next_attempt_at": at(MINUTE)}
    return DeliveryRecord(**(values | overrides))  # type: ignore[arg-type]


TIMEOUT = AttemptRecord(at(SECOND), DeliveryReason.TIMEOUT, timedelta(seconds=15), None, "no answer in time")
DELIVERED = AttemptRecord(at(MINUTE), DeliveryReason.DELIVERED, timedelta(milliseconds=120), 204)
DELIVERIES = [
    (
        an_owed("delivered", finished_at=at(MINUTE), attempts=(TIMEOUT, DELIVERED)),
        "on-call: delivered 2030-01-01 00:01 UTC (1h ago), 2 attempts",
    ),
    (an_owed("delivered", finished_at=at(MINUTE), attempts=(TIMEOUT,)), "2030-01-01 00:00:01 UTC timeout (15.0s): no answer in time"),
    (an_owed("delivered", finished_at=at(MINUTE), attempts=(DELIVERED,)), "2030-01-01 00:01:00 UTC delivered 204 (0.1s)"),
    (an_owed("delivered", finished_at=at(MINUTE), in_digest=True), "on-call: delivered within a digest 2030-01-01 00:01 UTC"),
    (an_owed("pending", attempts=(TIMEOUT,)), "on-call: pending after 1 attempt, next not before 2030-01-01 00:01 UTC"),
    (an_owed("pending", in_digest=True), "on-call: pending within a digest (number 7)"),
    (
        an_owed("dead", finished_at=at(MINUTE), attempts=(TIMEOUT,)),
        "on-call: abandoned 2030-01-01 00:01 UTC (1h ago) after 1 attempt (number 7)",
    ),
    (an_owed("cancelled", finished_at=at(MINUTE)), "(1h ago): the receiver is disabled (HTTP 410)"),
    (an_owed("cancelled", finished_at=at(MINUTE), superseded=True), "(1h ago): a newer notification replaced this reminder"),
]


@pytest.mark.parametrize(("delivery", "said"), DELIVERIES)
def test_deliveries(delivery: DeliveryRecord, said: str) -> None:
    """Who was told, when, and what they answered."""
    telling = NotificationRecord("msg_1", "pp-db1-1-connection-1", a_notification(), (delivery,))
    lines = "\n".join(notification_lines([telling], at(HOUR + MINUTE)))
    assert "connection.failed (opened, critical), connection fine → error" in lines
    assert "id msg_1, incident key pp-db1-1-connection-1" in lines
    assert said in lines


def test_nobody_told() -> None:
    """A notification without deliveries says why nobody got it."""
    lines = list(notification_lines([NotificationRecord("msg_1", "key", a_notification())], START))
    assert lines[-1] == "  no delivery: no route matches, or the receivers take no closing notifications"


def test_dead_letters_can_be_retried() -> None:
    """What was given up comes with the command that sends it again."""
    telling = NotificationRecord("msg_1", "key", a_notification(), (an_owed("dead"),))
    sections = explain(ConnectionReport(a_connection(), a_state(), notifications=(telling,)), START, Policy())
    assert "Retry abandoned deliveries: postpost-monitor deliveries retry NUMBER." in sections[1].lines


@pytest.mark.parametrize(("hints", "asked"), [({}, True), ({Topic.EXPIRY: PendingLevel(FINE, START)}, False)])
def test_what_seems_mended(hints: dict[Topic, PendingLevel], asked: bool) -> None:
    """Nobody is asked to reconnect what the last check found renewed."""
    state = a_state(topics={Topic.EXPIRY: TopicState(level="1d")}, pending_levels=hints)
    lines = [line for section in explain(ConnectionReport(a_connection(), state), START, Policy()) for line in section.lines]
    assert ("Reconnect the account on the PostPost dashboard before the token expires." in lines) is asked


def lines_of(story: Story, number: int = 1) -> tuple[list[str], list[str]]:
    """Why somebody was told, and what to do."""
    found = told(story, number)
    return found["Notifications"], found.get("What to do", [])


def test_wider_trouble_that_was_told() -> None:
    """While wider trouble is open it is said that the receivers know of that; it is not said that there never was any."""
    story = Story()
    story.checks(Reason.OK, *[Reason.API_UNAUTHORIZED] * 3)
    why, what = lines_of(story)
    assert why == [
        "The account main: notified 2030-01-01 00:02 UTC (2m ago), once for all connections below it.",
        "This connection itself has no incident.",
    ]
    assert what == ["Put a valid API key into the account's key file and reload."]


def test_wider_trouble_that_is_silenced() -> None:
    """Wider trouble that a silence holds back is open, and nobody knows of it yet."""
    story = Story()
    story.ask(Silence(1, {"scope": "account"}, START, START + DAY, "anna", "maintenance", START))
    story.checks(Reason.OK, *[Reason.API_UNAUTHORIZED] * 3)
    assert lines_of(story)[0][0] == "The account main: no notification yet."


def test_what_to_do_first() -> None:
    """A broken platform is waited for, a doubtful failure is looked at, and a crashing test has a way out too."""
    story = Story(connections={number: a_connection(number) for number in range(1, 13)})
    for reason in (Reason.OK, *[Reason.PLATFORM_TROUBLE] * 3):
        for number in story.connections:
            story.check(reason, number)
        story.pass_time(MINUTE)
    assert lines_of(story, 9)[1][0].startswith("Wait for the platform first")

    story = Story()
    story.checks(Reason.OK, Reason.CREDENTIAL_REJECTED)
    reply = a_reply(passed=False, permissions=(), last_successful_post_at=story.now - 10 * SECOND)
    story.check(Reason.CREDENTIAL_REJECTED, reply=reply)
    assert lines_of(story)[1][0].startswith("Check whether posts still succeed")

    story = Story()
    story.checks(Reason.OK, *[Reason.API_VALIDATOR_FAILED] * 5, every=15 * MINUTE)
    assert lines_of(story)[1] == ["Wait a while. If it lasts, reconnect the account, or ask PostPost's support about this connection."]


def test_trouble_that_comes_and_goes() -> None:
    """Of an API that comes and goes it is said until when its end is kept back."""
    story = Story(policy=Policy(scopes=ScopePolicy(api_notify_after=SECOND)))
    story.check()
    for _ in range(3):
        story.checks(*[Reason.API_TIMEOUT] * 14, *[Reason.OK] * 14, every=15 * SECOND)
    assert story.types == [*["api.failed", "api.recovered"] * 2, "api.failed"]
    assert any(
        line.startswith("It opens and closes repeatedly, so the end is notified if it does not open again until")
        for line in told(story)["Wider scopes"]
    )


def test_expired_but_passing() -> None:
    """Of a token that is said to have ended, while the test passes, it is said that the severity is info."""
    story = Story()
    story.replies[1] = a_reply(token=TokenLife(TokenSays.EXPIRED))
    story.checks(Reason.OK, Reason.OK, Reason.OK)
    said = "The connection still passes its test, so the expiry is notified with severity info."
    assert said in told(story)["Token"]
