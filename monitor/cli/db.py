"""The verb `db`: bring the database's schema up to date, check it, copy it."""

import argparse
import asyncio
from pathlib import Path
from textwrap import dedent

from monitor.cli import output
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.output import Progress
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.db import Database, back_up, examine

_EPILOG = """\
examples:
  postpost-monitor db upgrade                 bring the schema up to date; `run` does so too
  postpost-monitor db check                   look for damage; may run while the monitor does
  postpost-monitor db backup                  copy into the database's folder
  postpost-monitor db backup /backup/one.db   copy to that file; may run while the monitor does

An upgrade of an existing SQLite database first makes such a copy by itself. Back up PostgreSQL with pg_dump.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "db",
        help="upgrade, check or back up the database",
        description="Upgrade, check or back up the database.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name, run, words in (
        ("upgrade", _upgrade, "bring the schema up to date"),
        ("check", _check, "look for damage and an outdated schema"),
        ("backup", _backup, "copy the database while it is in use"),
    ):
        verb = verbs.add_parser(name, help=words, description=dedent(run.__doc__ or ""))
        add_config(verb)
        add_json(verb)
        verb.set_defaults(run=run)
        if name == "backup":
            verb.add_argument("path", nargs="?", type=Path, metavar="PATH", help="file to write; it must not exist yet")


def _upgrade(args: argparse.Namespace) -> int:
    """Bring the schema up to date; the monitor must not be running. Exit code 75 when it is, 78 when the schema is too new."""
    return _say(asyncio.run(_open_once(load_config(args).database.url.reveal())), args)


def _say(done: str, args: argparse.Namespace) -> int:
    if args.json:
        output.put({"done": done})
    else:
        print(done)
    return 0


async def _open_once(url: str) -> str:
    database = Database(url, clock=SystemClock(), owner="db upgrade")
    await database.start()
    await database.close()
    return "The database is up to date."


def _check(args: argparse.Namespace) -> int:
    """Read all of the database and its schema's number. Exit code 74 when it is damaged, 78 when the schema does not fit."""
    with Progress(SystemClock()) as progress:
        done = examine(load_config(args).database.url.reveal(), progress.tell)
    return _say(done, args)


def _backup(args: argparse.Namespace) -> int:
    """Copy an SQLite database to PATH, by default into its own folder, with the time in its name, and see that the copy is sound."""
    with Progress(SystemClock()) as progress:
        done = back_up(load_config(args).database.url.reveal(), args.path, SystemClock().now(), progress.tell)
    return _say(done, args)
