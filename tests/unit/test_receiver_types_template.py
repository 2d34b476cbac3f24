"""Bodies in a form that somebody else prescribes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from monitor.config import ReceiverSettings, Secret
from monitor.domain.events import EventType
from monitor.notify.base import Message
from monitor.notify.filling import fill, texts
from monitor.notify.payload import render
from monitor.notify.receiver_types import RECEIVER_TYPES
from monitor.notify.templates import MAX_TEMPLATE, examples, json_problems
from tests.builders import START, a_connection, a_notification
from tests.outbox import IDENTITY, parsed

BODY = render("msg_1", a_notification(), a_connection(), IDENTITY)
DOCUMENT = json.loads(BODY)


def never(_: str, __: Sequence[str]) -> None:
    """No word is like another."""


def filled(template: object, document: Any = DOCUMENT) -> Any:
    return parsed(fill(json.dumps(template), document))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"text": "{summary}"}, {"text": DOCUMENT["summary"]}),
        ({"text": "{severity}: { data.platform }!"}, {"text": "critical: linkedin!"}),
        ([{"n": "{data.seq}", "c": "{data.connection}"}], [{"n": 1, "c": DOCUMENT["data"]["connection"]}]),
        ({"a": "no. {data.seq}, {data.firstCheck}, {data.level}"}, {"a": 'no. 1, false, {"from": "fine", "to": "error"}'}),
        ({"a": "{data.durationSeconds}", "b": "[{data.durationSeconds}]"}, {"a": None, "b": "[]"}),
        ({"a": "{data.no.such.thing}", "b": "{summary.x}"}, {"a": None, "b": None}),
        ({"a": "{{summary}} {{", "{summary}": 1}, {"a": "{summary} {", "{summary}": 1}),
        ({"a": 1, "b": None, "c": [True, 1.5]}, {"a": 1, "b": None, "c": [True, 1.5]}),
    ],
)
def test_fill(template: object, expected: object) -> None:
    """A lone place becomes the value itself, others are put in as text, absent ones as nothing; keys stay as they are."""
    assert filled(template) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda below: st.lists(below) | st.dictionaries(st.text(), below)
)


@given(value=JSON, before=st.text())
def test_values_stay_values(value: object, before: str) -> None:
    """Whatever a value holds, braces, quotes and line breaks included, the result is JSON of the template's shape."""
    escaped = before.replace("{", "{{").replace("}", "}}")
    got = filled({"a": "{x}", "b": f"={escaped}{{x}}", "c": 1}, {"x": value})
    assert set(got) == {"a", "b", "c"}
    shown = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    assert got["b"] == f"={before}{shown}".encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('{"a": }', "is not JSON: Expecting value in its line 1, column 7"),
        ('{"a": NaN}', "is JSON that cannot be sent"),
        ("[" * 5000, "is JSON that cannot be sent"),
        ('"{summary}"', "must be a JSON object or list"),
        ('{"a": "{sumary}"}', "has an unknown place {sumary}"),
        ('{"a": "{}"}', "has an unknown place {}"),
        ('{"a": "{summary"}', "has a single { in a text"),
        ('{"a": "' + "x" * MAX_TEMPLATE + '"}', f"is longer than {MAX_TEMPLATE} characters"),
    ],
)
def test_problems(template: str, message: str) -> None:
    """What can't work is refused before the first message, and says what to do."""
    ((said, fix),) = json_problems(template, never)
    assert said == message
    assert fix


def test_every_event_fits() -> None:
    """A template is tried on every type of event; places of any of them, and any label, are known."""
    template = '{"a": "{data.expiresAt} {data.items} {data.receiver} {data.connection.labels.any}", "b": "{data.incident.key}"}'
    assert list(json_problems(template, never)) == []
    for kind, body in examples().items():
        got = parsed(fill(template, json.loads(body)))
        assert (got["b"] is None) == (kind in {EventType.DIGEST, EventType.TEST})


def test_own_texts() -> None:
    """What a template says by itself may be secret, and is known as such; what is filled in is not."""
    assert list(texts('{"token": "hidden", "text": "{summary}", "list": ["more"]}')) == ["hidden", "more"]


def test_signed() -> None:
    """What is sent is what is signed: the filled template."""
    secret = "whsec_" + "bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy1zZWNyZXQ="
    settings = ReceiverSettings(
        name="x", url=Secret("https://hooks.example.org/x"), secrets=(Secret(secret),), template=Secret('{"text": "{summary}"}')
    )
    made = RECEIVER_TYPES["webhook"].render(Message("msg_1", BODY, START, "x"), settings)
    assert made is not None
    assert parsed(made.body) == {"text": DOCUMENT["summary"]}
    signed = Webhook(secret).sign("msg_1", START, made.body.decode())
    assert made.headers["webhook-signature"] == signed
