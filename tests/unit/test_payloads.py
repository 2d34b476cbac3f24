"""Bodies: what receivers are sent, and the sentence for people in it."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import ReceiverSettings, Secret
from monitor.domain.events import (
    FINE,
    EventType,
    IncidentRef,
    Notification,
    NotificationFacts,
    NotificationReason,
    Severity,
    Topic,
    incident_key,
)
from monitor.domain.reasons import Scope
from monitor.errors import Reason
from monitor.notify.chat_message import read
from monitor.notify.identity import MonitorIdentity
from monitor.notify.payload import MAX_BODY, MAX_ITEMS, render, render_digest, render_test, summary
from monitor.text.durations import span
from tests.builders import DAY, HOUR, MINUTE, START, a_connection, a_notification, at
from tests.jsonschema import problems

IDENTITY = MonitorIdentity("a1b2c3d4", "1.2.3", "https://app.postpost.dev/connections")
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "webhook.schema.json"
TOKEN = NotificationFacts(expires_at=at(6 * DAY + 23 * HOUR), expires_uncertainty=HOUR, threshold=7 * DAY, username="@page1")


def an_expiry(**overrides: Any) -> Notification:
    values: dict[str, Any] = {
        "type": EventType.TOKEN_EXPIRING,
        "incident": IncidentRef(Topic.EXPIRY, "1", 2, START),
        "level_to": "7d",
        "reason": Reason.OK,
        "detail": "",
        "facts": TOKEN,
    }
    return a_notification(**(values | overrides))


def a_scope(kind: EventType, subject: str, scope: Scope, **overrides: Any) -> Notification:
    incident = IncidentRef(Topic.SCOPE, subject, 1, START)
    values: dict[str, Any] = {"type": kind, "incident": incident, "scope": scope, "connection_id": None, "level_to": "failed", "detail": ""}
    return a_notification(**(values | overrides))


def document(notification: Notification, connection: Any = None) -> Any:
    return json.loads(render("msg_1", notification, connection or a_connection(), IDENTITY))


@pytest.fixture(scope="module")
def schema() -> Any:
    """The published schema."""
    return json.loads(SCHEMA.read_text())


def test_connection_failed() -> None:
    """The body of a failure, whole: every key that receivers rely on."""
    connection = a_connection(labels={"team": "social"})
    body = document(a_notification(facts=NotificationFacts(username="@page1", first_check=True)), connection)
    data = body.pop("data")
    assert body == {
        "type": "connection.failed",
        "version": "1",
        "id": "msg_1",
        "timestamp": "2030-01-01T00:00:00.000Z",
        "summary": summary(a_notification(facts=NotificationFacts(username="@page1", first_check=True)), connection),
        "severity": "critical",
    }
    assert data == {
        "connection": {
            "id": "linkedin-page1",
            "platform": "linkedin",
            "name": "Page 1",
            "account": "main",
            "userId": None,
            "userName": None,
            "labels": {"team": "social"},
        },
        "platform": "linkedin",
        "platformId": "linkedin-page1",
        "username": "@page1",
        "account": "main",
        "userName": None,
        "incident": {
            "number": 1,
            "key": "pp-a1b2c3d4-1-connection-1",
            "topic": "connection",
            "subject": "1",
            "openedAt": "2030-01-01T00:00:00.000Z",
        },
        "level": {"from": "fine", "to": "error"},
        "reason": {"code": "credential_rejected", "words": "the platform rejects the stored credential", "text": "Session has expired"},
        "scope": "connection",
        "why": "opened",
        "seq": 1,
        "advice": "Reconnect the account on the PostPost dashboard.",
        "reconnectUrl": "https://app.postpost.dev/connections",
        "firstCheck": True,
        "suspectedFalseNegative": False,
        "durationSeconds": None,
        "lastSuccessfulPostAt": None,
        "monitor": {"instance": "a1b2c3d4", "version": "1.2.3"},
    }


def test_token_expiring() -> None:
    """A token's body says when it ends, how long that is, how sure we are, and which threshold was crossed."""
    body = document(an_expiry())
    data = body["data"]
    assert data["expiresAt"] == "2030-01-07T23:00:00.000Z"
    assert (data["expiresInSeconds"], data["uncertaintySeconds"], data["thresholdSeconds"]) == (601200, 3600, 604800)
    assert (data["platform"], data["platformId"], data["username"]) == ("linkedin", "linkedin-page1", "@page1")
    assert data["reason"] is None
    assert body["summary"] == (
        "The token of LinkedIn “Page 1” (linkedin-page1, account main) expires in 6d 23h "
        "(2030-01-07 23:00 UTC ± 1h). Reconnect the account on the PostPost dashboard before the token expires."
    )


def test_expired_long_ago() -> None:
    """The seconds left are negative after the end."""
    facts = replace(TOKEN, expires_at=at(-HOUR))
    data = document(an_expiry(type=EventType.TOKEN_EXPIRED, level_to="expired", facts=facts))["data"]
    assert data["expiresInSeconds"] == -3600


@pytest.mark.parametrize(("ends_at", "said"), [(at(-HOUR), "has expired on 2029-12-31 23:00 UTC."), (at(9 * DAY), "has expired.")])
def test_expired_before_its_date(ends_at: datetime, said: str) -> None:
    """What the API calls expired did not expire on a date that is still to come."""
    notification = an_expiry(type=EventType.TOKEN_EXPIRED, level_to="expired", facts=replace(TOKEN, expires_at=ends_at))
    assert f"The token of LinkedIn “Page 1” (linkedin-page1, account main) {said}" in document(notification)["summary"]


SENTENCES = [
    (
        a_notification(),
        (
            "LinkedIn “Page 1” (linkedin-page1, account main) is broken since 2030-01-01 00:00 UTC: the platform rejects the stored "
            "credential (“Session has expired”). Reconnect the account on the PostPost dashboard."
        ),
    ),
    (
        a_notification(facts=NotificationFacts(expires_at=at(40 * DAY))),
        (
            "LinkedIn “Page 1” (linkedin-page1, account main) is broken since 2030-01-01 00:00 UTC: the platform rejects the stored "
            "credential (“Session has expired”). The token was valid until 2030-02-10 (40d left). Reconnect the account on the PostPost dashboard."
        ),
    ),
    (
        a_notification(facts=NotificationFacts(expires_at=at(-HOUR), suspected_false_negative=True)),
        (
            "LinkedIn “Page 1” (linkedin-page1, account main) is broken since 2030-01-01 00:00 UTC: the platform rejects the stored "
            "credential (“Session has expired”). A post has succeeded since, so the test itself may be wrong. Check whether posts still "
            "succeed. If they do, set expect: unsupported for the connection, or add its message to policy.known_false_negatives."
        ),
    ),
    (
        a_notification(
            type=EventType.CONNECTION_RECOVERED,
            why=NotificationReason.CLOSED,
            level_from="error",
            level_to=FINE,
            facts=NotificationFacts(duration=2 * HOUR + 5 * MINUTE),
        ),
        "LinkedIn “Page 1” (linkedin-page1, account main) works again after 2h 5m.",
    ),
    (
        a_notification(type=EventType.REMINDER, why=NotificationReason.REMINDER, facts=NotificationFacts(reminder=1)),
        (
            "Reminder: LinkedIn “Page 1” (linkedin-page1, account main) is broken since 2030-01-01 00:00 UTC: the platform rejects the "
            "stored credential (“Session has expired”). Reconnect the account on the PostPost dashboard."
        ),
    ),
    (
        an_expiry(
            type=EventType.TOKEN_RENEWED,
            why=NotificationReason.CLOSED,
            level_from="7d",
            level_to=FINE,
            facts=NotificationFacts(expires_at=at(60 * DAY)),
        ),
        "The token of LinkedIn “Page 1” (linkedin-page1, account main) was renewed; it now expires in 60d (2030-03-02 00:00 UTC).",
    ),
    (
        a_scope(
            EventType.ACCOUNT_FAILED, "account:main", Scope.ACCOUNT, reason=Reason.API_UNAUTHORIZED, facts=NotificationFacts(affected=12)
        ),
        (
            "The account main is refused by the API since 2030-01-01 00:00 UTC: the API key is revoked or wrong. 12 connections affected. "
            "Put a valid API key into the account's key file and reload."
        ),
    ),
    (
        a_scope(EventType.ACCOUNT_FAILED, "service:other", Scope.ACCOUNT, reason=Reason.API_FAILED, facts=NotificationFacts(affected=2)),
        (
            "The API fails only for the account other since 2030-01-01 00:00 UTC: the API answered with a server error. 2 connections "
            "affected. Nothing to do at the connection; checks go on and this clears by itself."
        ),
    ),
    (
        a_scope(
            EventType.ACCOUNT_RECOVERED,
            "rate:main",
            Scope.ACCOUNT,
            level_from="failed",
            level_to=FINE,
            facts=NotificationFacts(duration=HOUR),
        ),
        "The API no longer limits the requests of the account main after 1h.",
    ),
    (
        a_scope(
            EventType.PLATFORM_FAILED,
            "platform:linkedin",
            Scope.PLATFORM,
            reason=Reason.PLATFORM_TROUBLE,
            facts=NotificationFacts(affected=3, members=(1, 2, 3)),
        ),
        (
            "3 LinkedIn connections fail together since 2030-01-01 00:00 UTC: the platform itself has trouble. "
            "Nothing to do; checks go on and this clears by itself."
        ),
    ),
    (
        a_scope(
            EventType.GROUP_FAILED,
            "group:main/0123/linkedin",
            Scope.GROUP,
            reason=Reason.CREDENTIAL_REJECTED,
            facts=NotificationFacts(affected=5, members=(1, 2, 3, 4, 5)),
        ),
        (
            "5 LinkedIn connections of main/0123 fail together since 2030-01-01 00:00 UTC: the platform rejects the stored credential. "
            "Reconnect them on the PostPost dashboard."
        ),
    ),
    (
        a_scope(
            EventType.GROUP_RECOVERED,
            "group:main/linkedin",
            Scope.GROUP,
            level_from="failed",
            level_to=FINE,
            facts=NotificationFacts(affected=5, duration=HOUR),
        ),
        "5 LinkedIn connections of main work again after 1h.",
    ),
    (
        a_scope(EventType.API_FAILED, "limit:x", Scope.API, reason=Reason.API_THROTTLED, facts=NotificationFacts(affected=9)),
        (
            "The API limits the requests of all accounts since 2030-01-01 00:00 UTC: the API limits our requests. 9 connections affected. "
            "Lower requests_per_second or raise the interval."
        ),
    ),
    (
        a_scope(
            EventType.API_RECOVERED, "api:x", Scope.API, level_from="failed", level_to=FINE, facts=NotificationFacts(duration=90 * MINUTE)
        ),
        "The PostPost API answers again after 1h 30m.",
    ),
]


@pytest.mark.parametrize(("notification", "expected"), SENTENCES)
def test_sentences(notification: Notification, expected: str) -> None:
    """One line says what happened to whom, since when, why, and what to do."""
    assert summary(notification, a_connection() if notification.connection_id else None) == expected


def every_notification() -> list[Notification]:
    scopes = {
        "account": Scope.ACCOUNT,
        "api": Scope.API,
        "group": Scope.GROUP,
        "platform": Scope.PLATFORM,
        "storage": Scope.STORAGE,
        "receiver": Scope.RECEIVER,
    }
    made = []
    for kind in EventType:
        word = kind.value.partition(".")[0]
        if kind in {EventType.DIGEST, EventType.TEST}:
            continue
        if word in scopes:
            made.append(a_scope(kind, f"{word}:main", scopes[word]))
        elif word == "token":
            made.append(an_expiry(type=kind))
        else:
            made.append(
                a_notification(type=kind, facts=NotificationFacts(reminder=1, closed_why="removed", permissions_lost=("w_member_social",)))
            )
    return made


@pytest.mark.parametrize("notification", every_notification(), ids=lambda notification: notification.type.value)
def test_schema_of_every_type(schema: Any, notification: Notification) -> None:
    """Every type has its sentence, and its body is what the published schema says."""
    connection = a_connection() if notification.connection_id else None
    body = json.loads(render("msg_1", notification, connection, IDENTITY))
    assert list(problems(body, schema)) == []
    assert body["type"] == notification.type
    assert "no details known" not in body["summary"] or notification.type in {EventType.INVENTORY_CHANGED, EventType.RECEIVER_FAILING}
    assert not body["summary"].startswith(":")


def test_schema_knows_every_type(schema: Any) -> None:
    """The schema lists exactly the types that exist, and refuses keys that it does not describe."""
    assert set(schema["$defs"]["type"]["enum"]) == {kind.value for kind in EventType}
    body = document(a_notification())
    assert list(problems(body | {"more": 1}, schema)) == ["$ has an unknown more"]
    assert list(problems(body | {"data": body["data"] | {"more": 1}}, schema)) == ["$.data has an unknown more"]
    assert len(list(problems(body | {"severity": 1, "id": None, "version": "2"}, schema))) == 3


def test_other_bodies(schema: Any) -> None:
    """Digests and test messages are described by the schema too."""
    bodies = [render("msg_1", a_notification(number), a_connection(number), IDENTITY) for number in (1, 2)]
    bodies.append(render("msg_3", an_expiry(seq=2), a_connection(), IDENTITY))
    digest = json.loads(render_digest("msg_4", START, bodies, IDENTITY))
    assert list(problems(digest, schema)) == []
    assert list(problems(json.loads(render_test("msg_5", START, "on-call", IDENTITY)), schema)) == []
    first, second = digest["data"]["items"]
    assert (first["type"], first["merged"], [other["type"] for other in first["others"]]) == ("token.expiring", 2, ["connection.failed"])
    assert (second["type"], second["merged"], "others" in second) == ("connection.failed", 1, False)
    assert digest["severity"] == "critical"
    assert digest["summary"] == "2 connections changed: 1 expiring, 1 failed (LinkedIn 2)."


def test_fifty_fit() -> None:
    """A digest of fifty connections with ordinary names fits into one message."""
    named = [a_connection(number, name="The company page of the year", platform_id="linkedin-Tz9W5i6ZYG") for number in range(MAX_ITEMS)]
    bodies = [render(f"msg_{one.id}", a_notification(one.id), one, IDENTITY) for one in named]
    assert len(render_digest("msg_d", START, bodies, IDENTITY)) <= MAX_BODY


HOSTILE = "\ud800\x00\u202e<!channel> @everyone \x1b[31m \u2028\n" + "🙈" * 5000


@given(
    st.text(max_size=2000), st.text(min_size=1, max_size=2000), st.dictionaries(st.text(max_size=300), st.text(max_size=3000), max_size=40)
)
def test_hostile_text(detail: str, name: str, labels: dict[str, str]) -> None:
    """Whatever stands in names, labels and messages: valid JSON, one line for people, 20 kB at most."""
    connection = a_connection(platform_id=("linkedin-" + name)[:260], name=name, labels=labels, account=name)
    incident = IncidentRef(Topic.CONNECTION, name, 1, START)
    notification = a_notification(
        detail=detail, incident=incident, facts=NotificationFacts(username=name, permissions_lost=(name,) * 100, closed_why=name)
    )
    body = render("msg_1", notification, connection, IDENTITY)
    assert len(body) <= MAX_BODY
    text = json.loads(body)["summary"]
    assert text.isprintable()
    assert len(text) <= 500


def test_hostile_extremes() -> None:
    """The worst texts of all, in every place."""
    connection = a_connection(
        platform_id="linkedin-" + HOSTILE, name=HOSTILE, labels={HOSTILE[:n]: HOSTILE for n in range(30)}, account=HOSTILE
    )
    notification = a_notification(
        detail=HOSTILE, incident=IncidentRef(Topic.CONNECTION, HOSTILE, 1, START), facts=NotificationFacts(username=HOSTILE)
    )
    body = render("msg_1", notification, connection, IDENTITY)
    assert len(body) <= MAX_BODY
    assert json.loads(body)["data"]["incident"]["key"].isascii()


def test_incident_key() -> None:
    """The key names one incident of one database, at most 255 characters long, and never two of them."""
    incident = IncidentRef(Topic.CONNECTION, "17", 3, START)
    assert incident_key(incident, "a1b2") == "pp-a1b2-17-connection-3"
    odd = [replace(incident, subject=subject) for subject in ("a b", "a\u00a0b", "x" * 500, "x" * 501, "ä")]
    keys = {incident_key(one, "i" * 100) for one in odd}
    assert len(keys) == len(odd)
    assert all(len(key) <= 255 and key.isascii() for key in keys)


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(minutes=1, seconds=1), "1m 1s"),
        (timedelta(hours=2), "2h"),
        (timedelta(days=1, minutes=5), "1d"),
        (timedelta(days=400, hours=3, minutes=59), "400d 3h"),
    ],
)
def test_durations(duration: timedelta, text: str) -> None:
    """Durations are told in their two largest units."""
    assert span(duration) == text


def test_severity_of_digest() -> None:
    """A digest is as severe as its worst item."""
    bodies = [
        render("m", a_notification(number, severity=severity), a_connection(number), IDENTITY) for number, severity in enumerate(Severity)
    ]
    assert json.loads(render_digest("d", START, bodies, IDENTITY))["severity"] == "critical"
    assert json.loads(render_digest("d", START, bodies[:2], IDENTITY))["severity"] == "warning"


def test_documentation(schema: Any) -> None:
    """The page about the webhook names every type, and its example is a valid body."""
    page = SCHEMA.with_name("webhook.md").read_text()
    assert [kind.value for kind in EventType if f"| `{kind.value}` |" not in page] == []
    example = json.loads(page.partition("```json\n")[2].partition("```")[0])
    assert list(problems(example, schema)) == []
    digest = json.loads(page.rpartition("```json\n")[2].partition("```")[0])
    assert list(problems(digest, schema["$defs"]["digest"], schema)) == []


def test_digest_of_reminders() -> None:
    """What a digest reminds of is said in words: how many are still in trouble, beside what is new."""
    reminded = [
        render("m", replace(a_notification(n), type=EventType.REMINDER, why=NotificationReason.REMINDER), a_connection(n), IDENTITY)
        for n in (1, 2)
    ]
    news = render("m", a_notification(3), a_connection(3), IDENTITY)
    only = json.loads(render_digest("m", START, reminded, IDENTITY))
    both = json.loads(render_digest("m", START, [*reminded, news], IDENTITY))
    one = json.loads(render_digest("m", START, [news], IDENTITY))
    assert only["summary"] == "2 connections still in trouble (LinkedIn 2)."
    assert both["summary"] == "3 connections changed: 2 still in trouble, 1 failed (LinkedIn 3)."
    assert one["summary"] == "1 connection changed: 1 failed (LinkedIn 1)."
    settings = ReceiverSettings(name="team", url=Secret("https://hooks.example.org/x"))
    assert read(render_digest("m", START, reminded, IDENTITY), settings).lines == tuple(
        f"LinkedIn “Page {n}”: still broken (the platform rejects the stored credential)" for n in (1, 2)
    )


def test_members_of_one_name() -> None:
    """Connections that fail together are called by their names, and by their users or accounts where several have one name."""
    notification = a_scope(EventType.PLATFORM_FAILED, "platform:linkedin", Scope.PLATFORM, facts=NotificationFacts(affected=3))
    members = [
        a_connection(1, platform_id="linkedin-1", account="main", user_id="u1", name=None),
        a_connection(2, platform_id="linkedin-1", account="second", name=None),
        a_connection(3, platform_id="linkedin-3", name="Page"),
    ]
    text = summary(notification, None, members, {"u1": "Acme"})
    assert "They are linkedin-1 (Acme), linkedin-1 (second), Page." in text
