"""Matchers that can match nothing: refused, warned of, logged, shown; and notifications that no route matches."""

import pytest

from monitor.cli.silence import covers_everything
from monitor.domain.routes import Route
from monitor.domain.routing.matchers import UnmatchedMatcher, covers, unmatched
from monitor.domain.routing.rules import is_unrouted, takes_everything
from tests.builders import a_connection, a_notification
from tests.configured import configured

CONFIG = """
accounts: [{{name: main, api_key: sk_example.0123456789, discover: {discover}}}]
connections: [{{id: linkedin-page1, labels: {{team: social}}}}]
receivers: [{{name: on-call, url: "https://hooks.example.org/x"}}]
routes: {routes}
"""


@pytest.mark.parametrize(
    ("routes", "discover", "wanted"),
    [
        (
            "[{match: {team: socail}, receivers: [on-call]}, {receivers: [on-call]}]",
            "workspace",
            "no connection with label team socail is configured",
        ),
        (
            "[{match: {connection: linkedin-page2}, receivers: [on-call]}, {receivers: []}]",
            "'off'",
            "no connection linkedin-page2 is configured",
        ),
        ("[{match: {connection: linkedin-page2}, receivers: [on-call]}, {receivers: []}]", "connections", ""),
        ("[{match: {connection: linkdin-abc}, receivers: [on-call]}, {receivers: []}]", "connections", "linkdin is not a known platform"),
        (
            "[{match: {user: 64f0c8e1a2b3c4d5e6f70819}, receivers: [on-call]}, {receivers: []}]",
            "connections",
            "no user 64f0c8e1a2b3c4d5e6f70819 is configured",
        ),
        ("[{match: {user: 64f0c8e1a2b3c4d5e6f70819}, receivers: [on-call]}, {receivers: []}]", "workspace", ""),
        ("[{match: {platform: newnetwork}, receivers: [on-call]}, {receivers: []}]", "connections", "newnetwork is not a known platform"),
        (
            "[{match: {severity: critical}, receivers: [on-call]}]",
            "connections",
            "a notification that no route matches reaches no receiver",
        ),
        ("[{match: {severity: critical}, receivers: [on-call]}, {match: {severity: info|warning}, receivers: []}]", "connections", ""),
        (
            "[{match: {severity: crit*, platform: 'linked*', account: main, user: ''}, receivers: [on-call]}, {receivers: []}]",
            "connections",
            "",
        ),
    ],
)
def test_warnings(routes: str, discover: str, wanted: str) -> None:
    """What works but matches nothing configured, or leaves something untold, is a warning; what discovery may find is not."""
    found = [warning.message for warning in configured(CONFIG.format(routes=routes, discover=discover)).warnings]
    warnings = [message for message in found if "plain text" not in message]
    assert warnings == ([wanted] if wanted else [])


def test_unmatched() -> None:
    """Each matcher of an open set that none of the connections matches is named; empty patterns and closed sets are not."""
    connections = [a_connection(1, labels={"team": "social"}), a_connection(2, account="second")]
    matches = [
        ("routes[0]", {"team": "sales|social", "account": "sec*", "severity": "critical"}),
        ("routes[1]", {"team": "sales", "platform": "linkedin", "user": ""}),
        ("silences night", {"connection": "linkedin-page3", "region": "*"}),
    ]
    assert unmatched(matches, connections) == (
        UnmatchedMatcher("routes[1]", "team", "sales"),
        UnmatchedMatcher("silences night", "connection", "linkedin-page3"),
    )


def test_routes_that_take_everything() -> None:
    """A route without matchers takes everything, and so do routes that together name every severity."""
    assert takes_everything([{"platform": "x"}, {}])
    assert takes_everything([{"severity": "critical"}, {"severity": "w*|info"}])
    assert not takes_everything([{"severity": "critical"}, {"severity": "warning"}])
    assert not takes_everything([{"severity": "*", "platform": "x"}])


def test_unrouted() -> None:
    """Only a notification that no route matches is unrouted; one that is dropped on purpose, or sent to all, is not."""
    notification, connection = a_notification(), a_connection()
    assert is_unrouted(notification, connection, [Route({"severity": "info"}, ("chat",))])
    assert not is_unrouted(notification, connection, [Route({"severity": "critical"}, ())])
    assert not is_unrouted(notification, connection, [])


@pytest.mark.parametrize(
    ("match", "covered"),
    [
        ({}, True),
        ({"type": "account.failed"}, False),
        ({"scope": "account|user"}, False),
        ({"scope": "*"}, True),
        ({"topic": "expiry"}, True),
    ],
)
def test_silences_of_wide_scopes(match: dict[str, str], covered: bool) -> None:
    """A silence of messages about accounts covers no connection: their messages are sent."""
    assert covers({**match, "account": "main"}, a_connection()) is covered


@pytest.mark.parametrize(
    ("match", "warned"),
    [({}, True), ({"severity": "critical"}, True), ({"severity": "info|warning"}, False), ({"topic": "expiry"}, False)],
)
def test_silence_of_everything(match: dict[str, str], warned: bool) -> None:
    """A silence of all connections, critical messages included, is warned about with their number; one of some is not."""
    assert ("all 3 connections" in covers_everything(match, 3, 3)) is warned
    assert covers_everything(match, 2, 3) == ""
