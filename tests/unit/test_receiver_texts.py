"""Texts and time zones of a receiver: the same at every type, harmless whatever a value holds, and UTC in the data."""

import json
from typing import Any

import pytest

from monitor.config import ReceiverSettings, Secret
from monitor.notify.base import Message
from monitor.notify.chat_message import localized, read
from monitor.notify.payload import render
from monitor.notify.receiver_types import RECEIVER_TYPES
from monitor.notify.templates import examples
from tests.builders import START, a_connection, a_notification
from tests.outbox import IDENTITY

KEYS = {"routing_key": Secret("0" * 32), "api_key": Secret("0" * 32)}
OWN = {"title": "[{severity}] {data.connection.name}", "text": "{summary}\n{data.reason.code} {nothing}"}


def a_receiver(kind: str, **overrides: Any) -> ReceiverSettings:
    values: dict[str, Any] = {"name": "team", "type": kind, "url": Secret("https://hooks.example.org/x")}
    return ReceiverSettings(**(values | KEYS | overrides))


def sent(kind: str, body: bytes, **overrides: Any) -> str:
    request = RECEIVER_TYPES[kind].render(Message("msg_1", body, START, "x"), a_receiver(kind, **overrides))
    assert request is not None
    return json.dumps(json.loads(request.body), ensure_ascii=False)


BODY = render("msg_1", a_notification(), a_connection(name="Page \\{summary} 1"), IDENTITY)


@pytest.mark.parametrize("kind", RECEIVER_TYPES)
def test_own_texts(kind: str) -> None:
    """Each type shows the receiver's own texts; a value that looks like a place is not filled in again."""
    shown = sent(kind, BODY, **OWN).replace("\\", "")  # Discord's escapes
    assert "credential_rejected" in shown
    assert "is broken since 2030-01-01 00:00 UTC" in shown
    if kind not in {"pagerduty", "opsgenie"}:
        assert "[critical] Page " in shown


@pytest.mark.parametrize("kind", RECEIVER_TYPES)
def test_time_zone(kind: str) -> None:
    """Texts show local times; what programs read stays in UTC."""
    shown = sent(kind, BODY, timezone="Europe/Berlin")
    assert "2030-01-01 01:00 CET" in shown.replace("\\", "")
    assert "2030-01-01 00:00 UTC" not in shown.replace("\\", "")
    document = json.loads(shown)
    if kind == "webhook":
        stored = json.loads(BODY)
        assert {name for name in document if document[name] != stored[name]} == {"summary"}
    if kind == "pagerduty":
        assert document["payload"]["timestamp"] == "2030-01-01T00:00:00+00:00"


def test_every_body() -> None:
    """No body of any kind is without a title and a text, whatever the templates leave empty."""
    settings = a_receiver("slack", title="{data.connection.name}", text="{data.nothing}", timezone="Asia/Kolkata")
    for body in examples().values():
        chat = read(body, settings)
        assert chat.title
        assert chat.summary


def test_webhook_as_it_is() -> None:
    """Without texts of its own a webhook gets the stored bytes."""
    request = RECEIVER_TYPES["webhook"].render(Message("msg_1", BODY, START, "x"), a_receiver("webhook"))
    assert request is not None
    assert request.body == BODY


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("since 2030-07-01 23:30 UTC.", "since 2030-07-02 01:30 CEST."),
        ("2030-03-31 01:00:00 UTC", "2030-03-31 03:00 CEST"),
        ("9999-12-31 23:59 UTC", "9999-12-31 23:59 UTC"),
        ("2030-99-99 99:99 UTC", "2030-99-99 99:99 UTC"),
        ("on 2030-07-01", "on 2030-07-01"),
    ],
)
def test_localized(text: str, local: str) -> None:
    """Times are converted with the rules of their day; what is no time stays."""
    assert localized(text, "Europe/Berlin") == local
    assert localized(text, "UTC") == text
