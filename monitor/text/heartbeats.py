"""Why heartbeats are withheld, in words, and when that is logged."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from monitor.domain.connections import Connection
from monitor.domain.events import Severity
from monitor.domain.policy import Policy
from monitor.domain.reasons import Health
from monitor.domain.routes import Route
from monitor.domain.routing import rules as routing
from monitor.domain.routing.rules import ReceiverRule
from monitor.domain.schedule import MISSING_AT_MOST, MISSING_FACTOR
from monitor.domain.states import ConnectionState
from monitor.domain.views.snapshot import OutboxView
from monitor.text.durations import span

_MISSED_ROUNDS = 3
_NOTHING_WATCHED = "no connection is watched"
_NEVER_CONCLUSIVE = "no check was ever conclusive"
NO_EVIDENCE_YET = frozenset({_NOTHING_WATCHED, _NEVER_CONCLUSIVE})
"""Problems that are usual until the first round of checks."""
_LOGGED_AGAIN_AFTER = timedelta(days=1)


def problem_of(
    watched: Iterable[tuple[Connection, ConnectionState]],
    outbox: Mapping[str, OutboxView] | None,
    policy: Policy,
    receivers: Sequence[ReceiverRule],
    now: datetime,
    longest: timedelta,
) -> str:
    """Why no heartbeat may be sent at *now*; empty without a problem. *outbox*: None when the database takes no writes."""
    if problem := has_no_recent_evidence(watched, now, policy):
        return problem
    if outbox is None:
        return "the database takes no writes"
    return is_unreachable(outbox, policy.routes, receivers) or is_late(outbox, receivers, now, longest)


def has_no_recent_evidence(watched: Iterable[tuple[Connection, ConnectionState]], now: datetime, policy: Policy) -> str:
    """Why there is no recent evidence; empty while a check of some connection was conclusive lately."""
    newest: datetime | None = None
    count = 0
    for connection, state in watched:
        count += 1
        evidence_at = state.last_evidence_at
        if evidence_at is None:
            continue
        if now - evidence_at <= _recent_for(connection, state, policy):
            return ""
        newest = evidence_at if newest is None else max(newest, evidence_at)
    if not count:
        return _NOTHING_WATCHED
    return _NEVER_CONCLUSIVE if newest is None else f"no check was conclusive for {span(now - newest)}"


def is_unreachable(outbox: Mapping[str, OutboxView], routes: Sequence[Route], receivers: Sequence[ReceiverRule]) -> str:
    """Why no receiver of critical notifications accepts messages, by reported outages; empty while one does, or without receivers."""
    if not receivers:
        return ""
    names = routing.of_any(Severity.CRITICAL, routes, receivers)
    if not names:
        return "no route sends critical notifications to any receiver"
    views = [outbox[name] for name in names if name in outbox]
    if len(views) == len(names) and all(view.in_trouble for view in views):
        return f"no receiver of critical notifications works: {', '.join(sorted(names))}"
    return ""


def is_late(outbox: Mapping[str, OutboxView], receivers: Sequence[ReceiverRule], now: datetime, longest: timedelta) -> str:
    """Which receivers have had a pending delivery for longer than *longest*; not disabled ones: the others were notified of them."""
    views = {rule.name: outbox[rule.name] for rule in receivers if rule.name in outbox}
    late = [name for name, view in views.items() if view.oldest_at is not None and not view.disabled and now - view.oldest_at > longest]
    return f"pending for longer than {span(longest)}: {', '.join(sorted(late))}" if late else ""


def is_news(problem: str, logged: tuple[str, datetime] | None, now: datetime) -> bool:
    """Whether it is logged that heartbeats are stopped by *problem*, when *logged* is the one that was logged last, and when."""
    return logged is None or _cause_of(logged[0]) != _cause_of(problem) or now - logged[1] >= _LOGGED_AGAIN_AFTER


def _cause_of(problem: str) -> str:
    """*problem* without what changes while it lasts: for how long, the names of receivers, the words of an error."""
    return problem.partition(" for ")[0].partition(":")[0]


def _recent_for(connection: Connection, state: ConnectionState, policy: Policy) -> timedelta:
    """For how long a conclusive check counts as recent: missing connections are checked rarely."""
    usual = policy.stale_for(connection.interval)
    if state.health not in {Health.MISSING, Health.MISCONFIGURED}:
        return usual
    return max(usual, _MISSED_ROUNDS * min(MISSING_FACTOR * connection.interval, MISSING_AT_MOST))
