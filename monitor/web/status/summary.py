"""The one sentence at the top: the overall state, the worst first."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.domain.snapshot import Snapshot
from monitor.domain.status import DisplayStatus, Tone
from monitor.text.format import count, one_line


@dataclass(frozen=True, slots=True)
class Overall:
    """The overall state: one sentence, and a second line with more."""

    tone: Tone
    text: str
    more: str = ""


def overall_of(snapshot: Snapshot, counts: Mapping[DisplayStatus, int], urgent: bool) -> Overall:
    """
    The overall state.

    Args:
        snapshot: the snapshot.
        counts: display status -> how many connections.
        urgent: whether a connection that still works has a critical incident.
    """
    total = len(snapshot.connections)
    own = _own_failure(snapshot)
    if not total:
        return own or Overall(Tone.IDLE, "No connections are watched yet.")
    broken = sum(counts[status] for status in DisplayStatus if status.broken)
    state = _state_of(total, broken, counts, urgent)
    failing = _join(_failing_receivers(snapshot), _unrouted(snapshot))
    if own is not None:
        return Overall(own.tone, own.text, _join(state.text, state.more, failing))
    if failing and state.tone is not Tone.BAD:
        return Overall(Tone.BAD, failing, _join(state.text, state.more))
    return Overall(state.tone, state.text, _join(state.more, failing, _unmatched(snapshot)))


def _own_failure(snapshot: Snapshot) -> Overall | None:
    """A failure that hides the state of the connections; the last known state is shown below it."""
    if not snapshot.storage_up:
        return Overall(Tone.BAD, "The monitor cannot write to its database; checks continue, and their results are kept in memory.")
    if snapshot.api_up is False:
        return Overall(Tone.BAD, "The PostPost API does not respond; the last known state is shown below.")
    rejected = sorted(name for name, up in snapshot.accounts.items() if up is False)
    if rejected:
        which = f"the account {rejected[0]}" if len(rejected) == 1 else count(len(rejected), "account")
        whose = "its" if len(rejected) == 1 else "their"
        return Overall(Tone.BAD, f"The API rejects {which}; {whose} connections cannot be checked.")
    return None


def _failing_receivers(snapshot: Snapshot) -> str:
    failing = sorted(name for name, outbox in snapshot.outbox.items() if outbox.disabled or outbox.failing_since is not None)
    if not failing:
        return ""
    which = f"receiver {failing[0]} accepts" if len(failing) == 1 else f"{len(failing)} receivers accept"
    return f"The {which} no messages."


def _unrouted(snapshot: Snapshot) -> str:
    return f"{count(snapshot.unrouted, 'notification')} reached no receiver: no route matches." if snapshot.unrouted else ""


def _unmatched(snapshot: Snapshot) -> str:
    if not snapshot.unmatched:
        return ""
    first = snapshot.unmatched[0]
    others = f" and {len(snapshot.unmatched) - 1} more" if len(snapshot.unmatched) > 1 else ""
    return f"The matcher {one_line(f'{first.name}: {first.pattern}', 60)} of {first.where}{others} matches nothing that is known."


def _state_of(total: int, broken: int, counts: Mapping[DisplayStatus, int], urgent: bool) -> Overall:
    attention, unknown, working = counts[DisplayStatus.ATTENTION], counts[DisplayStatus.UNKNOWN], counts[DisplayStatus.OK]
    rest = _join(
        f"{count(unknown, 'is', 'are')} not checked yet." if unknown else "",
        f"{count(counts[DisplayStatus.UNSUPPORTED], 'cannot', 'cannot')} be tested." if counts[DisplayStatus.UNSUPPORTED] else "",
    )
    if broken:
        more = f"{count(attention, 'more needs', 'more need')} attention." if attention else ""
        text = (
            "The only connection is broken."
            if total == 1
            else f"{broken:,} of {total:,} connections {'is' if broken == 1 else 'are'} broken."
        )
        return Overall(Tone.BAD, text, _join(more, rest))
    if attention:
        text = f"{count(attention, 'connection needs', 'connections need')} attention, none is broken."
        return Overall(Tone.BAD if urgent else Tone.WARN, text, rest)
    if unknown == total:
        return Overall(Tone.IDLE, "No connection has been checked yet.")
    if not working:
        return Overall(Tone.IDLE, "No problems are known.", rest)
    if working == 1:
        return Overall(Tone.GOOD, "The connection works." if total == 1 else "The one tested connection works.", rest)
    return Overall(Tone.GOOD, f"All {count(working, 'connection')} {'work' if working == total else 'that were tested work'}.", rest)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
