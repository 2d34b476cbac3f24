"""The JSON API over real sockets, on real databases: each route keeps to what the description of the API says."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.main import build_parser
from monitor.clock import SystemClock
from monitor.config import Secret
from monitor.db import AttemptRow, list_deliveries
from monitor.domain.connections import Connection
from monitor.errors import DeliveryReason, Reason
from monitor.web.api.openapi import description
from monitor.web.api.routes import ROUTES
from monitor.workers.uptime_rollup import UptimeRollup
from tests.asked import Port, asked
from tests.jsonschema import problems
from tests.watched import Watched, tell_a_story, watched, write_config

BOTH = pytest.mark.parametrize("world", ["sqlite_url", "postgres_url"], indirect=True)

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
PAGE = "/api/v1/connections/linkedin-page1"
OF_MAIN = "account=main"


@pytest.fixture(params=["sqlite_url"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Watched]:
    """A story: a page is broken, and a receiver was tried once."""
    async with watched(write_config(tmp_path, request.getfixturevalue(request.param))) as story:
        await tell_a_story(story)
        (row,) = await story.database.read(list_deliveries)
        attempt = AttemptRow(story.now, DeliveryReason.SERVER_ERROR, 40, 503, "busy")
        await story.database.write(lambda store: store.outbox.record_attempt(row, attempt, "pending", story.now + MINUTE))
        books = UptimeRollup(registry=story.fleet, database=story.database, clock=SystemClock(), longest=timedelta(days=90))
        while await books.step():
            pass
        yield story


@pytest.fixture
async def port(world: Watched) -> AsyncIterator[Port]:
    """The port of the monitor with that story."""
    async with asked(world) as running:
        yield running


def _strict() -> dict[str, Any]:
    """The description with every shape closed: what it does not name must not be there."""
    closed = deepcopy(description())
    for schema in closed["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return closed


STRICT = _strict()


def _complaints(operation: str, document: Any, status: int = 200) -> list[str]:
    """Where *document* is not what the operation says that it answers."""
    path = next(route.path for route in ROUTES if route.operation == operation)
    answer = STRICT["paths"][path]["get"]["responses"][str(status)]
    if "$ref" in answer:
        answer = STRICT["components"]["responses"][str(status)]
    (content,) = answer["content"].values()
    return list(problems(document, content["schema"], STRICT))


ASKED = {
    "getSummary": ["/api/v1/summary"],
    "listConnections": ["/api/v1/connections", "/api/v1/connections?sort=worst&health=error&limit=1"],
    "getConnection": [f"{PAGE}?{OF_MAIN}", "/api/v1/connections/facebook-104857"],
    "getHistory": [f"{PAGE}/history?{OF_MAIN}"],
    "getUptime": [f"{PAGE}/uptime?{OF_MAIN}&days=7"],
    "listIncidents": ["/api/v1/incidents", "/api/v1/incidents?open=true&topic=connection&since=1h"],
    "listExpiries": ["/api/v1/expiries", "/api/v1/expiries?days=3650&platform=linkedin"],
    "listDeliveries": ["/api/v1/deliveries"],
    "getDelivery": ["/api/v1/deliveries/1"],
    "preflight": ["/api/v1/preflight?ids=threads-1784,telegram-42&ids=nobody"],
    "getExplanation": ["/api/v1/connections/threads-1784/explanation"],
    "getForecast": ["/api/v1/forecast", "/api/v1/forecast?limit=1"],
}
"""Operation -> what asks for it."""


@BOTH
async def test_contract(port: Port) -> None:
    """Each answer has all that its description names, of the types that it names, and nothing else; HEAD tells its size."""
    for operation, path in ((name, path) for name, paths in ASKED.items() for path in paths):
        reply, head = await port.ask(path), await port.ask(path, "HEAD")

        assert (reply.status, reply.headers["Content-Type"]) == (200, "application/json; charset=utf-8"), path
        assert _complaints(operation, reply.json()) == [], path
        assert (head.status, head.headers["Content-Type"], head.body) == (200, reply.headers["Content-Type"], b"")
        assert reply.json()["version"] == "1"
    assert ASKED.keys() == {route.operation for route in ROUTES if route.shape is not None}


async def test_summary(port: Port) -> None:
    """The summary counts by health and by standing, names who is owed what, and says it in a sentence."""
    found = await port.get("/api/v1/summary")

    assert found["summary"].startswith("1 of 5 connections is broken.")
    assert (found["total"], found["counts"]["error"], found["displayStatuses"]["error"]) == (5, 1, 1)
    assert found["receivers"]["on-call"]["pending"] == 1
    assert found["openIncidents"] == {"info": 0, "warning": 0, "critical": 1}


async def test_one_connection(port: Port) -> None:
    """One connection comes with why it is believed to be as it is, and what to do."""
    found = await port.get(f"{PAGE}?{OF_MAIN}")

    assert found["connection"]["health"] == "error"
    assert found["connection"]["notes"] == ["The platform rejects the stored credential. Reconnect the account on the PostPost dashboard."]
    assert found["topics"]["connection"]["level"] == "error"
    assert found["retired"] is False


@BOTH
async def test_retired(world: Watched, port: Port) -> None:
    """A connection that is watched no longer, and its history, can still be read, but it is not listed."""
    gone = world.connection("threads-1784")
    await world.database.write(lambda store: store.retire([gone.id], world.now))
    world.fleet.drop([gone.id])

    found = await port.get("/api/v1/connections/threads-1784")
    history = await port.get("/api/v1/connections/threads-1784/history")

    assert (found["retired"], found["connection"]["health"], len(history["checks"])) == (True, "ok", 4)
    assert _complaints("getConnection", found) == []
    assert "threads-1784" not in {one["platformId"] for one in (await port.get("/api/v1/connections"))["connections"]}
    assert (await port.get("/api/v1/preflight?ids=threads-1784"))["answer"] == "unknown"


@BOTH
async def test_history(port: Port) -> None:
    """Checks come newest first, page by page, no further back than asked for."""
    path = f"{PAGE}/history?{OF_MAIN}"
    every = await port.pages(f"{path}&limit=2", "checks")

    assert [one["reason"] for one in every] == ["credential_rejected"] * 2 + ["ok"] * 3
    assert [one["at"] for one in every] == sorted((one["at"] for one in every), reverse=True)
    assert len((await port.get(f"{path}&since=20m"))["checks"]) == 2
    assert await port.pages(f"{path}&since=20m&limit=1", "checks") == every[:2]


@BOTH
async def test_uptime(port: Port) -> None:
    """Every day says how much of it the connection worked; what nobody looked at is unknown, and all of it is the days' sum."""
    broken = await port.get(f"{PAGE}/uptime?{OF_MAIN}&days=2")
    works = await port.get("/api/v1/connections/threads-1784/uptime?days=2")

    assert broken["total"]["downSeconds"] > 0
    assert 0 < broken["total"]["ratio"] < 1
    assert (works["total"]["ratio"], works["total"]["downSeconds"]) == (1.0, 0.0)
    for found in (broken, works):
        assert 1 <= len(found["days"]) <= 2
        for name in ("okSeconds", "downSeconds", "excludedSeconds", "unknownSeconds"):
            assert sum(one[name] for one in found["days"]) == pytest.approx(found["total"][name])
    assert works["days"][0]["unknownSeconds"] > 3600
    assert (await port.get("/api/v1/connections/threads-1784"))["uptime"]["ratio"] == 1.0


@BOTH
async def test_incidents(world: Watched, port: Port) -> None:
    """Incidents name their connection; those that were over before are not told."""
    page = world.connection("linkedin-page1")
    await world.checks(page, [Reason.OK, Reason.OK], 6 * MINUTE, 3 * MINUTE)

    (closed,) = (await port.get("/api/v1/incidents"))["incidents"]

    assert (closed["subject"], closed["account"], closed["closedWhy"]) == ("linkedin-page1", "main", "recovered")
    assert (await port.get("/api/v1/incidents?open=true"))["incidents"] == []
    assert (await port.get("/api/v1/incidents?since=1m"))["incidents"] == []
    assert (await port.get("/api/v1/incidents?platformId=threads-1784"))["incidents"] == []
    assert len((await port.get(f"/api/v1/incidents?platformId=linkedin-page1&{OF_MAIN}"))["incidents"]) == 1


@BOTH
async def test_deliveries(port: Port) -> None:
    """Deliveries say whom they are about, and one of them what the receiver answered to each attempt."""
    (owed,) = (await port.get("/api/v1/deliveries?state=pending&receiver=on-call"))["deliveries"]
    found = await port.get(f"/api/v1/deliveries/{owed['number']}")

    assert (owed["type"], owed["subject"], owed["account"], owed["attempts"]) == ("connection.failed", "linkedin-page1", "main", 1)
    assert [(one["reason"], one["httpStatus"], one["durationSeconds"], one["detail"]) for one in found["attempts"]] == [
        ("server_error", 503, 0.04, "busy")
    ]
    assert (await port.get("/api/v1/deliveries?state=dead"))["deliveries"] == []
    assert (await port.get("/api/v1/deliveries?receiver=desk"))["deliveries"] == []
    assert (await port.get("/api/v1/deliveries?platformId=threads-1784"))["deliveries"] == []
    assert len((await port.get(f"/api/v1/deliveries?platformId=linkedin-page1&{OF_MAIN}"))["deliveries"]) == 1


PREFLIGHTS = [
    ("ids=threads-1784", ["ready"], "the connection works"),
    (f"ids=linkedin-page1&{OF_MAIN}", ["not_ready"], "the platform rejects the stored credential: Session has expired"),
    ("ids=threads-1784&maxAge=1m", ["unknown"], "the last conclusive check was 10m"),
    ("ids=facebook-104857", ["unknown"], "the last check was inconclusive: the API did not answer in time"),
    ("ids=telegram-42", ["unknown"], "the API cannot test Telegram MTProto connections"),
    ("ids=linkedin-page1&account=second", ["unknown"], "no conclusive check yet"),
    ("ids=linkedin-pgae1", ["unknown"], "the monitor does not watch it"),
    ("ids=threads-1784,facebook-104857", ["ready", "unknown"], "the connection works"),
    (f"ids=threads-1784&ids=linkedin-page1&{OF_MAIN}", ["ready", "not_ready"], "the connection works"),
    ("label=team=growth", ["ready"], "the connection works"),
    ("label=team&account=main", ["not_ready", "ready"], "the platform rejects"),
    ("ids=threads-1784&label=team=growth&at=2999-01-31T08:00Z", ["ready"], "the connection works"),
]
"""What is asked, what each connection is answered, and why the first of them is."""


async def test_preflight(port: Port) -> None:
    """What is known and fresh answers; what is old, contradicted or never seen is never ready, and says why."""
    for query, answers, why in PREFLIGHTS:
        found = await port.get(f"/api/v1/preflight?{query}")
        worst = "not_ready" if "not_ready" in answers else "unknown" if "unknown" in answers else "ready"

        assert [one["answer"] for one in found["connections"]] == answers, query
        assert found["connections"][0]["why"].startswith(why)
        assert found["answer"] == worst
        assert not any(one["live"] for one in found["connections"])


async def test_preflight_tells_the_age(world: Watched, port: Port) -> None:
    """Each answer says how old the knowledge behind it is."""
    (known, never) = (await port.get("/api/v1/preflight?ids=threads-1784,nobody"))["connections"]

    assert known["ageSeconds"] == 600
    assert (never["knownAt"], never["ageSeconds"]) == (None, None)


REFUSALS = [
    ("/api/v1/connections/linkedin-nobody", 404, "there is no connection linkedin-nobody; /api/v1/connections lists"),
    ("/api/v1/connections/threads-1784?account=second", 404, "there is no connection threads-1784 in account second"),
    ("/api/v1/connections/linkedin-nobody/history", 404, "there is no connection linkedin-nobody"),
    ("/api/v1/incidents?platformId=linkedin-nobody", 404, "there is no connection linkedin-nobody"),
    ("/api/v1/deliveries/999999", 404, "there is no delivery 999999"),
    ("/api/v1/deliveries/x", 404, "number must be a whole number"),
    ("/api/v1/deliveries/0", 404, "number must be"),
    ("/badges/connections/linkedin-nobody/health.svg", 404, "there is no connection linkedin-nobody"),
    ("/api/v1/nothing", 404, "/api/v1 lists what there is"),
    ("/api/v1/connections/", 404, "there is nothing here"),
    ("/api/v1/connections/a/b/c", 404, "there is nothing here"),
    ("/api/v1//summary", 404, "there is nothing here"),
    ("/api/v1/summary/", 404, "there is nothing here"),
    ("/badges/", 404, "there is nothing here"),
    ("/api/v1/connections/%00", 404, "platformId holds characters that cannot be printed"),
    ("/api/v1/connections/linkedin-page1", 409, "linkedin-page1 belongs to several accounts; add account=main or account=second"),
    ("/api/v1/preflight?ids=linkedin-page1", 409, "belongs to several accounts"),
    ("/badges/connections/linkedin-page1/token.svg", 409, "belongs to several accounts"),
    ("/api/v1/incidents?limt=5", 400, "there is no parameter limt here; there are platformId, account, open, since,"),
    ("/api/v1/summary?x", 400, "there is no parameter x here; there are none"),
    ("/api/v1/openapi.json?x=1", 400, "there is no parameter x here; there are none"),
    ("/api/v1/connections/x?platformId=y", 400, "there is no parameter platformId here"),
    ("/api/v1/incidents?limit=0", 400, "limit must be at least 1"),
    ("/api/v1/incidents?limit=1001", 400, "limit must be at most 1000"),
    ("/api/v1/incidents?limit=%D9%A3", 400, "limit must be a whole number"),
    ("/api/v1/incidents?limit=1&limit=2", 400, "limit may be given once"),
    ("/api/v1/incidents?open=yes", 400, "open must be true or false"),
    ("/api/v1/incidents?since=soon", 400, "since must be a duration in one unit, such as 90s"),
    ("/api/v1/incidents?account=main", 400, "account needs platformId"),
    ("/api/v1/incidents?cursor=abc", 400, "cursor is not a cursor of this list"),
    ("/api/v1/connections?health=broken", 400, "health must be one of unknown, ok, error"),
    ("/api/v1/connections?q=", 400, "q is empty"),
    (f"/api/v1/connections?q={'a' * 257}", 400, "q is longer than 256 characters"),
    ("/api/v1/preflight", 400, "ids is required"),
    ("/api/v1/preflight?label=team=nobody", 404, "no connection has team=nobody"),
    ("/api/v1/preflight?ids=x&at=2026-02-31T08:00Z", 400, "at must be a time in UTC"),
    ("/api/v1/preflight?ids=x&at=2020-01-31T08:00Z", 400, "at is past"),
    (f"/api/v1/preflight?ids={','.join(map(str, range(101)))}", 400, "ids may be 100 at most"),
    (f"/api/v1/preflight?{'ids=a&' * 101}", 400, "ids may be given at most 100 times"),
]
"""What is asked, the status of the refusal, and what it says."""


async def test_refusals(port: Port) -> None:
    """What can't be answered is refused by a problem document that says what is wrong and what is allowed."""
    for path, status, said in REFUSALS:
        reply = await port.ask(path)
        problem = reply.json()

        assert (reply.status, reply.headers["Content-Type"]) == (status, "application/problem+json"), path
        assert said in problem["detail"]
        assert list(problems(problem, STRICT["components"]["schemas"]["ProblemDetails"], STRICT)) == []
        assert problem["status"] == status


async def test_allowed_words(port: Port) -> None:
    """Programs find what is allowed in a list of its own."""
    assert (await port.ask("/api/v1/preflight?id=x")).json()["allowed"] == ["ids", "label", "account", "at", "maxAge", "minTtl"]
    assert (await port.ask("/api/v1/connections?sort=best")).json()["allowed"] == ["id", "worst"]
    assert (await port.ask(PAGE)).json()["allowed"] == ["main", "second"]


async def test_cursors_are_of_one_list(port: Port) -> None:
    """A cursor of another list, or of one that was sorted otherwise, is refused instead of skipping rows."""
    by_id = (await port.get("/api/v1/connections?limit=1"))["nextCursor"]
    worst = (await port.get("/api/v1/connections?limit=1&sort=worst"))["nextCursor"]

    for path in (f"connections?sort=worst&cursor={by_id}", f"connections?cursor={worst}", f"incidents?cursor={by_id}"):
        assert (await port.ask(f"/api/v1/{path}")).status == 400


async def test_errors_of_the_port(world: Watched) -> None:
    """Below the API the port's own refusals are problem documents too; nothing is told without the token."""
    async with asked(world, token=Secret("correct-horse-battery")) as port:
        refused = await port.ask("/api/v1/summary")
        strange = await port.ask("/api/v1/summary", Host="evil.example")
        method = await port.ask("/api/v1/summary", "POST")
        badge = await port.ask("/badges/overall.svg")
        allowed = await port.ask("/api/v1/summary", Authorization="Bearer correct-horse-battery")

    assert [reply.status for reply in (refused, strange, method, badge, allowed)] == [401, 421, 405, 401, 200]
    for reply in (refused, strange, method, badge):
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status
    assert refused.headers["WWW-Authenticate"].startswith("Basic")
    assert method.headers["Allow"] == "GET, HEAD"


async def test_without_status_page(world: Watched) -> None:
    """Where the pages are switched off, so is the API."""
    async with asked(world, status_page=False) as port:
        assert [(await port.ask(path)).status for path in ("/api/v1/summary", "/badges/overall.svg")] == [404, 404]


async def test_database_gone(world: Watched, port: Port) -> None:
    """While the database can't be read, what needs rows says when to try again; the rest is served from memory."""
    await world.database.close()

    for path in (
        "/api/v1/incidents",
        "/api/v1/deliveries",
        "/api/v1/connections/threads-1784/history",
        "/api/v1/connections/linkedin-gone",
    ):
        reply = await port.ask(path)
        assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
        assert "try again in a few seconds" in reply.json()["detail"]
    for path in (
        "/api/v1/summary",
        "/api/v1/connections",
        f"{PAGE}?{OF_MAIN}",
        "/api/v1/preflight?ids=threads-1784",
        "/badges/overall.svg",
    ):
        assert (await port.ask(path)).status == 200
    assert (await port.get(f"{PAGE}?{OF_MAIN}"))["uptime"] is None


async def test_index_and_reference(port: Port) -> None:
    """`/api/v1` lists every route, those of actions too, and the reference shows each with every shape that it names."""
    index = await port.get("/api/v1")
    listed = {(each["method"].lower(), each["path"]) for each in index["routes"]}
    assert listed == {(method, path) for path, operations in description()["paths"].items() for method in operations}
    assert (
        list(problems(index, STRICT["paths"]["/api/v1"]["get"]["responses"]["200"]["content"]["application/json"]["schema"], STRICT)) == []
    )
    page = (await port.ask(index["reference"])).body.decode()
    named = set(re.findall(r' id="([^"]+)"', page))
    assert {operation["operationId"] for operations in description()["paths"].values() for operation in operations.values()} <= named
    assert set(re.findall(r'href="#([^"]+)"', page)) <= named
    assert set(re.findall(r'(?:href|src)="([^"#]+)"', page)).isdisjoint(re.findall(r'"(https?://[^"]+)"', page))


async def test_openapi(port: Port) -> None:
    """The description is served as the repository has it."""
    committed = Path(__file__).parent.parent.parent / "docs" / "reference" / "openapi.json"

    assert await port.get("/api/v1/openapi.json") == json.loads(committed.read_text(encoding="utf-8"))


async def test_one_vocabulary(world: Watched, port: Port, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a verb prints with `--json` and what the API answers are the same documents."""

    async def look(*words: str) -> Any:
        capsys.readouterr()
        args = build_parser().parse_args([*words, "--json", "--config", str(tmp_path / "config.yaml")])
        assert await asyncio.to_thread(args.run, args) == 0
        return json.loads(capsys.readouterr().out)

    listed = {(one["account"], one["platformId"]): one for one in (await port.get("/api/v1/connections"))["connections"]}
    for printed in (await look("status"))["connections"]:
        answered = listed[printed["account"], printed["platformId"]]
        assert {name: answered[name] for name in printed} == printed
    incidents = (await port.get("/api/v1/incidents"))["incidents"]
    assert [{name: one[name] for name in incidents[0]} for one in (await look("incidents"))["incidents"]] == incidents
    assert (await look("deliveries", "list"))["deliveries"] == (await port.get("/api/v1/deliveries"))["deliveries"]
    assert (await look("history", "threads-1784"))["checks"] == (await port.get("/api/v1/connections/threads-1784/history"))["checks"]
    (printed,) = (await look("preflight", "threads-1784"))["connections"]
    (answered,) = (await port.get("/api/v1/preflight?ids=threads-1784"))["connections"]
    assert {**printed, "ageSeconds": 0} == {**answered, "ageSeconds": 0}
    explained, one = await look("explain", "linkedin-page1", "--account", "main"), await port.get(f"{PAGE}?{OF_MAIN}")
    for name in ("pending", "suppression", "retired", "suspectedFalseNegative", "topics"):
        assert explained[name] == one[name]


@BOTH
async def test_paging_while_rows_arrive(world: Watched, port: Port) -> None:
    """Rows that are written between two pages neither repeat nor hide those that were there."""
    for platform_id, account in (("facebook-104857", "main"), ("linkedin-page1", "second")):
        await world.checks(world.connection(platform_id, account), [Reason.OK, *[Reason.CREDENTIAL_REJECTED] * 2], 50 * SECOND, 40 * SECOND)
    arrived = 0

    async def change(connection: Connection) -> None:
        """The connection breaks, or heals."""
        nonlocal arrived
        for reason in [Reason.CREDENTIAL_REJECTED, Reason.OK] * 2:
            arrived += 1
            await world.checks(connection, [reason] * 2, -arrived * 2 * MINUTE, MINUTE)

    for path, key, name, platform_id in (
        ("/api/v1/incidents?", "incidents", "id", "threads-1784"),
        ("/api/v1/deliveries?", "deliveries", "number", "facebook-104857"),
        ("/api/v1/connections/threads-1784/history?", "checks", "at", "threads-1784"),
    ):
        before = [one[name] for one in await port.pages(f"{path}limit=100", key)]
        paged = [one[name] for one in await port.pages(f"{path}limit=1", key, partial(change, world.connection(platform_id)))]
        after = [one[name] for one in await port.pages(f"{path}limit=100", key)]

        assert len(before) > 2
        assert paged == before
        assert len(after) > len(before)
        assert after[-len(before) :] == before
