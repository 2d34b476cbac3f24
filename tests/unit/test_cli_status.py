"""The table of `status`, to the letter."""

from datetime import timedelta

import pytest

from monitor.cli.output import fitted, indented
from monitor.cli.status import as_document, as_text
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.domain.states import PendingHealth
from monitor.domain.status import ConnectionFilter
from monitor.errors import Reason
from monitor.text.durations import brief
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_state, a_token_belief, at

NOW = at(3 * HOUR)


def view(
    number: int, health: Health = Health.OK, connection: dict[str, object] | None = None, covered: str | None = None, **state: object
) -> ConnectionView:
    values = {"last_check_at": NOW - 2 * MINUTE} | state
    return ConnectionView(a_connection(number, **(connection or {})), a_state(health, **values), covered)


def incident(number: int | None, topic: Topic, level: str, severity: Severity, subject: str = "") -> IncidentView:
    reason = Reason.API_UNAUTHORIZED if number is None else Reason.CREDENTIAL_REJECTED
    return IncidentView(IncidentRef(topic, subject or str(number), 1, at(2 * HOUR)), Scope.CONNECTION, number, level, severity, reason, "")


SNAPSHOT = Snapshot(
    taken_at=NOW,
    connections=(
        view(1, token=a_token_belief(at(46 * DAY))),
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
HEALTH       SINCE  CONNECTION              ACCOUNT        TOKEN LEFT  CHECKED
error        3h     linkedin-page2          main                       2m
  the platform rejects the stored credential (“Error validating access token: S…
missing      3h     linkedin-page6          agency                     2m
  the API does not know this connection
ok           3h     linkedin-page3          main           17h ±1h     2m
  the token expires soon
unknown             threads-17841412345678  main                       never
  never checked
ok           3h     linkedin-page8          agency                     2m
  scope incident: account:agency
ok           3h     linkedin-page7          main                       2m
  being confirmed: the platform rejects the stored credential
ok           3h     linkedin-page1          main           45d 21h     2m
unsupported  3h     telegram-1002345678     main/66f0aa01              2m
  the API cannot test Telegram MTProto connections

! account:agency in trouble for 1h: the API key is revoked or wrong
! receiver on-call fails for 2h; it is owed 12
8 connections: 1 error, 1 missing, 1 unknown, 4 ok, 1 unsupported.
1 of those that are not broken has an open incident.
"""

AT_120 = """\
HEALTH       SINCE  CONNECTION              ACCOUNT        TOKEN LEFT  CHECKED  WHY
error        3h     linkedin-page2          main                       2m       the platform rejects the stored credent…
missing      3h     linkedin-page6          agency                     2m       the API does not know this connection
ok           3h     linkedin-page3          main           17h ±1h     2m       the token expires soon
unknown             threads-17841412345678  main                       never    never checked
ok           3h     linkedin-page8          agency                     2m       scope incident: account:agency
ok           3h     linkedin-page7          main                       2m       being confirmed: the platform rejects t…
ok           3h     linkedin-page1          main           45d 21h     2m
unsupported  3h     telegram-1002345678     main/66f0aa01              2m       the API cannot test Telegram MTProto co…

! account:agency in trouble for 1h: the API key is revoked or wrong
! receiver on-call fails for 2h; it is owed 12
8 connections: 1 error, 1 missing, 1 unknown, 4 ok, 1 unsupported.
1 of those that are not broken has an open incident.
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
    assert sum(line.split()[0] in list(Health) for line in lines if line) == len(SNAPSHOT.connections)
    if width >= 70:
        assert [line for line in lines if len(line) > width] == []


def test_height() -> None:
    """In a low terminal the worst stay, and the last lines."""
    lines = as_text(SNAPSHOT, ConnectionFilter(), 120, height=9).splitlines()
    assert len(lines) == 9
    assert lines[1].startswith("error")
    assert lines[3] == "… 6 more lines"
    assert lines[-2].startswith("8 connections:")


def test_silent_monitor() -> None:
    """When nothing was checked for long, the table says that the monitor may not be running."""
    old = Snapshot(taken_at=at(3 * DAY), connections=SNAPSHOT.connections)
    assert "! nothing was checked for 2d 21h: is the monitor running?" in as_text(old, ConnectionFilter(), 120)
    assert "is the monitor running" not in as_text(SNAPSHOT, ConnectionFilter(), 120)


def test_nothing_watched() -> None:
    """Without connections that is said."""
    assert as_text(Snapshot(START), ConnectionFilter(), 80) == "No connections are watched yet."


def test_document() -> None:
    """Machines get the same order, counts and reasons."""
    document = as_document(SNAPSHOT, ConnectionFilter(health=frozenset({"error", "missing"})))
    assert document["counts"] == {"unknown": 0, "ok": 0, "error": 1, "unsupported": 0, "missing": 1, "misconfigured": 0}
    assert [one["platformId"] for one in document["connections"]] == ["linkedin-page2", "linkedin-page6"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(timedelta(0), "0s"), (timedelta(seconds=42), "42s"), (timedelta(seconds=99), "1m"), (timedelta(hours=3, minutes=20), "3h 20m")],
)
def test_brief(duration: timedelta, shown: str) -> None:
    """Durations are as short as they can be."""
    assert brief(duration) == shown


def test_wide_characters() -> None:
    """Characters that take two columns are counted as two, and combining ones as none."""
    lines = fitted(("A", "B"), [("日本語日本語", "x"), ("e\u0301", "y")], 10, least={0: 2})
    assert lines == ["A        B", "日本語…  x", "e\u0301        y"]
    assert indented("日本語" * 10, 2, 22) == "  日本語日本語日本語…"
