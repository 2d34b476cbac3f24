"""What the status page and the JSON say."""

from dataclasses import replace
from datetime import datetime, timedelta
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from monitor.domain.events import FINE, IncidentRef, Severity, Topic
from monitor.domain.expiry.model import TokenBelief
from monitor.domain.reasons import Health, Scope
from monitor.domain.replies.checks import LastError
from monitor.domain.replies.token_life import TokenSays
from monitor.domain.states import ConnectionState, PendingHealth, PendingLevel
from monitor.domain.views.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.domain.views.status import DisplayStatus, Filters, OverallState, Tone
from monitor.errors import Reason
from monitor.text.format import ago
from monitor.web.pages.incidents import NOT_SUPPRESSED, open_panel
from monitor.web.status.board import PAGE_SIZE, Page, StatusBoard
from monitor.web.status.sidebar import cards_of, receivers_of
from tests.builders import DAY, HOUR, MINUTE, SECOND, START, a_connection, a_state, a_token_belief, at

NOW = at(30 * DAY)


def _view(number: int = 1, state: ConnectionState | None = None, **overrides: object) -> ConnectionView:
    return ConnectionView(a_connection(number, **overrides), state if state is not None else a_state(last_evidence_at=NOW))


def _incident(topic: Topic, severity: Severity, *, number: int = 1, level: str = "", opened_at: datetime = NOW - HOUR) -> IncidentView:
    return IncidentView(IncidentRef(topic, str(number), 1, opened_at), Scope.CONNECTION, number, level, severity, None, "")


def _wide(
    scope: Scope, subject: str, severity: Severity = Severity.CRITICAL, reason: Reason | None = None, detail: str = ""
) -> IncidentView:
    return IncidentView(IncidentRef(Topic.SCOPE, subject, 1, NOW - HOUR), scope, None, "failed", severity, reason, detail)


def _board(*views: ConnectionView, **overrides: object) -> StatusBoard:
    return StatusBoard(replace(Snapshot(NOW, views), **overrides))  # type: ignore[arg-type]


def _page(board: StatusBoard, **filters: str) -> Page:
    return board.page(Filters.of(filters), NOW)


def _said(board: StatusBoard) -> str:
    return " ".join(filter(None, (board.overall.text, board.overall.more)))


@pytest.mark.parametrize(
    ("states", "tone", "said"),
    [
        ([], Tone.IDLE, "No connections are watched yet."),
        ([Health.OK], Tone.GOOD, "The connection works."),
        ([Health.OK] * 3, Tone.GOOD, "All 3 connections work."),
        ([Health.OK] * 1000, Tone.GOOD, "All 1,000 connections work."),
        ([Health.ERROR], Tone.BAD, "The only connection is broken."),
        ([Health.ERROR, Health.OK], Tone.BAD, "1 of 2 connections is broken."),
        ([Health.ERROR, Health.MISSING, Health.MISCONFIGURED, Health.OK], Tone.BAD, "3 of 4 connections are broken."),
        ([Health.UNKNOWN] * 2, Tone.IDLE, "No connection has been checked yet."),
        ([Health.OK, Health.UNKNOWN], Tone.IDLE, "1 of 2 connections checked so far: no problem so far."),
        (
            [Health.OK] * 3 + [Health.UNKNOWN] * 8 + [Health.UNSUPPORTED],
            Tone.IDLE,
            "4 of 12 connections checked so far: no problem so far. 1 cannot be tested.",
        ),
        (
            [Health.OK, Health.OK, Health.UNSUPPORTED],
            Tone.GOOD,
            "All 2 connections that were tested work. 1 cannot be tested.",
        ),
        ([Health.UNSUPPORTED] * 2, Tone.IDLE, "No problems are known. 2 cannot be tested."),
    ],
)
def test_overall(states: list[Health], tone: Tone, said: str) -> None:
    """One sentence says how it all stands, and never calls good what was not tested."""
    board = _board(*(_view(number, a_state(health, last_evidence_at=NOW)) for number, health in enumerate(states)))

    assert (board.overall.tone, _said(board)) == (tone, said)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            {"storage_up": False},
            (
                "The monitor cannot write to its database: nothing can be notified, and the state below is the last known."
                " Of 2 connections, 2 worked when last checked."
            ),
        ),
        (
            {"api_up": False},
            "The PostPost API does not respond; the last known state is shown below. Of 2 connections, 2 worked when last checked.",
        ),
        (
            {"accounts": {"main": False}},
            "The API rejects the account main; its connections cannot be checked. Of 2 connections, 2 worked when last checked.",
        ),
        (
            {"outbox": {"on-call": OutboxView(2, START, failing_since=START)}},
            "The receiver on-call accepts no messages. All 2 connections work.",
        ),
        (
            {"outbox": {"a": OutboxView(disabled=True), "b": OutboxView(disabled=True)}},
            "The 2 receivers accept no messages. All 2 connections work.",
        ),
        (
            {"incidents": (_incident(Topic.EXPIRY, Severity.WARNING),)},
            "1 token expires soon, no connection is broken.",
        ),
        (
            {"incidents": (_incident(Topic.PUBLISHING, Severity.WARNING),)},
            "1 connection needs attention, none is broken.",
        ),
    ],
)
def test_other_trouble_comes_first(overrides: dict[str, object], said: str) -> None:
    """What hides or outweighs the state of the connections is said before it."""
    frozen = "account:main" if "accounts" in overrides else None
    board = _board(replace(_view(1), suppressed_by=frozen), replace(_view(2), suppressed_by=frozen), **overrides)

    assert _said(board) == said
    assert board.overall.tone in (Tone.BAD, Tone.WARN)


def test_one_account_rejected() -> None:
    """While one account is rejected, what is broken in the others is still said."""
    views = (_view(1, a_state(Health.ERROR)), replace(_view(2, account="agency"), suppressed_by="account:agency"))
    board = _board(*views, accounts={"main": True, "agency": False})

    assert (
        _said(board)
        == "The API rejects the account agency; its connections cannot be checked. 1 of 2 connections is broken. 1 cannot be checked now."
    )
    assert (board.overall.state, board.overall.tone) == (OverallState.UNAVAILABLE, Tone.BAD)


def test_broken_before_a_deaf_receiver() -> None:
    """A broken connection is said before a receiver that takes no messages."""
    board = _board(_view(state=a_state(Health.ERROR)), _view(2), outbox={"on-call": OutboxView(disabled=True)})

    assert _said(board) == "1 of 2 connections is broken. The receiver on-call accepts no messages."


def test_worst_first() -> None:
    """Broken before attention before unknown before working before not testable; the urgent first, then by place."""
    views = [
        _view(number, a_state(health, last_evidence_at=NOW))
        for number, health in enumerate(
            [Health.OK, Health.UNSUPPORTED, Health.UNKNOWN, Health.OK, Health.OK, Health.MISCONFIGURED, Health.MISSING, Health.ERROR]
        )
    ]
    incidents = (_incident(Topic.EXPIRY, Severity.WARNING, number=3), _incident(Topic.EXPIRY, Severity.CRITICAL, number=4))

    rows = _page(_board(*views, incidents=incidents)).rows

    assert [row.view.connection.id for row in rows] == [7, 6, 5, 4, 3, 2, 0, 1]
    assert [row.tone for row in rows] == [Tone.BAD] * 4 + [Tone.WARN, Tone.IDLE, Tone.GOOD, Tone.IDLE]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, {1, 2, 3, 4}),
        ({"displayStatus": "error"}, {2}),
        ({"displayStatus": "trouble"}, {2, 3}),
        ({"displayStatus": "attention"}, {3}),
        ({"displayStatus": "nonsense"}, set()),
        ({"platform": "x"}, {4}),
        ({"account": "agency"}, {3, 4}),
        ({"account": "agency/u1"}, {4}),
        ({"q": "CAMPAIGN"}, {1}),
        ({"q": "linkedin-page2"}, {2}),
        ({"q": "bob"}, {3}),
        ({"q": "\u202abob\u202c"}, {3}),
        ({"q": "u1", "platform": "x"}, {4}),
        ({"q": "bob", "displayStatus": "ok"}, set()),
        ({"page": "2"}, {1, 2, 3, 4}),
    ],
)
def test_filters(filters: dict[str, str], found: set[int]) -> None:
    """The list narrows by standing, platform, account and text; a page beyond the last is the last."""
    board = _board(
        _view(1, name="Spring campaign"),
        _view(2, a_state(Health.ERROR)),
        _view(3, a_state(username="bob"), account="agency"),
        _view(4, platform_id="x-1", account="agency", user_id="u1"),
        incidents=(_incident(Topic.PUBLISHING, Severity.WARNING, number=3),),
    )

    assert {row.view.connection.id for row in _page(board, **filters).rows} == found


def test_pages() -> None:
    """Every connection is on exactly one page, and the words say which these are."""
    board = _board(*(_view(number) for number in range(2 * PAGE_SIZE + 1)))
    pages = [_page(board, page=str(number)) for number in (1, 2, 3)]

    assert [row.view.connection.id for page in pages for row in page.rows] == list(range(2 * PAGE_SIZE + 1))
    assert [page.caption for page in pages] == [
        "1 to 50 of 101 connections",
        "51 to 100 of 101 connections",
        "101 to 101 of 101 connections",
    ]
    assert _page(board, page="999").number == 3


@given(st.dictionaries(st.sampled_from(["page", "q", "health", "platform", "account", "label", "x"]), st.text(max_size=300)))
def test_any_address_is_understood(query: dict[str, str]) -> None:
    """No address fails, and the address of what was understood is understood as the same."""
    filters = Filters.of(query)
    again = Filters.of(dict(parse_qsl(filters.address(page=filters.page)[1:])))

    assert again == filters
    _page(_board(_view()), **query)


@pytest.mark.parametrize("page", ["0", "-1", "1.5", "", "x", "²", "9" * 7, "\u0661"])
def test_nonsense_page(page: str) -> None:
    """A page that is no number is the first."""
    assert Filters.of({"page": page}).page == 1


@pytest.mark.parametrize(
    ("token", "now", "said", "doubt"),
    [
        (TokenBelief(), NOW, "no end", ""),
        (TokenBelief(says=TokenSays.NOTHING, observed_at=START, nulls=2), NOW, "no end", ""),
        (a_token_belief(NOW + 6 * DAY + 4 * HOUR + MINUTE), NOW, "6d 4h", ""),
        (a_token_belief(NOW - 3 * HOUR), NOW, "ended 3h ago", ""),
        (a_token_belief(None, earliest_at=NOW + DAY, latest_at=NOW + DAY + HOUR), NOW, "1d", "± 30m"),
        (a_token_belief(None, earliest_at=NOW + DAY, latest_at=NOW + DAY + MINUTE), NOW, "1d", ""),
        (a_token_belief(NOW + DAY, renewal_points=(HOUR, HOUR)), NOW, "1d, renews itself", ""),
        (TokenBelief(says=TokenSays.EXPIRED, expired_at=NOW - HOUR), NOW, "ended 1h ago", ""),
    ],
)
def test_countdown(token: TokenBelief, now: datetime, said: str, doubt: str) -> None:
    """The end of a token is said in words, and by how much it may be off when that is worth saying."""
    countdown = _page(_board(_view(state=a_state(token=token)))).rows[0].countdown

    assert (countdown.text, countdown.doubt) == (said, doubt)


def test_countdown_is_coloured_by_its_incident() -> None:
    """A short life alone is no trouble, since some tokens renew themselves: the incident decides."""
    view = _view(state=a_state(token=a_token_belief(NOW + HOUR), last_evidence_at=NOW))

    calm = _page(_board(view)).rows[0]
    told = _page(_board(view, incidents=(_incident(Topic.EXPIRY, Severity.CRITICAL, level="1d"),))).rows[0]

    assert (calm.countdown.tone, calm.status, calm.label) == (Tone.GOOD, DisplayStatus.OK, "Working")
    assert (told.countdown.tone, told.status, told.label) == (Tone.BAD, DisplayStatus.EXPIRING, "Token expires soon")
    assert told.lasting == "1h"


def _notes(view: ConnectionView, *incidents: IncidentView) -> list[str]:
    row = _page(_board(view, incidents=incidents)).rows[0]
    return [" ".join(filter(None, (note.text, note.quoted and f"[{note.quoted}]", note.advice))) for note in row.notes]


def test_a_broken_one_says_why_and_what_to_do() -> None:
    """The reason in plain words, the platform's own text, and the advice."""
    state = a_state(Health.ERROR, reason=Reason.TARGET_GONE, detail="Channel is unavailable")

    assert _notes(_view(state=state)) == [
        (
            "The page, channel or profile is gone. [Channel is unavailable] Check whether the page, channel or profile still exists;"
            " connect another one, or remove this connection."
        )
    ]


PENDING = PendingHealth(Health.ERROR, 1, NOW, NOW)


@pytest.mark.parametrize(
    ("state", "notes"),
    [
        (a_state(), []),
        (ConnectionState(), ["Not checked yet."]),
        (
            a_state(last_reason=Reason.API_TIMEOUT),
            ["The last check was inconclusive: the API did not answer in time."],
        ),
        (
            a_state(pending=PENDING, last_reason=Reason.RIGHTS_LOST, last_detail="no"),
            ["The last check failed and is being confirmed: the account lost a right it needs for posting. [no]"],
        ),
        (
            a_state(Health.ERROR, reason=Reason.OK, last_reason=Reason.OK, pending=replace(PENDING, health=Health.OK)),
            ["The last check passed; one more confirms it."],
        ),
        (
            a_state(Health.ERROR, last_successful_post_at=START + HOUR, last_evidence_at=START + 2 * HOUR),
            [
                (
                    "The platform rejects the stored credential. Check whether posts still succeed. If they do, set expect: unsupported"
                    " for the connection, or add its message to policy.known_false_negatives."
                ),
                "A post succeeded after the first failed check, so the test itself may be wrong.",
            ],
        ),
        (
            a_state(Health.UNSUPPORTED, reason=Reason.PLATFORM_UNKNOWN),
            ["The API has no test for this platform."],
        ),
    ],
)
def test_notes_of_a_state(state: ConnectionState, notes: list[str]) -> None:
    """What is unsure, being confirmed, or not testable is said; a working connection needs no words."""
    assert _notes(_view(state=state)) == notes


@pytest.mark.parametrize(
    ("incident", "label", "note"),
    [
        (_incident(Topic.EXPIRY, Severity.CRITICAL, level="expired"), "Token expired", "The token has expired. Reconnect"),
        (_incident(Topic.EXPIRY, Severity.WARNING, level="7d"), "Token expires soon", "The token ends in 5h, on 2030-01-31 05:00 UTC."),
        (_incident(Topic.RENEWAL, Severity.WARNING, level="overdue"), "Renewal overdue", "The token is usually renewed earlier than now."),
        (_incident(Topic.PUBLISHING, Severity.WARNING, level="failing"), "Posts fail", "The test passes, but posting failed. [No media]"),
        (_incident(Topic.PERMISSIONS, Severity.WARNING, level="lost"), "Permissions lost", "Permissions are missing: w_post, r_me."),
        (
            _incident(Topic.CONNECTION, Severity.WARNING, level="stale"),
            "Stale",
            "It has not been checked successfully for 30d; its state is unknown.",
        ),
        (_incident(Topic.CONNECTION, Severity.WARNING, level="flapping"), "Flapping", "It is flapping between working and failing."),
    ],
)
def test_incidents_of_a_working_one(incident: IncidentView, label: str, note: str) -> None:
    """An incident of a connection that passes its test names the trouble and says what is known of it."""
    state = a_state(token=a_token_belief(NOW + 5 * HOUR), last_error=LastError("No media", NOW), permissions_missing=("w_post", "r_me"))
    view = _view(state=state)

    assert _page(_board(view, incidents=(incident,))).rows[0].label == label
    assert _notes(view, incident)[0].startswith(note)


@pytest.mark.parametrize(
    ("topic", "level", "note"),
    [
        (Topic.EXPIRY, "1d", "It seems to be renewed: the token now ends in 60d, on 2030-04-01 00:00 UTC. One more check confirms it."),
        (
            Topic.EXPIRY,
            "expired",
            "It seems to be renewed: the token now ends in 60d, on 2030-04-01 00:00 UTC. One more check confirms it.",
        ),
        (Topic.PERMISSIONS, "lost", "The permissions seem to be back; one more check confirms it."),
    ],
)
def test_what_seems_to_be_over(topic: Topic, level: str, note: str) -> None:
    """Nobody is asked to mend what the last check found mended, neither in the list nor among the incidents."""
    state = a_state(token=a_token_belief(NOW + 60 * DAY), pending_levels={topic: PendingLevel(FINE, NOW)})
    view, incident = _view(state=state), _incident(topic, Severity.CRITICAL, level=level)

    story = open_panel(incident, view, NOT_SUPPRESSED, "", NOW)

    assert _notes(view, incident) == [note]
    assert (story.why, story.advice) == (note, "")


def test_a_post_that_failed_is_quoted() -> None:
    """Who is asked to read the error of a post finds it beside the incident."""
    view = _view(state=a_state(last_error=LastError("Invalid image format", NOW)))

    story = open_panel(_incident(Topic.PUBLISHING, Severity.WARNING, level="failing"), view, NOT_SUPPRESSED, "", NOW)

    assert (story.quoted, story.advice) == (
        "Invalid image format",
        "Read the posting error; correct the post or reconnect the account.",
    )


def test_information_is_no_trouble() -> None:
    """An incident that is mere information is said, but moves nothing."""
    row = _page(
        _board(
            _view(state=a_state(token=a_token_belief(NOW + 13 * DAY), last_evidence_at=NOW)),
            incidents=(_incident(Topic.EXPIRY, Severity.INFO, level="14d"),),
        )
    ).rows[0]

    assert (row.status, row.label, row.countdown.tone) == (DisplayStatus.OK, "Working", Tone.IDLE)
    assert row.notes[0].text == "The token ends in 13d, on 2030-02-13 00:00 UTC."


def test_never_checked() -> None:
    """Before the first check of a connection its token is not known, whatever a list left out about it."""
    state = ConnectionState(token=TokenBelief(says=TokenSays.NOTHING, observed_at=START))
    assert _page(_board(_view(state=state))).rows[0].countdown.text == ""


def test_cards() -> None:
    """Incidents wider than a connection are named, the most urgent and then the widest first, each with its reason and advice."""
    board = _board(
        incidents=(
            _wide(Scope.PLATFORM, "platform:linkedin"),
            _wide(Scope.ACCOUNT, "rate:main", Severity.WARNING, Reason.API_THROTTLED),
            _wide(Scope.ACCOUNT, "account:main", reason=Reason.API_UNAUTHORIZED, detail="Invalid API key"),
            _wide(Scope.API, "api:api.postpost.dev", reason=Reason.API_TIMEOUT),
        ),
        outbox={"on-call": OutboxView(3, START, failing_since=NOW - HOUR), "desk": OutboxView()},
    )

    cards = cards_of(board.snapshot, NOW)

    assert [card.title for card in cards] == [
        "The PostPost API does not respond",
        "The API rejects the account main",
        "Multiple LinkedIn connections are failing",
        "The API limits the requests of the account main",
        "The receiver on-call is failing",
    ]
    assert cards[1].why == "The API key is revoked or wrong."
    assert cards[1].advice.startswith("Put a valid API key")
    assert (cards[1].quoted, cards[1].lasting, cards[3].tone) == ("Invalid API key", "1h", Tone.WARN)
    assert (cards[4].why, cards[4].advice[:18]) == ("3 messages waiting.", "Check the receiver")


def test_a_shared_cause_is_said_once() -> None:
    """What the card of a group says of all its connections is not repeated in the list; another cause or message is."""
    views = [
        _view(number, a_state(Health.ERROR, reason=reason, detail=detail))
        for number, reason, detail in ((1, Reason.CREDENTIAL_REJECTED, "revoked"), (2, Reason.CREDENTIAL_REJECTED, "x"), (3, Reason.OK, ""))
    ]
    group = IncidentView(
        IncidentRef(Topic.SCOPE, "group:main/linkedin", 1, NOW),
        Scope.GROUP,
        None,
        "failed",
        Severity.CRITICAL,
        views[0].state.reason,
        "revoked",
    )
    rows = {row.view.connection.id: row for row in _page(_board(*views, incidents=(group,))).rows}
    assert {number: [note.quoted for note in row.notes] for number, row in rows.items()} == {1: [], 2: ["x"], 3: []}
    assert [note.quoted for note in _page(_board(views[0])).rows[0].notes] == ["revoked"]


def test_no_receiver_is_a_card() -> None:
    """That nobody is notified stands at the top, not in a footnote."""
    assert [card.title for card in cards_of(_board(_view()).snapshot, NOW)] == [
        "No receiver is configured: nobody is notified of anything."
    ]


def test_receivers() -> None:
    """Receivers say what waits for them; those in trouble come first."""
    board = _board(
        outbox={
            "calm": OutboxView(),
            "busy": OutboxView(1, NOW - MINUTE),
            "deaf": OutboxView(3, NOW - HOUR, failing_since=NOW - HOUR),
            "gone": OutboxView(2, disabled=True),
        }
    )

    assert [(receiver.name, receiver.tone, receiver.text) for receiver in receivers_of(board.snapshot, NOW)] == [
        ("deaf", Tone.BAD, "failing for 1h; 3 messages waiting, the oldest for 1h"),
        ("gone", Tone.BAD, "disabled (HTTP 410); 2 messages waiting"),
        ("busy", Tone.GOOD, "1 message waiting, the oldest for 1m"),
        ("calm", Tone.GOOD, "nothing waiting"),
    ]


def test_choices() -> None:
    """Only filters that leave something are offered, besides the chosen one."""
    board = _board(_view(1), _view(2, a_state(Health.ERROR)))

    offered = [(choice.label, choice.number, choice.address, choice.chosen) for choice in board.choices(Filters(status="missing", q="a b"))]

    assert offered == [
        ("All connections", 2, "?q=a+b", False),
        ("Broken", 1, "?displayStatus=error&q=a+b", False),
        ("Missing", 0, "?displayStatus=missing&q=a+b", True),
        ("Working", 1, "?displayStatus=ok&q=a+b", False),
    ]


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(0), "just now"),
        (SECOND, "just now"),
        (42 * SECOND, "42s ago"),
        (7 * MINUTE + 42 * SECOND, "7m ago"),
        (3 * HOUR + 20 * MINUTE, "3h 20m ago"),
        (12 * DAY + 4 * HOUR + 5 * MINUTE, "12d 4h ago"),
        (-2 * HOUR, "in 2h"),
    ],
)
def test_ago(passed: timedelta, said: str) -> None:
    """Durations are said in the two largest units, without seconds above a minute."""
    assert ago(NOW - passed, NOW) == said


def test_token_chip() -> None:
    """Tokens that end soon have a choice of their own, after trouble and before everything else."""
    board = _board(
        _view(1),
        _view(2),
        _view(3),
        incidents=(_incident(Topic.EXPIRY, Severity.WARNING, number=2), _incident(Topic.PUBLISHING, Severity.WARNING, number=3)),
    )
    assert [(choice.label, choice.number) for choice in board.choices(Filters())] == [
        ("All connections", 3),
        ("Needs attention", 1),
        ("Token expires soon", 1),
        ("Working", 1),
    ]
    assert [row.view.connection.id for row in _page(board).rows] == [3, 2, 1]


def test_chips_add_up() -> None:
    """The statuses add up to all connections, and trouble is a choice of its own only where it is more than one of them."""
    board = _board(_view(1), _view(2, a_state(Health.ERROR)), _view(3, a_state(Health.MISSING)))
    choices = {choice.label: choice.number for choice in board.choices(Filters())}
    assert choices == {"All connections": 3, "Trouble": 2, "Broken": 1, "Missing": 1, "Working": 1}


@pytest.mark.parametrize(
    ("filters", "order", "groups"),
    [
        ({"sort": "name"}, [3, 2, 1], {}),
        ({"sort": "token"}, [2, 1, 3], {}),
        ({"sort": "nonsense"}, [1, 2, 3], {}),
        ({"group": "platform"}, [1, 2, 3], {1: ("LinkedIn", 2, 1), 3: ("X", 1, 0)}),
        ({"group": "team"}, [3, 1, 2], {3: ("press", 1, 0), 1: ("without team", 2, 1)}),
        ({"group": "platform", "sort": "name"}, [2, 1, 3], {2: ("LinkedIn", 2, 1), 3: ("X", 1, 0)}),
    ],
)
def test_sorted_and_grouped(filters: dict[str, str], order: list[int], groups: dict[int, tuple[str, int, int]]) -> None:
    """The list may be sorted, and grouped with counts, both in its address."""
    page = _page(
        _board(
            _view(1, a_state(Health.ERROR), name="c"),
            _view(2, a_state(token=a_token_belief(NOW + DAY)), name="b"),
            _view(3, name="a", platform_id="x-1", labels={"team": "press"}),
        ),
        **filters,
    )
    assert [row.view.connection.id for row in page.rows] == order
    assert {number: (group.name, group.total, group.trouble) for number, group in page.groups.items()} == groups
    assert Filters.of(dict(parse_qsl(page.filters.address()[1:]))) == page.filters


@pytest.mark.parametrize(
    ("number", "pages", "shown"),
    [(1, 1, (1,)), (1, 3, (1, 2, 3)), (1, 9, (1, 2, 3, None, 9)), (5, 9, (1, None, 3, 4, 5, 6, 7, None, 9)), (9, 9, (1, None, 7, 8, 9))],
)
def test_page_numbers(number: int, pages: int, shown: tuple[int | None, ...]) -> None:
    """The pages to lead to: the first, the last, and those around."""
    assert Page(Filters(), (), 1, number, pages).numbers == shown


def test_labels() -> None:
    """A list is narrowed by labels, all of which must hold; a name alone asks for any value."""
    board = _board(
        _view(1, labels={"team": "social", "market": "de"}),
        _view(2, labels={"team": "social"}),
        _view(3, labels={"team": "press"}),
        _view(4),
    )

    def _found(*labels: str) -> list[int]:
        return [row.view.connection.id for row in board.page(Filters(labels=labels), NOW).rows]

    assert (_found("team=social"), _found("team=social", "market=de"), _found("team"), _found("team=")) == ([1, 2], [1], [1, 2, 3], [])
    assert board.label_choices == {"market": (("market=de", "de"),), "team": (("team=press", "press"), ("team=social", "social"))}


def test_labels_in_the_address() -> None:
    """Labels survive the address, several of them and with any characters."""
    labels = ("team=a&b", "market=d e", "Ümlaut=ß=?#")
    address = Filters(labels=labels, q="x").address(page=3)

    assert Filters.of(URL(f"/{address}").query) == Filters(labels=labels, q="x", page=3)


def test_nothing_watched_is_no_bad_filter() -> None:
    """A list that is empty because nothing is watched says something else than one that is narrowed too far."""
    assert "once the configuration names them" in _page(_board()).caption
    assert _page(_board(_view()), q="nothing").caption == "No connection matches the filter q=nothing."
