"""Reasons, states and preflight results in one clause, and the advice that goes with them."""

from datetime import timedelta

import pytest

from monitor.domain.events import FINE, Topic
from monitor.domain.projections.preflight import PreflightCause, PreflightResult, Readiness
from monitor.domain.reasons import MEANINGS, UPSTREAM, Advice, Health, Outcome, advice_of
from monitor.domain.replies.checks import Verdict
from monitor.domain.states import ConnectionState, PendingLevel, TopicState
from monitor.errors import Reason
from monitor.text.advice import reason_advice, topic_advice
from monitor.text.reasons import preflight_text, quoted_reason, reason_text, reason_with_detail, state_text
from tests.builders import HOUR, MINUTE, START, a_state


@pytest.mark.parametrize(
    ("state", "trouble", "covered_by", "level", "said"),
    [
        (a_state(), (), None, "fine", ""),
        (a_state(Health.UNKNOWN, last_check_at=None), (), None, "fine", "never checked"),
        (
            a_state(Health.ERROR, detail="Session expired"),
            (Topic.CONNECTION,),
            None,
            "error",
            "the platform rejects the stored credential (“Session expired”)",
        ),
        (a_state(), (), "api:host", "fine", "the PostPost API does not respond"),
        (a_state(), (), "account:main", "fine", "the API rejects the account main"),
        (a_state(), (Topic.EXPIRY, Topic.PUBLISHING), None, "fine", "the token expires soon; the test passes, but posts fail"),
        (a_state(topics={Topic.EXPIRY: TopicState(level="expired")}), (Topic.EXPIRY,), None, "fine", "the token has expired"),
        (
            a_state(topics={Topic.EXPIRY: TopicState(level="expired")}, pending_levels={Topic.EXPIRY: PendingLevel(FINE, START)}),
            (Topic.EXPIRY,),
            None,
            "fine",
            "the token seems to be renewed",
        ),
        (a_state(pending_levels={Topic.EXPIRY: PendingLevel("7d", START)}), (Topic.EXPIRY,), None, "fine", "the token expires soon"),
        (
            a_state(pending_levels={Topic.PERMISSIONS: PendingLevel(FINE, START)}),
            (Topic.PERMISSIONS,),
            None,
            "fine",
            "the permissions seem to be restored",
        ),
        (a_state(last_reason=Reason.API_TIMEOUT), (), None, "fine", "last check inconclusive: the API did not answer in time"),
        (a_state(), (Topic.CONNECTION,), None, "stale", "no conclusive check for too long"),
        (a_state(), (Topic.CONNECTION,), None, "flapping", "it changes between working and broken again and again"),
    ],
)
def test_state(state: ConnectionState, trouble: tuple[Topic, ...], covered_by: str | None, level: str, said: str) -> None:
    """One clause says why a connection is as it is."""
    assert state_text(state, trouble, covered_by, level=level) == said


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_text(reason: Reason) -> None:
    """Each reason is a clause without a full stop; a failure, and whatever an account or user causes, comes with advice."""
    text = reason_text(reason)
    assert text == text.strip(" .")
    if MEANINGS[reason].outcome is Outcome.FAILED or reason in (Reason.API_UNAUTHORIZED, Reason.USER_NOT_MANAGED):
        assert reason_advice(reason).endswith(".")
    if MEANINGS[reason].outcome in (Outcome.PASSED, Outcome.UNSUPPORTED):
        assert reason_advice(reason) == ""


@pytest.mark.parametrize("reason", list(Reason))
def test_advice_needs_words(reason: Reason) -> None:
    """A reason whose advice asks for work has words for it; what works or cannot be tested asks for nothing, upstream trouble for patience."""
    advice = advice_of(reason)
    if advice.needs_action:
        assert reason_advice(reason)
    assert (advice is Advice.NOTHING) is (MEANINGS[reason].outcome in (Outcome.PASSED, Outcome.UNSUPPORTED))
    assert reason not in UPSTREAM or advice is Advice.WAIT


def test_details() -> None:
    """A detail follows in quotes or after a colon, and is left out where it is empty or says the same."""
    expired, text = Reason.TOKEN_EXPIRED, "the access token has expired"
    assert quoted_reason(expired, "Session has expired") == f"{text} (“Session has expired”)"
    assert [quoted_reason(expired, detail) for detail in ("", "  ", text)] == [text] * 3
    assert reason_with_detail(expired, "Session has expired") == f"{text}: Session has expired"
    assert reason_with_detail(expired, "") == text


def test_advice_by_level() -> None:
    """The level has its own advice where it needs another one than its topic; of a broken connection only the reason knows."""
    assert topic_advice(Topic.EXPIRY, "7d") == "Reconnect the account on the PostPost dashboard before the token expires."
    assert topic_advice(Topic.EXPIRY, "expired") == "Reconnect the account on the PostPost dashboard."
    assert topic_advice(Topic.CONNECTION, "error") == ""


REJECTED = Verdict(Reason.CREDENTIAL_REJECTED, "Session has expired")
PREFLIGHTS: list[tuple[PreflightCause, dict[str, object], str]] = [
    (PreflightCause.NOT_WATCHED, {}, "the monitor does not watch it"),
    (PreflightCause.STORAGE_FAILED, {}, "the database takes no writes, so the last checks may not be known"),
    (PreflightCause.NO_EVIDENCE, {}, "no conclusive check yet"),
    (PreflightCause.SCOPE_INCIDENT, {"scope": "api:host"}, "its state cannot be known during the incident of the PostPost API"),
    (
        PreflightCause.INCONCLUSIVE,
        {"verdict": Verdict(Reason.API_TIMEOUT)},
        "the last check was inconclusive: the API did not answer in time",
    ),
    (PreflightCause.UNCONFIRMED, {}, "the last check contradicts the earlier ones and is being confirmed"),
    (PreflightCause.TOO_OLD, {"duration": HOUR, "limit": MINUTE}, "the last conclusive check was 1h ago, longer than 1m"),
    (PreflightCause.CLOCK_CHANGED, {}, "the last check is dated in the future, so the clock is or was wrong"),
    (
        PreflightCause.HEALTH,
        {"health": Health.ERROR, "verdict": REJECTED},
        "the platform rejects the stored credential: Session has expired",
    ),
    (PreflightCause.HEALTH, {"health": Health.ERROR, "verdict": Verdict(Reason.OK)}, "its health is error"),
    (PreflightCause.HEALTH, {"health": Health.ERROR}, "its health is error"),
    (PreflightCause.VERDICT, {"verdict": Verdict(Reason.OK)}, "the connection works"),
    (PreflightCause.TOKEN_LIFE, {"duration": HOUR, "limit": 2 * HOUR}, "the token has only 1h left, less than 2h"),
    (PreflightCause.TOKEN_LIFE, {"duration": timedelta(0), "limit": HOUR}, "the token may expire at any moment, less than 1h from now"),
    (PreflightCause.TOKEN_UNPARSED, {}, "it works, but the remaining life of its token cannot be read"),
]


@pytest.mark.parametrize(("cause", "values", "said"), PREFLIGHTS)
def test_preflight(cause: PreflightCause, values: dict[str, object], said: str) -> None:
    """A preflight result says why, with its values."""
    assert preflight_text(PreflightResult(Readiness.UNKNOWN, cause, **values)) == said  # type: ignore[arg-type]


def test_every_preflight_cause_has_a_text() -> None:
    """The table above has each cause."""
    assert {cause for cause, _, _ in PREFLIGHTS} == set(PreflightCause)
