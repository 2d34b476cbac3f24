"""The table of `status`, to the letter."""

from contextlib import redirect_stdout
from datetime import timedelta

import pytest

from monitor.cli.status import as_document, as_text
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.states import PendingHealth
from monitor.domain.views.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.domain.views.status import ConnectionFilter
from monitor.errors import Reason
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_state, a_token_belief, at
from tests.terminal import Stream

NOW = at(3 * HOUR)


def view(
    number: int, health: Health = Health.OK, connection: dict[str, object] | None = None, covered: str | None = None, **state: object
) -> ConnectionView:
    values = {"last_check_at": NOW - 2 * MINUTE} | state
    return ConnectionView(a_connection(number, **(connection or {})), a_state(health, **values), covered)


def incident(number: int | None, topic: Topic, level: str, severity: Severity, subject: str = "") -> IncidentView:
    reason = Reason.API_UNAUTHORIZED if number is None else Reason.CREDENTIAL_REJECTED
    scope = Scope.ACCOUNT if number is None else Scope.CONNECTION
    return IncidentView(IncidentRef(topic, subject or str(number), 1, at(2 * HOUR)), scope, number, level, severity, reason, "")


SNAPSHOT = Snapshot(
    taken_at=NOW,
    connections=(
        view(1, token=a_token_belief(at(46 * DAY)), last_evidence_at=NOW - 2 * MINUTE),
        view(2, Health.ERROR, detail="Error validating access token: Session has expired on Tuesday"),
        view(3, token=a_token_belief(at(20 * HOUR), exact_at=None, earliest_at=at(19 * HOUR), latest_at=at(21 * HOUR))),
        view(4, Health.UNSUPPORTED, {"platform_id": "telegram-1002345678", "user_id": "66f0aa01"}, reason=Reason.VALIDATOR_LACKS_MTPROTO),
        view(5, Health.UNKNOWN, {"platform_id": "threads-17841412345678"}, last_check_at=None),
        view(6, Health.MISSING, {"account": "agency"}, reason=Reason.CONNECTION_MISSING),
        view(7, pending=PendingHealth(Health.ERROR, 1, NOW, NOW), last_reason=Reason.CREDENTIAL_REJECTED),
        view(8, Health.OK, {"account": "agency"}, covered="account:agency"),
    ),
    incidents=(
        incident(2, Topic.CONNECTION, "error", Severity.CRITICAL),
        incident(3, Topic.EXPIRY, "1d", Severity.CRITICAL),
        incident(6, Topic.CONNECTION, "missing", Severity.WARNING),
        incident(None, Topic.SCOPE, "failed", Severity.CRITICAL, "account:agency"),
    ),
    outbox={"on-call": OutboxView(12, at(HOUR), False, at(HOUR)), "desk": OutboxView()},
)

AT_80 = """\
NAME    STATE               SINCE  TOKEN LEFT  CHECKED
Page 2  Broken              3h                 2m
  linkedin-page2 (main): the platform rejects the stored credential (“Error
  validating access token: Session has expired on Tuesday”)
Page 6  Missing             3h                 2m
  linkedin-page6 (agency): the API does not know this connection
Page 3  Token expires soon  1h     17h ±1h     2m
  linkedin-page3 (main): the token expires soon
Page 8  Was working         3h     no end      2m
  linkedin-page8 (agency)
Page 5  Unknown                                never
  threads-17841412345678 (main): never checked
Page 7  Working             3h     no end      2m
  linkedin-page7 (main): being confirmed: the platform rejects the stored
  credential
Page 1  Working             3h     45d 21h     2m
  linkedin-page1 (main)
Page 4  Not testable        3h                 2m
  telegram-1002345678 (main/66f0aa01): the API cannot test Telegram MTProto
  connections

! The API rejects the account agency for 1h: the API key is revoked or wrong
! receiver on-call failing for 2h; 12 pending
8 connections: 1 broken, 1 missing, 1 token expires soon, 1 was working, 1
unknown, 2 working, 1 not testable.
The API refuses or fails 1 account or user; 1 connection cannot be checked. 2 of
8 connections are broken. 1 token expires soon. 1 is not checked yet. 1 cannot
be checked now. 1 cannot be tested. The receiver on-call accepts no messages.
"""

AT_120 = """\
NAME    STATE               SINCE  TOKEN LEFT  CHECKED
Page 2  Broken              3h                 2m
  linkedin-page2 (main): the platform rejects the stored credential (“Error validating access token: Session has expired
  on Tuesday”)
Page 6  Missing             3h                 2m
  linkedin-page6 (agency): the API does not know this connection
Page 3  Token expires soon  1h     17h ±1h     2m
  linkedin-page3 (main): the token expires soon
Page 8  Was working         3h     no end      2m
  linkedin-page8 (agency)
Page 5  Unknown                                never
  threads-17841412345678 (main): never checked
Page 7  Working             3h     no end      2m
  linkedin-page7 (main): being confirmed: the platform rejects the stored credential
Page 1  Working             3h     45d 21h     2m
  linkedin-page1 (main)
Page 4  Not testable        3h                 2m
  telegram-1002345678 (main/66f0aa01): the API cannot test Telegram MTProto connections

! The API rejects the account agency for 1h: the API key is revoked or wrong
! receiver on-call failing for 2h; 12 pending
8 connections: 1 broken, 1 missing, 1 token expires soon, 1 was working, 1 unknown, 2 working, 1 not testable.
The API refuses or fails 1 account or user; 1 connection cannot be checked. 2 of 8 connections are broken. 1 token
expires soon. 1 is not checked yet. 1 cannot be checked now. 1 cannot be tested. The receiver on-call accepts no
messages.
"""


@pytest.mark.parametrize(("width", "golden"), [(80, AT_80), (120, AT_120)])
def test_golden(width: int, golden: str) -> None:
    """The table fits the terminal, to the letter."""
    shown = as_text(SNAPSHOT, ConnectionFilter(), width)
    assert f"{shown}\n" == golden
    assert max(len(line) for line in shown.splitlines()) <= width


@pytest.mark.parametrize("width", [20, 40, 70, 80, 100, 109, 110, 111, 160, 10_000])
def test_every_width(width: int) -> None:
    """At any width of 70 and more no line is longer, and every connection is there."""
    lines = as_text(SNAPSHOT, ConnectionFilter(), width).splitlines()
    assert sum(line.startswith("Page ") for line in lines) == len(SNAPSHOT.connections)
    shown = "\n".join(lines)
    assert [view.connection.platform_id for view in SNAPSHOT.connections if view.connection.platform_id not in shown] == []
    if width >= 70:
        assert [line for line in lines if len(line) > width] == []


def test_height() -> None:
    """In a low terminal the worst stay, and the last lines."""
    lines = as_text(SNAPSHOT, ConnectionFilter(), 120, height=12).splitlines()
    assert len(lines) == 12
    assert lines[1].startswith("Page 2")
    assert any(line.startswith("…") for line in lines)
    assert [line for line in lines if line.startswith("8 connections:")]


@pytest.mark.parametrize(
    ("left", "shown"), [(10 * HOUR + 39 * MINUTE, "\033[33m10h 39m\033[0m"), (2 * DAY, "2d"), (-HOUR, "\033[31mexpired\033[0m")]
)
def test_token_that_ends_soon(left: timedelta, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a token with hours left is yellow, even without an incident; one that has expired is red."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    snapshot = Snapshot(taken_at=NOW, connections=(view(1, token=a_token_belief(NOW + left)),))
    with redirect_stdout(Stream(terminal=True)):
        line = as_text(snapshot, ConnectionFilter(), 120).splitlines()[1]

    assert f"  {shown}  " in line


def test_silent_monitor() -> None:
    """When checks are overdue, the table asks whether the daemon is running."""
    old = Snapshot(taken_at=at(3 * DAY), connections=SNAPSHOT.connections)
    assert "! the last check was 2d 21h ago: is the daemon running, and can it write to its database?" in as_text(
        old, ConnectionFilter(), 120
    )
    assert "is the daemon running" not in as_text(SNAPSHOT, ConnectionFilter(), 120)


def test_nothing_watched() -> None:
    """Without connections there is no table."""
    assert as_text(Snapshot(START, outbox={"desk": OutboxView()}), ConnectionFilter(), 80) == "No connections yet."


def test_document() -> None:
    """Machines get the same order, counts and reasons."""
    document = as_document(SNAPSHOT, ConnectionFilter(health=frozenset({"error", "missing"})))
    assert document["counts"] == {"unknown": 0, "ok": 0, "error": 1, "unsupported": 0, "missing": 1, "misconfigured": 0}
    assert [one["platformId"] for one in document["connections"]] == ["linkedin-page2", "linkedin-page6"]  # type: ignore[attr-defined]
