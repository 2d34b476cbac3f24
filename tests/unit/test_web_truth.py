"""What must never be shown: green without fresh evidence, percentages of time that was not watched, trouble without who handles it."""

from dataclasses import replace
from datetime import datetime

import pytest

from monitor.cli.status import as_document, as_text
from monitor.db import CheckRow, with_last_checks
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.policy import Policy
from monitor.domain.projections.forecast import Forecast
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.api import next_streak
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.scopes.state import ScopeState
from monitor.domain.silencing.acks import Ack
from monitor.domain.silencing.controls import NO_CONTROLS, Controls
from monitor.domain.states import ConnectionState, LastNotified, TopicState
from monitor.domain.views.snapshot import ConnectionView, IncidentView, Snapshot, StorageFailure, SuspectedScope, as_known, suspected_scope
from monitor.domain.views.status import ConnectionFilter, DisplayStatus, Filters, OverallState, Tone
from monitor.errors import Reason
from monitor.text.explain import explain
from monitor.text.format import STATUS_LABELS
from monitor.text.report import ConnectionReport
from monitor.web.api.badges import _gist
from monitor.web.pages.connection import ConnectionQuery, profile_of
from monitor.web.pages.forecast import forecast_page
from monitor.web.pages.incidents import incidents_page
from monitor.web.pages.templates import Pages
from monitor.web.status.board import StatusBoard
from monitor.web.status.connection import past_row_of
from monitor.web.status.sidebar import cards_above
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, a_silence, a_state, a_token_belief, an_observation
from tests.story import API_HOST, Story

NOW = START + DAY
PAGES = Pages()


def _view(number: int, health: Health = Health.OK, *, covered: str | None = None, **state: object) -> ConnectionView:
    values = {"last_evidence_at": NOW - 3 * MINUTE, "last_check_at": NOW - 3 * MINUTE} | state
    return ConnectionView(a_connection(number), a_state(health, **values), covered)


def _snapshot(*views: ConnectionView, **overrides: object) -> Snapshot:
    return replace(Snapshot(NOW, views), **overrides)  # type: ignore[arg-type]


def _html(snapshot: Snapshot, **filters: str) -> str:
    board = StatusBoard(snapshot)
    return PAGES.status(board, board.page(Filters.of(filters), NOW), {}, NOW).decode()


def _everywhere(snapshot: Snapshot) -> tuple[OverallState, str, str, str]:
    """The overall state in JSON of the command line, the sentence there, the icon of the page, the badge."""
    page, board = _html(snapshot), StatusBoard(snapshot)
    known = as_known(snapshot)
    document = as_document(known, ConnectionFilter())
    icon = page.partition('rel="icon" href="static/')[2].partition(".svg")[0]
    assert f"<title>{board.overall.text} - PostPost Monitor</title>" in page
    assert str(document["summary"]).startswith(board.overall.text)
    assert board.overall.text in " ".join(as_text(known, ConnectionFilter(), 10_000).split())
    return OverallState(str(document["state"])), board.overall.text, icon, _gist(board)


def _silent_api(seconds: int) -> Story:
    """Three connections that work, and then an API that does not answer; checks go on every ten seconds."""
    story = Story(connections={number: a_connection(number) for number in (1, 2, 3)}, beat=SECOND)
    for number in story.connections:
        story.check(number=number)
    story.pass_time(MINUTE)
    for turn in range(seconds // 10):
        story.check(Reason.API_TIMEOUT, number=1 + turn % 3)
        story.pass_time(10 * SECOND)
    return story


def test_silent_api_is_suspected() -> None:
    """An API that is silent for 70 seconds is suspected, in the same words everywhere, and nothing is green."""
    story = _silent_api(70)
    suspected = suspected_scope(story.scope(f"api:{API_HOST}"))
    assert suspected is not None
    assert suspected.since == story.now - 70 * SECOND
    snapshot = replace(_snapshot(_view(1), _view(2), suspected=(suspected,)), taken_at=story.now)

    assert _everywhere(snapshot) == (
        OverallState.SUSPECTED,
        "Suspected: the PostPost API has not answered for 70s; below is what was known then.",
        "warn",
        "outage suspected",
    )
    assert as_document(snapshot, ConnectionFilter())["apiUp"] is None
    assert "Of 2 connections, 2 worked when last checked." in _html(snapshot)


def test_silence_begins_with_the_unanswered_request() -> None:
    """An API is silent since the first unanswered request was sent, not since the end of its timeout, also once that is suspected."""
    streak = None
    for moment in (START + 30 * SECOND, START + 35 * SECOND):
        streak = next_streak(streak, an_observation(Reason.API_TIMEOUT, moment, sent_at=moment - 30 * SECOND))
    silent = ScopeState(ScopeKey.parse(f"api:{API_HOST}"), streak=streak)
    for state in (silent, replace(silent, suspect_at=START + 30 * SECOND)):
        suspected = suspected_scope(state)
        assert suspected is not None
        assert suspected.since == START


def test_one_silent_answer_is_no_suspicion() -> None:
    """A single request that was not answered says nothing of the API, and an open incident is no suspicion any more."""
    assert suspected_scope(_silent_api(10).scope(f"api:{API_HOST}")) is None
    story = _silent_api(200)
    assert story.scope(f"api:{API_HOST}").open
    assert suspected_scope(story.scope(f"api:{API_HOST}")) is None


def test_refused_key_is_suspected() -> None:
    """The first refusal of a key is said before it is confirmed."""
    story = Story(beat=SECOND)
    story.check()
    story.check(Reason.API_UNAUTHORIZED)
    story.now += 20 * SECOND
    suspected = suspected_scope(story.scope("account:main"))
    assert suspected is not None
    snapshot = replace(_snapshot(_view(1), suspected=(suspected,)), taken_at=story.now)
    assert StatusBoard(snapshot).overall.text == (
        "Suspected: the API refused the key of the account main 20s ago; below is what was known then."
    )


def test_broken_outweighs_suspected() -> None:
    """A broken connection stays the first thing that is said; that an outage is suspected is in the same sentence, on every page."""
    suspected = SuspectedScope(Scope.API, "api:x", NOW - 40 * SECOND)
    snapshot = _snapshot(_view(1, Health.ERROR), _view(2), suspected=(suspected,))
    overall = StatusBoard(snapshot).overall
    assert _everywhere(snapshot)[:2] == (OverallState.BROKEN, "1 of 2 connections is broken; an outage is suspected.")
    assert "Suspected: the PostPost API has not answered for 40s" in overall.more


@pytest.mark.parametrize(
    "doubt",
    [
        {"suspected": (SuspectedScope(Scope.API, "api:x", NOW - 40 * SECOND),)},
        {"suspected": (SuspectedScope(Scope.ACCOUNT, "account:main", NOW - 40 * SECOND),)},
        {"storage_up": False},
    ],
    ids=["API", "account", "database"],
)
def test_nothing_works_in_doubt(doubt: dict[str, object]) -> None:
    """While a scope above a connection is suspected, or the database takes no writes, it was working, and is not shown in green."""
    view, snapshot = _view(1), as_known(_snapshot(_view(1), _view(2, last_evidence_at=None), **doubt))
    board, table, document = StatusBoard(snapshot), as_text(snapshot, ConnectionFilter(), 10_000), as_document(snapshot, ConnectionFilter())
    rows = [board.row(each, NOW) for each in board.snapshot.connections]
    assert [choice.label for choice in board.choices(Filters())] == ["All connections", "Was working"]
    assert [one["displayStatus"] for one in document["connections"]] == ["unknown"] * 2  # type: ignore[attr-defined]
    assert ("2 was working" in table, "Working" in table) == (True, False)
    assert [(row.label, row.tone, row.since) for row in rows] == [("Was working", Tone.IDLE, None)] * 2
    assert (rows[0].seen, StatusBoard(_snapshot(view)).row(view, NOW).tone) == ("3m ago", Tone.GOOD)
    elsewhere = SuspectedScope(Scope.ACCOUNT, "account:other", NOW - 40 * SECOND)
    assert StatusBoard(_snapshot(view, suspected=(elsewhere,))).row(view, NOW).label == "Working"


@pytest.mark.parametrize(
    ("scope", "subject", "overrides", "badge"),
    [
        (Scope.API, "api:x", {"api_up": False}, "API down"),
        (Scope.ACCOUNT, "account:main", {"accounts": {"main": False}}, "1 account rejected"),
        (Scope.USER, "user:main/66f0", {}, "not known now"),
    ],
)
def test_not_known_now(scope: Scope, subject: str, overrides: dict[str, object], badge: str) -> None:
    """While the API is down, a key refused or a user detached, no connection is green: it *was* working, some time ago."""
    incident = IncidentView(IncidentRef(Topic.SCOPE, subject, 1, NOW - HOUR), scope, None, "failed", Severity.CRITICAL, None, "")
    snapshot = _snapshot(_view(1, covered=subject), _view(2, Health.ERROR, covered=subject), incidents=(incident,), **overrides)

    state, _, icon, shown = _everywhere(snapshot)
    rows = StatusBoard(snapshot).page(Filters(), NOW).rows
    table = as_text(snapshot, ConnectionFilter(), 10_000)

    assert (state, icon, shown) == (OverallState.UNAVAILABLE, "bad", badge)
    assert {(row.label, row.seen, row.tone, row.status) for row in rows} == {
        ("Was working", "3m ago", Tone.IDLE, DisplayStatus.UNKNOWN),
        ("Was broken", "3m ago", Tone.IDLE, DisplayStatus.UNKNOWN),
    }
    assert '<span class="pill idle">Was working</span> <span class="dim">3m ago</span>' in _html(snapshot)
    assert ("Was working" in table, "ok" in table.split(), StatusBoard(snapshot).counts[DisplayStatus.OK]) == (True, False, 0)


@pytest.mark.parametrize(("health", "said"), [(Health.OK, "was working 3m ago"), (Health.ERROR, "was broken 3m ago")])
def test_one_answer_while_the_key_is_refused(health: Health, said: str) -> None:
    """Explanation, row, JSON and command line say what a connection was; one that was broken is that also when its token has expired."""
    scope, opened_at = ScopeState(ScopeKey.parse("account:main"), TopicState("failed", NOW, 1, NOW)), NOW - HOUR
    topics = {Topic.CONNECTION: TopicState("error", opened_at, 1, opened_at), Topic.EXPIRY: TopicState("expired", opened_at, 1, opened_at)}
    view = _view(1, health, covered="account:main", topics=topics if health.broken else {})
    expired = replace(_incident(1), incident=IncidentRef(Topic.EXPIRY, "1", 1, opened_at), level="expired")
    incident = IncidentView(IncidentRef(Topic.SCOPE, "account:main", 1, NOW), Scope.ACCOUNT, None, "failed", Severity.CRITICAL, None, "")
    own = (_incident(1), expired) if health.broken else ()
    snapshot = _snapshot(view, incidents=(*own, incident), accounts={"main": False})

    row = StatusBoard(snapshot).page(Filters(), NOW).rows[0]
    assert (f"{row.label} {row.seen}".lower(), row.status) == (said, DisplayStatus.UNKNOWN)
    report = ConnectionReport(view.connection, view.state, above=(scope,))
    assert explain(report, NOW, Policy())[0].lines[0].endswith(f"{said}; its state is not known now.")
    text = as_text(snapshot, ConnectionFilter(), 10_000)
    assert (said.partition(" 3m")[0].capitalize() in text, "account:main" in text) == (True, False)


def test_expired_token_once() -> None:
    """A connection that fails because its token has expired says so once, with one advice, and not that the token has no end."""
    opened_at = NOW - HOUR
    topics = {Topic.CONNECTION: TopicState("error", opened_at, 1, opened_at), Topic.EXPIRY: TopicState("expired", opened_at, 1, opened_at)}
    nothing_said = TokenBelief(observed_at=NOW)
    expired = replace(_incident(1), incident=IncidentRef(Topic.EXPIRY, "1", 1, opened_at), level="expired")
    for reason, told in ((Reason.TOKEN_EXPIRED, 1), (Reason.CREDENTIAL_REJECTED, 2)):
        view = _view(1, Health.ERROR, reason=reason, topics=topics, token=nothing_said, last_passed_at=NOW - DAY)
        board = StatusBoard(_snapshot(view, _view(2), incidents=(_incident(1), expired)))
        row = board.page(Filters(), NOW).rows[0]
        assert (len(row.notes), [bool(note.advice) for note in row.notes].count(True)) == (told, 1)
        assert row.countdown.text == "expired"
        assert "no end" not in as_text(_snapshot(view), ConnectionFilter(), 10_000)
        assert "2 incidents of 1 connection are open." in board.overall.more


def test_no_node() -> None:
    """What no node of a cluster tends is named everywhere, and nothing is green."""
    state, text, icon, badge = _everywhere(_snapshot(_view(1), untended=("account:a", "global", "receiver:x", "receiver:y")))
    assert (state, icon, badge) == (OverallState.UNAVAILABLE, "bad", "not known now")
    assert text.startswith("No node of the cluster tends account:a, global, receiver:x ...: nothing of it is checked")


def test_no_fresh_evidence() -> None:
    """A monitor that was off for two days does not start green."""
    old = replace(_snapshot(_view(1), _view(2)), taken_at=NOW + 2 * DAY)
    state, text, icon, badge = _everywhere(old)
    assert (state, icon, badge) == (OverallState.UNKNOWN, "idle", "nothing known")
    assert text == "No check has given an answer for 2d; below is what was known then."


def test_before_the_first_check() -> None:
    """Before the first check nothing is said of a token or of those that were not checked."""
    unchecked = ConnectionView(a_connection(9), ConnectionState(token=TokenBelief(observed_at=NOW)))
    snapshot = _snapshot(_view(1), _view(2), _view(3), unchecked)
    assert _everywhere(snapshot)[::3] == (OverallState.UNKNOWN, "3 of 4 checked")
    assert "3 of 4 connections checked so far" in _html(snapshot)
    assert "not known yet" in _html(snapshot, q="page9")
    assert "no end" not in _html(snapshot, q="page9")


def test_retired_connection() -> None:
    """A connection that is no longer watched shows its last known state and name, from the checks that are kept."""
    left = ConnectionState(display_name="Acme", username="acme")
    rows = [
        CheckRow(1, NOW - HOUR, Reason.API_TIMEOUT, 5, None),
        CheckRow(1, NOW - 2 * HOUR, Reason.CREDENTIAL_REJECTED, 5, 200, detail="Session has expired"),
        CheckRow(1, NOW - 3 * HOUR, Reason.OK, 5, 200),
    ]
    state = with_last_checks(left, rows)
    row = past_row_of(ConnectionView(a_connection(1, name=None), state), NOW)

    assert (state.health, state.last_passed_at, state.last_evidence_at) == (Health.ERROR, NOW - 3 * HOUR, NOW - 2 * HOUR)
    assert (row.title, row.label, row.checked) == ("Acme", "No longer watched", "1h ago")
    assert [note.text for note in row.notes][1] == "Its last check, 1h ago, was inconclusive: the API did not answer in time."
    assert with_last_checks(a_state(), rows) == a_state()


def test_names_survive_the_end_of_a_connection() -> None:
    """What the API called a connection is kept when it leaves the configuration; its evidence is not, should it come back."""
    story = Story()
    story.put_state(a_state(display_name="Acme", username="acme"))
    story.retire(1)
    state = story.engine.state(1)
    assert (state.display_name, state.username, state.health, state.last_check_at) == ("Acme", "acme", Health.UNKNOWN, None)
    assert state.last_known is not None
    assert (state.last_known.health, state.last_known.last_check_at) == (Health.OK, START)


def test_token_that_has_just_ended() -> None:
    """A token that ended since the last check has ended, in row, chips and counts, and on the command line; not at that check."""
    topics = {Topic.EXPIRY: TopicState("1d", NOW - HOUR, 1, NOW - HOUR, LastNotified("1d", 1, NOW - HOUR))}
    incident = replace(_incident(1), incident=IncidentRef(Topic.EXPIRY, "1", 1, NOW - HOUR), level="1d")
    for left, label, chip in ((SECOND, "Token expires soon", "Token expires soon"), (-SECOND, "Token expired", "Needs attention")):
        token = a_token_belief(NOW + left)
        snapshot = as_known(_snapshot(_view(1, token=token, topics=topics), _view(2), incidents=(incident,)))
        board, text = StatusBoard(snapshot), as_text(snapshot, ConnectionFilter(), 10_000)
        assert board.page(Filters(), NOW).rows[0].label == label
        assert chip in [choice.label for choice in board.choices(Filters())]
        assert (label in text, "expires soon" in text) == (True, left == SECOND)


def test_handled_below_an_open_scope() -> None:
    """A broken connection that an operator silenced stays one with trouble while its account is rejected."""
    scope = IncidentView(IncidentRef(Topic.SCOPE, "account:main", 1, NOW), Scope.ACCOUNT, None, "failed", Severity.CRITICAL, None, "")
    handled = _handled()
    views = tuple(replace(view, suppressed_by="account:main") for view in handled.connections)
    snapshot = replace(handled, connections=views, incidents=(*handled.incidents, scope), accounts={"main": False})
    more = StatusBoard(snapshot).overall.more
    assert ("Acknowledged or silenced: 2 of 4 connections." in more, "without trouble" in more) == (True, False)


def test_pages_of_a_locked_database() -> None:
    """No page promises what a database that takes no writes cannot keep."""
    board = StatusBoard(_snapshot(_view(1), storage_up=False))
    assert incidents_page(board, None, 1, None, "", NOW).text == forecast_page(board, Forecast(NOW), Filters()).restrictions[0]
    sections = explain(ConnectionReport(a_connection(1), a_state(), storage=StorageFailure(NOW, "locked")), NOW, Policy())
    lines = [line for section in sections for line in section.lines]
    assert "works (ok)" not in lines[0]
    assert [line for line in lines if "The database takes no writes since" in line]
    assert not [line for line in lines if "No scope incident" in line]


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        ("database is locked (SQLITE_BUSY)", "End the other program that locks the file"),
        ("database or disk is full (SQLITE_FULL)", "Free space on its disk"),
        ("connection failed: Connection refused", "Look at the database server"),
    ],
)
def test_database_card(problem: str, advice: str) -> None:
    """A database that takes no writes has a card with the cause, the advice, and that nothing is notified; on every page."""
    snapshot = _snapshot(_view(1), storage_up=False, storage_failure=StorageFailure(NOW - MINUTE, problem))
    board = StatusBoard(snapshot)
    view = snapshot.connections[0]
    profile = profile_of(board.row(view, NOW), None, ConnectionQuery(), NOW, cards=cards_above(board.snapshot, view.connection, NOW))
    for page in (_html(snapshot), PAGES.connection(board, profile, NOW).decode()):
        assert problem in page
        assert "nothing can be notified" in page
        assert advice in page
    table = as_text(as_known(snapshot), ConnectionFilter(), 10_000)
    assert (f"{problem}. {advice}" in table, "is the daemon running" in table) == (True, False)
    assert _everywhere(snapshot)[::3] == (OverallState.UNAVAILABLE, "database down")


def _incident(number: int, opened_at: datetime = NOW - HOUR) -> IncidentView:
    ref = IncidentRef(Topic.CONNECTION, str(number), 1, opened_at)
    return IncidentView(ref, Scope.CONNECTION, number, "error", Severity.CRITICAL, Reason.CREDENTIAL_REJECTED, "")


def _failing(number: int, opened_at: datetime = NOW - HOUR) -> ConnectionView:
    return _view(number, Health.ERROR, topics={Topic.CONNECTION: TopicState("error", opened_at, 1, opened_at)})


ACK = Ack(Topic.CONNECTION, "2", 1, "error", NOW - MINUTE, "anna", "waiting for the customer")
CONTROLS = NO_CONTROLS.with_requests([a_silence(7, match={"connection": "linkedin-page3"}, ends_at=NOW + HOUR, author="bob")], [ACK])


def _handled(controls: Controls = CONTROLS) -> Snapshot:
    """Four broken connections: the first unhandled for an hour, the second acknowledged, the third silenced, the fourth new."""
    times = {1: NOW - 2 * HOUR, 2: NOW - HOUR, 3: NOW - HOUR, 4: NOW - MINUTE}
    return _snapshot(
        *(_failing(number, opened_at) for number, opened_at in times.items()),
        incidents=tuple(_incident(number, opened_at) for number, opened_at in times.items()),
        controls=controls,
    )


def test_handled_after_unhandled() -> None:
    """What nobody handles comes first, the newest before the older; then what is acknowledged or silenced, with by whom and until when."""
    snapshot = _handled()
    board = StatusBoard(snapshot)
    rows = board.page(Filters(), NOW).rows

    assert [row.view.connection.id for row in rows][:2] == [4, 1]
    assert {row.view.connection.id: row.handled for row in rows} == {
        4: (),
        1: (),
        2: ("Acknowledged by anna 1m ago: waiting for the customer",),
        3: ("Silenced until 2030-01-02 01:00 UTC by bob: maintenance",),
    }
    assert "Acknowledged or silenced: 2 of 4 connections." in board.overall.more
    assert "without trouble" not in board.overall.more
    calm = StatusBoard(_snapshot(_view(3), controls=CONTROLS)).overall
    assert calm.more == "1 connection without trouble is silenced."
    assert "Acknowledged by anna" in _html(snapshot)
    assert board.rank((DisplayStatus.ERROR, snapshot.connections[0])) < board.rank((DisplayStatus.ERROR, snapshot.connections[1]))


def test_chips_have_the_tone_of_their_rows() -> None:
    """Where the end of a token is critical, the filter that leads to it is as red as its row."""
    for severity, tone in ((Severity.CRITICAL, Tone.BAD), (Severity.WARNING, Tone.WARN)):
        ref = IncidentRef(Topic.EXPIRY, "1", 1, NOW - HOUR)
        ending = IncidentView(ref, Scope.CONNECTION, 1, "1d", severity, None, "")
        board = StatusBoard(_snapshot(_view(1), _view(2), incidents=(ending,)))
        chips = {choice.label: choice.tone for choice in board.choices(Filters())}
        assert chips[STATUS_LABELS[DisplayStatus.EXPIRING]] == board.row(board.snapshot.connections[0], NOW).tone == tone


def test_handled_on_the_command_line() -> None:
    """`status` says the same, in its table and in its JSON."""
    text, document = as_text(_handled(), ConnectionFilter(), 10_000), as_document(_handled(), ConnectionFilter())
    assert "Acknowledged or silenced: 2 of 4 connections." in text
    assert "Acknowledged or silenced" not in as_text(_handled(NO_CONTROLS), ConnectionFilter(), 10_000)
    assert "Acknowledged by anna" in text
    assert "Silenced until 2030-01-02 01:00 UTC by bob" in text
    shown = {one["platformId"]: (one["ackedBy"], one["silencedUntil"]) for one in document["connections"]}  # type: ignore[attr-defined]
    assert shown["linkedin-page2"] == ({"author": "anna", "at": "2030-01-01T23:59:00.000Z", "reason": "waiting for the customer"}, None)
    assert shown["linkedin-page3"] == (None, "2030-01-02T01:00:00.000Z")
    assert shown["linkedin-page4"] == (None, None)


def test_an_acknowledgement_ends_with_its_incident() -> None:
    """An acknowledgement of an earlier incident handles nothing."""
    old = NO_CONTROLS.with_requests([], [replace(ACK, number=0)])
    assert [row.handled for row in StatusBoard(_handled(old)).page(Filters(), NOW).rows] == [()] * 4


def test_open_outage_counts() -> None:
    """An open incident is downtime at once, unless it is silenced, frozen or only stale."""
    snapshot = _handled()
    board = StatusBoard(snapshot)
    outages = [board.outage_of(view, None) for view in snapshot.connections]
    assert [outage is not None for outage in outages] == [True, True, False, True]
    assert board.outage_of(replace(snapshot.connections[0], suppressed_by="api:x"), None) is None


def test_every_status_has_a_word() -> None:
    """Every display status has its word, and no two share one."""
    assert sorted(STATUS_LABELS) == sorted(DisplayStatus)
    assert len(set(STATUS_LABELS.values())) == len(DisplayStatus)
