"""The engine: what is evaluated when, and what a change set holds until it is committed."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.engine import Engine, EngineConfig
from monitor.domain.policy import Policy
from monitor.domain.scopes.key import ScopeKey, scopes_above
from monitor.domain.scopes.state import TRANSITIONS, Phase, ScopeState, fail
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, an_observation, at
from tests.patrol import fleet
from tests.story import API_HOST, Story

OK, BAD, REFUSED = Reason.OK, Reason.CREDENTIAL_REJECTED, Reason.API_UNAUTHORIZED


def refused_account() -> Story:
    """Two connections of an account whose key is refused; the incident is open, and found out by connection 2 alone."""
    story = Story(connections=fleet(2))
    for number in (1, 2):
        story.check(OK, number)
    return story


def refuse(story: Story) -> None:
    story.checks(REFUSED, REFUSED, REFUSED, every=2 * MINUTE, number=2)
    assert story.told[-1] == ("account:main", "account.failed", "opened")


def test_reminder_after_a_scope_recovered() -> None:
    """A reminder that fell due while a scope incident was open does not wait for the connection's next check."""
    story = refused_account()
    story.checks(BAD, BAD)
    assert story.told == [("1", "connection.failed", "opened")]
    refuse(story)
    story.pass_time(25 * HOUR)
    assert ("1", "reminder", "reminder") not in story.told
    story.check(OK, 2)
    story.pass_time(2 * HOUR)
    assert ("1", "reminder", "reminder") in story.told


def test_stale_after_a_scope_recovered() -> None:
    """A connection that is not checked after a scope incident becomes stale, although time was not evaluated for it meanwhile."""
    story = refused_account()
    refuse(story)
    story.pass_time(2 * HOUR)
    assert story.state(1).next_evaluation_at is None
    story.check(OK, 2)
    story.pass_time(2 * HOUR)
    assert ("1", "connection.stale", "opened") in story.told


def test_only_below_the_scope_that_recovered() -> None:
    """The end of one account's incident makes nothing due below another."""
    connections = fleet(2)
    connections[3] = a_connection(3, platform_id="linkedin-other", account="other")
    story = Story(connections=connections)
    for number in connections:
        story.check(OK, number)
    before = {number: story.state(number).next_evaluation_at for number in connections}
    refuse(story)
    story.check(OK, 2)
    assert [connection.id for connection in story.engine.due_connections(story.now)] == []
    assert story.state(3).next_evaluation_at == before[3]


def an_engine(count: int = 5) -> Engine:
    """An engine with *count* connections of one account that passed one check each."""
    engine = Engine(EngineConfig(policy=Policy(), api_host=API_HOST), START)
    engine.set_connections(fleet(count).values())
    for number in range(1, count + 1):
        engine.check(an_observation(OK, START, connection_id=number))
    engine.evaluate(START)
    return engine


def test_due_until_committed() -> None:
    """What is due stays due until its evaluation is committed, in batches of at most so many."""
    engine = an_engine()
    late = at(DAY)
    first = [connection.id for connection in engine.due_connections(late, 2)]
    assert len(first) == 2
    # Nothing was committed: the same ones again.
    assert [connection.id for connection in engine.due_connections(late, 2)] == first
    seen: list[int] = []
    for _ in range(5):
        changes = engine.begin()
        for connection in engine.due_connections(late, 2):
            seen.append(connection.id)
            evaluation = changes.evaluate(connection, late)
            assert evaluation is not None
            changes.apply(evaluation)
        engine.commit(changes)
    assert sorted(seen) == [1, 2, 3, 4, 5]


def test_changes_are_seen_after_the_commit() -> None:
    """A change set sees its own changes; the engine does not before they are committed, and never those of one that is dropped."""
    engine = an_engine(1)
    known = engine.state(1)
    changes = engine.begin()
    evaluation = changes.check(an_observation(BAD, at(HOUR)))
    assert evaluation is not None
    changes.apply(evaluation)
    assert changes.state(1) == evaluation.state != known
    assert engine.state(1) == known
    engine.commit(engine.begin())
    assert engine.state(1) == known
    engine.commit(changes)
    assert engine.state(1) == evaluation.state


def test_removed_under_way() -> None:
    """A check of a connection that was removed meanwhile changes nothing, and nothing of it is ever due again."""
    engine = an_engine(2)
    engine.drop([1])
    assert engine.check(an_observation(BAD, at(HOUR))) is None
    assert [connection.id for connection in engine.due_connections(at(DAY))] == [2]


def test_next_evaluation() -> None:
    """No evaluation is due before the moment that the engine names, and one is at it."""
    engine = an_engine()
    moment = engine.next_evaluation_at()
    assert moment is not None
    assert engine.due_connections(moment - SECOND) == []
    assert engine.due_connections(moment) != []


def test_a_new_configuration_is_evaluated_at_once() -> None:
    """After a reload with another threshold everything that may have a pending notification is due."""
    story = Story()
    story.checks(OK, BAD, BAD)
    assert story.engine.due_connections(story.now) == []
    story.engine.set_config(story.engine.config)
    assert [connection.id for connection in story.engine.due_connections(story.now)] == [1]


def test_due_over_a_change_of_connections() -> None:
    """What is due because a scope recovered stays due when another connection is added before it is evaluated."""
    story = refused_account()
    refuse(story)
    story.pass_time(2 * HOUR)
    story.check(OK, 2)
    assert [connection.id for connection in story.engine.due_connections(story.now)] == [1]
    story.engine.set_connections([*story.engine.connections(), a_connection(9, platform_id="linkedin-new")])
    assert [connection.id for connection in story.engine.due_connections(story.now)] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "storage",
        "api:api.example:8443",
        "account:main",
        "user:main/0123",
        "service:a",
        "rate:a",
        "platform:x",
        "group:a/x",
        "group:a/0123/x",
        "limit:x",
    ],
)
def test_scope_keys(text: str) -> None:
    """A key is spelled as rows have it, and read back from there."""
    assert str(ScopeKey.parse(text)) == text


def test_account_of_a_scope() -> None:
    """Scopes that belong to an account name it, wider ones do not."""
    above = scopes_above(a_connection(user_id="0123"), API_HOST)
    assert {key.kind: key.account for key in above.all} == {
        "storage": "",
        "account": "main",
        "user": "main",
        "api": "",
        "service": "main",
        "rate": "main",
        "platform": "",
        "group": "main",
    }


ANSWERS = (OK, OK, BAD, REFUSED, Reason.API_FAILED, Reason.API_FAILED, Reason.API_THROTTLED, Reason.API_VALIDATOR_FAILED)


@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from(ANSWERS), st.integers(1, 600)), min_size=20, max_size=150))
def test_phases(history: list[tuple[int, Reason, int]]) -> None:
    """Whatever is answered and however much time passes, every scope goes from phase to phase as `TRANSITIONS` says."""
    story = Story(connections=fleet(12, "linkedin", "threads"), beat=timedelta(seconds=60))
    phases: dict[str, list[Phase]] = {}
    for number, reason, seconds in history:
        story.check(reason, number)
        note(story, phases)
        story.pass_time(timedelta(seconds=seconds))
        note(story, phases)
    steps = {step for life in phases.values() for step in pairwise(life)}
    assert [(old, new) for old, new in steps if old is not new and new not in TRANSITIONS[old]] == []


def note(story: Story, phases: dict[str, list[Phase]]) -> None:
    for name, scope in story.scopes.items():
        phases.setdefault(name, [Phase.CLEAR]).append(scope.phase)


def test_certain_trouble_opens_at_once() -> None:
    """A scope whose trouble is certain skips the suspicion."""
    state = ScopeState(ScopeKey("storage"))
    assert (state.phase, fail(state, Reason.MONITOR_INTERNAL, "", START).phase) == (Phase.CLEAR, Phase.OPEN)
