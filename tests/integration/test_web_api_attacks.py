"""The JSON API under load, under fire, and with whatever third parties call themselves."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from monitor.clock import SystemClock, from_milliseconds, iso_utc
from monitor.db import Database, Reader, connections_by_id, deliveries_by_id, list_checks, list_deliveries, list_incidents
from monitor.domain.reasons import Health
from monitor.domain.replies.checks import LastError
from monitor.domain.views.snapshot import ConnectionView, Snapshot
from monitor.errors import Reason
from monitor.text.format import one_line
from monitor.web.api.parameters import encode
from monitor.web.api.routes import ROUTES
from tests.asked import Port, Reply, asked, listening
from tests.builders import MINUTE, START, a_connection, a_state
from tests.sampling import sampled
from tests.watched import tell_a_story, watched, write_config

MANY = 10_000
CHECKS = 100_000
FIRST_CHECK = 1_000_000_000_000
"""When the first of them ended, in milliseconds since 1970."""

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "]]><!--</title></svg>",
    "&lt;&#x3c;&nonsense;",
    "half \ud800 a character",
    "\x00\x01\x1b[31m\x7f\u2028\u2029\u202eright to left",
    "\ufffe\uffff\U0010ffff",
    "a" * 5000,
    "{{ 7 * 7 }} ${7*7} %s %n",
    "日本語 العربية 👨‍👩‍👧‍👦",
]


def _views(number: int) -> tuple[ConnectionView, ...]:
    """So many connections in several accounts, as a fleet orders them."""
    healths = [Health.OK] * 7 + [Health.ERROR, Health.UNKNOWN, Health.UNSUPPORTED]
    views = [
        ConnectionView(a_connection(one, account=f"account{one % 7}", platform_id=f"linkedin-{one}"), a_state(healths[one % 10]))
        for one in range(number)
    ]
    return tuple(sorted(views, key=lambda view: (view.connection.account_label, view.connection.platform, view.connection.platform_id)))


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["worst", "id"])
async def test_ten_thousand_connections(sort: str) -> None:
    """Paging through ten thousand gives each exactly once, in order, and every page says how many there are."""
    snapshot = Snapshot(START, _views(MANY))
    async with listening(lambda: snapshot) as port:
        first = await port.get(f"/api/v1/connections?limit=500&sort={sort}")
        found = await port.pages(f"/api/v1/connections?limit=500&sort={sort}", "connections")
        broken = await port.pages("/api/v1/connections?limit=500&health=error&account=account3", "connections")

    keys = [(one["account"], one["platformId"]) for one in found]
    assert first["total"] == len(keys) == len(set(keys)) == MANY
    order = ["error", "unknown", "ok", "unsupported"]
    ranks = [order.index(one["displayStatus"]) if sort == "worst" else 0 for one in found]
    assert list(zip(ranks, keys, strict=True)) == sorted(zip(ranks, keys, strict=True))
    assert {(one["health"], one["account"]) for one in broken} == {("error", "account3")}
    assert len(broken) == sum(1 for view in snapshot.connections if (view.state.health, view.connection.account) == ("error", "account3"))


async def test_connections_that_come_and_go() -> None:
    """By id, connections that come, go or break between two pages change nothing for the others: each comes once."""
    views = list(_views(500))
    dice = random.Random(7)
    steady = {view.connection.platform_id for view in views[::2]}

    async def change() -> None:
        for _ in range(20):
            place = dice.randrange(len(views))
            if views[place].connection.platform_id not in steady:
                del views[place]
            else:
                views[place] = replace(views[place], state=a_state(dice.choice(list(Health))))
        new = a_connection(dice.randrange(10**6, 10**9), account="account3", platform_id=f"linkedin-{dice.random()}")
        views.append(ConnectionView(new, a_state()))
        views.sort(key=lambda view: (view.connection.account_label, view.connection.platform, view.connection.platform_id))

    async with listening(lambda: Snapshot(START, tuple(views))) as port:
        found = [one["platformId"] for one in await port.pages("/api/v1/connections?limit=7", "connections", change)]

    assert len(found) == len(set(found))
    assert steady <= set(found)


def _fill(path: Path, connection_id: int, number: int) -> None:
    """So many checks of one connection, a second apart."""
    with sqlite3.connect(path) as database:
        rows = ((connection_id, FIRST_CHECK + 1000 * one, "ok", 50, 200, "29d 3h") for one in range(number))
        database.executemany(
            "INSERT INTO checks (connection_id, at, reason, duration_ms, http_status, token) VALUES (?, ?, ?, ?, ?, ?)", rows
        )
    database.close()


async def test_a_hundred_thousand_checks(tmp_path: Path, sqlite_url: str) -> None:
    """A page from the depth of a long history costs about what the same page of a short one does, and hides no row."""
    path = write_config(tmp_path, sqlite_url)
    async with watched(path) as world:
        long, short = world.connection("threads-1784"), world.connection("facebook-104857")
        file = Path(sqlite_url.removeprefix("sqlite:///"))
        await asyncio.to_thread(_fill, file, long.id, CHECKS)
        await asyncio.to_thread(_fill, file, short.id, 100)
        async with asked(world) as port:
            history = "/api/v1/connections/threads-1784/history"
            middle = encode("history", [FIRST_CHECK + 1000 * 5000])
            oldest = await port.pages(f"{history}?limit=1000", "checks", begin=middle)
            deep = f"{history}?limit=50&cursor={encode('history', [FIRST_CHECK + 1000 * 100])}"
            shallow = "/api/v1/connections/facebook-104857/history?limit=50"
            costs = {url: min([await _seconds(port, url) for _ in range(7)]) for url in (deep, shallow)}

    assert [one["at"] for one in oldest] == [iso_utc(from_milliseconds(FIRST_CHECK + 1000 * one)) for one in reversed(range(5000))]
    assert costs[deep] < 5 * costs[shallow]


async def _seconds(port: Port, path: str) -> float:
    started = time.process_time()
    await port.get(path)
    return time.process_time() - started


QUESTIONS: list[tuple[str, Callable[[Reader], object], str]] = [
    ("history", lambda reader: list_checks(reader, 1, 50, START), "checks"),
    ("incidents of one", lambda reader: list_incidents(reader, connection_id=1, limit=50, before_id=99), "incidents"),
    ("incidents", lambda reader: list_incidents(reader, limit=50, before_id=99), "incidents"),
    ("open incidents", lambda reader: list_incidents(reader, open_only=True, limit=50), "incidents"),
    ("deliveries", lambda reader: list_deliveries(reader, limit=50, before_id=99), "deliveries"),
    ("deliveries of one", lambda reader: list_deliveries(reader, subject="1", limit=50), "deliveries"),
    ("one delivery", lambda reader: deliveries_by_id(reader, [7]), "deliveries"),
    ("connections", lambda reader: connections_by_id(reader, [1, 2, 3]), "connections"),
]


@pytest.mark.parametrize(("name", "question", "table"), QUESTIONS, ids=[name for name, _, _ in QUESTIONS])
async def test_questions_use_an_index(sqlite_url: str, name: str, question: Callable[[Reader], object], table: str) -> None:
    """No question of a visitor reads a whole table that grows, or sorts more than the rows of one connection."""
    from sqlalchemy import event

    database = Database(sqlite_url, clock=SystemClock(), owner="test")
    await database.start()
    asked_for: list[tuple[str, Any]] = []

    def look(reader: Reader) -> list[str]:
        connection = reader._connection

        @event.listens_for(connection, "before_cursor_execute")
        def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
            asked_for.append((statement, parameters))

        question(reader)
        event.remove(connection, "before_cursor_execute", note)
        found = asked_for[:]
        return [str(row[3]) for statement, values in found for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]

    plans = await database.read(look)
    await database.close()

    assert any(table in plan for plan in plans)
    # By number, newest first, a table is walked from its end: that is a SCAN, which the limit ends.
    walks = {"incidents": "SCAN incidents", "deliveries": "SCAN deliveries"}
    assert [plan for plan in plans if plan.startswith("SCAN") and plan != walks.get(table)] == []
    assert [plan for plan in plans if "TEMP B-TREE" in plan and name not in ("connections", "deliveries of one")] == []


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text(text: str) -> None:
    """Whatever third parties call themselves, documents are valid JSON that says it, and badges are pictures without it as markup."""
    state = a_state(
        Health.ERROR, username=text, display_name=text, detail=text, reason=Reason.VALIDATION_FAILED, last_error=LastError(text, START)
    )
    connection = a_connection(1, name=text, labels={"team": text}, platform_id="linkedin-page1")
    async with listening(lambda: Snapshot(START, (ConnectionView(connection, state),))) as port:
        listed = await port.ask("/api/v1/connections")
        one = await port.ask("/api/v1/connections/linkedin-page1")
        ready = await port.ask("/api/v1/preflight?ids=linkedin-page1")
        badge = await port.ask("/badges/connections/linkedin-page1/health.svg")

    assert [reply.status for reply in (listed, one, ready, badge)] == [200] * 4
    (document,) = listed.json()["connections"]
    assert document["username"] == document["labels"]["team"] == text.encode(errors="replace").decode()
    assert {**one.json()["connection"], "why": ""} == {**document, "why": ""}
    for reply in (listed, one, ready):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Content-Type"].startswith("application/json")
    root = ET.fromstring(badge.body)
    assert sorted(element.tag.rpartition("}")[2] for element in root.iter()) == ["g", "rect", "rect", "svg", "text", "text", "title"]
    assert (one_line(text, 20).rstrip("…") or "LinkedIn") in "".join(root.itertext())


async def test_hostile_labels() -> None:
    """What the address puts on a badge is text there, and nothing else."""
    async with listening(lambda: Snapshot(START)) as port:
        for label in ("%3Cscript%3Ealert(1)%3C%2Fscript%3E", "%22%20onload%3D%22alert(1)", "%5D%5D%3E%26amp%3B", "%EF%BF%BF%F0%9F%98%8D"):
            reply = await port.ask(f"/badges/overall.svg?label={label}")
            assert reply.status == 200
            assert len(list(ET.fromstring(reply.body).iter())) == 7
            assert b"script-src 'self'" in reply.headers["Content-Security-Policy"].encode()


ALPHABET = [
    *(
        "%00",
        "%ff",
        "%ed%a0%80",
        "%f4%90%80%80",
        "%0d%0aX-Evil:1",
        "%",
        "%zz",
        "%u0041",
        "+",
        "&",
        "=",
        "&&",
        "=&=",
        ";",
        "#",
        "?",
        "//",
        "/..",
        "/./",
    ),
    *("\x80", "é", "[]", "{}", "'", '"', "--", "0", "-1", "1e9", "9" * 30, "NaN", "null", "true", "a" * 300, "📎", "%2e%2e%2f", "%25"),
]


def _fuzzed(dice: random.Random) -> bytes:
    """A request line near one of the routes."""
    route = dice.choice(ROUTES)
    path = "/".join(
        dice.choice(["threads-1784", "linkedin-page1", "1", *ALPHABET]) if part.startswith("{") else part for part in route.path.split("/")
    )
    if dice.random() < 0.2:
        place = dice.randrange(len(path))
        path = path[:place] + dice.choice(ALPHABET) + path[place:]
    names = [name for name in route.query.model_fields if name != "platform_id"] or ["x"]
    values = ["ok", "id", "main", "1", "threads-1784", "5m", *ALPHABET]
    query = "&".join(
        f"{dice.choice([*names, dice.choice(ALPHABET)])}={dice.choice(values)}{dice.choice(['', dice.choice(ALPHABET)])}"
        for _ in range(dice.randrange(4))
    )
    target = f"/{path.lstrip('/')}" + (f"?{query}" if query else "")
    return f"{dice.choice(['GET', 'GET', 'HEAD'])} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


@pytest.mark.parametrize("url", sampled(["sqlite_url", "postgres_url"]))
async def test_fuzzed_addresses(request: pytest.FixtureRequest, tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand addresses near the real ones never find a fault: each is answered, or refused for a reason."""
    dice = random.Random(20300101)
    replies: list[tuple[bytes, Reply]] = []
    async with watched(write_config(tmp_path, request.getfixturevalue(url))) as world:
        await tell_a_story(world)
        capsys.readouterr()
        async with asked(world) as port:
            for _ in range(50):
                requests = [_fuzzed(dice) for _ in range(20)]
                replies += zip(requests, await asyncio.gather(*map(port.send, requests)), strict=True)

    for sent, reply in replies:
        assert reply.status in (200, 400, 404, 409, 431), (sent, reply)
        assert "X-Evil" not in reply.headers
        if reply.headers.get("Content-Type") == "application/problem+json" and reply.body:
            assert reply.json()["status"] == reply.status
    statuses = {reply.status for _, reply in replies}
    assert {200, 400, 404} <= statuses
    assert "web.failed" not in capsys.readouterr().out


async def test_preflight_without_writes() -> None:
    """While nothing can be written, checks may have been made that nobody knows of: nothing is called ready."""
    now = SystemClock().now()
    view = ConnectionView(a_connection(1), a_state(last_check_at=now, last_evidence_at=now))
    answers = []
    for up in (True, False):
        async with listening(partial(Snapshot, START, (view,), storage_up=up)) as port:
            answers.append((await port.get(f"/api/v1/preflight?ids={view.connection.platform_id}"))["answer"])

    assert answers == ["ready", "unknown"]


async def test_checks_go_on(tmp_path: Path, sqlite_url: str) -> None:
    """While visitors ask all they can, writing goes on: the database's writer never waits for them."""
    async with watched(write_config(tmp_path, sqlite_url)) as world:
        await tell_a_story(world)
        threads = world.connection("threads-1784")
        async with asked(world) as port:

            async def pester() -> int:
                asked_for = 0
                while not done.is_set():
                    await port.get("/api/v1/connections/threads-1784/history?limit=1000")
                    asked_for += 1
                return asked_for

            done = asyncio.Event()
            crowd = [asyncio.create_task(pester()) for _ in range(10)]
            for number in range(20):
                await world.check(threads, Reason.OK, -number * MINUTE)
            done.set()
            answered = await asyncio.gather(*crowd)
            (found,) = (await port.get("/api/v1/connections/threads-1784/history?limit=1"))["checks"]

    assert min(answered) >= 1
    assert found["reason"] == "ok"
