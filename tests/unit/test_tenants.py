"""Selectors of `connections` and names of `users`: what they make of a connection, and what can match nothing."""

from datetime import timedelta

import pytest

from monitor.config import ReceiverSettings, Secret
from monitor.domain.connections import Connection, ConnectionSpec, matching
from monitor.domain.events import IncidentRef, Topic
from monitor.domain.load import account_loads
from monitor.domain.reasons import Scope
from monitor.domain.routes import Route
from monitor.domain.routing.connection_entries import ConnectionEntries, ConnectionEntry
from monitor.domain.routing.names import resolved
from monitor.domain.routing.rules import ReceiverRule, receivers_for
from monitor.domain.silencing.controls import Controls
from monitor.notify import payload
from monitor.notify.chat_message import read
from monitor.notify.identity import MonitorIdentity
from monitor.state.evaluation_config import EvaluationConfig
from monitor.text.load import interval_advice, load_text
from tests.builders import START, a_connection, a_notification, a_silence
from tests.configured import ACCOUNT, configured

USER = "65f2a0c4d8e9b1a2c3d4e5f6"
OTHER = "65f2a0c4d8e9b1a2c3d4e5f7"
WORKSPACE = 'accounts: [{name: main, api_key: "${KEY}", discover: workspace}]\n'
MINUTE = timedelta(minutes=1)

TENANTS = f"""{WORKSPACE}
users:
- {{id: {USER}, name: Acme GmbH, labels: {{customer: acme, tier: gold}}}}
connections:
- match: {{}}
  interval: 20m
- match: {{platform: linkedin}}
  interval: 10m
  labels: {{network: business, tier: silver}}
  require_permissions: [w_member_social]
- match: {{user_id: Acme*, id: "linkedin-*|x-*"}}
  interval: 5m
  expect: ok
- id: linkedin-1
  user_id: {USER}
  name: Company page
  labels: {{network: pages}}
- match: {{user_id: Acme GmbH}}
  interval: 7m
"""


@pytest.mark.parametrize(
    ("key", "spec"),
    [
        (
            ("main", USER, "linkedin-1"),
            {
                "interval": 7 * MINUTE,
                "expect": "ok",
                "name": "Company page",
                "labels": {"customer": "acme", "tier": "silver", "network": "pages"},
                "require_permissions": ("w_member_social",),
                "user_name": "Acme GmbH",
            },
        ),
        (
            ("main", USER, "x-1"),
            {"interval": 7 * MINUTE, "expect": "ok", "labels": {"customer": "acme", "tier": "gold"}, "user_name": "Acme GmbH"},
        ),
        (
            ("main", "", "linkedin-1"),
            {"interval": 10 * MINUTE, "labels": {"network": "business", "tier": "silver"}, "require_permissions": ("w_member_social",)},
        ),
        (("main", OTHER, "threads-1"), {"interval": 20 * MINUTE}),
    ],
)
def test_precedence(key: tuple[str, str, str], spec: dict[str, object]) -> None:
    """The user's labels come first, then the selectors in their order, then the entry with the id; labels are merged one by one."""
    found = configured(TENANTS).entries().spec(key, listed=True)
    assert found == ConnectionSpec(*key, platform=key[2].partition("-")[0], listed=True, **spec)  # type: ignore[arg-type]


def test_places_of_entries() -> None:
    """It can be said which entries apply, the one that takes precedence last."""
    entries = configured(TENANTS).entries().applying(("main", USER, "linkedin-1"))
    assert [entry.place.rpartition(":")[2] for entry in entries] == ["6", "8", "12", "19", "15"]


def test_selectors_add_nothing() -> None:
    """A selector alone names no connection; with one interval given to a named entry, that takes precedence over every selector."""
    entries = ConnectionEntries(
        {("main", "", "x-1"): ConnectionEntry("f:1", interval=MINUTE)}, [ConnectionEntry("f:2", {"platform": "x"}, interval=2 * MINUTE)]
    )
    assert entries.spec(("main", "", "x-1"), listed=False).interval == MINUTE
    assert entries.spec(("main", "", "x-2"), listed=False).interval == 2 * MINUTE


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("connections: [{match: {platform: friendster}}]", "friendster is not a known platform"),
        ("connections: [{match: {id: linkedin-9}}, linkedin-1]", "no connection linkedin-9 is configured"),
        ("connections: [{match: {user_id: acme}}, linkedin-1]", "no user acme is configured"),
        (
            "connections: [linkedin-1]\nusers: [{id: 65f2a0c4d8e9b1a2c3d4e5f6, name: Acme}]\nroutes: [{match: {user: Acne}, receivers: []}, {receivers: []}]",
            "no user Acne is configured (did you mean Acme?)",
        ),
    ],
)
def test_matches_nothing(text: str, warning: str) -> None:
    """A selector or a name that can match nothing is warned of, with the nearest name."""
    config = configured(f"{ACCOUNT.replace('}]', ', discover: off}]')}{text}")
    assert [str(one) for one in config.warnings if warning in str(one)], config.warnings


def test_misspelled_name_with_discovery() -> None:
    """Where discovery may find more users, a misspelled name is still warned of; what resembles no name is not."""
    text = f"{WORKSPACE}users: [{{id: {USER}, name: Acme GmbH}}]\nroutes: [{{match: {{user: MATCH}}, receivers: []}}, {{receivers: []}}]"
    assert any("did you mean Acme GmbH?" in str(one) for one in configured(text.replace("MATCH", "Acme GbmH")).warnings)
    assert not any("no user" in str(one) for one in configured(text.replace("MATCH", OTHER)).warnings)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("Acme", "1"), ("Acme|9", "1|9"), ("A*", "A*|1|2"), ("*", "*"), ("nobody", "nobody"), ("", "")],
)
def test_names_in_matchers(pattern: str, found: str) -> None:
    """Names become ids; a pattern matches ids and names; what is no name stays."""
    assert resolved({"user": pattern, "severity": "Acme"}, {"user": {"Acme": ("1",), "Axis": ("2",)}}) == {
        "user": found,
        "severity": "Acme",
    }


def test_routes_take_names() -> None:
    """Routes and recurring silences take the names of users and connections in place of ids."""
    config = configured(
        TENANTS + "routes: [{match: {user: Acme GmbH, connection: Company page}, receivers: []}, {receivers: []}]\n"
        "silences: [{name: night, match: {user: Acme*}, from: '01:00', to: '02:00'}]\n"
    )
    assert EvaluationConfig.from_config(config, "i").routes[0].match == {"user": USER, "connection": "linkedin-1"}
    assert config.windows()[0].match == {"user": f"Acme*|{USER}"}


def test_labels_of_users() -> None:
    """An incident of a managed user is routed and silenced by the user's labels, as its connections are."""
    incident = a_notification(incident=IncidentRef(Topic.SCOPE, f"user:main/{USER}", 1, START), scope=Scope.USER, connection_id=None)
    routes, receivers = (Route({"customer": "acme"}, ("acme",)), Route({}, ("rest",))), (ReceiverRule("acme"), ReceiverRule("rest"))
    labels = {USER: {"customer": "acme"}}
    assert receivers_for(incident, None, routes, receivers, user_labels=labels) == ("acme",)
    assert receivers_for(incident, None, routes, receivers) == ("rest",)
    silences = (a_silence(match={"customer": "acme"}),)
    assert Controls(silences=silences, user_labels=labels).suppression(incident, None, START) is not None
    assert Controls(silences=silences).suppression(incident, None, START) is None


def test_names_in_texts() -> None:
    """Notifications name the user: in the sentence, in the body, in chats and in digests."""
    connection = a_connection(user_id=USER, user_name="Acme GmbH")
    identity = MonitorIdentity("i", "1", users={USER: "Acme GmbH"})
    settings = ReceiverSettings(name="team", url=Secret("https://hooks.example.org/x"))
    body = payload.render("msg_1", a_notification(), connection, identity)
    assert "account main/Acme GmbH" in read(body, settings).summary
    assert ("User", "Acme GmbH") in read(body, settings).facts
    assert read(payload.render_digest("msg_2", START, [body], identity), settings).lines[0].startswith("LinkedIn “Page 1” of Acme GmbH:")
    incident = a_notification(incident=IncidentRef(Topic.SCOPE, f"user:main/{USER}", 1, START), scope=Scope.USER, connection_id=None)
    message = read(payload.render("msg_3", incident, None, identity), settings)
    assert "main/Acme GmbH" in message.who
    assert USER not in message.summary


def test_account_words() -> None:
    """`--account` takes an account, a user's name or id, or both with a slash."""
    connections = [
        Connection(1, ConnectionSpec("main", USER, "x-1", "x", user_name="Acme")),
        Connection(2, ConnectionSpec("main", "", "x-1", "x")),
    ]
    for word in ("main/Acme", f"main/{USER}", "Acme", USER):
        assert [each.id for each in matching(connections, "x-1", word)] == [1], word
    assert [each.id for each in matching(connections, "x-1", "main")] == [2]


def test_load() -> None:
    """More checks than the account may send are counted per account, with an interval at which they fit."""
    specs = [ConnectionSpec("main", "", f"x-{number}", "x", interval=MINUTE) for number in range(600)]
    specs += [ConnectionSpec("other", "", "x-1", "x", interval=MINUTE)]
    main, other = account_loads(specs, 5)
    assert (main.too_many, other.too_many) == (True, False)
    assert load_text(main) == (
        "the 600 connections of account main need 36,000 checks per hour, but 5 requests per second allow 18,000: checks are late"
    )
    assert interval_advice(main) == "use longer intervals: 3m for all of them would fit"
    fitting = [ConnectionSpec("main", "", f"x-{number}", "x", interval=main.fitting_interval) for number in range(600)]
    assert account_loads(fitting, 5)[0].share < 1
    assert account_loads(specs[:3], 0.1)[0].fitting_interval == timedelta(seconds=33)
