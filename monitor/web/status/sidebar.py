"""What stands beside the connections: wide trouble, receivers, accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.reasons import Scope
from monitor.domain.snapshot import IncidentView, Snapshot
from monitor.domain.status import TONES, Tone
from monitor.text.advice import reason_advice
from monitor.text.durations import brief
from monitor.text.format import count, one_line, platform_name, sentence
from monitor.text.reasons import reason_text


@dataclass(frozen=True, slots=True)
class Trouble:
    """An open incident that is wider than one connection, in words."""

    view: IncidentView
    tone: Tone
    title: str
    why: str
    quoted: str
    advice: str
    lasting: str


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """What one receiver is owed, in words."""

    name: str
    tone: Tone
    words: str


@dataclass(frozen=True, slots=True)
class Account:
    """Whether the API accepts one account."""

    name: str
    tone: Tone
    words: str


def troubles_of(snapshot: Snapshot, now: datetime) -> tuple[Trouble, ...]:
    """The open incidents that are wider than one connection, the most urgent and then the widest first."""
    wide = [incident for incident in snapshot.incidents if incident.scope is not Scope.CONNECTION]
    wide.sort(key=lambda incident: (-incident.severity.rank, -incident.scope.width))
    return tuple(_trouble(incident, now) for incident in wide)


def receivers_of(snapshot: Snapshot, now: datetime) -> tuple[ReceiverView, ...]:
    """Everybody who is told, those in trouble first."""
    receivers = []
    for name, owed in snapshot.outbox.items():
        waiting = f"{count(owed.pending, 'message')} waiting" if owed.pending else "nothing waiting"
        since = f", the oldest for {brief(now - owed.oldest_at)}" if owed.oldest_at is not None else ""
        if owed.disabled:
            receivers.append(ReceiverView(name, Tone.BAD, f"gone: told nothing more until its configuration changes; {waiting}"))
        elif owed.failing_since is not None:
            receivers.append(ReceiverView(name, Tone.BAD, f"takes no messages for {brief(now - owed.failing_since)} now; {waiting}{since}"))
        else:
            receivers.append(ReceiverView(name, Tone.GOOD, f"{waiting}{since}"))
    return tuple(sorted(receivers, key=lambda one: (one.tone is not Tone.BAD, one.name)))


def accounts_of(snapshot: Snapshot, connections: Mapping[str, int]) -> tuple[Account, ...]:
    """Every account and whether the API accepts it; *connections* counts those of each."""
    words = {True: (Tone.GOOD, "accepted"), False: (Tone.BAD, "refused"), None: (Tone.IDLE, "not known yet")}
    return tuple(
        Account(name, words[up][0], f"{words[up][1]}, {count(connections.get(name, 0), 'connection')}")
        for name, up in sorted(snapshot.accounts.items())
    )


def title_of(scope: Scope, subject: str) -> str:
    """What is the matter with everything below *scope*, in one clause."""
    kind, _, name = subject.partition(":")
    if scope is Scope.PLATFORM:
        name = platform_name(name)
    title = _ACCOUNT_TITLES.get(kind) or _TITLES.get(scope, "{name}")
    return title.format(name=one_line(name, 120))


_TITLES = {
    Scope.API: "The PostPost API gives no answers",
    Scope.ACCOUNT: "The API refuses the account {name}",
    Scope.USER: "The API refuses the managed user {name}",
    Scope.PLATFORM: "Many connections of {name} broke together",
    Scope.STORAGE: "The monitor cannot use its own storage",
    Scope.RECEIVER: "The receiver {name} takes no messages",
}
_ACCOUNT_TITLES = {
    "rate": "The API limits the requests of the account {name}",
    "service": "The API fails for the account {name} alone",
}


def _trouble(incident: IncidentView, now: datetime) -> Trouble:
    reason = incident.reason
    return Trouble(
        view=incident,
        tone=TONES[incident.severity],
        title=title_of(incident.scope, incident.incident.subject),
        why=sentence(reason_text(reason)) if reason is not None else "",
        quoted=incident.detail,
        advice=reason_advice(reason) if reason is not None else "",
        lasting=brief(now - incident.incident.opened_at),
    )
