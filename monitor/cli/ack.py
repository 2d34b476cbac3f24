"""The verb `ack`: acknowledge incidents."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.directory import Directory
from monitor.cli.lookup import connections_by_number, directory
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.silence import author_and_reason, login
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.config.problems import nearest
from monitor.db import IncidentRow, Reader, list_incidents, notified_as, notified_key, operator_session, read_meta
from monitor.domain.connections import Connection
from monitor.domain.events import incident_key
from monitor.domain.routing.rules import connection_facts, matches, scope_facts
from monitor.domain.silencing.acks import Ack
from monitor.errors import UsageError
from monitor.text.format import one_line

_EPILOG = """\
examples:
  postpost-monitor ack pp-6c1f2a90-17-connection-3 --reason "waiting for the customer"   the key is in every notification
  postpost-monitor ack linkedin-Tz9W5i6ZYG --author anna --reason "reconnects on Monday"
  postpost-monitor ack "Company page" --reason "reconnects on Monday"
  postpost-monitor ack api:api.postpost.dev --reason "known at PostPost"

An acknowledgement stops the reminders until the incident closes or its level rises. That it closed is notified as usual.
"""

_ALL = 1_000_000


def run(args: argparse.Namespace) -> int:
    """Acknowledge; returns 0."""
    config, now = load_config(args), SystemClock().now()
    author, reason = author_and_reason(args, "ack")
    keys = acknowledge(config, args.incidents, author=author, reason=reason, now=now)
    if args.json:
        output.put({"acknowledged": keys})
    else:
        print(f"Acknowledged: {', '.join(keys)}. No reminders until the incident closes or its level rises.")
    return 0


def acknowledge(config: Config, names: Sequence[str], *, author: str, reason: str, now: datetime) -> list[str]:
    """Acknowledge the open incidents that *names* mean; returns their keys. Raises UsageError, and changes nothing, when one means none."""
    with operator_session(config.database.url.reveal()) as operations:
        incidents = open_incidents(operations.reader, names, config)
        for row in incidents.values():
            incident = row.incident
            operations.acknowledge(Ack(incident.topic, incident.subject, incident.number, row.level, now, author, reason))
    return list(incidents)


def open_incidents(reader: Reader, names: Sequence[str], config: Config) -> dict[str, IncidentRow]:
    """The open incidents that *names* mean, by the key that receivers have: keys, old ones too, scopes, and words for connections, users, accounts, platforms."""
    known, connections = directory(reader, config), connections_by_number(reader)
    instance = config.monitor.instance or read_meta(reader, "instance_id") or ""
    rows = {incident_key(row.incident, instance): row for row in list_incidents(reader, open_only=True, limit=_ALL)}
    incidents: dict[str, IncidentRow] = {}
    for name in names:
        exact = {key: row for key, row in rows.items() if name == key or (row.connection_id is None and name == row.incident.subject)}
        # The key of an old notification, from before the account or the instance got another name.
        before = notified_as(reader, name) if not exact else None
        exact |= {key: row for key, row in rows.items() if before == (row.incident.topic, row.incident.subject, row.incident.number)}
        incidents |= exact or _meant(name, rows, known, connections)
    return {notified_key(reader, row.incident) or key: row for key, row in incidents.items()}


def _meant(word: str, rows: Mapping[str, IncidentRow], known: Directory, connections: Mapping[int, Connection]) -> dict[str, IncidentRow]:
    """The open incidents of what *word* stands for; raises UsageError when there are none, or of several things."""
    meanings = known.meanings(word)
    found = [
        {key: row for key, row in rows.items() if _is_about(row, meaning, connections.get(row.connection_id or 0))} for meaning in meanings
    ]
    found = [each for each in found if each]
    shown = one_line(word, 260)
    if len(found) > 1:
        keys = ", ".join(key for each in found for key in each)
        raise UsageError(f"{shown} is ambiguous; write keys of open incidents: {one_line(keys, 500)}")
    if not found:
        close = nearest(word, known.words()) if not meanings else None
        hint = f"did you mean {close}?" if close is not None else "`postpost-monitor incidents --open` lists them"
        raise UsageError(f"no open incident matches {shown}; {hint}")
    return found[0]


def _is_about(row: IncidentRow, meaning: Mapping[str, str], connection: Connection | None) -> bool:
    if connection is not None:
        return "connection" in meaning and matches(meaning, connection_facts(connection))
    facts = scope_facts(row.incident.subject)
    # A word for an account means the account itself, not what is below it.
    return all(facts.get(name) == value for name, value in {"user": "", "platform": "", **meaning}.items())


VERB = Verb(
    "Acknowledge open incidents: their reminders stop. A running daemon applies it within seconds.",
    run,
    (
        CONFIG,
        argument(
            "incidents",
            nargs="+",
            metavar="INCIDENT",
            help="an incident key or a scope, or a word that `status` prints: the name or id of a connection (all its open incidents) or managed "
            "user, an account, account/user, a platform",
        ),
        argument("--author", default=login(), metavar="NAME", help="who acknowledges (default: the current user)"),
        argument("--reason", required=True, metavar="TEXT", help="what is being done about it"),
        JSON,
    ),
    epilog=_EPILOG,
)
