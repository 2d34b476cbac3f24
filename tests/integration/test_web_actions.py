"""Acting through the web port: what works with `web.actions`, and what is refused."""

import base64
import gzip
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import pytest

from monitor.cli.main import main
from monitor.clock import Clock, SystemClock
from monitor.config import WebConfig
from monitor.db import Database, accepted_losses, acks_of_open, silences_since
from monitor.domain.check_queue import CHECKED_OFTEN_SECONDS, OFTEN_PAUSE_SECONDS
from monitor.domain.connections import Connection
from monitor.domain.events import incident_key
from monitor.errors import Reason
from monitor.web.actions import Actions
from monitor.web.auth import hash_password
from tests.asked import Port, Reply, listening
from tests.builders import a_reply
from tests.clock import FakeClock, StoppedClock
from tests.virtual import monitoring, simple_world
from tests.watched import Watched, tell_a_story, watched, write_config

TOKEN = "a-long-token-of-this-test"
USERS = {"anna": "correct horse", "bob": "battery staple"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PAGE = "/actions/silence/main/-/linkedin-page1"
SELF = "http://127.0.0.1"

FILE = WebConfig.model_validate({"basic_auth_users": {name: hash_password(password, cost=4) for name, password in USERS.items()}})


@pytest.fixture
async def world(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Watched]:
    """A story: a page is broken."""
    async with watched(write_config(tmp_path, sqlite_url)) as story:
        await tell_a_story(story)
        yield story


def basic(name: str, password: str | None = None) -> dict[str, str]:
    """The header of one user."""
    text = f"{name}:{password if password is not None else USERS[name]}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@dataclass
class Site:
    """A port with actions, and the connections that were to be tested."""

    port: Port
    database: Database
    checked: list[Connection] = field(default_factory=list)

    async def token(self, path: str = PAGE, user: str = "anna") -> str:
        """The token of the form at *path* that *user* is shown."""
        page = (await self.port.ask(path, **basic(user))).body.decode()
        found = re.search(r'name="token" value="([^"]+)"', page)
        assert found is not None, page
        return found[1]

    async def post(
        self, path: str, fields: dict[str, str] | bytes, *, user: dict[str, str] | None = None, extra: Mapping[str, str] | None = None
    ) -> Reply:
        """A form as a browser sends it."""
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        head = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body)), "Origin": SELF}
        head |= {**(user if user is not None else basic("anna")), **(extra or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", "Connection": "close", **head}.items() if value)
        return await self.port.send(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)

    async def silences(self) -> int:
        """How many silences there are."""
        now = SystemClock().now()
        return len(await self.database.read(lambda reader: silences_since(reader, now)))


@asynccontextmanager
async def acting(world: Watched, *, on: bool = True, clock: Clock | None = None) -> AsyncIterator[Site]:
    """The port of a monitor with users and a token."""
    checked: list[Connection] = []

    def check(connection: Connection) -> bool:
        checked.append(connection)
        return True

    actions = Actions(world.database.write, check, SystemClock(), lambda: "https://dashboard.example/connections")
    snapshot = partial(world.fleet.snapshot, world.now)
    async with listening(snapshot, read=world.database.read, acting=actions, file=FILE, token=TOKEN, actions=on, clock=clock) as port:
        yield Site(port, world.database, checked)


async def test_off_by_default(world: Watched) -> None:
    """Without `web.actions` nothing but GET and HEAD is answered, there is no form, and no page offers one."""
    async with acting(world, on=False) as site:
        assert (await site.port.ask(PAGE, **basic("anna"))).status == 404
        assert (await site.post(PAGE, {"token": "x"})).status == 405
        assert (await site.post("/api/v1/connections/threads-1784/check", b"", user=BEARER)).status == 405
        assert b"/actions/" not in (await site.port.ask("/connections/main/-/linkedin-page1", **basic("anna"))).body


async def test_silence_and_undo(world: Watched) -> None:
    """A form silences a connection for two hours in the name of its user, and the page offers to undo that."""
    async with acting(world) as site:
        assert (
            b'href="../../../actions/silence/main/-/linkedin-page1"'
            in (await site.port.ask("/connections/main/-/linkedin-page1", **basic("anna"))).body
        )
        done = await site.post(PAGE, {"token": await site.token(), "reason": "calling the customer"})
        (silence,) = await world.database.read(lambda reader: silences_since(reader, SystemClock().now()))
        undo = f"/actions/end-silence/{silence.id}"
        assert (done.status, silence.author, silence.reason) == (200, "anna", "calling the customer")
        assert silence.match == {"connection": "linkedin-page1", "account": "main"}
        assert undo.removeprefix("/") in done.body.decode()
        assert (await site.post(undo, {"token": await site.token(undo)})).status == 200
        assert (await world.database.read(lambda reader: silences_since(reader, SystemClock().now())))[0].expired_at is not None


async def test_forms_are_neither_kept_nor_compressed(world: Watched) -> None:
    """Only forms are neither kept nor compressed, each user has a token of their own; other pages are the same for all, without a token."""
    page = "/connections/main/-/linkedin-page1"
    forms = (PAGE, "/actions/check/main/-/linkedin-page1", "/actions/reconnect/main/-/linkedin-page1")
    async with acting(world, clock=StoppedClock(world.now)) as site:
        for path in ("/", "/incidents", "/calendar", "/wall", "/forecast", "/preflight", page):
            anna, bob = [await site.port.ask(path, **{"Accept-Encoding": "gzip"}, **basic(user)) for user in USERS]
            assert (anna.headers["ETag"], anna.body) == (bob.headers["ETag"], bob.body), path
            assert anna.headers["Content-Encoding"] == "gzip", path
            assert b'name="token"' not in gzip.decompress(anna.body), path
        for path in forms:
            anna, bob = [await site.port.ask(path, **{"Accept-Encoding": "gzip"}, **basic(user)) for user in USERS]
            assert (anna.status, anna.headers["Cache-Control"], anna.body == bob.body) == (200, "no-store", False), path
            assert not {"ETag", "Content-Encoding"} & anna.headers.keys(), path
        done = await site.post(forms[1], {"token": await site.token(forms[1])})
        assert not {"ETag", "Content-Encoding"} & done.headers.keys()
        assert b"What operators did" in (await site.port.ask(page, **basic("bob"))).body


async def test_test_now(world: Watched) -> None:
    """Test now hands the connection to its checker."""
    path = "/actions/check/main/-/linkedin-page1"
    async with acting(world) as site:
        assert (await site.post(path, {"token": await site.token(path)})).status == 200
        assert [connection.platform_id for connection in site.checked] == ["linkedin-page1"]


async def test_reconnect(world: Watched) -> None:
    """Following the link to the dashboard starts checks of that connection; where actions are off the link leads there directly."""
    path, page = "/actions/reconnect/main/-/linkedin-page1", "/connections/main/-/linkedin-page1"
    async with acting(world) as site:
        for shown, root in ((page, "../../../"), ("/", ""), ("/incidents", "")):
            assert f'href="{root}{path[1:]}"' in (await site.port.ask(shown, **basic("anna"))).body.decode(), shown
        form = await site.port.ask(path, **basic("anna"))
        assert "form-action 'self' https://dashboard.example;" in form.headers["Content-Security-Policy"]
        assert site.checked == []
        done = await site.post(path, {"token": await site.token(path)})
        assert (done.status, done.headers["Location"]) == (303, "https://dashboard.example/connections")
        assert [connection.platform_id for connection in site.checked] == ["linkedin-page1"]
        assert (await site.post(path, {"token": "guessed"})).status == 403
        assert len(site.checked) == 1
    async with acting(world, on=False) as site:
        assert b'href="https://dashboard.example/connections"' in (await site.port.ask(page, **basic("anna"))).body
        assert (await site.port.ask(path, **basic("anna"))).status == 404


async def test_heals_under_the_eyes(tmp_path: Path) -> None:
    """Whoever follows the link to the dashboard has the connection tested every few seconds for two minutes; then it is as before."""
    clock, path = FakeClock(), "/actions/reconnect/main/-/linkedin-page1"
    interval = {"interval": timedelta(hours=4)}
    async with monitoring(tmp_path, simple_world(clock, "linkedin-page1"), clock, "linkedin-page1", schedule=interval) as one:
        await one.run(timedelta(minutes=10))

        def check(connection: Connection) -> bool:
            one.checkers[0].check_now(connection)
            return True

        actions = Actions(one.database.write, check, SystemClock(), lambda: "https://dashboard.example/connections")
        snapshot = partial(one.fleet.snapshot, clock.now())
        async with listening(snapshot, read=one.database.read, acting=actions, file=FILE, token=TOKEN, actions=True) as port:
            site, begun = Site(port, one.database), clock.monotonic()
            assert (await site.post(path, {"token": await site.token(path)})).status == 303
        await one.run(timedelta(minutes=10))
        tested = [at - begun for at, _ in one.tests(begun)]
        assert (len(tested), tested[0] < 2, 115 < tested[-1] <= 130) == (CHECKED_OFTEN_SECONDS / OFTEN_PAUSE_SECONDS + 1, True, True)
        assert max(later - earlier for earlier, later in pairwise(tested)) < 2 * OFTEN_PAUSE_SECONDS


async def test_trail(world: Watched) -> None:
    """The page of a connection shows what was done about it, by whom and why, the newest first; and nothing of another connection."""
    check, page = "/actions/check/main/-/linkedin-page1", "/connections/main/-/linkedin-page1"
    key = incident_key(next(each for each in world.fleet.snapshot(world.now).incidents if each.connection_id is not None).incident, "")
    ack = f"/actions/acknowledge/{key}"
    async with acting(world) as site:
        assert b'id="trail"' not in (await site.port.ask(page, **basic("anna"))).body
        await site.post(PAGE, {"token": await site.token(), "reason": "calling <them>"})
        await site.post(ack, {"token": await site.token(ack, "bob"), "reason": "seen"}, user=basic("bob"))
        await site.post(check, {"token": await site.token(check)})
        shown = (await site.port.ask(page, **basic("anna"))).body.decode()
        other = (await site.port.ask("/connections/main/-/threads-1784", **basic("anna"))).body
    trail = shown[shown.index('id="trail"') :]
    told = [re.sub("<[^>]+>", "", line) for line in re.findall(r"<li>(.*)</li>", trail)]
    assert [re.sub(r"^.* UTC ", "", line) for line in told[:2]] == [
        "anna had it tested",
        "bob acknowledged incident 1 of its connection: seen",
    ]
    assert re.search(r"anna silenced it until .* [(]silence 1[)]: calling &lt;them&gt;", told[2]) is not None
    assert b'id="trail"' not in other


async def test_acknowledge(world: Watched) -> None:
    """An incident is acknowledged by its key, by form and through the API."""
    incident = next(each for each in world.fleet.snapshot(world.now).incidents if each.connection_id is not None)
    key = incident_key(incident.incident, "")
    async with acting(world) as site:
        path = f"/actions/acknowledge/{key}"
        assert (
            await site.post(path, {"token": await site.token(path, "bob"), "reason": "👩\u200d👧 نمی\u200cشد"}, user=basic("bob"))
        ).status == 200
        (ack,) = await world.database.read(acks_of_open)
        assert (ack.author, ack.reason, ack.level) == ("bob", "👩\u200d👧 نمی\u200cشد", "error")
        pages = ("/connections/main/-/linkedin-page1", "/incidents")
        offered = [path in (await site.port.ask(page, **basic("anna"))).body.decode() for page in pages[:1]]
        world.fleet.set_requests((), (ack,))
        offered += [path in (await site.port.ask(page, **basic("anna"))).body.decode() for page in pages]
        assert offered == [True, False, False]
        reply = await site.post(f"/api/v1/incidents/{key}/ack", b'{"reason": "the agency knows"}', user=BEARER)
        (ack,) = await world.database.read(acks_of_open)
        assert (reply.status, ack.author, ack.reason) == (200, "token", "the agency knows")


async def test_accept_permissions(world: Watched) -> None:
    """Lost permissions are accepted by form and through the API, which the trail shows; a connection that lacks none has no button."""
    path, page = "/actions/accept-permissions/main/-/threads-1784", "/connections/main/-/threads-1784"
    async with acting(world) as site:
        assert path[1:] not in (await site.port.ask(page, **basic("anna"))).body.decode()
        early = await site.post("/api/v1/connections/threads-1784/permissions/accept", b'{"reason": "x"}', user=BEARER)
        for number, names in enumerate([("read", "post"), ("read", "post"), ("read",)]):
            reply = a_reply(platform_id="threads-1784", platform="threads", permissions=names)
            await world.check(world.connection("threads-1784"), Reason.OK, timedelta(minutes=5 - number), reply)
        assert f'href="../../../{path[1:]}"' in (await site.port.ask(page, **basic("anna"))).body.decode()
        assert b"It lacks post, which" in (await site.port.ask(path, **basic("anna"))).body
        unreasoned = await site.post(path, {"token": await site.token(path)})
        assert (early.status, unreasoned.status, await world.database.read(accepted_losses)) == (400, 400, [])
        done = await site.post(path, {"token": await site.token(path, "bob"), "reason": "agency <x>"}, user=basic("bob"))
        (by_form,) = await world.database.read(accepted_losses)
        trail = (await site.port.ask(page, **basic("anna"))).body.decode()
        api = await site.post("/api/v1/connections/threads-1784/permissions/accept", b'{"reason": "again"}', user=BEARER)
        (by_api,) = await world.database.read(accepted_losses)
    assert (done.status, by_form.permissions, by_form.author, by_form.reason) == (200, ("post",), "bob", "agency <x>")
    assert "accepted that it lacks post: agency &lt;x&gt;" in re.sub("</?(bdi|q)>", "", trail)
    assert (api.status, api.json()["accepted"], api.json()["required"], by_api.author) == (200, ["post"], [], "token")


async def test_escalation_shown(sqlite_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The page of a connection, that of the incidents, the API and the command line say when an incident is escalated; the last three name
    the key that its receivers have, whatever this monitor is called now.
    """
    path = write_config(tmp_path, sqlite_url)
    path.write_text(path.read_text().replace("receivers: [on-call]", "receivers: [on-call], escalate: {after: 3h, receivers: [desk]}"))
    async with watched(path) as story:
        await tell_a_story(story)
        async with acting(story) as site:
            pages = [(await site.port.ask(page, **basic("anna"))).body for page in ("/connections/main/-/linkedin-page1", "/incidents")]
            incidents = (await site.port.ask("/api/v1/incidents", **BEARER)).json()["incidents"]
            one = (await site.port.ask("/api/v1/connections/linkedin-page1?account=main", **BEARER)).json()["connection"]
        assert main(["incidents", "--json", "--config", str(path)]) == 0
    (due,) = {incident["escalatesAt"] for incident in incidents}
    printed = json.loads(re.sub(r"(?ms)^.*?^\{", "{", capsys.readouterr().out, count=1))
    assert [incident["escalatesAt"] for incident in printed["incidents"]] == [due]
    assert all(re.search(rb"Escalated in 2[^,]*, on [^,]*, unless acknowledged", page) for page in pages)
    assert one["escalatesAt"] == due
    (key,) = {incident["incidentKey"] for incident in incidents}
    assert printed["incidents"][0]["incidentKey"] == key
    assert key.startswith("pp-here-")
    assert f"ack {key}".encode() in pages[1]


async def test_api(world: Watched) -> None:
    """The same through the API, with the token as bearer."""
    async with acting(world) as site:
        checked = await site.post("/api/v1/connections/threads-1784/check", b"", user=BEARER)
        silenced = await site.post("/api/v1/connections/threads-1784/silence", b'{"reason": "moving", "for": "90m"}', user=BEARER)
        number = silenced.json()["silence"]["number"]
        ended = await site.post(f"/api/v1/silences/{number}/expire", b"", user=BEARER)
        again = await site.post(f"/api/v1/silences/{number}/expire", b"", user=BEARER)
    assert (checked.status, silenced.status, ended.status, again.status) == (200, 200, 200, 404)
    assert checked.json()["author"] == "token"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "http://127.0.0.1:81"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_cross_site_post(world: Watched, headers: dict[str, str]) -> None:
    """A form that another site sends with a stolen token does nothing."""
    async with acting(world) as site:
        reply = await site.post(PAGE, {"token": await site.token(), "reason": "x"}, extra=headers)
        assert (reply.status, await site.silences()) == (403, 0)
        assert reply.headers["Referrer-Policy"] == "same-origin"


async def test_replayed_and_foreign_forms(world: Watched) -> None:
    """A form is good once, for its user and its address."""
    async with acting(world) as site:
        token = await site.token()
        assert (await site.post(PAGE, {"token": token, "reason": "x"})).status == 200
        assert (await site.post(PAGE, {"token": token, "reason": "x"})).status == 403
        assert (await site.post(PAGE, {"token": await site.token(user="bob"), "reason": "x"})).status == 403
        other = "/actions/silence/main/-/threads-1784"
        assert (await site.post(PAGE, {"token": await site.token(other), "reason": "x"})).status == 403
        assert (await site.post(PAGE, {"reason": "x"})).status == 403
        assert await site.silences() == 1


@pytest.mark.parametrize("user", [{}, basic("anna", "wrong"), {"Authorization": "Bearer wrong"}])
async def test_no_or_wrong_credentials(world: Watched, user: dict[str, str]) -> None:
    """Nobody acts without credentials."""
    async with acting(world) as site:
        assert (await site.post(PAGE, {"token": await site.token(), "reason": "x"}, user=user or {"X": "y"})).status == 401
        assert (await site.post("/api/v1/connections/threads-1784/check", b"", user=user or {"X": "y"})).status == 401
        assert (await site.silences(), site.checked) == (0, [])


async def test_api_refuses_what_browsers_send(world: Watched) -> None:
    """A browser may send a user's password for another site; the API takes it for no action."""
    async with acting(world) as site:
        assert (await site.post("/api/v1/connections/threads-1784/check", b"")).status == 403
        assert site.checked == []


async def test_the_name_beside_the_token_is_nobodys(world: Watched) -> None:
    """With the token as password any name is let in, but it does not become the author."""
    user = basic("bob", TOKEN)
    async with acting(world) as site:
        page = (await site.port.ask(PAGE, **user)).body.decode()
        token = re.search(r'name="token" value="([^"]+)"', page)[1]  # type: ignore[index]
        assert (await site.post(PAGE, {"token": token, "reason": "x"}, user=user)).status == 200
        (silence,) = await world.database.read(lambda reader: silences_since(reader, SystemClock().now()))
        assert silence.author == "token"


@pytest.mark.parametrize(
    ("body", "detail", "field"),
    [
        (b"[]", "must be a JSON object", None),
        (b"{", "is not JSON", None),
        (b'{"reason": 1}', "reason must be a text", "reason"),
        (b'{"because": "x"}', "unknown field", "because"),
        (b"{}", "reason is required", "reason"),
        (b'{"reason": "x", "for": "soon"}', "for is not a duration", "for"),
        (b'{"reason": "x", "for": "30d"}', "a silence lasts", "for"),
        (b'{"reason": "x", "for": "59s"}', "a silence lasts", "for"),
        (b'{"reason": "x", "for": "2h", "for": "3h"}', "for may be given once", "for"),
        (b'{"reason": "' + b"x" * 400 + b'"}', "longer than 300", "reason"),
    ],
)
async def test_bad_input(world: Watched, body: bytes, detail: str, field: str | None) -> None:
    """A malformed body is refused with a problem document that names the field, and nothing is done."""
    async with acting(world) as site:
        reply = await site.post("/api/v1/connections/threads-1784/silence", body, user=BEARER)
        assert (reply.status, reply.headers["Content-Type"]) == (400, "application/problem+json")
        assert detail in reply.json()["detail"]
        assert reply.json().get("field") == field
        assert await site.silences() == 0


async def test_bad_forms(world: Watched) -> None:
    """A form with a missing, unknown or empty field, or one that is too large, does nothing."""
    async with acting(world) as site:
        missing = await site.post(PAGE, {"token": await site.token()})
        unknown = await site.post(PAGE, {"token": await site.token(), "reason": "x", "until": "2099"})
        assert (missing.status, unknown.status) == (400, 400)
        assert b"reason is required" in missing.body
        assert b'aria-invalid="true"' in missing.body
        assert b"unknown field: until" in unknown.body
        compressed, elsewhere = {"Content-Encoding": "gzip"}, f"{PAGE.replace('actions/silence/main/-', 'api/v1/connections')}/silence"
        no_forms = [await site.post(PAGE, body, extra=head) for body, head in ((b"\xff", None), (b"no gzip", compressed))]
        assert [(reply.status, b"can&#39;t be read" in reply.body) for reply in no_forms] == [(400, True)] * 2
        assert (await site.post(elsewhere, b"no gzip", user=BEARER, extra={**compressed, "Content-Type": "application/json"})).status == 400
        assert (await site.post("/api/v1/connections/threads-1784/check?acount=main", b"", user=BEARER)).json()["field"] == "acount"
        assert (await site.post(PAGE, {"token": await site.token(), "reason": "x" * 40_000})).status in (400, 413)
        assert (await site.port.ask("/actions/silence/main/-/nobody", **basic("anna"))).status == 404
        assert b"there is no parameter x here" in (await site.port.ask(f"{PAGE}?x=1", **basic("anna"))).body
        put = await site.port.ask(PAGE, method="PUT", **basic("anna"))
        assert (put.status, put.headers["Allow"], b"GET and HEAD only" in put.body) == (405, "GET, HEAD, POST", False)
        assert await site.silences() == 0


async def test_rate_limit(world: Watched) -> None:
    """A user may do thirty things a minute; another user is not held back by that."""
    async with acting(world) as site:
        statuses = [(await site.post("/api/v1/connections/threads-1784/check", b"", user=BEARER)).status for _ in range(31)]
        assert statuses == [200] * 30 + [429]
        path = "/actions/check/main/-/linkedin-page1"
        assert (await site.post(path, {"token": await site.token(path)})).status == 200
