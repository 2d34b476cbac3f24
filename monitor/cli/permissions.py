"""The verb `permissions`: accept that a connection lost some."""

import argparse

from monitor.cli import output
from monitor.cli.lookup import find
from monitor.cli.options import ACCOUNT, CONFIG, JSON, load_config
from monitor.cli.silence import login
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.db import Reader, operator_session, read_state
from monitor.domain.connections import Connection
from monitor.domain.silencing.acceptance import Acceptance, acceptable
from monitor.errors import UsageError
from monitor.redaction import clean
from monitor.text.format import one_line

_EPILOG = """\
examples:
  postpost-monitor permissions accept linkedin-Tz9W5i6ZYG
  postpost-monitor permissions accept "Company page" --author anna --reason "posts by the agency only"
  postpost-monitor permissions accept linkedin-Tz9W5i6ZYG --account main     when several accounts have that id

What is missing now is no longer required, and the incident closes. A permission that is granted again is required from then on. One
that `require_permissions` names stays required. A running daemon applies it within seconds.
"""


def accept(args: argparse.Namespace) -> int:
    """Accept what a connection lacks now; returns 0."""
    author, reason = clean(args.author, 80).strip(), clean(args.reason, 300).strip()
    if not author:
        raise UsageError("permissions accept: --author must not be empty")
    with operator_session(load_config(args).database.url.reveal()) as operations:
        connection, missing, lost = _lost(operations.reader, args.id, args.account)
        operations.accept_loss(Acceptance(connection.id, lost, SystemClock().now(), author, reason))
    required = [name for name in missing if name not in lost]
    if args.json:
        output.put(
            {"connection": connection.platform_id, "account": connection.account_label, "accepted": list(lost), "required": required}
        )
        return 0
    print(f"Accepted: {one_line(connection.name or connection.platform_id, 120)} no longer needs {_names(lost)}.")
    if required:
        print(f"Still missing: {_names(required)}, which require_permissions in the configuration names.")
    else:
        print("A running daemon closes the incident within seconds.")
    return 0


def _lost(reader: Reader, word: str, account: str | None) -> tuple[Connection, tuple[str, ...], tuple[str, ...]]:
    """The connection that *word* means, what it lacks, and what of that can be accepted; raises UsageError when that is nothing."""
    connection, retired = find(reader, word, account)
    shown = one_line(connection.name or connection.platform_id, 120)
    if retired:
        raise UsageError(f"{shown} is no longer watched")
    state = read_state(reader, connection.id)
    if state is None or not state.permissions_missing:
        raise UsageError(f"{shown} lacks no permission")
    missing, lost = state.permissions_missing, acceptable(connection, state)
    if not lost:
        raise UsageError(
            f"{shown} lacks {_names(missing)}, which require_permissions in the configuration names: remove it there, and reload"
        )
    return connection, missing, lost


def _names(permissions: tuple[str, ...] | list[str]) -> str:
    return ", ".join(one_line(name, 80) for name in permissions)


VERB = Verb(
    "Accept that a connection lost permissions.",
    verbs={
        "accept": Verb(
            "Accept that a connection lacks the permissions that it lacks now: they are no longer required, and the incident closes.",
            accept,
            (
                CONFIG,
                argument("id", metavar="CONNECTION", help="platform id as the API lists it, or the name that `status` prints"),
                ACCOUNT,
                argument("--author", default=login(), metavar="NAME", help="who accepts it (default: the current user)"),
                argument("--reason", default="", metavar="TEXT", help="why they are not needed"),
                JSON,
            ),
            help="no longer require the permissions that it lacks",
            epilog=_EPILOG,
        ),
    },
    epilog=_EPILOG,
)
