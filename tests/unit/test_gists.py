"""Why a connection is as it is, in one clause."""

import pytest

from monitor.domain.events import FINE, Topic
from monitor.domain.reasons import Health
from monitor.domain.states import ConnectionState, PendingLevel, TopicState
from monitor.errors import Reason
from monitor.text.reasons import state_text
from tests.builders import START, a_state


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
        (a_state(), (), "api:host", "fine", "scope incident: api:host"),
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
def test_gist(state: ConnectionState, trouble: tuple[Topic, ...], covered_by: str | None, level: str, said: str) -> None:
    """One clause says why a connection is as it is."""
    assert state_text(state, trouble, covered_by, level=level) == said
