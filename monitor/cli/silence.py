"""The verb `silence`: add, list, extend or end silences."""

import argparse
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.cli import output
from monitor.cli.directory import Directory, NameProblem
from monitor.cli.lookup import directory
from monitor.cli.options import CONFIG, JSON, count, duration, instant, load_config
from monitor.cli.output import coloured, paint, table, terminal_width
from monitor.cli.verb import ExclusiveGroup, Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.config.matchers import contradiction
from monitor.config.matchers import problem as matcher_problem
from monitor.config.problems import suggest
from monitor.db import Reader, operator_session, read_connections, read_state, reading, silences_since
from monitor.domain.connections import Connection
from monitor.domain.events import Severity
from monitor.domain.recurrence import DAYS, EVERY_DAY
from monitor.domain.routing.matchers import about_connections, covers
from monitor.domain.routing.rules import OF_NOTIFICATIONS, RESERVED, matches_pattern
from monitor.domain.silencing.silences import RecurringSilence, Silence, SilenceState
from monitor.domain.states import ConnectionState
from monitor.errors import UsageError
from monitor.redaction import clean
from monitor.schemas import facts
from monitor.text.durations import span
from monitor.text.format import moment, one_line, short_name

_EPILOG = """\
examples:
  postpost-monitor silence add --match platform=mastodon --for 2h --reason "their maintenance"
  postpost-monitor silence add --match connection=linkedin-Tz9W5i6ZYG topic=expiry --until 2030-01-31T08:00 --reason "renewed on Friday"
  postpost-monitor silence add --match "team=social|sales" "severity=info|warning" --for 1d --author anna --reason "office move"
  postpost-monitor silence add --match "Company page" --for 2h --reason "they reconnect it"
  postpost-monitor silence list
  postpost-monitor silence extend 3 --by 2h
  postpost-monitor silence expire 3

A matcher may be a word that `status` prints: the name or id of a connection or managed user, an account, account/user, a platform. A silence suppresses notifications, never checks. When it ends, everything that then differs from what was last notified is
notified. A running daemon applies it within seconds. Recurring silences are configured: `silences` and `quiet_hours`.
"""

_NAMED = 3
_NO_SILENCE = "silence {} is unknown or has ended; `postpost-monitor silence list` shows the numbers"
_WIDE_ONLY = "It matches notifications about accounts, platforms or the monitor only; those about connections are sent."
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_COLOURS = {SilenceState.ACTIVE: "warning", SilenceState.PENDING: "info", SilenceState.EXPIRED: "unknown"}


def add(args: argparse.Namespace) -> int:
    """Add a silence; returns 0."""
    config, now = load_config(args), SystemClock().now()
    url = config.database.url.reveal()
    with reading(url) as reader:
        known = directory(reader, config)
    starts_at = args.start or now
    ends_at = args.until if args.until is not None else starts_at + args.duration
    if ends_at <= max(now, starts_at):
        raise UsageError("silence add: it would end before it starts")
    author, reason = author_and_reason(args, "silence add")
    match = matchers(args.match, known)
    covered = len(_covered(match, known.connections))
    if not covered and about_connections(match) and not args.even_if_none:
        raise UsageError(f"silence add: {nothing_covered(match, known)}; --even-if-none adds it all the same")
    with operator_session(url) as operations:
        silence = operations.add_silence(match, starts_at=starts_at, ends_at=ends_at, author=author, reason=reason, now=now)
    warning = covers_everything(match, covered, len(known.connections))
    if args.json:
        output.put({"silence": document(silence, now, known.connections), "connections": covered, "warning": warning or None})
        return 0
    print(f"Silence {silence.id} until {moment(silence.ends_at)} ({span(silence.ends_at - now)}).")
    print(f"It matches {covered} of {len(known.connections)} connections." if about_connections(match) else _WIDE_ONLY)
    if warning:
        print(paint(f"Warning: {warning}", "33"))
    return 0


def covers_everything(match: Mapping[str, str], covered: int, known: int) -> str:
    """What a silence of everything about every connection means; empty for another one."""
    narrow = match.keys() & OF_NOTIFICATIONS - {"severity"} or not matches_pattern(match.get("severity", "*"), Severity.CRITICAL.value)
    if covered < known or known < 2 or narrow:
        return ""
    return f"it covers all {known} connections: no notification about them is sent until it ends, critical ones included."


def nothing_covered(match: Mapping[str, str], known: Directory) -> str:
    """Why a silence with this *match* covers no connection."""
    if not known.connections:
        return "no connection is known yet"
    about = {name: pattern for name, pattern in match.items() if name not in OF_NOTIFICATIONS}
    why = "; ".join(known.unknown(about)) or "no connection matches all of its matchers"
    return f"it covers none of the {len(known.connections)} connections: {one_line(why, 500)}"


def author_and_reason(args: argparse.Namespace, verb: str) -> tuple[str, str]:
    """`--author` and `--reason`, cleaned; raises UsageError when one is empty."""
    author, reason = clean(args.author, 80).strip(), clean(args.reason, 300).strip()
    if not author or not reason:
        raise UsageError(f"{verb}: --author and --reason must not be empty")
    return author, reason


def matchers(pairs: Sequence[str], known: Directory) -> dict[str, str]:
    """Parse matchers such as `platform=mastodon`, or words for what is *known*; raises UsageError for an unknown name or word."""
    match: dict[str, str] = {}
    try:
        for pair in pairs:
            for name, pattern in _matcher(pair, known).items():
                if match.get(name, pattern) != pattern or ("=" in pair and name in match):
                    raise UsageError(f"silence add: {name} is given twice; separate alternatives by |")
                match[name] = pattern
        if problem := contradiction(match):
            raise UsageError(f"silence add: {problem} (correct one of them)")
        return known.resolved(match)
    except NameProblem as error:
        raise UsageError(f"silence add: {one_line(str(error), 500)}") from None


def _matcher(pair: str, known: Directory) -> Mapping[str, str]:
    name, equals, pattern = pair.partition("=")
    if known.meanings(pair) or not equals:
        return known.meaning(pair)
    names = sorted(RESERVED | {*known.labels} | {label for connection in known.connections for label in connection.labels})
    if name not in names:
        raise UsageError(f"silence add: unknown name {one_line(name, 80)} ({suggest(name, names, 'known')})")
    if (wrong := matcher_problem(name, pattern)) is not None:
        raise UsageError(f"silence add: {wrong[0]} ({wrong[1]})")
    if name == "account" and "/" in pattern and known.meanings(pattern):
        return known.meaning(pattern)
    return {name: pattern}


def show(args: argparse.Namespace) -> int:
    """Print the silences; returns 0."""
    config, now = load_config(args), SystemClock().now()
    with reading(config.database.url.reveal()) as reader:
        silences = listed(reader, now, everything=args.all)
        connections = read_connections(reader)
        # The connections that `as_text` names.
        matches = [*(each.match for each in silences), *(each.match for each in config.windows())]
        covered = [each for match in matches for each in _covered(match, connections)[:_NAMED]]
        named = {each.id: short_name(each, read_state(reader, each.id) or ConnectionState()) for each in covered}
    if args.json:
        recurring = [_recurring_document(silence, now, connections) for silence in config.windows()]
        output.put(
            {"at": facts.iso(now), "silences": [document(silence, now, connections) for silence in silences], "recurring": recurring}
        )
    else:
        print(as_text(silences, config, now, terminal_width(), connections, named))
    return 0


def _covered(match: Mapping[str, str], connections: Sequence[Connection]) -> list[Connection]:
    return [connection for connection in connections if covers(match, connection)]


def listed(reader: Reader, now: datetime, *, everything: bool) -> list[Silence]:
    """All silences that are stored, or those that have not ended."""
    silences = silences_since(reader, _LONG_AGO if everything else now)
    return [silence for silence in silences if everything or silence.state(now) is not SilenceState.EXPIRED]


def as_text(
    silences: Sequence[Silence],
    config: Config,
    now: datetime,
    width: int,
    connections: Sequence[Connection],
    named: Mapping[int, str],
) -> str:
    """The silences as a table, those of the configuration last; *named* are names of *connections* by id."""
    users = {user.id: user.name for user in config.users}
    rows = [(each.match, _row(each, now)) for each in silences] + [(each.match, _recurring_row(each, now)) for each in config.windows()]
    if not rows:
        return "No silences."
    cells = [
        (*row[:-1], _pairs(match, users), _covers_text(match, _covered(match, connections), len(connections), named), row[-1])
        for match, row in rows
    ]
    header = ("NUMBER", "STATE", "STARTS (UTC)", "ENDS (UTC)", "AUTHOR", "MATCHERS", "COVERS", "REASON")
    return "\n".join(table(header, cells, width, least={4: 8}, texts=3))


def _covers_text(match: Mapping[str, str], covered: Sequence[Connection], known: int, named: Mapping[int, str]) -> str:
    """How many of the known connections a silence covers now, and the names of the first ones."""
    if not about_connections(match):
        return "covers accounts, platforms or the monitor"
    if not covered:
        return "covers no connection"
    if len(covered) == known:
        return f"covers all {known} connections"
    names = [one_line(named.get(each.id) or each.platform_id, 40) for each in covered[:_NAMED]]
    more = f" and {len(covered) - _NAMED} more" if len(covered) > _NAMED else ""
    return f"covers {len(covered)} of {known} connections: {', '.join(names)}{more}"


def _row(silence: Silence, now: datetime) -> tuple[str, ...]:
    state = silence.state(now)
    times = (f"{silence.starts_at:%Y-%m-%d %H:%M}", f"{silence.over_at:%Y-%m-%d %H:%M}")
    texts = (one_line(silence.author, 80), one_line(silence.reason, 300))
    return (str(silence.id), coloured(state.value, _COLOURS[state]), *times, *texts)


def _recurring_row(silence: RecurringSilence, now: datetime) -> tuple[str, ...]:
    ends_at = silence.when.ends_at(now)
    state = SilenceState.PENDING if ends_at is None else SilenceState.ACTIVE
    starts = f"{silence.when.starts_at(now):%Y-%m-%d %H:%M}" if ends_at is None else ""
    ends = f"{ends_at:%Y-%m-%d %H:%M}" if ends_at is not None else ""
    return "-", coloured(state.value, _COLOURS[state]), starts, ends, "configuration", _recurrence(silence)


def extend(args: argparse.Namespace) -> int:
    """Give a silence a later end; returns 0."""
    url, clock = load_config(args).database.url.reveal(), SystemClock()
    with operator_session(url) as operations:
        now = clock.now()
        silence = next((each for each in silences_since(operations.reader, now) if each.id == args.number), None)
        if silence is None or silence.state(now) is SilenceState.EXPIRED:
            raise UsageError(_NO_SILENCE.format(args.number))
        ends_at = args.until if args.until is not None else silence.ends_at + args.by
        if ends_at <= silence.ends_at:
            raise UsageError(f"silence {silence.id} lasts until {moment(silence.ends_at)} already; `silence expire` ends it early")
        operations.extend_silence(silence.id, ends_at, now)
        connections = read_connections(operations.reader)
    if args.json:
        output.put({"silence": document(replace(silence, ends_at=ends_at), now, connections)})
    else:
        print(f"Silence {silence.id} until {moment(ends_at)} ({span(ends_at - now)}).")
    return 0


def expire(args: argparse.Namespace) -> int:
    """End silences, all or none; returns 0."""
    url, clock = load_config(args).database.url.reveal(), SystemClock()
    with operator_session(url) as operations:
        for number in dict.fromkeys(args.numbers):
            if not operations.expire_silence(number, clock.now()):
                raise UsageError(_NO_SILENCE.format(number))
    if args.json:
        output.put({"expired": args.numbers})
    else:
        print(f"Ended: {', '.join(map(str, args.numbers))}. Suppressed notifications that are still due are sent within seconds.")
    return 0


def document(silence: Silence, now: datetime, connections: Sequence[Connection]) -> dict[str, Any]:
    """One silence as JSON, with how many of *connections* it covers."""
    return {
        "number": silence.id,
        "state": silence.state(now),
        "match": dict(silence.match),
        "startsAt": facts.iso(silence.starts_at),
        "endsAt": facts.iso(silence.ends_at),
        "expiredAt": facts.iso(silence.expired_at),
        "author": silence.author,
        "reason": silence.reason,
        "createdAt": facts.iso(silence.created_at),
        "covers": len(_covered(silence.match, connections)),
    }


def _recurring_document(silence: RecurringSilence, now: datetime, connections: Sequence[Connection]) -> dict[str, Any]:
    return {
        "name": silence.name,
        "match": dict(silence.match),
        "activeUntil": facts.iso(silence.when.ends_at(now)),
        "nextStartsAt": facts.iso(silence.when.starts_at(now)),
        "covers": len(_covered(silence.match, connections)),
    }


def _pairs(match: Mapping[str, str], users: Mapping[str, str]) -> str:
    """Matchers as people write them, with the names of *users* in place of their ids."""
    shown = {name: "|".join(users.get(choice, choice) for choice in pattern.split("|")) for name, pattern in match.items()}
    return one_line(" ".join(f"{name}={pattern}" for name, pattern in shown.items()), 300)


def _recurrence(silence: RecurringSilence) -> str:
    when = silence.when
    days = "daily" if when.days == EVERY_DAY else ", ".join(DAYS[day] for day in sorted(when.days))
    return f"{silence.name}: {days} {_time(when.start)} to {_time(when.end)} {when.zone}"


def _time(since_midnight: timedelta) -> str:
    minutes = since_midnight // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def login() -> str:
    """The name of the current user."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


VERB = Verb(
    "Add, list, extend or end silences. A silence suppresses matching notifications for a time.",
    verbs={
        "add": Verb(
            "Add a silence, from now on or from a later time. Times without a zone are UTC.",
            add,
            (
                CONFIG,
                argument(
                    "--match",
                    nargs="+",
                    action="extend",
                    required=True,
                    metavar="MATCHER",
                    help="matchers, all of which a notification must fulfil: words as `status` prints them, or NAME=PATTERN. NAME is a label "
                    f"or one of {', '.join(sorted(RESERVED))}; PATTERN is one value or several separated by |, each may end in *",
                ),
                argument("--even-if-none", action="store_true", help="add it although it covers no known connection"),
                ExclusiveGroup(
                    (
                        argument("--for", dest="duration", type=duration, metavar="TIME", help="duration, such as 2h"),
                        argument("--until", type=instant, metavar="WHEN", help="end, such as 2030-01-31T08:00+01:00"),
                    ),
                    required=True,
                ),
                argument("--from", dest="start", type=instant, metavar="WHEN", help="start (default: now)"),
                argument("--author", default=login(), metavar="NAME", help="who adds it (default: the current user)"),
                argument("--reason", required=True, metavar="TEXT", help="why"),
                JSON,
            ),
            help="add a silence",
        ),
        "list": Verb(
            "List the silences that have not ended, with the connections that each covers now. Times are UTC.",
            show,
            (CONFIG, argument("--all", action="store_true", help="include those that have ended"), JSON),
            help="list silences",
        ),
        "extend": Verb(
            "Give a silence a later end.",
            extend,
            (
                CONFIG,
                argument("number", type=count, metavar="NUMBER", help="its number, as `silence list` shows it"),
                ExclusiveGroup(
                    (
                        argument("--by", type=duration, metavar="TIME", help="how much later, such as 2h"),
                        argument("--until", type=instant, metavar="WHEN", help="end, such as 2030-01-31T08:00+01:00"),
                    ),
                    required=True,
                ),
                JSON,
            ),
            help="give a silence a later end",
        ),
        "expire": Verb(
            "End silences early.",
            expire,
            (CONFIG, argument("numbers", nargs="+", type=count, metavar="NUMBER", help="numbers, as `silence list` shows them"), JSON),
            help="end silences",
        ),
    },
    epilog=_EPILOG,
)
