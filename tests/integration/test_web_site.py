"""The pages over real sockets, with their past in a real database."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from monitor.clock import SystemClock
from monitor.config import WebSettings
from monitor.db import (
    AttemptRow,
    CheckRow,
    ControlsWriter,
    Database,
    DeliveryState,
    Store,
    attempts_of,
    closed_incidents,
    latencies,
    list_deliveries,
    operator_session,
)
from monitor.domain.connections import Connection, ConnectionSpec
from monitor.domain.events import FINE, IncidentRef, Severity, Topic, Transition
from monitor.domain.reasons import Health, Scope
from monitor.domain.silencing.acks import Ack
from monitor.domain.views.snapshot import ConnectionView, IncidentView, Snapshot
from monitor.errors import DeliveryReason, Reason, StoreUnavailable
from monitor.metrics import Metrics
from monitor.text.format import moment
from monitor.web.changes import MOST_STREAMS
from monitor.web.server import WebServer
from tests.builders import DAY, HOUR, MINUTE, a_connection, a_notification, a_state, a_token_belief
from tests.sampling import sampled
from tests.tools import require_tool
from tests.waiting import patience

ODD = "bluesky-did:plc:ew--vi/7n?x%41 y"
NOW = SystemClock().now()
_INSTANCE = "6c1f2a90"


@dataclass
class Site:
    """A web port over a database, and the one connection it shows."""

    host: str
    number: int
    database: Database
    connection: Connection
    snapshot: Snapshot
    readable: bool = True
    stuck: bool = False
    asked: int = 0

    async def get(self, path: str) -> tuple[int, str]:
        """The status and the body at *path*."""
        reader, writer = await asyncio.open_connection(self.host, self.number)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
        writer.close()
        return int(head.split(b" ")[1]), body.decode()

    async def read(self, work):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
        """Asks the database, while it can be read."""
        self.asked += 1
        if self.stuck:
            await asyncio.Event().wait()
        if not self.readable:
            raise StoreUnavailable("it cannot be read now")
        return await self.database.read(work)

    @property
    def page(self) -> str:
        """The address of the connection's page."""
        parts = (self.connection.account, self.connection.user_id or "-", self.connection.platform_id)
        return "/connections/" + "/".join(quote(part, safe="") for part in parts)


def _write(store: Store) -> int:
    """A connection with two incidents, one of them open, a hundred checks, and one notification that was hard to deliver."""
    number = store.ensure_connections([ConnectionSpec("main", "", ODD, "bluesky")])["main", "", ODD]
    for minute in range(100):
        reason = Reason.CREDENTIAL_REJECTED if minute < 3 else Reason.OK
        store.record_checks([CheckRow(number, NOW - (1 + 15 * minute) * MINUTE, reason, 100 + minute, 200, "3d 4h", "Session has expired")])
    words = (Severity.CRITICAL, Reason.CREDENTIAL_REJECTED, "Session has expired")
    over, incident = (IncidentRef(Topic.CONNECTION, str(number), count, at) for count, at in ((1, NOW - DAY), (2, NOW - HOUR)))
    store.apply_transitions([Transition(over, Scope.CONNECTION, number, "error", over.opened_at + 10 * MINUTE, *words)])
    end = Transition(over, Scope.CONNECTION, number, FINE, over.opened_at + HOUR, *words, closed_why="recovered")
    store.apply_transitions([end])
    store.apply_transitions([Transition(incident, Scope.CONNECTION, number, "error", incident.opened_at, *words)])
    told = replace(a_notification(number), connection_id=number, incident=incident, at=incident.opened_at)
    store.outbox.add_notification(store.outbox.new_webhook_id(), told, incident_key="key", body=b"{}", receivers=["on-call"])
    (delivery,) = list_deliveries(store, receiver="on-call")
    failed = AttemptRow(NOW - HOUR + MINUTE, DeliveryReason.SERVER_ERROR, 87, 503)
    store.outbox.record_attempt(delivery, failed, DeliveryState.PENDING, failed.at)
    store.outbox.record_attempt(
        delivery, replace(failed, at=NOW - HOUR + 2 * MINUTE, reason=DeliveryReason.DELIVERED, http_status=204), DeliveryState.DELIVERED
    )
    return number


@asynccontextmanager
async def _running(database: Database) -> AsyncIterator[Site]:
    number = await database.write(_write)
    connection = a_connection(number, platform_id=ODD, name="Ödd 'page'", labels={"team": "social"})
    state = a_state(Health.ERROR, detail="Session has expired", token=a_token_belief(NOW + 30 * DAY))
    own = IncidentRef(Topic.CONNECTION, str(number), 2, NOW - HOUR)
    view = IncidentView(own, Scope.CONNECTION, number, "error", Severity.CRITICAL, Reason.CREDENTIAL_REJECTED, "Session has expired")
    snapshot = Snapshot(NOW, (ConnectionView(connection, state),), (view,), {"main": True}, api_up=True)
    site = Site("", 0, database, connection, snapshot)
    settings = WebSettings(listen="127.0.0.1:0")
    server = WebServer(
        settings,
        Metrics(),
        lambda: site.snapshot,
        SystemClock(),
        lambda: (True, "ready"),
        read=site.read,
        instance=lambda: _INSTANCE,
        fresh_seconds=0.0,
    )
    url = urlsplit(await server.start())
    site.host, site.number = url.hostname or "", url.port or 0
    yield site
    await server.close()


@pytest.fixture
async def site(sqlite_url: str) -> AsyncIterator[Site]:
    """The pages over a database."""
    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    async with _running(database) as running:
        yield running
    await database.close()


def _shown(text: str) -> str:
    """What a page says, without its markup."""
    plain = re.sub(r"<(script|title).*?</\1>", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", plain).replace("&#39;", "'").split())


async def test_connection(site: Site) -> None:
    """A connection's page tells its health and what to do, its incidents, who was told and what they answered, and its checks."""
    status, text = await site.get(site.page)
    shown = _shown(text)

    assert status == 200
    assert "The platform rejects the stored credential. Session has expired Reconnect the account on the PostPost dashboard." in shown
    assert "Closed. It works again." in shown
    assert re.search(
        r"on-call accepted \w+( \w+)? ago, at the second attempt 2 attempts .* failed \(503\) in 87 ms .* accepted \(204\)", shown
    )
    assert shown.count("Session has expired") > 20
    assert "Response time of the last 100 checks: 150 ms median, 100 ms to 199 ms." in shown


async def test_paging(site: Site) -> None:
    """All checks can be reached from the connection's page, each once, and those of one day."""
    seen: list[str] = []
    address = site.page
    while address:
        _, text = await site.get(address)
        seen += re.findall(r'<th scope="row"><time datetime="([^"]+)"', text)
        older = re.search(r'href="(\?before=\d+)#checks"', text)
        address = site.page + older[1] if older else ""
    of_days = []
    for day in sorted({at[:10] for at in seen}, reverse=True):
        _, text = await site.get(f"{site.page}?day={day}")
        found = re.findall(r'<th scope="row"><time datetime="([^"]+)"', text)
        assert {at[:10] for at in found} == {day}
        of_days += found

    assert len(seen) == len(set(seen)) == 100
    assert seen == sorted(seen, reverse=True)
    assert of_days == seen


async def test_busy_day(site: Site) -> None:
    """A day with hundreds of checks is paged too, and stays that day."""
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0) - 5 * DAY
    rows = [CheckRow(site.connection.id, midnight + n * MINUTE, Reason.OK, 5, 200) for n in range(-60, 500)]
    await site.database.write(lambda store: store.record_checks(rows))
    seen: list[str] = []
    address = f"?day={midnight.date()}"
    while address:
        _, text = await site.get(site.page + address)
        seen += re.findall(r'<th scope="row"><time datetime="([^"]+)"', text)
        older = re.search(r'href="(\?day=[0-9-]+&amp;before=\d+)#checks"', text)
        address = older[1].replace("&amp;", "&") if older else ""

    assert len(seen) == len(set(seen)) == 500


async def test_response_times(site: Site) -> None:
    """The response time of a chosen window is drawn from its checks alone, with its links."""
    rows = [
        CheckRow(site.connection.id, NOW - 2 * DAY - n * HOUR, Reason.CREDENTIAL_REJECTED if n == 9 else Reason.OK, 300, 200)
        for n in range(240)
    ]
    await site.database.write(lambda store: store.record_checks(rows))
    for name, words, known in (("24h", "24 hours", 96), ("7d", "7 days", 220), ("30d", "30 days", 340)):
        _, text = await site.get(f"{site.page}?response={name}")
        assert f"Response time of {known} checks in the last {words}: " in text
        assert re.findall(r'href="(\?response=\w+)#pace" aria-current', text) == [f"?response={name}"]
        ticks = re.findall(r'<span><time datetime="[^"]+" title="[^"]+ UTC">([^<]+)</time></span>', text)
        assert (len(ticks), ">now<" in text, ">0 ms<" in text) == ({"24h": 4, "7d": 7, "30d": 5}[name], True, True)
        assert all(re.fullmatch(r"\d\d:\d\d" if name == "24h" else r"\d\d? [A-Z][a-z]{2}", tick) for tick in ticks)
        assert ("failed check" in text) == ('class="failed short"' in text)
    _, text = await site.get(f"{site.page}?response=")
    assert "Response time of the last 200 checks: " in text


async def test_odd_questions(site: Site) -> None:
    """Any moment and any day is an answerable question to a connection's page, also one before and after all checks."""
    for query in ("before=1", "before=99999999999999", "day=1970-01-01", "day=9999-12-31", "incidents=1", "day=&before="):
        assert (await site.get(f"{site.page}?{query}"))[0] == 200, query


@pytest.mark.parametrize(
    ("address", "field", "allowed", "meant"),
    sampled(
        [
            ("/?displayStatus=brokn", "displayStatus", "error, missing, misconfigured", ""),
            ("/?displayStatus=eror", "displayStatus", "error, missing, misconfigured", "error"),
            ("/?sort=nam", "sort", "name, state, token, checked", "name"),
            ("/?page=x", "page", "a whole number", ""),
            ("/?page=0", "page", "at least 1", ""),
            ("/?group=zzz", "group", "account, platform, team", ""),
            ("/?group=tean", "group", "account, platform, team", "team"),
            ("/?foo=1", "foo", "displayStatus, platform, account, label, q, group, sort, at, page", ""),
            ("/?label==", "label", "team=social", ""),
            ("/?label=tem", "label", "there are team", "team"),
            ("/?label=team%3Dsocal", "label", "there are team=social", "team=social"),
            ("/?platform=bluesk", "platform", "there are bluesky", "bluesky"),
            ("/?account=mian", "account", "there are main", "main"),
            ("/?q=a&q=b", "q", "once", ""),
            ("/?at=garbage", "at", "a time such as", ""),
            ("/incidents?before=x", "before", "a whole number", ""),
            ("/calendar?displayStatus=eror", "displayStatus", "error, missing", "error"),
            ("/calendar?sort=name", "sort", "displayStatus, platform, account, label, q", ""),
            ("/calendar.ics?label=foo", "label", "there are team", ""),
            ("/calendar.ics?platfrm=x", "platfrm", "displayStatus, platform", "platform"),
            ("/forecast?displayStatus=foo", "displayStatus", "error, missing", ""),
            ("/wall?displayStatus=foo", "displayStatus", "error, missing", ""),
            ("/preflight?id=x", "id", "ids, label, at", "ids"),
            ("/api/v1/reference?x=1", "x", "there are none", ""),
            ("{page}?response=9h", "response", "24h, 7d, 30d", "24h"),
            ("{page}?day=2030-02-31", "day", "a day such as", ""),
            ("{page}?before=99999999999999999999", "before", "too many digits", ""),
        ],
        first=14,
    ),
)
async def test_parameters(site: Site, address: str, field: str, allowed: str, meant: str) -> None:
    """A parameter that is not one of the page, or has no usable value, is refused in the frame of the site: field, values, the nearest."""
    status, text = await site.get(address.format(page=site.page))

    assert status == 400
    if ".ics" in address:
        document = json.loads(text)
        detail, named = document["detail"], document["field"]
    else:
        detail, named = _shown(text), (re.findall("<title>Invalid parameter (.*) - PostPost Monitor</title>", text) or [""])[0]
        assert 'class="top"' in text
    assert (named, allowed in detail, f"did you mean {meant}?" in detail if meant else True) == (field, True, True), detail


@pytest.mark.parametrize("path", ["/", "/calendar", "/forecast", "/wall"])
async def test_an_empty_list_names_its_filter(site: Site, path: str) -> None:
    """What a filter keeps nothing of is told with the filter, and fields that a form sends empty ask for nothing."""
    empty = (await site.get(f"{path}?q=zzz&displayStatus=ok"))[1]
    assert "the filter displayStatus=ok, q=zzz" in _shown(empty)
    assert "the filter" not in _shown((await site.get(f"{path}?q=&displayStatus=&platform=&label="))[1])


async def test_links(site: Site) -> None:
    """The status page links to the connection's page, and from there everything of this port is found again."""
    _, text = await site.get("/")
    (found,) = re.findall(r'class="name" href="([^"]+)"', text)
    _, deep = await site.get(f"/{found}")

    assert f"/{found}" == site.page
    assert {"../../../incidents", "../../../calendar", "../../../metrics"} <= set(re.findall(r'href="([^"]+)"', deep))
    (label,) = re.findall(r'class="label" href="../../../([^"]+)"', deep)
    assert "page" in (await site.get(f"/{label}"))[1]


async def test_unknown_connection(site: Site) -> None:
    """An id that is not watched has a page that says so, with status 404."""
    for path in (
        "/connections/main/-/linkedin-nobody",
        site.page.replace("main", "other"),
        site.page.replace("/-/", "/user/"),
        f"{site.page}%00",
    ):
        status, text = await site.get(path)
        assert status == 404
        assert "This connection is not watched." in text


async def test_a_connection_that_is_no_longer_watched(site: Site) -> None:
    """It keeps its page with its past, offers no test and no silence, and its incidents lead there; without the database it is unknown."""
    await site.database.write(lambda store: store.retire([site.connection.id], NOW))
    site.snapshot = replace(site.snapshot, connections=(), incidents=())

    status, text = await site.get(site.page)
    shown = _shown(text)

    assert status == 200
    assert f"{ODD} No longer watched It is no longer in the configuration, or in the API's list of connections." in shown
    assert "Closed. It works again." in shown
    assert "on-call accepted" in shown
    assert len(re.findall(r'<th scope="row"><time datetime="([^"]+)"', text)) == 25
    assert re.findall(r"<code>postpost-monitor (\w+)", text) == ["explain"]
    _, incidents = await site.get("/incidents")
    assert re.findall(r'<a href="([^"]+)"><bdi>([^<]+)</bdi></a> <span class="dim">Bluesky', incidents) == [(site.page[1:], ODD)]
    site.readable = False
    assert (await site.get(site.page))[0] == 404


async def test_nothing_there(site: Site) -> None:
    """Other addresses are answered with 404, in plain text."""
    for path in ("/connections", "/connections/main", "/connections/a/b/c/d", "/incidents/", "/calendar/x"):
        assert await site.get(path) == (404, "Not found.\n"), path


async def test_incidents(site: Site) -> None:
    """The page of incidents has what is open, with commands to copy, and what is over."""
    _, text = await site.get("/incidents")
    commands = re.findall(r"<code>(.*?)</code>", text)

    assert "1 open incident" in _shown(text)
    assert [command.split()[1] for command in commands] == ["ack", "silence"]
    assert commands[0].startswith("postpost-monitor ack key "), "the key that its receivers have"
    assert text.index('id="open"') < text.index("Acknowledge or silence") < text.index('id="closed"') < text.rindex("Session has expired")


async def test_held(site: Site, sqlite_url: str) -> None:
    """Who has acknowledged an incident, and what silences it, is said with it."""

    def _ask(operations: ControlsWriter) -> None:
        number = str(site.connection.id)
        operations.acknowledge(Ack(Topic.CONNECTION, number, 2, "error", NOW, "anna", "calling the customer"))
        match = {"connection": "bluesky-*", "team": "social"}
        operations.add_silence(match, starts_at=NOW - MINUTE, ends_at=NOW + DAY, author="bert", reason="moving house", now=NOW)
        operations.add_silence({"team": "other"}, starts_at=NOW - MINUTE, ends_at=NOW + DAY, author="carl", reason="not ours", now=NOW)

    with operator_session(sqlite_url) as operations:
        _ask(operations)
    _, text = await site.get("/incidents")

    assert re.search(r"Acknowledged by anna \w+ ago: calling the customer", _shown(text))
    assert "by bert: moving house" in text
    assert "by carl" not in text


async def test_many_incidents(site: Site) -> None:
    """Thousands of incidents are paged: the open ones worst first, and every one that is over is reached once."""

    def _more(store: Store) -> None:
        for number in range(3, 2003):
            at = NOW - DAY + timedelta(seconds=number)
            words = (Severity.CRITICAL, Reason.TARGET_GONE, f"number {number}")
            incident = IncidentRef(Topic.CONNECTION, f"other {number}", 1, at)
            store.apply_transitions([Transition(incident, Scope.CONNECTION, site.connection.id, "error", at, *words)])
            store.apply_transitions([Transition(incident, Scope.CONNECTION, site.connection.id, FINE, at, *words, closed_why="recovered")])

    await site.database.write(_more)
    (view,) = site.snapshot.incidents
    many = tuple(replace(view, incident=replace(view.incident, subject=str(number), number=7)) for number in range(3000))
    site.snapshot = replace(site.snapshot, incidents=many)
    _, first = await site.get("/incidents?page=60")
    _, own = await site.get(site.page)
    seen: list[str] = re.findall(r"number (\d+)<", (await site.get("/incidents"))[1])
    _, text = await site.get("/incidents")
    for _ in range(3):
        (older,) = re.findall(r'href="(\?before=\d+)"', text)
        _, text = await site.get(f"/incidents{older}")
        seen += re.findall(r"number (\d+)<", text)

    assert "Page 60 of 60" in first
    assert "Older incidents" in own
    assert seen == [str(number) for number in range(2002, 2002 - 80, -1)]


async def test_unreadable_past(site: Site) -> None:
    """While the database can't be read, every page shows the present and says why there is no more."""
    site.readable = False

    pages = [await site.get(path) for path in ("/", site.page, "/incidents", "/calendar")]

    assert [status for status, _ in pages] == [200] * 4
    assert all("Ödd" in text for _, text in pages)
    assert ["cannot be read from the database now" in text for _, text in pages] == [False, True, True, False]


async def test_stuck_database(site: Site) -> None:
    """A database that never answers does not hold up the list, and is not asked at every look; what was read before stays."""
    _, before = await site.get("/")
    site.connection = replace(site.connection, id=99)
    site.snapshot = replace(site.snapshot, connections=(*site.snapshot.connections, ConnectionView(site.connection, a_state())))
    site.stuck, asked = True, site.asked

    pages = [await site.get("/") for _ in range(3)]

    assert [status for status, _ in pages] == [200] * 3
    assert all("ms median" in text for text in (before, *(text for _, text in pages)))
    assert site.asked == asked + 1


async def test_questions_of_the_pages(database: Database) -> None:
    """Many connections' last checks, many deliveries' attempts, and what is over, each in order, in either database."""
    number = await database.write(_write)

    took = await database.read(lambda reader: latencies(reader, [number, 99], 10))
    attempts = await database.read(lambda reader: attempts_of(reader, [1, 99]))
    over = await database.read(lambda reader: closed_incidents(reader, 10))
    rest = await database.read(lambda reader: closed_incidents(reader, 10, over[0].id))

    assert [row.duration_ms for row in took[number]] == list(range(109, 99, -1))
    assert took[99] == ()
    assert [row.reason for row in attempts[1]] == [DeliveryReason.SERVER_ERROR, DeliveryReason.DELIVERED]
    assert (99 in attempts, [row.incident.number for row in over], rest) == (False, [1], [])


async def test_feed_without_its_library(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the page has no link to a feed, and the feed says what to install."""
    assert 'href="calendar.ics"' in (await site.get("/calendar"))[1]

    monkeypatch.setitem(sys.modules, "icalendar", None)
    assert "calendar.ics" not in (await site.get("/calendar"))[1]
    status, text = await site.get("/calendar.ics")
    assert (status, "pip install 'postpost-monitor[calendar]'" in text) == (501, True)


async def test_clocks_of_utc_days(site: Site) -> None:
    """What stands below the heading of a UTC day is never shown in the reader's zone."""
    _, page = await site.get("/calendar")
    _, script = await site.get("/static/live.js")
    clocks = re.findall(r"<time([^>]*)>\d\d:\d\d</time>", page)

    assert clocks
    assert all('class="utc"' in clock for clock in clocks)
    assert 'class="zone"' not in page
    assert "time[datetime]:not(.utc)" in script


async def test_calendar_software(site: Site, tmp_path: Path) -> None:
    """A real calendar program takes the feed over, whole, also one with awkward names."""
    names = ["Ödd; page, with \\ and \n", "شركة عربية", "x" * 300, "plain"]
    views = tuple(
        ConnectionView(a_connection(number, name=name), a_state(token=a_token_belief(NOW + number * DAY)))
        for number, name in enumerate(names, start=1)
    )
    site.snapshot = replace(site.snapshot, connections=views, incidents=())
    status, feed = await site.get("/calendar.ics")
    (tmp_path / "feed.ics").write_bytes(feed.encode())
    command: list[str | Path] = [require_tool("calcurse"), "-D", tmp_path / "data", "-i", tmp_path / "feed.ics"]

    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)

    assert status == 200
    assert "4 apps / 0 events / 0 todos / 0 skipped" in done.stdout + done.stderr
    kept = (tmp_path / "data" / "apts").read_text(encoding="utf-8")
    assert all(name.split("\n")[0][:20] in kept for name in names)


async def test_why(site: Site) -> None:
    """The page explains by the sentences of `explain`, and the API has the same."""
    _, page = await site.get(site.page)
    status, document = await site.get(f"/api/v1/connections/{quote(site.connection.platform_id, safe='')}/explanation")

    explanation = json.loads(document)["explanation"]
    assert (status, [part["title"] for part in explanation][:2]) == (200, ["", "What to do"])
    assert all(line in unescape(page) for part in explanation if part["title"] == "Evidence" for line in part["lines"])
    assert json.loads(document)["notifications"][0]["incidentKey"] == "key"


async def test_as_it_was(site: Site) -> None:
    """The page of a moment shows what the rows of that moment say, says so, and offers no way to act; a bad moment is named."""
    minutes = (5, 30, 120)
    pending, during, after = (f"/?at={NOW - DAY + ago * MINUTE:%Y-%m-%dT%H:%MZ}" for ago in minutes)

    assert "Broken" not in (await site.get(pending))[1]
    _, page = await site.get(during)
    assert ("Broken" in page, "As it was at" in page, "http-equiv" in page, "actions/" in page) == (True, True, False, False)
    _, page = await site.get(after)
    assert ("Broken" in page, "Working" in page) == (False, True)
    for text in ("yesterday", "9999-12-31T23:59Z", "2026-13-01T00:00Z", "1" * 500):
        status, page = await site.get(f"/?at={text}")
        assert (status, "<title>Invalid parameter at" in page) == (400, True)
    assert (await site.get("/?at="))[0] == 200


async def test_as_it_was_in_full(site: Site, sqlite_url: str) -> None:
    """It has names, what was not checked yet, and what operators had done by then; before the first check it says when history begins."""

    def _add(store: Store) -> None:
        first = store.ensure_connections([ConnectionSpec("main", "", f"threads-{number}", "threads") for number in (1, 2, 3)])
        store.record_checks([CheckRow(first["main", "", "threads-2"], NOW - 30 * MINUTE, Reason.OK, 100, 200, None, "")])

    await site.database.write(_add)
    with operator_session(sqlite_url) as operations:
        operations.acknowledge(Ack(Topic.CONNECTION, str(site.connection.id), 2, "error", NOW - 20 * MINUTE, "anna", "calling"))
        match, ends_at = {"connection": "threads-*"}, NOW + DAY
        silence = operations.add_silence(
            match, starts_at=NOW - HOUR, ends_at=ends_at, author="bert", reason="moving", now=NOW - 25 * MINUTE
        )
        operations.expire_silence(silence.id, NOW - 5 * MINUTE)
    (view,) = site.snapshot.connections
    named = replace(view, connection=replace(view.connection, spec=replace(view.connection.spec, name=None)))
    site.snapshot = replace(site.snapshot, connections=(replace(named, state=replace(view.state, display_name="Odd shop")),))

    before, after = [(await site.get(f"/?at={NOW - ago * MINUTE:%Y-%m-%dT%H:%MZ}"))[1] for ago in (26, 15)]

    assert all("Odd shop" in page and "threads-1" in page and "threads-3" not in page for page in (before, after))
    assert all("1 of 3 connections is broken" in _shown(page) for page in (before, after))
    assert ["Acknowledged by anna" in page for page in (before, after)] == [False, True]
    assert [f"Silenced until {moment(ends_at)} by bert" in page for page in (before, after)] == [False, True]
    status, page = await site.get("/?at=2020-01-01T00:00Z")
    assert (status, "The history begins at" in page, "watched yet" in page) == (404, True, False)


async def test_can_i_post(site: Site) -> None:
    """Chosen connections, or those with a label, are answered for a time; a field that cannot be used is named."""
    chosen = await site.get(f"/preflight?ids={quote(site.connection.platform_id, safe='')}")
    labelled = await site.get("/preflight?label=team%3Dsocial&at=2099-01-01T00:00")

    assert [(status, "ready" in page) for status, page in (chosen, labelled)] == [(200, True), (200, True)]
    for query, field in (("at=soon", "at"), ("label=team%3Dnone", "label"), ("ids=x&at=2001-01-01T00:00", "at"), ("ids=nope", "ids")):
        status, page = await site.get(f"/preflight?{query}")
        assert (status, f"{field}: " in page) == (400, True)


async def test_wall(site: Site) -> None:
    """Every connection is one square with its state as text, and every group leads to its list."""
    _, page = await site.get("/wall?group=team")

    assert (page.count("<rect"), page.count("<title>Ödd"), 'href="./?label=team%3Dsocial"' in page) == (1, 1, True)


async def test_changes(site: Site) -> None:
    """A stream says at once that something changed; there are so many at most, and closing the port ends them."""
    streams = [await asyncio.open_connection(site.host, site.number) for _ in range(MOST_STREAMS + 1)]
    for _, writer in streams:
        writer.write(b"GET /changes HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    heads = [(await reader.readuntil(b"\r\n\r\n")).decode() for reader, _ in streams]

    assert sorted(head.split(" ")[1] for head in heads) == ["200"] * MOST_STREAMS + ["503"]
    assert (await site.get("/changes?x=1"))[0] == 400
    (reader, _), head = streams[0], heads[0]
    assert ("X-Accel-Buffering: no" in head, "text/event-stream" in head, "Content-Encoding" in head) == (True, True, False)
    site.snapshot = replace(site.snapshot, incidents=())
    async with asyncio.timeout(patience()):
        await reader.readuntil(b"event: change")
    for _, writer in streams:
        writer.close()


async def test_changes_end(database: Database) -> None:
    """A port that closes ends its streams properly instead of waiting for them."""
    async with _running(database) as site:
        reader, writer = await asyncio.open_connection(site.host, site.number)
        writer.write(b"GET /changes HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await reader.readuntil(b"event: beat")

    async with asyncio.timeout(patience()):
        assert (await reader.read(-1)).endswith(b"0\r\n\r\n")
    writer.close()
