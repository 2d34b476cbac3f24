from datetime import datetime, timedelta

import pytest

from monitor.domain.connections import Connection
from monitor.domain.reasons import Health
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import OutboxView
from monitor.text.heartbeats import has_no_recent_evidence, is_news, problem_of
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_policy, a_state, at

INTERVAL = 15 * MINUTE


def seen(when: datetime | None, health: Health = Health.OK, interval: timedelta = INTERVAL) -> tuple[Connection, ConnectionState]:
    return a_connection(interval=interval), a_state(health, last_evidence_at=when)


@pytest.mark.parametrize(
    ("watched", "after", "trouble"),
    [
        ([], 0 * MINUTE, "no connection is watched"),
        ([seen(None)], 0 * MINUTE, "no check was ever conclusive"),
        ([seen(START)], 45 * MINUTE, ""),
        ([seen(START)], 46 * MINUTE, "no check was conclusive for 46m"),
        ([seen(START), seen(at(30 * MINUTE))], 75 * MINUTE, ""),
        ([seen(None), seen(at(30 * MINUTE)), seen(START)], 76 * MINUTE, "no check was conclusive for 46m"),
        ([seen(START, interval=MINUTE)], 30 * MINUTE, ""),
        ([seen(START, interval=MINUTE)], 31 * MINUTE, "no check was conclusive for 31m"),
        ([seen(START, Health.ERROR)], 46 * MINUTE, "no check was conclusive for 46m"),
        ([seen(START, Health.MISSING)], 9 * HOUR, ""),
        ([seen(START, Health.MISSING)], 10 * HOUR, "no check was conclusive for 10h"),
        ([seen(START, Health.MISCONFIGURED, DAY)], 3 * DAY, ""),
        ([seen(at(HOUR))], 0 * MINUTE, ""),
    ],
)
def test_blindness(watched: list[tuple[Connection, ConnectionState]], after: timedelta, trouble: str) -> None:
    """The monitor sees as long as one connection had a conclusive check within what is usual for it."""
    assert has_no_recent_evidence(watched, at(after), a_policy()) == trouble


def test_order() -> None:
    """Missing evidence is named before a database that takes no writes, and that before receivers."""
    policy, late = a_policy(), {"pager": OutboxView(1, START)}
    for watched, outbox, problem in (
        ([], None, "no connection is watched"),
        ([seen(at(HOUR))], None, "the database takes no writes"),
        ([seen(at(HOUR))], late, "pending for longer than 10m: pager"),
        ([seen(at(HOUR))], {}, ""),
    ):
        assert problem_of(watched, outbox, policy, [ReceiverRule("pager")], at(HOUR), 10 * MINUTE) == problem


def test_what_is_logged() -> None:
    """That heartbeats stop is logged when it begins, when the cause becomes another one, and daily; not with every heartbeat."""
    failed = "the ping failed: HTTP 503"
    assert is_news(failed, None, START)
    assert is_news(failed, ("no connection is watched", START), at(MINUTE))
    assert is_news("no route sends critical notifications to any receiver", ("no connection is watched", START), at(MINUTE))
    assert not is_news(failed, ("the ping failed: HTTP 502", START), at(DAY - MINUTE))
    assert not is_news("no check was conclusive for 47m", ("no check was conclusive for 46m", START), at(MINUTE))
    assert is_news(failed, (failed, START), at(DAY))
