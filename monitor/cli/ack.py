"""The verb `ack`: acknowledge incidents."""

import argparse
from collections.abc import Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.incidents import connections_by_number
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.silence import author_and_reason, login
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.db import IncidentRow, Reader, list_incidents, operator_session, read_meta
from monitor.domain.events import incident_key
from monitor.domain.silencing.acks import Ack
from monitor.errors import UsageError
from monitor.text.format import one_line

_EPILOG = """\
examples:
  postpost-monitor ack pp-6c1f2a90-17-connection-3 --reason "waiting for the customer"   the key is in every notification
  postpost-monitor ack linkedin-Tz9W5i6ZYG --author anna --reason "reconnects on Monday"
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
        incidents = open_incidents(operations.reader, names, config.monitor.instance)
        for row in incidents.values():
            incident = row.incident
            operations.acknowledge(Ack(incident.topic, incident.subject, incident.number, row.level, now, author, reason))
    return list(incidents)


def open_incidents(reader: Reader, names: Sequence[str], instance: str | None) -> dict[str, IncidentRow]:
    """Incident key to incident, for every open one that *names* mean: a key, a connection's id, or a scope."""
    connections = connections_by_number(reader)
    instance = instance or read_meta(reader, "instance_id") or ""
    rows = {incident_key(row.incident, instance): row for row in list_incidents(reader, open_only=True, limit=_ALL)}
    incidents: dict[str, IncidentRow] = {}
    for name in names:
        matching = {
            key: row
            for key, row in rows.items()
            if name == key
            or (row.connection_id is None and name == row.incident.subject)
            or (row.connection_id in connections and name == connections[row.connection_id].platform_id)
        }
        if not matching:
            raise UsageError(f"no open incident matches {one_line(name, 260)}; `postpost-monitor incidents --open` lists them")
        incidents |= matching
    return incidents


VERB = Verb(
    "Acknowledge open incidents: their reminders stop. A running daemon applies it within seconds.",
    run,
    (
        CONFIG,
        argument(
            "incidents",
            nargs="+",
            metavar="INCIDENT",
            help="an incident key, or the id of a connection or of a scope: then all its open incidents",
        ),
        argument("--author", default=login(), metavar="NAME", help="who acknowledges (default: the current user)"),
        argument("--reason", required=True, metavar="TEXT", help="what is being done about it"),
        JSON,
    ),
    epilog=_EPILOG,
)
