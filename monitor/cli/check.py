"""The verb `check`: test connections once, now, without a database."""

import argparse
import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.cli import output
from monitor.cli.live_check import LiveChecker
from monitor.cli.lookup import configured, no_account, user_id
from monitor.cli.options import CONFIG, JSON, load_config, platform_ids
from monitor.cli.output import Progress, coloured, table, terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.domain.connections import Connection
from monitor.domain.reasons import Outcome, outcome_of
from monitor.domain.replies.checks import Reply, Verdict
from monitor.errors import ApiError
from monitor.schemas import facts
from monitor.text.advice import reason_advice, reconnects
from monitor.text.format import one_line, subject_name
from monitor.text.reasons import OUTCOME_TEXTS, reason_text, reason_with_detail

EXIT_FAILED = 1
EXIT_INCONCLUSIVE = 3

_EPILOG = """\
examples:
  postpost-monitor check                          every configured or listed connection
  postpost-monitor check linkedin-Tz9W5i6ZYG      one connection
  postpost-monitor check --json | jq .            for scripts

exit codes: 0 all passed, 1 some failed, 2 usage, 3 inconclusive
(an unsupported connection counts as inconclusive only when it is named)
"""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One tested connection."""

    connection: Connection
    verdict: Verdict
    reply: Reply | None

    @property
    def username(self) -> str | None:
        """What the API calls it."""
        return self.reply.username if self.reply is not None else None

    @property
    def outcome(self) -> Outcome:
        """The outcome that the reason stands for."""
        return outcome_of(self.verdict.reason)


def run(args: argparse.Namespace) -> int:
    """Test and print; returns 0, 1 or 3."""
    ids, config, clock = platform_ids(args), load_config(args), SystemClock()
    with Progress(clock) as progress:
        results, problems = asyncio.run(_check_all(config, ids, args.account, clock, progress))
    if args.json:
        output.put(as_document(results, problems, clock.now()))
    else:
        print(as_text(results, problems, terminal_width(), config.monitor.dashboard_url))
    return exit_code([result.outcome for result in results], named=bool(ids), complete=not problems)


def exit_code(outcomes: Sequence[Outcome], *, named: bool, complete: bool) -> int:
    """0 all passed, 1 some failed, 3 inconclusive; *named*: the connections were given by id."""
    if Outcome.FAILED in outcomes:
        return EXIT_FAILED
    inconclusive = {Outcome.INCONCLUSIVE} | ({Outcome.UNSUPPORTED} if named else set())
    if not complete or inconclusive.intersection(outcomes) or not outcomes:
        return EXIT_INCONCLUSIVE
    return 0


async def _check_all(
    config: Config, ids: Sequence[str], account: str | None, clock: Clock, progress: Progress
) -> tuple[list[CheckResult], list[str]]:
    """The results in order, and which listings could not be read."""
    connections, problems = [configured(config, platform_id, account) for platform_id in ids], []
    accounts = _accounts(config, account) if not ids else []
    async with LiveChecker(config, clock) as checker:
        for name, user_id in accounts:
            listed, problem = await _connections_of(config, checker, name, user_id)
            connections += listed
            problems += [problem] if problem else []
        done = itertools.count(1)

        async def test(connection: Connection) -> CheckResult:
            verdict, reply = await checker.test(connection)
            progress.show(f"tested {next(done):,} of {len(connections):,}")
            return CheckResult(connection, verdict, reply)

        return list(await asyncio.gather(*map(test, connections))), problems


def _accounts(config: Config, label: str | None) -> list[tuple[str, str]]:
    """The accounts, each with its user, that *label* names; None names all."""
    name, _, user = (label or "").partition("/")
    accounts = [(account.name, user_id(config, user) or account.user_id) for account in config.accounts if name in ("", account.name)]
    if not accounts:
        raise no_account(config, name)
    return accounts


async def _connections_of(config: Config, checker: LiveChecker, account: str, user_id: str) -> tuple[list[Connection], str]:
    """The configured and the listed connections of one account, and why its listing could not be read."""
    ids = {settings.id for settings in config.named_connections() if settings.account == account and settings.user_id == user_id}
    listing, listed, problem = await checker.listing(account, user_id), set[str](), ""
    if isinstance(listing, ApiError):
        problem = f"{account}: the list of connections could not be read: {reason_with_detail(listing.reason, listing.detail)}"
    else:
        listed = {row.platform_id for row in listing.rows}
    label = f"{account}/{user_id}" if user_id else account
    specs = (replace(configured(config, platform_id, label).spec, listed=platform_id in listed) for platform_id in sorted(ids | listed))
    return [Connection(0, spec) for spec in specs], problem


def as_text(results: Sequence[CheckResult], problems: Sequence[str], width: int, dashboard_url: str = "") -> str:
    """The results as a table, and where to reconnect if one asks for it."""
    rows = [
        (
            one_line(result.connection.name or result.username or result.connection.platform_id, 60),
            coloured(OUTCOME_TEXTS[result.outcome], result.outcome.value),
            (result.reply.token.raw if result.reply is not None else "") or "",
            subject_name(result.connection.platform_id, result.connection),
            one_line(_explanation(result), 600),
        )
        for result in results
    ]
    notable = [result.outcome is not Outcome.PASSED for result in results]
    header = ("NAME", "OUTCOME", "TOKEN LEFT", "CONNECTION", "WHY")
    lines = table(header, rows, width, least={0: 12}, texts=2, notable=notable) if rows else []
    asked = dashboard_url and any(reconnects(reason_advice(result.verdict.reason)) for result in results)
    lines += [f"Dashboard: {dashboard_url}"] if asked else []
    return "\n".join([*lines, *(wrapped(problem, width) for problem in problems)] or ["No connections to test."])


def _explanation(result: CheckResult) -> str:
    verdict = result.verdict
    if result.outcome is Outcome.PASSED:
        return reason_text(verdict.reason)
    advice = reason_advice(verdict.reason)
    why = reason_with_detail(verdict.reason, one_line(verdict.detail, 300))
    return f"{why.rstrip('.')}. {advice}" if advice else why


def as_document(results: Sequence[CheckResult], problems: Sequence[str], now: datetime) -> dict[str, object]:
    """The results as JSON."""
    return {
        "at": facts.iso(now),
        "connections": [
            {
                **facts.identity(result.connection),
                "username": result.username,
                "outcome": result.outcome,
                "reason": result.verdict.reason,
                "detail": result.verdict.detail,
                "tokenExpiresIn": (result.reply.token.raw or None) if result.reply is not None else None,
                "advice": reason_advice(result.verdict.reason),
            }
            for result in results
        ],
        "problems": list(problems),
    }


VERB = Verb(
    "Test connections once, without the daemon and without a database, and print the results.",
    run,
    (
        CONFIG,
        argument("ids", nargs="*", metavar="ID", help="platform ids as the API lists them (default: all)"),
        argument(
            "--account",
            metavar="NAME",
            help="the account, or account/user (default: where the configuration has the id, else the first one)",
        ),
        JSON,
    ),
    epilog=_EPILOG,
)
