"""The verb `silence`: add, list or end silences."""

import argparse
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, count, duration, instant, load_config
from monitor.cli.output import coloured, table, terminal_width
from monitor.cli.verb import ExclusiveGroup, Verb, argument
from monitor.clock import SystemClock
from monitor.config import Config
from monitor.config.matchers import problem as matcher_problem
from monitor.config.problems import suggest
from monitor.db import Reader, operator_session, read_connections, reading, silences_since
from monitor.domain.connections import Connection
from monitor.domain.handling import covers
from monitor.domain.recurrence import DAYS, EVERY_DAY
from monitor.domain.routing import RESERVED
from monitor.domain.silencing.silences import RecurringSilence, Silence, SilenceState
from monitor.errors import UsageError
from monitor.redaction import clean
from monitor.schemas import facts
from monitor.text.durations import span
from monitor.text.format import moment, one_line

_EPILOG = """\
examples:
  postpost-monitor silence add --match platform=mastodon --for 2h --reason "their maintenance"
  postpost-monitor silence add --match connection=linkedin-Tz9W5i6ZYG topic=expiry --until 2030-01-31T08:00 --reason "renewed on Friday"
  postpost-monitor silence add --match "team=social|sales" "severity=info|warning" --for 1d --author anna --reason "moving house"
  postpost-monitor silence list
  postpost-monitor silence expire 3

A silence suppresses notifications, never checks. When it ends, everything that then differs from what was last notified is
notified. A running daemon applies it within seconds. Recurring silences are configured: `silences` and `quiet_hours`.
"""

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_COLOURS = {SilenceState.ACTIVE: "warning", SilenceState.PENDING: "info", SilenceState.EXPIRED: "unknown"}


@dataclass(frozen=True, slots=True)
class SilenceRequest:
    """A silence to be added."""

    match: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str


def add(args: argparse.Namespace) -> int:
    """Add a silence; returns 0."""
    clock = SystemClock()
    url = load_config(args).database.url.reveal()
    with reading(url) as reader:
        connections = read_connections(reader)
    request = request_of(args, connections, clock.now())
    with operator_session(url) as operations:
        silence = operations.add_silence(
            request.match,
            starts_at=request.starts_at,
            ends_at=request.ends_at,
            author=request.author,
            reason=request.reason,
            now=clock.now(),
        )
    covered = sum(covers(request.match, connection) for connection in connections)
    if args.json:
        output.put({"silence": document(silence, clock.now()), "connections": covered})
        return 0
    print(f"Silence {silence.id} until {moment(silence.ends_at)} ({span(silence.ends_at - clock.now())}).")
    print(f"It matches {covered} of {len(connections)} connections{'' if covered else ': check its matchers'}.")
    return 0


def request_of(args: argparse.Namespace, connections: Sequence[Connection], now: datetime) -> SilenceRequest:
    """The silence that the arguments of `silence add` ask for; raises UsageError."""
    starts_at = args.start or now
    ends_at = args.until if args.until is not None else starts_at + args.duration
    if ends_at <= max(now, starts_at):
        raise UsageError("silence add: it would end before it starts")
    author, reason = author_and_reason(args, "silence add")
    return SilenceRequest(matchers(args.match, connections), starts_at, ends_at, author, reason)


def author_and_reason(args: argparse.Namespace, verb: str) -> tuple[str, str]:
    """`--author` and `--reason`, cleaned; raises UsageError when one is empty."""
    author, reason = clean(args.author, 80).strip(), clean(args.reason, 300).strip()
    if not author or not reason:
        raise UsageError(f"{verb}: --author and --reason must not be empty")
    return author, reason


def matchers(pairs: Sequence[str], connections: Sequence[Connection]) -> dict[str, str]:
    """Parse matchers such as `platform=mastodon`; raises UsageError for an unknown name."""
    known = sorted(RESERVED | {label for connection in connections for label in connection.labels})
    match: dict[str, str] = {}
    for pair in pairs:
        name, equals, pattern = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"silence add: {one_line(pair, 80)} is not NAME=PATTERN, such as platform=mastodon")
        if name in match:
            raise UsageError(f"silence add: {name} is given twice; separate alternatives by |")
        if name not in known:
            raise UsageError(f"silence add: unknown name {one_line(name, 80)} ({suggest(name, known, 'known')})")
        if (wrong := matcher_problem(name, pattern)) is not None:
            raise UsageError(f"silence add: {wrong[0]} ({wrong[1]})")
        match[name] = pattern
    return match


def show(args: argparse.Namespace) -> int:
    """Print the silences; returns 0."""
    config, now = load_config(args), SystemClock().now()
    with reading(config.database.url.reveal()) as reader:
        silences = listed(reader, now, everything=args.all)
    if args.json:
        recurring = [_recurring_document(silence, now) for silence in config.windows()]
        output.put({"at": facts.iso(now), "silences": [document(silence, now) for silence in silences], "recurring": recurring})
    else:
        print(as_text(silences, config, now, terminal_width()))
    return 0


def listed(reader: Reader, now: datetime, *, everything: bool) -> list[Silence]:
    """All silences that are stored, or those that have not ended."""
    silences = silences_since(reader, _LONG_AGO if everything else now)
    return [silence for silence in silences if everything or silence.state(now) is not SilenceState.EXPIRED]


def as_text(silences: Sequence[Silence], config: Config, now: datetime, width: int) -> str:
    """The silences as a table, those of the configuration last."""
    rows = [_row(silence, now) for silence in silences] + [_recurring_row(silence, now) for silence in config.windows()]
    if not rows:
        return "No silences."
    header = ("NUMBER", "STATE", "STARTS (UTC)", "ENDS (UTC)", "AUTHOR", "MATCHERS", "REASON")
    return "\n".join(table(header, rows, width, least={4: 8}, texts=2))


def _row(silence: Silence, now: datetime) -> tuple[str, ...]:
    state = silence.state(now)
    times = (f"{silence.starts_at:%Y-%m-%d %H:%M}", f"{silence.over_at:%Y-%m-%d %H:%M}")
    texts = (one_line(silence.author, 80), _pairs(silence.match), one_line(silence.reason, 300))
    return (str(silence.id), coloured(state.value, _COLOURS[state]), *times, *texts)


def _recurring_row(silence: RecurringSilence, now: datetime) -> tuple[str, ...]:
    ends_at = silence.when.ends_at(now)
    state = SilenceState.PENDING if ends_at is None else SilenceState.ACTIVE
    starts = f"{silence.when.starts_at(now):%Y-%m-%d %H:%M}" if ends_at is None else ""
    ends = f"{ends_at:%Y-%m-%d %H:%M}" if ends_at is not None else ""
    return "-", coloured(state.value, _COLOURS[state]), starts, ends, "configuration", _pairs(silence.match), _recurrence(silence)


def expire(args: argparse.Namespace) -> int:
    """End silences, all or none; returns 0."""
    url, clock = load_config(args).database.url.reveal(), SystemClock()
    with operator_session(url) as operations:
        for number in dict.fromkeys(args.numbers):
            if not operations.expire_silence(number, clock.now()):
                raise UsageError(f"silence {number} is unknown or has ended; `postpost-monitor silence list` shows the numbers")
    if args.json:
        output.put({"expired": args.numbers})
    else:
        print(f"Ended: {', '.join(map(str, args.numbers))}. Suppressed notifications that are still due are sent within seconds.")
    return 0


def document(silence: Silence, now: datetime) -> dict[str, Any]:
    """One silence as JSON."""
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
    }


def _recurring_document(silence: RecurringSilence, now: datetime) -> dict[str, Any]:
    return {
        "name": silence.name,
        "match": dict(silence.match),
        "activeUntil": facts.iso(silence.when.ends_at(now)),
        "nextStartsAt": facts.iso(silence.when.starts_at(now)),
    }


def _pairs(match: Mapping[str, str]) -> str:
    return one_line(" ".join(f"{name}={pattern}" for name, pattern in match.items()), 300)


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
    "Add, list or end silences. A silence suppresses matching notifications for a time.",
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
                    metavar="NAME=PATTERN",
                    help="matchers, all of which a notification must fulfil. NAME is a label or one of "
                    f"{', '.join(sorted(RESERVED))}; PATTERN is one value or several separated by |, each may end in *",
                ),
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
            "List the silences that have not ended. Times are UTC.",
            show,
            (CONFIG, argument("--all", action="store_true", help="include those that have ended"), JSON),
            help="list silences",
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
