"""The overall state as one sentence, and the state of a connection in two or three words; the same on pages and command line."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.domain.events import Topic
from monitor.domain.reasons import Health, Scope
from monitor.domain.scopes.key import ScopeKey
from monitor.domain.states import ConnectionState
from monitor.domain.views.handling import Handling
from monitor.domain.views.snapshot import ConnectionView, IncidentView, Snapshot, SuspectedScope
from monitor.domain.views.status import DisplayStatus, OverallState, Tone, counting
from monitor.errors import Reason
from monitor.text.durations import brief
from monitor.text.format import STATUS_LABELS, ago, count, label_of, moment, one_line, sentence
from monitor.text.load import interval_advice, load_text

_WAS = {
    Health.OK: "Was working",
    Health.ERROR: "Was broken",
    Health.MISSING: "Was missing",
    Health.MISCONFIGURED: "Was misconfigured",
}
_SILENT = frozenset({Reason.API_TIMEOUT, Reason.API_UNREACHABLE, Reason.API_DNS_FAILED, Reason.API_DISCONNECTED})
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
_UNTENDED_LISTED = 3
STORAGE_FAILED = "The monitor cannot write to its database: no change is confirmed, nothing can be notified."
NO_RECEIVER = "No receiver is configured: nobody is notified of anything."
_CLOSED = {
    Topic.CONNECTION: "It works again.",
    Topic.EXPIRY: "The token was renewed.",
    Topic.RENEWAL: "The token was renewed.",
    Topic.PUBLISHING: "Posts succeed again.",
    Topic.PERMISSIONS: "The permissions are back.",
    Topic.SCOPE: "It is over.",
}
_CLOSED_WHY = {
    "unsupported": "The API can no longer test it.",
    "removed": "It is no longer watched.",
    "replaced": "It goes on as part of a wider incident.",
    "accepted": "An operator accepted the loss.",
}


def closed_text(topic: Topic, closed_why: str | None) -> str:
    """How an incident ended, as one sentence."""
    return _CLOSED_WHY.get(closed_why or "") or _CLOSED[topic]


def status_label(view: ConnectionView, status: DisplayStatus, incidents: Sequence[IncidentView]) -> str:
    """The status in two or three words."""
    if status is DisplayStatus.UNKNOWN and view.unknown_now:
        return _WAS.get(view.state.health, STATUS_LABELS[status])
    worst = worst_of(view, incidents)
    if status not in (DisplayStatus.ATTENTION, DisplayStatus.EXPIRING) or worst is None:
        return STATUS_LABELS[status]
    return label_of(worst.incident.topic, worst.level) or STATUS_LABELS[status]


def unknown_label(views: Sequence[ConnectionView]) -> str:
    """The label of all connections that are shown as `unknown`: that of each, as far as they have the same one."""
    labels = {status_label(view, DisplayStatus.UNKNOWN, ()) for view in views}
    return labels.pop() if len(labels) == 1 else "Not known now" if labels else STATUS_LABELS[DisplayStatus.UNKNOWN]


def last_known_text(state: ConnectionState, now: datetime) -> str:
    """What a connection was when that was last known, as `was working 3m ago`; empty where it never was."""
    was, seen = _WAS.get(state.health, ""), state.last_evidence_at
    return f"{was.lower()} {ago(seen, now)}" if was and seen is not None else ""


def worst_of(view: ConnectionView, incidents: Sequence[IncidentView]) -> IncidentView | None:
    """The most urgent one that counts."""
    return max(counting(view, incidents), key=lambda incident: incident.severity.rank, default=None)


def handling_texts(handling: Handling, now: datetime) -> Iterator[str]:
    """What operators did, and what happens if they do nothing, one sentence each."""
    ack, silence = handling.ack, handling.silence
    if ack is not None:
        yield f"Acknowledged by {one_line(ack.author, 80)} {ago(ack.at, now)}: {one_line(ack.reason, 300)}"
    if silence is not None:
        by = f" by {one_line(silence.author, 80)}" if silence.number is not None else f" ({one_line(silence.author, 80)}, configured)"
        yield f"Silenced until {moment(silence.until)}{by}{f': {one_line(silence.reason, 300)}' if silence.reason else ''}"
    if handling.escalates_at is not None:
        yield escalation_text(handling.escalates_at, now)


def escalation_text(at: datetime, now: datetime) -> str:
    """When an incident is escalated; overdue is what a silence or quiet hours delay."""
    return f"Escalated {ago(at, now)}, on {moment(at)}, unless acknowledged." if at > now else "Its escalation is due."


@dataclass(frozen=True, slots=True)
class Overall:
    """The overall state: as one word, as one sentence, and a second line with more."""

    state: OverallState
    tone: Tone
    text: str
    more: str = ""


def overall_of(snapshot: Snapshot, counts: Mapping[DisplayStatus, int], urgent: bool) -> Overall:
    """
    The overall state, the worst first.

    Args:
        counts: display status -> how many connections.
        urgent: whether a connection that still works has a critical incident.
    """
    suspected = " ".join(suspicion_text(each, snapshot.taken_at) for each in snapshot.suspected)
    if not snapshot.connections:
        return _own_failure(snapshot, 0) or (
            Overall(OverallState.SUSPECTED, Tone.WARN, suspected)
            if suspected
            else Overall(OverallState.UNKNOWN, Tone.IDLE, "No connections are watched yet.")
        )
    frozen = [view for view in snapshot.connections if view.suppressed_by is not None and view.frozen]
    own, broken = _own_failure(snapshot, len(frozen)), sum(counts[status] for status in DisplayStatus if status.broken)
    unrouted = f"{count(snapshot.unrouted, 'notification')} reached no receiver: no route matches." if snapshot.unrouted else ""
    failing = _join(_failing_receivers(snapshot), unrouted)
    state = _state_of(snapshot, broken, frozen, counts, urgent)
    state = replace(state, more=_join(state.more, _unmatched(snapshot), _overloaded(snapshot)))
    if own is not None:
        some_known = (
            snapshot.storage_up and not snapshot.untended and snapshot.api_up is not False and len(frozen) < len(snapshot.connections)
        )
        known = _join(state.text, state.more) if some_known else _last_known(snapshot)
        return Overall(own.state, own.tone, own.text, _join(known, failing))
    if broken:
        text = f"{state.text[:-1]}; an outage is suspected." if suspected else state.text
        return Overall(state.state, state.tone, text, _join(state.more, suspected, failing))
    if failing:
        return Overall(OverallState.UNDELIVERED, Tone.BAD, failing, _join(suspected, _last_known(snapshot) if suspected else state.text))
    if suspected and state.tone is not Tone.BAD:
        more = state.text if state.state in (OverallState.ATTENTION, OverallState.EXPIRING) else _last_known(snapshot)
        return Overall(OverallState.SUSPECTED, Tone.WARN, suspected, more)
    return Overall(state.state, state.tone, state.text, _join(state.more, suspected))


def with_handling(overall: Overall, trouble: Sequence[tuple[int, Handling]], calm: Sequence[Handling]) -> Overall:
    """
    *overall* with what operators did.

    Args:
        trouble: of each connection to handle: how many incidents are open, and what was done about them.
        calm: of each other connection.
    """
    incidents, handled = sum(number for number, _ in trouble), sum(handling.handled for _, handling in trouble)
    silenced = sum(handling.silence is not None for handling in calm)
    more = _join(
        overall.more,
        f"{count(incidents, 'incident')} of {count(len(trouble), 'connection')} are open." if incidents > len(trouble) else "",
        f"Acknowledged or silenced: {handled:,} of {count(len(trouble), 'connection')}." if handled else "",
        f"{count(silenced, 'connection without trouble is', 'connections without trouble are')} silenced." if silenced else "",
    )
    return replace(overall, more=more)


def suspicion_text(scope: SuspectedScope, now: datetime) -> str:
    """That a scope is suspected, as one sentence."""
    key = ScopeKey.parse(scope.subject)
    lasting, kind, name = _precisely(now - scope.since), key.kind, one_line(key.path, 120)
    if scope.scope is Scope.API:
        silent = scope.reason is None or scope.reason in _SILENT
        what = f"the PostPost API has not answered for {lasting}" if silent else f"the PostPost API has been failing for {lasting}"
    elif kind == "service":
        what = f"the API has been failing for the account {name} alone for {lasting}"
    elif scope.scope is Scope.USER:
        what = f"the API refused the managed user {name} {lasting} ago"
    else:
        what = f"the API refused the key of the account {name} {lasting} ago"
    return f"Suspected: {what}; below is what was known then."


def _precisely(duration: timedelta) -> str:
    """*duration*, in seconds below two minutes."""
    return f"{max(0, duration // _SECOND)}s" if duration < 2 * _MINUTE else brief(duration)


def _own_failure(snapshot: Snapshot, frozen: int) -> Overall | None:
    """A failure that hides the state of the connections, of *frozen* ones where it is that of a user; the last known state is shown below it."""
    text = ""
    rejected = sorted(name for name, up in snapshot.accounts.items() if up is False)
    if not snapshot.storage_up:
        text = "The monitor cannot write to its database: nothing can be notified, and the state below is the last known."
    elif snapshot.untended:
        what = ", ".join(snapshot.untended[:_UNTENDED_LISTED]) + " ..." * (len(snapshot.untended) > _UNTENDED_LISTED)
        text = f"No node of the cluster tends {what}: nothing of it is checked or notified. See postpost-monitor cluster status."
    elif snapshot.api_up is False:
        text = "The PostPost API does not respond; the last known state is shown below."
    elif rejected:
        which = f"the account {rejected[0]}" if len(rejected) == 1 else count(len(rejected), "account")
        whose = "its" if len(rejected) == 1 else "their"
        text = f"The API rejects {which}; {whose} connections cannot be checked."
    else:
        users = [
            incident
            for incident in snapshot.incidents
            if incident.scope in (Scope.USER, Scope.ACCOUNT) and not incident.incident.subject.startswith("rate:")
        ]
        if users and frozen:
            text = f"The API refuses or fails {count(len(users), 'account or user', 'accounts or users')}; {count(frozen, 'connection')} cannot be checked."
    return Overall(OverallState.UNAVAILABLE, Tone.BAD, text) if text else None


def _unmatched(snapshot: Snapshot) -> str:
    if not snapshot.unmatched:
        return ""
    first = snapshot.unmatched[0]
    others = f" and {len(snapshot.unmatched) - 1} more" if len(snapshot.unmatched) > 1 else ""
    meant = f" Did you mean {one_line(first.meant, 60)}?" if first.meant else ""
    return f"The matcher {one_line(f'{first.name}: {first.pattern}', 60)} of {first.where}{others} matches nothing that is known.{meant}"


def _overloaded(snapshot: Snapshot) -> str:
    return " ".join(f"{sentence(load_text(load))} {sentence(interval_advice(load))}" for load in snapshot.loads if load.too_many)


def _failing_receivers(snapshot: Snapshot) -> str:
    failing = sorted(name for name, outbox in snapshot.outbox.items() if outbox.disabled or outbox.failing_since is not None)
    if not failing:
        return ""
    if len(failing) == 1:
        return f"The receiver {failing[0]} accepts no messages."
    which = f"The {len(failing)}" if len(failing) == len(snapshot.outbox) else f"{len(failing)} of the {len(snapshot.outbox)}"
    return f"{which} receivers accept no messages."


def _last_known(snapshot: Snapshot) -> str:
    """How many worked and how many did not when they were last checked."""
    healths = [view.state.health for view in snapshot.connections]
    working, broken = healths.count(Health.OK), sum(health.broken for health in healths)
    parts = [f"{working:,} worked"] if working else []
    parts += [f"{broken:,} {'was' if broken == 1 else 'were'} broken"] if broken else []
    return f"Of {count(len(healths), 'connection')}, {' and '.join(parts)} when last checked." if parts else ""


def _state_of(
    snapshot: Snapshot, broken: int, frozen: Sequence[ConnectionView], counts: Mapping[DisplayStatus, int], urgent: bool
) -> Overall:
    total, attention, expiring = len(snapshot.connections), counts[DisplayStatus.ATTENTION], counts[DisplayStatus.EXPIRING]
    healths = [view.state.health for view in snapshot.connections]
    unchecked = healths.count(Health.UNKNOWN) - sum(view.state.health is Health.UNKNOWN for view in frozen)
    rest = _rest(unchecked, len(frozen), counts[DisplayStatus.UNSUPPORTED])
    if broken:
        text = (
            f"{broken:,} of {total:,} connections {'is' if broken == 1 else 'are'} broken."
            if total > 1
            else "The only connection is broken."
        )
        more = f"{count(attention, 'more needs', 'more need')} attention." if attention else ""
        return Overall(OverallState.BROKEN, Tone.BAD, text, _join(more, _ending(expiring), rest))
    tone = Tone.BAD if urgent else Tone.WARN
    if attention:
        text = f"{count(attention, 'connection needs', 'connections need')} attention, none is broken."
        return Overall(OverallState.ATTENTION, tone, text, _join(_ending(expiring), rest))
    if expiring:
        return Overall(OverallState.EXPIRING, tone, f"{_ending(expiring)[:-1]}, no connection is broken.", rest)
    return _without_trouble(snapshot, unchecked, counts[DisplayStatus.OK], len(frozen), rest)


def _without_trouble(snapshot: Snapshot, unchecked: int, working: int, frozen: int, rest: str) -> Overall:
    total, now = len(snapshot.connections), snapshot.taken_at
    if unchecked == total:
        return Overall(OverallState.UNKNOWN, Tone.IDLE, "No connection has been checked yet.")
    if unchecked:
        untested = _rest(0, frozen, sum(view.state.health is Health.UNSUPPORTED for view in snapshot.connections))
        found = ": no problem so far." if working else "."
        return Overall(OverallState.UNKNOWN, Tone.IDLE, f"{total - unchecked:,} of {total:,} connections checked so far{found}", untested)
    if snapshot.stale and not frozen and any(view.outdated for view in snapshot.connections):
        seen = f"for {brief(now - snapshot.evidence_at)}" if snapshot.evidence_at is not None else "yet"
        return Overall(
            OverallState.UNKNOWN, Tone.IDLE, f"No check has given an answer {seen}; below is what was known then.", _last_known(snapshot)
        )
    if not working:
        return Overall(OverallState.UNKNOWN, Tone.IDLE, "No problems are known.", rest)
    if working == 1:
        return Overall(OverallState.OK, Tone.GOOD, "The connection works." if total == 1 else "The one tested connection works.", rest)
    text = f"All {count(working, 'connection')} {'work' if working == total else 'that were tested work'}."
    return Overall(OverallState.OK, Tone.GOOD, text, rest)


def _ending(expiring: int) -> str:
    return f"{count(expiring, 'token expires', 'tokens expire')} soon." if expiring else ""


def _rest(unchecked: int, frozen: int, untestable: int) -> str:
    return _join(
        f"{count(unchecked, 'is', 'are')} not checked yet." if unchecked else "",
        f"{frozen:,} cannot be checked now." if frozen else "",
        f"{untestable:,} cannot be tested." if untestable else "",
    )


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
