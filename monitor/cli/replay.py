"""The verb `replay`: the notifications that another policy would have sent for the stored history."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from monitor.cli import output
from monitor.cli.options import CONFIG, JSON, count, load_config, past, resolved
from monitor.cli.output import Progress, coloured, fitted, table, terminal_width, wrapped
from monitor.cli.replay_history import ReplayResult, replay_history
from monitor.cli.verb import Verb, argument
from monitor.clock import SystemClock
from monitor.config import load_policy
from monitor.domain.connections import Connection
from monitor.domain.events import EventType, Severity
from monitor.domain.projections.replay import Change, Difference, ReplayEvent, compare, counts
from monitor.schemas import facts
from monitor.text import format as fmt
from monitor.text.durations import brief, span

_EPILOG = """\
examples:
  postpost-monitor replay --policy stricter.yaml --since 30d     which notifications would differ
  postpost-monitor replay --policy stricter.yaml --limit 500     more of the differences
  postpost-monitor replay --since 7d                             how well the current policy reproduces what was sent
  postpost-monitor replay --policy stricter.yaml --json | jq '.differences[] | select(.change == "dropped")'

The file has a section policy:, as in the configuration, and optionally schedule: {recheck: ...}; it may be a whole
configuration, whose other sections are ignored. Files of a folder config.d beside it are read too, as they are beside a
configuration. Every stored check is evaluated again by the rules of the daemon, under the current policy and under the
other one. Nothing is sent or changed.
"""

_LIMITS = (
    "Not replayed, because it is not in the stored checks: permissions, posting errors, missing or short listings, and incidents of "
    "receivers and of the storage; also the dates and the token status of listings, the server's clock, and successful posts, so a "
    "token may seem to expire some hours earlier or later, and a severity may differ. Connections count as they are "
    "configured today; silences, quiet hours and acknowledgements count as they were."
)
_CHANGES = {Change.DROPPED: "not sent", Change.ADDED: "additional"}


def run(args: argparse.Namespace) -> int:
    """Replay the history under both policies and print the differences; returns 0."""
    config, clock = load_config(args), SystemClock()
    other = load_policy(args.policy, config) if args.policy is not None else config
    now = clock.now()
    since = resolved(args.since, now) or now
    with Progress(clock) as progress:
        result = replay_history(
            config, other, since, now, lambda at, number: progress.show(f"{number:,} checks, until {at:%Y-%m-%d %H:%M}")
        )
    if args.json:
        output.put(as_document(result, since, now, args.policy))
    else:
        print(as_text(result, since, now, terminal_width(), limit=args.limit, other=args.policy is not None))
    return 0


def as_text(result: ReplayResult, since: datetime, now: datetime, width: int, *, limit: int, other: bool) -> str:
    """The comparison as text."""
    if result.began_at is None or not result.checks:
        return "No checks are stored of that time."
    parts = [_heading(result, since, now, width)]
    if other:
        parts += [_totals(result, width), _differences(compare(result.before, result.after), result.connections, width, limit)]
    parts.append(_accuracy(result, width, limit=0 if other else limit))
    parts.append(wrapped(_LIMITS, width))
    return "\n\n".join(parts)


def _heading(result: ReplayResult, since: datetime, now: datetime, width: int) -> str:
    began = max(since, result.began_at or since)
    checks = f"{fmt.count(result.checks, 'check')} of {fmt.count(len(result.connections), 'connection')}"
    lines = [f"{span(now - began)} of history, {began:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M}: {checks}."]
    if began > since:
        lines.append("Nothing older is stored: incidents that began before count as new.")
    if result.stops:
        lines.append(f"The daemon did not run {'once' if result.stops == 1 else f'{result.stops} times'}.")
    return "\n".join(wrapped(line, width) for line in lines)


def _counted(result: ReplayResult, *kinds: type[StrEnum]) -> list[tuple[str, int, int]]:
    """Name, and how many notifications of the current and of the other policy, of those that occur."""
    before, after = counts(result.before), counts(result.after)
    return [(kind.value, before.get(kind, 0), after.get(kind, 0)) for each in kinds for kind in each if before.get(kind) or after.get(kind)]


def _totals(result: ReplayResult, width: int) -> str:
    counted = [*_counted(result, EventType), *reversed(_counted(result, Severity)), ("all", len(result.before), len(result.after))]
    rows = [
        (coloured(name, name), f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else "")
        for name, before, after in counted
    ]
    return "\n".join(fitted(("NOTIFICATIONS", "CURRENT", "OTHER", "CHANGE"), rows, width, least={0: 12}, right={1, 2, 3}))


def _differences(differences: Sequence[Difference], connections: Mapping[int, Connection], width: int, limit: int) -> str:
    if not differences:
        return "Both policies send the same notifications at the same times."
    header = ("OTHER", "AT (UTC)", "TYPE", "SEVERITY", "ABOUT")
    rows = [
        (
            _change(difference),
            f"{difference.shown.at:%Y-%m-%d %H:%M}",
            _type(difference.shown),
            _severity(difference),
            _about(difference.shown.subject, connections),
        )
        for difference in differences[:limit]
    ]
    lines = table(header, rows, width, least={0: 9, 2: 17})
    if len(differences) > limit:
        lines.append(f"… {len(differences) - limit:,} more differences; --limit shows more, --json all of them.")
    return "\n".join(lines)


def _change(difference: Difference) -> str:
    if difference.before is None or difference.after is None:
        return _CHANGES[difference.change]
    moved = difference.after.at - difference.before.at
    if not moved:
        return "severity"
    return f"{brief(abs(moved))} {'later' if moved > timedelta(0) else 'earlier'}"


def _severity(difference: Difference) -> str:
    shown = coloured(difference.shown.severity.value, difference.shown.severity.value)
    if difference.before is None or difference.after is None or difference.before.severity is difference.after.severity:
        return shown
    return f"{difference.before.severity} → {shown}"


def _type(event: ReplayEvent) -> str:
    return f"{event.type} {event.level}" if event.type in (EventType.TOKEN_EXPIRING, EventType.REMINDER) else event.type.value


def _connection(subject: str, connections: Mapping[int, Connection]) -> Connection | None:
    return connections.get(int(subject)) if subject.isascii() and subject.isdigit() else None


def _about(subject: str, connections: Mapping[int, Connection]) -> str:
    connection = _connection(subject, connections)
    about = fmt.subject_name(subject, connection)
    return f"{fmt.one_line(connection.name, 40)} · {about}" if connection is not None and connection.name else about


def _accuracy(result: ReplayResult, width: int, *, limit: int) -> str:
    """How well the current policy, replayed, reproduces what was sent: how far the comparison can be trusted."""
    missing, extra = _compared_with_sent(result)
    if not result.sent and not extra:
        return "No notifications were decided in that time, and a replay of the current policy yields none."
    same = len(result.sent) - len(missing)
    text = f"A replay of the current policy yields {same:,} of the {len(result.sent):,} notifications that were decided"
    text += f", and {len(extra):,} that {'was' if len(extra) == 1 else 'were'} not." if extra else "."
    if missing or extra:
        text += " The configuration may have been different, and what was learned from listings is not in the checks."
    if result.beyond:
        text += f" {result.beyond:,} more were decided that do not follow from checks."
    lines = [wrapped(text, width)]
    shown = [*(("decided, not replayed", event) for event in missing), *(("replayed, not decided", event) for event in extra)]
    shown.sort(key=lambda item: item[1].at)
    if shown and limit:
        rows = [
            (label, f"{event.at:%Y-%m-%d %H:%M}", _type(event), event.severity.value, _about(event.subject, result.connections))
            for label, event in shown[:limit]
        ]
        lines += ["", *table(("NOTIFICATION", "AT (UTC)", "TYPE", "SEVERITY", "ABOUT"), rows, width, least={0: 12, 2: 17})]
    return "\n".join(lines)


def _compared_with_sent(result: ReplayResult) -> tuple[list[ReplayEvent], list[ReplayEvent]]:
    """The notifications that were decided but not replayed, and those that were replayed but not decided."""
    differences = compare(result.sent, result.before)
    missing = [each.before for each in differences if each.change is Change.DROPPED and each.before is not None]
    extra = [each.after for each in differences if each.change is Change.ADDED and each.after is not None]
    return missing, extra


def as_document(result: ReplayResult, since: datetime, now: datetime, policy: Path | None) -> dict[str, Any]:
    """The comparison as JSON."""
    missing, extra = _compared_with_sent(result)
    return {
        "since": facts.iso(since),
        "until": facts.iso(now),
        "oldestCheckAt": facts.iso(result.began_at),
        "policy": str(policy) if policy is not None else None,
        "checks": result.checks,
        "connections": len(result.connections),
        "stops": result.stops,
        "counts": [{"name": name, "present": before, "other": after} for name, before, after in _counted(result, EventType, Severity)],
        "differences": [
            {
                "change": difference.change,
                "present": _event(difference.before, result.connections) if difference.before is not None else None,
                "other": _event(difference.after, result.connections) if difference.after is not None else None,
            }
            for difference in compare(result.before, result.after)
        ],
        "really": {
            "decided": len(result.sent),
            "notInChecks": result.beyond,
            "notReplayed": [_event(event, result.connections) for event in missing],
            "onlyReplayed": [_event(event, result.connections) for event in extra],
        },
    }


def _event(event: ReplayEvent, connections: Mapping[int, Connection]) -> dict[str, Any]:
    connection = _connection(event.subject, connections)
    return {
        "at": facts.iso(event.at),
        "type": event.type,
        "why": event.why,
        "severity": event.severity,
        "level": event.level,
        "reason": event.reason,
        "subject": connection.platform_id if connection is not None else event.subject,
        "account": connection.account if connection is not None else None,
        "userId": (connection.user_id or None) if connection is not None else None,
        "platform": connection.platform if connection is not None else None,
    }


VERB = Verb(
    "Show which notifications another policy would have sent for the stored history. Times are UTC.",
    run,
    (
        CONFIG,
        argument("--policy", type=Path, metavar="FILE", help="YAML file with the other policy (default: the current one)"),
        argument(
            "--since",
            type=past,
            default=timedelta(days=30),
            metavar="WHEN",
            help="compare since then: 7d ago, or 2030-01-31 (default: 30d)",
        ),
        argument("--limit", type=count, default=50, metavar="N", help="maximum number of differences (default: %(default)s)"),
        JSON,
    ),
    epilog=_EPILOG,
)
