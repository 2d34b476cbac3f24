"""The verb `preflight`: check whether connections are ready for a post."""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.check import EXIT_FAILED, EXIT_INCONCLUSIVE
from monitor.cli.live_check import LiveChecker
from monitor.cli.lookup import OpenDatabase, configured, only, opened
from monitor.cli.options import ACCOUNT, CONFIG, JSON, duration, load_config, platform_ids
from monitor.cli.output import coloured, table, terminal_width
from monitor.cli.verb import Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.connections import Connection, matching
from monitor.domain.projections.preflight import PreflightResult, Readiness, judged, overall, reason_for_doubt, renews_itself, stored
from monitor.domain.states import ConnectionState
from monitor.errors import StoreError, StoreUnavailable
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import one_line, subject_name
from monitor.text.reasons import preflight_text

_EPILOG = """\
examples:
  postpost-monitor preflight linkedin-Tz9W5i6ZYG && publish
  postpost-monitor preflight linkedin-Tz9W5i6ZYG threads-1784 --min-ttl 2d     the tokens must be valid for two more days
  postpost-monitor preflight linkedin-Tz9W5i6ZYG --max-age 0s                  always test now

Stored results that are not older than --max-age are used; otherwise the connection is tested now, which needs no database.
If the API cannot be reached the exit code is 3.

exit codes: 0 all are ready, 1 some are not, 2 usage, 3 inconclusive
"""

_EXITS = {Readiness.READY: 0, Readiness.NOT_READY: EXIT_FAILED, Readiness.UNKNOWN: EXIT_INCONCLUSIVE}
_COLOURS = {Readiness.READY: "ok", Readiness.NOT_READY: "error", Readiness.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One connection; *state* is None when it is not in the database."""

    connection: Connection
    state: ConnectionState | None = None
    suppressed_by: str | None = None


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """The result for one connection, when it was checked, and its name; *live* when that was just now."""

    connection: Connection
    result: PreflightResult
    at: datetime
    live: bool
    name: str | None = None


def run(args: argparse.Namespace) -> int:
    """Check and print; returns 0, 1 or 3."""
    ids, config, clock = platform_ids(args), load_config(args), SystemClock()
    candidates = _candidates(config, ids, args.account, clock)
    checks = asyncio.run(_check_all(config, candidates, args.max_age, args.min_ttl, clock))
    if args.json:
        answer = overall(check.result.answer for check in checks)
        output.put({"at": facts.iso(clock.now()), "answer": answer, "connections": [as_document(check, clock.now()) for check in checks]})
    else:
        print(as_text(checks, clock.now(), terminal_width()))
    return exit_code([check.result.answer for check in checks])


def exit_code(answers: Sequence[Readiness]) -> int:
    """0 when all are ready, 1 when some are not, 3 when some could not be checked."""
    return _EXITS[overall(answers)]


def _candidates(config: Config, ids: Sequence[str], account: str | None, clock: Clock) -> list[Candidate]:
    try:
        with opened(config, clock) as database:
            return [_stored(database, config, platform_id, account, clock) for platform_id in ids]
    except StoreError as error:
        # A post is waiting for the answer: without a database everything is tested now.
        if not isinstance(error, StoreUnavailable):
            print(f"postpost-monitor: the database is not used: {error}", file=sys.stderr)
        return [Candidate(configured(config, platform_id, account)) for platform_id in ids]


def _stored(database: OpenDatabase, config: Config, platform_id: str, account: str | None, clock: Clock) -> Candidate:
    views = {view.connection.id: view for view in database.registry.snapshot(clock.now()).connections}
    connection = only(matching([view.connection for view in views.values()], platform_id, account))
    if connection is None:
        return Candidate(configured(config, platform_id, account))
    view = views[connection.id]
    return Candidate(view.connection, view.state, view.suppressed_by)


async def _check_all(
    config: Config, candidates: Sequence[Candidate], max_age: timedelta, min_ttl: timedelta, clock: Clock
) -> list[PreflightCheck]:
    async with LiveChecker(config, clock) as checker:
        return await asyncio.gather(*(_check(checker, config, candidate, max_age, min_ttl, clock) for candidate in candidates))


async def _check(
    checker: LiveChecker, config: Config, candidate: Candidate, max_age: timedelta, min_ttl: timedelta, clock: Clock
) -> PreflightCheck:
    connection, state, now = candidate.connection, candidate.state, clock.now()
    policy = config.policy().expiry_for(connection.platform)
    name = (state.display_name or state.username) if state is not None else None
    if state is not None and reason_for_doubt(state, candidate.suppressed_by, now, max_age) is None:
        result = stored(state, connection.platform, now, min_ttl, policy)
        return PreflightCheck(connection, result, state.last_evidence_at or now, live=False, name=name)
    verdict, reply = await checker.test(connection)
    renews = renews_itself(state, connection.platform, policy)
    result = judged(verdict, reply, clock.now(), min_ttl, renews=renews)
    return PreflightCheck(connection, result, clock.now(), live=True, name=name or (reply.username if reply is not None else None))


def as_text(checks: Sequence[PreflightCheck], now: datetime, width: int) -> str:
    """The results as a table."""
    rows = [
        (
            one_line(check.name or check.connection.name or check.connection.platform_id, 60),
            coloured(check.result.answer.replace("_", " "), _COLOURS[check.result.answer]),
            "now" if check.live else f"{brief(now - check.at)} ago",
            subject_name(check.connection.platform_id, check.connection),
            one_line(preflight_text(check.result), 300),
        )
        for check in checks
    ]
    notable = [check.result.answer is not Readiness.READY for check in checks]
    return "\n".join(table(("NAME", "ANSWER", "CHECKED", "CONNECTION", "WHY"), rows, width, least={0: 12}, texts=2, notable=notable))


def as_document(check: PreflightCheck, now: datetime) -> Mapping[str, object]:
    """One result as JSON."""
    return facts.preflight(check.connection, check.result, name=check.name, known_at=check.at, now=now, live=check.live)


VERB = Verb(
    "Check whether connections are ready for a post: by stored results if they are recent, else by a test now.",
    run,
    (
        CONFIG,
        argument("ids", nargs="+", metavar="ID", help="platform ids as the API lists them"),
        ACCOUNT,
        argument(
            "--max-age", type=duration, default=timedelta(minutes=30), metavar="TIME", help="maximum age of stored results (default: 30m)"
        ),
        argument(
            "--min-ttl",
            type=duration,
            default=timedelta(0),
            metavar="TIME",
            help="how long a token must still be valid (default: any time)",
        ),
        JSON,
    ),
    epilog=_EPILOG,
)
