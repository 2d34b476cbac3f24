"""The control API without a socket: what it does, and how it answers mistakes."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.simulator.actions import ACCOUNT_VERBS, API_VERBS, CONNECTION_VERBS, USER_VERBS, InvalidRequest, parse_span
from monitor.simulator.control import Control
from monitor.simulator.http import is_local
from monitor.simulator.presets import DEMO_KEY, DEMO_USERS, demo_world
from monitor.simulator.request_log import RequestLog
from monitor.simulator.state import SimulatedApi
from tests.clock import FakeClock

START = datetime(2030, 1, 1, tzinfo=UTC)
LINKEDIN = "linkedin-Tz9W5i6ZYG"


class Steering:
    """A world and its control, spoken to in JSON."""

    def __init__(self) -> None:
        self.world: SimulatedApi = demo_world(FakeClock(START))
        self.control = Control(self.world, RequestLog())

    def post(self, path: str, body: Any = None, query: str = "") -> tuple[int, Any]:
        """Change something; a body that is not bytes is sent as JSON."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        return self.control.answer("POST", path, query, raw)

    def get(self, path: str, query: str = "") -> tuple[int, Any]:
        """Look at something."""
        return self.control.answer("GET", path, query, b"")

    def state(self, platform_id: str = LINKEDIN) -> dict[str, Any]:
        """One connection as the state shows it."""
        status, document = self.get("/state", f"id={platform_id}")
        assert status == 200
        row = document["connections"][0]
        assert isinstance(row, dict)
        return row


@pytest.fixture(name="it")
def _it() -> Steering:
    return Steering()


def test_connection_verbs(it: Steering) -> None:
    """Every verb changes the connection."""

    def state(verb: str, body: Any = None, platform_id: str = LINKEDIN) -> dict[str, Any]:
        assert it.post(f"/connections/{platform_id}/{verb}", body) == (200, {"changed": [platform_id]})
        return it.state(platform_id)

    assert state("break", {"message": "Token has been revoked"})["message"] == "Token has been revoked"
    assert state("break")["message"] == "Request failed with status code 401"
    assert state("heal")["status"] == "ok"
    assert state("expires-in", {"in": "7d 3h"})["tokenExpiresIn"] == "7d 3h"
    assert state("expire")["status"] == "error"
    assert state("renew", {"in": "60d"})["tokenExpiresIn"] == "60d 0h"
    state("permissions", {"remove": ["w_member_social"]})
    assert "w_member_social" not in (it.world.connection(LINKEDIN).permissions or ())
    assert state("answer", {"status": 503, "times": 2})["script"] == [{"kind": "answer", "status": 503, "times": 2}]
    assert [step["kind"] for step in state("play", {"steps": [{"do": "hang"}, {"do": "slow", "for": "2s"}]})["script"]] == ["hang", "slow"]
    assert state("behave-normally")["script"] == []
    user = "0" * 24
    assert it.post("/connections", {"id": "linkedin-New2", "account": "agency", "user": user})[0] == 200
    assert it.state("linkedin-New2")["user"] == user


def test_other_verbs(it: Steering) -> None:
    """Keys are revoked, users detached, the clock moved, and the API changed as a whole."""
    it.post("/accounts/main/revoke")
    assert it.world.account_of(DEMO_KEY) is None
    it.post("/accounts/main/restore")
    assert it.world.account_of(DEMO_KEY) is not None
    it.post(f"/users/{DEMO_USERS[0]}/detach")
    assert not it.world.accounts["agency"].users[DEMO_USERS[0]].attached
    for body, now in (({"advance": "3d"}, START + timedelta(days=3)), ({"rewind": "1d"}, START + timedelta(days=2))):
        it.post("/clock", body)
        assert it.world.clock.now() == now
    it.post("/clock", {"set": "2031-01-01T00:00:00Z"})
    it.post("/clock", {"speed": 60})
    assert (it.world.clock.now(), it.world.clock.speed) == (datetime(2031, 1, 1, tzinfo=UTC), 60)
    for verb, change in [("generation", {"to": "september"}), ("brand", {"to": "publora"}), ("rounding", {"to": "ceil"}), ("down", None)]:
        assert it.post(f"/api/{verb}", change)[0] == 200
    assert it.post("/api/latency", {"min": "100ms", "max": "1s"})[0] == 200
    api = it.get("/state")[1]["api"]
    assert (api["generation"], api["brand"], api["rounding"], api["latency_seconds"]) == ("september", "publora", "ceil", [0.1, 1.0])
    assert api["script"] == [{"kind": "drop", "where": "start"}]


def test_reading(it: Steering) -> None:
    """The state shows as many connections as wanted, and how many there are; other pages and methods are refused."""
    document = it.get("/state", "last=2")[1]
    assert (len(document["connections"]), document["connections_total"]) == (2, 16)
    assert (it.get("/nothing")[0], it.get("/state", "last=x")[0]) == (404, 400)
    assert it.control.answer("DELETE", "/reset", "", b"")[0] == 405


def test_pattern_and_narrowing(it: Steering) -> None:
    """A pattern changes all connections it matches; account and user narrow it down."""
    status, document = it.post("/connections/linkedin-*/break")
    assert (status, len(document["changed"])) == (200, 3)
    it.post("/connections/*/heal")
    it.post("/connections/linkedin-Shared1234/break", query=f"user={DEMO_USERS[1]}")
    assert it.world.connection("linkedin-Shared1234", user=DEMO_USERS[0]).dead is None
    assert it.world.connection("linkedin-Shared1234", user=DEMO_USERS[1]).dead == ""


@pytest.mark.parametrize(
    ("path", "body", "status", "hint"),
    [
        ("/connections/linkedin-Tz9W5i6ZYg/break", None, 404, "did you mean 'linkedin-Tz9W5i6ZYG'"),
        ("/connections/nothing-*/break", None, 404, "/_sim/state"),
        (f"/connections/{LINKEDIN}/brek", None, 404, "did you mean 'break'"),
        (f"/connections/{LINKEDIN}/break", {"mesage": "x"}, 400, "known here: message"),
        (f"/connections/{LINKEDIN}/break", {"message": 7}, 400, "must be a text"),
        (f"/connections/{LINKEDIN}/break", b"{", 400, "not JSON"),
        (f"/connections/{LINKEDIN}/break", b"[]", 400, "JSON object"),
        (f"/connections/{LINKEDIN}/renew", {"in": "soon"}, 400, "'7d 3h'"),
        (f"/connections/{LINKEDIN}/expires-in", {}, 400, "say 'in'"),
        ("/connections/twitter-783214/expires-in", {"in": "7d"}, 400, "break the connection instead"),
        (f"/connections/{LINKEDIN}/answer", {"status": 99}, 400, "from 200 to 599"),
        (f"/connections/{LINKEDIN}/answer", {"headers": {"X": "a\r\nb"}}, 400, "line breaks"),
        (f"/connections/{LINKEDIN}/hang", {"times": -1}, 400, "at least 1"),
        (f"/connections/{LINKEDIN}/slow", {"by": "2s"}, 400, "unknown key 'by'"),
        (f"/connections/{LINKEDIN}/garbage", {"name": "htm"}, 400, "did you mean 'html'"),
        (f"/connections/{LINKEDIN}/play", {"steps": "hang"}, 400, "must be a list"),
        ("/accounts/man/revoke", None, 404, "did you mean 'main'"),
        ("/users/1/detach", None, 404, DEMO_USERS[0]),
        ("/api/generation", {"to": "may"}, 400, "march"),
        ("/clock", {}, 400, "say 'advance'"),
        ("/clock", {"advance": "900000d"}, 400, "1970 to 2500"),
        ("/clock", b'{"speed": NaN}', 400, "must be a number"),
        ("/clock", {"speed": -1}, 400, "backwards"),
        ("/clock", {"set": "2030-01-01"}, 400, "offset"),
        ("/planets/mars/break", None, 404, "unknown action"),
        ("/nothing", None, 404, "unknown action"),
    ],
)
def test_mistakes(it: Steering, path: str, body: Any, status: int, hint: str) -> None:
    """A mistake is answered with what would be right, and changes nothing."""
    before = it.get("/state")
    answered, document = it.post(path, body)
    assert answered == status
    assert hint in document["error"]
    assert it.get("/state") == before


def test_help_names_every_verb(it: Steering) -> None:
    """The help page shows every verb there is."""
    page = it.get("/")[1]
    assert [verb for verbs in (CONNECTION_VERBS, ACCOUNT_VERBS, USER_VERBS, API_VERBS) for verb in verbs if verb not in page] == []


def test_control_is_for_this_machine() -> None:
    """Only loopback addresses may steer."""
    assert [is_local(remote) for remote in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")] == [True] * 4
    assert [is_local(remote) for remote in ("10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "12.7.0.1", "", None)] == [False] * 6


def test_spans() -> None:
    """Spans of time are read in the usual forms and nothing else."""
    assert parse_span("7d 3h") == timedelta(days=7, hours=3)
    assert parse_span("1.5h") == timedelta(minutes=90)
    assert parse_span("500ms") == timedelta(milliseconds=500)
    assert parse_span(30) == timedelta(seconds=30)
    assert parse_span("-2d") == timedelta(days=-2)
    wrongs: tuple[object, ...] = ("", "7", "7 years", "d", True, None, [], "9999999999w", float("nan"))
    for wrong in wrongs:
        with pytest.raises(InvalidRequest):
            parse_span(wrong)
