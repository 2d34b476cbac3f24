"""Connections that the API refuses for ever while it answers for others: each is stale once, and no account fails for them."""

from collections import Counter

import pytest

from monitor.domain.schedule import phase_of
from monitor.errors import Reason
from tests.builders import HOUR, MINUTE, a_policy
from tests.patrol import Patrol, fleet
from tests.sampling import sampled
from tests.story import Story

INCONCLUSIVE = [Reason.API_FORBIDDEN, Reason.API_UNAUTHORIZED, Reason.API_REFUSED, Reason.API_VALIDATOR_FAILED, Reason.REPLY_INVALID]


def _patrol(count: int = 20) -> Patrol:
    return Patrol(Story(policy=a_policy(reminders=0 * HOUR), connections=fleet(count)))


@pytest.mark.parametrize("reason", INCONCLUSIVE)
@pytest.mark.parametrize("count", sampled([2, 20]))
def test_one_connection(reason: Reason, count: int) -> None:
    """One answer that says nothing, for ever, makes its connection stale once; it stays so until there is evidence."""
    patrol = _patrol(count)
    patrol.run(12 * HOUR, lambda number: reason if number == 1 else Reason.OK)
    assert patrol.story.told == [("1", "connection.stale", "opened")]
    patrol.start()
    patrol.run(2 * HOUR, lambda number: reason if number == 1 else Reason.OK)
    assert patrol.story.told == [("1", "connection.stale", "opened")]
    patrol.run(HOUR, lambda _: Reason.OK)
    assert patrol.story.types == ["connection.stale", "connection.recovered"]


@pytest.mark.parametrize("refused", [2, 4])
def test_a_few_of_many(refused: int) -> None:
    """A few connections that are refused for ever do not make the account fail: others are answered."""
    patrol = _patrol()
    patrol.run(12 * HOUR, lambda number: Reason.API_FORBIDDEN if number <= refused else Reason.OK)
    assert Counter(patrol.story.types) == {"connection.stale": refused}
    # The account is asked as often as ever: each refusal would otherwise slow the checks of all.
    since = patrol.story.now
    patrol.run(HOUR, lambda number: Reason.API_FORBIDDEN if number <= refused else Reason.OK)
    assert patrol.requests(since, HOUR) >= 4 * 20 * 0.95


@pytest.mark.parametrize("warm", [0, 2])
def test_six_in_a_row(warm: int) -> None:
    """Six that are refused for ever, from the start or at once, and are due one after the other, are not the account."""
    patrol = _patrol()
    connections = patrol.story.connections
    six = sorted(connections, key=lambda number: phase_of(connections[number]))[:6]
    patrol.run(warm * HOUR, lambda _: Reason.OK)
    patrol.run(4 * HOUR, lambda number: Reason.API_FORBIDDEN if number in six else Reason.OK)
    assert Counter(patrol.story.types) == {"connection.stale": 6}


@pytest.mark.parametrize("count", [1, 2, 3, 20])
def test_a_revoked_key(count: int) -> None:
    """A key that is refused for all is one incident within two minutes of the first refusal, also where some were refused before."""
    patrol = _patrol(count)
    alone = {1} if count > 3 else set()
    patrol.run(6 * HOUR, lambda number: Reason.API_FORBIDDEN if number in alone else Reason.OK)
    before = len(patrol.story.told)
    patrol.run(15 * MINUTE, lambda _: Reason.API_UNAUTHORIZED)
    first = min(moment for moment, number in patrol.asked if moment >= patrol.story.now - 15 * MINUTE and number not in alone)
    patrol.run(2 * MINUTE, lambda _: Reason.API_UNAUTHORIZED)
    failed = [each for each in patrol.story.notifications[before:] if each.type == "account.failed"]
    assert len(failed) == 1
    assert failed[0].at - first <= 2 * MINUTE
    patrol.run(HOUR, lambda number: Reason.API_FORBIDDEN if number in alone else Reason.OK)
    assert patrol.story.types[before:] == ["account.failed", "account.recovered"]
