"""Scope incidents, receivers, accounts."""

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
class ScopeIncidentView:
    """An open scope incident, worded."""

    view: IncidentView
    tone: Tone
    title: str
    why: str
    quoted: str
    advice: str
    lasting: str


@dataclass(frozen=True, slots=True)
class ReceiverView:
    """One receiver and its pending deliveries, worded."""

    name: str
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class AccountView:
    """Whether the API accepts one account."""

    name: str
    tone: Tone
    text: str


def scope_incidents_of(snapshot: Snapshot, now: datetime) -> tuple[ScopeIncidentView, ...]:
    """The open scope incidents, the most urgent and then the widest first."""
    incidents = [incident for incident in snapshot.incidents if incident.scope is not Scope.CONNECTION]
    return tuple(
        _scope_incident(incident, now)
        for incident in sorted(incidents, key=lambda incident: (-incident.severity.rank, -incident.scope.width))
    )


def receivers_of(snapshot: Snapshot, now: datetime) -> tuple[ReceiverView, ...]:
    """Every receiver, failing ones first."""
    receivers = []
    for name, outbox in snapshot.outbox.items():
        waiting = f"{count(outbox.pending, 'message')} waiting" if outbox.pending else "nothing waiting"
        since = f", the oldest for {brief(now - outbox.oldest_at)}" if outbox.oldest_at is not None else ""
        if outbox.disabled:
            receivers.append(ReceiverView(name, Tone.BAD, f"disabled (HTTP 410); {waiting}"))
        elif outbox.failing_since is not None:
            receivers.append(
                ReceiverView(
                    name,
                    Tone.BAD,
                    f"{'refuses every message' if outbox.refusing else 'failing'} for {brief(now - outbox.failing_since)}; {waiting}{since}",
                )
            )
        else:
            receivers.append(ReceiverView(name, Tone.GOOD, f"{waiting}{since}"))
    return tuple(sorted(receivers, key=lambda receiver: (receiver.tone is not Tone.BAD, receiver.name)))


def accounts_of(snapshot: Snapshot, connections: Mapping[str, int]) -> tuple[AccountView, ...]:
    """Every account and whether the API accepts it; *connections* counts those of each."""
    states = {True: (Tone.GOOD, "accepted"), False: (Tone.BAD, "rejected"), None: (Tone.IDLE, "unknown")}
    return tuple(
        AccountView(name, states[up][0], f"{states[up][1]}, {count(connections.get(name, 0), 'connection')}")
        for name, up in sorted(snapshot.accounts.items())
    )


def title_of(scope: Scope, subject: str) -> str:
    """The incident of a scope as one clause."""
    kind, _, name = subject.partition(":")
    if scope is Scope.PLATFORM:
        name = platform_name(name)
    title = _ACCOUNT_TITLES.get(kind) or _TITLES.get(scope, "{name}")
    return title.format(name=one_line(name, 120))


_TITLES = {
    Scope.API: "The PostPost API does not respond",
    Scope.ACCOUNT: "The API rejects the account {name}",
    Scope.USER: "The API rejects the managed user {name}",
    Scope.PLATFORM: "Multiple {name} connections are failing",
    Scope.STORAGE: "The monitor cannot use its database",
    Scope.RECEIVER: "The receiver {name} is failing",
}
_ACCOUNT_TITLES = {
    "rate": "The API limits the requests of the account {name}",
    "service": "The API fails for the account {name} alone",
}


def _scope_incident(incident: IncidentView, now: datetime) -> ScopeIncidentView:
    reason = incident.reason
    return ScopeIncidentView(
        view=incident,
        tone=TONES[incident.severity],
        title=title_of(incident.scope, incident.incident.subject),
        why=sentence(reason_text(reason)) if reason is not None else "",
        quoted=incident.detail,
        advice=reason_advice(reason) if reason is not None else "",
        lasting=brief(now - incident.incident.opened_at),
    )
