"""What a decision says besides its type: numbers, reasons, urgency, ends, and who is held back. Found by breaking the code."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from monitor.domain.delivery.digests import PendingDelivery, build_digest, plan
from monitor.domain.delivery.retries import AttemptResult, CircuitBreaker, after_attempt, next_attempt
from monitor.domain.evaluation import evaluate_check, scope_context
from monitor.domain.events import FINE, EventType, IncidentRef, NotificationReason, Severity, Topic
from monitor.domain.expiry import estimate
from monitor.domain.notifications import decide
from monitor.domain.notifications.build import NotificationContext
from monitor.domain.notifications.build import build_notification as announcement_of
from monitor.domain.policy import DigestPolicy, ExpiryPolicy, Policy, RetryPolicy, ScopePolicy
from monitor.domain.reasons import Health, Scope
from monitor.domain.replies.checks import Verdict
from monitor.domain.replies.token_life import TokenLife, parse_token_life
from monitor.domain.routing.rules import facts, matches
from monitor.domain.scopes.api import _down_since
from monitor.domain.scopes.key import STORAGE, ScopeKey, scopes_above
from monitor.domain.scopes.state import Bucket, FailureStreak, ScopeState, closed, opened, persistent, with_failure
from monitor.domain.silencing.acks import Ack, acknowledged, badness
from monitor.domain.states import LastNotified, PendingLevel, TopicState
from monitor.domain.topics import ScopeContext, is_confirmed, note_pending, severity_of
from monitor.domain.views.past import views_at
from monitor.domain.views.snapshot import IncidentView
from monitor.errors import DeliveryReason, Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, a_notification, a_state, a_token_belief, an_observation, at
from tests.story import Story

OK, BAD, LIE = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.PLATFORM_UNKNOWN


def test_scope_incidents_are_counted() -> None:
    """Each incident of a scope has the next number, and began when the trouble was first suspected."""
    first = opened(ScopeState(ScopeKey.parse("account:main"), suspect_at=at(-MINUTE)), START, affected=3)
    again = opened(closed(first, at(HOUR)), at(DAY), affected=4)
    assert (first.topic.number, first.topic.opened_at, first.affected) == (1, at(-MINUTE), 3)
    assert (again.topic.number, again.topic.opened_at, again.affected) == (2, at(DAY), 4)
    assert opened(again, at(2 * DAY), affected=9) == again


@pytest.mark.parametrize("troubled", [True, False])
def test_what_a_scope_keeps_over_a_restart(*, troubled: bool) -> None:
    """When the trouble was last seen lasts with the trouble; the counting of single answers never does."""
    streak = FailureStreak(START, 3, 1)
    kept = persistent(ScopeState(ScopeKey.parse("api:x"), suspect_at=START if troubled else None, last_bad_at=at(SECOND), streak=streak))
    assert (kept.last_bad_at, kept.streak, kept.recovery, kept.buckets) == (at(SECOND) if troubled else None, None, None, ())


@pytest.mark.parametrize(
    ("topic", "level", "after", "held"),
    [
        (Topic.EXPIRY, "7d", timedelta(0), False),
        (Topic.EXPIRY, "7d", DAY, True),
        (Topic.EXPIRY, FINE, timedelta(0), True),
        (Topic.EXPIRY, "expired", timedelta(0), True),
        (Topic.PERMISSIONS, "lost", timedelta(0), True),
    ],
)
def test_only_thresholds_settle(topic: Topic, level: str, after: timedelta, *, held: bool) -> None:
    """A threshold of the token's end waits until it has settled; renewal, the end itself and permissions do not."""
    policy = Policy(platforms={"instagram": ExpiryPolicy(settle=DAY)})
    connection = a_connection(platform_id="instagram-1")
    assert is_confirmed(connection, a_state(), topic, PendingLevel(level, START, 9), at(after), policy) is held


def broken_and_told() -> Story:
    """A connection that broke, and that was told."""
    story = Story()
    story.checks(OK, BAD, BAD)
    return story


def test_removal_ends_everything() -> None:
    """Whoever left is fine, under the old numbers, with an end for each incident that says why; what was not told is not ended aloud."""
    story = broken_and_told()
    state = story.state()
    state = replace(
        state,
        topics={**state.topics, Topic.PERMISSIONS: TopicState("lost", START, 4, START), Topic.EXPIRY: TopicState("1d", START, 2, START)},
    )
    settled = decide.close_removed(story.connections[1], state, at(DAY), story.policy)
    assert [(one.incident.topic, one.incident.number, one.level, one.closed_why, one.severity) for one in settled.transitions] == [
        (Topic.CONNECTION, 1, FINE, "removed", Severity.CRITICAL),
        (Topic.PERMISSIONS, 4, FINE, "removed", Severity.WARNING),
        (Topic.EXPIRY, 2, FINE, "removed", Severity.CRITICAL),
    ]
    (told,) = settled.notifications
    assert (told.incident.topic, told.type, told.why, told.facts.closed_why) == (
        Topic.CONNECTION,
        EventType.CONNECTION_CLOSED,
        NotificationReason.CLOSED,
        "removed",
    )
    assert told.severity is Severity.CRITICAL
    assert settled.state.seq == told.seq == state.seq + 1
    assert {topic: (value.level, value.notified.level, value.number) for topic, value in settled.state.topics.items()} == {
        Topic.CONNECTION: (FINE, FINE, 1),
        Topic.PERMISSIONS: (FINE, FINE, 4),
        Topic.EXPIRY: (FINE, FINE, 2),
    }


@pytest.mark.parametrize(("end", "why"), [((OK, OK), "recovered"), ((LIE,), "unsupported")])
def test_how_an_incident_ends(end: tuple[Reason, ...], why: str) -> None:
    """The history says how an incident ended, as urgent as it was, and when it had begun."""
    story = broken_and_told()
    began = story.transitions[-1]
    story.checks(*end)
    over = story.transitions[-1]
    assert (began.closed_why, over.closed_why) == (None, why)
    assert (over.severity, over.level) == (began.severity, FINE)
    assert over.incident == began.incident
    assert over.at > began.at > began.incident.opened_at == START + MINUTE, "the first failed check"


def test_merged_expiry_stays_silent() -> None:
    """An end that was told within a failure needs no recovery of its own; one that reopens by itself is told."""
    story = Story()
    value = TopicState("1d", START, 2, START, LastNotified("1d", 2, START, START, merged=True))
    state = replace(a_state(), topics={Topic.EXPIRY: value})
    settled = decide.decide(story.connections[1], state, state, START, story.policy, ScopeContext(), evidence=False)
    assert settled.notifications == ()
    reopened = replace(state, topics={Topic.EXPIRY: replace(value, level="7d")})
    again = decide.decide(story.connections[1], reopened, reopened, START, story.policy, ScopeContext(frozen_by=None), evidence=False)
    assert [one.incident.topic for one in again.notifications] == [Topic.EXPIRY]


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        ({"platform": "linkedin*"}, True),
        ({"platform": "linkedix*"}, False),
        ({"reason": ""}, True),
        ({"account": "main"}, True),
        ({"platform": ""}, True),
        ({"connection": ""}, True),
    ],
)
def test_facts_of_what_is_not_there(match: dict[str, str], *, fits: bool) -> None:
    """What a notification lacks is an empty text; a pattern's star stands for the end only."""
    linkedin = "platform" in match and match["platform"]
    about = a_connection() if linkedin else None
    incident = IncidentRef(Topic.SCOPE, "account:main", 1, START)
    notification = a_notification() if linkedin else a_notification(reason=None, incident=incident, scope=Scope.ACCOUNT, connection_id=None)
    assert matches(match, facts(notification, about)) is fits


def test_wide_causes_have_no_account_of_their_own() -> None:
    """The API's trouble belongs to no account, user, platform or connection."""
    known = facts(a_notification(incident=IncidentRef(Topic.SCOPE, "api:x", 1, START), connection_id=None), None)
    assert [known[name] for name in ("account", "user", "platform", "connection")] == [""] * 4


def test_gone_counts_as_a_failure() -> None:
    """The last 410 is one failure more."""
    gone = after_attempt(CircuitBreaker(failures=2, gone=2), AttemptResult(DeliveryReason.GONE), START, RetryPolicy(), 0.5, "f")
    assert (gone.failures, gone.disabled_at, gone.fingerprint) == (3, START, "f")


def test_no_pause_without_trouble() -> None:
    """A healthy receiver is asked at once."""
    assert CircuitBreaker().wait(START, RetryPolicy()) == timedelta(0)


def test_old_trouble_is_probed_slowly() -> None:
    """From a day on, to the moment, the receiver is asked every half hour, and a poisoned message likewise."""
    policy = RetryPolicy(jitter=0.0)
    failing = CircuitBreaker(failures=300, failing_since=START)
    after = after_attempt(failing, AttemptResult(DeliveryReason.TIMEOUT), at(policy.slow_after), policy, 0.5)
    assert after.retry_at == at(policy.slow_after + policy.slow_every)
    internal = AttemptResult(DeliveryReason.INTERNAL)
    assert next_attempt(internal, 300, START, at(policy.slow_after), policy, 0.5) == at(policy.slow_after + policy.slow_every)
    assert next_attempt(internal, 300, START, at(policy.slow_after - SECOND), policy, 0.5) == at(
        policy.slow_after - SECOND + policy.schedule[-1]
    )


def test_what_can_not_be_merged_keeps_its_turn() -> None:
    """A later delivery about the same subject neither overtakes nor is collected while one that is never merged waits."""
    first = PendingDelivery(1, "s", START, attempts=1, due=False, mergeable=False)
    planned = plan([first, PendingDelivery(2, "s", START)], 9, at(HOUR), DigestPolicy())
    assert (planned.now, planned.groups) == ((), ())


def test_announcement_of_a_digest() -> None:
    """A digest is an incident of nobody: its own subject, no level, no reason, as urgent as its worst."""
    one = build_digest("chat", [a_notification(severity=Severity.INFO), a_notification(severity=Severity.WARNING)], START)
    assert one.incident == IncidentRef(Topic.SCOPE, "digest:chat", 0, START)
    assert (one.level_from, one.level_to, one.reason, one.severity, one.why) == (
        FINE,
        FINE,
        None,
        Severity.WARNING,
        NotificationReason.DIGEST,
    )


def test_nearer_ends_are_worse() -> None:
    """Of two thresholds the nearer one is worse; what has none, such as lost permissions, is one step above fine."""
    ladder = [badness(Topic.EXPIRY, level) for level in (FINE, "14d", "7d", "1d", "expired")]
    assert ladder == sorted(set(ladder))
    assert badness(Topic.PERMISSIONS, FINE) < badness(Topic.PERMISSIONS, "lost")
    assert badness(Topic.PERMISSIONS, "14d") == badness(Topic.PERMISSIONS, "7d"), "thresholds are the token's alone"


def test_acknowledged_until_worse() -> None:
    """An acknowledgement of the seven days covers them, not the last day."""
    ack = Ack(Topic.EXPIRY, "1", 1, "7d", START, "anna", "knows")
    acks = {ack.key: ack}
    assert acknowledged(acks, Topic.EXPIRY, "1", TopicState("7d", START, 1)) is ack
    assert acknowledged(acks, Topic.EXPIRY, "1", TopicState("14d", at(HOUR), 1)) is ack
    assert acknowledged(acks, Topic.EXPIRY, "1", TopicState("1d", at(HOUR), 1)) is None


def test_told_without_a_false_reason() -> None:
    """Where the second look never came the trouble is told in the end, without claiming that the check that passed was its reason."""
    state = a_state(Health.ERROR, reason=OK, detail="Connected", topics={Topic.CONNECTION: TopicState("error", START, 1, START)})
    told = announcement_of(a_connection(), state, Topic.CONNECTION, NotificationContext(at(HOUR)), Policy())
    assert (told.type, told.reason, told.detail) == (EventType.CONNECTION_FAILED, None, "")
    over = announcement_of(
        a_connection(), replace(state, topics={}), Topic.CONNECTION, NotificationContext(at(HOUR), "recovered"), Policy()
    )
    assert (over.reason, over.detail) == (OK, "Connected")


@pytest.mark.parametrize(
    ("topic", "level", "severity"),
    [
        (Topic.CONNECTION, "error", Severity.CRITICAL),
        (Topic.CONNECTION, "missing", Severity.WARNING),
        (Topic.CONNECTION, FINE, Severity.INFO),
        (Topic.PERMISSIONS, "lost", Severity.WARNING),
        (Topic.PUBLISHING, "error", Severity.WARNING),
        (Topic.EXPIRY, "expired", Severity.CRITICAL),
        (Topic.EXPIRY, "14d", Severity.INFO),
        (Topic.EXPIRY, "7d", Severity.WARNING),
        (Topic.EXPIRY, "1d", Severity.CRITICAL),
    ],
)
def test_urgency(topic: Topic, level: str, severity: Severity) -> None:
    """How urgent each level is; `error` is critical of the connection only."""
    assert severity_of(topic, level, Policy(), "linkedin") is severity


def test_what_is_told_once_is_not_told_again() -> None:
    """An end that the failure has told along is remembered as told by it, so that neither a repetition nor a recovery of its own comes."""
    connection = TopicState("error", START, 1, START, LastNotified("error", 1, START, START))
    topics = {Topic.CONNECTION: connection, Topic.EXPIRY: TopicState("expired", START, 1, START)}
    state = replace(a_state(Health.ERROR, reason=Reason.TOKEN_EXPIRED), topics=topics)
    settled = decide.decide(a_connection(), state, state, START, Policy(), ScopeContext(frozen_by=None), evidence=False)
    expiry = settled.state.topic(Topic.EXPIRY)
    assert settled.notifications == ()
    assert (expiry.notified.level, expiry.notified.merged) == (expiry.level, expiry.level != FINE)


def test_blame() -> None:
    """The last sign of trouble is what is told of it: reason, words and moment."""
    seen = an_observation(BAD, at(MINUTE), verdict=Verdict(BAD, "no entry"))
    state = with_failure(ScopeState(ScopeKey.parse("account:main")), seen)
    assert (state.reason, state.detail, state.last_bad_at) == (BAD, "no entry", at(MINUTE))


def test_collecting_takes_its_time() -> None:
    """What has just been decided is not ripe at once, nor is it when the clock stands still."""
    pending = [PendingDelivery(number, str(number), START) for number in range(30)]
    planned = plan(pending, 9, START, DigestPolicy())
    assert (planned.now, planned.groups, planned.wait) == ((), (), DigestPolicy().wait)


def test_counted_since_the_last_pass() -> None:
    """A pass ends the count of failures and is remembered as the last one; a failure is counted and leaves it."""
    story = Story()
    story.checks(OK, BAD, BAD)
    assert (story.state().failures, story.state().last_passed_at) == (2, START)
    story.check(OK)
    assert (story.state().failures, story.state().last_passed_at) == (0, story.now)


def test_why_it_closed_is_said_of_ends_only() -> None:
    """What opens says nothing of an end; what ends says how."""
    story = broken_and_told()
    story.checks(OK, OK)
    assert [(one.why, one.facts.closed_why) for one in story.notifications] == [
        (NotificationReason.OPENED, None),
        (NotificationReason.CLOSED, "recovered"),
    ]


def test_platforms_have_ladders_of_their_own() -> None:
    """The urgency of a threshold is its place on the ladder of its platform."""
    policy = Policy(platforms={"instagram": ExpiryPolicy(thresholds=(5 * DAY, DAY))})
    assert severity_of(Topic.EXPIRY, "5d", policy, "instagram") is Severity.INFO
    assert severity_of(Topic.EXPIRY, "1d", policy, "instagram") is Severity.CRITICAL


@pytest.mark.parametrize(("early", "sightings"), [(timedelta(0), 2), (SECOND, 1)])
def test_sightings_are_spaced(early: timedelta, sightings: int) -> None:
    """A second sighting counts from the spacing on, to the moment."""
    policy = Policy()
    state = note_pending(a_state(), {Topic.PERMISSIONS: "lost"}, START, policy, evidence=True)
    again = note_pending(state, {Topic.PERMISSIONS: "lost"}, at(policy.spacing - early), policy, evidence=True)
    assert again.pending_levels[Topic.PERMISSIONS] == PendingLevel("lost", START, sightings)


def test_what_lies_above() -> None:
    """An open scope freezes the connection, an open platform speaks for it, and a platform under suspicion makes it wait."""
    connection = a_connection()
    names = scopes_above(connection, "x")
    broken = a_state(health=Health.ERROR, since=START, failures=2, reason=BAD, last_evidence_at=START)

    def context(scope: ScopeState) -> ScopeContext:
        return scope_context(connection, broken, names, {scope.key: scope}, START, START, Policy(), HOUR)

    assert context(ScopeState(names.platform, suspect_at=START)).hold_until is not None
    failed = opened(ScopeState(names.platform, reason=BAD), START, 3)
    assert context(failed).suppressed_by == names.platform
    assert context(replace(failed, reason=Reason.TARGET_GONE)).suppressed_by is None
    assert context(opened(ScopeState(names.group, reason=BAD), START, 3)).suppressed_by == names.group
    assert context(opened(ScopeState(names.api), START, 3)).frozen_by == names.api


@pytest.mark.parametrize(
    ("scope", "reason", "hides"),
    [("platform:linkedin", Reason.PLATFORM_TROUBLE, True), ("platform:linkedin", Reason.TOKEN_EXPIRED, False), ("api:x", None, True)],
)
def test_what_hides_a_state_at_an_earlier_moment(scope: str, reason: Reason | None, *, hides: bool) -> None:
    """The page of the past follows the rule of the live page: upstream trouble of a platform hides the state, a shared cause does not."""
    incident = IncidentRef(Topic.SCOPE, scope, 1, START)
    kind = Scope(scope.partition(":")[0])
    view = IncidentView(incident, kind, None, "failed", Severity.CRITICAL, reason, "")
    failed = an_observation(reason or BAD, START)
    (past,) = views_at([(a_connection(), failed, failed, TokenLife())], [view], at(MINUTE), Policy())
    assert past.suppressed_by == (scope if hides else None)
    own = IncidentView(IncidentRef(Topic.CONNECTION, "1", 1, at(-HOUR)), Scope.CONNECTION, 1, "error", Severity.CRITICAL, reason, "")
    (past,) = views_at([(a_connection(), failed, failed, TokenLife())], [own, view], at(MINUTE), Policy())
    assert (past.state.health, past.suppressed_by) == (Health.ERROR, scope if kind is Scope.API else None), "notified before"


def test_end_of_a_token_at_an_earlier_moment() -> None:
    """It is what later checks narrowed while it is the same token; that of a renewed one is as wide as the text was."""
    passed = an_observation(OK, START)
    ends = []
    for days in (10.5, 60):
        belief = a_token_belief(at(days * DAY), latest_at=at(days * DAY + MINUTE), exact_at=None)
        present = {1: a_state(token=belief)}
        (past,) = views_at([(a_connection(), passed, passed, parse_token_life("10d"))], (), at(MINUTE), Policy(), present)
        ends.append((estimate.window(past.state.token) == estimate.window(belief), estimate.uncertainty(past.state.token)))
    assert [narrow for narrow, _ in ends] == [True, False]
    assert ends[1][1] is not None
    assert ends[1][1] >= 11 * HOUR
    (past,) = views_at([(a_connection(), None, None, TokenLife())], (), at(MINUTE), Policy())
    assert (past.state.health, past.state.last_check_at) == (Health.UNKNOWN, None)


def test_what_rows_cannot_say_of_an_earlier_moment() -> None:
    """A token that the API renews by itself had no end then either, and permissions that are back now were missing."""
    passed, connection = an_observation(OK, START), a_connection(platform_id="youtube-UC1")
    lost = IncidentView(IncidentRef(Topic.PERMISSIONS, "1", 1, START), Scope.CONNECTION, 1, "lost", Severity.WARNING, OK, "read, write")
    (past,) = views_at([(connection, passed, passed, parse_token_life("expired"))], [lost], at(MINUTE), Policy())
    assert (estimate.best_estimate(past.state.token), past.state.permissions_missing) == (None, ("read", "write"))


def test_inconclusive_check_at_an_earlier_moment() -> None:
    """During an outage each last check is inconclusive: what the last conclusive one said counts, also that nothing can be tested."""
    silent = an_observation(Reason.API_TIMEOUT, at(MINUTE))
    for reason, health in ((Reason.VALIDATOR_LACKS_MTPROTO, Health.UNSUPPORTED), (OK, Health.OK), (None, Health.UNKNOWN)):
        evidence = an_observation(reason, START) if reason is not None else None
        (past,) = views_at([(a_connection(), silent, evidence, TokenLife())], (), at(MINUTE), Policy())
        assert (past.state.health, past.state.last_evidence_at) == (health, evidence and START)


def test_frozen_evidence_confirms_nothing() -> None:
    """While storage is out of order, what is heard of a connection is remembered and confirms nothing."""
    story = Story()
    story.check(OK)
    before = story.state().health
    observed = an_observation(BAD, at(MINUTE))
    known = story.engine.begin().evaluation_input(story.connections[1])
    held = evaluate_check(replace(known, scopes={STORAGE: opened(ScopeState(STORAGE), START, 1)}), observed, Policy())
    assert held.state is not None
    assert (held.state.health, held.state.pending, held.state.reason) == (before, None, BAD)


def buckets(*told: tuple[timedelta, int, int]) -> tuple[Bucket, ...]:
    """Slices of time at so long after `START` with so many attempts, of which so many were bad, from two connections."""
    return tuple(Bucket(at(offset), attempts, bad, 0, 1 if bad else None, 2 if bad else None) for offset, attempts, bad in told)


@pytest.mark.parametrize(
    ("state", "since"),
    [
        (ScopeState(ScopeKey.parse("api:x"), streak=FailureStreak(START, 5, 1, several=True)), START),
        (ScopeState(ScopeKey.parse("api:x"), streak=FailureStreak(START, 4, 1, several=True)), None),
        (ScopeState(ScopeKey.parse("api:x"), streak=FailureStreak(START, 5, 1)), None),
        (ScopeState(ScopeKey.parse("api:x"), buckets=buckets((timedelta(0), 10, 10), (4 * MINUTE, 5, 0))), None),
        (ScopeState(ScopeKey.parse("api:x"), buckets=buckets((SECOND, 10, 10), (4 * MINUTE, 5, 0))), at(5 * MINUTE)),
        (ScopeState(ScopeKey.parse("api:x"), buckets=buckets((timedelta(0), 6, 6), (4 * MINUTE, 2, 0))), at(5 * MINUTE)),
        (ScopeState(ScopeKey.parse("api:x"), buckets=buckets((4 * MINUTE, 5, 3))), at(5 * MINUTE)),
        (ScopeState(ScopeKey.parse("api:x"), buckets=buckets((4 * MINUTE, 5, 2))), None),
    ],
    ids=["a streak", "too short", "of one", "too old", "just within", "few lately", "three of five", "two of five"],
)
def test_since_when_an_api_is_down(state: ScopeState, since: datetime | None) -> None:
    """Five bad answers in a row from several, or three of five within the window, to the moment; older ones count where there are few."""
    policy = ScopePolicy()
    assert (policy.attempts, policy.ratio, policy.window) == (5, 0.6, 5 * MINUTE)
    assert _down_since(state, at(5 * MINUTE), policy, 9) == since


def test_silence_is_counted_from_the_end_of_wider_trouble() -> None:
    """What could not be checked meanwhile is not stale for it: patience begins anew when the scope closes."""
    connection = a_connection()
    names = scopes_above(connection, "x")
    over = closed(opened(ScopeState(names.api), START, 3), at(HOUR))
    for since, now, expected in ((START, at(2 * HOUR), at(HOUR)), (at(3 * HOUR), at(3 * HOUR), at(3 * HOUR))):
        context = scope_context(connection, a_state(), names, {names.api: over}, since, now, Policy(), HOUR)
        assert context.watching_since == expected


def test_a_second_look_counts_from_the_spacing_on() -> None:
    """Of two failures that are exactly the spacing apart the second one counts."""
    story = Story()
    story.checks(OK, BAD, every=story.policy.spacing)
    story.check(BAD)
    assert story.types == ["connection.failed"]
