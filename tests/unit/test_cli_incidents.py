"""The table of `incidents`."""

from dataclasses import replace
from datetime import datetime

import pytest

from monitor.cli.incidents import IncidentLine, as_text, worst_first
from monitor.db import IncidentRow
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.notifications.build import current_reason
from monitor.domain.reasons import Health, Scope
from monitor.domain.silencing.acks import Ack
from monitor.domain.states import TopicState
from monitor.domain.views.handling import Handling
from monitor.domain.views.snapshot import ConnectionView
from monitor.errors import Reason
from monitor.web.pages.incidents import closed_panel
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_state, a_token_belief


def an_incident(number: int, topic: Topic, level: str, severity: Severity, opened_at: datetime = START, detail: str = "") -> IncidentRow:
    """An open incident of the connection *number*."""
    incident = IncidentRef(topic, str(number), 1, opened_at)
    return IncidentRow(number, incident, Scope.CONNECTION, number, level, severity, Reason.CREDENTIAL_REJECTED, detail, opened_at)


@pytest.mark.parametrize(
    ("topic", "detail", "explanation"),
    [
        (Topic.CONNECTION, "Session has expired", "the platform rejects the stored credential: Session has expired"),
        (Topic.PUBLISHING, "Invalid image format", "Invalid image format"),
        (Topic.PERMISSIONS, "w_post, r_me", "w_post, r_me"),
        (Topic.EXPIRY, "Connected as John", ""),
    ],
)
def test_what_an_incident_is_about(topic: Topic, detail: str, explanation: str) -> None:
    """The reason of the last check explains incidents of health only; posts and permissions have their own detail, tokens none."""
    row = an_incident(1, topic, "x", Severity.WARNING, detail=detail)
    shown = as_text([IncidentLine(row, "key-1")], START + HOUR, 200).splitlines()[1]

    assert shown.endswith(f"  {explanation}" if explanation else "  key-1")


def test_token_that_ends_in_hours() -> None:
    """The state of an incident about a token says how long it still lives; an open one has the key for `ack`."""
    connection, state = a_connection(name="Company page"), a_state(token=a_token_belief(START + 10 * HOUR + 39 * MINUTE))
    row = an_incident(1, Topic.EXPIRY, "3d", Severity.WARNING)
    header, line, about = as_text([IncidentLine(row, "pp-here-1-expiry-1", connection, state)], START, 80).splitlines()

    assert line.startswith("Company page  2030-01-01 00:00  0s, open  warning   token ends in 10h 39m")
    assert about == "  linkedin-page1 (main): key pp-here-1-expiry-1"
    assert "OPENED (UTC)" in header


def test_worst_first() -> None:
    """With `--open` the severest come first, of these what fails already, then what is not handled, then the widest scope, then the newest."""
    handled = Handling(Ack(Topic.CONNECTION, "4", 1, "error", START, "anna", "on it"))
    lines = [
        IncidentLine(an_incident(1, Topic.EXPIRY, "7d", Severity.WARNING), "warning"),
        IncidentLine(an_incident(1, Topic.EXPIRY, "1d", Severity.CRITICAL, START + HOUR), "ends soon"),
        IncidentLine(an_incident(2, Topic.CONNECTION, "error", Severity.CRITICAL, START - HOUR), "older"),
        IncidentLine(an_incident(3, Topic.CONNECTION, "error", Severity.CRITICAL), "newer"),
        IncidentLine(an_incident(4, Topic.CONNECTION, "error", Severity.CRITICAL), "acknowledged", handling=handled),
        IncidentLine(replace(an_incident(5, Topic.SCOPE, "failed", Severity.CRITICAL, START - DAY), scope=Scope.ACCOUNT), "account"),
    ]

    assert [line.key for line in sorted(lines, key=worst_first)] == ["account", "newer", "older", "acknowledged", "ends soon", "warning"]


def test_current_reason() -> None:
    """An open incident shows what explains it now; one that is over in the state, or is recovering, what did when it opened."""
    row = an_incident(1, Topic.CONNECTION, "error", Severity.CRITICAL)
    topics = {Topic.CONNECTION: TopicState("error", START, 1, START)}
    for state, shown in (
        (a_state(Health.ERROR, reason=Reason.TOKEN_EXPIRED, detail="expired", topics=topics), (Reason.TOKEN_EXPIRED, "expired")),
        (a_state(Health.ERROR, reason=Reason.OK, topics=topics), (Reason.CREDENTIAL_REJECTED, "")),
        (a_state(Health.ERROR, reason=Reason.TOKEN_EXPIRED), (Reason.CREDENTIAL_REJECTED, "")),
    ):
        assert current_reason(state, row.incident, row.reason, row.detail) == shown
    panel = closed_panel(row, ConnectionView(a_connection(), a_state(Health.ERROR, reason=Reason.TOKEN_EXPIRED, topics=topics)), (), START)
    assert panel.why == "The access token has expired."
