"""The status page as HTML."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import pytest

from monitor.db import AttemptRow, CheckRow, DeliveryRow, DeliveryState, IncidentRow, LatencyRow, NotificationRow
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.policy import Policy
from monitor.domain.projections.forecast import Forecast, ForecastEvent
from monitor.domain.reasons import Health, Scope
from monitor.domain.replies.checks import LastError
from monitor.domain.silencing.acks import Ack
from monitor.domain.uptime import DayUptime, Uptime
from monitor.domain.views.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.domain.views.status import Filters
from monitor.errors import DeliveryReason, Reason
from monitor.web.pages.connection import ConnectionQuery, profile_of
from monitor.web.pages.expiry import agenda_of
from monitor.web.pages.forecast import forecast_page
from monitor.web.pages.history import CheckTrend, ConnectionHistory, StoredIncidents, SuppressedBy, sparkline_row
from monitor.web.pages.incidents import incidents_page
from monitor.web.pages.preflight import preflight_page
from monitor.web.pages.templates import DEEP, Pages
from monitor.web.pages.wall import wall_of
from monitor.web.status.board import StatusBoard
from tests.builders import DAY, HOUR, START, a_connection, a_notification, a_silence, a_state, a_token_belief
from tests.sampling import sampled

NOW = START + DAY
TEMPLATES = Path(__file__).parent.parent.parent / "monitor" / "web" / "templates"


class _Tags(HTMLParser):
    """Every tag with the names of its attributes, and all values of attributes that lead somewhere."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.found: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found[tag, tuple(name for name, _ in attrs)] += 1
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_comment(self, data: str) -> None:
        self.found["comment", ()] += 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)


OPENINGS = ("", '"', "'", '">', "'>", "</q>", "</bdi>", "</title>", "-->", "&quot;>", "{{ 7*7 }}", "\u202e", "\x00", "</textarea>")
PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    " onmouseover=alert(1) x=",
    "<a href=javascript:alert(1)>x</a>",
    "<!--",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<style>*{background:url(//evil.example)}</style>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<ScRiPt\x0csrc=//evil.example>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<form action=//evil.example><button>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "]]><x>",
)
INSIDE = re.compile(
    r"(\.\./){0,3}(\?|\./(\?|$)|$|#|static/|api/|metrics$|incidents$|(calendar(\.ics)?|forecast|preflight|wall)(\?|$)|connections/[^/]+/[^/]+/[^/]+$)"
)
"""Relative addresses below this port, and nothing that a browser could take for another one."""

ATTACKS = [opening + payload for opening, payload in product(OPENINGS, PAYLOADS)]


def _snapshot(text: str, identity: str = "linkedin-page1") -> Snapshot:
    """A picture in which every text that others fill is *text*."""
    state = a_state(
        Health.ERROR,
        username=text,
        display_name=text,
        detail=text,
        last_detail=text,
        last_error=LastError(text, NOW),
        permissions_missing=(text,),
        token=a_token_belief(NOW + HOUR),
        last_successful_post_at=START,
    )
    own = [
        IncidentView(IncidentRef(topic, "1", 1, START), Scope.CONNECTION, 1, "x", Severity.CRITICAL, None, text)
        for topic in (Topic.PUBLISHING, Topic.PERMISSIONS, Topic.EXPIRY)
    ]
    wide = [
        IncidentView(
            IncidentRef(Topic.SCOPE, f"{scope}:{text}", 1, START), scope, None, "failed", Severity.CRITICAL, Reason.API_FAILED, text
        )
        for scope in (Scope.API, Scope.ACCOUNT, Scope.PLATFORM, Scope.RECEIVER)
    ]
    labels = {text: text, "team": text}
    connection = a_connection(1, account=text, user_id=text, platform_id=identity, platform=text, name=text, labels=labels)
    views = (ConnectionView(connection, state), ConnectionView(a_connection(2), a_state()))
    return Snapshot(NOW, views, tuple(own + wide), {text: False}, True, True, {text: OutboxView(1, START, failing_since=START)})


def _past(text: str) -> ConnectionHistory:
    """The past of the first connection, in which every text that others fill is *text*."""
    incident = IncidentRow(
        1, IncidentRef(Topic.CONNECTION, "1", 1, START), Scope.CONNECTION, 1, "error", Severity.CRITICAL, Reason.OK, text, START, START
    )
    told = NotificationRow(1, "id", "key", a_notification(detail=text))
    delivery = DeliveryRow(1, 1, "id", "key", text, DeliveryState.DEAD, 2, START, START, told.notification, b"{}")
    attempt = AttemptRow(START, DeliveryReason.CLIENT_ERROR, 3, 400, text)
    check = CheckRow(1, START, Reason.CREDENTIAL_REJECTED, 3, 200, text, text)
    days = tuple(DayUptime((NOW - n * DAY).date(), Uptime(ok=DAY - n * HOUR, down=n * HOUR)) for n in range(20, -1, -1))
    trail = CheckTrend((LatencyRow(START, 3, Reason.OK), LatencyRow(START, 4, Reason.OK)), days)
    return ConnectionHistory(
        trail, {"24h": Uptime(ok=DAY)}, (check,), False, (incident,), False, (told,), (delivery,), {1: (attempt, attempt)}
    )


def _held(text: str) -> SuppressedBy:
    ack = Ack(Topic.PUBLISHING, "1", 1, "x", START, text, text)
    return SuppressedBy(
        {(ack.topic, ack.subject, ack.number): ack}, (a_silence(match={"topic": "*"}, author=text, reason=text, ends_at=NOW + DAY),)
    )


@cache
def _pages() -> Pages:
    return Pages()


def _status(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    return _pages().status(board, board.page(Filters.of(query), NOW), {1: sparkline_row(_past(text).trend, NOW)}, NOW)


def _connection(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    view = next(view for view in board.snapshot.connections if view.connection.id == 1)
    return _pages().connection(board, profile_of(board.row(view, NOW), _past(text), ConnectionQuery.of(query), NOW), NOW)


def _missing(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    return _pages().render("missing.html", board, NOW, DEEP, platform_id=text)


def _incidents(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    shown = incidents_page(
        board,
        StoredIncidents(_past(text).incidents, True, _held(text), {1: a_connection(1, name=text)}),
        Filters.of(query).page,
        None,
        text,
        NOW,
    )
    return _pages().render("incidents.html", board, NOW, shown=shown)


def _calendar(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    agenda = agenda_of(board, Filters.of(query), NOW)
    return _pages().render("calendar.html", board, NOW, agenda=agenda, filters=agenda.filters, has_feed=True)


def _forecast(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    connections = a_connection(1, name=text), a_connection(2, name=text)
    events = [(ForecastEvent(connections[:many], replace(a_notification(1), detail=text), (text,)),) * many for many in (1, 2)]
    return _pages().render(
        "forecast.html", board, NOW, forecast=forecast_page(board, Forecast(NOW + DAY, tuple(events)), Filters.of(query))
    )


def _preflight(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    asked = {"id": "".join(text.replace(",", "").split()) + "x", "label": query.get("label", ""), "at": query.get("at", "")}
    return _pages().render("preflight.html", board, NOW, form=preflight_page(board, asked, Policy(), NOW))


def _wall(board: StatusBoard, query: Mapping[str, str], text: str) -> bytes:
    return _pages().render("wall.html", board, NOW, wall=wall_of(board, Filters.of(query)))


def test_wall_in_pieces() -> None:
    """A wall of many connections is made in pieces of one size at most, however large it is, and they are the whole page."""
    sizes = {}
    for number in (300, 1200):
        board = StatusBoard(Snapshot(NOW, tuple(ConnectionView(a_connection(one), a_state()) for one in range(number))))
        pieces = list(_pages().pieces("wall.html", board, NOW, wall=wall_of(board, Filters())))
        sizes[number] = (len(pieces), max(map(len, pieces)))
        assert b"".join(pieces) == _wall(board, {}, "")
    assert sizes[1200][0] > 3 * sizes[300][0] > 9
    assert sizes[1200][1] < 1.5 * sizes[300][1]


def test_wall_of_ending_tokens() -> None:
    """One that works and whose token ends soon is drawn as a kind of its own, and is not in trouble."""
    views = tuple(ConnectionView(a_connection(number), a_state(last_evidence_at=NOW)) for number in (1, 2, 3))
    incidents = tuple(
        IncidentView(IncidentRef(Topic.EXPIRY, str(number), 1, NOW), Scope.CONNECTION, number, level, severity, None, "")
        for number, level, severity in ((1, "7d", Severity.WARNING), (2, "1d", Severity.CRITICAL))
    )
    (group,) = wall_of(StatusBoard(Snapshot(NOW, views, incidents)), Filters()).groups

    assert sorted(square.kind for square in group.squares) == ["expiring", "expiring critical", "good"]
    assert group.trouble == 0


RENDERERS = {
    "status": _status,
    "connection": _connection,
    "missing": _missing,
    "incidents": _incidents,
    "calendar": _calendar,
    "forecast": _forecast,
    "preflight": _preflight,
    "wall": _wall,
}
FILTERED = ("status", "calendar", "forecast", "preflight", "wall")


def _page(snapshot: Snapshot, query: dict[str, str] | None = None, *, name: str = "status", text: str = "harmless") -> _Tags:
    return _Tags(RENDERERS[name](StatusBoard(snapshot), query or {}, text).decode())


def _is_harmless(page: _Tags, harmless: _Tags) -> bool:
    """Whether *page* has the same tags and attributes, and no link that leaves this port."""
    return page.found == harmless.found and all(INSIDE.match(address) for address in page.addresses)


@pytest.mark.parametrize("step", sampled([10, 1]))
@pytest.mark.parametrize("name", RENDERERS)
def test_no_text_becomes_markup(name: str, step: int) -> None:
    """Two hundred attacks, or each tenth of them, in every text that others fill leave the tags of a harmless page, and every link on this port."""
    harmless = _page(_snapshot("harmless"), name=name)

    assert len(ATTACKS) >= 200
    assert [
        attack for attack in ATTACKS[::step] if not _is_harmless(_page(_snapshot(attack, attack), name=name, text=attack), harmless)
    ] == []


@pytest.mark.parametrize("step", sampled([10, 1]))
@pytest.mark.parametrize("name", FILTERED)
def test_no_address_becomes_markup(name: str, step: int) -> None:
    """Two hundred attacks, or each tenth of them, in every part of the address leave the tags of a harmless address, and every link on this port."""
    parts = ("q", "health", "platform", "account", "label", "page", "at", "group")
    snapshot = _snapshot("harmless")
    harmless = _page(snapshot, dict.fromkeys(parts, "zzz"), name=name)

    pages = {attack: _page(snapshot, dict.fromkeys(parts, attack), name=name) for attack in ATTACKS[::step]}
    assert [attack for attack, page in pages.items() if not _is_harmless(page, harmless)] == []


def test_silences_in_force() -> None:
    """The incidents page lists every silence in force, the first to end first, with the command that ends it; no other one."""
    silences = (
        a_silence(1, starts_at=START, ends_at=NOW + DAY, match={"team": "social", "platform": "x"}),
        a_silence(2, starts_at=START, ends_at=NOW + HOUR, author="bob", reason="moving house"),
        a_silence(3, starts_at=START, ends_at=NOW + DAY, expired_at=NOW - HOUR),
        a_silence(4, starts_at=NOW + HOUR, ends_at=NOW + DAY),
    )
    shown = incidents_page(StatusBoard(_snapshot("x")), StoredIncidents((), False, SuppressedBy({}, silences), {}), 1, None, "", NOW)
    text = " ".join(" ".join(_Tags(_pages().render("incidents.html", StatusBoard(_snapshot("x")), NOW, shown=shown).decode()).text).split())

    assert [(one.number, one.match) for one in shown.silences] == [(2, "platform=linkedin"), (1, "platform=x team=social")]
    assert "platform=linkedin until 2030-01-02 01:00 UTC By bob : moving house End it now" in text
    assert "postpost-monitor silence expire 2" in text


def test_texts_arrive() -> None:
    """Escaped text is still shown as it is."""
    shown = "".join(_page(_snapshot("Fish & <Chips>")).text)

    assert "Fish & <Chips>" in shown
    assert "Reconnect the account on the PostPost dashboard." in shown


def test_surrogates() -> None:
    """A text that cannot be encoded takes no page down."""
    board = StatusBoard(_snapshot("\ud800", "\ud800"))
    assert all(b"?" in render(board, {}, "\ud800") for render in RENDERERS.values())


def test_nothing_inline() -> None:
    """No template has a style, a script or a handler of its own, or switches escaping off: the security policy forbids the first three."""
    assert len(list(TEMPLATES.glob("*.html"))) > len(RENDERERS)
    for template in TEMPLATES.glob("*.html"):
        text = template.read_text(encoding="utf-8")
        found = _Tags(text).found
        assert not [tag for tag in found if tag[0] == "style" or any(name == "style" or name.startswith("on") for name in tag[1])]
        assert all("src" in names for tag, names in found if tag == "script")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text


def test_empty() -> None:
    """A monitor without connections, accounts and receivers has a page too."""
    shown = "".join(_page(Snapshot(NOW)).text)

    assert "No connections are watched yet." in shown
    assert "No receiver is configured" in shown


def test_accounts_are_named_when_there_are_several() -> None:
    """The account is said of each connection only where it tells something."""
    one = Snapshot(NOW, (ConnectionView(a_connection(1), a_state()),))
    two = replace(one, connections=(*one.connections, ConnectionView(a_connection(2, account="agency"), a_state())))

    assert "agency" in "".join(_page(two).text)
    assert "main" not in "".join(_page(one).text)


def test_edition() -> None:
    """Files of the page are asked for by their contents, so that an update shows at once, and all of them exist."""
    pages = _pages()
    addresses = [address for address in _page(Snapshot(NOW)).addresses if address.startswith("static/")]
    names = {address.removeprefix("static/").partition("?")[0] for address in addresses}

    assert names <= set(pages.static)
    assert all(len(address.partition("?")[2]) == 12 for address in addresses)
    assert {"style.css", "live.js"} <= names
    assert {f"{tone}.svg" for tone in ("bad", "warn", "idle", "good")} <= set(pages.static)
