"""
The invariants of alerting, over every short history, and over long random ones.

    I1  after any history, if the same evidence keeps arriving and no scope is open, the receivers know the level of that evidence
    I2  nothing is told that the receivers know already, and no recovery of what they were never told
    I3  a check without evidence never changes health
    I4  a restart between any two steps changes nothing
    I5  nothing is told of a connection while a scope above it is open
    I6  the number of notifications per connection and hour is bounded

Source: reliability.md 3.
"""

import itertools
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.db.codec import dump_state, load_state
from monitor.domain import evaluation as core
from monitor.domain.evaluation import EvaluationInput
from monitor.domain.events import FINE, Notification, NotificationReason, Topic
from monitor.domain.policy import Confirm, Policy, ScopePolicy
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import Observation, Verdict
from monitor.domain.scopes.key import STORAGE, ScopeKey, scopes_above
from monitor.domain.scopes.state import ScopeState
from monitor.domain.states import ConnectionState, TopicState
from monitor.errors import Reason
from tests.builders import MINUTE, SECOND, START, a_connection, a_reply
from tests.sampling import sampled
from tests.story import API_HOST

CONNECTION = a_connection(interval=5 * MINUTE)
NAMES = scopes_above(CONNECTION, API_HOST)
# The ten minutes of `missing` are shortened, so that histories of five checks can reach it.
POLICY = Policy(confirm=Confirm(missing=2, missing_over=45 * SECOND), scopes=ScopePolicy())
STEP = 50 * SECOND

REASONS = (
    Reason.OK,
    Reason.CREDENTIAL_REJECTED,
    Reason.CONNECTION_MISSING,
    Reason.ID_REFUSED,
    Reason.PLATFORM_UNKNOWN,
    Reason.API_TIMEOUT,
)
LEVELS = {
    Reason.OK: FINE,
    Reason.CREDENTIAL_REJECTED: "error",
    Reason.CONNECTION_MISSING: "missing",
    Reason.ID_REFUSED: "misconfigured",
    Reason.PLATFORM_UNKNOWN: FINE,
}
MOST_PER_HOUR = 8

NOTHING: ScopeKey | None = None

# No answer closes these: they are open for as long as the test wants.
_SCOPES: dict[ScopeKey | None, dict[ScopeKey, ScopeState]] = {
    NOTHING: {},
    **{
        key: {key: ScopeState(key, topic=TopicState(level="failed", since=START, number=1, opened_at=START))}
        for key in (STORAGE, NAMES.platform)
    },
}
_OBSERVATIONS = {
    reason: Observation(1, START, START, Verdict(reason), a_reply(passed=reason is Reason.OK) if LEVELS.get(reason) is not None else None)
    for reason in REASONS
}


@dataclass(frozen=True, slots=True)
class Life:
    """A connection at one moment of a history: what is known, what was told of it and when it is."""

    state: ConnectionState
    now: datetime = START
    known: str = FINE
    told: tuple[datetime, ...] = ()

    def check(self, reason: Reason, *, above: ScopeKey | None) -> "Life":
        """The next check, with a scope above open or not; asserts I2, I3, I5 and I6 on the way."""
        now = self.now + STEP
        situation = _situation(self.state, above=above)
        observation = replace(_OBSERVATIONS[reason], sent_at=now, at=now)
        conclusion = _conclude(situation, observation)
        assert conclusion.state is not None
        if LEVELS.get(reason) is None or above == STORAGE:
            assert conclusion.state.health is self.state.health, "I3"
        return self._after(conclusion, now, above=above)

    def look(self, now: datetime, *, above: ScopeKey | None = NOTHING) -> "Life":
        """A look at the clock, without a check."""
        return self._after(core.evaluate_at(_situation(self.state, above=above), now, POLICY), now, above=above)

    def restarted(self) -> "Life":
        """The same after a stop and a start."""
        return replace(self, state=load_state(dump_state(self.state), "state"))

    def settled(self, reason: Reason) -> "Life":
        """The same after *reason* was the answer for as long as it takes to be certain."""
        one = self
        for _ in range(4):
            one = one.check(reason, above=NOTHING)
        for _ in range(POLICY.flap.calm // CONNECTION.interval + 1 if one.known == "flapping" else 0):
            one = replace(one, now=one.now + CONNECTION.interval).check(reason, above=NOTHING)
        return one

    def _after(self, conclusion: core.Evaluation, now: datetime, *, above: ScopeKey | None) -> "Life":
        known, told = self.known, self.told
        assert conclusion.state is not None
        for one in conclusion.notifications:
            # A platform's incident covers the failures of its own cause; another one is told.
            assert not above or above == NAMES.platform, "I5"
            known = _heard(known, one)
            told = (*(moment for moment in told if moment > now - timedelta(hours=1)), now)
        assert len(told) <= MOST_PER_HOUR, "I6"
        return Life(conclusion.state, now, known, told)


def _situation(state: ConnectionState, *, above: ScopeKey | None) -> EvaluationInput:
    return EvaluationInput(CONNECTION, state, NAMES, _SCOPES[above], {NAMES.platform: 9}, START, timedelta(minutes=10))


def _conclude(situation: EvaluationInput, observation: Observation) -> core.Evaluation:
    conclusion = core.evaluate_check(situation, observation, POLICY)
    # Scopes open and close by the test's will alone; that they do by themselves is told elsewhere.
    return replace(conclusion, notifications=tuple(one for one in conclusion.notifications if one.connection_id is not None))


def _heard(known: str, one: Notification) -> str:
    """What a receiver knows after *one*; asserts that it makes sense to somebody who knew *known*."""
    if one.why is NotificationReason.NOTICE:
        assert known == FINE, "I2: a notice about a connection in trouble"
        return known
    assert one.level_from == known, "I2: the receiver knows otherwise"
    if one.why is NotificationReason.REMINDER:
        assert one.level_to == known != FINE, "I2: a reminder of nothing"
        return known
    assert one.level_to != known, "I2: the receiver knows already"
    return one.level_to


def _seen_by(one: Life) -> tuple[object, ...]:
    """What of a life a restart must keep."""
    return (one.state, one.known, one.told)


STEPS = tuple(itertools.product(REASONS, (NOTHING, STORAGE)))


def _document(one: Life) -> str:
    return f"{one.known} {[moment.timestamp() for moment in one.told]} {dump_state(one.state)}"


@pytest.mark.parametrize("checks", sampled([3, 4, 5]))
def test_every_history(checks: int) -> None:
    """
    Every history of so many checks, each with a scope above open or not, with a restart after each check, ends settled
    whatever comes then. Histories that lead to the same document are one from there on.
    """
    lives: dict[str, tuple[Life, int]] = {"": (Life(ConnectionState()), 1)}
    for _ in range(checks):
        after: dict[str, tuple[Life, int]] = {}
        for life, histories in lives.values():
            for reason, above in STEPS:
                one = life.check(reason, above=above)
                again = one.restarted()
                assert _seen_by(again) == _seen_by(one), "I4"
                key = _document(one)
                after[key] = (again, after.get(key, (again, 0))[1] + histories)
        lives = after
    assert sum(histories for _, histories in lives.values()) == 12**checks
    assert len(lives) > 12**checks / 50
    for number, (life, _) in enumerate(lives.values()):
        for ending, level in itertools.islice(itertools.cycle(LEVELS.items()), 2 * number % 5, 2 * number % 5 + 2):
            assert life.settled(ending).known == level, "I1"


class LongLife(RuleBasedStateMachine):
    """A connection's life of hundreds of checks, pauses, restarts and scope incidents in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life(ConnectionState())
        self.above = NOTHING

    @rule(reason=st.sampled_from(REASONS), times=st.integers(1, 4))
    def check(self, reason: Reason, times: int) -> None:
        """The same answer a few times."""
        for _ in range(times):
            self.life = self.life.check(reason, above=self.above)

    @rule(minutes=st.sampled_from((1, 5, 16, 31, 70, 1500)))
    def wait(self, minutes: int) -> None:
        """Time without a check; the reviewer looks whenever the state asks for it."""
        end = self.life.now + minutes * MINUTE
        while self.life.state.next_evaluation_at is not None and self.life.now < self.life.state.next_evaluation_at <= end:
            self.life = self.life.look(self.life.state.next_evaluation_at, above=self.above)
        self.life = replace(self.life, now=end)

    @rule(above=st.sampled_from((NOTHING, STORAGE, NAMES.platform)))
    def cover(self, above: ScopeKey | None) -> None:
        """A scope above opens, or closes."""
        self.above = above
        if not self.above:
            self.life = self.life.look(self.life.now)

    @rule()
    def restart(self) -> None:
        """Stop and start."""
        again = self.life.restarted()
        assert _seen_by(again) == _seen_by(self.life), "I4"
        self.life = again

    @precondition(lambda self: not self.above)
    @rule(ending=st.sampled_from(tuple(LEVELS)))
    def settle(self, ending: Reason) -> None:
        """The same answer until it is certain: then the receivers know."""
        self.life = self.life.settled(ending)
        assert self.life.known == LEVELS[ending], "I1"

    @invariant()
    def knows_what_was_told(self) -> None:
        """The state knows what the receivers know."""
        assert self.life.state.topic(Topic.CONNECTION).notified.level == self.life.known


LongLife.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestLongLife = pytest.mark.slow(LongLife.TestCase)


def test_silent_health() -> None:
    """What can't be tested and what is fine are the same to the receivers, and both are told apart inside."""
    assert Life(ConnectionState()).settled(Reason.PLATFORM_UNKNOWN).state.health is Health.UNSUPPORTED
    assert Life(ConnectionState()).settled(Reason.OK).state.health is Health.OK
