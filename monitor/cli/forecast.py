"""The verb `forecast`: what is notified within the next days if nobody does anything."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime

from monitor.cli import output
from monitor.cli.lookup import opened
from monitor.cli.options import CONFIG, FILTERS, JSON, count, load_config
from monitor.cli.output import coloured, table, terminal_width
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.domain.projections.forecast import Forecast, ForecastEvent, forecast
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import Snapshot
from monitor.domain.views.status import ConnectionFilter, status_of
from monitor.schemas import facts
from monitor.state.registry import Registry
from monitor.text.forecast import forecast_text, message_text, receivers_text, restrictions, scope_text
from monitor.text.format import count as counted
from monitor.text.format import short_name

_EPILOG = """\
examples:
  postpost-monitor forecast                        which tokens end, who is notified of it, and when
  postpost-monitor forecast --label team=social
  postpost-monitor forecast --json | jq '.notifications[] | select(.severity == "critical")'

What works goes on working until its token ends, what is broken stays broken, no token is renewed. Reads the database beside a
running daemon; nothing is tested or sent.
"""
_LETTERS = 400


def run(args: argparse.Namespace) -> int:
    """Print the forecast; returns 0."""
    config, clock = load_config(args), SystemClock()
    criteria = ConnectionFilter(
        platforms=frozenset(args.platform or ()), accounts=frozenset(args.account or ()), labels=frozenset(args.label or ())
    )
    with opened(config, clock) as database:
        now, registry = clock.now(), database.registry
        snapshot = database.snapshot(now)
        expected = forecast_now(registry, snapshot, now)
    kept = {view.connection.id for view in snapshot.connections if criteria.match(view, status_of(view, ()))}
    messages = expected.about(lambda connection: connection.id in kept)
    if args.json:
        found = [(number, event) for number, events in enumerate(messages, start=1) for event in events]
        notifications = [facts.forecast(event, number) for number, event in found[: args.limit]]
        output.put({"at": facts.iso(now), "until": facts.iso(expected.until), "total": len(found), "notifications": notifications})
    else:
        states = {view.connection.id: view.state for view in snapshot.connections}
        users = {user.id: user.name for user in config.users}
        text = as_text(messages, expected.until, states, args.limit, terminal_width(), users)
        print("\n".join([*restrictions(snapshot, kept & expected.frozen), text]))
    return 0


def forecast_now(registry: Registry, snapshot: Snapshot, now: datetime) -> Forecast:
    """The forecast of everything."""
    known = [(view.connection, view.state) for view in snapshot.connections]
    *_, made = forecast(known, registry.config, registry.controls, now, registry.scopes().values())
    return made


def as_text(
    messages: Sequence[Sequence[ForecastEvent]],
    until: datetime,
    states: Mapping[int, ConnectionState],
    limit: int,
    width: int,
    users: Mapping[str, str],
) -> str:
    """The messages as a table."""
    if not messages:
        return f"Nothing is notified until {until:%Y-%m-%d %H:%M} UTC."
    cells = []
    for events in messages[:limit]:
        connections = {connection.id: connection for event in events for connection in event.connections}
        severity = max((event.notification.severity for event in events), key=lambda severity: severity.rank)
        first, several = next(iter(connections.values()), None), counted(len(connections), "connection")
        name = scope_text(events[0]) if first is None else short_name(first, states[first.id]) if len(connections) == 1 else several
        cells.append(
            (
                name,
                f"{events[0].at:%Y-%m-%d %H:%M}",
                coloured(severity.value, severity.value),
                receivers_text(events),
                message_text(events, _LETTERS, users),
            )
        )
    rows = table(("NAME", "AT (UTC)", "SEVERITY", "TO", "WHAT"), cells, width, least={0: 12, 3: 7}, texts=2)
    more = [f"and {len(messages) - limit:,} more"] if len(messages) > limit else []
    return "\n".join([forecast_text(messages, until), *rows, *more])


VERB = Verb(
    "Show what is notified within the next 14 days if nobody does anything: which tokens end, who is notified, and when.",
    run,
    (
        CONFIG,
        *FILTERS,
        argument("--limit", type=count, default=50, metavar="N", help="maximum number of messages (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
