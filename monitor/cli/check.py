"""The verb `check`: test connections once, now, without a database."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from monitor.api import Api
from monitor.cli import Help
from monitor.cli.options import add_config, load_config
from monitor.cli.tables import coloured, fitted, terminal_width
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.crew import USER_AGENT
from monitor.domain.ids import id_problem, platform_of
from monitor.domain.model import Connection, Outcome, Reply, Verdict
from monitor.domain.pacing import Pacer
from monitor.domain.reasons import meaning
from monitor.domain.verdicts import judge
from monitor.errors import EXIT_USAGE, ApiError
from monitor.gate import Gate
from monitor.plan import plan_of
from monitor.roster import configured

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
class Result:
    """One tested connection."""

    connection: Connection
    verdict: Verdict
    reply: Reply | None

    @property
    def outcome(self) -> Outcome:
        """The outcome that the reason stands for."""
        return meaning(self.verdict.reason).outcome


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
    parser.add_argument("--account", metavar="NAME", help="the account the ids belong to (default: the first one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Test and print; returns 0, 1 or 3, and 2 for words that make no sense."""
    for platform_id in args.ids:
        problem = id_problem(platform_id)
        if problem is not None:
            return _usage(f"{platform_id!r} is not an id that the API could know: {problem}")
    config = load_config(args)
    accounts = [account.name for account in config.accounts]
    if args.account is not None and args.account not in accounts:
        return _usage(f"there is no account {args.account!r}; the configuration has {', '.join(accounts)}")
    results, unread = asyncio.run(_check_all(config, args.ids, args.account))
    print(_as_json(results, unread) if args.json else _as_table(results, unread))
    return exit_code([result.outcome for result in results], named=bool(args.ids), complete=not unread)


def _usage(text: str) -> int:
    print(f"postpost-monitor: {text}", file=sys.stderr)
    return EXIT_USAGE


def exit_code(outcomes: Sequence[Outcome], *, named: bool, complete: bool) -> int:
    """0 all passed, 1 some failed, 3 could not find out; *named* says that the connections were asked for by id."""
    if Outcome.FAILED in outcomes:
        return EXIT_FAILED
    untold = {Outcome.INCONCLUSIVE} | ({Outcome.UNSUPPORTED} if named else set())
    if not complete or untold.intersection(outcomes) or not outcomes:
        return EXIT_NOT_FOUND_OUT
    return 0


async def _check_all(config: Config, ids: Sequence[str], account_name: str | None) -> tuple[list[Result], list[str]]:
    lies = plan_of(config, "check").lies
    results: list[Result] = []
    unread: list[str] = []
    only = account_name or (config.accounts[0].name if ids else None)
    for account in config.accounts:
        if only not in (None, account.name):
            continue
        clock = SystemClock()
        api = Api(config.api, account.api_key, clock=clock, user_agent=USER_AGENT)
        gate = Gate(Pacer(rate=config.api.requests_per_second), clock)
        try:
            connections, problem = await _connections(config, account.name, account.user_id, ids, api)
            if problem is not None:
                unread.append(f"{account.name}: the list of connections could not be read: {problem}")
            for number, connection in enumerate(connections, start=1):
                _progress(number, len(connections))
                await gate.turn()
                exchange = await api.test(connection.platform_id, connection.user_id)
                reply = exchange.answer if isinstance(exchange.answer, Reply) else None
                results.append(Result(connection, judge(exchange.answer, connection, lies), reply))
        finally:
            _progress(0, 0)
            await api.close()
    return results, unread


async def _connections(
    config: Config, account: str, user_id: str, ids: Sequence[str], api: Api
) -> tuple[list[Connection], ApiError | None]:
    named = {one.id: one for one in config.connections if one.account == account}
    wanted = list(ids)
    listed: set[str] = set()
    problem: ApiError | None = None
    if not ids:
        exchange = await api.connections(user_id)
        if isinstance(exchange.answer, ApiError):
            problem = exchange.answer
        else:
            listed = {row.platform_id for row in exchange.answer.rows}
        wanted = sorted(named.keys() | listed)
    return [_connection(config, account, user_id, one, one in listed) for one in wanted], problem


def _connection(config: Config, account: str, user_id: str, platform_id: str, listed: bool) -> Connection:
    settings = next((one for one in config.connections if one.id == platform_id and one.account == account), None)
    if settings is None:
        return Connection(0, account, user_id, platform_id, platform_of(platform_id), listed=listed)
    new = configured(settings, listed=listed)
    return Connection(0, new.account, new.user_id, new.platform_id, new.platform, new.name, expect=new.expect, listed=listed)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        text = f"testing {done} of {total}" if total else ""
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _as_table(results: Sequence[Result], unread: Sequence[str]) -> str:
    rows = [
        (
            coloured(result.outcome.value, result.outcome.value),
            result.connection.platform_id,
            (result.reply.username if result.reply is not None else None) or "",
            (result.reply.token.raw if result.reply is not None else "") or "",
            _words(result),
        )
        for result in results
    ]
    lines = (
        fitted(("OUTCOME", "CONNECTION", "USERNAME", "TOKEN LEFT", "WHY"), rows, terminal_width(), least={1: 14, 2: 8, 4: 20})
        if rows
        else []
    )
    return "\n".join([*lines, *unread])


def _words(result: Result) -> str:
    told = meaning(result.verdict.reason)
    if told.outcome is Outcome.PASSED:
        return told.words
    detail = f": {result.verdict.detail}" if result.verdict.detail else ""
    return f"{told.words}{detail}"


def _as_json(results: Sequence[Result], unread: Sequence[str]) -> str:
    document = {
        "connections": [
            {
                "account": result.connection.account_label,
                "platform": result.connection.platform,
                "platformId": result.connection.platform_id,
                "username": result.reply.username if result.reply is not None else None,
                "outcome": result.outcome,
                "reason": result.verdict.reason,
                "detail": result.verdict.detail,
                "tokenExpiresIn": (result.reply.token.raw or None) if result.reply is not None else None,
                "advice": meaning(result.verdict.reason).advice,
            }
            for result in results
        ],
        "problems": list(unread),
    }
    return json.dumps(document, indent=2, ensure_ascii=False)
