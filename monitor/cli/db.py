"""The verb `db`: upgrade, check, back up or copy the database."""

import argparse
import asyncio
import os
from pathlib import Path

from monitor import logs
from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.output import Progress
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import read_database_url
from monitor.db import Database, back_up, copy_database, examine
from monitor.db.cluster.members import upgrade_schema

_EPILOG = """\
examples:
  postpost-monitor db upgrade                 upgrade the schema; `run` does so too
  postpost-monitor db upgrade --contract      at the end of a rolling upgrade of a cluster
  postpost-monitor db check                   look for damage, even while the daemon runs
  postpost-monitor db backup                  copy into the database's folder
  postpost-monitor db backup /backup/one.db   copy to that file, even while the daemon runs
  postpost-monitor db copy /etc/postpost-monitor/credentials/database-url

An upgrade of an existing SQLite database makes such a copy first. Back up PostgreSQL with pg_dump.
"""


def upgrade(args: argparse.Namespace) -> int:
    """Upgrade the schema; returns 0."""
    config = load_config(args)
    url, cluster = config.database.url.reveal(), config.cluster
    if cluster is None or cluster.mode != "shared":
        return output.report(asyncio.run(_open_once(url)), as_json=args.json)
    upgrade_schema(url, contract=args.contract)
    return output.report(
        "The database is up to date." if args.contract else "The database is up to date; older releases can use it too.", as_json=args.json
    )


async def _open_once(url: str) -> str:
    database = Database(url, clock=SystemClock(), owner="db upgrade")
    await database.start()
    await database.close()
    return "The database is up to date."


def check(args: argparse.Namespace) -> int:
    """Look for damage; returns 0."""
    with Progress(SystemClock()) as progress:
        result = examine(load_config(args).database.url.reveal(), progress.show)
    return output.report(result, as_json=args.json)


def backup(args: argparse.Namespace) -> int:
    """Copy the database; returns 0."""
    clock = SystemClock()
    with Progress(clock) as progress:
        result = back_up(load_config(args).database.url.reveal(), args.path, clock.now(), progress.show)
    return output.report(result, as_json=args.json)


def copy(args: argparse.Namespace) -> int:
    """Copy every row into another database; returns 0."""
    clock = SystemClock()
    source = load_config(args).database.url.reveal()
    target = read_database_url(args.file, os.environ)
    logs.register_secrets([target.reveal()])
    with Progress(clock) as progress:
        result = copy_database(source, target.reveal(), clock, progress.show)
    return output.report(result, as_json=args.json)


VERB = Verb(
    "Upgrade, check, back up or copy the database.",
    verbs={
        "upgrade": Verb(
            "Upgrade the schema; the daemon must not be running. Exit code 75 if it is, 78 if the schema is too new. In a cluster that shares "
            "the work, nodes of the release before go on beside it; --contract then removes what only they need.",
            upgrade,
            (
                CONFIG,
                JSON,
                argument("--contract", action="store_true", help="in a cluster: remove what older releases need; refused while one runs"),
            ),
            help="upgrade the schema",
        ),
        "check": Verb(
            "Read the whole database and its schema revision. Exit code 74 if it is corrupt, 78 if the schema does not fit.",
            check,
            (CONFIG, JSON),
            help="look for damage and an outdated schema",
        ),
        "backup": Verb(
            "Copy an SQLite database to PATH, by default into its own folder under a name with the time, and verify the copy.",
            backup,
            (CONFIG, JSON, argument("path", nargs="?", type=Path, metavar="PATH", help="file to write; it must not exist yet")),
            help="copy the database while it is in use",
        ),
        "copy": Verb(
            "Copy everything into a new database, of SQLite or PostgreSQL, and compare both; the daemon must not be running. FILE holds the "
            "address of the new database, as database.url_file does. An interrupted copy leaves it empty. Exit code 75 while a daemon runs.",
            copy,
            (CONFIG, JSON, argument("file", type=Path, metavar="FILE", help="file with the URL of the new database")),
            help="copy everything into another database",
        ),
    },
    epilog=_EPILOG,
)
