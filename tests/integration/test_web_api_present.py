"""What the JSON API and the badges say of the present: filters, preflight below wider trouble, badges."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from html import unescape
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from monitor.clock import SystemClock
from monitor.domain.events import IncidentRef, Severity, Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.views.snapshot import ConnectionView, IncidentView, OutboxView, Snapshot
from monitor.domain.views.status import Tone
from monitor.web.api import parameters
from tests.asked import Port, asked, listening
from tests.builders import DAY, HOUR, START, a_connection, a_state, a_token_belief
from tests.watched import tell_a_story, watched, write_config

TEXT = "{http://www.w3.org/2000/svg}text"
COLOURS = {"#b42318": Tone.BAD, "#8a5a00": Tone.WARN, "#1a7f37": Tone.GOOD, "#57606a": Tone.IDLE}


def _troubled(number: int) -> IncidentView:
    return IncidentView(
        IncidentRef(Topic.PUBLISHING, str(number), 1, START), Scope.CONNECTION, number, "failing", Severity.WARNING, None, ""
    )


SEVERAL = Snapshot(
    START,
    (
        ConnectionView(a_connection(1, name="Spring campaign", labels={"team": "social", "tier": "1"}), a_state()),
        ConnectionView(a_connection(2, name=None, labels={"team": "growth"}), a_state(Health.ERROR)),
        ConnectionView(a_connection(3, name=None, account="agency"), a_state(username="Bob")),
        ConnectionView(
            a_connection(4, name=None, account="agency", user_id="u1", platform="x", platform_id="x-1"), a_state(Health.UNSUPPORTED)
        ),
    ),
    incidents=(_troubled(3),),
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {1, 2, 3, 4}),
        ("health=error", {2}),
        ("health=error&health=unsupported", {2, 4}),
        ("health=ok", {1, 3}),
        ("displayStatus=ok", {1}),
        ("displayStatus=attention", {3}),
        ("displayStatus=trouble", {2, 3}),
        ("displayStatus=trouble&health=ok", {3}),
        ("platform=x", {4}),
        ("platform=x&platform=linkedin", {1, 2, 3, 4}),
        ("account=agency", {3, 4}),
        ("account=agency/u1", {4}),
        ("label=team", {1, 2}),
        ("label=team%3Dsocial", {1}),
        ("label=team%3Dsocial&label=tier%3D1", {1}),
        ("label=team%3Dsocial&label=tier%3D2", set()),
        ("q=CAMPAIGN", {1}),
        ("q=bob&health=error", set()),
    ],
)
async def test_filters(query: str, found: set[int]) -> None:
    """The list narrows by each parameter: one of the values of each, all of the labels."""
    async with listening(lambda: SEVERAL) as port:
        document = await port.get(f"/api/v1/connections?{query}")

    numbers = {view.connection.platform_id: view.connection.id for view in SEVERAL.connections}
    assert {numbers[one["platformId"]] for one in document["connections"]} == found
    assert document["total"] == len(found)


@pytest.mark.parametrize(
    "query", ["", "displayStatus=trouble", "displayStatus=attention&q=bob", "label=team&platform=linkedin&account=main", "page=2"]
)
async def test_the_page_leads_here(query: str) -> None:
    """The status page's link to its list as JSON leads to the same connections, in the same order."""
    async with listening(lambda: SEVERAL) as port:
        page = (await port.ask(f"/?{query}")).body.decode()
        (link,) = re.findall(r'href="(api/v1/connections[^"]*)"', page)
        listed = [one["platformId"] for one in (await port.get(f"/{unescape(link)}"))["connections"]]

    shown = [
        one
        for one in re.findall(r"connections/[^/\"]+/[^/\"]+/([^/\"?]+)\"", page)
        if one in {view.connection.platform_id for view in SEVERAL.connections}
    ]
    assert listed == list(dict.fromkeys(shown))
    assert listed


async def test_preflight_below_wider_trouble() -> None:
    """A connection that worked a moment ago is not ready while something above it is in trouble."""
    now = SystemClock().now()
    fine = ConnectionView(a_connection(1), a_state(last_check_at=now, last_evidence_at=now))
    answers = []
    for view in (fine, replace(fine, suppressed_by="api:api.example")):
        async with listening(lambda: Snapshot(now, (view,))) as port:  # noqa: B023 - asked before the next one
            found = await port.get(f"/api/v1/preflight?ids={view.connection.platform_id}")
            answers.append((found["answer"], found["connections"][0]["why"]))

    assert answers == [("ready", "the connection works"), ("unknown", "its state cannot be known during the incident of the PostPost API")]


async def test_preflight_for_a_time() -> None:
    """A token must be valid at the time of the post."""
    now = SystemClock().now().replace(second=0, microsecond=0)
    state = a_state(last_check_at=now, last_evidence_at=now, token=a_token_belief(now + 3 * DAY))
    async with listening(lambda: Snapshot(now, (ConnectionView(a_connection(1, labels={"team": "social"}), state),))) as port:
        answers = [(await port.get(f"/api/v1/preflight?label=team&at={now + days * DAY:%Y-%m-%dT%H:%MZ}"))["answer"] for days in (2, 4)]

    assert answers == ["ready", "not_ready"]


async def test_a_forged_place(tmp_path: Any, sqlite_url: str) -> None:
    """A place in a history that no clock can show is the end of time: everything lies before it."""
    async with watched(write_config(tmp_path, sqlite_url)) as world:
        await tell_a_story(world)
        async with asked(world) as port:
            found = await port.get(f"/api/v1/connections/threads-1784/history?cursor={parameters.encode('history', [2**63 - 1])}")

    assert len(found["checks"]) == 4


async def _badge(port: Port, path: str) -> tuple[str, str, Tone, str]:
    """What a badge says: label, word, tone, and the words for ears."""
    reply = await port.ask(f"/badges/{path}")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "image/svg+xml")
    assert (reply.headers["Cache-Control"], reply.headers["Cross-Origin-Resource-Policy"]) == ("max-age=30", "cross-origin")
    root = ET.fromstring(reply.body)
    label, says = (element.text or "" for element in root.iter(TEXT))
    colour = [element.attrib["fill"] for element in root if element.tag.endswith("rect")][1]
    return label, says, COLOURS[colour], root.attrib["aria-label"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ("1 broken", Tone.BAD)),
        ({"connections": SEVERAL.connections[:1], "incidents": ()}, ("1 working", Tone.GOOD)),
        ({"connections": (SEVERAL.connections[0], SEVERAL.connections[2])}, ("1 needs attention", Tone.WARN)),
        ({"connections": (), "incidents": ()}, ("nothing known", Tone.IDLE)),
        ({"api_up": False}, ("API down", Tone.BAD)),
        ({"storage_up": False}, ("database down", Tone.BAD)),
        ({"accounts": {"main": False}}, ("1 account rejected", Tone.BAD)),
        (
            {"connections": SEVERAL.connections[:1], "incidents": (), "outbox": {"on-call": OutboxView(1, START, failing_since=START)}},
            ("alerts not delivered", Tone.BAD),
        ),
    ],
)
async def test_overall_badge(changes: dict[str, Any], said: tuple[str, Tone]) -> None:
    """The badge of everything says the worst in two words, and the whole sentence to ears."""
    snapshot = replace(SEVERAL, **changes)
    async with listening(lambda: snapshot) as port:
        label, says, tone, words = await _badge(port, "overall.svg")
        summary = (await port.get("/api/v1/summary"))["summary"]

    assert (label, says, tone, words) == ("connections", *said, f"connections: {summary}")


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (SEVERAL.connections[0], ("Spring campaign", "working", Tone.GOOD, "Spring campaign: working")),
        (SEVERAL.connections[1], ("LinkedIn", "broken", Tone.BAD, "LinkedIn: broken")),
        (SEVERAL.connections[2], ("LinkedIn", "posts fail", Tone.WARN, "LinkedIn: posts fail")),
        (SEVERAL.connections[3], ("X", "not testable", Tone.IDLE, "X: not testable")),
        (
            replace(SEVERAL.connections[0], suppressed_by="api:api.example"),
            ("Spring campaign", "was working", Tone.IDLE, "Spring campaign: was working "),
        ),
    ],
)
async def test_health_badge(view: ConnectionView, said: tuple[str, str, Tone, str]) -> None:
    """The badge of a connection says how it is, and nothing it cannot know while wider trouble lies above it."""
    snapshot = replace(SEVERAL, connections=(view,))
    async with listening(lambda: snapshot) as port:
        path = f"connections/{view.connection.platform_id}/health.svg"

        *shown, words = await _badge(port, path)
        assert (*shown, words[: len(said[3])]) == said
        assert (await _badge(port, f"{path}?label=mine"))[0] == "mine"


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (5 * DAY + HOUR, "5 days left"),
        (DAY + HOUR, "1 day left"),
        (3 * HOUR + timedelta(minutes=30), "3h"),
        (-HOUR, "expired"),
        (None, "no end"),
    ],
)
async def test_token_badge(left: timedelta | None, said: str) -> None:
    """The badge of a token says how long it lives, in days while there are any."""
    now: datetime = SystemClock().now()
    token = a_token_belief(now + left) if left is not None else a_token_belief()
    snapshot = Snapshot(now, (ConnectionView(a_connection(1, name=None), a_state(token=token)),))
    async with listening(lambda: snapshot) as port:
        label, says, _, words = await _badge(port, f"connections/{snapshot.connections[0].connection.platform_id}/token.svg")

    assert label == "LinkedIn token"
    assert says.startswith(said)
    assert words == f"{label}: {says}"
