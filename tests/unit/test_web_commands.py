"""The commands that the pages offer to copy."""

import argparse
import shlex

import pytest

from monitor.cli.directory import Directory
from monitor.cli.main import build_parser
from monitor.cli.silence import expire, matchers
from monitor.domain.connections import Connection
from monitor.domain.events import IncidentRef, Topic, incident_key
from monitor.domain.reasons import Scope
from monitor.domain.routing.matchers import covers
from monitor.web.pages import cli_hints
from tests.builders import START, a_connection

AWKWARD = a_connection(
    7, account="agency", user_id="6626a1f5e4b0c91a2d3f4567", platform_id="bluesky-did:plc:x--y 'quoted' $(reboot)", platform="bluesky"
)


def known(*connections: Connection) -> Directory:
    return Directory(connections, {}, {}, ())


def _parsed(line: str) -> argparse.Namespace:
    """The line as a shell and then the real command line read it."""
    program, *words = shlex.split(line)
    assert program == "postpost-monitor"
    return build_parser(words).parse_args(words)


def test_acknowledge() -> None:
    """The offered `ack` names exactly the incident, by its key."""
    key = incident_key(IncidentRef(Topic.CONNECTION, "7", 3, START), "6c1f2a90")

    args = _parsed(cli_hints.acknowledge(key).line)

    assert (args.incidents, bool(args.reason)) == ([key], True)


@pytest.mark.parametrize("connection", [a_connection(), AWKWARD], ids=["plain", "awkward"])
def test_silence_connection(connection: Connection) -> None:
    """The offered `silence add` covers this connection, and no other of the same account."""
    args = _parsed(cli_hints.silence_connection(connection).line)
    other = a_connection(8, account=connection.account, user_id=connection.user_id, platform_id="bluesky-other")

    match = matchers(args.match, known(connection))

    assert covers(match, connection)
    assert not covers(match, other)
    assert args.duration


def test_expire_silence() -> None:
    """The offered `silence expire` ends exactly that silence."""
    args = _parsed(cli_hints.expire_silence(12).line)

    assert (args.run, args.numbers) == (expire, [12])


@pytest.mark.parametrize(
    ("scope", "subject", "match"),
    [
        (Scope.API, "api:api.postpost.dev", {"scope": "api"}),
        (Scope.STORAGE, "storage", {"scope": "storage"}),
        (Scope.RECEIVER, "receiver:on-call", {"scope": "receiver"}),
        (Scope.ACCOUNT, "account:main", {"scope": "account", "account": "main"}),
        (Scope.ACCOUNT, "rate:main", {"scope": "account", "account": "main"}),
        (Scope.USER, "user:agency/6626", {"scope": "user", "account": "agency", "user": "6626"}),
        (Scope.PLATFORM, "platform:mastodon", {"scope": "platform", "platform": "mastodon"}),
    ],
)
def test_silence_scope(scope: Scope, subject: str, match: dict[str, str]) -> None:
    """A wider cause is silenced by what its notifications can be matched on."""
    args = _parsed(cli_hints.silence_scope(scope, subject).line)

    assert matchers(args.match, known()) == match


@pytest.mark.parametrize("connection", [a_connection(), AWKWARD], ids=["plain", "awkward"])
def test_explain_and_check(connection: Connection) -> None:
    """Both name the connection and its account, whatever characters the id has."""
    explained, checked = _parsed(cli_hints.explain(connection).line), _parsed(cli_hints.check(connection).line)

    assert (explained.id, explained.account) == (connection.platform_id, connection.account_label)
    assert (checked.ids, checked.account) == ([connection.platform_id], connection.account_label)
