"""The simulated API over real sockets: headers, order of checks, statuses, texts."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from monitor.clock import SystemClock
from monitor.simulator.presets import AGENCY_KEY, DEMO_KEY, DEMO_USERS, demo_world
from monitor.simulator.server import SimulatorServer
from tests.waiting import eventually, scaled

LINKEDIN = "linkedin-Tz9W5i6ZYG"
KEY = {"x-api-key": DEMO_KEY}
AGENCY = {"x-api-key": AGENCY_KEY}


class Caller:
    """A client of a simulator that is on."""

    def __init__(self, simulator: SimulatorServer, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.world = simulator.world
        self._session = session

    async def send(self, method: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any, aiohttp.ClientResponse]:
        """Send a request below the base URL; returns status, document and the answer itself."""
        async with self._session.request(method, self.simulator.base_url + path, headers=headers, allow_redirects=False) as response:
            raw = await response.read()
            return response.status, await response.json() if b"{" in raw[:1] else raw.decode(), response

    async def test(self, platform_id: str = LINKEDIN, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Test a connection, with the key of `main` unless told otherwise."""
        status, document, _ = await self.send("POST", f"/test-connection/{platform_id}", KEY if headers is None else headers)
        return status, document

    async def steer(self, path: str, body: Any = None) -> int:
        """Use the control API; returns the status."""
        async with self._session.post(self.simulator.control_url + path, json=body or {}) as response:
            return response.status


@pytest.fixture(name="it")
async def _it() -> AsyncIterator[Caller]:
    simulator = SimulatorServer(demo_world(SystemClock()))
    await simulator.start()
    async with aiohttp.ClientSession() as session:
        yield Caller(simulator, session)
    await simulator.close()


async def test_verdict(it: Caller) -> None:
    """A test needs a POST and the key, and answers JSON with 200 whether it passed or not."""
    status, document, response = await it.send("POST", f"/test-connection/{LINKEDIN}", KEY)
    assert (status, document["status"], response.content_type) == (200, "ok", "application/json")
    it.world.connection(LINKEDIN).fail("no")
    status, document = await it.test()
    assert (status, document["status"], document["message"]) == (200, "error", "no")


async def test_escaped_ids(it: Caller) -> None:
    """Ids may come percent-encoded or with plain colons, as routers read them."""
    for platform_id in (
        "bluesky-did%3Aplc%3Aewvi7nxzyoun6zhxrhs64oiz",
        "bluesky-did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        "linkedin%2DTz9W5i6ZYG",
    ):
        assert (await it.test(platform_id))[0] == 200


@pytest.mark.parametrize(
    ("platform_id", "status", "error"),
    [
        ("linkedin", 400, "Invalid platformId format"),
        ("-Tz9W5i6ZYG", 400, "Invalid platformId format"),
        ("linkedin-", 400, "Invalid platformId format"),
        ("linkedin-tz9w5i6zyg", 404, "Connection not found"),
        ("LinkedIn-Tz9W5i6ZYG", 404, "Connection not found"),
        ("snapchat-1", 404, "Connection not found"),
    ],
)
async def test_handler_errors(it: Caller, platform_id: str, status: int, error: str) -> None:
    """Malformed and unknown ids are refused with the documented texts; letter case counts."""
    assert await it.test(platform_id) == (status, {"error": error})


async def test_id_rules_by_generation(it: Caller) -> None:
    """Upper-case platforms are malformed on the new build; a naive split refuses ids with a second dash."""
    await it.steer("/api/generation", {"to": "september"})
    assert (await it.test("LinkedIn-Tz9W5i6ZYG"))[0] == 400
    await it.steer("/api/two-part-ids", {"on": True})
    assert await it.test("telegram--1001234567890") == (400, {"error": "Invalid platformId format"})
    assert (await it.test())[0] == 200


async def test_middleware_errors_in_order(it: Caller) -> None:
    """Every check of the middleware has its status and text, and the first in the documented order wins."""
    account = it.world.accounts["agency"]
    user = {"x-postpost-user-id": DEMO_USERS[0]}
    bad_user = {"x-postpost-user-id": "nonsense"}
    account.crashed, account.owner_found, account.api_access, account.mcp_access, account.workspaces = True, False, False, False, False
    mcp = {"x-postpost-client": "mcp"}

    async def told(headers: dict[str, str]) -> tuple[int, str]:
        status, document = await it.test("linkedin-nobody", headers)
        return status, document["error"]

    assert await told(mcp | bad_user) == (401, "API key is required")
    assert await told({"x-api-key": "sk_wrong"} | bad_user) == (401, "Invalid API key")
    assert await told(AGENCY | mcp | bad_user) == (500, "Internal server error")
    account.crashed = False
    assert await told(AGENCY | mcp | bad_user) == (401, "Invalid API key owner")
    account.owner_found = True
    assert await told(AGENCY | mcp | bad_user) == (403, "API access is not enabled for this account")
    account.api_access = True
    assert await told(AGENCY | mcp | bad_user) == (403, "MCP access is not enabled for this account")
    assert await told(AGENCY | bad_user) == (400, "Invalid x-postpost-user-id")
    assert await told(AGENCY | user) == (403, "Workspace access is not enabled for this key")
    account.workspaces = True
    assert await told(AGENCY | {"x-postpost-user-id": "f" * 24}) == (403, "User is not managed by key")
    assert await told(AGENCY | user) == (404, "Connection not found")


async def test_managed_users(it: Caller) -> None:
    """The header chooses whose connections are seen; the owner's own id changes nothing."""
    user = AGENCY | {"x-postpost-user-id": DEMO_USERS[1]}
    assert (await it.test("linkedin-Shared1234", AGENCY))[0] == 404
    assert (await it.test("linkedin-Shared1234", user))[1]["username"] == "Client 2"
    own = AGENCY | {"x-postpost-user-id": it.world.accounts["agency"].owner.id}
    _, document, _ = await it.send("GET", "/platform-connections", own)
    assert document == {"success": True, "connections": []}


async def test_lists(it: Caller) -> None:
    """The list of connections and that of users have the documented envelopes; the latter needs workspace rights."""
    status, document, _ = await it.send("GET", "/platform-connections", KEY)
    assert (status, document["success"], len(document["connections"])) == (200, True, 12)
    status, document, _ = await it.send("GET", "/workspace/users", AGENCY)
    assert (status, list(document), len(document["users"])) == (200, ["users"], 2)
    status, document, _ = await it.send("GET", "/workspace/users", KEY)
    assert (status, document["error"]) == (403, "Workspace access is not enabled for this key")


async def test_brand(it: Caller) -> None:
    """The other brand's header names work instead once it is chosen."""
    await it.steer("/api/brand", {"to": "publora"})
    assert await it.test() == (401, {"error": "API key is required"})
    assert (await it.test(headers={"x-publora-key": DEMO_KEY}))[0] == 200
    refused = await it.test(headers={"x-publora-key": DEMO_KEY, "x-publora-user-id": "x"})
    assert refused == (400, {"error": "Invalid x-publora-user-id"})


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", f"/test-connection/{LINKEDIN}"), ("POST", "/platform-connections"), ("GET", "/posts"), ("POST", "/test-connection/a/b")],
)
async def test_unknown_routes(it: Caller, method: str, path: str) -> None:
    """What is no endpoint is answered with a page of HTML, as Express does."""
    status, page, response = await it.send(method, path, KEY)
    assert (status, response.content_type) == (404, "text/html")
    assert f"Cannot {method}" in page


async def test_date_is_that_of_the_simulated_clock(it: Caller) -> None:
    """The `Date` header moves with the simulated clock."""
    await it.steer("/clock", {"set": "2040-05-06T07:08:09Z"})
    response = (await it.send("POST", f"/test-connection/{LINKEDIN}", KEY))[2]
    date = parsedate_to_datetime(response.headers["Date"])
    assert abs(date - datetime(2040, 5, 6, 7, 8, 9, tzinfo=UTC)) < timedelta(seconds=5)


async def test_journal(it: Caller) -> None:
    """Requests are counted by path and status, whose they were is told, and no key is kept."""
    await it.test()
    await it.test("nonsense")
    await it.test(headers={})
    journal = it.simulator.journal
    assert journal.total == 3
    assert dict(journal.statuses) == {200: 1, 400: 1, 401: 1}
    assert [entry.account for entry in journal.asked("test-connection")] == ["main", "main", ""]
    assert DEMO_KEY not in str(journal.document(100)) + repr(journal.entries)
    assert journal.in_flight == 0


async def test_journal_sees_overlaps(it: Caller) -> None:
    """Two tests of one connection at a time are noticed, two of different ones only count as in flight."""
    it.world.latency = (timedelta(milliseconds=60), timedelta(milliseconds=60))
    await asyncio.gather(it.test(), it.test("twitter-783214"))
    assert (it.simulator.journal.overlaps, it.simulator.journal.max_in_flight) == (0, 2)
    await asyncio.gather(it.test(), it.test())
    assert it.simulator.journal.overlaps == 1


async def test_restart_on_the_same_port(it: Caller) -> None:
    """Closed, the API refuses connections; started again on its port it goes on with the same world."""
    port = int(it.simulator.base_url.split(":")[2].split("/")[0])
    await it.simulator.close()
    with pytest.raises(aiohttp.ClientConnectorError):
        await it.test()
    await it.simulator.start(port=port)
    assert (await it.test())[0] == 200


async def test_close_is_quick(it: Caller) -> None:
    """Closing takes no time although requests hang, and closing twice is fine."""
    await it.steer("/api/hang")
    hanging = [asyncio.create_task(it.test()) for _ in range(20)]
    await eventually(lambda: it.simulator.journal.in_flight == 20)
    async with asyncio.timeout(scaled(5)):
        await it.simulator.close()
        await it.simulator.close()
    results = await asyncio.gather(*hanging, return_exceptions=True)
    assert {type(result) for result in results} == {aiohttp.ServerDisconnectedError}


async def test_clients_that_give_up(it: Caller) -> None:
    """A client that gives up on a hanging request leaves nothing behind."""
    await it.steer("/api/hang")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await it.test()
    await eventually(lambda: it.simulator.journal.in_flight == 0)
