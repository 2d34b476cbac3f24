"""Cards of what is wrong above connections, receivers, accounts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.reasons import Scope
from monitor.domain.states import TopicState
from monitor.domain.views.handling import handling_of_incident
from monitor.domain.views.snapshot import IncidentView, Snapshot, SuspectedScope, is_above
from monitor.domain.views.status import TONES, Tone
from monitor.text.advice import RECEIVER_ADVICE, reason_advice, storage_advice
from monitor.text.durations import brief
from monitor.text.format import count, sentence, title_of
from monitor.text.reasons import reason_text
from monitor.text.status import NO_RECEIVER, handling_texts, suspicion_text


@dataclass(frozen=True, slots=True)
class Card:
    """
    Something that is wrong above single connections, worded.

    Attributes:
        scope, subject: the scope, such as `api:api.postpost.dev`; of a receiver its name.
        since, lasting: when it began, and how long ago; None and empty where that is unknown.
    """

    scope: Scope
    subject: str
    tone: Tone
    title: str
    since: datetime | None = None
    lasting: str = ""
    why: str = ""
    quoted: str = ""
    advice: str = ""
    handled: tuple[str, ...] = ()


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


def cards_of(snapshot: Snapshot, now: datetime) -> tuple[Card, ...]:
    """Every card, the most urgent and then the widest first."""
    return (*_standby_cards(snapshot), *_sorted(_scope_cards(snapshot, now)), *_receiver_cards(snapshot, now))


def cards_above(snapshot: Snapshot, connection: Connection, now: datetime) -> tuple[Card, ...]:
    """The cards of the database and of the scopes above *connection*."""
    cards = _sorted([*_scope_cards(snapshot, now), *(_suspicion_card(scope, now) for scope in snapshot.suspected)])
    return tuple(card for card in cards if card.scope is Scope.STORAGE or is_above(card.scope, card.subject, connection))


def _standby_cards(snapshot: Snapshot) -> Iterator[Card]:
    if snapshot.active:
        why = f"{sentence(snapshot.active)} What is shown was read from the database at most ten seconds ago."
        yield Card(Scope.STORAGE, "standby", Tone.IDLE, "This instance is a standby", why=why, advice="Act on the active instance.")


def _scope_cards(snapshot: Snapshot, now: datetime) -> list[Card]:
    incidents = [incident for incident in snapshot.incidents if incident.scope is not Scope.CONNECTION]
    cards = [_incident_card(incident, snapshot, now) for incident in incidents]
    if not snapshot.storage_up and not any(incident.scope is Scope.STORAGE for incident in incidents):
        cards.append(_storage_card(snapshot, now))
    return cards


def _sorted(cards: list[Card]) -> list[Card]:
    order = list(Tone)
    return sorted(cards, key=lambda card: (order.index(card.tone), -card.scope.width))


def _storage_card(snapshot: Snapshot, now: datetime) -> Card:
    failure = snapshot.storage_failure
    return Card(
        Scope.STORAGE,
        "storage",
        Tone.BAD,
        title_of("storage", {}),
        failure.since if failure is not None else None,
        brief(now - failure.since) if failure is not None else "",
        "Results are kept in memory. Until it is repaired no change is confirmed and nothing can be notified.",
        failure.problem if failure is not None else "",
        storage_advice(failure.problem if failure is not None else ""),
    )


def _suspicion_card(scope: SuspectedScope, now: datetime) -> Card:
    return Card(
        scope.scope,
        scope.subject,
        Tone.WARN,
        suspicion_text(scope, now),
        scope.since,
        brief(now - scope.since),
        f"{sentence(reason_text(scope.reason))}" if scope.reason is not None else "",
        "",
        "Nothing to do yet: it is being confirmed.",
    )


def _receiver_cards(snapshot: Snapshot, now: datetime) -> Iterator[Card]:
    if not snapshot.outbox:
        yield Card(Scope.RECEIVER, "", Tone.WARN, NO_RECEIVER, advice="Add a receiver to the configuration, or watch this page.")
    for name, outbox in sorted(snapshot.outbox.items()):
        if not outbox.disabled and outbox.failing_since is None:
            continue
        since = outbox.failing_since
        disabled = "It answered HTTP 410 and is disabled until its configuration changes." if outbox.disabled else ""
        yield Card(
            Scope.RECEIVER,
            name,
            Tone.BAD,
            title_of(f"receiver:{name}", {}),
            since,
            brief(now - since) if since is not None else "",
            " ".join(filter(None, (disabled, f"{count(outbox.pending, 'message')} waiting."))),
            "",
            RECEIVER_ADVICE,
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


def heartbeat_of(snapshot: Snapshot, now: datetime) -> ReceiverView | None:
    """The heartbeats; None without any."""
    view = snapshot.heartbeat
    if view is None:
        return None
    last = f"accepted {brief(now - view.accepted_at)} ago" if view.accepted_at is not None else "none was accepted yet"
    return ReceiverView("Heartbeat", Tone.BAD if view.problem else Tone.GOOD, f"withheld: {view.problem}; {last}" if view.problem else last)


def accounts_of(snapshot: Snapshot, connections: Mapping[str, int]) -> tuple[AccountView, ...]:
    """Every account and whether the API accepts it; *connections* counts those of each."""
    states = {True: (Tone.GOOD, "accepted"), False: (Tone.BAD, "rejected"), None: (Tone.IDLE, "unknown")}
    return tuple(
        AccountView(name, states[up][0], f"{states[up][1]}, {count(connections.get(name, 0), 'connection')}")
        for name, up in sorted(snapshot.accounts.items())
    )


def _incident_card(incident: IncidentView, snapshot: Snapshot, now: datetime) -> Card:
    ref, reason = incident.incident, incident.reason
    value = TopicState(incident.level, ref.opened_at, ref.number, ref.opened_at)
    handling = handling_of_incident(incident, None, value, snapshot.controls, now)
    storage = snapshot.storage_failure if incident.scope is Scope.STORAGE else None
    return Card(
        incident.scope,
        ref.subject,
        TONES[incident.severity],
        title_of(ref.subject, snapshot.users),
        ref.opened_at,
        brief(now - ref.opened_at),
        sentence(reason_text(reason)) if reason is not None else "",
        storage.problem if storage is not None else incident.detail,
        storage_advice(storage.problem) if storage is not None else reason_advice(reason) if reason is not None else "",
        tuple(handling_texts(handling, now)),
    )
