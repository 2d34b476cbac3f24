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


def test_break_and_heal(it: Steering) -> None:
    """Breaking makes the test fail with the given text, or the platform's own; healing undoes it."""
    assert it.post(f"/connections/{LINKEDIN}/break", {"message": "Token has been revoked"}) == (200, {"changed": [LINKEDIN]})
    assert it.state()["message"] == "Token has been revoked"
    it.post(f"/connections/{LINKEDIN}/break")
    assert it.state()["message"] == "Request failed with status code 401"
    it.post(f"/connections/{LINKEDIN}/heal")
    assert it.state()["status"] == "ok"


def test_expire_and_renew(it: Steering) -> None:
    """Token ends are set in spans of time."""
    it.post(f"/connections/{LINKEDIN}/expires-in", {"in": "7d 3h"})
    assert it.state()["tokenExpiresIn"] == "7d 3h"
    it.post(f"/connections/{LINKEDIN}/expire")
    assert (it.state()["tokenExpiresIn"], it.state()["status"]) == ("expired", "error")
    it.post(f"/connections/{LINKEDIN}/renew", {"in": "60d"})
    assert (it.state()["tokenExpiresIn"], it.state()["status"]) == ("60d 0h", "ok")


def test_pattern_and_narrowing(it: Steering) -> None:
    """A pattern changes all connections it matches; account and user narrow it down."""
    status, document = it.post("/connections/linkedin-*/break")
    assert (status, len(document["changed"])) == (200, 3)
    it.post("/connections/*/heal")
    it.post("/connections/linkedin-Shared1234/break", query=f"user={DEMO_USERS[1]}")
    assert it.world.connection("linkedin-Shared1234", user=DEMO_USERS[0]).dead is None
    assert it.world.connection("linkedin-Shared1234", user=DEMO_USERS[1]).dead == ""


def test_permissions(it: Steering) -> None:
    """Rights can be taken away one by one or set."""
    it.post(f"/connections/{LINKEDIN}/permissions", {"remove": ["w_member_social"]})
    assert "w_member_social" not in (it.world.connection(LINKEDIN).permissions or ())
    it.post(f"/connections/{LINKEDIN}/permissions", {"set": ["a", "b"]})
    assert it.world.connection(LINKEDIN).permissions == ("a", "b")


def test_scripts(it: Steering) -> None:
    """Misbehaviour is listed in the state, for as many requests as said, and can be ended."""
    it.post(f"/connections/{LINKEDIN}/answer", {"status": 503, "times": 2})
    assert it.state()["script"] == [{"kind": "answer", "status": 503, "times": 2}]
    it.post(f"/connections/{LINKEDIN}/play", {"steps": [{"do": "hang"}, {"do": "slow", "for": "2s"}]})
    assert [step["kind"] for step in it.state()["script"]] == ["hang", "slow"]
    it.post(f"/connections/{LINKEDIN}/behave-normally")
    assert it.state()["script"] == []


def test_new_connection(it: Steering) -> None:
    """A connection can be added, also to a managed user who is made on the way."""
    assert it.post("/connections", {"id": "linkedin-New1"})[0] == 200
    assert it.state("linkedin-New1")["tokenExpiresIn"] == "60d 0h"
    user = "0" * 24
    assert it.post("/connections", {"id": "linkedin-New2", "account": "agency", "user": user})[0] == 200
    assert it.state("linkedin-New2")["user"] == user


def test_accounts_and_users(it: Steering) -> None:
    """Keys are revoked and restored, users detached and attached."""
    it.post("/accounts/main/revoke")
    assert it.world.account_of(DEMO_KEY) is None
    it.post("/accounts/main/restore")
    assert it.world.account_of(DEMO_KEY) is not None
    it.post(f"/users/{DEMO_USERS[0]}/detach")
    assert not it.world.accounts["agency"].users[DEMO_USERS[0]].attached


def test_clock(it: Steering) -> None:
    """The simulated clock is moved, set and sped up."""
    it.post("/clock", {"advance": "3d"})
    assert it.world.clock.now() == START + timedelta(days=3)
    it.post("/clock", {"rewind": "1d"})
    assert it.world.clock.now() == START + timedelta(days=2)
    it.post("/clock", {"set": "2031-01-01T00:00:00Z"})
    assert it.world.clock.now() == datetime(2031, 1, 1, tzinfo=UTC)
    it.post("/clock", {"speed": 60})
    assert it.world.clock.speed == 60


def test_api_settings(it: Steering) -> None:
    """Generation, brand, rounding, latency and outage are switched for the API as a whole."""
    for verb, body in [("generation", {"to": "september"}), ("brand", {"to": "publora"}), ("rounding", {"to": "ceil"}), ("down", None)]:
        assert it.post(f"/api/{verb}", body)[0] == 200
    assert it.post("/api/latency", {"min": "100ms", "max": "1s"})[0] == 200
    told = it.get("/state")[1]["api"]
    assert (told["generation"], told["brand"], told["rounding"], told["latency_seconds"]) == ("september", "publora", "ceil", [0.1, 1.0])
    assert told["script"] == [{"kind": "drop", "where": "start"}]
    it.post("/api/up")
    assert it.get("/state")[1]["api"]["script"] == []


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


def test_wrong_method_and_place(it: Steering) -> None:
    """Looking at nothing and changing by DELETE are told apart."""
    assert it.get("/nothing")[0] == 404
    assert it.control.answer("DELETE", "/reset", "", b"")[0] == 405
    assert it.get("/state", "last=x")[0] == 400


def test_state_is_bounded(it: Steering) -> None:
    """Of many connections the state shows as many as asked for, and how many there are."""
    document = it.get("/state", "last=2")[1]
    assert (len(document["connections"]), document["connections_total"]) == (2, 16)


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
