"""The verb `preflight`: whether connections can be relied on for a post."""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.check import EXIT_FAILED, EXIT_NOT_FOUND_OUT
from monitor.cli.live_check import LiveChecker
from monitor.cli.lookup import OpenDatabase, configured, opened, several
from monitor.cli.options import add_account, add_config, add_json, duration, load_config
from monitor.cli.output import WIDE, coloured, fitted, stacked, terminal_width
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.connections import Connection, id_problem, matching
from monitor.domain.preflight import PreflightResult, Readiness, judged, overall, reason_for_doubt, renews_itself, stored
from monitor.domain.states import ConnectionState
from monitor.errors import StoreError, StoreUnavailable, UsageError
from monitor.schemas import facts
from monitor.text.durations import brief
from monitor.text.format import one_line
from monitor.text.reasons import preflight_text

_EPILOG = """\
examples:
  postpost-monitor preflight linkedin-Tz9W5i6ZYG && publish
  postpost-monitor preflight linkedin-Tz9W5i6ZYG threads-1784 --min-ttl 2d     the tokens must live two days more
  postpost-monitor preflight linkedin-Tz9W5i6ZYG --max-age 0s                  test it now, whatever is known

What the monitor learned within --max-age is believed; else the connection is tested now, which needs no database.
An API that cannot be reached is never an answer: the exit code is 3 then.

exit codes: 0 all are ready, 1 some are not, 2 usage, 3 could not find out
"""

_EXITS = {Readiness.READY: 0, Readiness.NOT_READY: EXIT_FAILED, Readiness.UNKNOWN: EXIT_NOT_FOUND_OUT}
_COLOURS = {Readiness.READY: "ok", Readiness.NOT_READY: "error", Readiness.UNKNOWN: "unknown"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """One connection that is asked about; *state* is None when the monitor does not know it."""

    connection: Connection
    state: ConnectionState | None = None
    covered_by: str | None = None


@dataclass(frozen=True, slots=True)
class PreflightCheck:
    """What was found, and how old that is; *live* says that it was tested just now."""

    connection: Connection
    finding: PreflightResult
    at: datetime
    live: bool


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "preflight",
        help="say whether connections can be relied on for a post",
        description="Say whether connections can be relied on for a post: from the database when that is fresh, else by a test now.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("ids", nargs="+", metavar="ID", help="platform ids as the API lists them")
    add_account(parser)
    parser.add_argument(
        "--max-age", type=duration, default=timedelta(minutes=30), metavar="TIME", help="believe what is not older (default: 30m)"
    )
    parser.add_argument(
        "--min-ttl", type=duration, default=timedelta(0), metavar="TIME", help="life that a token must have left (default: any)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look or test, and print; returns 0, 1 or 3."""
    for platform_id in args.ids:
        problem = id_problem(platform_id)
        if problem is not None:
            raise UsageError(f"{platform_id!r} is not an id that the API could know: {problem}")
    config, clock = load_config(args), SystemClock()
    candidates = _candidates(config, list(dict.fromkeys(args.ids)), args.account, clock)
    results = asyncio.run(_results(config, candidates, args.max_age, args.min_ttl, clock))
    if args.json:
        answer = overall(result.finding.answer for result in results)
        found = [as_document(result, clock.now()) for result in results]
        output.put({"at": facts.iso(clock.now()), "answer": answer, "connections": found})
    else:
        print(as_text(results, clock.now(), terminal_width()))
    return exit_code([result.finding.answer for result in results])


def exit_code(answers: Sequence[Readiness]) -> int:
    """0 when all are ready, 1 when some are not, 3 when that could not be found out of some."""
    return _EXITS[overall(answers)]


def _candidates(config: Config, ids: Sequence[str], account: str | None, clock: Clock) -> list[Candidate]:
    try:
        with opened(config, clock) as found:
            return [_known(found, config, platform_id, account, clock) for platform_id in ids]
    except StoreError as error:
        # Somebody waits to post: what can be found out without the database is found out without it.
        if not isinstance(error, StoreUnavailable):
            print(f"postpost-monitor: the database is not used: {error}", file=sys.stderr)
        return [Candidate(configured(config, platform_id, account)) for platform_id in ids]


def _known(found: OpenDatabase, config: Config, platform_id: str, account: str | None, clock: Clock) -> Candidate:
    views = {view.connection.id: view for view in found.fleet.snapshot(clock.now()).connections}
    connections = matching([view.connection for view in views.values()], platform_id, account)
    if len(connections) > 1:
        raise UsageError(several(platform_id, [connection.account_label for connection in connections]))
    if not connections:
        return Candidate(configured(config, platform_id, account))
    view = views[connections[0].id]
    return Candidate(view.connection, view.state, view.suppressed_by)


async def _results(
    config: Config, candidates: Sequence[Candidate], max_age: timedelta, min_ttl: timedelta, clock: Clock
) -> list[PreflightCheck]:
    async with LiveChecker(config, clock) as tester:
        return await asyncio.gather(*(_result(tester, config, candidate, max_age, min_ttl, clock) for candidate in candidates))


async def _result(
    tester: LiveChecker, config: Config, candidate: Candidate, max_age: timedelta, min_ttl: timedelta, clock: Clock
) -> PreflightCheck:
    connection, state, now = candidate.connection, candidate.state, clock.now()
    policy = config.policy().expiry_for(connection.platform)
    if state is not None and reason_for_doubt(state, candidate.covered_by, now, max_age) is None:
        return PreflightCheck(
            connection, stored(state, connection.platform, now, min_ttl, policy), state.last_evidence_at or now, live=False
        )
    verdict, reply = await tester.test(connection)
    renews = renews_itself(state, connection.platform, policy)
    return PreflightCheck(connection, judged(verdict, reply, clock.now(), min_ttl, renews=renews), clock.now(), live=True)


def as_text(results: Sequence[PreflightCheck], now: datetime, width: int) -> str:
    """The answers for people."""
    cells = [
        (
            coloured(result.finding.answer.replace("_", " "), _COLOURS[result.finding.answer]),
            result.connection.platform_id,
            result.connection.account_label,
            "tested now" if result.live else f"{brief(now - result.at)} ago",
        )
        for result in results
    ]
    header, whys = ("ANSWER", "CONNECTION", "ACCOUNT", "KNOWN"), [one_line(preflight_text(result.finding), 300) for result in results]
    if width >= WIDE:
        wide = [(*cell, why) for cell, why in zip(cells, whys, strict=True)]
        return "\n".join(fitted((*header, "WHY"), wide, width, least={1: 16, 2: 6, 4: 20}))
    below = ["" if result.finding.answer is Readiness.READY else why for result, why in zip(results, whys, strict=True)]
    return "\n".join(stacked(fitted(header, cells, width, least={1: 16, 2: 6}), below, width))


def as_document(result: PreflightCheck, now: datetime) -> Mapping[str, object]:
    """One answer for machines."""
    return facts.preflight(result.connection, result.finding, known_at=result.at, now=now, live=result.live)
