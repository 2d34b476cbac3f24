"""What a connection is shown as, in which order, and which connections a filter asks for."""

import pytest

from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.views.snapshot import ConnectionView, IncidentView
from monitor.domain.views.status import TROUBLE, ConnectionFilter, DisplayStatus, Tone, status_of, tone_of, urgency
from tests.builders import START, a_connection, a_state


def view(health: Health = Health.OK, **connection: object) -> ConnectionView:
    return ConnectionView(a_connection(1, **connection), a_state(health))


def incident(severity: Severity, topic: Topic = Topic.PUBLISHING, level: str = "failing") -> IncidentView:
    return IncidentView(IncidentRef(topic, "1", 1, START), Scope.CONNECTION, 1, level, severity, None, "")


def test_ranks() -> None:
    """Severities grow more urgent, scopes wider, display statuses better."""
    assert sorted(Severity, key=lambda severity: severity.rank) == [Severity.INFO, Severity.WARNING, Severity.CRITICAL]
    assert max(Scope, key=lambda scope: scope.width) is Scope.RECEIVER
    assert Scope.CONNECTION.width < Scope.PLATFORM.width < Scope.USER.width < Scope.ACCOUNT.width < Scope.API.width
    assert [status for status in DisplayStatus if status.broken] == [
        DisplayStatus.ERROR,
        DisplayStatus.MISSING,
        DisplayStatus.MISCONFIGURED,
    ]
    assert {health.value for health in Health if health.broken} == {status.value for status in DisplayStatus if status.broken}
    assert min(DisplayStatus, key=lambda status: status.rank) is DisplayStatus.ERROR


@pytest.mark.parametrize(
    ("health", "severities", "status", "tone"),
    [
        (Health.OK, [], DisplayStatus.OK, Tone.GOOD),
        (Health.OK, [Severity.INFO], DisplayStatus.OK, Tone.GOOD),
        (Health.OK, [Severity.INFO, Severity.WARNING], DisplayStatus.ATTENTION, Tone.WARN),
        (Health.OK, [Severity.CRITICAL], DisplayStatus.ATTENTION, Tone.BAD),
        (Health.UNSUPPORTED, [Severity.WARNING], DisplayStatus.ATTENTION, Tone.WARN),
        (Health.ERROR, [Severity.WARNING], DisplayStatus.ERROR, Tone.BAD),
        (Health.UNKNOWN, [], DisplayStatus.UNKNOWN, Tone.IDLE),
    ],
)
def test_status(health: Health, severities: list[Severity], status: DisplayStatus, tone: Tone) -> None:
    """A broken health is the status; otherwise an incident above `info` asks for attention."""
    incidents = [incident(severity) for severity in severities]
    assert status_of(view(health), incidents) is status
    assert tone_of(status, incidents) is tone


@pytest.mark.parametrize(
    ("health", "incidents", "status"),
    [
        (Health.OK, [], DisplayStatus.UNKNOWN),
        (Health.ERROR, [incident(Severity.CRITICAL, Topic.CONNECTION, "error")], DisplayStatus.UNKNOWN),
        (Health.OK, [incident(Severity.WARNING, Topic.EXPIRY, "7d")], DisplayStatus.EXPIRING),
        (Health.OK, [incident(Severity.CRITICAL, Topic.EXPIRY, "expired")], DisplayStatus.ATTENTION),
        (Health.UNSUPPORTED, [], DisplayStatus.UNSUPPORTED),
    ],
)
def test_not_known_now(health: Health, incidents: list[IncidentView], status: DisplayStatus) -> None:
    """What cannot be checked is neither good nor bad, but the end of a token comes all the same."""
    frozen = ConnectionView(a_connection(1), a_state(health), "api:api.example")
    assert (frozen.frozen, status_of(frozen, incidents)) == (True, status)
    below_platform = ConnectionView(a_connection(1), a_state(Health.ERROR), "platform:linkedin")
    assert (below_platform.frozen, status_of(below_platform, [])) == (False, DisplayStatus.ERROR)


def test_worst_first() -> None:
    """Broken before critical before warning before unknown before working."""
    cases = [
        (DisplayStatus.ERROR, []),
        (DisplayStatus.MISSING, []),
        (DisplayStatus.ATTENTION, [incident(Severity.CRITICAL)]),
        (DisplayStatus.ATTENTION, [incident(Severity.WARNING)]),
        (DisplayStatus.EXPIRING, [incident(Severity.CRITICAL)]),
        (DisplayStatus.EXPIRING, [incident(Severity.WARNING)]),
        (DisplayStatus.UNKNOWN, [incident(Severity.CRITICAL)]),
        (DisplayStatus.UNKNOWN, []),
        (DisplayStatus.OK, []),
        (DisplayStatus.UNSUPPORTED, []),
    ]
    order = [urgency(status, incidents) for status, incidents in cases]
    assert order == sorted(set(order))


LABELLED = view(user_id="66f0", labels={"team": "social"}, name="Page 1", account="main", platform="linkedin")
FILTERS = [
    (ConnectionFilter(), True),
    (ConnectionFilter(health=frozenset({"ok", "error"})), True),
    (ConnectionFilter(health=frozenset({"error"})), False),
    (ConnectionFilter(statuses=frozenset({"attention"})), True),
    (ConnectionFilter(statuses=frozenset({TROUBLE})), True),
    (ConnectionFilter(statuses=frozenset({"ok", "error"})), False),
    (ConnectionFilter(platforms=frozenset({"linkedin", "x"})), True),
    (ConnectionFilter(platforms=frozenset({"x"})), False),
    (ConnectionFilter(accounts=frozenset({"main"})), True),
    (ConnectionFilter(accounts=frozenset({"main/66f0"})), True),
    (ConnectionFilter(accounts=frozenset({"main/other"})), False),
    (ConnectionFilter(labels=frozenset({"team=social", "team"})), True),
    (ConnectionFilter(labels=frozenset({"team=social", "market"})), False),
    (ConnectionFilter(text="PAGE 1"), True),
    (ConnectionFilter(text="page 2"), False),
]


@pytest.mark.parametrize(("wanted", "fits"), FILTERS)
def test_filter(wanted: ConnectionFilter, fits: bool) -> None:
    """Each part narrows; several values of one part are alternatives, several labels are not."""
    assert wanted.match(LABELLED, DisplayStatus.ATTENTION) is fits
