"""The verb `check`: test connections once, now, without a database."""

import argparse
import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.cli import output
from monitor.cli.live_check import LiveChecker
from monitor.cli.lookup import configured
from monitor.cli.options import add_config, add_json, load_config
from monitor.cli.output import WIDE, Progress, coloured, fitted, stacked, terminal_width, wrapped
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.checks import Reply, Verdict
from monitor.domain.connections import Connection, id_problem
from monitor.domain.reasons import Outcome, outcome_of
from monitor.errors import ApiError, UsageError
from monitor.schemas import facts
from monitor.text.advice import reason_advice
from monitor.text.format import one_line
from monitor.text.reasons import reason_with_detail

EXIT_FAILED = 1
EXIT_NOT_FOUND_OUT = 3

_EPILOG = """\
examples:
  postpost-monitor check                          everything that is configured or listed
  postpost-monitor check linkedin-Tz9W5i6ZYG      one connection
  postpost-monitor check --json | jq .            for machines

exit codes: 0 all passed, 1 some failed, 2 usage, 3 could not find out
(a connection that can't be tested counts as "could not find out" only when it is named)
"""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One tested connection."""

    connection: Connection
    verdict: Verdict
    reply: Reply | None

    @property
    def outcome(self) -> Outcome:
        """The outcome that the reason stands for."""
        return outcome_of(self.verdict.reason)


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="test connections once, now",
        description="Test connections once, without the daemon and without a database, and print what came of it.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("ids", nargs="*", metavar="ID", help="platform ids as the API lists them (default: all)")
    parser.add_argument(
        "--account", metavar="NAME", help="the account, or account/user (default: where the configuration has the id, else the first one)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Test and print; returns 0, 1 or 3."""
    for platform_id in args.ids:
        problem = id_problem(platform_id)
        if problem is not None:
            raise UsageError(f"{platform_id!r} is not an id that the API could know: {problem}")
    config, clock = load_config(args), SystemClock()
    with Progress(clock) as progress:
        results, unread = asyncio.run(_check_all(config, list(dict.fromkeys(args.ids)), args.account, clock, progress))
    if args.json:
        output.put(as_document(results, unread, clock.now()))
    else:
        print(as_text(results, unread, terminal_width()))
    return exit_code([result.outcome for result in results], named=bool(args.ids), complete=not unread)


def exit_code(outcomes: Sequence[Outcome], *, named: bool, complete: bool) -> int:
    """0 all passed, 1 some failed, 3 could not find out; *named* says that the connections were asked for by id."""
    if Outcome.FAILED in outcomes:
        return EXIT_FAILED
    untold = {Outcome.INCONCLUSIVE} | ({Outcome.UNSUPPORTED} if named else set())
    if not complete or untold.intersection(outcomes) or not outcomes:
        return EXIT_NOT_FOUND_OUT
    return 0


async def _check_all(
    config: Config, ids: Sequence[str], account: str | None, clock: Clock, progress: Progress
) -> tuple[list[CheckResult], list[str]]:
    """The results in order, and which lists could not be read."""
    named = [configured(config, one, account) for one in ids]
    accounts = _accounts(config, account) if not ids else []
    async with LiveChecker(config, clock) as tester:
        found = [await _everything(config, tester, name, user_id) for name, user_id in accounts]
        wanted = [*named, *(connection for connections, _ in found for connection in connections)]
        done = itertools.count(1)

        async def test(connection: Connection) -> CheckResult:
            verdict, reply = await tester.test(connection)
            progress.tell(f"tested {next(done):,} of {len(wanted):,}")
            return CheckResult(connection, verdict, reply)

        results = await asyncio.gather(*map(test, wanted))
    return results, [problem for _, problem in found if problem]


def _accounts(config: Config, label: str | None) -> list[tuple[str, str]]:
    """The accounts, each with its user, that *label* names; None names all."""
    name, _, user = (label or "").partition("/")
    found = [(one.name, user or one.user_id) for one in config.accounts if name in ("", one.name)]
    if not found:
        raise UsageError(f"there is no account {name!r}; the configuration has {', '.join(one.name for one in config.accounts)}")
    return found


async def _everything(config: Config, tester: LiveChecker, account: str, user_id: str) -> tuple[list[Connection], str]:
    """What the configuration names and the API lists of one account, and why its list could not be read."""
    named = [one.id for one in config.connections if one.account == account and one.user_id == user_id]
    listing = await tester.listed(account, user_id)
    if isinstance(listing, ApiError):
        listed, problem = frozenset[str](), f"{account}: the list of connections could not be read: {_told(listing)}"
    else:
        listed, problem = frozenset(row.platform_id for row in listing.rows), ""
    label = f"{account}/{user_id}" if user_id else account
    wanted = [configured(config, one, label) for one in sorted(listed.union(named))]
    return [replace(one, listed=one.platform_id in listed) for one in wanted], problem


def _told(error: ApiError) -> str:
    return reason_with_detail(error.reason, error.detail)


def as_text(results: Sequence[CheckResult], unread: Sequence[str], width: int) -> str:
    """The results for people."""
    cells = [
        (
            coloured(result.outcome.value, result.outcome.value),
            result.connection.platform_id,
            one_line((result.reply.username if result.reply is not None else None) or "", 120),
            (result.reply.token.raw if result.reply is not None else "") or "",
        )
        for result in results
    ]
    header, whys = ("OUTCOME", "CONNECTION", "USERNAME", "TOKEN LEFT"), [one_line(_words(result), 300) for result in results]
    if not cells:
        lines = []
    elif width >= WIDE:
        wide = [(*cell, why) for cell, why in zip(cells, whys, strict=True)]
        lines = fitted((*header, "WHY"), wide, width, least={1: 14, 2: 8, 4: 20})
    else:
        below = ["" if result.outcome is Outcome.PASSED else why for result, why in zip(results, whys, strict=True)]
        lines = stacked(fitted(header, cells, width, least={1: 14, 2: 8}), below, width)
    return "\n".join([*lines, *(wrapped(problem, width) for problem in unread)] or ["There is nothing to test."])


def _words(result: CheckResult) -> str:
    verdict = result.verdict
    return reason_with_detail(verdict.reason, "" if result.outcome is Outcome.PASSED else verdict.detail)


def as_document(results: Sequence[CheckResult], unread: Sequence[str], now: datetime) -> dict[str, object]:
    """The results for machines."""
    return {
        "at": facts.iso(now),
        "connections": [
            {
                **facts.identity(result.connection),
                "username": result.reply.username if result.reply is not None else None,
                "outcome": result.outcome,
                "reason": result.verdict.reason,
                "detail": result.verdict.detail,
                "tokenExpiresIn": (result.reply.token.raw or None) if result.reply is not None else None,
                "advice": reason_advice(result.verdict.reason),
            }
            for result in results
        ],
        "problems": list(unread),
    }
