"""What operators did about open incidents: acknowledgements and silences, for showing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.domain.connections import Connection
from monitor.domain.events import FINE, Severity, Topic
from monitor.domain.routing.rules import NO_LABELS, UserLabels, connection_facts, matches, scope_facts, scope_labels
from monitor.domain.scopes.key import STORAGE
from monitor.domain.silencing.acks import Ack, acknowledged
from monitor.domain.silencing.controls import Controls
from monitor.domain.silencing.silences import SilenceState
from monitor.domain.states import TopicState
from monitor.domain.topics import STALE
from monitor.domain.uptime import OpenOutage
from monitor.domain.views.snapshot import ConnectionView, IncidentView


@dataclass(frozen=True, slots=True)
class CoveringSilence:
    """
    A silence that is active now.

    Attributes:
        number: of a silence of an operator; None for one of the configuration.
        author: the operator, or the name of the silence in the configuration.
    """

    number: int | None
    until: datetime
    author: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Handling:
    """
    The acknowledgement of an incident and the silence of its notifications that lasts longest, as far as there are any.

    Attributes:
        escalates_at: when it is escalated next; None: it is not, or acknowledged.
    """

    ack: Ack | None = None
    silence: CoveringSilence | None = None
    escalates_at: datetime | None = None

    @property
    def handled(self) -> bool:
        """Whether an operator has seen it."""
        return self.ack is not None or self.silence is not None


NOT_HANDLED = Handling()


def incident_facts(incident: IncidentView, connection: Connection | None, user_labels: UserLabels = NO_LABELS) -> dict[str, str]:
    """The facts of an incident that a silence can match; those of notifications alone are unknown."""
    facts = dict(connection.labels) if connection is not None else scope_labels(incident.incident.subject, user_labels)
    facts |= {"severity": incident.severity.value, "topic": incident.incident.topic.value, "scope": incident.scope.value}
    facts["reason"] = incident.reason.value if incident.reason is not None else ""
    return facts | (connection_facts(connection) if connection is not None else scope_facts(incident.incident.subject))


def handling_of_incident(
    incident: IncidentView, connection: Connection | None, value: TopicState, controls: Controls, now: datetime
) -> Handling:
    """What operators did about one incident, of which *value* is the topic's state."""
    ref = incident.incident
    ack = acknowledged(controls.acks, ref.topic, ref.subject, value)
    silence = _silence_of(incident_facts(incident, connection, controls.user_labels), controls, now)
    return Handling(ack, silence, incident.escalates_at if ack is None else None)


def handling_of(view: ConnectionView, incidents: Sequence[IncidentView], controls: Controls, now: datetime) -> Handling:
    """What operators did about a connection: about its worst incident beyond information, else the silence of its next failure."""
    if not controls.silences and not controls.recurring and not controls.acks and not any(each.escalates_at for each in incidents):
        return NOT_HANDLED
    serious = [incident for incident in incidents if incident.severity is not Severity.INFO]
    if not serious:
        connection = view.connection
        failure = {"severity": "critical", "topic": "connection", "scope": "connection", "type": "connection.failed", "why": "opened"}
        return Handling(None, _silence_of({**connection.labels, **failure, **connection_facts(connection)}, controls, now))
    each = [
        handling_of_incident(incident, view.connection, view.state.topic(incident.incident.topic), controls, now)
        for incident in sorted(serious, key=lambda incident: -incident.severity.rank)
    ]
    return Handling(
        each[0].ack if all(one.ack is not None for one in each) else None,
        each[0].silence if all(one.silence is not None for one in each) else None,
        min((one.escalates_at for one in each if one.escalates_at is not None), default=None),
    )


def open_outage(view: ConnectionView, handling: Handling, until: datetime | None) -> OpenOutage | None:
    """The open incident that counts as downtime; None without one, and while excluded. *until*: the uptime is added up until then."""
    topic, state = view.state.topic(Topic.CONNECTION), view.state
    if (
        topic.level in (FINE, STALE)
        or topic.opened_at is None
        or view.suppressed_by not in (None, str(STORAGE))
        or handling.silence is not None
    ):
        return None
    return OpenOutage(min(state.first_failed_at or topic.opened_at, topic.opened_at), topic.opened_at, until)


def _silence_of(facts: dict[str, str], controls: Controls, now: datetime) -> CoveringSilence | None:
    active = [
        CoveringSilence(silence.id, silence.over_at, silence.author, silence.reason)
        for silence in controls.silences
        if silence.state(now) is SilenceState.ACTIVE and matches(silence.match, facts)
    ]
    for recurring in controls.recurring:
        until = recurring.when.ends_at(now)
        if until is not None and matches(recurring.match, facts):
            active.append(CoveringSilence(None, until, recurring.name))
    return max(active, key=lambda silence: silence.until, default=None)
