"""The verb `silence`: not to be told of something for a while."""

import argparse
import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.cli import output
from monitor.cli.options import add_config, add_json, count, duration, instant, load_config
from monitor.cli.output import WIDE, coloured, fitted, stacked, terminal_width
from monitor.cli.verb import Help
from monitor.clock import Clock, SystemClock
from monitor.config import Config
from monitor.config.problems import suggest
from monitor.db import Reader, operator_session, read_connections, reading, silences_since
from monitor.domain.connections import Connection
from monitor.domain.routing import RESERVED, matches
from monitor.domain.silencing.recurrence import DAYS, EVERY_DAY
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

A silence holds back what is told, never the checks. When it ends, whatever then differs from what was last told is told. A running
monitor takes it up within seconds. Those that come back every day or week stand in the configuration: `silences` and `quiet_hours`.
"""

_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
_SHOWN = {SilenceState.ACTIVE: "warning", SilenceState.PENDING: "info", SilenceState.EXPIRED: "unknown"}
_ABOUT_THE_NEWS = RESERVED - {"account", "user", "platform", "connection"}


@dataclass(frozen=True, slots=True)
class SilenceRequest:
    """A silence that is asked for: what, from when until when, by whom and why."""

    match: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime
    author: str
    reason: str


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "silence",
        help="do not be told of something for a while",
        description="Do not be told of something for a while.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    adding = verbs.add_parser("add", help="begin a silence", description="Begin a silence, now or later. Times without a zone are UTC.")
    add_config(adding)
    adding.add_argument(
        "--match",
        nargs="+",
        action="extend",
        required=True,
        metavar="NAME=PATTERN",
        help=f"what a notification must be, all of it: {', '.join(sorted(RESERVED))}, or a label; several texts are separated by |, each "
        "may end in *",
    )
    ends = adding.add_mutually_exclusive_group(required=True)
    ends.add_argument("--for", dest="duration", type=duration, metavar="TIME", help="how long, such as 2h")
    ends.add_argument("--until", type=instant, metavar="WHEN", help="when it ends, such as 2030-01-31T08:00+01:00")
    adding.add_argument("--from", dest="start", type=instant, metavar="WHEN", help="when it begins (default: now)")
    adding.add_argument("--author", default=login(), metavar="NAME", help="who asks for it (default: who is logged in)")
    adding.add_argument("--reason", required=True, metavar="TEXT", help="why")
    add_json(adding)
    adding.set_defaults(run=add)
    listing = verbs.add_parser("list", help="list silences", description="List the silences that are not over. Times are UTC.")
    add_config(listing)
    listing.add_argument("--all", action="store_true", help="those that are over too")
    add_json(listing)
    listing.set_defaults(run=show)
    ending = verbs.add_parser("expire", help="end silences", description="End silences before their time.")
    add_config(ending)
    ending.add_argument("numbers", nargs="+", type=count, metavar="NUMBER", help="numbers, as `silence list` shows them")
    add_json(ending)
    ending.set_defaults(run=expire)


def add(args: argparse.Namespace) -> int:
    """Begin a silence; returns 0."""
    clock = SystemClock()
    config = load_config(args)
    url = config.database.url.reveal()
    with reading(url) as reader:
        connections = read_connections(reader)
    wish = wish_of(args, connections, clock.now())
    silence = begin(url, wish, clock)
    covered = [one for one in connections if covers(wish.match, one)]
    if args.json:
        output.put({"silence": document(silence, clock.now()), "connections": len(covered)})
        return 0
    print(f"Silence {silence.id} until {moment(silence.ends_at)} ({span(silence.ends_at - clock.now())}).")
    print(f"It covers {len(covered)} of {len(connections)} connections{'' if covered else ': look at its patterns again'}.")
    return 0


def wish_of(args: argparse.Namespace, connections: Sequence[Connection], now: datetime) -> SilenceRequest:
    """What the words of `silence add` ask for; raises UsageError for what makes no sense."""
    starts_at = args.start or now
    ends_at = args.until if args.until is not None else starts_at + args.duration
    if ends_at <= max(now, starts_at):
        raise UsageError("silence add: it would be over before it begins")
    author, reason = clean(args.author, 80).strip(), clean(args.reason, 300).strip()
    if not author or not reason:
        raise UsageError("silence add: --author and --reason must say something")
    return SilenceRequest(matchers(args.match, connections), starts_at, ends_at, author, reason)


def matchers(words: Sequence[str], connections: Sequence[Connection]) -> dict[str, str]:
    """The pairs of *words* such as `platform=mastodon`; raises UsageError for a name that nothing has."""
    known = sorted(RESERVED | {label for connection in connections for label in connection.labels})
    found: dict[str, str] = {}
    for word in words:
        name, equals, pattern = word.partition("=")
        if not equals or not name:
            raise UsageError(f"silence add: {one_line(word, 80)} is no NAME=PATTERN, such as platform=mastodon")
        if name in found:
            raise UsageError(f"silence add: {name} is given twice; several texts are separated by |")
        if name not in known:
            raise UsageError(f"silence add: nothing has a {one_line(name, 80)} ({suggest(name, known, 'known')})")
        found[name] = pattern
    return found


def covers(match: Mapping[str, str], connection: Connection) -> bool:
    """Whether *match* can hold back news of *connection*, whatever they are."""
    known = {
        **connection.labels,
        "account": connection.account,
        "user": connection.user_id,
        "platform": connection.platform,
        "connection": connection.platform_id,
    }
    return matches({name: pattern for name, pattern in match.items() if name not in _ABOUT_THE_NEWS}, known)


def begin(url: str, wish: SilenceRequest, clock: Clock) -> Silence:
    """Write down what is wished for, beside a running monitor."""
    with operator_session(url) as operations:
        return operations.add_silence(
            wish.match, starts_at=wish.starts_at, ends_at=wish.ends_at, author=wish.author, reason=wish.reason, now=clock.now()
        )


def show(args: argparse.Namespace) -> int:
    """Print the silences; returns 0."""
    config, now = load_config(args), SystemClock().now()
    with reading(config.database.url.reveal()) as reader:
        silences = listed(reader, now, everything=args.all)
    if args.json:
        recurring = [_recurring(window, now) for window in config.windows()]
        output.put({"at": facts.iso(now), "silences": [document(one, now) for one in silences], "recurring": recurring})
    else:
        print(as_text(silences, config, now, terminal_width()))
    return 0


def listed(reader: Reader, now: datetime, *, everything: bool) -> list[Silence]:
    """The silences that are not over; or else all that are remembered."""
    found = silences_since(reader, _LONG_AGO if everything else now)
    return [one for one in found if everything or one.state(now) is not SilenceState.EXPIRED]


def as_text(silences: Sequence[Silence], config: Config, now: datetime, width: int) -> str:
    """The silences for people, those of the configuration last."""
    header = ("NUMBER", "STATE", "BEGINS", "ENDS", "AUTHOR", "MATCHES", "REASON")
    cells = [
        (
            str(one.id),
            coloured(one.state(now).value, _SHOWN[one.state(now)]),
            f"{one.starts_at:%Y-%m-%d %H:%M}",
            f"{one.over_at:%Y-%m-%d %H:%M}",
            one_line(one.author, 80),
            _pairs(one.match),
            one_line(one.reason, 300),
        )
        for one in silences
    ]
    for window in config.windows():
        end = window.when.ends_at(now)
        state = SilenceState.PENDING if end is None else SilenceState.ACTIVE
        begins = f"{window.when.starts_at(now):%Y-%m-%d %H:%M}" if end is None else ""
        until = f"{end:%Y-%m-%d %H:%M}" if end is not None else ""
        cells.append(("-", coloured(state.value, _SHOWN[state]), begins, until, "configuration", _pairs(window.match), _words(window)))
    if not cells:
        return "No silences."
    if width >= WIDE:
        return "\n".join(fitted(header, cells, width, least={4: 8, 5: 16, 6: 12}))
    lines = fitted(header[:5], [cell[:5] for cell in cells], width, least={4: 8})
    return "\n".join(stacked(lines, [f"{matches}: {reason}" for *_, matches, reason in cells], width))


def expire(args: argparse.Namespace) -> int:
    """End silences; returns 0."""
    url, clock = load_config(args).database.url.reveal(), SystemClock()
    end(url, args.numbers, clock)
    if args.json:
        output.put({"expired": args.numbers})
    else:
        print(f"Ended: {', '.join(map(str, args.numbers))}. What was held back and is still true is told within seconds.")
    return 0


def end(url: str, numbers: Sequence[int], clock: Clock) -> None:
    """End all of these silences; raises UsageError, and ends none, when one of them is unknown or over."""
    with operator_session(url) as operations:
        for number in dict.fromkeys(numbers):
            if not operations.expire_silence(number, clock.now()):
                raise UsageError(f"there is no silence {number} that could be ended; `postpost-monitor silence list` shows the numbers")


def document(silence: Silence, now: datetime) -> dict[str, Any]:
    """One silence for machines."""
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


def _recurring(window: RecurringSilence, now: datetime) -> dict[str, Any]:
    return {
        "name": window.name,
        "match": dict(window.match),
        "activeUntil": facts.iso(window.when.ends_at(now)),
        "nextStartsAt": facts.iso(window.when.starts_at(now)),
    }


def _pairs(match: Mapping[str, str]) -> str:
    return one_line(" ".join(f"{name}={pattern}" for name, pattern in match.items()), 300)


def _words(window: RecurringSilence) -> str:
    when = window.when
    days = "daily" if when.days == EVERY_DAY else ", ".join(DAYS[day] for day in sorted(when.days))
    return f"{window.name}: {days} {_clock(when.start)} to {_clock(when.end)} {when.zone}"


def _clock(since_midnight: timedelta) -> str:
    minutes = since_midnight // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def login() -> str:
    """The name of the user who runs the command."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
