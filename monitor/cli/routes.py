"""The verb `routes`: who would be notified, and why."""

import argparse
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.cli import output
from monitor.cli.directory import Directory, NameProblem
from monitor.cli.lookup import names_of
from monitor.cli.options import CONFIG, JSON, load_config
from monitor.cli.output import terminal_width, wrapped
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock, iso_utc
from monitor.config import Config
from monitor.config.matchers import advice
from monitor.config.problems import suggest
from monitor.config.sections.policy import KNOWN_PLATFORMS
from monitor.db import read_connections, reading
from monitor.domain.connections import Connection, platform_of
from monitor.domain.events import Severity
from monitor.domain.routes import Route
from monitor.domain.routing import rules as routing
from monitor.domain.routing.matchers import CLOSED
from monitor.domain.routing.names import named_connections, words_for_connections
from monitor.domain.silencing.silences import RecurringSilence
from monitor.errors import StoreError, UsageError
from monitor.state.evaluation_config import EvaluationConfig
from monitor.text.durations import format_duration
from monitor.text.format import moment

EXIT_NOBODY = 1

_DEFAULTS = {"severity": "critical", "type": "connection.failed", "topic": "connection", "scope": "connection", "why": "opened"}
_EPILOG = """\
examples:
  postpost-monitor routes test --severity critical --platform threads
  postpost-monitor routes test --type token.expiring --topic expiry --severity warning --label team=social
  postpost-monitor routes test --connection linkedin-Tz9W5i6ZYG --json
  postpost-monitor routes test --connection "Company page"

Without options: a connection that has just failed. A connection that is known, by its id or a name that `status` prints, brings its account,
user, platform and labels. Silences of operators and acknowledgements are not considered. Exit code 0 when some receiver would be
notified, 1 when none.
"""


@dataclass(frozen=True, slots=True)
class RouteTest:
    """
    What the configuration does with one notification.

    Attributes:
        passed: the routes before the one that takes it, each with the matcher that does not match.
        taken: the route that takes it; None when none does, or there are none.
        suppressed: what suppresses it now, and until when; None for nothing.
    """

    facts: dict[str, str]
    passed: tuple[tuple[Route, str], ...]
    taken: Route | None
    receivers: tuple[str, ...]
    suppressed: tuple[str, datetime] | None


def test(args: argparse.Namespace) -> int:
    """Print who would be notified; returns 0, or 1 for nobody."""
    config = load_config(args)
    known = known_of(config)
    found = routed(config, facts_of(config, args, known), SystemClock().now(), known)
    if args.json:
        output.put(as_document(found))
    else:
        print("\n".join(wrapped(line, terminal_width(), "", "  ") for line in as_lines(config, found)))
    return 0 if found.receivers else EXIT_NOBODY


def known_of(config: Config) -> Directory:
    """Everything that is known by a name, as *config* sees it: what it names, and what the database does, if there is one to read."""
    entries = config.entries()
    found: list[Connection] = []
    names: dict[int, set[str]] = {}
    with suppress(StoreError), reading(config.database.url.reveal()) as reader:
        found = read_connections(reader)
        names = names_of(reader, found)
    connections = [Connection(one.id, entries.spec(one.spec.key, listed=one.spec.listed)) for one in found]
    more = sorted(entries.named.keys() - {one.spec.key for one in found})
    connections += [Connection(-number, entries.spec(key, listed=False)) for number, key in enumerate(more, start=1)]
    for one in connections:
        names[one.id] = {*names.get(one.id, ()), *filter(None, [one.name])}
    labels = {label for user in config.users for label in user.labels} | {label for entry in config.connections for label in entry.labels}
    users = {user.id: user.name for user in config.users}
    return Directory(connections, names, users, [account.name for account in config.accounts], labels)


def facts_of(config: Config, args: argparse.Namespace, known: Directory) -> dict[str, str]:
    """The values that the options name, with those of the connection that they name. Raises UsageError for impossible values."""
    given = {name: value for name in routing.RESERVED if (value := getattr(args, name, None)) is not None}
    try:
        given |= known.resolved({name: given[name] for name in ("connection", "user") if name in given})
    except NameProblem as problem:
        raise UsageError(str(problem)) from None
    labels = dict(label.partition("=")[::2] for label in args.label)
    _check("label", labels, {*known.labels, *(name for route in config.routes for name in route.match)} - routing.RESERVED)
    for name in given.keys() & CLOSED.keys():
        _check(name, [given[name]], CLOSED[name])
    same = [one for one in known.connections if one.platform_id == given.get("connection")]
    named = [
        one for one in same if all(routing.connection_facts(one)[name] == given[name] for name in ("account", "user") if name in given)
    ]
    own = {"account": config.accounts[0].name, "user": config.accounts[0].user_id}
    platforms = KNOWN_PLATFORMS | {one.platform for one in known.connections}
    if named:
        own |= {**named[0].labels, **routing.connection_facts(named[0])}
    elif "connection" in given:
        own["platform"] = platform_of(given["connection"])
        if own["platform"] not in platforms and known.connections:
            # It is no id, so a name was meant.
            _check(
                "connection",
                [given["connection"]],
                {name for one in known.connections for name in (one.platform_id, *known.names.get(one.id, ()))},
            )
    facts = {**dict.fromkeys(routing.RESERVED, ""), **_DEFAULTS, **own, **labels, **given}
    _check("account", [facts["account"]], [account.name for account in config.accounts])
    _check("platform", filter(None, [facts["platform"]]), platforms)
    return facts


def _check(name: str, values: Iterable[str], known: Collection[str]) -> None:
    for value in values:
        if value not in known:
            fix = advice(value, known) if name in CLOSED else suggest(value, sorted(filter(None, known)), "known")
            raise UsageError(f"{name} is never {value or 'empty'} ({fix})")


def routed(config: Config, facts: dict[str, str], now: datetime, known: Directory) -> RouteTest:
    """What *config* does with a notification with these *facts* at *now*, where names stand for what is *known*."""
    evaluated = EvaluationConfig.from_config(config, "")
    words = words_for_connections(match for _, match in evaluated.matches())
    evaluated = evaluated.with_names(
        named_connections(words, ((one.platform_id, known.names.get(one.id, ())) for one in known.connections))
    )
    routes = evaluated.routes
    taken = routing.first_match(facts, routes)
    passed = tuple((route, _why_not(route, facts)) for route in routes[: routes.index(taken) if taken is not None else None])
    rules = [routing.ReceiverRule(one.name, one.send_resolved) for one in config.receivers]
    suppressed = _suppressed(evaluated.recurring_silences, taken, facts, now)
    return RouteTest(facts, passed, taken, routing.receivers_by(facts, routes, rules), suppressed)


def _why_not(route: Route, facts: dict[str, str]) -> str:
    wrong = routing.mismatch(route.match, facts) or ""
    return f"{wrong} is {facts.get(wrong) or 'empty'}, not {route.match.get(wrong)}"


def _suppressed(
    silences: Iterable[RecurringSilence], taken: Route | None, facts: dict[str, str], now: datetime
) -> tuple[str, datetime] | None:
    active = [
        (silence.name, end)
        for silence in silences
        if routing.matches(silence.match, facts) and (end := silence.when.ends_at(now)) is not None
    ]
    quiet = routing.quiet_until([taken], Severity(facts["severity"]), now) if taken is not None else None
    active += [("the quiet hours of the route", quiet[1])] if quiet is not None else []
    return max(active, key=lambda one: one[1], default=None)


def as_lines(config: Config, found: RouteTest) -> list[str]:
    """The result for people."""
    shown = " ".join(f"{name}={value}" for name, value in sorted(found.facts.items()) if value)
    lines = [f"a notification with {shown}"]
    lines += [f"routes[{number}] {route.key}: does not match, {why}" for number, (route, why) in enumerate(found.passed)]
    if found.taken is not None:
        lines.append(f"routes[{len(found.passed)}] {found.taken.key}: takes it")
    elif not config.routes:
        lines.append("there are no routes: every receiver gets everything")
    names = ", ".join(found.receivers)
    lines.append(f"notified: {names}" if names else "notified: no receiver")
    if found.suppressed is not None:
        lines.append(f"suppressed now by {found.suppressed[0]}, until {moment(found.suppressed[1])}")
    if found.taken is not None and found.taken.reminder_interval is not None:
        interval = found.taken.reminder_interval
        lines.append(f"reminders: every {format_duration(interval)}" if interval > timedelta(0) else "reminders: none")
    if found.taken is not None and found.taken.escalation is not None:
        escalation = found.taken.escalation
        lines.append(f"escalated after {format_duration(escalation.after)} without acknowledgement: {', '.join(escalation.receivers)}")
    return lines


def as_document(found: RouteTest) -> dict[str, object]:
    """The result as JSON."""
    taken = found.taken
    escalation = taken.escalation if taken is not None else None
    interval = taken.reminder_interval if taken is not None else None
    return {
        "facts": found.facts,
        "passed": [{"route": route.key, "because": why} for route, why in found.passed],
        "route": taken.key if taken is not None else None,
        "receivers": list(found.receivers),
        "suppressedBy": found.suppressed[0] if found.suppressed is not None else None,
        "suppressedUntil": iso_utc(found.suppressed[1]) if found.suppressed is not None else None,
        "reminderSeconds": interval.total_seconds() if interval is not None else None,
        "escalateAfterSeconds": escalation.after.total_seconds() if escalation is not None else None,
        "escalateTo": list(escalation.receivers) if escalation is not None else [],
    }


def _label(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


VERB = Verb(
    "Show who would be notified of something, and why. Nothing is contacted or changed.",
    verbs={
        "test": Verb(
            "Print which route takes a notification, which do not and why, and who would be notified.",
            test,
            (
                CONFIG,
                *[argument(f"--{name}", metavar="VALUE", help=f"its {name}, as in a matcher") for name in sorted(routing.RESERVED)],
                argument(
                    "--label", metavar="NAME=VALUE", type=_label, action="append", default=[], help="a label of the connection; repeatable"
                ),
                JSON,
            ),
            help="print who would be notified, and why",
            epilog=_EPILOG,
        ),
    },
    epilog=_EPILOG,
)
