"""Whether a connection can be relied on: what is fresh, what is enough, and what is no answer at all."""

from datetime import timedelta
from typing import Any

import pytest

from monitor.cli.preflight import exit_code
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import ExpiryPolicy, Policy
from monitor.domain.projections.preflight import Readiness, judged, reason_for_doubt, stored
from monitor.domain.reasons import MEANINGS, Health, Outcome
from monitor.domain.replies.checks import Verdict
from monitor.domain.replies.token_life import TokenLife, TokenSays
from monitor.domain.states import ConnectionState, PendingHealth
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, START, a_reply, a_state, a_token_belief, a_token_life, at

NOW = at(10 * MINUTE)
HALF_HOUR = timedelta(minutes=30)


@pytest.mark.parametrize(
    ("state", "covered_by", "fresh"),
    [
        (a_state(), None, True),
        (a_state(Health.ERROR), None, True),
        (a_state(), "api:host", False),
        (a_state(last_check_at=at(MINUTE), last_reason=Reason.API_UNREACHABLE), None, False),
        (a_state(pending=PendingHealth(Health.ERROR, 1, START, START)), None, False),
        (a_state(Health.UNKNOWN), None, False),
        (ConnectionState(), None, False),
        (a_state(last_check_at=START - HOUR, last_evidence_at=START - HOUR), None, False),
        (a_state(last_check_at=at(DAY), last_evidence_at=at(DAY)), None, False),
    ],
)
def test_fresh(state: ConnectionState, covered_by: str | None, fresh: bool) -> None:
    """Only recent evidence that nothing contradicts is believed; an API that did not answer since is asked again."""
    assert (reason_for_doubt(state, covered_by, NOW, HALF_HOUR) is None) is fresh


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (a_state(), Readiness.READY),
        (a_state(Health.ERROR), Readiness.NOT_READY),
        (a_state(Health.MISSING, reason=Reason.CONNECTION_MISSING), Readiness.NOT_READY),
        (a_state(Health.MISCONFIGURED, reason=Reason.ID_REFUSED), Readiness.NOT_READY),
        (a_state(Health.UNSUPPORTED, reason=Reason.PLATFORM_UNKNOWN), Readiness.UNKNOWN),
    ],
)
def test_stored(state: ConnectionState, answer: Readiness) -> None:
    """Each health has its answer; what cannot be tested is neither ready nor not."""
    assert stored(state, "linkedin", NOW, timedelta(0), ExpiryPolicy()).answer is answer


BELIEFS: list[tuple[TokenBelief, str, timedelta, Readiness]] = [
    (a_token_belief(NOW + 2 * DAY), "linkedin", DAY, Readiness.READY),
    (a_token_belief(NOW + 2 * DAY), "linkedin", 3 * DAY, Readiness.NOT_READY),
    (a_token_belief(NOW + DAY, exact_at=None, latest_at=NOW + 2 * DAY), "linkedin", DAY + HOUR, Readiness.NOT_READY),
    (a_token_belief(), "linkedin", 9 * DAY, Readiness.READY),
    (TokenBelief(TokenSays.EXPIRED, expired_at=START, observed_at=START), "linkedin", MINUTE, Readiness.NOT_READY),
    (a_token_belief(NOW + HOUR), "youtube", DAY, Readiness.READY),
    (a_token_belief(NOW + DAY, renewal_points=(3 * DAY, 3 * DAY)), "linkedin", 2 * DAY, Readiness.READY),
]


@pytest.mark.parametrize(("belief", "platform", "min_ttl", "answer"), BELIEFS)
def test_stored_token(belief: TokenBelief, platform: str, min_ttl: timedelta, answer: Readiness) -> None:
    """The earliest end that is possible must be far enough away; the end of a token that is renewed by itself means nothing."""
    policy = Policy().expiry_for(platform)
    assert stored(a_state(token=belief), platform, NOW, min_ttl, policy).answer is answer


@pytest.mark.parametrize("reason", list(Reason))
def test_tested(reason: Reason) -> None:
    """Only a passed test is ready, and whatever is inconclusive is unknown: an unreachable API is never healthy."""
    reply = a_reply() if reason is Reason.OK else None
    wanted = {Outcome.PASSED: Readiness.READY, Outcome.FAILED: Readiness.NOT_READY}.get(MEANINGS[reason].outcome, Readiness.UNKNOWN)
    assert judged(Verdict(reason), reply, NOW, timedelta(0), renews=False).answer is wanted


@pytest.mark.parametrize(
    ("life", "min_ttl", "renews", "answer"),
    [
        (a_token_life(2 * DAY), DAY, False, Readiness.READY),
        (a_token_life(2 * DAY), 3 * DAY, False, Readiness.NOT_READY),
        (a_token_life(2 * DAY), 3 * DAY, True, Readiness.READY),
        (TokenLife(TokenSays.LEFT, HOUR, HOUR, below=True), MINUTE, False, Readiness.NOT_READY),
        (TokenLife(TokenSays.UNPARSED, raw="soonish"), MINUTE, False, Readiness.UNKNOWN),
        (TokenLife(TokenSays.UNPARSED, raw="soonish"), timedelta(0), False, Readiness.READY),
        (TokenLife(), 9 * DAY, False, Readiness.READY),
    ],
)
def test_tested_token(life: TokenLife, min_ttl: timedelta, renews: bool, answer: Readiness) -> None:
    """What the reply prints is taken at its least."""
    reply: Any = a_reply(token=life)
    assert judged(Verdict(Reason.OK), reply, NOW, min_ttl, renews=renews).answer is answer


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ([Readiness.READY], 0),
        ([Readiness.READY, Readiness.UNKNOWN], 3),
        ([Readiness.UNKNOWN, Readiness.NOT_READY], 1),
    ],
)
def test_exit_code(answers: list[Readiness], code: int) -> None:
    """The worst that is certain decides."""
    assert exit_code(answers) == code
