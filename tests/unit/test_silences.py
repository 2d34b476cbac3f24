from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from monitor.domain.events import EventType, IncidentRef, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.recurrence import EVERY_DAY, Schedule
from monitor.domain.routing.rules import facts, matches
from monitor.domain.silencing.acks import Ack, acknowledged, badness
from monitor.domain.silencing.controls import Controls
from monitor.domain.silencing.silences import RecurringSilence, Silence, SilenceState
from monitor.domain.states import SuppressionReason, TopicState
from tests.builders import HOUR, MINUTE, START, a_connection, a_notification, a_silence, at

CONNECTION = a_connection(platform_id="linkedin-Tz9W5i6ZYG", user_id="u1", labels={"team": "social", "tier": "1"})


@pytest.mark.parametrize(
    ("match", "held"),
    [
        ({"account": "main"}, True),
        ({"account": "other"}, False),
        ({"user": "u1"}, True),
        ({"user": ""}, False),
        ({"platform": "linkedin"}, True),
        ({"platform": "mastodon|linkedin"}, True),
        ({"platform": "mastodon | linked*"}, True),
        ({"platform": "link"}, False),
        ({"connection": "linkedin-Tz9W5i6ZYG"}, True),
        ({"connection": "linkedin-*"}, True),
        ({"connection": "LINKEDIN-*"}, False),
        ({"team": "social"}, True),
        ({"team": "sales"}, False),
        ({"absent": ""}, True),
        ({"absent": "x"}, False),
        ({"type": "connection.failed"}, True),
        ({"type": "connection.*"}, True),
        ({"type": "token.*"}, False),
        ({"topic": "connection"}, True),
        ({"topic": "expiry"}, False),
        ({"severity": "critical"}, True),
        ({"severity": "info|warning"}, False),
        ({"severity": "*"}, True),
        ({"team": "social", "platform": "linkedin", "tier": "1"}, True),
        ({"team": "social", "platform": "mastodon"}, False),
    ],
)
def test_matching(match: dict[str, str], held: bool) -> None:
    """Every matcher must fit, by the rules of routes: exact text, choices by |, a star at the end."""
    controls = Controls(silences=(a_silence(match=match),))
    assert (controls.suppression(a_notification(), CONNECTION, START) is not None) is held


@pytest.mark.parametrize(
    ("subject", "match", "held"),
    [
        ("account:main", {"account": "main"}, True),
        ("rate:main", {"account": "main"}, True),
        ("user:main/u1", {"account": "main", "user": "u1"}, True),
        ("user:main/u1", {"user": "u2"}, False),
        ("list:main/u1", {"account": "main"}, True),
        ("platform:linkedin", {"platform": "linkedin"}, True),
        ("platform:linkedin", {"account": "main"}, False),
        ("api:api.example", {"account": "main"}, False),
        ("api:api.example", {"scope": "api"}, True),
        ("storage", {"severity": "*"}, True),
        ("account:main", {"connection": "linkedin-*"}, False),
    ],
)
def test_matching_wider_causes(subject: str, match: dict[str, str], held: bool) -> None:
    """An incident that is wider than a connection is matched by the account, user or platform that it is about."""
    scope = Scope.ACCOUNT if subject.partition(":")[0] in {"rate", "list"} else Scope(subject.partition(":")[0])
    notification = a_notification(incident=IncidentRef(Topic.SCOPE, subject, 1, START), scope=scope, connection_id=None)
    assert matches(match, facts(notification, None)) is held
    assert (Controls(silences=(a_silence(match=match),)).suppression(notification, None, START) is not None) is held


@pytest.mark.parametrize(
    ("now", "expired_at", "state"),
    [
        (-1 * MINUTE, None, SilenceState.PENDING),
        (0 * MINUTE, None, SilenceState.ACTIVE),
        (119 * MINUTE, None, SilenceState.ACTIVE),
        (120 * MINUTE, None, SilenceState.EXPIRED),
        (60 * MINUTE, 60 * MINUTE, SilenceState.EXPIRED),
        (59 * MINUTE, 60 * MINUTE, SilenceState.ACTIVE),
        (-1 * MINUTE, -10 * MINUTE, SilenceState.EXPIRED),
    ],
)
def test_states(now: timedelta, expired_at: timedelta | None, state: SilenceState) -> None:
    """A silence is pending until it starts, active until it ends or is ended, and expired from that very moment on."""
    silence = a_silence(expired_at=None if expired_at is None else at(expired_at))
    assert silence.state(at(now)) is state
    held = Controls(silences=(silence,)).suppression(a_notification(), CONNECTION, at(now))
    assert (held is not None) is (state is SilenceState.ACTIVE)


def test_the_longest_counts() -> None:
    """Of several that match, the one that ends last says until when; one that does not match says nothing."""
    silences = (
        a_silence(1, ends_at=at(HOUR)),
        a_silence(2, ends_at=at(3 * HOUR)),
        a_silence(3, match={"account": "other"}, ends_at=at(9 * HOUR)),
        a_silence(4, ends_at=at(8 * HOUR), expired_at=at(2 * HOUR)),
    )
    held = Controls(silences=silences).suppression(a_notification(), CONNECTION, START)
    assert held is not None
    assert (held.reason, held.until, held.by) == (SuppressionReason.SILENCED, at(3 * HOUR), "silence 2")


def test_quiet_hours() -> None:
    """Quiet hours hold back what is not critical, under their own name, until the morning of their zone."""
    night = Schedule(EVERY_DAY, 22 * HOUR, 7 * HOUR, ZoneInfo("Europe/Berlin"))
    controls = Controls(recurring=(RecurringSilence("quiet hours", {"severity": "info|warning"}, night, SuppressionReason.QUIET_HOURS),))
    now = datetime(2030, 7, 1, 23, 0, tzinfo=UTC)
    assert controls.suppression(a_notification(severity=Severity.CRITICAL), CONNECTION, now) is None
    held = controls.suppression(a_notification(severity=Severity.WARNING), CONNECTION, now)
    assert held is not None
    assert (held.reason, held.until) == (SuppressionReason.QUIET_HOURS, datetime(2030, 7, 2, 5, 0, tzinfo=UTC))
    assert controls.suppression(a_notification(type=EventType.TOKEN_EXPIRING, severity=Severity.INFO), None, now + 7 * HOUR) is None


# acknowledgements


def an_ack(level: str = "error", topic: Topic = Topic.CONNECTION, number: int = 1) -> Ack:
    return Ack(topic, "1", number, level, at(HOUR), "anna", "seen")


@pytest.mark.parametrize(
    ("topic", "acked", "level", "since", "number", "holds"),
    [
        (Topic.CONNECTION, "error", "error", 0 * HOUR, 1, True),
        (Topic.CONNECTION, "error", "missing", 2 * HOUR, 1, True),
        (Topic.CONNECTION, "error", "flapping", 2 * HOUR, 1, True),
        (Topic.CONNECTION, "missing", "error", 2 * HOUR, 1, False),
        (Topic.CONNECTION, "stale", "error", 2 * HOUR, 1, False),
        (Topic.CONNECTION, "error", "error", 2 * HOUR, 1, False),  # it was better in between
        (Topic.CONNECTION, "error", "error", 2 * HOUR, 2, False),  # the next incident
        (Topic.CONNECTION, "error", "missing", 2 * HOUR, 2, False),
        (Topic.CONNECTION, "error", "fine", 2 * HOUR, 1, False),
        (Topic.EXPIRY, "expired", "expired", 0 * HOUR, 1, True),
        (Topic.EXPIRY, "7d", "expired", 2 * HOUR, 1, False),
        (Topic.EXPIRY, "7d", "1d", 2 * HOUR, 1, False),
        (Topic.EXPIRY, "1d", "7d", 2 * HOUR, 1, True),
        (Topic.SCOPE, "failed", "failed", 0 * HOUR, 1, True),
    ],
)
def test_acknowledgement(topic: Topic, acked: str, level: str, since: timedelta, number: int, holds: bool) -> None:
    """One holds for its incident as long as the level is the one that was acknowledged, or a better one."""
    ack = an_ack(acked, topic)
    value = TopicState(level=level, since=at(since), number=number, opened_at=START)
    assert (acknowledged({ack.key: ack}, topic, "1", value) is not None) is holds
    assert acknowledged({ack.key: ack}, topic, "2", value) is None


def test_badness_orders_levels() -> None:
    """Worse levels measure more: the ladder of a token, and the kinds of trouble of a connection."""
    ladder = [badness(Topic.EXPIRY, level) for level in ("fine", "14d", "7d", "1d", "2h", "expired")]
    assert ladder == sorted(ladder)
    assert len(set(ladder)) == len(ladder)
    kinds = [badness(Topic.CONNECTION, level) for level in ("fine", "stale", "flapping", "misconfigured", "missing", "error")]
    assert kinds == sorted(kinds)


def test_what_was_asked_for_is_replaced() -> None:
    """New silences and acknowledgements take the place of the old ones; the windows of the configuration stay."""
    night = RecurringSilence("night", {"platform": "*"}, Schedule(EVERY_DAY, 0 * HOUR, 6 * HOUR, UTC))
    controls = Controls(recurring=(night,)).with_requests([a_silence(1)], [an_ack()]).with_requests([a_silence(2)], [])
    assert [silence.id for silence in controls.silences] == [2]
    assert controls.acks == {}
    assert controls.recurring == (night,)


def test_silence_is_a_value() -> None:
    """Two silences with the same fields are equal, so that a change of what was asked for can be seen."""
    assert a_silence() == a_silence()
    assert a_silence() != Silence(**{**{name: getattr(a_silence(), name) for name in Silence.__slots__}, "reason": "another"})
