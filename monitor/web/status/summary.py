"""The one sentence at the top: how it all stands, the worst said first."""

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.domain.snapshot import Snapshot
from monitor.domain.status import DisplayStatus, Tone
from monitor.text.format import count


@dataclass(frozen=True, slots=True)
class Overall:
    """How it all stands: one sentence, and what else is worth saying in a second line."""

    tone: Tone
    words: str
    more: str = ""


def overall_of(snapshot: Snapshot, counts: Mapping[DisplayStatus, int], urgent: bool) -> Overall:
    """
    How it all stands.

    Args:
        snapshot: the picture.
        counts: standing -> how many connections.
        urgent: whether a connection that still works has a critical incident.
    """
    total = len(snapshot.connections)
    own = _own_trouble(snapshot)
    if not total:
        return own or Overall(Tone.IDLE, "No connections are watched yet.")
    broken = sum(counts[status] for status in DisplayStatus if status.broken)
    state = _state_of(total, broken, counts, urgent)
    deaf = _deaf_receivers(snapshot)
    if own is not None:
        return Overall(own.tone, own.words, _join(state.words, state.more, deaf))
    if deaf and state.tone is not Tone.BAD:
        return Overall(Tone.BAD, deaf, _join(state.words, state.more))
    return Overall(state.tone, state.words, _join(state.more, deaf))


def _own_trouble(snapshot: Snapshot) -> Overall | None:
    """Trouble that hides how the connections are; below it stands what was known before."""
    if not snapshot.storage_up:
        return Overall(Tone.BAD, "The monitor cannot write to its database; checks go on and are kept in memory.")
    if snapshot.api_up is False:
        return Overall(Tone.BAD, "The PostPost API gives no answers; below is what was known before.")
    refused = sorted(name for name, up in snapshot.accounts.items() if up is False)
    if refused:
        which = f"the account {refused[0]}" if len(refused) == 1 else count(len(refused), "account")
        whose = "its" if len(refused) == 1 else "their"
        return Overall(Tone.BAD, f"The API refuses {which}; {whose} connections cannot be checked.")
    return None


def _deaf_receivers(snapshot: Snapshot) -> str:
    deaf = sorted(name for name, owed in snapshot.outbox.items() if owed.disabled or owed.failing_since is not None)
    if not deaf:
        return ""
    which = f"receiver {deaf[0]} takes" if len(deaf) == 1 else f"{len(deaf)} receivers take"
    return f"The {which} no messages."


def _state_of(total: int, broken: int, counts: Mapping[DisplayStatus, int], urgent: bool) -> Overall:
    attention, unknown, working = counts[DisplayStatus.ATTENTION], counts[DisplayStatus.UNKNOWN], counts[DisplayStatus.OK]
    rest = _join(
        f"{count(unknown, 'is', 'are')} not checked yet." if unknown else "",
        f"{count(counts[DisplayStatus.UNSUPPORTED], 'cannot', 'cannot')} be tested." if counts[DisplayStatus.UNSUPPORTED] else "",
    )
    if broken:
        more = f"{count(attention, 'more needs', 'more need')} attention." if attention else ""
        words = (
            "The only connection is broken."
            if total == 1
            else f"{broken:,} of {total:,} connections {'is' if broken == 1 else 'are'} broken."
        )
        return Overall(Tone.BAD, words, _join(more, rest))
    if attention:
        words = f"{count(attention, 'connection needs', 'connections need')} attention, none is broken."
        return Overall(Tone.BAD if urgent else Tone.WARN, words, rest)
    if unknown == total:
        return Overall(Tone.IDLE, "No connection has been checked yet.")
    if not working:
        return Overall(Tone.IDLE, "No trouble is known.", rest)
    if working == 1:
        return Overall(Tone.GOOD, "The connection works." if total == 1 else "The one tested connection works.", rest)
    return Overall(Tone.GOOD, f"All {count(working, 'connection')} {'work' if working == total else 'that were tested work'}.", rest)


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
