"""The verb `replay`: which notifications another policy would have sent for the stored history."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from monitor.cli import output
from monitor.cli.options import add_config, add_json, count, load_config, past, resolved
from monitor.cli.output import Progress, coloured, fitted, terminal_width, wrapped
from monitor.cli.replay_history import Lives, relive
from monitor.cli.verb import Help
from monitor.clock import SystemClock
from monitor.config import load_policy
from monitor.domain.connections import Connection
from monitor.domain.events import EventType, Severity
from monitor.domain.replay import Change, Difference, ReplayEvent, compare, counts
from monitor.schemas import facts
from monitor.text.durations import brief, span
from monitor.text.format import subject_name

_EPILOG = """\
examples:
  postpost-monitor replay --policy stricter.yaml --since 30d     what would have been told, and what not
  postpost-monitor replay --policy stricter.yaml --limit 500     more of the differences
  postpost-monitor replay --since 7d                             how well the present policy retells what was told
  postpost-monitor replay --policy stricter.yaml --json | jq '.differences[] | select(.change == "dropped")'

The file holds a section policy:, as in the configuration, and perhaps schedule: {recheck: ...}; it may be a whole
configuration, whose other sections are not looked at. Every check that is kept is decided upon again, by the same
rules as in the running monitor, under the present policy and under the other one. Nothing is sent or changed.
"""

_BEYOND = (
    "Not in the stored checks, hence in neither column: permissions, posting errors, lost or short lists, and the trouble of "
    "receivers and of the storage. Nor are the dates and the token status of the API's lists, the server's clock, and successful "
    "posts: the end of a token may be seen some hours earlier or later, and the severity may differ. Connections count as they are "
    "configured today; silences, quiet hours and acknowledgements count as they were."
)
_SHOWN_CHANGES = {Change.DROPPED: "not told", Change.ADDED: "told anew"}


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="show what another policy would have told",
        description="Show which notifications another policy would have sent for the stored history. Times are UTC.",
        epilog=_EPILOG,
        formatter_class=Help,
    )
    add_config(parser)
    parser.add_argument("--policy", type=Path, metavar="FILE", help="YAML file with the other policy (default: the present one)")
    parser.add_argument(
        "--since", type=past, default=timedelta(days=30), metavar="WHEN", help="compare since then: 7d ago, or 2030-01-31 (default: 30d)"
    )
    parser.add_argument("--limit", type=count, default=50, metavar="N", help="show at most so many differences (default: %(default)s)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Live through the history twice and print what differs; returns 0."""
    config, clock = load_config(args), SystemClock()
    other = load_policy(args.policy, config) if args.policy is not None else config
    now = clock.now()
    since = resolved(args.since, now) or now
    with Progress(clock) as progress:
        lives = relive(config, other, since, now, lambda at, number: progress.tell(f"{number:,} checks, until {at:%Y-%m-%d %H:%M}"))
    if args.json:
        output.put(as_document(lives, since, now, args.policy))
    else:
        print(as_text(lives, since, now, terminal_width(), limit=args.limit, other=args.policy is not None))
    return 0


def as_text(lives: Lives, since: datetime, now: datetime, width: int, *, limit: int, other: bool) -> str:
    """The comparison for people."""
    if lives.began_at is None or not lives.checks:
        return "No checks are kept of that time."
    parts = [_heading(lives, since, now, width)]
    if other:
        parts += [_totals(lives, width), _differences(compare(lives.before, lives.after), lives.connections, width, limit)]
    parts.append(_trust(lives, width, limit=0 if other else limit))
    parts.append(wrapped(_BEYOND, width))
    return "\n\n".join(parts)


def _heading(lives: Lives, since: datetime, now: datetime, width: int) -> str:
    began = max(since, lives.began_at or since)
    several = len(lives.connections) != 1
    many = f"{lives.checks:,} checks of {len(lives.connections):,} connection{'s' if several else ''}"
    lines = [f"{span(now - began)} of history, {began:%Y-%m-%d %H:%M} to {now:%Y-%m-%d %H:%M}: {many}."]
    if began > since:
        lines.append("Nothing older is kept: trouble that began before counts as new.")
    if lives.stops:
        lines.append(f"The monitor did not run {'once' if lives.stops == 1 else f'{lives.stops} times'}.")
    return "\n".join(wrapped(line, width) for line in lines)


def _totals(lives: Lives, width: int) -> str:
    before, after = counts(lives.before), counts(lives.after)
    names = [one.value for one in EventType if before.get(one) or after.get(one)]
    urgencies = [one.value for one in reversed(Severity) if before.get(one) or after.get(one)]
    rows = [_total(name, before.get(name, 0), after.get(name, 0)) for name in names]
    rows += [_total(name, before.get(name, 0), after.get(name, 0)) for name in urgencies]
    rows.append(_total("all", len(lives.before), len(lives.after)))
    return "\n".join(fitted(("NOTIFICATIONS", "PRESENT", "OTHER", "CHANGE"), rows, width, least={0: 12}, right={1, 2, 3}))


def _total(name: str, before: int, after: int) -> tuple[str, ...]:
    return coloured(name, name), f"{before:,}", f"{after:,}", f"{after - before:+,}" if after != before else ""


def _differences(found: Sequence[Difference], connections: Mapping[int, Connection], width: int, limit: int) -> str:
    if not found:
        return "Both policies tell the same, at the same time."
    header = ("OTHER", "AT", "TYPE", "SEVERITY", "ABOUT")
    rows = [
        (
            _change(one),
            f"{one.shown.at:%Y-%m-%d %H:%M}",
            _type(one.shown),
            _severity(one),
            _about(one.shown.subject, connections),
        )
        for one in found[:limit]
    ]
    lines = fitted(header, rows, width, least={0: 9, 2: 17, 4: 12})
    if len(found) > limit:
        lines.append(f"… {len(found) - limit:,} more differences; --limit shows more, --json all of them.")
    return "\n".join(lines)


def _change(one: Difference) -> str:
    if one.before is None or one.after is None:
        return _SHOWN_CHANGES[one.change]
    moved = one.after.at - one.before.at
    if not moved:
        return "as urgent as"
    return f"{brief(abs(moved))} {'later' if moved > timedelta(0) else 'earlier'}"


def _severity(one: Difference) -> str:
    shown = coloured(one.shown.severity.value, one.shown.severity.value)
    if one.before is None or one.after is None or one.before.severity is one.after.severity:
        return shown
    return f"{one.before.severity} → {shown}"


def _type(one: ReplayEvent) -> str:
    return f"{one.type} {one.level}" if one.type in (EventType.TOKEN_EXPIRING, EventType.REMINDER) else one.type.value


def _about(subject: str, connections: Mapping[int, Connection]) -> str:
    known = subject.isascii() and subject.isdigit()
    return subject_name(subject, connections.get(int(subject)) if known else None)


def _trust(lives: Lives, width: int, *, limit: int) -> str:
    """How well the present policy, replayed, retells what was really told: the measure of how far to trust the rest."""
    missing, extra = _retold(lives)
    same = len(lives.sent) - len(missing)
    if not lives.sent and not extra:
        return "Nothing was really decided in that time, and the present policy, replayed, tells nothing."
    text = f"Replayed, the present policy tells {same:,} of the {len(lives.sent):,} notifications that were really decided"
    text += f", and {len(extra):,} that {'was' if len(extra) == 1 else 'were'} not." if extra else "."
    if missing or extra:
        text += " What was configured otherwise then, or learned from lists, is not in the checks."
    if lives.beyond:
        text += f" {lives.beyond:,} more were decided that no check tells of."
    lines = [wrapped(text, width)]
    shown = [*(("really, not replayed", one) for one in missing), *(("replayed, not really", one) for one in extra)]
    shown.sort(key=lambda item: item[1].at)
    if shown and limit:
        rows = [
            (word, f"{one.at:%Y-%m-%d %H:%M}", _type(one), one.severity.value, _about(one.subject, lives.connections))
            for word, one in shown[:limit]
        ]
        lines += ["", *fitted(("TOLD", "AT", "TYPE", "SEVERITY", "ABOUT"), rows, width, least={0: 12, 2: 17, 4: 12})]
    return "\n".join(lines)


def _retold(lives: Lives) -> tuple[list[ReplayEvent], list[ReplayEvent]]:
    """What was really decided and is not replayed, and the other way round."""
    found = compare(lives.sent, lives.before)
    missing = [one.before for one in found if one.change is Change.DROPPED and one.before is not None]
    extra = [one.after for one in found if one.change is Change.ADDED and one.after is not None]
    return missing, extra


def as_document(lives: Lives, since: datetime, now: datetime, policy: Path | None) -> dict[str, Any]:
    """The comparison for machines."""
    missing, extra = _retold(lives)
    return {
        "since": facts.iso(since),
        "until": facts.iso(now),
        "oldestCheckAt": facts.iso(lives.began_at),
        "policy": str(policy) if policy is not None else None,
        "checks": lives.checks,
        "connections": len(lives.connections),
        "stops": lives.stops,
        "counts": [
            {"name": name, "present": before, "other": after} for name, before, after in _counted(counts(lives.before), counts(lives.after))
        ],
        "differences": [_difference(one, lives.connections) for one in compare(lives.before, lives.after)],
        "really": {
            "decided": len(lives.sent),
            "notInChecks": lives.beyond,
            "notReplayed": [_told(one, lives.connections) for one in missing],
            "onlyReplayed": [_told(one, lives.connections) for one in extra],
        },
    }


def _counted(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[tuple[str, int, int]]:
    for kind in (EventType, Severity):
        for one in kind:
            if before.get(one) or after.get(one):
                yield one.value, before.get(one, 0), after.get(one, 0)


def _difference(one: Difference, connections: Mapping[int, Connection]) -> dict[str, Any]:
    return {
        "change": one.change,
        "present": _told(one.before, connections) if one.before is not None else None,
        "other": _told(one.after, connections) if one.after is not None else None,
    }


def _told(one: ReplayEvent, connections: Mapping[int, Connection]) -> dict[str, Any]:
    connection = connections.get(int(one.subject)) if one.subject.isascii() and one.subject.isdigit() else None
    return {
        "at": facts.iso(one.at),
        "type": one.type,
        "why": one.why,
        "severity": one.severity,
        "level": one.level,
        "reason": one.reason,
        "subject": connection.platform_id if connection is not None else one.subject,
        "account": connection.account if connection is not None else None,
        "userId": (connection.user_id or None) if connection is not None else None,
        "platform": connection.platform if connection is not None else None,
    }
