"""The verb `ack`: somebody has seen an incident and need not be reminded of it."""

import argparse
from collections.abc import Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.incidents import names_of
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.silence import login
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.db import IncidentRow, Reader, list_incidents, operator_session, read_meta
from monitor.domain.events import incident_key
from monitor.domain.silencing.acks import Ack
from monitor.errors import UsageError
from monitor.redaction import clean
from monitor.text.format import one_line

_EPILOG = """\
examples:
  postpost-monitor ack pp-6c1f2a90-17-connection-3 --reason "waiting for the customer"   the key stands in every message
  postpost-monitor ack linkedin-Tz9W5i6ZYG --author anna --reason "reconnects on Monday"
  postpost-monitor ack api:api.postpost.dev --reason "they know"

An acknowledgement stops the reminders, until the incident closes or becomes worse. Its end is told as ever.
"""

_ALL = 1_000_000


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "ack",
        help="stop the reminders of an incident",
        description="Acknowledge open incidents: their reminders stop. A running monitor takes it up within seconds.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help="an incident key, or the id of a connection or of a wider cause: then all its open incidents",
    )
    parser.add_argument("--author", default=login(), metavar="NAME", help="who has seen it (default: who is logged in)")
    parser.add_argument("--reason", required=True, metavar="TEXT", help="what is being done about it")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Acknowledge; returns 0."""
    config, now = load_config(args), SystemClock().now()
    author, reason = clean(args.author, 80).strip(), clean(args.reason, 300).strip()
    if not author or not reason:
        raise UsageError("ack: --author and --reason must say something")
    found = acknowledge(config, args.what, author=author, reason=reason, now=now)
    if args.json:
        output.put({"acknowledged": found})
    else:
        print(f"No more reminders of {', '.join(found)}, until the incident closes or becomes worse.")
    return 0


def acknowledge(config: Config, words: Sequence[str], *, author: str, reason: str, now: datetime) -> list[str]:
    """The keys of the open incidents that *words* mean, acknowledged all or none; raises UsageError when one means none."""
    with operator_session(config.database.url.reveal()) as operations:
        found = open_incidents(operations.reader, words, config.monitor.instance)
        for row in found.values():
            incident = row.incident
            operations.acknowledge(Ack(incident.topic, incident.subject, incident.number, row.level, now, author, reason))
    return list(found)


def open_incidents(reader: Reader, words: Sequence[str], instance: str | None) -> dict[str, IncidentRow]:
    """Incident key to incident, for every open one that *words* mean."""
    names = names_of(reader)
    own = instance or read_meta(reader, "instance_id") or ""
    rows = {incident_key(row.incident, own): row for row in list_incidents(reader, open_only=True, limit=_ALL)}
    found: dict[str, IncidentRow] = {}
    for word in words:
        meant = {
            key: row
            for key, row in rows.items()
            if word == key
            or (row.connection_id is None and word == row.incident.subject)
            or (row.connection_id in names and word == names[row.connection_id].platform_id)
        }
        if not meant:
            raise UsageError(f"there is no open incident {one_line(word, 260)}; `postpost-monitor incidents --open` shows them")
        found |= meant
    return found
